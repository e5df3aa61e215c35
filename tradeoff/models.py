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


class DeadZone(nn.Module):
    """u = clamp((x - a) / (1 - 2a), 0, 1) of every pixel, 0 ≤ a < 1/2: what is within a of black or white becomes it.

    Noise of linf norm a or less changes no pixel that is black or white. In l1 or l2 the first a that is spent on such
    a pixel buys nothing: flipping it costs 1 - a, so that l1:10 buys 14 flips at a = 0.3, and l2:2 buys 8. Slopes
    vanish in the dead zones: attack with `StraightThrough` and `Flips`.

    >>> DeadZone(0.3)(torch.tensor([0.0, 0.25, 0.4, 0.5, 0.75]))
    tensor([0.0000, 0.0000, 0.2500, 0.5000, 1.0000])
    """

    def __init__(self, a: float):
        super().__init__()
        if not 0 <= a < 0.5:
            raise ValueError(f"the dead zone is {a!r} wide, but must be at least 0 and less than 1/2")
        self.a = a

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return ((x - self.a) / (1 - 2 * self.a)).clamp(0.0, 1.0)

    def extra_repr(self) -> str:
        return f"a={self.a}"


def wide_cnn() -> nn.Module:
    """conv 4×4 stride 2, 32 – conv 4×4 stride 2, 64 – fc 256 – fc 10, for 28×28 digits: 839,018 parameters.

    >>> sum(p.numel() for p in wide_cnn().parameters())
    839018
    """
    return nn.Sequential(
        nn.Conv2d(1, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 256),
        nn.ReLU(),
        nn.Linear(256, 10),
    )


def behind(a: float, body: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """The network `body` behind a dead zone of a.

    >>> behind(0.3, small_cnn)()[0]
    DeadZone(a=0.3)
    """

    def make() -> nn.Module:
        return nn.Sequential(DeadZone(a), body())

    return make


MODELS: dict[str, Callable[[], nn.Module]] = {
    "small_cnn": small_cnn,
    "paper_cnn": paper_cnn,
    "wide_cnn": wide_cnn,
    "dead_zone_cnn": behind(0.3, small_cnn),
    "dead_zone_wide_cnn": behind(0.3, wide_cnn),
}


def build(name: str, seed: int) -> nn.Module:
    """The named network with weights drawn from `seed`, the same on every device; the global seed is untouched.

    >>> bool((build("small_cnn", 0)[0].weight == build("small_cnn", 0)[0].weight).all())
    True
    """
    make = lookup(MODELS, name, "model")
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.manual_seed(seed)
        return make()
