"""Beam search over large moves of single coordinates: for l1 and l2, where gradients have been flattened."""

from dataclasses import dataclass, fields
from functools import partial
from math import ceil, inf
from typing import NamedTuple

import torch
from torch import Tensor

from tradeoff.attacks.ascent import LOSSES, Box, Found, Model, attacking, look, settle, worst
from tradeoff.attacks.draws import Draws
from tradeoff.checks import check_box, check_count
from tradeoff.perturbations import Lp

BATCH = 100  # points to a forward pass


@dataclass(frozen=True)
class CoordinateBeam:
    """Move one coordinate after another as far as box and budget allow, and keep the `width` worst points each time.

    A move takes a coordinate up or down, to the edge of the box or, with the last of the budget, as near as that
    allows (always the latter without a box). Of the 2n moves of a point `candidates` are tried by a forward pass: three
    in four are those that promise most, by |gradient| × length of the move or by what they gained when they were last
    tried; the others, and all where nothing promises anything, are drawn with odds in proportion to their length. It
    ends after `moves` moves or with the budget. In all restarts but the first the promises are perturbed (Gumbel
    noise), which draws moves with odds in proportion to their promise.

    A clipping first layer hides a move from the gradient, not from this search. Where such a layer shows the network
    only values of the range `seen` (None: all of them), moves end at its ends: beyond, they cost and change nothing. At
    most moves · width gradients and moves · width · candidates forward passes an example and restart.

    >>> model = torch.nn.Linear(3, 2, bias=False)
    >>> _ = model.weight.data.copy_(torch.tensor([[0.0, 0.0, 0.0], [2.0, 1.0, 0.0]]))
    >>> x, y = torch.tensor([[0.7, 0.5, 0.5]]), torch.tensor([1])
    >>> attack = CoordinateBeam(L1(0.9), width=2, candidates=4, early_stop=False)
    >>> (attack(model, x, y, np.random.default_rng(0)) - x).round(decimals=3).abs()
    tensor([[0.7000, 0.2000, 0.0000]])
    """

    S: Lp
    width: int = 4
    moves: int = 40
    candidates: int = 16
    restarts: int = 1
    loss: str = "margin"
    box: Box = (0.0, 1.0)
    early_stop: bool = True
    seen: tuple[float, float] | None = None

    def __post_init__(self):
        if not isinstance(self.S, Lp) or self.S.p == inf:
            raise ValueError(f"CoordinateBeam spends one budget on few coordinates, which {self.S} has none of: "
                             "attack l1 and l2 balls")  # fmt: skip
        for name in ("width", "moves", "candidates", "restarts"):
            check_count(getattr(self, name), name)
        check_box(self.box)
        check_box(self.seen, "seen")

    def __repr__(self) -> str:
        # `seen` only where it says something: so the results of before it was there can still be read.
        shown = [f.name for f in fields(self) if f.name != "seen" or self.seen is not None]
        return f"CoordinateBeam({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    def __call__(self, model: Model, x: Tensor, y: Tensor, rng) -> Tensor:
        """The worst points found, shape, dtype and device of x."""
        with attacking(model, x, y, self.S, self.box, self.loss):
            searches = [partial(self._search, model, noise=restart > 0) for restart in range(self.restarts)]
            return worst(model, x, y, searches, rng, loss=self.loss, early_stop=self.early_stop)

    def _search(self, model: Model, x: Tensor, y: Tensor, draws: Draws, noise: bool) -> Found:
        shape, rows = x.shape[1:], torch.arange(len(x), device=x.device)
        best = look(model, x, y, self.loss)
        best = best._replace(x=x.flatten(1))
        n = best.x.shape[1]
        unknown = x.new_zeros(len(x), 2 * n)
        beam = _Beam(best.x, y, best.x[:, None], best.loss[:, None], unknown.double()[:, :1], unknown, unknown)
        for _ in range(self.moves):
            ends, lengths = self._moves(beam)
            possible = (lengths > 0).flatten(1).any(dim=1)  # within the budget
            if not possible.all():
                rows, beam, ends, lengths = rows[possible], beam.only(possible), ends[possible], lengths[possible]
                draws = draws[possible.cpu().numpy()]
            if not len(rows):
                break
            moves = self._choose(model, beam, lengths, draws, noise, shape)  # (batch, states, candidates)
            beam, broken = self._advance(model, beam, moves, ends, lengths, shape)
            found = Found(beam.points[:, 0], beam.losses[:, 0], broken)  # the first is the worst
            better = found.loss > best.loss[rows]
            if self.early_stop:
                better = better | broken
            best = Found(*(part.index_copy(0, rows[better], new[better])
                           for part, new in zip(best, found, strict=True)))  # fmt: skip
            if self.early_stop and broken.any():
                rows, beam, draws = rows[~broken], beam.only(~broken), draws[(~broken).cpu().numpy()]
                if not len(rows):
                    break
        point = best.x.reshape(x.shape)
        return best._replace(x=settle(x, point, [self.S], [x.new_ones(len(x))], self.box))

    def _moves(self, beam: "_Beam") -> tuple[Tensor, Tensor]:
        """Where each coordinate would go, up then down, and how far that is: (batch, states, 2n).

        0 where it cannot: no coordinate moves twice, and rests of the budget below a millionth are none.
        """
        p, eps, origin = self.S.p, self.S.eps, beam.origin[:, None]
        used = (beam.points.double() - origin.double()).abs() ** p
        left = eps**p - used.sum(dim=-1, keepdim=True)
        reach = torch.where((used > 0) | (left <= 1e-6 * eps**p), 0.0, left.clamp(min=0) ** (1 / p))
        ends = torch.cat((origin.double() + reach, origin.double() - reach), dim=-1).to(origin.dtype)
        ends = ends if self.box is None else ends.clamp(*self.box)
        if self.seen is not None:
            least, most = beam.origin.clamp(max=self.seen[0]), beam.origin.clamp(min=self.seen[1])
            ends = ends.maximum(least[:, None].repeat(1, 1, 2)).minimum(most[:, None].repeat(1, 1, 2))
        origin, reach = origin.repeat(1, 1, 2), reach.repeat(1, 1, 2)
        lengths = (ends.double() - origin.double()).abs()
        ends = torch.where(lengths > reach, torch.nextafter(ends, origin), ends)  # was rounded beyond
        lengths = torch.where(reach > 0, (ends - origin).abs(), 0.0)
        return ends, torch.where(beam.losses[..., None] > -torch.inf, lengths, 0.0)

    def _choose(self, model: Model, beam: "_Beam", lengths: Tensor, draws: Draws, noise: bool, shape) -> Tensor:
        """The moves to try from every state, (batch, states, candidates)."""
        batch, states, count = lengths.shape
        y = beam.y.repeat_interleave(states)
        gradient = _gradient(model, beam.points.reshape(-1, *shape), y, self.loss).reshape(beam.points.shape)
        promise = torch.cat((gradient, -gradient), dim=-1) * lengths
        promise = torch.where(lengths > 0, torch.maximum(promise, beam.gains[:, None]), 0.0).clamp(min=0).log()
        u = torch.as_tensor(draws.uniform(0.0, 1.0, (batch, 1 + noise, states, count)), device=lengths.device)
        gumbel = -(-u.clamp(min=1e-300).log()).clamp(min=1e-300).log()
        if noise:
            promise = promise + gumbel[:, 1].to(promise)
        candidates = min(self.candidates, count)
        top = promise.topk(ceil(0.75 * candidates), dim=-1)
        # The others are the least tried, and among those drawn with odds in proportion to their length.
        order = torch.where(
            lengths > 0, lengths.log() + gumbel[:, 0].to(lengths) - 1e3 * beam.tries[:, None], -torch.inf
        )
        order = order.scatter(
            -1, top.indices, torch.where(top.values > -torch.inf, torch.inf, order.gather(-1, top.indices))
        )
        return order.topk(candidates, dim=-1).indices

    def _advance(self, model: Model, beam: "_Beam", moves: Tensor, ends: Tensor, lengths: Tensor, shape):
        """The worst distinct points one move further, worst first, and whether the first is misclassified."""
        batch, states, candidates = moves.shape
        n = beam.origin.shape[1]
        values, possible = ends.gather(2, moves).flatten(1), lengths.gather(2, moves).flatten(1) > 0
        moves = moves.flatten(1)
        state = torch.arange(states, device=moves.device).repeat_interleave(candidates).expand(batch, -1)
        losses = beam.losses.new_full(moves.shape, -torch.inf)
        broken = torch.zeros_like(possible)
        for example, child in zip(*(part.split(BATCH) for part in possible.nonzero().T), strict=True):
            points = beam.points[example, state[example, child]]
            points[torch.arange(len(points), device=points.device), moves[example, child] % n] = values[example, child]
            found = look(model, points.reshape(-1, *shape), beam.y[example], self.loss)
            losses[example, child], broken[example, child] = found.loss, found.broken
        gained = torch.where(possible, losses - beam.losses.gather(1, state), 0.0).clamp(min=0)
        gains = beam.gains.scatter_reduce(1, moves, gained, "amax", include_self=False)
        tries = beam.tries.scatter_add(1, moves, possible.to(beam.tries))
        # The same coordinates moved in another order give the same sum of these.
        step = values.double() - beam.origin.double().gather(1, moves % n)
        codes = beam.codes.gather(1, state) + step * torch.sin(1.0 + moves % n)
        rank = torch.where(broken, torch.inf, losses) if self.early_stop else losses
        first = rank.topk(min(4 * self.width, rank.shape[1]), dim=1).indices
        code, loss = codes.gather(1, first), losses.gather(1, first)
        same = (code[:, :, None] - code[:, None, :]).abs() < 1e-6 * self.S.eps
        loss = torch.where(same.tril(-1).any(dim=2), -torch.inf, loss)
        # A misclassified point stays first, whatever its loss.
        order = torch.where(loss > -torch.inf, rank.gather(1, first), -torch.inf)
        kept = order.topk(min(self.width, order.shape[1]), dim=1).indices
        child, loss = first.gather(1, kept), loss.gather(1, kept)
        example = torch.arange(batch, device=moves.device)[:, None]
        points = beam.points[example, state.gather(1, child)]
        points = points.scatter(2, (moves % n).gather(1, child)[..., None], values.gather(1, child)[..., None])
        beam = _Beam(beam.origin, beam.y, points, loss, codes.gather(1, child), gains, tries)
        return beam, broken.gather(1, child[:, :1])[:, 0]


class _Beam(NamedTuple):
    """Where a search stands, a row per example that is still in it."""

    origin: Tensor  # (batch, n): the examples
    y: Tensor  # (batch,)
    points: Tensor  # (batch, states, n)
    losses: Tensor  # (batch, states); -inf for a state that is none
    codes: Tensor  # (batch, states): equal for equal points
    gains: Tensor  # (batch, 2n): what each move, up then down, gained when last tried
    tries: Tensor  # (batch, 2n): how often it was tried

    def only(self, rows: Tensor) -> "_Beam":
        return _Beam(*(part[rows] for part in self))


def _gradient(model: Model, x: Tensor, y: Tensor, loss: str) -> Tensor:
    """The gradient of the loss in x, zero where the model has none."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value = LOSSES[loss](model(x), y).sum()
        if not value.requires_grad:
            return torch.zeros_like(x)
        return torch.autograd.grad(value, x, materialize_grads=True)[0]
