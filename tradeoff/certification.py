"""Certified lower bounds on robust accuracy: examples that no perturbation breaks, whatever an attack finds.

A layer is bounded twice: forwards by intervals (Gowal et al. 2018), and backwards by lines (CROWN, Zhang et al. 2018):
a linear form of its output is at least a linear form of its input, plus a constant. Taken back to the input, a form is
minimised over the ball and the box exactly, so that for a network that is affine as a whole the answer is the truth.

Bounds hold for the network as its floats compute it: beside its bounds, a layer carries how far rounding may take the
computed output from the exact one, in the model's precision, with products summed in any order (Higham 2002, §3.1), and
in the float64 of the bounds themselves. Arithmetic coarser than its type (TF32, Winograd convolutions) is not covered.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass, replace
from math import inf, prod
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import fold, one_hot, unfold

from tradeoff.attacks.ascent import Box, check_batch, check_fits, check_logits, evaluating, look
from tradeoff.checks import check_box, check_count
from tradeoff.models import DeadZone, Ensemble, Refine
from tradeoff.perturbations import Lp, Union
from tradeoff.perturbations.lp import TOLERANCE

WIDEST = 2048  # a layer of more units that see all of the input is bounded by intervals alone
BLOCK = 2**21  # numbers in a block of linear forms: 16 MB
DOUBLE = torch.finfo(torch.float64).eps / 2  # the unit roundoff of the bounds

SUPPORTED = ("nn.Sequential of Linear, Conv1d, Conv2d, AvgPool2d, BatchNorm1d, BatchNorm2d, Flatten, Unflatten, ReLU, "
             "MaxPool2d (no padding), Dropout, Identity and Refine, behind a DeadZone or not, and an Ensemble without "
             "shifts of such that are alike, of Conv2d, then Linear, and layers without weights")  # fmt: skip


def certify(model: nn.Module, x: Tensor, y: Tensor, S, *, box: Box = (0.0, 1.0), chunk: int = 25) -> np.ndarray:
    """Which examples keep their label y under every perturbation in S that stays in the box: bool (n,), on the CPU.

    True is a proof; False means misclassified, or not proved. The mean is a lower bound on robust accuracy, as the
    accuracy under an attack is an upper one. S is an lp ball, or a `Union` of them, for which an example must pass
    every member; radii are stretched by the relative 1e-6 that `contains` allows an attack. `box=None` for vectors
    without bounds. `chunk` examples are bounded at a time.

    Exact, up to rounding, for affine models. Of others a larger ball is now and then proved where a smaller one is
    not, since the lines are chosen by a rule that sees the ball: a proof for the larger is one for the smaller too.

    Raises ValueError for a layer that has no bounds here, and for input that attacks refuse.

    >>> model = torch.nn.Linear(2, 2, bias=False)
    >>> _ = model.weight.data.copy_(torch.tensor([[0.0, 0.0], [1.0, -1.0]]))  # class 1 iff x_0 > x_1
    >>> x, y = torch.tensor([[0.6, 0.5], [0.9, 0.1]]), torch.tensor([1, 1])
    >>> certify(model, x, y, Linf(0.1)), certify(model, x, y, Union((Linf(0.1), L1(0.9))))
    (array([False,  True]), array([False, False]))
    """
    sets = S.sets if isinstance(S, Union) else (S,)
    check_box(box)
    check_batch(x, y, box)
    check_count(chunk, "chunk")
    for ball in sets:
        if not isinstance(ball, Lp):
            raise ValueError(f"certify bounds lp balls and unions of them, not {ball}")
        check_fits(ball, x, box)
    front, layers = _layers(model, x)
    with evaluating(model):
        with torch.no_grad():
            check_logits(model(x[:8]), y)
        broken = [look(model, *part, "margin").broken for part in zip(x.split(chunk), y.split(chunk), strict=True)]
    standing = ~torch.cat(broken)
    for ball in sets:
        if not ball.eps:
            continue  # the model was just asked
        left = standing.nonzero()[:, 0]
        for rows in left.split(chunk) if len(left) else ():
            inputs = _Inputs.around(x[rows].double(), ball.scaled(1 + TOLERANCE), box)
            with torch.no_grad():
                given = inputs if front is None else _Seen.through(front, inputs, _unit(model, x))
                standing[rows] = _holds(layers, given, y[rows])
    return standing.cpu().numpy()


def reach(w: Tensor, S: Lp, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    """max <w, r> over r in S with low ≤ r ≤ high, where low ≤ 0 ≤ high, (batch, n) each: the support of a ball in a
    box; float64 (batch,).

    With rooms ρ_i = high_i or -low_i, by the sign of w_i, and 0 ≤ r_i ≤ ρ_i the part spent of it, the value is that of
    the dual at one multiplier μ ≥ 0, which is an upper bound whatever μ, and the maximum at the best:
    p = inf: r = min(ρ, eps). p = 1: rooms are filled by falling |w_i|, μ being the last one. Else r_i =
    min((|w_i| / μ)^{1/(p-1)}, ρ_i), whose norm is eps; p < 1.05, where these powers underflow, counts as 1.05,
    a larger ball.

    >>> w, room = torch.tensor([[3.0, -4.0]]), torch.tensor([[1.0, 0.5]])
    >>> [float(reach(w, S, -room, room)) for S in (Linf(0.75), L1(0.75), L2(1.0))]
    [4.25, 2.75, 4.598076211353316]
    """
    w = w.double()
    if low is None:
        return S.support(w)
    a, room = w.abs(), torch.where(w > 0, high, -low).double().clamp(max=S.eps)
    if S.p == inf:
        return (a * room).sum(dim=1)
    if not S.eps:
        return torch.zeros_like(a[:, 0])
    a = torch.where(room > 0, a, 0.0)
    top = a.amax(dim=1, keepdim=True)
    top = torch.where(top > 0, top, 1.0)
    a, room = a / top, room / S.eps
    p = S.p if S.p == 1 else max(S.p, 1.05)
    r, mu = _fill(a, room) if p == 1 else _spread(a, room, p)
    value = (a * r).sum(dim=1) + mu / p * (1 - (r**p).sum(dim=1))
    return S.eps * top[:, 0] * value


def _fill(a: Tensor, room: Tensor) -> tuple[Tensor, Tensor]:
    """The r that maximises <a, r> over 0 ≤ r ≤ room and Σ r_i ≤ 1, and the multiplier of the sum."""
    sizes, order = a.sort(dim=1, descending=True)
    full = room.gather(1, order).cumsum(dim=1)
    mu = (sizes * (full >= 1)).amax(dim=1)  # zero where the rooms together are smaller than the ball
    return torch.where(a > mu[:, None], room, 0.0), mu


def _spread(a: Tensor, room: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """The r that maximises <a, r> over 0 ≤ r ≤ room and Σ r_i^p ≤ 1, and the multiplier of that sum (times p).

    r = min(t b, room) with b = a^{1/(p-1)}. From the t that is right without rooms, entries that meet their room are
    set to it and t is made right for the rest: it only grows, and stops after finitely many steps.
    """
    b = a ** (1 / (p - 1))
    t = (b**p).sum(dim=1, keepdim=True) ** (-1 / p)
    while True:
        met = (b == 0) | (t * b >= room)
        left = 1 - torch.where(met & (b > 0), room, 0.0).pow(p).sum(dim=1, keepdim=True)
        new = (left.clamp(min=0) / torch.where(met, 0.0, b).pow(p).sum(dim=1, keepdim=True)) ** (1 / p)
        new = torch.where(met.all(dim=1, keepdim=True), torch.inf, new)
        if not (new > t * (1 + 1e-12)).any():
            break
        t = torch.maximum(t, new)
    return torch.where(b > 0, torch.minimum(t * b, room), 0.0), t[:, 0] ** (1 - p)


class _Inputs(NamedTuple):
    """The perturbed inputs of a batch: x + r with r in the ball and low ≤ r ≤ high (None without a box)."""

    x: Tensor  # (batch, ...) float64, as the bounds are
    ball: Lp
    low: Tensor | None
    high: Tensor | None

    @classmethod
    def around(cls, x: Tensor, ball: Lp, box: Box) -> "_Inputs":
        return cls(x, ball, *((None, None) if box is None else ((box[0] - x).clamp(max=0), (box[1] - x).clamp(min=0))))

    def bounds(self) -> "_Bounds":
        eps = self.ball.eps
        low, high = (-eps, eps) if self.low is None else (self.low.clamp(min=-eps), self.high.clamp(max=eps))
        return _Bounds(self.x + low, self.x + high, torch.zeros_like(self.x))

    def least(self, form: Tensor, owner: Tensor) -> Tensor:
        """min of <form, input> for forms (rows, ...) and the examples that own them, (rows,)."""
        sides = (None if side is None else side[owner].flatten(1) for side in (self.low, self.high))
        form = form.flatten(1)
        return (form * self.x[owner].flatten(1)).sum(dim=1) - reach(-form, self.ball, *sides)

    def each(self, change: Callable[[Tensor], Tensor]) -> "_Inputs":
        """The same of parts of the inputs."""
        low, high = (None if side is None else change(side) for side in (self.low, self.high))
        return _Inputs(change(self.x), self.ball, low, high)


class _Way(NamedTuple):
    """Of pixels that go one way by δ, (batch, ...): what is seen is (δ - dead)_+, as far as `ahead`."""

    dead: Tensor
    ahead: Tensor

    def seen(self) -> Tensor:
        return (self.ahead - self.dead).clamp(min=0)


class _Seen(NamedTuple):
    """What the network behind a front end `DeadZone` is given of such inputs x + r.

    A pixel counts up to where u is 1, or 0, or where noise and box end.
    """

    u: Tensor  # of the inputs without noise
    ball: Lp
    up: _Way
    down: _Way
    slope: float  # of u between its ends
    error: float  # of a computed u

    @classmethod
    def through(cls, front: DeadZone, inputs: _Inputs, unit: float) -> "_Seen":
        x, eps, (a, b) = inputs.x, inputs.ball.eps, front.seen()

        def way(to_begin: Tensor, to_end: Tensor, room: Tensor | None) -> _Way:
            ahead = to_end.clamp(min=0, max=eps)
            return _Way(to_begin.clamp(min=0), ahead if room is None else torch.minimum(ahead, room))

        up = way(a - x, b - x, inputs.high)
        down = way(x - b, x - a, None if inputs.low is None else -inputs.low)
        error = 8 * unit * (float(x.abs().max()) + eps + 1) / (b - a)
        return cls(front(x), inputs.ball, up, down, 1 / (b - a), error)

    def bounds(self) -> "_Bounds":
        low, high = self.u - self.slope * self.down.seen(), self.u + self.slope * self.up.seen()
        return _Bounds(low - self.error, high + self.error, torch.full_like(self.u, self.error))

    def least(self, form: Tensor, owner: Tensor) -> Tensor:
        """A lower bound of min <form, u>, tight but for the gain of a pixel; see `_Inputs.least`."""
        form = form.flatten(1)
        up, down = (_Way(*(part[owner].flatten(1) for part in way)) for way in (self.up, self.down))
        way = _Way(*(torch.where(form < 0, *parts) for parts in zip(up, down, strict=True)))
        return (form * self.u[owner].flatten(1)).sum(dim=1) - _most(self.slope * form.abs(), self.ball, way)

    def each(self, change: Callable[[Tensor], Tensor]) -> "_Seen":
        """The same of parts of the inputs."""
        up, down = (_Way(change(way.dead), change(way.ahead)) for way in (self.up, self.down))
        return self._replace(u=change(self.u), up=up, down=down)


def _most(w: Tensor, S: Lp, way: _Way) -> Tensor:
    """An upper bound of max Σ w_i (δ_i - dead_i)_+ over 0 ≤ δ ≤ ahead, Σ δ_i^p ≤ eps^p, for w ≥ 0: (rows,).

    That of the dual at a multiplier μ, which holds whatever μ is: Σ max (w_i (δ - dead_i)_+ - μ δ^p) + μ eps^p. Under
    the p-norm a pixel's best δ is 0, `ahead`, or between dead and ahead where the slope w_i is that of μ δ^p.
    """
    (dead, ahead), full = way, w * way.seen()
    if S.p == inf or not S.eps:
        return full.sum(dim=1)
    budget, p = S.eps**S.p, S.p

    def best(mu: Tensor) -> tuple[Tensor, Tensor]:
        """What each pixel gains less its price, and what it spends."""
        far = ahead
        if p > 1:
            far = (w / (p * mu)).pow(1 / (p - 1)).clamp(max=1e150).minimum(ahead)
        spent = far**p
        net = w * (far - dead) - mu * spent
        return net.clamp(min=0), torch.where(net > 0, spent, 0.0).sum(dim=1, keepdim=True)

    top = (full.amax(dim=1, keepdim=True) / budget).clamp(min=1e-30)
    low, high = 1e-9 * top, 1e9 * top  # at the first the price is next to nothing
    for _ in range(40):
        mu = (low * high).sqrt()
        over = best(mu)[1] > budget
        low, high = torch.where(over, mu, low), torch.where(over, high, mu)
    bounds = [best(mu)[0].sum(dim=1) + mu[:, 0] * budget for mu in (low, high)]
    return torch.minimum(full.sum(dim=1), torch.minimum(*bounds))


class _Bounds(NamedTuple):
    """What a layer may give, (batch, ...): both its exact and its computed values, at most `error` apart."""

    low: Tensor
    high: Tensor
    error: Tensor


@dataclass(frozen=True)
class _Affine:
    """A layer z = Wh + b. `size` maps h ≥ 0 to |W|h + |b|; `terms` is the longest sum of products that makes a z, and
    `unit` the unit roundoff of the model."""

    value: nn.Module
    size: nn.Module
    terms: int
    unit: float

    @classmethod
    def of(cls, module: nn.Module, terms: int, unit: float) -> "_Affine":
        value = deepcopy(module).double().eval().requires_grad_(False)
        size = deepcopy(value)
        for parameter in size.parameters():
            parameter.abs_()
        if isinstance(size, nn.BatchNorm1d | nn.BatchNorm2d):
            size.running_mean.abs_().neg_()
        return cls(value, size, terms, unit)

    def forwards(self, at: _Bounds) -> _Bounds:
        none = self.size(torch.zeros_like(at.low))
        z, half = self.value((at.low + at.high) / 2), self.size((at.high - at.low) / 2) - none
        # Each of the sums that make bounds, forwards or backwards, has as many terms as a layer has units, and takes
        # part in few others.
        rate = self.terms * self.unit + 4 * max(at.low[0].numel(), z[0].numel()) * DOUBLE
        error = self.size(at.error) - none + rate * self.size(torch.maximum(at.low.abs(), at.high.abs()))
        return _Bounds(z - half - error, z + half + error, error)

    def backwards(self, form: Tensor, at: _Bounds, owner: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            h = torch.zeros_like(at.low[:1]).requires_grad_()
            z = self.value(h)
            (back,) = torch.autograd.grad(z, h, form[:, None], is_grads_batched=True)
        return back[:, 0], (form * z.detach()).flatten(1).sum(dim=1)

    @property
    def window(self) -> tuple | None:
        """Kernel, stride and padding, a pair each, of a layer whose units see a window of the map below."""
        module = self.value
        if isinstance(module, nn.BatchNorm2d):
            return (1, 1), (1, 1), (0, 0)
        if isinstance(module, nn.Conv2d) and module.padding_mode == "zeros" and module.dilation == (1, 1):
            return _pairs(module.kernel_size, module.stride, module.padding)
        if isinstance(module, nn.AvgPool2d) and not module.ceil_mode and module.count_include_pad:
            return _pairs(module.kernel_size, module.stride, module.padding)
        return None

    def unpadded(self) -> "_Affine":
        module: Any = copy(self.value)
        module.padding = 0 if isinstance(module, nn.AvgPool2d) else (0, 0)
        return replace(self, value=module)


class _ReLU:
    """max(h, 0), between a line through the origin and the chord."""

    window = (1, 1), (1, 1), (0, 0)

    def unpadded(self) -> "_ReLU":
        return self

    def forwards(self, at: _Bounds) -> _Bounds:
        return _Bounds(at.low.clamp(min=0), at.high.clamp(min=0), at.error)

    def backwards(self, form: Tensor, at: _Bounds, owner: Tensor) -> tuple[Tensor, Tensor]:
        low, high = at.low.clamp(max=0), at.high.clamp(min=0)
        chord = torch.where(high > 0, high / (high - low), 0.0)
        line = (high > -low).to(chord)  # the slope, 0 or 1, that leaves the smaller area (CROWN)
        up, down = form.clamp(min=0), form.clamp(max=0)
        return up * line[owner] + down * chord[owner], -(down * (chord * low)[owner]).flatten(1).sum(dim=1)


@dataclass(frozen=True)
class _MaxPool:
    """max over windows: at least the input with the highest lower bound, and equal to it where no other can pass it."""

    module: nn.MaxPool2d

    @property
    def window(self) -> tuple | None:
        return _pairs(self.module.kernel_size, self.module.stride, 0) if self.module.dilation in (1, (1, 1)) else None

    def unpadded(self) -> "_MaxPool":
        return self

    def forwards(self, at: _Bounds) -> _Bounds:
        return _Bounds(*(self.module(part) for part in at))

    def backwards(self, form: Tensor, at: _Bounds, owner: Tensor) -> tuple[Tensor, Tensor]:
        how = {"kernel_size": self.module.kernel_size, "stride": self.module.stride, "dilation": self.module.dilation}
        channels = at.low.shape[1]
        low, high = (unfold(side, **how).unflatten(1, (channels, -1)) for side in (at.low, at.high))  # (B, C, K, L)
        best, which = low.max(dim=2)
        chosen = one_hot(which, low.shape[2]).movedim(-1, 2)
        alone = best >= torch.where(chosen.bool(), -torch.inf, high).amax(dim=2)
        top = high.amax(dim=2)
        form = form.flatten(2)
        up, down = form.clamp(min=0), form.clamp(max=0)
        sent = (up + down * alone[owner])[:, :, None] * chosen[owner]
        back = fold(sent.flatten(1, 2), at.low.shape[2:], **how)
        return back, (down * (top * ~alone)[owner]).flatten(1).sum(dim=1)


def _pairs(*sizes: int | tuple | str) -> tuple | None:
    """Each size as (rows, columns); None for a padding that is a word."""
    return None if "same" in sizes or "valid" in sizes else tuple((v, v) if isinstance(v, int) else v for v in sizes)


@dataclass(frozen=True)
class _Windowed:
    """A layer on windows of its map, one for each position of a later map; `inside` (positions, 1, ...) is 1 where a
    window lies in the map. What lies outside is a zero of the padding, whatever the layer below would make of it."""

    layer: "Layer"
    inside: Tensor

    def backwards(self, form: Tensor, at: _Bounds, owner: Tensor) -> tuple[Tensor, Tensor]:
        form, constant = self.layer.backwards(form, at, owner)
        return form * self.inside[owner % len(self.inside)], constant


Layer = _Affine | _ReLU | _MaxPool
Inputs = _Inputs | _Seen


def _layers(model: nn.Module, x: Tensor) -> tuple[DeadZone | None, list[Layer]]:
    """The front end, if there is one, and the model behind it in float64 copies, layer by layer; ValueError for what
    has no bounds here."""
    if not isinstance(model, nn.Module):
        raise ValueError(f"the model is a {type(model).__name__}, but to be certified it must be {SUPPORTED}")
    first, *rest = _flat(model)
    front, modules = (first, rest) if type(first) is DeadZone else (None, [first, *rest])
    return front, [layer for module in modules for layer in _layer(module, _unit(model, x))]


def _unit(model: nn.Module, x: Tensor) -> float:
    """The unit roundoff of what the model computes with."""
    return max(torch.finfo(dtype).eps / 2 for dtype in (x.dtype, *(p.dtype for p in model.parameters())))


def _flat(model: nn.Module) -> Iterator[nn.Module]:
    if model._forward_hooks or model._forward_pre_hooks:
        raise ValueError(f"{type(model).__name__} has forward hooks, which may do anything: remove them to certify it")
    if type(model) is nn.Sequential:
        for module in model:
            yield from _flat(module)
    elif type(model) is Refine:
        yield from _chain(model)
    elif type(model) is Ensemble:
        yield from _abreast(model)
    else:
        yield model


def _chain(block: Refine) -> list[nn.Module]:
    """x + conv2(ReLU(conv1(x))) as layers one behind the other: ReLU(x) and ReLU(-x) take x past the middle."""
    w = block.conv1.weight
    width = len(w)
    same = nn.init.dirac_(torch.empty_like(w))
    first, last = (nn.Conv2d(*widths, 3, padding=1, device="meta")  # without draws for weights that are replaced
                   for widths in ((width, 3 * width), (3 * width, width)))  # fmt: skip
    none = torch.zeros_like(w[:, 0, 0, 0])
    for conv, weight, bias in (
        (first, torch.cat([w, same, -same]), torch.cat([block.conv1.bias, none, none])),
        (last, torch.cat([block.conv2.weight, same, -same], dim=1), block.conv2.bias),
    ):
        conv.weight, conv.bias = nn.Parameter(weight), nn.Parameter(bias)
    return [first, nn.ReLU(), last]


def _abreast(ensemble: Ensemble) -> Iterator[nn.Module]:
    """The mean of networks that are alike as layers one behind the other, the units of all side by side in each."""
    chains = [list(_flat(member)) for member in ensemble.members]
    last: Any = chains[0][-1]
    for wrong, what in (
        (ensemble.shifts != ((0, 0),), f"of the shifts {ensemble.shifts}"),
        (len({repr(chain) for chain in chains}) > 1, "of networks that are not alike"),
        (type(last) is not nn.Linear, f"whose last layer is {last}"),
    ):
        if wrong:
            raise ValueError(f"cannot certify an Ensemble {what}: supported is {SUPPORTED}")
    shared, rows = True, False  # until the first weights all have one input; a Linear may be applied row by row
    for parts in zip(*chains, strict=True):
        layer = parts[0]
        if type(layer) in (nn.Linear, nn.Conv2d):
            layer, shared, rows = _wide(parts, shared), False, type(layer) is nn.Linear
        elif layer.state_dict() or type(layer) is nn.Unflatten or (rows and type(layer) is nn.Flatten):
            raise ValueError(f"cannot certify {layer} in an Ensemble: supported is {SUPPORTED}")
        yield layer
    classes, count = len(last.weight), len(chains)
    mean = nn.Linear(classes * count, classes, bias=False, device="meta")
    mean.weight = nn.Parameter(torch.eye(classes).repeat(1, count).to(last.weight) / count)
    yield mean


def _wide(parts: Sequence[Any], shared: bool) -> nn.Module:
    """Linear layers, or convolutions, of one shape as one, whose input is theirs in a row or is `shared`."""
    layer, weights, count = parts[0], [part.weight for part in parts], 1 if shared else len(parts)
    bias = layer.bias is not None
    if isinstance(layer, nn.Conv2d):
        if shared and layer.groups > 1:
            raise ValueError(
                f"cannot certify an Ensemble whose first layer has groups, {layer}: supported is {SUPPORTED}"
            )
        weight = torch.cat(weights)
        names = ("kernel_size", "stride", "padding", "dilation", "padding_mode")
        how: dict[str, Any] = {name: getattr(layer, name) for name in names} | {"groups": count * layer.groups}
        wide = nn.Conv2d(count * layer.in_channels, len(weight), bias=bias, device="meta", **how)
    else:
        weight = torch.cat(weights) if shared else torch.block_diag(*weights)
        wide = nn.Linear(weight.shape[1], len(weight), bias, "meta")
    wide.weight = nn.Parameter(weight)
    if bias:
        wide.bias = nn.Parameter(torch.cat([part.bias for part in parts]))
    return wide


def _layer(module, unit: float) -> list[Layer]:
    """By exact type: a subclass may compute something else."""
    kind = type(module)
    if kind in (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d):
        return []
    if kind is nn.ReLU:
        return [_ReLU()]
    if kind is nn.MaxPool2d and module.padding in (0, (0, 0)) and not module.ceil_mode and not module.return_indices:
        return [_MaxPool(module)]
    if kind in (nn.Flatten, nn.Unflatten):
        return [_Affine.of(module, 0, unit)]
    if kind in (nn.Linear, nn.Conv1d, nn.Conv2d):
        return [_Affine.of(module, module.weight[0].numel() + 2, unit)]
    if kind is nn.AvgPool2d:
        return [_Affine.of(module, prod(np.broadcast_to(module.kernel_size, 2).tolist()) + 2, unit)]
    if kind in (nn.BatchNorm1d, nn.BatchNorm2d) and module.running_mean is not None:
        return [_Affine.of(module, 8, unit)]  # (h - mean) / sqrt(var + eps) · weight + bias, in any order
    raise ValueError(f"cannot certify {module}: supported is {SUPPORTED}")


def _holds(layers: Sequence[Layer], inputs: Inputs, y: Tensor) -> Tensor:
    """Whether each z_y - z_j is positive over the inputs, as computed: bool (batch,)."""
    known = _bounds(layers, inputs)
    error = known[-1].error  # (batch, classes)
    classes = error.shape[1]
    owner, other = (torch.arange(classes, device=y.device) != y[:, None]).nonzero(as_tuple=True)
    form = one_hot(y[owner], classes).double() - one_hot(other, classes)
    margins = _least(form, owner, layers, known, inputs)
    return (margins > error[owner, y[owner]] + error[owner, other]).reshape(len(y), -1).all(dim=1)


def _bounds(layers: Sequence[Layer], inputs: Inputs) -> list[_Bounds]:
    """What goes into each layer and, last, comes out: by lines where a layer that bends follows, else by intervals."""
    known = [inputs.bounds()]
    for k, layer in enumerate(layers):
        at = layer.forwards(known[k])
        if isinstance(layer, _Affine) and k + 1 < len(layers) and not isinstance(layers[k + 1], _Affine):
            # A line through a ReLU of known sign is exact; a pool compares the bounds of all its inputs.
            pooled = any(isinstance(later, _MaxPool) for later in layers[k + 1 :])
            units = torch.ones_like(at.low, dtype=torch.bool) if pooled else (at.low < 0) & (at.high > 0)
            at = _tighten(at, units, layers[: k + 1], known, inputs)
        known.append(at)
    return known


def _tighten(at: _Bounds, units: Tensor, layers: Sequence[Layer], known: Sequence[_Bounds], inputs: Inputs) -> _Bounds:
    """The bounds at the end of `layers`, by lines for the marked units."""
    shape, positions = at.low.shape, 1
    if all(layer.window for layer in layers) and at.low.ndim == 4:
        layers, known, inputs = _windows(layers, known, inputs, shape[2:])
        positions = prod(shape[2:])
    elif at.low[0].numel() > WIDEST:
        return at
    # Units that share a window: (batch, units, positions), where all share the whole input if there are no windows.
    low, high, error = (part.reshape(len(part), -1, positions).clone() for part in at)
    example, unit, position = units.reshape(low.shape).nonzero(as_tuple=True)
    width = low.shape[1]
    each = (width, 1, 1) if positions > 1 else shape[1:]
    rows = max(1, BLOCK // max(part.low[0].numel() for part in known))
    for i in range(0, len(unit), rows):
        here = tuple(index[i : i + rows] for index in (example, unit, position))
        form = one_hot(here[1], width).double().reshape(-1, *each)
        owner = here[0] * positions + here[2]
        least, most = (sign * _least(sign * form, owner, layers, known, inputs) for sign in (1, -1))
        low[here] = torch.maximum(low[here], least - error[here])
        high[here] = torch.minimum(high[here], most + error[here])
    return _Bounds(low.reshape(shape), high.reshape(shape), at.error)


def _windows(
    layers: Sequence[Layer], known: Sequence[_Bounds], inputs: Inputs, positions: Sequence[int]
) -> tuple[list[_Windowed], list[_Bounds], Inputs]:
    """The layers as seen from each of the `positions` (rows, columns) of the last map: a batch of small networks,
    (batch · positions, channels, ...), that end in maps of one position."""
    size, stride, padding = (1, 1), (1, 1), (0, 0)
    windowed, bounds = [], []

    def cut(part: Tensor) -> Tensor:
        seen = unfold(part, size, padding=padding, stride=stride)
        counts = [(n + 2 * p - k) // s + 1 for n, p, k, s in zip(part.shape[2:], padding, size, stride, strict=True)]
        seen = seen.unflatten(2, counts)[..., : positions[0], : positions[1]].flatten(2)
        return seen.movedim(2, 1).reshape(-1, part.shape[1], *size)

    for layer, at in zip(reversed(layers), reversed(known[: len(layers)]), strict=True):
        kernel, step, margin = layer.window
        size = tuple((n - 1) * s + k for n, s, k in zip(size, step, kernel, strict=True))
        padding = tuple(p * s + m for p, s, m in zip(padding, step, margin, strict=True))
        stride = tuple(a * b for a, b in zip(stride, step, strict=True))
        windowed.insert(0, _Windowed(layer.unpadded(), cut(torch.ones_like(at.low[:1, :1]))))
        bounds.insert(0, _Bounds(*map(cut, at)))
    return windowed, bounds, inputs.each(cut)


def _least(
    form: Tensor, owner: Tensor, layers: Sequence[Layer | _Windowed], known: Sequence[_Bounds], inputs: Inputs
) -> Tensor:
    """A lower bound of <form, output> of the layers over each row's inputs, (rows,)."""
    constant = torch.zeros_like(form.flatten(1)[:, 0])
    for layer, at in zip(reversed(layers), reversed(known[: len(layers)]), strict=True):
        form, more = layer.backwards(form, at, owner)
        constant = constant + more
    return constant + inputs.least(form, owner)
