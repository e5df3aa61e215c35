"""python -m tradeoff, and python -m tradeoff.game: one front, the same flags and exit codes everywhere."""

import json
import re
import subprocess
import sys

import pytest

from tradeoff import L1, BernoulliFeature, Linf, game_value
from tradeoff.__main__ import COMMANDS, main
from tradeoff.command import run
from tradeoff.game import main as game

SETS = ["--sets", "linf:0.2 | l1:2"]
D_B = BernoulliFeature(2, 100, 0.9)
BALLS = (Linf(0.2), L1(2))


def test_values_and_json(capsys, tmp_path):
    assert game([*SETS, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {name: found["value"] for name, found in report["games"].items()} == {
        name: game_value(D_B, BALLS, name).value for name in ("average", "union", "affine")
    }
    file = tmp_path / "game.json"
    ask = ["--alpha", "1.5", "--d", "50", "--p0", "0.8", *SETS, "--adversary", "union", "--json", str(file)]
    assert game(ask) == 0
    value = game_value(BernoulliFeature(1.5, 50, 0.8), BALLS, "union").value
    assert f"{value:.6f}" in capsys.readouterr().out
    assert json.loads(file.read_text())["games"]["union"]["value"] == value
    assert game(ask) == 2 and "--force" in capsys.readouterr().err
    assert game([*ask, "--force"]) == 0


def test_certified_and_weights(capsys):
    assert game([*SETS, "--weights", "0.75,0.25", "--certified", "--json", "-"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["games"].values()
    low, high = found["certified"]
    assert found["value"] == game_value(D_B, BALLS, weights=(0.75, 0.25)).value
    assert low <= found["value"] <= high + 1e-9 and high - low < 1e-5


@pytest.mark.parametrize(
    ("wrong", "word"),
    [(["--sets", "lnf:1"], "linf"), (["--sets", "rt:3px,30deg"], "lp ball"), (["--sets", ""], "perturbation set"),
     ([*SETS, "--p0", "0.3"], "p0"), ([*SETS, "--alpha", "nan"], "alpha"), ([*SETS, "--d", "0"], "d is 0"),
     ([*SETS, "--adversary", "affin"], "affine"), ([*SETS, "--weights", "1,x"], "numbers"),
     ([*SETS, "--weights", "1,1"], "sum"), ([*SETS, "--json", "/"], "folder")],
)  # fmt: skip
def test_a_wrong_request_is_one_line_and_exit_code_2(wrong, word, capsys):
    assert game(wrong) == 2
    out, err = capsys.readouterr()
    assert not out and err.startswith("error: ") and err.count("\n") == 1 and word in err


def test_the_front_lists_and_runs_all_commands(capsys):
    assert main([]) == 0
    listed = capsys.readouterr().out
    assert all(re.search(rf"^  {name} ", listed, re.MULTILINE) for name in COMMANDS)
    assert main(["game", *SETS, "--adversary", "union"]) == 0
    assert "0.228870" in capsys.readouterr().out
    assert main(["gaem"]) == 2 and "did you mean 'game'" in capsys.readouterr().err
    assert main(["--version"]) == 0


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_has_an_example_and_the_exit_codes(name, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])
    text = capsys.readouterr().out
    words, usage = " ".join(text.split()), " ".join(text.split("\n\n")[0].split())
    assert f"example: python -m tradeoff.{name}" in words and "Exit codes: 0 done" in words and "130" in words
    flags = {"out": "DIR", "runs": "DIR", "run": "DIR", "n": "N", "device": "DEVICE", "json": "[FILE]"}
    for flag, meaning in flags.items():
        assert set(re.findall(rf"\[--{flag}\b ?(.*?)\](?: |$)", usage)) <= {meaning}, flag
    assert all(f"[--{flag}]" in usage for flag in ("force", "list") if f"--{flag}" in usage)


def test_an_interrupted_command_ends_with_130(capsys):
    def interrupted(arguments):
        raise KeyboardInterrupt

    assert run(interrupted) == 130 and capsys.readouterr().err == "interrupted\n"


def test_nobody_reads_on():
    reader = f"{sys.executable} -W error -m tradeoff game --sets linf:0.1 --json | head -c 5"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {reader}"], capture_output=True, text=True, timeout=60)
    assert not done.stderr


def test_the_front_needs_no_torch():
    code = "import sys; from tradeoff.__main__ import main; main(['game', '--sets', 'linf:0.1']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert "tradeoff.theory.game" in done.stdout and not {"torch", "matplotlib"} & set(done.stdout.split())
