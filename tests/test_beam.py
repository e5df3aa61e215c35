"""The coordinate beam: exhaustive search over sequences of moves, linear models, and a network that hides gradients."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from toys import toy

from tradeoff.attacks import PGD, SLIDE, CoordinateBeam
from tradeoff.attacks.ascent import look
from tradeoff.attacks.losses import margin
from tradeoff.data import load
from tradeoff.perturbations import L1, L2, Linf, RotationTranslation


def rng(seed=0):
    return np.random.default_rng(seed)


# ---- brute force and closed forms ----


def every_sequence(model, x, y, S, box, moves):
    """The largest margin over all sequences of at most `moves` single-coordinate moves, one example at a time."""
    with torch.no_grad():
        best, level = margin(model(x[None]), y[None]), [x]
        for _ in range(moves):
            following = []
            for z in level:
                r = (z - x).abs()
                reach = max(S.eps**S.p - float((r**S.p).sum()), 0.0) ** (1 / S.p)
                if reach**S.p <= 1e-6 * S.eps**S.p:
                    continue
                for i in range(len(x)):
                    for sign in (1, -1):
                        moved = z.clone()
                        moved[i] = (x[i] + sign * reach).clamp(*box) if box else x[i] + sign * reach
                        if r[i] == 0 and moved[i] != x[i]:
                            following.append(moved)
            if following:
                best = torch.maximum(best, margin(model(torch.stack(following)), y.expand(len(following))).max())
            level = following
    return float(best)


@pytest.mark.parametrize("box", [(0.0, 1.0), None])
@pytest.mark.parametrize("S", [L1(1.7), L2(1.1)], ids=str)
def test_a_beam_wide_enough_is_exhaustive(S, box):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 3)).double()
    for p in model.parameters():
        p.data.mul_(3)
    x = torch.from_numpy(rng().uniform(size=(10, 4)))
    y = model(x).argmax(dim=1)
    whole = CoordinateBeam(S, width=200, candidates=8, moves=3, box=box, early_stop=False)
    with torch.no_grad():
        found = margin(model(whole(model, x, y, rng())), y).numpy()
        narrow = margin(model(replace(whole, width=1, candidates=2)(model, x, y, rng())), y).numpy()
    best = np.array([every_sequence(model, a, b, S, box, 3) for a, b in zip(x, y, strict=True)])
    np.testing.assert_allclose(found, best, rtol=1e-9, atol=1e-9)
    assert (narrow <= best + 1e-9).all() and (box is None or (narrow < best - 1e-6).any())


def linear(n, low, high):
    g = rng()
    w, x = g.normal(size=n), g.uniform(low, high, size=(200, n))
    y = ((x - 0.5) @ w > 0).astype(np.int64)
    model = nn.Linear(n, 2).double()
    model.weight.data = torch.from_numpy(np.stack([-w / 2, w / 2]))
    model.bias.data = torch.tensor([w.sum() / 4, -w.sum() / 4], dtype=torch.float64)
    return model, torch.from_numpy(x), torch.from_numpy(y), w, (2 * y - 1) * ((x - 0.5) @ w)


def test_l1_without_a_box_is_the_closed_form():
    """On a linear model one coordinate gets all of an l1 budget: broken where the margin is below eps·max|w|."""
    model, x, y, w, margins = linear(20, -1.0, 2.0)
    attack = CoordinateBeam(L1(0.8), width=1, candidates=4, box=None)
    broken = (model(attack(model, x, y, rng())).argmax(dim=1) != y).numpy()
    assert np.array_equal(broken, margins < attack.S.support(w[None])[0]) and 20 < broken.sum() < 180


def test_l1_in_the_box_is_the_closed_form():
    """There the worst noise fills coordinates to the edge, largest |w_i| first; the last move is a partial one."""
    model, x, y, w, margins = linear(20, 0.0, 1.0)
    eps, order = 0.5, np.argsort(-np.abs(w))
    sign = -(2 * y.numpy() - 1)[:, None] * np.sign(w)
    room = np.where(sign > 0, 1 - x.numpy(), x.numpy())[:, order]
    spent = np.minimum(room, np.maximum(eps - np.cumsum(room, axis=1) + room, 0))
    shift = (spent * np.abs(w)[order]).sum(axis=1)
    attack = CoordinateBeam(L1(eps), width=32, candidates=40)
    broken = (model(attack(model, x, y, rng())).argmax(dim=1) != y).numpy()
    assert not np.any(broken & (margins > shift + 1e-9)) and 20 < broken.sum() < 180
    assert broken.sum() >= 0.97 * (margins < shift).sum()  # sequences whose rests do not fit cost the difference
    r = replace(attack, early_stop=False)(model, x, y, rng()) - x
    np.testing.assert_allclose(r.abs().sum(dim=1), eps, rtol=1e-6)  # the budget is used up
    assert ((r != 0).sum(dim=1) <= 12).all()


def test_l2_never_passes_the_closed_form():
    model, x, y, w, margins = linear(20, -1.0, 2.0)
    attack = CoordinateBeam(L2(0.8), box=None)
    broken = (model(attack(model, x, y, rng())).argmax(dim=1) != y).numpy()
    assert not np.any(broken & (margins > attack.S.support(w[None])[0] * (1 + 1e-6)))
    assert np.all(broken[margins < 0.8 * np.abs(w).max() * (1 - 1e-6)])  # at least the best single move


# ---- flattened gradients ----


class Clipped(nn.Module):
    """clamp((x - 0.3) / 0.4, 0, 1) before a network: black and white pixels have no gradient."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(((x - 0.3) / 0.4).clamp(0.0, 1.0))


@pytest.fixture(scope="module")
def masked():
    """A linear classifier behind a clipping layer, trained for a moment, and black-and-white digits it gets right."""
    train, test = load("digits", "train"), load("digits", "test").first(80)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    whole = Clipped(model)
    for rows in np.array_split(rng().permutation(len(train.x))[:3000], 60):
        loss = nn.functional.cross_entropy(whole(torch.tensor(train.x[rows]).round()), torch.tensor(train.y[rows]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x, y = torch.tensor(test.x).round(), torch.tensor(test.y)
    with torch.no_grad():
        right = whole.eval()(x).argmax(dim=1) == y
    return whole.eval(), x[right], y[right]


def passes(model, attack, x, y):
    """Whom the attack leaves standing, and how many passes it made: forward, with a gradient counted twice."""
    count = 0

    def counting(points):
        nonlocal count
        count += len(points) * (2 if torch.is_grad_enabled() else 1)
        return model(points)

    x_adv = attack(counting, x, y, rng())
    return float(1 - look(model, x_adv, y, "margin").broken.float().mean()), count


@pytest.mark.slow
@pytest.mark.parametrize("S", [L1(10.0), L2(3.0)], ids=str)
def test_breaks_what_flattened_gradients_hide(S, masked):
    """Black and white pixels have no gradient: PGD and SLIDE do nothing, the beam with no more passes breaks a lot."""
    model, x, y = masked
    assert len(x) > 50
    beam, used = passes(model, CoordinateBeam(S), x, y)
    assert beam < 0.9
    for attack in (PGD(S, steps=80, restarts=4), *([SLIDE(S, steps=80, restarts=4)] if S.p == 1 else [])):
        standing, budget = passes(model, attack, x, y)
        assert standing == 1 and used <= budget


def test_a_model_without_any_gradient_is_attacked_all_the_same():
    model, x, y = toy()

    def steps(points):
        return (model(points.detach()) * 8).round() / 8

    with torch.no_grad():
        y = steps(x).argmax(dim=1)
    x_adv = CoordinateBeam(L1(6.0))(steps, x, y, rng())
    assert (steps(x_adv).argmax(dim=1) != y).float().mean() > 0.5


# ---- bad input ----


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: CoordinateBeam(Linf(0.1)), "which linf:0.1 has none of"),
        (lambda: CoordinateBeam(RotationTranslation(3, 30)), "rt:3px,30deg"),
        (lambda: CoordinateBeam(L1(1), width=0), "width is 0"),
        (lambda: CoordinateBeam(L1(1), moves=0), "moves is 0"),
        (lambda: CoordinateBeam(L1(1), candidates=1.5), "candidates is 1.5"),
        (lambda: CoordinateBeam(L1(1), restarts=0), "restarts is 0"),
        (lambda: CoordinateBeam(L1(1), box=(1.0, 0.0)), r"box is \(1.0, 0.0\)"),
        (lambda: CoordinateBeam(L1(101))(*toy(), rng()), "l1:101 is larger than the whole box"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
