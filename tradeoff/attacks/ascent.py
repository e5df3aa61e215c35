"""The one loop that climbs a loss, and the one rule that keeps the worst point of an example.

Every attack is a frozen dataclass that is called: `attack(model, x, y, rng) -> x_adv`. The model maps a batch to logits
(batch, classes); x is floating point, y int64 labels; rng is a NumPy Generator or per-example `Draws`. The result has
the shape, dtype and device of x, lies in the attack's set around x and in the box, and the model is left as it was.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tradeoff.attacks.draws import Draws
from tradeoff.names import lookup
from tradeoff.perturbations import Affine, Lp
from tradeoff.perturbations.lp import TOLERANCE, norm, number

Box = tuple[float, float] | None
Model = Callable[[Tensor], Tensor]
State = dict[str, Tensor]  # what a climber remembers, a row per example; "r" is its perturbation


class Found(NamedTuple):
    """Points, one per example, and what the model makes of them."""

    x: Tensor  # (batch, ...)
    loss: Tensor  # (batch,)
    broken: Tensor  # (batch,) bool: misclassified


class Climber(Protocol):
    """How an attack on the ball S moves. `low` and `high` bound r by the box; both are None without a box."""

    S: Lp

    def start(self, x: Tensor, draws: Draws) -> State: ...

    def move(self, state: State, gradient: Tensor, low: Tensor | None, high: Tensor | None) -> State: ...


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """max_{j≠y} z_j - z_y, (batch,): positive where the example is misclassified, negative where it is not.

    >>> margin(torch.tensor([[1.0, 3.0, 2.0]]), torch.tensor([1]))
    tensor([-1.])
    """
    others = logits.scatter(1, y[:, None], -torch.inf).amax(dim=1)
    return others - logits.gather(1, y[:, None])[:, 0]


LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "margin": margin,
    "ce": lambda logits, y: cross_entropy(logits, y, reduction="none"),
}


def look(model: Model, x: Tensor, y: Tensor, loss: str) -> Found:
    """The loss at the points x and whether each is misclassified."""
    with torch.no_grad():
        return _found(x, _logits(model, x), y, loss)


def _look_with_gradient(model: Model, x: Tensor, y: Tensor, loss: str) -> tuple[Found, Tensor]:
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        found = _found(x, _logits(model, x), y, loss)
        (gradient,) = torch.autograd.grad(found.loss.sum(), x)
    return Found(x.detach(), found.loss.detach(), found.broken), gradient


def _found(x: Tensor, logits: Tensor, y: Tensor, loss: str) -> Found:
    return Found(x, LOSSES[loss](logits, y), logits.argmax(dim=1) != y)


def _logits(model: Model, x: Tensor) -> Tensor:
    logits = model(x)
    if not torch.isfinite(logits).all():
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
    best = Found(x.clone(), best.loss.clone(), best.broken.clone())
    for search in searches:
        standing = (~best.broken).nonzero()[:, 0] if early_stop else torch.arange(len(x), device=x.device)
        if not len(standing):
            break
        _keep_worse(best, standing, search(x[standing], y[standing], draws[standing.cpu().numpy()]), early_stop)
    return best.x


def _keep_worse(best: Found, rows: Tensor, found: Found, early_stop: bool) -> None:
    """Overwrite the given rows of `best` where `found` is worse."""
    better = found.loss > best.loss[rows]
    if early_stop:  # rows hold no misclassified example, so that one that is now comes first
        better = better | found.broken
    for kept, new in zip(best, found, strict=True):
        kept[rows[better]] = new[better]


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
    box: Box = (0.0, 1.0),
    early_stop: bool = True,
    watch: Callable[[int, Found], None] | None = None,
) -> Found:
    """Climb the loss from the climbers' starts, `steps` moves each in turn, and return the worst point on the way.

    The point is x + Σ_k shares[k]·r_k with r_k in the k-th climber's ball and shares of shape (batch,), 1 by default:
    an affine adversary has two climbers and the shares β and 1-β. With `early_stop` an example leaves once it is
    misclassified. `watch(moves made, found)` is shown every point that is visited.
    """
    if shares is None:
        shares = [x.new_ones(len(x)) for _ in climbers]
    best = Found(x.clone(), x.new_full((len(x),), -torch.inf), torch.zeros(len(x), dtype=torch.bool, device=x.device))
    walk = _Walk(x, [_like(share, x) for share in shares], [], box)
    for k, climber in enumerate(climbers):
        state = climber.start(x, draws)
        walk.states.append(state | {"r": into(state["r"], *walk.room(k))})
    target, rows = y, torch.arange(len(x), device=x.device)
    moves = steps * len(climbers)
    for made in range(moves + 1):
        last = made == moves
        if last:
            found = look(model, walk.point(), target, loss)
        else:
            found, gradient = _look_with_gradient(model, walk.point(), target, loss)
        if watch:
            watch(made, found)
        _keep_worse(best, rows, found, early_stop)
        if last:
            break
        if early_stop and found.broken.any():
            stay = ~found.broken
            if not stay.any():
                break
            walk, target, rows, gradient = walk.only(stay), target[stay], rows[stay], gradient[stay]
        k = made % len(climbers)
        walk.states[k] = climbers[k].move(walk.states[k], gradient, *walk.room(k))
    return best._replace(x=_settle(x, best.x, [climber.S for climber in climbers], shares, box))


class _Walk(NamedTuple):
    """Where an ascent stands: x + Σ_k shares[k]·r_k."""

    x: Tensor
    shares: list[Tensor]
    states: list[State]
    box: Box

    def point(self) -> Tensor:
        point = self.x + sum(share * state["r"] for share, state in self._parts())
        return point if self.box is None else point.clamp(*self.box)  # the sum may leave the box by a rounding

    def room(self, k: int) -> tuple[Tensor | None, Tensor | None]:
        """Bounds low ≤ 0 ≤ high on r_k that keep both x + share·r_k and the point in the box."""
        if self.box is None:
            return None, None
        low = high = self.x
        others = [share * state["r"] for j, (share, state) in enumerate(self._parts()) if j != k]
        if others:
            other = sum(others)
            low, high = self.x + other.clamp(max=0), self.x + other.clamp(min=0)
        share = self.shares[k].clamp(min=1e-30)
        return ((self.box[0] - low) / share).clamp(max=0), ((self.box[1] - high) / share).clamp(min=0)

    def _parts(self) -> Iterable[tuple[Tensor, State]]:
        return zip(self.shares, self.states, strict=False)  # while they start, some climbers have no state yet

    def only(self, rows: Tensor) -> "_Walk":
        states = [{name: part[rows] for name, part in state.items()} for state in self.states]
        return _Walk(self.x[rows], [share[rows] for share in self.shares], states, self.box)


def into(r: Tensor, low: Tensor | None, high: Tensor | None) -> Tensor:
    """r clipped to the box's bounds, which shrinks every entry: it stays in any lp ball."""
    return r if low is None else torch.minimum(torch.maximum(r, low), high)


def movable(gradient: Tensor, r: Tensor, low: Tensor | None, high: Tensor | None) -> Tensor:
    """The gradient, zero where r is at a bound that it points out of."""
    if low is None:
        return gradient
    return torch.where(((r >= high) & (gradient > 0)) | ((r <= low) & (gradient < 0)), 0.0, gradient)


def _like(v: Tensor, x: Tensor) -> Tensor:
    """(batch,) as (batch, 1, ..., 1), to broadcast against x."""
    return v.reshape(-1, *[1] * (x.ndim - 1))


def _settle(x: Tensor, point: Tensor, sets: Sequence[Lp], shares: Sequence[Tensor], box: Box) -> Tensor:
    """The points, moved inward by one rounding where the sum x + r left the set by one; checked."""

    def inside(point):
        r = point.double() - x.double()
        if len(sets) == 1:
            return sets[0].gauge(r) <= shares[0] * (1 + TOLERANCE)
        return Affine(*sets).contains(r)

    point = torch.where(_like(inside(point), x), point, torch.nextafter(point, x))
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
    """Hold every part of the model in eval mode, and restore each part's own mode on the way out."""
    modes = [(module, module.training) for module in model.modules()] if isinstance(model, nn.Module) else []
    try:
        for module, _ in modes:
            module.training = False
        yield
    finally:
        for module, training in modes:
            module.training = training


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
    if isinstance(S, Affine):
        check_fits(S.a, x, box)
        check_fits(S.b, x, box)
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


def check_count(value: int, name: str) -> None:
    """ValueError unless `value` is an integer ≥ 1."""
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} is {value!r}, but must be an integer ≥ 1")
