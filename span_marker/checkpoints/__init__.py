"""Checkpoints: load, save and publish them, with their model cards."""
