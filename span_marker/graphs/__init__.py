"""Exported graphs in the hands of NumPy: their files, the runtimes, and heads. Nothing needs PyTorch."""
