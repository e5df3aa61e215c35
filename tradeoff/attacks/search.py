"""Searches over rotations and translations (Engstrom et al. 2019): no gradient, many forward passes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from tradeoff.attacks.ascent import Box, Found, Model, attacking, check_count, look, worst
from tradeoff.attacks.draws import Draws
from tradeoff.perturbations import RotationTranslation, Swap

Moves = Iterator[Callable[[Tensor, Draws], Tensor]]  # each gives one move per example


@dataclass(frozen=True)
class RandomSearch:
    """The worst of `tries` uniform draws from S per example (and of no move at all).

    >>> RandomSearch(RotationTranslation(3, 30), tries=10)
    RandomSearch(S=RotationTranslation(shift=3.0, angle=30.0), tries=10, loss='margin', early_stop=True)
    """

    S: RotationTranslation | Swap
    tries: int = 10
    loss: str = "margin"
    early_stop: bool = True

    def __post_init__(self):
        _check_moves(self.S)
        check_count(self.tries, "tries")

    @property
    def box(self) -> Box:
        return _box(self.S)

    def moves(self) -> Moves:
        return iter([self.S.sample] * self.tries)

    def __call__(self, model: Model, x: Tensor, y: Tensor, rng) -> Tensor:
        """The worst moved inputs, shape, dtype and device of x."""
        return _search(self, model, x, y, rng)


@dataclass(frozen=True)
class GridSearch:
    """The worst over S.grid(): for rotation-translations 5 × 5 shifts × 31 angles = 775, as in the paper.

    >>> len(list(GridSearch(RotationTranslation(3, 30)).moves()))
    775
    """

    S: RotationTranslation | Swap
    loss: str = "margin"
    early_stop: bool = True

    def __post_init__(self):
        _check_moves(self.S)

    @property
    def box(self) -> Box:
        return _box(self.S)

    def moves(self) -> Moves:
        for move in self.S.grid():
            # Made of doubles: moves near the edge of the set must not be rounded out of it.
            yield lambda x, draws, move=move: torch.as_tensor(move, device=x.device).expand(len(x), *move.shape)

    def __call__(self, model: Model, x: Tensor, y: Tensor, rng) -> Tensor:
        """The worst moved inputs, shape, dtype and device of x."""
        return _search(self, model, x, y, rng)


def _check_moves(S) -> None:
    if not isinstance(S, RotationTranslation | Swap):
        raise ValueError(f"a search tries moves, not {S}: use PGD or SLIDE for lp balls")


def _box(S) -> Box:
    """Moved images stay in [0, 1]; swapped vectors have no bounds."""
    return (0.0, 1.0) if isinstance(S, RotationTranslation) else None


def _search(attack: RandomSearch | GridSearch, model: Model, x: Tensor, y: Tensor, rng) -> Tensor:
    def search(move):
        def found(x: Tensor, y: Tensor, draws: Draws) -> Found:
            return look(model, apply_checked(attack.S, x, move(x, draws)), y, attack.loss)

        return found

    with attacking(model, x, y, attack.S, attack.box, attack.loss):
        searches = map(search, attack.moves())
        return worst(model, x, y, searches, rng, loss=attack.loss, early_stop=attack.early_stop)


def apply_checked(S: RotationTranslation | Swap, x: Tensor, r: Tensor) -> Tensor:
    """S.apply(x, r), with r known to lie in S and the images kept in [0, 1]."""
    if not S.contains(r).all():
        raise RuntimeError(f"a search left its set {S}: a bug of the attack, please report it")
    moved = S.apply(x, r)
    return moved.clamp(0.0, 1.0) if isinstance(S, RotationTranslation) else moved
