"""python -m tradeoff.evaluate: anyone's model in, a report out."""

import errno
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt

from tradeoff import report, tables
from tradeoff.attacks.suites import suite
from tradeoff.evaluation import evaluate
from tradeoff.figures.style import paper_style
from tradeoff.models import build
from tradeoff.outcomes import Outcomes
from tradeoff.perturbations import parse
from tradeoff.report import main
from tradeoff.training import save_weights
from tradeoff.verdict import verdict

SETS = "linf:0.1 | l1:1"
REPORT = ["outcomes.json", "outcomes.npz", "plot.pdf", "plot.png", "report.json", "run", "table.md", "table.tex",
          "table.txt", "verdict.txt"]  # fmt: skip
DRAW, MASKING = report._draw, report.masking_report
MODULE = """
import torch
from torch import nn

def load():
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(36, 3))

def nothing():
    return None

def network():
    torch.manual_seed(2)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 12), nn.ReLU(), nn.Linear(12, 3))

def failing():
    raise KeyError("weights\\nnot there")

def probabilities():
    return nn.Sequential(load(), nn.Softmax(dim=1))

class Noisy(nn.Module):
    def forward(self, x):
        return x.flatten(1)[:, :3] + torch.rand(len(x), 3)
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with somebody's module `theirs` and file `data.npz`, labelled mostly as the model would."""
    monkeypatch.chdir(tmp_path)
    # A second each; the tests that look for plots or masking bring them back.
    monkeypatch.setattr(report, "_draw", lambda *_: None)
    monkeypatch.setattr(report, "masking_report", lambda *_, **__: SimpleNamespace(verdict="sound", lines=lambda: []))
    monkeypatch.delitem(sys.modules, "theirs", raising=False)
    (tmp_path / "theirs.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    x = np.random.default_rng(0).uniform(0, 1, (70, 1, 6, 6)).astype(np.float32)
    with torch.no_grad():
        y = theirs()(torch.tensor(x)).argmax(dim=1).numpy()
    y[:5] = (y[:5] + 1) % 3
    np.savez("data.npz", x=x, y=y.astype(np.uint8))
    yield SimpleNamespace(folder=tmp_path, x=x, y=y)
    sys.modules.pop("theirs", None)


def theirs():
    sys.modules.pop("theirs", None)
    from theirs import load

    with torch.random.fork_rng(devices=[]):
        return load().eval()


def run(*more, **changes):
    """The exit status of the command with these options besides the usual ones; None leaves one out."""
    options = {"entry": "theirs:load", "data": "data.npz", "sets": SETS, "chunk": "20", "out": "out"} | changes
    arguments = [part for name, value in options.items() if value for part in (f"--{name}", value)]
    with torch.random.fork_rng(devices=[]):
        return main([*arguments, *more])


# The report


def test_files_and_numbers(here, monkeypatch, capsys):
    monkeypatch.setattr(report, "_draw", DRAW)
    assert run() == 0
    assert sorted(os.listdir("out")) == REPORT
    printed = capsys.readouterr()
    outcomes = Outcomes.load("out/outcomes")
    expected = evaluate(theirs(), suite("quick", parse(SETS)), here.x, here.y, np.random.default_rng(0), chunk=20)
    for names in ((), ("linf",), ("l1",), ("linf", "l1")):
        np.testing.assert_array_equal(outcomes.standing(*names), expected.standing(*names))
    assert 0 < outcomes.union() <= outcomes.accuracy("linf") < outcomes.accuracy("l1") < outcomes.accuracy()
    written = json.loads(Path("out/report.json").read_text())
    assert list(written["table"]) == ["clean", "linf:0.1", "l1:1", "union", "average"]
    assert written["table"]["l1:1"]["accuracy"] == outcomes.accuracy("l1")
    assert written["table"]["union"]["interval"] == list(outcomes.interval("linf", "l1"))
    assert [gain["broken"] for gain in written["gains"]] == [gain.broken for gain in outcomes.gains()]
    assert written["data"] == "first 70 test examples of data.npz" and written["declared"]["chunk"] == 20
    table = Path("out/table.txt").read_text()
    assert table in printed.out and Path("out/verdict.txt").read_text() in printed.out
    row = next(line for line in table.splitlines() if line.startswith("l1:1")).split()
    assert row[2] == f"{100 * outcomes.accuracy('l1'):.1f}"
    for style in ("md", "tex"):
        assert f"{100 * outcomes.union():.1f}" in Path(f"out/table.{style}").read_text()
    assert Path("out/plot.pdf").read_bytes()[:5] == b"%PDF-" and Path("out/plot.png").read_bytes()[1:4] == b"PNG"
    said = " ".join(written["verdict"])
    assert "evaluated in eval mode" in said and "certified to stand" in said


def test_json_alone_on_standard_output(here, capsys):
    assert run("--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(Path("out/report.json").read_text())


def test_again_it_attacks_nothing(here, monkeypatch, capsys):
    assert run() == 0
    matrix, cells = Path("out/outcomes.npz").read_bytes(), Path("out/run/cells.jsonl").read_bytes()
    monkeypatch.setattr("tradeoff.evaluation._cell", None)
    assert run(chunk=None) == 0
    assert (Path("out/outcomes.npz").read_bytes(), Path("out/run/cells.jsonl").read_bytes()) == (matrix, cells)
    Path("out/outcomes.npz").unlink()
    assert run() == 0 and Path("out/outcomes.npz").read_bytes() == matrix


def test_a_suite_that_is_no_cascade_goes_on_too(here, monkeypatch):
    mixed = {"suite": "mixtures", "sets": "linf:0.1 + l1:1", "n": "8"}
    assert run(**mixed) == 0
    monkeypatch.setattr("tradeoff.evaluation._cell", None)
    assert run(**mixed) == 0


def test_what_is_there_is_not_replaced_unasked(here, capsys):
    assert run() == 0
    before = Path("out/report.json").read_bytes()
    for change in (
        {"n": "60"},
        {"sets": "l2:1"},
        {"seed": "1"},
        {"suite": "strong"},
        {"chunk": "30"},
        {"run": "other"},
    ):
        capsys.readouterr()
        status = run(**{"seed": "1"} | change)
        error = capsys.readouterr().err
        assert status == 2 and "is of another evaluation" in error and "(--force does)" in error
        assert Path("out/report.json").read_bytes() == before
    assert run("--force", seed="1") == 0
    assert Path("out/report.json").read_bytes() != before
    assert run(seed="1") == 0


def test_outcomes_of_somebody_else_are_left_alone(here, capsys):
    Path("out").mkdir()
    Path("out/outcomes.json").write_text("{}")
    assert run() == 2 and "holds outcomes that are not of this command" in capsys.readouterr().err
    assert Path("out/outcomes.json").read_text() == "{}"
    assert run("--force") == 0


def test_checkpoints_of_our_training(here, capsys):
    model = build("small_cnn", 3)
    about = {"experiment": "Experiment(data='digits', model='small_cnn', attacks=())"}
    save_weights(here.folder / "w.safetensors", model, about)
    save_weights(here.folder / "nameless.safetensors", model, {})
    request = {"entry": None, "data": "digits", "n": "100", "sets": "linf:0.01"}
    assert run(checkpoint="w.safetensors", **request) == 0
    assert run(checkpoint="nameless.safetensors", model="small_cnn", **request) == 0  # the same evaluation
    text = Path("out/verdict.txt").read_text()
    assert "close to chance among 10 classes" in " ".join(text.split())
    (here.folder / "cut.safetensors").write_bytes((here.folder / "w.safetensors").read_bytes()[:1000])
    flipped = bytearray((here.folder / "w.safetensors").read_bytes())
    flipped[-1] ^= 1
    (here.folder / "flipped.safetensors").write_bytes(flipped)
    torch.save(model.state_dict(), "w.pt")
    for change, message in [
        ({"checkpoint": "nameless.safetensors"}, "does not say which network it is of: name it with --model"),
        ({"checkpoint": "w.safetensors", "model": "paper_cnn"}, "does not hold the weights of paper_cnn"),
        ({"checkpoint": "w.safetensors", "model": "smal_cnn"}, "did you mean 'small_cnn'"),
        ({"checkpoint": "flipped.safetensors"}, "is damaged (its checksum is another): get it whole again"),
        ({"checkpoint": "cut.safetensors"}, "is not a whole safetensors file of our training"),
        ({"checkpoint": "w.pt"}, "may be pickled, which can run any code and is not opened"),
        ({"checkpoint": "none.safetensors"}, "none.safetensors is not a file"),
    ]:
        capsys.readouterr()
        assert run(**request | change) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "change, message",
    [
        ({"entry": "theirs"}, "must be MODULE:FUNCTION"),
        ({"entry": "nobodys:load"}, r"fails \(ModuleNotFoundError: No module named 'nobodys'\)"),
        ({"entry": "theirs:loda"}, r"fails \(AttributeError: module 'theirs' has no attribute 'loda'"),
        ({"entry": "theirs:failing"}, r"the entry theirs:failing fails \(KeyError: "),
        ({"entry": "theirs:nothing"}, "returns NoneType, but must return a torch.nn.Module"),
        ({"entry": "theirs:probabilities"}, "returns probabilities"),
        ({"entry": "theirs:Noisy"}, r"differs by .* when asked again.*\(--unsteady\)"),
        ({"data": "digit"}, "unknown data set 'digit', did you mean 'digits'"),
        ({"data": "none.npz"}, "none.npz is not a file"),
        ({"data": "text.npz"}, "text.npz cannot be read"),
        ({"data": "digits"}, "the model cannot take torch.float32 inputs of shape"),
        ({"n": "71"}, "cannot take the first 71 of 70"),
        ({"n": "0"}, "cannot take the first 0 of 70"),
        ({"sets": "lnf:0.1"}, "did you mean 'linf'"),
        ({"sets": "linf:8"}, "did you mean linf:8/255"),
        ({"suite": "stong"}, "unknown suite 'stong', did you mean 'strong'"),
        ({"chunk": "-1"}, "chunk is -1"),
        ({"box": "1,0"}, "the box is '1,0', but must be LOW,HIGH"),
        ({"box": "0,0.5"}, "outside the box"),
        ({"device": "cudda"}, "device 'cudda' is not to be had"),
        ({"out": "theirs.py"}, "cannot write to the folder"),
    ],
)
def test_wrong_requests(change, message, here, capsys):
    """One line, status 2, and nothing written."""
    Path("text.npz").write_text("no arrays")
    assert run(**change) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert re.search(message, error)
    assert not list(here.folder.glob("out/*.*"))


@pytest.mark.parametrize(
    "x, y, message",
    [
        ("bytes", "y", "x is torch.uint8"),
        ("normalised", "y", r"outside the box"),
        ("NaN", "y", "x holds NaN"),
        ("x", "one too many", "labels range over 1..3"),
        ("x", "floats", "float32 labels y"),
        ("x", "short", r"labels y of shape \(69,\)"),
        ("x", "objects", "cannot be read .*allow_pickle=False"),
        ("x", None, "cannot be read"),
        ("doubles", "y", r"torch.float64 inputs of shape \(8, 1, 6, 6\) \(its weights are torch.float32\)"),
    ],
)
def test_wrong_data(x, y, message, here, capsys):
    arrays = {
        "x": here.x, "y": here.y, "bytes": (here.x * 255).astype(np.uint8), "normalised": (here.x - 0.13) / 0.31,
        "doubles": here.x.astype(np.float64),
        "NaN": np.where(here.x > 0.9, np.nan, here.x), "one too many": here.y + 1, "short": here.y[1:],
        "floats": here.y.astype(np.float32), "objects": np.array([{}] * 70, dtype=object),
    }  # fmt: skip
    np.savez("data.npz", x=arrays[x], **({"y": arrays[y]} if y else {}))
    assert run() == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and re.search(message, error)


def test_a_randomised_model_if_it_is_wanted(here):
    assert run("--unsteady", entry="theirs:Noisy") == 0
    assert "one answer each" in " ".join(Path("out/verdict.txt").read_text().split())


def test_vectors_without_a_box(here):
    np.savez("vectors.npz", x=10 * here.x.reshape(70, 36) - 5, y=here.y)
    assert run(data="vectors.npz", box="none") == 0
    assert json.loads(Path("out/report.json").read_text())["table"]["linf:0.1"]["accuracy"] <= 1


def test_other_chunks(here, capsys):
    assert run("--check-chunks") == 0
    chunks = json.loads(Path("out/report.json").read_text())["chunks"]
    again = evaluate(
        theirs(), suite("quick", parse(SETS)), here.x, here.y, np.random.default_rng(0), chunk=10, cascade=True
    )
    outcomes = Outcomes.load("out/outcomes")
    differs = outcomes.differs(again)
    assert chunks == {"sizes": [20, 10], "cells": 210, "differing": int(differs.sum()),
                      "examples": np.flatnonzero(differs.any(axis=1)).tolist(),
                      "union": [outcomes.union(), again.union()]}  # fmt: skip
    assert f"In chunks of 10 instead of 20, {differs.sum()} of 210 outcomes differ" in capsys.readouterr().out.replace(
        "\n", " "
    )


# Certificates and masking


def test_certified_accuracies(here, monkeypatch, capsys):
    """Per set, and for the union example by example; misclassified examples are not certified whatever is claimed."""
    attacked = {}

    def certify(model, x, y, S, *, box):
        assert x.shape == (70, 1, 6, 6) and y.dtype == torch.int64 and box == (0.0, 1.0)
        outcomes = attacked["outcomes"]
        certified = outcomes.standing(S.name) & (np.arange(70) % 2 == (S.name == "l1"))
        return certified | ~outcomes.standing()

    attacked["outcomes"] = evaluate(
        theirs(), suite("quick", parse(SETS)), here.x, here.y, np.random.default_rng(0), chunk=20
    )
    monkeypatch.setattr(report, "certify", certify)
    assert run() == 0
    table = json.loads(Path("out/report.json").read_text())["table"]
    for name, entry in table.items():
        assert entry["certified"] is None or entry["certified"] <= entry["accuracy"]
        assert (entry["certified"] is None) == (name in ("clean", "average")) and not entry.get("contradicted")
    standing = attacked["outcomes"].standing("linf")
    assert table["linf:0.1"]["certified"] == np.mean(standing & (np.arange(70) % 2 == 0))
    assert table["union"]["certified"] == 0
    assert "certified to stand" in capsys.readouterr().out.replace("\n", " ")


def test_certificates_that_attacks_contradict(here, monkeypatch):
    monkeypatch.setattr(report, "certify", lambda model, x, y, S, *, box: np.ones(len(x), dtype=bool))
    assert run() == 0
    assert "WARNING: attacks broke examples that were certified" in " ".join(
        Path("out/verdict.txt").read_text().split()
    )


def test_what_was_left_uncertified_is_certified_by_the_same_command(here, monkeypatch, capsys):
    """Nothing is attacked again, and what is attacked is the same."""
    certified = []

    def certify(model, x, y, S, *, box):
        certified.append(str(S))
        return np.zeros(len(x), dtype=bool)

    monkeypatch.setattr(report, "certify", certify)
    assert run("--uncertified") == 0 and certified == []
    first, cells = json.loads(Path("out/report.json").read_text()), Path("out/run/cells.jsonl").read_bytes()
    assert all(entry["certified"] is None for entry in first["table"].values())
    assert "certifying" not in capsys.readouterr().err
    assert run() == 0 and certified == ["linf:0.1", "l1:1"]
    second = json.loads(Path("out/report.json").read_text())
    assert second["table"]["union"]["certified"] == 0.0 and second["gains"] == first["gains"]
    assert Path("out/run/cells.jsonl").read_bytes() == cells and "certifying under l1:1" in capsys.readouterr().err


def test_certificates_for_some_sets_only(here, monkeypatch):
    def certify(model, x, y, S, *, box):
        if S.name == "l1":
            raise ValueError("only linf")
        return np.zeros(len(x), dtype=bool)

    monkeypatch.setattr(report, "certify", certify)
    assert run() == 0
    table = json.loads(Path("out/report.json").read_text())["table"]
    assert [table[name]["certified"] for name in ("linf:0.1", "l1:1", "union")] == [0.0, None, None]


def test_masking_is_reported(here, monkeypatch):
    asked = []

    def masking_report(model, x, y, sets, rng, *, box):
        asked.append((len(x), str(sets), box))
        if sets.sets[0].eps > 0.1:
            raise ValueError("no example is classified correctly")
        return SimpleNamespace(verdict="masked", lines=lambda: ["9 of 10 gradients are zero"])

    monkeypatch.setattr(report, "masking_report", masking_report)
    assert run() == 0 and run() == 0
    assert asked == [(70, SETS, (0.0, 1.0))]
    text = Path("out/verdict.txt").read_text()
    assert "WARNING: the gradients are masked" in text and text.endswith("\n9 of 10 gradients are zero\n")
    assert run(sets="linf:0.2 | l1:1", out="unknown") == 0
    assert Path("unknown/verdict.txt").read_text().endswith("\nno example is classified correctly\n")


@pytest.mark.slow
def test_the_truth_lies_between_certificates_and_attacks(here, monkeypatch):
    """With nothing replaced, on a network whose labels are its own: certified ≤ attacked, example by example."""
    monkeypatch.setattr(report, "masking_report", MASKING)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        y = importlib.import_module("theirs").network()(torch.tensor(here.x)).argmax(dim=1).numpy()
    np.savez("data.npz", x=here.x, y=y)
    assert run(entry="theirs:network", sets="linf:0.1 | l2:0.6 | l1:1.8") == 0
    written = json.loads(Path("out/report.json").read_text())
    certified = json.loads(Path("out/run/certified.json").read_text())
    outcomes, table = Outcomes.load("out/outcomes"), written["table"]
    for name, stand in certified.items():
        assert not (np.array(stand) & ~outcomes.standing(parse(name).name)).any()
        assert 0.1 < table[name]["certified"] == np.mean(stand) <= table[name]["accuracy"] < 1
    assert table["union"]["certified"] == np.mean(np.all(list(certified.values()), axis=0)) > 0.1
    assert (
        table["union"]["certified"] <= table["union"]["accuracy"] <= min(table[name]["accuracy"] for name in certified)
    )
    assert (
        written["masking"]["verdict"] == "sound"
        and "The gradients that the attacks follow look sound." in written["verdict"]
    )


# Interruptions


def test_interrupted_it_goes_on(here, monkeypatch, capsys):
    from tradeoff import evaluation

    assert run(out="whole") == 0
    cell, left = evaluation._cell, [5]

    def stop(*args):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return cell(*args)

    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "_cell", stop)
        assert run() == 130
        assert "interrupted: the same command goes on where this one was" in capsys.readouterr().err
        left[0] = 12 - 5
        assert run() == 0
    assert Path("out/outcomes.npz").read_bytes() == Path("whole/outcomes.npz").read_bytes()


def test_nan_midway(here, monkeypatch, capsys):
    """Status 1, a line that names the attack; with the model mended, the same command goes on."""
    from tradeoff import evaluation

    cell = evaluation._cell

    def failing(model, name, *rest):
        if name == "quick l1:1":
            raise ValueError(f"{name}: the model returns NaN or infinite logits: check its weights and its input")
        return cell(model, name, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "_cell", failing)
        assert run() == 1
    assert "error: quick l1:1: the model returns NaN" in capsys.readouterr().err
    assert len(Path("out/run/cells.jsonl").read_bytes().splitlines()) == 8
    assert run() == 0


@pytest.mark.parametrize("where", ["tradeoff.outcomes.write_atomically", "tradeoff.report.write_atomically"])
def test_a_full_disk(where, here, monkeypatch, capsys):
    def full(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(report, "_draw", DRAW)
    with monkeypatch.context() as patch:
        patch.setattr(where, full)
        assert run() == 1
    error = capsys.readouterr().err
    assert "error: cannot write the report to out (No space left on device): make room" in error
    monkeypatch.setattr("tradeoff.evaluation._cell", None)
    assert run() == 0 and sorted(os.listdir("out")) == REPORT


@pytest.mark.slow
def test_ctrl_c_in_a_real_process(here):
    arguments = [sys.executable, "-W", "error", "-m", "tradeoff.evaluate", "--entry", "theirs:load", "--data",
                 "data.npz", "--sets", SETS, "--chunk", "1"]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(Path(report.__file__).parents[1])}
    process = subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE, text=True)
    cells = here.folder / "out/evaluation/run/cells.jsonl"
    while not cells.exists() or cells.stat().st_size < 12_000:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert "interrupted: the same command goes on" in process.communicate(timeout=60)[1]
    assert process.returncode == 130 and 70 < len(cells.read_bytes().splitlines()) < 3 * 70
    assert subprocess.run([*arguments, "--json"], env=environment, capture_output=True, check=True).returncode == 0
    assert len(cells.read_bytes().splitlines()) == 3 * 70


# The verdict, on numbers made by hand


def test_verdict_by_hand():
    def entry(family, share, certified=None):
        return {"family": family, "accuracy": share, "interval": [share - 0.01, share + 0.01], "certified": certified}

    def gain(attack, broken, union):
        return {"attack": attack, "set": "linf:0.3", "tried": 9, "broken": broken, "union": union, "passes": 10.4,
                "seconds": 1.0}  # fmt: skip

    table = {"clean": entry("clean", 0.98), "linf:0.3": entry("linf", 0.9, 0.5), "l1:10": entry("l1", 0.07, 0.02),
             "union": entry("union", 0.04, 0.01), "average": {"family": "average", "accuracy": 0.485}}  # fmt: skip
    gains = [gain("a", 70, 70), gain("b", 0, 0), gain("c", 24, 24)]
    said = verdict({"data": "first 100 digits", "classes": 10, "table": table, "gains": gains, "chunks": None,
                    "masking": {"verdict": "unknown"}, "notes": []})  # fmt: skip
    assert said == [
        "Of the first 100 digits, 98.0 % (95 % interval 97.0 to 99.0) are classified correctly.",
        "Under attack it is weakest on l1:10, where 7.0 % (95 % interval 6.0 to 8.0) stand.",
        "Under the worst set for each example 4.0 % (95 % interval 3.0 to 5.0) stand: 94.0 points less than "
        "unperturbed, and 3.0 less than on the weakest set alone.",
        "At least 1.0 % are certified to stand under all of them, so the truth lies between the two.",
        "Of the 94 examples broken, the first to break them were: a 70, c 24.",
        "1 of 3 attacks broke nothing that attacks before them had not; all together cost 31 forward and backward "
        "passes of each example.",
        "Whether the gradients are masked could not be told (reason below).",
    ]


@pytest.mark.parametrize("certified", [None, 0.02])
def test_the_plot_shows_intervals_and_certificates(certified):
    with_interval = {"accuracy": 0.5, "interval": [0.4, 0.7], "certified": certified}
    table = {
        name: {"family": family, **with_interval}
        for name, family in (("clean", "clean"), ("l3:1", "l3"), ("linf:1 + l1:2", "linf+l1"), ("union", "union"))
    }
    with paper_style():
        figure = report.draw({"table": table | {"average": {"family": "average", "accuracy": 0.5}}, "data": "digits",
                              "model": "m", "suite": "quick"})  # fmt: skip
    (ax,) = figure.axes
    heights = [patch.get_height() for patch in ax.patches]
    assert heights == ([50.0] * 4 if certified is None else [50.0, 2.0] * 4)
    assert [text.get_text() for text in ax.get_xticklabels()] == list(table)
    assert ax.get_title("left") == ("hatched: certified" if certified else "")
    plt.close(figure)


def test_tables_are_rectangular():
    header, rows = tables.of_sets({"clean": {"accuracy": 0.5, "interval": [0.25, 0.75]}, "average": {"accuracy": 1.0}})
    assert rows == [["clean", "–", "50.0", "25.0–75.0"], ["average", "–", "100.0", "–"]]
    for style, make in tables.STYLES.items():
        lines = [line for line in make(header, rows).splitlines() if "." in line]
        separator = {"txt": "  ", "md": " | ", "tex": " & "}[style]
        assert len(lines) == 2 and all(separator in line for line in lines)


# The name: a command that leaves the function of its name alone


@pytest.mark.parametrize(
    "code",
    [
        "import tradeoff.evaluate; found = tradeoff.evaluate",
        "import tradeoff.evaluate as found",
        "from tradeoff import evaluate as first; import tradeoff.evaluate; from tradeoff import evaluate as found",
        "found = __import__('importlib').import_module('tradeoff.evaluate')",
        "import tradeoff.evaluate; import tradeoff.evaluate; import tradeoff; found = tradeoff.evaluate",
    ],
)
def test_the_function_keeps_its_name(code, monkeypatch):
    import tradeoff

    monkeypatch.delitem(sys.modules, "tradeoff.evaluate", raising=False)
    monkeypatch.delitem(vars(tradeoff), "evaluate", raising=False)
    names = {}
    exec(code, names)
    assert names["found"] is evaluate is tradeoff.evaluate and names.get("first", evaluate) is evaluate


@pytest.mark.slow
def test_the_command_runs_under_its_name():
    found = subprocess.run([sys.executable, "-W", "error", "-m", "tradeoff.evaluate", "--help"], capture_output=True,
                           text=True, check=True, timeout=100)  # fmt: skip
    assert found.stdout.startswith("usage: python -m tradeoff.evaluate")


def test_without_matplotlib_there_is_no_plot(here, monkeypatch, capsys):
    monkeypatch.setattr(report, "_draw", DRAW)
    monkeypatch.setattr(report, "provenance", dict)  # it would ask the module that is hidden here for its version
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run() == 0 and "no plot, as matplotlib is missing" in capsys.readouterr().err
    assert sorted(os.listdir("out")) == [name for name in REPORT if "plot" not in name]
