"""Moves of training images that leave their class as it is (Krizhevsky et al. 2012; He et al. 2016, section 4.2)."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

PAD = 4  # pixels


class Augmentation(NamedTuple):
    """How far an image may be shifted, in pixels up to PAD, and whether it may be flipped left to right."""

    shift: int
    flips: bool


AUGMENTATIONS: Mapping[str, Augmentation] = {  # of photographs, and of digits, which flips would make others
    "none": Augmentation(0, False),
    "crops": Augmentation(PAD, True),
    "shifts": Augmentation(1, False),
}


def draw_crops(n: int, how: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """A crop for each of n images, uniform: first row and first column in PAD ± shift, flipped or not; int64 (n, 3)."""
    crops = rng.integers(0, (2 * how.shift + 1, 2 * how.shift + 1, 1 + how.flips), (n, 3))
    return crops + np.array([PAD - how.shift, PAD - how.shift, 0])


def crop(x: Tensor, r: np.ndarray) -> Tensor:
    """The images x (batch, C, H, W), padded with PAD zeros on every side, cropped to H×W at r and then flipped left to
    right where r says so; r is (batch, 3) as of `draw_crops`. Shape, dtype and device of x.

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
        raise ValueError(f"crops are of images (batch, C, H, W), not of shape {tuple(x.shape)}: augment='none'")
    height, width = x.shape[2:]
    top, left, flipped = torch.as_tensor(r, device=x.device).T[:, :, None]
    column = torch.arange(width, device=x.device)
    rows = top + torch.arange(height, device=x.device)
    columns = left + torch.where(flipped == 1, width - 1 - column, column)
    # One gather over whole planes: twice as fast as windows, and as a loop over images.
    place = (rows[:, :, None] * (width + 2 * PAD) + columns[:, None, :]).flatten(1)
    planes = pad(x, (PAD,) * 4).flatten(2)
    return planes.gather(2, place[:, None].expand(-1, x.shape[1], -1)).reshape(x.shape)
