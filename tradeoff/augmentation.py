"""Moves of training images that leave their class as it is (Krizhevsky et al. 2012; He et al. 2016, section 4.2)."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

PAD = 4  # pixels


def draw_crops(n: int, rng: np.random.Generator) -> np.ndarray:
    """A crop for each of n images, uniform: first row and first column in 0..2·PAD, flipped or not; int64 (n, 3)."""
    return rng.integers(0, (2 * PAD + 1, 2 * PAD + 1, 2), (n, 3))


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
        raise ValueError(f"crops are of images (batch, C, H, W), not of shape {tuple(x.shape)}: leave augment off")
    height, width = x.shape[2:]
    top, left, flipped = torch.as_tensor(r, device=x.device).T[:, :, None]
    column = torch.arange(width, device=x.device)
    rows = top + torch.arange(height, device=x.device)
    columns = left + torch.where(flipped == 1, width - 1 - column, column)
    # One gather over whole planes: twice as fast as windows, and as a loop over images.
    place = (rows[:, :, None] * (width + 2 * PAD) + columns[:, None, :]).flatten(1)
    planes = pad(x, (PAD,) * 4).flatten(2)
    return planes.gather(2, place[:, None].expand(-1, x.shape[1], -1)).reshape(x.shape)
