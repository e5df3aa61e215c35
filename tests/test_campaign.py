"""python -m tradeoff.experiments: many runs, each job made once, and a report on every one."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from interruption import interrupt
from jobs import Here

from tradeoff import campaign, engines, evaluation, experiments, report
from tradeoff.attacks import PGD
from tradeoff.attacks.suites import FIXED, SUITES
from tradeoff.campaign import GROUPS, main, select
from tradeoff.experiments import EXPERIMENTS, Experiment, attacks_of
from tradeoff.files import read_json
from tradeoff.outcomes import Outcomes
from tradeoff.perturbations import L1, Linf
from tradeoff.provenance import provenance

TINY = Experiment("digits", epochs=2, batch=20, warmup=1, suite="tiny", test=25)


@pytest.fixture
def toys(monkeypatch, tmp_path):
    """Two experiments on 60 digits in the current folder, made in this process; the list gets a name for every call of
    fit and of evaluate."""
    calls, load = [], experiments.load

    def count(name):
        function = getattr(experiments, name)
        monkeypatch.setattr(experiments, name, lambda *args, **how: calls.append(name) or function(*args, **how))

    for module in (experiments, campaign):
        monkeypatch.setattr(module, "load", lambda name, split: load(name, split).first(60))
    toys = {"toy-a": TINY, "toy-b": replace(TINY, seed=1)}
    for module in (experiments, campaign):
        monkeypatch.setattr(module, "EXPERIMENTS", toys)
    monkeypatch.setattr(campaign, "GROUPS", {"toys": ("toy-*",), "one": ("toy-b",)})
    monkeypatch.setitem(FIXED, "tiny", {"linf": PGD(Linf(0.1), 2), "l1": PGD(L1(4), 2)})
    monkeypatch.setattr(campaign, "Local", Here)
    count("fit"), count("evaluate")
    monkeypatch.chdir(tmp_path)
    return calls


def states(folder="out/runs"):
    return {entry["job"]: entry["state"] for entry in read_json(f"{folder}/experiments.json")["jobs"]}


def files():
    return {str(path): path.read_bytes() for path in Path("out/runs").rglob("*") if path.is_file()}


# What is asked for


def test_groups_are_of_experiments():
    for name, patterns in GROUPS.items():
        assert name not in EXPERIMENTS
        assert all(select([pattern]) for pattern in patterns)
        assert select([name]) == list(dict.fromkeys(found for pattern in patterns for found in select([pattern])))
    assert select(["digits"]) == [name for name in EXPERIMENTS if EXPERIMENTS[name].data == "digits"]
    assert select(["digits-linf", "*s-linf", "digits-linf", "*t-linf"]) == ["digits-linf", "mnist-linf"]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_suite_attacks_the_sets_of_the_experiment(name):
    sets = {str(attack.S) for attack in attacks_of(EXPERIMENTS[name]).values()}
    for suite in SUITES:
        attacked = {str(attack.S) for attack in attacks_of(EXPERIMENTS[name], suite).values()}
        if suite.endswith("mixtures"):
            assert len(attacked - sets) == (len(sets) > 1) and len(attacked & sets) == min(2, len(sets))
        else:
            assert attacked == sets
    assert attacks_of(EXPERIMENTS[name], "rt") == FIXED["rt"]


def test_list(toys, capsys):
    assert main(["--list"]) == 0
    assert capsys.readouterr().out.split("\n") == [
        "experiments, and what is in out/runs:", "toy-a  –", "toy-b  –", "", "groups:", "toys   toy-a toy-b",
        "one    toy-b", "",
    ]  # fmt: skip
    assert main(["one"]) == 0 and main(["toy-a", "--n", "7", "--suite", "quick"]) == 0
    capsys.readouterr()
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:3] == ["toy-a  trained, quick-7 evaluated", "toy-b  trained, tiny-25 evaluated"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "no experiment is named: give some of toys, one, or see --list"),
        (["toy-c"], "unknown experiment or group 'toy-c', did you mean 'toy-"),
        (["toyz"], "unknown experiment or group 'toyz', did you mean 'toys'"),
        (["cifar-*"], "unknown experiment or group 'cifar-*'"),
        (["toys", "--suite", "stong"], "unknown suite 'stong', did you mean 'strong'"),
        (["toys", "--engine", "rai"], "unknown engine 'rai', did you mean 'ray'"),
        (["toys", "--workers", "0"], "workers is 0"),
        (["toys", "--n", "0"], "n is 0"),
        (["toys", "--n", "61"], "cannot take the first 61 of 60 images: ask for 1 to 60"),
        (["toys", "--device", "gpu"], "device 'gpu' is not to be had"),
        (["toys", "--engine", "ray", "--device", "cuda:1"], "hands out GPUs itself: use cpu or cuda"),
        (["toys", "--engine", "ray", "--gpus", "-1"], "--gpus is -1.0, but must be 0 or more"),
        (["toys", "--address", "auto"], "--address is of a cluster: give --engine ray with it"),
        (["toys", "--gpus", "1"], "--gpus is of a cluster: give --engine ray with it"),
        (["toys", "--runs", "file/below"], "cannot write to the folder file/below"),
    ],
)
def test_wrong_requests_end_before_any_work(arguments, message, toys, capsys):
    Path("file").write_text("")
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert message in err and err.count("\n") == 1 and err.startswith("error: ") and out == ""
    assert toys == [] and os.listdir() == ["file"]


def test_missing_data_ends_before_any_work(toys, capsys, monkeypatch):
    def load(name, split):
        raise FileNotFoundError("train-images is missing: set TRADEOFF_DATA to a folder that has the data")

    monkeypatch.setattr(campaign, "load", load)
    assert main(["toys"]) == 2
    assert "set TRADEOFF_DATA" in capsys.readouterr().err and toys == [] and os.listdir() == []


def test_without_ray_nothing_is_lost(toys, capsys, monkeypatch):
    """Not even with --force."""
    assert main(["toys"]) == 0
    before = files()
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    assert main(["toys", "--engine", "ray", "--force"]) == 2
    assert "error: Ray is not installed: pip install 'tradeoff[cluster]'" in capsys.readouterr().err
    assert files() == before and toys == ["fit", "evaluate"] * 2


def test_one_command_at_a_time(toys, capsys):
    Path("out/runs").mkdir(parents=True)
    with open("out/runs/experiments.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert main(["toys"]) == 2
    assert "another command makes runs in out/runs now" in capsys.readouterr().err and toys == []
    assert main(["toys"]) == 0


# What is made


def test_every_job_is_done_once(toys, capsys):
    assert main(["toys"]) == 0
    assert toys == ["fit", "evaluate"] * 2
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["job", "state", "attempts", "seconds"] and len(out) == 6
    assert out[1].split() == ["train", "toy-a", "done", "1", "0.5"]
    assert out[-1] == "written to out/runs/experiments.json"
    assert set(states().values()) == {"done"}
    about = read_json("out/runs/experiments.json")["about"]
    assert about["engine"] == "local" and about.keys() >= provenance().keys()
    before = files()

    assert main(["toy-a", "toys"]) == 0
    assert toys == ["fit", "evaluate"] * 2 and set(states().values()) == {"done before"}
    changed = {path for path, content in files().items() if content != before[path]}
    assert changed <= {"out/runs/experiments.json"}
    # Another suite is another job on the same weights; figures find what they need.
    assert main(["one", "--suite", "quick", "--n", "9"]) == 0
    assert states() == {"train toy-b": "done before", "evaluate toy-b quick-9": "done"}
    assert toys[4:] == ["evaluate"]
    assert len(experiments.Results("out/runs", progress=False)("toy-b").outcomes.correct) == 25
    assert len(toys) == 5


def test_force_makes_what_is_named_again(toys):
    assert main(["toys"]) == 0 and main(["one", "--suite", "quick"]) == 0
    note = Path("out/runs/toy-b/note")
    note.write_text("mine")
    assert main(["one", "--force"]) == 0
    assert toys[5:] == ["fit", "evaluate"] and note.exists()
    assert set(states().values()) == {"done"}
    # What other attacks had found was found of other weights.
    assert [path.parent.name for path in Path("out/runs/toy-b").glob("*/outcomes.json")] == ["tiny-25"]
    assert Path("out/runs/toy-a/tiny-25/outcomes.json").exists()


def test_a_suite_made_for_sets_is_a_cascade_that_the_report_goes_on_from(toys, monkeypatch, capsys):
    """What `python -m tradeoff.evaluate` would do: from the same cells it attacks nothing."""
    assert main(["toy-a", "--suite", "quick", "--n", "20"]) == 0
    outcomes = Outcomes.load("out/runs/toy-a/quick-20/outcomes")
    assert outcomes.about["cascade"] and outcomes.attacks == ("clean", "quick linf:0.1", "quick l1:4")
    attacked = []
    monkeypatch.setattr(evaluation, "_cell", lambda *_: attacked.append(1))
    monkeypatch.setattr(report, "_draw", lambda *_: None)
    monkeypatch.setattr(report, "_masking", lambda *_: {"verdict": "unknown", "lines": []})
    monkeypatch.setattr(report, "_certify", lambda *_: dict.fromkeys(["linf:0.1", "l1:4"]))
    command = "--data digits --n 20 --suite quick --out out/report --run out/runs/toy-a/quick-20".split()
    command += ["--checkpoint", "out/runs/toy-a/weights.safetensors", "--sets", "linf:0.1 | l1:4"]
    assert report.main(command) == 0 and attacked == []
    again = Outcomes.load("out/report/outcomes")
    np.testing.assert_array_equal(again.correct, outcomes.correct)
    np.testing.assert_array_equal(again.tried, outcomes.tried)


def test_a_failed_job_is_reported_and_the_others_done(toys, capsys, monkeypatch):
    assert main(["toys"]) == 0
    monkeypatch.setitem(experiments.EXPERIMENTS, "toy-b", replace(TINY, epochs=1))
    assert main(["toys", "--n", "9"]) == 1
    assert states() == {
        "train toy-a": "done before", "evaluate toy-a tiny-9": "done",
        "train toy-b": "failed", "evaluate toy-b tiny-9": "failed",
    }  # fmt: skip
    out = capsys.readouterr().out
    assert "failed: train toy-b: " in out and "holds another experiment than the one declared now" in out
    assert "failed: evaluate toy-b tiny-9: not tried, as it needs 'train toy-b', which failed" in out
    assert len(toys) == 5


@pytest.mark.parametrize("force", [False, True])
def test_interrupted(force, toys, monkeypatch, capsys):
    assert main(["one"]) == 0
    with monkeypatch.context() as patch:
        interrupt(patch, 5)  # in the second epoch
        assert main(["toys", *["--force"] * force]) == 130
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("interrupted: the same command" + " without --force" * force) and "goes on" in last
    assert "not done" in states().values() and "failed" not in states().values()
    assert main(["toys"]) == 0
    assert toys.count("fit") == (5 if force else 3) - force and set(states().values()) <= {"done", "done before"}


SCRIPT = """
import sys
from tradeoff import experiments
from tradeoff.campaign import main
from tradeoff.command import run
experiments.EXPERIMENTS |= {f"toy-{seed}": experiments.Experiment("digits", epochs=40, seed=seed) for seed in range(2)}
if __name__ == "__main__":
    sys.exit(run(main, sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("signal_number", (signal.SIGINT, signal.SIGTERM))
def test_a_signal_ends_the_workers(signal_number, tmp_path):
    """A real process and a real signal while both workers train: 130, a report, no worker left."""
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-W", "error", str(tmp_path / "script.py"), "toy-*", "--workers", "2", "--runs", "runs"]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parent.parent)}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=env, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    checkpoints = [tmp_path / "runs" / f"toy-{seed}" / "checkpoint.safetensors" for seed in range(2)]
    deadline = time.monotonic() + 120
    while not all(path.exists() for path in checkpoints) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal_number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err and err.splitlines()[-1].startswith("interrupted: the same command goes on")
    assert out.count("not done") == 4
    before = [path.stat().st_mtime_ns for path in checkpoints]
    time.sleep(2)  # an epoch would have ended
    assert [path.stat().st_mtime_ns for path in checkpoints] == before
