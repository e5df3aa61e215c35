"""A front end that sees no small change, and the attacks that know it: prices, best flips, slopes, and digits."""

import re
from itertools import chain, combinations

import numpy as np
import pytest
import torch
from torch import nn

from tradeoff import records
from tradeoff.attacks import (
    APGD,
    MSD,
    PGD,
    SLIDE,
    CoordinateBeam,
    Flips,
    SparseSearch,
    Square,
    StraightThrough,
    Successive,
    WarmStart,
)
from tradeoff.attacks.ascent import look
from tradeoff.attacks.flips import flipped
from tradeoff.attacks.losses import margin
from tradeoff.attacks.scaled import scaled
from tradeoff.attacks.straight_through import straight_through
from tradeoff.data import load
from tradeoff.experiments import EXPERIMENTS
from tradeoff.figures import dead_zone, record
from tradeoff.models import MODELS, DeadZone, build, seen
from tradeoff.outcomes import Outcomes
from tradeoff.perturbations import L1, L2, Linf, Lp, RotationTranslation, Union
from tradeoff.training import fit

SEEN = (0.3, 0.7)
BALLS = [L1(1.7), L1(0.5), L2(1.1), L2(0.6), Lp(1.5, 1.3)]


def rng(seed=0):
    return np.random.default_rng(seed)


def pixels(n, size, seed=0):
    """Black, white and grey ones, float32 (n, size)."""
    g = rng(seed)
    grey = g.random((n, size)) < 0.4
    return torch.from_numpy(np.where(grey, g.random((n, size)), g.integers(0, 2, (n, size))).astype(np.float32))


def seen_of(x):
    return x.clamp(*SEEN)


# ---- the front end


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.2, 0.8), (0.3, 0.9), (0.4, 1.0)])
def test_black_and_white_survive_noise_of_the_dead_zone(low, high):
    x = torch.from_numpy(rng().integers(0, 2, (50, 9)).astype(np.float32))
    noise = torch.from_numpy(rng(1).uniform(-1, 1, (50, 9)).astype(np.float32)) * torch.where(x > 0, 1 - high, low)
    assert torch.equal(DeadZone(low, high)((x + noise).clamp(0, 1)), x)
    u = torch.linspace(0, 1, 11)
    torch.testing.assert_close(DeadZone(low, high)(low + (high - low) * u), u)


@pytest.mark.parametrize("ends", [(-0.1,), (0.5,), (float("nan"),), (0.3, 0.3), (0.3, 1.1)])
def test_wrong_dead_zones(ends):
    with pytest.raises(ValueError, match="must have 0 <= low < high <= 1"):
        DeadZone(*ends)


@pytest.mark.parametrize("name", [name for name in MODELS if "_zone" in name])
def test_the_record_fits_in_five_megabytes_and_sees_what_flips_expect(name):
    model = build(name, 0)
    halved = {experiment.kept for experiment in EXPERIMENTS.values() if experiment.model == name} == {"float16"}
    assert (2 if halved else 4) * sum(p.numel() for p in model.parameters()) <= 5e6
    ends = (0.3, 1.0) if name.startswith("black") else Flips(L1(1)).seen
    low, *high = [int(end) / 100 for end in re.findall(r"\d+", name)] or ends
    expected = (low, *(high or [1 - low]))
    assert seen(model) == (pytest.approx(expected) if "learned" in name else expected)  # parameters are float32
    assert Flips(L1(1)).seen == (0.3, 0.7)
    assert seen(build("wide_cnn", 0)) == (0, 1)


def test_a_learned_zone_is_trained_and_flips_ask_it_what_it_sees():
    """Before a network that tells black from white, the ends close in on the shade that parts the classes."""
    x = torch.rand(400, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    y = (x.flatten() > 0.5).long()
    model = nn.Sequential(DeadZone(0.2, learned=True), nn.Flatten(), nn.Linear(1, 2))
    with torch.no_grad():
        model[2].weight.copy_(torch.tensor([[-4.0], [4.0]]))
        model[2].bias.copy_(torch.tensor([4.0, -4.0]) / 2)
    before = seen(model)
    adam = torch.optim.Adam(model[0].parameters(), lr=0.01)
    for _ in range(20):
        adam.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        adam.step()
    low, high = seen(model)
    assert before == pytest.approx((0.2, 0.8)) and 0.2 < low < 0.5 < high < 0.8
    fixed = nn.Sequential(DeadZone(low, high), *model[1:])
    asking, told = (Flips(L1(0.4), seen=zone) for zone in (None, seen(model)))
    assert torch.equal(asking(model, x, y, rng()), told(fixed, x, y, rng()))
    assert "learned" in repr(model) and "learned" not in repr(fixed)
    with pytest.raises(ValueError, match="cannot be asked what it sees"):
        asking(lambda x: model(x), x, y, rng())


# ---- the best flips


def gain_of(slopes, x, r):
    return (slopes * (seen_of(x + r) - seen_of(x))).sum(dim=1)


def most_of(S, x, slopes):
    """The largest gain in the ball of one example and that of its best pixel alone, over all sets of pixels that move.

    Given the set, the gain is linear where all of them are seen: in l1 pixels are filled by falling slope, otherwise
    δ = min(ahead, (s / pλ)^{1/(p-1)}) with the multiplier λ that spends the budget.
    """
    s, g = np.abs(slopes), np.sign(slopes)
    ahead = np.minimum(np.where(g > 0, SEEN[1] - x, x - SEEN[0]).clip(0), S.eps)
    dead = np.where(g > 0, SEEN[0] - x, x - SEEN[1]).clip(0)

    def most(chosen):
        ahead_, s_, dead_ = ahead[chosen], s[chosen], dead[chosen]
        if S.p == 1:
            order = np.argsort(-s_)
            left = S.eps - np.cumsum(ahead_[order]) + ahead_[order]
            return float((s_[order] * (np.clip(left, 0, ahead_[order]) - dead_[order])).sum())
        low, high = 1e-9, 1e9
        for _ in range(60):
            price = (low * high) ** 0.5
            far = np.minimum(ahead_, (s_ / (S.p * price)) ** (1 / (S.p - 1)))
            low, high = (price, high) if (far**S.p).sum() > S.eps**S.p else (low, price)
        return float((s_ * (far - dead_)).sum())

    n = range(len(x))
    sets = chain.from_iterable(combinations(n, k) for k in range(1, len(x) + 1))
    return max(0.0, *(most(list(chosen)) for chosen in sets)), max(0.0, *(most([i]) for i in n))


@pytest.mark.parametrize("S", BALLS, ids=str)
def test_flips_gain_all_but_one_pixel_of_what_any_noise_gains(S):
    x = pixels(30, 6)
    slopes = torch.from_numpy(rng(1).normal(size=x.shape).astype(np.float32))
    r = flipped(S, x, slopes, SEEN)
    assert S.contains(r).all() and r.dtype == x.dtype
    found = gain_of(slopes.double(), x.double(), r.double()).numpy()
    most, alone = np.transpose(
        [most_of(S, a, b) for a, b in zip(x.double().numpy(), slopes.double().numpy(), strict=True)]
    )
    assert (found <= most + 1e-5).all() and (found >= most - alone - 1e-5).all()
    assert found.sum() > 0.93 * most.sum()


@pytest.mark.parametrize("S", [*BALLS, Linf(0.3), Linf(0.45)], ids=str)
def test_nothing_is_spent_on_what_is_not_seen(S):
    """No pixel pays more than the distance to what it shows: any less, and it would show less."""
    x = pixels(100, 20)
    slopes = torch.from_numpy(rng(1).normal(size=x.shape))
    x = x.double()
    r = flipped(S, x, slopes, SEEN)
    assert torch.equal(r.sign() * (r != 0), slopes.sign() * (r != 0)) and (r != 0).any(dim=1).all()
    before, now, less = seen_of(x), seen_of(x + r), seen_of(x + 0.99 * r)
    assert (((now - before).abs() > 0) == (r != 0)).all()
    assert ((less - before).abs() < (now - before).abs())[r != 0].all()


def test_in_linf_flips_are_the_best_of_all_noise():
    x, S = pixels(30, 12).double(), Linf(0.35)
    slopes = torch.from_numpy(rng(1).normal(size=x.shape))
    best = (slopes * (seen_of(x + S.argmax(slopes)) - seen_of(x))).sum(dim=1)
    torch.testing.assert_close(gain_of(slopes, x, flipped(S, x, slopes, SEEN)), best)


def test_no_slope_moves_nothing():
    x = pixels(3, 5)
    for S in (*BALLS, Linf(0.3)):
        assert not flipped(S, x, torch.zeros_like(x), SEEN).any()


# ---- straight through


def test_slopes_are_those_behind_the_clamp():
    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 3)).double()
    x = pixels(8, 6).double().requires_grad_()
    for a in (0.1, 0.3):
        model = nn.Sequential(DeadZone(a), body)
        u = DeadZone(a)(x).detach().requires_grad_()
        (inner,) = torch.autograd.grad(body(u).square().sum(), u)
        value = straight_through(model)(x)
        (outer,) = torch.autograd.grad(value.square().sum(), x)
        assert torch.equal(value, model(x)) and torch.equal(straight_through(model)(x.detach()), value)
        torch.testing.assert_close(outer, inner / (1 - 2 * a))


def test_straight_through_is_the_attack_where_nothing_clamps():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 3))
    x = pixels(8, 6)
    y = model(x).argmax(dim=1)
    for attack in (
        PGD(L2(0.5)),
        SLIDE(L1(0.6)),
        APGD(L1(0.6), 20),
        MSD((L1(0.6), Linf(0.1)), 5),
        CoordinateBeam(L1(1)),
    ):
        wrapped = StraightThrough(attack)
        assert (wrapped.S, wrapped.box) == (attack.S, attack.box)
        assert torch.equal(wrapped(model, x, y, rng()), attack(model, x, y, rng()))


# ---- models behind a dead zone


def linear(n, seed=0):
    """A linear classifier of two classes behind a dead zone, on pixels, with labels that are its own."""
    w = rng(seed).normal(size=n).astype(np.float32)
    body = nn.Linear(n, 2)
    body.weight.data = torch.from_numpy(np.stack([-w / 2, w / 2]))
    body.bias.data = torch.tensor([w.sum() / 4, -w.sum() / 4])
    model = nn.Sequential(DeadZone(0.3), body)
    x = pixels(40, n, seed + 1)
    return model, x, model(x).argmax(dim=1), w


@pytest.mark.parametrize("S", [L1(0.8), L2(0.72), Union((L1(0.8), L2(0.72)))], ids=str)
def test_breaks_a_linear_model_where_any_noise_does(S):
    model, x, y, w = linear(6)
    broken = look(model, Flips(S, restarts=5)(model, x, y, rng()), y, "margin").broken.numpy()
    slopes = (1 - 2 * y.numpy())[:, None] * w.astype(float) / 0.4
    found = [[most_of(ball, a, b) for a, b in zip(x.double().numpy(), slopes, strict=True)]
             for ball in (S.sets if isinstance(S, Union) else (S,))]  # fmt: skip
    most, alone = np.moveaxis(found, 2, 0)
    with torch.no_grad():
        needed = -margin(model(x), y).numpy()
    assert not np.any(broken & (needed > most.max(axis=0) + 1e-4))
    assert np.all(broken[needed < (most - alone).max(axis=0) - 1e-4]) and 5 < broken.sum() < 39


def affordable(S, x, model, y, sizes):
    """The largest margin over all sets of so many pixels, flipped altogether, that the ball affords; of one example."""
    targets = torch.where(x < 0.5, *x.new_tensor(SEEN[::-1]))
    best = -np.inf
    for chosen in chain.from_iterable(combinations(range(len(x)), k) for k in sizes):
        point = x.clone()
        point[list(chosen)] = targets[list(chosen)]
        if S.contains((point - x)[None].double()):
            with torch.no_grad():
                best = max(best, float(margin(model(point[None]), y[None])))
    return best


@pytest.fixture
def flippable():
    """A network behind a dead zone, and points that are black and white."""
    torch.manual_seed(2)
    body = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))
    model = nn.Sequential(DeadZone(0.3), body).double()
    for p in model.parameters():
        p.data.mul_(3)
    x = torch.from_numpy(rng().integers(0, 2, (12, 6)).astype(float))
    return model, x, model(x).argmax(dim=1)


@pytest.mark.parametrize("S", [L1(1.5), L2(1.25)], ids=str)
def test_a_beam_that_knows_what_is_seen_affords_every_flip(S, flippable):
    model, x, y = flippable

    def worst_by(seen):
        attack = StraightThrough(CoordinateBeam(S, width=50, candidates=12, seen=seen, early_stop=False))
        with torch.no_grad():
            return margin(model(attack(model, x, y, rng())), y).numpy()

    best = np.array([affordable(S, a, model, b, range(7)) for a, b in zip(x, y, strict=True)])
    assert (worst_by(SEEN) >= best - 1e-6).all() and (worst_by(None) < best - 1e-3).any()


@pytest.mark.parametrize("S", [L1(1.5), L2(1.25)], ids=str)
def test_a_warm_start_is_no_worse_than_what_it_starts_from(S, flippable):
    """The start counts, and steps as good as none stay there; from a larger ball it is brought inside."""
    model = flippable[0]
    x = pixels(30, 6).double()
    y = model(x).argmax(dim=1)
    flips, climb = Flips(S, steps=2, early_stop=False), APGD(S, steps=20, loss="margin", early_stop=False)

    def worst_by(attack):
        with torch.no_grad():
            return margin(model(attack(model, x, y, rng())), y)

    alone, further = worst_by(flips), worst_by(WarmStart(flips, climb))
    assert (further >= alone - 1e-9).all() and (further > alone + 1e-3).any()
    still = WarmStart(flips, PGD(S, steps=1, step=1e-9, loss="margin", early_stop=False))
    torch.testing.assert_close(worst_by(still), alone, atol=1e-6, rtol=0)
    larger = WarmStart(scaled(flips, 1.5), climb)
    assert S.contains(larger(model, x, y, rng()) - x).all() and (worst_by(larger) > further + 1e-3).any()


@pytest.mark.parametrize(("queries", "restarts"), [(1, 520), (26, 20)])
@pytest.mark.parametrize(("S", "flips"), [(L1(1.5), 2), (L2(1.24), 3)], ids=str)
def test_a_sparse_search_finds_the_worst_of_few_sets(S, flips, queries, restarts, flippable):
    """It flips as many pixels as it can pay, the rest of the budget is not seen. One of at most 20 sets is missed by
    520 draws for one of 12 examples with a probability below 1e-9."""
    model, x, y = flippable
    search = SparseSearch(S, queries, restarts, exchanged=1.0, seen=SEEN, early_stop=False)
    with torch.no_grad():
        found = margin(model(search(model, x, y, rng())), y).numpy()
        least = margin(model(x), y).numpy()  # its answer is never better than none
    best = np.array([affordable(S, a, model, b, [flips]) for a, b in zip(x, y, strict=True)])
    np.testing.assert_allclose(found, np.maximum(best, least), atol=1e-6)


def test_a_sparse_search_exchanges_the_share_of_the_schedule():
    """Croce et al. (2022), section 4: the first share is halved at once, and ends at a twentieth."""
    search = SparseSearch(L1(1), queries=20_000, exchanged=0.4)
    shares = [search.share(query) for query in range(20_000)]
    assert shares[0] == 0.2 and shares[-1] == 0.02 and shares == sorted(shares, reverse=True)
    assert (shares[99], shares[100], shares[4_000]) == (0.2, 0.1, 0.04)


def test_a_sparse_search_needs_no_gradient(digits):
    model, x, y = digits
    batches = []

    def steps(x):
        assert not torch.is_grad_enabled()
        batches.append(len(x))
        return model(x)

    search = SparseSearch(L1(5), queries=60, seen=SEEN)
    with torch.no_grad():
        broken = look(model, search(steps, x, y, rng()), y, "margin").broken
    assert broken.any() and len(batches) <= 62 and batches[2:] == sorted(batches[2:], reverse=True)


@pytest.fixture(scope="module")
def digits():
    """A small network behind a dead zone, trained for a moment, and digits that it gets right."""
    train, test = load("digits", "train").first(2000), load("digits", "test").first(60)
    model = build("dead_zone_cnn", 0)
    fit(model, train, (), "avg", epochs=1, lr=3e-3, seed=0, batch=50)
    x, y = torch.tensor(test.x), torch.tensor(test.y)
    with torch.no_grad():
        right = model(x).argmax(dim=1) == y
    return model, x[right], y[right]


@pytest.mark.slow
@pytest.mark.parametrize("S", [L1(5), L2(1.3)], ids=str)
def test_breaks_digits_that_gradients_and_blind_search_leave(S, digits):
    """At fixed seeds: no test of chance."""
    model, x, y = digits

    def standing(attack):
        return float((~look(model, attack(model, x, y, rng()), y, "margin").broken).float().mean())

    flips = standing(Flips(S, restarts=3))
    blind = [PGD(S, 60), Square(S, queries=200), *([SLIDE(S, 60)] if S.p == 1 else [])]
    assert flips < min(map(standing, blind)) - 0.1


@pytest.mark.slow
def test_training_on_flips_resists_them(digits):
    """At fixed seeds: no test of chance."""
    train = load("digits", "train").first(2000)
    model, x, y = digits
    attacks = [Flips(L1(5), 5, early_stop=False, loss="ce"), StraightThrough(PGD(L2(1.3), 5, early_stop=False))]
    robust = build("dead_zone_cnn", 0)
    fit(robust, train, attacks, "e-at", epochs=6, lr=3e-3, seed=0, batch=50)

    def standing(model):
        return float((~look(model, Flips(L1(5))(model, x, y, rng()), y, "margin").broken).float().mean())

    assert standing(robust) > standing(model) + 0.15


def test_training_grows_the_sets_of_all():
    both = Successive(PGD(Linf(0.2), step=0.1), Flips(L1(10)))
    assert scaled(both, 0.5) == Successive(PGD(Linf(0.1), step=0.05), Flips(L1(5)))
    warm = WarmStart(Flips(L1(10)), APGD(L1(10)), restarts=2)
    assert scaled(warm, 0.5) == WarmStart(Flips(L1(5)), APGD(L1(5)), restarts=2)
    assert scaled(PGD(Linf(0.2), step=0.1), 0) == PGD(Linf(0), step=0.1)
    assert scaled(Flips(L1(10)), 0.5) == Flips(L1(5))
    assert scaled(Flips(Union((L1(10), L2(2)))), 0.5) == Flips(Union((L1(5), L2(1))))
    assert scaled(StraightThrough(PGD(L2(2), step=0.4)), 0.5) == StraightThrough(PGD(L2(1), step=0.2))


# ---- bad input


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Flips(RotationTranslation(3, 30)), "Flips attacks an lp ball"),
        (lambda: Flips(Union((L1(1), Union((L2(1),))))), "Flips attacks an lp ball, not l2:1"),
        (lambda: Flips(Union((L1(1), L2(1))), steps=0), "steps is 0"),
        (lambda: Flips(L1(1), steps=0), "steps is 0"),
        (lambda: Flips(L1(1), memory=1), "memory is 1"),
        (lambda: Flips(L1(1), seen=(0.7, 0.3)), r"seen is \(0.7, 0.3\)"),
        (lambda: Flips(L1(1), seen=(-1, 0.3)), r"within the box \(0.0, 1.0\)"),
        (lambda: CoordinateBeam(L1(1), seen=(0.5, 0.5)), r"seen is \(0.5, 0.5\)"),
        (lambda: SparseSearch(Linf(0.3)), "attack l1 and l2 balls"),
        (lambda: SparseSearch(L1(1), queries=0), "queries is 0"),
        (lambda: SparseSearch(L1(1), exchanged=0), "exchanged is 0"),
        (lambda: SparseSearch(L1(1), seen=(0.7, 0.3)), r"seen is \(0.7, 0.3\)"),
        (lambda: SparseSearch(L1(1), box=None), "say what the network sees"),
        (lambda: StraightThrough(Square(L1(1))), "follows no gradient of its own"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# ---- the figures


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """Outcomes of two runs at two radii, and what stands of the first, (100, 3) each."""
    monkeypatch.setattr(records, "RUNS", tmp_path)
    stands = {}
    for scale in (0.75, 1.0):
        for run in ("mnist-dead-zone", "mnist-max"):
            sets = [record.at(S, scale) for S in record.SETS]
            held = rng(int(10 * scale)).random((100, 3)) < (0.9, 0.6, 0.7)
            place = tmp_path / run / f"x{scale}-100"
            place.mkdir(parents=True)
            correct = np.column_stack([np.ones(100, dtype=bool), held])
            Outcomes(correct, ("clean", *(f"a {S}" for S in sets)), ("", *map(str, sets))).save(place / "outcomes")
            stands[scale] = held
    return stands


def test_the_record_is_what_stands_at_each_radius(planted):
    numbers = record.compute(**record.PARAMETERS["quick"])
    k = numbers["scales"].index(0.75), numbers["scales"].index(1.0)
    for i, S in enumerate(record.SETS):
        values = numbers["curves"][S.name]["even zone"]
        assert [values[j] for j in k] == [planted[scale][:, i].mean() for scale in (0.75, 1.0)]
    union = numbers["curves"]["union"]
    assert [union["max"][j] for j in k] == [planted[scale].all(axis=1).mean() for scale in (0.75, 1.0)]
    assert union["MSD"] == [None] * 6 and numbers["n"] == [100]


def test_the_front_end_is_optimal_and_norms_are_counted_in_flips(planted):
    """One pixel's game has the ramp as an optimal threshold, flat up to a, and no flatter: not with a wider zone."""
    numbers = dead_zone.compute(**dead_zone.PARAMETERS["quick"])
    band = numbers["band"]
    assert band["optimal"]
    x, low, high, front = (np.array(band[key]) for key in ("x", "low", "high", "front"))
    flat = (x < 0.3 - 1e-6) | (x > 0.7 + 1e-6)
    np.testing.assert_allclose(low[flat], high[flat], atol=1e-9)  # where the noise goes there is no choice
    assert (high - low)[~flat].min() >= 0 and (high - low)[(x > 0.35) & (x < 0.65)].min() > 0.5
    shorter = high[0] + ((x - 0.2) / 0.6).clip(0, 1) * (high[-1] - high[0])
    assert (shorter < low - 1e-3).any() or (shorter > high + 1e-3).any()
    l1, l2 = numbers["flips"]["l1"], numbers["flips"]["l2"]
    assert [point[0] for point in l1] == pytest.approx([7.5 / 0.7, 10 / 0.7])
    assert [point[0] for point in l2] == pytest.approx([2.25 / 0.49, 4 / 0.49])
    assert [point[1] for point in l1] == [planted[s][:, [S.name for S in record.SETS].index("l1")].mean()
                                          for s in (0.75, 1.0)]  # fmt: skip
