"""The Square Attack (Andriushchenko et al. 2020), for l1 as in Croce and Hein (2021): random search, no gradient."""

from dataclasses import dataclass
from functools import partial
from math import inf, sqrt

import numpy as np
import torch
from torch import Tensor

from tradeoff.attacks.ascent import Box, Found, Model, attacking, into, look, settle, worst
from tradeoff.attacks.draws import Draws
from tradeoff.checks import check_box, check_count
from tradeoff.perturbations import Lp

BLOCK = 250  # queries whose random numbers are drawn at once
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # after which of 10,000 queries squares halve in area


@dataclass(frozen=True)
class Square:
    """Change a random square at a time, and keep the change where it makes the loss larger.

    linf: starts with vertical stripes of ±eps, then sets all pixels of a square to +eps or -eps, a sign per channel.
    l1 and l2: starts with a tiling of bumps, then moves what a second square holds into a pair of bumps of opposite
    sign in the first; the whole is scaled up as far as the box leaves room. Squares cover the share `p_init` of the
    image at first, and less and less by the paper's schedule, stretched to `queries`. On vectors, (batch, n), squares
    are intervals of neighbouring coordinates. Forward passes only: queries + 1 an example and restart at most.

    >>> model = torch.nn.Linear(2, 2, bias=False)
    >>> _ = model.weight.data.copy_(torch.tensor([[0.0, 0.0], [1.0, -1.0]]))  # class 1 iff x_0 > x_1
    >>> x, y = torch.tensor([[0.6, 0.5], [0.9, 0.1]]), torch.tensor([1, 1])
    >>> model(Square(Linf(0.1), queries=20)(model, x, y, np.random.default_rng(0))).argmax(dim=1)
    tensor([0, 1])
    """

    S: Lp
    queries: int = 5000
    restarts: int = 1
    p_init: float = 0.8
    loss: str = "margin"
    box: Box = (0.0, 1.0)
    early_stop: bool = True

    def __post_init__(self):
        if not isinstance(self.S, Lp) or self.S.p not in (1, 2, inf):
            raise ValueError(f"Square attacks linf, l2 and l1 balls, not {self.S}")
        check_count(self.queries, "queries")
        check_count(self.restarts, "restarts")
        if not 0 < self.p_init <= 1:
            raise ValueError(f"p_init is {self.p_init!r}, but must be a share of the image in (0, 1]")
        check_box(self.box)

    def __call__(self, model: Model, x: Tensor, y: Tensor, rng) -> Tensor:
        """The worst points found, shape, dtype and device of x."""
        with attacking(model, x, y, self.S, self.box, self.loss):
            searches = [partial(self._search, model)] * self.restarts
            return worst(model, x, y, searches, rng, loss=self.loss, early_stop=self.early_stop)

    def _search(self, model: Model, x: Tensor, y: Tensor, draws: Draws) -> Found:
        planes = x.shape[1:] if x.ndim == 4 else (1, 1, x[0].numel())  # (channels, height, width)
        base, rows = x.reshape(-1, *planes), torch.arange(len(x), device=x.device)

        def see(r: Tensor) -> Found:
            point = base + r if self.box is None else (base + r).clamp(*self.box)
            return look(model, point.reshape(-1, *x.shape[1:]), y[rows], self.loss)

        def room() -> tuple[Tensor | None, Tensor | None]:
            return (None, None) if self.box is None else (self.box[0] - base, self.box[1] - base)

        r = self.start(base, draws, *room())
        now = see(r)
        best = Found(*(part.clone() for part in now))
        for query in range(1, self.queries):
            place = (query - 1) % BLOCK
            if place == 0:
                size = (len(rows), min(BLOCK, self.queries - query), 5 + planes[0])
                numbers = torch.as_tensor(draws.uniform(0.0, 1.0, size), device=x.device)
            if self.early_stop and now.broken.any():
                stay = ~now.broken
                if not stay.any():
                    break
                rows, base, r, now = rows[stay], base[stay], r[stay], Found(*(part[stay] for part in now))
                draws = draws[stay.cpu().numpy()]
                numbers = numbers[stay]
            new = self.propose(r, numbers[:, place], self.share(query), *room())
            found = see(new)
            better = found.loss > now.loss
            if self.early_stop:
                better = better | found.broken
            if better.any():
                r = torch.where(_wide(better), new, r)
                keep = better.reshape(-1, *[1] * (x.ndim - 1))
                now = Found(torch.where(keep, found.x, now.x), torch.where(better, found.loss, now.loss),
                            torch.where(better, found.broken, now.broken))  # fmt: skip
                best = Found(*(whole.index_copy(0, rows, part) for whole, part in zip(best, now, strict=True)))
        return best._replace(x=settle(x, best.x, [self.S], [x.new_ones(len(x))], self.box))

    def share(self, query: int) -> float:
        """The share of the image that the square of this query covers."""
        return self.p_init / 2 ** sum(query / self.queries * 10_000 > limit for limit in HALVINGS)

    def start(self, x: Tensor, draws: Draws, low: Tensor | None, high: Tensor | None) -> Tensor:
        """The first perturbation of the planes x, (batch, channels, height, width)."""
        n, channels, height, width = x.shape
        if self.S.p == inf:
            return into((self.S.eps * _signs(draws, (n, channels, 1, width), x)).expand_as(x), low, high)
        tall, wide = _side(0.04, height, width)
        tiles = height // tall, width // wide
        bumps = _bumps(tall, wide, x).repeat(*tiles)
        signs = _signs(draws, (n, channels, *tiles), x).repeat_interleave(tall, dim=2).repeat_interleave(wide, dim=3)
        r, (top, left) = torch.zeros_like(x), ((height - len(bumps)) // 2, (width - bumps.shape[1]) // 2)
        r[:, :, top : top + len(bumps), left : left + bumps.shape[1]] = signs * bumps
        return self._fill(r, low, high, rounds=5)

    def propose(self, r: Tensor, numbers: Tensor, share: float, low: Tensor | None, high: Tensor | None) -> Tensor:
        """r with a random square changed. `numbers`, (batch, 5 + channels), uniform in [0, 1), say which and how."""
        height, width = r.shape[2:]
        tall, wide = _side(share, height, width)
        down, along = _offsets(numbers[:, 0], height, tall), _offsets(numbers[:, 1], width, wide)
        first = _inside(down, tall)[:, None, :, None] & _inside(along, wide)[:, None, None, :]
        signs = torch.where(numbers[:, 5:] < 0.5, -1.0, 1.0).to(r)[:, :, None, None]
        if self.S.p == inf:
            new = into(torch.where(first, self.S.eps * signs, r), low, high)
            same = (new == r).flatten(1).all(dim=1)
            return torch.where(_wide(same), into(torch.where(first, -self.S.eps * signs, r), low, high), new)
        second = _inside(_offsets(numbers[:, 2], height, tall), tall)[:, None, :, None]
        second = second & _inside(_offsets(numbers[:, 3], width, wide), wide)[:, None, None, :]
        bumps = _bumps(tall, wide, r)
        if tall == wide:  # along either axis
            bumps = torch.stack((bumps, bumps.T))[(numbers[:, 4] < 0.5).long()]
        else:
            bumps = bumps.expand(len(r), tall, wide)
        example = torch.arange(len(r), device=r.device)[:, None, None]
        bumps = bumps[example, down.clamp(0, tall - 1)[:, :, None], along.clamp(0, wide - 1)[:, None, :]][:, None]
        p, zero = self.S.p, torch.zeros_like(r)

        def power(v: Tensor) -> Tensor:
            return (v.abs() ** p).sum(dim=(2, 3), keepdim=True)

        held = torch.where(first, r, zero)
        new = torch.where(first, signs * bumps, zero) + held / power(held).clamp(min=1e-12) ** (1 / p)
        left = (self.S.eps**p - power(r).sum(dim=1, keepdim=True)).clamp(min=0) / r.shape[1]
        mass = left + power(torch.where(first | second, r, zero))
        new = new * (mass / power(new).clamp(min=1e-12)) ** (1 / p)
        return self._fill(torch.where(first, new, torch.where(second, zero, r)), low, high, rounds=2)

    def _fill(self, r: Tensor, low: Tensor | None, high: Tensor | None, rounds: int) -> Tensor:
        """r scaled to the radius and clipped to the box, again and again: what one pixel loses others gain."""
        for _ in range(1 if low is None else rounds):
            r = into((r / _wide(self.S.gauge(r).clamp(min=1e-12))).to(r.dtype), low, high)
        return r


def _wide(v: Tensor) -> Tensor:
    return v[:, None, None, None]


def _signs(draws: Draws, size: tuple[int, ...], like: Tensor) -> Tensor:
    return torch.as_tensor(draws.choice((-1.0, 1.0), size), device=like.device).to(like.dtype)


def _side(share: float, height: int, width: int) -> tuple[int, int]:
    """Height and width of the square that covers a share of the image: an interval if that has one row."""
    if height == 1:
        return 1, max(1, round(share * width))
    side = min(max(1, round(sqrt(share * height * width))), height, width)
    return side, side


def _offsets(number: Tensor, length: int, side: int) -> Tensor:
    """Where each of `length` positions stands in a window that a number in [0, 1) places: (batch, length)."""
    start = (number * (length - side + 1)).long()
    return torch.arange(length, device=number.device)[None] - start[:, None]


def _inside(offsets: Tensor, side: int) -> Tensor:
    return (offsets >= 0) & (offsets < side)


def _bumps(height: int, width: int, like: Tensor) -> Tensor:
    """Two bumps side by side, of opposite sign and norm 1 in all: Σ_{k ≥ distance from the centre} 1 / (k + 1)²."""

    def bump(height: int, width: int) -> np.ndarray:
        down, along = (np.abs(np.arange(side) - (side - 1) // 2) for side in (height, width))
        tails = np.cumsum(1.0 / np.arange(max(height, width) + 1, 0, -1) ** 2)[::-1]
        return tails[np.maximum(down[:, None], along[None, :])]

    pair = np.hstack((bump(height, width // 2), -bump(height, width - width // 2)))
    return torch.as_tensor(pair / np.linalg.norm(pair), device=like.device).to(like.dtype)
