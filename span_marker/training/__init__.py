"""Training and evaluation with ``transformers.Trainer``."""
