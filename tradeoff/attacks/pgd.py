"""Projected gradient descent (Madry et al. 2018)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import inf

import torch
from torch import Tensor

from tradeoff.attacks.ascent import Box, Model, State, ascend, attacking, like, movable, worst
from tradeoff.attacks.draws import Draws
from tradeoff.checks import check_box, check_count
from tradeoff.perturbations import L1, Lp

EXACT = 0.75  # of the steps are made before they are brought back to the nearest point of ball and box


@dataclass(frozen=True)
class PGD:
    """Steepest ascent in the norm of S, projected exactly on the intersection of S and the box.

    Each step adds `step`/eps · S.argmax(gradient): step · sign(g) for linf, step · g/‖g‖ for l2, and for l1 one
    coordinate (see `SLIDE` for better). Other lp balls step along g/‖g‖ too: their own steepest step and the Euclidean
    projection come to rest at different points. Starts are uniform in the ball, but for l2 at a uniform distance in a
    uniform direction (Rice et al. 2020): nearly all of a ball of many dimensions is at its sphere, where noise has
    spent the budget. `step` is 2.5 eps / steps unless given, in the units of the radius; `box=None` for vectors
    without bounds.

    >>> model = torch.nn.Linear(2, 2, bias=False)
    >>> _ = model.weight.data.copy_(torch.tensor([[0.0, 0.0], [1.0, -1.0]]))  # class 1 iff x_0 > x_1
    >>> x, y = torch.tensor([[0.6, 0.5], [0.9, 0.1]]), torch.tensor([1, 1])
    >>> x_adv = PGD(Linf(0.1), steps=5)(model, x, y, np.random.default_rng(0))
    >>> model(x_adv).argmax(dim=1)  # the first is within 0.1 of the boundary, the second is not
    tensor([0, 1])
    """

    S: Lp
    steps: int = 40
    restarts: int = 1
    step: float | None = None
    loss: str = "margin"
    box: Box = (0.0, 1.0)
    early_stop: bool = True

    def __post_init__(self):
        check_climber(self)

    def __call__(self, model: Model, x: Tensor, y: Tensor, rng) -> Tensor:
        """The worst points found, shape, dtype and device of x."""
        return climb(self, model, x, y, rng)

    def start(self, x: Tensor, draws: Draws) -> State:
        r = random_start(self.S, x, draws)
        if self.S.p == 2:
            r = r * like(torch.as_tensor(draws.uniform(0.0, 1.0, len(x)), device=x.device).to(x), x)
        return {"r": r, "made": 0}

    def moves(
        self, state: State, loss: Tensor, gradient: Tensor, low: Tensor | None, high: Tensor | None
    ) -> Sequence[State]:
        r = state["r"]
        z = ascended(self.S, r, rate(self) * self.S.eps, gradient, low, high)
        made = state["made"]
        return [{"r": inward(self.S, z, low, high, made >= EXACT * self.steps), "made": made + 1}]


def random_start(S: Lp, x: Tensor, draws: Draws) -> Tensor:
    """Uniform in the ball, but on its sphere for l2."""
    r = S.sample(x, draws)
    return r / like(S.gauge(r).clamp(min=1e-12).to(x), x) if S.p == 2 else r


def ascended(
    S: Lp, r: Tensor, step: float | Tensor, gradient: Tensor, low: Tensor | None, high: Tensor | None
) -> Tensor:
    """r plus the steepest step of the length `step`, one or (batch, 1, ..., 1), in the norm of S: not yet projected."""
    step = torch.as_tensor(step, dtype=r.dtype, device=r.device)
    if S.p == inf:
        way = gradient.sign()
        return torch.addcmul(r, way, step, out=way)
    way = movable(gradient, r, low, high)
    if S.p == 1:
        return torch.addcmul(r, L1(1).argmax(way), step)
    size = torch.linalg.vector_norm(way.flatten(1), dim=1, dtype=torch.float64).clamp_(min=1e-300)
    length = (step / like(size, r)).clamp_(max=torch.finfo(r.dtype).max)  # finite: a zero gradient moves nothing
    return torch.addcmul(r, way, length.to(r))


def inward(S: Lp, z: Tensor, low: Tensor | None, high: Tensor | None, exact: bool) -> Tensor:
    """z, which may be lost, brought into ball and box: to the nearest point of both if `exact` or in l1, where all else
    wastes the budget, otherwise into the box and from there into the ball (as in ART, Nicolae et al. 2018).

    In l2 the nearest point to a long step is a corner of the box, which holds on to it; scaled inward with all the
    others, a coordinate that overstepped its bound remains free. In linf the two are the same.
    """
    if exact or low is None or S.p in (1, inf):
        return S.project(z, low, high, overwrite=True)
    return S.project(z.clamp_(low, high), overwrite=True)  # which only shrinks entries: they stay in the box


def climb(attack, model: Model, x: Tensor, y: Tensor, rng) -> Tensor:
    """Run a climbing attack from its restarts and keep the worst."""
    how = {"loss": attack.loss, "early_stop": attack.early_stop}
    with attacking(model, x, y, attack.S, attack.box, attack.loss):
        run = partial(ascend, model, climbers=[attack], steps=attack.steps, box=attack.box, **how)
        return worst(model, x, y, [run] * attack.restarts, rng, **how)


def check_climber(attack, sets: Sequence | None = None) -> None:
    """ValueError for a field that a climbing attack cannot use, on its set or on each of `sets`."""
    for S in (attack.S,) if sets is None else sets:
        if not isinstance(S, Lp):
            raise ValueError(f"{type(attack).__name__} attacks an lp ball, not {S}")
    check_count(attack.steps, "steps")
    check_count(attack.restarts, "restarts")
    if attack.step is not None and not 0 < attack.step < inf:
        raise ValueError(f"step is {attack.step!r}, but must be positive and finite, or None for the default")
    check_box(attack.box)


def rate(attack, way: float = 2.5) -> float:
    """The step as a share of the radius: way / steps unless given."""
    if attack.step is None:
        return way / attack.steps
    return attack.step / attack.S.eps if attack.S.eps else 0.0
