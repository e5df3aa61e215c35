"""Appendix I: exact risks of threshold rules, and the better one."""

from math import inf, sqrt

import numpy as np
import pytest
from scipy.special import ndtr

from tradeoff.perturbations import L1, L2, Linf
from tradeoff.theory import BernoulliFeature
from tradeoff.theory.theorem import hoeffding
from tradeoff.theory.theorems.appendix_i import (
    PAPER,
    SHARPER,
    SHARPER_RULE,
    ThresholdRule,
    best_rule,
    certified,
    level_rule,
    symbolic,
)


def balls(setting):
    dist, eps_inf, eps_1 = setting
    return dist, (Linf(eps_inf), L1(eps_1))


@pytest.mark.parametrize("d", [200, 784, 10**4])
def test_risk_of_the_papers_classifier(d):
    dist = BernoulliFeature(2.0, d, PAPER[0].p0)
    risk = level_rule(1.5, 0.0, d).robust_risk(dist, (Linf(3 / sqrt(d)), L1(3.0)))
    assert risk == pytest.approx(dist.p0 * ndtr(1 / sqrt(d) - 0.5) + (1 - dist.p0) * ndtr(2.5), abs=1e-12)
    if d == 200:
        assert risk == pytest.approx(0.3489, abs=5e-5)


def test_risk_of_the_sharper_rule():
    dist, sets = balls(SHARPER)
    risk = SHARPER_RULE.robust_risk(dist, sets)
    assert risk == pytest.approx(dist.p0 * ndtr((4 / 3 - 0.5) / 100 - 4) + 1 - dist.p0, abs=1e-12)
    assert risk == pytest.approx(0.0100, abs=5e-5)


def test_the_best_rule_is_better_than_the_papers():
    """0.339175 is the optimum over all classifiers, by another program, at p0 = 0.977."""
    d, eps_inf = 200, 3 / sqrt(200)
    dist, sets = BernoulliFeature(2.0, d, 0.977), (Linf(eps_inf), L1(3.0))
    level, flat, risk = best_rule(dist, sets)
    assert risk == pytest.approx(0.339175, abs=1e-6)
    # The l_inf noise at level + 3 on one side and the l_1 noise from 1 to eps_inf - 1 on the other: neither gains more.
    assert flat == pytest.approx(eps_inf, abs=1e-4) and 3 - level == pytest.approx(
        level + (1 + flat) / sqrt(d), abs=1e-6
    )
    assert level_rule(1.5, 0.0, d).robust_risk(dist, sets) > risk + 0.009


def brute_force(rule, dist, sets, steps=401):
    """R_max of the rule by trying every x_0 of a mesh: whether yT is lost, on a mesh of T."""
    T = np.linspace(-12, 12, 24_001)
    density = np.exp(-((T - dist.alpha) ** 2) / 2) * (T[1] - T[0]) / sqrt(2 * np.pi)
    risk = 0.0
    for x_0, share in ((1.0, dist.p0), (-1.0, 1 - dist.p0)):
        lost = np.zeros(len(T), dtype=bool)
        for S in sets:
            for u in np.linspace(-S.eps, S.eps, steps):
                weak = S.eps * sqrt(dist.d) if S.p == inf else (S.eps - abs(u)) / sqrt(dist.d)
                lost |= rule(np.full(len(T), x_0 + u), T - weak) < 0
        risk += share * density @ lost
    return risk


@pytest.mark.parametrize("rule", [level_rule(1.5, 0.0, 200), level_rule(1.4, 0.3, 200), SHARPER_RULE,
                                  ThresholdRule(((-inf, -1.2, 3, 3), (-1.2, -0.4, 3, -1), (-0.4, 0.0, 0.5, 2)))
                                  ])  # fmt: skip
@pytest.mark.parametrize("sets", [(Linf(0.2121), L1(3.0)), (Linf(0.1),), (L1(0.7),), (L1(1.3), Linf(0.5))])
def test_exact_risks_by_brute_force(rule, sets):
    """The mesh of x_0 misses the worst offset by 0.0075 at most, which moves a threshold by 0.04 at most."""
    dist = BernoulliFeature(2.0, 200, 0.9)
    exact, mesh = rule.robust_risk(dist, sets), brute_force(rule, dist, sets)
    assert mesh - 1e-3 <= exact <= mesh + 0.02


def test_rule_is_odd_and_clean_risk_is_that_of_samples():
    """Failure ≤ 1e-9."""
    dist, sets = balls(PAPER)
    rule, n = level_rule(1.5, 0.0, dist.d), 100_000
    x, y = dist.sample(n // 10, np.random.default_rng(1))
    x_0, T = x[:, 0], x[:, 1:].sum(axis=1) / sqrt(dist.d)
    np.testing.assert_array_equal(rule(-x_0, -T), -rule(x_0, T))
    assert rule.robust_risk(dist, (Linf(0.0),)) == pytest.approx(
        dist.p0 * ndtr(-3.5) + (1 - dist.p0) * ndtr(-0.5), abs=1e-12
    )
    assert abs(np.mean(rule(x_0, T) != y) - rule.robust_risk(dist, (Linf(0.0),))) <= hoeffding(len(y), 1, 1e-9)


def test_other_norms_are_refused():
    with pytest.raises(ValueError, match="l2:1: the risk of a threshold rule"):
        SHARPER_RULE.robust_risk(PAPER[0], (L2(1.0),))


@pytest.mark.parametrize("scale", [0.5, 0.99])
def test_smaller_balls_leave_mixtures_beatable(scale):
    assert not symbolic(scale=scale).holds and not certified(scale=scale).holds
