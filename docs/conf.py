"""The site (make site): pages by pages.py, the API from docstrings, MathJax and all else in it; no network."""

import os
import re
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import pages  # noqa: E402

import tradeoff  # noqa: E402

project = "tradeoff"
version = release = tradeoff.__version__
copyright = "the authors of tradeoff, MIT licence"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",  # carries MathJax: without it every page would ask another server for it
]
exclude_patterns = ["*.py", "interactive", "**.ipynb_checkpoints"]
suppress_warnings = ["mystnb.unknown_mime_type"]

html_theme = "furo"
html_title = "tradeoff: robustness to multiple perturbations"
html_show_sourcelink = False
html_copy_source = False
html_static_path = ["static"]
html_css_files = ["site.css"]

myst_enable_extensions = ["dollarmath"]
myst_dmath_double_inline = True  # a displayed equation may stand in its sentence

# The notebooks: run once, until they or the package change; "off" shows them without what they print and draw.
nb_execution_mode = os.environ.get("SITE_NOTEBOOKS", "cache")
nb_execution_cache_path = str(HERE.parent / "out" / "site-cache")
nb_execution_timeout = 900  # a cell; on a machine that is busy with other things too
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the kernels: threads that wait for each other then take minutes
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_merge_streams = True
nb_render_markdown_format = "gfm"  # what they display has tables

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True}
autodoc_inherit_docstrings = False  # torch's, of methods that need none


def prose(app, what, name, obj, options, lines):
    """Docstrings are plain text: in reStructuredText code is quoted twice, and what looks like markup is escaped.
    Formulas stand in indented paragraphs and keep their lines."""
    code = formula = False
    for k, line in enumerate(lines):
        code = line.lstrip().startswith(">>>") or (code and bool(line.strip()))
        formula = line.startswith("  ") and (formula or not k or not lines[k - 1])
        if not code:
            parts = re.split(r"(`[^`]+`|(?<!\S)\*[^*\s][^*]*\*(?!\S))", line)  # code, *emphasis*, the rest
            parts[::2] = [re.sub(r"([\\*|_`])", r"\\\1", part) for part in parts[::2]]
            parts[1::2] = [f"`{part}`\\ " if part.startswith("`") else part for part in parts[1::2]]
            lines[k] = "  | " * formula + "".join(parts)


def interactive(app, error):
    """The interactive page goes along as it is."""
    if error is None:
        shutil.copytree(HERE / "interactive", Path(app.outdir) / "interactive", dirs_exist_ok=True)


def setup(app):
    app.connect("builder-inited", lambda app: pages.write(HERE / "generated"))
    app.connect("autodoc-process-docstring", prose)
    app.connect("build-finished", interactive)
