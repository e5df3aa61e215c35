r"""Conflicts: examples of different labels so close that their noise can meet.

Two examples conflict under a union of lp balls when some ball around the one meets some ball around the other. With
δ = |x - x'|, a ball A meets a ball B at scale c of all radii iff δ ∈ c(A ⊕ B), that is iff c is at least the critical
scale min over δ = r + s of max(gauge_A(r), gauge_B(s)). For a union it is the least over pairs of balls.

*The box changes nothing.* Meeting points may have to be images too. Clip a meeting point z coordinatewise to the
interval between x and x': no |z_i - x_i| and no |z_i - x'_i| grows, lp balls contain r with every r' such that
|r'| ≤ |r|, and z now lies in each box that contains x and x'.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from math import inf, isfinite
from pathlib import Path

import numpy as np

from tradeoff.files import make_folder, read_json, write_atomically, write_json
from tradeoff.perturbations import Lp, Union
from tradeoff.perturbations.lp import TOLERANCE
from tradeoff.progress import progress_bar

TILE = 1000  # examples: pairs are gone through in tiles of TILE × TILE
LEVELS = (0.4, 0.8, 0.9, 0.95)  # shares of the span at which `_candidates` counts coordinates
MOST = 10_000_000  # conflicts that are kept: 64 bytes each, and as much again for a while


def balls_of(sets) -> tuple[Lp, ...]:
    """The balls of a union, linf before l2 before l1, of each norm the largest.

    Raises ValueError for no set, for sets that are not linf, l2 or l1 balls and for a radius of zero.

    >>> balls_of((L1(10), Linf(0.3), L1(3)))
    (Linf(0.3), L1(10))
    """
    sets = tuple(sets.sets) if isinstance(sets, Union) else (sets,) if isinstance(sets, Lp) else tuple(sets)
    if not sets:
        raise ValueError("no set to conflict under: give at least one ball, such as 'linf:0.3'")
    for S in sets:
        if not (isinstance(S, Lp) and S.p in (1, 2, inf)):
            raise ValueError(f"conflicts are known for linf, l2 and l1 balls, not for {S}: leave it out")
        if S.eps == 0:
            raise ValueError(f"the radius of {S} is 0, and has no scale at which it meets another: make it positive")
    return tuple(sorted({S.p: S for S in sorted(sets, key=lambda S: S.eps)}.values(), key=lambda S: -S.p))


def pairs_of(balls: Sequence[Lp]) -> list[tuple[Lp, Lp]]:
    """The pairs of balls that can meet, one with itself included: the columns of `critical_scales`."""
    return list(combinations_with_replacement(balls, 2))


def critical_scales(delta: np.ndarray, balls: Sequence[Lp]) -> np.ndarray:
    """The scale of the radii at which each pair of balls first meets, (m, pairs), for differences delta (m, n).

    Of a ball with itself ‖δ‖_p / 2ε. Of lp with lq, p > q, the best parts of δ ≥ 0 are r = min(δ, θ) and s = (δ-θ)_+:
    with p = inf because a cap θ on r leaves no smaller s, with q = 1 because min ‖δ-s‖_p over Σs ≤ t levels δ-s. The
    gauge of r grows and that of s falls with θ; where they cross is the critical scale. The entries of δ above that
    θ are found from sums over its largest k entries; within, θ is bisected.

    >>> critical_scales(np.array([[1.0, 0.2]]), (Linf(0.1), L1(0.8)))  # at 1.2 the second: 0.88 + 0.08 = 1.2 · 0.8
    array([[5.  , 1.2 , 0.75]])
    """
    top = -np.sort(-np.abs(delta), axis=1)
    n = top.shape[1]
    k = np.arange(1, n + 1)
    first, second = np.cumsum(top, axis=1), np.cumsum(top**2, axis=1)  # sums over the largest k
    norms = {inf: top[:, 0], 2: np.sqrt(second[:, -1]), 1: first[:, -1]}

    def gauges(A, B, theta, k, first, second, total):
        """Of min(δ, θ) in A and of (δ-θ)_+ in B, when the largest k entries are those above θ."""
        spread = theta if A.p == inf else np.sqrt(np.maximum(k * theta**2 + total - second, 0))
        peaked = first - k * theta if B.p == 1 else np.sqrt(np.maximum(second - 2 * theta * first + k * theta**2, 0))
        return spread / A.eps, peaked / B.eps

    columns = []
    for A, B in pairs_of(balls):
        if A.p == B.p:
            columns.append(norms[A.p] / (A.eps + B.eps))
            continue
        spread, peaked = gauges(A, B, top, k, first, second, second[:, -1:])
        above = np.maximum((peaked <= spread).sum(axis=1), 1)  # θ is below so many entries
        at = np.arange(len(top)), above - 1
        low, high = np.where(above < n, top[at[0], np.minimum(above, n - 1)], 0.0), top[at]
        sums = above, first[at], second[at], second[:, -1]
        for _ in range(54):
            theta = (low + high) / 2
            spread, peaked = gauges(A, B, theta, *sums)
            low, high = np.where(spread < peaked, theta, low), np.where(spread < peaked, high, theta)
        columns.append(np.maximum(*gauges(A, B, high, *sums)))
    return np.stack(columns, axis=1)


def _candidates(x, y, rows, cols, balls, reach) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of different labels in rows × cols that two necessary conditions of a conflict at `reach` leave.

    A conflict of A and B means <w, δ> ≤ reach (support_A(w) + support_B(w)) for each w ≥ 0. (1) w = δ, with Hölder's
    inequality: ‖δ‖² ≤ reach Σ ε {√n‖δ‖ (linf), ‖δ‖ (l2), span (l1)}. (2) w = 1 on the N coordinates where one example
    is high and the other low, at least τ apart: τN ≤ reach Σ ε N^{1-1/p}. Products of matrices give all ‖δ‖ and N; the
    N are small integers, exact in float32, and ‖δ‖ has the slack of its rounding.
    """
    a, b = x[rows], x[cols]
    n, span = x.shape[1], x.max() - x.min()
    size = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)
    rounding = 4 * (n + 4) * np.finfo(float).eps * size.max()
    square = size - 2 * a @ b.T - rounding
    left = y[rows][:, None] != y[cols]
    if rows == cols:
        left = np.triu(left)
    counts = {}
    for level in LEVELS if span else ():  # where all is one constant, nothing is high or low
        low, high = (x.min() + span * (1 + sign * level) / 2 for sign in (-1, 1))
        ends = [(z >= high).astype(np.float32) for z in (a, b)], [(z <= low).astype(np.float32) for z in (a, b)]
        counts[level] = ends[0][0] @ ends[1][1].T + ends[1][0] @ ends[0][1].T
    N = np.arange(n + 1)
    kept = np.zeros_like(left)
    for pair in pairs_of(balls):
        linear = reach * sum({inf: n**0.5, 2: 1, 1: 0}[S.p] * S.eps for S in pair)
        constant = reach * sum(S.eps * span for S in pair if S.p == 1)
        possible = square <= ((linear + (linear**2 + 4 * constant) ** 0.5) / 2) ** 2
        for level, count in counts.items():
            allowed = level * span * N <= reach * sum(S.eps * N ** (1 - 1 / S.p) for S in pair)
            possible &= count <= N[allowed].max()  # allowed from 0 up to there: τN is linear, the rest concave
        kept |= possible
    i, j = np.nonzero(kept & left)
    return i, j


def _may_conflict(delta, balls, reach) -> np.ndarray:
    """A cheaper, necessary condition for a conflict at `reach`, (m,): exact for pairs with linf, else (1) with all
    norms."""
    norms = {p: np.linalg.norm(delta, p, axis=1) for p in (inf, 2, 1)}
    kept = np.zeros(len(delta), bool)
    for A, B in pairs_of(balls):
        if B.p == inf:
            kept |= norms[inf] <= reach * (A.eps + B.eps)
        elif A.p == inf:
            kept |= np.linalg.norm(np.maximum(delta - reach * A.eps, 0), B.p, axis=1) <= reach * B.eps
        else:
            kept |= norms[2] ** 2 <= reach * (A.eps * norms[A.dual] + B.eps * norms[B.dual])
    return kept


def meeting_point(x: np.ndarray, other: np.ndarray, A: Lp, B: Lp) -> np.ndarray:
    """The point where A around x first meets B around `other`, p ≥ q, as the radii grow: coordinatewise between them.

    >>> meeting_point(np.array([0.0, 0.0]), np.array([1.0, 0.2]), Linf(0.2), L1(0.8))
    array([0.2, 0.2])
    """
    delta = (other - x).reshape(1, -1).astype(float)
    if A.p == B.p:
        return x + (delta * (A.eps / (A.eps + B.eps))).reshape(x.shape)
    low, high = 0.0, np.abs(delta).max()
    for _ in range(54):
        theta = (low + high) / 2
        spread = np.clip(delta, -theta, theta)
        low, high = (theta, high) if A.gauge(spread) < B.gauge(delta - spread) else (low, theta)
    return x + np.clip(delta, -high, high).reshape(x.shape)


@dataclass(frozen=True)
class Conflicts:
    """The pairs i < j of n points that conflict at some scale up to `limit`, with the critical scale of each pair of
    balls, (m, pairs)."""

    n: int
    balls: tuple[Lp, ...]
    limit: float
    i: np.ndarray
    j: np.ndarray
    scales: np.ndarray

    def scale(self, names: Sequence[str] = ()) -> np.ndarray:
        """(m,): the critical scale of each pair under the union of the balls named ("linf", ...); of all without."""
        chosen = [all(S.name in names for S in pair) or not names for pair in pairs_of(self.balls)]
        return self.scales[:, chosen].min(axis=1)


def find_conflicts(x: np.ndarray, y: np.ndarray, sets, limit: float, run=None, label: str | None = None) -> Conflicts:
    """All conflicts of the examples x (n, ...) with labels y (n,) under the union of `sets`, at scales up to `limit`.

    A tie is a conflict, up to the relative 1e-6 of `Lp.contains`. With a folder `run`, finished tiles are kept there,
    and an interrupted call goes on; `label` names the progress bar. Raises ValueError for x that is not finite, labels
    that do not fit or are all the same, sets as `balls_of` does, more than `MOST` conflicts, and a folder that holds
    tiles of something else.

    >>> found = find_conflicts(np.array([[0.0], [0.5], [2.0]]), np.array([0, 1, 0]), (Linf(1), L1(0.2)), limit=1)
    >>> found.i, found.j, found.scale(), found.scale(["l1"])
    (array([0, 1]), array([1, 2]), array([0.25, 0.75]), array([1.25, 3.75]))
    """
    balls = balls_of(sets)
    x, y = np.asarray(x), np.asarray(y)
    if x.ndim < 2 or 0 in x.shape or y.shape != x.shape[:1]:
        raise ValueError(f"examples of shape {x.shape} with labels of shape {y.shape}: give (n, features) and (n,)")
    x = x.reshape(len(x), -1).astype(float)
    if not np.isfinite(x).all():
        raise ValueError("the examples contain NaN or inf: remove them")
    if (y == y[0]).all():
        raise ValueError(f"all {len(y)} labels are {y[0]}: conflicts need at least two classes")
    if not (isfinite(limit) and limit > 0):
        raise ValueError(f"the largest scale is {limit!r}, but must be finite and positive")
    tiles = [slice(k, k + TILE) for k in range(0, len(x), TILE)]
    folder = None if run is None else _open_run(run, x, y, balls, limit)
    done = []
    with progress_bar(len(x) * (len(x) + 1) // 2, label) as bar:
        for number, (rows, cols) in enumerate(combinations_with_replacement(tiles, 2)):
            file = folder and folder / f"tile-{number:05}.npz"
            if file and file.exists():
                with np.load(file, allow_pickle=False) as kept:
                    tile = kept["i"], kept["j"], kept["scales"]
            else:
                tile = _tile(x, y, rows, cols, balls, limit)
                if file:
                    i, j, scales = tile
                    with write_atomically(file) as stream:
                        np.savez(stream, i=i, j=j, scales=scales)
            done.append(tile)
            if sum(len(part[0]) for part in done) > MOST:
                raise ValueError(f"more than {MOST:,} conflicts at scales up to {limit:g}: take smaller scales")
            a, b = len(x[rows]), len(x[cols])
            bar.update(a * (a + 1) // 2 if rows == cols else a * b)
    i, j, scales = (np.concatenate(parts) for parts in zip(*done, strict=True))
    order = np.lexsort((j, i))
    return Conflicts(len(x), balls, limit, i[order], j[order], scales[order])


def _open_run(run, x, y, balls, limit) -> Path:
    """The folder of a run's tiles, if they are of this run; ValueError otherwise."""
    folder = make_folder(run)
    digest = hashlib.sha256(x.tobytes() + y.astype(np.int64).tobytes()).hexdigest()
    setting = {"sets": str(Union(balls)), "limit": limit, "tile": TILE, "sha256": digest}
    if not (folder / "limits.json").exists():
        write_json(folder / "limits.json", setting)
    elif read_json(folder / "limits.json") != setting:
        raise ValueError(f"{folder} holds the conflicts of other examples, sets or scales: choose another folder, "
                         "or delete it")  # fmt: skip
    return folder


def _tile(x, y, rows, cols, balls, limit) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The conflicts of one tile, i, j and scales."""
    reach = limit * (1 + 2 * TOLERANCE)  # twice the slack, so that rounding loses no tie
    i, j = _candidates(x, y, rows, cols, balls, reach)
    i, j = i + rows.start, j + cols.start
    kept = [_may_conflict(np.abs(x[i[k]] - x[j[k]]), balls, reach) for k in _parts(len(i), 2**17 // x.shape[1])]
    kept = np.concatenate([np.zeros(0, bool), *kept])
    i, j = i[kept], j[kept]
    scales = [critical_scales(np.abs(x[i[k]] - x[j[k]]), balls) for k in _parts(len(i), 2**20 // x.shape[1])]
    scales = np.concatenate([np.zeros((0, len(pairs_of(balls)))), *scales])
    near = scales.min(axis=1) <= limit * (1 + TOLERANCE)
    return i[near], j[near], scales[near]


def _parts(total: int, size: int) -> list[slice]:
    return [slice(k, k + max(size, 1)) for k in range(0, total, max(size, 1))]
