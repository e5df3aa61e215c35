"""Every check of every theorem holds, and fails once an assumption is dropped."""

import json
import subprocess
import sys
from fractions import Fraction
from functools import cache
from inspect import signature
from itertools import product
from math import inf, isfinite

import numpy as np
import pytest
from flint import arb
from scipy.special import ndtr

from tradeoff.perturbations import L1, Affine, Linf, Lp
from tradeoff.theory import THEOREMS, BernoulliFeature, Evidence, Theorem
from tradeoff.theory.game import step_risks
from tradeoff.theory.intervals import ball, dual, exceeds, normal_cdf, power, risk_in_plane, support_in_plane
from tradeoff.theory.theorem import FAILURE, ROUTES
from tradeoff.theory.theorems import claim3_affine_linear, exact_game, thm1_linf_l1
from tradeoff.theory.theorems.hull import hull_radius

CHECKS = [
    pytest.param(theorem, check, id=f"{name}-{check.__name__}")
    for name, theorem in THEOREMS.items()
    for check in theorem.checks
]


@cache
def found(check):
    return check()


@pytest.mark.parametrize(("theorem", "check"), CHECKS)
def test_every_check_holds(theorem, check):
    evidence = found(check)
    assert isinstance(evidence, Evidence)
    assert evidence.holds is True, evidence.detail
    assert evidence.detail and "\n" not in evidence.detail
    assert any(character.isdigit() for character in evidence.detail), "the detail carries the numbers"


@pytest.mark.parametrize(("theorem", "check"), CHECKS)
def test_the_numbers_are_data(theorem, check):
    evidence = found(check)
    assert evidence.values
    assert json.loads(json.dumps(evidence.values, allow_nan=False)).keys() == evidence.values.keys()
    intervals = [value for value in evidence.values.values() if isinstance(value, tuple)]
    assert all(low <= high and isfinite(high - low) for low, high in intervals)
    assert all(type(value) in (int, float) for value in evidence.values.values() if value not in intervals)
    assert evidence.failure == {"simulated": FAILURE, "certified": 0.0}.get(check.__name__)
    assert intervals or check.__name__ != "simulated"


@pytest.mark.parametrize(("theorem", "check"), CHECKS)
def test_every_check_fails_without_the_assumption(theorem, check):
    evidence = check(**theorem.breaks)
    assert evidence.holds is False, evidence.detail


@pytest.mark.parametrize("name", [name for name in THEOREMS if name.startswith("thm1-")])
def test_larger_balls_are_exclusive_too(name):
    for route, evidence in THEOREMS[name].run(radius=2.5):
        assert evidence.holds, (route, evidence.detail)


@pytest.mark.parametrize("radius", [1.5, 1.99])
@pytest.mark.parametrize("name", [name for name in THEOREMS if name.startswith("thm1-")])
def test_any_smaller_radius_breaks_the_proof(name, radius):
    """Every route but sampling sees it, however small the gap. (At finite d the statement itself holds a little
    further, because linf noise moves x_0 too: see `tradeoff.theory.game`.)"""
    for check in THEOREMS[name].checks:
        if check.__name__ != "simulated":
            assert not check(radius=radius).holds, check.__name__


@pytest.mark.parametrize(("name", "theorem"), THEOREMS.items())
def test_every_record_is_complete(name, theorem):
    assert name == theorem.name == theorem.name.lower()
    assert theorem.source and theorem.statement.count("$") % 2 == 0 and theorem.statement.count("$") >= 2
    assert theorem.breaks
    assert {check.__name__ for check in theorem.checks} | set(theorem.absent) == set(ROUTES)
    assert all(reason for reason in theorem.absent.values())
    for check in theorem.checks:
        assert check.__doc__
        assert set(theorem.breaks) <= set(signature(check).parameters)


@pytest.mark.parametrize("theorem", THEOREMS.values(), ids=list(THEOREMS))
def test_thorough_checks_are_larger_ones_of_the_same_kind(theorem):
    named = theorem.named_checks(thorough=True)
    assert list(named)[: len(theorem.checks)] == list(theorem.named_checks())
    assert set(theorem.thorough).isdisjoint(ROUTES)
    for check in theorem.thorough.values():
        assert set(theorem.breaks) <= set(signature(check).parameters)
    if "larger sample" in theorem.thorough:
        sizes = [signature(named[name]).parameters["n"].default for name in ("larger sample", "simulated")]
        assert sizes[0] >= 10 * sizes[1]


def test_the_sweep_of_random_games_and_that_it_can_fail():
    assert exact_game.sweep(settings=6).holds
    assert not exact_game.sweep(spread=1.5, settings=6).holds


def test_simulated_checks_give_the_same_numbers_again():
    for theorem in THEOREMS.values():
        for check in theorem.checks:
            if check.__name__ == "simulated":
                assert check(n=500) == check(n=500)


def test_a_record_must_account_for_every_route():
    def numeric():
        return Evidence(True, "1")

    rest = dict.fromkeys(("symbolic", "simulated", "certified"), "nothing to do")
    toy = Theorem("toy", "none", "$1 = 1$", (numeric,), {}, rest)
    assert list(toy.run()) == [("numeric", Evidence(True, "1"))]
    for checks, absent in (
        ((numeric,), {}),
        ((), rest),
        ((numeric, numeric), rest),
        ((numeric,), {**rest, "numeric": ""}),
    ):
        with pytest.raises(ValueError, match="theorem 'toy' names the routes"):
            Theorem("toy", "none", "$1 = 1$", checks, {}, absent)
    with pytest.raises(ValueError, match="thorough checks \\['simulated'\\] like a route: name them apart"):
        Theorem("toy", "none", "$1 = 1$", (numeric,), {}, rest, thorough={"simulated": numeric})


def test_evidence_is_plain_data():
    third = arb(1) / 3
    values = {"int": np.int64(3), "float": np.float32(0.5), "pair": np.array([0.0, 1.0]), "ball": third}
    evidence = Evidence(np.True_, "", values)
    assert evidence.holds is True and evidence.failure is None
    assert [type(value) for value in evidence.values.values()] == [int, float, tuple, tuple]
    low, high = evidence.values["ball"]
    assert arb(low) <= third <= arb(high) and Fraction(low) < Fraction(1, 3) < Fraction(high)
    assert Evidence(True, "1") == Evidence(True, "1", {}, None)


def test_theory_runs_without_torch():
    code = (
        "import sys; from tradeoff.theory import THEOREMS; "
        "assert all(evidence.holds for _, evidence in THEOREMS['thm1-linf-l1'].run()); "
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.parametrize(("p", "expected"), [(2, 1.7379), (inf, 0.3), (1, 10.0)])
def test_hull_radius_at_the_mnist_radii(p, expected):
    """Against the support of the hull itself: an l_p ball fits if its support ‖w‖_q is nowhere larger."""
    radius, hull = hull_radius(p, 0.3, 10, 784), Affine(Linf(0.3), L1(10))
    assert radius == pytest.approx(expected, abs=5e-5)
    ones = np.r_[1:50, 784][:, None]  # and the next entry, if there is one, anything between 0 and 1
    w = np.concatenate([np.clip(ones + t - np.arange(784), 0, 1) for t in np.linspace(0, 1, 301)])
    ratio = hull.support(w) / Lp(p, 1).support(w)
    assert radius <= ratio.min() + 1e-12 and ratio.min() == pytest.approx(radius, rel=1e-9)


# The tools of the checks


def test_normal_cdf_encloses_and_orders():
    for x in np.linspace(-30, 8, 77):
        value = normal_cdf(ball(x))
        assert float(value.mid()) == pytest.approx(ndtr(x), rel=1e-12, abs=0)
        assert value.rad() <= 1e-9 * value.mid()
    assert normal_cdf(ball(-1.0)) < normal_cdf(ball(-1 + 2.0**-40))
    assert (normal_cdf(ball(0.3)) + normal_cdf(ball(-0.3))).contains(arb(1))


@pytest.mark.parametrize("p", [Fraction(1), Fraction(6, 5), Fraction(2), Fraction(5), inf])
@pytest.mark.parametrize("c", [0.0, 0.25, 3.0])
def test_enclosed_risks_are_the_exact_ones(p, c):
    dist = BernoulliFeature(1.5, 16, 0.75)
    w = np.r_[c, np.full(16, 0.25)]
    S = Lp(float(p), 0.8)
    assert float(support_in_plane(ball(c), 16, p, ball(0.8))) == pytest.approx(S.support(w[None])[0], rel=1e-12)
    risk = risk_in_plane(dist, p, ball(0.8), ball(c), ball(c))
    assert float(risk) == pytest.approx(dist.linear_risk(w, S), rel=1e-12)
    around = risk_in_plane(dist, p, ball(0.8), ball(c), ball(c + 0.5))
    for inner in np.linspace(c, c + 0.5, 9):
        assert around <= risk_in_plane(dist, p, ball(0.8), ball(inner), ball(inner))


def test_dual_exponents_and_powers():
    for p in (Fraction(1), Fraction(6, 5), Fraction(2), Fraction(7, 2), inf):
        assert dual(dual(p)) == p
    assert power(arb(0), Fraction(1, 3)).is_zero() and power(arb(8), Fraction(1, 3)).contains(arb(2))


def test_exceeds_refuses_what_it_cannot_prove():
    def square(lo, hi):
        return lo * lo

    assert exceeds(square, arb(0.99), Fraction(1), Fraction(3))[0]
    assert not exceeds(square, arb(1), Fraction(1), Fraction(3))[0]  # equality at 1
    assert not exceeds(lambda lo, hi: arb(2, 1.5), arb(1), Fraction(0), Fraction(1))[0]  # too wide a ball to decide


def test_extremal_noise_is_that_of_the_balls():
    rng = np.random.default_rng(0)
    for p in (Fraction(1), Fraction(3, 2), Fraction(2), Fraction(4), inf):
        w = rng.normal(size=6)
        r = np.array([float(r_i) for r_i in claim3_affine_linear._worst_noise([ball(w_i) for w_i in w], p)])
        np.testing.assert_allclose(r, Lp(float(p), 1).argmax(w[None])[0], rtol=1e-12)


def test_threshold_risks_are_those_of_step_functions():
    """The closed form of a threshold rule's R_avg at every pair of a grid, against the exact risks of `step_risks`."""
    dist, grid = BernoulliFeature(2.0, 100, 0.9), np.linspace(-8, 8, 81)
    for radius in (0.9, 1.4, 2.0):
        risks, sets = thm1_linf_l1._threshold_risks(dist, radius), (Linf(radius * dist.eta), L1(radius))
        for i, j in product(range(0, 81, 4), repeat=2):  # of meshgrid: columns are t_+
            exact = step_risks(dist, sets, [0.0], [grid[i], grid[j]]).mean()
            assert risks[i, j] == pytest.approx(exact, abs=1e-12)
