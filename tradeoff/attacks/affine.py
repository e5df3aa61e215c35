"""The adversary that mixes two types of noise (Tramèr & Boneh 2019, section 2)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tradeoff.attacks.ascent import Box, Found, Model, ascend, attacking, like, worst
from tradeoff.attacks.draws import Draws
from tradeoff.attacks.pgd import PGD
from tradeoff.attacks.search import GridSearch, RandomSearch, apply_checked
from tradeoff.attacks.slide import SLIDE
from tradeoff.checks import check_count
from tradeoff.perturbations import Affine
from tradeoff.perturbations.moves import Filter

Climbing = PGD | SLIDE


@dataclass(frozen=True)
class AffineAttack:
    """Spend the share β of the budget on a's set and 1-β on b's: x_adv in x + S_affine(a.S, b.S).

    β in [0, 1] is fixed, drawn uniformly for each example and restart when None, or searched: of a tuple of values each
    is tried in turn, with all restarts or tries, and costs as much as one alone. Two climbing attacks (lp with lp) move
    their perturbations in turn, b.steps moves each. When a searches moves or filters (its limits times β), b
    climbs from each moved image (its radius times 1-β); a's tries then take the place of restarts. Loss, box and early
    stopping are b's.

    >>> attack = AffineAttack(PGD(Linf(0.3)), SLIDE(L1(10)), beta=0.5)
    >>> print(attack.S)
    linf:0.3 + l1:10
    """

    a: Climbing | RandomSearch | GridSearch
    b: Climbing
    beta: float | tuple[float, ...] | None = None
    restarts: int = 1

    def __post_init__(self):
        check_count(self.restarts, "restarts")
        if not isinstance(self.a, PGD | SLIDE | RandomSearch | GridSearch) or not isinstance(self.b, PGD | SLIDE):
            raise ValueError(f"AffineAttack({self.a}, {self.b}): the first must be PGD, SLIDE, RandomSearch or "
                             "GridSearch and the second PGD or SLIDE")  # fmt: skip
        if isinstance(self.a, RandomSearch | GridSearch) and not isinstance(self.a.S, Filter):
            raise ValueError(
                f"AffineAttack scales its moves by β, which {self.a.S} cannot be: search rotations, blurs or the like"
            )
        if isinstance(self.beta, list):
            object.__setattr__(self, "beta", tuple(self.beta))
        known = all(isinstance(beta, int | float) and 0 <= beta <= 1 for beta in self._betas)
        if self.beta is not None and not (self._betas and known):
            raise ValueError(f"beta is {self.beta!r}, but must lie in [0, 1], be a tuple of such values to try, or be "
                             "None to be drawn")  # fmt: skip
        climbing = isinstance(self.a, PGD | SLIDE)
        if self.b.restarts != 1 or climbing and self.a.restarts != 1 or not climbing and self.restarts != 1:
            own = "its restarts" if climbing else "the tries of its search"
            raise ValueError(f"an AffineAttack starts again by {own}: leave all other restarts at 1")
        if climbing and (self.a.steps, self.a.box) != (self.b.steps, self.b.box):
            raise ValueError(f"the two attacks take {self.a.steps} and {self.b.steps} steps in the boxes {self.a.box} "
                             f"and {self.b.box}: give them the same")  # fmt: skip

    @property
    def _betas(self) -> tuple[float | None, ...]:
        """The values to try, None for a draw."""
        return self.beta if isinstance(self.beta, tuple) else (self.beta,)

    @property
    def S(self) -> Affine:
        return Affine(self.a.S, self.b.S)

    @property
    def box(self) -> Box:
        return self.b.box

    def __call__(self, model: Model, x: Tensor, y: Tensor, rng) -> Tensor:
        """The worst mixtures found, shape, dtype and device of x."""
        b = self.b
        how: dict[str, Any] = {"loss": b.loss, "early_stop": b.early_stop}
        climb: Callable[..., Found] = partial(ascend, model, steps=b.steps, box=b.box, **how)

        def mix(x: Tensor, y: Tensor, draws: Draws, share: float | None) -> Found:
            beta = _as_shares(share, x, draws)
            return climb(x, y, draws, [self.a, b], [beta, 1 - beta])

        def climb_from(x: Tensor, y: Tensor, draws: Draws, share: float | None, move) -> Found:
            beta = _as_shares(share, x, draws)
            r = move(x, draws)
            moved = apply_checked(self.a.S, x, like(beta, r) * r)
            return climb(moved, y, draws, [b], [1 - beta])

        with attacking(model, x, y, self.S, self.box, b.loss):
            if isinstance(self.a, PGD | SLIDE):
                searches = (partial(mix, share=share) for share in self._betas for _ in range(self.restarts))
            else:
                searches = (
                    partial(climb_from, share=share, move=move) for share in self._betas for move in self.a.moves()
                )
            return worst(model, x, y, searches, rng, **how)


def _as_shares(beta: float | None, x: Tensor, draws: Draws) -> Tensor:
    """β for each example, (batch,)."""
    if beta is None:
        return torch.as_tensor(draws.uniform(0.0, 1.0, len(x)), device=x.device).to(x.dtype)
    return x.new_full((len(x),), beta)
