"""Flow bounds: they contain every value known another way, close in, and hold for games small enough to enumerate."""

from itertools import product
from math import inf, sqrt

import numpy as np
import pytest
from games import ADVERSARIES, VALUES, D, games
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from tradeoff.perturbations import L1, L2, Linf, Lp, Swap
from tradeoff.theory import BernoulliFeature, GaussianFeature, game_value
from tradeoff.theory.certified import enclosure
from tradeoff.theory.flow import SOFTNESS, _aligned, _hats, _refined, _risk, _Sums, flow_bounds
from tradeoff.theory.plane import hull_width, sum_width


def half_plane(dist, sets):
    """Φ(-min over z in the hull of ‖Σ^{-1/2}(μ - z)‖) by a scan of directions; ½ if μ is in it."""
    angles = np.linspace(0, np.pi / 2, 20001)
    x_0, T = dist.alpha * np.cos(angles), np.sin(angles)
    weak = T * float(dist.d) ** np.array([[0.5 - 1 / S.p] for S in sets])
    reach = [S.support(np.stack([x_0, w], axis=1)) for S, w in zip(sets, weak, strict=True)]
    return min(0.5, float(ndtr(np.max(reach, axis=0) - x_0 - dist.alpha * T).min()))


# Values known another way


@pytest.mark.parametrize(
    ("dist", "sets", "adversary", "value"),
    [*VALUES, (D, (L2(1),), "union", game_value(D, (L2(1),)).value)],  # the last: tips that just touch
)
def test_oracles(dist, sets, adversary, value):
    lower, upper = flow_bounds(dist, sets, adversary)
    assert lower - 5e-7 <= value <= upper + 5e-7 and upper - lower <= 1e-3


@pytest.mark.parametrize("dist", [D, BernoulliFeature(0.3, 1, 0.5), BernoulliFeature(5.0, 10**9, 0.999)], ids=str)
def test_without_noise_it_is_the_bayes_risk(dist):
    for adversary in ADVERSARIES:
        lower, upper = flow_bounds(dist, (Linf(0), L1(0)), adversary)
        assert lower <= dist.bayes_risk() <= upper <= lower + 1e-4


@pytest.mark.parametrize("dist", [D, GaussianFeature(2, 100)], ids=str)
@pytest.mark.parametrize("sets", [(Linf(1e300), L1(1e300)), (L2(50.0),)], ids=str)
def test_where_all_is_lost_the_bounds_end_at_one_half(dist, sets):
    for adversary in ADVERSARIES:
        lower, upper = flow_bounds(dist, sets, adversary, step=1 / 8)
        assert 0.49 <= lower <= upper == 0.5


@settings(deadline=None, max_examples=40)
@given(games())
def test_the_value_lies_between(game):
    """The closed form for one set; for several, solved to about 1e-7."""
    for adversary in ADVERSARIES:
        lower, upper = flow_bounds(*game, adversary, step=1 / 24)
        exact = len(game[1]) == 1 or adversary != "average"
        assert lower <= game_value(*game, adversary).value + (0 if exact else 1e-6)
        assert game_value(*game, adversary).value <= upper + (0 if exact else 1e-6)


@settings(deadline=None, max_examples=15)
@given(games(most=2))
def test_certified_values_lie_between(game):
    for adversary in ("union", "affine"):
        lower, upper = flow_bounds(*game, adversary, step=1 / 24)
        V = enclosure(*game, adversary)
        assert not (V < lower or V > upper)


@settings(deadline=None, max_examples=15)
@given(games(least=2, most=2), st.sampled_from([0.0, 0.2, 0.7, 1.0]))
def test_weights(game, weight):
    lower, upper = flow_bounds(*game, step=1 / 24, weights=(weight, 1 - weight))
    assert lower <= game_value(*game, weights=(weight, 1 - weight)).value + 1e-6
    assert game_value(*game, weights=(weight, 1 - weight)).value <= upper + 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_the_default_step_is_fine_enough(seed):
    rng = np.random.default_rng(seed)
    alpha, d = rng.uniform(0.25, 6), int(10 ** rng.uniform(0, 9))
    dist = BernoulliFeature(alpha, d, rng.choice([0.5, 0.9, 0.999]))
    corner = [Linf(2 * alpha / sqrt(d)).scaled(1 - rng.choice([0, 1e-9, 1e-3, 0.02])), L1(2 - rng.choice([0, 1e-6]))]
    free = [Lp(p, rng.uniform(0, 2) * alpha * d ** (1 / p - 0.5)) for p in rng.choice([1, 1.5, 2, 4, inf], 3)]
    for sets, adversary in product((corner, free), ADVERSARIES):
        lower, upper = flow_bounds(dist, sets, adversary)
        assert lower - 1e-6 <= game_value(dist, sets, adversary).value <= upper + 1e-6
        assert upper - lower <= 1e-3


# D_G


@pytest.mark.parametrize(
    ("dist", "sets"),
    [
        (GaussianFeature(1, 100), (L2(0),)),
        (GaussianFeature(2, 100), (L2(1),)),
        (GaussianFeature(2, 100), (Linf(0.2),)),
        (GaussianFeature(1, 10), (L1(1),)),
        (GaussianFeature(2, 100), (Linf(0.2), L1(1))),
        (GaussianFeature(2, 100), (Linf(0.4), L1(2))),
    ],
    ids=str,
)
def test_on_D_G_a_convex_set_has_a_closed_form(dist, sets):
    lower, upper = flow_bounds(dist, sets, "affine")
    assert lower <= half_plane(dist, sets) <= upper <= lower + 5e-3
    if sets == (L2(0),):
        assert half_plane(dist, sets) == pytest.approx(ndtr(-sqrt(2) * dist.alpha))


def test_on_D_G_the_adversaries_are_ordered():
    dist, sets = GaussianFeature(2, 100), (Linf(0.2), L1(1))
    average, union, affine = (flow_bounds(dist, sets, adversary) for adversary in ADVERSARIES)
    alone = np.mean([half_plane(dist, (S,)) for S in sets])
    assert alone <= average[1] and average[0] <= union[1] and union[0] <= affine[1]
    assert max(upper - lower for lower, upper in (average, union, affine)) <= 5e-3


@pytest.mark.parametrize(
    "scale", [0.6, 0.995, 1.0, *(pytest.param(scale, marks=pytest.mark.slow) for scale in (0.95, 0.985, 0.99))]
)
def test_on_D_G_the_bounds_are_close_also_just_short_of_exclusive(scale):
    """Translating one mean toward the other is a feasible flow, so that the value is at least that overlap."""
    dist = GaussianFeature(2, 784)
    lower, upper = flow_bounds(dist, [S.scaled(scale) for S in (Linf(2 * dist.eta), L1(2))])
    x_0, T = dist.alpha * (2 - scale * (2 + 2 * dist.eta)), 2 * dist.alpha * (1 - scale)
    assert ndtr(-np.hypot(max(x_0, 0), T) / 2) <= upper and lower <= upper <= lower + 5e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("alpha", "d", "scale", "adversary"),
    [
        (1, 784, 0.98, "union"),
        (2, 784, 0.95, "union"),
        (2, 784, 0.98, "union"),
        (4, 784, 0.98, "average"),
        (4, 784, 0.99, "average"),
        (4, 100, 0.90, "average"),
        (4, 100, 0.95, "average"),
        (4, 100, 0.98, "average"),
        (6, 100, 0.90, "average"),
    ],
)
def test_on_D_G_the_widest_settings_known_are_close(alpha, d, scale, adversary):
    """By the same flow, moving one mean as far as l_inf and l_1 noise together do, T first."""
    dist = GaussianFeature(alpha, d)
    sets = [S.scaled(scale) for S in (Linf(2 * dist.eta), L1(2))]
    lower, upper = flow_bounds(dist, sets, adversary)
    x_0, T = alpha * (2 - scale * (2 + 2 * dist.eta)), 2 * alpha * (1 - scale)
    either = ndtr(-np.hypot(max(x_0, 0), T) / 2)  # against one label l_inf noise, against the other l_1 noise
    assert either <= upper and lower <= upper <= lower + 5e-3


def test_levels_are_refined_by_their_risk():
    """Of one column in reach of itself by 1, the loss is least at alpha, half the way: 2 Φ(½ - alpha) / 2."""
    outer, mass = np.array([[[1.0]]]), np.array([[0.5]])
    levels = _refined(outer, mass, np.array([[1.0]]), 3.0, SOFTNESS[0])
    assert _risk(outer, mass, levels, 3.0) == pytest.approx(ndtr(0.5 - 3.0), abs=1e-6)


def test_a_column_that_is_lost_asks_nothing_of_the_other_label():
    """Two columns, each in reach of the other alone, by 9: losing one of little mass leaves label -1 whole there."""
    outer, mass = np.array([[[-inf, 9.0, -inf]]]), np.array([[0.01, 0.49]])
    levels = _refined(outer, mass, np.array([[inf, 0.0]]), 2.0, SOFTNESS[0])
    assert levels[0, 0] == inf
    expected = 0.01 + 0.49 * ndtr(levels[0, 1] - 2) + 0.01 * ndtr(9 - levels[0, 1] - 2)
    assert _risk(outer, mass, levels, 2.0) == pytest.approx(expected)


# Laws


def test_the_bounds_close_in_like_the_square_of_the_step():
    for case in ((D, (Linf(0.2), L1(2)), "union"), (D, (L2(0),), "average"), (D, (Linf(0.4), L1(2)), "affine")):
        steps = 1 / np.array([4, 8, 16, 32, 64])
        widths = [np.diff(flow_bounds(*case, step))[0] for step in steps]
        order, _ = np.polyfit(np.log(steps), np.log(widths), 1)
        assert 1.7 <= order <= 2.5


@settings(deadline=None, max_examples=15)
@given(games(), st.floats(1, 1.5))
def test_the_bounds_respect_larger_sets(game, factor):
    dist, sets = game
    larger = (sets[0].scaled(factor), *sets[1:])
    for adversary in ADVERSARIES:
        assert flow_bounds(dist, sets, adversary, 1 / 16)[0] <= flow_bounds(dist, larger, adversary, 1 / 16)[1]


def test_spread_is_a_change_of_scale():
    """Weak features with deviation 2: T/2 has mean alpha/2, and an l_inf ball reaches half as far."""
    lower, upper = flow_bounds(D, (Linf(0.2),), spread=2.0)
    value = game_value(BernoulliFeature(1.0, 100, 0.9), (Linf(0.1),)).value
    assert lower <= value <= upper <= lower + 1e-3


# Parts


@settings(deadline=None, max_examples=60)
@given(st.floats(0.01, 0.5), st.floats(-6, 6))
def test_hats_stay_below_the_density(step, start):
    z = start + step * np.arange(-5, 6)
    x = np.linspace(z[0], z[-1], 1001)
    density = np.exp(-(x**2) / 2) / sqrt(2 * np.pi)
    assert np.all(np.interp(x, z, _hats(z, step) / step) <= density * (1 + 1e-12))


@settings(deadline=None, max_examples=60)
@given(games())
def test_half_widths_of_sums_are_enclosed(game):
    dist, sets = game
    offsets = np.array([0.0, 0.3, 2.0])
    inner, outer = _Sums(sets, dist.d, "average", 1.0)(offsets)
    for i, j in np.ndindex(len(sets), len(sets)):
        exact = np.array([sum_width(sets[i], sets[j], dist.d, offset) for offset in offsets[1:]])
        assert np.all(inner[i, j, 1:] <= exact * (1 + 1e-9)) and np.all(exact <= outer[i, j, 1:] * (1 + 1e-9) + 1e-9)
        reached = exact >= 0
        assert np.all(outer[i, j, 1:][reached] - inner[i, j, 1:][reached] <= 1e-5 * (1 + exact[reached]))
    inner, outer = _Sums(sets, dist.d, "affine", 1.0)(np.array([2.0]))
    exact = 2 * hull_width(sets, dist.d, 1.0)
    assert inner[0, 0, 0] <= exact * (1 + 1e-9) and exact <= outer[0, 0, 0] * (1 + 1e-9) + 1e-9


def test_gaps_become_multiples_of_the_step():
    for gaps in ([1.234], [0.7, 1.1], [0.5, 0.5, 3.3]):
        step, share, short = _aligned(np.array(gaps), 1 / 64, (0.0, 0.5))
        assert 0.7 / 64 <= step <= 1 / 64
        missed = np.array([(short - gap - share) % step for gap in gaps])
        assert np.all(np.minimum(missed, step - missed) <= 0.2 * step)


# Errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((D, ()), "sets is empty"),
        ((D, (Swap(3),)), "is not an lp ball"),
        ((D, (Linf(1),), "unoin"), "unknown adversary 'unoin', did you mean 'union'"),
        (("D_B", (Linf(1),)), "must be a BernoulliFeature or a GaussianFeature"),
        ((D, (Linf(1), L1(1)), "average", None, (0.5, 0.6)), "divide them by their sum"),
        ((D, (Linf(1),), "union", 0), "step is 0, but must be positive"),
        ((D, (Linf(1),), "union", -0.1), "step is -0.1, but must be positive"),
        ((D, (Linf(1),), "union", 0.6), "step is 0.6, but must be positive and at most 0.5"),
        ((D, (Linf(1),), "union", inf), "step is inf"),
        ((D, (Linf(1),), "union", np.nan), "step is nan"),
        ((D, (Linf(1),), "union", "fine"), "step is 'fine'"),
        ((D, (Linf(0.2), L1(2)), "union", 1e-6), "GB"),
        ((D, (Linf(0.2), L1(2)), "union", 1e-300), "GB"),
        ((GaussianFeature(2, 100), (Linf(0.2), L1(2)), "average", 1 / 200), "GB"),
        ((GaussianFeature(2, 100), [L2(1 + k / 100) for k in range(30)]), "bound fewer at a time"),
    ],
)
def test_errors_name_the_value_and_the_remedy(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        flow_bounds(*arguments)
    assert "\n" not in str(error.value)
