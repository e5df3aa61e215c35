r"""What robustness to the union costs: accuracy under the union against the passes spent on training so far.

One line per way of training (left all of MNIST, ℓ∞ 0.3, ℓ1 10, ℓ2 2; right CIFAR-10, ℓ∞ 4/255, ℓ1 2000/255), a point
per epoch, other seeds thin; a forward and a backward pass of an example count as one. Watched on the first test images
with short attacks: upper bounds, the same for all. Stars: the finished network under the strong suite. Middle, MNIST's
at the same cost, the whole cost of the cheapest: each is read off its own curve (mean and range of the seeds), not of
training shortened to that cost, whose learning rate would have fallen in time. Fine-tuning ("then") goes on from the
curve of the network that it begins with, which it still is at that cost.
"""

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from tradeoff.figures.style import COLOURS, PAGE, named
from tradeoff.records import Record, read_all

QUICK = {"runs": {"avg": ["mnist-avg", "mnist-avg-s1", "mnist-avg-s2"],
                  "max": ["mnist-max", "mnist-max-s1", "mnist-max-s2"],
                  "MSD": ["mnist-msd", "mnist-msd-s1", "mnist-msd-s2"],
                  "E-AT": ["mnist-e-at"],
                  "alternating": ["mnist-alternating"],
                  "E-AT, against APGD": ["mnist-e-at-apgd"],
                  "E-AT, softened too": ["mnist-e-at-soft"],
                  "linf, then E-AT": ["mnist-linf-then-e-at"],
                  "linf, then E-AT, softened": ["mnist-linf-then-e-at-soft"]},
         "sets": ["linf", "l1", "l2"],
         "colour": {"avg": ["cifar10-avg-l1"], "max": ["cifar10-max-l1"], "MSD": ["cifar10-msd-l1"],
                    "E-AT": ["cifar10-e-at-l1"], "linf, then E-AT": ["cifar10-linf-then-e-at-l1"]},
         "colour_sets": ["linf", "l1"]}  # fmt: skip
PARAMETERS = {"quick": QUICK, "full": QUICK}
_STYLES = {"avg": (COLOURS["average"], "X", "-"), "max": (COLOURS["union"], "o", "-"),
           "MSD": (COLOURS["linf"], "s", "--"), "E-AT": (COLOURS["rt"], "^", "-."),
           "alternating": (COLOURS["clean"], "v", ":"),
           "E-AT, against APGD": (COLOURS["l1"], "D", "--"),
           "E-AT, softened too": (COLOURS["l2"], "p", "-"),
           "linf, then E-AT": ("#6A3D9A", "<", "-."),
           "linf, then E-AT, softened": ("#8C564B", ">", "--")}  # fmt: skip


def compute(results=None, *, runs: dict, sets: list[str], colour: dict, colour_sets: list[str]) -> dict:
    """A curve per run with a watched log: passes and union accuracy per epoch, and its accuracy by the strong suite
    (None without). And for each strategy on MNIST the accuracies at the least of the costs of finished runs."""
    curves = _curves(runs, sets)
    spent = [curve["passes"][-1] for found in curves.values() for curve in found if curve["finished"]]
    budget = min(spent, default=None)
    equal = {strategy: [float(np.interp(budget, curve["passes"], curve["union"])) for curve in found
                        if curve["passes"][-1] >= budget]
             for strategy, found in curves.items()} if budget else {}  # fmt: skip
    summary = {strategy: {"mean": float(np.mean(values)), "low": min(values), "high": max(values)}
               for strategy, values in equal.items() if values}  # fmt: skip
    return {"curves": curves, "budget": budget, "equal": summary, "colour": _curves(colour, colour_sets),
            "data": "MNIST; CIFAR-10 (JPEG copy)"}  # fmt: skip


def _curves(runs: dict, sets: list[str]) -> dict[str, list[dict]]:
    records = read_all(name for names in runs.values() for name in names)
    return {strategy: [_curve(records[name], sets) for name in names if len(_watched(records[name]))]
            for strategy, names in runs.items()}  # fmt: skip


def _watched(record: Record) -> np.ndarray:
    return np.flatnonzero(np.isfinite(record.watched("union")))


def _curve(record: Record, sets: list[str]) -> dict:
    rows, strong = _watched(record), record.outcomes.get("strong")
    attacked = strong is not None and set(sets) <= set(strong.set_names)
    return {"run": record.name, "finished": record.finished, "passes": record.passes()[rows].tolist(),
            "union": record.watched("union")[rows].tolist(),
            "strong": strong.accuracy(*sets) if attacked else None}  # fmt: skip


def draw(numbers: dict) -> Figure:
    """Left MNIST's curves, in the middle its accuracies at equal cost, right CIFAR-10's curves."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(PAGE, 3.3), width_ratios=(3, 2, 2), sharey=True)
    for ax, curves, title in ((left, numbers["curves"], "MNIST"), (right, numbers["colour"], "CIFAR-10")):
        for strategy, found in curves.items():
            _draw_curves(ax, strategy, found)
        if any(curves.values()):
            ax.set_xscale("log")
            ax.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
            ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            ax.xaxis.set_minor_formatter("")
        else:
            ax.text(0.5, 0.5, "no committed run with a watched log yet", ha="center", transform=ax.transAxes)
        ax.set(title=title, xlabel="million passes of training", ylim=(0, 100))
    left.set_ylabel("accuracy under the union (%)")
    if numbers["budget"]:
        left.axvline(numbers["budget"] / 1e6, color="black", lw=0.6, ls=":")
        middle.set_title(f"at {numbers['budget'] / 1e6:.2g} million passes")
    for k, (strategy, at) in enumerate(numbers["equal"].items()):
        colour, marker, _ = _STYLES[strategy]
        middle.plot([k, k], [100 * at["low"], 100 * at["high"]], color=colour, lw=1)
        middle.plot(k, 100 * at["mean"], marker, color=colour, ms=5)
    middle.set_xticks(range(len(numbers["equal"])), map(named, numbers["equal"]), rotation=60, ha="right",
                      rotation_mode="anchor", fontsize=5.5)  # fmt: skip
    for ax in (left, middle, right):
        ax.grid(axis="y", lw=0.3)
    handles, labels = left.get_legend_handles_labels()
    if handles:
        figure.legend(handles, map(named, labels), loc="outside upper center", ncols=5)
    return figure


def _draw_curves(ax, strategy: str, found: list[dict]) -> None:
    colour, marker, dash = _STYLES[strategy]
    for k, curve in enumerate(found):
        spent, union = np.array(curve["passes"]) / 1e6, 100 * np.array(curve["union"])
        thin = {"lw": 0.6} if k else {"lw": 1.6, "marker": marker, "ms": 3.5, "label": strategy}
        ax.plot(spent, union, color=colour, ls=dash, **thin)
        if curve["strong"] is not None:
            ax.plot(spent[-1], 100 * curve["strong"], "*", color=colour, ms=7, mec="black", mew=0.4, zorder=4)
