r"""Where gradients do not lead: the loss around a digit, towards what a gradient attack finds and what a search finds.

A row per network of all MNIST. The plane holds the digit (○), the end of an ℓ1 attack along the network's own gradients
(SLIDE, □) and that of a search which tries coordinates and keeps the worst (beam, ▲), both at the paper's radius 10.
Colour is the margin, positive (orange, beyond the black line) where the answer is wrong; the dashed line bounds the ℓ1
ball; pixels are clipped to [0, 1]. Right, the margin on the straight ways to both ends: the search finds its end
although the way there begins flat or downhill, which is what a masked gradient is. Of the
first embedded digits (which MNIST's training set holds) it is one that the search alone breaks on most networks, and of
those the one on which the two attacks differ most.
"""

from collections.abc import Callable

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tradeoff.attacks import SLIDE, CoordinateBeam, Draws
from tradeoff.attacks.ascent import evaluating, look
from tradeoff.data import load
from tradeoff.figures.style import COLOURS, PAGE, named
from tradeoff.models import build
from tradeoff.perturbations import L1
from tradeoff.records import read_all
from tradeoff.training import load_weights

QUICK = {"runs": {"trained on linf": "mnist-linf", "trained on three norms (MSD)": "mnist-msd",
                  r"trained on linf and l1, this along softened slopes too (E-AT)": "mnist-e-at-soft"},
         "eps": 10.0, "steps": 100, "tries": 5, "width": 8, "examples": 100, "points": 61, "seed": 0}  # fmt: skip
PARAMETERS = {"quick": QUICK, "full": QUICK}
_ENDS = (-0.3, 1.3)  # of both axes; the attacks' ends are at 1


def compute(results=None, *, runs: dict, eps: float, steps: int, tries: int, width: int, examples: int, points: int,
            seed: int) -> dict:  # fmt: skip
    """For each committed network the margin on the plane and on the two ways; {} without a network."""
    records = {model: record for model, record in zip(runs, read_all(runs.values()).values(), strict=True)
               if record.finished}  # fmt: skip
    models = {model: build(record.network, 0) for model, record in records.items()}
    digits, S = load("digits", "test").first(examples), L1(eps)
    x, y = torch.tensor(digits.x, device="cpu"), torch.tensor(digits.y, device="cpu")
    attacks: dict[str, Callable]
    attacks = {"gradient": SLIDE(S, steps=steps, restarts=tries), "search": CoordinateBeam(S, width=width)}
    found: dict[str, dict] = {}
    for model, network in models.items():
        load_weights(records[model].folder / "weights.safetensors", network)
        with evaluating(network):
            found[model] = {
                way: attack(network, x, y, Draws.for_examples(digits.x, seed, way)) for way, attack in attacks.items()
            }
    if not found:
        return {"panels": {}, "data": "none"}
    start, own, search = (
        torch.stack([_margin(models[model], ends[way] if way else x, y) for model, ends in found.items()])
        for way in (None, "gradient", "search")
    )  # (networks, examples)
    won = torch.where((start < 0).all(dim=0), ((own < 0) & (search > 0)).sum(dim=0), -1)
    gap = torch.where(won == won.max(), (search - own).sum(dim=0), -torch.inf)
    k = int(gap.argmax())
    panels = {model: _panel(models[model], x[k], y[k], {way: end[k] for way, end in ends.items()}, points)
              for model, ends in found.items()}  # fmt: skip
    return {"panels": panels, "eps": eps, "label": int(y[k]), "digit": k, "data": f"digit {k} of {digits.source}"}


def _margin(network, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    with torch.no_grad(), evaluating(network):
        return look(network, x, y, "margin").loss


def _panel(network, x, y, ends: dict, points: int) -> dict:
    """The margin on a grid of the plane and on the ways, the l1 norm there, and the images."""
    ways = [end - x for end in ends.values()]
    at = torch.linspace(*_ENDS, points, dtype=x.dtype, device=x.device)
    down, across = torch.meshgrid(at, at, indexing="ij")  # rows: the search; columns: the gradient
    plane = [(x + a * ways[0] + b * ways[1]).clamp(0, 1) for b, a in zip(down.flatten(), across.flatten(), strict=True)]
    plane, labels = torch.stack(plane), y.repeat(points * points)
    line = torch.linspace(0, 1, points, dtype=x.dtype, device=x.device)
    lines = {name: torch.stack([x + t * way for t in line]) for name, way in zip(ends, ways, strict=True)}
    answers = {name: int(network(end[None]).argmax()) for name, end in ends.items()}
    return {
        "at": at.tolist(),
        "margin": _margin(network, plane, labels).reshape(points, points).tolist(),
        "norm": (plane - x).flatten(1).abs().sum(dim=1).reshape(points, points).tolist(),
        "line": line.tolist(),
        "lines": {name: _margin(network, way, y.repeat(points)).tolist() for name, way in lines.items()},
        "answers": answers,
        "images": {name: image[0].mul(255).round().int().tolist() for name, image in {"digit": x, **ends}.items()},
    }


def draw(numbers: dict) -> Figure:
    """A row per network: three images, the plane, the ways."""
    panels = numbers["panels"]
    figure = plt.figure(figsize=(PAGE, 2.2 * max(len(panels), 1)))
    if not panels:
        figure.text(0.5, 0.5, "no committed network yet", ha="center")
        return figure
    rows = figure.subfigures(len(panels), 1, squeeze=False)[:, 0]
    for row, (model, panel) in zip(rows, panels.items(), strict=True):
        axes = row.subplots(1, 5, width_ratios=(1, 1, 1, 2.1, 2.1))
        titles = {
            "digit": f"a {numbers['label']}",
            **{way: f"{way}: {panel['answers'][way]}" for way in panel["answers"]},
        }
        for ax, (name, image) in zip(axes, panel["images"].items(), strict=False):
            ax.imshow(image, cmap="gray", vmin=0, vmax=255)
            ax.set_title(titles[name], fontsize=7)
            ax.set_axis_off()
        _plane(axes[3], panel, numbers["eps"])
        _lines(axes[4], panel)
        row.suptitle(named(model), fontsize=8, x=0.01, ha="left")
    return figure


def _plane(ax, panel: dict, eps: float) -> None:
    margin = np.array(panel["margin"])
    most = np.abs(margin).max()
    shown = ax.contourf(panel["at"], panel["at"], margin, levels=np.linspace(-most, most, 21), cmap="PuOr_r")
    if margin.min() < 0 < margin.max():
        ax.contour(panel["at"], panel["at"], margin, levels=[0], colors="black", linewidths=1.2)
    if np.max(panel["norm"]) > eps:
        ax.contour(panel["at"], panel["at"], panel["norm"], levels=[eps * (1 + 1e-6)], colors="0.3", linewidths=0.8,
                   linestyles="--")  # fmt: skip
    for place, marker, colour in (((0, 0), "o", "white"), ((1, 0), "s", COLOURS["linf"]), ((0, 1), "^", COLOURS["l1"])):
        ax.plot(*place, marker, color=colour, mec="black", mew=0.7, ms=5)
    ax.set(xlabel="to the gradient's end", ylabel="to the search's end", aspect="equal", xticks=(0, 1), yticks=(0, 1))
    ax.figure.colorbar(shown, ax=ax, label="margin", shrink=0.85, ticks=MaxNLocator(5, integer=True, symmetric=True))


def _lines(ax, panel: dict) -> None:
    for (name, values), colour, dash in zip(panel["lines"].items(), (COLOURS["linf"], COLOURS["l1"]), ("--", "-"),
                                            strict=True):  # fmt: skip
        ax.plot(panel["line"], values, dash, color=colour, label=name)
    ax.axhline(0, color="black", lw=0.6, ls=":")
    ax.set(xlabel="share of the way", ylabel="margin", xlim=(0, 1))
    ax.legend(loc="upper left", bbox_to_anchor=(0.0, 0.7), fontsize=6.5)
