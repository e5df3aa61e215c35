r"""One noise type costs another: accuracy of models trained naturally, on one noise type, and on several.

Rows of bars: the same test digits, unperturbed, under ℓ∞, ℓ1 and ℓ2 noise at the paper's MNIST radii (0.3, 10, 2), and
under the worst of the three per digit (union). Error bars are exact 95 % binomial intervals. The attacks are
gradient-based, so these are upper bounds of the true robust accuracy, and loose ones under ℓ1 and ℓ2 for models trained
on ℓ∞, whose gradients are masked.
"""

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from tradeoff.figures.style import COLOURS, LABELS, PAGE

_MODELS = ("natural", "linf", "l1", "l2", "avg", "max")
PARAMETERS = {
    "quick": {"experiments": {name: f"digits-{name}" for name in _MODELS}},
    "full": {"experiments": {name: f"mnist-{name}" for name in _MODELS}},
}
_COLUMNS = ("clean", "linf", "l1", "l2", "union")
_TICKS = {
    "natural": "natural",
    "linf": r"$\ell_\infty$",
    "l1": r"$\ell_1$",
    "l2": r"$\ell_2$",
    "avg": "avg",
    "max": "max",
}


def compute(results, *, experiments: dict) -> dict:
    """The table of outcomes of every model, trained if missing."""
    runs = {model: results(name) for model, name in experiments.items()}
    first = next(iter(runs.values()))
    return {
        "models": {model: run.outcomes.table() for model, run in runs.items()},
        "data": first.outcomes.about["data"],
        "attacks": first.outcomes.about["attacks"],
    }


def draw(numbers: dict) -> Figure:
    """Grouped bars: a group per model, a bar per adversary."""
    figure, ax = plt.subplots(figsize=(PAGE, 2.6))
    width = 0.8 / len(_COLUMNS)
    hatches = {"union": "////"}
    for k, column in enumerate(_COLUMNS):
        rows = [table[column] for table in numbers["models"].values()]
        value = 100 * np.array([row["accuracy"] for row in rows])
        low, high = 100 * np.array([row["interval"] for row in rows]).T
        at = np.arange(len(rows)) + (k - 2) * width
        colour = COLOURS[column] if column != "clean" else "#BBBBBB"
        ax.bar(
            at, value, width, color=colour, label=LABELS[column], hatch=hatches.get(column), edgecolor="white", lw=0.3
        )
        ax.errorbar(at, value, yerr=[value - low, high - value], fmt="none", ecolor="black", lw=0.6, capsize=1.2)
    ax.set_xticks(range(len(numbers["models"])), [_TICKS[model] for model in numbers["models"]])
    ax.set_xlabel("trained on (avg, max: all three noise types)")
    ax.set_ylabel("accuracy (%)")
    ax.set_ylim(0, 100)
    ax.set_title(numbers["data"], loc="right", color="0.35")
    figure.legend(loc="outside upper center", ncols=5)
    return figure
