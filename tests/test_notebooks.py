"""Every notebook is a chapter: a question, what was learned, an exercise with a hidden solution. It runs from top to
bottom, its solution too, offline and without a complaint, and only imports, plots and talks."""

import ast
import re
from pathlib import Path

import jupytext
import matplotlib.font_manager  # noqa: F401  builds its cache, with a notice, before a notebook would
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.py"))
CODE_CELLS = 10  # a page, not a program
SECONDS = 300  # for one cell, far above need even on a busy machine: a hang ends

# Runs in the kernel before the first cell: whatever asks for the network from then on fails.
OFFLINE = """
import sys
def _offline(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect"):
        raise OSError(f"the notebook wants the network: {event} {arguments}")
sys.addaudithook(_offline)
"""

notebooks = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def definitions(source: str) -> list[str]:
    """The lines of `source` that define a function or a class, or assign a lambda."""
    defining = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    assigning = (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.NamedExpr)
    lines = source.splitlines()
    return [
        lines[node.lineno - 1].strip()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, defining)
        or isinstance(node, assigning)
        and node.value
        and any(isinstance(n, ast.Lambda) for n in ast.walk(node.value))
    ]


def solution(notebook) -> str:
    """The code of the exercise's solution, which is folded away in the last cell."""
    (hidden,) = re.findall(r"^<details>\n(.*?)^</details>\Z", notebook.cells[-1].source, re.MULTILINE | re.DOTALL)
    (code,) = re.findall(r"^```python\n(.*?)^```$", hidden, re.MULTILINE | re.DOTALL)
    return code


def test_there_are_notebooks():
    assert NOTEBOOKS


@notebooks
def test_a_notebook_defines_nothing(path):
    assert definitions(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line", ["def f(): pass", "async def f(): pass", "class A: pass", "f = lambda: 1", "f: object = [lambda: 1]",
             "(f := lambda: 1)", "if True:\n    def f(): pass"],
)  # fmt: skip
def test_a_definition_is_found(line):
    assert definitions(f"x: int\nprint(sorted([1], key=lambda n: -n))\n{line}") == [line.splitlines()[-1].strip()]


@notebooks
def test_a_notebook_is_a_page(path):
    notebook = jupytext.read(path)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) <= CODE_CELLS, "split it, or move code into the package"
    first, last = notebook.cells[0], notebook.cells[-1]
    assert first.cell_type == last.cell_type == "markdown" and re.match(r"# \S", first.source)


@notebooks
def test_a_notebook_asks_answers_and_leaves_something_to_do(path):
    """The blank line after the summary is what lets Jupyter and the site render the solution as Markdown."""
    notebook = jupytext.read(path)
    question = notebook.cells[0].source.split("\n\n")[1]
    assert question.startswith("**") and question.endswith("**") and "?" in question
    headings = re.findall(r"^## (.*)", notebook.cells[-1].source, re.MULTILINE)
    assert headings[-2:] == ["What was learned", "Exercise"]
    assert notebook.cells[-1].source.count("<details>\n<summary><b>Solution</b></summary>\n\n") == 1
    assert any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(solution(notebook)))), "it checks nothing"


@notebooks
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    """From top to bottom in an empty folder, without network, and the solution too: no error, no warning, no file left,
    a figure."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # threads that wait for each other on a busy machine take minutes
    for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    (tmp_path / "work").mkdir()
    notebook = jupytext.read(path)
    notebook.cells = [new_code_cell(OFFLINE), *notebook.cells, new_code_cell(solution(notebook))]
    resources = {"metadata": {"path": str(tmp_path / "work")}}
    NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", resources=resources).execute()  # or it raises
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    complaints = [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"]
    assert not complaints
    assert any("image/png" in output.get("data", {}) for output in outputs), "no figure"
    assert not any((tmp_path / "work").iterdir()), "a notebook leaves no files behind"
