"""Searches over moves such as rotations and translations (Engstrom et al. 2019): no gradient, many forward passes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from tradeoff.attacks.ascent import Box, Found, Model, attacking, look, worst
from tradeoff.attacks.draws import Draws
from tradeoff.checks import check_count
from tradeoff.perturbations import RotationTranslation
from tradeoff.perturbations.moves import Filter, Move

BATCH = 100  # examples to a forward pass, unless one move of all of them needs more
MOVES = 16  # moves between two looks at which examples still stand
Moves = Iterator[Callable[[Tensor, Draws], Tensor]]  # each gives one move per example


@dataclass(frozen=True)
class RandomSearch:
    """The worst of `tries` uniform draws from S per example (and of no move at all).

    >>> RandomSearch(RotationTranslation(3, 30), tries=10)
    RandomSearch(S=RotationTranslation(shift=3.0, angle=30.0), tries=10, loss='margin', early_stop=True)
    """

    S: Move
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

    The set of broken examples is the same whatever the order of the grid; its first moves, the largest, break most.

    >>> len(list(GridSearch(RotationTranslation(3, 30)).moves()))
    775
    """

    S: Move
    loss: str = "margin"
    early_stop: bool = True

    def __post_init__(self):
        _check_moves(self.S)

    @property
    def box(self) -> Box:
        return _box(self.S)

    def moves(self) -> Moves:
        for move in self.S.grid():
            yield partial(_everywhere, move)

    def __call__(self, model: Model, x: Tensor, y: Tensor, rng) -> Tensor:
        """The worst moved inputs, shape, dtype and device of x."""
        return _search(self, model, x, y, rng)


def _everywhere(move: np.ndarray, x: Tensor, draws: Draws) -> Tensor:
    """The move for each example, in doubles: one near the edge of the set must not be rounded out of it."""
    return torch.as_tensor(move, device=x.device).expand(len(x), *move.shape)


def _check_moves(S) -> None:
    if not isinstance(S, Move):
        raise ValueError(f"a search tries moves, not {S}: use PGD or SLIDE for lp balls")


def _box(S) -> Box:
    """Moved images stay in [0, 1]; swapped vectors have no bounds."""
    return (0.0, 1.0) if isinstance(S, Filter) else None


def _search(attack: RandomSearch | GridSearch, model: Model, x: Tensor, y: Tensor, rng) -> Tensor:
    with attacking(model, x, y, attack.S, attack.box, attack.loss):
        searches = _blocks(attack, model)
        return worst(model, x, y, searches, rng, loss=attack.loss, early_stop=attack.early_stop)


def _blocks(attack: RandomSearch | GridSearch, model: Model) -> Iterator[Callable[[Tensor, Tensor, Draws], Found]]:
    """The attack's moves in order, several to a search, which finds what they would have found one by one.

    A block holds `MOVES` moves, but where examples leave no more than there were before it (so that an example at most
    doubles the passes that it needed), and more where few examples are left to fill a batch.
    """
    S, moves, tried = attack.S, list(attack.moves()), 0

    def search(x: Tensor, y: Tensor, draws: Draws) -> Found:
        nonlocal tried
        size = min(tried, MOVES) if attack.early_stop else MOVES
        block = moves[tried : tried + max(size, BATCH // len(x), 1)]
        tried += len(block)
        moved = _apply_each(S, x, torch.stack([move(x, draws) for move in block]))
        with torch.no_grad():
            logits = torch.cat([model(part) for part in moved.split(max(len(x), BATCH))])
        seen = look(lambda _: logits, moved, y.repeat(len(block)), attack.loss)
        points, loss, broken = (part.unflatten(0, (len(block), len(x))) for part in seen)
        # As one by one: an example leaves at the first move that breaks it (argmax is the first of equals).
        best = torch.where(broken, torch.inf, loss) if attack.early_stop else loss
        here = best.argmax(dim=0), torch.arange(len(x), device=x.device)
        return Found(points[here], loss[here], broken[here])

    while tried < len(moves):
        yield search


def _apply_each(S: Move, x: Tensor, r: Tensor) -> Tensor:
    """Every example under each of its moves r (moves, batch, ...): (moves · batch, ...), move by move."""
    if isinstance(S, RotationTranslation) and bool((r == r[:, :1]).all()):
        # The same for all: one image whose planes are the batch, so that a move's interpolation is worked out once.
        planes = x.reshape(1, -1, *x.shape[2:]).expand(len(r), -1, -1, -1)
        return apply_checked(S, planes, r[:, 0]).reshape(-1, *x.shape[1:])
    return apply_checked(S, x.repeat(len(r), *[1] * (x.ndim - 1)), r.flatten(0, 1))


def apply_checked(S, x: Tensor, r: Tensor) -> Tensor:
    """S.apply(x, r) of moves S, with r known to lie in S and the images kept in [0, 1]."""
    if not S.contains(r).all():
        raise RuntimeError(f"a search left its set {S}: a bug of the attack, please report it")
    moved = S.apply(x, r)
    return moved.clamp_(0.0, 1.0) if isinstance(S, Filter) else moved
