"""What an attack or a training step costs: the examples that pass through the model, forward and backward."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def count_passes(model: nn.Module) -> Iterator[Counter]:
    """Counts, within the block, the examples that pass the model "forward", and the gradients that pass it "backward".

    >>> model, x = torch.nn.Linear(3, 2), torch.zeros(5, 3, requires_grad=True)
    >>> with count_passes(model) as passes:
    ...     _ = torch.autograd.grad(model(x).sum(), x), model(x[:2])
    >>> passes["forward"], passes["backward"]
    (7, 5)
    """
    passes: Counter = Counter()

    def count(model, inputs, logits):
        passes["forward"] += len(logits)
        if isinstance(logits, torch.Tensor) and logits.requires_grad:
            logits.register_hook(count_backward)

    def count_backward(gradient):
        passes["backward"] += len(gradient)

    hook = model.register_forward_hook(count)
    try:
        yield passes
    finally:
        hook.remove()
