"""The least robust risk of any classifier on D_B or D_G, exactly: what training could at best achieve.

The weak features matter through T = Σ x_i/√d ~ N(y alpha, 1) alone. In the plane (x_0, T) the l_p ball of radius eps
is {(a, b) : |a|^p + d^{1-p/2} |b|^p ≤ eps^p} by Hölder, attained by moving all weak features equally, which leaves the
rest of them independent of y. So the game in d+1 dimensions is the one in the plane, for every d.

There a classifier does best with a threshold t(x_0) on T. Let M^i_± be the level below which adversary i makes yT err
for label y = +1 and x_0 = ±y, N^i_± the same for y = -1, and G_ij(u) the half-width at x_0-offset u of the Minkowski
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
rest. M = N is only one of the choices. `tradeoff.theory.program` solves the program, `tradeoff.theory.certified`
encloses its value and `tradeoff.theory.flow` bounds it without it.

On D_G a convex symmetric set K (one ball, or the affine adversary's hull) has V = Φ(-δ), δ the distance of μ = (1, α)
from K in the metric in which D_G is round; a half-plane attains it (Bhagoji et al. 2019, Dobriban et al. 2020). For
several sets on D_G there is no finite program: see `flow`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, pi

import numpy as np
from scipy.special import ndtr

from tradeoff.names import lookup
from tradeoff.perturbations.lp import Lp
from tradeoff.theory.distributions import BernoulliFeature, GaussianFeature
from tradeoff.theory.plane import SUMS, sums, widths
from tradeoff.theory.program import one_set, several_sets, two_sets


@dataclass(frozen=True)
class GameValue:
    """The least risk against an adversary, and the thresholds of a classifier that has it.

    On D_B thresholds[i] = ((M_+, M_-), (N_+, N_-)): adversary i makes the classifier err on label y = +1 (M) or -1 (N),
    where x_0 = y (first) or -y (second), exactly if yT is below it. One row for each set of "average", else one row in
    all. On D_G thresholds = (c, t): the classifier answers +1 iff c x_0 + T > t, or x_0 > 0
    if c is infinite. `classifier` turns either into a rule.

    >>> game_value(BernoulliFeature(alpha=2, d=100, p0=0.9), [Linf(0)])  # without noise: the Bayes risk
    GameValue(value=0.01220..., thresholds=(((-0.5493..., 0.5493...), (-0.5493..., 0.5493...)),), adversary='average')
    """

    value: float
    thresholds: tuple
    adversary: str = "average"


def game_value(
    dist: BernoulliFeature | GaussianFeature,
    sets: Sequence[Lp],
    adversary: str = "average",
    weights: Sequence[float] | np.ndarray | None = None,
) -> GameValue:
    """The infimum over all classifiers f of R_avg, R_max or R_affine, for l_p balls `sets`.

    "average": Σ λ_i R(f; S_i), λ_i = 1/n or `weights` (which then trace the Pareto front); "union": the adversary picks
    a set for each input; "affine": it mixes them, S_affine being the convex hull of the union. A union or an affine
    adversary is one set K in the plane, and with G_0 = G(0), G_2 = G(2), L = log(p0/(1-p0)) its value on D_B is

      V = min(½, p0 Φ(u - α) + (1-p0) Φ(G_0 - u - α)),  u = max(G_2/2, G_0/2 - L/(2α - G_0)), or G_2/2 if G_0 ≥ 2α,

    to rounding (theorem exact-game); several weighted adversaries are solved by a search, to about 1e-6. On D_G the
    value is exact to rounding for one set and for "affine".

    Raises ValueError for another distribution, sets that are not l_p balls, an unknown adversary, weights that are
    negative, do not sum to one, do not match the sets or come with another adversary than "average", and on D_G for the
    average or the union of several sets.

    >>> D_B = BernoulliFeature(alpha=2, d=100, p0=0.9)
    >>> balls = (Linf(D_B.eta), L1(2))
    >>> [round(game_value(D_B, balls, adversary).value, 6) for adversary in ("average", "union", "affine")]
    [0.195743, 0.22887, 0.249625]
    >>> round(game_value(D_B, balls, weights=(0.75, 0.25)).value, 6)
    0.195218
    >>> round(game_value(GaussianFeature(alpha=2, d=100), (Linf(0.1), L1(1)), "affine").value, 6)
    0.040205
    """
    return game_values(dist, [sets], adversary, None if weights is None else [weights])[0]


def game_values(
    dist: BernoulliFeature | GaussianFeature,
    games: Sequence[Sequence[Lp]],
    adversary: str = "average",
    weights: Sequence[Sequence[float] | np.ndarray] | None = None,
) -> list[GameValue]:
    """`game_value` of many games: `games` are sequences of sets, `weights` one sequence of weights for each.

    A Pareto front repeats one game under many weights, a phase diagram varies the radii. Averages over two sets are
    solved side by side, many times faster than one by one.

    Raises ValueError as `game_value` does, and unless there are as many weights as games.

    >>> D_B = BernoulliFeature(alpha=2, d=100, p0=0.9)
    >>> front = game_values(D_B, [(Linf(0.2), L1(2))] * 3, weights=[(1, 0), (0.5, 0.5), (0, 1)])
    >>> [round(game.value, 6) for game in front]
    [0.1, 0.195743, 0.030301]
    """
    if weights is None:
        weights = [None] * len(games)
    if len(weights) != len(games):
        raise ValueError(f"{len(weights)} weights for {len(games)} games: give one sequence of weights for each game")
    asked = [checked(dist, sets, adversary, w) for sets, w in zip(games, weights, strict=True)]
    if isinstance(dist, GaussianFeature):
        return [GameValue(*_half_plane(dist, sets, adversary), adversary) for sets, _ in asked]
    stay, flip = zip(*(sums(dist.d, sets, adversary) for sets, _ in asked), strict=True) if asked else ((), ())
    p0, alpha = dist.p0, dist.alpha
    solved = {}
    pairs = [k for k, G in enumerate(stay) if len(G) == 2]
    if pairs:
        b = np.array([stay[k].diagonal() / 2 for k in pairs])
        lambdas = np.array([asked[k][1] for k in pairs])
        solved.update(zip(pairs, two_sets(p0, alpha, b, np.array([flip[k] for k in pairs]), lambdas), strict=True))
    for k, G in enumerate(stay):
        if len(G) == 1:
            solved[k] = one_set(p0, alpha, float(G[0, 0]), float(flip[k][0, 0]))
        elif len(G) > 2:
            solved[k] = several_sets(p0, alpha, G, flip[k], asked[k][1])
    return [GameValue(*solved[k], adversary) for k in range(len(games))]


def _half_plane(dist: GaussianFeature, sets: Sequence[Lp], adversary: str) -> tuple[float, tuple[float, float]]:
    """V on D_G and (c, t): the largest margin of a linear score, in units of its standard deviation."""
    if len(sets) > 1 and adversary != "affine":
        raise ValueError(f"adversary {adversary!r} of {len(sets)} sets has no finite program on D_G: use flow_bounds")

    low, high = 0.0, pi / 2
    for _ in range(14):  # quasi-concave where it is positive
        angles = np.linspace(low, high, 33)
        x_0, T = dist.alpha * np.cos(angles), np.sin(angles)  # the score x_0 x_0 + T T, of standard deviation one
        reach = [S.support(np.stack([x_0, T * dist.d ** (0.5 - 1 / S.p)], axis=1)) for S in sets]
        margins = x_0 + dist.alpha * T - np.max(reach, axis=0)
        best = margins.argmax()
        low, high = angles[max(best - 1, 0)], angles[min(best + 1, 32)]
    if not margins[best] > 0:
        return 0.5, (0.0, -inf)
    return float(ndtr(-margins[best])), (float(x_0[best] / T[best]) if T[best] > 0 else inf, 0.0)


def checked(dist, sets, adversary: str, weights=None) -> tuple[tuple[Lp, ...], np.ndarray]:
    """The sets as a tuple, and the weights of the average as an array. ValueError as `game_value` says."""
    lookup(SUMS, adversary, "adversary")
    if not isinstance(dist, BernoulliFeature | GaussianFeature):
        raise ValueError(f"the distribution is {dist!r}, but must be a BernoulliFeature or a GaussianFeature")
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


def classifier(
    dist: BernoulliFeature | GaussianFeature, sets: Sequence[Lp], game: GameValue
) -> Callable[[float], float]:
    """The threshold t(x_0) of the game solved for these: the classifier that answers +1 iff T > t(x_0), T = Σ x_i/√d.

    On D_B t(v) = min over i, s of M^i_s - hw_i(v - s): the highest that does what it promises for label +1.

    Raises ValueError as `game_value` does, for any sets on D_G too, and for sets that do not fit the game.

    >>> D_B = BernoulliFeature(alpha=2, d=100, p0=0.9)
    >>> t = classifier(D_B, [Linf(0.2), L1(2)], game_value(D_B, [Linf(0.2), L1(2)]))
    >>> round(t(1.0), 3), round(t(-1.0), 3)
    (-0.867, 0.867)
    """
    sets, _ = checked(dist, sets, game.adversary)
    if isinstance(dist, GaussianFeature) != isinstance(game.thresholds[0], float):
        raise ValueError(f"the game was solved on another distribution than {dist}: give that one")
    if isinstance(dist, GaussianFeature):
        c, t = game.thresholds
        return lambda x_0: t - c * x_0 if x_0 else t
    reaches = widths(dist.d, sets, game.adversary)
    if len(reaches) != len(game.thresholds):
        raise ValueError(f"the game has thresholds for {len(game.thresholds)} sets, but {len(reaches)} are given: give "
                         "those that it was solved for")  # fmt: skip

    def threshold(x_0: float) -> float:
        levels = [
            (level, width((x_0 - s) * (1 - 1e-12)))  # the ends of a set are reached, whatever x_0 was rounded to
            for width, (M, _) in zip(reaches, game.thresholds, strict=True)
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
    sets, _ = checked(dist, sets, adversary)
    if not isinstance(dist, BernoulliFeature):
        raise ValueError(f"the distribution is {dist!r}, but step functions of x_0 are for D_B: use BernoulliFeature")
    edges, levels = np.concatenate([[-inf], cuts, [inf]]), np.asarray(levels, dtype=np.float64)
    if levels.shape != (len(edges) - 1,) or not np.all(np.diff(edges) >= 0):
        raise ValueError(f"{len(edges) - 2} cuts, levels of shape {levels.shape}: give ascending cuts, one level more")
    risks = []
    for width in widths(dist.d, sets, adversary):
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


def exclusive(dist: BernoulliFeature | GaussianFeature, sets: Sequence[Lp], adversary: str = "average") -> bool:
    """Whether geometry alone excludes any risk below ½: a sufficient criterion, for equal weights.

    In the plane (x_0, T) the classes are centred at ±μ, μ = (1, alpha). If 2μ lies in the Minkowski sum S_i ⊕ S_j for
    all i ≠ j then R_avg ≥ ½ (Theorem 1 and its dual norms are instances); if it lies in K ⊕ K, K = ∪ S_i, then
    R_max ≥ ½; and if μ lies in the convex hull of K then R_affine ≥ ½.

    Raises ValueError as `game_value` does (but any sets on D_G are answered too).

    >>> D_B = BernoulliFeature(alpha=2, d=100, p0=0.9)
    >>> exclusive(D_B, [Linf(2 * D_B.eta), L1(2)]), exclusive(D_B, [Linf(D_B.eta), L1(2)])
    (True, False)
    """
    sets, _ = checked(dist, sets, adversary)
    _, flip = sums(dist.d, sets, adversary)
    pairs = flip if len(flip) == 1 else flip[~np.eye(len(flip), dtype=bool)]
    return bool(np.all(pairs >= 2 * dist.alpha * (1 - 1e-12)))  # equality is meant, as at Theorem 1's radii
