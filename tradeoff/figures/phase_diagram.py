r"""What every classifier must lose on D_B, exactly, against the sizes of two types of noise.

First panel: three nested regions. Where both radii are small some classifier withstands mixtures of the two types
(V_affine < ½), hence the worst of the two; then one withstands the worst of the two (V_max < ½) but none withstands
mixtures; in the rest the types exclude each other (V_max = ½, and but for a narrow strip V_avg = ½). Lines: the
geometric criterion (μ in the hull of the two sets, 2μ in the sum of two of them), sufficient, and on D_B nearly sharp.
The cross marks the radii of Theorem 1. Other panels: the least risk under each adversary. Its jump at ε∞ + ε1 = 2 is
where one type, after the other, first turns x_0 into that of the other label.
"""

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from tradeoff.figures.style import COLOURS, PAGE
from tradeoff.perturbations import L1, Linf
from tradeoff.theory.distributions import BernoulliFeature
from tradeoff.theory.game import exclusive, game_values

QUICK = {"alpha": 2.0, "d": 100, "p0": 0.9, "points": 120}
PARAMETERS = {"quick": QUICK, "full": QUICK | {"points": 200}}
ADVERSARIES = {"average": r"average: $V_{avg}$", "union": r"worst of the two: $V_{max}$",
               "affine": r"mixtures: $V_{affine}$"}  # fmt: skip
REGIONS = ["neither", "union\nonly", "union and\nmixtures"]  # withstood, by some classifier
LEVELS = [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.499]


def compute(results=None, *, alpha: float, d: int, p0: float, points: int) -> dict:
    """Values over points × points radii, ε∞ in [0, 3η] (columns) and ε1 in [0, 4] (rows); the regions, by number, and
    where the geometric criterion holds."""
    D = BernoulliFeature(alpha, d, p0)
    linf, l1 = np.linspace(0, 3, points), np.linspace(0, 4, points)
    games = [(Linf(float(a) * D.eta), L1(float(b))) for b in l1 for a in linf]

    def table(cells):
        return np.reshape(cells, (points, points)).tolist()

    values = {name: [game.value for game in game_values(D, games, name)] for name in ADVERSARIES}
    withstood = sum((np.array(values[name]) < 0.5).astype(int) for name in ("union", "affine"))
    criterion = {name: table([exclusive(D, sets, name) for sets in games]) for name in ("union", "affine")}
    return {
        "linf": linf.tolist(),
        "l1": l1.tolist(),
        "values": {name: table(cells) for name, cells in values.items()},
        "withstood": table(withstood),
        "criterion": criterion,
        "setting": {"alpha": alpha, "d": d, "p0": p0},
    }


def draw(numbers: dict) -> Figure:
    """The regions, then contours of the three values."""
    figure, axes = plt.subplots(2, 2, figsize=(PAGE, 5.2), sharex=True, sharey=True)
    x, y = numbers["linf"], numbers["l1"]
    regions, *panels = axes.flat
    shades = ListedColormap([COLOURS["union"], COLOURS["affine"], "#FFFFFF"])
    regions.pcolormesh(x, y, numbers["withstood"], cmap=shades, vmin=0, vmax=2, alpha=0.55, lw=0, rasterized=True)
    for name, dashes in (("union", "-"), ("affine", "--")):
        inside = np.array(numbers["criterion"][name], dtype=float)
        regions.contour(x, y, inside, [0.5], colors="black", linestyles=dashes, linewidths=1)
    for (a, b), text in zip(((2.5, 2.9), (1.53, 3.3), (0.6, 2.2)), REGIONS, strict=True):
        regions.text(a, b, text, ha="center", va="center")
    regions.set_title("withstood by some classifier")
    for ax, (name, title) in zip(panels, ADVERSARIES.items(), strict=True):
        filled = ax.contourf(x, y, numbers["values"][name], [0, *LEVELS, 0.501], cmap="cividis")
        lines = ax.contour(x, y, numbers["values"][name], [0.1, 0.2, 0.3, 0.4], colors="white", linewidths=0.6)
        ax.set_title(title)
    bar = figure.colorbar(filled, ax=axes, shrink=0.6, ticks=[0, 0.1, 0.2, 0.3, 0.4, 0.499])
    bar.ax.set_yticklabels(["0", "0.1", "0.2", "0.3", "0.4", "½"])
    bar.add_lines(lines)
    bar.set_label("least risk of any classifier")
    for ax in axes.flat:
        ax.plot(2, 2, "x", color=COLOURS["l1"], ms=6, mew=1.6)
    for ax in axes[1]:
        ax.set_xlabel(r"$\epsilon_\infty / \eta$")
    for ax in axes[:, 0]:
        ax.set_ylabel(r"$\epsilon_1$")
    return figure
