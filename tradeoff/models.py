"""The networks. Inputs are float NCHW images in [0, 1] (any normalisation is inside), outputs logits."""

from collections.abc import Callable

import torch
from torch import nn

from tradeoff.names import lookup


def small_cnn() -> nn.Module:
    """conv 4×4 stride 2, 16 – conv 4×4 stride 2, 32 – fc 100 – fc 10, for 28×28 digits: 166,406 parameters.

    The lightweight network of Wong & Kolter (2018).

    >>> sum(p.numel() for p in small_cnn().parameters())
    166406
    """
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 7 * 7, 100),
        nn.ReLU(),
        nn.Linear(100, 10),
    )


def paper_cnn() -> nn.Module:
    """conv 5×5, 32 – pool – conv 5×5, 64 – pool – fc 1024 – fc 10, for 28×28 digits: 3,274,634 parameters.

    The MNIST network of Madry et al. (2018) and of the paper.

    >>> sum(p.numel() for p in paper_cnn().parameters())
    3274634
    """
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 1024),
        nn.ReLU(),
        nn.Linear(1024, 10),
    )


MODELS: dict[str, Callable[[], nn.Module]] = {"small_cnn": small_cnn, "paper_cnn": paper_cnn}


def build(name: str, seed: int) -> nn.Module:
    """The named network with weights drawn from `seed`, the same on every device; the global seed is untouched.

    >>> bool((build("small_cnn", 0)[0].weight == build("small_cnn", 0)[0].weight).all())
    True
    """
    make = lookup(MODELS, name, "model")
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.manual_seed(seed)
        return make()
