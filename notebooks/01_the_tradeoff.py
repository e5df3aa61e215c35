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
# # The trade-off
#
# **Can one classifier be robust to two kinds of small noise at once?**
#
# A classifier is robust to a set $S$ of perturbations when no $r \in S$, added to an input, changes its answer for
# the worse. We know how to train for one such set, say noise of small $\ell_\infty$ norm. Then somebody comes along
# with noise of small $\ell_1$ norm: a few features changed by much, instead of many features changed by little. Is
# robustness to both simply a matter of training on both?
#
# This page builds a classification task on which the answer is no, for every classifier there is, and the reason fits
# in four lines. It follows F. Tramèr and D. Boneh, *Adversarial Training and Robustness for Multiple Perturbations*
# (NeurIPS 2019, [arXiv:1904.13000](https://arxiv.org/abs/1904.13000)). Sections 1 and 2 set the scene, section 3
# draws the trade-off, 4 to 6 are the theory, and section 7 is a short look at real digits. The notebook defines
# nothing of its own: whatever is computed here, you can import.

# %%
# %matplotlib inline
from dataclasses import replace
from textwrap import fill

import numpy as np
import torch
from IPython.display import display
from matplotlib import pyplot as plt

from tradeoff.attacks import Draws
from tradeoff.attacks.suites import suite
from tradeoff.data import load
from tradeoff.evaluation import evaluate
from tradeoff.experiments import EXPERIMENTS, train
from tradeoff.figures import thm1, thm1_radii
from tradeoff.figures.style import COLOURS, LABELS, PAGE, paper_style
from tradeoff.perturbations import L1, L2, Affine, Linf, Lp
from tradeoff.theory import THEOREMS, BernoulliFeature

# %% [markdown]
# ## 1. What the adversary may do
#
# For now the adversary adds noise from a ball, $S_p = \{ r : \lVert r \rVert_p \le \epsilon \}$. Proofs, attacks and
# evaluations all deal with such sets, but each asks a different question. In this package a set is one object that
# answers all four of them:
#
# | method | answers | who asks |
# |---|---|---|
# | `contains(r)` | is $r \in S$? | evaluation |
# | `support(w)` | $\sigma_S(w) = \max_{r \in S} \langle w, r \rangle$ | proofs: the worst shift of a linear score |
# | `argmax(w)` | an $r \in S$ that attains it | attacks: the steepest step along a gradient $w$ |
# | `project(z)` | $\arg\min_{r \in S} \lVert r - z \rVert_2$ | attacks: back into the set after a step |
#
# For the $\ell_p$ ball, $\sigma_S(w) = \epsilon \lVert w \rVert_q$ with the dual norm, $1/p + 1/q = 1$. Arrays are
# batches, one perturbation a row. In the figure, the dashed line $\langle w, r \rangle = \sigma_S(w)$ touches the
# ball at `argmax(w)` ($\bullet$), and `project` brings $z$ ($\times$) to the nearest point of the ball
# ($\blacklozenge$).

# %%
w, z = np.array([[0.8, 0.5]]), np.array([[-1.3, 0.7]])
turn = np.linspace(0, 2 * np.pi, 361)
directions = np.stack([np.cos(turn), np.sin(turn)], axis=1)
with paper_style():
    figure, axes = plt.subplots(1, 3, figsize=(PAGE, 2.5), sharey=True)
    for ax, S in zip(axes, (Linf(1), L2(1), L1(1)), strict=True):
        best, near, height = S.argmax(w)[0], S.project(z)[0], S.support(w)[0]
        ax.fill(*(directions / S.gauge(directions)[:, None]).T, color=COLOURS[S.name], alpha=0.25, lw=0)
        ax.axline(best, slope=-w[0, 0] / w[0, 1], color=COLOURS[S.name], ls="--", lw=0.9)
        ax.arrow(0, 0, *w[0], width=0.015, head_width=0.12, length_includes_head=True, color="black")
        ax.text(*(w[0] * 0.5 + (0.02, -0.2)), "$w$")
        ax.plot(*best, "o", color=COLOURS[S.name], ms=5)
        ax.plot(*np.stack([z[0], near]).T, ":", color="0.35", lw=0.9)
        ax.plot(*z[0], "x", color="0.2", ms=5)
        ax.text(z[0, 0] - 0.05, z[0, 1] + 0.1, "$z$", ha="right")
        ax.plot(*near, "D", color="0.2", ms=3.5)
        ax.set(xlim=(-1.75, 1.75), ylim=(-1.35, 1.6), aspect="equal", xticks=(-1, 0, 1), yticks=(-1, 0, 1))
        ax.set_title(rf"{LABELS[S.name]}: $\sigma_S(w) = {height:.3f}$")
        inside = [bool(S.contains(r[None])[0]) for r in (z[0], near)]
        print(f"{S!r:8} support {height:.4f}  argmax {best.round(3)!s:14} project {near.round(3)!s:16} "
              f"contains z: {inside[0]}, its projection: {inside[1]}")  # fmt: skip
    display(figure)

# %% [markdown]
# Same $w$, three opinions on what hurts most. The $\ell_\infty$ adversary moves *every* coordinate a little; the
# $\ell_1$ adversary spends all it has on the *one* coordinate that counts most. The trade-off grows out of this
# difference.
#
# ## 2. A task with one strong feature and many weak ones
#
# Labels $y$ are uniform on $\{-1, +1\}$. The distribution $\mathcal{D}_B$ (after Tsipras et al. 2019) has $d + 1$
# features,
# $$
# x_0 = \begin{cases} +y & \text{with probability } p_0 \ge 1/2 \\ -y & \text{otherwise} \end{cases}
# \qquad
# x_1, \dots, x_d \overset{\text{i.i.d.}}{\sim} \mathcal{N}(y\eta, 1), \qquad \eta = \frac{\alpha}{\sqrt d}.
# $$
# The *strong* feature $x_0$ is often right and takes a change of size 1 to undo. Each *weak* feature is hardly better
# than a coin, but their normalised sum $T = \sum_{i \ge 1} x_i / \sqrt d \sim \mathcal{N}(y\alpha, 1)$ is reliable.
#
# The *robust risk* of a classifier $f$ is the probability that the adversary can make it err,
# $$
# R_{adv}(f; S) = \Pr\left[\, \exists\, r \in S : f(x + r) \ne y \,\right].
# $$
# For $f(x) = \mathrm{sign}(\langle w, x \rangle + b)$ the whole game is one number, the worst shift of the score: $f$
# errs if and only if $y(\langle w, x \rangle + b) \le \sigma_S(w)$ (a score of zero counts as an error). On
# $\mathcal{D}_B$ the probability of that is known in closed form, `linear_risk`. For the two textbook classifiers it
# says
#
# | robust risk | no noise | $\ell_\infty$, radius $\epsilon$ | $\ell_1$, radius $\epsilon$ |
# |---|---|---|---|
# | $f(x) = \mathrm{sign}(x_0)$ | $1 - p_0$ | $1 - p_0$; from $\epsilon = 1$ on: $1$ | the same |
# | $h(x) = \mathrm{sign}(T)$ | $\Phi(-\alpha)$ | $\Phi(-\alpha+\epsilon\sqrt d)$ | $\Phi(-\alpha+\epsilon/\sqrt d)$ |
#
# with $\Phi$ the normal distribution function. Look at the last row: the same radius counts $\sqrt d$ times in
# $\ell_\infty$ and $1/\sqrt d$ times in $\ell_1$. So we give the $\ell_\infty$ adversary a small radius, $2\eta$, and
# the $\ell_1$ adversary a radius of $2$. The cell below prints the exact risks of four classifiers, and beside them
# what an actual attack achieves: it draws samples and adds the noise $-y \cdot$ `argmax(w)`.

# %%
D = BernoulliFeature(alpha=2, d=100, p0=0.9)
S_inf, S_1 = Linf(2 * D.eta), L1(2)
strong, weak = np.eye(D.d + 1)[0], 1 - np.eye(D.d + 1)[0]
classifiers = {
    "f: sign(x_0)": (strong, 0.0),
    "h: sign(sum of weak)": (weak, 0.0),
    "best without noise": (np.log(D.p0 / (1 - D.p0)) * strong + 2 * D.eta * weak, 0.0),
    "constant +1": (0 * strong, 1.0),
}
x, y = D.sample(20_000, np.random.default_rng(0))
print(f"{D}: eta = {D.eta:g}, S_inf = {S_inf!r}, S_1 = {S_1!r}")
print(f"Bayes risk, the least risk of any classifier without noise: {D.bayes_risk():.4f}")
print(f"risks: exact, and in brackets the share of {len(x):,} samples misclassified under attack\n")
print(f"{'':22}{'no noise':18}{'under S_inf':18}{'under S_1':18}R_avg of the two, exact")
for name, (w, b) in classifiers.items():
    exact = [D.linear_risk(w, S, b) for S in (None, S_inf, S_1)]
    noise = [0, *(-y[:, None] * S.argmax(w[None]) for S in (S_inf, S_1))]
    attacked = [np.mean(y * ((x + r) @ w + b) <= 0) for r in noise]
    row = "".join(f"{e:.4f} ({a:.4f})   " for e, a in zip(exact, attacked, strict=True))
    print(f"{name:22}{row}{np.mean(exact[1:]):.4f}")

# %% [markdown]
# Each textbook classifier is nearly as good under one kind of noise as without any, and worse than useless under the
# other. The rule that is best without noise fails under $\ell_\infty$ noise as well. And the constant, which ignores
# its input, has the least average of the four.
#
# How much of this is due to the radii? The next figure grows both together, from no noise to one and a half times
# $(2\eta, 2)$, which the dotted vertical lines mark. All curves are exact; that of $f$ jumps where the $\ell_1$
# radius reaches $1$.

# %%
with paper_style():
    display(thm1_radii.draw(thm1_radii.compute(**thm1_radii.PARAMETERS["quick"])))

# %% [markdown]
# ## 3. The trade-off plane
#
# When the adversary has $n$ sets $S_i$ at its disposal, there is more than one risk to speak of:
# $$
# R_{avg}(f) = \frac1n \sum_i R_{adv}(f; S_i)
# \;\;\le\;\;
# R_{max}(f) = R_{adv}\Big(f; \bigcup_i S_i\Big).
# $$
# $R_{avg}$ is the mean over the sets; for $R_{max}$ the adversary chooses the set for each input. The next figure shows
# the pair $(R_{adv}(f; S_\infty), R_{adv}(f; S_1))$, exactly, for each of a large family of linear classifiers
# $\mathrm{sign}(w_0 x_0 + T + b)$. The diamonds are classifiers that are *not* linear. Their exact risks are unknown to
# us, so the diamonds show the errors that two particular perturbations cause on samples, which bound the risks from
# below up to sampling error. Those two are the perturbations of the proof that comes next.

# %%
with paper_style():
    display(thm1.draw(thm1.compute(**thm1.PARAMETERS["quick"])))

# %% [markdown]
# Nothing enters the triangle. The diamonds even line up along its edge, however odd the classifier, and that is what
# gives the proof away.
#
# ## 4. Theorem 1: the two robustnesses exclude each other
#
# **Theorem 1** (Tramèr & Boneh 2019). On $\mathcal{D}_B$, let $S_\infty$ be the $\ell_\infty$ ball of radius $2\eta$
# and $S_1$ the $\ell_1$ ball of radius $2$. Then $R_{avg}(f; S_\infty, S_1) \ge 1/2$ for *every* classifier $f$, with
# equality if $f$ is constant. Such sets are called *mutually exclusive*.
#
# *Proof.* Against label $y$, let each adversary flip the features that it can afford to flip:
# $$
# r_1 = (-2x_0,\, 0, \dots, 0) \in S_1, \qquad r_\infty = (0,\, -2\eta y, \dots, -2\eta y) \in S_\infty .
# $$
# 1. After $r_1$, given $y$, the strong feature is distributed as under $-y$ and the weak ones as under $y$.
# 2. After $r_\infty$, given $-y$, the strong feature is distributed as under $-y$ and the weak ones as under $y$.
# 3. These are one and the same law. On it $f$ gives one answer to each input, while the two cases call for opposite
#    ones: $\;\Pr[f(x + r_1) \ne y \mid y] + \Pr[f(x + r_\infty) \ne -y \mid -y] = 1$.
# 4. Average over $y = \pm 1$ and divide by two: these two perturbations alone cause an average error of exactly
#    $1/2$, and the best perturbations cause no less. A constant errs on one label and never on the other, whatever
#    the noise. $\qquad\blacksquare$
#
# A proof on paper may hide a slip. So a theorem here is an object with up to four independent checks: **symbolic**
# (each step of the proof, in computer algebra, for all $p_0$, $\alpha$, $d$), **numeric** (quadrature, and exact
# risks of thousands of classifiers), **simulated** (samples, with a confidence interval) and **certified** (ball
# arithmetic, in which rounding errors are enclosed and not hoped away). The symbolic route speaks for every setting,
# the others for particular ones, where they would notice if it were wrong. In the output TV is the total variation
# distance between the two attacked laws of the proof; whatever it is, $R_{avg} \ge (1 - \mathrm{TV})/2$ for every
# $f$.
#
# A check that cannot fail is worth nothing. `breaks` names an assumption to drop, here by halving both radii, and
# then every one of the checks has to fail.

# %%
theorem = THEOREMS["thm1-linf-l1"]
print(f"{theorem.name} ({theorem.source})")
for assumptions in ({}, theorem.breaks):
    print("\nas stated" if not assumptions else f"\nwith {dict(assumptions)}, half of what the theorem assumes")
    for route, evidence in theorem.run(**assumptions):
        text = f"{route} {'HOLDS' if evidence.holds else 'FAILS'}: {evidence.detail}"
        print(fill(text, 110, initial_indent="  ", subsequent_indent="      "))

# %% [markdown]
# With half the radii the flips are no longer admissible, what is left of them no longer makes the two laws coincide,
# and there are classifiers with an average risk far below $1/2$. The theorem is about these radii, not about the two
# norms as such.
#
# ## 5. Every norm against its dual
#
# Nothing in steps 1 to 4 mentions a norm. All that matters is what the flips cost. Flipping the strong feature costs
# $2$ in any $\ell_p$. Flipping all the weak ones costs
# $\lVert (2\eta, \dots, 2\eta) \rVert_p = 2\alpha\, d^{1/p - 1/2}$, which for $p < 2$ tends to infinity with $d$, and
# for the dual exponent, $1/p + 1/q = 1$, to zero. So **for every $p < 2$, the $\ell_p$ ball of radius $2$ and the
# $\ell_q$ ball of radius $2\alpha\, d^{1/q - 1/2}$ are mutually exclusive**; Theorem 1 is the case $p = 1$. In high
# dimension the weak features are out of reach of $\ell_p$ noise of a fixed radius and within reach of $\ell_q$ noise
# of a vanishing one, while the strong feature costs the same in both. Which of the two is the more robust feature is
# reversed between a norm and its dual. ($\ell_2$ is its own dual: there the flip costs $2\alpha$ in every dimension.)
# The gauge of a unit ball is the norm, and so the cell below prices the flips.

# %%
print("the cost of flipping all weak features, in l_p / in its dual l_q")
print(f"{'p':>6}{'q':>6}" + "".join(f"{f'd = {d:,}':>18}" for d in (100, 10_000, 1_000_000)))
for p in (1, 1.2, 1.5, 1.75, 2):
    q = Lp(p, 1).dual
    flips = [np.full((1, d), 2 * BernoulliFeature(D.alpha, d, D.p0).eta) for d in (100, 10_000, 1_000_000)]
    costs = [f"{Lp(p, 1).gauge(r)[0]:,.4g} / {Lp(q, 1).gauge(r)[0]:.4g}" for r in flips]
    print(f"{p:6g}{q:6.3g}" + "".join(f"{cost:>18}" for cost in costs))
print("\nthm1-dual-norms")
for route, evidence in THEOREMS["thm1-dual-norms"].run():
    print(f"  {route} {'HOLDS' if evidence.holds else 'FAILS'}")

# %% [markdown]
# ## 6. Mixing two kinds of noise
#
# So far each input was attacked with one kind of noise. A more liberal adversary splits its budget,
# $$
# S_{\mathit{affine}} = \{\, r_1 + r_2 \;:\; r_1 \in \beta S_p,\; r_2 \in (1 - \beta) S_q,\; 0 \le \beta \le 1 \,\},
# $$
# which contains both sets and, for two $\ell_p$ balls, is the convex hull of their union. Always
# $R_{avg} \le R_{max} \le R_{\mathit{affine}}$. Does the mixing help it?
#
# **Claim 3.** Not against a linear classifier: for $f(x) = \mathrm{sign}(\langle w, x \rangle + b)$, two balls $S_p$,
# $S_q$ and any distribution, $R_{max}(f; S_p, S_q) = R_{adv}(f; S_{\mathit{affine}})$.
#
# *Proof.* A mixture with shares $\beta$ and $1 - \beta$ shifts the score by at most
# $\beta\, \sigma_{S_p}(w) + (1 - \beta)\, \sigma_{S_q}(w)$. This is linear in $\beta$, so its maximum is at
# $\beta = 1$ or $\beta = 0$, where only one kind of noise is left. $\;\blacksquare$
#
# The figure shows the outlines of the two balls, the hull that the mixtures fill, and the dashed line of the largest
# shift along $w$: it touches the hull where it touches a ball. The cell also prints the worst shift for several
# $\beta$ and runs the checks of Claim 3, the numeric one by brute force over meshes of both balls. Then it *bends*
# the score by a quadratic term: all checks fail, and some inputs fall to mixtures alone.

# %%
w, A, B = np.array([[0.9, 0.3]]), Linf(0.7), L1(1.2)
mixed, shares = Affine(A, B), np.linspace(0, 1, 6)
shifts = [(A.scaled(beta).support(w) + B.scaled(1 - beta).support(w))[0] for beta in shares]
print(f"share beta of {A!r}: " + "".join(f"{beta:8.1f}" for beta in shares))
print("worst shift of the score:" + "".join(f"{shift:8.4f}" for shift in shifts))
claim = THEOREMS["claim3-affine-linear"]
for assumptions in ({}, claim.breaks):
    print(f"\n{claim.name}, {'bent score' if assumptions else 'linear score'}")
    for route, evidence in claim.run(**assumptions):
        detail = f": {evidence.detail}" if route == "numeric" else ""
        text = f"{route} {'HOLDS' if evidence.holds else 'FAILS'}{detail}"
        print(fill(text, 110, initial_indent="  ", subsequent_indent="      "))
with paper_style():
    figure, ax = plt.subplots(figsize=(3.35, 3))
    ax.fill(*mixed.project(5 * directions).T, color="0.85", lw=0, label=r"mixtures, $S_{\mathit{affine}}$")
    for S, dashes in ((A, "-"), (B, "-.")):
        outline = (directions / S.gauge(directions)[:, None]).T
        ax.plot(*outline, dashes, color=COLOURS[S.name], label=rf"{LABELS[S.name]}, $\epsilon = {S.eps:g}$")
    ax.axline(mixed.argmax(w)[0], slope=-w[0, 0] / w[0, 1], color="black", ls="--", lw=0.9, label="largest shift")
    ax.plot(*mixed.argmax(w)[0], "o", color="black", ms=4)
    ax.arrow(0, 0, *w[0] / 2, width=0.015, head_width=0.12, length_includes_head=True, color="black")
    ax.text(*(w[0] / 4 + (0.0, -0.2)), "$w$")
    ax.set(xlim=(-1.4, 1.7), ylim=(-1.4, 1.4), aspect="equal", xticks=(-1, 0, 1), yticks=(-1, 0, 1))
    figure.legend(loc="outside upper center", ncols=2)
    display(figure)

# %% [markdown]
# ## 7. A short look at real digits
#
# So far we knew the distribution and, against a linear classifier, the worst perturbation. On images we know neither,
# so we train a network and search. Below, a small convolutional network learns from real handwritten digits, with no
# thought of robustness. Three attacks then search for the worst noise within the paper's MNIST radii, and within a
# quarter and a half of them: projected gradient descent for $\ell_\infty$ and $\ell_2$ (again and again a step along
# `argmax` of the gradient, then `project`, and clip the pixels), and the paper's SLIDE for $\ell_1$, which moves
# several pixels at a time where the steepest $\ell_1$ step moves one. "Union" lets the adversary pick the best of the
# three attacks for each digit. A search may miss what exists, so these accuracies are upper bounds on this network's
# robust accuracy.

# %%
torch.set_num_threads(1)  # the network is small: a second thread gains little, and loses much on a busy machine
experiment = replace(EXPERIMENTS["digits-natural"], epochs=6)
model = train(experiment)
digits, columns = load("digits", "test").first(200), ("clean", "linf", "l1", "l2", "union")
print(f"{experiment.model}, {experiment.epochs} epochs; the first {len(digits)} test images of {digits.source}")
print(f"radii: {', '.join(str(attack.S) for attack in suite('lp').values())}, all times a scale\n")
print(f"{'scale':>7}" + "".join(f"{name:>17}" for name in columns))
for scale in (0.25, 0.5, 1):
    attacks = {name: replace(attack, S=attack.S.scaled(scale)) for name, attack in suite("lp").items()}
    outcomes = evaluate(model, attacks, digits.x, digits.y, np.random.default_rng(0))
    table = outcomes.table()
    cells = [(table[name]["accuracy"], *table[name]["interval"]) for name in columns]
    print(f"{scale:7g}" + "".join(f"{f'{a:.1%} [{100 * low:.0f}, {100 * high:.0f}]':>17}" for a, low, high in cells))
print("\naccuracy under attack; in brackets a 95 % interval in per cent, the digits being a sample")

# %% [markdown]
# What does the noise look like? The next figure takes the first digit that all three attacks break at full scale.
# Above, what the network sees; below, the noise alone, all on one colour scale: orange adds ink,
# purple takes it away. The cell prints the size of each
# noise in all three norms, and how many pixels it moves by more than a tenth of the grey scale.

# %%
broken = [~outcomes.standing(name) for name in attacks]
k = np.flatnonzero(outcomes.standing() & np.all(broken, axis=0))[0]
x, y = torch.tensor(digits.x[[k]]), torch.tensor(digits.y[[k]])
with paper_style():
    figure, axes = plt.subplots(2, 4, figsize=(PAGE, 3.5))
    axes[0, 0].imshow(x[0, 0], cmap="gray", vmin=0, vmax=1)
    axes[0, 0].set(title="original", xlabel=f"answer: {model(x).argmax()}")
    for (above, below), (name, attack) in zip(axes.T[1:], attacks.items(), strict=True):
        x_adv = attack(model, x, y, Draws.for_examples(x.numpy(), outcomes.about["seed"], name))
        r = x_adv - x
        above.imshow(x_adv[0, 0], cmap="gray", vmin=0, vmax=1)
        above.set(title=rf"{LABELS[name]}, $\epsilon = {attack.S.eps:g}$", xlabel=f"answer: {model(x_adv).argmax()}")
        picture = below.imshow(r[0, 0], cmap="PuOr_r", vmin=-1, vmax=1)
        norms = ", ".join(f"{S.name} norm {S.gauge(r)[0]:6.3f}" for S in (Linf(1), L1(1), L2(1)))
        inside, moved = bool(attack.S.contains(r)[0]), (r.abs() > 0.1).sum()
        print(f"{attack.S!s:9} {norms}; within the set: {inside}; {moved:3} pixels moved")
    axes[1, 0].axis("off")
    figure.colorbar(picture, ax=axes[1, 0], location="left", fraction=0.15, label="noise")
    for ax in axes.flat:
        ax.set(xticks=(), yticks=())
        ax.spines[:].set_visible(False)
    display(figure)

# %% [markdown]
# The two adversaries keep their characters: $\ell_\infty$ noise is a little of everything, $\ell_1$ noise a lot of
# something. But mind what this section does *not* show. The network was never asked to be robust, so that it is not
# proves no trade-off; and Theorem 1 is about $\mathcal{D}_B$, not about digits. To see whether robustness to one kind
# of noise *costs* robustness to another on digits, one has to train networks for robustness, which takes minutes and
# not seconds: `python -m tradeoff.figures mnist_tradeoff` does it.
#
# ## What was learned
#
# - A perturbation set is what it does: `support` turns a robust risk of a linear classifier into a number, `argmax`
#   and `project` turn a gradient into an attack.
# - On $\mathcal{D}_B$ the $\ell_\infty$ ball of radius $2\eta$ and the $\ell_1$ ball of radius $2$ are mutually
#   exclusive. No classifier, of whatever kind, has an average risk below that of a constant. The proof makes two
#   attacked laws coincide; it holds for every norm $\ell_p$, $p < 2$, against its dual.
# - An adversary that mixes two kinds of noise gains nothing against linear classifiers, and can gain against others.
# - On digits, a network trained without noise loses most of its accuracy to each of the three attacks at the paper's
#   radii.
#
# *Next*, in notebook 02, the proof is taken apart: what it needs of the radii, and what it does not need at all.
#
# ## Exercise
#
# Theorem 1 takes the $\ell_\infty$ radius $2\eta$. Is that generous? Keep $\epsilon_1 = 2$ and shrink the other
# radius to $\epsilon_\infty = 2\eta\rho$ with $0 < \rho < 1$. Show that for every such $\rho$, however close to one,
# in dimension $d$ large enough some classifier has $R_{avg} < 1/2$. How large is large enough? Check your answer with
# `linear_risk`, on both sides of the threshold.
#
# <details>
# <summary><b>Solution</b></summary>
#
# Take $h(x) = \mathrm{sign}(\sum_{i \ge 1} x_i)$. By the table of section 2,
# $$
# R_{avg}(h) = \tfrac12 \left[ \Phi(-\alpha + \epsilon_\infty \sqrt d) + \Phi(-\alpha + \epsilon_1 / \sqrt d) \right]
# = \tfrac12 \left[ \Phi\big((2\rho - 1)\alpha\big) + \Phi(-\alpha + 2 / \sqrt d) \right].
# $$
# Since $\Phi$ increases and $\Phi(a) + \Phi(-a) = 1$, the sum $\Phi(a) + \Phi(b)$ is below $1$ if and only if
# $a + b < 0$. Here that is $(2\rho - 2)\alpha + 2 / \sqrt d < 0$, or
# $$
# \sqrt d > \frac{1}{(1 - \rho)\,\alpha} .
# $$
# So no smaller multiple of $\eta$ would do in all dimensions. For $\rho = 1$ no dimension is large enough, as
# Theorem 1 demands. The test, on both sides of the threshold:
#
# ```python
# alpha, rho = 2, 0.95
# excess = {}
# for d in (99, 100, 101):  # the threshold is d = 1 / ((1 - rho) * alpha) ** 2
#     dist, h = BernoulliFeature(alpha, d, p0=0.9), 1 - np.eye(d + 1)[0]
#     excess[d] = (dist.linear_risk(h, Linf(2 * dist.eta * rho)) + dist.linear_risk(h, L1(2))) / 2 - 0.5
# print(excess)
# assert excess[99] > 1e-5 > 1e-12 > abs(excess[100]) and excess[101] < -1e-5
# ```
#
# The differences change their sign at the threshold (at the threshold itself, up to rounding, they vanish).
# </details>
