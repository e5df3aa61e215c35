"""Rotations and translations of images."""

from dataclasses import dataclass

import numpy as np
from array_api_compat import is_torch_array

from tradeoff.checks import check_radius
from tradeoff.perturbations import parameters
from tradeoff.perturbations.lp import TOLERANCE, Array, number


@dataclass(frozen=True)
class RotationTranslation:
    """Rotate by at most `angle` degrees, then shift by at most `shift` pixels along each axis (Engstrom et al. 2019).

    A perturbation is (dx, dy, degrees), shape (batch, 3): dx > 0 moves right, dy > 0 down, degrees > 0 turn
    counter-clockwise as displayed, about the centre of the image, ((size-1)/2, (size-1)/2): the middle pixel, or where
    the four in the middle meet. What was at (u, v) from the centre, u to the right and v downward, comes to be at
    (u cos + v sin + dx, -u sin + v cos + dy). `apply` interpolates bilinearly, once, between the pixels of the image
    and zeros around it. This set moves pixels, so it has no support function and no projection.

    >>> S = RotationTranslation(shift=3, angle=30)
    >>> print(S, S.scaled(0.5))
    rt:3px,30deg rt:1.5px,15deg
    >>> S.grid().shape
    (775, 3)
    >>> S.contains(np.array([[3.0, 0.0, -30.0], [0.0, 3.5, 0.0]]))
    array([ True, False])
    """

    shift: float = 3.0
    angle: float = 30.0

    name = "rt"

    def __post_init__(self):
        object.__setattr__(self, "shift", check_radius(self.shift, "shift", " pixels"))
        object.__setattr__(self, "angle", check_radius(self.angle, "angle", " degrees"))

    def __str__(self) -> str:
        return f"rt:{number(self.shift)}px,{number(self.angle)}deg"

    @property
    def _limits(self) -> tuple[float, float, float]:
        return self.shift, self.shift, self.angle

    def scaled(self, beta: float) -> "RotationTranslation":
        """Both limits times beta."""
        beta = check_radius(beta, "scale beta")
        return RotationTranslation(beta * self.shift, beta * self.angle)

    def gauge(self, r: Array) -> Array:
        """The least beta with r in beta·S: the largest of |dx|/shift, |dy|/shift, |degrees|/angle; float64 (batch,)."""
        return parameters.gauge(r, self._limits)

    def contains(self, r: Array) -> Array:
        """Whether each transform is within the limits, bool (batch,)."""
        return self.gauge(r) <= 1 + TOLERANCE

    def sample(self, like: Array, rng) -> Array:
        """One uniform transform per example of `like`, (batch, 3), of its dtype and device."""
        return parameters.sample(like, rng, self._limits)

    def grid(self, shifts: int = 5, angles: int = 31) -> np.ndarray:
        """The paper's grid, float64 (shifts² · angles, 3): every combination of evenly spaced shifts and angles.

        The largest moves come first, as they break most: of the digits that a network can be made to miss, a search in
        this order needs 1.3 tries each on one trained naturally and 17 on one trained on such moves; in the order of a
        nested loop 4 and 169.
        """
        return parameters.grid(self._limits, (shifts, shifts, angles))

    def check_input(self, x: Array) -> None:
        """ValueError unless x is a batch of square images larger than the shift, which would move them out of sight."""
        if x.ndim != 4:
            raise ValueError(f"rotations need images (batch, C, H, W), not shape {tuple(x.shape)}")
        if x.shape[2] != x.shape[3]:
            raise ValueError(f"rotations need square images, not {x.shape[2]}×{x.shape[3]}: crop or pad them")
        if self.shift >= x.shape[2]:
            raise ValueError(f"a shift of {number(self.shift)} px moves {x.shape[2]}×{x.shape[3]} images out of sight: "
                             f"choose one below {x.shape[2]} px")  # fmt: skip

    def apply(self, x: Array, r: Array) -> Array:
        """The images x (batch, C, H, W) moved by r (batch, 3): shape, dtype and device of x.

        NumPy images go through scipy.ndimage one by one (exact and slow), torch images through grid_sample (fast,
        differentiable in x); tests hold the two together. Raises ValueError as `check_input` does.
        """
        self.check_input(x)
        parameters.check_rows(r, x, "transforms (dx, dy, degrees)", 3)
        return _apply_torch(x, r) if is_torch_array(x) else _apply_numpy(x, r)


def _apply_numpy(x: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Each output pixel looks up its source: undo the shift, then the rotation, about the centre."""
    from scipy import ndimage

    out = np.empty_like(x)
    centre = (np.array(x.shape[2:]) - 1) / 2
    for image, moved, (dx, dy, degrees) in zip(x, out, np.asarray(r, dtype=np.float64), strict=True):
        cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        back = np.array([[cos, sin], [-sin, cos]])  # (row, column), rows grow downward
        offset = centre - back @ (centre + (dy, dx))
        for plane, target in zip(image, moved, strict=True):
            ndimage.affine_transform(plane, back, offset, output=target, order=1, mode="grid-constant")
    return out


def _apply_torch(x, r):
    """As `_apply_numpy`, in grid_sample's coordinates, which run from -1 to 1 over the pixels' outer edges."""
    import torch
    from torch.nn.functional import grid_sample

    height, width = x.shape[2:]
    r = r.to(x)
    cos, sin = torch.cos(torch.deg2rad(r[:, 2])), torch.sin(torch.deg2rad(r[:, 2]))
    rows = torch.arange(height, dtype=x.dtype, device=x.device) - (height - 1) / 2
    columns = torch.arange(width, dtype=x.dtype, device=x.device) - (width - 1) / 2
    v = rows[None, :, None] - r[:, 1, None, None]
    u = columns[None, None, :] - r[:, 0, None, None]
    cos, sin = cos[:, None, None], sin[:, None, None]
    # The coordinates lie apart in memory, which is faster to write and to read than interleaved.
    source = torch.stack(((cos * u - sin * v) * (2 / width), (sin * u + cos * v) * (2 / height)), dim=1)
    return grid_sample(x, source.permute(0, 2, 3, 1), mode="bilinear", padding_mode="zeros", align_corners=False)
