"""Outcomes: what is derived from the matrix, and how the matrix is made."""

import json
from dataclasses import dataclass
from math import nan

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.stats import binom
from torch import nn

from tradeoff.attacks import PGD, SLIDE, AffineAttack, GridSearch, RandomSearch
from tradeoff.evaluation import Outcomes, evaluate
from tradeoff.perturbations import L1, L2, Linf, RotationTranslation, Swap

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
