r"""The optimal classifier in the plane (x_0, T), T = Σ x_i/√d, against three adversaries with the same two balls.

On D_B, with ℓ∞ noise of radius η and ℓ1 noise of radius 2: the average of the two, their union, and their mixtures. The
answer is + above the threshold t(x_0). Discs are the centres of label +1 and squares those of label -1, each with T's
standard deviation as a bar; the large ones have the likely x_0. In the plane the ℓ∞ ball is a tall box and the ℓ1 ball
the flat diamond |a| + √d |b| ≤ ε. They are drawn around the extreme inputs that a label keeps, of both values of x_0:
the answer must be + in the solid ones and - in the dashed ones, so the threshold passes between them. Where it is free,
in the dotted region, the highest is drawn. No noise comes to the hatched region.
"""

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from tradeoff.figures.style import COLOURS, PAGE
from tradeoff.perturbations import L1, Linf
from tradeoff.theory import BernoulliFeature, game_value
from tradeoff.theory.game import classifier
from tradeoff.theory.plane import widths

QUICK = {"alpha": 2.0, "d": 100, "p0": 0.9, "linf": 1.0, "l1": 2.0, "width": 3.5, "points": 701}
PARAMETERS = {"quick": QUICK, "full": QUICK}
ADVERSARIES = ("average", "union", "affine")


def compute(
    results=None, *, alpha: float, d: int, p0: float, linf: float, l1: float, width: float, points: int
) -> dict:
    """t(x_0) over [-width, width] for each adversary, the lowest t that does as well, and the sets in the way.

    `linf` is in units of η.
    """
    D = BernoulliFeature(alpha, d, p0)
    sets = Linf(linf * D.eta), L1(l1)
    ends = np.array([s + sign * S.eps for S in sets for s in (1, -1) for sign in (1, -1)])
    x_0 = np.unique(np.concatenate([np.linspace(-width, width, points), ends, ends - 1e-9, ends + 1e-9, [-1, 1]]))
    panels = []
    for adversary in ADVERSARIES:
        game = game_value(D, sets, adversary)
        t = classifier(D, sets, game)
        names = ("linf", "l1") if adversary == "average" else (adversary,)
        shapes, kept = [], []  # kept: the extreme inputs of label -1, with the half-width of what comes from them
        for name, hw, (M, N) in zip(names, widths(d, sets, adversary), game.thresholds, strict=True):
            for label, levels in ((1, M), (-1, N)):
                for right, level in zip((1, -1), levels, strict=True):
                    centre = (label * right, label * level)
                    shapes.append(
                        {"set": name, "label": label, "centre": centre, "outline": _outline(hw, sets, centre)}
                    )
                    kept += [(*centre, hw)] if label == -1 else []
        highest = [t(v) for v in x_0]
        lowest = [max(level + hw(v - at) for at, level, hw in kept) for v in x_0]
        panels.append({"adversary": adversary, "value": game.value, "shapes": shapes,
                       "t": _json(highest), "lowest": _json(lowest)})  # fmt: skip
    return {"x_0": x_0.tolist(), "panels": panels, "setting": {"alpha": alpha, "d": d, "p0": p0, "width": width}}


def _json(levels) -> list:
    """The levels with None for those that are infinite: no noise comes there."""
    return [float(level) if np.isfinite(level) else None for level in levels]


def _outline(hw, sets, centre) -> list:
    """The boundary, around a centre, of the set with half-width `hw` at each x_0-offset: points (x_0, T)."""
    radii = sorted({S.eps for S in sets})
    offsets = np.unique(np.concatenate([r * np.array([-1, -1 + 1e-9, 1 - 1e-9, 1]) for r in radii]
                                       + [np.linspace(-radii[-1], radii[-1], 201)]))  # fmt: skip
    upper = [(a, hw(a)) for a in offsets if hw(a) >= 0]
    whole = upper + [(a, -b) for a, b in reversed(upper)]
    return [[centre[0] + a, centre[1] + b] for a, b in [*whole, whole[0]]]


def draw(numbers: dict) -> Figure:
    """A panel for each adversary."""
    figure, axes = plt.subplots(1, len(numbers["panels"]), figsize=(PAGE, 3.1), sharey=True)
    setting, x_0 = numbers["setting"], np.array(numbers["x_0"])
    titles = {"average": r"average: $V_{avg}$", "union": r"union: $V_{max}$", "affine": r"mixtures: $V_{affine}$"}
    sets = {"linf": (COLOURS["linf"], r"$\ell_\infty$ ball"), "l1": (COLOURS["l1"], r"$\ell_1$ ball"),
            "union": (COLOURS["union"], "their union"), "affine": (COLOURS["affine"], "their hull")}  # fmt: skip
    alpha, p0, top = setting["alpha"], setting["p0"], 2.5 * setting["alpha"]
    for ax, panel in zip(axes, numbers["panels"], strict=True):
        t, lowest = (np.array(panel[key], dtype=float) for key in ("t", "lowest"))  # None becomes nan
        ax.fill_between(x_0, t, top, color="0.86", lw=0)
        ax.fill_between(x_0, lowest, t, facecolor="white", edgecolor="0.6", hatch="....", lw=0)
        ax.fill_between(x_0, -top, top, where=np.isnan(t), facecolor="white", edgecolor="0.8", hatch="////", lw=0)
        ax.plot(x_0, t, "-", color="black", lw=1.4, zorder=4)
        for shape in panel["shapes"]:
            ax.plot(*np.transpose(shape["outline"]), "-" if shape["label"] == 1 else "--", lw=0.9,
                    color=sets[shape["set"]][0])  # fmt: skip
        for label, marker in ((1, "o"), (-1, "s")):
            for x, p in ((label, p0), (-label, 1 - p0)):
                ax.errorbar(x, label * alpha, yerr=1, fmt=marker, color="black", ms=6 if p == p0 else 3, lw=0.8,
                            mfc="black" if label == 1 else "white", zorder=5)  # fmt: skip
        ax.text(2.1, 0.8 * top, "+", fontsize=11, ha="center", va="center")
        ax.text(-2.1, -0.8 * top, "−", fontsize=11, ha="center", va="center")
        ax.set(xlim=(x_0[0], x_0[-1]), ylim=(-top, top))
        ax.set_title(f"{titles[panel['adversary']]} = {panel['value']:.4f}")
        ax.set_xlabel(r"strong feature $x_0$")
    axes[0].set_ylabel(r"weak features, $T = \Sigma\, x_i\,/\sqrt{d}$")
    handles = [
        Line2D([], [], color="black", lw=1.4, label=r"threshold $t(x_0)$"),
        *(Line2D([], [], color=colour, lw=0.9, label=label) for colour, label in sets.values()),
        Patch(facecolor="white", edgecolor="0.6", hatch="....", lw=0, label="either answer"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure
