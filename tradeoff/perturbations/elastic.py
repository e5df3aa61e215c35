"""Elastic deformations of images."""

from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace, device, is_torch_array

from tradeoff.checks import check_count, check_radius
from tradeoff.perturbations.lp import TOLERANCE, Array, number

FOLDING = 0.488  # of the distance between control points: no smaller displacement of them folds the plane


@dataclass(frozen=True)
class Elastic:
    """Move the control points of a mesh over the image by at most `shift` pixels along each axis, and the pixels
    smoothly with them: free-form deformation by cubic B-splines (Rueckert et al. 1999).

    The image is covered by cells × cells rectangles; the control points are their corners and one more row around, and
    a perturbation is (dx, dy) at each, shape (batch, 2, cells + 3, cells + 3). The displacement of a pixel is a
    weighted mean of those of the 16 points around it. Shifts below 0.488 of the side of a cell fold no image, in
    whatever directions (Choi & Lee 2000): left stays left. `apply` interpolates bilinearly and fills with zeros. This
    set moves pixels, so it has no support function and no projection.

    >>> S = Elastic(shift=3, cells=3)
    >>> print(S, S.scaled(0.5))
    elastic:3px,3cells elastic:1.5px,3cells
    >>> S.grid().shape
    (500, 2, 6, 6)
    """

    shift: float = 3.0
    cells: int = 3

    name = "elastic"

    def __post_init__(self):
        object.__setattr__(self, "shift", check_radius(self.shift, "shift", " pixels"))
        object.__setattr__(self, "cells", check_count(self.cells, "cells"))

    def __str__(self) -> str:
        return f"elastic:{number(self.shift)}px,{self.cells}cells"

    @property
    def _shape(self) -> tuple[int, int, int]:
        return 2, self.cells + 3, self.cells + 3

    def scaled(self, beta: float) -> "Elastic":
        """The shift times beta."""
        return Elastic(check_radius(beta, "scale beta") * self.shift, self.cells)

    def gauge(self, r: Array) -> Array:
        """The least beta with r in beta·S: the largest displacement of a control point over shift; float64 (batch,)."""
        if tuple(r.shape[1:]) != self._shape:
            raise ValueError(
                f"deformations have shape (batch, {', '.join(map(str, self._shape))}), not {tuple(r.shape)}"
            )
        xp = array_namespace(r)
        size = xp.max(xp.abs(xp.astype(xp.reshape(r, (r.shape[0], -1)), xp.float64)), axis=1)
        return size / self.shift if self.shift else xp.where(size > 0, xp.inf, xp.zeros_like(size))

    def contains(self, r: Array) -> Array:
        """Whether each deformation is within the limit, bool (batch,)."""
        return self.gauge(r) <= 1 + TOLERANCE

    def sample(self, like: Array, rng) -> Array:
        """A corner of the set per example of `like`, of its dtype and device: every control point moved as far as it
        may, in one of four directions. Uniform displacements average out: few of them break what corners break."""
        xp = array_namespace(like)
        signs = rng.integers(0, 2, (like.shape[0], *self._shape))
        return xp.astype(xp.asarray(self.shift * (2.0 * signs - 1), device=device(like)), like.dtype)

    def grid(self, deformations: int = 500) -> np.ndarray:
        """Corners of the set, drawn once for all, float64 (deformations, 2, cells + 3, cells + 3): no even grid covers
        so many numbers."""
        return self.sample(np.empty((deformations, 1)), np.random.default_rng(0))

    def check_input(self, x: Array) -> None:
        """ValueError unless x is a batch of images that the shift does not fold."""
        if x.ndim != 4:
            raise ValueError(f"deformations need images (batch, C, H, W), not shape {tuple(x.shape)}")
        most = FOLDING * min(x.shape[2:]) / self.cells
        if self.shift > most:
            raise ValueError(f"a shift of {number(self.shift)} px can fold {x.shape[2]}×{x.shape[3]} images of "
                             f"{self.cells}×{self.cells} cells: give at most {most:.2f}, or fewer cells")  # fmt: skip

    def apply(self, x: Array, r: Array) -> Array:
        """The images x (batch, C, H, W) deformed by r (batch, 2, cells + 3, cells + 3): shape, dtype and device of x.

        Each pixel shows what was where its displacement comes from. NumPy images go through scipy.ndimage one by one
        (exact and slow), torch images through grid_sample (fast, differentiable in x and r); tests hold the two
        together. ValueError as `check_input`, and for deformations of another shape.
        """
        self.check_input(x)
        if tuple(r.shape) != (x.shape[0], *self._shape):
            raise ValueError(f"{x.shape[0]} images need displacements of shape {(x.shape[0], *self._shape)}, "
                             f"not {tuple(r.shape)}")  # fmt: skip
        return (_apply_torch if is_torch_array(x) else _apply_numpy)(x, r)


def _spline(n: int, cells: int) -> np.ndarray:
    """The weight of each control point of a line in the displacement of each of its n pixels, (n, cells + 3): the cubic
    B-splines, of sum 1 everywhere."""
    place = (np.arange(n) + 0.5) * cells / n
    first = np.minimum(place.astype(int), cells - 1)
    t = place - first
    weights = np.zeros((n, cells + 3))
    near = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    for k, weight in enumerate(near):
        weights[np.arange(n), first + k] = weight / 6
    return weights


def _apply_numpy(x: np.ndarray, r: np.ndarray) -> np.ndarray:
    from scipy import ndimage

    out = np.empty_like(x)
    height, width = x.shape[2:]
    moved = _spline(height, r.shape[2] - 3) @ r @ _spline(width, r.shape[3] - 3).T
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    for image, target, (dx, dy) in zip(x, out, moved, strict=True):
        for plane, into in zip(image, target, strict=True):
            ndimage.map_coordinates(plane, (rows - dy, columns - dx), output=into, order=1, mode="grid-constant")
    return out


def _apply_torch(x, r):
    """As `_apply_numpy`."""
    from torch.nn.functional import grid_sample

    return grid_sample(x, sources(x, r), mode="bilinear", padding_mode="zeros", align_corners=False)


def sources(x, r):
    """Where the pixels of the torch images x come from, (batch, H, W, 2), column and row, in grid_sample's coordinates,
    which run from -1 to 1 over the pixels' outer edges."""
    import torch

    height, width = x.shape[2:]
    down, along = (torch.as_tensor(_spline(n, r.shape[2] - 3), dtype=x.dtype, device=x.device) for n in (height, width))
    dx, dy = (down @ r.to(x) @ along.T).unbind(dim=1)
    rows = torch.arange(height, dtype=x.dtype, device=x.device) - (height - 1) / 2
    columns = torch.arange(width, dtype=x.dtype, device=x.device) - (width - 1) / 2
    return torch.stack(((columns - dx) * (2 / width), (rows[:, None] - dy) * (2 / height)), dim=-1)
