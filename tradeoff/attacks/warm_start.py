"""A climb from where another attack has led."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from tradeoff.attacks.apgd import APGD
from tradeoff.attacks.ascent import Box, Found, Model, ascend, attacking, worst
from tradeoff.attacks.draws import Draws
from tradeoff.attacks.pgd import PGD
from tradeoff.attacks.slide import SLIDE
from tradeoff.checks import check_count
from tradeoff.perturbations import Lp


@dataclass(frozen=True)
class WarmStart:
    """The climb b, started where the attack a has led, brought into b's ball, instead of at random.

    For networks behind a dead zone: `Flips` find pixels that have no slope until they are changed, but change them
    altogether; a climb weighs the changes against each other, and dims a little what is white. The ball of a may be
    larger. The worst point of the climb counts, its start among them.

    >>> model = torch.nn.Sequential(torch.nn.Hardtanh(0.3, 1.0), torch.nn.Linear(2, 2, bias=False))
    >>> _ = model[1].weight.data.copy_(torch.tensor([[0.0, 0.0], [1.0, -1.0]]))  # class 1 iff the first is larger
    >>> x, y = torch.tensor([[0.8, 0.0]]), torch.tensor([1])
    >>> flips = Flips(L1(1.2), seen=(0.3, 1.0), early_stop=False)
    >>> climb = APGD(L1(1.2), steps=40, early_stop=False)
    >>> for attack in (climb, WarmStart(flips, climb)):  # the second pixel has no slope to begin with
    ...     print(attack(model, x, y, np.random.default_rng(4)).round(decimals=1).abs())
    tensor([[0., 0.]])
    tensor([[0.5000, 0.9000]])
    """

    a: Any
    b: PGD | SLIDE | APGD
    restarts: int = 1

    def __post_init__(self):
        check_climb(self.a, self.b)
        check_count(self.restarts, "restarts")

    @property
    def S(self) -> Lp:
        return self.b.S

    @property
    def box(self) -> Box:
        return self.b.box

    def __call__(self, model: Model, x: Tensor, y: Tensor, rng) -> Tensor:
        """The worst points found, shape, dtype and device of x."""
        b = self.b
        how: dict[str, Any] = {"loss": b.loss, "early_stop": b.early_stop}

        def search(x: Tensor, y: Tensor, draws: Draws) -> Found:
            there = self.a(model, x, y, draws)
            return ascend(model, x, y, draws, [b], steps=b.steps, box=b.box, begin=there, **how)

        with attacking(model, x, y, self.S, self.box, b.loss):
            return worst(model, x, y, [search] * self.restarts, rng, **how)


def check_climb(a: Any, b: Any) -> None:
    """ValueError unless b is a climb that can start where a has led."""
    if not isinstance(b, PGD | SLIDE | APGD):
        raise ValueError(f"{b} takes no start: give PGD, SLIDE or APGD")
    more = {"restarts": 1, "targets": 0, "radii": (1.0,)}
    for name, value in more.items():
        if getattr(b, name, value) != value:
            raise ValueError(f"{name} of the climb is {getattr(b, name)}, but from one start must be {value}")
    S = getattr(a, "S", None)
    if not isinstance(S, Lp) or (S.p, S.eps < b.S.eps) != (b.S.p, False):
        raise ValueError(f"the climb in {b.S} cannot start from {S}: give the same ball, or a larger one")
    if a.box != b.box:
        raise ValueError(f"the two attacks work in the boxes {a.box} and {b.box}: give them the same")
