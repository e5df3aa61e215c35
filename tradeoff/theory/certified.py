"""Certified values: balls that contain `game_value`, rounding included (ball arithmetic, through python-flint).

The floats of the distribution and the sets are taken as exact. Union and affine adversaries have closed forms; the
average of several sets is enclosed from above by the risk of the thresholds that `game_value` found, from below by a
minimum cut, and a value on D_G by a half-plane and by a point of the set.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import reduce
from itertools import combinations_with_replacement, product
from math import exp, inf, isfinite, log, nextafter, pi, sqrt

import numpy as np
from flint import arb, ctx

from tradeoff.perturbations.lp import Lp
from tradeoff.theory.distributions import BernoulliFeature, GaussianFeature
from tradeoff.theory.game import checked, game_value
from tradeoff.theory.intervals import ball, normal_cdf, normal_cdf_below, power, support_in_plane
from tradeoff.theory.plane import log_slope, meeting, softplus, tangent
from tradeoff.theory.program import CAPACITY, REACH, minimum_cut

RATIO = 1.05  # of the distances from a divided cell


def enclosure(
    dist: BernoulliFeature | GaussianFeature,
    sets: Sequence[Lp],
    adversary: str = "average",
    weights: Sequence[float] | None = None,
) -> arb:
    """A ball that certainly contains the infimum of the risk that `game_value` computes, rounding included.

    Its radius is below 1e-9 for one set, a union and an affine adversary, and below 5e-7 for the average of several
    (seconds), unless the risk is almost constant over many classifiers (a few 1e-6, within a minute).

    Raises ValueError as `game_value` does.

    >>> D_B = BernoulliFeature(alpha=2, d=100, p0=0.9)
    >>> V = enclosure(D_B, (Linf(0.2), L1(2)), "union")
    >>> abs(V - game_value(D_B, (Linf(0.2), L1(2)), "union").value) < 1e-12, V.rad() < 1e-12
    (True, True)
    """
    sets, weights = checked(dist, sets, adversary, weights)
    if isinstance(dist, GaussianFeature):
        return _half_plane(dist, sets, adversary)
    if adversary == "average" and len(sets) > 1:
        return _average(dist, sets, weights)
    with ctx.workprec(1024):  # a support minus a steep slope cancels
        return _enclosure(dist, sets, adversary)


def _enclosure(dist: BernoulliFeature, sets: tuple[Lp, ...], adversary: str) -> arb:
    p0, alpha = ball(dist.p0), ball(dist.alpha)
    stay, flip = enclosed_sums(dist, sets, adversary)

    def value(stay, level):
        return p0 * normal_cdf(level - alpha) + (1 - p0) * normal_cdf(stay - level - alpha)

    # Every level ≥ flip/2 is allowed, and level → -inf gives 1 - p0.
    upper = ball(0.5).min(1 - p0 if flip is None else value(stay, flip / 2))
    if stay >= 2 * alpha:
        return upper
    # The value grows with `stay`; where it cannot be told from 2 alpha, its lower end is a little less.
    least = stay if stay < 2 * alpha else stay.lower().min(2 * alpha) - arb(2) ** -40
    level = least / 2 - (p0 / (1 - p0)).log() / (2 * alpha - least)
    level = level if flip is None else level.max(flip / 2)
    lower = ball(0.5).min(value(least, level))
    return lower if stay < 2 * alpha else lower.union(upper)


def enclosed_sums(dist: BernoulliFeature, sets: Sequence[Lp], adversary: str) -> tuple[arb, arb | None]:
    """Enclosures of G_0 and G_2 of the union or the affine adversary; None for a G_2 of -∞.

    >>> G_0, G_2 = enclosed_sums(BernoulliFeature(alpha=2, d=100, p0=0.9), (L1(3),), "union")
    >>> G_0.overlaps(arb(6) / 10), G_2.overlaps(arb(4) / 10)
    (True, True)
    """
    stay = 2 * _largest(_enclosed_width(S, dist.d, Fraction(0)) for S in sets)
    if adversary == "affine":
        return stay, _enclosed_hull(sets, dist.d)
    across = [G for A, B in combinations_with_replacement(sets, 2) if (G := _enclosed_sum(A, B, dist.d)) is not None]
    return stay, _largest(across) if across else None


def _largest(balls) -> arb:
    return reduce(arb.max, balls)


def _enclosed_width(S: Lp, d: int, a: Fraction) -> arb:
    """`half_width` for 0 ≤ a ≤ eps."""
    if S.p == inf:
        return ball(S.eps) * ball(d).sqrt()
    p = Fraction(S.p)
    left = (power(ball(S.eps), p) - power(ball(a), p)).max(arb(0)) if a < Fraction(S.eps) else arb(0)
    return power(left, 1 / p) * ball(d) ** ball(Fraction(1, 2) - 1 / p)


def _enclosed_support(S: Lp, d: int, c: float) -> arb:
    return support_in_plane(ball(c), d, S.p if S.p == inf else Fraction(S.p), ball(S.eps))


def _enclosed_sum(A: Lp, B: Lp, d: int) -> arb | None:
    """`sum_width` of two balls at the offset 2: between the sum of two half-widths at any meeting point and the sum of
    two supports at any slope; None if they do not reach across."""
    across = 2 - Fraction(B.eps)
    if Fraction(A.eps) < across:
        return None
    gap = meeting(A, B, d, 2.0)
    u = min(max(Fraction(A.eps) - Fraction(gap), across, Fraction(0)), Fraction(A.eps), Fraction(2))
    lower = _enclosed_width(A, d, u) + _enclosed_width(B, d, 2 - u)
    logs = (log_slope(A, d, gap), log_slope(B, d, A.eps + B.eps - 2 - gap))
    slopes = [exp(min(slope, 300.0)) for slope in logs]
    uppers = [_enclosed_support(A, d, c) + _enclosed_support(B, d, c) - 2 * ball(c) for c in slopes]
    return lower.union(reduce(arb.min, uppers))


def _enclosed_hull(sets: Sequence[Lp], d: int) -> arb | None:
    """G_2 of the convex hull, twice its half-width at 1, between a chord of two of its points and twice its support at
    any slope; None if it does not reach across."""
    if max(S.eps for S in sets) < 1:
        return None
    c, _ = tangent(sets, d, 1.0)
    upper = _largest(_enclosed_support(S, d, c) - ball(c) for S in sets)
    points = []
    for S in sets:
        touching = [0.0, S.eps, 1.0] if S.p in (1, inf) else [0.0, S.eps, 1.0, _contact(S, d, c)]
        points += [(Fraction(u), _enclosed_width(S, d, Fraction(u))) for u in touching if u <= S.eps]
    chords = [height for u, height in points if u == 1]
    for (u, low), (v, high) in product(points, points):
        if u < 1 < v:
            chords.append((low * ball(v - 1) + high * ball(1 - u)) / ball(v - u))
    return 2 * _largest(chords).union(upper)


def _contact(S: Lp, d: int, c: float) -> float:
    """The x_0-offset where a line of slope -c touches the ball, the derivative of its support in c; 1 < p < inf."""
    if S.eps == 0:
        return 0.0
    q, w = S.dual, d ** (0.5 - 1 / S.p)
    return S.eps * exp((1 / q - 1) * softplus(q * log(w / c)))


# D_G


def _half_plane(dist: GaussianFeature, sets: tuple[Lp, ...], adversary: str) -> arb:
    """Φ(-δ): δ is at least the margin of any linear score, and at most the distance of μ from any point of the set."""
    c, _ = game_value(dist, sets, adversary).thresholds
    with ctx.workprec(1024):
        alpha, c = ball(dist.alpha), ball(min(c, 1e30))
        margin = c + alpha - _largest(_enclosed_support(S, dist.d, c) for S in sets)
        upper = normal_cdf(-(margin / (c * c / (alpha * alpha) + 1).sqrt()).max(arb(0)))
        across = _enclosed_hull(sets, dist.d)
        if across is not None and across >= 2 * alpha:
            return ball(0.5)
        points = [(ball(0), ball(0))] if across is None else [(ball(1), across.lower() / 2)]
        for S in sets:
            for u in {1: (0.0, S.eps), inf: (S.eps,)}.get(S.p) or (_contact(S, dist.d, float(c)),):
                points.append((ball(u), _enclosed_width(S, dist.d, Fraction(u))))
        gaps = [(alpha * (1 - x_0), alpha - T) for x_0, T in points]
        gaps += [(a.max(arb(0)), b.max(arb(0))) for a, b in gaps]  # closer, and in the set with them
        distances = [_distance(a, b) for a, b in combinations_with_replacement(gaps, 2)]
        return upper.union(normal_cdf(-reduce(arb.min, distances)))


def _distance(a, b) -> arb:
    """At least that of the origin from the segment between a and b, and equal to it but for rounding."""
    chord = [y - x for x, y in zip(a, b, strict=True)]
    square = sum(x * x for x in chord)
    t = ball(0)
    if square > 0:
        t = (-sum(x * y for x, y in zip(a, chord, strict=True)) / square).mid().max(arb(0)).min(arb(1))
    nearest = [x + t * y for x, y in zip(a, chord, strict=True)]
    return sum(x * x for x in nearest).upper().sqrt()


# The average of several sets


def _average(dist: BernoulliFeature, sets: tuple[Lp, ...], weights: np.ndarray, width: float = 9e-7) -> arb:
    """The program of `tradeoff.theory.program`, enclosed to `width` unless it is almost flat.

    Below, each variable (M_i, N_j, and for x_0 = -y the largest b_j - M_j and b_j - N_j) is known by its cell between
    two levels only: it costs what it costs at the lower end, and keeps a constraint that its upper end keeps. That
    program is a minimum cut; its levels lie as close as the value needs near the optimum, and grow apart with the
    square of the distance, as the cost does. Cells where it does better are divided further.
    """
    n, d = len(sets), dist.d
    with ctx.workprec(1024):
        b = [_enclosed_width(S, d, Fraction(0)) for S in sets]
        flip = [[_enclosed_sum(A, B, d) for B in sets] for A in sets]
        thresholds = np.array(game_value(dist, sets, weights=weights).thresholds)[:, :, 0]  # of x_0 = y: (n, 2)
        upper, lower = _upper_end(dist, b, flip, weights, thresholds), _lower_end(dist, flip, weights)
    cap = 4 * (dist.alpha + REACH)  # a smaller set has a smaller value, and this one still takes all that it can
    floor = np.array([min(_below(half), cap) for half in b])
    sums = np.full((n + 1, n + 1), -inf)
    sums[:n, :n] = [[-inf if G is None else min(_below(G), cap) for G in row] for row in flip]
    sums[:n, n] = sums[n, :n] = floor
    optimum = [*thresholds, np.max(floor[:, None] - thresholds, axis=0)] * 2  # the labels may be exchanged
    ends = [(dist.alpha - REACH, dist.alpha + REACH)] * n
    ends += [(ends[0][0] - floor.max(), ends[0][1] - floor.min())]
    divided, finest, growth, gap = [[] for _ in optimum], 1e-3, 0.5, inf
    for _ in range(60):
        if upper - lower < width:
            break
        levels = [_levels(*z, finest, growth) for z in zip(ends * 2, optimum, divided, strict=True)]
        if max(map(len, levels)) > 60_000:
            break
        found, cells = _relaxed(dist, floor, weights, sums, levels)
        lower, coarse = lower.max(found), False
        for points, (low, high) in zip(divided, cells, strict=True):
            if 2 * finest < high - low < inf:
                points.append(((low + high) / 2, high - low))
                coarse = True
        gap, before = float((upper - lower).mid()), gap
        if not coarse:
            finest = max(finest / 8, width / 3)
        elif gap > 0.7 * before:
            growth /= 2
    return lower.union(upper)


def _below(x: arb) -> float:
    """A float that is certainly at most x."""
    return nextafter(float(x.lower()), -inf)


def _upper_end(dist: BernoulliFeature, b, flip, weights, thresholds) -> arb:
    """½ [F(M) + F(N)] at the given thresholds, N raised to what the constraints ask for; or ½."""
    if np.all(np.isinf(thresholds)):
        return ball(0.5)
    across = [G for row in flip for G in row if G is not None]
    lost = dist.alpha + 40 + sum(G.upper() for G in across)  # as good as infinite
    M, N = ([ball(t) if isfinite(t) else lost for t in column] for column in thresholds.T.tolist())
    for j in range(len(N)):
        N[j] = _largest([N[j], *(row[j] - t for row, t in zip(flip, M, strict=True) if row[j] is not None)])
    p0, alpha, risk = ball(dist.p0), ball(dist.alpha), arb(0)
    for side in (M, N):
        flipped = _largest(half - t for half, t in zip(b, side, strict=True))
        for weight, half, t in zip(weights.tolist(), b, side, strict=True):
            risk += weight * (p0 * normal_cdf(t - alpha) + (1 - p0) * normal_cdf(half + flipped - alpha)) / 2
    return risk.min(ball(0.5))


def _lower_end(dist: BernoulliFeature, flip, weights) -> arb:
    """A bound from M_i + N_j ≥ G_ij(2) alone, sharp where nearly all is lost.

    With λ the least weight and i, j in pairs, Σ λ_i [Φ(M_i - α) + Φ(N_i - α)] ≥ Σ λ [Φ(M_i - α) + Φ(N_j - α)], and each
    term is at least 2λ Φ(min(0, G_ij(2)/2 - α)).
    """
    n, least = len(flip), ball(float(weights.min()))
    pairings = [[flip[i][(i + shift) % n] for i in range(n)] for shift in range(n)]
    bounds = [
        sum((normal_cdf((G / 2 - dist.alpha).min(arb(0))) for G in pairs if G is not None), arb(0))
        for pairs in pairings
    ]
    return (least * _largest(bounds)).lower()


def _levels(ends, optimum, divided, finest: float, growth: float, widest: float = 1 / 16) -> np.ndarray:
    """Ascending levels, at most `widest` apart; at a distance r from the optimum finest + growth·r², from the middle of
    a divided cell the width of its parts and RATIO·r."""
    low, high = ends
    tick = sqrt(finest * growth)
    r = sqrt(finest / growth) * np.tan(tick * np.arange(int(pi / 2 / tick)))
    r = r[np.append(True, np.diff(r) < widest)] + finest / 2
    parts = [np.arange(low, high + widest, widest)]
    parts += [c + sign * r for c in optimum if isfinite(c) for sign in (-1, 1)]
    for c, width in divided:
        r = width / 8 * RATIO ** np.arange(1 + log(8 * 0.5 / width) / log(RATIO))
        parts += [c - r, c + r]
    levels = np.unique(np.concatenate(parts))
    return levels[(levels >= low) & (levels <= high)]


def _relaxed(dist: BernoulliFeature, b, weights, sums, levels) -> tuple[arb, list[tuple[float, float]]]:
    """The value of the relaxed program, and the cells (low, high) of its solution."""
    m, rungs = len(b) + 1, max(map(len, levels))
    levels = np.array([np.append(L, np.full(rungs - len(L), L[-1])) for L in levels])  # the last ones cost nothing
    scale = CAPACITY // 2  # the two labels' costs sum to two
    costs = np.zeros((2 * m, rungs + 1), dtype=np.int64)
    for row, (cost, L) in enumerate(zip(costs, levels, strict=True)):
        parts = weights * (1 - dist.p0), b - dist.alpha
        if row % m < m - 1:
            parts = (weights[[row % m]] * dist.p0, [-dist.alpha])
        below = sum(mass * normal_cdf_below(shift + L) for mass, shift in zip(*parts, strict=True))
        cost[1:] = np.maximum.accumulate(np.maximum(np.floor(scale * below) - 1, 0))
    last = np.empty((m, m, rungs))
    for i, j in np.ndindex(m, m):
        room = sums[i, j] - levels[i] - 1e-15 * (abs(sums[i, j]) + abs(levels[i]))  # at most what it is, rounded
        last[i, j] = np.searchsorted(levels[m + j], room, "right") - 1
    cells = np.diff(costs, axis=1)
    value, i, j = minimum_cut(cells[:m], cells[m:], last)
    chosen = zip(levels, np.append(i, j), strict=True)
    return ball(value) / (2 * scale), [(L[k - 1] if k else -inf, L[k] if k < rungs else inf) for L, k in chosen]
