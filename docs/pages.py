"""The pages of the site that are made from the package: nothing in them is typed by hand.

Each function returns a page as MyST Markdown; `write` puts them all into a folder, for Sphinx (conf.py).
"""

import pkgutil
import re
import shutil
import sys
from collections.abc import Mapping
from inspect import cleandoc
from pathlib import Path

import jupytext

import tradeoff
from tradeoff import claims, comparison, tables
from tradeoff.files import read_json
from tradeoff.records import read_all
from tradeoff.theory import THEOREMS, Theorem
from tradeoff.theory.__main__ import main as check_theorems

ROOT = Path(__file__).parent.parent
REPORT = ROOT / "out" / "theory.json"
FIGURES = ROOT / "paper_figures"
RESULTS = Path(tradeoff.__file__).parent / "results"

# The figures that show a theorem.
SHOWN_BY = {
    "thm1-linf-l1": ("thm1", "thm1_radii"),
    "thm2-linf-rt": ("thm2",),
    "claim4-affine-gap": ("affine_gap",),
    "appendix-i": ("affine_strip",),
    "exact-game": ("optimal_classifier", "phase_diagram", "pareto"),
}


def write(folder: Path) -> None:
    """All generated pages, in place of those that were there."""
    shutil.rmtree(folder, ignore_errors=True)
    report = theory_report()
    texts = {"theorems/index": theorems_page(report), "results": results_page()}
    texts |= {f"theorems/{name}": theorem_page(THEOREMS[name], result) for name, result in report.items()}
    texts |= {f"api/{name}": module_page(name) for name in modules()}
    texts["api/index"] = api_page()
    notebooks = sorted((ROOT / "notebooks").glob("*.py"))
    texts["notebooks/index"] = "# Notebooks\n\n" + toctree([path.stem for path in notebooks])
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
    for path in notebooks:
        jupytext.write(jupytext.read(path), folder / "notebooks" / f"{path.stem}.ipynb", fmt="ipynb")
    shutil.copytree(FIGURES, folder / "paper_figures")  # with its index


def toctree(names, depth: int = 1) -> str:
    return "\n".join(["```{toctree}", f":maxdepth: {depth}", "", *names, "```", ""])


# ---- theorems


def theory_report() -> dict[str, dict]:
    """What `python -m tradeoff.theory --json` says of each theorem; made when missing or of another version's theorems.

    Raises RuntimeError if a check does not hold.
    """
    report = read_json(REPORT) if REPORT.exists() else None
    newest = max(path.stat().st_mtime for path in (Path(tradeoff.__file__).parent / "theory").rglob("*.py"))
    if report is None or REPORT.stat().st_mtime < newest:
        REPORT.parent.mkdir(parents=True, exist_ok=True)
        if check_theorems(["--json", str(REPORT), "--force"]):
            raise RuntimeError("a check of a theorem does not hold: see python -m tradeoff.theory")
        report = read_json(REPORT)
    return {result["name"]: result for result in report["theorems"]}


def docstring(theorem: Theorem) -> tuple[str, str]:
    """The title and the text of a theorem's file."""
    title, _, text = cleandoc(sys.modules[theorem.checks[0].__module__].__doc__).partition("\n")
    return title.rstrip("."), text.strip()


def theorems_page(report: Mapping[str, dict]) -> str:
    rows = [
        [f"[{docstring(THEOREMS[name])[0]}]({name}.md)", result["source"],
         ", ".join(check["route"] for check in result["checks"] if check["holds"])]
        for name, result in report.items()
    ]  # fmt: skip
    return "\n\n".join([
        "# Theorems",
        "Every statement is checked by up to four independent routes: *symbolic* proves each step, *numeric* evaluates "
        "closed forms, *simulated* draws samples and states its error probability, *certified* encloses in ball "
        "arithmetic. The command is `python -m tradeoff.theory [NAME]`; the numbers are its report's.",
        left(["theorem", "source", "checks that hold"], rows),
        toctree(report),
    ])  # fmt: skip


def theorem_page(theorem: Theorem, result: Mapping) -> str:
    """Statement, proof, every check with its numbers, and the figures."""
    title, text = docstring(theorem)
    parts = [f"# {title}", f"*{theorem.source}*", f"```{{admonition}} Statement\n{theorem.statement}\n```", text,
             "## As checked", f"`python -m tradeoff.theory {theorem.name}`"]  # fmt: skip
    for check in result["checks"]:
        parts += [f"### {check['route'].capitalize()}: {'holds' if check['holds'] else 'does not hold'}"]
        summary, _, steps = check["detail"].partition(" proved: ")
        if steps:
            parts += [f"{summary} proved:"]
            parts += ["\n".join(f"{k}. {plain(step)}" for k, step in enumerate(steps.split("; "), 1))]
        else:
            parts += [plain(check["detail"])]
        rows = [[plain(name), number(value)] for name, value in check["values"].items() if not name.startswith("steps")]
        parts += [left(["number", "value"], rows)] if rows else []
        about = [f"{name} = {value}" for name, value in check["parameters"].items()]
        parts += [f"Assumptions: {plain('; '.join(about))}."] if about else []
        parts += [f"Intervals: {check['intervals']}."] if check["intervals"] else []
    parts += [f"No *{route}* check: {plain(reason)}." for route, reason in theorem.absent.items()]
    for name in SHOWN_BY.get(theorem.name, ()):
        parts += [figure(name, "../paper_figures")]
    return "\n\n".join(parts) + "\n"


def number(value) -> str:
    """A number, or an interval as its ends."""
    return f"[{value[0]:.10g}, {value[1]:.10g}]" if isinstance(value, list | tuple) else f"{value:.10g}"


def plain(text: str) -> str:
    """Text with nothing in it that Markdown would take for markup."""
    return "".join(f"\\{c}" if c in r"\`*_[]<>$#" else c for c in str(text))


def with_code(text: str) -> str:
    """Plain text but for the `code` in it."""
    return "".join(part if part.startswith("`") else plain(part) for part in re.split("(`[^`]+`)", text))


def left(header, rows) -> str:
    """A table with all columns to the left, for words."""
    return tables.markdown(header, rows).replace("--:", ":--")


# ---- figures and results


def figure(name: str, folder: str) -> str:
    """A committed figure with its caption and the command that makes it."""
    about = read_json(FIGURES / f"{name}.json")
    caption = " ".join(plain(about["caption"]).replace("\n\n", "\\\n").split(" "))
    made = about["provenance"]
    picture = f"```{{figure}} {folder}/{name}.png\n:alt: {about['caption'].splitlines()[0]}\n\n{caption}\n```"
    return f"{picture}\n\n`python -m tradeoff.figures {name}`: of {made['date']}, data: {plain(made['data'])}."


def results_page() -> str:
    """The tables, the claims and the limits of data, from the committed results."""
    parts = ["# Results"]
    for name, compared in comparison.COMPARISONS.items():
        records = read_all(compared.runs, None)
        parts += [f"## {compared.title}", f"`python -m tradeoff.comparison {name}`"]
        parts += [tables.markdown(*comparison.table(compared, records))]
        parts += [*comparison.notes(compared), tables.markdown(*comparison.training_table(compared, records))]
    found = claims.findings()
    parts += ["## The paper's claims, tested", "`python -m tradeoff.claims`"]
    parts += [cleandoc(claims.__doc__).partition("\n\n")[2]]
    parts += [tables.markdown(*claims.agreement(found)), tables.markdown(*claims.table(found)), *claims.waiting(found)]
    parts += ["## Limits of the data", "The least error of any classifier, in percent, at a common scale of all radii."]
    for path in sorted(RESULTS.glob("limits-*.json")):
        parts += [limits_table(read_json(path))]
    return "\n\n".join(parts) + "\n"


def limits_table(result: Mapping) -> str:
    header = ["scale", *result["errors"]]
    rows = []
    for k, scale in enumerate(result["scales"]):
        ends = [(100 * error["lower"][k], 100 * error["upper"][k]) for error in result["errors"].values()]
        rows += [[f"{scale:g}", *(f"{low:.2f}" if low == high else f"{low:.2f} to {high:.2f}" for low, high in ends)]]
    radii = ", ".join(f"{name} {radius:.3g}" for name, radius in result["sets"].items())
    about = f"### {result['data']}, {result['n']:,} examples; radii at scale 1: {radii}"
    return f"{about}\n\n`{result['provenance']['command']}`\n\n{tables.markdown(header, rows)}"


# ---- the API


def modules() -> list[str]:
    """Every module of the package but the commands, which stand aside."""
    found = ["tradeoff", *(m.name for m in pkgutil.walk_packages(tradeoff.__path__, "tradeoff."))]
    return [name for name in found if not name.endswith(("__main__", "tradeoff.evaluate"))]


def module_page(name: str) -> str:
    return f"# `{name}`\n\n```{{eval-rst}}\n.. automodule:: {name}\n```\n" if name != "tradeoff" else api_names()


def api_names() -> str:
    """The names that `import tradeoff` offers, where each is, and what it is."""
    rows = []
    for name in sorted(tradeoff.__all__, key=str.lower):
        value = getattr(tradeoff, name)
        where = getattr(value, "__module__", None) if callable(value) else None
        target = f"{{py:obj}}`{name} <{where}.{name}>`" if where else f"`{name}`"
        first = cleandoc(value.__doc__).partition("\n\n")[0] if callable(value) else "a table of them, by name"
        rows += [[target, with_code(first.replace("\n", " "))]]
    return "\n\n".join(["# Names of `tradeoff`", cleandoc(tradeoff.__doc__).partition("\n\n")[0],
                        left(["name", "what"], rows)]) + "\n"  # fmt: skip


def api_page() -> str:
    return "# API reference\n\n" + toctree([f"{name.removeprefix('tradeoff.')} <{name}>" for name in modules()])
