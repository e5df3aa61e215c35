r"""Theorem 2's swap adversary on D_G, and how far it is from hiding the label.

The features 0..N are N+1 *slots*: `Swap(N)` moves x_0, the informative one, to any of them. With densities for y = +1
(for y = -1 turn every sign), let

    g' = N(1, α^-2),  g = N(-1, α^-2),  h = N(η, 1),  v = g'/h,  w = g/h,  u = v - w,

so a slot holds x_0 ~ g', one of the weak features x_j ~ h, or x_0 ~ g as the label -1 would have it. The adversary
moves x_0 to slot j with probability w(x_j)/Σ_k w(x_k); j = 0 does nothing. Everything is about the total variation

    TV = ½ E|ū|,   ū the mean of N+1 independent u(x_k), x_k ~ h,

between the attacked law and its target, z_0 ~ g, z_j ~ h (`theorems/thm2_linf_rt.py` derives it). Because ū is a mean
of independent terms, TV is a one-dimensional integral over their characteristic function, for every N and d.
"""

from math import exp, pi, sqrt

import numpy as np
from scipy.special import logsumexp, ndtr, softmax

from tradeoff.checks import check_count
from tradeoff.theory.distributions import GaussianFeature
from tradeoff.theory.theorem import hoeffding


def log_ratios(x: np.ndarray, dist: GaussianFeature) -> tuple[np.ndarray, np.ndarray]:
    """(log v, log w) at the slots x, any shape, for y = +1; pass y·x for a label y."""
    log_h = -((x - dist.eta) ** 2) / 2
    return tuple(np.log(dist.alpha) - dist.alpha**2 * (x - mean) ** 2 / 2 - log_h for mean in (1, -1))


def position_law(x: np.ndarray, dist: GaussianFeature, tilt: float = 1.0) -> np.ndarray:
    """The adversary's probabilities of the positions 0..N, w(x_j)^tilt up to a constant: x is y·slots (batch, N+1).

    tilt = 1 is the adversary of Theorem 2; tilt = 0 chooses blindly.

    >>> D_G = GaussianFeature(alpha=2, d=784)
    >>> [round(float(p), 4) for p in position_law(np.array([[1.0, 0.2, -0.9]]), D_G)[0]]  # -0.9: as x_0 for y = -1
    [0.0003, 0.0348, 0.9649]
    """
    return softmax(tilt * log_ratios(x, dist)[1], axis=1)


def choose_positions(x: np.ndarray, dist: GaussianFeature, rng: np.random.Generator, tilt: float = 1.0) -> np.ndarray:
    """A position of `position_law` for each row of x (batch, N+1): perturbations of `Swap(N)`, int (batch,)."""
    cumulative = position_law(x, dist, tilt).cumsum(axis=1)
    return (rng.random((len(x), 1)) * cumulative[:, -1:] > cumulative).sum(axis=1)


def log_likelihood_ratio(z: np.ndarray, dist: GaussianFeature) -> np.ndarray:
    """log of Σ v(z_k) / Σ w(z_k), the attacked density over the target's; z is y·slots (batch, N+1)."""
    log_v, log_w = log_ratios(z, dist)
    return logsumexp(log_v, axis=1) - logsumexp(log_w, axis=1)


def chi_squared(dist: GaussianFeature) -> tuple[float, float, float]:
    """(χ²(g'‖h), χ²(g‖h), σ²), where σ² = ∫(g' - g)²/h is the variance of u.

    All three from ∫ N(a, s²) N(b, s²) / N(0, 1) = exp(((a+b)² - (2-s²)(a²+b²)) / 2s²(2-s²)) / (s√(2-s²)), s = 1/α.

    Raises ValueError unless α² > 1/2: the integrals diverge otherwise.

    >>> [round(value, 4) for value in chi_squared(GaussianFeature(alpha=2, d=784))]
    [1.4745, 1.9134, 5.3324]
    """
    s = 1 / dist.alpha
    if s * s >= 2:
        raise ValueError(f"alpha is {dist.alpha}, but χ² is finite only for alpha² > 1/2")

    def overlap(a, b):
        k = 2 - s * s
        return exp(((a + b) ** 2 - k * (a * a + b * b)) / (2 * s * s * k)) / (s * sqrt(k))

    plus, minus = 1 - dist.eta, -1 - dist.eta
    strong, attacked = overlap(plus, plus), overlap(minus, minus)
    return strong - 1, attacked - 1, strong + attacked - 2 * overlap(plus, minus)


def check_positions(dist: GaussianFeature, N: int) -> None:
    """ValueError unless N is a whole number of weak features, 1 ≤ N ≤ d."""
    check_count(N, "N", most=dist.d)


def explicit_bound(dist: GaussianFeature, N: int) -> float:
    """½ - σ/(4√(N+1)), a lower bound on R_avg for every N (E|ū| ≤ √E ū²).

    Raises ValueError unless α² > 1/2 and 1 ≤ N ≤ d.

    >>> round(explicit_bound(GaussianFeature(alpha=2, d=10**12), N=49), 4)
    0.4186
    """
    check_positions(dist, N)
    return 0.5 - sqrt(chi_squared(dist)[2] / (N + 1)) / 4


def asymptotic_constant(dist: GaussianFeature) -> float:
    """σ/√(2π), the limit of √N·TV (central limit theorem): R_avg ≥ ½ - half of it/√N + o(1/√N).

    >>> round(asymptotic_constant(GaussianFeature(alpha=2, d=10**12)), 4)
    0.9183
    """
    return sqrt(chi_squared(dist)[2] / (2 * pi))


def total_variation(dist: GaussianFeature, N: int, tolerance: float = 1e-10) -> float:
    """TV = ½ E|ū|, without sampling; absolute error < 1e-6 for 1 ≤ α ≤ 3 and N ≥ 2.

    For α < 1, where u has heavy tails, it is too large, by 0.004 at α = 0.8 and N = 9.

    For every x, |x| ≤ δx²/2π + (2/πδ) Σ_{k≥1} (1 - cos kδx)/k², with equality for |x| ≤ 2π/δ; so with the
    characteristic function φ(t) = (E exp(itu/(N+1)))^{N+1} of ū,

        E|ū| = δσ²/2π(N+1) + (2/πδ) Σ_{k≥1} (1 - Re φ(kδ))/k²

    up to the tail beyond 2π/δ, here 60 standard deviations. The sum stops when |φ| < tolerance, or at 1024 terms (they
    matter for small N alone); E exp(itu) is a trapezoidal sum of 10^4 points, exact to rounding for such integrands.

    Raises ValueError unless α² > 1/2 and 1 ≤ N ≤ d.

    >>> D_G = GaussianFeature(alpha=2, d=784)
    >>> [round((1 - total_variation(D_G, N)) / 2, 5) for N in (49, 225)]
    [0.4348, 0.46935]
    """
    check_positions(dist, N)
    variance = chi_squared(dist)[2] / (N + 1)
    x, step = np.linspace(dist.eta - 10, dist.eta + 10, 10_001, retstep=True)
    log_v, log_w = log_ratios(x, dist)
    u, weights = (np.exp(log_v) - np.exp(log_w)) / (N + 1), np.exp(-((x - dist.eta) ** 2) / 2) * step / sqrt(2 * pi)
    delta = 2 * pi / (60 * sqrt(variance))
    total, last = pi**2 / 6, 0  # Σ 1/k²
    while last < 1024:
        k = np.arange(last + 1, last + 65)
        phi = (np.exp(1j * delta * np.outer(k, u)) @ weights) ** (N + 1)
        total, last = total - np.sum(phi.real / k**2), last + len(k)
        if np.abs(phi).max() < tolerance:
            break
    return float(delta * variance / (2 * pi) + 2 / (pi * delta) * total) / 2


def risk_bound(dist: GaussianFeature, N: int) -> float:
    """½(1 - TV): no classifier's R_avg under l_inf noise of radius 2η and `Swap(N)` is smaller.

    It is also the limit of the least R_avg, and of the least R_max, as d → ∞ (`invariant_risk`).
    """
    return (1 - total_variation(dist, N)) / 2


def simulated_total_variation(
    dist: GaussianFeature, N: int, n: int, rng: np.random.Generator, failure: float = 1e-9, tilt: float = 1.0
) -> tuple[float, float]:
    """TV from n draws of the target, as E max(0, 1 - ratio), and the half-width of its interval (Hoeffding).

    For positions drawn with probability ∝ w(x_j)^tilt the ratio is w(z_0)^(tilt-1) Σv/Σw^tilt.
    """
    check_positions(dist, N)
    total, batch = 0.0, 20_000
    for start in range(0, n, batch):
        z = dist.eta + rng.standard_normal((min(batch, n - start), N + 1))
        z[:, 0] = -1 + (z[:, 0] - dist.eta) / dist.alpha
        log_v, log_w = log_ratios(z, dist)
        log_ratio = (tilt - 1) * log_w[:, 0] + logsumexp(log_v, axis=1) - logsumexp(tilt * log_w, axis=1)
        total -= np.expm1(np.minimum(log_ratio, 0)).sum()
    return float(total / n), hoeffding(n, 1, failure)


def invariant_margins(x: np.ndarray, dist: GaussianFeature, eps: float = 0.0) -> np.ndarray:
    """The least Σ_k u_0(x_k + r_k) over |r_k| ≤ eps, for slots x (batch, N+1), where u_0 is u at η = 0; (batch,).

    At η = 0, x ↦ sign Σ_k u_0(x_k) is the Bayes rule of the slots as an unordered set, which no swap changes. u_0 is
    odd, and for x > 0 rises up to at most one maximum, where (α²-1)x = α² coth(α²x); so its least value over an
    interval is at an end or at the mirror image of that maximum. Positive for label +1: robust. Pass y·x for a label y.
    """
    alpha2 = dist.alpha**2

    def u_0(t):
        log_v, log_w = (np.log(dist.alpha) + t * t / 2 - alpha2 * (t - mean) ** 2 / 2 for mean in (1, -1))
        return np.exp(log_v) - np.exp(log_w)

    least = np.minimum(u_0(x - eps), u_0(x + eps))
    if alpha2 > 1:
        lowest = alpha2 / (alpha2 - 1)
        for _ in range(100):  # a contraction: coth is flat there
            lowest = alpha2 / (alpha2 - 1) / np.tanh(alpha2 * lowest)
        least = np.where(np.abs(x + lowest) <= eps, u_0(-lowest), least)
    return least.sum(axis=1)


def invariant_risk(
    dist: GaussianFeature, N: int, n: int, rng: np.random.Generator, failure: float = 1e-9
) -> tuple[float, float]:
    """R_max of the swap-invariant classifier under l_inf noise of radius 2η and `Swap(N)`, and its half-width.

    An upper bound on what the best classifier can do, next to the lower bound `risk_bound`: they meet as d → ∞.
    """
    check_positions(dist, N)
    x = dist.eta + rng.standard_normal((n, N + 1))
    x[:, 0] = 1 + (x[:, 0] - dist.eta) / dist.alpha
    wrong = invariant_margins(x, dist, 2 * dist.eta) <= 0
    return float(wrong.mean()), hoeffding(n, 1, failure)


def blind_risks(alpha: float, t: float | np.ndarray) -> tuple:
    """(R_inf, R_RT) in the limit N, d → ∞, if x_0 is merely put at a uniformly random one of N positions.

    The classifier: s = the sign of Σ_{i≥1} x_i; answer -s if s·x_0 < -t, else s. A random weak feature in slot 0 says
    little: R_RT = Φ(α)Φ(-t) + Φ(-α)Φ(t). Under l_inf the adversary owns s, but x_0 speaks up against it:
    R_inf = Φ(-α(1+t)) + (Φ(α(t-1)) - Φ(-α(t+1))) Φ(α).

    >>> round(float(np.mean(blind_risks(2.0, np.linspace(0, 1, 101)), axis=0).min()), 4)
    0.2319
    """
    against = ndtr(-alpha * (1 + t))
    by_linf = against + (ndtr(alpha * (t - 1)) - against) * ndtr(alpha)
    return by_linf, ndtr(alpha) * ndtr(-t) + ndtr(-alpha) * ndtr(t)
