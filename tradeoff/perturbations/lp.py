"""The lp balls {r : ‖r‖_p ≤ eps}: the additive noise of the paper.

One object serves proofs and attacks. Arrays are batched, (batch, ...) with any trailing shape, NumPy or torch; a
perturbation is as long as its example and every norm is taken over the trailing axes together. Norms are computed in
float64 whatever the input, projections of l1, l2 and linf in float32 where the input is: pairwise sums then keep them
within 5e-7 of the ball, half of what `contains` allows.
"""

from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device

from tradeoff.checks import check_radius

Array = Any  # a NumPy array or a torch tensor

TOLERANCE = 1e-6  # relative slack of `contains`: a few float32 roundings


def number(value: float) -> str:
    """The shortest text that reads back as `value`.

    >>> number(0.3), number(10.0)
    ('0.3', '10')
    """
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def check_shape(r: Array) -> None:
    """ValueError for an array without a batch axis or with an empty one."""
    if r.ndim < 2 or 0 in r.shape:
        raise ValueError(f"shape {tuple(r.shape)} is not a batch: expected (batch ≥ 1, features ≥ 1, ...)")


def flat(r: Array) -> Array:
    """(batch, ...) as float64 (batch, n); ValueError as `check_shape`."""
    check_shape(r)
    xp = array_namespace(r)
    return xp.reshape(xp.astype(r, xp.float64), (r.shape[0], -1))


def norm(r: Array, p: float) -> Array:
    """‖r‖_p of each example, float64, shape (batch,), without overflow for any p in [1, inf].

    >>> norm(np.array([[3.0, -4.0]]), 2)
    array([5.])
    """
    xp = array_namespace(r)
    a = xp.abs(flat(r))
    if p == 1:
        return xp.sum(a, axis=1)
    top = xp.max(a, axis=1)
    if p == inf:
        return top
    part = a / xp.where(top > 0, top, xp.ones_like(top))[:, None]
    power = part * part if p == 2 else part**p
    return top * xp.sum(power, axis=1) ** (1 / p)


@dataclass(frozen=True, repr=False)
class Lp:
    """The ball {r : ‖r‖_p ≤ eps}, 1 ≤ p ≤ inf. `Linf(eps)`, `L2(eps)` and `L1(eps)` are the usual ones.

    Raises ValueError for p outside [1, inf] and for a radius that is negative or not finite.

    >>> w = np.array([[3.0, -4.0]])
    >>> Linf(0.5).support(w), L2(0.5).support(w), L1(0.5).support(w)
    (array([3.5]), array([2.5]), array([2.]))
    >>> print(L1(10), Lp(1.5, 3), repr(Linf(8 / 255)))
    l1:10 l1.5:3 Linf(0.03137254901960784)
    """

    p: float
    eps: float

    def __post_init__(self):
        try:
            p = float(self.p) if not isinstance(self.p, str) else 0.0
        except TypeError:
            p = 0.0
        if not p >= 1:
            raise ValueError(f"p is {self.p!r}, but an lp norm needs 1 ≤ p ≤ inf")
        object.__setattr__(self, "p", p)
        object.__setattr__(self, "eps", check_radius(self.eps, f"radius of the {self.name} ball"))

    @property
    def name(self) -> str:
        """The family, without the radius: "linf", "l2", "l1", "l1.5"."""
        return f"l{number(self.p)}" if self.p < inf else "linf"

    @property
    def dual(self) -> float:
        """The exponent q of the dual norm, 1/p + 1/q = 1."""
        return inf if self.p == 1 else 1.0 if self.p == inf else self.p / (self.p - 1)

    def __str__(self) -> str:
        return f"{self.name}:{number(self.eps)}"

    def __repr__(self) -> str:
        short = {inf: "Linf", 2.0: "L2", 1.0: "L1"}.get(self.p)
        return f"{short}({number(self.eps)})" if short else f"Lp({number(self.p)}, {number(self.eps)})"

    def scaled(self, beta: float) -> "Lp":
        """The ball of radius beta·eps: the share of a budget that an affine adversary spends here."""
        return Lp(self.p, check_radius(beta, "scale beta") * self.eps)

    def gauge(self, r: Array) -> Array:
        """The least beta ≥ 0 with r in beta·S, that is ‖r‖_p / eps; float64 (batch,)."""
        xp = array_namespace(r)
        size = norm(r, self.p)
        return size / self.eps if self.eps else xp.where(size > 0, inf, xp.zeros_like(size))

    def contains(self, r: Array) -> Array:
        """Whether ‖r‖_p ≤ eps (1 + 1e-6), bool (batch,). False for NaN."""
        return self.gauge(r) <= 1 + TOLERANCE

    def sample(self, like: Array, rng) -> Array:
        """Uniform draws from the ball, of the shape, dtype and device of `like` (Barthe et al. 2005).

        With |g_i|^p ~ Gamma(1/p) and an exponential E, g / (Σ|g_i|^p + E)^{1/p} is uniform in the unit ball.
        """
        shape = (like.shape[0], int(np.prod(like.shape[1:])))
        if self.p == inf:
            r = rng.uniform(-1.0, 1.0, shape)
        else:
            r = rng.gamma(1 / self.p, size=shape)  # |g|^p
            r /= r.sum(axis=1, keepdims=True) + rng.gamma(1.0, size=(shape[0], 1))
            r **= 1 / self.p
            r *= rng.choice((-1.0, 1.0), size=shape)
        r *= self.eps  # all in place: new arrays of this size cost more than the arithmetic
        xp = array_namespace(like)
        r = xp.asarray(np.reshape(r, like.shape), device=device(like))
        return xp.astype(r, like.dtype)

    def support(self, w: Array) -> Array:
        """max over r in S of <w, r> = eps ‖w‖_q: the worst shift of a linear score. (batch,), dtype of w."""
        xp = array_namespace(w)
        return xp.astype(self.eps * norm(w, self.dual), w.dtype)

    def argmax(self, w: Array) -> Array:
        """A maximiser of <w, r> over S, shape and dtype of w (zero where w is): the steepest ascent step.

        r_i = eps sign(w_i) (|w_i| / ‖w‖_q)^{q-1}; for p = 1 all of eps on the first largest |w_i|.
        """
        xp = array_namespace(w)
        check_shape(w)
        if self.p == inf:
            return self.eps * _library(w).sign(w)
        if self.p == 2:
            v, lib = _entries(w), _library(w)
            size = _length(v).clip(lib.finfo(v.dtype).tiny * max(1.0, self.eps))  # eps / size is finite
            return _cast((v * (self.eps / size)).reshape(w.shape), w.dtype)
        v = flat(w)
        a = xp.abs(v)
        if self.p == 1:
            first = xp.argmax(a, axis=1)[:, None]
            share = xp.astype(xp.arange(a.shape[1], device=device(a))[None, :] == first, a.dtype)
        else:
            top = xp.max(a, axis=1, keepdims=True)
            share = (a / xp.where(top > 0, top, xp.ones_like(top))) ** (self.dual - 1)
            share = share / xp.clip(norm(share, self.p), min=1e-300)[:, None]
        return xp.astype(xp.reshape(self.eps * xp.sign(v) * share, w.shape), w.dtype)

    def project(
        self, z: Array, low: Array | None = None, high: Array | None = None, *, overwrite: bool = False
    ) -> Array:
        """argmin over r in S of ‖r - z‖_2, exactly; shape and dtype of z. What lies in S is returned unchanged.

        With `low` ≤ 0 ≤ `high`, shaped as z, over those r in S that lie between them: what keeps x + r in a box.
        p = 1: soft thresholding at the level of Duchi et al. (2008), in a box of Croce & Hein (2021); p = 2: scaling;
        p = inf: clipping; other p by the Karush-Kuhn-Tucker conditions, r_i + λ r_i^{p-1} = |z_i|, up to the bounds.
        With `overwrite`, z may be lost, which saves memory traffic.
        """
        if (low is None) != (high is None):
            raise ValueError("a box has two bounds: give both low and high, or neither")
        lib = _library(z)
        check_shape(z)
        if self.p == inf:
            out = z if overwrite else lib.empty_like(z)
            r = lib.clip(z, -self.eps, self.eps, out=out)
            return r if low is None else lib.clip(r, low, high, out=out)
        clipped = z if low is None else lib.clip(z, low, high)
        v, most = _entries(z), _entries(clipped)
        if not 1e-12 < self.eps < 1e12:  # beyond it float32 could not hold the squares
            v, most = flat(z), flat(clipped)
        size = _size(most, self.p)
        if not (size > self.eps).any():  # what is asked for and not within the ball's reach is not within the box's
            return clipped
        if not np.isfinite(size).all() and v.dtype == lib.float32:
            v, most = flat(z), flat(clipped)
            size = _size(most, self.p)
        if self.eps == 0:
            r = 0 * most
        elif self.p == 2:
            bounds = () if low is None else (low.reshape(v.shape), high.reshape(v.shape))
            r = _scale(v, bounds, size, self.eps, out=lib.empty_like(v) if low is None else most)
        elif self.p == 1:
            r = _soft_threshold(v, abs(most), size, self.eps)
        else:
            bound = None if low is None else abs(flat(clipped)) / self.eps
            r = _cast(self.eps * _project_general(abs(flat(z)) / self.eps, bound, self.p), most.dtype)
            r = lib.where(_beside(size, most) > self.eps, lib.copysign(r, v), most)
        return _cast(r.reshape(z.shape), z.dtype)

    def apply(self, x: Array, r: Array) -> Array:
        """The perturbed input x + r."""
        return x + r


def Linf(eps: float) -> Lp:
    """{r : max_i |r_i| ≤ eps}.

    >>> Linf(0.3).contains(np.array([[0.3, -0.1], [0.31, 0.0]]))
    array([ True, False])
    """
    return Lp(inf, eps)


def L2(eps: float) -> Lp:
    """{r : (Σ r_i²)^½ ≤ eps}.

    >>> L2(1).project(np.array([[3.0, 4.0]]))
    array([[0.6, 0.8]])
    """
    return Lp(2, eps)


def L1(eps: float) -> Lp:
    """{r : Σ |r_i| ≤ eps}.

    >>> L1(1).project(np.array([[1.0, 0.5, 0.1]]))
    array([[0.75, 0.25, 0.  ]])
    """
    return Lp(1, eps)


# ---- The inner loops of attacks: NumPy and torch by what both spell alike, as wrappers that make all else alike would
# cost more than the work here. Entries are in float32 where the input is.


def _library(z: Array):
    """NumPy or torch itself."""
    if isinstance(z, np.ndarray):
        return np
    import torch

    return torch


def _entries(z: Array) -> Array:
    """(batch, ...) as (batch, n), in float32 if it is that already, else in float64."""
    v = flat(z) if z.dtype != _library(z).float32 else z
    return v.reshape(len(z), -1)


def _cast(v: Array, dtype: Any) -> Array:
    return v.astype(dtype, copy=False) if isinstance(v, np.ndarray) else v.to(dtype)


def _size(v: Array, p: float) -> np.ndarray:
    """The lp norm of each row, float64 (batch, 1) in NumPy; sums in the dtype of v, pairwise, which is exact enough."""
    if p == 1:
        return _column(abs(v).sum(axis=1, keepdims=True))
    return _square(v) ** 0.5 if p == 2 else _column(norm(v, p)[:, None])


def _length(v: Array) -> Array:
    """The l2 norm of each row, (batch, 1), in the dtype of v; squares in float64, never too large or too small."""
    lib = _library(v)
    if v.dtype == lib.float64:
        return norm(v, 2)[:, None]
    if lib is np:
        return np.linalg.norm(v.astype(float), axis=1, keepdims=True).astype(v.dtype)
    return lib.linalg.vector_norm(v, dim=1, keepdim=True, dtype=lib.float64).to(v.dtype)


def _square(v: Array) -> np.ndarray:
    """The sum of squares of each row, float64 (batch, 1) in NumPy."""
    return _column((v * v).sum(axis=1, keepdims=True))


def _column(v: Array) -> np.ndarray:
    """A number per row, (batch, 1), in float64 and in NumPy: the cheapest for what is that small."""
    return (v if isinstance(v, np.ndarray) else v.detach().cpu().numpy()).astype(float, copy=False)


def _beside(column: np.ndarray, a: Array) -> Array:
    """The column in the library, dtype and device of a."""
    if isinstance(a, np.ndarray):
        return column.astype(a.dtype)
    lib = _library(a)
    return lib.asarray(column, dtype=a.dtype, device=a.device)


def _soft_threshold(z: Array, most: Array, size: np.ndarray, eps: float) -> Array:
    """sign(z) min(max(|z| - θ, 0), most) with the θ ≥ 0 that makes its l1 norm eps > 0; θ = 0 where `most` ≤ |z|,
    (batch, n), of sum `size`, sums to no more.

    Without a box, where `most` is |z|, the soft threshold of Duchi et al. (2008); in one, that of Croce & Hein (2021),
    without their sort. Measured from the largest entry, so that large z and small eps do not cancel.
    """
    lib, r, a = _library(z), _library(z).empty_like(z), abs(z)
    top = np.where(size > eps, _column(lib.amax(a, axis=1, keepdims=True)), 0.0)
    lib.subtract(a, _beside(top, a), out=a)

    def shrink(theta):
        near = _beside(theta, a)
        lib.subtract(a, near, out=r)
        if a.dtype == lib.float32:  # of θ nothing is lost
            lib.subtract(r, _beside(theta - _column(near), a), out=r)
        return lib.minimum(lib.clip(r, 0, None, out=r), most, out=r)

    over = size / eps - 1
    count = _column(lib.sign(most).sum(axis=1, keepdims=True)).clip(1)
    r = _level(shrink, lambda r: _column(r.sum(axis=1, keepdims=True)) / eps - 1, over, -top,
               eps * over / count - top, 0 * top)  # fmt: skip
    return lib.copysign(r, z, out=r)


def _scale(z: Array, bounds: tuple[Array, ...], size: np.ndarray, eps: float, out: Array) -> Array:
    """c·z, clipped to the bounds if there are any, with the c from 0 to 1 that makes its l2 norm eps > 0; c = 1 where
    z, (batch, n), clipped to norm `size`, is no longer. Written to `out`."""
    lib = _library(z)

    def shrink(level):
        r = lib.multiply(z, _beside((-level) ** 0.5, z), out=out)
        return lib.clip(r, *bounds, out=out) if bounds else r

    # The squared norm is linear in c² as long as no entry arrives at its bound or leaves it.
    over = (size / eps) ** 2 - 1
    return _level(shrink, lambda r: _square(r) / eps**2 - 1, over, 0 * size - 1, -1 / (1 + over.clip(0)), 0 * size)


def _level(shrink, excess, over: np.ndarray, low: np.ndarray, level: np.ndarray, high: np.ndarray) -> Array:
    """shrink(λ) at the least λ from `low` to `high`, float64 (batch, 1), where excess(shrink(λ)), which falls, is zero;
    at `low` itself, where the excess is `over`, if that is not positive. `level` is the first guess.

    Secants, kept between the bounds by bisection: on a piecewise-linear excess they end once they stay on a piece.
    """
    going = over > 0
    last, before, level = low, over, np.where(going, level, low)
    for _ in range(200):
        r = shrink(level)
        over = excess(r)
        going &= abs(over) > (5e-7 if r.dtype == _library(r).float32 else 1e-15)
        if not going.any():
            break
        above = over > 0
        low, high = np.where(above, level, low), np.where(above, high, level)
        with np.errstate(over="ignore"):  # where the excess stands still: then by bisection
            new = level + over * (level - last) / (before - over + 1e-300)
        outside = (new <= low) | (new >= high)
        if outside.any():
            new = np.where(outside, (low + high) / 2, new)
            going &= abs(new - level) > 1e-15 * abs(level)
        new = np.where(going, new, level)
        last, before, level = level, over, new
    return r


def solve_sum(a: Array, linear: Array | float, curved: Array | float, power: float) -> Array:
    """The s ≥ 0 with linear·s + curved·s^power = a, elementwise, for a ≥ 0, factors ≥ 0 not both zero, and power ≥ 1.

    Newton's method from above, where the convexity keeps its steps from overshooting.

    >>> solve_sum(np.array([6.0]), 1.0, 1.0, 2.0)
    array([2.])
    """
    xp = array_namespace(a)
    tiny = 1e-300  # a factor of zero leaves the other bound
    factor = xp.clip(curved + xp.zeros_like(a), min=tiny)
    s = xp.minimum(a / xp.clip(linear + xp.zeros_like(a), min=tiny), (a / factor) ** (1 / power))
    for _ in range(100):
        step = (linear * s + curved * s**power - a) / (linear + curved * power * s ** (power - 1) + tiny)
        going = step > 1e-15 * s
        if not xp.any(going):
            break
        s = xp.where(going, xp.clip(s - step, min=0.0), s)  # what has settled stays, whatever its neighbours do
    return s


def _project_general(a: Array, room: Array | None, p: float) -> Array:
    """The projection of a ≥ 0, (batch, n), on the unit lp ball and below `room`, for 1 < p < inf; rows inside may come
    out as anything.

    With λ the multiplier, r_i + λ r_i^{p-1} = a_i, or r_i is at its bound; Σ r_i(λ)^p falls in λ and is at most 1 at
    λ = ‖a‖_q. Newton's method on its logarithm finds λ, kept between bounds. The inner equation is solved in whichever
    of r and r^{p-1} makes it convex.
    """
    xp = array_namespace(a)
    power = max(p - 1, 1 / (p - 1))

    def solve(lam):
        """r(λ) and dr/dλ."""
        linear, curved = (1.0, lam) if p >= 2 else (lam, 1.0)
        s = solve_sum(a, linear, curved, power)
        if p >= 2:
            return capped(s, -(s ** (p - 1)) / (1 + lam * (p - 1) * s ** (p - 2)))
        r = s**power
        return capped(r, -r / (r ** (2 - p) + lam * (p - 1)))

    def capped(r, slope):
        if room is None:
            return r, slope
        return xp.minimum(r, room), xp.where(r < room, slope, xp.zeros_like(slope))

    outside = norm(a if room is None else xp.minimum(a, room), p)[:, None] > 1
    low = xp.zeros_like(a[:, :1])
    high = norm(a, p / (p - 1))[:, None]
    high = xp.where(high > 0, high, xp.ones_like(high))
    lam = high / 2
    for _ in range(200):
        r, slope = solve(lam)
        total = xp.sum(r**p, axis=1, keepdims=True)
        change = p * xp.sum(r ** (p - 1) * slope, axis=1, keepdims=True)
        low, high = xp.where(total > 1, lam, low), xp.where(total > 1, high, lam)
        tiny = xp.where(change < 0, change, -xp.ones_like(change))
        new = lam - total * xp.log(xp.where(total > 0, total, xp.ones_like(total))) / tiny
        new = xp.where((new > low) & (new < high), new, (low + high) / 2)
        going = outside & (xp.abs(new - lam) > 1e-14 * lam)
        if not xp.any(going):
            break
        lam = xp.where(going, new, lam)
    return r / xp.clip(norm(r, p), min=1.0)[:, None]
