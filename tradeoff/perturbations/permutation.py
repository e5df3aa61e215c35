"""Theorem 2's model of a small rotation-translation."""

from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace, device

from tradeoff.checks import check_count, check_radius
from tradeoff.perturbations.lp import Array


@dataclass(frozen=True)
class Swap:
    """Swap feature 0 with one of the next N features, or do nothing (Tramèr & Boneh 2019, Theorem 2).

    The weak features are exchangeable, so a small rotation-translation only moves x_0. A perturbation is the position
    j in 0..N that feature 0 goes to, integers of shape (batch,); 0 does nothing. ±3 pixels make N = 49.
    Moving is not adding, so there is no support function and no projection.

    >>> S = Swap(2)
    >>> S.apply(np.array([[7.0, 1.0, 2.0, 3.0]]), np.array([2]))
    array([[2., 1., 7., 3.]])
    >>> print(S, S.scaled(0.5), S.contains(np.array([2, 3])))
    swap:2 swap:1 [ True False]
    """

    N: int

    name = "swap"

    def __post_init__(self):
        object.__setattr__(self, "N", check_count(self.N, "N", least=0))

    def __str__(self) -> str:
        return f"swap:{self.N}"

    def scaled(self, beta: float) -> "Swap":
        """The first ⌊beta·N⌋ positions."""
        return Swap(int(check_radius(beta, "scale beta") * self.N + 1e-9))

    def gauge(self, r: Array) -> Array:
        """The least beta with r in beta·S, that is r / N; inf for a negative position; float64 (batch,)."""
        xp = array_namespace(r)
        size = xp.astype(r, xp.float64)
        return xp.where((size < 0) | (size > 0 if self.N == 0 else False), xp.inf, size / max(self.N, 1))

    def contains(self, r: Array) -> Array:
        """Whether each position is one of 0..N, bool (batch,)."""
        return self.gauge(r) <= 1

    def sample(self, like: Array, rng) -> Array:
        """One uniform position of 0..N per example of `like`, int64 (batch,), on its device."""
        return array_namespace(like).asarray(rng.integers(0, self.N + 1, like.shape[0]), device=device(like))

    def grid(self) -> np.ndarray:
        """All N + 1 positions."""
        return np.arange(self.N + 1)

    def check_input(self, x: Array) -> None:
        """ValueError unless x is a batch of vectors of more than N features."""
        if x.ndim != 2 or x.shape[1] <= self.N:
            raise ValueError(f"swap:{self.N} needs vectors (batch, n) with n > {self.N}, not shape {tuple(x.shape)}")

    def apply(self, x: Array, r: Array) -> Array:
        """The vectors x (batch, n) with features 0 and r swapped. ValueError as `check_input`, and unless r is a
        position of 0..n-1 for each."""
        self.check_input(x)
        xp, n = array_namespace(x), x.shape[1]
        if tuple(r.shape) != (x.shape[0],) or bool(xp.any((r < 0) | (r >= n))):
            raise ValueError(f"{x.shape[0]} vectors need as many positions of 0..{n - 1}, not {r}")
        here = xp.arange(x.shape[1], device=device(x))[None, :] == r[:, None]
        there = xp.sum(xp.where(here, x, xp.zeros_like(x)), axis=1)
        moved = xp.where(here, x[:, :1], x)
        return xp.concat((xp.astype(there, x.dtype)[:, None], moved[:, 1:]), axis=1)
