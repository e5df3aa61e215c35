r"""Mixing two types of noise: what an affine adversary gains over one that chooses a type for each input, exactly.

Left and middle, Claim 4 on D_G: the linear classifier sign(w_0 x_0 + Σ x_i) under ℓ∞ noise of radius ε and swaps of x_0
with one of N weak features, R_max for one type per input and R_affine for mixtures. Right, on D_B with ℓ∞ and ℓ1
radii scaled together, 1 being Appendix I's: the least risks of any classifier against the union (V_max) and against
mixtures (V_affine), with the paper's classifier and the best linear one, on which mixtures gain nothing (Claim 3). At
1 mixtures leave every classifier at ½, and so does the union every linear one, while a nonlinear one is robust to the
union. The paper's classifier was built for the scale 1.
"""

from math import sqrt

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from tradeoff.figures.style import COLOURS, PAGE
from tradeoff.perturbations import L1, Linf, Union
from tradeoff.theory import GaussianFeature, game_value
from tradeoff.theory.theorems.appendix_i import PAPER, best_rule, level_rule
from tradeoff.theory.theorems.claim4_affine_gap import risks

CLAIM_4 = (
    {"alpha": 3.0, "d": 784, "N": 49, "w_0": 10.0, "largest": 1.5, "marked": 0.5},
    {"alpha": 6.0, "d": 10_000, "N": 49, "w_0": 200.0, "largest": 2.0, "marked": 1.0},
)
QUICK = {"claim4": CLAIM_4, "points": 25, "scales": 121, "largest": 1.2}
PARAMETERS = {"quick": QUICK, "full": QUICK | {"points": 81, "scales": 481}}


def compute(results=None, *, claim4, points: int, scales: int, largest: float) -> dict:
    """R_max and R_affine against eps/eta of each of `claim4`, and Appendix I's risks against a scale of its radii."""
    panels = []
    for how in claim4:
        dist = GaussianFeature(how["alpha"], how["d"])
        kappas = np.linspace(0.01, how["largest"], points)
        found = np.array([risks(dist, how["w_0"], k * dist.eta, how["N"]) for k in kappas])
        marked = risks(dist, how["w_0"], how["marked"] * dist.eta, how["N"])
        panels.append(how | {"kappa": kappas.tolist(), "R_max": found[:, 0].tolist(), "R_affine": found[:, 1].tolist(),
                             "at": list(marked)})  # fmt: skip
    dist, eps_inf, eps_1 = PAPER
    # Risks jump where the adversary begins to reach x_0 = 0 (from one side) and the other x_0.
    jumps = np.outer([1 / eps_1, 2 / (eps_1 + eps_inf)], [1 - 1e-9, 1 + 1e-9]).ravel()
    scale = np.unique(np.concatenate([np.linspace(0, largest, scales), jumps, [1.0]]))
    appendix = {"scale": scale.tolist(), "V_max": [], "V_affine": [], "paper": [], "linear": []}
    paper, c = level_rule(1.5, 0.0, dist.d), np.r_[0.0, np.geomspace(1e-2, 1e2, 601)]
    w = np.concatenate([c[:, None], np.full((len(c), dist.d), 1 / sqrt(dist.d))], axis=1)
    for s in scale:
        sets = Linf(s * eps_inf), L1(s * eps_1)
        appendix["V_max"].append(game_value(dist, sets, "union").value)
        appendix["V_affine"].append(game_value(dist, sets, "affine").value)
        appendix["paper"].append(paper.robust_risk(dist, sets))
        appendix["linear"].append(min(0.5, float(dist.linear_risk(w, Union(sets)).min())))  # ½: the constant
    at = {"V_max": game_value(dist, (Linf(eps_inf), L1(eps_1)), "union").value,
          "best rule": best_rule(dist, (Linf(eps_inf), L1(eps_1)))[2]}  # fmt: skip
    setting = {"alpha": dist.alpha, "d": dist.d, "p0": dist.p0, "linf": eps_inf, "l1": eps_1}
    return {"claim4": panels, "appendix": appendix | {"at 1": at, "setting": setting}}


def draw(numbers: dict) -> Figure:
    """Claim 4 in two settings, and Appendix I."""
    figure, axes = plt.subplots(1, 3, figsize=(PAGE, 2.5))
    for ax, panel in zip(axes, numbers["claim4"], strict=False):
        kappa, (one, mixed) = panel["kappa"], panel["at"]
        ax.fill_between(kappa, panel["R_max"], panel["R_affine"], color=COLOURS["affine"], alpha=0.25, lw=0)
        ax.plot(kappa, panel["R_affine"], "-", color=COLOURS["affine"], label=r"$R_{affine}$: mixtures")
        ax.plot(kappa, panel["R_max"], "--", color=COLOURS["union"], label=r"$R_{max}$: one type")
        ax.plot(panel["marked"], mixed, "P", color=COLOURS["affine"], mec="black", mew=0.5, ms=5, zorder=3)
        ax.plot(panel["marked"], one, "*", color=COLOURS["union"], mec="black", mew=0.5, ms=7, zorder=3, clip_on=False)
        ax.text(0.99, 0.03, rf"at {panel['marked']:g}: {one:.3f} → {mixed:.3f}", transform=ax.transAxes, ha="right",
                fontsize=6.5)  # fmt: skip
        ax.set_title(rf"$\alpha={panel['alpha']:g}$, $d={panel['d']}$, $w_0={panel['w_0']:g}$, $N={panel['N']}$",
                     fontsize=7)  # fmt: skip
        ax.set_xlabel(r"$\ell_\infty$ radius $\epsilon\,/\,\eta$")
        ax.set(xlim=(0, panel["largest"]), ylim=(0, 1.02))
    axes[0].set_ylabel("robust risk")
    axes[0].legend(loc="upper left", handlelength=1.6)
    appendix, ax = numbers["appendix"], axes[2]
    scale, setting = appendix["scale"], appendix["setting"]
    ax.plot(scale, appendix["linear"], "-", color="0.75", lw=3.5, label="best linear")
    ax.plot(scale, appendix["V_affine"], "-", color=COLOURS["affine"], label=r"$V_{affine}$")
    ax.plot(scale, appendix["paper"], ":", color="black", label="the paper's rule")
    ax.plot(scale, appendix["V_max"], "--", color=COLOURS["union"], label=r"$V_{max}$")
    ax.plot(1, appendix["at 1"]["V_max"], "*", color=COLOURS["union"], mec="black", mew=0.5, ms=7, zorder=3)
    ax.annotate(f"{appendix['at 1']['V_max']:.3f}", (1, appendix["at 1"]["V_max"]), xytext=(5, -4),
                textcoords="offset points", va="top", fontsize=6.5)  # fmt: skip
    ax.axvline(1, color="black", lw=0.6, ls=":")
    ax.set_title(rf"Appendix I: $\alpha={setting['alpha']:g}$, $d={setting['d']}$, $p_0={setting['p0']:.3f}$",
                 fontsize=7)  # fmt: skip
    ax.set_xlabel(rf"$\epsilon_\infty\,/\,(3/\sqrt{{d}}) = \epsilon_1\,/\,{setting['l1']:g}$")
    ax.set_ylabel("robust risk")
    ax.set(xlim=(scale[0], scale[-1]), ylim=(0, 0.6))
    ax.legend(loc="upper left", handlelength=1.6)
    return figure
