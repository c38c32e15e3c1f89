"""The command ``span-marker``: a module per command, with nothing in it but arguments and calls of the library.

It is outside the package ``span_marker`` so that ``span-marker --help`` imports nothing of it.
"""

from span_marker_cli.main import main

__all__ = ["main"]
