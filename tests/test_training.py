"""Training: one step against plain torch, interruptions, pass counts, devices, checkpoints."""

import errno
import fcntl
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from math import cos, pi, prod
from pathlib import Path

import numpy as np
import pytest
import torch
from interruption import interrupt
from safetensors.torch import load_file, save_file
from scipy.special import rel_entr, softmax
from torch import nn
from torch.nn.functional import cross_entropy

from tradeoff import experiments, training
from tradeoff.attacks import PGD, SLIDE, Accumulated, AffineAttack, RandomSearch, StraightThrough
from tradeoff.attacks.draws import Draws
from tradeoff.augmentation import AUGMENTATIONS, Deformations, crop
from tradeoff.data import Images, load
from tradeoff.evaluation import evaluate
from tradeoff.experiments import Experiment, train
from tradeoff.models import MODELS, Ensemble, build
from tradeoff.perturbations import L1, L2, Linf, Lp, RotationTranslation
from tradeoff.training import STRATEGIES, Points, Turn, fit, load_weights, save_weights

TRAIN = {"loss": "ce", "early_stop": False}
LINF, ONE, TWO = PGD(Linf(0.2), 3, **TRAIN), SLIDE(L1(2), 3, quantile=(80, 99), **TRAIN), PGD(L2(1), 3, **TRAIN)
ROTATE = RandomSearch(RotationTranslation(2, 30), 4, **TRAIN)
FURTHER = Accumulated(PGD(Linf(0.2), 5, **TRAIN), StraightThrough(LINF), renew=0.3)
WAYS = {
    "natural": ((), "avg"),
    "natural max": ((), "max"),
    "linf": ((LINF,), "avg"),
    "avg": ((LINF, ONE, TWO), "avg"),
    "max": ((LINF, ONE, ROTATE), "max"),
    "e-at": ((LINF, ONE, ROTATE), "e-at"),
    "alternating": ((ROTATE, TWO), "alternating"),
    "accumulated": ((FURTHER, Accumulated(TWO, TWO, carry=True)), "alternating"),
    "affine": ((AffineAttack(LINF, ONE), AffineAttack(ROTATE, LINF, beta=0.5)), "avg"),
}
ways = pytest.mark.parametrize("attacks, strategy", WAYS.values(), ids=WAYS)


@dataclass(frozen=True)
class Push:
    """An attack whose answer is known: every pixel up (or down) by the radius."""

    S: Lp
    way: float = 1.0
    box = (0.0, 1.0)

    def __call__(self, model, x, y, rng):
        return (x + self.way * self.S.eps).clamp(0, 1)


def toy(n=50, seed=0):
    """Noisy images of three classes that a small network learns in a few steps."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    y[:3] = 0, 1, 2
    x = rng.uniform(0, 0.5, (n, 1, 6, 6))
    x[np.arange(n), 0, 2 * y] += 0.5
    return Images(x.astype(np.float32), y.astype(np.int64), "toy", "toy", 3)


def network(seed=0):
    """With batch norm, whose statistics a checkpoint must keep."""
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 3))


def smooth(seed=0):
    """Without batch norm, before which a bias has no gradient but rounding, which Adam turns into whole steps."""
    return nn.Sequential(*(part for part in network(seed) if not isinstance(part, nn.BatchNorm2d)))


def linear():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(36, 3))


def states_equal(a, b):
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def without_seconds(log):
    return [{key: value for key, value in record.items() if not key.endswith("seconds")} for record in log]


# One step


UP, DOWN = Push(Linf(0.3)), Push(Linf(0.6), -1.0)


@pytest.mark.parametrize(
    "attacks, strategy",
    [((), "avg"), ((), "max"), ((UP,), "avg"), ((UP,), "max"), ((UP, DOWN), "avg"), ((UP, DOWN), "max")],
    ids=["natural", "natural max", "one", "one max", "avg", "max"],
)
def test_one_step_is_adam_on_the_strategys_loss(attacks, strategy):
    """The first epoch attacks with a third of the radii: 0.1 up and 0.2 down here."""
    images, model, lr = toy(), linear(), 0.01
    (record,) = fit(model, images, attacks, strategy, epochs=1, lr=lr, seed=3, batch=50)

    x, y, reference = torch.tensor(images.x), torch.tensor(images.y), linear()
    pushed = {UP: (x + 0.1).clamp(0, 1), DOWN: (x - 0.2).clamp(0, 1)}
    losses = {a: cross_entropy(reference(p), y, reduction="none") for a, p in {None: x, **pushed}.items()}
    if strategy == "max":
        # An attack may leave an example alone, so the unperturbed one is a candidate too.
        loss, chosen = torch.stack([losses[a] for a in (None, *attacks)]).max(dim=0)
        assert len(chosen.unique()) == (2 if attacks else 1)
        share = chosen.bincount(minlength=1 + len(attacks))[1:] / 50
    else:
        loss = torch.stack([losses[a] for a in attacks or (None,)])
        share = torch.tensor([1 / len(attacks) for _ in attacks])
    assert record["chosen"] == pytest.approx(share.tolist(), abs=1e-6)
    loss.mean().backward()
    assert record["loss"] == pytest.approx(loss.mean().item(), rel=1e-6)
    for (name, after), before in zip(model.named_parameters(), reference.parameters(), strict=True):
        g = before.grad  # Adam's first step is g / (|g| + 1e-8)
        torch.testing.assert_close(after, before - lr * g / (g.abs() + 1e-8), rtol=1e-5, atol=1e-7, msg=name)


def test_accuracy_and_loss_are_means_over_examples():
    """Of batches as large as `batch` allows: 50 = 17 + 17 + 16, on weights that do not move."""
    sizes, images, model = [], toy(), linear()
    model.register_forward_hook(lambda model, inputs, logits: sizes.append(len(logits)))
    (record,) = fit(model, images, (), "avg", epochs=1, lr=1e-30, seed=0, batch=17)
    assert sizes[1:] == [17, 17, 16]
    logits, y = linear()(torch.tensor(images.x)), torch.tensor(images.y)
    assert record["loss"] == pytest.approx(cross_entropy(logits, y).item(), rel=1e-6)
    assert record["accuracy"] == pytest.approx((logits.argmax(dim=1) == y).double().mean().item(), abs=1e-12)


def test_sgd_is_that_of_the_paper():
    """Momentum 0.9 on gradients with 2e-4 times the weights in them: three steps on all images, by hand."""
    images, model, reference, lr = toy(), linear(), linear(), 0.1
    fit(model, images, (), "avg", epochs=3, lr=lr, seed=0, batch=50, optimizer="sgd")
    x, y = torch.tensor(images.x), torch.tensor(images.y)
    weights, speed = list(reference.parameters()), [0, 0]
    for rate in (lr, lr, lr / 10):  # half of three epochs is in the second
        loss = cross_entropy(reference(x), y)
        for k, (weight, g) in enumerate(zip(weights, torch.autograd.grad(loss, weights), strict=True)):
            speed[k] = 0.9 * speed[k] + g + 2e-4 * weight.data
            weight.data -= rate * speed[k]
    for after, expected in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(after, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "optimizer, epochs, tenths", [("adam", 5, [0, 0, 0, 1, 1]), ("sgd", 8, [0, 0, 0, 0, 1, 1, 2, 2]), ("sgd", 1, [0])]
)
def test_the_learning_rate_falls(optimizer, epochs, tenths, monkeypatch):
    """At 40,000 and 60,000 of the paper's 80,000 steps on CIFAR-10, at half of those on MNIST."""
    rates, cls = [], {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[optimizer]
    step = cls.step
    monkeypatch.setattr(cls, "step", lambda self: rates.append(self.param_groups[0]["lr"]) or step(self))
    fit(linear(), toy(), (), "avg", epochs=epochs, lr=0.02, seed=0, batch=50, optimizer=optimizer)
    assert rates == [0.02 / 10**k for k in tenths]


def test_the_learning_rate_falls_as_half_a_cosine(monkeypatch):
    rates, step = [], torch.optim.Adam.step
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: rates.append(self.param_groups[0]["lr"]) or step(self))
    fit(linear(), toy(), (), "avg", epochs=4, lr=0.02, seed=0, batch=25, optimizer="adam-cosine")
    assert rates == pytest.approx([0.01 * (1 + cos(pi * epoch / 4)) for epoch in range(4) for _ in range(2)])


@pytest.mark.parametrize("attacks", [(), (UP,)], ids=["natural", "attacked"])
def test_half_of_the_loss_is_what_a_teacher_says(attacks):
    """By scipy, at temperature 2, on the examples trained on; the teacher's weights, mode and statistics are left."""
    images, model, reference, teacher = toy(), linear(), linear(), network(7)
    before = network(7)
    how = {"epochs": 1, "lr": 0.01, "seed": 0, "batch": 50, "warmup": 0}
    (record,) = fit(model, images, attacks, "avg", **how, teacher=teacher)
    assert states_equal(teacher, before) and teacher.training
    assert all(weight.grad is None for weight in teacher.parameters())
    x = torch.tensor(images.x)
    x = (x + 0.3).clamp(0, 1) if attacks else x
    logits, taught = reference(x), before.eval()(x).detach()
    p, q = (softmax(z.detach().numpy().astype(float) / 2, axis=1) for z in (taught, logits))
    y = torch.tensor(images.y)
    value = cross_entropy(logits, y)
    assert record["loss"] == pytest.approx(value.item() / 2 + 2 * rel_entr(p, q).sum(axis=1).mean(), rel=1e-5)
    # The gradient of 4 KL(p, q) by logits is 2 (q - p); Adam's first step is its sign.
    pull = 2 * (torch.softmax(logits / 2, dim=1) - torch.tensor(p, dtype=torch.float32)).detach() / len(y)
    (value / 2 + (pull * logits).sum() / 2).backward()
    for after, old in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(after, old - 0.01 * old.grad / (old.grad.abs() + 1e-8), rtol=1e-4, atol=1e-6)


def test_a_network_that_teaches_itself_learns_from_labels_alone():
    """What is divided by two is all of what is left."""
    once, twice = linear(), linear()
    (a,), (b,) = (fit(m, toy(), (), "avg", epochs=1, lr=1e-30, seed=0, batch=50, teacher=t)
                  for m, t in ((once, None), (twice, linear())))  # fmt: skip
    assert b["loss"] == pytest.approx(a["loss"] / 2, rel=1e-6)


def test_the_mean_of_the_weights_is_what_is_watched_and_left(monkeypatch):
    """By hand, of the weights after every step; the training itself does not see it. Counts are those of the end."""
    weights, step, images = [], torch.optim.Adam.step, toy()
    how = {"epochs": 2, "lr": 0.02, "seed": 0, "batch": 10, "watch": ({"linf": LINF}, toy(20, seed=1))}
    plain, averaged = network(), network()
    beside = fit(plain, images, (LINF,), "avg", **how)

    def after(self):
        step(self)
        weights.append([w.detach().clone() for w in self.param_groups[0]["params"]])

    monkeypatch.setattr(torch.optim.Adam, "step", after)
    log = fit(averaged, images, (LINF,), "avg", **how, average=0.8)
    assert all(torch.equal(a, b) for a, b in zip(weights[-1], plain.parameters(), strict=True))
    mean = list(network().parameters())
    for i, now in enumerate(weights):
        keep = min(0.8, (i + 1) / (i + 10))
        mean = [keep * old + (1 - keep) * new for old, new in zip(mean, now, strict=True)]
    for after, expected in zip(averaged.parameters(), mean, strict=True):
        torch.testing.assert_close(after, expected, rtol=1e-5, atol=1e-6)
    assert averaged[1].num_batches_tracked == plain[1].num_batches_tracked == 10
    assert not torch.equal(averaged[1].running_mean, plain[1].running_mean)
    again = evaluate(
        averaged, {"linf": LINF}, *(how["watch"][1].x, how["watch"][1].y), np.random.default_rng(0), chunk=100
    )
    assert log[-1]["watch"]["linf"] == again.accuracy("linf")
    assert [record["loss"] for record in log] == [record["loss"] for record in beside]


@pytest.mark.parametrize(
    "warmup, shares",
    [(0, [1, 1, 1, 1]), (1, [1 / 3, 1, 1, 1]), (2, [1 / 3, 2 / 3, 1, 1]), (6, [3 / 9, 4 / 9, 5 / 9, 6 / 9])],
)
def test_radii_grow_and_the_learning_rate_falls(warmup, shares, monkeypatch):
    radii, rates = [], []
    monkeypatch.setattr(Push, "__call__", lambda self, model, x, y, rng: radii.append(self.S.eps) or x)
    step = torch.optim.Adam.step
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: rates.append(self.param_groups[0]["lr"]) or step(self))
    fit(linear(), toy(), (UP,), "avg", epochs=4, lr=0.02, seed=0, batch=50, warmup=warmup)
    assert radii == pytest.approx([0.3 * share for share in shares])
    assert rates == pytest.approx([0.02, 0.02, 0.002, 0.002])


# Batch norm


@pytest.mark.parametrize("attacks, strategy", [((), "avg"), ((UP,), "avg"), ((UP, DOWN), "avg"), ((UP, DOWN), "max")])
def test_batch_norm_looks_at_the_batch_in_the_step_and_only_there(attacks, strategy, monkeypatch):
    """Attacks and the choice of the worst see the running statistics and leave them; the step, one batch of all that
    was found, moves them once: by a tenth of the way to the mean of what the first layer makes of it. By hand, over two
    steps, the second of which starts in training mode."""
    modes, seen, images, model = [], [], toy(), network()
    monkeypatch.setattr(Push, "__call__", lambda self, model, x, y, rng: modes.append(model.training) or
                        (x + self.way * self.S.eps).clamp(0, 1))  # fmt: skip
    model[1].register_forward_hook(lambda norm, inputs, output: seen.append((norm.training, inputs[0].detach())))
    running = torch.zeros(3)
    fit(model, images, attacks, strategy, epochs=1, lr=0.01, seed=0, batch=25)
    assert not any(modes)
    steps = [activation for training, activation in seen if training]
    assert len(steps) == 2 and all(len(part) == 25 * max(1, len(attacks) * (strategy == "avg")) for part in steps)
    for activation in steps:
        running = 0.9 * running + 0.1 * activation.mean(dim=(0, 2, 3))
    torch.testing.assert_close(model[1].running_mean, running, rtol=1e-5, atol=1e-7)
    assert model[1].num_batches_tracked == 2


def test_the_worst_is_chosen_by_the_network_as_it_is_used():
    """In eval mode the logits of this one are constant, and the first of equals, the example itself, is chosen; by the
    statistics of a batch the choice would be another."""
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36), nn.Linear(36, 3))
    model[1].running_var.fill_(1e30)
    model[1].momentum = 1e-30  # so that steps leave the statistics as they are
    (record,) = fit(model, toy(), (UP, DOWN), "max", epochs=1, lr=0.01, seed=0, batch=10)
    assert record["chosen"] == [0, 0]


# Crops and flips


def test_crops_are_windows_of_the_padded_image():
    """All 162 of them, by slices."""
    x = torch.from_numpy(np.random.default_rng(0).uniform(size=(1, 2, 5, 7)))
    padded = np.zeros((2, 13, 15))
    padded[:, 4:-4, 4:-4] = x[0]
    every = np.array([(i, j, f) for i in range(9) for j in range(9) for f in range(2)])
    found = crop(x.expand(162, -1, -1, -1), every).numpy()
    for window, (i, j, flipped) in zip(found, every, strict=True):
        expected = padded[:, i : i + 5, j : j + 7]
        np.testing.assert_array_equal(window, expected[:, :, ::-1] if flipped else expected)


@pytest.mark.parametrize(("name", "corner", "size"), [("crops", 0, (9, 9, 2)), ("shifts", 3, (3, 3, 1))])
def test_crops_are_drawn_evenly(name, corner, size):
    """Each of `count` in 1,000 · count draws: within 7 standard deviations of 1,000 but in one of 10^9 cases (162 of
    1.3e-12, doubled). Row and column 4 leave the image where it is."""
    count = prod(size)
    r = AUGMENTATIONS[name].draw(1000 * count, np.random.default_rng(0)) - [corner, corner, 0]
    counts = np.bincount(np.ravel_multi_index(r.T, size), minlength=count)
    assert len(counts) == count and np.abs(counts - 1000).max() < 7 * np.sqrt(1000)


def test_warps_are_drawn_evenly():
    """Each number of a deformation goes one way in 1,000 of 2,000 draws: each count within 7.5 standard deviations but
    in one of 10^11 cases (72 of 6.4e-14, doubled)."""
    warps = AUGMENTATIONS["warps"]
    r = warps.draw(2000, np.random.default_rng(0))
    assert set(np.unique(r)) == {-warps.S.shift, warps.S.shift}
    assert np.abs((r > 0).sum(axis=0) - 1000).max() < 7.5 * np.sqrt(500)


def test_warps_move_a_digit_a_little():
    """Smoothly: the ink's centre by less than three pixels, in all directions alike; no more ink, nor much less."""
    x = torch.tensor(load("digits", "train").first(500).x)
    warps = AUGMENTATIONS["warps"]
    moved = warps.apply(x, warps.draw(500, np.random.default_rng(0)))
    place = torch.arange(28.0)

    def centres(x):
        ink = x.sum(dim=(1, 2, 3))
        return torch.stack([(x.sum(dim=(1, axis)) * place).sum(dim=1) / ink for axis in (2, 3)])

    far = centres(moved) - centres(x)
    assert moved.shape == x.shape and moved.dtype == x.dtype and 0 <= moved.min() and moved.max() <= 1
    assert far.abs().max() < 3 and 0.1 < far.std() < 1
    assert far.mean(dim=1).abs().max() < 6.5 * float(far.std()) / 500**0.5  # but in one of 10^10 cases
    assert 0.9 < moved.sum() / x.sum() < 1.1


def test_deformations_are_drawn_evenly():
    """Of 4,000: a share 0.2 plain, each shift a third, each uniform number's mean at 0: every mean within 6.5 standard
    deviations but in one of 10^9 cases (58 of 8e-11 at most). Control points by one pixel, as `Elastic` draws them.
    What has no thickness draws the rest alike."""
    r = AUGMENTATIONS["strokes"].draw(4000, np.random.default_rng(0))
    assert r.shape == (4000, 58) and r.dtype == np.float32
    uniform, most = [3, 4, 5, 6, 57], np.array([np.radians(10), 0.08, 0.08, 0.1, 0.3])
    assert set(np.unique(r[:, 1:3])) == {-1, 0, 1} and set(np.unique(r[:, 7:57])) == {-1, 1}
    drawn = np.abs(r[:, uniform])
    assert (drawn <= most * (1 + 1e-6)).all() and (drawn.max(axis=0) > 0.99 * most).all()
    unit = [(r[:, :1] - 0.2) / 0.16**0.5, r[:, 1:3] * 1.5**0.5, r[:, uniform] / most * 3**0.5, r[:, 7:57]]
    assert np.abs(np.concatenate(unit, axis=1).mean(axis=0)).max() < 6.5 / 4000**0.5
    plainer = AUGMENTATIONS["deformations"].draw(4000, np.random.default_rng(0))
    np.testing.assert_array_equal(plainer[:, [1, 2, *range(7, 57)]], r[:, [1, 2, *range(7, 57)]])
    assert not plainer[:, 57].any()


def test_deformations_by_hand():
    """A move of nothing but contrast leaves black and white; plain ones are shifts, exactly; a quarter turn (and no
    contrast lost, between pixels' centres there is nothing) is `rot90`; a stretch by 2 doubles a bar's width; a bar
    half a pixel thicker or thinner has grey edges."""
    none = np.zeros((1, 8 + 2 * 25), np.float32)
    x = torch.tensor(load("digits", "train").first(1).x)
    deform = Deformations(thickness=0.5)

    def moved(x, **entries):
        r = none.copy()
        for at, value in entries.items():
            places = {"plain": 0, "right": 1, "down": 2, "angle": 3, "along": 4, "tall": 5, "slant": 6, "thick": 57}
            r[0, places[at]] = value
        return deform.apply(x, r)

    black, white = x == 0, x == 1
    still = moved(x)
    assert (still[black] < 1e-5).all() and (still[white] > 1 - 1e-5).all()
    torch.testing.assert_close(still, (1.13 * x - 0.03).clamp(0, 1), rtol=0, atol=1e-5)
    torch.testing.assert_close(moved(x, plain=1), x, rtol=0, atol=0)
    torch.testing.assert_close(moved(x, plain=1, right=1, down=-1), x.roll((-1, 1), (2, 3)), rtol=0, atol=0)
    torch.testing.assert_close(moved(x, right=1, down=-1), still.roll((-1, 1), (2, 3)), rtol=0, atol=1e-5)
    turned = moved(x, angle=pi / 2)
    assert min((turned - still.rot90(k, (2, 3))).abs().max() for k in (1, 3)) < 1e-4
    bar = torch.zeros(1, 1, 28, 28)
    bar[..., 12:16] = 1
    assert float(moved(bar, along=-np.log(2)).sum() / bar.sum()) == pytest.approx(2, abs=0.2)
    assert float(moved(bar, tall=-np.log(2)).sum() / bar.sum()) == pytest.approx(1, abs=0.05)
    for thick, edge in ((0.5, (0, 0.5, 1, 1)), (-0.5, (0, 0, 0.5, 1))):
        row = moved(bar, thick=thick)[0, 0, 14]
        torch.testing.assert_close(row[10:18], torch.tensor([*edge, *edge[::-1]]), rtol=0, atol=1e-4)
    torch.testing.assert_close(moved(x, plain=1, thick=0.5), x, rtol=0, atol=0)


@pytest.mark.parametrize(("name", "least"), [("deformations", 0.95), ("strokes", 0.8)])
def test_deformations_leave_a_digit_about_as_white_as_it_is(name, least):
    """What makes strokes thicker begins with grey edges, and what makes them thinner ends with such."""
    x = torch.tensor(load("digits", "train").first(500).x)
    deform = AUGMENTATIONS[name]
    r = deform.draw(500, np.random.default_rng(0))
    moved = deform.apply(x, r)
    assert moved.shape == x.shape and moved.dtype == x.dtype and 0 <= moved.min() and moved.max() <= 1
    assert 0.95 < moved.sum() / x.sum() < 1.1 and least < (moved > 0.9).sum() / (x > 0.9).sum() < 1.1
    plain = r[:, 0] > 0
    assert abs(plain.mean() - deform.plain) < 0.1
    ink, before = moved.sum(dim=(1, 2, 3))[plain], x.sum(dim=(1, 2, 3))[plain]
    assert torch.isclose(ink, before, rtol=1e-5).float().mean() > 0.95  # of others some left the image


def larger():
    """The toy images at three times their size: deformations by two pixels would fold smaller ones."""
    return replace(toy(), x=toy().x.repeat(3, axis=2).repeat(3, axis=3))


def shown(batch, seed=0, augment="crops"):
    """What the attack is given in each of two epochs, (2, 50, 1, 18, 18), by example: its label is its number."""
    images, found = replace(larger(), y=np.arange(50), classes=50), np.zeros((2, 50, 1, 18, 18), np.float32)
    model, calls = nn.Sequential(nn.Flatten(), nn.Linear(324, 50)), []

    @dataclass(frozen=True)
    class See(Push):
        def __call__(self, model, x, y, rng):
            found[sum(calls) // 50, y] = x
            calls.append(len(x))
            return x

    fit(model, images, (See(Linf(0.1)),), "avg", epochs=2, lr=0.01, seed=seed, batch=batch, augment=augment)
    assert sum(calls) == 100
    return found


@pytest.mark.parametrize("augment", ["crops", "warps", "deformations", "strokes"])
def test_an_example_is_moved_anew_in_every_epoch_whatever_its_batch(augment):
    """Before it is attacked; by crops to a window of itself."""
    first, again = (shown(batch, augment=augment) for batch in (10, 50))
    other, plain = shown(10, seed=1, augment=augment), shown(10, augment="none")
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(plain, np.stack([larger().x] * 2))
    for a, b in ((first[0], first[1]), (first[0], other[0]), (first[0], plain[0])):
        assert (a != b).any(axis=(1, 2, 3)).mean() > 0.9
    if augment != "crops":
        return
    every = np.array([(i, j, f) for i in range(9) for j in range(9) for f in range(2)])
    for image, epochs in zip(larger().x, first.swapaxes(0, 1), strict=True):
        windows = crop(torch.tensor(image).expand(162, -1, -1, -1), every).numpy()
        assert all((windows == seen).all(axis=(1, 2, 3)).any() for seen in epochs)


# Strategies that choose


def turn(step=0, tried=(0, 0, 0), right=(0, 0, 0)):
    return Turn(step, Draws([]), np.random.default_rng(step), np.array(tried), np.array(right), torch.empty(0))


def picked(strategy, turns):
    """The shares of three attacks in the batches of many steps."""
    batches = [strategy(None, torch.zeros(1, 1), torch.zeros(1, dtype=int), [Push(Linf(0.1))] * 3, t) for t in turns]
    assert all(len(parts) == 1 for parts in batches)
    return np.bincount([int(parts[0].attack) for parts in batches], minlength=3) / len(batches)


@pytest.mark.parametrize(
    "tried, right, expected",
    [
        ((100, 200, 40), (50, 150, 40), (2 / 3, 1 / 3, 0)),  # errors 1/2, 1/4 and 0
        ((100, 0, 40), (50, 0, 40), (1 / 3, 1 / 3, 1 / 3)),  # of one nothing is known yet
        ((9, 9, 9), (9, 9, 9), (1 / 3, 1 / 3, 1 / 3)),
    ],
)
def test_e_at_draws_attacks_as_their_robust_errors(tried, right, expected):
    """2,000 draws: by Hoeffding all shares are within 0.074 of their probabilities but in one of 10^9 cases."""
    shares = picked(STRATEGIES["e-at"], [turn(step, tried, right) for step in range(2000)])
    assert np.abs(shares - expected).max() < 0.074


def test_alternating_goes_round():
    assert picked(STRATEGIES["alternating"], map(turn, range(9))) == pytest.approx(1 / 3)
    for k in range(3):
        assert picked(STRATEGIES["alternating"], [turn(k + 3)])[k] == 1


@pytest.mark.parametrize("broken", [None, 7])
def test_strategies_are_told_what_was_tried_and_right(broken, tmp_path, monkeypatch):
    """Since training began, whatever was interrupted: counted by hand, on weights that do not move."""
    told, steps, images = [], [], toy()

    def recorder(model, x, y, attacks, turn):
        told.append((turn.step, turn.tried.tolist(), turn.right.tolist()))
        k = turn.step % 3 % 2
        steps.append((k, len(y), int((model(attacks[k](model, x, y, None)).argmax(dim=1) == y).sum())))
        return [Points(attacks[k](model, x, y, None), torch.full_like(y, k))]

    monkeypatch.setattr(training, "STRATEGIES", {"record": recorder})
    how = {"attacks": (UP, DOWN), "strategy": "record", "epochs": 3, "lr": 1e-30, "seed": 0, "batch": 11, "warmup": 1}
    path = tmp_path / "checkpoint.safetensors"
    if broken:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            interrupt(patch, broken)
            fit(linear(), images, **how, checkpoint=path, every=0)
        told.pop(), steps.pop()
    log = fit(linear(), images, **how, checkpoint=path, every=0)
    tried, right = np.zeros(2, int), np.zeros(2, int)
    assert len(told) == 15
    for i, (seen, (k, n, hits)) in enumerate(zip(told, steps, strict=True)):
        assert seen == (i, tried.tolist(), right.tolist())
        tried[k] += n
        right[k] += hits
    assert 0 < right.sum() < 150 and log[-1]["so_far"]["chosen"] == tried.tolist()
    shares = np.array([record["chosen"] for record in log])
    assert (shares * 50).sum(axis=0) == pytest.approx(tried, abs=1e-3) and shares.sum(axis=1) == pytest.approx(1)
    assert sum(record["accuracy"] for record in log) * 50 == pytest.approx(right.sum())


# Attacks that accumulate


@dataclass(frozen=True)
class Step(Push):
    """One that goes on from where it was left, by as much again, and notes what it was given."""

    renew: float = 0.2
    carry: bool = False

    def further(self, model, x, y, rng, begin):
        assert (begin != x).any()
        return begin + self.way * self.S.eps


def accumulating(monkeypatch, renew, epochs=40, augment="none", carry=False):
    """The images, and what one attack was given and found in each epoch, by example, whose label is its number."""
    monkeypatch.setattr(training, "Accumulated", Step)
    given, found = [], []
    call, further = Step.__call__, Step.further

    def note(act):
        def noted(self, model, x, y, rng, *begin):
            points = act(self, model, x, y, rng, *begin)
            for notes, value in ((given, x), (found, points)):
                notes.append((y.clone(), value.flatten(1).clone()))
            return points

        return noted

    monkeypatch.setattr(Step, "__call__", note(call))
    monkeypatch.setattr(Step, "further", note(further))
    images = replace(toy(), x=(larger().x / 4), y=np.arange(50), classes=50)
    model = nn.Sequential(nn.Flatten(), nn.Linear(324, 50))
    attack = Step(Linf(1 / 64), renew=renew, carry=carry)
    fit(model, images, (attack,), "avg", epochs=epochs, lr=1e-30, seed=0, batch=10, warmup=0, augment=augment)
    table = np.full((2, epochs, 50, 324), np.nan)
    for which, notes in enumerate((given, found)):
        for i, (y, value) in enumerate(notes):
            table[which, i // 5, y] = value
    return images.x.reshape(50, -1), *table


def test_an_attack_goes_on_from_where_it_left_each_image(monkeypatch):
    """However batches are composed: the noise of an image grows by a step in every epoch until it begins anew, which
    it does in a fifth of the 195 batches after the first epoch (within 6.2 standard deviations but in one of 10^9)."""
    images, given, found = accumulating(monkeypatch, renew=0.2)
    np.testing.assert_allclose(given, np.tile(images, (40, 1, 1)), atol=5e-4)  # half precision
    steps = ((found - given) * 64).mean(axis=2)
    np.testing.assert_allclose(steps, steps.round(), atol=0.07)
    steps = steps.round()
    assert (steps[0] == 1).all() and ((steps[1:] == 1) | (steps[1:] == steps[:-1] + 1)).all()
    renewed = (steps[1:] == 1).mean()
    assert abs(renewed - 0.2) < 6.2 * (0.16 / 195) ** 0.5 and steps.max() > 8


def test_an_image_is_moved_anew_when_its_attack_begins_anew(monkeypatch):
    _, given, found = accumulating(monkeypatch, renew=0.2, augment="warps")
    on = ((found - given) * 64).mean(axis=2).round()[1:] > 1
    same = np.abs(np.diff(given, axis=0)).max(axis=2) < 5e-4
    assert same[on].all() and same[~on].mean() < 0.05


def test_noise_is_carried_over_to_images_that_are_moved_anew(monkeypatch):
    """In every epoch, with as many steps as before and one more; no further than to the edge of the box."""
    _, given, found = accumulating(monkeypatch, renew=0.2, augment="warps", carry=True)
    steps = ((found - given) * 64).mean(axis=2)
    np.testing.assert_allclose(steps, steps.round(), atol=0.07)
    steps = steps.round()
    assert ((steps[1:] == 1) | (steps[1:] == steps[:-1] + 1)).all() and steps.max() > 8
    moved = np.abs(np.diff(given, axis=0)).max(axis=2) > 5e-4
    assert moved[steps[1:] > 1].mean() > 0.95
    left, x = training.Left(torch.zeros(1, 1, 1, 1), (0,)), torch.full((1, 1, 1, 1), 0.5)
    left.points[:], left.met[:] = 0.75, True
    now = turn()._replace(rows=torch.tensor([0]))
    assert left(0, Step(Linf(0), renew=1e-9, carry=True), None, x, torch.tensor([0]), now).item() == 1.0


def test_attacks_that_accumulate_keep_what_is_theirs(monkeypatch):
    """Two in turn: what one of them left is not what the other goes on from. An image that it has not met is new to it,
    and a batch that it has mostly not met begins anew."""
    left = training.Left(torch.zeros(4, 1, 1, 1), (0, 1))
    y, model = torch.zeros(4, dtype=torch.int64), None
    up, down = Step(Linf(0.25), renew=1e-9), Step(Linf(0.5), renew=1e-9)
    x = torch.full((2, 1, 1, 1), 0.25)

    def found(k, attack, rows):
        return left(k, attack, model, x, y[:2], turn()._replace(rows=torch.tensor(rows))).flatten().tolist()

    assert found(0, up, [0, 1]) == [0.5, 0.5] and found(1, down, [0, 3]) == [0.75, 0.75]
    assert found(0, up, [1, 0]) == [0.75, 0.75]
    assert found(0, up, [1, 2]) == [1.0, 0.5]  # half of it is new, and goes on from the image itself
    assert found(0, up, [3, 2]) == [0.5, 0.75]
    assert found(1, down, [1, 2]) == [0.75, 0.75]


def test_renewed_every_time_it_is_the_first_attack(monkeypatch):
    one, other = network(), network()
    how = {"epochs": 2, "lr": 0.02, "seed": 5, "batch": 10}
    log = fit(one, toy(), (Accumulated(LINF, PGD(Linf(0.2), 9, **TRAIN), renew=1),), "avg", **how)
    assert without_seconds(fit(other, toy(), (LINF,), "avg", **how)) == without_seconds(log)
    assert states_equal(one, other)


@pytest.mark.parametrize("every", [0, 1e9], ids=["every step", "every epoch"])
def test_what_was_left_and_the_mean_survive_an_interruption(every, tmp_path, monkeypatch):
    attacks = (FURTHER, Accumulated(TWO, TWO), replace(FURTHER, carry=True))
    how = {"epochs": 6, "lr": 0.05, "seed": 5, "batch": 10, "optimizer": "adam-cosine", "average": 0.9,
           "augment": "crops"}  # fmt: skip
    unbroken, resumed, alone = network(), network(99), network()
    log = fit(unbroken, toy(), attacks, "e-at", **how)
    files = {"checkpoint": tmp_path / "checkpoint.safetensors", "every": every}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, 23)
        fit(network(), toy(), attacks, "e-at", **how, **files)
    assert without_seconds(fit(resumed, toy(), attacks, "e-at", **how, **files)) == without_seconds(log)
    assert states_equal(resumed, unbroken)
    done = network(99)
    fit(done, toy(), attacks, "e-at", **how, **files)
    assert states_equal(done, unbroken)
    fit(alone, toy(), tuple(attack.a for attack in attacks), "e-at", **how)
    assert not states_equal(alone, unbroken)


# Watching


def test_what_is_watched_is_an_evaluation_that_disturbs_nothing(tmp_path):
    images, few, suite = toy(), toy(20, seed=1), {"linf": PGD(Linf(0.1), 4), "rt": ROTATE}
    how = {"epochs": 3, "lr": 0.02, "seed": 0, "batch": 10}
    alone, watched = network(), network()
    log = fit(alone, images, (LINF,), "avg", **how)
    path = tmp_path / "log.jsonl"
    seen = fit(watched, images, (LINF,), "avg", **how, watch=(suite, few), log=path)
    assert states_equal(alone, watched)
    assert [json.loads(line) for line in path.read_text().splitlines()] == seen
    watches = [record.pop("watch") for record in seen]
    assert without_seconds(seen) == without_seconds(log) and all("watch_seconds" in record for record in seen)
    outcomes = evaluate(watched, suite, few.x, few.y, np.random.default_rng(0), chunk=100)
    assert watches[-1] == {"clean": outcomes.accuracy(), "linf": outcomes.accuracy("linf"),
                           "rt": outcomes.accuracy("rt"), "union": outcomes.union()}  # fmt: skip
    assert watches[0] != watches[-1]


# What fit leaves behind


@ways
def test_fit_learns_and_leaves_eval_mode_and_no_trace(attacks, strategy):
    """Neither the global seeds nor a hook on the model; the last epoch's loss is below the first's."""
    model, images = network(), toy()
    seeds = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    log = fit(model, images, attacks, strategy, epochs=3, lr=0.02, seed=0, batch=10, warmup=1)
    assert torch.equal(torch.get_rng_state(), seeds[0])
    assert (np.random.get_state()[1] == seeds[1]).all()  # noqa: NPY002
    assert not any(module.training for module in model.modules()) and not model._forward_hooks
    assert [record["epoch"] for record in log] == [1, 2, 3]
    if strategy in ("avg", "max"):  # others train on one attack or another
        assert log[2]["loss"] < log[1]["loss"]  # both at the full radii, or without any
    again = network()
    assert without_seconds(fit(again, images, attacks, strategy, epochs=3, lr=0.02, seed=0, batch=10)) == (
        without_seconds(log)
    )
    assert states_equal(again, model)
    fit(again := network(), images, attacks, strategy, epochs=3, lr=0.02, seed=1, batch=10)
    assert not states_equal(again, model)


def test_pass_counts():
    """Examples, by hand. An attack looks at 8 of a batch for the shape of its logits and at all unperturbed; then k
    steps with a gradient and a last look, or one look a try. max looks at x and at each attack's result once more."""
    images, sizes = toy(50), (13, 13, 12, 12)
    shape = sum(min(8, size) for size in sizes)
    cost = {"linf": (shape + 50 * (1 + 3 + 1), 50 * 3), "rotate": (shape + 50 * (1 + 4), 0)}
    for attacks, strategy, forward, backward in [
        ((), "avg", 50, 50),
        ((LINF,), "avg", cost["linf"][0] + 50, cost["linf"][1] + 50),
        ((LINF, ROTATE), "avg", cost["linf"][0] + cost["rotate"][0] + 100, cost["linf"][1] + 100),
        ((LINF, ROTATE), "max", cost["linf"][0] + cost["rotate"][0] + 3 * 50 + 50, cost["linf"][1] + 50),
    ]:
        log = fit(network(), images, attacks, strategy, epochs=2, lr=0.01, seed=0, batch=13)
        assert [(record["forward"], record["backward"]) for record in log] == [(forward, backward)] * 2


# Interruptions


@pytest.mark.parametrize("every", [0, 1e9], ids=["every step", "every epoch"])
@ways
def test_resumed_training_is_unbroken_training(attacks, strategy, every, tmp_path, monkeypatch):
    how = {"epochs": 4, "lr": 0.02, "seed": 5, "batch": 10, "warmup": 2}
    unbroken = network()
    log = fit(unbroken, toy(), attacks, strategy, **how)

    checkpoint, path = tmp_path / "checkpoint.safetensors", tmp_path / "log.jsonl"
    files = {"checkpoint": checkpoint, "log": path, "every": every}
    losses = 5 * (len(attacks) if strategy == "avg" and attacks else 1)
    interrupt(monkeypatch, 2 * losses - 1)  # in the middle of the second epoch
    broken = network()
    with pytest.raises(KeyboardInterrupt):
        fit(broken, toy(), attacks, strategy, **how, **files)
    assert not broken._forward_hooks
    monkeypatch.undo()
    assert {file.name for file in tmp_path.iterdir()} == {checkpoint.name, path.name}
    (kept,) = [json.loads(line) for line in path.read_text().splitlines()]
    assert without_seconds([kept]) == without_seconds(log[:1])

    resumed = network(seed=99)  # all that matters is in the checkpoint
    calls = interrupt(monkeypatch, None)
    again = fit(resumed, toy(), attacks, strategy, **how, **files)
    parts = losses // 5
    done = 5 if every else (2 * losses - 2) // parts  # steps
    assert len(calls) == parts * (20 - done)
    assert without_seconds(again) == without_seconds(log) and again[0] == kept
    assert [json.loads(line) for line in path.read_text().splitlines()] == again
    assert states_equal(resumed, unbroken)
    # What is finished is not trained again.
    done = network(seed=99)
    assert fit(done, toy(), attacks, strategy, **how, **files) == again and states_equal(done, unbroken)


@pytest.mark.parametrize("every", [0, 1e9], ids=["every step", "every epoch"])
@pytest.mark.parametrize(
    "attacks, strategy", [WAYS["natural"], WAYS["avg"], WAYS["max"]], ids=["natural", "avg", "max"]
)
def test_resumed_sgd_on_crops_is_unbroken(attacks, strategy, every, tmp_path, monkeypatch):
    """Momentum, crops and batch norm's statistics, from the middle of the third of four epochs."""
    how = {"epochs": 4, "lr": 0.1, "seed": 5, "batch": 10, "optimizer": "sgd", "augment": "crops"}
    unbroken, resumed = network(), network(99)
    log = fit(unbroken, toy(), attacks, strategy, **how)
    files = {"checkpoint": tmp_path / "checkpoint.safetensors", "every": every}
    losses = len(attacks) if strategy == "avg" and attacks else 1
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, 12 * losses)
        fit(network(), toy(), attacks, strategy, **how, **files)
    assert any(name.endswith("momentum_buffer") for name in load_file(files["checkpoint"]))
    assert without_seconds(fit(resumed, toy(), attacks, strategy, **how, **files)) == without_seconds(log)
    assert states_equal(resumed, unbroken)


def test_checkpoints_of_before_there_were_other_optimizers_are_read(tmp_path):
    """They say no more than this of how they were made."""
    path = tmp_path / "checkpoint.safetensors"
    fit(network(), toy(), (LINF,), "avg", epochs=1, lr=0.01, seed=0, batch=50, checkpoint=path)
    assert training._read(path)[1]["how"] == repr(("avg", (LINF,), 1, 0.01, 0, 50, 1, 50, "toy", None))


@pytest.mark.parametrize("optimizer, state", [("adam", "exp_avg_sq"), ("sgd", "momentum_buffer")])
def test_the_optimizers_state_matters(optimizer, state, tmp_path):
    """Without its moments a resumed run ends elsewhere: the tests above would notice if they were lost."""
    how = {"epochs": 4, "lr": 0.02, "seed": 5, "batch": 10, "optimizer": optimizer}
    path = tmp_path / "checkpoint.safetensors"
    unbroken = network()
    fit(unbroken, toy(), (), "avg", **how)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, 12)
        fit(network(), toy(), (), "avg", **how, checkpoint=path)
    about = training._read(path)[1]
    tensors = load_file(path)
    assert any(name.endswith(state) for name in tensors)
    training._write(path, {name: t for name, t in tensors.items() if name.startswith("model.")}, about)
    forgetful = network()
    fit(forgetful, toy(), (), "avg", **how, checkpoint=path)
    assert not states_equal(forgetful, unbroken)


@pytest.mark.parametrize(
    "other",
    [{"epochs": 3}, {"lr": 0.02}, {"seed": 1}, {"batch": 25}, {"warmup": 2}, {"strategy": "max"}, {"attacks": (TWO,)},
     {"images": toy(49)}, {"optimizer": "sgd"}, {"augment": "crops"}, {"average": 0.9},
     {"teacher": network(1)}, {"teacher": network(2)}],
    ids=lambda other: next(iter(other)),
)  # fmt: skip
def test_the_checkpoint_of_other_training_is_refused(other, tmp_path):
    """Another teacher is other training too, whatever its weights are called."""
    how = {"images": toy(), "attacks": (LINF,), "strategy": "avg", "epochs": 2, "lr": 0.01, "seed": 0, "batch": 50}
    how |= {"teacher": network(3)} if "teacher" in other else {}
    path = tmp_path / "checkpoint.safetensors"
    fit(network(), **how, checkpoint=path)
    model = network()
    with pytest.raises(ValueError, match=f"{path} is the checkpoint of other training: delete it"):
        fit(model, **(how | other), checkpoint=path)
    assert states_equal(model, network())


# How the network computes


@pytest.mark.parametrize("attacks, strategy", [((), "avg"), ((LINF, ONE), "max")], ids=["natural", "max"])
def test_another_layout_is_the_same_training_up_to_rounding(attacks, strategy):
    how = {"epochs": 2, "lr": 1e-3, "seed": 0, "batch": 25}
    plain, last = smooth(), smooth()
    log = fit(plain, toy(), attacks, strategy, **how)
    again = fit(last, toy(), attacks, strategy, **how, memory_format="channels_last")
    assert all(weight.is_contiguous() for weight in last.parameters())
    assert [r["loss"] for r in again] == pytest.approx([r["loss"] for r in log], rel=1e-3)
    assert [(r["forward"], r["backward"]) for r in again] == [(r["forward"], r["backward"]) for r in log]
    for a, b in zip(plain.state_dict().values(), last.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-5)  # of steps of 1e-3


def test_lower_precision_leaves_everything_else(tmp_path):
    """Weights, moments, files and logits stay float32; what is learnt is the same."""
    how = {"epochs": 6, "lr": 0.01, "seed": 0, "batch": 10}
    plain, low, checkpoint = network(), network(), tmp_path / "checkpoint"
    log = fit(plain, toy(), (LINF,), "avg", **how)
    again = fit(low, toy(), (LINF,), "avg", **how, precision="bf16", checkpoint=checkpoint)
    assert {tensor.dtype for tensor in load_file(checkpoint).values()} == {torch.float32, torch.int64}
    assert not states_equal(plain, low)  # it is another computation
    assert [r["loss"] for r in again] == pytest.approx([r["loss"] for r in log], rel=0.05)  # bf16 has 8 bits
    assert [(r["forward"], r["backward"]) for r in again] == [(r["forward"], r["backward"]) for r in log]
    resumed = network(9)
    fit(resumed, toy(), (LINF,), "avg", **how, precision="bf16", checkpoint=checkpoint)
    assert states_equal(resumed, low)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a compiler")
@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_compiled_training_is_the_same_up_to_rounding():
    how, model = {"epochs": 2, "lr": 1e-3, "seed": 0, "batch": 25}, smooth()
    log = fit(smooth(), toy(), (LINF,), "avg", **how)
    again = fit(model, toy(), (LINF,), "avg", **how, compile=True)
    assert [r["loss"] for r in again] == pytest.approx([r["loss"] for r in log], rel=1e-3)
    assert [(r["forward"], r["backward"]) for r in again] == [(r["forward"], r["backward"]) for r in log]
    assert model(torch.zeros(3, 1, 6, 6)).shape == (3, 3)


# Several processes


TOGETHER = """
import sys
import torch
from test_training import STRATEGIES_TOGETHER, network, smooth, toy
from tradeoff import experiments
from tradeoff.together import joined, place
from tradeoff.training import fit, save_weights

torch.set_num_threads(1)
out, logs = sys.argv[1], {}
with joined():
    for name, (attacks, strategy) in STRATEGIES_TOGETHER.items():
        model = (network if name == "batch norm" else smooth)(place()[0])  # the first one's weights are all's
        checkpoint = experiments.Path(f"{out}/{name}.checkpoint")
        how = {"epochs": 2, "lr": 1e-3, "seed": 0, "batch": 13, "average": 0.5, "checkpoint": checkpoint}
        logs[name] = fit(model, toy(), attacks, strategy, **how)
        save_weights(experiments.Path(f"{out}/{name}.{place()[0]}"), model, {})
    if place()[0] == 0:
        experiments.write_json(f"{out}/logs", logs)
"""
STRATEGIES_TOGETHER = {name: WAYS[name] for name in ("natural", "avg", "max", "e-at", "alternating")}
STRATEGIES_TOGETHER["batch norm"] = WAYS["avg"]  # each process sees its share: other weights, but the same for all


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path):
    """Each example's draws are its own: the same weights up to rounding, and the same log and choices."""
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
        "GLOO_SOCKET_IFNAME": "lo",
    }
    script = tmp_path / "script.py"
    script.write_text(TOGETHER)
    launchers = {"one": [], "two": ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]}
    for name, launcher in launchers.items():
        (tmp_path / name).mkdir()
        command = [sys.executable, *launcher, str(script), str(tmp_path / name)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    one, two = (json.loads((tmp_path / name / "logs").read_text()) for name in launchers)
    for name in STRATEGIES_TOGETHER:
        alone, first, second = (
            load_file(tmp_path / part) for part in (f"one/{name}.0", f"two/{name}.0", f"two/{name}.1")
        )
        assert all(torch.equal(first[key], second[key]) for key in alone)
        if name == "batch norm":
            assert any(key.endswith("running_mean") for key in alone)
            continue
        for key, weights in alone.items():
            torch.testing.assert_close(first[key], weights, rtol=0, atol=2e-5)  # of steps of 1e-3
        for a, b in zip(one[name], two[name], strict=True):
            assert b["loss"] == pytest.approx(a["loss"], rel=1e-4) and b["chosen"] == a["chosen"]
            assert b["accuracy"] == pytest.approx(a["accuracy"], abs=0.021)  # one example on an edge
            assert b["backward"] == a["backward"]


# Devices, without a second one


@contextmanager
def default_device_elsewhere():
    """Tensors made without naming a device are made on one that cannot compute, and fail beside the CPU's.

    Adam itself makes its step count on the default device, so it is let off.
    """
    step = torch.optim.Adam.step

    def step_on_cpu(self):
        with torch.device("cpu"):
            return step(self)

    with pytest.MonkeyPatch.context() as patch, torch.device("meta"):
        assert torch.ones(1).is_meta
        patch.setattr(torch.optim.Adam, "step", step_on_cpu)
        yield


@ways
def test_tensors_are_made_on_their_inputs_device(attacks, strategy):
    wiser = Ensemble([network(1), network(2)], [(0, 0), (1, -1)])
    images, how = toy(20), {"epochs": 2, "lr": 0.01, "seed": 0, "batch": 10, "teacher": wiser}
    here, elsewhere, suite = network(), network(), dict(enumerate(attacks))
    log = fit(here, images, attacks, strategy, **how)
    outcomes = evaluate(here, suite, images.x, images.y, np.random.default_rng(0))
    with default_device_elsewhere():
        assert without_seconds(fit(elsewhere, images, attacks, strategy, **how)) == without_seconds(log)
        again = evaluate(elsewhere, suite, images.x, images.y, np.random.default_rng(0))
    assert states_equal(here, elsewhere)
    np.testing.assert_array_equal(again.correct, outcomes.correct)


def test_weights_and_checkpoints_are_read_on_their_models_device(tmp_path):
    images, how = toy(20), {"epochs": 2, "lr": 0.01, "seed": 0, "checkpoint": tmp_path / "checkpoint.safetensors"}
    model = network()
    fit(model, images, (), "avg", **how)
    with default_device_elsewhere():
        save_weights(tmp_path / "weights.safetensors", model, {})
        loaded, resumed = network(1), network(1)
        load_weights(tmp_path / "weights.safetensors", loaded)
        fit(resumed, images, (), "avg", **how)
        for name in ("small_cnn", "small_resnet"):
            assert states_equal(build(name, 0), build(name, 0))
    assert states_equal(loaded, model) and states_equal(resumed, model)


def test_crops_are_made_on_their_images_device():
    how = {"epochs": 2, "lr": 0.01, "seed": 0, "batch": 10, "optimizer": "sgd", "augment": "crops"}
    here, elsewhere = build("small_resnet", 0), build("small_resnet", 0)
    images = Images(np.random.default_rng(0).uniform(size=(20, 3, 8, 8)).astype(np.float32), toy(20).y, "toy", "toy", 3)
    fit(here, images, (LINF,), "max", **how)
    with default_device_elsewhere():
        fit(elsewhere, images, (LINF,), "max", **how)
    assert states_equal(here, elsewhere)


# Bad input, before any step


def images(**parts):
    return replace(toy(), **parts)


BAD = {
    "epochs": ({"epochs": 0}, "epochs is 0, but must be an integer ≥ 1"),
    "batch": ({"batch": 2.5}, "batch is 2.5, but must be an integer"),
    "warmup": ({"warmup": -1}, "warmup is -1, but must be an integer"),
    "lr": ({"lr": -1.0}, "learning rate is -1.0, but must be positive"),
    "nan lr": ({"lr": float("nan")}, "learning rate is nan, but must be positive"),
    "infinite lr": ({"lr": float("inf")}, "learning rate is inf, but must be positive"),
    "average": ({"average": 1.0}, r"average is 1.0, but must be a share of \[0, 1\): 0.999 averages a thousand steps"),
    "accumulating": ({"attacks": (FURTHER,), "strategy": "max"}, "have each its own images, of which max cannot say"),
    "small deformations": ({"augment": "deformations", "images": images(x=toy().x[..., :3, :3]), "attacks": (),
                            "model": nn.Sequential(nn.Flatten(), nn.Linear(9, 3))},
                           "a shift of 1 px can fold 3×3 images of 2×2 cells: give at most 0.73, or fewer cells; or "),
    "strategy": ({"strategy": "maxx"}, "unknown strategy 'maxx', did you mean 'max'?"),
    "one class": ({"images": images(y=np.full(50, 2))}, "the 50 training examples are all of class 2"),
    "no images": ({"images": images(x=np.zeros((0, 1, 6, 6), np.float32), y=np.zeros(0, int))}, "x has shape"),
    "bytes": ({"images": images(x=np.zeros((50, 1, 6, 6), np.uint8))}, "x is torch.uint8"),
    "doubles": ({"images": images(x=toy().x.astype(np.float64))}, "the model cannot take torch.float64"),
    "shape": ({"images": images(x=toy().x.reshape(50, 36))}, r"cannot take torch.float32 inputs of shape \(8, 36\)"),
    "box": ({"images": images(x=255 * toy().x)}, "outside the box"),
    "NaN": ({"images": images(x=np.full((50, 1, 6, 6), np.nan, np.float32))}, "x holds NaN"),
    "labels": ({"images": images(y=toy().y + 1)}, r"labels range over 1\.\.3, but the model has classes 0\.\.2"),
    "natural labels": ({"images": images(y=toy().y + 1), "attacks": ()}, r"labels range over 1\.\.3"),
    "units": ({"attacks": (LINF, PGD(Linf(8)))}, "did you mean linf:8/255"),
    "shift": ({"attacks": (RandomSearch(RotationTranslation(9, 30)),)}, "out of sight"),
    "optimizer": ({"optimizer": "sdg"}, "unknown optimizer 'sdg', did you mean 'sgd'"),
    "crops": ({"images": images(x=toy().x.reshape(50, 36)), "model": linear()[1:], "attacks": (), "augment": "crops"},
              r"crops are of images \(batch, C, H, W\), not of shape \(1, 36\); or train with augment='none'"),
    "warps": ({"images": images(x=toy().x.reshape(50, 36)), "model": linear()[1:], "attacks": (), "augment": "warps"},
              r"deformations need images \(batch, C, H, W\), not shape \(1, 36\); or train with augment='none'"),
    "small warps": ({"augment": "warps"}, "a shift of 2 px can fold 6×6 images of 3×3 cells: give at most 0.98, or "
                                          "fewer cells; or train with augment='none'"),
    "augmentation": ({"augment": "crop"}, "unknown augmentation 'crop', did you mean 'crops'"),
    "precision": ({"precision": "fp16"}, "unknown precision 'fp16', did you mean 'bf16'"),
    "layout": ({"memory_format": "channel_last"}, "unknown memory format 'channel_last', did you mean 'channels_last'"),
    "another's classes": ({"teacher": nn.Sequential(nn.Flatten(), nn.Linear(36, 4))},
                          "the teacher knows 4 classes, but the model 3"),
    "a teacher's images": ({"teacher": nn.Sequential(nn.Flatten(), nn.Linear(37, 3))},
                           "the teacher is no model for these images: the model cannot take torch.float32"),
    "probabilities": ({"model": nn.Sequential(network(), nn.Softmax(dim=1))}, "the model returns probabilities"),
}  # fmt: skip


@pytest.mark.parametrize("change, message", BAD.values(), ids=BAD)
def test_bad_input(change, message):
    how = {"model": network(), "images": toy(), "attacks": (LINF,), "strategy": "avg", "epochs": 1, "lr": 0.01} | change
    before = {name: t.clone() for name, t in how["model"].state_dict().items()}
    with pytest.raises(ValueError, match=message) as error:
        fit(**how, seed=0)
    assert "\n" not in str(error.value)
    assert all(torch.equal(t, before[name]) for name, t in how["model"].state_dict().items())


def test_a_diverging_loss_is_an_error():
    model = linear()
    with torch.no_grad():
        model[1].weight.fill_(1e38)
    with pytest.raises(ValueError, match="^epoch 1, step 1 of 1, learning rate 0.5: the loss is (nan|inf): lower"):
        fit(model, toy(), (), "avg", epochs=1, lr=0.5, seed=0)


@pytest.mark.parametrize(
    "attacks, what", [((), "the loss is (nan|inf)"), ((LINF,), "the model returns NaN or infinite")]
)
def test_diverging_training_keeps_its_last_checkpoint(attacks, what, tmp_path):
    """One step at this rate and the logits overflow, while the weights are still finite."""
    deep = linear().append(nn.Linear(3, 3, bias=False))
    path = tmp_path / "checkpoint.safetensors"
    how = {"epochs": 2, "lr": 1e30, "seed": 0, "batch": 25, "checkpoint": path, "every": 0}
    with pytest.raises(ValueError, match=rf"^epoch 1, step 2 of 2, learning rate 1e\+30: {what}") as error:
        fit(deepcopy(deep), toy(), attacks, "avg", **how)
    assert "\n" not in str(error.value)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="epoch 1, step 2"):  # where it went on from
        fit(deepcopy(deep), toy(), attacks, "avg", **how)
    assert path.read_bytes() == before


def test_weights_that_overflow_are_not_kept(tmp_path, monkeypatch):
    path, model = tmp_path / "checkpoint.safetensors", linear()
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: model[1].bias.data.fill_(torch.inf))
    with pytest.raises(ValueError, match="^epoch 1, step 1 of 2, learning rate 0.1: the weights are no longer finite"):
        fit(model, toy(), (), "avg", epochs=1, lr=0.1, seed=0, batch=25, checkpoint=path, every=0)
    assert not path.exists()


# Files


@pytest.mark.parametrize("name", [name for name in MODELS if name.startswith(("small", "paper"))])
def test_weights_keep_the_model_and_its_record(name, tmp_path):
    path, about = tmp_path / "weights.safetensors", {"seed": 1, "data": "ℓ1"}
    save_weights(path, build(name, 1), about)
    model = build(name, 2)
    assert not states_equal(model, build(name, 1))
    assert load_weights(path, model) == about
    assert states_equal(model, build(name, 1))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_damaged_files(tmp_path):
    weights, checkpoint = tmp_path / "weights.safetensors", tmp_path / "checkpoint.safetensors"
    how = {"epochs": 1, "lr": 0.01, "seed": 0, "checkpoint": checkpoint}
    fit(network(), toy(), (), "avg", **how)
    save_weights(weights, network(), {})
    for path, read in (
        (weights, lambda: load_weights(weights, network())),
        (checkpoint, lambda: fit(network(), toy(), (), "avg", **how)),
    ):
        whole = path.read_bytes()
        for damaged in (whole[:-10], whole[:40], b"", b"<html>404</html>" * 9, whole[:8] + b"x" + whole[9:]):
            path.write_bytes(damaged)
            with pytest.raises(ValueError, match=f"{path} is damaged .*: delete it to train again") as error:
                read()
            assert "\n" not in str(error.value)
        save_file({"weight": torch.ones(1)}, path)  # whole, but without our record
        with pytest.raises(ValueError, match=f"{path} is damaged .*: delete it to train again"):
            read()
        path.write_bytes(whole)
        read()


@pytest.mark.parametrize("kind", ["weights", "checkpoint"])
def test_a_changed_byte_is_noticed_or_changes_nothing(kind, tmp_path):
    """Wherever it is: in the header, the record, the numbers."""
    path, how = tmp_path / kind, {"epochs": 1, "lr": 0.01, "seed": 0, "checkpoint": tmp_path / kind}
    if kind == "weights":
        save_weights(path, network(), {"seed": 1})
    else:
        fit(network(), toy(), (), "avg", **how)
    whole, expected, rng, refused = path.read_bytes(), training._read(path), np.random.default_rng(0), 0
    for place in rng.integers(len(whole), size=300):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << rng.integers(8)]) + whole[place + 1 :])
        try:
            tensors, about = training._read(path)
        except ValueError as error:
            assert "is damaged" in str(error) and "\n" not in str(error)
            refused += 1
        else:
            assert about == expected[1] and tensors.keys() == expected[0].keys()
            assert all(torch.equal(tensors[name], expected[0][name]) for name in tensors)
    assert refused > 250


def test_weights_without_a_checksum_are_read(tmp_path):
    path, model = tmp_path / "weights", network(1)
    save_file(network().state_dict(), path, {"about": "{}"})
    load_weights(path, model)
    assert states_equal(model, network())


@pytest.mark.parametrize("write", range(2, 6))
def test_a_full_disk_leaves_the_last_checkpoint(write, tmp_path, monkeypatch):
    """ENOSPC at the n-th write (a log and checkpoints after every step); with room the same call goes on."""
    how = {"epochs": 2, "lr": 0.02, "seed": 0, "batch": 25}
    files = {"checkpoint": tmp_path / "checkpoint", "log": tmp_path / "log", "every": 0}
    unbroken, sizes = network(), []
    log = fit(unbroken, toy(), (LINF,), "avg", **how)

    def fsync(handle):
        sizes.append(handle)
        if len(sizes) == write:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("tradeoff.files.os.fsync", fsync)
        with pytest.raises(OSError, match=rf"^cannot write {tmp_path}/\w+ \(No space left on device\): make room"):
            fit(network(), toy(), (LINF,), "avg", **how, **files)
    kept = training._read(tmp_path / "checkpoint")[1]
    done = len(kept["records"]) * 2 + kept["sums"].get("steps", 0)
    assert done == {2: 1, 3: 1, 4: 2, 5: 3}[write]  # writes: a step, log and epoch, a step, log and epoch
    assert all(not file.name.startswith(".") for file in tmp_path.iterdir())
    resumed = network(99)
    assert without_seconds(fit(resumed, toy(), (LINF,), "avg", **how, **files)) == without_seconds(log)
    assert states_equal(resumed, unbroken)


# The folder of a run


TINY = Experiment("digits", epochs=2, batch=20, warmup=1)


@pytest.fixture
def few_digits(monkeypatch):
    monkeypatch.setattr(experiments, "load", lambda name, split: load(name, split).first(60))


def test_one_process_at_a_time_trains_in_a_folder(few_digits, tmp_path):
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)  # as another process that trains does
    with pytest.raises(OSError, match=f"another process trains in {tmp_path}: wait for it, or choose another folder"):
        train(TINY, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["experiment.json"]
    os.close(handle)
    model = train(TINY, tmp_path)
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the lock ends with training
    assert states_equal(train(TINY, tmp_path), model)  # to read, no one waits
    os.close(handle)


def test_what_another_process_has_just_finished_is_not_overwritten(few_digits, tmp_path, monkeypatch):
    """It ends between our look at the folder and our lock."""
    alone_in = experiments.alone

    @contextmanager
    def late(folder, busy):
        monkeypatch.setattr(experiments, "alone", alone_in)
        train(TINY, folder)
        stamps.append((folder / "weights.safetensors").stat().st_mtime_ns)
        with alone_in(folder, busy):
            yield

    stamps = []
    monkeypatch.setattr(experiments, "alone", late)
    train(TINY, tmp_path)
    assert stamps == [(tmp_path / "weights.safetensors").stat().st_mtime_ns]


@pytest.mark.parametrize("kind", ["weights", "checkpoint"])
def test_files_of_another_network(kind, tmp_path):
    path = tmp_path / kind
    how = {"epochs": 1, "lr": 0.01, "seed": 0, "checkpoint": path}
    if kind == "weights":
        save_weights(path, linear(), {})
    else:
        fit(linear(), toy(), (), "avg", **how)
    with pytest.raises(ValueError, match=f"{path} holds the weights of another network: delete it to train again$"):
        load_weights(path, network()) if kind == "weights" else fit(network(), toy(), (), "avg", **how)


def test_networks_come_from_their_seed_alone():
    state = torch.get_rng_state()
    for name in ("small_cnn", "paper_cnn", "small_resnet"):
        assert states_equal(build(name, 3), build(name, 3)) and not states_equal(build(name, 3), build(name, 4))
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(ValueError, match="unknown model 'small_cn', did you mean 'small_cnn'"):
        build("small_cn", 0)


HARD = Experiment("digits", attacks=(PGD(Linf(0.3), 2, **TRAIN), SLIDE(L1(10), 2, **TRAIN), PGD(L2(2), 2, **TRAIN)),
                  combine="e-at", epochs=6, batch=6, warmup=1, watch="lp-20", watched=4)  # fmt: skip


def train_hard(folder):
    """60 steps and a checkpoint after each, in a process of its own."""
    torch.set_num_threads(1)
    experiments.load = lambda name, split: load(name, split).first(60)
    experiments.fit = partial(fit, every=0)
    train(HARD, folder)


@pytest.mark.slow
def test_a_run_that_is_killed_twenty_times_ends_as_one_that_is_not(few_digits, tmp_path):
    """SIGKILL within 30 ms after none to three more checkpoints: in steps, in writes, in what is watched."""
    context, rng, path = multiprocessing.get_context("forkserver"), np.random.default_rng(0), tmp_path / "killed"
    context.set_forkserver_preload(["tradeoff.experiments"])  # so that a start takes no time

    def written():
        try:
            return (path / "checkpoint.safetensors").stat().st_mtime_ns
        except FileNotFoundError:
            return None

    for kill in range(20):
        process = context.Process(target=train_hard, args=(path,))
        seen, deadline = written(), time.monotonic() + 300
        process.start()
        for _ in range(rng.integers(4)):
            while written() == seen and process.is_alive():
                assert time.monotonic() < deadline
                time.sleep(0.001)
            seen = written()
        time.sleep(rng.uniform(0, 0.03))
        assert process.is_alive(), f"finished before kill {kill}"
        process.kill()
        process.join()
    process = context.Process(target=train_hard, args=(path,))  # which no dead process locks out
    process.start()
    process.join(300)
    assert process.exitcode == 0 and not (path / "checkpoint.safetensors").exists()
    killed = train(HARD, path)
    unbroken = train(HARD, tmp_path / "unbroken")
    assert states_equal(killed, unbroken)
    logs = [(folder / "log.jsonl").read_text().splitlines() for folder in (path, tmp_path / "unbroken")]
    a, b = (without_seconds(map(json.loads, log)) for log in logs)
    assert a == b and len(a) == 6


# What training is for


@pytest.mark.slow
def test_training_on_one_noise_helps_against_it_and_max_helps_against_both():
    """On real digits, the same 500 for all. At fixed seeds: no test of chance."""
    train, test = load("digits", "train"), load("digits", "test").first(500)
    linf, l1 = PGD(Linf(0.2), 5, **TRAIN), SLIDE(L1(8), 5, **TRAIN)
    suite = {"linf": PGD(Linf(0.2), 20), "l1": SLIDE(L1(8), 20)}
    found = {}
    for name, attacks in {"natural": (), "linf": (linf,), "l1": (l1,), "max": (linf, l1)}.items():
        model = build("small_cnn", 0)
        fit(model, train, attacks, "max", epochs=6, lr=3e-3, seed=0, batch=50, warmup=3)
        found[name] = evaluate(model, suite, test.x, test.y, np.random.default_rng(0))
    accuracy = {name: (o.accuracy("linf"), o.accuracy("l1"), o.union()) for name, o in found.items()}
    assert accuracy["linf"][0] > accuracy["natural"][0] + 0.3
    assert accuracy["l1"][1] > accuracy["natural"][1] + 0.1
    assert accuracy["linf"][0] > accuracy["l1"][0] + 0.3 and accuracy["l1"][1] > accuracy["linf"][1] + 0.05
    assert accuracy["max"][2] > max(accuracy["linf"][2], accuracy["l1"][2]) + 0.03
    assert all(o.accuracy() > 0.9 for o in found.values())
