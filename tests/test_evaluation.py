"""Outcomes: what is derived from the matrix, and how the matrix is made."""

import errno
import json
import os
import time
from dataclasses import dataclass
from math import nan

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.stats import binom
from torch import nn

from tradeoff.attacks import PGD, SLIDE, AffineAttack, GridSearch, RandomSearch
from tradeoff.cells import Cell, Cells
from tradeoff.evaluation import calibrate_chunk, evaluate
from tradeoff.outcomes import Outcomes
from tradeoff.passes import count_passes
from tradeoff.perturbations import L1, L2, Linf, RotationTranslation, Swap, Union

SUITE = {
    "linf": PGD(Linf(0.1), 4),
    "l2": PGD(L2(0.7), 4, restarts=2),
    "l1": SLIDE(L1(2), 4, quantile=(80, 99)),
    "random": RandomSearch(RotationTranslation(2, 30), tries=4),
    "mixed": AffineAttack(PGD(Linf(0.1), 4), SLIDE(L1(2), 4)),
    "moved": AffineAttack(RandomSearch(RotationTranslation(2, 30), tries=3), PGD(Linf(0.1), 3), beta=0.5),
}


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def task():
    """A random network with dropout and batch norm, images, and labels that are mostly its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Flatten(), nn.Linear(48, 3))
    x = rng().uniform(0, 1, (30, 1, 6, 6)).astype(np.float32)
    y = model.eval()(torch.tensor(x)).argmax(dim=1).numpy()
    y[:4] = (y[:4] + 1) % 3
    return model, x, y


# The matrix

MATRIX = np.array(
    # clean, linf, linf again, l1, both
    [[1, 1, 1, 1, 1],
     [1, 1, 0, 1, 0],
     [1, 0, 1, 0, 0],
     [1, 1, 1, 0, 0],
     [1, 1, 1, 1, 0],
     [0, 1, 1, 1, 1],
     [1, 1, 1, 1, 1],
     [1, 1, 1, 0, 1]], dtype=bool)  # fmt: skip
COLUMNS = ("clean", "pgd", "apgd", "l1", "both")
SETS = ("", "linf:0.3", "linf:0.3", "l1:10", "linf:0.3 + l1:10")
OUTCOMES = Outcomes(MATRIX, COLUMNS, SETS, {"seed": 3})


def test_numbers_by_hand():
    """The sixth example is misclassified from the start: no attack can put it right again."""
    o = OUTCOMES
    assert o.set_names == ("linf", "l1", "linf+l1")
    assert o.accuracy() == o.accuracy("clean") == 7 / 8
    assert o.accuracy("pgd") == 6 / 8 and o.accuracy("apgd") == 6 / 8 and o.accuracy("linf") == 5 / 8
    assert o.accuracy("l1") == 4 / 8 and o.accuracy("linf+l1") == o.accuracy("both") == 3 / 8
    assert o.accuracy("linf", "l1") == o.accuracy("l1", "linf") == 3 / 8
    assert o.accuracy("linf", "both") == 3 / 8 and o.accuracy("l1", "both") == 2 / 8
    assert o.standing("linf", "l1").tolist() == [True, False, False, False, True, False, True, False]
    # The paper's R_max and R_avg are over the sets; their mixture is an adversary of its own.
    assert o.union() == 3 / 8 and o.average() == (5 + 4) / 16
    assert o.average("l1", "linf+l1") == (4 + 3) / 16


def test_table_is_made_of_the_same_numbers():
    table = OUTCOMES.table()
    assert list(table) == ["clean", "linf", "l1", "linf+l1", "union", "average"]
    assert table["union"] == {"accuracy": 3 / 8, "interval": OUTCOMES.interval("linf", "l1")}
    assert table["l1"] == {"accuracy": 4 / 8, "interval": OUTCOMES.interval("l1")}
    assert table["average"] == {"accuracy": (5 + 4) / 16}
    alone = Outcomes(MATRIX[:, :1], ("clean",), ("",))
    assert [entry["accuracy"] for entry in alone.table().values()] == [7 / 8] * 3


@pytest.mark.parametrize("k, n", [(0, 20), (1, 20), (13, 20), (20, 20), (1, 1)])
@pytest.mark.parametrize("confidence", [0.95, 0.999])
def test_interval_is_that_of_clopper_and_pearson(k, n, confidence):
    """Each end leaves (1 - confidence)/2 of the binomial law beyond what was seen; 0 and 1 where there is nothing."""
    low, high = Outcomes((np.arange(n) < k)[:, None], ("clean",), ("",)).interval(confidence=confidence)
    tail = (1 - confidence) / 2
    assert low == pytest.approx(brentq(lambda p: binom.sf(k - 1, n, p) - tail, 0, 1) if k else 0, abs=1e-9)
    assert high == pytest.approx(brentq(lambda p: binom.cdf(k, n, p) - tail, 0, 1) if k < n else 1, abs=1e-9)


@pytest.mark.parametrize("ask", [OUTCOMES.accuracy, OUTCOMES.average, OUTCOMES.interval, OUTCOMES.standing])
def test_unknown_names(ask):
    with pytest.raises(ValueError, match="unknown set or attack 'lnf', did you mean 'linf'?"):
        ask("l1", "lnf")


@pytest.mark.parametrize(
    "parts, message",
    [
        ((MATRIX.astype(float), COLUMNS, SETS), "bool matrix examples × attacks, not float64"),
        ((MATRIX[:0], COLUMNS, SETS), r"shape \(0, 5\)"),
        ((MATRIX[0], COLUMNS, SETS), r"shape \(5,\)"),
        ((MATRIX[:, :4], COLUMNS, SETS), "4 columns"),
        ((MATRIX, COLUMNS[1:] + ("clean",), SETS), "do not match"),
        ((MATRIX, COLUMNS, SETS[:4] + ("l3",)), "l3"),
        # linf would be broken by noise of l1
        ((MATRIX, ("clean", "pgd", "apgd", "linf", "both"), SETS), "the attack 'linf' searches l1:10: name it"),
    ],
)
def test_outcomes_that_do_not_fit_together(parts, message):
    with pytest.raises(ValueError, match=message):
        Outcomes(*parts)


@pytest.mark.parametrize("n", [1, 7, 8, 9])
def test_save_and_load(n, tmp_path):
    saved = Outcomes(MATRIX[:n] if n < 9 else np.tile(MATRIX, (2, 1))[:9], COLUMNS, SETS, {"seed": 3, "data": "ℓ1"})
    saved.save(tmp_path / "outcomes")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["outcomes.json", "outcomes.npz"]
    for path in (tmp_path / "outcomes", str(tmp_path / "outcomes.json"), tmp_path / "outcomes.npz"):
        loaded = Outcomes.load(path)
        np.testing.assert_array_equal(loaded.correct, saved.correct)
        assert (loaded.attacks, loaded.sets, loaded.about) == (saved.attacks, saved.sets, saved.about)
    assert json.loads((tmp_path / "outcomes.json").read_text())["table"] == json.loads(json.dumps(saved.table()))


def test_damaged_files(tmp_path):
    OUTCOMES.save(tmp_path / "o")
    for path in (tmp_path / "o.npz", tmp_path / "o.json"):
        whole = path.read_bytes()
        other = [b"[]", b"{}", whole.replace(b"l1:10", b"l1"), whole[:1] + whole, whole + b"\xff"]
        for damaged in (whole[: len(whole) // 2], b"", b"<html>404</html>", *(other if path.suffix == ".json" else [])):
            path.write_bytes(damaged)
            with pytest.raises(ValueError, match=f"^{path} .*: delete it to (make it|evaluate) again$") as error:
                Outcomes.load(tmp_path / "o")
            assert "\n" not in str(error.value)
        path.write_bytes(whole)
    Outcomes(MATRIX[:, :3], COLUMNS[:3], SETS[:3]).save(tmp_path / "other")
    (tmp_path / "other.npz").replace(tmp_path / "o.npz")
    with pytest.raises(ValueError, match=f"^{tmp_path / 'o.json'} does not go with o.npz .*3 columns"):
        Outcomes.load(tmp_path / "o")


def test_a_wrong_byte_is_noticed_or_does_not_matter(tmp_path):
    OUTCOMES.save(tmp_path / "o")
    path = tmp_path / "o.npz"
    whole, noticed = path.read_bytes(), 0
    for i in range(len(whole)):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 255]) + whole[i + 1 :])
        try:
            np.testing.assert_array_equal(Outcomes.load(path).correct, MATRIX)
        except ValueError as error:
            assert str(error).startswith(f"{path} is damaged") and "\n" not in str(error)
            noticed += 1
    assert noticed > len(whole) / 3  # the rest is dates and the like


def test_pickled_matrices_are_not_read(tmp_path):
    OUTCOMES.save(tmp_path / "o")
    np.savez(tmp_path / "o.npz", correct=np.array([{}], dtype=object), n=1)
    with pytest.raises(ValueError, match="o.npz is damaged .*allow_pickle=False"):
        Outcomes.load(tmp_path / "o")


# A cascade spares an attack the examples that attacks before it broke on the same set

TRIED = np.array(
    # clean, linf, linf again, l1, both by one attack
    [[1, 1, 1, 1, 1],
     [1, 1, 1, 1, 1],
     [1, 1, 0, 1, 0],
     [1, 1, 1, 1, 0],
     [1, 1, 1, 1, 1],
     [1, 0, 0, 0, 0],
     [1, 1, 1, 1, 1],
     [1, 1, 1, 1, 0]], dtype=bool)  # fmt: skip
CASCADE = np.array(
    [[1, 1, 1, 1, 1],
     [1, 1, 0, 1, 0],
     [1, 0, 0, 0, 0],
     [1, 1, 1, 0, 0],
     [1, 1, 1, 1, 0],
     [0, 0, 0, 0, 0],
     [1, 1, 1, 1, 1],
     [1, 1, 1, 0, 0]], dtype=bool)  # fmt: skip
JOINT = (*SETS[:4], "l1:10 | linf:0.3")


def test_a_cascade_by_hand():
    o = Outcomes(CASCADE, COLUMNS, JOINT, {"passes": {"pgd": {"forward": 12, "backward": 4}}}, TRIED)
    assert o.accuracy() == 7 / 8 and o.accuracy("linf") == 5 / 8 and o.accuracy("l1") == 4 / 8
    # The joint attack is no set of its own, but what it broke (the second and the fifth) counts for the union.
    assert o.union() == o.accuracy("l1|linf") == o.accuracy("linf", "l1", "both") == 2 / 8
    assert o.accuracy("linf", "l1") == 3 / 8 and o.average() == (5 + 4) / 16
    assert list(o.table()) == ["clean", "linf", "l1", "union", "average"]
    # The first attack on a set saw all that it could break; later ones alone are unknown.
    assert o.accuracy("pgd") == 6 / 8 and o.accuracy("pgd", "apgd") == 5 / 8
    for names in (("apgd",), ("both",), ("both", "pgd"), ("linf", "both")):
        with pytest.raises(ValueError, match="not tried on . examples .* ask for the set, or evaluate without a casc"):
            o.accuracy(*names)
    gains = {gain.attack: gain for gain in o.gains()}
    assert list(gains) == ["pgd", "apgd", "l1", "both"]
    assert [(gain.tried, gain.broken, gain.union) for gain in gains.values()] == [
        (7, 1, 1), (6, 1, 1), (7, 3, 2), (4, 1, 1)]  # fmt: skip
    assert gains["pgd"].passes == 1.0 and gains["apgd"].passes is None and gains["pgd"].set == "linf:0.3"
    assert sum(gain.union for gain in gains.values()) == 8 * (o.accuracy() - o.union())


def test_gains_without_a_cascade():
    assert [(gain.tried, gain.broken, gain.union) for gain in OUTCOMES.gains()] == [
        (8, 1, 1), (8, 1, 1), (8, 3, 2), (8, 4, 0)]  # fmt: skip


def test_a_cascade_is_saved(tmp_path):
    saved = Outcomes(CASCADE, COLUMNS, JOINT, {}, TRIED)
    saved.save(tmp_path / "o")
    np.testing.assert_array_equal(Outcomes.load(tmp_path / "o").tried, TRIED)
    # Files of before there were cascades hold one matrix.
    np.savez(tmp_path / "o.npz", correct=np.packbits(CASCADE, axis=0), n=8)
    assert Outcomes.load(tmp_path / "o").tried.all()


def test_what_was_not_tried_must_have_been_broken():
    for i, k in (
        (0, 1),
        (1, 0),
        (1, 2),
        (2, 3),
    ):  # standing; clean; broken by this attack alone; by that of another set
        tried = np.ones_like(MATRIX)
        tried[i, k] = False
        with pytest.raises(ValueError, match=f"'{COLUMNS[k]}' was not tried on examples that no attack before"):
            Outcomes(MATRIX & tried, COLUMNS, SETS, {}, tried)
    with pytest.raises(ValueError, match=r"what was tried is bool of shape \(7, 5\)"):
        Outcomes(MATRIX, COLUMNS, SETS, {}, np.ones((7, 5), dtype=bool))


def test_differing_cells():
    other = Outcomes(MATRIX ^ (np.arange(40).reshape(8, 5) == 17), COLUMNS, SETS)
    assert np.argwhere(OUTCOMES.differs(other)).tolist() == [[3, 2]] and not OUTCOMES.differs(OUTCOMES).any()
    with pytest.raises(ValueError, match="of other attacks or of another number"):
        OUTCOMES.differs(Outcomes(MATRIX[:7], COLUMNS, SETS))


# Making it


def test_a_linear_model_loses_what_theory_says():
    """y<w, x> + yb > support(w): exactly those examples stand. The clean column is the sign of the score."""
    w, b = np.array([1.0, -2.0, 0.5, 3.0]), 0.3
    model = nn.Linear(4, 2, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(torch.tensor(np.stack([-w / 2, w / 2])))
        model.bias.copy_(torch.tensor([-b / 2, b / 2]))
    x, y = rng().standard_normal((200, 4)), rng(1).integers(0, 2, 200)
    score = (2 * y - 1) * (x @ w + b)
    suite = {"linf": PGD(Linf(0.2), 20, box=None), "l2": PGD(L2(0.4), 40, box=None), "l1": SLIDE(L1(0.7), 40, box=None)}
    outcomes = evaluate(model, suite, x, y, rng())
    np.testing.assert_array_equal(outcomes.standing(), score > 0)
    for name, attack in suite.items():
        standing = score > attack.S.support(w[None])[0]
        assert 0 < standing.sum() < (score > 0).sum()
        np.testing.assert_array_equal(outcomes.standing(name), standing)
    assert outcomes.union() == np.mean(score > max(attack.S.support(w[None])[0] for attack in suite.values()))


def test_what_is_recorded(task):
    outcomes = evaluate(*task[:1], SUITE, *task[1:], rng(5), about={"data": "toy", "seed": "not mine to say"})
    assert outcomes.attacks == ("clean", *SUITE)
    assert outcomes.sets == ("", *(str(attack.S) for attack in SUITE.values()))
    assert outcomes.set_names == ("linf", "l2", "l1", "rt", "linf+l1", "rt+linf")
    assert outcomes.about["data"] == "toy" and outcomes.about["seed"] == int(rng(5).integers(2**63))
    assert outcomes.about["attacks"] == {name: repr(attack) for name, attack in SUITE.items()}
    assert list(outcomes.about["seconds"]) == list(outcomes.attacks)
    assert all(seconds >= 0 for seconds in outcomes.about["seconds"].values())
    assert 0 < outcomes.union() < outcomes.accuracy() == 26 / 30  # something to tell apart below


def test_neither_chunks_nor_order_nor_company_change_outcomes(task):
    model, x, y = task
    whole = evaluate(model, SUITE, x, y, rng())
    other_seed = evaluate(model, SUITE, x, y, rng(1))
    assert (whole.correct != other_seed.correct).any()  # the draws matter here
    for chunk in (1, 7, 29, 100):
        np.testing.assert_array_equal(evaluate(model, SUITE, x, y, rng(), chunk=chunk).correct, whole.correct)
    order = rng(2).permutation(len(x))
    permuted = evaluate(model, SUITE, x[order], y[order], rng(), chunk=7)
    np.testing.assert_array_equal(permuted.correct, whole.correct[order])
    few = evaluate(model, SUITE, x[10:15], y[10:15], rng())
    np.testing.assert_array_equal(few.correct, whole.correct[10:15])
    backwards = evaluate(model, dict(reversed(SUITE.items())), x, y, rng())
    np.testing.assert_array_equal(backwards.correct[:, [0, *range(6, 0, -1)]], whole.correct)


CASCADED = {
    "linf, first": SUITE["linf"],
    "linf, again": PGD(Linf(0.1), 8, loss="ce", restarts=2),
    "l1, first": SUITE["l1"],
    "linf, at last": PGD(Linf(0.1), 12),
    "l1, at last": SLIDE(L1(2), 8),
}


def test_a_cascade_finds_what_all_attacks_find(task):
    """Every example is tried until it is broken on the set, and no longer, and the numbers of the sets are the same."""
    model, x, y = task
    whole, spared = (evaluate(model, CASCADED, x, y, rng(), chunk=7, cascade=cascade) for cascade in (False, True))
    for names in ((), ("linf",), ("l1",), ("linf", "l1")):
        np.testing.assert_array_equal(spared.standing(*names), whole.standing(*names))
    assert whole.tried.all() and (spared.union(), spared.average()) == (whole.union(), whole.average())
    for k, attack in enumerate(CASCADED, 1):
        before = [name for name in list(CASCADED)[: k - 1] if CASCADED[name].S == CASCADED[attack].S]
        np.testing.assert_array_equal(spared.tried[:, k], whole.standing(*before))
    ours, theirs = ([(gain.broken, gain.union) for gain in outcomes.gains()] for outcomes in (spared, whole))
    assert ours == theirs and spared.about["cascade"]
    cost = [sum(gain.passes for gain in outcomes.gains()) for outcomes in (spared, whole)]
    assert cost[0] < cost[1]


def test_an_attack_on_several_sets_is_spared_what_is_broken_on_any_of_them(task):
    model, x, y = task
    joint = JointAttack(PGD(Linf(0.1), 2), Union((Linf(0.1), L1(2))))
    outcomes = evaluate(model, {**SUITE, "joint": joint}, x, y, rng(), cascade=True)
    np.testing.assert_array_equal(outcomes.tried[:, -1], outcomes.standing("linf", "l1"))
    assert outcomes.set_names[-1] == "linf|l1" and "linf|l1" not in outcomes.table()


@dataclass(frozen=True)
class JointAttack:
    inner: PGD
    S: Union
    box: tuple = (0.0, 1.0)

    def __call__(self, model, x, y, rng):
        return self.inner(model, x, y, rng)


class Crowded(nn.Module):
    """A model whose sums round grossly, by the number and the order of the examples they are made for."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        company = torch.cumsum(x.flatten(1).sum(dim=1), 0)
        return (
            self.model(x) * (1 + 0.01 * torch.sin(1e3 * company))[:, None]
            + 0.02 * torch.sin(company)[:, None] * x[:, 0, 0, :3]
        )


@pytest.mark.parametrize("cascade", [False, True])
def test_order_never_matters_and_chunks_only_by_rounding(cascade, task):
    """Bit for bit, on a model whose every answer depends on the rest of the batch: chunks hold the same examples in the
    same order however the caller orders them. Other chunks change some outcomes of such a model, which are found."""
    model, x, y = task
    how = {"cascade": cascade, "unsteady": True}
    crowded = Crowded(model)
    first = evaluate(crowded, CASCADED, x, y, rng(), chunk=7, **how)
    for seed in range(3):
        order = rng(seed).permutation(len(x))
        again = evaluate(crowded, CASCADED, x[order], y[order], rng(), chunk=7, **how)
        np.testing.assert_array_equal(again.correct, first.correct[order])
        np.testing.assert_array_equal(again.tried, first.tried[order])
        assert again.about["passes"] == first.about["passes"]
    other = evaluate(crowded, CASCADED, x, y, rng(), chunk=11, **how)
    found = first.differs(other)
    assert 0 < found.sum() < found.size / 4
    np.testing.assert_array_equal(found, (first.correct != other.correct) | (first.tried != other.tried))


def test_passes_are_counted(task):
    """A climb of k steps without early stopping: k gradients, and forward k + 1 of the walk, one of x itself, one of
    the result, and eight examples of each chunk at the door."""
    model, x, y = task
    attacks = {
        "linf": PGD(Linf(0.1), 5, restarts=2, early_stop=False),
        "rt": RandomSearch(RotationTranslation(1, 9), 4),
    }
    outcomes = evaluate(model, attacks, x, y, rng(), chunk=15)
    assert outcomes.about["passes"]["clean"] == {"forward": 30, "backward": 0}
    assert outcomes.about["passes"]["linf"] == {"forward": 30 * (2 * 6 + 2) + 2 * 8, "backward": 30 * 2 * 5}
    assert outcomes.about["passes"]["rt"]["backward"] == 0
    assert outcomes.gains()[0].passes == (30 * 14 + 16 + 300) / 60
    bare = evaluate(lambda points: model.eval()(points), attacks, x, y, rng(), chunk=15)
    assert bare.about["passes"] == outcomes.about["passes"] and not model._forward_hooks


def test_counting_counts_gradients_that_are_taken():
    model, x = nn.Linear(3, 2), torch.zeros(5, 3)
    with count_passes(model) as passes:
        model(x), model(x).sum().backward()  # the first for nothing
        with torch.no_grad():
            model(x[:2])
    assert dict(passes) == {"forward": 12, "backward": 5} and not model._forward_hooks


def test_the_chunk_is_chosen_and_recorded(task, monkeypatch):
    model, x, y = task
    few = {"linf": PGD(Linf(0.1), 1)}
    assert calibrate_chunk(model, x) == 30 and calibrate_chunk(model, x[:1]) == 1
    many = np.tile(x, (20, 1, 1, 1))[:570]
    assert calibrate_chunk(model, many) in {25 * 2**k for k in range(6)}
    asked = []
    monkeypatch.setattr("tradeoff.evaluation._seconds_of_steps", lambda model, points: cost[len(points)])
    monkeypatch.setattr("tradeoff.evaluation.calibrate_chunk", lambda model, x: asked.append(len(x)) or 13)
    for cost, best in [  # noqa: B007
        ({25: 25, 50: 40, 100: 60, 200: 130, 400: 500}, 200),  # a seconds count: 0.6 an example, then 0.65
        ({25: 25, 50: 40, 100: 60, 200: 150}, 100),  # much slower at 200: no larger ones are tried
        ({25: 25, 50: 25, 100: 25, 200: 25, 400: 25, 570: 25}, 800),
    ]:
        assert calibrate_chunk(model, many) == best
    assert evaluate(model, few, x, y, rng()).about["chunk"] == 13 and asked == [30]
    assert evaluate(model, few, x, y, rng(), chunk=5).about["chunk"] == 5 and asked == [30]


# In a folder, evaluations go on


class Interrupting(nn.Module):
    """Raises at the given call."""

    def __init__(self, model, call, error=KeyboardInterrupt):
        super().__init__()
        self.model, self.left, self.error = model, call, error

    def forward(self, x):
        self.left -= 1
        if self.left < 0:
            raise self.error
        return self.model(x)


@pytest.mark.parametrize("cascade", [False, True])
def test_an_interrupted_evaluation_goes_on(cascade, task, tmp_path):
    """Whenever it is interrupted: the same matrix, and no finished cell is computed again."""
    model, x, y = task
    how = {"chunk": 7, "cascade": cascade}
    whole = evaluate(Interrupting(model, 10**9), CASCADED, x, y, rng(), run=tmp_path / "whole", **how)
    resumed, interruptions = None, 0
    while resumed is None:
        assert interruptions < 50
        try:
            subject = Interrupting(model, 40)
            resumed = evaluate(subject, CASCADED, x, y, rng(), run=tmp_path / "parts", **how)
        except KeyboardInterrupt:
            interruptions += 1
    assert interruptions > 5
    np.testing.assert_array_equal(resumed.correct, whole.correct)
    np.testing.assert_array_equal(resumed.tried, whole.tried)
    assert resumed.about["passes"] == whole.about["passes"]
    before = {file: (tmp_path / "parts" / file).read_bytes() for file in ("cells.jsonl", "task.json")}
    finished = Interrupting(model, 5)  # what the door asks for, and no more
    order = rng(1).permutation(len(x))
    again = evaluate(finished, CASCADED, x[order], y[order], rng(), run=tmp_path / "parts", cascade=cascade)
    np.testing.assert_array_equal(again.correct, whole.correct[order])
    assert again.about["seconds"] == resumed.about["seconds"] and again.about["chunk"] == 7
    assert before == {file: (tmp_path / "parts" / file).read_bytes() for file in before}


def test_damaged_cells_are_computed_again(task, tmp_path):
    model, x, y = task
    how = {"chunk": 7, "run": tmp_path}
    whole = evaluate(model, CASCADED, x, y, rng(), **how)
    cells = tmp_path / "cells.jsonl"
    content = cells.read_bytes()
    lines = content.splitlines(keepends=True)
    assert len(lines) == 6 * 5
    for damaged in (content[:-20], content[:3], b"", lines[0] + lines[1].replace(b'"chunk": 1', b'"chunk": 2'),
                    b"\xff\n[]\n" + lines[3][:40] + b"".join(lines[5:])):  # fmt: skip
        cells.write_bytes(damaged)
        again = evaluate(model, CASCADED, x, y, rng(), **how)
        np.testing.assert_array_equal(again.correct, whole.correct)
        assert again.about["passes"] == whole.about["passes"]
        np.testing.assert_array_equal(evaluate(model, CASCADED, x, y, rng(), **how).correct, whole.correct)


def test_the_folder_of_another_evaluation(task, tmp_path):
    model, x, y = task
    how = {"run": tmp_path, "chunk": 7}
    first = evaluate(model, CASCADED, x, y, rng(), **how)
    content = (tmp_path / "cells.jsonl").read_bytes()
    other = nn.Sequential(*(type(part)(1, 3, 3) if isinstance(part, nn.Conv2d) else part for part in model))
    shifted = nn.Sequential(model, nn.Identity())
    shifted.forward = lambda points: model(points) + torch.tensor([0.0, 0.5, 0.0])
    for change, what in [
        ({"model": other}, "weights, answers of the model"),
        ({"model": lambda points: model(points)}, "weights"),
        ({"x": x[:-1], "y": y[:-1]}, "answers of the model, data|data"),
        ({"y": (y + 1) % 3}, "data"),
        ({"attacks": {**CASCADED, "linf": PGD(Linf(0.1), 5)}}, "attacks"),
        ({"attacks": dict(reversed(CASCADED.items()))}, "attacks"),
        ({"rng": rng(1)}, "seed"),
        ({"chunk": 8}, "chunk"),
        ({"cascade": True}, "cascade"),
    ]:
        request = {"model": model, "attacks": CASCADED, "x": x, "y": y, "rng": rng(), **how} | change
        with pytest.raises(ValueError, match=rf"^{tmp_path / 'task.json'} .*\(other .*({what}).*\): choose") as error:
            evaluate(**request)
        assert "\n" not in str(error.value)
    assert (tmp_path / "cells.jsonl").read_bytes() == content
    np.testing.assert_array_equal(evaluate(model, CASCADED, x, y, rng(), **how).correct, first.correct)


def test_same_weights_are_not_the_same_model(task, tmp_path):
    """What the weights do not show, as a normalisation in the code, the answers do."""
    model, x, y = task
    attacks = {"linf": SUITE["linf"]}
    evaluate(lambda points: model(points), attacks, x, y, rng(), run=tmp_path)
    with pytest.raises(ValueError, match=r"\(other answers of the model\)"):
        evaluate(lambda points: model(points) * 1.1, attacks, x, y, rng(), run=tmp_path)


@pytest.mark.parametrize("written", [0, 30])
def test_a_full_disk(written, task, tmp_path, monkeypatch):
    """An error that names the remedy, after which the evaluation goes on from the cells before it."""
    model, x, y = task
    how = {"chunk": 7, "run": tmp_path}
    write, left = os.write, [8]

    def full(file, line):
        left[0] -= 1
        if left[0] >= 0:
            return write(file, line)
        if written:
            return write(file, line[:written])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match=r"cells.jsonl \((N|n)o space left .*\): make room, .* 8 cells that are kept"):
            evaluate(model, CASCADED, x, y, rng(), **how)
    assert len((tmp_path / "cells.jsonl").read_bytes().splitlines()) == 8 + bool(written)
    whole = evaluate(model, CASCADED, x, y, rng(), chunk=7)
    np.testing.assert_array_equal(evaluate(model, CASCADED, x, y, rng(), **how).correct, whole.correct)


def test_a_folder_that_cannot_be_written_to(task, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot write to the folder"):
        evaluate(task[0], {"linf": Untouched(Linf(0.1))}, *task[1:], rng(), run=tmp_path / "file" / "run")


def test_cells_cost_little(task, tmp_path):
    """A kept cell takes well under a millisecond of ours: the median of 200, as a disk may be busy."""
    cells = Cells(tmp_path, {})
    cell = Cell(np.ones(100, dtype=bool), np.ones(100, dtype=bool), 1, 1, 0.1)
    seconds = []
    for i in range(200):
        began = time.perf_counter()
        cells.add("linf", i, cell)
        seconds.append(time.perf_counter() - began)
    assert np.median(seconds) < 1e-3


def test_tensors_are_made_on_their_inputs_device(task):
    """Even where the default device is one that cannot compute."""
    model, x, y = task
    suite = {**SUITE, "grid": GridSearch(RotationTranslation(1, 10)), "steepest": PGD(L1(2), 3, loss="ce")}
    vectors, swaps = torch.tensor(x[:5].reshape(5, 36)), {"some": RandomSearch(Swap(9), 4), "all": GridSearch(Swap(9))}

    def both():
        yield evaluate(model, suite, x[:5], y[:5], rng()).correct
        yield evaluate(lambda v: model(v.reshape(-1, 1, 6, 6)), swaps, vectors, y[:5], rng()).correct

    here = list(both())
    with torch.device("meta"):
        assert torch.ones(1).is_meta
        elsewhere = list(both())
    for a, b in zip(here, elsewhere, strict=True):
        np.testing.assert_array_equal(a, b)


def test_arrays_and_tensors_alike(task):
    model, x, y = task
    x_read_only = x.copy()
    x_read_only.flags.writeable = False
    whole = evaluate(model, SUITE, x, y, rng())
    for points, labels in ((x_read_only, y), (torch.tensor(x, requires_grad=True), torch.tensor(y)), (x, y.tolist())):
        np.testing.assert_array_equal(evaluate(model, SUITE, points, labels, rng()).correct, whole.correct)


def test_no_attacks_and_one_class(task):
    model, x, y = task
    assert evaluate(model, {}, x, y, rng()).correct.tolist() == [[bool(i >= 4)] for i in range(30)]
    same = y == y[10]
    found = evaluate(model, {"linf": SUITE["linf"]}, x[same], y[same], rng())
    np.testing.assert_array_equal(found.correct, evaluate(model, {"linf": SUITE["linf"]}, x, y, rng()).correct[same])
    assert found.accuracy("linf") < found.accuracy()


def test_any_callable_is_a_model(task):
    model, x, y = task
    whole, bare = (evaluate(f, SUITE, x, y, rng()) for f in (model, lambda points: model.eval()(points)))
    np.testing.assert_array_equal(bare.correct, whole.correct)


def test_model_is_left_as_it_was(task):
    """Each part in its own mode, also after an attack has failed; and evaluated in eval mode meanwhile."""
    model, x, y = task
    before = {name: t.clone() for name, t in model.state_dict().items()}
    whole = evaluate(model.eval(), SUITE, x, y, rng())

    @dataclass(frozen=True)
    class Failing(PGD):
        def __call__(self, model, x, y, rng):
            assert not any(part.training for part in model.modules())
            raise KeyboardInterrupt

    model.train()
    model[1].eval()
    try:
        np.testing.assert_array_equal(evaluate(model, SUITE, x, y, rng()).correct, whole.correct)
        with pytest.raises(KeyboardInterrupt):
            evaluate(model, {"failing": Failing(Linf(0.1))}, x, y, rng())
        assert [part.training for part in model] == [True, False, True, True, True] and model.training
    finally:
        model.eval()
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


# Bad input, before any attack


@dataclass(frozen=True)
class Untouched(PGD):
    """An attack that nobody may get to."""

    def __call__(self, model, x, y, rng):
        raise AssertionError("bad input reached an attack")


BYTES = rng().integers(0, 256, (4, 1, 6, 6), dtype=np.uint8)
X, Y = BYTES.astype(np.float32) / 255, np.array([0, 1, 2, 0])
BAD = {
    "bytes": ({"x": BYTES}, "x is torch.uint8.*x.float.. / 255"),
    "scaled bytes": ({"x": BYTES.astype(np.float32)}, r"outside the box \[0, 1\]"),
    "only searches": ({"x": X + 1, "attacks": {"rt": RandomSearch(RotationTranslation(1, 1))}}, "outside the box"),
    "only mixtures": ({"x": X - 1, "attacks": {"m": SUITE["mixed"]}}, "outside the box"),
    "empty": ({"x": X[:0], "y": Y[:0]}, r"shape \(0, 1, 6, 6\)"),
    "NaN": ({"x": np.where(X > 0.9, nan, X).astype(np.float32)}, "x holds NaN"),
    "doubles": ({"x": X.astype(np.float64)}, "the model cannot take torch.float64 inputs"),
    "vectors": ({"x": X.reshape(4, 36)}, r"the model cannot take torch.float32 inputs of shape \(4, 36\)"),
    "short labels": ({"y": Y[:3]}, r"labels of shape \(4,\)"),
    "float labels": ({"y": Y.astype(np.float32)}, "must be int64 labels"),
    "one-hot labels": ({"y": np.eye(3, dtype=np.int64)[Y]}, "must be int64 labels"),
    "high labels": ({"y": Y + 1}, r"labels range over 1\.\.3, but the model has classes 0\.\.2"),
    "negative labels": ({"y": Y - 1}, r"labels range over -1\.\.1"),
    "probabilities": ({"last": nn.Softmax(dim=1)}, "the model returns probabilities.*remove its softmax"),
    "NaN logits": ({"last": lambda z: z * nan}, "NaN or infinite logits"),
    "one NaN logit": ({"last": lambda z: z.masked_fill(z == z.max(), nan)}, "NaN or infinite logits"),
    "one logit": ({"last": lambda z: z[:, :1]}, r"the model returns shape \(4, 1\)"),
    "a tuple": ({"last": lambda z: (z, z)}, "the model returns a tuple, but must return logits"),
    "its own error": ({"last": lambda z: z[{}]}, "the model cannot take torch.float32 inputs"),
    "normalised outside": ({"x": (X - 0.13) / 0.31}, r"outside the box \[0, 1\]"),
    "features": ({"last": lambda z: z[:, :, None]}, r"the model returns shape \(4, 3, 1\)"),
    "clean": ({"attacks": {"clean": SUITE["linf"]}}, "no attack may be called 'clean'"),
    "taken name": ({"attacks": {"l1": Untouched(Linf(0.1)), "b": SUITE["l1"]}}, "the attack 'l1' searches linf:0.1"),
    "units": ({"attacks": {"a": Untouched(Linf(0.1)), "b": PGD(Linf(8))}}, "did you mean linf:8/255"),
    "mixed units": ({"attacks": {"a": AffineAttack(PGD(Linf(8)), SLIDE(L1(1)))}}, "did you mean linf:8/255"),
    "swap": ({"attacks": {"a": Untouched(Linf(0.1)), "b": RandomSearch(Swap(2))}}, "swap:2 needs vectors"),
    "shift": ({"attacks": {"a": Untouched(Linf(0.1)), "b": GridSearch(RotationTranslation(6, 1))}}, "out of sight"),
    "chunk": ({"chunk": 0}, "chunk is 0, but must be an integer ≥ 1"),
}  # fmt: skip


@pytest.mark.parametrize("change, message", BAD.values(), ids=BAD)
def test_bad_input(change, message, task):
    request = {"attacks": {"linf": Untouched(Linf(0.1))}, "x": X, "y": Y, "rng": rng()} | change
    last = request.pop("last", nn.Identity())
    with pytest.raises(ValueError, match=message) as error:
        evaluate(lambda x: last(task[0].eval()(x)), **request)
    assert "\n" not in str(error.value)


def test_a_model_whose_answers_vary(task):
    """Randomised, or of parts in training mode that we cannot reach: an error, unless one answer of many is wanted."""
    model, x, y = task
    attacks = {"linf": PGD(Linf(0.1), 2)}
    noise = torch.Generator().manual_seed(0)

    def noisy(points):
        return model.eval()(points) + 0.1 * torch.randn(len(points), 3, generator=noise)

    norm = nn.BatchNorm1d(3)
    hidden = lambda points: norm(model.eval()(points))  # noqa: E731
    for varying, when in ((noisy, "when asked again"), (lambda points: model.train()(points), "when asked again"),
                          (hidden, "in another batch")):  # fmt: skip
        with pytest.raises(ValueError, match=f"differs by .* {when}: is it randomised.*unsteady=True") as error:
            evaluate(varying, {"linf": Untouched(Linf(0.1))}, x, y, rng())
        assert "\n" not in str(error.value)
    model.eval()
    outcomes = evaluate(noisy, attacks, x, y, rng(), unsteady=True)
    assert outcomes.accuracy("linf") < outcomes.accuracy()
    model.train()
    try:  # a module is held in eval mode: its dropout is no reason
        trained = evaluate(model, attacks, x, y, rng())
    finally:
        model.eval()
    np.testing.assert_array_equal(trained.correct, evaluate(model, attacks, x, y, rng()).correct)


def test_nan_midway_loses_nothing(task, tmp_path):
    """Logits that are NaN on one input only, or only once attacked: an error that names the attack, and a run that
    goes on once the model is mended."""
    model, x, y = task
    attacks = {"l1": PGD(L1(2), 2), "linf": PGD(Linf(0.1), 2)}
    worst = torch.tensor(x[20])

    def on_one(points):
        return model(points).masked_fill((points == worst).flatten(1).all(dim=1)[:, None], nan)

    with pytest.raises(ValueError, match="^clean: the model returns NaN or infinite logits"):
        evaluate(on_one, attacks, x, y, rng(), chunk=7)

    broken = [True]

    def when_far(points):  # further from every example in l1 than the first attack may go
        far = torch.cdist(points.flatten(1), torch.tensor(x).flatten(1), p=1).amin(dim=1) > 2.1
        return model(points).masked_fill((far & broken[0])[:, None], nan)

    with pytest.raises(ValueError, match="^linf: the model returns NaN or infinite logits"):
        evaluate(when_far, attacks, x, y, rng(), chunk=7, run=tmp_path)
    kept = len((tmp_path / "cells.jsonl").read_bytes().splitlines())
    assert kept >= 10
    broken[0] = False
    outcomes = evaluate(when_far, attacks, x, y, rng(), chunk=7, run=tmp_path)
    np.testing.assert_array_equal(outcomes.correct, evaluate(model, attacks, x, y, rng(), chunk=7).correct)


def test_inputs_follow_the_model_to_its_device(task):
    """By its parameters, or by its buffers where it has none."""
    for name in ("parameter", "buffer"):
        seen = []
        model = nn.Module()
        model.forward = lambda points, seen=seen: seen.append(points.device.type) or points.nowhere
        value = torch.zeros(1, device="meta")
        model.register_parameter("w", nn.Parameter(value)) if name == "parameter" else model.register_buffer("w", value)
        with pytest.raises(ValueError, match="the model cannot take"):
            evaluate(model, {}, *task[1:], rng())
        assert seen == ["meta"]


def test_a_sequence_of_attacks_is_named():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), torch.rand(10, 1, 4, 4)
    y = model(x).argmax(dim=1)
    attacks = [PGD(Linf(0.1), 3), SLIDE(L1(1), 3), PGD(Linf(0.1), 5)]
    names = ["PGD linf:0.1 #1", "SLIDE l1:1", "PGD linf:0.1 #2"]
    found = evaluate(model, attacks, x, y, np.random.default_rng(0))
    assert found.attacks == ("clean", *names) and found.set_names == ("linf", "l1")
    same = evaluate(model, dict(zip(names, attacks, strict=True)), x, y, np.random.default_rng(0))
    assert np.array_equal(found.correct, same.correct)
