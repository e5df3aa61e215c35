r"""What robustness to the union costs: accuracy under the union against the passes spent on training so far.

One line per way of training (all of MNIST, ℓ∞ 0.3, ℓ1 10, ℓ2 2), a point per epoch, other seeds thin; a forward and a
backward pass of an example count as one. Watched on the first test images with short attacks: upper bounds, the same
for all. Stars: the finished network under the strong suite. Right, all at the same cost, the whole cost of the
cheapest: each is read off its own curve (mean and range of the seeds), not of training shortened to that cost, whose
learning rate would have fallen in time. Fine-tuning ("then") goes on from the curve of the network that it begins with,
which it still is at that cost.
"""

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from tradeoff.figures.style import COLOURS, PAGE
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
         "sets": ["linf", "l1", "l2"]}  # fmt: skip
PARAMETERS = {"quick": QUICK, "full": QUICK}
_STYLES = {"avg": (COLOURS["average"], "X", "-"), "max": (COLOURS["union"], "o", "-"),
           "MSD": (COLOURS["linf"], "s", "--"), "E-AT": (COLOURS["rt"], "^", "-."),
           "alternating": (COLOURS["clean"], "v", ":"),
           "E-AT, against APGD": (COLOURS["l1"], "D", "--"),
           "E-AT, softened too": (COLOURS["l2"], "p", "-"),
           "linf, then E-AT": ("#6A3D9A", "<", "-."),
           "linf, then E-AT, softened": ("#6A3D9A", ">", ":")}  # fmt: skip


def compute(results=None, *, runs: dict, sets: list[str]) -> dict:
    """A curve per run with a watched log: passes and union accuracy per epoch, and its accuracy by the strong suite
    (None without). And for each strategy the accuracies at the least of the costs of finished runs."""
    records = read_all(name for names in runs.values() for name in names)
    curves = {strategy: [_curve(records[name], sets) for name in names if len(_watched(records[name]))]
              for strategy, names in runs.items()}  # fmt: skip
    spent = [curve["passes"][-1] for found in curves.values() for curve in found if curve["finished"]]
    budget = min(spent, default=None)
    equal = {strategy: [float(np.interp(budget, curve["passes"], curve["union"])) for curve in found
                        if curve["passes"][-1] >= budget]
             for strategy, found in curves.items()} if budget else {}  # fmt: skip
    summary = {strategy: {"mean": float(np.mean(values)), "low": min(values), "high": max(values)}
               for strategy, values in equal.items() if values}  # fmt: skip
    return {"curves": curves, "budget": budget, "equal": summary, "data": "MNIST"}


def _watched(record: Record) -> np.ndarray:
    return np.flatnonzero(np.isfinite(record.watched("union")))


def _curve(record: Record, sets: list[str]) -> dict:
    rows, strong = _watched(record), record.outcomes.get("strong")
    attacked = strong is not None and set(sets) <= set(strong.set_names)
    return {"run": record.name, "finished": record.finished, "passes": record.passes()[rows].tolist(),
            "union": record.watched("union")[rows].tolist(),
            "strong": strong.accuracy(*sets) if attacked else None}  # fmt: skip


def draw(numbers: dict) -> Figure:
    """Left the curves, right the accuracies at equal cost."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.7), width_ratios=(2, 1), sharey=True)
    for strategy, found in numbers["curves"].items():
        colour, marker, dash = _STYLES[strategy]
        for k, curve in enumerate(found):
            spent, union = np.array(curve["passes"]) / 1e6, 100 * np.array(curve["union"])
            thin = {"lw": 0.6} if k else {"lw": 1.6, "marker": marker, "ms": 3.5, "label": strategy}
            left.plot(spent, union, color=colour, ls=dash, **thin)
            if curve["strong"] is not None:
                left.plot(spent[-1], 100 * curve["strong"], "*", color=colour, ms=8, mec="black", mew=0.4)
    if any(numbers["curves"].values()):
        left.legend(loc="upper left", ncols=2, fontsize=6)
        left.set_xscale("log")
    else:
        left.text(0.5, 0.5, "no committed run with a watched log yet", ha="center", transform=left.transAxes)
    if numbers["budget"]:
        left.axvline(numbers["budget"] / 1e6, color="black", lw=0.6, ls=":")
        right.set_title(f"at {numbers['budget'] / 1e6:.2g} million passes")
    for k, (strategy, at) in enumerate(numbers["equal"].items()):
        colour, marker, _ = _STYLES[strategy]
        right.plot([k, k], [100 * at["low"], 100 * at["high"]], color=colour, lw=1)
        right.plot(k, 100 * at["mean"], marker, color=colour, ms=5)
    right.set_xticks(range(len(numbers["equal"])), list(numbers["equal"]), rotation=45, ha="right")
    left.set(xlabel="million passes of training", ylabel="accuracy under the union (%)", ylim=(0, 100))
    left.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    for ax in (left, right):
        ax.grid(axis="y", lw=0.3)
    return figure
