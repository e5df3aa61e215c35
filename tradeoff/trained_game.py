"""Networks in the exact game: what adversarial training on samples of D_B reaches, against the least risk there is.

A network here is a function of x_0 and T = Σ x_i/√d, which are sufficient for the label, and is trained on vectors of
all d + 1 features by `tradeoff.training.fit`. The share of fresh samples that an attack breaks is a lower bound on its
risk. The classifier of `game_value` loses known samples, whose probability is known: counted on the same samples, the
difference of the two shares has a much narrower interval than either of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, inf, log, sqrt

import numpy as np
import torch
from scipy.special import ndtr
from torch import Tensor, nn

from tradeoff.attacks.ascent import attacking
from tradeoff.attacks.losses import margin
from tradeoff.checks import check_count
from tradeoff.data import Images
from tradeoff.perturbations import Lp
from tradeoff.theory import BernoulliFeature, game_value
from tradeoff.theory.plane import half_width
from tradeoff.training import fit


class Plane(nn.Module):
    """x (batch, d+1) ↦ (x_0, T), (batch, 2).

    >>> Plane()(torch.tensor([[1.0, 0.5, 0.5, 0.5, 0.5]]))
    tensor([[1., 1.]])
    """

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x[:, 0], x[:, 1:].sum(dim=1) / sqrt(x.shape[1] - 1)], dim=1)


def plane_network(hidden: Sequence[int], seed: int) -> nn.Sequential:
    """`Plane`, then ReLU layers of the given widths and two logits, in doubles; without any width, linear.

    The weights are drawn from `seed`; the global seed is untouched.

    >>> plane_network((32,), seed=0)(torch.zeros(4, 26, dtype=torch.float64)).shape
    torch.Size([4, 2])
    """
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.manual_seed(seed)
        layers: list[nn.Module] = [Plane()]
        for n, m in pairwise((2, *hidden)):
            layers += [nn.Linear(n, m), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear((2, *hidden)[-1], 2)).double()


@dataclass(frozen=True)
class PlaneSearch:
    """The worst of a grid of noises that move x_0 by u and all weak features equally, by b.

    u takes `points` values in [-eps, eps], and for each of them b takes `levels` values up to the reach of the ball in
    the plane (x_0, T), |b| ≤ `half_width(S, d, u)`/√d. Against a rule of x_0 and T no noise does better, but for the
    spacing.

    >>> attack = PlaneSearch(L1(2), points=3, levels=2)
    >>> attack.moves(4).tolist()
    [[-2.0, 0.0], [0.0, -0.5], [0.0, 0.5], [2.0, 0.0]]
    """

    S: Lp
    points: int = 9
    levels: int = 3
    box = None  # vectors have no bounds

    def __post_init__(self):
        check_count(self.points, "points")
        check_count(self.levels, "levels")

    def moves(self, d: int) -> np.ndarray:
        """The different (u, b), as rows."""
        offsets = self.S.eps * np.linspace(-1, 1, self.points)
        moves = [(u, b * half_width(self.S, d, u) / sqrt(d)) for u in offsets for b in np.linspace(-1, 1, self.levels)]
        return np.unique(np.array(moves) + 0.0, axis=0)  # -0 and 0 are one move

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, rng) -> Tensor:
        """The worst of them by margin, shape, dtype and device of x (batch, d+1)."""
        with attacking(model, x, y, self.S, None), torch.no_grad():
            moves = torch.as_tensor(self.moves(x.shape[1] - 1), dtype=x.dtype, device=x.device)
            r = moves[:, 1:].repeat(1, x.shape[1])
            r[:, 0] = moves[:, 0]
            points = (x + r[:, None]).flatten(0, 1)
            losses = margin(model(points), y.repeat(len(r))).reshape(len(r), -1)
            return x + r[losses.argmax(dim=0)]


def train(
    dist: BernoulliFeature,
    sets: Sequence[Lp],
    strategy: str,
    *,
    hidden: Sequence[int] = (64,),
    samples: int = 10_000,
    epochs: int = 10,
    lr: float = 1e-2,
    seed: int = 0,
) -> nn.Sequential:
    """A `plane_network` trained on samples of D_B against `PlaneSearch` of each set, "avg" or "max" (see `fit`)."""
    model = plane_network(hidden, seed)
    x, y = dist.sample(samples, np.random.default_rng(seed))
    images = Images(x, (y > 0).astype(np.int64), "d_b", f"{samples} samples of {dist}, seed {seed}", classes=2)
    attacks = [PlaneSearch(S, points=3 if S.p == inf else 9) for S in sets]
    fit(model, images, attacks, strategy, epochs=epochs, lr=lr, seed=seed, batch=64)
    return model


def plane_noise(
    model: nn.Sequential, dist: BernoulliFeature, S: Lp, x: np.ndarray, y: np.ndarray, points: int = 41
) -> np.ndarray:
    """For each sample a noise of S that breaks a `plane_network`: what it adds to x_0 and to T, NaN if none is found.

    x is (n, d+1), y (n,) in {-1, +1}, the result (n, 2). x_0 moves by one of `points` offsets over [-eps, eps], and T
    to the nearest value that the network answers wrongly there (`_columns`), if that is in reach: each weak feature
    moves by 1/√d of it. The network has the last word on every noise found.
    """
    x_0, T = x[:, 0], x[:, 1:].sum(axis=1) / sqrt(dist.d)
    offsets = S.eps * np.linspace(-1, 1, points)
    found = np.full((len(x), 2), np.nan)
    found[_answers(model, x_0, T) != y] = 0.0
    far = ceil(np.abs(T).max() + half_width(S, dist.d, 0.0)) + 1
    for s in (1, -1):
        for u, (known, answers) in zip(offsets, _columns(model, s + offsets, far), strict=True):
            for label in (1, -1):
                rows = np.flatnonzero((x_0 == s) & (y == label) & np.isnan(found[:, 0]))
                move = _to_nearest(known, answers != label, T[rows])
                rows, move = (part[np.abs(move) <= half_width(S, dist.d, u)] for part in (rows, move))
                broken = _answers(model, s + np.full(len(rows), u), T[rows] + move) != label
                found[rows[broken], 0], found[rows[broken], 1] = u, move[broken]
    return found


def _columns(model: nn.Sequential, x_0: np.ndarray, far: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each x_0 values of T over [-far, far], ascending, and the answers there.

    A grid of 1/32, and by bisection two neighbours 1e-9 apart where the answer changes.
    """
    T = np.arange(-32 * far, 32 * far + 1) / 32
    answers = _answers(model, np.repeat(x_0, len(T)), np.tile(T, len(x_0))).reshape(len(x_0), -1)
    row, k = np.nonzero(np.diff(answers))
    ends = np.stack([T[k], T[k + 1]])
    for _ in range(25):
        middle = ends.mean(axis=0)
        low = _answers(model, x_0[row], middle) == answers[row, k]
        ends = np.where([low, ~low], middle, ends)
    columns = []
    for i in range(len(x_0)):
        after = np.repeat(k[row == i] + 1, 2)
        here = ends[:, row == i].T.ravel(), np.stack([answers[i, k[row == i]], answers[i, k[row == i] + 1]]).T.ravel()
        at, answer = (np.insert(old, after, new) for old, new in zip((T, answers[i]), here, strict=True))
        columns.append((at, answer))
    return columns


def _to_nearest(known: np.ndarray, wrong: np.ndarray, T: np.ndarray) -> np.ndarray:
    """The least move of each T to a wrong value; none for T between two wrong neighbours, ±inf if all are right."""
    right_of = np.searchsorted(known, T)
    among = np.concatenate([[-inf], known[wrong], [inf]])
    above = np.searchsorted(among[1:-1], T) + 1
    up, down = among[above] - T, T - among[above - 1]
    return np.where(wrong[right_of - 1] & wrong[right_of], 0.0, np.where(up <= down, up, -down))


def _answers(model: nn.Sequential, x_0: np.ndarray, T: np.ndarray) -> np.ndarray:
    """The network's answers in {-1, +1} at points of the plane: all but its first layer."""
    with torch.no_grad():
        return 2 * model[1:](torch.tensor(np.stack([x_0, T], axis=1))).argmax(dim=1).numpy() - 1


def lost(thresholds: tuple, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Which samples the optimal classifier loses to an adversary with these `GameValue.thresholds`, bool (n,)."""
    M, N = thresholds
    T, right = x[:, 1:].sum(axis=1) / sqrt(x.shape[1] - 1), x[:, 0] == y
    return y * T < np.where(y > 0, np.where(right, *M), np.where(right, *N))


def threshold_risk(dist: BernoulliFeature, thresholds: tuple) -> float:
    """Its probability: ½ [p0 (Φ(M_+ - α) + Φ(N_+ - α)) + (1-p0) (Φ(M_- - α) + Φ(N_- - α))].

    >>> D_B = BernoulliFeature(alpha=2, d=100, p0=0.9)
    >>> game = game_value(D_B, (L1(2),))
    >>> round(threshold_risk(D_B, game.thresholds[0]) - game.value, 12)
    0.0
    """
    return float(ndtr(np.array(thresholds) - dist.alpha).mean(axis=0) @ (dist.p0, 1 - dist.p0))


@dataclass(frozen=True)
class Measured:
    """What the attacks found, as pairs (estimate, half-width of its interval).

    `risks` are those under each set, and `average` and `union` the excess risks R_avg - V_avg and R_max - V_max. The
    attacks bound a network's risks from below.
    """

    risks: tuple[tuple[float, float], ...]
    average: tuple[float, float]
    union: tuple[float, float]


def measure(
    model: nn.Sequential,
    dist: BernoulliFeature,
    sets: Sequence[Lp],
    n: int,
    rng: np.random.Generator,
    *,
    points: int = 41,
    failure: float = 1e-9,
) -> Measured:
    """The risks of a `plane_network` under `plane_noise`, on n fresh samples beside the optimal classifiers.

    With probability at least 1 - failure all the intervals hold together (`bernstein`).
    """
    x, y = dist.sample(n, rng)
    average, union = (game_value(dist, sets, adversary) for adversary in ("average", "union"))
    broken = np.array([~np.isnan(plane_noise(model, dist, S, x, y, points)[:, 0]) for S in sets], dtype=np.float64)
    optimal = np.array([lost(thresholds, x, y) for thresholds in average.thresholds])
    share = failure / (len(sets) + 2)
    risks = []
    for thresholds, difference in zip(average.thresholds, broken - optimal, strict=True):
        mean, half = bernstein(difference, 2, share)
        risks.append((threshold_risk(dist, thresholds) + mean, half))
    by_union = broken.max(axis=0) - lost(union.thresholds[0], x, y)
    return Measured(tuple(risks), bernstein((broken - optimal).mean(axis=0), 2, share), bernstein(by_union, 2, share))


def bernstein(values: np.ndarray, span: float, failure: float) -> tuple[float, float]:
    """The mean of n independent draws from an interval of length `span`, and the half-width of its interval.

    √(2 V log(4/failure)/n) + 7 span log(4/failure)/(3(n-1)), V the sample variance: it holds with probability at least
    1 - failure (Maurer and Pontil 2009, theorem 4, on both sides).

    >>> [round(number, 4) for number in bernstein(np.array([0.0, 0.0, 1.0, 0.0] * 25_000), 1, 1e-9)]
    [0.25, 0.0096]
    """
    n, price = len(values), log(4 / failure)
    return float(values.mean()), sqrt(2 * values.var(ddof=1) * price / n) + 7 * span * price / (3 * (n - 1))
