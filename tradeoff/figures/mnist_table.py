r"""All of MNIST, published and ours: accuracy of every model under every set, and under the worst of them.

Rows are models, named by what they were trained on, at the paper's radii (ℓ∞ 0.3, ℓ1 10, ℓ2 2). The first two panels
are published tables, that of Tramèr & Boneh (2019), quoted from memory and not checked against its text, and that of
Maini et al. (2020); the other two are ours on the first test images, under the paper's own climbs (without the attacks
of others that it ran beside them) and under the strong suite, in the mean over seeds where there are several.
An empty cell (–) has not been published, or is not measured yet. Only what is committed is read:
`python -m tradeoff.comparison` prints the numbers with their intervals, budgets and the reasons why they differ.
"""

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from tradeoff.comparison import COMPARISONS, SUITES, evaluations, rows
from tradeoff.figures.style import PAGE, named
from tradeoff.published import PUBLISHED
from tradeoff.records import read_all, sources

QUICK = {"comparison": "lp"}
PARAMETERS = {"quick": QUICK, "full": QUICK}
_TITLES = {"paper": "Tramèr & Boneh 2019", "maini": "Maini et al. 2020"}


def compute(results=None, *, comparison: str) -> dict:
    """A panel for each published table and each suite: shares in percent, models × columns, None where unknown."""
    compared = COMPARISONS[comparison]
    columns = ("clean", *compared.sets, "union")
    records = read_all(compared.runs)
    cells = {(row["model"], row["set"]): row for row in rows(compared, records)}
    models = [model.label for model in compared.models]
    panels = [{"title": _TITLES[key], "cells": [[cells[model, column]["published"][key] for column in columns]
                                                for model in models]} for key in compared.published]  # fmt: skip
    for suite in SUITES:
        found = [[cells[model, column][suite] for column in columns] for model in models]
        panels.append({"title": f"ours, {suite} suite",
                       "cells": [[cell and 100 * cell.mean for cell in line] for line in found]})  # fmt: skip
    used = [o for suite in SUITES for o in evaluations(records, compared.runs, suite, compared.sets).values()]
    return {"panels": panels, "models": models, "columns": columns, "data": sources(used),
            "read": {key: PUBLISHED[key].read for key in compared.published}}  # fmt: skip


def draw(numbers: dict) -> Figure:
    """A heat map per panel, each cell with its number."""
    models, panels = numbers["models"], numbers["panels"]
    figure, axes = plt.subplots(1, len(panels), figsize=(PAGE, 0.7 + 0.2 * len(models)), sharey=True)
    for ax, panel in zip(axes, panels, strict=True):
        cells = np.array(panel["cells"], dtype=float)
        ax.imshow(cells, cmap="cividis", vmin=0, vmax=100, aspect="auto")
        for (row, column), value in np.ndenumerate(cells):
            unknown = np.isnan(value)
            ax.text(column, row, "–" if unknown else f"{value:.1f}", ha="center", va="center", fontsize=5.6,
                    color="0.5" if unknown else "black" if value > 50 else "white")  # fmt: skip
        ax.set_title(panel["title"], fontsize=7)
        ax.set_xticks(range(len(numbers["columns"])), [named(column) for column in numbers["columns"]], fontsize=6)
        ax.set_yticks(range(len(models)), map(named, models), fontsize=6.5)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    figure.supxlabel("accuracy (%) under", fontsize=7)
    return figure
