"""Moves of training images that leave their class as it is: crops and flips (Krizhevsky et al. 2012; He et al. 2016,
section 4.2), smooth deformations (Simard et al. 2003)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, max_pool2d, pad

from tradeoff.perturbations import Elastic
from tradeoff.perturbations.elastic import sources

PAD = 4  # pixels


class Augmentation(Protocol):
    """Moves that are drawn for all images of an epoch at once, and made on some of them."""

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray: ...

    def apply(self, x: Tensor, r: np.ndarray) -> Tensor: ...


@dataclass(frozen=True)
class Crops:
    """Images shifted by up to `shift` pixels, at most PAD, and with `flips` flipped left to right or not."""

    shift: int
    flips: bool

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """A crop for each of n images, uniform: first row and first column in PAD ± shift, flipped or not; int64
        (n, 3)."""
        crops = rng.integers(0, (2 * self.shift + 1, 2 * self.shift + 1, 1 + self.flips), (n, 3))
        return crops + np.array([PAD - self.shift, PAD - self.shift, 0])

    def apply(self, x: Tensor, r: np.ndarray) -> Tensor:
        """The images moved as `draw` says, see `crop`."""
        return crop(x, r)


@dataclass(frozen=True)
class Warps:
    """Images deformed smoothly: each control point of a mesh moved as far as S has it, in one of four directions."""

    S: Elastic

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """A deformation of S for each of n images; float32 (n, 2, cells + 3, cells + 3)."""
        return self.S.sample(np.empty((n, 1), np.float32), rng)

    def apply(self, x: Tensor, r: np.ndarray) -> Tensor:
        """The images x (batch, C, H, W) so deformed, shape, dtype and device of x; ValueError unless they are that.

        >>> bar = torch.zeros(1, 1, 7, 7)
        >>> bar[..., 3] = 1.0
        >>> right = np.stack([np.ones((1, 4, 4)), np.zeros((1, 4, 4))], axis=1)
        >>> Warps(Elastic(1.0, 1)).apply(bar, right)[0, 0, 0].round()
        tensor([0., 0., 0., 0., 1., 0., 0.])
        """
        return self.S.apply(x, torch.as_tensor(r, device=x.device).to(x))


@dataclass(frozen=True)
class Deformations:
    """Images stretched, turned and slanted a little, deformed smoothly, as by `Warps`, and shifted by up to a pixel
    along each axis; a share `plain` of them only shifted.

    Sizes are those of the largest moves, drawn uniformly: `angle` in degrees, `stretch` the logarithm of a factor along
    each axis, `slant` that of a shear, `thickness` the share of its way that every pixel goes to the lightest of its
    3×3 neighbourhood or to the darkest, which makes strokes thicker or thinner. Pixels are interpolated bicubically,
    and gain contrast, so that as many as ever are white: a stroke that turned grey would be another problem for what
    attacks pixels.
    """

    S: Elastic = Elastic(1, 2)
    angle: float = 7.0
    stretch: float = 0.06
    slant: float = 0.1
    plain: float = 0.3
    thickness: float = 0.0

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """A move for each of n images: whether it is plain, the shift in pixels, the angle in radians, two stretches,
        the slant, the deformation, and the thickness; float32 (n, 8 + the deformation's entries)."""
        most = (np.radians(self.angle), self.stretch, self.stretch, self.slant)
        plain = rng.random((n, 1)) < self.plain
        shift = rng.integers(-1, 2, (n, 2))
        affine = rng.uniform(-1, 1, (n, 4)) * most
        smooth = self.S.sample(np.empty((n, 1)), rng).reshape(n, -1)
        thickness = rng.uniform(-1, 1, (n, 1)) * self.thickness
        return np.concatenate([plain, shift, affine, smooth, thickness], axis=1).astype(np.float32)

    def apply(self, x: Tensor, r: np.ndarray) -> Tensor:
        """The images x (batch, C, H, W) moved as `draw` says, shape, dtype and device of x; ValueError unless they are
        that, and large enough.

        >>> bar, r = torch.zeros(1, 1, 7, 7), np.zeros((1, 58), np.float32)
        >>> bar[..., 3] = 1.0
        >>> r[0, :2] = 1, -1  # plain, one pixel to the left
        >>> Deformations().apply(bar, r)[0, 0, 0]
        tensor([0., 0., 1., 0., 0., 0., 0.])
        """
        self.S.check_input(x)
        shifted = crop(x, np.concatenate([PAD - r[:, [2, 1]], np.zeros((len(r), 1))], axis=1).astype(np.int64))
        move = torch.as_tensor(r, device=x.device).to(x)
        angle, along, down, slant = move[:, 3:7].T
        cos, sin = angle.cos(), angle.sin()
        matrix = torch.stack([along.exp() * cos, slant - along.exp() * sin, down.exp() * sin, down.exp() * cos], dim=1)
        cells = self.S.cells + 3
        source = sources(x, move[:, 7:-1].reshape(-1, 2, cells, cells)) @ matrix.reshape(-1, 1, 2, 2).mT
        moved = grid_sample(shifted, source, mode="bicubic", padding_mode="zeros", align_corners=False)
        moved = moved.mul_(1.13).sub_(0.03).clamp_(0, 1)
        if self.thickness:
            thicker = move[:, -1, None, None, None]
            dark = thicker < 0
            around = max_pool2d(torch.where(dark, -moved, moved), 3, stride=1, padding=1)
            moved = moved.lerp(torch.where(dark, -around, around), thicker.abs())
        return torch.where(move[:, 0, None, None, None] > 0, shifted, moved)


# Of photographs, and of digits, which flips would make others. Two pixels at the control points are one at the others.
AUGMENTATIONS: Mapping[str, Augmentation | None] = {
    "none": None,
    "crops": Crops(PAD, True),
    "shifts": Crops(1, False),
    "warps": Warps(Elastic(2, 3)),
    "deformations": Deformations(),
    "strokes": Deformations(angle=10, stretch=0.08, plain=0.2, thickness=0.3),
    "sketches": Deformations(angle=12, stretch=0.1, slant=0.15, plain=0.1, thickness=0.4),
}


def crop(x: Tensor, r: np.ndarray) -> Tensor:
    """The images x (batch, C, H, W), padded with PAD zeros on every side, cropped to H×W at r and then flipped left to
    right where r says so; r is (batch, 3) as of `Crops.draw`. Shape, dtype and device of x.

    Raises ValueError unless x is a batch of images.

    >>> x = torch.arange(9.0).reshape(1, 1, 3, 3)
    >>> crop(x, np.array([[4, 5, 0]]))[0, 0], crop(x, np.array([[4, 5, 1]]))[0, 0]  # at the centre: 4, 4
    (tensor([[1., 2., 0.],
            [4., 5., 0.],
            [7., 8., 0.]]), tensor([[0., 2., 1.],
            [0., 5., 4.],
            [0., 8., 7.]]))
    """
    if x.ndim != 4:
        raise ValueError(f"crops are of images (batch, C, H, W), not of shape {tuple(x.shape)}")
    height, width = x.shape[2:]
    top, left, flipped = torch.as_tensor(r, device=x.device).T[:, :, None]
    column = torch.arange(width, device=x.device)
    rows = top + torch.arange(height, device=x.device)
    columns = left + torch.where(flipped == 1, width - 1 - column, column)
    # One gather over whole planes: twice as fast as windows, and as a loop over images.
    place = (rows[:, :, None] * (width + 2 * PAD) + columns[:, None, :]).flatten(1)
    planes = pad(x, (PAD,) * 4).flatten(2)
    return planes.gather(2, place[:, None].expand(-1, x.shape[1], -1)).reshape(x.shape)
