"""Climbing straight through a clamp: the network's values, the slopes that it has without (Athalye et al. 2018)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from tradeoff.attacks.apgd import APGD
from tradeoff.attacks.ascent import Model
from tradeoff.attacks.beam import CoordinateBeam
from tradeoff.attacks.external import Peer
from tradeoff.attacks.msd import MSD
from tradeoff.attacks.pgd import PGD
from tradeoff.attacks.slide import SLIDE
from tradeoff.attacks.slopes import OtherSlopes

CLAMPS = frozenset("clamp clip clamp_min clamp_max hardtanh relu6".split())


@dataclass(frozen=True)
class StraightThrough(OtherSlopes):
    """An attack that follows the gradients of `straight_through(model)`.

    Behind a front end that clamps (`tradeoff.models.DeadZone`) a black or white pixel has no gradient of its own; this
    one says what it would have once it was grey. Unlike `Softened` it leaves the network behind it as it is.

    >>> model = torch.nn.Sequential(torch.nn.Hardtanh(0.4, 0.6), torch.nn.Linear(2, 2, bias=False))
    >>> _ = model[1].weight.data.copy_(torch.tensor([[0.0, 0.0], [1.0, -1.0]]))  # class 1 iff the first is larger
    >>> x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([1])
    >>> attack = PGD(L1(1.1), steps=20)
    >>> for a in (attack, StraightThrough(attack)):
    ...     print(model(a(model, x, y, np.random.default_rng(0))).argmax(dim=1))
    tensor([1])
    tensor([0])
    """

    follows = (PGD, SLIDE, APGD, MSD, CoordinateBeam, Peer)

    def stand_in(self, model: Model) -> Model:
        return straight_through(model)


def straight_through(model: Model) -> Model:
    """The model with its own values, and slopes as if it had no clamp.

    Sees functions and methods of torch by name (`CLAMPS`), in modules or not; not ReLU.
    """

    def through(x: Tensor) -> Tensor:
        with _Through():
            return model(x)

    return through


class _Through(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if getattr(func, "__name__", "").rstrip("_") not in CLAMPS or not torch.is_grad_enabled() or not args:
            return func(*args, **kwargs)
        v = args[0].clone()  # the function may work in place
        return func(*args, **kwargs).detach() + (v - v.detach())
