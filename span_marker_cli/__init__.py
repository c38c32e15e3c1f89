"""The command ``span-marker``: a module per command, with nothing in it but arguments and calls of the library.

It stands outside of the package, because importing anything of ``span_marker`` loads PyTorch: ``span-marker --help`` is
there at once.
"""

from span_marker_cli.main import main

__all__ = ["main"]
