"""Flips of pixels, chosen all at once by what each gains and costs: for networks that see no small change."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

import torch
from torch import Tensor
from torch.nn import Module

from tradeoff.attacks.ascent import Box, Model, State, evaluating, like
from tradeoff.attacks.draws import Draws
from tradeoff.attacks.pgd import check_climber, climb
from tradeoff.attacks.straight_through import straight_through
from tradeoff.checks import check_box
from tradeoff.models import seen
from tradeoff.perturbations import Lp, Union

HALVINGS = 16  # of a bracket of nine decades: to 0.03 %


@dataclass(frozen=True)
class Flips:
    """Ascent in what a network sees of its input, t = clamp(x, *seen), under the exact price in x.

    Each step takes the noise of S that gains most on the slopes g of the loss in t, see `flipped`: a few pixels that
    change altogether and, in l2, others in part. Slopes are taken straight through clamps, and summed over the steps,
    each step keeping the share `memory` of the sum before it (momentum). The first flips are random. Of a union of
    balls each step tries what gains most in every one, and keeps the worst (see `MSD`).

    A network behind `tradeoff.models.DeadZone(a)` sees (a, 1 - a), the default with a = 0.3; any other, (0, 1). None
    asks the network, every time anew, as those want it that learn what they see.

    >>> model = torch.nn.Sequential(torch.nn.Hardtanh(0.3, 0.7), torch.nn.Linear(3, 2, bias=False))
    >>> _ = model[1].weight.data.copy_(torch.tensor([[0.0, 0.0, 0.0], [2.0, 1.0, 0.5]]))
    >>> x, y = torch.tensor([[1.0, 1.0, 0.4]]), torch.tensor([1])
    >>> attack = Flips(L1(1.0), steps=5, early_stop=False)
    >>> (x - attack(model, x, y, np.random.default_rng(0))).round(decimals=3)  # the grey pixel costs 0.1, not 0.7
    tensor([[0.7000, 0.0000, 0.1000]])
    """

    S: Lp | Union
    steps: int = 20
    restarts: int = 1
    memory: float = 0.8
    seen: tuple[float, float] | None = (0.3, 0.7)
    loss: str = "margin"
    box: Box = (0.0, 1.0)
    early_stop: bool = True

    step = None  # there is none

    def __post_init__(self):
        check_climber(self, self._balls)
        if not 0 <= self.memory < 1:
            raise ValueError(f"memory is {self.memory!r}, but must be a share of [0, 1)")
        check_box(self.seen, "seen")
        low, high = self.box or (-inf, inf)
        if self.seen and not low <= self.seen[0] <= self.seen[1] <= high:
            raise ValueError(f"seen is {self.seen!r}, but must lie within the box {self.box}")

    def __call__(self, model: Model, x: Tensor, y: Tensor, rng) -> Tensor:
        """The worst points found, shape, dtype and device of x."""
        attack = self
        if self.seen is None:
            if not isinstance(model, Module):
                raise ValueError("a function cannot be asked what it sees: give `seen`, or attack a torch.nn.Module")
            attack = replace(self, seen=seen(model))
        with evaluating(model):
            return climb(attack, straight_through(model), x, y, rng)

    def start(self, x: Tensor, draws: Draws) -> State:
        noise = torch.as_tensor(draws.normal(0.0, 1.0, tuple(x.shape)), device=x.device).to(x)
        return {"x": x, "r": flipped(self._balls[0], x, noise, self.seen), "slopes": noise / like(_size(noise), x)}

    def moves(
        self, state: State, loss: Tensor, gradient: Tensor, low: Tensor | None, high: Tensor | None
    ) -> Sequence[State]:
        slopes = self.memory * state["slopes"] + gradient / like(_size(gradient), gradient)
        return [state | {"slopes": slopes, "r": flipped(S, state["x"], slopes, self.seen)} for S in self._balls]

    @property
    def _balls(self) -> tuple[Lp, ...]:
        return self.S.sets if isinstance(self.S, Union) else (self.S,)


def _size(v: Tensor) -> Tensor:
    return v.flatten(1).abs().sum(dim=1).clamp(min=1e-30)


def flipped(S: Lp, x: Tensor, slopes: Tensor, seen: tuple[float, float]) -> Tensor:
    """Noise r of the ball that nearly maximises Σ slopes_i (t(x_i + r_i) - t(x_i)) where t(x) = clamp(x, *seen).

    A pixel that goes the way of its slope, from x_i by δ, gains |slope_i| (δ - dead_i)_+, as far as the end of what is
    seen; dead_i is what it has to cross before it is seen. For a price λ each pixel takes the δ that maximises its gain
    less λ δ^p; λ is the lowest at which all together keep Σ δ^p ≤ eps^p, and the one further pixel that gains most by
    what is left has that too. Gains jump, so that this may miss the maximum, but by less than one pixel's gain. In
    linf every pixel moves by all of eps that is seen. Shape and dtype of x.
    """
    g = slopes.flatten(1)
    g = g / g.abs().amax(dim=1, keepdim=True).clamp(min=1e-30)
    origin, size = x.flatten(1), g.abs()
    up = g > 0
    ahead = torch.where(up, seen[1] - origin, origin - seen[0]).clamp_(min=0, max=S.eps)  # to the end of what is seen
    dead = torch.where(up, seen[0] - origin, origin - seen[1]).clamp_(min=0)
    if S.p == inf:
        return (torch.where(ahead > dead, ahead, 0.0) * g.sign()).reshape(x.shape)
    p, budget = S.p, (1 - 4e-6) * S.eps**S.p  # less what sums in float32 may be off by
    worth = size * (ahead - dead) / ahead.clamp(min=1e-30)  # in l1 a pixel goes all the way or not at all

    def at(price: Tensor) -> Tensor:
        if p == 1:
            return ahead * (worth > price)
        far = torch.minimum(ahead, (size / (p * price)).pow_(1 / (p - 1)))
        return far * (size * (far - dead) > price * far**p)

    cheap, dear = (g.new_full((len(g), 1), power) for power in (-14.0, 7.0))  # natural logarithms of the price
    for _ in range(HALVINGS):
        price = (cheap + dear) / 2
        over = at(price.exp()).pow_(p).sum(dim=1, keepdim=True) > budget
        cheap, dear = torch.where(over, price, cheap), torch.where(over, dear, price)
    far = at(dear.exp())
    rest = (budget - (far**p).sum(dim=1, keepdim=True)).clamp_(min=0) ** (1 / p)
    more = torch.minimum(ahead, rest) * (far == 0)
    gain, best = (size * (more - dead)).max(dim=1, keepdim=True)
    more = torch.where(gain > 0, more.gather(1, best), far.gather(1, best))
    return far.scatter_(1, best, more).mul_(g.sign()).reshape(x.shape)
