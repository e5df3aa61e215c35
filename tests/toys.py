"""A network that is nobody's, for attacks."""

import numpy as np
import torch
from torch import nn


def toy(channels: int = 1, classes: int = 4, norm: bool = False):
    """A random network with dropout, in evaluation mode, twelve images of 10×10 that touch the box, and their labels:
    the network's own, but for the first, which is wrong."""
    torch.manual_seed(0)
    norms = [nn.BatchNorm2d(4)] if norm else []
    model = nn.Sequential(
        nn.Conv2d(channels, 4, 3), *norms, nn.Tanh(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(4 * 64, classes)
    )
    for p in model.parameters():
        p.data.mul_(3)
    points = np.random.default_rng(0).uniform(-0.3, 1.3, (12, channels, 10, 10)).clip(0, 1)
    x = torch.from_numpy(points.astype(np.float32))
    y = model.eval()(x).argmax(dim=1)
    y[0] = (y[0] + 1) % classes
    return model, x, y
