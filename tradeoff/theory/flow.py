r"""Bounds of the least robust risk of any classifier by maximum flow and minimum cut, without a theorem on games.

Only x_0 and T = Σ x_i/√d matter. An l_p ball of radius eps moves them by {(a, b) : |a|^p + d^{1-p/2} |b|^p ≤ eps^p}
(Hölder); all of it is attained by moving the weak features equally, which leaves the rest of them independent of y.

*Conflict.* Adversary i at z, of label +1, and adversary j at z', of label -1, are in conflict if some input is in reach
of both: if z - z' lies in the Minkowski sum of their sets. No classifier is right at both. Conversely, whichever inputs
are kept on the two sides, if no two of them are in conflict then some classifier is right at all of them: the one that
answers +1 on the reach of those of label +1. So the game is a weighted vertex cover of a bipartite graph: f chooses
what is lost, a minimum cut; its adversary matches inputs in conflict, a maximum flow. Either alone is a bound.

*Lower.* The adversary moves whole densities by the vectors of a lattice. It splits what it has into hats, the piecewise
linear functions that are one at one point of the lattice, and matches equal hats, point by point: a flow between
lattice points whose translation lies in the Minkowski sum. The capacities are the values of a piecewise linear function
below the density φ: φ is log-concave, so that between lattice points it is at least the geometric interpolation, which
by Hoeffding's lemma is at least exp(-r²/8) times the linear one, r the log-ratio at the ends. So point k of a lattice
with step h holds h φ(z_k) exp(-(h|z_k| + h²/2)²/8), which together miss about h²/8. Leaving translations out keeps the
bound; those here are the longest ones, those that carry the mean of one label to that of the other, and some at
geometric distances from both. x_0 is an atom on D_B, and has a lattice like T's on D_G, where T's start in each column
at a height that falls with x_0 like half the reach in T: a sum of an l_inf and an l_1 ball has sides of one slope, and
then is cut short nowhere along them. Any starts do for the bound: each translation is checked against the reach inside.

*Upper.* The cut says from which level of yT on label +1 is kept at each x_0. Label -1 loses exactly what is within the
half-width of the Minkowski sum of it, and that is integrated, with columns of x_0 reaching from their nearer ends. Any
levels make a classifier, infinite ones too: such a column is lost, and asks nothing of label -1. So on D_G, where the
cut is only as good as the few translations of its flow, the others are improved by descent on that risk before it is
integrated. Which columns to lose is a choice that descent cannot change, and that few translations leave poor. So it
also starts with none lost, and with all lost that hardly keep any, from the start of least risk on, and with the cuts
of two steps. For the same reason a flow stopped early costs width alone.

*Effort on D_G.* The classifier depends little on the step, and a flow at 4/3 of it has half as many edges or fewer. So
that comes first, one classifier after the other, until the bounds are as near as is promised; only then comes the step
that was asked for, whose flow is left as soon as it suffices. Lower is the best of the flows, upper of the classifiers.

A lattice that cuts the longest translations short by u would cost the lower bound about u/5. So the lattices of
adversary i start at its half-widths or a little lower, and their steps are chosen, near the one asked for, such that
the other ends of the Minkowski sums are nearly met as well, on D_G those first that bring one mean nearest to the
other: then both bounds close in about as step².
"""

from collections.abc import Callable, Sequence
from itertools import product
from math import inf, log, pi, sqrt

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.optimize import minimize
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow
from scipy.special import expit, ndtr

from tradeoff.perturbations.lp import Lp
from tradeoff.theory.distributions import BernoulliFeature, GaussianFeature
from tradeoff.theory.game import checked

TAIL = 5.5  # standard deviations that a lattice covers on D_B; the adversary leaves the rest (4e-8) alone
TAIL_D_G = 4.0  # and on D_G (6e-5)
COARSEST = 0.5
EDGES = 12_000_000  # about 2 GB
MEMORY = 2e9  # bytes, of what puts all sets on one lattice
COLUMNS = 1500  # of x_0, for the upper bound on D_G
FEW = 500  # where its classifier is looked for, over the number of adversaries
SOFTNESS = (0.03, 0.01, 0.003), (0.01, 0.003)  # of its maxima, in turn; neither finds the least risk always
DESCENT = {"maxiter": 100, "ftol": 1e-6}  # a step that gains less, relative to the risk, is the last
LARGEST = 1e6  # of the lengths that lattices are fitted to
CLOSE = 4.8e-3  # on D_G: bounds that near are enough, as ½ is a bound too; the last paths take minutes
HARDLY = 1.0  # a column on D_G that is kept from so far above the mean, in standard deviations, keeps 16 %
COARSER = 4 / 3  # the first step on D_G, over the one asked for
GAP = 1e-12  # between columns of x_0, all of it lost, so that no rounding makes two of them overlap
ROUNDING = 1e-9  # more than all roundings: moving N(α, 1) by u changes a mass by at most u/√(2π)


def flow_bounds(
    dist: BernoulliFeature | GaussianFeature,
    sets: Sequence[Lp],
    adversary: str = "average",
    step: float | None = None,
    weights: Sequence[float] | np.ndarray | None = None,
    *,
    spread: float = 1.0,
) -> tuple[float, float]:
    """lower ≤ V ≤ upper, V the infimum of the robust risk over all measurable classifiers, as in `game_value`.

    `step` is that of the lattices, in standard deviations of T and of x_0 (default 1/64 on D_B; on D_G 1/12,
    or n/24 for the average of n > 2 sets; there 4/3 of it where that brings the bounds near enough). By default
    upper - lower is at most 1e-3 on D_B, in under a second, and on D_G at most 5e-3 wherever measured (alpha from 1 to
    6, d from 10 to 1e6, sets at, near and 10 % short of Theorem 1's radii), in up to five seconds, mostly one or two.
    `spread` is the standard deviation of the weak features, if not one.

    Raises ValueError as `game_value` does (but every game on D_G is solved too), for a spread or a step that is not
    positive, for a step above ½, where too little of a normal law is left on the lattice, and for one that would need
    more than 2 GB.

    >>> D_B = BernoulliFeature(alpha=2, d=100, p0=0.9)
    >>> lower, upper = flow_bounds(D_B, (Linf(D_B.eta), L1(2)), "union", step=1 / 8)
    >>> lower <= 0.228870 <= upper <= lower + 0.002
    True
    """
    sets, weights = checked(dist, sets, adversary, weights)
    if not 0 < spread < inf:
        raise ValueError(f"spread is {spread!r}, but a standard deviation must be positive and finite")
    sums = _Sums(sets, dist.d, adversary, spread)
    solve: Callable = _on_D_B
    default = 1 / 64
    if isinstance(dist, GaussianFeature):
        solve, default = _on_D_G, 1 / 12 if sums.count < 3 else min(sums.count / 24, COARSEST)
    step = default if step is None else step
    if not (isinstance(step, int | float | np.number) and 0 < step <= COARSEST):
        raise ValueError(f"step is {step!r}, but must be positive and at most {COARSEST} standard deviations")
    columns = 2 * TAIL_D_G / step if solve is _on_D_G else 2
    points = sums.count * columns * 2 * TAIL_D_G / step
    _check_edges(10 * points, step)  # at least; before any work
    weights = weights if adversary == "average" else np.ones(1)
    lower, upper = solve(dist, sums, weights, step, dist.alpha / spread)
    return max(float(lower) - ROUNDING, 0.0), min(float(upper) + ROUNDING, 0.5)


def _check_edges(count: float, step: float) -> None:
    if count > EDGES:
        memory = f"{count:.1e} edges, about {2 * count / EDGES:.2g} GB"
        raise ValueError(f"step {step:.2g} needs {memory}, but 2 GB are the limit: take a larger step")


_Ball = tuple[float, float, float]  # p, eps, w: see _Sums


class _Sums:
    """The Minkowski sums of two adversaries' sets: half-widths in T, in units of `spread`, at offsets of x_0.

    A ball is (p, eps, w): {(a, b) : |a|^p + |b/w|^p ≤ eps^p}, w = d^{1/2-1/p}. `count` adversaries; the longest offsets
    `tip` and half-widths `top` of each; `ends`, the longest offsets of the sums of balls for each pair of adversaries.
    """

    def __init__(self, sets: Sequence[Lp], d: int, adversary: str, spread: float):
        balls = [(S.p, min(S.eps, 1e100), d ** (0.5 - 1 / S.p) / spread) for S in sets]
        pairs = list(product(balls, balls))
        self.members: list[list]
        if adversary == "average":
            self.count, self.members = len(balls), [[pair] for pair in pairs]
        elif adversary == "union":
            self.count, self.members = 1, [pairs]
        else:
            self.count, self.members = 1, [[balls]]
        self.hull = adversary == "affine"
        ends = [pairs] if self.count == 1 else self.members
        self.ends = [np.array([a[1] + b[1] for a, b in members]) for members in ends]
        groups = [[ball] for ball in balls] if self.count == len(balls) else [balls]
        self.tip = np.array([max(eps for _, eps, _ in group) for group in groups])
        self.top = np.array([max(eps * w for _, eps, w in group) for group in groups])

    def __call__(self, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inner and outer half-widths, (adversaries, adversaries, *offsets.shape); -inf where out of reach."""
        unique, where = np.unique(np.abs(offsets), return_inverse=True)
        found = [[self._width(member, unique) for member in members] for members in self.members]
        inner, outer = (np.array([np.max([f[k] for f in each], axis=0) for each in found]) for k in (0, 1))
        shape = (self.count, self.count, *offsets.shape)
        return inner[:, where.ravel()].reshape(shape), outer[:, where.ravel()].reshape(shape)

    def each(self, offsets: np.ndarray) -> np.ndarray:
        """Outer half-widths of each pair of adversaries at its own offsets, (adversaries, adversaries, offsets)."""
        flat = offsets.reshape(len(self.members), -1)
        outer = [
            np.max([self._width(member, x)[1] for member in members], axis=0)
            for members, x in zip(self.members, flat, strict=True)
        ]
        return np.reshape(outer, offsets.shape)

    def _width(self, balls: Sequence[tuple], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of the sum of two balls, or of the hull of some with itself: a chord is inside, a line of support outside.

        Both touch the set at points between which x lies, found by bisection on the slope.
        """
        if self.hull:
            x = x / 2
        low, high = np.full(len(x), -100.0), np.full(len(x), 100.0)  # logarithms of slopes
        (left, y_left), (right, y_right) = self._touch(balls, low), self._touch(balls, high)
        left, outer = np.zeros(len(x)), np.full(len(x), inf)
        for t in range(-60, 61, 3):  # near the tip bisection runs past the slopes that tell
            outer = np.minimum(outer, self._line(balls, np.full(len(x), t), x)[2])
        while np.any(high - low > 1e-13 * (1 + np.abs(low))):
            middle = (low + high) / 2
            a, b, line = self._line(balls, middle, x)
            outer = np.minimum(outer, line)
            below = a <= x
            low, left, y_left = (np.where(below, new, old) for new, old in ((middle, low), (a, left), (b, y_left)))
            high, right, y_right = (
                np.where(below, old, new) for new, old in ((middle, high), (a, right), (b, y_right))
            )
        span = right - left
        share = np.clip((x - left) / np.where(span > 0, span, 1.0), 0, 1)
        inner = np.where(span > 0, y_left + share * (y_right - y_left), np.maximum(y_left, y_right)) * (1 - 1e-13)
        radii = sorted(eps for _, eps, _ in balls)[-2:]
        # The difference is exact wherever the sign is in doubt (Sterbenz).
        reached = radii[-1] >= x if self.hull else (radii[1] - x) + radii[0] >= 0
        scale = 2 if self.hull else 1
        return np.where(reached, scale * inner, -inf), np.where(reached, scale * np.maximum(outer, inner), -inf)

    def _line(self, balls: Sequence[_Ball], t: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """`_touch` at t, and the height at x of the line of support there, rounded up."""
        (a, b), c = self._touch(balls, t), np.exp(t)
        return a, b, c * (a - x) + b + (c * (a + x) + b) * 1e-15

    def _touch(self, balls: Sequence[_Ball], t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The boundary points with normal (e^t, 1)."""
        points = np.array([_touch(*ball, t) for ball in balls])
        if not self.hull:
            return tuple(points.sum(axis=0))
        best = (np.exp(t) * points[:, 0] + points[:, 1]).argmax(axis=0)
        return tuple(np.take_along_axis(points, best[None, None], axis=0)[0])


def _touch(p: float, eps: float, w: float, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The point of {|a|^p + |b/w|^p ≤ eps^p} with normal (e^t, 1)."""
    if p == 1:
        return eps * (t > log(w)), eps * w * (t <= log(w))
    s = (t - log(w)) / (1 - 1 / p)
    return eps * expit(s) ** (1 / p), eps * w * expit(-s) ** (1 / p)


def _lattice(start: np.ndarray, step: float, tail: float) -> np.ndarray:
    """(len(start), points): start + step · integers, over [-tail, tail]."""
    start = np.fmod(start, step)
    first = start + step * np.ceil((-tail - start) / step)
    return first[:, None] + step * np.arange(int(2 * tail / step) + 1)


def _hats(z: np.ndarray, step: float) -> np.ndarray:
    """The mass of the hats at z that together stay below the normal density."""
    return step * np.exp(-(z**2) / 2 - (step * np.abs(z) + step**2 / 2) ** 2 / 8) / sqrt(2 * pi)


def _aligned(gaps: np.ndarray, step: float, shares: Sequence[float] = (0.0,)) -> tuple[float, float, float]:
    """A step at most 30% smaller of which all gaps are nearly multiples, or all but for the same share of it.

    Returns the step, that share of it, and by how much to shorten all lengths so that no gap is missed.
    """
    shortest = 0.7 * step
    whole = [
        2 * gap / np.arange(np.ceil(2 * gap / step), 2 * gap / shortest)
        for gap in gaps[(gaps > ROUNDING) & (gaps < 100)]
    ]
    steps = np.concatenate([np.linspace(step, shortest, 2000), *whole])
    best = []
    for share in shares:
        rest = ((0.5 - share - gaps[:, None] / steps) % 1.0 - 0.5) * steps
        short, long = np.maximum(-rest.min(axis=0, initial=0.0), 0.0), rest.max(axis=0, initial=0.0)
        k = (short + long).argmin()
        best.append((short[k] + long[k], steps[k], share * steps[k], short[k]))
    return min(best)[1:]


def _fitted(
    reach: np.ndarray, pair: np.ndarray, longest: np.ndarray, least: np.ndarray, weight: np.ndarray, step: float
) -> tuple[float, np.ndarray]:
    """A step at most 30% smaller, and where the lattices start, such that little of the lengths `reach` is cut off.

    Length n is between adversaries pair[:, n] and counts `weight[n]`; what is cut off is its remainder, by steps, over
    the sum of their starts. These are `longest`, or shorter by the same, but not below `least`.
    """
    gaps = longest[pair].sum(axis=0) - reach
    whole = [
        2 * gap / np.arange(np.ceil(2 * gap / step), 2 * gap / step / 0.7)
        for gap in np.abs(gaps)[(np.abs(gaps) > ROUNDING) & (np.abs(gaps) < 100)]
    ]
    steps = np.concatenate([np.linspace(step, 0.7 * step, 500), *whole])
    short = np.concatenate([gaps[:, None] % steps, np.zeros((1, len(steps)))])
    if 16 * gaps.size * short.size > MEMORY:
        memory = f"{16e-9 * gaps.size * short.size:.1f} GB"
        raise ValueError(f"{len(longest)} sets need {memory} to be put on one lattice, but {MEMORY / 1e9:g} GB are the "
                         "limit: bound fewer at a time")  # fmt: skip
    starts = np.maximum(longest - short[..., None] / 2, least)
    rest = (reach - starts[..., pair].sum(axis=-2)) + ROUNDING
    cut = ((rest % steps[:, None]) * weight).sum(axis=-1)
    where = np.unravel_index(cut.argmin(), cut.shape)
    return float(steps[where[1]]), starts[where]


def _on_D_B(dist: BernoulliFeature, sums: _Sums, weights: np.ndarray, step: float, alpha: float):
    """x_0 = y and -y are the two columns.

    On label +1 the lattices start at g_i + θ for x_0 = y and at g_i for -y, on label -1 at g_j and g_j - θ: G_ij(0) =
    g_i + g_j is met exactly, and so is G_ij(2) if it differs from it by θ and whole steps, θ = 0 or half a step.
    """
    x = np.array([1.0, -1.0])
    columns, mass = np.tile(x, sums.count), np.outer(weights, (dist.p0, 1 - dist.p0)).ravel() / 2
    G = sums(np.array([0.0, 2.0]))[0]
    gaps = (G[..., 0] - G[..., 1])[(G[..., 1] >= 0) & (G[..., 1] < 2 * (alpha + TAIL)) & (G[..., 0] < LARGEST)]
    step, shift, short = _aligned(gaps, step, (0.0, 0.5))
    start = np.maximum(sums.top - short / 2, -sums.top)[:, None]  # always within reach of one another
    offset = np.add.outer(columns, columns)
    every = np.ones(offset.shape, dtype=bool)
    starts = (start + [shift, 0.0]).ravel(), (start + [0.0, -shift]).ravel()
    lower, M = _flow(sums, offset, mass, every, every, starts, step, alpha, TAIL, 1.5, 1)
    outer = sums(np.array([2.0, 0.0, 2.0]))[1]
    return lower, _risk(outer, mass.reshape(-1, 2), M.reshape(-1, 2), alpha)


def _nearest(sums: _Sums, scale: float, alpha: float) -> np.ndarray:
    """The offset of x_0 at which each Minkowski sum comes nearest to carrying one mean to the other."""
    offsets = np.linspace(0, 2, 513)
    G = sums(offsets)[0].reshape(-1, len(offsets))
    left = np.hypot(scale * (2 - offsets), np.maximum(2 * alpha - G, 0))
    if len(sums.ends) < len(G):
        left = left.min(axis=0, keepdims=True)
    return offsets[np.where(G.max(axis=0) >= 0 if len(left) == 1 else G >= 0, left, inf).argmin(axis=1)]


def _on_D_G(dist: GaussianFeature, sums: _Sums, weights: np.ndarray, step: float, alpha: float):
    """A coarser flow first; then other classifiers, and the step that was asked for, while the bounds are apart."""
    close = CLOSE * min(1, 12 * step) ** 2
    lower, upper = 0.0, 0.5
    ends = [np.minimum(end, 2.0) for end in sums.ends]  # 2 carries one mean of x_0 to the other
    ends = [np.append(end, near) for end, near in zip(ends, _nearest(sums, dist.alpha, alpha), strict=True)]
    few, few_mass, few_outer, _ = _columns(sums, dist.alpha, weights, ends, FEW // sums.count)
    fine, fine_mass, outer, outside = _columns(sums, dist.alpha, weights, ends, COLUMNS)

    def risk(levels):
        return _risk(outer, fine_mass, _between(few, levels, fine), alpha) + outside

    for each, softnesses in ((min(COARSER * step, COARSEST), SOFTNESS[:1]), (step, SOFTNESS)):
        value, x, M = _moved(dist, sums, weights, ends, each, alpha, upper - close)
        lower, M = max(lower, value), _between(x, M, few)
        starts = [M, np.where(M == inf, alpha, M), np.where(M > alpha + HARDLY, inf, M)]
        starts = sorted({levels.tobytes(): levels for levels in starts}.values(), key=risk)  # each once
        upper = min(upper, risk(starts[0]))
        for softness, start in product(softnesses, starts):
            if upper - lower > close:
                upper = min(upper, risk(_refined(few_outer, few_mass, start, alpha, softness)))
        if upper - lower <= close:
            break
    return lower, upper


def _moved(
    dist: GaussianFeature,
    sums: _Sums,
    weights: np.ndarray,
    ends: Sequence[np.ndarray],
    step: float,
    alpha: float,
    enough: float,
) -> tuple[float, np.ndarray, np.ndarray]:
    """The flow, its columns of x_0 and its levels. x_0 has a lattice too, whose offsets are some of the longest useful
    ones and about 8 shorter ones.

    A union also gains by some that carry x_0 a little further than from one mean to the other.
    """
    tip = np.minimum(sums.tip, 100.0)  # beyond all that matters
    pair = np.array(list(np.ndindex(sums.count, sums.count))) if sums.count > 1 else np.zeros((1, 2), dtype=int)
    pair = np.repeat(pair, [len(end) for end in ends], axis=0).T
    own = np.repeat(np.arange(len(ends)), [len(end) for end in ends]), np.arange(pair.shape[1])
    x_reach = np.concatenate(ends)
    t_reach, shorter = (
        np.clip(sums(x_reach * k)[0].reshape(len(ends), -1)[own], 0.0, 2 * alpha) for k in (1 - 1e-12, 0.9)
    )
    # A translation that leaves s of the way from one mean to the other matches 2 Φ(-|s|/2).
    x_left, t_left = dist.alpha * (2 - x_reach), np.maximum(2 * alpha - t_reach, 0.0)
    left = np.hypot(x_left, t_left) + ROUNDING
    worth = np.exp(-(left**2) / 8)
    # Along a slope of G the starts of the lattices follow it, so that no offset of x_0 there cuts it short.
    sloped, slope = worth * (shorter > t_reach) * (not sums.hull), 0.0
    if sloped.max() > 0.9 * worth.max():
        slope = ((shorter - t_reach) / (0.1 * x_reach + ROUNDING))[sloped.argmax()]
    scaled = dist.alpha * np.minimum(tip, 100.0)
    x_step, tip = _fitted(dist.alpha * x_reach, pair, scaled, np.zeros(len(tip)), worth * (x_left / left + 0.3), step)
    tip = tip / dist.alpha
    t_step, t_start = _fitted(
        t_reach + slope * x_reach,
        pair,
        sums.top.clip(max=LARGEST),
        -sums.top.clip(max=LARGEST),
        worth * (t_left / left + 0.3),
        step,
    )
    z = _lattice((tip - 1) * dist.alpha, x_step, TAIL_D_G)
    mass, width = (weights[:, None] * _hats(z, x_step) / 2).ravel(), x_step / dist.alpha
    columns, tip = (1 + z / dist.alpha).ravel(), np.repeat(tip, z.shape[1])
    # Offsets are counted back from the tips, so that rounding takes none of them out of reach.
    tips = np.add.outer(tip, tip) * (1 - 1e-14)
    back = np.round((tips - np.add.outer(columns, columns)) / width)
    offset = tips - back * width
    blocks = back.reshape(sums.count, z.shape[1], sums.count, z.shape[1])
    direct, near = np.empty((2, *blocks.shape), dtype=bool)
    sparse = max(1, round(2 / width / 8))
    beyond = 4 if sums.count == 1 and not sums.hull else 1
    for (i, j), end in zip(np.ndindex(sums.count, sums.count), ends, strict=True):
        last = np.ceil((tips[i * z.shape[1], j * z.shape[1]] - end) / width - 1e-7)
        direct[i, :, j] = np.isin(blocks[i, :, j], last[:, None] + np.arange(-1, 1))
        near[i, :, j] = np.isin(blocks[i, :, j], last[:, None] + np.arange(-beyond, sparse))
    direct = direct.reshape(back.shape)
    every = np.where(offset < 2, sparse, 2 * sparse)
    useful = near.reshape(back.shape) | ((offset > -width) & (offset < 4) & (back % every == 0))
    start = np.repeat(t_start, z.shape[1]) - slope * columns
    value, M = _flow(sums, offset, mass, useful, direct, (start, start), t_step, alpha, TAIL_D_G, 3, 2**8, enough)
    M = np.where(M == inf, inf, np.clip(M, alpha - TAIL_D_G, alpha + TAIL_D_G))
    return value, columns.reshape(z.shape), M.reshape(z.shape)


def _between(x: np.ndarray, M: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The levels M at x, of every adversary, interpolated `at` other columns; infinite where the nearest are."""
    lost = M == inf
    levels = [np.interp(*row) for row in zip(at, x, np.where(lost, 0, M), strict=True)]
    share = [np.interp(*row) for row in zip(at, x, lost, strict=True)]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.array(share) >= 0.5, inf, levels / (1 - np.array(share)))


def _columns(sums: _Sums, scale: float, weights: np.ndarray, ends: Sequence[np.ndarray], count: int):
    """At least `count` columns of x_0 for each adversary: middles, masses, the `outer` of `_risk`, the mass outside.

    They start at the tips, and their width is fitted to the gaps to the other `ends`: where the Minkowski sums end,
    pairs of columns do, and as columns are open, none counts as met that only touches.
    """
    tips = np.minimum(sums.tip, 100.0)
    gaps = np.concatenate([long - end for long, end in zip(np.add.outer(tips, tips).ravel(), ends, strict=True)])
    step, _, _ = _aligned(scale * gaps, 2 * TAIL_D_G / count)
    edges = _lattice((tips - 1) * scale, step, TAIL_D_G)
    left, width = 1 + edges[:, :-1] / scale, step / scale
    low = np.add.outer(left[:, 0], left[:, 0])[..., None] + width * np.arange(2 * left.shape[1] - 1)
    outer = sums.each(np.maximum(np.maximum(low, -low - 2 * width) + GAP, 0.0))
    outside = (ndtr(edges[:, 0]) + ndtr(-edges[:, -1])).max() + GAP * scale * (1 + 1 / step)
    return left + width / 2, weights[:, None] * np.diff(ndtr(edges)) / 2, outer, outside


def _refined(outer: np.ndarray, mass: np.ndarray, M: np.ndarray, alpha: float, softness: Sequence[float]) -> np.ndarray:
    """Levels of less risk than M, by quasi-Newton steps on the risk with soft maxima: some classifier's in any case."""
    reach = np.array([[sliding_window_view(row, M.shape[1]) for row in rows] for rows in outer]).clip(-60.0, LARGEST)

    def risk(levels, soft):
        levels = levels.reshape(M.shape)
        over = reach - levels[:, None, None, :]
        most = over.max(axis=(0, 3))
        share = np.exp((over - most[:, :, None]) / soft)
        total = share.sum(axis=(0, 3))
        N = most + soft * np.log(total)
        density, other = (mass * np.exp(-((v - alpha) ** 2) / 2) / sqrt(2 * pi) for v in (levels, N))
        moved = np.einsum("ijdc,jd->ic", share, other / total)
        return (mass * (ndtr(levels - alpha) + ndtr(N - alpha))).sum(), (density - moved).ravel()

    levels = np.minimum(M, 1e3 * LARGEST).ravel()
    for soft in softness:
        levels = minimize(risk, levels, (soft,), "L-BFGS-B", jac=True, options=DESCENT).x
    return np.where(M == inf, inf, levels.reshape(M.shape))


def _flow(
    sums: _Sums,
    offset: np.ndarray,
    mass: np.ndarray,
    useful: np.ndarray,
    direct: np.ndarray,
    starts: tuple[np.ndarray, np.ndarray],
    step: float,
    alpha: float,
    tail: float,
    ratio: float,
    grain: int,
    enough: float = 0.5,
) -> tuple[float, np.ndarray]:
    """The value of a flow, and the levels of yT from which the cut keeps label +1 in each column.

    Columns of all adversaries in one row, with their `mass` and for each label the `starts` of their lattices of yT.
    `offset`, `useful` and `direct` are matrices: of the x_0-offsets between columns of the two labels, of the pairs to
    use, and of those to try first. Translations of T lie at distances that grow by `ratio`. A flow that is
    `enough` is left as it is, and all is lost.
    """
    size = len(mass)
    z = [_lattice(start - alpha, step, tail) for start in starts]
    points = z[0].shape[1]
    adversary = np.arange(size) // (size // sums.count)
    inner = sums(offset)[0][adversary[:, None], adversary, np.arange(size)[:, None], np.arange(size)]
    plus, minus = np.nonzero((inner >= 0) & useful)
    # Levels k and l of the two labels are as far apart as their sum: base + step (k + l).
    base, reach = 2 * alpha + z[0][plus, 0] + z[1][minus, 0], inner[plus, minus]
    away = np.unique(np.append(0, ratio ** np.arange(int(log(points, ratio)) + 1)).astype(int))
    longest = np.floor((np.minimum(reach, 2 * (alpha + tail)) - base) / step + ROUNDING)[:, None]
    mean = np.floor((2 * alpha - base) / step)[:, None]  # carries one mean of T to the other
    total = np.concatenate([longest - away, mean - away, mean + away], axis=1)
    allowed = (total <= longest) & (base[:, None] + total * step >= -reach[:, None] - ROUNDING * step)
    total = np.sort(np.where(allowed, total, -inf), axis=1)
    total[:, 1:][total[:, 1:] == total[:, :-1]] = -inf
    pair, _ = np.nonzero(total >= 0)
    total = total[total >= 0].astype(int)
    first, last = np.maximum(total - points + 1, 0), np.minimum(total, points - 1)
    lengths = np.maximum(last - first + 1, 0)
    count = int(lengths.sum())
    _check_edges(count, step)
    tight = (total == longest[pair, 0]) | (total == mean[pair, 0])
    tight &= direct[plus, minus][pair]
    which = np.repeat(np.arange(len(total)), lengths)
    k = np.arange(count) - (np.cumsum(lengths) - lengths - first)[which]
    nodes, source, sink = np.arange(size * points), 2 * size * points, 2 * size * points + 1
    scale = 2**30
    capacity = [np.floor(mass[:, None] * _hats(levels, step) * scale).ravel() for levels in z]
    rows = np.concatenate([np.full(len(nodes), source), len(nodes) + nodes, plus[pair][which] * points + k])
    heads = np.concatenate([nodes, np.full(len(nodes), sink), (size + minus[pair][which]) * points + total[which] - k])
    values = np.concatenate([*capacity, np.full(count, scale)]).astype(np.int32)
    graph = csr_array((values, (rows, heads)), shape=(sink + 1, sink + 1))
    few = np.append(np.ones(2 * len(nodes), dtype=bool), tight[which])
    few = csr_array((values[few], (rows[few], heads[few])), shape=graph.shape)
    value, kept = _cut(graph, few, source, sink, enough * scale, grain)
    if kept is None:
        return value / scale, np.full(size, inf)
    # The half-line that differs least, by mass, from what the cut keeps; if it hardly matters, the highest.
    gain = (capacity[0] * np.where(kept[nodes], 1.0, -1.0)).reshape(size, points)
    cost = np.concatenate([np.zeros((size, 1)), np.cumsum(gain, axis=1)], axis=1)
    near = cost <= cost.min(axis=1, keepdims=True) + 1e-6 * scale / size
    lost = points - near[:, ::-1].argmax(axis=1)
    M = np.where(lost == points, inf, alpha + z[0][:, 0] + step * (lost - 0.5))
    return value / scale, M


def _cut(
    graph: csr_array, few: csr_array, source: int, sink: int, enough: float, grain: int
) -> tuple[int, np.ndarray | None]:
    """A flow from source to sink, and the nodes, bool, that the source still reaches; None if `few` edges carry enough.

    The flow goes first along these, which nearly suffice where all is tight: there the search for the last paths takes
    minutes.
    """
    flow = maximum_flow(few, source, sink)
    if flow.flow_value >= enough:
        return flow.flow_value, None
    graph = graph - flow.flow
    ends = np.flatnonzero(graph.indices == sink)
    ends = np.append(ends, np.arange(graph.indptr[source], graph.indptr[source + 1]))
    graph.data[ends] -= graph.data[ends] % grain  # less is not worth a search either
    graph.eliminate_zeros()
    more = maximum_flow(graph, source, sink)
    graph = graph - more.flow
    graph.eliminate_zeros()
    reached = np.zeros(graph.shape[0], dtype=bool)
    reached[breadth_first_order(graph, source, return_predecessors=False)] = True
    return flow.flow_value + more.flow_value, reached


def _risk(outer: np.ndarray, mass: np.ndarray, M: np.ndarray, alpha: float) -> float:
    """The risk if label +1 is kept from the levels M (adversaries, columns) on, or from lower ones at no cost.

    `outer` (adversaries, adversaries, 2 columns - 1): half-widths for columns c and c' of the two labels at c + c'.
    """

    def forced(levels):
        """By the other label's levels: max over i and columns of G_ij(c + c') - levels."""
        over = [
            (sliding_window_view(reach, levels.shape[1]) - np.maximum(level, -1e300)).max(axis=1)
            for reaches, level in zip(outer, levels, strict=True)
            for reach in reaches
        ]
        return np.max(np.reshape(over, (len(levels), *levels.shape)), axis=0)

    N = forced(M)
    M = forced(N)
    return float((mass * (ndtr(M - alpha) + ndtr(N - alpha))).sum())
