"""The finite program of `tradeoff.theory.game`: thresholds of least risk, by a closed form, tables and minimum cuts.

Given the thresholds M_i, N_j of the inputs with x_0 = y, those with x_0 = -y are best as low as allowed,
M^i_- = b_i + max_j (b_j - N_j) and N^i_- = b_i + max_j (b_j - M_j), b_i = G_ii(0)/2 being the half-width of set i. So

  V = min ½ [F(M) + F(N)]  subject to  M_i + N_j ≥ G_ij(2),
  F(M) = Σ_i λ_i [p0 Φ(M_i - α) + (1-p0) Φ(b_i + max_j (b_j - M_j) - α)].

This drops the constraints M^i_- + N^j_- ≥ G_ij(2), which costs nothing. Let m = min (M_i - b_i), n = min (N_j - b_j);
they hold if m + n ≤ 0, as G_ij(2) ≤ b_i + b_j. Else let h(t) = Σ λ_i [Φ(b_i + t - α) + Φ(b_i - t - α)]; then
F(M) + F(N) is at least p0 A + (1-p0) B with A = Σ λ_i [Φ(b_i + m - α) + Φ(b_i + n - α)] and B that of -n and -m. A ≥ B
and p0 ≥ ½, so this is at least (A + B)/2 = (h(m) + h(-n))/2, and M_i = b_i + t, N_j = b_j - t, which keep all
constraints, do as well with t = m or t = -n.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from math import inf, log

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow
from scipy.special import ndtr

REACH = 7.0  # standard deviations beyond which a threshold loses nothing (1e-12), or everything
CAPACITY = 2**30 - 1  # of all cells of a cut: twice that is still an int32, which the solver wants
WIDTH = 44  # steps of 1/8, 5.5 standard deviations: half the first grid for two sets
BLOCKS, STARTS = 6, 6  # it has 6 × 6 blocks, of which 6 are gone on with
AROUND = 6  # steps of a later grid
KEPT = 3  # starts, after the first of these steps; then the best one
STEPS = (1 / 32, 1 / 32, *(2.0**-k for k in range(7, 26, 2)))
GIVE_UP = ((inf, inf), (-inf, -inf))  # label +1, to keep label -1: the constant classifier

Solution = tuple[float, tuple]  # the value and the thresholds of a GameValue


def one_set(p0: float, alpha: float, stay: float, flip: float) -> Solution:
    """Against one set K, in closed form (theorem exact-game): `stay` and `flip` are G(0) and G(2) of K ⊕ K."""
    level = flip / 2
    if stay < 2 * alpha:
        level = max(level, stay / 2 - log(p0 / (1 - p0)) / (2 * alpha - stay))
    value = float(p0 * ndtr(level - alpha) + (1 - p0) * ndtr(stay - level - alpha))
    if value >= 0.5:
        return 0.5, (GIVE_UP,)
    return value, (((level, stay - level), (level, stay - level)),)


# Two sets: all pairs of levels at once, for many games side by side


def two_sets(p0: float, alpha: float, b: np.ndarray, flip: np.ndarray, weights: np.ndarray) -> list[Solution]:
    """Against two sets each, to about 5e-7: b and weights (games, 2), flip (games, 2, 2).

    The first grid is coarse and covers all that matters; the best of several of its blocks go on, with starts on kinks
    that it may step over. The later ones, each four times finer, lie around the last solutions, and follow them if they
    come to the edge: there a tight constraint stays exactly tight when thresholds move by whole steps.
    """
    solutions = [(0.5, (GIVE_UP,) * 2)] * len(b)
    # Exclusive sets: Φ(M_1 - α) + Φ(N_2 - α) ≥ 1 and Φ(M_2 - α) + Φ(N_1 - α) ≥ 1.
    left = np.flatnonzero((flip[:, 0, 1] < 2 * alpha) | (weights.min(axis=1) < 0.5))
    parts = [left[k : k + 256] for k in range(0, len(left), 256)]
    with ThreadPoolExecutor(os.cpu_count()) as threads:  # NumPy lets them run side by side
        run = threads.map if len(parts) > 1 else map
        solved = run(lambda part: _two_sets(p0, alpha, b[part], flip[part], weights[part]), parts)
        for part, found in zip(parts, solved, strict=True):
            for game, solution in zip(part, found, strict=True):
                solutions[game] = solution
    return solutions


def _two_sets(p0, alpha, b, flip, weights) -> list[Solution]:
    games, step = len(b), 1 / 8
    middle = alpha + (b - alpha) % step  # so that M = b and the kinks of max_j (b_j - M_j) lie on the grid
    grid = _search(p0, alpha, b, flip, weights, middle, middle, step=step, count=WIDTH, blocks=BLOCKS)
    grid = [z.reshape(games, STARTS, *z.shape[1:]) for z in grid]
    best = [np.concatenate(pair, axis=1) for pair in zip(grid, _alike(p0, alpha, b, flip, weights), strict=True)]
    for turn, step in enumerate(STEPS):
        starts = best[0].shape[1]
        tasks = [np.repeat(z, starts, axis=0) for z in (b, flip, weights)]
        best = [z.reshape(games * starts, *z.shape[2:]) for z in best]
        active = np.arange(games * starts)
        while len(active):
            old, M, N = (z[active] for z in best)
            found = _search(p0, alpha, *[*(z[active] for z in tasks), M, N], step=step, count=AROUND)
            reach = (AROUND - 1) * step
            edge = [(z > y + reach) | (z < y - reach) for z, y in zip(found[1:], (M, N), strict=True)]
            better = found[0] < old
            for z, new in zip(best, found, strict=True):
                z[active[better]] = new[better]
            go_on = np.any(edge, axis=(0, 2)) & (found[0] < old - step * 1e-6)
            active = active[go_on] if turn else active[:0]
        best = [z.reshape(games, starts, *z.shape[1:]) for z in best]
        kept = best[0].argsort(axis=1)[:, : 1 if turn else KEPT]
        best = [np.take_along_axis(z, kept.reshape(games, -1, *[1] * (z.ndim - 2)), axis=1) for z in best]
    value, M, N = _promised(alpha, b, weights, *(z[:, 0] for z in best))
    lost = alpha + REACH - step  # however large the sums
    M, N = (np.where(z < lost, z, inf) for z in (M, N))
    flipped = [b + (b - z).max(axis=1, keepdims=True) for z in (N, M)]
    thresholds = np.stack([np.stack([M, flipped[0]], axis=2), np.stack([N, flipped[1]], axis=2)], axis=2)
    return [
        (0.5, (GIVE_UP,) * 2) if v >= 0.5 else (v, tuple((tuple(plus), tuple(minus)) for plus, minus in t))
        for v, t in zip(value.tolist(), thresholds.tolist(), strict=True)
    ]


def _promised(alpha, b, weights, value, M, N) -> list[np.ndarray]:
    """The solutions, with thresholds that keep the constraints that the program drops too: at p0 = ½ others may be as
    good as these."""
    m, n = ((z - b).min(axis=1) for z in (M, N))
    t = np.stack([m, -n])[:, :, None]
    risks = (weights * (ndtr(b + t - alpha) + ndtr(b - t - alpha))).sum(axis=2) / 2
    t = np.where(risks[0] <= risks[1], m, -n)[:, None]
    broken = (m + n > 0) & (risks.min(axis=0) <= value + 1e-12)  # never more, but for rounding
    M, N = (np.where(broken[:, None], z, old) for z, old in ((b + t, M), (b - t, N)))
    return [np.where(broken, np.minimum(risks.min(axis=0), value), value), M, N]


def _alike(p0, alpha, b, flip, weights) -> list[np.ndarray]:
    """Starts with M = N that the first grid may miss: [values, M, N] of shape (games, 3, ...).

    One set as if alone, the other as it then must, and the best of M_i = b_i + t, the kink of max_j (b_j - M_j).
    """
    gap = np.maximum(2 * (alpha - b), 1e-300)
    level = np.where(b < alpha, b - log(p0 / (1 - p0)) / gap, -inf)
    level = np.clip(np.maximum(level, flip[:, (0, 1), (0, 1)] / 2), alpha - REACH, 1e300)
    first = np.stack([level[:, 0], np.maximum(level[:, 1], flip[:, 0, 1] - level[:, 0])], axis=1)
    second = np.stack([np.maximum(level[:, 0], flip[:, 0, 1] - level[:, 1]), level[:, 1]], axis=1)
    least = (flip - b[:, :, None] - b[:, None, :]).max(axis=(1, 2)) / 2
    t = np.clip(least, -alpha - REACH, 0)[:, None, None] * np.linspace(0, 1, 65)
    p = weights[:, :, None]
    risks = (p * (p0 * ndtr(b[:, :, None] + t - alpha) + (1 - p0) * ndtr(b[:, :, None] - t - alpha))).sum(axis=1)
    third = b + np.take_along_axis(t[:, 0], risks.argmin(axis=1)[:, None], axis=1)
    starts = first, second, third
    M = np.stack(starts, axis=1)
    return [np.stack([_risk(p0, alpha, b, weights, z, z) for z in starts], axis=1), M, M.copy()]


def _search(p0, alpha, b, flip, weights, M, N, *, step, count, blocks=1) -> list[np.ndarray]:
    """The best M, N (games, 2) within `count` steps of the given ones, or infinite: [values, M, N].

    With blocks > 1 the levels of M are divided into blocks × blocks, and the best of the STARTS best blocks are found,
    (games · STARTS, 2); then N takes every other level only, and constraints may be missed by half a step of it, which
    later searches make good.
    """
    few = max(1, 2**17 // (2 * count + 2) ** 2)  # games whose tables fit into a cache
    if len(b) > few:
        parts = [[z[k : k + few] for z in (b, flip, weights, M, N)] for k in range(0, len(b), few)]
        found = [_search(p0, alpha, *part, step=step, count=count, blocks=blocks) for part in parts]
        return [np.concatenate(z) for z in zip(*found, strict=True)]
    moves, every = step * np.arange(-count, count + 1), 1 if blocks == 1 else 2
    X, Y = (z[:, :, None] + np.append(move, inf) for z, move in ((M, moves), (N, moves[::every])))
    games, rungs = np.arange(len(b)), np.arange(Y.shape[2])
    cost_M, cost_N = (_table(p0, alpha, b, weights, z) for z in (X, Y))
    # The least levels of N_j for the levels of M_i, (games, i, j, levels), and the best N from any levels on.
    need = (flip[:, :, :, None] - X[:, :, None] - Y[:, None, :, :1]) / (step * every)
    need -= 0.5 if blocks > 1 else 1e-6  # what is tight, but for rounding
    need = np.clip(np.ceil(need), 0, rungs[-1]).astype(np.int32)
    first, second = (np.maximum(need[:, 0, j, :, None], need[:, 1, j, None, :]) for j in (0, 1))
    best_second = np.minimum.accumulate(cost_N[:, :, ::-1], axis=2)[:, :, ::-1]
    best_N = np.minimum.accumulate(best_second[:, ::-1], axis=1)[:, ::-1]
    place = (games[:, None, None] * len(rungs) + first) * len(rungs) + second
    cost = cost_M + best_N.reshape(-1).take(place)
    if blocks > 1:
        size = X.shape[2] // blocks
        cost = cost.reshape(-1, blocks, size, blocks, size).swapaxes(2, 3).reshape(len(b), blocks**2, size**2)
        block = cost.min(axis=2).argsort(axis=1)[:, :STARTS]
        inside = np.take_along_axis(cost.argmin(axis=2), block, axis=1)
        i = tuple(
            ((z // d % blocks) * size + y).ravel()
            for z, y, d in ((block, inside // size, blocks), (block, inside % size, 1))
        )
        games = games.repeat(STARTS)
    else:
        i = np.unravel_index(cost.reshape(len(b), -1).argmin(axis=1), cost.shape[1:])
    first, second = first[games, *i], second[games, *i]
    j = np.where(rungs >= first[:, None], best_second[games, :, second], inf).argmin(axis=1)
    j = j, np.where(rungs >= second[:, None], cost_N[games, j], inf).argmin(axis=1)
    M, N = (np.stack([z[games, k, level[k]] for k in (0, 1)], axis=1) for z, level in ((X, i), (Y, j)))
    b, flip, weights = b[games], flip[games], weights[games]
    # What the grid rounds is exact again.
    tight = np.maximum((flip - M[:, :, None]).max(axis=1), alpha - REACH)
    N = np.maximum(N, tight)
    tight = np.where(N - tight < step * every, tight, N)
    values = [_risk(p0, alpha, b, weights, M, z) for z in (N, tight)]
    N = np.where((values[1] < values[0])[:, None], tight, N)
    return [np.minimum(*values), M, N]


def _table(p0, alpha, b, weights, X) -> np.ndarray:
    """F of all pairs of levels X (games, 2, levels): (games, levels, levels)."""
    lost = p0 * weights[:, :, None] * ndtr(X - alpha)
    # F's second term grows with max_j (b_j - M_j), hence is the larger of its values at each j.
    flipped = b[:, :, None] - X
    spoiled = sum(weights[:, i, None, None] * ndtr(b[:, i, None, None] + flipped - alpha) for i in (0, 1))
    flipped = (1 - p0) * spoiled
    return lost[:, 0, :, None] + lost[:, 1, None, :] + np.maximum(flipped[:, 0, :, None], flipped[:, 1, None, :])


def _risk(p0, alpha, b, weights, M, N) -> np.ndarray:
    """½ [F(M) + F(N)]."""
    risk = np.zeros(len(b))
    for X in (M, N):
        flipped = b + (b - X).max(axis=1, keepdims=True)
        risk = risk + (weights * (p0 * ndtr(X - alpha) + (1 - p0) * ndtr(flipped - alpha))).sum(axis=1)
    return risk / 2


# Any number of sets: minimum cuts


def several_sets(p0: float, alpha: float, stay: np.ndarray, flip: np.ndarray, weights: np.ndarray) -> Solution:
    """Against any number of sets, to about 1e-6: the whole program, on grids that are refined as for two sets."""
    n = len(weights)
    sums = np.empty((n, 2, n, 2))
    sums[:, 0, :, 0] = sums[:, 1, :, 1] = flip
    sums[:, 0, :, 1] = sums[:, 1, :, 0] = stay
    sums = np.minimum(sums.reshape(2 * n, 2 * n), 2 * (alpha + REACH))  # which one label alone can bear
    mass = np.outer(weights, (p0, 1 - p0)).ravel()

    def finer(M, N, step, count, allowed=0.0):
        """The best thresholds within `count` steps, or infinite, that violate a constraint by at most `allowed`."""
        moves = np.append(step * np.arange(-count, count + 1), inf)
        cells = np.stack([mass[:, None] * np.diff(ndtr(z[:, None] + moves - alpha)) for z in (M, N)])
        cells = np.minimum(cells, cells[:, :, :-1].sum())  # more is never lost, and would cost the others precision
        cells *= CAPACITY / max(cells.sum(), 1e-300)
        last = (sums - allowed - M[:, None] - N)[:, :, None] / step + 2 * count - np.arange(len(moves) - 1)
        cells_M, cells_N = cells.astype(int)
        _, i, j = minimum_cut(cells_M, cells_N, np.ceil(last - 1e-6) - 1)  # 1e-6: tight, rounded
        M, N = M + moves[i], N + moves[j]
        N = np.maximum((sums - M[:, None]).max(axis=0), alpha - REACH)
        M = np.maximum((sums - N).max(axis=1), alpha - REACH)
        return float(mass @ (ndtr(M - alpha) + ndtr(N - alpha))) / 2, M, N

    step = 1 / 8
    # The grid of adversary i is its half-width and whole steps, so that all constraints G(0) are met exactly.
    start = alpha + np.repeat((stay.diagonal() / 2 - alpha) % step, 2)
    candidates = [finer(start, start, step, int(REACH / step), allowed) for allowed in (0.0, step)]
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
        return 0.5, (GIVE_UP,) * n
    M, N = (np.where(level < alpha + REACH - step, level, inf) for level in (M, N))  # lost, however large the sums
    thresholds = np.stack([M.reshape(n, 2), N.reshape(n, 2)], axis=1).tolist()
    return value, tuple((tuple(plus), tuple(minus)) for plus, minus in thresholds)


def minimum_cut(cells_M: np.ndarray, cells_N: np.ndarray, last: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """The least Σ_a cells_M[a, :i_a].sum() + Σ_b cells_N[b, :j_b].sum() over admissible levels, and such levels i, j.

    Levels are admissible if j_b > last[a, b, i_a] for all a and b; the highest ones always are. `cells`, whole numbers
    (variables, levels - 1) of sum ≤ CAPACITY, are the costs of going up a level; `last` (variables, variables,
    levels - 1) does not increase along its last axis, and is -1 where any j_b will do.

    A cell is lost or kept, and of two cells in conflict one is lost: a minimum vertex cover of a bipartite graph, hence
    a minimum cut. Its value is that of a flow, which is verified in whole numbers: no admissible levels cost less.

    Raises ArithmeticError if the flow is none.

    >>> minimum_cut(np.array([[1, 5]]), np.array([[2, 2]]), np.array([[[1, 0]]]))  # i + j ≥ 2
    (3, array([1]), array([1]))
    """
    m, rungs = cells_M.shape
    infinite = CAPACITY + 1
    plus = np.arange(m * rungs).reshape(m, rungs)
    minus, source, sink = plus + m * rungs, 2 * m * rungs, 2 * m * rungs + 1
    # Cell (a, k) of M, kept, leaves M_a at level ≤ k: it is in conflict with the cells (b, 0 .. last) of N.
    a, b, k = np.nonzero(last >= 0)
    blocked = np.minimum(last[a, b, k], rungs - 1).astype(int)
    edges = (
        (np.full(plus.size, source), plus.ravel(), cells_M.ravel()),
        (minus.ravel(), np.full(plus.size, sink), cells_N.ravel()),
        (minus[:, 1:].ravel(), minus[:, :-1].ravel(), np.full(m * (rungs - 1), infinite)),
        (plus[a, k], minus[b, blocked], np.full(len(a), infinite)),
    )
    rows, columns, capacities = (np.concatenate(part) for part in zip(*edges, strict=True))
    graph = csr_array((capacities.astype(np.int32), (rows, columns)), shape=(sink + 1, sink + 1))
    solved = maximum_flow(graph, source, sink)
    rest = graph - solved.flow
    inflow = solved.flow.sum(axis=0)
    if rest.data.min(initial=0) < 0 or np.any(inflow[:source]) or inflow[sink] != solved.flow_value:
        raise ArithmeticError("the maximum flow that scipy found is not a flow")
    rest.eliminate_zeros()
    reached = np.zeros(sink + 1, dtype=bool)
    reached[breadth_first_order(rest, source, return_predecessors=False)] = True
    kept, lost = reached[plus], reached[minus]
    i = np.where(kept.any(axis=1), kept.argmax(axis=1), rungs)
    j = np.where(lost.any(axis=1), rungs - lost[:, ::-1].argmax(axis=1), 0)
    return int(solved.flow_value), i, j
