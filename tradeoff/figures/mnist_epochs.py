r"""How robustness to several sets grows: accuracy under each, and under their union, after every epoch of training.

A panel per way of training on several kinds of noise, all of MNIST, watched on the first test images with short
attacks, so that these are upper bounds, and looser ones than the tables'. Marks at the right edge: where the network
trained on that kind alone ended. Training that is not committed leaves its panel empty.
"""

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from tradeoff.figures.style import COLOURS, LABELS, MARKERS, PAGE
from tradeoff.records import read_all

_ROWS = ("clean", "linf", "l1", "l2", "union")
QUICK = {"runs": {"avg": "mnist-avg", "max": "mnist-max", "MSD": "mnist-msd", "E-AT": "mnist-e-at",
                  "alternating": "mnist-alternating", "E-AT, against APGD": "mnist-e-at-apgd",
                  "E-AT, softened too": "mnist-e-at-soft"},
         "specialists": {"linf": "mnist-linf", "l1": "mnist-l1", "l2": "mnist-l2"}}  # fmt: skip
PARAMETERS = {"quick": QUICK, "full": QUICK}


def compute(results=None, *, runs: dict, specialists: dict) -> dict:
    """Accuracies by model and row, one per epoch (None where it was not watched), and the specialists' last ones."""
    records = read_all([*runs.values(), *specialists.values()])
    curves = {model: {row: _curve(records[run], row) for row in _ROWS} for model, run in runs.items()}
    ends = {S: ([None, *_curve(records[run], S)])[-1] for S, run in specialists.items()}
    longest = max([records[run].epochs or 1 for run in runs.values()])
    return {"curves": curves, "specialists": ends, "epochs": longest, "data": "MNIST"}


def _curve(record, row: str) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in record.watched(row)]


def draw(numbers: dict) -> Figure:
    """Rows of three panels, the legend in the last place."""
    curves = numbers["curves"]
    rows = -(-(len(curves) + 1) // 3)
    figure, axes = plt.subplots(rows, 3, figsize=(PAGE, 0.4 + 1.6 * rows), sharex=True, sharey=True, squeeze=False)
    for ax, (model, lines) in zip(axes.flat, curves.items(), strict=False):
        watched = False
        for row, values in lines.items():
            values = 100 * np.array(values, dtype=float)
            watched |= bool(np.isfinite(values).any())
            front = {"lw": 2.0} if row == "union" else {}
            ax.plot(np.arange(1, len(values) + 1), values, MARKERS[row] + "-", ms=3, color=COLOURS[row], **front)
        for S, end in numbers["specialists"].items():
            if end is not None and watched:
                ax.plot(1.0, 100 * end, MARKERS[S], ms=5, mfc="none", color=COLOURS[S], clip_on=False,
                        transform=ax.get_yaxis_transform())  # fmt: skip
        if not watched:
            ax.text(0.5, 0.5, "no committed run yet", ha="center", va="center", transform=ax.transAxes, color="0.4")
        ax.set_title(model)
        ax.grid(axis="y", lw=0.3)
    axes[0, 0].set(xlim=(0.5, numbers["epochs"] + 0.5), ylim=(-2, 101))
    for ax in axes.flat[len(curves) :]:
        ax.set_axis_off()
    legend = [plt.Line2D([], [], marker=MARKERS[row], color=COLOURS[row], ms=3, label=LABELS[row]) for row in _ROWS]
    legend.append(plt.Line2D([], [], marker="o", ls="", mfc="none", color="0.4", ms=5, label="trained on it alone"))
    axes.flat[len(curves)].legend(handles=legend, loc="center")
    for ax in axes[:, 0]:
        ax.set_ylabel("accuracy (%)")
    for ax in axes.flat[max(0, len(curves) - 3) : len(curves)]:  # the lowest of each column
        ax.set_xlabel("epoch")
        ax.tick_params(labelbottom=True)
    return figure
