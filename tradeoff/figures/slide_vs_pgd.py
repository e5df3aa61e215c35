r"""Why ℓ1 needs its own attack: the loss along SLIDE (several sparsities q) against steepest descent.

The steepest ℓ1 step moves one pixel, so it climbs slowly. SLIDE moves the (100 - q) % of the pixels with the largest
gradients at once: at q = 99 it is far ahead, with many pixels at once (q up to 90) it stalls early. Left, the mean
margin loss (positive: misclassified) of test digits; right, the share broken so far; under ℓ1 noise of radius 10, on
the naturally trained model. All start at the same points and take steps of the same length.
"""

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from tradeoff.attacks import PGD, SLIDE, Draws, ascend
from tradeoff.figures.style import COLOURS, PAGE
from tradeoff.perturbations import L1

_QUICK = {"experiments": {"model": "digits-natural"}, "eps": 10.0, "steps": 60, "step": 1.0,
          "quantiles": (80, 90, 95, 99, 99.5), "examples": 200, "seed": 0}  # fmt: skip
PARAMETERS = {
    "quick": _QUICK,
    "full": _QUICK | {"experiments": {"model": "mnist-natural"}, "examples": 1000, "steps": 200},
}


def compute(
    results, *, experiments: dict, eps: float, steps: int, step: float, quantiles, examples: int, seed: int
) -> dict:
    """Loss after 0..steps moves and the share broken by then, for SLIDE at each quantile and for steepest descent."""
    run = results(experiments["model"])
    images = run.images.first(examples)
    device = next(run.model.parameters()).device
    x, y = torch.tensor(images.x, device=device), torch.tensor(images.y, device=device)
    S = L1(eps)
    attacks: dict[str, PGD | SLIDE]
    attacks = {f"SLIDE, q = {q:g} %": SLIDE(S, steps=steps, quantile=q, step=step) for q in quantiles}
    attacks["steepest descent"] = PGD(S, steps=steps, step=step)
    curves = {}
    for name, attack in attacks.items():
        losses, broken = [], []

        def watch(made, found, losses=losses, broken=broken):
            losses.append(float(found.loss.mean()))
            so_far = found.broken.cpu().numpy() | (broken[-1] if broken else False)
            broken.append(so_far)

        # The same start for all, and nobody leaves: the mean is over the same digits at every step.
        draws = Draws.for_examples(images.x, seed, "slide_vs_pgd")
        ascend(run.model, x, y, draws, [attack], steps=steps, early_stop=False, watch=watch)
        curves[name] = {"loss": losses, "broken": [float(b.mean()) for b in broken]}
    return {"curves": curves, "data": f"first {len(images)} test examples of {images.source}", "eps": eps, "step": step}


def draw(numbers: dict) -> Figure:
    """Left the loss, right the share broken, against the number of steps."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.4))
    names = list(numbers["curves"])
    colours = [*plt.get_cmap("viridis")(np.linspace(0, 0.85, len(names) - 1)), COLOURS["l1"]]
    dashes = ["-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), "-"]
    for name, colour, dash in zip(names, colours, dashes, strict=False):
        curve = numbers["curves"][name]
        width = 2.0 if name == names[-1] else 1.1
        left.plot(curve["loss"], color=colour, ls=dash, lw=width, label=name)
        right.plot(100 * np.array(curve["broken"]), color=colour, ls=dash, lw=width)
    left.axhline(0, color="black", lw=0.5)
    left.set_ylabel("mean margin loss")
    right.set_ylabel("digits broken so far (%)")
    right.set_ylim(0, 100)
    for ax in (left, right):
        ax.set_xlabel("steps")
        ax.set_xlim(0, None)
    figure.legend(loc="outside upper center", ncols=3)
    return figure
