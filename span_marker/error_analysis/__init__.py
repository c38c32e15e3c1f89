"""Error analysis: what a system gets right and wrong, how sure that is, and which of two is better."""
