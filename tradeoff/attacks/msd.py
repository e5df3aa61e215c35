"""Multi steepest descent: one trajectory for several norms (Maini, Wong & Kolter 2020)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from tradeoff.attacks.ascent import Box, Model, State
from tradeoff.attacks.draws import Draws
from tradeoff.attacks.pgd import PGD, check_climber, climb
from tradeoff.attacks.slide import SLIDE
from tradeoff.checks import check_count, several
from tradeoff.perturbations import Lp, Union


@dataclass(frozen=True)
class MSD:
    """Each step tries the steepest step of every norm, each projected on its own ball, and keeps the worst.

    The steps are those of PGD, for l1 of SLIDE, each `step` = 2.5 / steps of its radius unless given. One gradient and
    a forward pass for each set make a step. The union of the sets is what it attacks, and the worst may lie in any.

    >>> model = torch.nn.Linear(2, 2, bias=False)
    >>> _ = model.weight.data.copy_(torch.tensor([[0.0, 0.0], [1.0, -0.5]]))
    >>> x, y = torch.tensor([[0.5, 0.5]]), torch.tensor([1])
    >>> attack = MSD((Linf(0.1), L1(0.3)), steps=10, early_stop=False)
    >>> attack(model, x, y, np.random.default_rng(0)) - x  # l1: 0.3 · 1 beats 0.1 · 1.5
    tensor([[-0.3000,  0.0000]])
    """

    sets: Lp | Union | tuple[Lp, ...]
    steps: int = 50
    restarts: int = 1
    quantile: float | tuple[float, float] = 99
    step: float | None = None  # as a share of each radius
    loss: str = "margin"
    box: Box = (0.0, 1.0)
    early_stop: bool = True

    def __post_init__(self):
        sets = several(self.sets.sets if isinstance(self.sets, Union) else self.sets)
        object.__setattr__(self, "sets", sets)
        if not sets:
            raise ValueError("MSD needs at least one lp ball")
        check_count(self.steps, "steps")
        for member in self.members:
            check_climber(member)

    @cached_property
    def members(self) -> tuple[PGD | SLIDE, ...]:
        """The attack on each set whose steps are tried."""
        return tuple(self._member(S) for S in self.sets)

    def _member(self, S: Lp) -> PGD | SLIDE:
        share = 2.5 / self.steps if self.step is None else self.step
        step = share * S.eps if isinstance(S, Lp) and S.eps else None
        how: dict[str, Any] = {"steps": self.steps, "restarts": self.restarts, "step": step}
        how |= {"loss": self.loss, "box": self.box}
        if isinstance(S, Lp) and S.p == 1:
            return SLIDE(S, quantile=self.quantile, **how)
        return PGD(S, **how)

    @property
    def S(self) -> Union:
        return Union(tuple(member.S for member in self.members))

    def __call__(self, model: Model, x: Tensor, y: Tensor, rng) -> Tensor:
        """The worst points found, shape, dtype and device of x."""
        return climb(self, model, x, y, rng)

    def start(self, x: Tensor, draws: Draws) -> State:
        state = {}
        for member in self.members:
            state |= member.start(x, draws)
        return state | {"r": self.S.sample(x, draws), "made": 0}

    def moves(
        self, state: State, loss: Tensor, gradient: Tensor, low: Tensor | None, high: Tensor | None
    ) -> Sequence[State]:
        made = state["made"] + 1
        moves = (member.moves(state, loss, gradient, low, high)[0] for member in self.members)
        return [state | move | {"made": made} for move in moves]
