"""Sparse-RS (Croce et al. 2022) at the price of each move: random search over sets of coordinates, no gradient."""

from dataclasses import dataclass
from functools import partial
from math import inf
from typing import NamedTuple

import torch
from torch import Tensor

from tradeoff.attacks.ascent import Box, Found, Model, attacking, look, settle, worst
from tradeoff.attacks.draws import Draws
from tradeoff.checks import check_box, check_count
from tradeoff.perturbations import Lp

BLOCK = 50  # queries whose random numbers are drawn at once
# After which of 10,000 queries the share of moves that are exchanged falls to 1 / the second of its first value.
SCHEDULE = ((0, 2), (50, 4), (200, 5), (500, 6), (1000, 8), (2000, 10), (4000, 12), (6000, 15), (8000, 20))


@dataclass(frozen=True)
class SparseSearch:
    """Move a few coordinates as far as they go, and exchange some of them where that makes the loss larger.

    A coordinate goes up or down to the end of what the network sees (`seen`, as in `CoordinateBeam`; None: of the box)
    at the price of that move, |length|^p of the budget eps^p, and as many coordinates move as the budget pays for.
    Every query gives up some of them at random, the share `exchanged` at first and less by the paper's schedule, which
    is stretched to `queries`, and pays for random others. Forward passes only: queries + 1 an example and restart.

    >>> model = torch.nn.Sequential(torch.nn.Hardtanh(0.3, 0.7), torch.nn.Linear(3, 2, bias=False))
    >>> _ = model[1].weight.data.copy_(torch.tensor([[0.0, 0.0, 0.0], [2.0, 1.0, 0.5]]))
    >>> x, y = torch.tensor([[1.0, 1.0, 0.4]]), torch.tensor([1])
    >>> attack = SparseSearch(L1(1.0), queries=50, seen=(0.3, 0.7), early_stop=False)
    >>> (x - attack(model, x, y, np.random.default_rng(0))).round(decimals=3)  # the rest, 0.2, goes to the second
    tensor([[0.7000, 0.2000, 0.1000]])
    """

    S: Lp
    queries: int = 2000
    restarts: int = 1
    exchanged: float = 0.3
    seen: tuple[float, float] | None = None
    loss: str = "margin"
    box: Box = (0.0, 1.0)
    early_stop: bool = True

    def __post_init__(self):
        if not isinstance(self.S, Lp) or self.S.p == inf:
            raise ValueError(f"SparseSearch spends one budget on few coordinates, which {self.S} has none of: "
                             "attack l1 and l2 balls")  # fmt: skip
        check_count(self.queries, "queries")
        check_count(self.restarts, "restarts")
        if not 0 < self.exchanged <= 1:
            raise ValueError(f"exchanged is {self.exchanged!r}, but must be a share of the moves in (0, 1]")
        if self.box is None and self.seen is None:
            raise ValueError("without a box there is no end for a coordinate to go to: say what the network sees, seen")
        check_box(self.box)
        check_box(self.seen, "seen")

    def __call__(self, model: Model, x: Tensor, y: Tensor, rng) -> Tensor:
        """The worst points found, shape, dtype and device of x."""
        with attacking(model, x, y, self.S, self.box, self.loss):
            searches = [partial(self._search, model)] * self.restarts
            return worst(model, x, y, searches, rng, loss=self.loss, early_stop=self.early_stop)

    def _search(self, model: Model, x: Tensor, y: Tensor, draws: Draws) -> Found:
        rows, moves = torch.arange(len(x), device=x.device), self._moves(x.flatten(1))
        now = None
        for query in range(self.queries):
            place = query % BLOCK
            if place == 0:
                size = (len(rows), min(BLOCK, self.queries - query), 2, moves.origin.shape[1])
                numbers = torch.as_tensor(draws.uniform(0.0, 1.0, size), device=x.device).to(x.dtype)
            if now is None:
                chosen = self._pay(moves, *numbers[:, 0].unbind(dim=1))
            else:
                chosen = self._exchange(moves, now[0], numbers[:, place], self.share(query))
            found = look(model, chosen.point.reshape(-1, *x.shape[1:]), y[rows], self.loss)
            if now is None:
                now, best = (chosen, found), found
            else:
                better = found.loss > now[1].loss
                better = better | found.broken if self.early_stop else better
                now = _choose(better, chosen, now[0]), _choose(better, found, now[1])
                best = Found(*(whole.index_copy(0, rows, part) for whole, part in zip(best, now[1], strict=True)))
            if self.early_stop and now[1].broken.any():
                stay = ~now[1].broken
                if not stay.any():
                    break
                rows, draws, numbers = rows[stay], draws[stay.cpu().numpy()], numbers[stay]
                moves = _Moves(*(part[stay] for part in moves))
                now = _Chosen(*(part[stay] for part in now[0])), Found(*(part[stay] for part in now[1]))
        return best._replace(x=settle(x, best.x, [self.S], [x.new_ones(len(x))], self.box))

    def share(self, query: int) -> float:
        """The share of the moves that this query exchanges."""
        return self.exchanged / [by for after, by in SCHEDULE if query / self.queries * 10_000 >= after][-1]

    def _moves(self, origin: Tensor) -> "_Moves":
        low, high = self.seen or self.box
        up, down = (origin.clamp(min=high) - origin), (origin - origin.clamp(max=low))
        if self.box is not None:
            up, down = up.minimum(self.box[1] - origin), down.minimum(origin - self.box[0])
        return _Moves(origin, up, down)

    def _exchange(self, moves: "_Moves", now: "_Chosen", numbers: Tensor, share: float) -> "_Chosen":
        """Some of the moves exchanged; `numbers`, (batch, 2, n), uniform in [0, 1), say which for which."""
        order, coin = numbers.unbind(dim=1)
        last = torch.where(now.moved, order, 2.0).amin(dim=1, keepdim=True)
        given_up = now.moved & ((order < share) | (order == last))
        scores = torch.where(given_up, -1.0, order + 3.0 * now.moved)
        return self._pay(moves, scores, torch.where(now.moved, now.up.to(coin), coin))

    def _pay(self, moves: "_Moves", scores: Tensor, up: Tensor) -> "_Chosen":
        """Coordinates moved in the order of their scores, the highest first, while there is budget; the last of them as
        far as the rest goes. Up or down, or the other way where a coordinate cannot go that one."""
        up = torch.where(up > 0.5, moves.up > 0, moves.down <= 0)
        whole = torch.where(up, moves.up, moves.down)
        scores = torch.where(whole > 0, scores, -2.0)
        order = scores.argsort(dim=1, descending=True)
        sorted_whole = whole.gather(1, order)
        left = self.S.eps**self.S.p - (sorted_whole.double() ** self.S.p).cumsum(dim=1)
        rest = (left + sorted_whole.double() ** self.S.p).clamp(min=0) ** (1 / self.S.p)
        length = torch.where(left >= 0, sorted_whole, rest.to(whole.dtype).minimum(sorted_whole))
        length = torch.zeros_like(whole).scatter(1, order, length)
        return _Chosen(moves.origin + torch.where(up, length, -length), length > 0, up)


class _Moves(NamedTuple):
    """How far each coordinate can go, a row per example that is still in the search, (batch, n) each."""

    origin: Tensor
    up: Tensor
    down: Tensor


class _Chosen(NamedTuple):
    """What has been moved, (batch, n) each."""

    point: Tensor
    moved: Tensor  # bool
    up: Tensor  # bool


def _choose(rows: Tensor, new, old):
    """The parts of `new` in the rows that are true, of `old` in the others."""
    return type(new)(*(torch.where(rows.reshape(-1, *[1] * (part.ndim - 1)), part, other)
                       for part, other in zip(new, old, strict=True)))  # fmt: skip
