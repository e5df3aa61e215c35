r"""What robustness to one set is worth against another: accuracy by what a network was trained on and tested on.

Left: a row for each network, small CNNs on all of MNIST and small ResNets on CIFAR-10, like beside like in rows and
columns (average linkage of Euclidean distances; networks with a gap come last); bold frames mark a network's own sets.
A cell is what the attacks of the committed evaluations leave standing, of those of most test images. Right, networks
trained on ℓp balls under ℓp noise that they were not trained on: accuracy against the radius of the largest ball of
that noise that surely lies in the hull of what was trained on, as a share of the radius tested. A linear classifier
that is robust at a share of 1 would stand everywhere; the rank correlation is Spearman's, with a bootstrap interval of
95 % over the cells.
"""

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from tradeoff.figures.style import COLOURS, LABELS, MARKERS, PAGE, named
from tradeoff.records import attacking, read_all, sources
from tradeoff.transfer import TRANSFERS, matrix, order, prediction

QUICK = {"names": tuple(TRANSFERS)}
PARAMETERS = {"quick": QUICK, "full": QUICK}
_NAMES = {**LABELS, "bc": "brightness,\ncontrast", "blur": "blur", "elastic": "elastic"}


def compute(results=None, *, names) -> dict:
    """A panel per data set: the matrix in its order, None for gaps, each network's own sets, and the prediction."""
    panels, used = [], []
    for name in names:
        transfer = TRANSFERS[name]
        records = read_all(transfer.runs)
        values, trained, found = matrix(records, transfer), list(transfer.trained), prediction(records, transfer)
        rows, columns = order(values), order(values.T)
        panels.append({
            "title": transfer.title,
            "cells": [[None if np.isnan(values[i, j]) else float(values[i, j]) for j in columns] for i in rows],
            "rows": [trained[i] for i in rows], "columns": [transfer.sets[j].name for j in columns],
            "sets": [str(transfer.sets[j]) for j in columns],
            "own": {name: _own(name) for name in trained},
            "prediction": found and {"cells": found.cells, "correlation": found.correlation,
                                     "interval": found.interval},
        })  # fmt: skip
        used += [outcomes for run in transfer.trained.values() for S in transfer.sets
                 for outcomes in attacking(records[run], S)]  # fmt: skip
    return {"panels": panels, "data": sources(used)}


def _own(name: str) -> list[str]:
    several = {"natural": [], "max": ["linf", "l1", "l2"], "max-rt": ["linf", "rt"], "max-l1": ["linf", "l1"]}
    return several.get(name, [name])


def draw(numbers: dict) -> Figure:
    """A row for each data set: the matrix as a heat map, and the prediction as a scatter plot."""
    panels = numbers["panels"]
    figure, axes = plt.subplots(len(panels), 2, figsize=(PAGE, 3.0 * len(panels)), width_ratios=(1.5, 1), squeeze=False)
    for row, panel in zip(axes, panels, strict=True):
        left, right = row
        _draw(left, right, panel)
    return figure


def _draw(left, right, numbers: dict) -> None:
    cells = np.array(numbers["cells"], dtype=float) * 100
    left.imshow(cells, cmap="cividis", vmin=0, vmax=100, aspect="auto")
    for (i, j), value in np.ndenumerate(cells):
        unknown = np.isnan(value)
        left.text(j, i, "–" if unknown else f"{value:.0f}", ha="center", va="center", fontsize=6.5,
                  color="0.5" if unknown else "black" if value > 50 else "white")  # fmt: skip
        if numbers["columns"][j] in numbers["own"][numbers["rows"][i]]:
            left.add_patch(plt.Rectangle((j - 0.47, i - 0.46), 0.94, 0.92, fill=False, ec=COLOURS["l1"], lw=1.4))
    left.set_xticks(range(cells.shape[1]), [_NAMES[name] for name in numbers["columns"]], fontsize=5.5)
    left.set_yticks(
        range(cells.shape[0]), [named(_NAMES.get(name, name).replace("\n", " ")) for name in numbers["rows"]]
    )
    left.set(xlabel="tested on", ylabel="trained on", title=f"{numbers['title']}: accuracy (%)")
    left.tick_params(length=0)
    left.spines[:].set_visible(False)
    found = numbers["prediction"]
    if found is None:
        right.text(0.5, 0.5, "not measured yet", ha="center", transform=right.transAxes, color="0.4")
        right.set_axis_off()
        return
    for run, name, share, value in found["cells"]:
        right.plot(share, 100 * value, MARKERS[name], color=COLOURS[name], mec="black", mew=0.4, ms=6)
        label, beside = run.partition("-")[2], (-4, 3) if run == "mnist-linf" else (4, 3)
        right.annotate(named(label), (share, 100 * value), xytext=beside, textcoords="offset points",
                       ha="right" if beside[0] < 0 else "left", fontsize=6)  # fmt: skip
    tested = dict.fromkeys(name for _, name, _, _ in found["cells"])
    handles = [plt.Line2D([], [], marker=MARKERS[name], ls="", color=COLOURS[name], mec="black", mew=0.4,
                          label=f"under {LABELS[name]}") for name in tested]  # fmt: skip
    right.legend(handles=handles, loc="upper left")
    low, high = found["interval"]
    right.set(xscale="log", xlabel="radius in the hull / radius tested", ylabel="accuracy (%)", ylim=(-3, 101))
    right.set_xlim(min(0.02, *(0.6 * share for _, _, share, _ in found["cells"])), 3)
    right.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    said = "rank correlation {:.2f} ({:.2f} to {:.2f})".format(found["correlation"], low, high)
    right.set_title(said.replace("-", "−"), fontsize=7)
