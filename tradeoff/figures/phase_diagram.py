r"""What every classifier must lose on D_B, exactly, against the sizes of two types of noise.

First panel: three nested regions. Where both radii are small some classifier withstands mixtures of the two types
(V_affine < ½), hence the worst of the two; then one withstands the worst of the two (V_max < ½) but none withstands
mixtures; in the rest the types exclude each other (V_max = ½, and but for a narrow strip V_avg = ½). Lines: the
geometric criterion (dashed, for mixtures: μ in the hull of the two sets; solid, for the union: 2μ in the sum of two of
them), sufficient, and on D_B nearly sharp.
The cross marks the radii of Theorem 1. Other panels: the least risk under each adversary. Its jump at ε∞ + ε1 = 2 is
where one type, after the other, first turns x_0 into that of the other label.
"""

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from tradeoff.figures.style import COLOURS, PAGE
from tradeoff.perturbations import L1, Linf
from tradeoff.theory.distributions import BernoulliFeature
from tradeoff.theory.game import exclusive, game_values

QUICK = {"alpha": 2.0, "d": 100, "p0": 0.9, "points": 144}
PARAMETERS = {"quick": QUICK, "full": QUICK | {"points": 200}}
ADVERSARIES = {"average": r"average: $V_{avg}$", "union": r"worst of the two: $V_{max}$",
               "affine": r"mixtures: $V_{affine}$"}  # fmt: skip
REGIONS = ["neither", "union\nonly", "union and\nmixtures"]  # withstood, by some classifier
LEVELS = [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.499]


def compute(results=None, *, alpha: float, d: int, p0: float, points: int) -> dict:
    """Values over points × points radii, ε∞ in [0, 3η] (columns) and ε1 in [0, 4] (rows); for each
    ε∞ the least ε1 that no classifier withstands, and the least where the geometric criterion holds."""
    D = BernoulliFeature(alpha, d, p0)
    linf, l1 = np.linspace(0, 3, points), np.linspace(0, 4, points)
    games = [(Linf(float(a) * D.eta), L1(float(b))) for b in l1 for a in linf]

    def table(cells):
        return np.reshape(cells, (points, points)).tolist()

    values = {name: [round(game.value, 6) for game in game_values(D, games, name)] for name in ADVERSARIES}

    def lost(sets, name):
        return game_values(D, [sets], name)[0].value >= 0.5

    tests = {"lost": lost, "criterion": lambda sets, name: exclusive(D, sets, name)}
    return {
        "linf": linf.tolist(),
        "l1": l1.tolist(),
        "values": {name: table(cells) for name, cells in values.items()},
        "edges": {
            name: {kind: _edge(test, name, D, linf, l1[-1]) for kind, test in tests.items()}
            for name in ("union", "affine")
        },
        "setting": {"alpha": alpha, "d": d, "p0": p0},
    }


def _edge(holds, name: str, D: BernoulliFeature, linf, limit: float) -> list[float | None]:
    """For each ε∞ the least ε1 where it holds, by halving (it goes on holding from there); None beyond the limit."""
    edge: list[float | None] = []
    for a in linf:
        low, high = 0.0, float(limit)
        if not holds((Linf(float(a) * D.eta), L1(high)), name):
            edge.append(None)
            continue
        for _ in range(12):
            middle = (low + high) / 2
            low, high = (low, middle) if holds((Linf(float(a) * D.eta), L1(middle)), name) else (middle, high)
        edge.append(high)
    return edge


def draw(numbers: dict) -> Figure:
    """The regions, then contours of the three values."""
    figure, axes = plt.subplots(2, 2, figsize=(PAGE, 5.2), sharex=True, sharey=True)
    x, y = numbers["linf"], numbers["l1"]
    regions, *panels = axes.flat
    for name, dashes in (("affine", "--"), ("union", "-")):
        lost, criterion = (np.array(numbers["edges"][name][kind], dtype=float) for kind in ("lost", "criterion"))
        regions.fill_between(x, lost, y[-1], color="white", lw=0)
        regions.fill_between(x, lost, y[-1], color=COLOURS[name], alpha=0.55, lw=0)
        regions.plot(x, criterion, dashes, color="black", lw=1)
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
