r"""Accuracy against the share β of the budget that goes to the first of two types of noise.

Networks trained on the worst of the two, or of these and more: β = 1 is the first type alone, β = 0 the second. The
line joins fixed shares, with exact 95 % intervals; dotted, the accuracy without noise. Marks at the right: a share that
is drawn for each example and try; the union, which has the choice of the two types for each example; and the search,
which has that of all five shares. All on the same test images and by attacks of the suite "mixtures"; the strong suite
breaks more by ℓ1 noise alone. Only what is committed is read.
"""

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from tradeoff.figures.style import COLOURS, LABELS, PAGE, run_named
from tradeoff.mixtures import MIXED, RANDOM, SHARES, accuracy, standing, types
from tradeoff.records import read_all

QUICK = {"runs": MIXED}
PARAMETERS = {"quick": QUICK, "full": QUICK}
_ROWS = {"random": (RANDOM,), "union": (SHARES[0], SHARES[-1]), "searched": SHARES}
_MARKS = {"random": ("X", COLOURS["average"], "random β"), "union": ("*", COLOURS["union"], "union"),
          "searched": ("P", COLOURS["affine"], "searched β")}  # fmt: skip


def compute(results=None, *, runs) -> dict:
    """A panel per run that has been evaluated: accuracies, each with its interval, by share and by way to choose it."""
    panels, data = [], set()
    for run, record in read_all(runs).items():
        if "mixtures" in record.outcomes:
            outcomes = record.outcomes["mixtures"]
            data.add(f"{outcomes.about.get('data', 'unknown')} ({run})")
            panels.append({
                "run": run, "types": types(outcomes), "n": len(outcomes.correct), "clean": outcomes.accuracy(),
                "shares": {share.removeprefix("β="): accuracy(standing(outcomes, share)) for share in SHARES},
                "chosen": {way: accuracy(standing(outcomes, *shares)) for way, shares in _ROWS.items()},
            })  # fmt: skip
    return {"panels": panels, "data": "; ".join(sorted(data)) or "nothing measured yet"}


def draw(numbers: dict) -> Figure:
    """A panel per network."""
    panels = numbers["panels"]
    columns = max(2, len(panels))
    figure, axes = plt.subplots(1, columns, figsize=(min(PAGE, 1 + 2.4 * columns), 2.5), sharey=True)
    for ax, panel in zip(axes, panels, strict=False):
        beta = [float(share) for share in panel["shares"]]
        middle, low, high = 100 * np.array(list(panel["shares"].values())).T
        ax.axhline(100 * panel["clean"], color=COLOURS["clean"], lw=0.8, ls=":")
        ax.errorbar(beta, middle, yerr=(middle - low, high - middle), fmt="o-", ms=4, lw=1.2, capsize=2, color="0.25",
                    label="β fixed")  # fmt: skip
        for k, (way, (marker, colour, label)) in enumerate(_MARKS.items()):
            value, low, high = 100 * np.array(panel["chosen"][way])
            ax.errorbar(1.15 + 0.13 * k, value, yerr=[[value - low], [high - value]], fmt=marker, ms=7, mec="black",
                        mew=0.4, lw=1, capsize=2, color=colour, label=label)  # fmt: skip
        first, second = (LABELS[name] for name in panel["types"])
        ax.set_xticks(beta, [f"0\n{second}", "¼", "½", "¾", f"1\n{first}"])
        ax.set(title=f"{run_named(panel['run'])}\nn = {panel['n']}", xlim=(-0.08, 1.5), ylim=(0, 101))
        ax.set_xlabel("share β of the budget")
        ax.grid(axis="y", lw=0.3)
    axes[0].set_ylabel("accuracy (%)")
    if panels:
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    for ax in axes[len(panels) :]:
        ax.text(0.5, 0.5, "no committed evaluation yet", ha="center", transform=ax.transAxes, color="0.4")
        ax.set_axis_off()
    return figure
