"""Checks annotated data before training, and suggests limits."""
