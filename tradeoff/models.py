"""The networks. Inputs are float NCHW images in [0, 1] (any normalisation is inside), outputs logits."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from tradeoff.names import lookup


def small_cnn() -> nn.Module:
    """conv 4×4 stride 2, 16 – conv 4×4 stride 2, 32 – fc 100 – fc 10, for 28×28 digits: 166,406 parameters.

    The lightweight network of Wong & Kolter (2018).

    >>> sum(p.numel() for p in small_cnn().parameters())
    166406
    """
    return _strided_cnn(16, 100)


def _strided_cnn(width: int, hidden: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, width, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2 * width * 7 * 7, hidden),
        nn.ReLU(),
        nn.Linear(hidden, 10),
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


def small_resnet() -> nn.Module:
    """conv 4×4 stride 2, 32 – a block each of 32, 64 and 96 – pool – fc 10, for colour images: 223,498 parameters.

    The lightweight network for CIFAR-10: a pre-activation ResNet whose first convolution halves the image, as that of
    `small_cnn` does, which makes it cheap enough for a CPU (`benchmarks/cifar.py`).
    """
    return preact_resnet(_conv(3, 32, 4, 2), (32, 64, 96), (1, 2, 2), blocks=1)


def preact_resnet18() -> nn.Module:
    """conv 3×3, 64 – two blocks each of 64, 128, 256 and 512 – pool – fc 10, for colour images: 11,172,170 parameters.

    The pre-activation ResNet-18 of He et al. (2016, "Identity mappings in deep residual networks"), for 32×32 images as
    is usual: a first convolution of 3×3 that keeps the size, and batch norm and ReLU after the last block.
    """
    return preact_resnet(_conv(3, 64), (64, 128, 256, 512), (1, 2, 2, 2), blocks=2)


def wide_resnet_28_10() -> nn.Module:
    """conv 3×3, 16 – four blocks each of 160, 320 and 640 – pool – fc 10, for colour images: 36,479,194 parameters.

    WRN-28-10 (Zagoruyko & Komodakis 2016, "Wide residual networks", without dropout), the paper's for CIFAR-10.
    """
    return preact_resnet(_conv(3, 16), (160, 320, 640), (1, 2, 2), blocks=4)


def preact_resnet(stem: nn.Conv2d, widths: Sequence[int], strides: Sequence[int], blocks: int) -> nn.Module:
    """A pre-activation ResNet behind the convolution `stem`: groups of `blocks` blocks, the first with the group's
    stride; batch norm, ReLU, the mean over the image, a linear layer.

    Convolutions start as normal draws of variance 2 / (kernel² · outputs) (He et al. 2015), as in both papers' code.
    """
    layers, width = [_Standardise(), stem], stem.out_channels
    for outputs, stride in zip(widths, strides, strict=True):
        for k in range(blocks):
            layers.append(_Block(width, outputs, stride if k == 0 else 1))
            width = outputs
    layers += [nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10)]
    model = nn.Sequential(*layers)
    for part in model.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
    return model


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=(kernel - 1) // 2, bias=False)


class _Block(nn.Module):
    """x + conv 3×3(ReLU(BN(conv 3×3(ReLU(BN(x)))))); where the shape changes, a convolution 1×1 of ReLU(BN(x)) in the
    place of x."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = _conv(inputs, outputs, 3, stride)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.conv2 = _conv(outputs, outputs)
        same = inputs == outputs and stride == 1
        self.shortcut = None if same else _conv(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        active = self.norm1(x).relu()
        kept = x if self.shortcut is None else self.shortcut(active)
        return kept + self.conv2(self.norm2(self.conv1(active)).relu())


class _Standardise(nn.Module):
    """Colour images less CIFAR-10's channel means, over its deviations: constants, which no file of weights keeps."""

    mean: Tensor
    deviation: Tensor

    def __init__(self):
        super().__init__()
        for name, values in (("mean", (0.4914, 0.4822, 0.4465)), ("deviation", (0.2470, 0.2435, 0.2616))):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[1] != 3:  # grey images would broadcast
            raise ValueError(f"inputs of shape {tuple(x.shape)} are no colour images (batch, 3, height, width)")
        return (x - self.mean) / self.deviation


class DeadZone(nn.Module):
    """u = clamp((x - low) / (high - low), 0, 1) of every pixel, 0 ≤ low < high ≤ 1, with high = 1 - low unless given.

    What is at most low becomes black, what is at least high white. Noise of linf norm low or less changes no black
    pixel, of 1 - high or less no white one. In l1 or l2 what is spent on crossing this buys nothing: to whiten a black
    pixel costs high, to blacken a white one 1 - low, so that at (0.3, 0.7) l1:10 buys 14 flips, and l2:2 buys 8. Slopes
    vanish in the dead zones: attack with `StraightThrough` and `Flips`. A zone that is `learned` begins at (low, high)
    and is trained with the network behind it, by the slopes of the grey pixels.

    >>> DeadZone(0.3)(torch.tensor([0.0, 0.25, 0.4, 0.5, 0.75]))
    tensor([0.0000, 0.0000, 0.2500, 0.5000, 1.0000])
    >>> DeadZone(0.3, 0.9)
    DeadZone(low=0.3, high=0.9)
    """

    low: float | Tensor
    high: float | Tensor

    def __init__(self, low: float, high: float | None = None, learned: bool = False):
        super().__init__()
        high = 1 - low if high is None else high
        if not 0 <= low < high <= 1:
            raise ValueError(f"the dead zone leaves ({low!r}, {high!r}) to be seen, but must have 0 <= low < high <= 1")
        self.learned = learned
        self.low, self.high = (nn.Parameter(torch.tensor(end)) if learned else end for end in (low, high))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return ((x - self.low) / (self.high - self.low)).clamp(0.0, 1.0)

    def extra_repr(self) -> str:
        return "low={:.3g}, high={:.3g}".format(*self.seen()) + (", learned=True" if self.learned else "")

    def seen(self) -> tuple[float, float]:
        """The values between which a change of a pixel can be seen."""
        low, high = (end.item() if isinstance(end, Tensor) else end for end in (self.low, self.high))
        return low, high


class Median(nn.Module):
    """The median of every pixel's 3×3 neighbourhood, which one changed pixel seldom moves; beyond the edge is black.

    Its slopes are taken to be the mean's: its own are zero but for one pixel.

    >>> dot, bar = torch.zeros(2, 1, 1, 5, 5)
    >>> dot[..., 2, 2], bar[..., 1:4, :] = 1, 1
    >>> Median()(dot).sum(), Median()(bar)[0, 0, 2]
    (tensor(0.), tensor([1., 1., 1., 1., 1.]))
    """

    def forward(self, u: Tensor) -> Tensor:
        window = nn.functional.pad(u, (1, 1, 1, 1)).unfold(2, 3, 1).unfold(3, 3, 1).flatten(4)
        mean = window.mean(dim=4)
        return mean + (window.median(dim=4).values - mean).detach()


def wide_cnn() -> nn.Module:
    """conv 4×4 stride 2, 32 – conv 4×4 stride 2, 64 – fc 256 – fc 10, for 28×28 digits: 839,018 parameters.

    >>> sum(p.numel() for p in wide_cnn().parameters())
    839018
    """
    return _strided_cnn(32, 256)


def deep_cnn() -> nn.Module:
    """`wide_cnn` with more convolutions, one before its two and one behind each of them: 893,034 parameters.

    >>> sum(p.numel() for p in deep_cnn().parameters())
    893034
    """
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * 7 * 7, 256),
        nn.ReLU(),
        nn.Linear(256, 10),
    )


def deeper_cnn() -> nn.Module:
    """`deep_cnn` with a block of two convolutions behind its third and its fifth, which begins as the identity:
    985,386 parameters. Its other layers bear the names that they have there, so that it can `grow` from it.

    >>> sum(p.numel() for p in deeper_cnn().parameters())
    985386
    """
    layers = list(deep_cnn().children())
    for place, width in ((9, 64), (5, 32)):  # behind ReLUs
        layers[place] = nn.Sequential(layers[place], Refine(width))
    return nn.Sequential(*layers)


class Refine(nn.Module):
    """x + conv 3×3(ReLU(conv 3×3(x))), of which the second begins at zero: without batch norm, whose means of clean
    and of attacked images would be one."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(self.conv1(x).relu())


def grow(model: nn.Module, *others: nn.Module) -> None:
    """Give the model the weights of another, or the mean of those of several, which have been trained on from the same
    (Wortsman et al. 2022, "Model soups"). They may lack its `Refine` blocks: those that were never trained are as if
    they were not there. Raises ValueError where they differ in more, or there is none.

    >>> small, large = deep_cnn(), deeper_cnn()
    >>> grow(large, small)
    >>> digits = torch.rand(2, 1, 28, 28)
    >>> torch.allclose(large(digits), small(digits))
    True
    """
    if not others:
        raise ValueError("there is no network to begin with: give one or more")
    blocks = tuple(f"{name}." for name, part in model.named_modules() if isinstance(part, Refine))
    mine = model.state_dict()
    idle = {name: value for name, value in mine.items() if name.startswith(blocks)}
    begin = [idle | other.state_dict() for other in others]
    for weights in begin:
        shapes, found = ({name: tuple(value.shape) for name, value in some.items()} for some in (mine, weights))
        for name in shapes | found:
            here, there = (some.get(name, "missing") for some in (shapes, found))
            if here != there:
                raise ValueError(f"the weights are of another network ({name} is {there} there, {here} here): begin "
                                 "with one that lacks no more than Refine blocks")  # fmt: skip
    model.load_state_dict({name: sum(weights[name] for weights in begin) / len(begin) for name in mine})


class Ensemble(nn.Module):
    """The mean of the logits that several networks give an image and, of each pair of `shifts`, the image moved that
    many pixels down and to the right; beyond the edge is black. Its probabilities are theirs' geometric mean, rescaled.

    >>> one = nn.Sequential(nn.Flatten(), nn.Linear(9, 2))
    >>> dot = torch.eye(9)[:1].reshape(1, 1, 3, 3)
    >>> moved = torch.eye(9)[4:5].reshape(1, 1, 3, 3)
    >>> torch.allclose(Ensemble([one], [(0, 0), (1, 1)])(dot), (one(dot) + one(moved)) / 2)
    True
    """

    def __init__(self, members: Sequence[nn.Module], shifts: Sequence[tuple[int, int]] = ((0, 0),)):
        super().__init__()
        if not (members and shifts):
            raise ValueError(f"{len(members)} members of {len(shifts)} shifts have no mean: give one of each or more")
        self.members, self.shifts = nn.ModuleList(members), tuple(shifts)

    def forward(self, x: Tensor) -> Tensor:
        views = [_shifted(x, *shift) for shift in self.shifts]
        return torch.stack([member(view) for member in self.members for view in views]).mean(dim=0)


def _shifted(x: Tensor, down: int, right: int) -> Tensor:
    return nn.functional.pad(x, (right, -right, down, -down)) if (down, right) != (0, 0) else x


def behind(
    body: Callable[[], nn.Module], low: float, high: float | None = None, learned: bool = False
) -> Callable[[], nn.Module]:
    """The network `body` behind a dead zone.

    >>> behind(small_cnn, 0.3)()[0]
    DeadZone(low=0.3, high=0.7)
    """

    def make() -> nn.Module:
        return nn.Sequential(DeadZone(low, high, learned), body())

    return make


def seen(model: nn.Module) -> tuple[float, float]:
    """What a network sees of a pixel: all values, but for one that begins with a dead zone.

    >>> seen(build("small_cnn", 0)), seen(build("dead_zone_cnn", 0))
    ((0.0, 1.0), (0.3, 0.7))
    """
    first = next((part for part in model.modules() if not any(part.children())), None)
    return first.seen() if isinstance(first, DeadZone) else (0.0, 1.0)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "small_cnn": small_cnn,
    "paper_cnn": paper_cnn,
    "wide_cnn": wide_cnn,
    "dead_zone_cnn": behind(small_cnn, 0.3),
    "dead_zone_wide_cnn": behind(wide_cnn, 0.3),
    **{f"dead_zone_{100 * a:.0f}_wide_cnn": behind(wide_cnn, a) for a in (0.2, 0.25, 0.35)},
    **{
        f"dead_zone_{100 * low:.0f}_{100 * high:.0f}_wide_cnn": behind(wide_cnn, low, high)
        for low, high in ((0.3, 0.9), (0.3, 1.0), (0.4, 1.0))
    },
    "learned_zone_wide_cnn": behind(wide_cnn, 0.3, learned=True),
    "dead_zone_median_cnn": behind(lambda: nn.Sequential(Median(), wide_cnn()), 0.3),
    "dead_zone_deep_cnn": behind(deep_cnn, 0.3),
    "black_zone_deep_cnn": behind(deep_cnn, 0.3, 1.0),
    "dead_zone_30_90_deeper_cnn": behind(deeper_cnn, 0.3, 0.9),
    "dead_zone_30_90_pair": lambda: Ensemble([behind(deeper_cnn, 0.3, 0.9)() for _ in range(2)]),
    "small_resnet": small_resnet,
    "preact_resnet18": preact_resnet18,
    "wide_resnet_28_10": wide_resnet_28_10,
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
