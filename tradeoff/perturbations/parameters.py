"""Perturbations that are a few numbers for each example, every one within a limit of its own: (batch, limits)."""

from collections.abc import Sequence

import numpy as np
from array_api_compat import array_namespace, device

from tradeoff.perturbations.lp import Array


def gauge(r: Array, limits: Sequence[float]) -> Array:
    """The least beta with r within beta times the limits, that is the largest |r_i| / limit_i; float64 (batch,).
    ValueError unless r has a row of as many numbers for each example."""
    if r.ndim != 2 or r.shape[1] != len(limits):
        raise ValueError(f"parameters have shape (batch, {len(limits)}), not {tuple(r.shape)}")
    xp = array_namespace(r)
    size = xp.abs(xp.astype(r, xp.float64))
    parts = [one / limit if limit else xp.where(one > 0, xp.inf, xp.zeros_like(one))
             for one, limit in zip((size[:, i] for i in range(len(limits))), limits, strict=True)]  # fmt: skip
    return xp.max(xp.stack(parts), axis=0)


def sample(like: Array, rng, limits: Sequence[float]) -> Array:
    """Uniform numbers within the limits, a row per example of `like`, of its dtype and device."""
    xp = array_namespace(like)
    r = rng.uniform(-1.0, 1.0, (like.shape[0], len(limits))) * tuple(limits)
    return xp.astype(xp.asarray(r, device=device(like)), like.dtype)


def grid(limits: Sequence[float], counts: Sequence[int]) -> np.ndarray:
    """Every combination of counts[i] evenly spaced numbers within limits[i], the largest first, as they break most;
    float64 (product of the counts, limits).

    >>> grid((1.0, 2.0), (2, 3)).tolist()
    [[-1.0, -2.0], [-1.0, 2.0], [1.0, -2.0], [1.0, 2.0], [-1.0, 0.0], [1.0, 0.0]]
    """
    even = np.meshgrid(*(np.linspace(-1, 1, count) for count in counts), indexing="ij")
    share = np.stack(even, axis=-1).reshape(-1, len(limits))
    size = np.round((share**2).sum(axis=1), 9)  # equal sizes are to be equal, and keep their order
    return share[np.argsort(-size, kind="stable")] * tuple(limits)


def check_rows(r: Array, x: Array, what: str, columns: int) -> None:
    """ValueError unless r has a row of `columns` numbers for each example of x."""
    if tuple(r.shape) != (x.shape[0], columns):
        raise ValueError(f"{x.shape[0]} images need {what} of shape ({x.shape[0]}, {columns}), not {tuple(r.shape)}")
