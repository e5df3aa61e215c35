"""Auto-PGD: ascent that chooses its own step (Croce & Hein 2020; in l1 Croce & Hein 2021)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from math import inf

import torch
from torch import Tensor

from tradeoff.attacks.ascent import Box, Found, Model, State, ascend, attacking, choose, like, look, movable, worst
from tradeoff.attacks.draws import Draws
from tradeoff.attacks.pgd import EXACT, ascended, check_climber, inward, random_start
from tradeoff.attacks.slide import sparse_sign
from tradeoff.checks import several
from tradeoff.perturbations import Lp

KEEP = 0.75  # of a step that momentum leaves to the gradient, and the share of rising steps that counts as progress


@dataclass(frozen=True)
class APGD:
    """Projected ascent whose step falls where the loss no longer rises.

    In l2 and linf steps have momentum, start at 2 eps and are halved; in l1 they start at eps, along the coordinates of
    largest gradient, ever fewer as the perturbation turns out sparse. Where the step changes, an example goes on from
    its best point so far. Other norms than 1, 2 and inf move as l2 does.

    `targets` = k aims, in turn, at each of the k most likely wrong classes of x (all of them if there are fewer)
    instead of the best wrong one. `radii` are multiples of eps to climb in turn: (3, 2, 1) begins in a ball of three
    times the radius and shrinks it, which helps most in l1; 0.4 of the steps are left to the last.

    >>> model = torch.nn.Linear(3, 2, bias=False)
    >>> _ = model.weight.data.copy_(torch.tensor([[0.0, 0.0, 0.0], [2.0, 1.0, 0.0]]))
    >>> x, y = torch.tensor([[0.5, 0.5, 0.5]]), torch.tensor([1])
    >>> attack = APGD(L2(0.6), steps=100, early_stop=False)
    >>> (x - attack(model, x, y, np.random.default_rng(0))).round(decimals=2).abs()  # the box ends at 0
    tensor([[0.5000, 0.3300, 0.0000]])
    """

    S: Lp
    steps: int = 100
    restarts: int = 1
    loss: str = "ce"
    targets: int = 0
    radii: tuple[float, ...] = (1.0,)
    box: Box = (0.0, 1.0)
    early_stop: bool = True

    step = None  # it is chosen on the way

    def __post_init__(self):
        check_climber(self)
        if not isinstance(self.targets, int) or self.targets < 0:
            raise ValueError(f"targets is {self.targets!r}, but must be the number of wrong classes to aim at, or 0")
        object.__setattr__(self, "radii", tuple(float(radius) for radius in several(self.radii)))
        fall = self.radii and inf > self.radii[0] and all(a >= b for a, b in pairwise(self.radii))
        if not fall or self.radii[-1] != 1:
            raise ValueError(f"radii are {self.radii}, but must be multiples of the radius that fall to 1: (3, 2, 1)")
        if self.steps < len(self.radii):
            raise ValueError(f"{self.steps} steps cannot be shared among {len(self.radii)} radii: give more steps")

    def __call__(self, model: Model, x: Tensor, y: Tensor, rng) -> Tensor:
        """The worst points found, shape, dtype and device of x."""
        with attacking(model, x, y, self.S, self.box, self.loss):
            aims: Sequence[int | None] = [None]
            if self.targets:
                with torch.no_grad():
                    wrong = model(x[:1]).shape[1] - 1
                aims = range(min(self.targets, wrong))
            searches = [self._search(model, rank) for _ in range(self.restarts) for rank in aims]
            return worst(model, x, y, searches, rng, loss=self.loss, early_stop=self.early_stop)

    def _search(self, model: Model, rank: int | None) -> Callable[[Tensor, Tensor, Draws], Found]:
        """One climb through all radii, at the wrong class of this rank."""

        def search(x: Tensor, y: Tensor, draws: Draws) -> Found:
            target = None if rank is None else likely_wrong(model, x, y, rank)
            found = None
            for radius, steps in zip(self.radii, self._shares(), strict=True):
                climber = replace(self, S=self.S.scaled(radius), steps=steps, radii=(1.0,))
                last = radius == 1
                found = ascend(model, x, y, draws, [climber], steps=steps, loss=self.loss, target=target, box=self.box,
                               early_stop=self.early_stop and last, begin=found and found.x)  # fmt: skip
            # Losses of different targets do not compare.
            return found if target is None else look(model, found.x, y, self.loss)

        return search

    def _shares(self) -> list[int]:
        """The steps at each radius."""
        first = len(self.radii) - 1
        shares = [max(1, round(0.6 * self.steps / first)) for _ in range(first)] if first else []
        return [*shares, self.steps - sum(shares)] if sum(shares) < self.steps else [1] * first + [self.steps - first]

    def start(self, x: Tensor, draws: Draws) -> State:
        eps = self.S.eps
        if self.S.p > 1:
            r = random_start(self.S, x, draws)
            return {"r": r, "old": r, "size": x.new_full((len(x),), 2 * eps), "made": 0}
        # Uniform in an l1 ball is almost nothing everywhere; this is something somewhere (Croce & Hein 2021).
        r = torch.as_tensor(draws.normal(0.0, 1.0, tuple(x.shape)), device=x.device).to(x)
        r = self.S.project(r, *((None, None) if self.box is None else (self.box[0] - x, self.box[1] - x)))
        return {"r": r, "size": x.new_full((len(x),), eps), "made": 0}

    def moves(
        self, state: State, loss: Tensor, gradient: Tensor, low: Tensor | None, high: Tensor | None
    ) -> Sequence[State]:
        state = _remember(state, loss, gradient)
        if state["made"] in _checkpoints(self.steps, self.S.p == 1):
            state = _adapt_l1(state, self.S.eps) if self.S.p == 1 else _adapt(state)
        r, gradient = state["r"], state["gradient"]
        if self.S.p == 1:
            kept = (state["share"] * gradient[0].numel()).long().clamp_(min=1)
            z = sparse_sign(movable(gradient, r, low, high), kept, state["size"]).add_(r)
        else:
            z = ascended(self.S, r, like(state["size"], r), gradient, low, high)
        late = state["made"] >= EXACT * self.steps
        new = inward(self.S, z, low, high, late)
        if self.S.p > 1 and state["made"]:  # new + (1 - KEEP) (r - new + r - old)
            z = new.mul_(KEEP).add_(r, alpha=2 * (1 - KEEP)).sub_(state["old"], alpha=1 - KEEP)
            new = inward(self.S, z, low, high, late)
        return [state | {"r": new, "old": r, "made": state["made"] + 1}]


def likely_wrong(model: Model, x: Tensor, y: Tensor, rank: int) -> Tensor:
    """The wrong class of this rank (0: the most likely) in the model's answers to x, int64 (batch,)."""
    with torch.no_grad():
        logits = model(x).scatter(1, y[:, None], -inf)
    return logits.topk(rank + 1, dim=1).indices[:, -1]


@lru_cache
def _checkpoints(steps: int, sparse: bool) -> frozenset[int]:
    """After how many moves to look back: in l1 at even intervals, else at ever shorter ones."""
    shares = (0.04, 0.0, 0.04) if sparse else (0.22, 0.03, 0.06)
    length, shorter, least = (max(int(share * steps), 1) for share in shares)
    shorter = 0 if sparse else shorter
    points, made = set(), length
    while made < steps:
        points.add(made)
        length = max(length - shorter, least)
        made += length
    return frozenset(points)


def _remember(state: State, loss: Tensor, gradient: Tensor) -> State:
    """The state with its point's loss and gradient, and the best of both so far, whose tensors are written over."""
    r = state["r"]
    if not state["made"]:
        zero = torch.zeros_like(loss)
        best = {"best_r": r.clone(), "best_gradient": gradient.clone(), "best_loss": loss}
        support = (r.flatten(1) != 0).sum(dim=1).to(loss)
        best |= {"support": support, "share": support / r[0].numel()}  # of the coordinates that a step in l1 moves
        return state | best | {"gradient": gradient, "last": loss, "rises": zero, "since": zero, "checked": loss,
                               "reduced": torch.zeros_like(loss, dtype=torch.bool)}  # fmt: skip
    better = loss > state["best_loss"]
    return state | {
        "best_r": choose(better, r, state["best_r"], state["best_r"]),
        "best_gradient": choose(better, gradient, state["best_gradient"], state["best_gradient"]),
        "best_loss": torch.where(better, loss, state["best_loss"]),
        "gradient": gradient,
        "last": loss,
        "rises": state["rises"] + (loss > state["last"]),
        "since": state["since"] + 1,
    }


def _adapt(state: State) -> State:
    """Half the step where the loss rose too seldom, or where neither its best nor the step has changed."""
    stuck = ~state["reduced"] & (state["best_loss"] <= state["checked"])
    reduce = stuck | (state["rises"] <= KEEP * state["since"])
    zero = torch.zeros_like(state["rises"])
    return _back(state, reduce) | {
        "size": torch.where(reduce, state["size"] / 2, state["size"]),
        "checked": state["best_loss"],
        "reduced": reduce,
        "rises": zero,
        "since": zero,
    }


def _adapt_l1(state: State, eps: float) -> State:
    """Fewer coordinates and a long step where the best point became sparser, else a shorter step."""
    r = state["best_r"].flatten(1)
    support = (r != 0).sum(dim=1).to(r)
    sparser = support < 0.95 * state["support"]
    size = torch.where(sparser, eps, (state["size"] / 1.5).clamp(min=eps / 10))
    return _back(state, sparser) | {"size": size, "share": support / r.shape[1] / 1.5, "support": support}


def _back(state: State, rows: Tensor) -> State:
    """The state with the given rows back at their best point."""
    return state | {name: choose(rows, state[f"best_{name}"], state[name]) for name in ("r", "gradient")}
