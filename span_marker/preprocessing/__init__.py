"""From sentences to batches: reading inputs, tokens, windows, features."""
