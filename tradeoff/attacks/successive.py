"""One attack from where another has led, each with a part of the budget: mixtures of any two attacks."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Real
from typing import Any

from torch import Tensor

from tradeoff.attacks.ascent import Box, Found, Model, attacking, look, worst
from tradeoff.attacks.draws import Draws
from tradeoff.attacks.scaled import scaled
from tradeoff.checks import several
from tradeoff.perturbations import Affine


@dataclass(frozen=True)
class Successive:
    """a with the share β of its set, then b with the share 1-β of its own from there: x_adv in S_affine(a.S, b.S).

    `AffineAttack` moves both parts in turn, but takes climbers only; this one takes any attack whose set can be scaled,
    also those whose moves are no steps (`Flips`). Each β is tried in turn.

    >>> model = torch.nn.Linear(2, 2, bias=False)
    >>> _ = model.weight.data.copy_(torch.tensor([[0.0, 0.0], [1.0, 1.0]]))  # class 1 iff the sum is positive
    >>> x, y = torch.tensor([[0.25, 0.25]]), torch.tensor([1])
    >>> attack = Successive(PGD(Linf(0.2), steps=5), SLIDE(L1(0.4), steps=5), beta=(0.5,))
    >>> print(attack.S, attack(model, x, y, np.random.default_rng(0)).sum())  # 0.5 less 2 · 0.1 less 0.2
    linf:0.2 + l1:0.4 tensor(0.1000)
    """

    a: Any
    b: Any
    beta: float | Sequence[float] = (0.25, 0.5, 0.75)

    def __post_init__(self):
        object.__setattr__(self, "beta", several(self.beta))
        if not self.beta or not all(isinstance(beta, Real) and 0 <= float(beta) <= 1 for beta in self.beta):
            raise ValueError(f"beta is {self.beta!r}, but must be a share of [0, 1], or several to try")
        for attack in (self.a, self.b):
            scaled(attack, 0.5)
        Affine(self.a.S, self.b.S)
        if self.a.box != self.b.box:
            raise ValueError(f"the two attacks work in the boxes {self.a.box} and {self.b.box}: give them the same")

    @property
    def S(self) -> Affine:
        return Affine(self.a.S, self.b.S)

    @property
    def box(self) -> Box:
        return self.b.box

    def __call__(self, model: Model, x: Tensor, y: Tensor, rng) -> Tensor:
        """The worst mixtures found, shape, dtype and device of x."""

        def search(x: Tensor, y: Tensor, draws: Draws, beta: float) -> Found:
            there = scaled(self.a, beta)(model, x, y, draws)
            return look(model, scaled(self.b, 1 - beta)(model, there, y, draws), y, "margin")

        with attacking(model, x, y, self.S, self.box):
            return worst(model, x, y, [partial(search, beta=beta) for beta in self.beta], rng)
