"""The off-by-one l1 projection of the released code: what it does, how far it leaves the ball, what that breaks."""

import warnings
from importlib import util

import numpy as np
import pytest
import torch
from torch import nn

from tradeoff.attacks.external import ROUNDING, Peer, held
from tradeoff.figures.projection_bug import off_by_one, slide
from tradeoff.perturbations import L1
from tradeoff.perturbations.lp import norm


def rng(seed=0):
    return np.random.default_rng(seed)


def sphere(n, d, radius, seed=0):
    z = L1(1).sample(torch.zeros(n, d, dtype=torch.float64), rng(seed))
    return radius * z / norm(z, 1)[:, None]


def foolbox_attack(**options):
    if util.find_spec("foolbox") is None:
        pytest.skip("foolbox is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from foolbox.attacks import SparseL1DescentAttack
    return SparseL1DescentAttack(**options)


@pytest.mark.parametrize("d", [2, 10, 784])
@pytest.mark.parametrize("radius", [1.05, 2.0, 30.0])
def test_its_threshold_is_that_of_one_entry_too_many(d, radius):
    """θ is taken at k + 1 where k entries survive, and at 1 where all do; exactly, by counting the survivors."""
    z = sphere(200, d, radius)
    exact, wrong = L1(1).project(z), off_by_one(z, 1.0)
    mu = z.abs().sort(dim=1, descending=True).values
    for row, right, got, sizes in zip(z, exact, wrong, mu, strict=True):
        k = int((right != 0).sum())
        used = k + 1 if k < d else 1
        theta = float((sizes[:used].sum() - 1) / used)
        torch.testing.assert_close(got, row.sign() * (row.abs() - theta).clamp(min=0), rtol=0, atol=1e-12)


@pytest.mark.parametrize("d", [2, 3, 10, 100])
def test_it_returns_up_to_d_times_the_radius(d):
    """Equal entries all survive, and each keeps the whole radius: norm d exactly. No point gives more."""
    assert norm(off_by_one(torch.full((1, d), 0.7, dtype=torch.float64), 0.5), 1)[0] / 0.5 == pytest.approx(d)
    ratio = norm(off_by_one(torch.cat([sphere(500, d, r) for r in (1.01, 1.05, 2.0)]), 1.0), 1)
    assert (ratio >= 1 - 1e-12).all() and (ratio <= d * (1 + 1e-12)).all()


def test_how_far_it_leaves_the_ball():
    """From 1.05 times the radius: by most of an order of magnitude in ten dimensions, hardly in those of an image; from
    points that are as sparse as the attack's, by about a percent. All in the norm over the radius."""
    assert 9 < norm(off_by_one(sphere(1000, 10, 1.05), 1.0), 1).max() < 10
    assert 1 < norm(off_by_one(sphere(1000, 784, 1.05), 1.0), 1).max() < 1.0001
    sparse = torch.zeros(1, 784, dtype=torch.float64)
    sparse[0, :8] = 1 / 8
    sparse[0, 8:16] = 0.025 / 8  # the next step of SLIDE at 99 %, elsewhere
    ratio = float(norm(off_by_one(sparse, 1.0), 1)[0])
    assert 1.001 < ratio < 1.05


def test_it_breaks_what_no_noise_of_the_radius_can():
    """A linear score in ten dimensions: an l1 adversary shifts it by eps max |w_i|, and no more."""
    g = rng()
    w, x = g.normal(size=10), g.uniform(0.3, 0.7, size=(400, 10))
    w = np.sign(w) * (1 + 0.1 * np.abs(w))  # all pixels matter alike, so that all are moved
    b = -0.5 * w.sum()
    y = (x @ w + b > 0).astype(np.int64)
    model = nn.Linear(10, 2).double()
    model.weight.data, model.bias.data = torch.from_numpy(np.stack([-w, w]) / 2), torch.tensor([-b, b]).double() / 2
    reach, margins = 0.1 * np.abs(w).max(), np.abs(x @ w + b)
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    exact, right = slide(model, x, y, 0.1, 40, L1(0.1).project, kept=1)
    wrong, still = slide(model, x, y, 0.1, 40, lambda z: off_by_one(z, 0.1), kept=1)
    assert L1(0.1).contains(exact.flatten(0, 1)).all()
    possible = torch.from_numpy(margins < reach * (1 + 1e-9))
    assert not (~right.all(dim=0) & ~possible).any()
    assert (~right.all(dim=0)).double().mean() > 0.95 * possible.double().mean()
    assert possible.double().mean() < 0.3 and (~still.all(dim=0)).double().mean() > 0.95
    assert 9 < L1(0.1).gauge(wrong.flatten(0, 1)).max() <= 10 * (1 + 1e-9)


# foolbox, where it is installed


def test_foolbox_has_it():
    """Its SparseL1DescentAttack projects as the released code does, row by row."""
    attack = foolbox_attack()
    import eagerpy as ep

    for d in (3, 10, 784):
        z = sphere(50, d, 1.3).float()
        got = attack.project(ep.astensor(z), ep.astensor(torch.zeros_like(z)), 1.0).raw
        torch.testing.assert_close(got, off_by_one(z, 1.0), rtol=1e-4, atol=1e-5)


def test_foolbox_throws_out_what_was_inside():
    """A defect of its own: with one row outside, all rows are projected, and one inside (here 0.6 of the radius, eight
    entries) leaves as each of its entries grows by the radius less the largest."""
    attack = foolbox_attack()
    import eagerpy as ep

    z = torch.zeros(2, 10)
    z[0, :8] = 0.6 / 8
    z[1, 0] = 3.0
    got = attack.project(ep.astensor(z), ep.astensor(torch.zeros_like(z)), 1.0).raw
    assert float(norm(got, 1)[0]) == pytest.approx(8.0, rel=1e-5)
    assert torch.equal(off_by_one(z, 1.0)[0], z[0])  # not so the released code


def test_foolbox_sparse_l1_descent_leaves_its_ball_and_is_caught():
    """What the attack returns is up to a percent outside, which `settle` refuses; rescaled by foolbox's own clip, as
    `Peer` takes it, it stays."""
    attack = foolbox_attack(steps=50, rel_stepsize=0.05)
    import foolbox

    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 30), nn.Tanh(), nn.Linear(30, 4)).eval()
    x = torch.from_numpy(rng().uniform(0.2, 0.8, (40, 1, 28, 28)).astype(np.float32))
    y, S = model(x).argmax(dim=1), L1(4.0)
    points = attack.run(foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu"), x, y, epsilon=S.eps)
    gauge = S.gauge(points.double() - x.double())
    assert 1.001 < gauge.max() < 1.05
    kept, measured = held(S, x, points - x, (0.0, 1.0))
    assert torch.equal(measured, gauge) or (measured - gauge).abs().max() < 1e-6
    out = gauge > 1 + ROUNDING
    assert out.double().mean() > 0.5 and torch.equal(kept[out], x[out])
    x_adv = Peer("foolbox", "SparseL1DescentAttack", S, {"steps": 50, "rel_stepsize": 0.05})(model, x, y, rng())
    assert S.contains(x_adv.double() - x.double()).all() and (x_adv != x).any()
