"""The masking report: models masked on purpose are caught for the right reason, sound ones raise no flag."""

import json
from dataclasses import dataclass
from math import comb

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, relu

from tradeoff import L1, L2, PGD, Linf, Lp, RotationTranslation, Union, masking, masking_report
from tradeoff.attacks.softened import softened
from tradeoff.data import load
from tradeoff.masking import ALARM, CHANCE, SMOOTH, THRESHOLD, Check, MaskingReport, Trial, averaged, differences
from tradeoff.models import build
from tradeoff.theory import BernoulliFeature
from tradeoff.training import fit

FEATURES = 30
BALLS = (Linf(0.1), L2(0.5), L1(1.5))


def report(model, x, y, sets, *, steps=20, **how):
    return masking_report(model, x, y, sets, np.random.default_rng(0), steps=steps, **how)


def flags(found):
    """The names of the checks that raise their flag, by set."""
    names = {name: set() for name in found.verdicts}
    for check in found.checks:
        names[check.set] |= {check.name} if check.flag else set()
    return names


def check_of(found, name):
    return next(check for check in found.checks if check.name == name)


def trial_of(model, x, y, box=(0.0, 1.0)):
    return Trial(model, x, y, list(range(len(x))), box, 20, 0, ALARM, 100, None)


@pytest.fixture(scope="module")
def linear():
    """Two classes on either side of a plane, and points of the box, most of which each ball can carry across it."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal(FEATURES)
    w /= np.abs(w).sum()
    model = nn.Linear(FEATURES, 2)
    model.weight.data = torch.tensor(np.stack([-w, w]), dtype=torch.float32)
    model.bias.data = torch.tensor([w.sum() / 2, -w.sum() / 2], dtype=torch.float32)
    x = torch.tensor(rng.uniform(0.0, 1.0, (150, FEATURES)), dtype=torch.float32)
    return model, x, model(x).argmax(dim=1)


# ---- models masked on purpose


def shattered(model):
    ways = torch.tensor(np.random.default_rng(1).standard_normal((FEATURES, 2)), dtype=torch.float32)
    return lambda x: model(x) + 0.02 * torch.sin(3000 * (x @ ways))


ZERO = {"zero gradients", "zero coordinates", "loss trace", "unbounded", "smoothed", "black box"}
MASKED = {  # what masks a model, the balls on which it does, and the flags that say so
    "saturated softmax": (lambda model: lambda x: 1e5 * model(x), BALLS, {"zero gradients"}),
    "rounded input": (lambda model: lambda x: model(torch.round(8 * x) / 8), BALLS, ZERO),
    "dead zone": (lambda model: nn.Sequential(model, nn.Hardtanh(-0.002, 0.002)), BALLS, ZERO),
    "threshold": (
        lambda model: lambda x: model(torch.clamp((x - 0.45) / 0.1, 0, 1)),
        BALLS,
        {"smoothed", "zero coordinates"},
    ),
    # In l1 long steps jump over the ripples: the model's own gradients find most of what there is to find.
    "shattered": (shattered, BALLS[:2], {"loss trace", "black box"}),
}


@pytest.mark.parametrize("name", MASKED)
def test_masked_models_are_caught(linear, name):
    base, x, _ = linear
    mask, balls, expected = MASKED[name]
    model = mask(base)
    found = report(model, x, model(x).argmax(dim=1), balls)
    assert found.verdict == "masked" and set(found.verdicts.values()) == {"masked"}
    for names in flags(found).values():
        assert names >= expected
    for check in found.checks:
        if check.flag:
            assert len(check.examples) >= THRESHOLD * len(x) and set(check.examples) <= set(range(len(x)))
            assert any(check.sentence in reason for reason in found.reasons)


def test_a_saturated_softmax_is_told_from_dead_logits(linear):
    base, x, y = linear
    found = report(lambda z: 1e5 * base(z), x, y, Linf(0.1))
    (flagged,) = [check for check in found.checks if check.flag]
    assert flagged.name == "zero gradients" and "attack the margin" in flagged.sentence
    assert flagged.numbers["margin"] == 0 < THRESHOLD < flagged.numbers["ce"]


@pytest.mark.parametrize("S", BALLS[:2], ids=str)
def test_a_dead_zone_hides_what_the_smoothed_copy_finds(linear, S):
    """Without a box the truth is closed: an example can be broken iff its score is below the support of w."""
    base, x, y = linear
    with torch.no_grad():
        score = (base(x) @ torch.tensor([-1.0, 1.0])).abs()
    reach = S.support((base.weight[1] - base.weight[0]).detach()[None])[0]
    breakable = (score < reach).numpy()
    clear = ((score - reach).abs() > 0.02 * reach).numpy()  # no matter of a step's length
    model = nn.Sequential(base, nn.Hardtanh(-0.002, 0.002))
    trial = trial_of(model, x, y, box=None)
    withstood = trial.withstood(S)
    found = ~withstood | trial.broken(trial.white(S), withstood, SMOOTH["softened"])
    assert (found == breakable)[clear].all() and clear.mean() > 0.9
    assert (withstood & breakable).mean() > 0.3, "gradients miss what smoothed ones find"
    assert set(check_of(report(model, x, y, S, box=None), "smoothed").examples) <= set(np.flatnonzero(breakable))


@pytest.mark.parametrize("kind", ["noise", "a choice of two", "dropout of its own"])
def test_a_randomised_model_is_refused(linear, kind):
    base, x, y = linear
    rng = np.random.default_rng(0)
    models = {
        "noise": lambda x: base(x) + 1e-3 * torch.tensor(rng.standard_normal((len(x), 2)), dtype=torch.float32),
        "a choice of two": lambda x: base(x) * (1 + rng.integers(2)),
        "dropout of its own": lambda x: base(torch.dropout(x, 0.1, train=True)),
    }
    with pytest.raises(ValueError, match="the model is randomised: its margins change by .* Fix its draws"):
        report(models[kind], x, y, Linf(0.1))


# ---- sound models


def test_a_linear_model_is_sound(linear):
    found = report(*linear, Union(BALLS))
    assert found.verdict == "sound" and not found.reasons and len(found.verdicts) == 3


def test_a_model_without_a_boundary_in_the_box_is_sound(linear):
    """Accuracy stays at 1 at every radius, and rightly so."""
    base, x, _ = linear
    model = lambda x: base(x) + torch.tensor([0.0, 2.0])  # noqa: E731 - |scores| are at most 1 in the box
    found = report(model, x, torch.ones(len(x), dtype=torch.int64), Linf(0.1), steps=5)
    assert found.verdict == "sound" and check_of(found, "unbounded").numbers["accuracy"]["1"] == 1


def test_a_tanh_network_on_vectors_is_sound():
    D = BernoulliFeature(alpha=2.0, d=20, p0=0.9)
    x, y = D.sample(600, np.random.default_rng(0))
    x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y > 0, dtype=torch.int64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(21, 32), nn.Tanh(), nn.Linear(32, 2))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        optimizer.step()
    found = report(model, x[:200], y[:200], (Linf(0.3), L2(1.0), L1(2.0)), box=None)
    assert found.correct > 150 and found.verdict == "sound", found.lines()


@pytest.fixture(scope="module")
def digits():
    test = load("digits", "test").first(100)
    return load("digits").first(3000), torch.tensor(test.x), torch.tensor(test.y)


def trained(images, attacks, epochs):
    model = build("small_cnn", 0)
    fit(model, images, attacks, "avg", epochs=epochs, lr=2e-3, seed=0)
    return model


@pytest.mark.slow
def test_a_natural_network_is_sound_and_the_same_one_masked_is_not(digits):
    images, x, y = digits
    model = trained(images, (), 3)
    found = report(model, x, y, (Linf(0.1), L2(2.0), L1(10.0)))
    assert found.correct > 80 and found.verdict == "sound", found.lines()
    rounded = report(lambda x: model(torch.round(7 * x) / 7), x, y, (Linf(0.1), L2(2.0), L1(10.0)))
    for names in flags(rounded).values():
        assert names >= ZERO - {"black box"}, "in a few steps on 784 pixels, finite differences find little"


@pytest.mark.slow
def test_an_adversarially_trained_network_is_sound_on_its_own_set(digits):
    images, x, y = digits
    model = trained(images, (PGD(Linf(0.1), steps=5, loss="ce", early_stop=False),), 4)
    found = report(model, x, y, Linf(0.1))
    assert found.correct > 80 and check_of(found, "steps").numbers["20"] < 0.5, "it is robust"
    assert found.verdict == "sound", found.lines()


# ---- the statistics


def tail(k, n, p):
    return sum(comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k, n + 1))


def test_p_values_are_the_binomial_tails_and_bound_the_false_alarms():
    n = 120
    trial = trial_of(None, torch.zeros(n, 1), torch.zeros(n, dtype=torch.int64))
    false_alarm = 0.0
    for hits in range(n + 1):
        check = trial.rarely("a", Linf(1), "suspect", np.arange(n) < hits, "")
        assert check.p_value == pytest.approx(tail(hits, n, CHANCE), rel=1e-9)
        assert check.examples == tuple(range(hits)) and check.share == hits / n
        false_alarm += check.flag * comb(n, hits) * CHANCE**hits * (1 - CHANCE) ** (n - hits)
    assert 0 < false_alarm <= ALARM


@pytest.mark.parametrize("wins, losses", [(0, 0), (11, 0), (10, 0), (30, 2), (30, 25), (3, 20)])
def test_rivals_are_compared_by_mcnemars_test(wins, losses):
    n = 100
    trial = trial_of(None, torch.zeros(n, 1), torch.zeros(n, dtype=torch.int64))
    row = np.arange(n)
    both = row >= 90  # what both break says nothing
    rival, reference = (row < wins) | both, (row >= wins) & (row < wins + losses) | both
    pairs = {"rival": (rival, reference), "itself": (reference, reference)}
    check = trial.paired("a", Linf(1), "masked", pairs, lambda best: best)
    p = 2 * tail(wins, wins + losses, 0.5)
    assert check.p_value == pytest.approx(min(1.0, p)) and check.share == (wins - losses) / n
    assert check.flag == (p <= ALARM and wins - losses >= THRESHOLD * n)
    assert check.examples == tuple(range(wins))


@pytest.mark.parametrize(
    "grades, verdict", [((), "sound"), (("suspect",), "suspect"), (("suspect", "masked"), "masked")]
)
def test_the_verdict_is_the_gravest_flag(grades, verdict):
    def check(grade, p):
        return Check("a", "linf:0.1", grade, 0.5, p, THRESHOLD, ALARM, (1,), {}, "")

    checks = (check("masked", 0.5), *(check(grade, 1e-9) for grade in grades))
    found = MaskingReport(checks, (), 10, 10, 0, 0.0)
    assert found.verdict == verdict and found.verdicts == {"linf:0.1": verdict} and len(found.reasons) == len(grades)


# ---- borrowed gradients


def gradient(model, x):
    x = x.clone().requires_grad_()
    logits = model(x)
    return logits.detach(), torch.autograd.grad(logits[:, 0].sum(), x)[0]


BENDS = {
    "module": nn.Hardtanh(0, 1),
    "in place": nn.ReLU(inplace=True),
    "function": lambda x: relu(x - 2) + torch.clamp(x, 0, 1),
    "method": lambda x: (3 * x).round() / 3,
    "operator in place": lambda x: (1 * x).clamp_(0.0, 1.0),
}


@pytest.mark.parametrize("name", BENDS)
def test_softened_keeps_the_value_and_gives_dead_features_a_slope(linear, name):
    base, x, y = linear
    bend = BENDS[name]
    model = lambda x: base(bend(4 * x - 2))  # noqa: E731
    value, own = gradient(model, x)
    same, soft = gradient(softened(model), x)
    assert torch.equal(same, value)
    dead = own == 0
    assert dead.double().mean() > 0.2 and (soft != 0).all()
    assert (soft.sign() == base.weight[0].sign()).all(), "each of these rises, so its smooth copy does too"


def test_borrowed_gradients_of_a_linear_model_are_its_own(linear):
    """The mean over noise exactly; differences along random directions up to what the other directions add."""
    base, x, y = linear
    trial = trial_of(base, x, y, box=None)
    for borrow in SMOOTH.values():
        value, found = gradient(borrow(trial), x)
        torch.testing.assert_close(value, base(x).detach())
        torch.testing.assert_close(found, base.weight[0].detach().expand_as(x))
    value, found = gradient(differences(trial, draws=20_000), x[:2])
    torch.testing.assert_close(value, base(x[:2]).detach())
    w = base.weight[0].detach()
    # Each coordinate has variance (‖w‖² + w_i²) / draws: 7 standard errors leave 30 · 3e-12 to chance.
    assert ((found - w).abs() <= 7 * ((w.square().sum() + w.square()) / 20_000).sqrt()).all()


def test_the_borrowed_noise_depends_on_the_step_alone(linear):
    _, x, y = linear
    net = nn.Sequential(nn.Linear(FEATURES, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    x = x.double()
    for borrow in (averaged, differences):
        whole, part = borrow(trial_of(net, x, y)), borrow(trial_of(net, x, y))
        first, second = gradient(whole, x)[1], gradient(whole, x)[1]
        torch.testing.assert_close(gradient(part, x[5:9])[1], first[5:9], rtol=0, atol=1e-12)
        torch.testing.assert_close(gradient(part, x[5:9])[1], second[5:9], rtol=0, atol=1e-12)
        assert not torch.allclose(first, second)


# ---- the report


@dataclass
class Oracle:
    """An attack that is told the answer, or that does nothing."""

    S: Lp
    direction: torch.Tensor | None

    def __call__(self, model, x, y, rng):
        if self.direction is None:
            return x
        way = self.direction * torch.where(y == 0, 1.0, -1.0)[:, None]
        return (x + self.S.argmax(way)).clamp(0, 1)


@pytest.mark.parametrize("knows", [True, False])
def test_a_black_box_of_ones_own(linear, knows):
    base, x, y = linear
    way = (base.weight[1] - base.weight[0]).detach() if knows else None
    model = lambda x: base(x).double().clamp(-1e-9, 1e-9).float() * 1e9  # noqa: E731 - flat, and steep at the border
    found = report(model, x, y, Linf(0.1), black_box=lambda S: Oracle(S, way))
    check = check_of(found, "black box")
    assert (check.numbers["Oracle"] > 0.5) == knows
    assert check.flag or not knows


def test_the_black_box_is_square_unless_another_is_given(linear, monkeypatch):
    asked = []

    class Square:
        def __init__(self, S, queries, box):
            asked.append((S, queries, box))

        def __call__(self, model, x, y, rng):
            return x

    monkeypatch.setattr(masking, "Square", Square)
    found = report(*linear, (*BALLS, Lp(1.5, 1.0)), steps=3)
    assert asked == [(S, 1000, (0.0, 1.0)) for S in BALLS], "Square searches linf, l2 and l1 balls"
    shares = [check.numbers.get("Square") for check in found.checks if check.name == "black box"]
    assert shares == [0.0, 0.0, 0.0, None]


def test_examples_are_the_callers_and_neither_order_nor_chunk_changes_a_finding(linear):
    base, x, y = linear
    model = lambda x: base(torch.round(8 * x) / 8)  # noqa: E731
    y = model(x).argmax(dim=1)
    y[::5] = 1 - y[::5]  # misclassified, so left alone
    found = report(model, x, y, Linf(0.1), steps=12)
    assert (found.n, found.correct) == (150, 120)
    back = torch.arange(149, -1, -1)
    turned = report(model, x[back], y[back], Linf(0.1), steps=12, chunk=7)
    for check, other in zip(found.checks, turned.checks, strict=True):
        assert not any(i % 5 == 0 for i in check.examples)
        assert sorted(149 - i for i in other.examples) == list(check.examples)
        assert (check.share, check.p_value, check.sentence) == (other.share, other.p_value, other.sentence)
    assert found.checks == report(model, x, y, Linf(0.1), steps=12).checks


def test_lines_and_data(linear):
    base, x, y = linear
    found = report(lambda z: 1e5 * base(z), x, y, Union((Linf(0.1), RotationTranslation(3, 30))), steps=6)
    lines = found.lines()
    assert "gradients: masked" in lines[0] and len(lines) == 1 + len(found.checks) + 1
    assert "rt:3px,30deg is skipped" in lines[-1] and "MASKED" in "".join(lines)
    data = json.loads(json.dumps(found.data(), allow_nan=False))
    assert data["verdict"] == "masked" and data["n"] == 150 and data["skipped"] == list(found.skipped)
    for check, record in zip(found.checks, data["checks"], strict=True):
        assert record["flag"] == check.flag and tuple(record["examples"]) == check.examples
        assert record["sentence"] == check.sentence and record["threshold"] == THRESHOLD


@pytest.mark.parametrize(
    "change, message",
    [
        ({"sets": RotationTranslation(3, 30)}, "the report needs an lp ball of positive radius"),
        ({"sets": (Linf(0),)}, "the report needs an lp ball of positive radius"),
        ({"sets": Linf(8)}, "larger than the whole box"),
        ({"steps": 0}, "steps is 0, but must be an integer ≥ 1"),
        ({"chunk": 0}, "chunk is 0, but must be an integer ≥ 1"),
        ({"alarm": 1.0}, "alarm is 1.0, but a false-alarm rate lies between 0 and 1"),
        ({"model": lambda x: torch.full((len(x), 2), torch.nan)}, "NaN or infinite logits"),
        ({"y": "flipped"}, "the model classifies none of the 150 examples correctly"),
        ({"x": np.zeros((150, FEATURES), dtype=np.float32)}, "x is float32, but must be a floating-point torch tensor"),
    ],
)
def test_bad_input(linear, change, message):
    model, x, y = linear
    change = {"model": model, "x": x, "y": y, "sets": Linf(0.1)} | change
    change["y"] = 1 - y if isinstance(change["y"], str) else change["y"]
    with pytest.raises(ValueError, match=message):
        report(**change)


def test_modes_are_restored_and_dropout_is_off(linear):
    base, x, y = linear
    model = nn.Sequential(nn.Dropout(0.5), base).train()
    assert report(model, x, y, Linf(0.1), steps=3).verdict == "sound"
    assert model.training and model[0].training


def test_runs_on_whatever_device_the_input_is_on(linear):
    base, x, y = linear
    model = nn.Sequential(nn.Hardtanh(0.2, 0.8), base)
    y = model(x).argmax(dim=1)
    expected = report(model, x, y, BALLS, steps=4)
    torch.set_default_device("meta")
    try:
        found = report(model, x, y, BALLS, steps=4)
    finally:
        torch.set_default_device(None)
    assert found.checks == expected.checks
