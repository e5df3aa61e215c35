"""The two distributions of the paper: one feature that is likely right, and d that are each barely right.

Labels y are uniform on {-1, +1}. The weak features x_1..x_d are i.i.d. N(y eta, 1) with eta = alpha/√d, so that alone
they determine y as well as one N(y alpha, 1) would. `BernoulliFeature` is D_B (after Tsipras et al. 2019) and
`GaussianFeature` is D_G of Tramèr & Boneh 2019; they differ in the law of the strong feature x_0.
"""

from dataclasses import dataclass
from math import isfinite, log, sqrt
from typing import Any

import numpy as np
from scipy.special import ndtr

from tradeoff.checks import check_count

Support = Any  # anything with support(w): (batch, n) -> (batch,), as the sets of tradeoff.perturbations


def _check_weak_features(dist) -> None:
    """alpha as a finite float > 0 and d as an int ≥ 1, or a ValueError."""
    if not (_is_number(dist.alpha) and isfinite(dist.alpha) and dist.alpha > 0):
        raise ValueError(f"alpha is {dist.alpha!r}, but the weak features need a finite signal alpha > 0")
    object.__setattr__(dist, "d", check_count(dist.d, "d"))
    object.__setattr__(dist, "alpha", float(dist.alpha))


def _is_number(value) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


@dataclass(frozen=True)
class BernoulliFeature:
    """D_B: x_0 = y with probability p0 and -y otherwise; x_1..x_d i.i.d. N(y eta, 1), eta = alpha/√d.

    Raises ValueError unless alpha > 0 is finite, d ≥ 1 is an integer and 1/2 ≤ p0 < 1.

    >>> D_B = BernoulliFeature(alpha=2, d=100, p0=0.9)
    >>> D_B.eta, round(D_B.bayes_risk(), 10)
    (0.2, 0.0122004439)
    >>> only_x_0 = np.eye(101)[0]
    >>> round(D_B.linear_risk(only_x_0, Linf(0.4)), 10), D_B.linear_risk(only_x_0, L1(2))
    (0.1, 1.0)
    """

    alpha: float
    d: int
    p0: float

    def __post_init__(self):
        _check_weak_features(self)
        if not (_is_number(self.p0) and 0.5 <= self.p0 < 1):
            raise ValueError(f"p0 is {self.p0!r}, but x_0 must agree with y with a probability 1/2 ≤ p0 < 1")
        object.__setattr__(self, "p0", float(self.p0))

    @property
    def eta(self) -> float:
        """The mean alpha/√d of a weak feature under y = +1."""
        return self.alpha / sqrt(self.d)

    def sample(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """n ≥ 1 independent draws: x (n, d+1) and y (n,) in {-1, +1}, both float64; ValueError for fewer."""
        x, y = _sample_weak(self, n, rng)
        x[:, 0] = np.where(rng.random(len(y)) < self.p0, y, -y)
        return x, y

    def bayes_risk(self) -> float:
        """The least risk of any classifier: p0 Φ(-α - L/2α) + (1-p0) Φ(-α + L/2α), L = log(p0/(1-p0)).

        It decides by the sign of L x_0 + 2 eta Σ x_i, the log-likelihood ratio.
        """
        shift = log(self.p0 / (1 - self.p0)) / 2 / self.alpha
        return float(self.p0 * ndtr(-self.alpha - shift) + (1 - self.p0) * ndtr(-self.alpha + shift))

    def linear_risk(self, w: np.ndarray, S: Support | None = None, b: float | np.ndarray = 0.0) -> float | np.ndarray:
        """P[y(<w, x> + b) ≤ support_S(w)]: the exact robust risk of x ↦ sign(<w, x> + b), ties being errors.

        ½ Σ_{y=±1} [ p0 Φ((s - w_0 - eta Σw_i - yb)/σ) + (1-p0) Φ((s + w_0 - eta Σw_i - yb)/σ) ], where s = support_S(w)
        and σ = ‖(w_1..w_d)‖_2; for σ = 0 each Φ is a step. `w` is (d+1,) for a float, or (batch, d+1) for a (batch,);
        `b` is a number or (batch,); S = None leaves x as it is.

        Raises ValueError for a w of another shape, and for entries of w or b that are not finite.
        """
        w, b, one = _classifiers(self, w, b)
        slack, spread = _slack(self, w, S, b), _norm(w[:, 1:])
        right, wrong = (_normal_cdf(slack - x_0 * w[:, 0], spread) for x_0 in (1, -1))
        risk = (self.p0 * right + (1 - self.p0) * wrong).mean(axis=0)
        return float(risk[0]) if one else risk


@dataclass(frozen=True)
class GaussianFeature:
    """D_G: x_0 ~ N(y, alpha^-2); x_1..x_d i.i.d. N(y eta, 1), eta = alpha/√d.

    Raises ValueError unless alpha > 0 is finite and d ≥ 1 is an integer.

    >>> D_G = GaussianFeature(alpha=2, d=784)
    >>> round(D_G.bayes_risk(), 10)
    0.0023388675
    """

    alpha: float
    d: int

    def __post_init__(self):
        _check_weak_features(self)

    @property
    def eta(self) -> float:
        """The mean alpha/√d of a weak feature under y = +1."""
        return self.alpha / sqrt(self.d)

    def sample(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """n ≥ 1 independent draws: x (n, d+1) and y (n,) in {-1, +1}, both float64; ValueError for fewer."""
        x, y = _sample_weak(self, n, rng)
        x[:, 0] = y + x[:, 0] / self.alpha
        return x, y

    def bayes_risk(self) -> float:
        """The least risk of any classifier, Φ(-√2 α): that of the sign of alpha² x_0 + eta Σ x_i."""
        return float(ndtr(-sqrt(2) * self.alpha))

    def linear_risk(self, w: np.ndarray, S: Support | None = None, b: float | np.ndarray = 0.0) -> float | np.ndarray:
        """P[y(<w, x> + b) ≤ support_S(w)]: the exact robust risk of x ↦ sign(<w, x> + b), ties being errors.

        ½ Σ_{y=±1} Φ((s - w_0 - eta Σw_i - yb)/σ), where s = support_S(w) and σ² = w_0²/alpha² + Σw_i²; shapes and
        errors as for `BernoulliFeature.linear_risk`.
        """
        w, b, one = _classifiers(self, w, b)
        spread = np.hypot(w[:, 0] / self.alpha, _norm(w[:, 1:]))
        risk = _normal_cdf(_slack(self, w, S, b) - w[:, 0], spread).mean(axis=0)
        return float(risk[0]) if one else risk


def _sample_weak(dist, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """x (n, d+1) with the weak features in place and standard normal noise in column 0, and the labels y (n,)."""
    n = check_count(n, "n")
    y = rng.choice((-1.0, 1.0), size=n)
    x = rng.standard_normal((n, dist.d + 1))
    x[:, 1:] += dist.eta * y[:, None]
    return x, y


def _classifiers(dist, w, b) -> tuple[np.ndarray, np.ndarray, bool]:
    """w as (batch, d+1), b as (batch,), scaled together so that neither overflows below, and whether w was one vector.

    The risk does not change under the scaling; powers of two keep ties exact.
    """
    w, b = np.asarray(w, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if w.ndim not in (1, 2) or w.shape[-1] != dist.d + 1 or 0 in w.shape:
        raise ValueError(f"w has shape {w.shape}, but d = {dist.d} needs (d+1,) = ({dist.d + 1},) or (batch, d+1)")
    batch = np.atleast_2d(w)
    if b.shape not in ((), (len(batch),)) or (w.ndim == 1 and b.ndim):
        raise ValueError(f"b has shape {b.shape}, but w of shape {w.shape} needs one number or one per row of w")
    if not (np.all(np.isfinite(w)) and np.all(np.isfinite(b))):
        raise ValueError("w or b holds a value that is not finite: a linear classifier needs finite weights")
    b = np.broadcast_to(b, len(batch))
    _, exponent = np.frexp(np.maximum(np.abs(batch).max(axis=1), np.abs(b)))
    return np.ldexp(batch, -exponent[:, None]), np.ldexp(b, -exponent), w.ndim == 1


def _slack(dist, w: np.ndarray, S: Support | None, b: np.ndarray) -> np.ndarray:
    """support_S(w) - eta Σw_i - yb for y = +1 and -1, (2, batch): what the rest of y(<w, x> + b) must exceed."""
    support = 0.0 if S is None else S.support(w)
    return support - dist.eta * w[:, 1:].sum(axis=1) - np.multiply.outer((1.0, -1.0), b)


def _norm(w: np.ndarray) -> np.ndarray:
    """‖w‖_2 of each row, not underflowing to the zero that would turn a normal law into a point."""
    top = np.abs(w).max(axis=1)
    return top * np.linalg.norm(w / np.where(top > 0, top, 1.0)[:, None], axis=1)


def _normal_cdf(t: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """P[spread·Z ≤ t] for a standard normal Z: a step at zero where spread = 0."""
    with np.errstate(over="ignore"):  # ±inf is right there
        return np.where(spread > 0, ndtr(t / np.where(spread > 0, spread, 1.0)), t >= 0)
