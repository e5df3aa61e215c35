"""Certified values: balls that contain `game_value`, rounding included (ball arithmetic, through python-flint).

The floats of the distribution and the sets are taken as exact. Union and affine adversaries have closed forms; the
average of several sets is enclosed from above by the risk of the thresholds that `game_value` found, from below by
minimum cuts on lattices, and a value on D_G by a half-plane and by a point of the set.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import reduce
from itertools import combinations_with_replacement, product
from math import ceil, exp, floor, inf, isfinite, log, nextafter, pi, sqrt

import numpy as np
from flint import arb, ctx
from scipy.optimize import linprog

from tradeoff.perturbations.lp import Lp
from tradeoff.theory.distributions import BernoulliFeature, GaussianFeature
from tradeoff.theory.game import checked, game_value
from tradeoff.theory.intervals import ball, normal_cdf, normal_cdf_below, power, support_in_plane
from tradeoff.theory.plane import log_slope, meeting, softplus, tangent
from tradeoff.theory.program import CAPACITY, REACH, minimum_cut

NEARBY = (-1e-2, -1e-4, -1e-6, 0.0, 1e-6, 1e-4, 1e-2)  # relative errors of a slope

# Of the lattices that enclose an average:
STEP = 1 / 512
NEAR = 32.0  # levels on either side of where the optimum is, none left out
BUDGET = 300_000  # levels in all: some seconds of work
TIGHT = 1e-7  # a constraint this near to the lattice counts as on it
CURVATURE = 0.2420 / 8  # |Φ''| ≤ 1/√(2πe); the masses sum to 2, and the risk is half


def enclosure(
    dist: BernoulliFeature | GaussianFeature,
    sets: Sequence[Lp],
    adversary: str = "average",
    weights: Sequence[float] | np.ndarray | None = None,
) -> arb:
    """A ball that certainly contains the infimum of the risk that `game_value` computes, rounding included.

    Its radius is below 1e-9 for one set, a union and an affine adversary, and below 5e-7 for the average of several:
    a tenth of a second, seldom a second. A work limit makes that ball wider, and no less certain, where it is met: in
    none of the 400 random games of tests/test_game.py.

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


def _enclosed_support(S: Lp, d: int, c: float | arb) -> arb:
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
            # On both sides of the nearest point, too: c has lost digits where the margin is flat.
            ends = {1: (0.0, S.eps), inf: (S.eps,)}
            for u in ends.get(S.p) or [_contact(S, dist.d, float(c) * (1 + off)) for off in NEARBY]:
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
    """The program of `tradeoff.theory.program`, enclosed to `width` unless that takes more than BUDGET levels.

    It has a column of variables (M_i, and v = max_j (b_j - N_j)) and a row of them (N_j, and u = max_j (b_j - M_j));
    only sums of one of each are constrained, and the costs are separate. See `_relaxed` for the bound on a box of
    them. Levels are added where its solution lies between distant ones. A box is divided between a solution that is
    too good and the origin of its lattice, and each part has a lattice of its own.
    """
    n, d = len(sets), dist.d
    with ctx.workprec(1024):
        b = [_enclosed_width(S, d, Fraction(0)) for S in sets]
        flip = [[_enclosed_sum(A, B, d) for B in sets] for A in sets]
        thresholds = np.array(game_value(dist, sets, weights=weights).thresholds)[:, :, 0]  # of x_0 = y: (n, 2)
        upper, lower = _upper_end(dist, b, flip, weights, thresholds), _lower_end(dist, flip, weights)
    if upper - lower < width:
        return lower.union(upper)
    cap = 4 * (dist.alpha + REACH)  # a smaller set has a smaller value, and this one still takes all that it can
    half = np.array([min(_below(width), cap) for width in b])
    sums = np.full((n + 1, n + 1), -inf)
    sums[:n, :n] = [[-inf if G is None else min(_below(G), cap) for G in row] for row in flip]
    sums[:n, n] = sums[n, :n] = half
    ends = [(dist.alpha - REACH, dist.alpha + REACH)] * n
    ends = np.array([*ends, (ends[0][0] - half.max(), ends[0][1] - half.min())] * 2)
    M, N = thresholds.T
    best = np.clip(np.concatenate([M, [np.max(half - N)], N, [np.max(half - M)]]), *ends.T)  # from infinity
    program = dist, half, weights, sums, ends
    # The labels may be exchanged: the variable that differs most from its like may be the larger one.
    everywhere = np.tile([[-inf], [inf]], len(best))
    apart = best - np.roll(best, n + 1)
    k = int(apart.argmax())
    todo = [(arb(0), everywhere, [best], STEP, NEAR)]
    if apart[k] > STEP:
        larger, both = everywhere.copy(), everywhere.copy()
        larger[0, k] = both[1, [k, k - n - 1]] = best[k] - apart[k] / 2
        todo = [(arb(0), box, [best], STEP, NEAR) for box in (larger, both)]
    least, spent = upper, 0
    while todo and spent < BUDGET:
        known, box, centres, step, near = todo.pop()
        origin = _aligned(program, centres[0], step)
        levels = [_levels(*z, step, near) for z in zip(origin, np.transpose(centres), ends, box.T, strict=True)]
        spent += sum(map(len, levels))
        found, solution, coarse = _relaxed(program, origin, step, levels, box)
        known = known.max(found)
        if upper - known < width:
            least = least.min(known)
            continue
        solution = np.clip(solution, *ends.T)
        away = np.abs(solution - centres[0])
        k = int(away.argmax())
        if coarse:
            todo.append((known, box, [*centres, solution], step, 1.5 * near))
        elif away[k] > 8 * step:
            for centre, other in ((centres[0], solution), (solution, centres[0])):
                part = box.copy()
                part[int(centre[k] < other[k]), k] = (centre[k] + other[k]) / 2
                todo.append((known, part, [centre], step, near))
        else:
            todo.append((known, box, centres, step / 4, 4 * near))
    return lower.max(reduce(arb.min, (known for known, *_ in todo), least)).union(upper)


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


def _density(x):
    """Φ'."""
    return np.exp(-x * x / 2) / sqrt(2 * pi)


def _aligned(program, point: np.ndarray, step: float) -> np.ndarray:
    """A point nearby, moved (by a linear program) to where the constraints that matter are tight, and a little less."""
    dist, b, weights, sums, _ = program
    m = len(b) + 1
    slopes = np.concatenate([_costs(dist, b, weights, j, point[j : j + 1], _density) for j in range(2 * m)])
    near = point[:m, None] + point[m:] > sums - 6 * step  # not where a threshold at infinity keeps the constraint
    i, j = np.nonzero(np.isfinite(sums) & near)
    rows = np.zeros((len(i), 2 * m))
    rows[np.arange(len(i)), i] = rows[np.arange(len(i)), m + j] = -1
    bounds = np.stack([point - 3 * step, point + 3 * step], axis=1)
    moved = linprog(slopes, rows, -sums[i, j], bounds=bounds)
    return (moved.x if moved.success else point) - TIGHT / 2


def _levels(origin: float, centres, ends, limits, step: float, near: float) -> np.ndarray:
    """Ascending whole numbers k, the levels origin + step·k of one variable: all within `near` steps of a centre, then
    apart by the square of their distance in units of `near`, at most 1/16; to the ends, or to the limits."""
    k = [0]
    while step * k[-1] < 60:
        k.append(k[-1] + int(max(1, min((k[-1] / near) ** 2, 1 / 16 / step))))
    k = np.array(k)
    k = np.concatenate([round((c - origin) / step) + sign * k for c in centres for sign in (-1, 1)])
    low = floor((max(ends[0], limits[0]) - origin) / step)
    high = ceil((min(ends[1], limits[1]) - origin) / step)
    return np.unique(np.clip(k, low, max(low, high)))


def _costs(dist: BernoulliFeature, b, weights, row: int, x: np.ndarray, cdf: Callable) -> np.ndarray:
    """What the variable costs at x, twice its part of the risk, by a cumulative distribution function."""
    k = row % (len(b) + 1)
    if k < len(b):
        return weights[k] * dist.p0 * cdf(x - dist.alpha)
    return (1 - dist.p0) * sum(weight * cdf(half - dist.alpha + x) for weight, half in zip(weights, b, strict=True))


def _relaxed(program, origin, step: float, levels, limits) -> tuple[arb, np.ndarray, bool]:
    """A lower bound on the program in the box of the limits, the solution that has it, and whether it lies between
    levels that are not neighbours.

    On a lattice, origin + step·k for each variable, interpolated costs exceed the true ones by step²/8 · max |Φ''| at
    most; between neighbours they are linear, and constraints on the sums of two k by whole numbers have whole corners
    (their matrix is totally unimodular). So the least value is on levels, where it is a minimum cut. The error is of
    second order, however flat the program. The constraints are relaxed to the lattice; `_aligned` places it so that
    this costs nothing where they matter.

    Where levels are missing, a variable costs what it costs at the lower end and keeps a constraint that the upper end
    keeps.
    """
    dist, b, weights, sums, ends = program
    m, rungs = len(b) + 1, max(map(len, levels))
    above, below = limits[0] > ends[:, 0], limits[1] < ends[:, 1]
    scale = CAPACITY // (2 + int(below.sum()))  # the two labels' costs sum to two
    padded = np.array([np.append(k, np.full(rungs - len(k), k[-1])) for k in levels])
    costs = np.zeros((2 * m, rungs + 1), dtype=np.int64)
    for row, k in enumerate(padded):
        at = np.floor(scale * _costs(dist, b, weights, row, origin[row] + step * k, normal_cdf_below)) - 1
        at = np.maximum.accumulate(np.maximum(at, 0)).astype(np.int64)
        costs[row, 1:] = at
        near = np.flatnonzero(np.diff(k) == 1) + 1
        costs[row, near] = at[near]
        if above[row]:
            costs[row] = np.maximum(costs[row], at[0])
        if below[row]:
            costs[row, len(levels[row]) :] = costs[row, -1] + scale  # more than all risk
    last = np.empty((m, m, rungs))
    for i, j in np.ndindex(m, m):
        room = (sums[i, j] - origin[i] - origin[m + j]) / step - TIGHT / 4 / step
        room = floor(room) if room > -inf else -(2**40)
        last[i, j] = np.searchsorted(padded[m + j], room - padded[i], "left") - 1
    cells = np.diff(costs, axis=1)
    value, i, j = minimum_cut(cells[:m], cells[m:], last)
    chosen = list(zip(levels, np.append(i, j), strict=True))
    solution = [k[c] if c < len(k) else inf for k, c in chosen]
    coarse = any(0 < c < len(k) and k[c] - k[c - 1] > 1 for k, c in chosen)
    bound = ball(value + int(costs[:, 0].sum())) / (2 * scale) - ball(step) ** 2 * CURVATURE
    return bound, origin + step * np.array(solution, dtype=float), coarse
