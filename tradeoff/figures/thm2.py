r"""Theorem 2: how close ℓ∞ noise and small rotation-translations come to excluding each other, exactly.

On D_G, with ℓ∞ noise of radius 2η and an adversary that may move x_0 to one of N positions, no classifier has an
average risk below ½(1 - TV), a one-dimensional integral (solid line). Left, at one α: the simpler bound ½ - σ/(4√(N+1))
that holds for every N, the asymptote ½ - c/(2√N), and the least average risk of a family of classifiers against an
adversary that chooses the position blindly, without looking at the input, in the limit of large N and d: Theorem 2
needs an adversary that looks. Right: how far the bound is from ½, for several α, with the asymptotes (dotted). Nothing
here says that some classifier reaches the bound at this d.
"""

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from tradeoff.figures.style import COLOURS, PAGE
from tradeoff.theory import GaussianFeature
from tradeoff.theory.swap import asymptotic_constant, blind_risks, explicit_bound, risk_bound

QUICK = {"alpha": 2.0, "alphas": (1.0, 2.0, 3.0), "d": 784, "least": 4, "points": 25, "shifts": (3, 7)}
PARAMETERS = {"quick": QUICK, "full": QUICK | {"points": 100}}


def compute(results=None, *, alpha: float, alphas, d: int, least: int, points: int, shifts) -> dict:
    """The bounds on R_avg for N from `least` to d; N = (2s+1)² positions for translations by up to s pixels."""
    N = np.unique(np.geomspace(least, d, points).round().astype(int))
    curves = {}
    for a in sorted({alpha, *alphas}):
        dist = GaussianFeature(a, d)
        c = asymptotic_constant(dist)
        curves[f"{a:g}"] = {
            "exact": [risk_bound(dist, int(n)) for n in N],
            "explicit": [explicit_bound(dist, int(n)) for n in N],
            "asymptote": (0.5 - c / (2 * np.sqrt(N))).tolist(),
            "constant": c,
        }
    for curve in curves.values():
        for name in ("exact", "asymptote"):
            curve[f"gap {name}"] = [0.5 - bound for bound in curve[name]]
    blind = np.mean(blind_risks(alpha, np.linspace(0, 1, 1001)), axis=0)
    marks = [{"pixels": s, "N": (2 * s + 1) ** 2, "bound": risk_bound(GaussianFeature(alpha, d), (2 * s + 1) ** 2)}
             for s in shifts]  # fmt: skip
    return {
        "N": N.tolist(),
        "curves": curves,
        "alpha": f"{alpha:g}",
        "d": d,
        "blind": float(blind.min()),
        "translations": marks,
    }


def draw(numbers: dict) -> Figure:
    """Left the bounds at one alpha against N, right their distance from ½ on logarithmic axes."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.7))
    N, curve = numbers["N"], numbers["curves"][numbers["alpha"]]
    left.axhline(0.5, color="black", lw=0.6, ls=":")
    left.plot(N, curve["exact"], "-", color=COLOURS["linf"], label=r"$\frac{1}{2}(1 - TV)$, exact")
    left.plot(N, curve["asymptote"], ":", color="black", label=r"$\frac{1}{2} - c\,/\,2\sqrt{N}$, asymptote")
    left.plot(
        N, curve["explicit"], "--", color=COLOURS["l1"], label=r"$\frac{1}{2} - \sigma\,/\,4\sqrt{N+1}$, every $N$"
    )
    left.axhline(numbers["blind"], color=COLOURS["union"], lw=1.2, ls=(0, (6, 1.5, 1, 1.5)))
    left.annotate(f"blind adversary: a classifier has $R_{{avg}}$ = {numbers['blind']:.3f}", (N[-1], numbers["blind"]),
                  xytext=(0, -3), textcoords="offset points", ha="right", va="top", fontsize=6.5)  # fmt: skip
    for mark in numbers["translations"]:
        left.plot(mark["N"], mark["bound"], "o", color=COLOURS["linf"], ms=4, zorder=3)
        left.annotate(f"±{mark['pixels']} px: {mark['bound']:.3f}", (mark["N"], mark["bound"]), xytext=(4, -16),
                      textcoords="offset points", fontsize=6.5)  # fmt: skip
    left.set(xscale="log", xlim=(N[0], N[-1]), ylim=(0, 0.55))
    left.set_xlabel(r"positions $N$ that $x_0$ may be moved to")
    left.set_ylabel(r"lower bound on $R_{avg}$")
    left.set_title(rf"$\alpha = {numbers['alpha']}$, $d = {numbers['d']}$")
    left.legend(loc="lower right", bbox_to_anchor=(1.0, 0.02))
    styles = [("^", COLOURS["l2"]), ("o", COLOURS["linf"]), ("s", COLOURS["rt"]), ("D", COLOURS["l1"])]
    for (alpha, curve), (marker, colour) in zip(numbers["curves"].items(), styles, strict=False):
        right.plot(N, curve["gap asymptote"], ":", color="black", lw=0.9)
        label = rf"$\alpha = {alpha}$, $c = {curve['constant']:.2f}$"
        right.plot(N, curve["gap exact"], "-", marker=marker, ms=3, lw=0.9, markevery=len(N) // 10 or 1, color=colour,
                   label=label)  # fmt: skip
    right.set(xscale="log", yscale="log", xlim=(N[0], N[-1]))
    right.set_yticks([0.01, 0.02, 0.05, 0.1, 0.2], ["0.01", "0.02", "0.05", "0.1", "0.2"])
    right.minorticks_off()
    right.set_xlabel(r"positions $N$ that $x_0$ may be moved to")
    right.set_ylabel(r"distance of the bound from $\frac{1}{2}$")
    right.legend(loc="lower left")
    for ax in (left, right):
        ticks = [n for n in (5, 10, 20, 50, 100, 200, 500) if N[0] <= n <= N[-1]]
        ax.set_xticks(ticks, [str(n) for n in ticks])
        ax.minorticks_off()
    return figure
