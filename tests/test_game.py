"""The exact game on D_B: oracles, bounds, thresholds that keep their promise, and independent solutions."""

from math import inf, sqrt

import numpy as np
import pytest
from flint import arb
from games import ADVERSARIES, VALUES, D, games
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from tradeoff.perturbations import L1, L2, Affine, Linf, Lp, Swap, Union
from tradeoff.theory import BernoulliFeature, GameValue, GaussianFeature, certified, game_value
from tradeoff.theory.certified import enclosure
from tradeoff.theory.flow import flow_bounds
from tradeoff.theory.game import classifier, exclusive, game_values, step_risks
from tradeoff.theory.plane import half_width, hull_width, sum_width, sums
from tradeoff.theory.program import several_sets

SEARCH = 1.5e-6  # two values of averages, each found by a search to about 1e-6


# Values known from other programs


@pytest.mark.parametrize(("dist", "sets", "adversary", "value"), VALUES)
def test_oracles(dist, sets, adversary, value):
    assert game_value(dist, sets, adversary).value == pytest.approx(value, abs=5e-7)


def test_appendix_i_allows_a_better_classifier_than_the_one_given():
    dist, sets = BernoulliFeature(2.0, 200, float(ndtr(2))), (Linf(3 / sqrt(200)), L1(3))
    assert game_value(dist, sets, "union").value < 0.3391 < 0.3489
    assert game_value(dist, sets, "affine").value == 0.5


@pytest.mark.parametrize("adversary", ADVERSARIES)
def test_without_noise_it_is_the_bayes_risk(adversary):
    for dist in (D, BernoulliFeature(0.3, 1, 0.5), BernoulliFeature(5.0, 10**9, 0.999)):
        assert game_value(dist, (Linf(0), L1(0)), adversary).value == pytest.approx(dist.bayes_risk(), abs=1e-9)
        assert game_value(dist, (L2(0),), adversary).value == pytest.approx(dist.bayes_risk(), rel=1e-12)


def test_one_set_that_leaves_x_0_alone():
    """Known apart: with x_0 given, each of its values is a game of two shifted normals."""
    for eps in (0.0, 0.1, 0.15):
        alpha = D.alpha - eps * sqrt(D.d)
        expected = BernoulliFeature(alpha, 1, D.p0).bayes_risk()
        assert game_value(D, (Linf(eps),)).value == pytest.approx(expected, rel=1e-12)
    assert game_value(D, (Linf(0.9),)).value == pytest.approx(1 - D.p0, rel=1e-12)  # only x_0 is left


def test_one_label_may_be_given_up():
    """l_2 wins against any equal treatment of the labels; giving one up saves the other from both."""
    dist, sets = BernoulliFeature(5.0, 10**4, 0.9), (Linf(0), L2(7.5))
    game = game_value(dist, sets)
    (M, _), (N, _) = (np.array(label) for label in zip(*game.thresholds, strict=True))
    assert abs(M - N).max() > 1
    m = np.linspace(sum_width(sets[1], sets[1], dist.d, 2.0) / 2, 30, 10_000)  # M_2 = N_2, at least
    alike = (dist.p0 * ndtr(m - 5) + (1 - dist.p0) * ndtr(2 * 7.5 - m - 5)) / 2  # the risk under l_2 alone, halved
    assert game.value < alike.min() - 0.1


# Laws


@settings(deadline=None, max_examples=60)
@given(games())
def test_values_are_ordered_and_bounded(game):
    dist, sets = game
    average, union, affine = (game_value(dist, sets, adversary).value for adversary in ADVERSARIES)
    alone = [game_value(dist, (S,)).value for S in sets]
    slack = SEARCH
    assert dist.bayes_risk() - slack <= np.mean(alone) <= average + slack
    assert max(alone) <= union + 1e-12
    assert average <= union + slack and union <= affine + 1e-12 and affine <= 0.5
    assert average >= union / len(sets) - slack  # the sum is at least the largest, for each input


@settings(deadline=None, max_examples=40)
@given(games(), st.floats(1, 1.5))
def test_values_grow_with_the_sets(game, factor):
    dist, sets = game
    larger = (sets[0].scaled(factor), *sets[1:])
    for adversary in ADVERSARIES:
        assert game_value(dist, sets, adversary).value <= game_value(dist, larger, adversary).value + SEARCH
    for adversary in ("union", "affine"):
        assert game_value(dist, sets[:1], adversary).value <= game_value(dist, sets, adversary).value + 1e-12


@settings(deadline=None, max_examples=25)
@given(games(least=2))
def test_order_and_repetition_of_the_sets_do_not_matter(game):
    dist, sets = game
    for adversary in ADVERSARIES:
        value = game_value(dist, sets, adversary).value
        assert game_value(dist, sets[::-1], adversary).value == pytest.approx(value, abs=SEARCH)
        assert game_value(dist, sets + sets, adversary).value == pytest.approx(value, abs=SEARCH)
    assert game_value(dist, sets[:1] * 2).value == pytest.approx(game_value(dist, sets[:1]).value, abs=SEARCH)


@settings(deadline=None, max_examples=25)
@given(games(least=2, most=2))
def test_the_pareto_front_is_concave_in_the_weights(game):
    """A minimum of functions that are linear in the weights; its ends are the games against one set."""
    dist, sets = game
    first, quarter, half, last = (game_value(dist, sets, weights=(1 - w, w)).value for w in (0, 0.25, 0.5, 1))
    assert first == pytest.approx(game_value(dist, sets[:1]).value, abs=SEARCH)
    assert last == pytest.approx(game_value(dist, sets[1:]).value, abs=SEARCH)
    assert quarter >= (first + half) / 2 - SEARCH and half >= (2 * quarter + last) / 3 - SEARCH


@pytest.mark.parametrize("adversary", ADVERSARIES)
@pytest.mark.parametrize("sets", [(Linf(1e300), L1(1e300)), (L2(50.0), L1(50.0)), (Lp(7, 1e9),)], ids=str)
def test_where_all_is_lost_the_value_is_one_half(sets, adversary):
    for d in (1, 100, 10**9):
        game = game_value(BernoulliFeature(2.0, d, 0.9), sets, adversary)
        rows = (((inf, inf), (-inf, -inf)),) * (len(sets) if adversary == "average" else 1)
        assert game == GameValue(0.5, rows, adversary)


# Thresholds


def steps(dist, sets, game, count):
    """The classifier of the game as a step function: finest where half-widths are steepest, cut where a set ends."""
    grid = np.sin(np.linspace(-np.pi / 2, np.pi / 2, count))
    cuts = np.unique([s + (S.eps + 1e-9) * grid for s in (1, -1) for S in sets])
    rule = classifier(dist, sets, game)
    return cuts, [rule(v) for v in np.concatenate([[cuts[0] - 1], (cuts[1:] + cuts[:-1]) / 2, [cuts[-1] + 1]])]


@settings(deadline=None, max_examples=60)
@given(games())
@example((BernoulliFeature(4.0, 1, 0.5), (L1(6.0), L1(0.0))))  # where others that break them are as good
def test_the_thresholds_keep_all_constraints(game):
    dist, sets = game
    for adversary in ADVERSARIES:
        stay, flip = sums(dist.d, sets, adversary)
        M, N = np.moveaxis(np.array(game_value(dist, sets, adversary).thresholds), 1, 0)  # (sets, x_0 = y or -y)
        for a, b in ((0, 0), (1, 1), (0, 1), (1, 0)):
            least = flip if a == b else stay
            with np.errstate(invalid="ignore"):  # inf - inf: one label is given up
                kept = M[:, None, a] + N[None, :, b]
            assert np.all((kept >= least - 1e-5) | np.isnan(kept)), (adversary, a, b)


@settings(deadline=None, max_examples=12)
@given(games())
@example((BernoulliFeature(4.0, 1, 0.5), (L1(6.0), L1(0.0))))
def test_the_risk_of_the_thresholds_is_the_value(game):
    """A step function cannot do better than the value, and comes nearer to it as the steps get finer."""
    dist, sets = game
    for adversary in ADVERSARIES:
        solved = game_value(dist, sets, adversary)
        coarse, fine = (
            step_risks(dist, sets, *steps(dist, sets, solved, count), adversary).mean() - solved.value
            for count in (16, 100)
        )
        assert -1e-9 <= fine <= max(0.5 * coarse, 1e-4)


@pytest.mark.parametrize("adversary", ADVERSARIES)
def test_no_step_function_does_better(adversary):
    rng = np.random.default_rng(0)
    for dist, sets in ((D, (Linf(0.2), L1(2))), (BernoulliFeature(1.0, 9, 0.7), (L2(1.2), L1(0.5), Linf(0.4)))):
        solved = game_value(dist, sets, adversary)
        cuts, levels = steps(dist, sets, solved, 9)
        least = min(
            step_risks(
                dist, sets, cuts, levels + rng.normal(0, 0.3, len(levels)) * (rng.random() < 0.9), adversary
            ).mean()
            for _ in range(60)
        )
        assert solved.value - 1e-9 <= least <= solved.value + 0.1


def test_each_threshold_is_what_its_adversary_forces():
    """For constant widths the rule is exact in finitely many steps, and so is the risk of each adversary."""
    dist, sets = BernoulliFeature(2.0, 100, 0.7), (Linf(0.15), Linf(0.3))
    game = game_value(dist, sets, weights=(0.7, 0.3))
    risks = step_risks(dist, sets, *steps(dist, sets, game, 3))
    promised = [
        np.dot([dist.p0, 1 - dist.p0], ndtr(np.array(labels) - dist.alpha).mean(axis=0)) for labels in game.thresholds
    ]
    np.testing.assert_allclose(risks, promised, atol=1e-9)
    assert risks @ (0.7, 0.3) == pytest.approx(game.value, abs=1e-9)


# Other ways to the value


@pytest.mark.parametrize(
    ("dist", "sets", "weights"),
    [
        (D, (Linf(D.eta), L1(2)), None),
        (D, (Linf(D.eta), L1(2)), (0.8, 0.2)),
        (D, (Linf(2 * D.eta), L1(2)), None),
        (D, (Linf(1e100), L1(1)), None),
        (D, (Linf(0), L1(0), L2(0.3)), None),
        (BernoulliFeature(6.0, 100, 0.5), (Linf(0.7), L2(0)), None),  # one label is given up
    ],
    ids=str,
)
def test_the_enclosure_of_an_average(dist, sets, weights):
    V = enclosure(dist, sets, weights=weights)
    assert V.rad() < 5e-7
    assert abs(V - game_value(dist, sets, weights=weights).value) < arb(2e-6)


def random_average(seed):
    """Two or three balls at any weights; d up to a million, p0 = 1/2 included."""
    rng = np.random.default_rng(seed)
    alpha, d = rng.uniform(0.25, 4), int(10 ** rng.uniform(0, 6))
    dist, sets = BernoulliFeature(alpha, d, rng.choice([0.5, 0.6, 0.9, 0.999])), []
    for _ in range(rng.integers(2, 4)):
        p = rng.choice([1, 1.5, 2, 4, inf])
        along = alpha * d ** (1 / p - 0.5)
        sets.append(Lp(p, rng.choice([0.0, 1.0, along], p=[0.1, 0.45, 0.45]) * rng.uniform(0.01, 2.5)))
    weights = rng.dirichlet(np.ones(len(sets))) if rng.random() < 0.5 else np.full(len(sets), 1 / len(sets))
    return dist, tuple(sets), weights / weights.sum()


def check_width(dist, sets, weights):
    V, value = enclosure(dist, sets, weights=weights), game_value(dist, sets, weights=weights).value
    assert V.rad() < 5e-7, (dist, sets, weights)
    assert V.lower() <= value + 1e-11 and abs(V.upper() - value) < 1e-9  # the risk of thresholds that are at hand


# Flat, of two solutions far apart, of sets that differ in size by orders of magnitude, and any.
@pytest.mark.parametrize("seed", [26, 2, 96, 68, 37])
def test_the_width_of_an_average(seed):
    check_width(*random_average(seed))


@pytest.mark.slow
def test_the_widths_of_averages():
    for seed in range(400):
        check_width(*random_average(seed))


def test_a_flat_average_of_equal_sets():
    """Two copies of a set have the value of one, known in closed form, however the weights divide it."""
    others = (BernoulliFeature(1.0, 50, 0.5), L2(0.9)), (BernoulliFeature(3.0, 9, 0.6), L1(2.5))
    for dist, S in ((D, Linf(0.2)), *others):
        V = enclosure(dist, (S, S), weights=(0.3, 0.7))
        assert V.rad() < 5e-7 and V.overlaps(enclosure(dist, (S,)))


def test_the_enclosure_is_wider_where_work_is_limited(monkeypatch):
    dist, sets, weights = random_average(26)
    narrow = enclosure(dist, sets, weights=weights)
    monkeypatch.setattr(certified, "BUDGET", 1)
    wide = enclosure(dist, sets, weights=weights)
    assert wide.rad() > 1e-3 and wide.contains(narrow.mid()) and abs(wide.upper() - narrow.upper()) < 1e-8


@settings(deadline=None, max_examples=60)
@given(games())
def test_the_enclosure_contains_the_value(game):
    for adversary in ("union", "affine"):
        V = enclosure(*game, adversary)
        assert V.rad() < 1e-9
        assert abs(V - game_value(*game, adversary).value) < arb(1e-12)


def test_the_enclosure_where_equality_cannot_be_decided():
    for p0 in (0.5, 0.9):
        for sets in ((Linf(0.4), L1(2)), (Linf(0.2),), (L2(2),)):  # G_0 or G_2 equal to 2 alpha
            dist = BernoulliFeature(2.0, 100, p0)
            for adversary in ("union", "affine"):
                V = enclosure(dist, sets, adversary)
                assert V.rad() < 1e-9 and abs(V - game_value(dist, sets, adversary).value) < arb(1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30))
def test_the_value_lies_between_the_discretised_games(seed):
    rng = np.random.default_rng(seed)
    alpha, d = rng.uniform(0.5, 2.5), int(rng.integers(2, 200))
    dist = BernoulliFeature(alpha, d, rng.choice([0.5, 0.6, 0.9]))
    sets = []
    for p in rng.choice([1, 1.5, 2, inf], rng.integers(1, 4)):
        along = alpha * d ** (1 / p - 0.5)  # moves T as far as a class centre
        sets.append(Lp(p, rng.uniform(0, 1.5) * along if rng.random() < 0.6 else rng.uniform(0, 2.4)))
    for adversary in ADVERSARIES:
        lower, upper = flow_bounds(dist, sets, adversary)
        assert lower <= game_value(dist, sets, adversary).value <= upper


def test_the_discretised_games_close_in():
    lower, upper = flow_bounds(D, (Linf(0.2), L1(2)), "average", step=1 / 32)
    assert upper - lower < 0.001


# Geometry


@settings(deadline=None, max_examples=60)
@given(games())
def test_the_geometric_criterion_implies_the_value(game):
    for adversary in ADVERSARIES:
        if exclusive(*game, adversary):
            assert game_value(*game, adversary).value == pytest.approx(0.5, abs=SEARCH)


def test_theorem_1_and_its_kin_are_instances_of_the_criterion():
    for alpha, d in ((2.0, 100), (1.0, 7), (3.0, 10**6)):
        dist = BernoulliFeature(alpha, d, 0.9)
        for p in (1.0, 1.2, 1.5, 1.9):
            q = Lp(p, 1).dual
            pair = (Lp(p, 2.0), Lp(q, 2 * alpha * d ** (1 / q - 0.5)))
            assert exclusive(dist, pair) and exclusive(dist, pair, "union") and exclusive(dist, pair, "affine")
    pair = (L1(2), Linf(2 * D.eta))
    # l_inf also moves x_0, which leaves l_1 some of its radius: Theorem 1's radii are sharp only as d grows.
    assert exclusive(D, [S.scaled(0.995) for S in pair]) and not exclusive(D, [S.scaled(0.99) for S in pair])
    assert game_value(D, [S.scaled(0.995) for S in pair]).value == 0.5
    assert game_value(D, [S.scaled(0.95) for S in pair]).value < 0.49
    assert not exclusive(BernoulliFeature(2.0, 10**8, 0.9), [L1(1.999), Linf(1.999 * 2e-4)])
    appendix = BernoulliFeature(2.0, 200, 0.977), (Linf(3 / sqrt(200)), L1(3))
    assert [exclusive(*appendix, adversary) for adversary in ADVERSARIES] == [False, False, True]


@settings(deadline=None, max_examples=60)
@given(games())
def test_half_widths_are_those_of_the_sets(game):
    """The end of the half-width, as noise in d+1 dimensions, lies on the boundary."""
    dist, sets = game
    d = min(dist.d, 300)
    for S in sets:
        for a in np.array([0.0, 0.3, 0.9]) * S.eps:
            r = np.concatenate([[a], np.full(d, half_width(S, d, a) / sqrt(d))])[None]
            assert S.gauge(r)[0] == pytest.approx(1.0 if S.eps else 0.0, rel=1e-9)
        assert half_width(S, d, S.eps * 1.001 + 1e-9) == -inf


@settings(deadline=None, max_examples=60)
@given(games(least=2))
def test_sums_and_hulls_by_brute_force(game):
    dist, (A, B, *_) = game
    d = dist.d
    scale = 1 + half_width(A, d, 0.0) + half_width(B, d, 0.0)
    first, last = max(-A.eps, 2 - B.eps), min(A.eps, 2 + B.eps)
    share = (1 + np.sin(np.linspace(-np.pi / 2, np.pi / 2, 2001))) / 2
    u = np.clip(first + (last - first) * share, first, last) if first <= last else [0.0]
    brute = max(half_width(A, d, a) + half_width(B, d, 2 - a) for a in u)
    assert brute - 1e-12 * scale <= sum_width(A, B, d, 2.0)
    if brute > -inf:
        assert sum_width(A, B, d, 2.0) <= brute + 1e-2 * scale
        assert sum_width(A, B, d, 2.0) == pytest.approx(sum_width(B, A, d, 2.0), rel=1e-12)
    if max(A.eps, B.eps) >= 1:  # a line above both sets is above the hull; a chord is below
        height = hull_width((A, B), d, 1.0)
        ends = [(a, half_width(S, d, a)) for S in (A, B) for a in S.eps * np.linspace(-1, 1, 41)]
        for a, low in ends:
            for b, high in ends:
                if a <= 1 < b:
                    assert ((b - 1) * low + (1 - a) * high) / (b - a) <= height * (1 + 1e-9) + 1e-12
        assert max(half_width(S, d, 1.0) for S in (A, B)) <= height * (1 + 1e-9) + 1e-12


@settings(deadline=None, max_examples=10)
@given(games(least=2), st.floats(0, 1))
def test_the_hull_is_the_affine_set(game, share):
    """At the hull's height, noise in d+1 dimensions is in S_affine and on its boundary."""
    dist, (A, B, *_) = game
    d = min(dist.d, 50)
    a = share * max(A.eps, B.eps)
    if a < 1e-3 or min(A.eps, B.eps) < 1e-3:
        return
    height = hull_width((A, B), d, a)
    S = Affine(A, B)
    r = np.concatenate([[a], np.full(d, height / sqrt(d))])[None]
    assert S.contains(r * (1 - 1e-5))[0]
    slopes = np.geomspace(1e-6, 1e6, 400)
    w = np.concatenate([slopes[:, None], np.full((400, d), 1 / sqrt(d))], axis=1)
    assert np.all(w @ r[0] <= S.support(w) * (1 + 1e-9))


# Errors and speed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((D, ()), "sets is empty"),
        ((D, Linf(1)), "must be a sequence of lp balls"),
        ((D, (Linf(1), Swap(3))), "Swap.* is not an lp ball"),
        ((D, (Union((Linf(1), L1(1))),)), "is not an lp ball"),
        ((D, (Linf(1),), "unoin"), "unknown adversary 'unoin', did you mean 'union'"),
        ((D, (Linf(1), L1(1)), "average", (0.5,)), "do not match the 2 sets"),
        ((D, (Linf(1), L1(1)), "average", (0.5, 0.6)), "divide them by their sum"),
        ((D, (Linf(1), L1(1)), "average", (1.5, -0.5)), "divide them by their sum"),
        ((D, (Linf(1), L1(1)), "average", (np.nan, 1.0)), "divide them by their sum"),
        ((D, (Linf(1), L1(1)), "union", (0.5, 0.5)), "belong to the average adversary"),
        ((None, (Linf(1),)), "must be a BernoulliFeature or a GaussianFeature"),
        ((GaussianFeature(2, 100), (Linf(1), L1(1))), "no finite program on D_G: use flow_bounds"),
        ((GaussianFeature(2, 100), (Linf(1), L1(1)), "union"), "no finite program on D_G: use flow_bounds"),
    ],
)
def test_errors_name_the_value_and_the_remedy(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        game_value(*arguments)
    assert "\n" not in str(error.value)


def test_errors_of_the_other_functions():
    with pytest.raises(ValueError, match="one level more"):
        step_risks(D, (Linf(1),), [0.0], [1.0])
    with pytest.raises(ValueError, match="one level more"):
        step_risks(D, (Linf(1),), [1.0, 0.0], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="step functions of x_0 are for D_B"):
        step_risks(GaussianFeature(2, 100), (Linf(1),), [], [0.0])
    with pytest.raises(ValueError, match="2 weights for 1 games"):
        game_values(D, [(Linf(1), L1(1))], weights=[(0.5, 0.5)] * 2)
    with pytest.raises(ValueError, match="thresholds for 1 sets, but 2 are given"):
        classifier(D, (Linf(1), L1(1)), game_value(D, (Linf(1),)))
    with pytest.raises(ValueError, match="another distribution"):
        classifier(GaussianFeature(2, 100), (Linf(1),), game_value(D, (Linf(1),)))
    for function in (enclosure, exclusive):
        with pytest.raises(ValueError, match="unknown adversary"):
            function(D, (Linf(1),), "linear")


# Many games at once


def test_fronts_are_concave_and_diagrams_monotone():
    weights = [(w, 1 - w) for w in np.linspace(0, 1, 200)]
    front = [game.value for game in game_values(D, [(Linf(0.2), L1(2))] * 200, weights=weights)]
    assert np.all(np.diff(front, 2) <= SEARCH)
    games = [(Linf(a), L1(b)) for a in np.linspace(0, 0.6, 40) for b in np.linspace(0, 4, 40)]
    for adversary in ADVERSARIES:
        table = np.reshape([game.value for game in game_values(D, games, adversary)], (40, 40))
        slack = SEARCH if adversary == "average" else 1e-12
        assert np.all(np.diff(table, axis=0) >= -slack) and np.all(np.diff(table, axis=1) >= -slack)


@settings(deadline=None, max_examples=10)
@given(games(), st.lists(st.integers(1, 3), min_size=1, max_size=6))
def test_many_games_are_solved_as_each_alone(game, sizes):
    dist, sets = game
    chosen = [(sets * 3)[:size] for size in sizes]
    for adversary in ADVERSARIES:
        assert game_values(dist, chosen, adversary) == [game_value(dist, few, adversary) for few in chosen]
    assert game_values(dist, []) == []


@settings(deadline=None, max_examples=25)
@given(games(least=2, most=2), st.floats(0, 1))
def test_tables_and_cuts_agree(game, weight):
    """Two sets are solved by tables, in a program of fewer variables; more by cuts."""
    dist, sets = game
    stay, flip = sums(dist.d, sets, "average")
    by_cuts, _ = several_sets(dist.p0, dist.alpha, stay, flip, np.array([weight, 1 - weight]))
    assert game_value(dist, sets, weights=(weight, 1 - weight)).value == pytest.approx(by_cuts, abs=SEARCH)


@pytest.mark.parametrize(
    ("alpha", "d", "p0", "sets", "weight"),
    [  # small minima between the levels of a coarse grid, on kinks, with and without equal treatment of the labels
        (0.198, 5239, 0.98037, (Lp(1.5, 2.007), L1(1.93)), 0.406),
        (0.1466, 2329, 0.5, (Lp(1.5, 0.002842), Lp(1.2, 2.2416)), 0.165),
        (2.368, 1453, 0.99995, (Lp(1.5, 5.24), Lp(3, 1.629)), 0.92),
        (0.3395, 115211, 0.5, (L2(0.362), Lp(1.5, 1.93982)), 0.5),
        (0.4177, 3, 0.99378, (Linf(1.7826), Lp(1.5, 1.1057)), 0.015),
        (0.1373, 2, 0.5, (Lp(1.2, 0.2322), Linf(0.04545)), 0.5),
        (0.1965, 26727, 0.51273, (Lp(3, 0.036194), L2(0.16529)), 0.5),
    ],
)
def test_minima_on_kinks_are_found(alpha, d, p0, sets, weight):
    dist, weights = BernoulliFeature(alpha, d, p0), (weight, 1 - weight)
    value = game_value(dist, sets, weights=weights).value
    by_cuts, _ = several_sets(p0, alpha, *sums(d, sets, "average"), np.array(weights))
    assert value == pytest.approx(by_cuts, abs=SEARCH)
    lower, upper = flow_bounds(dist, sets, step=1 / 256, weights=weights)
    assert lower <= value <= upper < lower + 3e-4


# D_G


@st.composite
def gaussian_games(draw):
    dist, sets = draw(games())
    return GaussianFeature(dist.alpha, dist.d), sets


@settings(deadline=None, max_examples=40)
@given(gaussian_games())
def test_on_the_gaussian_the_half_plane_has_the_value(game):
    """Its exact risk in d+1 dimensions, and no linear classifier's is less."""
    dist, sets = game
    dist = GaussianFeature(dist.alpha, min(dist.d, 50))
    solved = game_value(dist, sets, "affine")
    slopes = np.append(np.geomspace(1e-3, 1e3, 200) * dist.alpha, [0.0, 1e9])
    w = np.concatenate([slopes[:, None], np.full((len(slopes), dist.d), 1 / sqrt(dist.d))], axis=1)
    risks = dist.linear_risk(w, Union(sets))
    assert solved.value <= risks.min() + 1e-12 and solved.value >= dist.bayes_risk() - 1e-15
    c, t = solved.thresholds
    if t == 0:
        best = np.full(dist.d + 1, 1 / sqrt(dist.d)) if c < 1e6 else np.zeros(dist.d + 1)
        best[0] = min(c, 1e6)
        assert dist.linear_risk(best, Union(sets)) == pytest.approx(solved.value, abs=1e-9)
        if c < inf:
            assert classifier(dist, sets, solved)(1.5) == -1.5 * c
    else:
        assert solved == GameValue(0.5, (0.0, -inf), "affine") and risks.min() >= 0.5


@settings(deadline=None, max_examples=60)
@given(gaussian_games())
@example((GaussianFeature(1.0, 10**5), (Lp(4, 1),)))  # almost nothing is left, and the slope is known to 1e-5 only
def test_the_enclosure_on_the_gaussian(game):
    V = enclosure(*game, "affine")
    assert V.rad() < 1e-10 and abs(V - game_value(*game, "affine").value) < arb(1e-9)


def test_values_on_the_gaussian_known_apart():
    dist = GaussianFeature(2.0, 100)
    assert game_value(dist, (Linf(0),)).value == pytest.approx(dist.bayes_risk(), rel=1e-12)
    for eps in (0.3, 0.9):  # l_inf moves both features at will
        gap = np.hypot(2 * (1 - eps), max(2 - 10 * eps, 0))
        assert game_value(dist, (Linf(eps),)).value == pytest.approx(ndtr(-gap), rel=1e-12)
    assert game_value(dist, (Linf(0.4), L1(2)), "affine").value == 0.5  # theorem 1's radii: μ is in the hull
