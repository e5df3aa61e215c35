"""The site shows what the package has, all of it, and asks nobody else for anything."""

import importlib.util
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import tradeoff
from tradeoff.figures import FIGURES
from tradeoff.files import read_json
from tradeoff.theory import THEOREMS, Evidence, Theorem

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def pages():
    spec = importlib.util.spec_from_file_location("pages", DOCS / "pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_theorem_has_statement_proof_steps_numbers_and_figure(pages):
    def numeric(n=2):
        return Evidence(True, "all is well", {"share_of_x": (0.25, 0.5)})

    theorem = Theorem("thm2-linf-rt", "folklore", "$2 | n$", (numeric,), {}, dict.fromkeys(
        ("symbolic", "simulated", "certified"), "a toy"))  # fmt: skip
    checks = [
        {"route": "symbolic", "parameters": {}, "holds": True, "detail": "2 of 2 steps proved: r_1 = 1; so a*b = 2",
         "values": {"steps": 2, "steps proved": 2}, "intervals": None},
        {"route": "numeric", "parameters": {"n": 2}, "holds": True, "detail": "all is well",
         "values": {"share_of_x": [0.25, 0.5]}, "intervals": "certified"},
    ]  # fmt: skip
    pages.docstring = lambda theorem: ("A title", "Proof. None.")
    page = pages.theorem_page(theorem, {"checks": checks})
    for part in ("# A title", "$2 | n$", "Proof. None.", r"1. r\_1 = 1", r"2. so a\*b = 2", "n = 2", "a toy",
                 r"| share\_of\_x | [0.25, 0.5] |", "python -m tradeoff.theory thm2-linf-rt", "thm2.png"):  # fmt: skip
        assert part in page


def test_theorems_are_shown_by_committed_figures(pages):
    assert pages.SHOWN_BY.keys() <= THEOREMS.keys()
    for name in {name for names in pages.SHOWN_BY.values() for name in names}:
        assert name in FIGURES and f"`python -m tradeoff.figures {name}`" in pages.figure(name, "paper_figures")


def test_results_are_the_committed_ones(pages):
    page = pages.results_page()
    for command in ("comparison lp", "comparison rt", "claims", "limits --data mnist"):
        assert f"`python -m tradeoff.{command}" in page
    limits = read_json(pages.RESULTS / "limits-mnist.json")
    at = limits["scales"].index(1.0)
    union = next(error for name, error in limits["errors"].items() if "|" in name or name == "union")
    assert re.search(rf"^\| 1 \|.*\b{100 * union['lower'][at]:.2f}\b", page, re.MULTILINE)


def test_every_public_name_is_listed(pages):
    page = pages.api_names()
    for name in tradeoff.__all__:
        assert f".{name}>`" in page or f"`{name}`" in page
    assert "\\`" not in page, "code is shown as code"


class _Addresses(HTMLParser):
    """Addresses a page loads from by itself, and those it links to."""

    def __init__(self):
        super().__init__()
        self.loads, self.links, self.ids = [], [], set()

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if "id" in found:
            self.ids.add(found["id"])
        if tag in ("script", "img", "iframe", "source") and found.get("src"):
            self.loads.append(found["src"])
        if tag == "link" and found.get("rel") != "canonical" and found.get("href"):
            self.loads.append(found["href"])
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])


@pytest.mark.slow
def test_the_site_builds_and_all_its_links_lead_somewhere(tmp_path, monkeypatch):
    """Without a warning, the notebooks not run (tests/test_notebooks.py runs them); no page loads from elsewhere."""
    for module in ("sphinx", "myst_nb", "furo"):
        pytest.importorskip(module, reason=f"there is no {module}: pip install '.[site]'")
    monkeypatch.setenv("SITE_NOTEBOOKS", "off")
    build = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-d", str(tmp_path / "trees")]
    run = subprocess.run([*build, str(DOCS), str(tmp_path / "site")], capture_output=True, text=True, timeout=900)
    assert run.returncode == 0, run.stderr
    site = tmp_path / "site"
    for name in THEOREMS:
        assert (site / "generated" / "theorems" / f"{name}.html").exists()
    pages = {}
    for path in site.rglob("*.html"):
        pages[path] = _Addresses()
        pages[path].feed(path.read_text(encoding="utf-8"))
    assert len(pages) > 90
    for path, page in pages.items():
        for address in page.loads:
            parts = urlsplit(address)
            assert not parts.netloc and parts.scheme in ("", "data"), f"{path} loads {address}"
            assert parts.scheme or (path.parent / unquote(parts.path)).exists(), f"{path} loads {address}"
        for address in page.links:
            parts = urlsplit(address)
            if not parts.netloc and parts.scheme == "" and parts.path:
                assert (path.parent / unquote(parts.path)).exists(), f"{path} links to {address}"
