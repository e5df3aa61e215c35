"""The least robust risk of any classifier on D_B, exactly: what training could at best achieve.

The weak features matter through T = Σ x_i/√d ~ N(y alpha, 1) alone. In the plane (x_0, T) the l_p ball of radius eps
is {(a, b) : |a|^p + d^{1-p/2} |b|^p ≤ eps^p} by Hölder, attained by moving all weak features equally, which leaves the
rest of them independent of y. So the game in d+1 dimensions is the one in the plane, for every d.

There a classifier does best with a threshold t(x_0) on T. Let M^i_± be the level below which adversary i makes yT err
for label y = +1 and x_0 = ±y, N^i_± the same for y = -1, and G_ij(δ) the half-width at x_0-offset δ of the Minkowski
sum of their sets. Then the values below are minima over all M, N of

  ½ Σ_i λ_i [ p0 (Φ(M^i_+ - α) + Φ(N^i_+ - α)) + (1-p0) (Φ(M^i_- - α) + Φ(N^i_- - α)) ]
  subject to  M^i_± + N^j_± ≥ G_ij(2)  and  M^i_± + N^j_∓ ≥ G_ij(0)  for all i, j.

*At least.* Let A be the inputs that f calls -1. Adversary i against label +1 spoils B ⊇ A grown by its half-width at
each x_0, and adversary j leaves label -1 a set C that grown by its own half-width lies in A. So C grown by G_ij lies in
B. By Neyman and Pearson a set of N(-α, 1)-mass Φ(m + α) has N(α, 1)-mass at least Φ(m - α), and grown by G, by the
Gaussian isoperimetric inequality, at least Φ(m + G - α): that is M ≥ m + G, where m = -N.
*At most.* The constraints say that M^i_s - hw_i(v - s), over all i and s, is nowhere below any hw_j(v - s') - N^j_s' (s
and s' the x_0 without noise): any t(v) between them has these risks.

The two labels need not be treated alike: where one adversary wins anyway, giving up one label saves the other for the
rest. M = N is only one of the choices.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from itertools import combinations_with_replacement, product
from math import exp, expm1, inf, log, log1p

import numpy as np
from flint import arb, ctx
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow
from scipy.special import ndtr

from tradeoff.names import lookup
from tradeoff.perturbations.lp import Lp
from tradeoff.theory.distributions import BernoulliFeature
from tradeoff.theory.intervals import ball, normal_cdf, power, support_in_plane

FAR = 9.0  # standard deviations beyond which a threshold loses nothing (1e-19), or everything
LARGE = 1e100  # as good as infinite, and safe to add
GIVE_UP = ((inf, inf), (-inf, -inf))  # label +1, to keep label -1: the constant classifier


@dataclass(frozen=True)
class GameValue:
    """The least risk, and the thresholds of a classifier that has it.

    thresholds[i] = ((M_+, M_-), (N_+, N_-)): adversary i makes the classifier err on label y = +1 (M) or -1 (N), where
    x_0 = y (first) or -y (second), exactly if yT is below it. One row for each set of "average", else one row in all.
    `classifier` turns them into a rule.
    """

    value: float
    thresholds: tuple


def game_value(
    dist: BernoulliFeature,
    sets: Sequence[Lp],
    adversary: str = "average",
    weights: Sequence[float] | None = None,
) -> GameValue:
    """The infimum over all classifiers f of R_avg, R_max or R_affine on D_B, for l_p balls `sets`.

    "average": Σ λ_i R(f; S_i), λ_i = 1/n or `weights` (which then trace the Pareto front); "union": the adversary picks
    a set for each input; "affine": it mixes them, S_affine being the convex hull of the union. A union or an affine
    adversary is one set K in the plane, and with G_0 = G(0), G_2 = G(2), L = log(p0/(1-p0)) its value is

      V = min(½, p0 Φ(u - α) + (1-p0) Φ(G_0 - u - α)),  u = max(G_2/2, G_0/2 - L/(2α - G_0)), or G_2/2 if G_0 ≥ 2α,

    to rounding (theorem exact-game); several weighted adversaries are solved by minimum cuts, to about 1e-8.

    Raises ValueError for another distribution, sets that are not l_p balls, an unknown adversary, and weights that are
    negative, do not sum to one, do not match the sets or come with another adversary than "average".

    >>> D_B = BernoulliFeature(alpha=2, d=100, p0=0.9)
    >>> balls = (Linf(D_B.eta), L1(2))
    >>> [round(game_value(D_B, balls, adversary).value, 6) for adversary in ("average", "union", "affine")]
    [0.195743, 0.22887, 0.249625]
    >>> round(game_value(D_B, balls, weights=(0.75, 0.25)).value, 6)
    0.195218
    """
    sets, weights = _checked(dist, sets, adversary, weights)
    stay, flip = _sums(dist, sets, adversary)
    if len(stay) == 1:
        return _one(dist, float(stay[0, 0]), float(flip[0, 0]))
    return _several(dist, stay, flip, weights)


def _checked(dist, sets, adversary: str, weights=None) -> tuple[tuple[Lp, ...], np.ndarray]:
    lookup(_SUMS, adversary, "adversary")
    if not isinstance(dist, BernoulliFeature):
        raise ValueError(f"the distribution is {dist!r}, but the game is solved on D_B: use BernoulliFeature")
    if not isinstance(sets, Sequence):
        raise ValueError(f"sets is {sets!r}, but must be a sequence of lp balls such as (Linf(0.1), L1(2))")
    sets = tuple(sets)
    if not sets:
        raise ValueError("sets is empty, but a game needs an adversary: name at least one lp ball")
    for S in sets:
        if not isinstance(S, Lp):
            raise ValueError(f"{S!r} is not an lp ball: use Linf, L2, L1 or Lp (a union by its members)")
    if weights is None:
        return sets, np.full(len(sets), 1 / len(sets))
    if adversary != "average":
        raise ValueError(f"weights {weights!r} belong to the average adversary: leave them out for {adversary!r}")
    array = np.asarray(weights, dtype=np.float64)
    if array.shape != (len(sets),):
        raise ValueError(f"weights {weights!r} do not match the {len(sets)} sets: give one for each")
    if not (np.all(array >= 0) and abs(array.sum() - 1) <= 1e-9):
        raise ValueError(f"weights {weights!r} are not ≥ 0 with sum one: divide them by their sum")
    return sets, array


# The sets in the plane (x_0, T)


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


def _log_slope(S: Lp, d: int, gap: float) -> float:
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
    gap = _meeting(A, B, d, offset)
    return _width(A, d, gap) + _width(B, d, slack - gap)


def _meeting(A: Lp, B: Lp, d: int, offset: float) -> float:
    """What the maximiser u of `sum_width` leaves of A's radius, eps_A - u; B is left the slack minus it."""
    slack = A.eps + B.eps - offset
    if A.p == B.p:
        return slack * (A.eps / (A.eps + B.eps))  # the sum is a ball
    low, high = max(0.0, A.eps - offset), min(A.eps, slack)
    while low < (gap := (low + high) / 2) < high:  # concave
        low, high = (gap, high) if _log_slope(A, d, gap) > _log_slope(B, d, slack - gap) else (low, gap)
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
    return _tangent(sets, d, a)[1]


def _tangent(sets: Sequence[Lp], d: int, a: float) -> tuple[float, float]:
    """The c ≥ 0 that attains the minimum of `hull_width`, and the minimum, for 0 < a ≤ max eps."""

    def line(S, c):
        """support_S(c, 1) - ca = eps (c^q + w^q)^{1/q} - ca, w = d^{1/2-1/p}, and its derivative in c."""
        if S.eps == 0:
            return -c * a, -a
        w, q = d ** (0.5 - 1 / S.p), S.dual
        if q == inf:
            return (c * (S.eps - a), S.eps - a) if c > w else (S.eps * w - c * a, -a)
        grown = _softplus(q * log(w / c))
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


def _softplus(z: float) -> float:
    """log(1 + e^z)."""
    return max(z, 0.0) + log1p(exp(-abs(z)))


def _widths(dist: BernoulliFeature, sets: Sequence[Lp], adversary: str) -> list[Callable[[float], float]]:
    """The half-width of each adversary's set, as a function of the x_0-offset."""
    d = dist.d
    if adversary == "average":
        return [lambda a, S=S: half_width(S, d, a) for S in sets]
    if adversary == "union":
        return [lambda a: max(half_width(S, d, a) for S in sets)]
    return [lambda a: hull_width(sets, d, a)]


def _sums(dist: BernoulliFeature, sets: Sequence[Lp], adversary: str) -> tuple[np.ndarray, np.ndarray]:
    """G_ij(0) and G_ij(2), (adversaries, adversaries) each."""
    return _SUMS[adversary](sets, dist.d)


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


_SUMS = {"average": _sums_average, "union": _sums_union, "affine": _sums_affine}


# The minimum


def _one(dist: BernoulliFeature, stay: float, flip: float) -> GameValue:
    """The value against one set: the closed form of `game_value`."""
    p0, alpha = dist.p0, dist.alpha
    level = flip / 2
    if stay < 2 * alpha:
        level = max(level, stay / 2 - log(p0 / (1 - p0)) / (2 * alpha - stay))
    value = float(p0 * ndtr(level - alpha) + (1 - p0) * ndtr(stay - level - alpha))
    if value >= 0.5:
        return GameValue(0.5, (GIVE_UP,))
    return GameValue(value, (((level, stay - level), (level, stay - level)),))


def _several(dist: BernoulliFeature, stay: np.ndarray, flip: np.ndarray, weights: np.ndarray) -> GameValue:
    """The value against several sets, by minimum cuts over grids of thresholds.

    The first grid is coarse and covers all that matters; it is solved once with the constraints rounded up and once
    rounded down. The later ones, each sixteen times finer, lie around the last solution: there a constraint that is
    tight stays exactly tight when thresholds move by whole steps.
    """
    n, alpha, reach = len(weights), dist.alpha, FAR - 2
    sums = np.empty((n, 2, n, 2))
    sums[:, 0, :, 0] = sums[:, 1, :, 1] = flip
    sums[:, 0, :, 1] = sums[:, 1, :, 0] = stay
    sums = np.minimum(sums.reshape(2 * n, 2 * n), 2 * (alpha + reach))  # which one label alone can bear
    mass = np.outer(weights, (dist.p0, 1 - dist.p0)).ravel()

    def finer(M, N, step, count, allowed=0.0):
        """The best thresholds within `count` steps, or infinite, that violate a constraint by at most `allowed`."""
        moves = np.append(step * np.arange(-count, count + 1), inf)
        i, j = _minimum_cut(
            mass[:, None] * np.diff(ndtr(M[:, None] + moves - alpha)),
            mass[:, None] * np.diff(ndtr(N[:, None] + moves - alpha)),
            (sums - allowed - M[:, None] - N) / step + 2 * count,
        )
        M, N = M + moves[i], N + moves[j]
        N = np.maximum((sums - M[:, None]).max(axis=0), alpha - reach)
        M = np.maximum((sums - N).max(axis=1), alpha - reach)
        return float(mass @ (ndtr(M - alpha) + ndtr(N - alpha))) / 2, M, N

    step = 1 / 8
    # The grid of adversary i is its half-width and whole steps, so that all constraints G(0) are met exactly.
    start = alpha + np.repeat((stay.diagonal() / 2 - alpha) % step, 2)
    candidates = [finer(start, start, step, int(reach / step), allowed) for allowed in (0.0, step)]
    while step > 2e-7:
        step /= 16
        for k, (value, M, N) in enumerate(candidates):
            while (new := finer(M, N, step, 20))[0] < value - step / 1000:
                value, M, N = new
            candidates[k] = min(new, (value, M, N), key=lambda result: result[0])
        if step < 1e-4:
            candidates = [min(candidates, key=lambda result: result[0])]
    value, M, N = candidates[0]
    if value >= 0.5:
        return GameValue(0.5, (GIVE_UP,) * n)
    M, N = (np.where(level < alpha + reach - step, level, inf) for level in (M, N))  # lost, however large the sums
    thresholds = np.stack([M.reshape(n, 2), N.reshape(n, 2)], axis=1).tolist()
    return GameValue(value, tuple((tuple(plus), tuple(minus)) for plus, minus in thresholds))


def _minimum_cut(cells_M: np.ndarray, cells_N: np.ndarray, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Levels i, j with i_a + j_b ≥ sums_ab of least cost Σ_a cells_M[a, :i_a].sum() + Σ_b cells_N[b, :j_b].sum().

    `cells` are (variables, levels - 1), and the last level, infinity, meets every constraint. A cell is lost or kept,
    and of two cells in conflict one is lost: a minimum vertex cover of a bipartite graph, hence a minimum cut.
    """
    m, levels = len(cells_M), cells_M.shape[1] + 1
    cells = np.stack([cells_M, cells_N])
    cells = np.minimum(cells, cells[:, :, :-1].sum())  # more is never lost, and would cost the others their precision
    infinite = 2**30  # twice that is still an int32, which the solver wants
    capacity = np.full((2, m, levels), infinite)
    capacity[:, :, :-1] = cells * (infinite / max(cells.sum(), 1e-300))
    plus = np.arange(m * levels).reshape(m, levels)
    minus, source, sink = plus + m * levels, 2 * m * levels, 2 * m * levels + 1
    # Cell (a, k) of M, kept, leaves M_a at level ≤ k: it is in conflict with the cells (b, 0 .. last) of N.
    last = np.ceil(sums[:, :, None] - np.arange(levels - 1) - 1e-6) - 1  # beyond the rounding of tight constraints
    a, b, k = np.nonzero(last >= 0)
    last = np.minimum(last[a, b, k], levels - 2).astype(int)
    edges = (
        (np.full(plus.size, source), plus.ravel(), capacity[0].ravel()),
        (minus.ravel(), np.full(plus.size, sink), capacity[1].ravel()),
        (minus[:, 1:].ravel(), minus[:, :-1].ravel(), np.full(m * (levels - 1), infinite)),
        (plus[a, k], minus[b, last], np.full(len(a), infinite)),
    )
    rows, columns, capacities = (np.concatenate(part) for part in zip(*edges, strict=True))
    graph = csr_array((capacities.astype(np.int32), (rows, columns)), shape=(sink + 1, sink + 1))
    rest = graph - maximum_flow(graph, source, sink).flow
    rest.eliminate_zeros()
    reached = np.zeros(sink + 1, dtype=bool)
    reached[breadth_first_order(rest, source, return_predecessors=False)] = True
    lost = reached[minus]
    return reached[plus].argmax(axis=1), np.where(lost.any(axis=1), levels - lost[:, ::-1].argmax(axis=1), 0)


# Classifiers


def classifier(
    dist: BernoulliFeature, sets: Sequence[Lp], game: GameValue, adversary: str = "average"
) -> Callable[[float], float]:
    """The threshold t(x_0) of the solved game: the classifier that answers +1 iff T > t(x_0), T = Σ x_i/√d.

    t(v) = min over i, s of M^i_s - hw_i(v - s): the highest that does what it promises for label +1.

    Raises ValueError as `game_value` does.

    >>> D_B = BernoulliFeature(alpha=2, d=100, p0=0.9)
    >>> t = classifier(D_B, [Linf(0.2), L1(2)], game_value(D_B, [Linf(0.2), L1(2)]))
    >>> round(t(1.0), 3), round(t(-1.0), 3)
    (-0.867, 0.867)
    """
    sets, _ = _checked(dist, sets, adversary)
    widths = _widths(dist, sets, adversary)

    def threshold(x_0: float) -> float:
        levels = [
            (level, width((x_0 - s) * (1 - 1e-12)))  # the ends of a set are reached, whatever x_0 was rounded to
            for width, (M, _) in zip(widths, game.thresholds, strict=True)
            for s, level in zip((1, -1), M, strict=True)
        ]
        return min((level - reach for level, reach in levels if reach >= 0), default=inf)

    return threshold


def step_risks(
    dist: BernoulliFeature,
    sets: Sequence[Lp],
    cuts: Sequence[float],
    levels: Sequence[float],
    adversary: str = "average",
) -> np.ndarray:
    """The exact robust risks on D_B of a rule "+1 iff T > t(x_0)" whose t is a step function of x_0.

    t = levels[k] between cuts[k-1] and cuts[k] (ascending; one level more than cuts; ±inf allowed; either value at a
    cut). Ties of T are errors. Returns the risk under each set for "average", else the one risk of the union or of
    the affine adversary.

    Raises ValueError as `game_value` does, and for cuts and levels that do not fit.

    >>> D_B = BernoulliFeature(alpha=2, d=100, p0=0.9)
    >>> step_risks(D_B, [Linf(0), Linf(0.4)], cuts=[0.0], levels=[inf, -inf])  # sign(x_0)
    array([0.1, 0.1])
    >>> step_risks(D_B, [Linf(0), Linf(0.4)], cuts=[], levels=[0.0]).round(4)  # sign(T)
    array([0.0228, 0.9772])
    """
    sets, _ = _checked(dist, sets, adversary)
    edges, levels = np.concatenate([[-inf], cuts, [inf]]), np.asarray(levels, dtype=np.float64)
    if levels.shape != (len(edges) - 1,) or not np.all(np.diff(edges) >= 0):
        raise ValueError(f"{len(edges) - 2} cuts, levels of shape {levels.shape}: give ascending cuts, one level more")
    risks = []
    for width in _widths(dist, sets, adversary):
        risk = 0.0
        for x_0 in (1, -1):
            # An interval of x_0 is reached best at its point nearest to where the noise starts.
            nearest = np.clip(x_0, edges[:-1], edges[1:]) - x_0
            reach = np.array([width(a) for a in nearest])
            near = reach >= 0
            for y in (1, -1):
                forced = np.max(y * levels[near] + reach[near])
                risk += (dist.p0 if x_0 == y else 1 - dist.p0) / 2 * ndtr(forced - dist.alpha)
        risks.append(risk)
    return np.array(risks)


def exclusive(dist: BernoulliFeature, sets: Sequence[Lp], adversary: str = "average") -> bool:
    """Whether geometry alone excludes any risk below ½: a sufficient criterion, for equal weights.

    In the plane (x_0, T) the classes are centred at ±μ, μ = (1, alpha). If 2μ lies in the Minkowski sum S_i ⊕ S_j for
    all i ≠ j then R_avg ≥ ½ (Theorem 1 and its dual norms are instances); if it lies in K ⊕ K, K = ∪ S_i, then
    R_max ≥ ½; and if μ lies in the convex hull of K then R_affine ≥ ½.

    Raises ValueError as `game_value` does.

    >>> D_B = BernoulliFeature(alpha=2, d=100, p0=0.9)
    >>> exclusive(D_B, [Linf(2 * D_B.eta), L1(2)]), exclusive(D_B, [Linf(D_B.eta), L1(2)])
    (True, False)
    """
    sets, _ = _checked(dist, sets, adversary)
    _, flip = _sums(dist, sets, adversary)
    pairs = flip if len(flip) == 1 else flip[~np.eye(len(flip), dtype=bool)]
    return bool(np.all(pairs >= 2 * dist.alpha * (1 - 1e-12)))  # equality is meant, as at Theorem 1's radii


# Ball arithmetic


def enclosure(dist: BernoulliFeature, sets: Sequence[Lp], adversary: str = "union") -> arb:
    """A ball that certainly contains `game_value` of the union or the affine adversary, rounding included.

    G_2 is enclosed between the sum of two half-widths at any meeting point (or, for the hull, a chord of two of its
    points), and the sum of two supports at any slope. The floats of `dist` and `sets` are taken as exact.

    Raises ValueError as `game_value` does, and for the average of several sets.

    >>> D_B = BernoulliFeature(alpha=2, d=100, p0=0.9)
    >>> V = enclosure(D_B, (Linf(0.2), L1(2)))
    >>> abs(V - game_value(D_B, (Linf(0.2), L1(2)), "union").value) < 1e-12, V.rad() < 1e-12
    (True, True)
    """
    sets, _ = _checked(dist, sets, adversary)
    if adversary == "average" and len(sets) > 1:
        raise ValueError(f"adversary 'average' of {len(sets)} sets has no closed form: enclose 'union' or 'affine'")
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
    return stay, _enclosed_hull(sets, dist.d) if adversary == "affine" else _enclosed_sum(sets, dist.d)


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


def _enclosed_sum(sets: Sequence[Lp], d: int) -> arb | None:
    """G_2 of the union; None if no two sets reach across."""
    widths = []
    for A, B in combinations_with_replacement(sets, 2):
        across = 2 - Fraction(B.eps)
        if Fraction(A.eps) < across:
            continue
        gap = _meeting(A, B, d, 2.0)
        u = min(max(Fraction(A.eps) - Fraction(gap), across, Fraction(0)), Fraction(A.eps), Fraction(2))
        lower = _enclosed_width(A, d, u) + _enclosed_width(B, d, 2 - u)
        logs = (_log_slope(A, d, gap), _log_slope(B, d, A.eps + B.eps - 2 - gap))
        slopes = [exp(min(slope, 300.0)) for slope in logs]
        uppers = [_enclosed_support(A, d, c) + _enclosed_support(B, d, c) - 2 * ball(c) for c in slopes]
        widths.append(lower.union(reduce(arb.min, uppers)))
    return _largest(widths) if widths else None


def _enclosed_hull(sets: Sequence[Lp], d: int) -> arb | None:
    """G_2 of the convex hull, twice its half-width at 1; None if it does not reach across."""
    if max(S.eps for S in sets) < 1:
        return None
    c, _ = _tangent(sets, d, 1.0)
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
    return S.eps * exp((1 / q - 1) * _softplus(q * log(w / c)))
