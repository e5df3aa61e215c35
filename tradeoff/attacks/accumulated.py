"""An attack for training, which goes on from where it left each example (ATTA, Zheng et al. 2020)."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tradeoff.attacks.apgd import APGD
from tradeoff.attacks.ascent import Box, Model, ascend, attacking
from tradeoff.attacks.draws import Draws
from tradeoff.attacks.pgd import PGD
from tradeoff.attacks.slide import SLIDE
from tradeoff.attacks.straight_through import StraightThrough
from tradeoff.attacks.warm_start import check_climb
from tradeoff.perturbations import Lp


@dataclass(frozen=True)
class Accumulated:
    """The attack a on examples that are new, and on others the climb b, from where the two have led.

    A network learns to mislead a climb of few steps, and one of many steps makes an epoch dear. Here a few steps in
    each epoch add up: `tradeoff.training.fit` keeps, for each of its attacks that accumulates, every image as it was
    moved and the point that it was left at. A share `renew` of the batches begins anew, with images moved anew.
    Anywhere else this is a. b is PGD, SLIDE or APGD, or one of them straight through.

    Zheng et al. (2020), "Efficient adversarial training with transferable adversarial examples", in linf.

    >>> model = torch.nn.Linear(2, 2, bias=False)
    >>> _ = model.weight.data.copy_(torch.tensor([[0.0, 0.0], [1.0, -1.0]]))  # class 1 iff x_0 > x_1
    >>> x, y, rng = torch.tensor([[0.5, 0.5]]), torch.tensor([1]), np.random.default_rng(0)
    >>> attack = Accumulated(PGD(Linf(0.3), early_stop=False), PGD(Linf(0.3), steps=1, step=0.1, early_stop=False))
    >>> begin = x
    >>> for _ in range(4):
    ...     begin = attack.further(model, x, y, rng, begin)
    ...     print((begin - x).round(decimals=1))
    tensor([[-0.1000,  0.1000]])
    tensor([[-0.2000,  0.2000]])
    tensor([[-0.3000,  0.3000]])
    tensor([[-0.3000,  0.3000]])
    """

    a: Any
    b: PGD | SLIDE | APGD | StraightThrough
    renew: float = 0.2
    carry: bool = False

    def __repr__(self) -> str:
        # `carry` only where it says something: runs of before it was there have to be known again.
        carry = ", carry=True" if self.carry else ""
        return f"Accumulated(a={self.a!r}, b={self.b!r}, renew={self.renew!r}{carry})"

    def __post_init__(self):
        check_climb(self.a, self._climb)
        if not 0 < self.renew <= 1:
            raise ValueError(f"renew is {self.renew!r}, but must be a share of (0, 1] of the batches")

    @property
    def S(self) -> Lp:
        return self._climb.S

    @property
    def box(self) -> Box:
        return self.b.box

    @property
    def _climb(self) -> PGD | SLIDE | APGD:
        return self.b.attack if isinstance(self.b, StraightThrough) else self.b

    def __call__(self, model: Model, x: Tensor, y: Tensor, rng) -> Tensor:
        """What a finds, shape, dtype and device of x."""
        return self.a(model, x, y, rng)

    def further(self, model: Model, x: Tensor, y: Tensor, rng, begin: Tensor) -> Tensor:
        """The worst points of the climb from `begin`, which is one of them; shape, dtype and device of x."""
        climb = self._climb
        with attacking(model, x, y, climb.S, climb.box, climb.loss):
            seen = self.b.stand_in(model) if isinstance(self.b, StraightThrough) else model
            how: dict[str, Any] = {"loss": climb.loss, "early_stop": climb.early_stop, "begin": begin}
            return ascend(seen, x, y, Draws.of(rng, len(x)), [climb], steps=climb.steps, box=climb.box, **how).x
