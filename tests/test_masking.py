"""The masking report: models masked on purpose are caught for the right reason, sound ones are not."""

import json
from math import comb

import numpy as np
import pytest
import torch
from torch import nn

from tradeoff import L1, L2, PGD, Linf, RotationTranslation, Union, masking_report
from tradeoff.data import load
from tradeoff.masking import ALARM, CHANCE, THRESHOLD, Trial, averaged, differences, softened
from tradeoff.models import build
from tradeoff.theory import BernoulliFeature
from tradeoff.training import fit

FEATURES = 30
BALLS = (Linf(0.1), L2(0.5), L1(1.5))


class Chain(nn.Module):
    """Functions and modules one after the other."""

    def __init__(self, *parts):
        super().__init__()
        self.parts = parts
        self.modules_ = nn.ModuleList(part for part in parts if isinstance(part, nn.Module))

    def forward(self, x):
        for part in self.parts:
            x = part(x)
        return x


def report(model, x, y, sets, box=(0.0, 1.0), steps=40, **how):
    return masking_report(model, x, y, sets, np.random.default_rng(0), box=box, steps=steps, **how)


def flagged(found):
    return {check.name for check in found.checks if check.flag}


@pytest.fixture(scope="module")
def linear():
    """Two classes split by a plane, points in the box of which each ball can carry about half across it."""
    rng = np.random.default_rng(0)
    model = nn.Linear(FEATURES, 2)
    w = rng.standard_normal(FEATURES)
    w /= np.abs(w).sum()
    model.weight.data = torch.tensor(np.stack([-w, w]), dtype=torch.float32)
    model.bias.data = torch.tensor([w.sum() / 2, -w.sum() / 2], dtype=torch.float32)
    x = torch.tensor(rng.uniform(0.0, 1.0, (150, FEATURES)), dtype=torch.float32)
    return model, x, model(x).argmax(dim=1)


def shatter(z_of, x, amplitude=0.02, frequency=3000.0):
    ways = torch.tensor(np.random.default_rng(1).standard_normal((FEATURES, 2)), dtype=torch.float32)
    return z_of(x) + amplitude * torch.sin(frequency * (x @ ways))


MASKED = {
    "saturated softmax": lambda model: lambda x: 1e5 * model(x),
    "rounded input": lambda model: lambda x: model(torch.round(8 * x) / 8),
    "dead zone": lambda model: Chain(model, nn.Hardtanh(-0.002, 0.002)),
    "threshold": lambda model: lambda x: model(torch.clamp((x - 0.3) / 0.4, 0, 1)),
    "shattered": lambda model: lambda x: shatter(model, x),
}
if __name__ == "__main__":
    m, x, y = linear.__wrapped__() if hasattr(linear, "__wrapped__") else linear.__pytest_wrapped__.obj()
    import sys
    for name, wrap in {"sound": lambda m: m, **MASKED}.items():
        if sys.argv[1:] and name not in sys.argv[1:]: continue
        model = wrap(m)
        r = report(model, x, model(x).argmax(1), BALLS)
        print("=====", name, r.seconds); print("\n".join(r.lines()))
