"""Trained-on × tested-on: cells, order, what geometry predicts, the command and the figure."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from matplotlib import pyplot as plt
from scipy.stats import spearmanr

from tradeoff import experiments, records, transfer
from tradeoff.attacks.suites import FIXED
from tradeoff.experiments import EXPERIMENTS, Experiment
from tradeoff.figures import figure_module
from tradeoff.figures.style import paper_style
from tradeoff.outcomes import Outcomes
from tradeoff.perturbations import L1, L2, Affine, Linf, Lp
from tradeoff.records import Record, read_all
from tradeoff.transfer import TRANSFERS, accuracy, balls, matrix, order, prediction, radius

MNIST = TRANSFERS["mnist"]
SETS = MNIST.sets


def record(name="a", **evaluations):
    return Record(name, None, outcomes=evaluations)


def outcomes(shares, sets=SETS, n=100, seed=0):
    correct = np.random.default_rng(seed).random((n, 1 + len(sets))) < np.array((1, *shares))
    return Outcomes(correct, ("clean", *(f"attack {S}" for S in sets)), ("", *map(str, sets)))


def test_every_row_is_an_experiment_on_its_set_and_every_column_is_attacked():
    for compared in TRANSFERS.values():
        for name, run in compared.trained.items():
            trained = {str(attack.S) for attack in EXPERIMENTS[run].attacks}
            own = {str(S) for S in compared.sets if S.name == name}
            assert name == "natural" or name.startswith("max") or trained == own
        assert [attack.S for attack in FIXED[compared.suite].values()] == list(compared.sets)
    assert "l2" in MNIST.trained and "l2" not in TRANSFERS["cifar10"].trained  # where there is no such experiment


def test_cells_count_the_evaluations_of_most_examples():
    one, two, few = outcomes((0.7,) * 7, n=60), outcomes((0.8,), SETS[:1], n=60, seed=1), outcomes((0.1,), SETS[:1], 40)
    both = record(one=one, two=two, few=few)
    expected = one.correct[:, [0, 1]].all(axis=1) & two.correct.all(axis=1)
    assert accuracy(both, SETS[0]) == expected.mean()
    assert accuracy(both, SETS[3]) == one.correct[:, [0, 4]].all(axis=1).mean()
    assert accuracy(both, Linf(0.2)) is None  # another radius is another set
    found = matrix({"x": both, "y": record()}, replace(MNIST, trained={"first": "x", "second": "y"}))
    assert np.isfinite(found[0]).all() and np.isnan(found[1]).all()


def test_like_stands_beside_like():
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.repeat([0, 1, 2], 4))
    rows = np.eye(3)[groups] + rng.normal(size=(12, 3)) / 50
    found = groups[order(rows)]
    assert sorted(order(rows)) == list(range(12)) and (np.diff(found) != 0).sum() == 2
    rows[5, 1] = np.nan
    assert order(rows)[-1] == 5


# ---- geometry


@pytest.mark.parametrize("p", [1, 1.5, 2, 3, np.inf])
@pytest.mark.parametrize(
    "trained", [[Linf(0.3)], [L1(10)], [L2(2)], [Linf(0.3), L1(10)], [Linf(0.3), L2(2)], [L2(2), L1(3)]], ids=str
)
def test_the_ball_lies_in_the_hull_and_a_larger_one_does_not(p, trained):
    """Supports: the ball's is nowhere above the hull's; for one ball, and for linf with l1, they touch somewhere."""
    d = 30
    w = np.concatenate([np.random.default_rng(0).normal(size=(200, d)), np.eye(d), np.tri(d)])
    w = np.concatenate([w, [np.clip(10 / 0.3 - np.arange(d), 0, 1)]])
    hull = np.max([S.support(w) for S in trained], axis=0)
    ratio = (hull / Lp(p, radius(p, trained, d)).support(w)).min()
    assert ratio >= 1 - 1e-9
    if len(trained) == 1 or trained == [Linf(0.3), L1(10)]:
        assert ratio == pytest.approx(1, abs=1e-9)


def test_balls_are_those_trained_on():
    assert balls(EXPERIMENTS["mnist-msd"]) == (Linf(0.3), L2(2), L1(10)) and balls(EXPERIMENTS["mnist-rt"]) == ()
    assert balls(EXPERIMENTS["mnist-e-at-soft"]) == (Linf(0.3), L1(10))
    assert radius(2, balls(EXPERIMENTS["mnist-e-at"]), 784) == pytest.approx(1.7379, abs=1e-4)
    assert radius(np.inf, [], 784) == 0
    assert Affine(Linf(0.3), L1(10)).contains(L2(1.7379).argmax(np.tri(784)[-40:])).all()


def test_prediction_is_the_rank_correlation_of_foreign_cells():
    shares = {"mnist-linf": (0.9, 0.4, 0.1), "mnist-l2": (0.3, 0.8, 0.5), "mnist-l1": (0.2, 0.45, 0.9),
              "mnist-e-at": (0.7, 0.6, 0.6), "mnist-alternating": (0.7, 0.65, 0.6)}  # fmt: skip
    known = {run: record(run, strong=outcomes(row, SETS[:3], n=4000)) for run, row in shares.items()}
    found = prediction(known, MNIST)
    assert {cell[:2] for cell in found.cells} == {
        *(("mnist-linf", "l2"), ("mnist-linf", "l1"), ("mnist-l2", "linf"), ("mnist-l2", "l1"), ("mnist-l1", "linf")),
        *(("mnist-l1", "l2"), ("mnist-e-at", "l2"), ("mnist-alternating", "l2")),
    }
    values = np.array([cell[2:] for cell in found.cells])
    assert found.correlation == pytest.approx(spearmanr(*values.T).statistic) and 0.5 < found.correlation < 1
    low, high = found.interval
    assert -1 <= low < found.correlation <= high <= 1
    assert prediction({run: record(run) for run in MNIST.predicted}, MNIST) is None


# ---- the command and the figure


def test_command_makes_what_is_missing_and_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(experiments, "EXPERIMENTS", {"tiny": Experiment("digits", epochs=1, suite="lp", test=4)})
    monkeypatch.setattr(transfer, "TRANSFERS", {"toy": replace(MNIST, trained={"natural": "tiny"}, predicted=())})
    monkeypatch.setitem(FIXED, "transfer", {"linf": FIXED["lp-20"]["linf"]})
    load = experiments.load
    monkeypatch.setattr(experiments, "load", lambda name, split: load(name, split).first(60))
    assert transfer.main(["--runs", str(tmp_path), "--make", "4"]) == 0
    out = capsys.readouterr().out
    assert "linf:0.3" in out and "natural" in out and "correlation" not in out
    made = (tmp_path / "tiny" / "transfer-4" / "outcomes.json").stat().st_mtime_ns
    assert transfer.main(["--runs", str(tmp_path), "--make", "4"]) == 0
    assert (tmp_path / "tiny" / "transfer-4" / "outcomes.json").stat().st_mtime_ns == made
    assert transfer.main(["--runs", str(tmp_path), "--make", "0"]) == 2
    assert "--make is 0" in capsys.readouterr().err
    assert transfer.main(["tot", "--runs", str(tmp_path)]) == 2
    assert transfer.main(["--make", "4"]) == 2  # the committed results are not for making
    assert "unknown data set 'tot', did you mean 'toy'" in capsys.readouterr().err


@pytest.mark.parametrize("known", [0, 3, 99])
def test_figure_draws_whatever_is_there(known, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RUNS", tmp_path)
    for k, run in enumerate(MNIST.runs[:known]):
        place = tmp_path / run / "transfer-100"
        place.mkdir(parents=True, exist_ok=True)
        outcomes(np.random.default_rng(k).random(7), seed=k).save(place / "outcomes")
    module = figure_module("transfer")
    numbers = json.loads(json.dumps(module.compute(**module.PARAMETERS["quick"]), allow_nan=False))
    values, panel = matrix(read_all(MNIST.runs), MNIST), numbers["panels"][0]
    i, j = list(MNIST.trained).index(panel["rows"][0]), [S.name for S in SETS].index(panel["columns"][2])
    assert panel["cells"][0][2] == (None if np.isnan(values[i, j]) else values[i, j])
    with paper_style():
        figure = module.draw(numbers)
        figure.savefig(io.BytesIO(), format="png")
    plt.close(figure)
