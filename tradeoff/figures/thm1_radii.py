r"""The two textbook classifiers on D_B against the size of the noise, exactly.

sign(x_0) holds under small noise and fails wherever a radius reaches x_0 itself (ε = 1); the sum of the weak features
holds under ℓ1 noise and fails under ℓ∞ noise of a few η. Both radii grow together, as multiples of Theorem 1's (2η and
2); from 1 on, no classifier has an average risk below 1/2, these two included.
"""

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from tradeoff.figures.style import COLOURS, PAGE
from tradeoff.perturbations import L1, Linf
from tradeoff.theory import BernoulliFeature

QUICK = {"alpha": 2.0, "d": 100, "p0": 0.9, "points": 601}
PARAMETERS = {"quick": QUICK, "full": QUICK}


def compute(results=None, *, alpha: float, d: int, p0: float, points: int) -> dict:
    """Exact risks of sign(x_0) and sign(Σ x_i) under scale · (2η, 2), for scale in [0, 1.5]."""
    D = BernoulliFeature(alpha, d, p0)
    scales = np.linspace(0, 1.5, points)
    first, rest = np.zeros(d + 1), np.ones(d + 1)
    first[0], rest[0] = 1.0, 0.0
    risks = {
        name: {
            "linf": [float(D.linear_risk(w, Linf(2 * D.eta * s))) for s in scales],
            "l1": [float(D.linear_risk(w, L1(2.0 * s))) for s in scales],
        }
        for name, w in (("sign(x_0)", first), ("sign(sum x_i)", rest))
    }
    for both in risks.values():
        both["average"] = [(a + b) / 2 for a, b in zip(both["linf"], both["l1"], strict=True)]
    return {"scale": scales.tolist(), "risks": risks, "setting": {"alpha": alpha, "d": d, "p0": p0}}


def draw(numbers: dict) -> Figure:
    """One panel per classifier: risk against the common scale of the radii."""
    figure, axes = plt.subplots(1, 2, figsize=(PAGE, 2.3), sharey=True)
    styles = {"linf": ("-", r"under $\ell_\infty$"), "l1": ("--", r"under $\ell_1$"), "average": ("-.", r"$R_{avg}$")}
    titles = {
        "sign(x_0)": r"sign$(x_0)$: the strong feature",
        "sign(sum x_i)": r"sign$(\Sigma x_i)$: the weak features",
    }
    for ax, (name, risks) in zip(axes, numbers["risks"].items(), strict=True):
        for key, (dashes, label) in styles.items():
            # Steps, because the strong feature's risk jumps; the points are dense enough for the smooth curves.
            ax.plot(
                numbers["scale"], risks[key], dashes, color=COLOURS[key], label=label, ds="steps-post", clip_on=False
            )
        ax.axhline(0.5, color="black", lw=0.6, ls=":")
        ax.axvline(1, color="black", lw=0.6, ls=":")
        ax.set_title(titles[name])
        ax.set_xlabel(r"size of the noise, in units of $\epsilon_\infty = 2\eta$, $\epsilon_1 = 2$")
        ax.set(xlim=(0, 1.5), ylim=(0, 1))
        ax.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "¼", "½", "¾", "1"])
    axes[0].set_ylabel("robust risk")
    axes[1].text(1.02, 0.06, "Theorem 1:\n" + r"every $R_{avg} \geq \frac{1}{2}$", va="bottom", fontsize=7)
    axes[0].legend(loc="center left", bbox_to_anchor=(0.0, 0.7))
    return figure
