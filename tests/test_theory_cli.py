"""python -m tradeoff.theory."""

import json
import os
import subprocess
import sys
from functools import partial

import pytest

from tradeoff.provenance import provenance
from tradeoff.theory import THEOREMS, Evidence, Theorem
from tradeoff.theory import __main__ as cli

NAME = "thm1-linf-l1"


def numeric(n=7):
    return Evidence(True, "1 = 1", {"one": 1, "two": 2.0, "between": (0.5, 1.5)}, 1e-9)


def symbolic():
    return Evidence(False, "1 ≠ 2")


WHY = "a toy needs no more"
REST = dict.fromkeys(("symbolic", "simulated", "certified"), WHY)
GOOD = Theorem("good", "none", "$1 = 1$", (numeric,), {}, REST, thorough={"larger": partial(numeric, n=70)})
BAD = Theorem("bad", "none", "$1 = 2$", (symbolic, numeric), {}, dict.fromkeys(("simulated", "certified"), WHY))


@pytest.fixture
def toys(monkeypatch):
    monkeypatch.setattr(cli, "THEOREMS", {"good": GOOD, "bad": BAD})


def test_a_theorem_from_the_command_line(tmp_path):
    command = [sys.executable, "-W", "error", "-m", "tradeoff.theory", NAME, "--json", "out.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 4 and all(line.startswith(f"ok   {NAME} ") for line in lines)
    report = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    (result,) = report["theorems"]
    assert result["name"] == NAME and len(result["checks"]) == len(THEOREMS[NAME].checks)
    assert all(check["holds"] is True and check["seconds"] > 0 and check["values"] for check in result["checks"])
    assert report["provenance"]["command"] == f"python -m tradeoff.theory {NAME} --json out.json"
    assert os.listdir(tmp_path) == ["out.json"]


def test_the_report_says_what_its_numbers_are(toys, capsys):
    assert cli.main(["good", "bad", "--json", "-"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["holds"] is False and set(report["provenance"]) == set(provenance(seconds=0))
    good, bad = report["theorems"]
    (check,) = good["checks"]
    assert check.pop("seconds") >= 0
    assert check == {
        "route": "numeric",
        "parameters": {"n": 7},
        "holds": True,
        "detail": "1 = 1",
        "values": {"one": 1, "two": 2.0, "between": [0.5, 1.5]},
        "intervals": "confidence intervals, all of which hold with probability at least 1 - 1e-09",
        "failure": 1e-9,
    }
    assert bad["checks"][0]["values"] == {} and bad["checks"][0]["intervals"] is None


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        (Evidence(True, "", {"V": (0.0, 1.0)}, 0.0), "certified"),
        (Evidence(True, "", {"V": (0.0, 1.0)}), "bounds in double precision"),
        (Evidence(True, "", {"V": 0.5}, 0.0), None),
    ],
)
def test_intervals_in_words(evidence, words):
    assert cli._meaning(evidence) == words


def test_thorough_runs_more(toys, capsys):
    assert cli.main(["good", "--thorough", "--json", "-"]) == 0
    checks = json.loads(capsys.readouterr().out)["theorems"][0]["checks"]
    assert [(check["route"], check["parameters"]) for check in checks] == [("numeric", {"n": 7}), ("larger", {"n": 70})]


def test_a_line_for_each_route_and_exit_1_if_one_fails(toys, capsys):
    assert cli.main(["good"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 4 and out[0].startswith("ok   good") and "1 = 1" in out[0]
    assert sum("does not apply: a toy needs no more" in line for line in out) == 3
    assert cli.main([]) == 1
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 8 and out[4].startswith("FAIL bad") and "symbolic" in out[4] and "1 ≠ 2" in out[4]


def test_each_theorem_once_in_the_order_asked(toys, capsys):
    assert cli.main(["bad", "good", "bad"]) == 1
    out = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in out] == ["bad"] * 4 + ["good"] * 4


def test_unknown_name(capsys):
    assert cli.main(["thm1-linfl1"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert captured.err.startswith(f"error: unknown theorem 'thm1-linfl1', did you mean '{NAME}'?")


def test_list(capsys):
    assert cli.main(["--list"]) == 0
    out = capsys.readouterr().out
    assert all(name in out and theorem.statement in out for name, theorem in THEOREMS.items())


def test_json_to_standard_output_is_json_alone(toys, capsys):
    assert cli.main(["bad", "--json", "-"]) == 1
    captured = capsys.readouterr()
    (result,) = json.loads(captured.out)["theorems"]
    assert [(check["route"], check["holds"]) for check in result["checks"]] == [("symbolic", False), ("numeric", True)]
    assert result["absent"] == {"simulated": WHY, "certified": WHY} and result["statement"] == "$1 = 2$"
    assert captured.err.startswith("FAIL bad")


def test_existing_file_is_replaced_only_by_force(toys, tmp_path, capsys):
    path = tmp_path / "out.json"
    path.write_text("precious")
    assert cli.main(["good", "--json", str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and "--force" in captured.err
    assert path.read_text() == "precious"
    assert cli.main(["good", "--json", str(path), "--force"]) == 0
    assert json.loads(path.read_text())["theorems"][0]["name"] == "good"
    assert os.listdir(tmp_path) == ["out.json"]


def test_unwritable_path_ends_before_any_work(toys, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "out.json", "/proc/nowhere/out.json"):
        assert cli.main(["good", "--json", str(path)]) == 2
        captured = capsys.readouterr()
        assert captured.out == "" and captured.err.startswith("error: ") and captured.err.count("\n") == 1
    assert os.listdir(tmp_path) == ["file"]
