"""``python -m span_marker_cli``."""

from span_marker_cli.main import main

main()
