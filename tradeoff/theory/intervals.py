"""Enclosures in ball arithmetic (Arb, through python-flint): a comparison that is True is proved, rounding included.

For balls x and y, `x >= y` is True only if every point of x is at least every point of y, so the checks compare an
interval's endpoint and need no tolerance.
"""

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from math import inf

import numpy as np
from flint import arb, fmpq


def ball(x: float | Fraction | arb) -> arb:
    """The number as a ball: exact for integers and floats, the tightest enclosure for other fractions.

    >>> ball(0.5).is_exact(), ball(Fraction(1, 3)).is_exact()
    (True, False)
    """
    return arb(fmpq(x.numerator, x.denominator)) if isinstance(x, Fraction) else arb(x)


def normal_cdf(x: arb) -> arb:
    """Φ(x) = erfc(-x/√2)/2, accurate in the lower tail.

    >>> normal_cdf(arb(0)) >= 0.5, normal_cdf(arb(-40)) > 0
    (True, True)
    """
    return (-x / arb(2).sqrt()).erfc() / 2


def normal_cdf_below(x: np.ndarray) -> np.ndarray:
    """Floats that are certainly at most Φ(x), and at least Φ(x) - 3e-11, for many x at once.

    Taylor's formula to second order about the nearest multiple of 2^-10, where Φ is enclosed. As the third derivative
    is at most 0.4, the remainder is below 0.4 · 2^-33 / 6 < 8e-12; 2^-36 > 1.4e-11 is subtracted for it and rounding.

    >>> x = np.array([-40.0, -1.0, 0.3, 40.0])
    >>> [bool(normal_cdf(arb(float(t))) >= float(low)) for t, low in zip(x, normal_cdf_below(x), strict=True)]
    [True, True, True, True]
    """
    node = np.clip(np.rint(x * 2**10), -(2**13) - 1, 2**13)
    t = node / 2**10
    r = np.minimum(x - t, 2.0**-11)  # beyond the last node Φ is only larger
    density = np.exp(-t * t / 2) / np.sqrt(2 * np.pi)
    value = _nodes()[node.astype(int) + 2**13 + 1] + density * r * (1 - t * r / 2) - 2.0**-36
    return np.where(x < -8, 0.0, np.maximum(value, 0.0))


@cache
def _nodes() -> np.ndarray:
    """Φ at the multiples of 2^-10 from -8 - 2^-10 to 8, each to rounding."""
    return np.array([float(normal_cdf(arb(k) / 2**10)) for k in range(-(2**13) - 1, 2**13 + 1)])


def power(x: arb, exponent: Fraction | float) -> arb:
    """x**exponent for x ≥ 0 and exponent > 0, where an exact zero stays one."""
    return x if x.is_zero() else x ** ball(exponent)


def dual(p: Fraction | float) -> Fraction | float:
    """q with 1/p + 1/q = 1; the exponents are fractions or inf.

    >>> dual(Fraction(3, 2)), dual(Fraction(1)), dual(inf)
    (Fraction(3, 1), inf, Fraction(1, 1))
    """
    return inf if p == 1 else Fraction(1) if p == inf else p / (p - 1)


def support_in_plane(c: arb, d: int, p: Fraction | float, eps: arb) -> arb:
    """The worst shift eps·‖(c, 1/√d, .., 1/√d)‖_q of the score c x_0 + T, T = Σ x_i/√d, by the lp ball; c ≥ 0.

    >>> support_in_plane(arb(3), 4, Fraction(2), arb(1)) ** 2 - 10 < 1e-12
    True
    """
    q, weak = dual(p), 1 / arb(d).sqrt()
    if q == inf:
        return eps * c.max(weak)
    return eps * power(power(c, q) + d * power(weak, q), 1 / q)


def risk_in_plane(dist, p: Fraction | float, eps: arb, lo: arb, hi: arb) -> arb:
    """An enclosure of a lower bound on the risk of sign(c x_0 + T) on D_B under the lp ball, over all lo ≤ c ≤ hi.

    At lo = hi it encloses the risk itself, p0 Φ(s - c - α) + (1-p0) Φ(s + c - α), whose shift s grows with c. `dist` is
    a `BernoulliFeature`; its floats are taken as exact.

    >>> from tradeoff.theory.distributions import BernoulliFeature
    >>> D_B = BernoulliFeature(alpha=2, d=4, p0=0.75)
    >>> risk_in_plane(D_B, inf, arb(2), arb(0), arb(0)).overlaps(normal_cdf(arb(2)))  # eps √d = 2 alpha
    True
    """
    s, p0, alpha = support_in_plane(lo, dist.d, p, eps), ball(dist.p0), ball(dist.alpha)
    return p0 * normal_cdf(s - hi - alpha) + (1 - p0) * normal_cdf(s + lo - alpha)


def exceeds(lower: Callable[[arb, arb], arb], bound: arb, start: Fraction, stop: Fraction) -> tuple[bool, int]:
    """Whether a function is certainly > bound all over [start, stop], by halving what is not decided.

    `lower(lo, hi)` encloses a lower bound over [lo, hi], and the value itself at lo = hi. Returns (True, the number of
    pieces examined), or (False, ..) at the first point that is certainly at most the bound and for a piece of 2^-20
    that is still not decided.

    >>> exceeds(lambda lo, hi: lo * lo, arb(0.9), Fraction(1), Fraction(2))
    (True, 1)
    >>> exceeds(lambda lo, hi: lo * lo, arb(1.5), Fraction(1), Fraction(2))
    (False, 1)
    """
    todo, pieces = [(start, stop)], 0
    while todo:
        lo, hi = todo.pop()
        pieces += 1
        if lower(ball(lo), ball(hi)) > bound:
            continue
        if lower(ball(lo), ball(lo)) <= bound or hi - lo < Fraction(1, 2**20):
            return False, pieces
        middle = (lo + hi) / 2
        todo += [(middle, hi), (lo, middle)]  # the left piece first
    return True, pieces
