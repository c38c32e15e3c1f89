"""Run exported graphs with NumPy: files, runtimes and heads. Nothing here needs PyTorch."""
