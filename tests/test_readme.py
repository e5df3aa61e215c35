"""What README.md says is printed is printed. (Its Python is run as doctests.)"""

import os
import re
import shlex
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

import tradeoff
from tradeoff.files import read_json

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
NUMBER = re.compile(r"\d+\.\d+")


def section(title: str) -> str:
    (found,) = re.findall(rf"^## {title}\n(.*?)^## ", README, re.MULTILINE | re.DOTALL)
    return found


def cells(line: str) -> list[str]:
    """The cells of a row, in which \\| is a bar of the text."""
    return [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


ROWS = [row for row in map(cells, section("What is reproduced").splitlines()) if len(row) == 4 and "`" in row[3]]
ROWS = [row for row in ROWS if NUMBER.search(row[2]) or "routes" in row[2]]
TABLES = re.findall(r"`python -m tradeoff.comparison ([\w-]+)`[^|]*\n\|[^\n]*\n\|[-:| ]+\n((?:\|[^\n]*\n)+)",
                    section("What is reproduced"))  # fmt: skip
TOUR = re.findall(
    r"^```console\n\$ ((?:.*\\\n)*.*)\n((?:(?!```).*\n)*)```$", section("A tour of a minute"), re.MULTILINE
)


def output(command: str, capsys) -> str:
    """What `python -m MODULE ARGUMENTS` prints; of a figure, which is committed, the numbers, shares as percentages."""
    python, _, module, *arguments = shlex.split(command)
    assert python == "python"
    if module == "tradeoff.figures":
        text = str(read_json(ROOT / "paper_figures" / f"{arguments[0]}.json")["numbers"])
        return NUMBER.sub(lambda found: f"{100 * float(found[0]):.1f}", text)
    name = f"{module}.__main__" if find_spec(module).submodule_search_locations else module
    assert import_module(name).main(arguments) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    "row",
    [pytest.param(row, marks=pytest.mark.slow if "theory" in row[3] else (), id=row[3].strip("`")) for row in ROWS],
)
def test_numbers_are_printed_by_the_command_beside_them(row, capsys):
    text = output(row[3].strip("`"), capsys)
    missing = [number for number in NUMBER.findall(f"{row[1]} {row[2]}") if number not in text]
    assert not missing, text
    if "of 4 routes" in row[2]:
        assert sum(line.startswith("ok") for line in text.splitlines()) == int(row[2][0])


@pytest.mark.parametrize(("name", "table"), TABLES, ids=[name for name, _ in TABLES])
def test_accuracies_are_those_of_the_comparison(name, table, capsys):
    """Cell by cell, in the order of the columns: those of the comparison also have intervals and passes."""
    printed = output(f"python -m tradeoff.comparison {name}", capsys).splitlines()
    for model, *stated in map(cells, table.splitlines()):
        (line,) = (line for line in printed if re.match(rf"{re.escape(model)} +union ", line))
        found = re.split(r"\s{2,}", line.strip())[2:]
        ours = [found[k].split(" ")[0] for k in (*range(len(stated) - 2), len(stated) - 2, len(stated))]
        assert stated == ours, line


def test_the_tables_are_there():
    assert len(ROWS) >= 8 and sum(len(NUMBER.findall(row[2])) for row in ROWS) > 8
    assert [name for name, _ in TABLES] == ["lp", "rt", "cifar10-lp", "cifar10-rt"]
    assert [command.split()[2] for command, _ in TOUR] == [f"tradeoff.{name}" for name in
                                                           ("theory", "game", "evaluate", "figures")]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("command", "shown"), TOUR, ids=[command.split()[2] for command, _ in TOUR])
def test_the_tour_prints_what_it_shows(command, shown, tmp_path):
    """Line by line, up to an ellipsis; where times or attacks are in it, numbers may differ from machine to machine."""
    exact = "tradeoff.game" in command

    def plain(line: str) -> str:
        return line if exact else re.sub(r"\s+", " ", re.sub(r"[\d.]+", "0", line)).strip()

    (tmp_path / "tradeoff").symlink_to(ROOT / "tradeoff")
    python = [sys.executable, *shlex.split(command.replace("\\\n", ""))[1:]]
    run = subprocess.run(
        python, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    lines = [plain(line) for line in run.stdout.splitlines()]
    for line in shown.splitlines():
        start = plain(line.split("…")[0].rstrip() if "…" in line else line)
        assert any(full.startswith(start) for full in lines), f"{line}\nis not in\n{run.stdout}"


def test_the_citation_is_of_this_version():
    assert f"version = {{{tradeoff.__version__}}}" in README
    assert f"version: {tradeoff.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
