"""Brightness and contrast of images."""

from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace

from tradeoff.checks import check_radius
from tradeoff.perturbations import parameters
from tradeoff.perturbations.lp import TOLERANCE, Array, number


@dataclass(frozen=True)
class BrightnessContrast:
    """Add at most `brightness` to every pixel, and stretch or shrink its distance from the image's mean m by at most
    the share `contrast`: x becomes m + (1 + c)(x - m) + b, cut off at 0 and 1, |b| ≤ brightness, |c| ≤ contrast.

    A perturbation is (b, c), shape (batch, 2). Without contrast this is the linf noise that is the same everywhere.

    >>> S = BrightnessContrast(0.3, 0.5)
    >>> print(S, S.scaled(0.5))
    bc:0.3,0.5 bc:0.15,0.25
    >>> x = np.array([0.0, 0.0, 0.4, 0.4]).reshape(1, 1, 2, 2)  # of mean 0.2
    >>> S.apply(x, np.array([[0.1, -0.5]])).ravel().round(3)
    array([0.2, 0.2, 0.4, 0.4])
    """

    brightness: float = 0.3
    contrast: float = 0.5

    name = "bc"

    def __post_init__(self):
        object.__setattr__(self, "brightness", check_radius(self.brightness, "brightness"))
        object.__setattr__(self, "contrast", check_radius(self.contrast, "contrast"))
        if max(self.brightness, self.contrast) > 1:
            raise ValueError(f"{self}: pixels range over [0, 1], and no contrast is below -1: give limits of at most 1")

    def __str__(self) -> str:
        return f"bc:{number(self.brightness)},{number(self.contrast)}"

    @property
    def _limits(self) -> tuple[float, float]:
        return self.brightness, self.contrast

    def scaled(self, beta: float) -> "BrightnessContrast":
        """Both limits times beta."""
        beta = check_radius(beta, "scale beta")
        return BrightnessContrast(beta * self.brightness, beta * self.contrast)

    def gauge(self, r: Array) -> Array:
        """The least beta with r in beta·S: the larger of |b|/brightness and |c|/contrast; float64 (batch,)."""
        return parameters.gauge(r, self._limits)

    def contains(self, r: Array) -> Array:
        """Whether each change is within the limits, bool (batch,)."""
        return self.gauge(r) <= 1 + TOLERANCE

    def sample(self, like: Array, rng) -> Array:
        """One uniform change per example of `like`, (batch, 2), of its dtype and device."""
        return parameters.sample(like, rng, self._limits)

    def grid(self, steps: int = 15) -> np.ndarray:
        """Every combination of evenly spaced b and c, the largest first; float64 (steps², 2)."""
        return parameters.grid(self._limits, (steps, steps))

    def check_input(self, x: Array) -> None:
        """ValueError unless x is a batch of images."""
        if x.ndim != 4:
            raise ValueError(f"brightness and contrast need images (batch, C, H, W), not shape {tuple(x.shape)}")

    def apply(self, x: Array, r: Array) -> Array:
        """The images x (batch, C, H, W) changed by r (batch, 2): shape, dtype and device of x. ValueError as
        `check_input`, and for another number of changes."""
        self.check_input(x)
        parameters.check_rows(r, x, "changes (b, c)", 2)
        xp = array_namespace(x)
        b, c = (xp.reshape(xp.astype(r[:, i], x.dtype), (-1, 1, 1, 1)) for i in (0, 1))
        mean = xp.mean(x, axis=(1, 2, 3), keepdims=True)
        return xp.clip(mean + (1 + c) * (x - mean) + b, 0.0, 1.0)
