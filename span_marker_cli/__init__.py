"""The command ``span-marker``: one module per command, with only its arguments and calls of the library.

It lives outside the package so that ``span-marker --help`` is fast: importing most of ``span_marker`` loads PyTorch.
"""

from span_marker_cli.main import main

__all__ = ["main"]
