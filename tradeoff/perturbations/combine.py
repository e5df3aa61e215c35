"""Several sets at once: the adversary that picks one, and the adversary that mixes two."""

from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace, device

from tradeoff.perturbations.lp import TOLERANCE, Array, Lp, flat, norm, solve_sum
from tradeoff.perturbations.moves import Move
from tradeoff.perturbations.permutation import Swap


def _column(v: Array, like: Array) -> Array:
    """(batch,) as (batch, 1, ..., 1), to broadcast against `like`."""
    return array_namespace(v).reshape(v, (-1,) + (1,) * (like.ndim - 1))


def _draw(rng: np.random.Generator, like: Array) -> Array:
    """One uniform number of [0, 1) per example of `like`, as a float64 (batch,) beside it."""
    return array_namespace(like).asarray(rng.uniform(0.0, 1.0, like.shape[0]), device=device(like))


def _split(size: Array, top: Array, share: Array, p: float, q: float) -> Array:
    """The part r_1 of `size` ≥ 0, (batch, n), that costs least in lp beside size - r_1 in lq, given that the largest
    entry, `top`, gives `share` of itself."""
    xp = array_namespace(size)
    if p == np.inf or q == 1:  # l_inf charges the largest entry alone, l1 charges all alike: what is cheap is cut off
        return xp.minimum(size, share * top)
    if q == np.inf or p == 1:
        return size - xp.minimum(size, (1 - share) * top)
    power = (p - 1) / (q - 1)
    if power < 1:
        return size - _split(size, top, 1 - share, q, p)
    # r_1 + factor · r_1^power = size, in units of `top`
    part = size / xp.where(top > 0, top, xp.ones_like(top))
    share = xp.clip(share, min=1e-150 ** (1 / power))
    return top * solve_sum(part, 1.0, (1 - share) / share**power, power)


@dataclass(frozen=True)
class Union:
    """The union of `sets`: for each input the adversary picks the type of noise (R_max of the paper).

    Members that move pixels (`Move`, such as `RotationTranslation`) may be listed beside balls, as in the presets; what
    only additive noise can answer (everything but `scaled` and the text) then raises a TypeError.

    >>> S = Union((Linf(0.5), L1(2.0)))
    >>> S.support(np.array([[3.0, -4.0]]))
    array([8.])
    >>> print(S)
    linf:0.5 | l1:2
    """

    sets: tuple

    def __post_init__(self):
        sets = tuple(self.sets)
        if not sets:
            raise ValueError("a union needs at least one set")
        object.__setattr__(self, "sets", sets)

    @property
    def name(self) -> str:
        return "|".join(S.name for S in self.sets)

    def __str__(self) -> str:
        return " | ".join(str(S) for S in self.sets)

    def _additive(self) -> tuple:
        for S in self.sets:
            if isinstance(S, Move):
                raise TypeError(
                    f"{S} changes the input as a whole and cannot be added to it: ask the members of the union"
                )
        return self.sets

    def scaled(self, beta: float) -> "Union":
        """The union of the scaled members."""
        return Union(tuple(S.scaled(beta) for S in self.sets))

    def contains(self, r: Array) -> Array:
        """Whether some member contains r, bool (batch,)."""
        xp = array_namespace(r)
        return xp.any(xp.stack([S.contains(r) for S in self._additive()]), axis=0)

    def sample(self, like: Array, rng) -> Array:
        """A draw from a member chosen uniformly for each example."""
        xp = array_namespace(like)
        choice = _draw(rng, like) * len(self.sets)
        r = xp.zeros_like(like)
        for k, S in enumerate(self._additive()):
            r = xp.where(_column(choice >= k, like), S.sample(like, rng), r)
        return r

    def support(self, w: Array) -> Array:
        """The largest support of the members, (batch,)."""
        xp = array_namespace(w)
        return xp.max(xp.stack([S.support(w) for S in self._additive()]), axis=0)

    def argmax(self, w: Array) -> Array:
        """A maximiser of <w, r>: that of the first member with the largest support."""
        xp = array_namespace(w)
        r, best = None, None
        for S in self._additive():
            value, candidate = S.support(w), S.argmax(w)
            r = candidate if r is None else xp.where(_column(value > best, w), candidate, r)
            best = value if best is None else xp.maximum(best, value)
        return r

    def project(self, z: Array) -> Array:
        """The nearest point of the union: the nearest of the members' projections (the first one in a tie)."""
        xp = array_namespace(z)
        r, best = None, None
        for S in self._additive():
            candidate = S.project(z)
            distance = norm(z - candidate, 2)
            r = candidate if r is None else xp.where(_column(distance < best, z), candidate, r)
            best = distance if best is None else xp.minimum(best, distance)
        return r

    def apply(self, x: Array, r: Array) -> Array:
        """The perturbed input x + r."""
        self._additive()
        return x + r


@dataclass(frozen=True)
class Affine:
    """S_affine(a, b) = {r_1 + r_2 : r_1 in βa, r_2 in (1-β)b, 0 ≤ β ≤ 1}: the adversary that mixes two types of noise.

    Of two lp balls it is the convex hull of their union, and a perturbation is one vector, shaped as the input. With a
    set that moves features first (`Move`), a perturbation is a pair (move, noise) whose gauges
    sum to at most one, and there is no support and no projection.

    >>> S = Affine(Linf(0.5), L1(2.0))
    >>> S.support(np.array([[3.0, -4.0]]))  # Claim 3: as of the union
    array([8.])
    >>> S.contains(np.array([[0.25, 1.25], [0.5, 1.75]]))
    array([ True, False])
    >>> print(Affine(RotationTranslation(3, 30), Linf(0.3)))
    rt:3px,30deg + linf:0.3
    """

    a: Lp | Move
    b: Lp

    def __post_init__(self):
        if not isinstance(self.a, Lp | Move) or not isinstance(self.b, Lp):
            raise ValueError(f"Affine({self.a}, {self.b}): mixes an lp ball, or a set that changes the input as a "
                             "whole (rt, bc, blur, elastic, swap), first, with an lp ball, second")  # fmt: skip

    @property
    def name(self) -> str:
        return f"{self.a.name}+{self.b.name}"

    def __str__(self) -> str:
        return f"{self.a} + {self.b}"

    def _hull(self) -> Union:
        if not isinstance(self.a, Lp):
            raise TypeError(f"{self.a} changes the input as a whole and cannot be added to it, so that {self} has no "
                             "support, no projection and no gauge of one array: give its gauge a pair (move, noise), "
                             "or ask its parts a and b")  # fmt: skip
        return Union((self.a, self.b))

    def scaled(self, beta: float) -> "Affine":
        """The mixtures of the scaled sets."""
        return Affine(self.a.scaled(beta), self.b.scaled(beta))

    def gauge(self, r: Array | tuple) -> Array:
        """The least budget that r costs: the sum of the gauges of its parts, and for two balls the least such sum over
        all r = r_1 + r_2; float64 (batch,).

        The best parts are coordinatewise between 0 and r, with marginal costs in a fixed proportion: |r_1|^{p-1} ∝
        |r_2|^{q-1}, or capped where p or q is 1 or inf. That leaves one unknown, the part of the largest coordinate
        that goes into r_1, in which the cost falls and then rises.
        """
        if isinstance(r, tuple):
            return self.a.gauge(r[0]) + self.b.gauge(r[1])
        self._hull()
        xp = array_namespace(r)
        size = xp.abs(flat(r))
        top = xp.max(size, axis=1, keepdims=True)

        def cost(share):
            r_1 = _split(size, top, share[:, None], self.a.p, self.b.p)
            return self.a.gauge(r_1) + self.b.gauge(size - r_1)

        low, high = xp.zeros_like(top[:, 0]), xp.ones_like(top[:, 0])
        golden = (5**0.5 - 1) / 2
        left, right = high - golden * (high - low), low + golden * (high - low)
        at_left, at_right = cost(left), cost(right)
        for _ in range(45):
            down = at_left > at_right  # the least cost is right of `left`
            low, high = xp.where(down, left, low), xp.where(down, high, right)
            fresh = xp.where(down, low + golden * (high - low), high - golden * (high - low))
            at_fresh = cost(fresh)
            left, right = xp.where(down, right, fresh), xp.where(down, fresh, left)
            at_left, at_right = xp.where(down, at_right, at_fresh), xp.where(down, at_fresh, at_left)
        least = xp.minimum(at_left, at_right)
        return xp.minimum(least, xp.minimum(self.a.gauge(size), self.b.gauge(size)))

    def contains(self, r: Array | tuple) -> Array:
        """Whether r is a mixture within the budget, up to a relative 1e-6; bool (batch,)."""
        return self.gauge(r) <= 1 + TOLERANCE

    def sample(self, like: Array, rng) -> Array | tuple:
        """Draws of both sets, weighted by a uniform β for each example."""
        xp = array_namespace(like)
        beta = xp.astype(_draw(rng, like), like.dtype)
        r_1, r_2 = self.a.sample(like, rng), self.b.sample(like, rng)
        if isinstance(self.a, Lp):
            return _column(beta, like) * r_1 + _column(1 - beta, like) * r_2
        if isinstance(self.a, Swap):  # whole positions: what the move spends is known only after it is drawn
            return r_1, _column(1 - xp.astype(self.a.gauge(r_1), like.dtype), like) * r_2
        return _column(beta, r_1) * r_1, _column(1 - beta, like) * r_2

    def support(self, w: Array) -> Array:
        """The support of the union: a linear score is shifted most by one type of noise alone (Claim 3)."""
        return self._hull().support(w)

    def argmax(self, w: Array) -> Array:
        """A maximiser of <w, r>, which the union already has."""
        return self._hull().argmax(w)

    def project(self, z: Array) -> Array:
        """The nearest mixture of two lp balls; shape and dtype of z. What lies in the set is returned unchanged.

        With w = `residual`(z, β), the derivative in β of ½‖w‖² is support_b(w) - support_a(w): β is bisected.
        """
        self._hull()
        xp = array_namespace(z)
        v = flat(z)
        low, high = xp.zeros_like(v[:, 0]), xp.ones_like(v[:, 0])
        for _ in range(52):
            beta = (low + high) / 2
            w = self.residual(v, beta)
            more = self.a.support(w) > self.b.support(w)
            low, high = xp.where(more, beta, low), xp.where(more, high, beta)
        w = self.residual(v, (low + high) / 2)
        r = xp.astype(xp.reshape(v - w, z.shape), z.dtype)
        return xp.where(_column(self.gauge(z) <= 1, z), z, r)

    def residual(self, z: Array, beta: Array) -> Array:
        """z minus the nearest r_1 + r_2 with r_1 in βa and r_2 in (1-β)b; beta is (batch,), each in [0, 1].

        Projecting in turn on the one and on the other converges; one turn is enough when linf comes first or l2 last
        (Yu 2013, on decomposing the proximal map). Other pairs get a hundred turns, a few digits where the set is thin.
        """
        xp = array_namespace(z)
        v = flat(z)
        parts = ((self.a, beta), (self.b, 1 - beta))
        (first, share_1), (second, share_2) = sorted(parts, key=lambda part: {np.inf: 0, 2.0: 2}.get(part[0].p, 1))

        def nearest(S, share, w):
            share = xp.clip(_column(share, w), min=1e-300)
            return share * S.project(w / share)

        r_2 = xp.zeros_like(v)
        for _ in range(1 if first.p == np.inf or second.p == 2 else 100):
            r_1 = nearest(first, share_1, v - r_2)
            last, r_2 = r_2, nearest(second, share_2, v - r_1)
            if xp.all(norm(r_2 - last, 2) <= 1e-13 * norm(v, 2)):
                break
        return xp.reshape(v - r_1 - r_2, z.shape)

    def apply(self, x: Array, r: Array | tuple) -> Array:
        """x + r, or the noise added to the moved input."""
        return self.b.apply(self.a.apply(x, r[0]), r[1]) if isinstance(r, tuple) else x + r
