"""Minimum vertex covers: the fewest points that meet every edge of a graph."""

from dataclasses import dataclass
from math import ceil, inf

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, maximum_bipartite_matching

SOLVABLE = 100_000  # edges that the mixed-integer solver is given at most


@dataclass(frozen=True)
class Cover:
    """A minimum vertex cover, enclosed: `lower` ≤ τ ≤ `upper` points; `points`, bool (n,), is a cover of `upper`."""

    lower: int
    upper: int
    points: np.ndarray


def vertex_cover(n: int, i: np.ndarray, j: np.ndarray) -> Cover:
    """The fewest of n points that meet every edge (i, j), exactly where the solver is given the rest.

    The relaxation min Σv, v_i + v_j ≥ 1, v ≥ 0 has an optimum in {0, ½, 1}: half of a minimum vertex cover of the
    bipartite double cover (left i with right j, left j with right i), which König's alternating paths read off a
    maximum matching. Some minimum vertex cover has all its ones and none of its zeros, so that only the halves are
    left. Up to `SOLVABLE` edges between them go to a mixed-integer solver, more to a greedy cover: lower < upper.

    >>> triangle = vertex_cover(3, np.array([0, 1, 2]), np.array([1, 2, 0]))  # 3/2 by the relaxation
    >>> triangle.lower, triangle.upper
    (2, 2)
    """
    left, right = np.concatenate([i, j]), np.concatenate([j, i])
    graph = csr_array((np.ones(len(left), np.int8), (left, right)), shape=(n, n))
    mate = maximum_bipartite_matching(graph, perm_type="row")  # left's, of each right point; -1 for none
    matched = np.flatnonzero(mate >= 0)
    # Alternating paths start at the unmatched left points: to the right along any edge, back along the matching.
    free = np.setdiff1d(left, mate[matched])
    source = 2 * n
    tail = np.concatenate([np.full(len(free), source), left, n + matched])
    head = np.concatenate([free, n + right, mate[matched]])
    paths = csr_array((np.ones(len(tail), np.int8), (tail, head)), shape=(source + 1, source + 1))
    reached = np.zeros(source + 1, bool)
    reached[breadth_first_order(paths, source, return_predecessors=False)] = True
    touched = np.zeros(n, bool)
    touched[left] = True
    twice = (touched & ~reached[:n]).astype(int) + reached[n:source]  # 2v
    points, half = twice == 2, twice == 1
    inside = half[i] & half[j]
    ends = np.unique(np.stack([i[inside], j[inside]]), return_inverse=True)
    names, (a, b) = ends[0], ends[1].reshape(2, -1)
    settled = int(points.sum())
    lower, rest = _rest_of_cover(len(names), a, b)
    points[names] = rest
    return Cover(settled + lower, int(points.sum()), points)


def _rest_of_cover(n: int, i: np.ndarray, j: np.ndarray) -> tuple[int, np.ndarray]:
    """A lower bound of τ, and a cover, of a graph whose relaxed cover is ½ everywhere."""
    if not n:
        return 0, np.zeros(0, bool)
    if len(i) > SOLVABLE:
        return ceil(n / 2), _greedy_cover(n, i, j)
    edges = np.arange(len(i))
    ends = csr_array((np.ones(2 * len(i)), (np.tile(edges, 2), np.concatenate([i, j]))), shape=(len(i), n))
    met = LinearConstraint(ends, 1, inf)
    exact = {"mip_rel_gap": 0}
    solved = milp(np.ones(n), integrality=np.ones(n), bounds=Bounds(0, 1), constraints=met, options=exact)
    return ceil(solved.mip_dual_bound - 1e-6), solved.x > 0.5


def _greedy_cover(n: int, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Keep the point of least degree, cover its neighbours, and so on; bool (n,)."""
    both = np.argsort(np.concatenate([i, j]), kind="stable")
    neighbours = np.split(
        np.concatenate([j, i])[both], np.cumsum(np.bincount(np.concatenate([i, j]), minlength=n))[:-1]
    )
    degree = np.array([len(near) for near in neighbours])
    covered, open_ = np.zeros(n, bool), np.ones(n, bool)
    for _ in range(n):
        if not open_.any():
            break
        kept = int(np.where(open_, degree, n).argmin())
        open_[kept] = False
        for near in neighbours[kept]:
            if open_[near]:
                open_[near], covered[near] = False, True
                np.subtract.at(degree, neighbours[near], 1)
    return covered
