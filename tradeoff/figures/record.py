r"""Accuracy against the radius, under ℓ∞, ℓ1 and ℓ2 noise and under their union, of networks for MNIST.

Radii are in units of the paper's (ℓ∞ 0.3, ℓ1 10, ℓ2 2), at which the vertical line is; those of the union grow
together. Small CNNs, trained on the worst of the three (max), on MSD's mixture of steps, on ℓ∞ and ℓ1 noise, one attack
a batch and ℓ1 along softened slopes too (E-AT), on one of them; and ours, larger ones behind a dead zone, of which the
record sees 0.3 to 0.9 of a pixel, the other, even, 0.3 to 0.7. What stands is what stands under all attacks of the
committed evaluations at that radius, of those of most test images: the strong suite, for networks behind a dead zone
with the attacks that know of it.
"""

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from tradeoff.figures.style import COLOURS, LABELS, PAGE
from tradeoff.perturbations import PRESETS, Lp
from tradeoff.records import attacking, read_all, sources, standing

QUICK = {"runs": {"ours": "mnist-grown-mean", "even zone": "mnist-dead-zone",
                  "E-AT, softened too": "mnist-e-at-soft", "max": "mnist-max", "MSD": "mnist-msd",
                  "linf": "mnist-linf", "l1": "mnist-l1", "l2": "mnist-l2"},
         "radii": (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)}  # fmt: skip
PARAMETERS = {"quick": QUICK, "full": QUICK}
_LINES = {"ours": ("k", "D", "-"), "even zone": ("k", "P", ":"),
          "E-AT, softened too": (COLOURS["average"], "X", "-"), "max": (COLOURS["union"], "*", "-"),
          "MSD": (COLOURS["rt"], "v", "-"), "linf": (COLOURS["linf"], "o", "--"), "l1": (COLOURS["l1"], "s", "--"),
          "l2": (COLOURS["l2"], "^", "--")}  # fmt: skip
SETS = tuple(S for name in ("linf", "l1", "l2") for S in PRESETS["paper_mnist"].sets if S.name == name)


def at(S: Lp, scale: float) -> Lp:
    """The ball of `scale` times the radius, as one would write it: 0.225, and not 0.22499999999999998."""
    return Lp(S.p, round(scale * S.eps, 9))


def compute(results=None, *, runs: dict, radii) -> dict:
    """Accuracies by set and network, one per scale, None where nothing is committed; and of how many examples."""
    curves: dict[str, dict[str, list]] = {name: {} for name in (*(S.name for S in SETS), "union")}
    examples, used = set(), []
    for name, record in zip(runs, read_all(runs.values()).values(), strict=True):
        stands = {scale: {S.name: standing(record, at(S, scale)) for S in SETS} for scale in radii}
        for S, curve in curves.items():
            members = [[found[T.name] for T in SETS if S in (T.name, "union")] for found in stands.values()]
            curve[name] = [_accuracy(some, examples) for some in members]
        used += [outcomes for scale in radii for S in SETS for outcomes in attacking(record, at(S, scale))]
    return {"curves": curves, "scales": list(radii), "n": sorted(examples), "data": sources(used)}


def _accuracy(stands, examples: set[int]) -> float | None:
    if any(some is None for some in stands):
        return None
    n = min(map(len, stands))
    examples.add(n)
    return float(np.all([some[:n] for some in stands], axis=0).mean())


def draw(numbers: dict) -> Figure:
    """A panel per set, and one for the union."""
    figure, axes = plt.subplots(1, 4, figsize=(PAGE, 2.4), sharex=True, sharey=True)
    for ax, (S, curves) in zip(axes, numbers["curves"].items(), strict=True):
        for name, values in curves.items():
            colour, marker, dash = _LINES[name]
            percent = 100 * np.array([0.0 if value is None else value for value in values])
            known = np.array([value is not None for value in values])
            ax.plot(np.array(numbers["scales"])[known], percent[known], dash, marker=marker, ms=3.5, color=colour,
                    lw=1.6 if name == "ours" else 1.0, label=LABELS.get(name, name))  # fmt: skip
        ax.axvline(1.0, color="0.6", lw=0.6, ls=":")
        ax.set(title=LABELS[S], xlabel="radius / the paper's", ylim=(-2, 101))
        ax.grid(axis="y", lw=0.3)
    axes[0].set_ylabel("accuracy (%)")
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=8, columnspacing=1.2, handlelength=1.6
    )
    return figure
