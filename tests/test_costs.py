"""Costs: added up from what runs leave, and the time of many jobs against all schedules there are."""

import json
from itertools import product

import numpy as np
import pytest

from tradeoff.attacks import PGD
from tradeoff.costs import Cost, main, makespan, measured
from tradeoff.data import load
from tradeoff.evaluation import evaluate
from tradeoff.models import build
from tradeoff.perturbations import Linf


def test_costs_are_those_of_logs_and_cells(tmp_path, capsys):
    epochs = [{"epoch": k + 1, "forward": 100, "backward": 50 * k, "seconds": 1.5} for k in range(3)]
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "log.jsonl").write_text("\n".join(map(json.dumps, epochs)) + "\n")
    digits, attacks = load("digits", "test").first(25), {"linf": PGD(Linf(0.1), 2), "again": PGD(Linf(0.2), 2)}
    rng = np.random.default_rng(0)
    outcomes = evaluate(
        build("small_cnn", 0), attacks, digits.x, digits.y, rng, chunk=10, run=tmp_path / "a" / "few-25"
    )
    trained, evaluated = measured(tmp_path)
    assert trained == Cost("train a", 4.5, 225)
    assert evaluated.job == "evaluate a/few-25"
    assert evaluated.passes == sum(sum(passes.values()) for passes in outcomes.about["passes"].values()) / 2
    assert evaluated.seconds == pytest.approx(sum(outcomes.about["seconds"].values()), abs=0.01)

    assert main(["--runs", str(tmp_path), "--jobs", "5", "--workers", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["train", "a", "4", "0.00", "50"]
    expected = makespan([4.5, evaluated.seconds] * 2 + [4.5], 2)
    assert f"{expected / 60:.0f} minutes on 2 such workers" in lines[-1]


def test_makespan_against_every_schedule():
    rng = np.random.default_rng(0)
    for _ in range(50):
        workers, seconds = int(rng.integers(1, 4)), rng.integers(1, 20, size=6)
        loads = [np.bincount(plan, seconds, workers).max() for plan in product(range(workers), repeat=6)]
        found = makespan(seconds, workers)
        assert min(loads) <= found <= (4 / 3) * min(loads)
        assert found >= max(seconds.max(), seconds.sum() / workers)


def test_a_damaged_log_is_named_and_nothing_is_written(tmp_path):
    log = tmp_path / "a" / "log.jsonl"
    log.parent.mkdir()
    for content, message in (('{"epoch": 1,', "is damaged"), ('{"epoch": 1}', "a record without its cost")):
        log.write_text(content)
        with pytest.raises(ValueError, match=f"{log} .*{message}|{log} has {message}"):
            measured(tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "log.jsonl"]


@pytest.mark.parametrize("arguments, message", [
    (["--runs", "nowhere"], "no log.jsonl and no cells.jsonl below nowhere"),
    (["--runs", "nowhere", "--jobs", "0"], "--jobs is 0"),
    (["--runs", "nowhere", "--workers", "0"], "--workers is 0"),
])  # fmt: skip
def test_wrong_requests(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
