"""From sentences to batches: inputs in one form, tokens, windows, features."""
