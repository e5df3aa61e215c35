"""Attacks: what they must keep (set, box, model), and what they must reach (closed forms, brute force)."""

from dataclasses import replace
from math import inf, log, sqrt

import numpy as np
import pytest
import torch
from torch import nn
from toys import toy

from tradeoff.attacks import (
    APGD,
    MSD,
    PGD,
    SLIDE,
    Accumulated,
    AffineAttack,
    CoordinateBeam,
    Draws,
    Flips,
    GridSearch,
    RandomSearch,
    Softened,
    SparseSearch,
    Square,
    StraightThrough,
    Successive,
    WarmStart,
    ascend,
    worst,
)
from tradeoff.attacks.ascent import Found, look
from tradeoff.attacks.losses import ce, dlr, margin
from tradeoff.certification import reach
from tradeoff.perturbations import L1, L2, Affine, Linf, Lp, RotationTranslation, Swap, Union
from tradeoff.theory import BernoulliFeature

RT = RotationTranslation(2, 30)
ON_IMAGES = [
    PGD(Linf(0.1), steps=7),
    PGD(Linf(1 / 255), steps=3),
    PGD(L2(1.0), steps=7, restarts=2),
    PGD(L1(3.0), steps=7),
    PGD(Lp(1.5, 1.5), steps=5),
    PGD(Linf(0.1), steps=7, loss="ce", early_stop=False),
    PGD(Linf(0), steps=2),
    SLIDE(L1(3.0), steps=7),
    SLIDE(L1(3.0), steps=7, quantile=(80.0, 99.0), restarts=2, early_stop=False),
    SLIDE(L1(0), steps=2),
    APGD(Linf(0.1), steps=12),
    APGD(L2(1.0), steps=12, loss="dlr", restarts=2),
    APGD(L1(3.0), steps=12, loss="margin", early_stop=False),
    APGD(L1(3.0), steps=12, radii=(3, 2, 1)),
    APGD(Lp(3, 0.6), steps=12),
    APGD(L2(1.0), steps=8, loss="dlr", targets=2),
    APGD(Linf(0.1), steps=8, loss="ce", targets=9),
    APGD(L1(0), steps=2),
    MSD((Linf(0.1), L2(1.0), L1(3.0)), steps=5),
    MSD((Linf(0.1), L1(3.0)), steps=5, quantile=(80.0, 99.0), restarts=2, early_stop=False),
    Square(Linf(0.1), queries=40),
    Square(L2(1.0), queries=40, restarts=2),
    Square(L1(3.0), queries=40, loss="ce", early_stop=False),
    Square(Linf(1 / 255), queries=30, restarts=2),
    Square(L2(0), queries=5),
    Square(Linf(0), queries=5),
    Square(L1(0.01), queries=1),
    CoordinateBeam(L1(3.0), width=2, candidates=6),
    CoordinateBeam(L1(0.01), width=2, candidates=3, restarts=2),
    CoordinateBeam(L2(1.0), width=3, candidates=5, restarts=2, early_stop=False),
    CoordinateBeam(L2(0.5), width=1, candidates=1, moves=3, loss="ce"),
    CoordinateBeam(Lp(1.5, 1.0), width=2, candidates=4),
    CoordinateBeam(L1(0)),
    CoordinateBeam(L1(3.0), width=2, candidates=6, seen=(0.3, 0.7)),
    SparseSearch(L1(3.0), queries=30),
    SparseSearch(L2(1.0), queries=30, restarts=2, early_stop=False),
    SparseSearch(L1(3.0), queries=30, seen=(0.3, 0.7), exchanged=1.0),
    SparseSearch(L1(0), queries=2),
    Flips(Linf(0.35), steps=5),
    Flips(L2(1.0), steps=5, restarts=2),
    Flips(L1(3.0), steps=5, seen=(0.0, 1.0), early_stop=False),
    Flips(Union((Linf(0.1), L1(3.0), L2(1.0))), steps=5, restarts=2),
    Flips(L1(0), steps=2),
    StraightThrough(APGD(L2(1.0), steps=8)),
    Softened(APGD(L2(1.0), steps=8)),
    Softened(MSD((Linf(0.1), L1(3.0)), steps=5)),
    RandomSearch(RT, tries=5),
    GridSearch(RotationTranslation(1, 10)),
    AffineAttack(PGD(Linf(0.1), steps=7), SLIDE(L1(3.0), steps=7)),
    AffineAttack(PGD(L2(1.0), steps=7), SLIDE(L1(3.0), steps=7), beta=0.3, restarts=2),
    AffineAttack(PGD(L2(1.0), steps=7), PGD(Linf(0.1), steps=7), beta=1.0),
    AffineAttack(PGD(Linf(0.1), steps=7), SLIDE(L1(3.0), steps=7), beta=0.0),
    AffineAttack(RandomSearch(RT, tries=4), PGD(Linf(0.1), steps=5)),
    AffineAttack(RandomSearch(RT, tries=4), SLIDE(L1(3.0), steps=5), beta=1.0),
    AffineAttack(RandomSearch(RT, tries=4), PGD(L2(1.0), steps=5), beta=0.0),
    AffineAttack(PGD(Linf(0.1), steps=4), SLIDE(L1(3.0), steps=4), beta=(0, 0.25, 1)),
    AffineAttack(RandomSearch(RT, tries=2), PGD(Linf(0.1), steps=4), beta=(0.25, 0.75)),
    Successive(StraightThrough(PGD(Linf(0.1), steps=4)), Flips(L1(3.0), steps=4, seen=(0.0, 1.0))),
    WarmStart(Flips(L1(3.0), steps=4, seen=(0.0, 1.0)), APGD(L1(3.0), steps=4)),
    WarmStart(PGD(L2(2.0), steps=3), PGD(L2(1.0), steps=4, early_stop=False), restarts=2),
    Accumulated(PGD(L2(2.0), steps=3), PGD(L2(2.0), steps=4)),
    Successive(RandomSearch(RT, tries=3), Softened(APGD(L2(1.0), steps=6)), beta=(0, 0.4, 1)),
]


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def images():
    return toy(norm=True)


@pytest.fixture(scope="module", params=((1, 4), (3, 2)), ids=("grey", "colour"))
def images_of_either_kind(request):
    return toy(*request.param, norm=True)


@pytest.mark.parametrize("attack", ON_IMAGES, ids=repr)
def test_result_is_in_set_and_box_and_the_model_is_as_it_was(attack, images_of_either_kind):
    model, x, y = images_of_either_kind
    model.train()
    model[3].eval()  # modes of its own must come back
    model[0].bias.requires_grad_(False)
    modes = [m.training for m in model.modules()]
    grads = [p.requires_grad for p in model.parameters()]
    weights = {name: t.clone() for name, t in model.state_dict().items()}
    original = x.clone()
    x_adv = attack(model, x, y, rng())
    assert (x_adv.shape, x_adv.dtype, x_adv.device) == (x.shape, x.dtype, x.device) and not x_adv.requires_grad
    assert torch.equal(x, original)
    assert torch.isfinite(x_adv).all() and x_adv.min() >= 0 and x_adv.max() <= 1
    assert [m.training for m in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == grads and all(p.grad is None for p in model.parameters())
    assert all(torch.equal(t, weights[name]) for name, t in model.state_dict().items())
    if isinstance(attack.S, Lp | Union) or isinstance(attack.S, Affine) and isinstance(attack.S.a, Lp):
        assert attack.S.contains(x_adv.double() - x.double()).all()
    with torch.no_grad():  # in no case does an attack repair an example
        assert (model.eval()(x).argmax(1) != y)[model(x_adv).argmax(1) == y].sum() == 0
    model[0].bias.requires_grad_(True)


@pytest.mark.parametrize("attack", ON_IMAGES, ids=repr)
def test_runs_on_whatever_device_the_input_is_on(attack, images):
    """Any tensor made without its input's device lands on "meta" here, and fails."""
    model, x, y = images
    expected = attack(model, x, y, rng())
    torch.set_default_device("meta")
    try:
        found = attack(model, x, y, rng())
    finally:
        torch.set_default_device(None)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("attack", ON_IMAGES, ids=repr)
def test_draws_belong_to_the_example(attack, images):
    """Neither batch size nor order changes what an example meets (up to the rounding of batched arithmetic)."""
    model, x, y = images
    model = model.double()
    x = x.double()
    whole = attack(model, x, y, Draws.for_examples(x.numpy(), 3, "a"))
    parts = [attack(model, x[i:j], y[i:j], Draws.for_examples(x[i:j].numpy(), 3, "a")) for i, j in ((0, 5), (5, 12))]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-9)
    back = torch.arange(11, -1, -1)
    turned = attack(model, x[back], y[back], Draws.for_examples(x[back].numpy(), 3, "a"))
    torch.testing.assert_close(turned[back], whole, rtol=0, atol=1e-9)
    model.float()


@pytest.mark.parametrize(
    ("method", "args"),
    [("uniform", (-1.0, 1.0)), ("normal", (0.0, 1.0)), ("gamma", (0.5,)), ("gamma", (1.0,)), ("choice", ((-1.0, 1.0),)),
     ("integers", (0, 7))],
)  # fmt: skip
def test_draws_are_those_of_numpys_generator(method, args):
    """Bit for bit and call after call: trained weights depend on it. Bounds that round nothing, however they meet."""
    keys = [0, 7, 2**64 - 1, 2**64, 2**128 - 3]
    draws, streams = Draws(keys), [np.random.Generator(np.random.Philox(key=key)) for key in keys]
    for rest in ((3,), (), (2, 4)):
        expected = np.stack([getattr(stream, method)(*args, size=rest) for stream in streams])
        found = getattr(draws, method)(*args, size=(5, *rest))
        np.testing.assert_array_equal(found, expected, strict=True)


def test_draws_tell_long_names_apart():
    x = np.zeros((1, 3))
    a, b = (Draws.for_examples(x, 0, 100 * "a" + end).uniform(0, 1, (1, 8)) for end in "xy")
    assert not np.any(a == b)


def test_one_generator_gives_the_same_draws_in_one_batch_or_two():
    x = torch.zeros(5, 3, dtype=torch.float64)
    S, g, h = Linf(1.0), rng(), rng()
    whole = S.sample(x, Draws.of(g, 5))
    parts = torch.cat([S.sample(x[:2], Draws.of(h, 2)), S.sample(x[2:], Draws.of(h, 3))])
    assert torch.equal(whole, parts)


# ---- a linear model is known in closed form --------------------------------------------------------------------------


def linear(n, seed=0):
    """A two-class model of score <w, x> + b (class 1 when positive), points, labels and signed margins, in float64."""
    g = rng(seed)
    w, b = g.normal(size=n), 0.2
    x = g.normal(size=(400, n)) * 0.6
    y = ((x @ w + b > 0) ^ (g.uniform(size=400) < 0.1)).astype(np.int64)  # a tenth is misclassified from the start
    model = nn.Linear(n, 2).double()
    model.weight.data = torch.from_numpy(np.stack([-w / 2, w / 2]))
    model.bias.data = torch.tensor([-b / 2, b / 2], dtype=torch.float64)
    return model, torch.from_numpy(x), torch.from_numpy(y), w, (2 * y - 1) * (x @ w + b)


LP_ATTACKS = [  # steps as long as the radius: a constant gradient wants no caution
    PGD(Linf(0.2), steps=40, step=0.2, box=None),
    PGD(L2(0.6), steps=40, step=0.6, box=None),
    PGD(L1(1.0), steps=40, step=1.0, box=None),
    PGD(Lp(1.5, 0.8), steps=40, step=0.8, box=None),
    PGD(Lp(4, 0.4), steps=40, step=0.4, box=None),
    SLIDE(L1(1.0), steps=40, step=1.0, quantile=100, box=None),
    APGD(Linf(0.2), steps=60, box=None),
    APGD(L2(0.6), steps=60, box=None),
    APGD(L1(1.0), steps=100, box=None),
    APGD(L1(1.0), steps=100, box=None, targets=1, loss="margin"),
    MSD((Linf(0.2), L2(0.6), L1(1.0)), steps=40, step=1.0, quantile=100, box=None),
    MSD((L2(0.2), L1(1.2)), steps=40, step=1.0, quantile=100, box=None),
]


@pytest.mark.parametrize("attack", LP_ATTACKS, ids=lambda a: f"{type(a).__name__} {a.S}")
def test_linear_model_breaks_exactly_where_the_closed_form_says(attack):
    model, x, y, w, margins = linear(8)
    broken = (model(attack(model, x, y, rng())).argmax(dim=1) != y).numpy()
    shift = attack.S.support(w[None])[0]
    assert np.all(np.abs(margins / shift - 1) > 1e-5), "no example may be a borderline case"
    assert np.array_equal(broken, margins < shift)
    assert 60 < broken.sum() < 340


@pytest.mark.parametrize("beta", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize(
    ("a", "b"), [(LP_ATTACKS[0], LP_ATTACKS[5]), (LP_ATTACKS[0], LP_ATTACKS[1]), (LP_ATTACKS[1], LP_ATTACKS[2])]
)
def test_linear_model_under_a_mixture(a, b, beta):
    """The worst shift of the score is β·support_a + (1-β)·support_b."""
    model, x, y, w, margins = linear(8)
    attack = AffineAttack(a, b, beta=beta)
    broken = (model(attack(model, x, y, rng())).argmax(dim=1) != y).numpy()
    shift = beta * a.S.support(w[None])[0] + (1 - beta) * b.S.support(w[None])[0]
    assert np.array_equal(broken, margins < shift)


def test_claim_3_seen_by_attacks():
    """On a linear model no mixture breaks what neither type of noise breaks alone."""
    model, x, y, w, margins = linear(8)
    a, b = LP_ATTACKS[0], LP_ATTACKS[5]
    union = Union((a.S, b.S)).support(w[None])[0]
    mixed = AffineAttack(a, b, restarts=8)(model, x, y, rng())
    assert not np.any((model(mixed).argmax(dim=1) != y).numpy() & (margins > union * (1 + 1e-6)))


def test_linf_with_a_box_reaches_the_closed_form():
    """In a box the worst shift is Σ |w_i| min(eps, room to the edge)."""
    model, _, y, w, _ = linear(8)
    x = torch.from_numpy(rng(1).uniform(size=(400, 8)))
    sign = -(2 * y.numpy() - 1)[:, None] * np.sign(w)
    room = np.where(sign > 0, 1 - x.numpy(), x.numpy())
    shift = (np.abs(w) * np.minimum(0.3, room)).sum(axis=1)
    margins = (2 * y.numpy() - 1) * (x.numpy() @ w + 0.2)
    broken = (model(PGD(Linf(0.3), steps=10)(model, x, y, rng())).argmax(dim=1) != y).numpy()
    assert np.array_equal(broken, margins < shift) and 20 < broken.sum() < 380


IN_A_BOX = [  # and the share of what can be broken that they break at least
    (SLIDE(L1(0.8), steps=100, quantile=100), 0.93),
    (PGD(L1(0.8), steps=100), 0.93),
    (APGD(L1(0.8), steps=100), 0.98),
    (APGD(L1(0.8), steps=100, radii=(3, 2, 1)), 0.98),
    (APGD(L1(0.8), steps=100, loss="dlr", targets=1), 0.98),
    (PGD(L2(0.5), steps=100), 0.98),
    (APGD(L2(0.5), steps=100), 0.98),
    (APGD(L2(0.5), steps=100, radii=(2, 1)), 0.98),
    (APGD(Linf(0.3), steps=100), 0.98),
    (APGD(Lp(1.5, 0.6), steps=15), 0.95),
    (MSD((Linf(0.25), L2(0.5), L1(0.8)), steps=100, quantile=100), 0.95),
]


@pytest.mark.parametrize(("attack", "least"), IN_A_BOX, ids=str)
def test_in_a_box_no_attack_passes_the_exact_support_and_it_is_nearly_reached(attack, least):
    """`reach` has it in closed form, for a union the largest of its members."""
    model, _, y, w, _ = linear(8)
    x = torch.from_numpy(rng(1).uniform(size=(400, 8)))
    w = torch.from_numpy(w)
    against = -(2 * y - 1)[:, None] * w
    sets = attack.S.sets if isinstance(attack.S, Union) else [attack.S]
    shift = torch.stack([reach(against, S, -x, 1 - x) for S in sets]).amax(dim=0)
    margins = (2 * y - 1) * (x @ w + 0.2)
    broken = model(attack(model, x, y, rng())).argmax(dim=1) != y
    assert not (broken & (margins > shift + 1e-6)).any()
    assert 20 < (margins < shift).sum() < 380
    assert broken.sum() >= least * (margins < shift).sum()


@pytest.mark.parametrize("S", [Linf(0.15), L2(0.4), L1(0.7)], ids=str)
@pytest.mark.parametrize("loss", ["ce", "margin", "dlr"])
def test_with_every_target_a_linear_model_of_three_classes_breaks_where_it_can(S, loss):
    """That is where z_j - z_y + support(w_j - w_y) > 0 for a wrong class j."""
    g = rng(5)
    w, x = torch.from_numpy(g.normal(size=(3, 6))), torch.from_numpy(g.normal(size=(200, 6)))
    model = nn.Linear(6, 3, bias=False).double()
    model.weight.data = w
    y = (x @ w.T).argmax(dim=1)
    logits = x @ w.T - (x @ w.T).gather(1, y[:, None])
    room = logits + torch.stack([S.support(w[j] - w[y]) for j in range(3)], dim=1)
    room = room.scatter(1, y[:, None], -inf).amax(dim=1)
    broken = model(APGD(S, steps=60, loss=loss, targets=2, box=None)(model, x, y, rng())).argmax(dim=1) != y
    assert (room.abs() > 1e-4).all() and torch.equal(broken, room > 0) and 20 < broken.sum() < 180


def test_growing_radii_share_the_steps():
    """Every radius looks once more than it has steps; the last has 0.4 of them, and the first at least one."""
    model, x, y, _, _ = linear(8)
    for steps, radii, passes in ((20, (1,), 21), (20, (3, 2, 1), 23), (3, (3, 2, 1), 6), (2, (2.0, 1.0), 4)):
        seen, handle = counted(model)
        APGD(L1(0.1), steps=steps, radii=radii, box=None, early_stop=False)(model, x, y, rng())
        handle.remove()
        assert len(seen) == 2 + passes
    attack = APGD(L1(0.5), steps=9, box=None)
    assert torch.equal(attack(model, x, y, rng()), replace(attack, radii=[1])(model, x, y, rng()))


def test_attacks_meet_the_theory():
    """The share that PGD breaks on D_B is the exact linear risk. False alarm ≤ 1e-9 (Hoeffding, three comparisons)."""
    D = BernoulliFeature(2.0, 20, 0.9)
    samples, w = 8000, np.concatenate([[1.5], np.ones(20)])
    bound = sqrt(log(2 * 3 / 1e-9) / (2 * samples))
    x, y = D.sample(samples, rng())
    model = nn.Linear(21, 2, bias=False).double()
    model.weight.data = torch.from_numpy(np.stack([-w, w]))
    points, labels = torch.from_numpy(x), torch.from_numpy((y > 0).astype(np.int64))
    for attack in (
        PGD(Linf(D.eta), steps=10, box=None),
        PGD(L2(0.7), steps=20, box=None),
        SLIDE(L1(1.0), steps=20, quantile=100, box=None),
    ):
        risk = float((model(attack(model, points, labels, rng())).argmax(dim=1) != labels).double().mean())
        assert abs(risk - D.linear_risk(w, attack.S)) < bound


# ---- brute force -----------------------------------------------------------------------------------------------------


def small_network(n, seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(n, 16), nn.Tanh(), nn.Linear(16, 3)).double()


@pytest.mark.parametrize(
    "attack",
    [
        PGD(Linf(0.4), steps=40, restarts=5, box=None),
        PGD(L2(0.4), steps=40, restarts=5, box=None),
        PGD(L1(0.4), steps=40, restarts=5, box=None),
        SLIDE(L1(0.4), steps=40, quantile=100, restarts=5, box=None),
        APGD(Linf(0.4), steps=40, restarts=3, loss="margin", box=None),
        APGD(L2(0.4), steps=40, restarts=3, loss="margin", box=None),
        APGD(L1(0.4), steps=40, restarts=3, loss="margin", box=None),
        APGD(L1(0.4), steps=40, restarts=3, loss="margin", targets=2, box=None),
        MSD((Linf(0.2), L2(0.25), L1(0.4)), steps=40, quantile=100, restarts=5, box=None),
    ],
    ids=lambda a: f"{type(a).__name__} {a.S}",
)
def test_against_exhaustive_search_in_the_plane(attack):
    """The largest margin on a fine mesh of the ball, which no attack may pass (but for the mesh) nor miss by much."""
    model = small_network(2, 0)
    for p in model.parameters():
        p.data.mul_(2)
    x = torch.from_numpy(rng(2).normal(size=(30, 2)))
    y = model(x).argmax(dim=1)
    side = torch.linspace(-0.4, 0.4, 161, dtype=torch.float64)
    mesh = torch.cartesian_prod(side, side)
    mesh = mesh[attack.S.contains(mesh)]
    with torch.no_grad():
        best = torch.stack(
            [margin(model(at + mesh), label.expand(len(mesh))).max() for at, label in zip(x, y, strict=True)]
        )
        x_adv = replace(attack, early_stop=False)(model, x, y, rng())
        found = margin(model(x_adv), y)
    steepest = 2 * 0.4 / 160 * 30  # mesh width × a bound of the gradient here
    assert (found <= best + steepest).all()
    assert (found >= best - 0.05 * (best - margin(model(x), y)).abs() - 0.02).float().mean() >= 0.9
    assert ((found > 0) == (best > 0)).float().mean() >= 0.9


def test_grid_search_is_the_worst_of_the_grid(images):
    """Against one transform at a time, through the NumPy path (scipy)."""
    model, x, y = images
    S = RotationTranslation(2, 40)
    with torch.no_grad():
        every = [S.apply(x.double().numpy(), np.tile(r, (len(x), 1))) for r in S.grid(3, 5)]
        margins = torch.stack([margin(model.eval()(torch.from_numpy(e).float()), y) for e in every])

    class Grid(RotationTranslation):  # the same set with a coarser grid
        def grid(self):
            return super().grid(3, 5)

    attack = GridSearch(Grid(2, 40), early_stop=False)
    found = margin(model(attack(model, x, y, rng())), y)
    best = torch.maximum(margins.max(dim=0).values, margin(model(x), y))
    torch.testing.assert_close(found, best, rtol=1e-4, atol=1e-4)
    early = margin(model(replace(attack, early_stop=True)(model, x, y, rng())), y)
    assert torch.equal(early > 0, best > 0)


def test_grid_search_over_swaps_is_exhaustive():
    model = small_network(5, 1)
    x = torch.from_numpy(rng(0).normal(size=(40, 5)))
    y = model(x).argmax(dim=1)
    broken = model(GridSearch(Swap(4))(model, x, y, rng())).argmax(dim=1) != y
    every = torch.stack([model(Swap(4).apply(x, torch.full((40,), j))).argmax(dim=1) != y for j in range(5)])
    assert torch.equal(broken, every.any(dim=0)) and 0 < broken.sum() < 40


def test_random_search_tries_are_worth_their_number(images):
    model, x, y = images
    few, many = RandomSearch(RT, tries=2, early_stop=False), RandomSearch(RT, tries=30, early_stop=False)
    # The first two draws are the same, so more tries are never worse.
    one = margin(model.eval()(few(model, x, y, rng())), y)
    two = margin(model(many(model, x, y, rng())), y)
    assert (two >= one).all() and (two > one).any()


# ---- the shared loop -------------------------------------------------------------------------------------------------


def counted(model):
    seen = []
    handle = model.register_forward_hook(lambda m, inputs, output: seen.append(len(output)))
    return seen, handle


def test_worst_prefers_misclassified_then_loss():
    """Cross-entropy can be larger on a right answer than on a wrong one: the wrong one must win."""
    model = nn.Identity()
    right, wrong = torch.tensor([[0.30, 0.26, 0.26, 0.26]]) * 10, torch.tensor([[5.0, 5.1, -9.0, -9.0]])
    y = torch.tensor([0])
    assert look(model, right, y, "ce").loss > look(model, wrong, y, "ce").loss
    searches = [lambda x, y, draws, c=c: look(model, c, y, "ce") for c in (wrong, right)]
    start = torch.tensor([[9.0, 0.0, 0.0, 0.0]])
    assert torch.equal(worst(model, start, y, searches, rng(), loss="ce"), wrong)
    assert torch.equal(worst(model, start, y, searches, rng(), loss="ce", early_stop=False), right)


def test_broken_examples_leave_the_batch():
    model, x, y, w, margins = linear(8)
    seen, handle = counted(model)
    attack = PGD(Linf(0.2), steps=10, box=None)
    attack(model, x, y, rng())
    assert seen[-1] < len(x) and sorted(seen[2:], reverse=True) == seen[2:]
    with_stop = sum(seen)
    seen.clear()
    replace(attack, early_stop=False)(model, x, y, rng())
    # A peek at the logits of 8, the clean points, 10 steps and a last look.
    assert seen == [8] + [len(x)] * 12 and with_stop < 0.8 * sum(seen)
    handle.remove()


def test_ascend_shows_every_point_and_keeps_the_worst():
    model = small_network(4, 3)
    x = torch.from_numpy(rng(0).normal(size=(6, 4)))
    y = model(x).argmax(dim=1)
    visited: list[Found] = []
    attack = PGD(L2(0.5), steps=9, box=None)
    found = ascend(model, x, y, Draws.of(rng(), 6), [attack], steps=9, box=None, early_stop=False,
                   watch=lambda made, f: visited.append(f))  # fmt: skip
    assert len(visited) == 10
    torch.testing.assert_close(found.loss, torch.stack([f.loss for f in visited]).max(dim=0).values)
    torch.testing.assert_close(look(model, found.x, y, "margin").loss, found.loss)


def test_more_steps_and_restarts_are_never_worse(images):
    model, x, y = images
    model.eval()

    def loss(attack):
        return margin(model(attack(model, x, y, rng())), y)

    base = PGD(Linf(0.05), steps=4, step=0.02, early_stop=False)
    assert (loss(replace(base, steps=12)) >= loss(base) - 1e-6).all()
    assert (loss(replace(base, restarts=3)) >= loss(base) - 1e-6).all()
    mixed = AffineAttack(replace(base, steps=4), SLIDE(L1(1.0), steps=4, early_stop=False))
    assert (loss(replace(mixed, restarts=3)) >= loss(mixed) - 1e-6).all()


def test_slide_moves_the_top_percentile():
    """One step from zero without projection in the way: γ sign(g) / #kept on the kept pixels."""
    n = 101
    model = nn.Linear(n, 2, bias=False).double()
    g = rng(0).normal(size=n)
    model.weight.data = torch.from_numpy(np.stack([np.zeros(n), g]))
    attack = SLIDE(L1(10.0), quantile=90, step=1.0, box=None)
    for q, kept in ((90, 11), (99, 2), (100, 1), (0, 101), (95.5, 5)):
        attack = replace(attack, quantile=q)
        state = attack.start(torch.zeros(1, n).double(), Draws.of(rng(), 1)) | {"r": torch.zeros(1, n).double()}
        r = attack.moves(state, None, torch.from_numpy(g)[None], None, None)[0]["r"][0].numpy()
        threshold = np.percentile(np.abs(g), q)
        assert (np.abs(g) >= threshold).sum() == kept
        np.testing.assert_allclose(r, np.where(np.abs(g) >= threshold, np.sign(g) / kept, 0))


def test_slide_wastes_no_step_on_pixels_at_the_edge():
    """A pixel at the edge of the box whose gradient points out of it is not kept, however large its gradient."""
    attack = SLIDE(L1(1.0), quantile=100, step=0.5)
    state = {"r": torch.zeros(1, 3), "kept": torch.tensor([1])}
    gradient, low, high = torch.tensor([[9.0, 2.0, 1.0]]), torch.full((1, 3), -1.0), torch.tensor([[0.0, 1.0, 1.0]])
    assert torch.equal(attack.moves(state, None, gradient, low, high)[0]["r"], torch.tensor([[0.0, 0.5, 0.0]]))


def test_a_vanished_gradient_moves_nothing():
    for attack in (PGD(L2(1.0)), PGD(L1(1.0)), PGD(Linf(1.0)), SLIDE(L1(1.0))):
        state = attack.start(torch.rand(2, 9), Draws.of(rng(), 2))
        moved = attack.moves(state, None, torch.zeros(2, 9), None, None)[0]
        torch.testing.assert_close(moved["r"], state["r"])


def test_affine_spends_the_budget_it_says(images):
    """β = 1 and β = 0 are the single attacks' sets, and every mixture lies in S_affine."""
    model, x, y = images
    a, b = PGD(Linf(0.1), steps=5), SLIDE(L1(3.0), steps=5)
    for beta in (0.0, 0.2, 0.7, 1.0):
        r = AffineAttack(a, b, beta=beta)(model, x, y, rng()).double() - x.double()
        left = (r.abs() - beta * 0.1).clamp(min=0).flatten(1).sum(dim=1)
        assert (left <= (1 - beta) * 3.0 + 1e-5).all()


@pytest.mark.parametrize(
    "attack",
    [
        AffineAttack(PGD(L2(0.5), steps=4, early_stop=False), SLIDE(L1(3.0), steps=4, early_stop=False), restarts=2),
        AffineAttack(RandomSearch(RT, tries=2), PGD(Linf(0.1), steps=4, early_stop=False)),
    ],
    ids=["noise", "moves"],
)
def test_a_searched_share_is_the_worst_of_the_shares(attack, images):
    """Given the same draws: those that follow in the streams of the examples."""
    model, x, y = images
    model.eval()
    betas, draws = (0.0, 0.3, 1.0), Draws.of(rng(), len(x))
    with torch.no_grad():
        each = torch.stack([margin(model(replace(attack, beta=beta)(model, x, y, draws)), y) for beta in betas])
        found = margin(model(replace(attack, beta=betas)(model, x, y, rng())), y)
    torch.testing.assert_close(found, each.amax(dim=0))
    assert len(each.argmax(dim=0).unique()) > 1, "no share is the worst for all"
    early = replace(attack, beta=list(betas), b=replace(attack.b, early_stop=True))
    assert (margin(model(early(model, x, y, rng())), y) > 0).sum() >= (found > 0).sum()


def test_a_searched_share_on_a_linear_model_reaches_the_union():
    """The worst shift is linear in β, so that the ends of [0, 1] have it (Claim 3)."""
    model, x, y, w, margins = linear(8)
    a, b = LP_ATTACKS[0], LP_ATTACKS[5]
    attack = AffineAttack(a, b, beta=(0.5, 0, 1))
    broken = (model(attack(model, x, y, rng())).argmax(dim=1) != y).numpy()
    assert np.array_equal(broken, margins < Union((a.S, b.S)).support(w[None])[0])


# ---- losses ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3, 4, 7])
def test_dlr_is_the_papers(classes):
    """-(z_y - max_{j≠y} z_j) / (z_(1) - z_(3)) and -(z_y - z_t) / (z_(1) - (z_(3) + z_(4)) / 2), one by one."""
    g = rng(classes)
    logits = g.normal(size=(50, classes))
    y = g.integers(classes, size=50)
    t = (y + g.integers(1, classes, size=50)) % classes
    best, aimed = [], []
    for z, label, target in zip(logits, y, t, strict=True):
        top = sorted(z, reverse=True)
        other = max(value for j, value in enumerate(z) if j != label)
        spread = 1.0 if classes == 2 else top[0] - top[2]
        wide = 1.0 if classes == 2 else top[0] - (top[2] if classes == 3 else (top[2] + top[3]) / 2)
        best.append((other - z[label]) / spread)
        aimed.append((z[target] - z[label]) / wide)
    logits, y, t = map(torch.from_numpy, (logits, y, t))
    torch.testing.assert_close(dlr(logits, y), torch.tensor(best, dtype=torch.float64))
    torch.testing.assert_close(dlr(logits, y, t), torch.tensor(aimed, dtype=torch.float64))
    if classes > 2:  # blind to scale and shift
        torch.testing.assert_close(dlr(1e4 * logits - 7, y), dlr(logits, y))
        torch.testing.assert_close(dlr(1e4 * logits - 7, y, t), dlr(logits, y, t))


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_the_worst_target_is_the_untargeted_one(classes):
    g = rng(classes)
    logits, y = torch.from_numpy(g.normal(size=(50, classes))), torch.from_numpy(g.integers(classes, size=50))
    wrong = torch.stack([(y + k) % classes for k in range(1, classes)])
    torch.testing.assert_close(torch.stack([margin(logits, y, t) for t in wrong]).amax(dim=0), margin(logits, y))
    assert torch.equal(margin(logits, y) > 0, logits.argmax(dim=1) != y)
    p = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    torch.testing.assert_close(ce(logits, y), -p.gather(1, y[:, None])[:, 0].log())
    for t in wrong:
        torch.testing.assert_close(ce(logits, y, t), p.gather(1, t[:, None])[:, 0].log())


# ---- bad input -------------------------------------------------------------------------------------------------------

X, Y = torch.full((2, 1, 8, 8), 0.5), torch.tensor([0, 1])
LINEAR = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: PGD(Linf(8))(LINEAR, X, Y, rng()), r"linf:8 is larger than .* did you mean linf:8/255\?"),
        (lambda: PGD(L2(9))(LINEAR, X, Y, rng()), "l2:9 is larger than the whole box"),
        (lambda: SLIDE(L1(65))(LINEAR, X, Y, rng()), "l1:65 is larger than the whole box"),
        (lambda: AffineAttack(RandomSearch(RT), PGD(Linf(8)))(LINEAR, X, Y, rng()), "linf:8 is larger"),
        (lambda: PGD(Linf(0.1))(LINEAR, X * 255, Y, rng()), r"ranges over \[127.5, 127.5\], outside the box \[0, 1\]"),
        (lambda: PGD(Linf(0.1))(LINEAR, X - 1, Y, rng()), r"outside the box"),
        (lambda: GridSearch(RT)(LINEAR, X - 1, Y, rng()), r"outside the box"),
        (lambda: PGD(Linf(0.1))(LINEAR, X.byte(), Y, rng()), "x is torch.uint8, but must be a floating-point"),
        (lambda: PGD(Linf(0.1))(LINEAR, X.numpy(), Y, rng()), "must be a floating-point torch tensor"),
        (lambda: PGD(Linf(0.1))(LINEAR, X[:0], Y[:0], rng()), r"shape \(0, 1, 8, 8\)"),
        (lambda: PGD(Linf(0.1))(LINEAR, X[0, 0, 0], Y, rng()), r"shape \(8,\)"),
        (lambda: PGD(Linf(0.1))(LINEAR, X * float("nan"), Y, rng()), "NaN or infinite"),
        (lambda: PGD(Linf(0.1), box=None)(LINEAR, X * float("inf"), Y, rng()), "NaN or infinite"),
        (lambda: PGD(Linf(0.1))(LINEAR, X, Y[:1], rng()), r"y is torch.int64 of shape \(1,\)"),
        (lambda: PGD(Linf(0.1))(LINEAR, X, Y.float(), rng()), "y is torch.float32"),
        (lambda: PGD(Linf(0.1))(LINEAR, X, Y + 2, rng()), r"labels range over 2..3, but the model has classes 0..2"),
        (lambda: PGD(Linf(0.1))(LINEAR, X, Y - 1, rng()), r"labels range over -1..0"),
        (lambda: PGD(Linf(0.1))(nn.Sequential(LINEAR, nn.Softmax(1)), X, Y, rng()), "returns probabilities"),
        (lambda: PGD(Linf(0.1))(lambda x: x.flatten(1)[:, :1], X, Y, rng()), "logits"),
        (lambda: PGD(Linf(0.1))(lambda x: x * float("nan"), X.flatten(1), Y, rng()), "NaN or infinite logits"),
        (lambda: PGD(Linf(0.1), loss="mrgin")(LINEAR, X, Y, rng()), "unknown loss 'mrgin', did you mean 'margin'"),
        (lambda: GridSearch(RT)(LINEAR, X.flatten(1), Y, rng()), "rotations need images"),
        (lambda: RandomSearch(RotationTranslation(8, 0))(LINEAR, X, Y, rng()), "out of sight"),
        (lambda: PGD(Linf(0.1), steps=0), "steps is 0"),
        (lambda: PGD(Linf(0.1), restarts=1.5), "restarts is 1.5"),
        (lambda: RandomSearch(RT, tries=0), "tries is 0"),
        (lambda: PGD(RT), "PGD attacks an lp ball, not rt:2px,30deg"),
        (lambda: SLIDE(Linf(0.1)), "SLIDE attacks l1 balls, not linf:0.1"),
        (lambda: SLIDE(L1(1), quantile=101), "quantile is 101"),
        (lambda: SLIDE(L1(1), quantile=(99, 80)), r"quantile is \(99, 80\)"),
        (lambda: RandomSearch(Linf(0.1)), "a search tries moves, not linf:0.1"),
        (lambda: PGD(Linf(0.1), step=-1.0), "step is -1.0"),
        (lambda: PGD(Linf(0.1), box=(1.0, 0.0)), r"box is \(1.0, 0.0\)"),
        (lambda: AffineAttack(PGD(Linf(0.1)), SLIDE(L1(1)), beta=1.5), "beta is 1.5"),
        (lambda: AffineAttack(PGD(Linf(0.1)), SLIDE(L1(1)), beta=(0.5, 1.5)), r"beta is \(0.5, 1.5\)"),
        (lambda: AffineAttack(PGD(Linf(0.1)), SLIDE(L1(1)), beta=()), r"beta is \(\), but must lie in"),
        (lambda: AffineAttack(PGD(Linf(0.1)), SLIDE(L1(1)), beta="half"), "beta is 'half'"),
        (lambda: AffineAttack(PGD(Linf(0.1)), SLIDE(L1(1)), beta=(0.5, None)), r"beta is \(0.5, None\)"),
        (lambda: AffineAttack(PGD(Linf(0.1), restarts=2), SLIDE(L1(1))), "leave all other restarts at 1"),
        (lambda: AffineAttack(PGD(Linf(0.1), steps=3), SLIDE(L1(1), steps=4)), "3 and 4 steps"),
        (lambda: AffineAttack(RandomSearch(Swap(3)), PGD(Linf(0.1))), "scales its moves"),
        (lambda: AffineAttack(PGD(Linf(0.1)), GridSearch(RT)), "the second PGD or SLIDE"),
        (lambda: APGD(RT), "APGD attacks an lp ball, not rt:2px,30deg"),
        (lambda: APGD(L1(1), targets=-1), "targets is -1"),
        (lambda: APGD(L1(1), targets=2.0), "targets is 2.0"),
        (lambda: APGD(L1(1), radii=()), r"radii are \(\)"),
        (lambda: APGD(L1(1), radii=(3, 2)), r"radii are \(3.0, 2.0\), but must be multiples of the radius that fall"),
        (lambda: APGD(L1(1), radii=(2, 3, 1)), r"radii are \(2.0, 3.0, 1.0\)"),
        (lambda: APGD(L1(1), steps=2, radii=(3, 2, 1)), "2 steps cannot be shared among 3 radii"),
        (lambda: APGD(L1(1), loss="cw")(LINEAR, X, Y, rng()), "unknown loss 'cw'"),
        (lambda: APGD(L2(9))(LINEAR, X, Y, rng()), "l2:9 is larger than the whole box"),
        (lambda: MSD(()), "MSD needs at least one lp ball"),
        (lambda: MSD((Linf(0.1), RT)), "attacks an lp ball, not rt:2px,30deg"),
        (lambda: MSD((Linf(0.1), L1(1)), quantile=101), "quantile is 101"),
        (lambda: MSD((Linf(0.1), L1(65)))(LINEAR, X, Y, rng()), "l1:65 is larger than the whole box"),
        (lambda: Successive(GridSearch(Swap(3)), MSD((Linf(0.1), L1(1)))), "mixes an lp ball, or a set"),
        (lambda: Successive(PGD(Linf(0.1)), Flips(L1(1)), beta="0.5"), r"beta is \('0.5',\)"),
        (lambda: MSD(Linf(0.3), steps=0), "steps is 0"),
        (lambda: MSD(0.3), "attacks an lp ball, not 0.3"),
        (lambda: SLIDE(L1(1), quantile=(80, 90, 99)), r"quantile is \(80, 90, 99\)"),
        (lambda: APGD(L1(1), radii=3), r"radii are \(3.0,\)"),
        (lambda: APGD(L1(1), radii=(inf, 1)), "that fall to 1"),
        (lambda: APGD(L1(1), radii=(float("nan"), 1)), "that fall to 1"),
        (lambda: PGD(Linf(0.1), step=inf), "step is inf"),
        (lambda: PGD(Linf(0.1), box=(0,)), r"box is \(0,\)"),
        (lambda: Successive(PGD(Linf(0.1)), Flips(L1(1)), beta=(0.5, 2)), r"beta is \(0.5, 2\)"),
        (lambda: Successive(PGD(Linf(0.1), box=None), Flips(L1(1))), "the two attacks work in the boxes None and"),
        (lambda: WarmStart(Flips(L1(1)), Square(L1(1))), "takes no start: give PGD, SLIDE or APGD"),
        (lambda: WarmStart(Flips(L1(1)), APGD(L1(1), radii=(3, 2, 1))), r"radii of the climb is \(3.0, 2.0, 1"),
        (lambda: WarmStart(Flips(L1(1)), PGD(L1(1), restarts=3)), "restarts of the climb is 3, but"),
        (lambda: WarmStart(Flips(L1(1)), PGD(L1(2))), "the climb in l1:2 cannot start from l1:1: give the same"),
        (lambda: WarmStart(RandomSearch(RT), PGD(L1(2))), "the climb in l1:2 cannot start from rt:2px,30deg: give"),
        (lambda: WarmStart(Flips(L1(1)), PGD(L1(1), box=None)), "the two attacks work in the boxes"),
        (lambda: WarmStart(Flips(L1(1)), PGD(L1(1)), restarts=0), "restarts is 0"),
        (lambda: Accumulated(PGD(L2(1)), Square(L2(1))), "takes no start: give PGD, SLIDE or APGD"),
        (lambda: Accumulated(PGD(L2(1)), PGD(Linf(1))), "the climb in linf:1 cannot start from l2:1: give the same"),
        (lambda: Accumulated(PGD(L2(1)), StraightThrough(PGD(L2(2)))), "the climb in l2:2 cannot start from l2:1"),
        (lambda: Accumulated(PGD(L2(1)), PGD(L2(1)), renew=0), r"renew is 0, but must be a share of \(0, 1\]"),
        (lambda: Softened(Square(L1(1))), "follows no gradient of its own that could be replaced"),
    ],
)  # fmt: skip
def test_bad_input_is_named_before_any_step(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_radius_may_be_any_without_a_box():
    model, x, y, _, _ = linear(4)
    assert PGD(Linf(50.0), steps=3, box=None)(model, x, y, rng()).shape == x.shape
