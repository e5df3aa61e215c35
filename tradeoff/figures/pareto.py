r"""What robustness to ℓ∞ noise costs under ℓ1 noise on D_B: the limit for every classifier, and what training reaches.

Three settings, the last with the radii of Theorem 1. No classifier, randomised or not, has its two risks in the shaded
region: its edge is traced by the games of weights (w, 1-w), and its straight parts by mixing their solutions. Dotted:
the linear classifiers sign(c x_0 + T), c ≥ 0; dashed: Theorem 1's own bound. Markers: networks of (x_0, T) with one
hidden layer, trained on samples against both noises, on the average of the two cross-entropies or on the worst. Their
risks are the shares of fresh samples that a search of the plane breaks, and so lower bounds. Last panel: by how much
R_avg of the one, and R_max of the other, exceeds the least of any classifier; a network's intervals all hold with
probability 1 - 1e-9. At Theorem 1's radii a constant would do best; the network trained on the average does worse.
"""

from math import sqrt

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from tradeoff.figures.style import COLOURS, MARKERS, PAGE
from tradeoff.perturbations import L1, Linf
from tradeoff.theory import BernoulliFeature
from tradeoff.theory.game import game_values
from tradeoff.trained_game import measure, threshold_risk, train

SETTINGS = (
    {"name": "far", "alpha": 3.0, "linf": 1.0, "l1": 2.0},
    {"name": "nearer", "alpha": 2.0, "linf": 1.25, "l1": 1.75},
    {"name": "Theorem 1", "alpha": 2.0, "linf": 2.0, "l1": 2.0},
)
QUICK = {"settings": SETTINGS, "d": 100, "p0": 0.9, "weights": 201, "trained": ("avg", "max"), "hidden": (64,),
         "samples": 10_000, "epochs": 10, "lr": 1e-2, "examples": 100_000, "seed": 0}  # fmt: skip
PARAMETERS = {"quick": QUICK, "full": QUICK | {"samples": 100_000, "examples": 300_000}}


def compute(
    results=None, *, settings, d: int, p0: float, weights: int, trained, examples: int, seed: int, **training
) -> dict:
    """For each setting the front, the linear classifiers and the trained networks; `linf` is in units of η."""
    panels = []
    for how in settings:
        D = BernoulliFeature(how["alpha"], d, p0)
        sets = Linf(how["linf"] * D.eta), L1(how["l1"])
        panels.append(
            how
            | {
                "radii": [S.eps for S in sets],
                "front": _front(D, sets, weights),
                "linear": _linear(D, sets),
                "trained": _trained(D, sets, trained, examples, seed, training),
            }
        )
    return {"panels": panels, "setting": {"d": d, "p0": p0}, "data": "samples of D_B"}


def _front(D: BernoulliFeature, sets, weights: int) -> list:
    """Least risks (R_linf, R_l1), from little weight on the first set to nearly all of it."""
    w = np.linspace(0, 1, weights + 2)[1:-1]
    games = game_values(D, [sets] * len(w), weights=np.stack([w, 1 - w], axis=1).tolist())
    return [[threshold_risk(D, thresholds) for thresholds in game.thresholds] for game in games]


def _linear(D: BernoulliFeature, sets) -> list:
    """(R_linf, R_l1) of sign(c x_0 + T) as c goes from 0 to infinity."""
    c = np.concatenate([[0.0], np.geomspace(0.05, 50, 600)])
    w = np.concatenate([c[:, None], np.full((len(c), D.d), 1 / sqrt(D.d))], axis=1)
    w = np.concatenate([w, np.eye(1, D.d + 1)])  # sign(x_0)
    return np.stack([D.linear_risk(w, S) for S in sets], axis=1).tolist()


def _trained(D: BernoulliFeature, sets, strategies, examples: int, seed: int, training: dict) -> list[dict]:
    """Each strategy's network: its risks, and the excess of the risk that it was trained for."""
    found = []
    for k, strategy in enumerate(strategies):
        model = train(D, sets, strategy, seed=seed, **training)
        measured = measure(model, D, sets, examples, np.random.default_rng([seed, k]))
        excess = {"avg": measured.average, "max": measured.union}[strategy]
        found.append({"strategy": strategy, "risks": measured.risks, "excess": excess,
                      "average": measured.average, "union": measured.union})  # fmt: skip
    return found


def draw(numbers: dict) -> Figure:
    """The plane of the two risks in each setting, then the excess risks."""
    figure, axes = plt.subplots(2, 2, figsize=(PAGE, 5.6))
    styles = {"avg": (MARKERS["average"], COLOURS["average"], "trained on the average"),
              "max": (MARKERS["union"], COLOURS["union"], "trained on the worst")}  # fmt: skip
    for ax, panel in zip(axes.flat, numbers["panels"], strict=False):
        front = np.array(panel["front"])
        # Everything left of and below the front; from its ends on, one risk grows for nothing.
        edge = np.concatenate([[[1, front[0, 1]]], front, [[front[-1, 0], 1]]])
        ax.fill([*edge[:, 0], 0, 0, 1], [*edge[:, 1], 1, 0, 0], color=COLOURS["forbidden"], alpha=0.35, lw=0)
        ax.plot(*edge.T, "-", color="black", lw=1, label="least risks of any classifier")
        ax.plot(*np.transpose(panel["linear"]), ":", color=COLOURS["l2"], lw=1.4, label=r"linear, sign$(c\,x_0 + T)$")
        if panel["name"] == "Theorem 1":
            ax.plot([0, 1], [1, 0], "--", color="black", lw=0.7)
            ax.text(0.2, 0.66, r"$R_{\infty} + R_1 = 1$", fontsize=6.5, ha="right", rotation=-45)
        for network in panel["trained"]:
            marker, colour, label = styles[network["strategy"]]
            (x, dx), (y, dy) = network["risks"]
            ax.errorbar(x, y, xerr=dx, yerr=dy, fmt=marker, color=colour, mec="black", mew=0.5, ms=6, lw=0.8,
                        ecolor="black", label=label, zorder=4)  # fmt: skip
        ax.set(xlim=(0, 1), ylim=(0, 1))
        ax.set_aspect("equal")
        linf = r"\eta" if panel["linf"] == 1 else rf"{panel['linf']:g}\eta"
        ax.set_title(f"{panel['name']}: " + rf"$\alpha = {panel['alpha']:g}$, $\epsilon_\infty = {linf}$, "
                     rf"$\epsilon_1 = {panel['l1']:g}$")  # fmt: skip
        ax.set_xlabel(r"risk under $\ell_\infty$ noise")
        ax.set_ylabel(r"risk under $\ell_1$ noise")
    axes[0, 0].legend(loc="upper right", handlelength=1.8)
    _draw_excess(axes[1, 1], numbers, styles)
    return figure


def _draw_excess(ax, numbers: dict, styles: dict) -> None:
    rows = [(panel, network) for panel in numbers["panels"] for network in panel["trained"]]
    ax.axvline(0, color="black", lw=0.6, ls=":")
    labels = []
    for row, (panel, network) in enumerate(rows):
        marker, colour, _ = styles[network["strategy"]]
        excess, half = network["excess"]
        ax.errorbar(excess, row, xerr=half, fmt=marker, color=colour, mec="black", mew=0.5, ms=6, lw=0.8,
                    ecolor="black")  # fmt: skip
        ax.annotate(f"{excess:.4f} ± {half:.4f}", (excess, row), xytext=(0, 6), textcoords="offset points", ha="center",
                    fontsize=6)  # fmt: skip
        risk = {"avg": r"$R_{avg} - V_{avg}$", "max": r"$R_{max} - V_{max}$"}[network["strategy"]]
        labels.append(f"{panel['name']}\n{risk}")
    ax.set_xscale("symlog", linthresh=0.01, linscale=1.5)
    ax.set_xticks([-0.01, 0, 0.01, 0.1, 1], ["−0.01", "0", "0.01", "0.1", "1"])
    ax.minorticks_off()
    least = min(excess - half for _, network in rows for excess, half in [network["excess"]])
    ax.set(xlim=(min(-0.012, 1.3 * least), 2), ylim=(len(rows) - 0.5, -0.7))
    ax.set_yticks(range(len(rows)), labels, fontsize=6.5)
    ax.set_xlabel("excess risk of the trained networks")
    ax.set_title(rf"$d = {numbers['setting']['d']}$, $p_0 = {numbers['setting']['p0']:g}$")
