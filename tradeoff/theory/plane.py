"""The lp balls in the plane (x_0, T), T = Σ x_i/√d, where the games on D_B and D_G are played.

Of a ball of radius eps in d+1 dimensions only {(a, b) : |a|^p + d^{1-p/2} |b|^p ≤ eps^p} matters there: b is the most
that T moves, by Hölder, and moving all weak features equally attains it. Half-widths are measured along T: that of a
set at the x_0-offset a is the largest b, -inf where there is none.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import exp, expm1, inf, log, log1p

import numpy as np

from tradeoff.perturbations.lp import Lp

LARGE = 1e100  # as good as infinite, and safe to add


def half_width(S: Lp, d: int, a: float) -> float:
    """How far the ball moves T beside moving x_0 by a: d^{1/2-1/p} (eps^p - |a|^p)^{1/p}; -inf where it cannot.

    >>> half_width(L2(5), 100, 3.0), half_width(Linf(0.5), 100, 0.5), half_width(L1(3), 100, -1.0)
    (4.0, 5.0, 0.2)
    """
    return _width(S, d, S.eps - abs(a))


def _width(S: Lp, d: int, gap: float) -> float:
    """The half-width at a distance `gap` from the end of the set, accurate however small the gap."""
    if gap < 0:
        return -inf
    full = S.eps * d ** (0.5 - 1 / S.p)
    if gap >= S.eps or S.p == inf:
        return full
    return full * (-expm1(S.p * log1p(-gap / S.eps))) ** (1 / S.p)


def log_slope(S: Lp, d: int, gap: float) -> float:
    """log |d half_width / da| there: (1/2 - 1/p) log d + (p-1) log(a / (eps^p - a^p)^{1/p})."""
    if S.p == inf or (gap >= S.eps and S.p > 1):
        return -inf
    scale = d ** (0.5 - 1 / S.p)
    if S.p == 1:
        return log(scale)
    width = _width(S, d, gap)
    return log(scale) + (S.p - 1) * log((S.eps - gap) * scale / width) if width > 0 else inf


def sum_width(A: Lp, B: Lp, d: int, offset: float) -> float:
    """The half-width of the Minkowski sum of two balls at x_0-offset > 0: max_u hw_A(u) + hw_B(offset - u).

    >>> sum_width(L1(2), Linf(0.5), 100, 2.0)  # 5 from l_inf, and (2 - 1.5)/√d
    5.05
    """
    slack = A.eps + B.eps - offset
    if slack < 0:
        return -inf
    gap = meeting(A, B, d, offset)
    return _width(A, d, gap) + _width(B, d, slack - gap)


def meeting(A: Lp, B: Lp, d: int, offset: float) -> float:
    """What the maximiser u of `sum_width` leaves of A's radius, eps_A - u; B is left the slack minus it."""
    slack = A.eps + B.eps - offset
    if A.p == B.p:
        return slack * (A.eps / (A.eps + B.eps))  # the sum is a ball
    low, high = max(0.0, A.eps - offset), min(A.eps, slack)
    while low < (gap := (low + high) / 2) < high:  # concave
        low, high = (gap, high) if log_slope(A, d, gap) > log_slope(B, d, slack - gap) else (low, gap)
    return max(low, high, key=lambda gap: _width(A, d, gap) + _width(B, d, slack - gap))


def hull_width(sets: Sequence[Lp], d: int, a: float) -> float:
    """The half-width at x_0-offset a of the convex hull of balls: min over c ≥ 0 of max_S support_S(c, 1) - c|a|.

    >>> round(hull_width((L1(2), Linf(0.5)), 100, 1.25), 9), round(half_width(L1(2), 100, 1.25), 9)
    (2.5, 0.075)
    """
    a = abs(a)
    if max(S.eps for S in sets) < a:
        return -inf
    if a == 0:
        return max(half_width(S, d, 0.0) for S in sets)
    return tangent(sets, d, a)[1]


def tangent(sets: Sequence[Lp], d: int, a: float) -> tuple[float, float]:
    """The c ≥ 0 that attains the minimum of `hull_width`, and the minimum, for 0 < a ≤ max eps."""

    def line(S, c):
        """support_S(c, 1) - ca = eps (c^q + w^q)^{1/q} - ca, w = d^{1/2-1/p}, and its derivative in c."""
        if S.eps == 0:
            return -c * a, -a
        w, q = d ** (0.5 - 1 / S.p), S.dual
        if q == inf:
            return (c * (S.eps - a), S.eps - a) if c > w else (S.eps * w - c * a, -a)
        grown = softplus(q * log(w / c))
        slope = a * expm1(log(S.eps / a) + (1 / q - 1) * grown)
        if c < w:
            return S.eps * w * exp((grown - q * log(w / c)) / q) - c * a, slope
        return c * a * expm1(log(S.eps / a) + grown / q), slope

    low, high = -200.0, 200.0  # of log c
    for _ in range(64):
        middle = (low + high) / 2
        value, slope = max(line(S, exp(middle)) for S in sets)
        low, high = (low, middle) if slope > 0 else (middle, high)
    return exp(middle), value


def softplus(z: float) -> float:
    """log(1 + e^z)."""
    return max(z, 0.0) + log1p(exp(-abs(z)))


def widths(d: int, sets: Sequence[Lp], adversary: str) -> list[Callable[[float], float]]:
    """The half-width of each adversary's set, as a function of the x_0-offset."""
    if adversary == "average":
        return [partial(half_width, S, d) for S in sets]
    if adversary == "union":
        return [lambda a: max(half_width(S, d, a) for S in sets)]
    return [lambda a: hull_width(sets, d, a)]


def sums(d: int, sets: Sequence[Lp], adversary: str) -> tuple[np.ndarray, np.ndarray]:
    """G_ij(0) and G_ij(2), (adversaries, adversaries) each: those of K ⊕ K for one set K."""
    return SUMS[adversary](sets, d)


def _sums_average(sets, d) -> tuple[np.ndarray, np.ndarray]:
    centre = np.array([half_width(S, d, 0.0) for S in sets])
    flip = np.empty((len(sets), len(sets)))
    for i, A in enumerate(sets):
        for j, B in enumerate(sets[: i + 1]):
            flip[i, j] = flip[j, i] = sum_width(A, B, d, 2.0)
    return np.minimum(centre[:, None] + centre, LARGE), np.minimum(flip, LARGE)


def _sums_union(sets, d) -> tuple[np.ndarray, np.ndarray]:
    stay, flip = _sums_average(sets, d)
    return stay.max(keepdims=True), flip.max(keepdims=True)


def _sums_affine(sets, d) -> tuple[np.ndarray, np.ndarray]:
    centre, half = (hull_width(sets, d, a) for a in (0.0, 1.0))
    return np.array([[min(2 * centre, LARGE)]]), np.array([[min(2 * half, LARGE)]])


SUMS = {"average": _sums_average, "union": _sums_union, "affine": _sums_affine}
