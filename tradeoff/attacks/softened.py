"""Climbing along softened gradients: the network's values, the slopes of a smoother network (Athalye et al. 2018)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from tradeoff.attacks.affine import AffineAttack
from tradeoff.attacks.apgd import APGD
from tradeoff.attacks.ascent import Model
from tradeoff.attacks.msd import MSD
from tradeoff.attacks.pgd import PGD
from tradeoff.attacks.slide import SLIDE
from tradeoff.attacks.slopes import OtherSlopes

BENT = frozenset(
    "relu relu6 leaky_relu elu selu celu gelu silu clamp clip clamp_min clamp_max hardtanh hardsigmoid hardswish "
    "hardshrink softshrink threshold round floor ceil trunc fix sign sgn sigmoid tanh".split()
)


@dataclass(frozen=True)
class Softened(OtherSlopes):
    """An attack that follows the gradients of `softened(model)`.

    Networks trained on linf noise threshold their input, so their own gradients vanish where l1 and l2 noise would have
    to go; the softened ones look past the kink. A network without such masking is attacked better by its own gradients.

    >>> model = torch.nn.Sequential(torch.nn.Threshold(0.4, 0.0), torch.nn.Linear(2, 2, bias=False))  # 0 below 0.4
    >>> _ = model[1].weight.data.copy_(torch.tensor([[0.0, 0.0], [1.0, -1.0]]))  # class 1 iff the first is larger
    >>> x, y = torch.tensor([[0.5, 0.2]]), torch.tensor([1])
    >>> attack = PGD(L1(0.25), steps=20)
    >>> for a in (attack, Softened(attack)):
    ...     print(model(a(model, x, y, np.random.default_rng(0))).argmax(dim=1))
    tensor([0])
    tensor([0])
    """

    follows = (PGD, SLIDE, APGD, MSD, AffineAttack)

    def stand_in(self, model: Model) -> Model:
        return softened(model)


def softened(model: Model) -> Model:
    """The model with smooth slopes for its kinks, steps and saturations, and with its own values.

    Sees functions and methods of torch by name (`BENT`), in modules or not; not `torch.where`, comparisons and
    TorchScript.
    """

    def soft(x: Tensor) -> Tensor:
        with _Softening():
            return model(x)

    return soft


class _Softening(TorchFunctionMode):
    """Every kinked, stepped or saturating function h of one feature keeps its value, and has the slope of a smooth one.

    The slope is (h(v+τ) - h(v-τ)) / 2τ, that of h averaged over ±τ, in the mean over two τ: the root mean square of the
    example's features, and four times that. This is the backward-pass approximation of Athalye et al. (2018), for
    functions as well as for modules.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "").rstrip("_")
        if name not in BENT or not torch.is_grad_enabled() or not args or not args[0].is_floating_point():
            return func(*args, **kwargs)
        v = args[0].clone()  # the function may work in place
        with torch.no_grad():
            features = tuple(range(min(1, v.ndim - 1), v.ndim))
            size = v.square().mean(dim=features, keepdim=True).sqrt().clamp(min=1e-12)
            slope = sum((func(v + t, *args[1:], **kwargs) - func(v - t, *args[1:], **kwargs)) / (4 * t)
                        for t in (size, 4 * size))  # fmt: skip
        value = func(*args, **kwargs)
        return value.detach() + slope * (v - v.detach())
