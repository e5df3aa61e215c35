"""The Sparse l1 Descent Attack (Tramèr & Boneh 2019, section 4)."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from numbers import Real

import numpy as np
import torch
from torch import Tensor

from tradeoff.attacks.ascent import Box, Model, State, movable
from tradeoff.attacks.draws import Draws
from tradeoff.attacks.pgd import check_climber, climb, rate
from tradeoff.checks import several
from tradeoff.perturbations import Lp


@dataclass(frozen=True)
class SLIDE:
    """Ascent in l1 along several coordinates at once, projected exactly on the intersection of ball and box.

    Of the coordinates that can move within the box, those with |g| at or above its `quantile`-th percentile (over all
    coordinates) step by `step` · sign(g) / #kept each. `quantile` is a percentage, or a pair between which each example
    draws its own. `step` is 5 eps / steps unless given, twice that of `PGD`: the projection takes back most of what a
    step adds once the budget is spent. The released code's projection is off by one in its threshold and leaves the
    ball; this one is exact (Duchi et al. 2008; in a box Croce & Hein 2021).

    >>> model = torch.nn.Linear(3, 2, bias=False)
    >>> _ = model.weight.data.copy_(torch.tensor([[0.0, 0.0, 0.0], [2.0, 1.0, 0.0]]))
    >>> x, y = torch.tensor([[0.5, 0.5, 0.5]]), torch.tensor([1])
    >>> attack = SLIDE(L1(0.2), steps=10, quantile=99, early_stop=False)
    >>> (attack(model, x, y, np.random.default_rng(0)) - x).round(decimals=3).abs()
    tensor([[0.2000, 0.0000, 0.0000]])
    """

    S: Lp
    steps: int = 40
    quantile: float | tuple[float, float] = 99
    restarts: int = 1
    step: float | None = None
    loss: str = "margin"
    box: Box = (0.0, 1.0)
    early_stop: bool = True

    def __post_init__(self):
        check_climber(self)
        if self.S.p != 1:
            raise ValueError(f"SLIDE attacks l1 balls, not {self.S}: use PGD for other norms")
        ends = several(self.quantile)
        if len(ends) > 1:
            object.__setattr__(self, "quantile", ends)
        known = len(ends) in (1, 2) and all(isinstance(end, Real) for end in ends)
        if not known or not 0 <= ends[0] <= ends[-1] <= 100:
            raise ValueError(f"quantile is {self.quantile!r}, but must be a percentage of [0, 100] or a pair of them")

    def _range(self) -> tuple[float, float]:
        return self.quantile if isinstance(self.quantile, tuple) else (self.quantile, self.quantile)

    def __call__(self, model: Model, x: Tensor, y: Tensor, rng) -> Tensor:
        """The worst points found, shape, dtype and device of x."""
        return climb(self, model, x, y, rng)

    def start(self, x: Tensor, draws: Draws) -> State:
        n = x[0].numel()
        quantile = draws.uniform(*self._range(), len(x))
        # As many as are at or above the percentile, which lies q/100 of the way along the n sorted values.
        kept = [n - ceil(q / 100 * (n - 1)) for q in quantile]
        return {"r": self.S.sample(x, draws), "kept": torch.tensor(kept, device=x.device)}

    def moves(
        self, state: State, loss: Tensor, gradient: Tensor, low: Tensor | None, high: Tensor | None
    ) -> Sequence[State]:
        r = state["r"]
        way = sparse_sign(movable(gradient, r, low, high), state["kept"], rate(self, way=5) * self.S.eps)
        return [state | {"r": self.S.project(way.add_(r), low, high, overwrite=True)}]


def sparse_sign(gradient: Tensor, kept: Tensor, size: float | Tensor = 1.0) -> Tensor:
    """sign(g) on the `kept` (batch,) largest |g| > 0 of each example (and ties), of l1 norm `size`, one or (batch,)."""
    g = gradient.flatten(1)
    share = g.abs()
    smallest = _ascending(share).gather(1, share.shape[1] - kept[:, None])
    share.ge_(smallest.clamp_(min=torch.finfo(g.dtype).tiny))  # as 0 and 1: far cheaper than a mask
    share.mul_((size / share.sum(dim=1).clamp_(min=1))[:, None])
    return g.sign().mul_(share).reshape(gradient.shape)


def _ascending(v: Tensor) -> Tensor:
    """Each row in order. On a CPU by NumPy, whose sort is several times faster than a topk of torch."""
    known = v.device.type == "cpu" and v.dtype != torch.bfloat16  # to NumPy
    return torch.from_numpy(np.sort(v.numpy(), axis=1)) if known else v.sort(dim=1).values
