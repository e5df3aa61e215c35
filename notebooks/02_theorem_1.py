# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Theorem 1, slowly
#
# **How large must two sets of perturbations be, before no classifier withstands both?**
#
# The first notebook met a task on which robustness to $\ell_\infty$ noise and robustness to $\ell_1$ noise exclude
# each other. This one takes the proof apart. It checks every step beside the text, asks what the radii have to do with
# it, and ends with a picture in the plane from which Theorem 1, its form for dual norms and one more result of the
# paper can be read off. The paper is F. Tramèr and D. Boneh, *Adversarial Training and Robustness for Multiple
# Perturbations* (NeurIPS 2019, [arXiv:1904.13000](https://arxiv.org/abs/1904.13000)); sections 4, 6 and 7 go beyond it.
#
# The task: labels $y$ uniform on $\{-1, +1\}$, one strong feature and $d$ weak ones,
# $$
# x_0 = \begin{cases} +y & \text{with probability } p_0 \ge 1/2 \\ -y & \text{otherwise} \end{cases}
# \qquad
# x_1, \dots, x_d \overset{\text{i.i.d.}}{\sim} \mathcal{N}(y\eta, 1), \qquad \eta = \frac{\alpha}{\sqrt d} .
# $$
# This is $\mathcal{D}_B$. All that the weak features know about $y$ is in $T = \sum_{i \ge 1} x_i / \sqrt d \sim
# \mathcal{N}(y\alpha, 1)$, so a classifier may as well look at the point $(x_0, T)$ of the plane.

# %%
# %matplotlib inline
from fractions import Fraction

import numpy as np
from IPython.display import display
from matplotlib import pyplot as plt
from matplotlib.colors import ListedColormap
from scipy.special import ndtr

from tradeoff.figures.style import COLOURS, LABELS, PAGE, paper_style
from tradeoff.perturbations import L1, Linf
from tradeoff.theory import THEOREMS, BernoulliFeature, game_value
from tradeoff.theory.game import exclusive, game_values
from tradeoff.theory.plane import half_width

# %% [markdown]
# ## 1. Two classifiers, two weaknesses
#
# Write $\sigma_S(w) = \max_{r \in S} \langle w, r \rangle$ for the worst shift of a linear score. The classifier
# $\mathrm{sign}(\langle w, x \rangle)$ is wrong under attack if and only if $y \langle w, x \rangle \le \sigma_S(w)$.
# For the two textbook classifiers that is quickly worked out.
#
# - $f(x) = \mathrm{sign}(x_0)$ has $w = (1, 0, \dots, 0)$, and $\sigma = \epsilon$ for every $\ell_p$ ball. The score
#   is $\pm 1$. Noise of radius $\epsilon < 1$ changes nothing, and the risk is $1 - p_0$. From $\epsilon = 1$ on, every
#   input is lost.
# - $h(x) = \mathrm{sign}(T)$ has $w = (0, 1, \dots, 1) / \sqrt d$. An $\ell_\infty$ adversary moves every weak feature,
#   $\sigma = \epsilon \sqrt d$. An $\ell_1$ adversary moves one, $\sigma = \epsilon / \sqrt d$. As $yT \sim
#   \mathcal{N}(\alpha, 1)$, the risks are $\Phi(-\alpha + \epsilon \sqrt d)$ and $\Phi(-\alpha + \epsilon / \sqrt d)$.
#
# At $\epsilon_\infty = 2\eta$, where $\epsilon_\infty \sqrt d = 2\alpha$, the $\ell_\infty$ risk of $h$ is
# $\Phi(\alpha)$: worse than guessing. At $\epsilon_1 = 2$ the $\ell_1$ risk of $f$ is one. Each survives what kills the
# other. The cell prints the formulas, and beside them `linear_risk`, which knows only $w$ and the set.

# %%
D = BernoulliFeature(alpha=2, d=100, p0=0.9)
S_inf, S_1 = Linf(2 * D.eta), L1(2)
f, h = np.eye(D.d + 1)[0], 1 - np.eye(D.d + 1)[0]
formulas = {
    "f under linf": (f, S_inf, 1 - D.p0),
    "f under l1": (f, S_1, 1.0),
    "h under linf": (h, S_inf, ndtr(-D.alpha + S_inf.eps * np.sqrt(D.d))),
    "h under l1": (h, S_1, ndtr(-D.alpha + S_1.eps / np.sqrt(D.d))),
}
print(f"{D}, {S_inf!r}, {S_1!r}")
for name, (w, S, formula) in formulas.items():
    print(f"risk of {name:13} {formula:.6f} by the formula, {D.linear_risk(w, S):.6f} by the support")

# %% [markdown]
# ## 2. The proof, step by step
#
# **Theorem 1** (Tramèr & Boneh 2019). On $\mathcal{D}_B$, let $S_\infty$ be the $\ell_\infty$ ball of radius $2\eta$
# and $S_1$ the $\ell_1$ ball of radius $2$. Then every classifier $f$ has
# $$
# R_{avg}(f) = \tfrac12 \big( R_{adv}(f; S_\infty) + R_{adv}(f; S_1) \big) \ge \tfrac12 ,
# $$
# and a constant $f$ has $1/2$.
#
# **Step 1: each adversary flips what it can afford.** Against label $y$,
# $$
# r_1 = (-2x_0,\, 0, \dots, 0) \in S_1, \qquad r_\infty = (0,\, -2\eta y, \dots, -2\eta y) \in S_\infty .
# $$
#
# **Step 2: the flips meet in one law.** After $r_1$, given $y = +1$, the strong feature is distributed as under
# $y = -1$, the weak ones as under $y = +1$. After $r_\infty$, given $y = -1$, the weak features are distributed as
# under $y = +1$ and the strong one as it always was under $y = -1$. These two sentences describe the same law. (And
# so with the labels exchanged.)
#
# The figure shows it on samples. Above the axis is the density of $T$ for label $+1$, below it for label $-1$, one
# curve for each value of $x_0$. On the left nothing is attacked, and the two halves differ as day and night. On
# the right they are mirror images.

# %%
x, y = D.sample(40_000, np.random.default_rng(0))
r_1, r_inf = np.zeros_like(x), np.zeros_like(x)
r_1[:, 0] = -2 * x[:, 0]
r_inf[:, 1:] = -2 * D.eta * y[:, None]
print(f"step 1: all r_1 in S_1: {S_1.contains(r_1).all()}; all r_inf in S_inf: {S_inf.contains(r_inf).all()}")
clean, by_1, by_inf = (np.stack([z[:, 0], z[:, 1:].sum(axis=1) / np.sqrt(D.d)]) for z in (x, x + r_1, x + r_inf))
print("step 2: P[x_0 = +1], mean and standard deviation of T")
for name, (x_0, T), label in (("x + r_1   given y = +1", by_1, 1), ("x + r_inf given y = -1", by_inf, -1)):
    given = y == label
    print(f"        {name}: {np.mean(x_0[given] > 0):.3f} {T[given].mean():8.3f} {T[given].std():8.3f}")
with paper_style():
    figure, axes = plt.subplots(1, 2, figsize=(PAGE, 2.6), sharey=True)
    bins = np.linspace(-6, 6, 61)
    for ax, plus, minus in zip(axes, (clean, by_1), (clean, by_inf), strict=True):
        for (x_0, T), label, side in ((plus, 1, 1), (minus, -1, -1)):
            for value, shade, style in ((1, "#0072B2", "-"), (-1, "#D55E00", "--")):
                counts, _ = np.histogram(T[(y == label) & (np.sign(x_0) == value)], bins)
                density = side * counts / np.sum(y == label) / (bins[1] - bins[0])
                ax.fill_between(bins[:-1], density, color=shade, alpha=0.3, lw=0, step="post")
                ax.step(bins[:-1], density, color=shade, ls=style, where="post",
                        label=rf"$x_0 = {value:+d}$" if ax is axes[0] and label == 1 else None)  # fmt: skip
        ax.axhline(0, color="black", lw=0.6)
        ax.set(xlabel="$T$", yticks=(), xlim=(-6, 6))
    axes[0].set(title="no noise", ylabel="label $-1$       label $+1$")
    axes[1].set_title(r"$x + r_1$ for label $+1$ (above), $x + r_\infty$ for label $-1$ (below)")
    figure.legend(loc="outside lower center", ncols=2)
    display(figure)

# %% [markdown]
# **Step 3: on a common law nobody can be right twice.** Both attacked inputs come from one law, but one calls for the
# answer $+1$ and the other for $-1$. Whatever $f$ answers at a point, it is wrong for one of the two:
# $$
# \Pr[\, f(x + r_1) \ne y \mid y = +1 \,] + \Pr[\, f(x + r_\infty) \ne y \mid y = -1 \,] = 1 .
# $$
#
# **Step 4: average.** The same holds with the labels exchanged. Add both equations, divide by four: under these two
# perturbations the average risk of $f$ is exactly $1/2$. The worst perturbations can only be worse. $\;\blacksquare$
#
# So step 3 is an equation and not a bound, for *any* function of the input. The cell tries some, a few of them silly.
# Errors are shares of samples, and their sums would be one but for that; how far off an error can be is printed, too.

# %%
rules = {
    "the constant +1": [np.ones_like(T) for x_0, T in (by_1, by_inf)],
    "sign of x_0": [np.sign(x_0) for x_0, T in (by_1, by_inf)],
    "sign of T": [np.sign(T) for x_0, T in (by_1, by_inf)],
    "x_0 if |T| < 1, else sign of T": [np.where(np.abs(T) < 1, x_0, np.sign(T)) for x_0, T in (by_1, by_inf)],
    "parity of floor(3T)": [1 - 2 * (np.floor(3 * T) % 2) for x_0, T in (by_1, by_inf)],
    "sign of sin(T^3 + x_0)": [np.sign(np.sin(T**3 + x_0)) for x_0, T in (by_1, by_inf)],
}
print(f"{'classifier':32}error of x + r_1, y = +1    of x + r_inf, y = -1    sum")
for name, (after_1, after_inf) in rules.items():
    errors = np.mean(after_1[y > 0] != 1), np.mean(after_inf[y < 0] != -1)
    print(f"{name:32}{errors[0]:24.4f}{errors[1]:24.4f}{sum(errors):7.3f}")
width = np.sqrt(np.log(2 * 2 * len(rules) / 1e-3) / (2 * min(np.sum(y > 0), np.sum(y < 0))))  # Hoeffding
print(f"all errors within {width:.3f} of their probabilities, but for a chance of 0.001 at most")

# %% [markdown]
# ## 3. The proof, checked
#
# Samples persuade; they do not prove. `THEOREMS` holds each theorem with up to four checks that do not lean on each
# other: *symbolic* (computer algebra, for all $p_0$, $\alpha$, $d$), *numeric*, *simulated* and *certified* (ball
# arithmetic, where an interval encloses every rounding error). Each returns its numbers as data. An interval of the
# simulated check is a confidence interval, and all of them hold together with probability $1 - 10^{-9}$; an interval of
# the certified check holds, full stop.
#
# Then the same with both radii halved. A flip that costs $2$ is now out of reach, and every check has to notice.

# %%
for radius in (2.0, 1.0):
    print(f"l1 radius {radius:g}, linf radius {radius:g} eta")
    for route, evidence in THEOREMS["thm1-linf-l1"].run(radius=radius):
        print(f"  {route} {'HOLDS' if evidence.holds else 'FAILS'}")
        for name, value in evidence.values.items():
            shown = f"[{value[0]:.6f}, {value[1]:.6f}]" if isinstance(value, tuple) else f"{value:.6g}"
            print(f"      {name:62} {shown}")

# %% [markdown]
# ## 4. What the radii have to do with it
#
# Shrink both radii together, to $\rho \cdot 2\eta$ and $\rho \cdot 2$. The theorem says what happens at $\rho = 1$.
# What is the least $R_{avg}$ of any classifier below it? For $\mathcal{D}_B$ that is a finite problem (the theorem
# `exact-game`; its solution is `game_value`), so we can draw the answer: not a bound, not a trained model, but the
# value itself.
#
# The value starts at the Bayes risk, and it *jumps*, because $x_0$ takes two values only.
#
# - From $\rho = 1/2$ on, $\ell_1$ noise takes $x_0$ to $0$ from either side.
# - From $\rho\,(2 + 2\eta) = 2$ on, $\ell_1$ and $\ell_\infty$ noise together bridge the gap of $2$ between $x_0 = -1$
#   and $x_0 = +1$. Before that there is an excellent classifier: where $x_0$ is within reach of the $\ell_\infty$ noise
#   around $\pm 1$, trust it; elsewhere $\ell_1$ noise has been at work, so trust $T$. It errs where $x_0$ lies, and
#   little more.
#
# The dotted lines are where section 6 will prove that the average is $1/2$, a little *before* $\rho = 1$: while
# $r_\infty$ flips the weak features it leaves $x_0$ alone, although the ball could move it too. In high dimension
# $\eta$ vanishes, and all of it happens at $\rho = 1$. The theorem's radii are right, and its threshold is a cliff.

# %%
scales = np.linspace(0, 1.1, 221)
with paper_style():
    figure, ax = plt.subplots(figsize=(PAGE * 0.6, 2.8))
    for d, shade in ((25, "0.65"), (100, "0.4"), (10_000, "black")):
        dist = BernoulliFeature(D.alpha, d, D.p0)
        pairs = [(Linf(rho * 2 * dist.eta), L1(rho * 2)) for rho in scales]
        values = np.array([game.value for game in game_values(dist, pairs)])
        ax.plot(scales, values, color=shade, label=f"$d = {d:,}$")
        first = next(rho for rho in np.linspace(0, 1.1, 1101)
                     if exclusive(dist, (Linf(rho * 2 * dist.eta), L1(rho * 2))))  # fmt: skip
        ax.axvline(first, color=shade, ls=":", lw=0.9)
        before = 2 / (2 + 2 * dist.eta) - 1e-6
        least = game_value(dist, (Linf(before * 2 * dist.eta), L1(before * 2))).value
        print(f"d = {d:6,}: Bayes risk {dist.bayes_risk():.4f}, least R_avg {least:.4f} just below rho = {before:.4f}, "
              f"excluded from rho = {first:.3f} on")  # fmt: skip
    ax.axhline(0.5, color="black", lw=0.6)
    ax.set(xlabel=r"$\rho$: radii $2\eta\rho$ and $2\rho$", ylabel=r"least $R_{avg}$ of any classifier", ylim=(0, 0.55))
    ax.legend()
    display(figure)

# %% [markdown]
# ## 5. Every norm and its dual
#
# The proof never asks what a norm is. It asks what the two flips cost. In $\ell_p$,
# $$
# \lVert (2, 0, \dots, 0) \rVert_p = 2, \qquad
# \lVert (0, 2\eta, \dots, 2\eta) \rVert_p = 2\eta\, d^{1/p} = 2\alpha\, d^{1/p - 1/2} .
# $$
# So $\ell_p$ noise of radius $2$ and $\ell_q$ noise of radius $2\alpha\, d^{1/q - 1/2}$ are mutually exclusive, for any
# $p$ and $q$. Now take dual exponents, $1/p + 1/q = 1$ with $p < 2$. Then $1/q - 1/2 = -(1/p - 1/2) < 0$, and the
# second radius *vanishes* as $d$ grows, while in $\ell_p$ the same flip costs $2\alpha\, d^{1/p - 1/2} \to \infty$. The
# feature that is robust in one norm is the fragile one in the other.
#
# The figure shows the price of the weak flip against $1/p$. Dual exponents are mirror images about $1/p = 1/2$, and the
# logarithms of their prices mirror each other about the dashed line. Only $\ell_2$, its own dual, does not care about
# the dimension. The markers come from the theorem's numeric check, which finds the prices from the supports of the
# balls.

# %%
found = dict(THEOREMS["thm1-dual-norms"].run())
prices = found["numeric"].values
with paper_style():
    figure, ax = plt.subplots(figsize=(PAGE * 0.6, 2.8))
    inverse = np.linspace(0, 1, 101)
    for d, shade in ((100, "0.7"), (10_000, "0.45"), (1_000_000, "black")):
        ax.plot(inverse, 2 * d ** (inverse - 0.5), color=shade, label=f"$d = {d:,}$")
    for p in ("1", "6/5", "3/2", "7/4"):
        at = 1 / float(Fraction(p))
        ax.plot(
            [at, 1 - at], [prices[f"cost in l_p (p={p})"], prices[f"cost in l_q (p={p})"]], "o", ms=4, color="black"
        )
    ax.axhline(2, color="black", ls="--", lw=0.6)
    ax.set(yscale="log", xlabel="$1/p$", ylabel=r"$\ell_p$ price of flipping the weak features, $\alpha = 1$")
    ax.set_xticks([0, 0.5, 1], [r"$\ell_\infty$", r"$\ell_2$", r"$\ell_1$"])
    ax.legend()
    display(figure)
for route, evidence in found.items():
    print(f"thm1-dual-norms {route} {'HOLDS' if evidence.holds else 'FAILS'}")

# %% [markdown]
# ## 6. A criterion that can be seen
#
# In the plane $(x_0, T)$ the classes sit around $+\mu$ and $-\mu$, where $\mu = (1, \alpha)$. A weak perturbation of a
# ball $S$ moves $(x_0, T)$ within a convex symmetric set $K$: by Hölder's inequality, for the $\ell_p$ ball of radius
# $\epsilon$,
# $$
# K = \{ (a, b) : |a|^p + d^{\,1 - p/2} |b|^p \le \epsilon^p \},
# $$
# a flat box for $\ell_\infty$ (width $2\epsilon$, height $2\epsilon\sqrt d$) and a wide thin diamond for $\ell_1$.
#
# **The criterion.** Let $K_1 \oplus K_2 = \{k_1 + k_2\}$ be the Minkowski sum.
#
# 1. $2\mu \in K_1 \oplus K_2 \;\Rightarrow\; R_{avg}(f) \ge 1/2$ for every $f$.
# 2. $2\mu \in K \oplus K$ with $K = K_1 \cup K_2 \;\Rightarrow\; R_{max}(f) \ge 1/2$ for every $f$.
# 3. $\mu \in \mathrm{conv}(K) \;\Rightarrow\; R_{\mathit{affine}}(f) \ge 1/2$ for every $f$.
#
# *Proof.* Let $2\mu = k_1 + k_2$ with $k_i = (a_i, b_i) \in K_i$. Against label $+1$, adversary 1 subtracts $b_1$ from
# $T$ and moves $x_0$ by $a_1$ toward the other side. Against label $-1$, adversary 2 adds $b_2$ to $T$ and moves $x_0$
# by $a_2$ toward the other side. The first turns $(x_0, T) = (\pm 1, \alpha + \xi)$, $\xi$ standard normal, into
# $(\pm(1 - a_1),\, \alpha - b_1 + \xi)$; the second turns $(\mp 1, -\alpha + \xi)$ into
# $(\mp(1 - a_2),\, -\alpha + b_2 + \xi)$. Since $a_1 + a_2 = 2$ and $b_1 + b_2 = 2\alpha$, these are equal. The
# probabilities agree too: $x_0 = y$ goes to one point in both, and $x_0 = -y$ to the other. The two attacked laws
# coincide, and steps 3 and 4 above do the rest. For 2 let the two adversaries be members of $K$, for 3 take
# $k_1 = k_2 = \mu$ in the hull. $\;\blacksquare$
#
# Theorem 1 is $2\mu = (2, 0) + (0, 2\alpha)$, and so is its dual form. The figure draws the sets for three pairs of
# radii. Mind the scales: the plane forgets that $d$ is large, only the thinness of the diamond remembers.

# %%
mu, turn = np.array([1, D.alpha]), np.linspace(0, 2 * np.pi, 721)
directions = np.stack([np.cos(turn), np.sin(turn)], axis=1)
cases = {"mutually exclusive": (2 * D.eta, 2.0), "only mixtures exclude": (1.6 * D.eta, 3.0),
         "robustness is possible": (0.8 * D.eta, 1.1)}  # fmt: skip
with paper_style():
    figure, axes = plt.subplots(1, 3, figsize=(PAGE, 3.4), sharey=True)
    for ax, (name, (eps_inf, eps_1)) in zip(axes, cases.items(), strict=True):
        sets = Linf(eps_inf), L1(eps_1)
        tips = [np.linspace(-S.eps, S.eps, 201) for S in sets]
        tops = [np.array([half_width(S, D.d, a) for a in tip]) for S, tip in zip(sets, tips, strict=True)]
        outlines = [
            np.stack([np.r_[a, a[::-1], a[0]], np.r_[b, -b[::-1], b[0]]], 1) for a, b in zip(tips, tops, strict=True)
        ]
        furthest = [outline[np.argmax(directions @ outline.T, axis=1)] for outline in outlines]  # along each direction
        hull = np.where((directions * (furthest[0] - furthest[1])).sum(1)[:, None] > 0, *furthest)
        ax.fill(*(furthest[0] + furthest[1]).T, color="0.9", lw=0, label=r"$K_1 \oplus K_2$")
        ax.plot(*hull.T, color="0.5", lw=0.9, ls="--", label=r"$\mathrm{conv}(K_1 \cup K_2)$")
        for S, outline in zip(sets, outlines, strict=True):
            ax.plot(*outline.T, color=COLOURS[S.name], label=LABELS[S.name])
        ax.plot(*mu, "o", color="black", ms=3.5, label=r"$\mu$")
        ax.plot(*(2 * mu), "*", color="black", ms=6, label=r"$2\mu$")
        ax.set(title=name, xlabel="$x_0$", xlim=(-3.5, 3.5), ylim=(-4.6, 4.6))
        verdict = {adversary: exclusive(D, sets, adversary) for adversary in ("average", "union", "affine")}
        least = {adversary: f"{game_value(D, sets, adversary).value:.4f}" for adversary in verdict}
        print(f"{eps_inf / D.eta:.2f} eta, {eps_1:.2f}: criterion {verdict}, least risks {least}")
    axes[0].set_ylabel("$T$")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    display(figure)

# %% [markdown]
# ## 7. The map
#
# Now let the radii run over a whole quadrant, in $d = 10{,}000$ dimensions. White: the criterion is silent.
# Yellow: mixtures of the two kinds of noise defeat every classifier, though not the choice between the two.
# Orange: choosing is enough, and so is the average. To leading order the borders are
# $$
# \frac{\eta}{\epsilon_\infty} + \frac{1}{\epsilon_1} = 1 \quad \text{(mixtures)}, \qquad
# \epsilon_\infty = 2\eta, \;\; \epsilon_1 = 2 \quad \text{(choice, average)},
# $$
# and Theorem 1 (the star) sits in the corner of the orange region. Appendix I of the paper lives in the yellow one.
#
# The criterion is sufficient. Is it necessary? The cell compares it with the exact values of the game all over the map.
# For the average it misses nothing that this map resolves. For the other two it misses a thin strip: the share
# $1 - p_0$ of inputs whose strong feature lies is lost already, so less than half of the others need to be lost.

# %%
plain, steps = BernoulliFeature(2, 10_000, 0.9), np.linspace(0.05, 4, 80)
pairs = [(Linf(ratio * plain.eta), L1(eps_1)) for eps_1 in steps for ratio in steps]
excluded = {}
for adversary in ("affine", "union", "average"):
    excluded[adversary] = np.array([exclusive(plain, pair, adversary) for pair in pairs])
    lost = np.array([game.value >= 0.5 for game in game_values(plain, pairs, adversary)])
    print(f"{adversary:8} excluded by the criterion on {excluded[adversary].mean():.1%} of the map; least risk 1/2 "
          f"where it is silent: {np.mean(lost & ~excluded[adversary]):.1%}; below 1/2 where it speaks: "
          f"{np.mean(~lost & excluded[adversary]):.1%}")  # fmt: skip
with paper_style():
    figure, ax = plt.subplots(figsize=(PAGE * 0.5, 3.2))
    region = excluded["affine"].astype(int) + excluded["average"]
    shades = ListedColormap(["white", "#FBEFA0", "#F0A860"])
    ax.pcolormesh(steps, steps, region.reshape(80, 80), cmap=shades, rasterized=True)
    notes = {(1, 1): "robustness\npossible", (3.3, 1.68): "only mixtures\nexclude", (3, 3): "mutually\nexclusive"}
    for at, text in notes.items():
        ax.text(*at, text, ha="center", va="center", fontsize=6.5)
    ax.plot(2, 2, "*", color="black", ms=8)
    ax.set(xlabel=r"$\epsilon_\infty / \eta$", ylabel=r"$\epsilon_1$", aspect="equal", xlim=(0, 4), ylim=(0, 4))
    display(figure)

# %% [markdown]
# ## What was learned
#
# - The proof of Theorem 1 is one sentence: what $\ell_1$ noise can make of label $+1$, $\ell_\infty$ noise can make of
#   label $-1$. On a common law the two errors of any function add up to one.
# - Each step is checked on its own, by routes that do not lean on each other, and the checks fail when the radii are
#   halved.
# - The radii are sharp as $d \to \infty$, and the threshold is a cliff: just below it some classifier is nearly as good
#   as $x_0$ itself.
# - No norm plays a special role. Two sets exclude each other when their Minkowski sum contains $2\mu$, the way from one
#   class to the other.
#
# *Next*, in notebook 03, the adversary adds nothing to the features. It only moves them.
#
# ## Exercise
#
# One ball can be enough. How large must a single $\ell_2$ ball be, before it leaves every classifier with a risk of
# $1/2$? Answer with the criterion, then say whether a smaller ball would do. (Hint: what is $K$ for $\ell_2$, and what
# does $\mathrm{sign}(\langle \mu, \cdot \rangle)$ achieve?)
#
# <details>
# <summary><b>Solution</b></summary>
#
# For $p = 2$ the factor $d^{1 - p/2}$ is one: $K$ is the disc of radius $\epsilon$, and $K \oplus K$ the disc of radius
# $2\epsilon$. It contains $2\mu$ if and only if $\epsilon \ge \lVert \mu \rVert = \sqrt{1 + \alpha^2}$. From there on
# every classifier has risk $1/2$.
#
# Is that necessary? At smaller radii use a classifier that is linear in the plane, $\mathrm{sign}(x_0 + \alpha T)$. Its
# score is $y(\alpha^2 + \alpha\xi) + x_0$ and the noise takes away $\epsilon \lVert \mu \rVert$, so that an input with
# $x_0 = y$ is lost with probability $\Phi\big((\epsilon \lVert \mu \rVert - 1 - \alpha^2) / \alpha\big)$, which is
# below $1/2$ exactly if $\epsilon < \lVert \mu \rVert$. But an input with $x_0 = -y$ is lost much more often. For
# $p_0 \to 1$ the criterion is sharp; for $p_0 = 0.9$ the exact value reaches $1/2$ a little earlier:
#
# ```python
# from tradeoff.perturbations import L2
#
# for eps in (2.0, 2.1, 2.2, np.sqrt(5)):
#     pair = BernoulliFeature(2, 100, 0.9), BernoulliFeature(2, 100, 0.9999)
#     excluded, least = exclusive(D, (L2(eps),)), [game_value(dist, (L2(eps),)).value for dist in pair]
#     print(f"radius {eps:.4f}: excluded by the criterion: {excluded}; least risks {least[0]:.4f}, {least[1]:.4f}")
#     assert excluded == (eps**2 >= 5) == (least[1] == 0.5)
# ```
# </details>
