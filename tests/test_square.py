"""The Square Attack: set, box and draws; linear models and exhaustive search; only forward passes."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn
from toys import toy

from tradeoff.attacks import Square
from tradeoff.attacks.losses import margin
from tradeoff.perturbations import L1, L2, Linf, Lp, RotationTranslation


def rng(seed=0):
    return np.random.default_rng(seed)


def test_needs_no_gradient_and_no_more_queries_than_it_says():
    """Hidden behind a step function; and broken examples leave."""
    model, x, y = toy()
    sizes = []

    def steps(x):
        assert not torch.is_grad_enabled()
        sizes.append(len(x))
        return (model(x) * 4).round() / 4

    y = (model(x) * 4).round().argmax(dim=1)
    attack = Square(Linf(0.3), queries=60)
    broken = steps_broken = None
    with torch.no_grad():
        x_adv = attack(steps, x, y, rng())
        queries = list(sizes)
        broken = steps(x_adv).argmax(dim=1) != y
        steps_broken = int(broken.sum())
    assert steps_broken >= 6
    assert len(queries) <= 2 + 60 and queries[2:] == sorted(queries[2:], reverse=True) and queries[-1] < 12


def test_more_queries_and_restarts_are_never_worse():
    model, x, y = toy()
    base = Square(L2(0.5), queries=20, early_stop=False)

    def loss(attack):
        with torch.no_grad():
            return margin(model(attack(model, x, y, rng())), y)

    assert (loss(replace(base, restarts=4)) >= loss(base) - 1e-6).all()
    assert loss(replace(base, queries=400)).mean() > loss(base).mean()


# ---- closed forms and exhaustive search ----


def linear(n, seed=0):
    """A two-class model of score <w, x> + 0.2, points, labels, margins; float64."""
    g = rng(seed)
    w = g.normal(size=n)
    x = g.uniform(size=(200, n))
    y = ((x - 0.5) @ w > 0).astype(np.int64)
    model = nn.Linear(n, 2).double()
    model.weight.data = torch.from_numpy(np.stack([-w / 2, w / 2]))
    model.bias.data = torch.tensor([w.sum() / 4, -w.sum() / 4], dtype=torch.float64)
    return model, torch.from_numpy(x), torch.from_numpy(y), w, (2 * y - 1) * ((x - 0.5) @ w)


@pytest.mark.parametrize(("S", "reached"), [(Linf(0.2), 1.0), (L2(0.4), 0.9), (L1(0.6), 0.85)], ids=lambda v: str(v))
def test_vectors_without_a_box_break_where_the_closed_form_says(S, reached):
    """Squares are intervals here; nothing outside of the closed form, and nearly all of what is inside."""
    model, x, y, w, margins = linear(8)
    broken = (model(Square(S, queries=1000, box=None)(model, x, y, rng())).argmax(dim=1) != y).numpy()
    shift = S.support(w[None])[0]
    assert not np.any(broken & (margins > shift * (1 + 1e-6)))
    assert broken.sum() >= reached * (margins < shift).sum() > 30


def test_linf_in_the_box_reaches_the_closed_form():
    """In a box the worst shift is Σ |w_i| min(eps, room to the edge)."""
    model, x, y, w, margins = linear(8)
    sign = -(2 * y.numpy() - 1)[:, None] * np.sign(w)
    room = np.where(sign > 0, 1 - x.numpy(), x.numpy())
    shift = (np.abs(w) * np.minimum(0.15, room)).sum(axis=1)
    broken = (model(Square(Linf(0.15), queries=1000)(model, x, y, rng())).argmax(dim=1) != y).numpy()
    assert np.array_equal(broken, margins < shift) and 20 < broken.sum() < 180


def test_linf_reaches_the_best_corner():
    """Of a network on five coordinates, against all 32 corners, where its own walk ends."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 3)).double()
    x = torch.from_numpy(rng(2).normal(size=(40, 5)))
    y = model(x).argmax(dim=1)
    corners = torch.tensor(list(product((-0.4, 0.4), repeat=5)), dtype=torch.float64)
    with torch.no_grad():
        best = torch.stack([margin(model(x + r), y) for r in corners]).max(dim=0).values
        x_adv = Square(Linf(0.4), queries=500, restarts=3, box=None, early_stop=False)(model, x, y, rng())
        found = margin(model(x_adv), y)
    assert (found <= best + 1e-9).all()
    assert (found >= best - 1e-9).float().mean() >= 0.9


# ---- bad input ----


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Square(Lp(3, 1.0)), "Square attacks linf, l2 and l1 balls, not l3:1"),
        (lambda: Square(RotationTranslation(3, 30)), "not rt:3px,30deg"),
        (lambda: Square(L1(1), queries=0), "queries is 0"),
        (lambda: Square(L1(1), restarts=0.5), "restarts is 0.5"),
        (lambda: Square(L1(1), p_init=0.0), "p_init is 0.0"),
        (lambda: Square(L1(1), box=(1.0, 0.0)), r"box is \(1.0, 0.0\)"),
        (lambda: Square(L1(1), loss="mrgin")(*toy(), rng()), "did you mean 'margin'"),
        (lambda: Square(Linf(8))(*toy(), rng()), r"did you mean linf:8/255\?"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
