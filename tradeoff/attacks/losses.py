"""What an attack climbs: losses of logits (batch, classes ≥ 2), labels y (batch,) and, if targeted, classes aimed at.

Each is larger the worse the answer, (batch,). Targeted, it measures one wrong class against the right one instead of
the best wrong class.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


def margin(logits: Tensor, y: Tensor, target: Tensor | None = None) -> Tensor:
    """max_{j≠y} z_j - z_y, or z_target - z_y: the first is positive where the example is misclassified.

    >>> margin(torch.tensor([[1.0, 3.0, 2.0]]), torch.tensor([1]))
    tensor([-1.])
    """
    if target is None:
        others = logits.scatter(1, y[:, None], -torch.inf).amax(dim=1)
    else:
        others = logits.gather(1, target[:, None])[:, 0]
    return others - logits.gather(1, y[:, None])[:, 0]


def ce(logits: Tensor, y: Tensor, target: Tensor | None = None) -> Tensor:
    """Cross-entropy: -log p_y, or log p_target."""
    if target is None:
        return cross_entropy(logits, y, reduction="none")
    return -cross_entropy(logits, target, reduction="none")


def dlr(logits: Tensor, y: Tensor, target: Tensor | None = None) -> Tensor:
    """The margin over a spread of the largest logits, which makes it blind to their scale (Croce & Hein 2020).

    With z_(1) ≥ z_(2) ≥ …, the spread is z_(1) - z_(3), or z_(1) - (z_(3) + z_(4))/2 if targeted (three classes: the
    former). Two classes have no spread beside the margin itself: there the margin stands alone.

    >>> dlr(torch.tensor([[1.0, 3.0, 2.0]]), torch.tensor([1]))
    tensor([-0.5000])
    """
    classes = logits.shape[1]
    if classes == 2:
        return margin(logits, y, target)
    top = logits.topk(min(classes, 3 if target is None else 4), dim=1).values
    spread = top[:, 0] - top[:, 2:].mean(dim=1)
    return margin(logits, y, target) / (spread + 1e-12)


LOSSES: Mapping[str, Callable[..., Tensor]] = {"margin": margin, "ce": ce, "dlr": dlr}
