r"""l_1 and l_inf control every l_p: the largest l_p ball in the convex hull of the two.

Let C = conv(B_1(ε_1) ∪ B_∞(ε_∞)) in R^d with ε_1 ≥ ε_∞, a = min(ε_1/ε_∞, d), k = ⌊a⌋ and δ = a - k. With 1/p + 1/q = 1
the largest l_p ball in C has radius

  ε_1 / (k + δ^q)^{1/q}.

Proof. B_p(r) ⊆ C if and only if its support is nowhere larger: r ‖w‖_q ≤ max(ε_1 ‖w‖_∞, ε_∞ ‖w‖_1) for all w. Scale w
until the right side is ε_1: then r = ε_1 / max ‖w‖_q over ‖w‖_∞ ≤ 1 and ‖w‖_1 ≤ a (for ε_1 > ε_∞ d the bound d on ‖w‖_1
is implied). Moving weight from a smaller to a larger entry does not lower the convex Σ w_i^q, so up to order and signs
the maximum is at w = (1, .., 1, δ, 0, .., 0) with k ones.

`extra` is the part by which the ball is made larger than that.
"""

from fractions import Fraction
from math import floor, inf

import numpy as np
import sympy as sp

from tradeoff.checks import check_count, check_radius
from tradeoff.perturbations import L1, Affine, Linf, Lp
from tradeoff.perturbations.lp import norm
from tradeoff.theory.intervals import ball, dual, exceeds, power
from tradeoff.theory.theorem import Evidence, Theorem, proof


def hull_radius(p: float, eps_inf: float, eps_1: float, d: int) -> float:
    """The radius of the largest l_p ball in the convex hull of the l_inf ball eps_inf and the l_1 ball eps_1 in R^d.

    Raises ValueError for radii that are not finite and ≥ 0, for p < 1, and unless d is an integer ≥ 1.

    >>> round(hull_radius(2, 0.3, 10, 784), 4)  # MNIST, where the paper uses an l_2 radius of 2
    1.7379
    >>> hull_radius(1, 0.3, 10, 784), hull_radius(inf, 0.3, 10, 784), hull_radius(2, 0.3, 0.1, 784)
    (10.0, 0.3, 0.3)
    """
    eps_inf, eps_1 = check_radius(eps_inf, "radius eps_inf"), check_radius(eps_1, "radius eps_1")
    q, d = Lp(p, eps_1).dual, check_count(d, "d")
    if eps_1 <= eps_inf:
        return eps_inf
    corner = _corner(eps_1 / eps_inf if eps_inf else inf, d)
    return eps_1 / float(norm(corner[None], q)[0])


def _corner(ratio: float, d: int) -> np.ndarray:
    """(1, .., 1, δ, 0, .., 0) in R^d, of sum min(ratio, d)."""
    return np.clip(min(ratio, d) - np.arange(d), 0.0, 1.0)


def symbolic(extra: float = 0.0) -> Evidence:
    """The steps of the proof in sympy, for every q > 1, 0 < δ < 1, entries 0 < y < x, corners of up to three ones."""
    delta, s, margin, t, y, more, e_inf = sp.symbols("delta s margin t y more eps_inf", positive=True)
    q, x, inside = 1 + s, y + more, {delta: 1 / (1 + margin)}
    corners = {k: [1] * k + [delta] for k in (1, 2, 3)}

    def e_1(k):
        return (k + delta) * e_inf  # ε_1/ε_∞ = k + δ

    def radius(k):
        return (1 + sp.nsimplify(extra)) * e_1(k) / (k + delta**q) ** (1 / q)

    def q_norm(w):
        return sum(v**q for v in w) ** (1 / q)

    return proof(
        {
            "1/p + 1/q = 1 for q = 1 + s and p = 1 + 1/s": sp.simplify(1 / q + 1 / (1 + 1 / s) - 1) == 0,
            "at the corner ε_∞ ‖w‖_1 = ε_1 = ε_1 ‖w‖_∞": all(
                sp.simplify(e_inf * sum(w) - e_1(k)) == 0 for k, w in corners.items()
            )
            and sp.simplify((1 - delta).subs(inside)).is_positive,
            "w^q is convex": sp.simplify(sp.diff(t**q, t, 2)).is_positive,
            "weight moved from y to x > y adds to Σ w_i^q at the rate q (x^s - y^s)": sp.simplify(
                sp.diff((x + t) ** q + (y - t) ** q, t).subs(t, 0) - q * (x**s - y**s)
            )
            == 0,
            "which is positive": sp.diff(x**s, more).is_positive and (x**s - y**s).subs(more, 0) == 0,
            "there the ball reaches ε_1, as far as C": all(
                sp.simplify(radius(k) * q_norm(w) - e_inf * sum(w)) == 0 for k, w in corners.items()
            ),
        }
    )


CASES = ((0.3, 10.0, 784), (0.5, 2.0, 30), (1.0, 1.5, 2), (0.2, 0.9, 3))
P = (1.2, 2.0, 4.0)


def numeric(extra: float = 0.0) -> Evidence:
    """Points of the l_p ball against the set `Affine(Linf, L1)`, by its projection, and supports in many directions.

    The ball's farthest points in random directions, sparse ones and corners among them, belong to C; grown by 1e-3,
    the point over the corner does not. The least ratio of the supports is 1 to a relative 1e-9.
    """
    rng, outside, beyond, least = np.random.default_rng(0), 0, True, inf
    for eps_inf, eps_1, d in CASES:
        C = Affine(Linf(eps_inf), L1(eps_1))
        ones = np.arange(d) < np.arange(1, min(d, 40) + 1)[:, None]
        w = np.concatenate(
            [_corner(eps_1 / eps_inf, d)[None], rng.normal(size=(20, d)), rng.random((20, d)) ** 20, ones]
        )
        for p in P:
            S = Lp(p, (1 + extra) * hull_radius(p, eps_inf, eps_1, d))
            least = min(least, np.min(C.support(w) / S.support(w)))
            outside += np.sum(~C.contains(S.argmax(w)))
            beyond &= not C.contains(1.001 * S.argmax(w[:1]))[0]
    mnist = hull_radius(2, 0.3, 10, 784)
    return Evidence(
        outside == 0 and beyond and abs(least - 1) <= 1e-9,
        f"{outside} points of the ball outside C, 1.001 times the point over the corner "
        f"{'outside' if beyond else 'inside'}; least ratio of supports {least:.12f}; "
        f"MNIST (0.3, 10): l_2 radius {mnist:.4f}",
        {"points outside": outside, "ratio of supports, least": least, "l_2 radius of MNIST (0.3, 10)": mnist},
    )


def certified(extra: float = 0.0) -> Evidence:
    """Ball arithmetic, in the plane: the support of C exceeds that of the ball, a part 2^-20 smaller, for all w.

    By symmetry w = (1, t), 0 ≤ t ≤ 1; at t = δ the two are equal, so that no larger ball fits. For several p and
    ε_1/ε_∞ in [1, 2].
    """
    total, covered, touches = 0, True, True
    for ratio in (Fraction(1), Fraction(5, 4), Fraction(3, 2), Fraction(15, 8), Fraction(2)):
        k = floor(min(ratio, Fraction(2)))
        for p in (Fraction(6, 5), Fraction(3, 2), Fraction(2), Fraction(4)):
            q, delta = dual(p), ratio - k

            def size(t, q=q):
                return power(1 + power(t, q), 1 / q)

            corner = power(ball(k) + power(ball(delta), q), 1 / q)
            radius = ball(1 + extra) * ball(ratio) / corner  # at ε_∞ = 1

            def margin(lo, hi, ratio=ratio, radius=radius, size=size):
                return ball(ratio).max(1 + lo) - (1 - ball(2.0**-20)) * radius * size(hi)

            holds, pieces = exceeds(margin, ball(0), Fraction(0), Fraction(1))
            covered, total = covered and holds, total + pieces
            at = delta if k == 1 else Fraction(1)  # (1, 1) is the corner for k = 2
            touches &= bool((ball(ratio) - radius * size(ball(at))).overlaps(ball(0)))
    return Evidence(
        covered and touches,
        f"20 pairs of p and ε_1/ε_∞: {'contained' if covered else 'not contained'} in every direction "
        f"({total} pieces), {'touching' if touches else 'not touching'} at the corner",
        {"pieces": total},
        failure=0.0,
    )


THEOREM = Theorem(
    "lp-in-the-hull",
    "Croce & Hein 2020, Provable robustness against all adversarial l_p-perturbations for p ≥ 1",
    r"The largest $\ell_p$ ball in $\mathrm{conv}(B_1(\epsilon_1) \cup B_\infty(\epsilon_\infty))$ has radius "
    r"$\epsilon_1 / (k + \delta^q)^{1/q}$, $k + \delta = \epsilon_1/\epsilon_\infty$",
    (symbolic, numeric, certified),
    breaks={"extra": 0.01},
    absent={"simulated": "nothing is random: the numeric route tries random directions"},
)
