"""Claim 4: the two risks of a linear classifier, by quadrature, by sampling and against the oracles."""

import numpy as np
import pytest

from tradeoff.perturbations import Affine, Linf, Swap
from tradeoff.theory import GaussianFeature
from tradeoff.theory.theorem import hoeffding
from tradeoff.theory.theorems.claim4_affine_gap import certified, lowered, risks, simulated, symbolic

CASES = [(3.0, 784, 49, 10.0, 0.5, (0.034, 0.124)), (6.0, 10**4, 49, 200.0, 1.0, (0.127, 0.971))]


@pytest.mark.parametrize(("alpha", "d", "N", "w_0", "kappa", "expected"), CASES)
def test_risks_by_another_program(alpha, d, N, w_0, kappa, expected):
    dist = GaussianFeature(alpha, d)
    assert risks(dist, w_0, kappa * dist.eta, N) == pytest.approx(expected, abs=0.001)


@pytest.mark.parametrize(("alpha", "d", "N", "w_0", "kappa"), [(3.0, 784, 49, 10.0, 0.5), (2.0, 100, 9, 5.0, 0.5),
                                                               (1.0, 60, 2, 3.0, 0.2), (2.0, 60, 1, 8.0, 1.0),
                                                               (6.0, 200, 100, 30.0, 1.5)])  # fmt: skip
def test_risks_by_sampling(alpha, d, N, w_0, kappa):
    """Failure ≤ 1e-9 in each case."""
    dist, n = GaussianFeature(alpha, d), 40_000
    x, y = dist.sample(n, np.random.default_rng(1))
    w = np.r_[w_0, np.ones(d)]
    score = y * (x @ w)
    rates = [np.mean(score <= less) for less in lowered(y[:, None] * x, w, kappa * dist.eta, N)]
    exact = risks(dist, w_0, kappa * dist.eta, N)
    assert np.abs(np.subtract(rates, exact)).max() <= hoeffding(n, 2, 1e-9) < 0.017


@pytest.mark.parametrize(("alpha", "d", "N", "w_0", "kappa", "expected"), CASES)
def test_oracles_by_sampling(alpha, d, N, w_0, kappa, expected):
    """The d - N features that no swap moves are one normal sum: failure ≤ 1e-9 in each case."""
    dist, n, rng = GaussianFeature(alpha, d), 100_000, np.random.default_rng(3)
    x = dist.eta + rng.standard_normal((n, N + 1))
    x[:, 0] = 1 + rng.standard_normal(n) / alpha
    rest = (d - N) * dist.eta + np.sqrt(d - N) * rng.standard_normal(n)
    slots = np.r_[w_0, np.ones(N)]
    eps = kappa * dist.eta * (w_0 + d) / slots.sum()  # the noise on all features, as if on these alone
    score = x @ slots + rest
    rates = [np.mean(score <= less) for less in lowered(x, slots, eps, N)]
    assert np.abs(np.subtract(rates, expected)).max() <= hoeffding(n, 2, 1e-9) + 0.0005


def test_without_noise_or_swaps_to_speak_of():
    """Limits known otherwise: R_adv of the ball alone (exact), when w_0 is so near 1 that no swap matters."""
    dist, eps = GaussianFeature(2.0, 400), 0.05
    alone = dist.linear_risk(np.ones(401), Linf(eps))
    assert risks(dist, 1 + 1e-6, eps, 49) == pytest.approx((alone, alone), abs=1e-6)


def test_lowered_by_brute_force():
    """Every position, and what noise `Affine` then allows."""
    rng = np.random.default_rng(2)
    N, eps, d = 5, 0.3, 8
    mix = Affine(Swap(N), Linf(eps))
    for _ in range(20):
        x, w = rng.normal(size=(30, d + 1)), rng.uniform(0.1, 3, d + 1)
        score, noise = x @ w, mix.b.argmax(-np.repeat(w[None], 30, axis=0))
        one, mixed = [score - (x + noise) @ w], []
        for j in mix.a.grid():
            positions = np.full(30, j)
            left = (1 - mix.a.gauge(positions))[:, None] * noise
            assert mix.contains((positions, left)).all()
            one.append(score - mix.a.apply(x, positions) @ w)
            mixed.append(score - mix.apply(x, (positions, left)) @ w)
        expected = np.max(one, axis=0), np.max(mixed, axis=0)
        np.testing.assert_allclose(lowered(x, w, eps, N), expected, atol=1e-12)


def test_certified_gap_is_below_the_true_one():
    dist = GaussianFeature(2.0, 25)
    for N in (2, 3):
        single, mixed = risks(dist, 5.0, dist.eta / 2, N)
        low, high = certified(N=N).values["R_affine - R_max, lower bound"]
        assert 0 < low <= high <= mixed - single


def test_two_positions_are_enough():
    assert symbolic(N=2).holds and simulated(N=9).holds
