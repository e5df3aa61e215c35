r"""Theorem 1: no classifier's risks under ℓ∞ noise of radius 2η and under ℓ1 noise of radius 2 sum to less than one.

The plane of the two risks on D_B: the shaded region is impossible. Exact points are the textbook classifiers, the
constant on the edge, and a sweep of linear classifiers sign(w_0 x_0 + Σ x_i/√d + b) under the worst noise. Points with
error bars are nonlinear classifiers under the proof's own two perturbations, simulated: for every classifier these two
risks sum to one, and its worst-case risks are no smaller.
"""

from math import log, sqrt

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from scipy.special import ndtri

from tradeoff.figures.style import COLOURS, COLUMN
from tradeoff.perturbations import L1, Linf
from tradeoff.theory import BernoulliFeature

QUICK = {"alpha": 2.0, "d": 100, "p0": 0.9, "samples": 4_000, "seed": 0}
PARAMETERS = {"quick": QUICK, "full": QUICK | {"samples": 1_000_000}}


def compute(results=None, *, alpha: float, d: int, p0: float, samples: int, seed: int) -> dict:
    """Risks (R_linf, R_l1), exact for linear classifiers and simulated, with 99.9 % intervals, for others."""
    D = BernoulliFeature(alpha, d, p0)
    S_inf, S_1 = Linf(2 * D.eta), L1(2.0)

    def exact(w_0, w, b):
        weights = np.concatenate([[w_0], np.full(d, w)])
        return [float(D.linear_risk(weights, S, b=b)) for S in (S_inf, S_1)]

    textbook = {
        "sign(x_0)": exact(1.0, 0.0, 0.0),
        "sign(sum x_i)": exact(0.0, 1.0, 0.0),
        "constant": exact(0.0, 0.0, 1.0),
    }
    # sign(w_0 x_0 + Σ x_i/√d + b): the weight of x_0 runs from none to all, the offset over both signs.
    sweep = [exact(w_0, 1 / sqrt(d), b) for w_0 in np.geomspace(0.02, 50, 41) for b in np.linspace(-4, 4, 33)]
    return {
        "textbook": textbook,
        "linear": sweep,
        "simulated": _simulate(D, samples, seed),
        "radii": {"linf": S_inf.eps, "l1": S_1.eps},
    }


def _simulate(D: BernoulliFeature, samples: int, seed: int) -> list[dict]:
    """Classifiers of (x_0, T) that are not linear, under the proof's perturbations, each example under both.

    Each risk's interval is Wilson's at 99.9 %.
    """
    rng = np.random.default_rng(seed)
    x, y = D.sample(samples, rng)
    x_0, T = x[:, 0], x[:, 1:].sum(axis=1) / sqrt(D.d)
    at_inf = (x_0, T - 2 * D.alpha * y)  # every weak feature moves by 2η: T by 2η√d = 2α
    at_1 = (-x_0, T)  # x_0 alone moves, by 2
    classifiers = {
        "sign(T) where |T| > 0.7, else x_0": lambda x_0, T: np.where(np.abs(T) > 0.7, np.sign(T), x_0),
        "sign(T) where |T| > 1.5, else x_0": lambda x_0, T: np.where(np.abs(T) > 1.5, np.sign(T), x_0),
        "sign(T) where |T| > 2.5, else x_0": lambda x_0, T: np.where(np.abs(T) > 2.5, np.sign(T), x_0),
        "sign(T) where |T| > 3.5, else x_0": lambda x_0, T: np.where(np.abs(T) > 3.5, np.sign(T), x_0),
        "x_0 where T agrees, else +": lambda x_0, T: np.where(x_0 * T > 0, x_0, 1.0),
        "parity of floor(T)": lambda x_0, T: np.where(np.floor(T) % 2 == 0, 1.0, -1.0),
        "the Bayes classifier": lambda x_0, T: np.sign(T + x_0 * log(D.p0 / (1 - D.p0)) / (2 * D.alpha)),
    }
    z = float(ndtri(1 - 0.001 / 2))
    found = []
    for name, f in classifiers.items():
        risks = [float((f(*point) != y).mean()) for point in (at_inf, at_1)]
        centres = [(r + z * z / (2 * samples)) / (1 + z * z / samples) for r in risks]
        halves = [z * sqrt(r * (1 - r) / samples + (z / (2 * samples)) ** 2) / (1 + z * z / samples) for r in risks]
        intervals = [[c - h, c + h] for c, h in zip(centres, halves, strict=True)]
        found.append({"classifier": name, "risks": risks, "intervals": intervals})
    return found


def draw(numbers: dict) -> Figure:
    """The plane (R_linf, R_l1)."""
    figure, ax = plt.subplots(figsize=(COLUMN, COLUMN))
    ax.fill([0, 1, 0], [0, 0, 1], color=COLOURS["forbidden"], alpha=0.35, lw=0)
    ax.plot([0, 1], [1, 0], color="black", lw=0.8)
    ax.text(0.24, 0.24, "impossible\n" + r"$R_{avg} < \frac{1}{2}$", ha="center", va="center")
    linear = np.array(numbers["linear"])
    ax.plot(*linear.T, ".", color="0.55", ms=2, mew=0, label="linear classifiers, exact")
    for k, point in enumerate(numbers["simulated"]):
        (x, y), ((x_low, x_high), (y_low, y_high)) = point["risks"], point["intervals"]
        ax.errorbar(x, y, xerr=[[x - x_low], [x_high - x]], yerr=[[y - y_low], [y_high - y]], fmt="D", ms=3, lw=0.8,
                    mfc="white", color="black", label=None if k else "nonlinear, at the proof's noise")  # fmt: skip
    marks = {"sign(x_0)": ("s", COLOURS["linf"], r"sign$(x_0)$"),
             "sign(sum x_i)": ("o", COLOURS["l1"], r"sign$(\Sigma x_i)$"),
             "constant": ("*", "black", "constant")}  # fmt: skip
    for name, (marker, colour, label) in marks.items():
        ax.plot(*numbers["textbook"][name], marker, color=colour, ms=7 if marker == "*" else 5, label=label, ls="",
                clip_on=False, zorder=3)  # fmt: skip
    radii = numbers["radii"]
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    ax.set_xlabel(rf"risk under $\ell_\infty$ noise, $\epsilon = 2\eta = {radii['linf']:.2g}$")
    ax.set_ylabel(rf"risk under $\ell_1$ noise, $\epsilon = {radii['l1']:.2g}$")
    figure.legend(loc="outside upper center", ncols=2, columnspacing=0.8, handletextpad=0.3, fontsize=6.5)
    return figure
