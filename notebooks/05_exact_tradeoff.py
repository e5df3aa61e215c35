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
# # What could training at best achieve?
#
# **A network is trained against two kinds of noise, and its robust error is 25 %. Is that the network, or is it the
# task?**
#
# Theorems 1 and 2 (the previous notebooks) exclude robustness at certain radii. They do not say what is possible at
# the others. On $\mathcal{D}_B$ that has an exact answer: the least robust risk of *any* measurable classifier, as a
# number, with a classifier that has it. This page derives the number (sections 1 to 3) and arrives at it in four ways
# (section 4). With it we draw the whole trade-off (sections 5 and 6), and then ask the same of $\mathcal{D}_G$ and of
# real images (sections 7 and 8). The definitions are those of Tramèr and Boneh (NeurIPS 2019,
# [arXiv:1904.13000](https://arxiv.org/abs/1904.13000)); the exact values go beyond the paper.

# %%
# %matplotlib inline
import numpy as np
from IPython.display import display
from matplotlib import pyplot as plt
from scipy.special import ndtr, ndtri

from tradeoff.figures import figure_module
from tradeoff.figures.style import COLOURS, LABELS, PAGE, paper_style
from tradeoff.files import read_json
from tradeoff.perturbations import L1, L2, Affine, Linf, Union
from tradeoff.theory import THEOREMS, BernoulliFeature, GaussianFeature, enclosure, game_value, game_values
from tradeoff.theory.flow import flow_bounds
from tradeoff.theory.game import classifier, exclusive, step_risks
from tradeoff.theory.plane import half_width, sums

# %% [markdown]
# ## 1. From $d + 1$ dimensions to two
#
# An input of $\mathcal{D}_B$ has a strong feature $x_0$, equal to the label $y$ with probability $p_0$, and $d$ weak
# ones, $x_i \sim \mathcal{N}(y\alpha/\sqrt d, 1)$. A classifier may be any function of all of them. Still, only two
# numbers matter: $x_0$ and
# $$
# T = \sum_{i \ge 1} x_i / \sqrt d \;\sim\; \mathcal{N}(y\alpha, 1) .
# $$
#
# - *They are sufficient.* Given $x_0$ and $T$, the rest of the input, $x_i - T/\sqrt d$, has the same law for both
#   labels.
# - *The adversary need not touch the rest.* Let $r$ move $x_0$ by $a$ and $T$ by $b$. Spread $b$ equally over the weak
#   features, $b/\sqrt d$ each. By Hölder's inequality no norm grows. What remains of the ball of radius $\epsilon$ is
# $$
# K = \{\, (a, b) : |a|^p + d^{\,1 - p/2}\, |b|^p \le \epsilon^p \,\} .
# $$
#
# So the game in $d + 1$ dimensions *is* a game in the plane, for every $d$. The three balls look quite different there.
# For $\ell_\infty$ the factor makes $K$ tall, for $\ell_2$ it is one, and for $\ell_1$ it makes $K$ flat. Dots in the
# figure are random noises of full size in $d + 1 = 10$ dimensions. They fall inside $K$; with their weak parts spread
# equally they would cost the share of the radius that is printed.

# %%
d, rng = 9, np.random.default_rng(0)
z = rng.standard_cauchy((20_000, d + 1))  # some coordinates much larger than others
with paper_style():
    figure, axes = plt.subplots(1, 3, figsize=(PAGE, 2.4), sharey=True)
    for ax, S in zip(axes, (Linf(0.5), L2(1.25), L1(2)), strict=True):
        r = z / S.gauge(z)[:, None]
        spread = r.copy()
        spread[:, 1:] = r[:, 1:].mean(axis=1, keepdims=True)
        a = S.eps * np.linspace(-1, 1, 401)
        top = np.array([half_width(S, d, v) for v in a])
        ax.fill_between(a, -top, top, color=COLOURS[S.name], alpha=0.2, lw=0)
        ax.plot(r[:2000, 0], r[:2000, 1:].sum(axis=1) / np.sqrt(d), ".", color=COLOURS[S.name], ms=1.5)
        ax.set(title=f"{LABELS[S.name]}, radius {S.eps:g}", xlabel="$a$, the move of $x_0$", aspect="equal",
               xlim=(-2.1, 2.1), ylim=(-1.6, 1.6))  # fmt: skip
        cost = S.gauge(spread)
        print(f"{S!r:9} full radius {S.gauge(r).max():.12f}, spread equally: median {np.median(cost):.3f}, "
              f"largest {cost.max():.12f}; half-width at a = 0: {half_width(S, d, 0):.3f}")  # fmt: skip
    axes[0].set_ylabel("$b$, the move of $T$")
    display(figure)

# %% [markdown]
# ## 2. From functions to a handful of thresholds
#
# Still, a classifier is any set of the plane. Two classical inequalities leave a few numbers of it.
#
# Fix a value of $x_0$, and let $A$ be the $T$ at which the answer is $-1$. An adversary against label $+1$ that can
# move $T$ by $g$ succeeds on $A$ *grown* by $g$. The classifier wants $A$ to be likely under label $-1$, and the grown
# $A$ to be unlikely under label $+1$.
#
# - *Neyman and Pearson*: of all sets with a given probability under $\mathcal{N}(-\alpha, 1)$, a half-line has the
#   least probability under $\mathcal{N}(\alpha, 1)$.
# - *The Gaussian isoperimetric inequality*: of all sets with a given probability under $\mathcal{N}(\alpha, 1)$, a
#   half-line has the least probability after growing.
#
# So half-lines $\{T < m\}$ are best twice over. Measured in units of $\Phi^{-1}$ their probabilities are $m + \alpha$
# before and $m + g - \alpha$ after: a straight line, and no set is below it. The figure tries unions of random
# intervals.

# %%
alpha, g, step = 2.0, 1.0, 1 / 32
edges = np.concatenate([[-np.inf], np.arange(-8, 8 + step, step), [np.inf]])
middles = np.concatenate([[edges[1]], (edges[1:-2] + edges[2:-1]) / 2, [edges[-2]]])
minus, plus = np.diff(ndtr(edges + alpha)), np.diff(ndtr(edges - alpha))
ends = np.sort(np.random.default_rng(0).normal(0, 3, (3000, 6)), axis=1)
ends[::2, 2:] = 9.0  # every other set is a single interval
ends[::3, 0] = -9.0  # and every third one reaches down to -∞
A = np.array([np.searchsorted(e, middles) % 2 == 1 for e in ends])
grown = np.array([np.convolve(row, np.ones(2 * round(g / step) + 1), "same") > 0.5 for row in A])
before, after = ndtri(np.clip(A @ minus, 1e-12, 1 - 1e-12)), ndtri(np.clip(grown @ plus, 1e-12, 1 - 1e-12))
inside = (np.abs(before) < 6) & (np.abs(after) < 6)
with paper_style():
    figure, ax = plt.subplots(figsize=(PAGE * 0.6, 2.6))
    ax.plot(before[inside], after[inside], ".", color="0.6", ms=2, label="unions of intervals")
    ax.plot([-2, 6], [-2 + g - 2 * alpha, 6 + g - 2 * alpha], color="black", label="half-lines")
    ax.set(xlabel=r"$\Phi^{-1}$ of the probability of $A$, label $-1$", ylabel=r"$\Phi^{-1}$ of grown $A$, label $+1$",
           xlim=(-3, 5), ylim=(-5, 5))  # fmt: skip
    ax.legend(loc="lower right")
    display(figure)
excess = after[inside] - (before[inside] + g - 2 * alpha)
print(f"{inside.sum()} sets; the lowest lies {excess.min():+.1e} from the line")

# %% [markdown]
# Now the bookkeeping. Adversary $i$ makes a classifier err on label $+1$ up to some level of $T$: $M^i_+$ on inputs
# with $x_0 = y$, and $M^i_-$ on those with $x_0 = -y$. On label $-1$ the levels of $-T$ are $N^i_\pm$ (no kin of
# the number of places in notebook 03). Let $G_{ij}(u)$ be the half-width, at the offset $u$ of $x_0$, of the
# Minkowski sum $K_i \oplus K_j$. If an input of label $+1$ and one of label $-1$ differ by less, then noise takes both
# to the same point, and one of them is lost. Inputs of the two labels that both have $x_0 = y$ are $2$ apart in $x_0$;
# one with $x_0 = y$ and one with $x_0 = -y$ share their $x_0$. Hence the
#
# **Finite program.** The least risk of any measurable classifier is
# $$
# V = \min_{M, N}\; \tfrac12 \sum_i \lambda_i \big[\, p_0\, \big(\Phi(M^i_+ - \alpha) + \Phi(N^i_+ - \alpha)\big)
# + (1 - p_0)\, \big(\Phi(M^i_- - \alpha) + \Phi(N^i_- - \alpha)\big) \big]
# $$
# $$
# \text{subject to}\quad M^i_\pm + N^j_\pm \ge G_{ij}(2), \qquad M^i_\pm + N^j_\mp \ge G_{ij}(0)
# \qquad\text{for all } i, j .
# $$
#
# *Proof.* No classifier does better: apply the two inequalities to the sets $A$ at each $x_0$. And some classifier does
# as well: the constraints say that whatever it must answer $+1$ lies nowhere below what it must answer $-1$, so a
# threshold $t(x_0)$ fits between. $\;\blacksquare$
#
# The adversaries differ in $K$ only.
#
# | adversary | $K$ | value |
# |---|---|---|
# | a type at random | $K_1, \dots, K_n$, with weights $\lambda_i$ | $V_{avg}$ |
# | the worse type for each input | one set, $\bigcup_i K_i$ | $V_{max}$ |
# | mixtures | one set, the convex hull of $\bigcup_i K_i$ | $V_{\mathit{affine}}$ |
#
# One set has a closed form. With $L = \log \frac{p_0}{1 - p_0}$, $G_0 = G(0)$ and $G_2 = G(2)$,
# $$
# V = \min\big(\tfrac12,\; p_0\, \Phi(u - \alpha) + (1 - p_0)\, \Phi(G_0 - u - \alpha)\big), \qquad
# u = \max\Big(\frac{G_2}{2},\, \frac{G_0}{2} - \frac{L}{2\alpha - G_0}\Big) \text{ if } G_0 < 2\alpha,
# \text{ else } \frac{G_2}{2} .
# $$
#
# Half of Theorem 1's $\ell_\infty$ radius, $\epsilon_\infty = \eta$, with its $\epsilon_1 = 2$:

# %%
D = BernoulliFeature(alpha=2, d=100, p0=0.9)
sets = Linf(D.eta), L1(2)
print(f"{D}, {sets[0]!r}, {sets[1]!r}; without noise {D.bayes_risk():.6f}")
ends = [s + sign * (S.eps + 1e-9) for S in sets for s in (1, -1) for sign in (1, -1)]
cuts = np.unique([*np.linspace(min(ends), max(ends), 3000), *ends])  # no two nearly equal
for adversary in ("average", "union", "affine"):
    game = game_value(D, sets, adversary)
    (M, N), (stay, flip) = np.array(game.thresholds).transpose(1, 2, 0), sums(D.d, sets, adversary)
    slack = [M[s][:, None] + N[r] - (flip if s == r else stay) for s in (0, 1) for r in (0, 1)]
    rule = classifier(D, sets, game)
    levels = [rule(v) for v in np.concatenate([[-4], (cuts[1:] + cuts[:-1]) / 2, [4]])]
    reached = step_risks(D, sets, cuts, levels, adversary).mean()
    print(f"{adversary:8} V = {game.value:.6f}; its classifier, in {len(levels)} steps, has {reached:.6f}; "
          f"least slack of a constraint {np.min(slack):.1e}")  # fmt: skip
    for name, right, wrong in zip(([S.name for S in sets] if adversary == "average" else [adversary]), *M, strict=True):
        print(f"{'':8} {name}: label +1 is lost below {right:.3f} where x_0 = y, below {wrong:.3f} where x_0 = -y")
    if adversary != "average":
        G_0, G_2 = stay.item(), flip.item()
        u = G_2 / 2 if G_0 >= 2 * D.alpha else max(G_2 / 2, G_0 / 2 - np.log(D.p0 / (1 - D.p0)) / (2 * D.alpha - G_0))
        closed = D.p0 * ndtr(u - D.alpha) + (1 - D.p0) * ndtr(G_0 - u - D.alpha)
        print(f"{'':8} closed form: G_0 = {G_0:.3f}, G_2 = {G_2:.3f}, u = {u:.3f}, V = {min(closed, 0.5):.6f}")
optimal = figure_module("optimal_classifier")
with paper_style():
    display(optimal.draw(optimal.compute(**optimal.PARAMETERS["quick"])))

# %% [markdown]
# Look at the first panel, where the adversary's type is drawn before it sees the input. $\ell_1$ noise may turn $x_0$,
# but hardly moves $T$: the threshold goes where $T$ decides. $\ell_\infty$ noise moves $T$ by $2$, but leaves $x_0$
# where it is, within $\eta$ of $\pm 1$: there, and only there, the threshold steps down for $x_0 = +1$. Against the
# union all this has to hold for both at once, and mixtures slant it.
#
# ## 3. A label may be given up
#
# The distribution treats the labels alike: $-x$ with $-y$ has the law of $x$ with $y$. So one would look for the best
# classifier among the *odd* ones, $f(-x) = -f(x)$, for which $M = N$. Against one set that loses nothing (unless a
# constant is best), as the closed form shows. Against several it can lose a lot.
#
# Take $\alpha = 5$. The first adversary does nothing; the second has an $\ell_2$ ball. From a radius of about
# $\lVert \mu \rVert = \sqrt{1 + \alpha^2} \approx 5.1$ on it reaches across, and an odd classifier that saves some of
# one label loses more of the other. But the program may treat them differently: *give up* label $-1$ under $\ell_2$
# noise, entirely. Then label $+1$ can be saved from it. And without noise label $-1$ is mostly right all the
# same, since noise rarely carries label $+1$ as far down as $T = -5$.
#
# On the left the least $R_{avg}$ of any classifier and of the odd ones (the program with $M = N$, by brute force over
# $M^1_+$ and $M^2_+$). On the right the optimum at radius $7.5$. The discs are what $\ell_2$ noise makes of the lowest
# inputs of label $+1$ that are kept. What they cover is answered $+$, far below zero, and label $-1$ (squares) is
# mostly below it still.

# %%
wide, radii = BernoulliFeature(alpha=5, d=10**4, p0=0.9), np.linspace(0, 9, 37)
values = [game.value for game in game_values(wide, [(Linf(0), L2(float(eps))) for eps in radii])]
level, odd = np.linspace(-4, 14, 721), []
M_1, M_2 = np.meshgrid(level, level, indexing="ij")
for eps in radii:
    stay, flip = sums(wide.d, (Linf(0), L2(float(eps))), "average")
    b_1, b_2 = stay.diagonal() / 2
    flipped = np.maximum(b_1 - M_1, b_2 - M_2)  # M^i_- = b_i + this
    lost = wide.p0 * (ndtr(M_1 - wide.alpha) + ndtr(M_2 - wide.alpha))
    lost += (1 - wide.p0) * (ndtr(b_1 + flipped - wide.alpha) + ndtr(b_2 + flipped - wide.alpha))
    allowed = (2 * M_1 >= flip[0, 0]) & (2 * M_2 >= flip[1, 1]) & (M_1 + M_2 >= flip[0, 1])
    odd.append(np.min(lost[allowed]) / 2)
pair = Linf(0), L2(7.5)
game = game_value(wide, pair)
rule = classifier(wide, pair, game)
x_0 = np.linspace(-10, 10, 1001)
with paper_style():
    figure, axes = plt.subplots(1, 2, figsize=(PAGE, 2.8), width_ratios=(1.2, 1))
    axes[0].plot(radii, values, color="black", label="any classifier")
    axes[0].plot(radii, odd, "--", color=COLOURS["l2"], label="odd classifiers")
    axes[0].set(xlabel=r"radius of the $\ell_2$ ball", ylabel="least $R_{avg}$", ylim=(0, 0.55))
    axes[0].legend(loc="upper left")
    t = np.array([rule(v) for v in x_0])  # infinite where no noise comes
    axes[1].fill_between(x_0, t, 14, where=np.isfinite(t), color="0.86", lw=0)
    axes[1].plot(x_0[np.isfinite(t)], t[np.isfinite(t)], color="black", lw=2.5)
    turn = np.linspace(0, 2 * np.pi, 361)
    for s, kept in zip((1, -1), game.thresholds[1][0], strict=True):
        axes[1].plot(s + pair[1].eps * np.cos(turn), kept + pair[1].eps * np.sin(turn), color=COLOURS["l2"], lw=0.9)
        axes[1].errorbar(s, wide.alpha, 1, fmt="o", color="black", ms=4, lw=0.8)
        axes[1].errorbar(s, -wide.alpha, 1, fmt="s", color="black", mfc="white", ms=4, lw=0.8)
    axes[1].set(xlabel="$x_0$", ylabel="$T$", xlim=(-10, 10), ylim=(-9, 13), aspect="equal")
    axes[1].text(0, 8, "$+$", ha="center")
    axes[1].text(0, -8.3, "$-$", ha="center")
    display(figure)
at = np.argmin(np.abs(radii - pair[1].eps))
print(f"l2 radius {radii[at]:g}: any classifier {values[at]:.4f}, an odd one about {odd[at]:.4f}")
for name, (M, N) in zip(("no noise", "l2"), game.thresholds, strict=True):
    shares = [wide.p0 * ndtr(z[0] - wide.alpha) + (1 - wide.p0) * ndtr(z[1] - wide.alpha) for z in (M, N)]
    print(f"  {name:8} loses {shares[0]:.4f} of label +1 and {shares[1]:.4f} of label -1")

# %% [markdown]
# ## 4. Four ways to a number
#
# A value that is claimed to be exact should be reached from several sides.
#
# 1. `game_value` solves the finite program: by its closed form, or by a search over thresholds.
# 2. `enclosure` does it in ball arithmetic. Every operation returns an interval that contains the true result, so the
#    last one contains $V$. For averages it is bounded from above by a pair of thresholds, from below by a minimum cut.
# 3. `flow_bounds` uses no theorem about games. It discretises the plane. Two inputs of different labels that noise
#    takes to one point are in *conflict*, and no classifier gets both right. What a classifier must lose is then a
#    vertex cover of a bipartite graph: a minimum cut, hence a maximum flow. The flow is an adversary, and a lower
#    bound; the cut is a classifier, and an upper bound.
# 4. Trained networks, in the next section: whatever they reach, it must not be better.
#
# There is also the theorem `exact-game` with its own checks, among them two more discretisations and simulated noise in
# all $d + 1$ dimensions. When the noise of the weak features is half as wide again as assumed, each of them has to
# fail.

# %%
appendix = BernoulliFeature(2, 200, float(ndtr(2))), (Linf(3 / np.sqrt(200)), L1(3))
three = D, (Linf(D.eta), L2(1.1), L1(2))
for dist, balls in ((D, sets), appendix, three, (wide, pair)):
    print(f"{dist}, {', '.join(map(repr, balls))}")
    for adversary in ("average", "union", "affine"):
        value, V = game_value(dist, balls, adversary).value, enclosure(dist, balls, adversary)
        lower, upper = flow_bounds(dist, balls, adversary, 1 / 64)
        verdict = "consistent" if lower <= V <= upper else "CONTRADICTION"
        print(f"  {adversary:8} value {value:.7f}, enclosure [{float(V.lower()):.7f}, {float(V.upper()):.7f}], "
              f"flow {lower:.6f}, cut {upper:.6f}: {verdict}")  # fmt: skip
halvings = 2.0 ** -np.arange(1, 8)
with paper_style():
    figure, ax = plt.subplots(figsize=(PAGE * 0.6, 2.6))
    for adversary in ("average", "union", "affine"):
        lower, upper = np.transpose([flow_bounds(D, sets, adversary, h) for h in halvings])
        ax.plot(halvings, upper - lower, "o-", ms=3, color=COLOURS[adversary], label=adversary)
    ax.plot(halvings, halvings**2 / 10, ":", color="0.5", label=r"$\propto$ step$^2$")
    ax.set(xscale="log", yscale="log", xlabel="step of the discretisation", ylabel="cut $-$ flow")
    ax.legend(loc="lower right")
    display(figure)
for assumptions in ({}, THEOREMS["exact-game"].breaks):
    verdicts = [f"{route} {'holds' if e.holds else 'FAILS'}" for route, e in THEOREMS["exact-game"].run(**assumptions)]
    print(f"exact-game, {dict(assumptions) or 'as stated'}: {', '.join(verdicts)}")

# %% [markdown]
# ## 5. The whole front
#
# $V_{avg}$ is one number. How does the risk under $\ell_\infty$ noise trade against that under $\ell_1$ noise? Weight
# the types with $\lambda$ and $1 - \lambda$. Then every classifier has
# $$
# \lambda\, R_\infty(f) + (1 - \lambda)\, R_1(f) \;\ge\; V_\lambda ,
# $$
# a half-plane of possible pairs $(R_\infty, R_1)$ for each $\lambda$. Together they leave a convex region, whose edge
# is the *Pareto front*. Below it there is nothing, and each point that some $\lambda$ selects is a classifier that we
# have.
#
# The figure adds two kinds of real classifiers: all linear ones in $(x_0, T)$, and small networks, trained
# adversarially on samples. These here are trained for a second or two and measured on few samples. The intervals of a
# network hold together with probability $1 - 10^{-9}$.

# %%
share = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
front = game_values(D, [sets] * len(share), weights=np.stack([share, 1 - share], axis=1).tolist())
for weight, game in zip(share, front, strict=True):
    each = ndtr(np.array(game.thresholds) - D.alpha).mean(axis=1) @ (D.p0, 1 - D.p0)
    print(f"weight {weight:.1f} on linf: V = {game.value:.6f}, attained with risks {each[0]:.4f} (linf) and "
          f"{each[1]:.4f} (l1), {weight * each[0] + (1 - weight) * each[1]:.6f} together")  # fmt: skip
pareto = figure_module("pareto")
brief = pareto.PARAMETERS["quick"] | {"samples": 3000, "epochs": 6, "examples": 20_000}
with paper_style():
    display(pareto.draw(pareto.compute(**brief)))

# %% [markdown]
# Where robustness is possible, each network comes close to the optimum of what it was trained for (last panel). So the
# trade-off that one sees after training is the task's, not the optimiser's. The linear classifiers stay behind. At
# Theorem 1's radii the front touches the line $R_\infty + R_1 = 1$ of the theorem, and there is nothing left to learn.
#
# ## 6. The map
#
# Now let both radii vary. When are they too large? The class centres in the plane are $\pm\mu$, $\mu = (1, \alpha)$.
#
# **A geometric criterion.** If $2\mu \in K_1 \oplus K_2$, then $V_{avg} = \frac12$: the two types exclude each other.
# If $2\mu \in K \oplus K$ for $K = K_1 \cup K_2$, then $V_{max} = \frac12$. If $\mu$ lies in the convex hull of $K$,
# then $V_{\mathit{affine}} = \frac12$.
#
# *Proof.* Pair label $+1$ where $x_0 = s$ with label $-1$ where $x_0 = -s$, which is as likely. Their laws lie
# $(2s, 2\alpha)$ apart, and $K$ is symmetric in each coordinate. So noise, one type for each label or a mixture, takes
# both to one law, where nobody can be right twice. $\;\blacksquare$
#
# Theorem 1, its dual norms and Appendix I are instances. The map shows three nested regions, and the values inside.
# The step at $\epsilon_1 = 2 - \epsilon_\infty$ is where $x_0$ can first be turned from one value to the other.

# %%
phase = figure_module("phase_diagram")
numbers = phase.compute(**phase.PARAMETERS["quick"] | {"points": 60})
V = {adversary: np.array(table) for adversary, table in numbers["values"].items()}
mixed, union, average = (np.mean(V[adversary] < 0.5) for adversary in ("affine", "union", "average"))
print(f"of the map, {mixed:.1%} allows robustness to mixtures, another {union - mixed:.1%} only to the union, "
      f"{1 - union:.1%} to neither; {1 - average:.1%} not even to a type drawn at random")  # fmt: skip
for adversary in ("union", "affine"):
    inside = np.array(
        [[exclusive(D, (Linf(a * D.eta), L1(b)), adversary) for a in numbers["linf"]] for b in numbers["l1"]]
    )
    print(f"{adversary:8} the criterion speaks on {inside.mean():.1%}, where the largest gap to 1/2 is "
          f"{np.max(0.5 - V[adversary][inside]):.1e}; it is silent on {np.mean(~inside & (V[adversary] >= 0.5)):.1%} "
          f"that is lost, too")  # fmt: skip
with paper_style():
    display(phase.draw(numbers))

# %% [markdown]
# ## 7. $\mathcal{D}_G$: a half-plane, and then a bend
#
# On $\mathcal{D}_G$ the strong feature is Gaussian, $x_0 \sim \mathcal{N}(y, \alpha^{-2})$, and the plane $(x_0, T)$
# holds two Gaussian clouds around $\pm\mu$ with covariance $\Sigma = \mathrm{diag}(\alpha^{-2}, 1)$.
#
# **Theorem** (Bhagoji et al. 2019, Dobriban et al. 2020). For one convex symmetric set $K$,
# $$
# V = \Phi(-\delta), \qquad \delta = \min_{z \in K} \lVert \Sigma^{-1/2} (\mu - z) \rVert_2 ,
# $$
# and a half-plane attains it.
#
# *Proof.* Shifting the two clouds towards each other by the nearest $z$ leaves two clouds at the distance $2\delta$,
# which nobody tells apart with less error. And the half-plane through the origin whose edge is parallel to the common
# tangent at $z$ loses no more. $\;\blacksquare$
#
# The hull of mixtures is such a set, so $V_{\mathit{affine}}$ is exact. In the figure $\mu - K$ and $-\mu + K$ are what
# mixtures make of the centres, and the dotted ellipse is that of $\Sigma$ which just touches both. The union is
# not convex. There the finite program has no counterpart, but flow and cut need none.

# %%
D_G, noise = GaussianFeature(alpha=2, d=100), (Linf(D.eta), L1(2))
game = game_value(D_G, noise, "affine")
(c, _), delta = game.thresholds, -ndtri(game.value)
normal = np.array([c, 1.0]) / np.hypot(c / D_G.alpha, 1)  # of standard deviation one
touch = delta * normal / (D_G.alpha**2, 1)  # of the ellipse around the origin, Σ normal times δ
z = np.array([1.0, D_G.alpha]) - touch
hull = Affine(*noise)
r = np.r_[z[0], np.full(D_G.d, z[1] / np.sqrt(D_G.d))]
V = enclosure(D_G, noise, "affine")
w = np.r_[c, np.full(D_G.d, 1 / np.sqrt(D_G.d))]
print(f"V_affine = {game.value:.7f}, enclosure [{float(V.lower()):.7f}, {float(V.upper()):.7f}]; the half-plane has "
      f"{D_G.linear_risk(w, Union(noise)):.7f}; its z costs {hull.gauge(r[None])[0]:.9f} of the budget")  # fmt: skip
for adversary in ("affine", "union", "average"):
    lower, upper = flow_bounds(D_G, noise, adversary, 1 / 16)
    print(f"{adversary:8} flow {lower:.4f} ≤ V ≤ {upper:.4f} cut")
turn = np.linspace(0, 2 * np.pi, 721)
directions = np.stack([np.cos(turn), np.sin(turn)], axis=1)
spread = np.concatenate([directions[:, :1], np.repeat(directions[:, 1:] / np.sqrt(D_G.d), D_G.d, axis=1)], axis=1)
with paper_style():
    figure, ax = plt.subplots(figsize=(PAGE * 0.5, 3.4))
    outline = directions / hull.gauge(spread)[:, None]
    for s, style in ((1, "-"), (-1, "--")):
        ax.fill(*(s * np.array([1, D_G.alpha]) + outline).T, color=COLOURS["affine"], alpha=0.25, lw=0)
        ax.plot(*(s * np.array([1, D_G.alpha]) + outline).T, style, color=COLOURS["affine"], lw=0.9)
        ax.plot(s, s * D_G.alpha, "o" if s > 0 else "s", color="black", mfc="black" if s > 0 else "white", ms=5)
        ax.plot(*(s * touch), "x", color=COLOURS["l1"], ms=5, zorder=4)
    ax.plot(*(delta * directions / (D_G.alpha, 1)).T, ":", color="black", lw=0.9)
    ax.plot([-3, 3], [3 * c, -3 * c], color="black")
    ax.set(xlabel="$x_0$", ylabel="$T$", aspect="equal", xlim=(-3.2, 3.2), ylim=(-4.3, 4.3))
    display(figure)

# %% [markdown]
# The half-plane is the best of all classifiers against mixtures. By Claim 3 it is the best linear one against the union
# as well, with the same risk. But the cut, an actual classifier, has less. So against a union of $\ell_\infty$ and
# $\ell_1$ noise the best classifier of two round Gaussian clouds is *not* linear, and mixtures are a stronger adversary
# here, too. (Of its exact value we know the two bounds only.)
#
# ## 8. The limits of real data
#
# Nobody knows the distribution of images. But the argument of the flow needs no distribution, only points. Two test
# images of different labels *conflict* when some ball around one meets some ball around the other. With
# $\Delta = |x - x'|$ coordinatewise,
#
# | balls | they meet if |
# |---|---|
# | $\ell_p$, $\ell_p$ | $\lVert \Delta \rVert_p \le 2\epsilon_p$ |
# | $\ell_\infty$, $\ell_1$ | $\sum_i (\Delta_i - \epsilon_\infty)_+ \le \epsilon_1$ |
# | $\ell_\infty$, $\ell_2$ | $\sum_i (\Delta_i - \epsilon_\infty)_+^2 \le \epsilon_2^2$ |
# | $\ell_2$, $\ell_1$ | the $\ell_2$ distance of $\Delta$ from the $\ell_1$ ball is at most $\epsilon_2$ |
#
# A classifier is right under all noise on a set of points without conflicts, and on no other. So the least union error
# of *any* classifier on these points is a minimum vertex cover of the graph of conflicts. Between two classes that is a
# matching (König). Between ten it is an integer program, and a small one, since few images conflict. The
# results are computed by `python -m tradeoff.limits` and kept with the package; here they are read.

# %%
limits = figure_module("limits")
for name in ("digits", "mnist", "cifar10"):
    found = read_json(limits.RESULTS / f"limits-{name}.json")
    k, union = found["scales"].index(1.0), found["errors"]["union"]
    radii = ", ".join(f"{p} {eps:.4g}" for p, eps in found["sets"].items())
    print(f"{found['data']}, {found['n']:,} examples, radii {radii}")
    count = round(union["lower"][k] * found["n"])
    print(f"  {union['conflicts'][k]:,} conflicts forbid {union['lower'][k]:.2%}, {count} examples "
          f"(l2 noise alone: {found['errors']['l2']['lower'][k]:.2%})")  # fmt: skip
    print(f"  first conflict at {found['first']['union']:.3f} times the radii; at {found['scales'][-1]:g} times them "
          f"{union['lower'][-1]:.2%} is lost")  # fmt: skip
with paper_style():
    display(limits.draw(limits.compute(**limits.PARAMETERS["quick"])))

# %% [markdown]
# At the paper's radii for MNIST the data forbid next to nothing, and no more to the union than to $\ell_2$ noise alone.
# So whatever networks lose there beyond that is *not* forced by these images, as it is by $\mathcal{D}_B$: in principle
# a classifier could memorise them with their balls. Whether one can be learned from other images is a different
# question. And the margin is thin: half as much noise again, and more than a quarter is lost to everybody. And all
# this is about these images: on the distribution that they come from the least error is, on average, no smaller.
#
# ## What was learned
#
# - On $\mathcal{D}_B$ every game of $\ell_p$ noise, for every $d$, is a game in a plane, and that one is a finite
#   program. Half-lines are optimal by Neyman and Pearson and by the Gaussian isoperimetric inequality.
# - The least risk of any classifier is a number: certified by intervals, by flows and cuts, and not beaten by training.
# - The labels need not be treated alike. To give one up can save more than a third of the risk.
# - The Pareto front is what training trades along. Networks come near to it where robustness is possible.
# - One picture shows three regions: robust to mixtures, to the union only, to neither.
# - On $\mathcal{D}_G$ a half-plane is optimal against mixtures, and is not against the union.
# - MNIST's test images hardly forbid robustness to the three noise types. Half as much noise again, and they do.
#
# *Next*, in notebook 06, the worst noise is no longer known. It has to be found.
#
# ## Exercise
#
# An adversary that draws its type at random may choose the odds, but it chooses before it sees the input. How much is
# it worth to see the input first? For $\epsilon_\infty = \eta$ and $\epsilon_1 = 2$, compare the best odds with the
# union adversary. What does the better number say about the classifier's risk under the *worse* of the two types,
# $\max(R_\infty, R_1)$?
#
# <details>
# <summary><b>Solution</b></summary>
#
# ```python
# odds = np.linspace(0, 1, 201)
# games = game_values(D, [sets] * len(odds), weights=np.stack([odds, 1 - odds], axis=1).tolist())
# best = max(range(len(odds)), key=lambda k: games[k].value)
# union = game_value(D, sets, "union").value
# print(f"odds {odds[best]:.3f} on linf: {games[best].value:.4f}")
# print(f"union: {union:.4f}, {union - games[best].value:.4f} more")
# assert max(game_value(D, (S,)).value for S in sets) < games[best].value < union
# ```
#
# The best odds put $0.625$ on $\ell_\infty$ noise and force a risk of $0.2033$. To see the input first is worth another
# $0.026$, up to $V_{max} = 0.2289$.
#
# By the minimax theorem the best odds force what a classifier can guarantee against the worse type, if it may be drawn
# at random: $\max_\lambda V_\lambda = \min_f \max(R_\infty(f), R_1(f))$. It is where the Pareto front meets the
# diagonal. $\max(R_\infty, R_1)$ is what papers often report as "the worst accuracy over attack types". It is smaller
# than $R_{max}$, which counts an input as lost when *some* type breaks it.
# </details>
