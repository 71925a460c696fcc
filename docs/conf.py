"""Sphinx configuration: `make docs` builds the site into docs/_build, with warnings as errors."""

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import reference_pages

import ltmed

project = "ltmed"
author = "the ltmed authors"
copyright = "the ltmed authors, Apache 2.0"
version = release = ltmed.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["_build", "README.md"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# Docstrings are plain text with equations, not reStructuredText: its layout rules do not hold for them.
# `ref.python`: `ltmed.Run` and `ltmed.runs.reader.Run` are one class under two names.
suppress_warnings = ["docutils", "ref.python"]
# They write code between single backticks.
default_role = "literal"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
# Optional packages that no page needs.
autodoc_mock_imports = ["wandb_workspaces", "umap", "onnx", "onnxscript"]
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "ltmed"
html_theme_options = {"source_repository": "", "navigation_with_keys": True}


_CODE = re.compile(r"(`[^`]*`)")


def _escape(app, what, name, obj, options, lines):
    """Docstrings are plain text with code between backticks: equations have bars, stars and trailing underscores."""
    for number, line in enumerate(lines):
        if not line.lstrip().startswith((":", "..")):
            parts = _CODE.split(line)
            parts[::2] = [re.sub(r"([|*]|(?<=\w)_(?!\w))", r"\\\1", part) for part in parts[::2]]
            lines[number] = "".join(parts)


def _link_results(app, docname, source):
    """In a clone the pages link to the READMEs of `experiments/`, on the site to the pages that these become."""
    source[0] = re.sub(r"\]\(((?:\.\./)*)\.\./experiments/(\w+)/README\.md", r"](\1results/\2.md", source[0])


def setup(app):
    """Writes the pages that are made from conf/ and the package before Sphinx looks for sources."""
    # Before napoleon, which adds markup of its own.
    app.connect("autodoc-process-docstring", _escape, priority=100)
    app.connect("source-read", _link_results)
    app.connect("builder-inited", lambda _: reference_pages.write(HERE / "reference" / "generated"))
    app.connect("builder-inited", lambda _: reference_pages.write_results(HERE / "results"))
