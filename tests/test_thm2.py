"""Theorem 2: the swap adversary is the best one, its total variation is exact, and the bound is tight."""

from fractions import Fraction
from itertools import product
from math import sqrt

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import linprog
from scipy.stats import norm

from tradeoff.perturbations import Swap
from tradeoff.theory import GaussianFeature
from tradeoff.theory.swap import (
    asymptotic_constant,
    blind_risks,
    chi_squared,
    choose_positions,
    explicit_bound,
    invariant_margins,
    invariant_risk,
    log_likelihood_ratio,
    log_ratios,
    position_law,
    risk_bound,
    simulated_total_variation,
    total_variation,
)
from tradeoff.theory.theorem import hoeffding
from tradeoff.theory.theorems.thm2_linf_rt import _total_variation_above, attacked_density, table

FAR = 10**12  # a d at which eta is nothing


@pytest.mark.parametrize("alpha", [0.8, 1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("d", [49, 784, FAR])
def test_chi_squared_constants_by_quadrature(alpha, d):
    dist = GaussianFeature(alpha, d)

    def integral(p, q):
        def integrand(x):
            return p(x) * q(x) / norm.pdf(x, dist.eta, 1)

        return quad(integrand, -30, 30, points=[-1, 0, 1], epsabs=1e-12, epsrel=1e-10, limit=500)[0]

    def strong(x):
        return norm.pdf(x, 1, 1 / alpha)

    def attacked(x):
        return norm.pdf(x, -1, 1 / alpha)

    def difference(x):
        return strong(x) - attacked(x)

    expected = integral(strong, strong) - 1, integral(attacked, attacked) - 1, integral(difference, difference)
    np.testing.assert_allclose(chi_squared(dist), expected, rtol=1e-7)


def test_chi_squared_needs_enough_signal():
    for function in (chi_squared, asymptotic_constant, lambda D: explicit_bound(D, 9), lambda D: risk_bound(D, 9)):
        with pytest.raises(ValueError, match="alpha is 0.7, but χ² is finite only for alpha² > 1/2"):
            function(GaussianFeature(0.7, 100))


@pytest.mark.parametrize(
    ("alpha", "N", "expected"), [(1.5, 49, 0.441), (2.0, 49, 0.435), (2.0, 225, 0.469)]
)  # by another program, for an adversary that has to swap, ± 0.0005
def test_bounds_by_another_program(alpha, N, expected):
    """And by draws of the target law: failure ≤ 1e-9 in each case."""
    dist, n = GaussianFeature(alpha, 784), 100_000
    assert risk_bound(dist, N) == pytest.approx(expected, abs=0.001)
    sampled = (1 - simulated_total_variation(dist, N, n, np.random.default_rng(7))[0]) / 2
    assert sampled == pytest.approx(expected, abs=hoeffding(n, 1, 1e-9) / 2 + 0.001)


def test_constants_of_the_limit():
    dist = GaussianFeature(2.0, FAR)
    assert asymptotic_constant(dist) == pytest.approx(0.918, abs=0.0005)
    strong, attacked, variance = chi_squared(dist)
    looser = 0.5 - (sqrt(strong) + sqrt(attacked)) / (4 * 7)  # N = 49, by two triangle inequalities
    assert looser == pytest.approx(0.407, abs=0.0005)
    for alpha, d in product((0.8, 1.0, 2.0, 4.0), (16, 784, FAR)):
        strong, attacked, variance = chi_squared(GaussianFeature(alpha, d))
        assert sqrt(variance) <= sqrt(strong) + sqrt(attacked)


@pytest.mark.parametrize("alpha", [1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("d", [784, 10**6])
def test_total_variation_is_bounded_and_falls_with_more_positions(alpha, d):
    dist = GaussianFeature(alpha, d)
    slots = [N for N in (9, 25, 49, 100, 225, 400, 784, 1600) if N <= d]
    exact = [risk_bound(dist, N) for N in slots]
    assert all(a < b < 0.5 for a, b in zip(exact, exact[1:], strict=False))
    assert all(bound >= explicit_bound(dist, N) for bound, N in zip(exact, slots, strict=True))
    assert sqrt(slots[-1]) * total_variation(dist, slots[-1]) == pytest.approx(asymptotic_constant(dist), rel=0.01)


@pytest.mark.parametrize("N", [0, -1, 2.5, 101, "9"])
@pytest.mark.parametrize("function", [explicit_bound, total_variation, risk_bound])
def test_positions_are_weak_features(function, N):
    with pytest.raises(ValueError, match=f"N is {N!r}, but must be an integer ≥ 1 and ≤ 100"):
        function(GaussianFeature(2.0, 100), N)


@pytest.mark.parametrize(("alpha", "d", "N"), [(1.0, 784, 9), (2.0, 784, 3), (2.0, 100, 49), (3.0, 10**6, 100)])
def test_total_variation_by_sampling(alpha, d, N):
    """Failure ≤ 1e-9 in each case."""
    dist = GaussianFeature(alpha, d)
    estimate, width = simulated_total_variation(dist, N, 100_000, np.random.default_rng(1), failure=1e-9)
    assert abs(estimate - total_variation(dist, N)) <= width < 0.011


def test_total_variation_of_a_mean_of_many_by_convolution():
    """E|ū|/2 for 10 slots from the convolved law of u on a grid, an error of 1e-3 from rounding u to it."""
    dist, N, step = GaussianFeature(2.0, 784), 9, 2e-3
    x = np.linspace(-9, 9, 400_001)
    log_v, log_w = log_ratios(x + dist.eta, dist)
    cells = np.rint((np.exp(log_v) - np.exp(log_w)) / step).astype(int)
    size = 2**17
    law = np.bincount(cells % size, norm.pdf(x), size)
    law /= law.sum()
    total = np.fft.irfft(np.fft.rfft(law) ** (N + 1), size)
    values = (np.arange(size) + size // 2) % size - size // 2
    assert total @ np.abs(values) * step / (2 * (N + 1)) == pytest.approx(total_variation(dist, N), abs=1e-4)


@pytest.mark.parametrize(("alpha", "root_d", "N"), [(2, 28, 49), (2, 28, 225), (1.5, 100, 49)])
def test_certified_total_variation_is_above_and_close(alpha, root_d, N):
    variance, above = _total_variation_above(Fraction(alpha), root_d, N)
    dist = GaussianFeature(alpha, root_d**2)
    assert float(variance) == pytest.approx(chi_squared(dist)[2] / (N + 1), rel=1e-12)
    assert above.rad() < 1e-6
    assert 0 <= float(above) - total_variation(dist, N) < 0.01 * float(above)


@pytest.mark.slow
def test_the_table():
    """A small one: digits are those of the functions, rounded, and a blind adversary's distance is another."""
    small = {"alphas": (2.0,), "dims": (784,), "slots": (49, 225), "n": 40_000}
    evidence = table(**small)
    assert evidence.holds and not table(tilt=0.0, **small).holds
    title, head, *rows = evidence.detail.split("\n")
    assert "2 settings" in title and len(rows) == 2
    for row, (alpha, N) in zip(rows, product(small["alphas"], small["slots"]), strict=True):
        dist, cells = GaussianFeature(alpha, 784), row.split()
        assert [float(cell.replace(",", "")) for cell in cells[:3]] == [alpha, 784, N]
        exact, certified, explicit, limit = map(float, cells[3:7])
        assert exact == round(risk_bound(dist, N), 6) and explicit == round(explicit_bound(dist, N), 6)
        assert limit == pytest.approx(0.5 - asymptotic_constant(dist) / (2 * sqrt(N)), abs=1e-6)
        assert explicit < certified <= evidence.values[f"certified(alpha={alpha:g}, d=784, N={N})"] < exact
        assert (N == 49) == (f"sampled(alpha={alpha:g}, d=784, N={N})" in evidence.values)


@pytest.mark.parametrize("tilt", [0.0, 0.5, 1.0])
def test_sampled_distance_for_any_tilt(tilt):
    """Against quadrature in the plane at N = 1: failure ≤ 1e-9 in each case."""
    dist, n, step = GaussianFeature(2.0, 784), 200_000, 0.02
    mesh = np.arange(-7, 8, step)
    z = np.stack(np.meshgrid(mesh, mesh, indexing="ij"), axis=-1)
    log_v, log_w = log_ratios(z, dist)
    weak = norm.pdf(z, dist.eta, 1).prod(axis=-1)
    target = np.exp(log_w[..., 0]) * weak
    chosen = np.exp(tilt * log_w[..., 0]) / np.exp(tilt * log_w).sum(axis=-1)  # the position that leads here
    attacked = np.exp(log_v).sum(axis=-1) * weak * chosen
    distance = np.abs(attacked - target).sum() * step**2 / 2
    sampled = simulated_total_variation(dist, 1, n, np.random.default_rng(8), tilt=tilt)[0]
    assert abs(sampled - distance) <= hoeffding(n, 1, 1e-9) + 1e-4


def least_distance(strong, attacked, weak, N):
    """The least TV(A, B) over all ways to choose a position, on a finite alphabet, by linear programming."""
    letters = range(len(weak))
    points = list(product(letters, repeat=N + 1))
    index = {z: k for k, z in enumerate(points)}
    n = len(points)
    clean = np.array([strong[z[0]] * np.prod([weak[a] for a in z[1:]]) for z in points])
    target = np.array([attacked[z[0]] * np.prod([weak[a] for a in z[1:]]) for z in points])
    moves = n * (N + 1)  # variables: mass moved from x by position j; then the excess of B over A at z
    arrive, leave = np.zeros((n, moves + n)), np.zeros((n, moves + n))
    for x, k in index.items():
        for j in range(N + 1):
            z = list(x)
            z[0], z[j] = z[j], z[0]
            leave[k, k * (N + 1) + j] = 1
            arrive[index[tuple(z)], k * (N + 1) + j] = 1
    arrive[:, moves:] = -np.eye(n)  # B(z) - excess(z) ≤ A(z)
    cost = np.r_[np.zeros(moves), np.ones(n)]
    solved = linprog(cost, A_ub=arrive, b_ub=target, A_eq=leave, b_eq=clean)
    return solved.fun, points, target


@pytest.mark.parametrize("N", [1, 2, 3])
def test_no_choice_of_positions_is_better(N):
    """Any three laws on three letters: the linear program over all adversaries finds ½E|v̄ - w̄|, and B attains it."""
    rng = np.random.default_rng(N)
    for _ in range(3):
        strong, attacked, weak = rng.dirichlet(np.ones(3), 3)
        least, points, target = least_distance(strong, attacked, weak, N)
        u = (strong - attacked) / weak
        formula = sum(np.prod(weak[list(z)]) * abs(u[list(z)].mean()) for z in points) / 2
        slots = [[(strong[a], attacked[a], weak[a]) for a in z] for z in points]
        attained = sum(abs(attacked_density(s, 1) - a) for s, a in zip(slots, target, strict=True)) / 2
        blind = sum(abs(attacked_density(s, 0) - a) for s, a in zip(slots, target, strict=True)) / 2
        assert least == pytest.approx(formula, abs=1e-9) and attained == pytest.approx(formula, abs=1e-9)
        assert blind > formula + 1e-4


def test_chosen_positions_follow_their_law():
    """Frequencies of the N+1 positions for one input: failure ≤ 1e-9."""
    dist, n = GaussianFeature(2.0, 784), 100_000
    x = np.array([[0.9, -0.3, 0.4, -0.5, 1.2]])
    for tilt in (0.0, 0.5, 1.0):
        chosen = choose_positions(np.repeat(x, n, axis=0), dist, np.random.default_rng(2), tilt)
        assert Swap(4).contains(chosen).all()
        rates = np.bincount(chosen, minlength=5) / n
        law = position_law(x, dist, tilt)[0]
        assert law.sum() == pytest.approx(1) and np.abs(rates - law).max() <= hoeffding(n, 15, 1e-9)
    assert position_law(x, dist, 0.0)[0] == pytest.approx(np.full(5, 0.2))


def test_what_no_swap_changes():
    dist, S = GaussianFeature(2.0, 784), Swap(6)
    x = np.random.default_rng(3).normal(size=(50, 7))
    for j in S.grid():
        moved = S.apply(x, np.full(50, j))
        np.testing.assert_allclose(log_likelihood_ratio(moved, dist), log_likelihood_ratio(x, dist), atol=1e-12)
        np.testing.assert_allclose(invariant_margins(moved, dist, 0.1), invariant_margins(x, dist, 0.1), atol=1e-12)


@pytest.mark.parametrize("alpha", [0.8, 1.0, 1.1, 2.0, 5.0])
def test_worst_noise_on_the_invariant_classifier(alpha):
    """Against a mesh of 2001 noises on each slot."""
    dist, eps = GaussianFeature(alpha, 10**20), 0.4
    x = np.random.default_rng(4).normal(0, 1.5, (40, 3))
    log_v, log_w = log_ratios(x[..., None] + np.linspace(-eps, eps, 2001), dist)
    brute = (np.exp(log_v) - np.exp(log_w)).min(axis=2).sum(axis=1)
    exact = invariant_margins(x, dist, eps)
    assert np.all(exact <= brute + 1e-6)
    np.testing.assert_allclose(exact, brute, rtol=1e-4, atol=1e-4)


def test_the_bound_is_tight_in_high_dimension():
    """R_max of the swap-invariant classifier meets the bound on R_avg as d grows: failure ≤ 1e-9."""
    gaps = []
    for d in (10**4, 10**6, 10**10):
        dist = GaussianFeature(2.0, d)
        risk, width = invariant_risk(dist, 9, 200_000, np.random.default_rng(5), failure=1e-9 / 3)
        gaps.append(risk - risk_bound(dist, 9))
        assert gaps[-1] >= -width
    assert gaps[0] > gaps[1] + 0.01 and abs(gaps[2]) <= width < 0.008


def test_a_blind_position_is_no_threat():
    t = np.linspace(0, 1, 1001)
    assert np.mean(blind_risks(2.0, t), axis=0).min() == pytest.approx(0.23, abs=0.005)
    assert risk_bound(GaussianFeature(2.0, FAR), 1600) > 0.48


def test_blind_risks_by_sampling():
    """The contrarian classifier at N = d = 400, where 1/√d moves the risks by less than 0.05: failure ≤ 1e-9."""
    dist, n, t = GaussianFeature(2.0, 400), 20_000, 0.37
    rng = np.random.default_rng(6)
    x, y = dist.sample(n, rng)

    def wrong(x):
        s = np.sign(x[:, 1:].sum(axis=1))
        return np.where(s * x[:, 0] < -t, -s, s) != y

    moved = Swap(400).apply(x, rng.integers(1, 401, n))
    shift = np.zeros_like(x)
    shift[:, 1:] = -2 * dist.eta * y[:, None]
    rates = wrong(x + shift).mean(), wrong(moved).mean()
    np.testing.assert_allclose(rates, blind_risks(2.0, t), atol=0.05 + hoeffding(n, 2, 1e-9))
