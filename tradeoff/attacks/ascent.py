"""The one loop that climbs a loss, and the one rule that keeps the worst point of an example.

Every attack is a frozen dataclass that is called: `attack(model, x, y, rng) -> x_adv`. The model maps a batch to logits
(batch, classes); x is floating point, y int64 labels; rng is a NumPy Generator or per-example `Draws`. The result has
the shape, dtype and device of x, lies in the attack's set around x and in the box, and the model is left as it was.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from tradeoff.attacks.draws import Draws
from tradeoff.attacks.losses import LOSSES
from tradeoff.names import lookup
from tradeoff.perturbations import Affine, Lp, Union
from tradeoff.perturbations.lp import TOLERANCE, norm, number

Box = tuple[float, float] | None
Model = Callable[[Tensor], Tensor]
State = dict[str, Any]  # what a climber remembers: tensors with a row per example, counts; "r" is its perturbation


HUGE = 2.0**100  # a power of two, so that products with it are exact


class Found(NamedTuple):
    """Points, one per example, and what the model makes of them."""

    x: Tensor  # (batch, ...)
    loss: Tensor  # (batch,)
    broken: Tensor  # (batch,) bool: misclassified


class Climber(Protocol):
    """How an attack on the set S moves. `low` and `high` bound r by the box; both are None without a box."""

    @property
    def S(self) -> Lp | Union:
        """The set in which its perturbation stays."""

    def start(self, x: Tensor, draws: Draws) -> State:
        """The first state; `r` in S, perhaps not in the box."""

    def moves(
        self, state: State, loss: Tensor, gradient: Tensor, low: Tensor | None, high: Tensor | None
    ) -> Sequence[State]:
        """What to try next, given the loss and its gradient where the state is; of several, the worst is kept."""


def look(model: Model, x: Tensor, y: Tensor, loss: str, target: Tensor | None = None) -> Found:
    """The loss at the points x and whether each is misclassified."""
    with torch.no_grad():
        return _found(x, _logits(model, x), y, loss, target)


def _look_with_gradient(model: Model, x: Tensor, y: Tensor, loss: str, target: Tensor | None) -> tuple[Found, Tensor]:
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        found = _found(x, _logits(model, x), y, loss, target)
        (gradient,) = torch.autograd.grad(found.loss, x, torch.ones_like(found.loss))
    return Found(x.detach(), found.loss.detach(), found.broken), gradient


def _found(x: Tensor, logits: Tensor, y: Tensor, loss: str, target: Tensor | None) -> Found:
    return Found(x, LOSSES[loss](logits, y, target), logits.argmax(dim=1) != y)


def _logits(model: Model, x: Tensor) -> Tensor:
    logits = model(x)
    if not isfinite(logits.detach().sum()) and not torch.isfinite(logits).all():  # the sum is cheap, and may overflow
        raise ValueError("the model returns NaN or infinite logits: check its weights and its input")
    return logits


def worst(
    model: Model,
    x: Tensor,
    y: Tensor,
    searches: Iterable[Callable[[Tensor, Tensor, Draws], Found]],
    rng,
    *,
    loss: str = "margin",
    early_stop: bool = True,
) -> Tensor:
    """Per example the worst of x itself and of what the searches find: misclassified, else of largest loss.

    With `early_stop` an example that is misclassified leaves the batch, so that later searches cost less; without,
    every search sees every example and the loss alone decides, as training wants it.
    """
    draws = Draws.of(rng, len(x))
    best = look(model, x, y, loss)
    for search in searches:
        if not early_stop:
            best = _worse(best, search(x, y, draws), early_stop)
            continue
        standing = (~best.broken).nonzero()[:, 0]
        if not len(standing):
            break
        found = search(x[standing], y[standing], draws[standing.cpu().numpy()])
        best = _put(best, standing, _worse(_rows(best, standing), found, early_stop))
    return best.x


def _worse(best: Found, found: Found, early_stop: bool, out: Tensor | None = None) -> Found:
    """Per example the worse of the two, `best` in a tie; its points are written to `out` if given."""
    better = found.loss > best.loss
    if early_stop:
        better = torch.where(found.broken == best.broken, better, found.broken)
    loss, broken = (torch.where(better, new, old) for old, new in zip(best[1:], found[1:], strict=True))
    return Found(choose(better, found.x, best.x, out), loss, broken)


def choose(rows: Tensor, new: Tensor, old: Tensor, out: Tensor | None = None) -> Tensor:
    """`new` in the rows, bool (batch,), that are true and `old` in the others; both finite."""
    # Exact at weights of 0 and 1, and several times as fast as a mask that broadcasts.
    return torch.lerp(old, new, like(rows, old).to(old.dtype), out=out)


def _rows(found: Found, rows: Tensor) -> Found:
    return Found(*(part[rows] for part in found))


def _put(whole: Found, rows: Tensor, part: Found) -> Found:
    """`whole` with the given rows replaced by those of `part`."""
    return Found(*(old.index_copy(0, rows, new) for old, new in zip(whole, part, strict=True)))


def ascend(
    model: Model,
    x: Tensor,
    y: Tensor,
    draws: Draws,
    climbers: Sequence[Climber],
    shares: Sequence[Tensor] | None = None,
    *,
    steps: int,
    loss: str = "margin",
    target: Tensor | None = None,
    box: Box = (0.0, 1.0),
    early_stop: bool = True,
    begin: Tensor | None = None,
    watch: Callable[[int, Found], None] | None = None,
) -> Found:
    """Climb the loss from the climbers' starts, `steps` moves each in turn, and return the worst point on the way.

    The point is x + Σ_k shares[k]·r_k with r_k in the k-th climber's set and shares of shape (batch,), 1 by default:
    an affine adversary has two climbers and the shares β and 1-β. A single climber may `begin` near a given point.
    `target` holds classes for a targeted loss. With `early_stop` an example leaves once it is misclassified.
    `watch(moves made, found)` is shown every point that is visited.
    """
    walk = _Walk.start(x, draws, climbers, shares, box, begin)
    out = rows = best = None
    moves = steps * len(climbers)
    for made in range(moves + 1):
        if made < moves:
            found, gradient = _look_with_gradient(model, walk.point(), y, loss, target)
        else:
            found = look(model, walk.point(), y, loss, target)
        if watch:
            watch(made, found)
        best = found._replace(x=found.x.clone()) if best is None else _worse(best, found, early_stop, best.x)
        if made == moves:
            break
        if early_stop and found.broken.any():
            if out is None:
                out, rows = best, torch.arange(len(x), device=x.device)
            else:
                out = _put(out, rows, best)
            stay = (~found.broken).nonzero()[:, 0]
            if not len(stay):
                break
            walk, rows, y, best, gradient = walk.only(stay), rows[stay], y[stay], _rows(best, stay), gradient[stay]
            found, target = _rows(found, stay), None if target is None else target[stay]
        k = made % len(climbers)
        tries = climbers[k].moves(walk.states[k], found.loss, gradient, *walk.room(k))
        walk.states[k] = tries[0]
        if len(tries) > 1:
            best_try = None
            for state in tries:
                walk.states[k] = state
                seen = look(model, walk.point(), y, loss, target)._replace(x=state["r"])
                best_try = seen if best_try is None else _worse(best_try, seen, early_stop)
            walk.states[k] = state | {"r": best_try.x}
    found = best if out is None else _put(out, rows, best)
    return found._replace(x=settle(x, found.x, [climber.S for climber in climbers], shares, box))


class _Walk(NamedTuple):
    """Where an ascent stands: x + Σ_k shares[k]·r_k. `low` and `high` are what the box leaves around x."""

    x: Tensor
    low: Tensor | None
    high: Tensor | None
    shares: list[Tensor] | None
    states: list[State]
    box: Box

    @classmethod
    def start(cls, x, draws, climbers, shares, box, begin) -> "_Walk":
        low, high = (None, None) if box is None else (box[0] - x, box[1] - x)
        walk = cls(x, low, high, shares and [like(share, x) for share in shares], [], box)
        for k, climber in enumerate(climbers):
            state = climber.start(x, draws)
            r = state["r"] if begin is None else climber.S.project(begin - x, low, high)
            walk.states.append(state | {"r": into(r, *walk.room(k))})
        return walk

    def point(self) -> Tensor:
        r = self.states[0]["r"] if self.shares is None else sum(share * state["r"] for share, state in self._parts())
        point = self.x + r
        return point if self.box is None else point.clamp_(*self.box)  # the sum may leave the box by a rounding

    def room(self, k: int) -> tuple[Tensor | None, Tensor | None]:
        """Bounds low ≤ 0 ≤ high on r_k that keep both x + share·r_k and the point in the box."""
        if self.box is None or self.shares is None:
            return self.low, self.high
        low, high = self.low, self.high
        others = [share * state["r"] for j, (share, state) in enumerate(self._parts()) if j != k]
        if others:
            other = sum(others)
            low, high = low - other.clamp(max=0), high - other.clamp(min=0)
        share = self.shares[k].clamp(min=1e-30)
        return (low / share).clamp(max=0), (high / share).clamp(min=0)

    def _parts(self) -> Iterable[tuple[Tensor, State]]:
        return zip(self.shares, self.states, strict=False)  # while they start, some climbers have no state yet

    def only(self, rows: Tensor) -> "_Walk":
        def part(v):
            return v[rows] if isinstance(v, Tensor) else v

        states = [{name: part(value) for name, value in state.items()} for state in self.states]
        shares = self.shares and [share[rows] for share in self.shares]
        return _Walk(self.x[rows], part(self.low), part(self.high), shares, states, self.box)


def into(r: Tensor, low: Tensor | None, high: Tensor | None) -> Tensor:
    """r clipped to the box's bounds, which shrinks every entry: it stays in any lp ball."""
    return r if low is None else r.clamp(low, high)


def movable(gradient: Tensor, r: Tensor, low: Tensor | None, high: Tensor | None) -> Tensor:
    """The gradient, zero where r is at a bound that it points out of."""
    if low is None:
        return gradient
    # A bound of zero where there is no room and beyond any gradient elsewhere: far cheaper than a mask.
    least, most = (low - r).mul_(HUGE), (high - r).mul_(HUGE)
    return torch.clamp(gradient, least, most, out=least)


def like(v: Tensor, x: Tensor) -> Tensor:
    """(batch,) as (batch, 1, ..., 1), to broadcast against x."""
    return v.reshape(-1, *[1] * (x.ndim - 1))


def settle(x: Tensor, point: Tensor, sets: Sequence, shares: Sequence[Tensor] | None, box: Box) -> Tensor:
    """The points, moved inward by one rounding where the sum x + r left the set by one; checked."""

    def inside(point):
        r = point.double() - x.double()
        if len(sets) == 2:
            return Affine(*sets).contains(r)
        if shares is None:
            return sets[0].contains(r)
        return sets[0].gauge(r) <= shares[0] * (1 + TOLERANCE)

    ok = inside(point)
    if not ok.all():
        point = torch.where(like(ok, x), point, torch.nextafter(point, x))
        ok = inside(point)
    if box is not None:
        ok = ok & ((point >= box[0]) & (point <= box[1])).flatten(1).all(dim=1)
    if not ok.all():
        raise RuntimeError(f"an attack left its set {' + '.join(map(str, sets))} on {int((~ok).sum())} examples: "
                           "a bug of the attack, please report it")  # fmt: skip
    return point


@contextmanager
def attacking(model: Model, x: Tensor, y: Tensor, S, box: Box, loss: str = "margin") -> Iterator[None]:
    """Check the input of an attack before any step and hold the model in eval mode meanwhile.

    Raises ValueError that names the value and the remedy.
    """
    check_batch(x, y, box)
    lookup(LOSSES, loss, "loss")
    check_fits(S, x, box)
    with evaluating(model):
        with torch.no_grad():
            check_logits(model(x[:8]), y)
        yield


@contextmanager
def evaluating(model: Model) -> Iterator[None]:
    """Hold every part of the model in eval mode, and bring those that train back to it on the way out."""
    training = [part for part in model.modules() if part.training] if isinstance(model, nn.Module) else []
    try:
        for part in training:
            part.training = False
        yield
    finally:
        for part in training:
            part.training = True


@contextmanager
def frozen(model: Model) -> Iterator[None]:
    """Ask no gradient of the weights: what calls `backward` leaves nothing on them."""
    parameters = [p for p in model.parameters() if p.requires_grad] if isinstance(model, nn.Module) else []
    try:
        for p in parameters:
            p.requires_grad_(False)
        yield
    finally:
        for p in parameters:
            p.requires_grad_(True)


def check_batch(x: Tensor, y: Tensor, box: Box) -> None:
    """ValueError unless x (batch, ...) is floating point and in the box, and y (batch,) int64."""
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise ValueError(f"x is {getattr(x, 'dtype', type(x).__name__)}, but must be a floating-point torch tensor: "
                         "for bytes, x.float() / 255")  # fmt: skip
    if x.ndim < 2 or 0 in x.shape:
        raise ValueError(f"x has shape {tuple(x.shape)}, but must be a batch (examples ≥ 1, features ≥ 1, ...)")
    if not isinstance(y, Tensor) or y.dtype != torch.int64 or y.shape != (len(x),):
        raise ValueError(f"y is {getattr(y, 'dtype', type(y).__name__)} of shape {tuple(getattr(y, 'shape', ()))}, "
                         f"but must be int64 labels of shape ({len(x)},)")  # fmt: skip
    low, high = float(x.min()), float(x.max())
    if not low > -torch.inf or not high < torch.inf:
        raise ValueError("x holds NaN or infinite values")
    if box is not None and (low < box[0] or high > box[1]):
        raise ValueError(f"x ranges over [{number(low)}, {number(high)}], outside the box [{number(box[0])}, "
                         f"{number(box[1])}]: scale it (x / 255 for bytes), or give box=None for vectors")  # fmt: skip


def check_fits(S, x: Tensor, box: Box) -> None:
    """ValueError for moves that x does not allow, and for an lp ball that swallows the whole box: its radius is in
    other units (8 instead of 8/255)."""
    if isinstance(S, Affine | Union):
        for part in (S.a, S.b) if isinstance(S, Affine) else S.sets:
            check_fits(part, x, box)
        return
    if not isinstance(S, Lp):
        S.check_input(x)
        return
    if box is None:
        return
    whole = float(norm(torch.full_like(x[:1], box[1] - box[0]), S.p)[0])
    if S.eps > whole * (1 + TOLERANCE):
        hint = f", did you mean {S.name}:{number(S.eps)}/255?" if box == (0.0, 1.0) else ""
        raise ValueError(f"{S} is larger than the whole box [{number(box[0])}, {number(box[1])}] of {x[0].numel()} "
                         f"features, whose {S.name} diameter is {whole:.4g}{hint}")  # fmt: skip


def check_logits(logits: Tensor, y: Tensor) -> None:
    """ValueError unless logits are (batch, classes ≥ 2), not probabilities, with a class for every label."""
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(f"the model returns shape {tuple(logits.shape)}, but must return logits (batch, classes ≥ 2)")
    if int(y.min()) < 0 or int(y.max()) >= logits.shape[1]:
        raise ValueError(f"labels range over {int(y.min())}..{int(y.max())}, but the model has classes "
                         f"0..{logits.shape[1] - 1}")  # fmt: skip
    total = logits.sum(dim=1)
    if bool(((logits >= 0) & (logits <= 1)).all()) and bool(((total - 1).abs() < 1e-4).all()):
        raise ValueError("the model returns probabilities: attacks need logits, so remove its softmax")
