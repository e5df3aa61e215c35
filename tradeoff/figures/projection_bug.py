r"""An ℓ1 projection that is off by one: how far it leaves the ball, and what that does to an accuracy.

The released code of the SLIDE attack, and foolbox's copy of it, count one entry too many among those that survive the
soft threshold. Left, the norm of its results over the radius (median, 5 to 95 %, largest) for points drawn uniformly
from the sphere of 1.05 times the radius, as after one step: where every entry survives, as happens in low dimension, it
returns up to d times the radius, in the dimension of an image a fraction of a percent more than it. Square: the largest
of SLIDE's own iterates on digits. Right, accuracy under SLIDE with the exact projection, with the wrong one as it is,
and with the wrong one's results rescaled into the ball, as foolbox hands them out; shaded, the 95 % interval of the
exact one.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import cross_entropy

from tradeoff.figures.style import COLOURS, PAGE
from tradeoff.paired import exact_interval
from tradeoff.perturbations import L1
from tradeoff.perturbations.lp import TOLERANCE, norm

_QUICK = {"experiments": {"model": "digits-natural"}, "dimensions": (2, 3, 5, 10, 20, 50, 100, 300, 784, 3072),
          "draws": 1000, "radii": (2, 4, 6, 8, 10, 14), "steps": 40, "examples": 200, "seed": 0}  # fmt: skip
PARAMETERS = {
    "quick": _QUICK,
    "full": _QUICK | {"experiments": {"model": "mnist-natural"}, "examples": 1000, "steps": 100},
}


def off_by_one(z: Tensor, eps: float) -> Tensor:
    """The released code's "projection" on the l1 ball, of the rows of z that lie outside (that it leaves the others
    alone is inferred from a port of it).

    With μ the sorted |z| and k the number of entries with μ_k > θ_k = (Σ_{i≤k} μ_i - eps) / k, the right threshold is
    θ_k. The code looks for the first entry that fails, k + 1 (the first of all, if none fails), and takes θ there.
    """
    a = z.flatten(1).abs()
    total = a.sort(dim=1, descending=True).values.cumsum(dim=1)
    theta = (total - eps) / torch.arange(1, a.shape[1] + 1, device=z.device)
    survives = total.diff(dim=1, prepend=torch.zeros_like(total[:, :1])) > theta
    wrong = theta.gather(1, survives.int().argmin(dim=1, keepdim=True))
    r = z.sign() * (a - wrong).clamp(min=0).reshape(z.shape)
    return torch.where((a.sum(dim=1) > eps).reshape(-1, *[1] * (z.ndim - 1)), r, z)


def slide(
    model, x: Tensor, y: Tensor, eps: float, steps: int, project: Callable[[Tensor], Tensor], kept: float = 0.01
) -> tuple[Tensor, Tensor]:
    """The perturbations of the released attack with the given projection, (steps + 1, *x.shape), and whether each
    leaves the example right, bool (steps + 1, batch): from x itself, along the signs of the share `kept` of
    largest gradients, of those that the box leaves free, 2.5 eps / steps at a time."""
    r, visited, right = torch.zeros_like(x), [], []
    for _ in range(steps + 1):
        point = (x + r).requires_grad_()
        logits = model(point)
        visited.append(r)
        right.append(logits.argmax(dim=1) == y)
        (gradient,) = torch.autograd.grad(cross_entropy(logits, y, reduction="sum"), point)
        free = ((point > 0) | (gradient > 0)) & ((point < 1) | (gradient < 0))
        size = torch.where(free, gradient.abs(), 0.0)
        least = size.flatten(1).quantile(1 - kept, dim=1).reshape(-1, *[1] * (x.ndim - 1))
        way = torch.where(free & (size >= least), gradient.sign(), 0.0)
        way = way / way.abs().flatten(1).sum(dim=1).clamp(min=1).reshape(-1, *[1] * (x.ndim - 1))
        r = (x + project(r + 2.5 * eps / steps * way)).clamp(0, 1) - x
    return torch.stack(visited), torch.stack(right)


def compute(results, *, experiments: dict, dimensions, draws: int, radii, steps: int, examples: int, seed: int) -> dict:
    """Norm over radius by dimension, and accuracy (an example is broken by any of its iterates) by radius."""
    run, rng = results(experiments["model"]), np.random.default_rng(seed)
    excess = {}
    for d in dimensions:
        z = L1(1).sample(torch.zeros(draws, d, dtype=torch.float64), rng)
        ratio = norm(off_by_one(1.05 * z / norm(z, 1)[:, None], 1.0), 1)
        low, middle, high = ratio.quantile(torch.tensor([0.05, 0.5, 0.95], dtype=ratio.dtype))
        excess[str(d)] = {"low": float(low), "median": float(middle), "high": float(high), "most": float(ratio.max())}
    images = run.images.first(examples)
    device = next(run.model.parameters()).device
    x, y = torch.tensor(images.x, device=device), torch.tensor(images.y, device=device)
    accuracy, interval, most, outside = {"exact": [], "off by one": [], "rescaled": []}, [], [], []
    for eps in radii:
        S = L1(eps)
        _, right = slide(run.model, x, y, eps, steps, S.project)
        visited, wrong = slide(run.model, x, y, eps, steps, partial(off_by_one, eps=eps))
        size = S.gauge(visited.flatten(0, 1)).reshape(wrong.shape)
        inward = visited / size.clamp(min=1)[(..., *[None] * (x.ndim - 1))].to(x)
        with torch.no_grad():
            rescaled = torch.stack([run.model(x + r).argmax(dim=1) == y for r in inward])
        for name, still in (("exact", right), ("off by one", wrong), ("rescaled", rescaled)):
            accuracy[name].append(float(still.all(dim=0).double().mean()))
        interval.append(list(exact_interval(round(accuracy["exact"][-1] * len(x)), len(x))))
        most.append(float(size.max()))
        outside.append(float((size > 1 + TOLERANCE).any(dim=0).double().mean()))
    return {"excess": excess, "radii": list(radii), "accuracy": accuracy, "interval": interval, "most": most,
            "outside": outside, "features": x[0].numel(),
            "data": f"first {len(images)} test examples of {images.source}"}  # fmt: skip


def draw(numbers: dict) -> Figure:
    """Left how far it leaves the ball, right the accuracies."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.4))
    d = np.array([int(name) for name in numbers["excess"]])
    low, middle, high, most = (
        np.array([row[name] for row in numbers["excess"].values()]) for name in ("low", "median", "high", "most")
    )
    left.fill_between(d, low, high, color=COLOURS["linf"], alpha=0.2, lw=0)
    left.plot(d, middle, "o-", ms=3, color=COLOURS["linf"], label="median and 5 to 95 %")
    left.plot(d, most, "^:", ms=3, color=COLOURS["linf"], label="largest")
    left.plot(d, d, color="black", lw=0.6, ls="--", label="d")
    left.plot([numbers["features"]], [max(numbers["most"])], "s", ms=4, color=COLOURS["l1"], label="SLIDE on digits")
    left.set_ylim(0.95, 1.1 * most.max())
    left.set_xscale("log")
    left.set_yscale("log")
    left.set_xlabel("dimension d")
    left.set_ylabel("norm / radius")
    left.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2)
    styles = {
        "exact": ("o-", COLOURS["clean"]),
        "off by one": ("^--", COLOURS["l1"]),
        "rescaled": ("s:", COLOURS["linf"]),
    }
    right.fill_between(
        numbers["radii"], *100 * np.array(numbers["interval"]).T, color=COLOURS["clean"], alpha=0.12, lw=0
    )
    for name, (style, colour) in styles.items():
        right.plot(numbers["radii"], 100 * np.array(numbers["accuracy"][name]), style, ms=3, color=colour, label=name)
    right.set_xlabel(r"$\ell_1$ radius")
    right.set_ylabel("accuracy under SLIDE (%)")
    right.set_ylim(0, 100)
    right.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3)
    return figure
