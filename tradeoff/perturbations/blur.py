"""Blurred images."""

from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace, device

from tradeoff.checks import check_radius
from tradeoff.perturbations import parameters
from tradeoff.perturbations.lp import TOLERANCE, Array, number


@dataclass(frozen=True)
class GaussianBlur:
    """Blur by a Gaussian whose standard deviation is at most `sigma` pixels; at the edges the image is mirrored.

    A perturbation is the standard deviation, shape (batch, 1); its sign does not matter. Blurring averages pixels:
    images stay in [0, 1] and keep their mean.

    >>> S = GaussianBlur(2)
    >>> print(S, S.scaled(0.5), S.contains(np.array([[1.0], [2.5]])))
    blur:2px blur:1px [ True False]
    >>> S.apply(np.eye(3)[None, None], np.array([[0.5]]))[0, 0].round(2)
    array([[0.81, 0.18, 0.01],
           [0.18, 0.64, 0.18],
           [0.01, 0.18, 0.81]])
    """

    sigma: float = 2.0

    name = "blur"

    def __post_init__(self):
        object.__setattr__(self, "sigma", check_radius(self.sigma, "sigma", " pixels"))

    def __str__(self) -> str:
        return f"blur:{number(self.sigma)}px"

    def scaled(self, beta: float) -> "GaussianBlur":
        """The limit times beta."""
        return GaussianBlur(check_radius(beta, "scale beta") * self.sigma)

    def gauge(self, r: Array) -> Array:
        """The least beta with r in beta·S: |r| / sigma; float64 (batch,)."""
        return parameters.gauge(r, (self.sigma,))

    def contains(self, r: Array) -> Array:
        """Whether each blur is within the limit, bool (batch,)."""
        return self.gauge(r) <= 1 + TOLERANCE

    def sample(self, like: Array, rng) -> Array:
        """One uniform standard deviation of [0, sigma] per example of `like`, (batch, 1), of its dtype and device."""
        return abs(parameters.sample(like, rng, (self.sigma,)))

    def grid(self, steps: int = 31) -> np.ndarray:
        """Evenly spaced standard deviations, the largest first; float64 (steps, 1)."""
        return self.sigma * np.linspace(1, 0, steps)[:, None]

    def check_input(self, x: Array) -> None:
        """ValueError unless x is a batch of images larger than the blur, which would leave nothing to see."""
        if x.ndim != 4:
            raise ValueError(f"a blur needs images (batch, C, H, W), not shape {tuple(x.shape)}")
        if self.sigma >= min(x.shape[2:]):
            raise ValueError(f"a blur of {number(self.sigma)} px leaves nothing of {x.shape[2]}×{x.shape[3]} images: "
                             f"give less than {min(x.shape[2:])} px")  # fmt: skip

    def apply(self, x: Array, r: Array) -> Array:
        """The images x (batch, C, H, W) blurred by r (batch, 1): shape, dtype and device of x. ValueError as
        `check_input`, and for another number of blurs."""
        self.check_input(x)
        parameters.check_rows(r, x, "standard deviations", 1)
        down, along = (self._weights(r, x, n) for n in x.shape[2:])
        return down @ x @ array_namespace(x).matrix_transpose(along)

    def _weights(self, r: Array, x: Array, n: int) -> Array:
        """How much of each pixel of a line of n goes into each other, (batch, 1, n, n), each row of sum 1."""
        xp = array_namespace(x)
        place = np.arange(n)
        # A pixel and its images in mirrors half a pixel outside both edges, and in the mirrors' mirrors: 8 sigma away.
        again, mirrored = int((8 * self.sigma + n) / (2 * n)), int(8 * self.sigma / (2 * n))
        images = [place + 2 * n * k for k in range(-again, again + 1)]
        images += [2 * n * k - 1 - place for k in range(-mirrored, mirrored + 2)]
        distances = abs(place[:, None] - np.stack(images)[:, None, :])
        # Far fewer distances than pairs of pixels: their weights are worked out once.
        d = xp.arange(int(distances.max()) + 1, dtype=x.dtype, device=device(x))
        narrow = 1 / xp.clip(2 * xp.astype(r, x.dtype) ** 2, min=1e-6)  # no blur: all other weights are exp(-1e6) = 0
        weight = xp.exp(-(d**2) * narrow)
        where = (xp.asarray(distance.ravel(), device=device(x)) for distance in distances)
        weights = xp.reshape(sum(xp.take(weight, k, axis=1) for k in where), (-1, 1, n, n))
        return weights / xp.sum(weights, axis=-1, keepdims=True)
