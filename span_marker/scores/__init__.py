"""Calibration and thresholds: what scores mean, and where to cut them."""
