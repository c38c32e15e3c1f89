"""How the site of the documentation is built: ``sphinx-build -W -b html docs build/site``."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from span_marker import __version__  # noqa: E402

project = "SpanMarker"
author = "the authors of span_marker"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

html_theme = "furo"
html_title = f"SpanMarker {release}"
html_copy_source = False

myst_heading_anchors = 3

default_role = "code"  # docstrings name things in single backticks
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # attributes are documented in their class, not beside it
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 100

BESIDE = {"README.md": "quickstart.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Pages of the repository's root, to which pages link as files, and the page of the site that stands for each."""


def link_within_the_site(app, docname, source):
    """On GitHub, pages link to files in the folder above; on the site, to the page that stands for the file."""
    for name, page in BESIDE.items():
        source[0] = re.sub(rf"\]\(\.\./{re.escape(name)}(?=[#)])", f"]({page}", source[0])


def setup(app):
    """Change the links of pages as they are read."""
    app.connect("source-read", link_within_the_site)
