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
# # How to break a network
#
# **Under $\ell_1$ noise a network keeps half of its digits. Or a third? Nothing changed but the attack.**
#
# On $\mathcal{D}_B$ the worst perturbation is known (the notebooks before this one). Against a network it has to be
# *found*, and a search that finds nothing proves nothing. An accuracy under attack is an upper bound on the robust
# accuracy, and only as good as the search: with a weak one, any network looks robust, and a comparison of two kinds of
# noise is a comparison of two searches. This page shows the attacks of the package at work on real digits: what each
# climbs and how it stays in its set (sections 2 to 4), what it draws (5), how fast it gets there (6), what it finds
# that others miss (7), how to notice that it was fooled (8), and what can be proved from the other side (9). Section
# 10 evaluates your own model.
#
# ## 1. A network to break
#
# A small convolutional network, trained on $\ell_\infty$ noise of the paper's radius $0.3$ (adversarial training in a
# hurry: two steps of PGD to an image). Trained so, networks learn to ignore small changes of a pixel, by thresholds in
# their first layer. That is a good defence against $\ell_\infty$ noise, and it is a poor one against $\ell_1$ noise,
# but one that is hard to see through: where all the units that look at a pixel have been cut off, its gradient is zero,
# and an attack that follows gradients does not know that the pixel is there. (The paper found this on MNIST: its
# $\ell_1$ and $\ell_2$ numbers for this model come from attacks that use no gradient.) Our network, trained in a hurry,
# has gone only part of that way.

# %%
# %matplotlib inline
from dataclasses import replace

import numpy as np
import torch
from IPython.display import display
from matplotlib import pyplot as plt
from matplotlib.colors import ListedColormap

from tradeoff import certify, evaluate, masking_report, train
from tradeoff.attacks import APGD, MSD, PGD, SLIDE, AffineAttack, CoordinateBeam, Draws, GridSearch, Softened, Square
from tradeoff.attacks.ascent import ascend
from tradeoff.attacks.softened import softened
from tradeoff.attacks.suites import suite
from tradeoff.data import load
from tradeoff.experiments import EXPERIMENTS
from tradeoff.figures.style import COLOURS, LABELS, PAGE, paper_style
from tradeoff.passes import count_passes
from tradeoff.perturbations import L1, L2, Linf, Lp, RotationTranslation, parse

torch.set_num_threads(1)  # the network is small: a second thread gains little, and loses much on a busy machine
hurried = PGD(Linf(0.3), steps=2, step=0.2, loss="ce", early_stop=False)
model = train(replace(EXPERIMENTS["digits-linf"], attacks=(hurried,), epochs=8, warmup=4))
digits = load("digits", "test").first(100)
x, y = torch.tensor(digits.x), torch.tensor(digits.y)
with torch.no_grad():
    correct = model(x).argmax(dim=1) == y
print(f"{correct.sum()} of the first {len(digits)} test images of {digits.source} are classified correctly")

# %% [markdown]
# ## 2. Into the ball and into the box
#
# A step along the gradient leaves the set, and the attack has to come back. To where? An image has its pixels in
# $[0, 1]$, so the set is not the ball but *ball* $\cap$ *box*,
# $$
# \{\, r : \lVert r \rVert_p \le \epsilon, \; -x \le r \le 1 - x \,\} .
# $$
# To project on the ball and then clip to the box does end in there, but on digits most pixels are at an end of the
# box, and what is clipped is budget thrown away. `S.project(z, low, high)` returns the nearest point of the
# intersection. For $\ell_1$, with $\rho_i$ the room that the box leaves $z_i$ (on the side that it points to),
# $$
# r_i = \mathrm{sign}(z_i)\, \min\big(\max(|z_i| - \theta, 0),\, \rho_i\big),
# \qquad \theta \ge 0 \text{ the least with } \textstyle\sum_i |r_i| \le \epsilon ,
# $$
# one number to find for each image (Duchi et al. 2008; in a box Croce and Hein 2021).
#
# The code released with the paper finds it one place too late. With $\mu$ the sorted $|z|$ and
# $\theta_k = (\mu_1 + \dots + \mu_k - \epsilon)/k$, the right threshold is $\theta_k$ for the *last* $k$ with
# $\mu_k > \theta_k$. The code takes it at the *first* $k$ without: $\theta_{k+1}$, which is too low, so the result is
# outside of the ball. Where every entry survives there is no such $k$, and it takes $\theta_1 = \mu_1 - \epsilon$: up
# to $d$ times the radius comes back. In the dimension of images the error is small, and it favours the attacker; still,
# a number measured outside of the ball is not a robust accuracy. The figure
# `python -m tradeoff.figures projection_bug` shows how far it goes, by dimension, and what it does to accuracies.
#
# Below, three points in the plane, projected exactly and by clipping. Then the same for random steps from real digits,
# and the wrong rule beside the right one.

# %%
S, low, high = L1(1.0), np.array([[-0.25, -0.2]]), np.array([[0.35, 0.8]])
with paper_style():
    figure, ax = plt.subplots(figsize=(PAGE * 0.62, 2.6))
    ax.fill([1, 0, -1, 0], [0, 1, 0, -1], color=COLOURS["l1"], alpha=0.2, lw=0, label=r"$\ell_1$ ball")
    ax.add_patch(plt.Rectangle((-0.25, -0.2), 0.6, 1.0, fill=False, ls="--", lw=0.9, label="box"))
    for k, z in enumerate(np.array([[[1.2, 0.6]], [[-1.1, 0.9]], [[0.9, -1.0]]])):
        exact, clipped = S.project(z, low, high), np.clip(S.project(z), low, high)
        for end, look, label in ((exact, "o", "exact"), (clipped, "s", "ball, then clipped")):
            ax.plot(*np.stack([z[0], end[0]]).T, ":", color="0.4", lw=0.8)
            colour, size = (COLOURS["linf"], 6) if look == "o" else (COLOURS["average"], 4)
            ax.plot(*end[0], look, color=colour, ms=size, label=None if k else label)
        ax.plot(*z[0], "x", color="black", ms=5, label=None if k else "after the step")
        print(f"z = {z[0]}: exact {exact[0].round(3)}, norm {np.abs(exact).sum():.3f}; "
              f"clipped {clipped[0].round(3)}, norm {np.abs(clipped).sum():.3f}")  # fmt: skip
    ax.set(xlim=(-1.3, 1.35), ylim=(-1.15, 1.1), aspect="equal", xlabel="$r_1$", ylabel="$r_2$")
    figure.legend(loc="outside right upper")
    display(figure)
S, step = L1(10), np.random.default_rng(0).laplace(0, 0.05, digits.x.shape)
exact, clipped = S.project(step, -digits.x, 1 - digits.x), np.clip(S.project(step), -digits.x, 1 - digits.x)
print(f"on digits, radius 10: exact {10 * S.gauge(exact).mean():.2f}, clipped {10 * S.gauge(clipped).mean():.2f} spent")
for name, z, eps in (("ten equal entries", np.full(10, 0.7), 1.0), ("a digit's step", step[0].ravel(), 10.0)):
    mu = np.sort(np.abs(z))[::-1]
    theta = (mu.cumsum() - eps) / np.arange(1, len(mu) + 1)
    wrong = np.maximum(np.abs(z) - theta[np.argmin(mu > theta)], 0)  # the first that fails, or 0 if none does
    print(f"{name}, norm over radius: exact {L1(eps).gauge(L1(eps).project(z[None]))[0]:.6f}, "
          f"off by one {wrong.sum() / eps:.6f}")  # fmt: skip

# %% [markdown]
# ## 3. What to climb
#
# An attack maximises a loss of the logits $z$. Three are on offer:
# $$
# \text{margin} = \max_{j \ne y} z_j - z_y, \qquad
# \text{CE} = \log \textstyle\sum_j e^{z_j} - z_y, \qquad
# \text{DLR} = \frac{\max_{j \ne y} z_j - z_y}{z_{(1)} - z_{(3)}},
# $$
# $z_{(1)} \ge z_{(2)} \ge \dots$ being the sorted logits. The margin says what we want: it is positive exactly where
# the answer is wrong. Cross-entropy looks at all classes at once, which often helps, but it saturates: a network sure
# of its answer has $e^{z_j - z_y} = 0$ in floating point, and no gradient. Multiply all logits by a thousand: not one
# answer changes, but CE goes blind. DLR (Croce and Hein 2020) divides the scale out.
#
# All three climb towards the best wrong class of the moment, and change their mind on the way. A *targeted* loss picks
# one class $t$ and climbs $z_t - z_y$ (or its DLR) all the way; `targets=3` tries the three likeliest wrong ones in
# turn.

# %%
print(f"{'accuracy, linf 0.3, 20 steps':30}" + "".join(f"{f'logits × {scale:,}':>18}" for scale in (1, 1000)))
for how in ({"loss": "ce"}, {"loss": "margin"}, {"loss": "dlr"}, {"loss": "dlr", "targets": 3}):
    shown = []
    for subject in (model, lambda v: 1000 * model(v)):
        x_adv = APGD(Linf(0.3), steps=20, **how)(subject, x, y, np.random.default_rng(0))
        shown.append((model(x_adv).argmax(dim=1) == y).double().mean().item())
    print(f"  {', '.join(map(str, how.values())):28}" + "".join(f"{value:18.2f}" for value in shown))

# %% [markdown]
# ## 4. How to climb
#
# Write $g$ for the gradient of the loss and $\Pi$ for the exact projection of section 2.
#
# - `PGD`: $r \leftarrow \Pi(r + \gamma u)$ with the set's steepest step $u$ (`argmax`: $\mathrm{sign}\, g$ in
#   $\ell_\infty$, $g / \lVert g \rVert_2$ in $\ell_2$) and $\gamma = 2.5\,\epsilon/k$ for $k$ steps.
# - `SLIDE`, for $\ell_1$: of the coordinates that can still move, $u$ is $\mathrm{sign}(g)$ on the 1 % with the largest
#   $\lvert g_i \rvert$, divided by their number.
# - `APGD`: with momentum, $\gamma$ halved where the loss no longer rises, and on from the best point. For $\ell_1$ it
#   moves ever fewer coordinates as $r$ turns out sparse. With `radii=(3, 2, 1)` the climb begins in the ball of radius
#   $3\epsilon$, where it is easy, and is pulled in to $2\epsilon$ and $\epsilon$.
# - `MSD`, for a union: tries the step of every norm, each with its own $\Pi$, and keeps the worst.
# - `AffineAttack`, for mixtures: two climbs in turn, in $\beta S_1$ and $(1 - \beta) S_2$, with $\beta$ drawn.
# - `Softened`: any of these, along the slope $\dfrac{h(v + \tau) - h(v - \tau)}{2\tau}$ instead of $h'(v)$.
# - `Square`: changes a random square, and keeps the change if the loss rises.
# - `CoordinateBeam`, for $\ell_1$ and $\ell_2$: moves one coordinate at a time, to the end of the box, and keeps the
#   best few points.
# - `GridSearch`: tries the $5 \times 5 \times 31$ translations and rotations of a grid.
#
# The last four deserve a word. *Softened* changes only the backward pass: $h$ is a ReLU, a clamp, a rounding; the
# values remain the network's own, so that what it finds is real. *Square* and *GridSearch* do not look at gradients at
# all, so nothing can mask them. And *CoordinateBeam* takes the $\ell_1$ budget for what it is: a pixel of value $x_i$
# costs $x_i$ to switch off and $1 - x_i$ to switch on, so radius $10$ buys about ten pixels, or twenty half-tones. It
# buys one at a time, whichever raises the loss most when actually *tried*.
#
# The cell runs them all on the same hundred digits; every attack stops at a digit once that is broken. The passes are
# forward and backward ones, on average for a digit.

# %%
linf, l1, l2, rt = Linf(0.3), L1(10), L2(2), RotationTranslation(3, 30)  # the paper's sets for MNIST
zoo = {
    "linf PGD": PGD(linf),
    "linf APGD, 3 targets": APGD(linf, steps=40, loss="dlr", targets=3),
    "linf Square": Square(linf, queries=200),
    "l2 PGD": PGD(l2),
    "l2 APGD, from 3ε": APGD(l2, radii=(3, 2, 1)),
    "l2 Square": Square(l2, queries=200),
    "l1 SLIDE": SLIDE(l1),
    "l1 APGD": APGD(l1),
    "l1 APGD, from 3ε": APGD(l1, radii=(3, 2, 1)),
    "l1 Softened APGD": Softened(APGD(l1)),
    "l1 CoordinateBeam": CoordinateBeam(l1, width=2),
    "l1 Square": Square(l1, queries=200),
    "union MSD": MSD((linf, l1, l2)),
    "affine PGD + SLIDE": AffineAttack(PGD(linf), SLIDE(l1)),
    "rt Grid": GridSearch(rt),
}
found, standing = {}, {}
print(f"{'attack':22}{'set':22}{'accuracy':>9}{'forward':>10}{'backward':>10}")
for name, attack in zoo.items():
    with count_passes(model) as passes:
        found[name] = attack(model, x, y, Draws.for_examples(digits.x, 0, name))
    with torch.no_grad():
        standing[name] = (model(found[name]).argmax(dim=1) == y).numpy()
    each = [passes[way] / len(x) for way in ("forward", "backward")]
    print(f"{name:22}{attack.S!s:22}{standing[name].mean():9.2f}{each[0]:10.0f}{each[1]:10.0f}")

# %% [markdown]
# Compare the $\ell_1$ attacks. APGD breaks more than SLIDE, the paper's own, and it breaks most when it begins at
# $3\epsilon$ or follows softened slopes. And a grid of moves breaks everything, in three passes: robustness to
# $\ell_\infty$ noise buys none to rotations.
#
# ## 5. What they draw
#
# Three digits: one that most attacks break, one in between, and one that few break. In each pair the image on
# the left is what the network sees, with its answer ($\star$ where wrong), and on the right is the noise, on one colour
# scale: orange adds ink, purple takes it away. Below the noise stands its norm, or, for a
# union and for mixtures, in which balls it lies.

# %%
broken_by = np.where(correct.numpy(), np.sum([~held for held in standing.values()], axis=0), -1)
ranked = np.argsort(-broken_by, kind="stable")[: int(correct.sum())]
chosen = ranked[[len(ranked) // 5, len(ranked) // 2, -len(ranked) // 5]]
for family in (("linf", "l2"), ("l1",), ("union", "affine", "rt")):
    rows = [name for name in zoo if name.split()[0] in family]
    with paper_style():
        figure, axes = plt.subplots(len(rows) + 1, 6, figsize=(PAGE, 1.17 * (len(rows) + 1)))
        for column, k in enumerate(chosen):
            axes[0, 2 * column].imshow(digits.x[k, 0], cmap="gray", vmin=0, vmax=1)
            axes[0, 2 * column].set_xlabel(f"a {y[k]}, broken by {broken_by[k]} of {len(zoo)}")
            for row, name in enumerate(rows, start=1):
                S, r = zoo[name].S, found[name][[k]] - x[[k]]
                axes[row, 2 * column].imshow(found[name][k, 0], cmap="gray", vmin=0, vmax=1)
                answer = model(found[name][[k]]).argmax().item()
                axes[row, 2 * column].set_xlabel(f"{answer}" if answer == y[k] else rf"{answer} $\star$")
                noise = axes[row, 2 * column + 1].imshow(r[0, 0], cmap="PuOr_r", vmin=-1, vmax=1)
                balls = ", ".join(LABELS[B.name] for B in (linf, l1, l2) if B.contains(r)[0])
                size = "moved" if S.name == "rt" else f"in the ball {balls}" if balls else "in no ball"
                size = rf"{LABELS[S.name]} norm {S.gauge(r)[0] * S.eps:.2f}" if isinstance(S, Lp) else size
                axes[row, 2 * column + 1].set_xlabel(size)
        for row, name in enumerate(rows, start=1):
            axes[row, 0].set_ylabel("\n".join([LABELS[name.split()[0]], *name.split(" ", 1)[1].split(", ")]))
        for ax in axes.flat:
            ax.set(xticks=(), yticks=(), frame_on=False)
        figure.colorbar(noise, cax=axes[0, 5].inset_axes((0, 0, 0.1, 1)), ticks=(-1, 0, 1), label="noise")
        display(figure)

# %% [markdown]
# Each has a hand of its own. PGD in $\ell_\infty$ paints everything; Square paints stripes and blocks, and comes
# surprisingly far without a single gradient. The $\ell_1$ climbers put grey dots, the beam sets few pixels to full
# black or white. MSD ends in whichever ball hurts this digit most.
#
# ## 6. Loss against steps
#
# The same climbs from inside, no digit leaving early: the mean margin, whose sign is the verdict. Grey stretches of the
# climb that begins at $3\epsilon$ are outside of the ball and count for nothing. They are there to arrive somewhere
# better. (PGD's steepest $\ell_1$ step moves a single pixel.)

# %%
curves, k = {"l1": {}, "linf": {}}, 60
for S, name, attack, radii, climbed in (
    (l1, "PGD", PGD(l1, k), (1,), model),
    (l1, "SLIDE", SLIDE(l1, k), (1,), model),
    (l1, "APGD", APGD(l1, k), (1,), model),
    (l1, "APGD, from 3ε", APGD(l1, k), (3, 2, 1), model),
    (l1, "Softened APGD", APGD(l1, k), (1,), softened(model)),
    (linf, "PGD", PGD(linf, k), (1,), model),
    (linf, "APGD", APGD(linf, k), (1,), model),
):
    curve, point = curves[S.name].setdefault(name, []), None
    for radius in radii:
        steps = k if len(radii) == 1 else k // len(radii)
        climber, walk = replace(attack, S=S.scaled(radius), steps=steps), {}
        draws = Draws.for_examples(digits.x, 0, "curves")  # the same starts for all
        point = ascend(climbed, x, y, draws, [climber], steps=steps, early_stop=False, begin=point,
                       watch=walk.__setitem__).x  # fmt: skip
        curve += [(float(now.loss.mean()), radius) for now in walk.values()]
with paper_style():
    figure, axes = plt.subplots(1, 2, figsize=(PAGE, 2.7), width_ratios=(1.6, 1))
    palette = dict(zip(curves["l1"], ("0.5", COLOURS["l1"], COLOURS["linf"], COLOURS["l2"], "black"), strict=True))
    dashes = dict(zip(curves["l1"], (":", "--", "-.", "-", (0, (5, 1, 1, 1, 1, 1))), strict=True))
    for ax, (family, lines) in zip(axes, curves.items(), strict=True):
        for name, curve in lines.items():
            loss, radius = np.array(curve).T
            style = {"ls": dashes[name], "color": palette[name]}
            ax.plot(np.where(radius > 1, loss, np.nan), color="0.75", lw=2.5)
            ax.plot(np.where(radius == 1, loss, np.nan), label=name, **style)
            print(f"{family:5}{name:22} mean margin at the start {loss[0]:6.2f}, at the end {loss[-1]:6.2f}")
        ax.axhline(0, color="black", lw=0.5)
        ax.set(title=LABELS[family], xlabel="steps", xlim=(0, k))
    axes[0].set_ylabel("mean margin")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
    display(figure)

# %% [markdown]
# ## 7. Why the union needs them all
#
# A robust accuracy counts the digits that *no* attack breaks, and the attack that is best on average is not best on
# every digit. In the figure a row is an attack and a column a digit, dark where the attack breaks it; on the right,
# what would stand if there were no other attack. Printed is what stands when all attacks on a set have been tried.

# %%
names = [name for name in zoo if not name.startswith("rt")]  # the grid breaks them all
matrix = ~np.array([standing[name] for name in names])
order = np.argsort(-matrix.sum(axis=0), kind="stable")
with paper_style():
    figure, ax = plt.subplots(figsize=(PAGE, 2.9))
    ax.imshow(matrix[:, order], aspect="auto", interpolation="none", cmap=ListedColormap(["#F2F2F2", "#0072B2"]))
    ax.set_yticks(range(len(names)), [f"{LABELS[n.split()[0]]}  {n.split(' ', 1)[1]}" for n in names])
    ax.set_xlabel("digits, from the ones that every attack breaks to those that none does")
    ax.hlines(np.arange(len(names) - 1) + 0.5, -0.5, len(x) - 0.5, color="white", lw=1)
    right = ax.secondary_yaxis("right")
    right.set_yticks(range(len(names)), [f"{standing[name].mean():.0%} stand" for name in names])
    right.tick_params(length=0)
    display(figure)
for family in ("linf", "l2", "l1", "union"):
    members = [name for name in names if name.startswith(family) or family == "union" and "affine" not in name]
    held = np.array([standing[name] for name in members])
    alone = {name.split(" ", 1)[1] if family != "union" else name: int((~held[i] & np.delete(held, i, 0).all(0)).sum())
             for i, name in enumerate(members)}  # fmt: skip
    print(f"{family:6} best single attack {held.mean(axis=1).min():.2f}, all {len(members)} together "
          f"{held.all(axis=0).mean():.2f}; broken by one alone: "
          f"{', '.join(f'{name} {n}' for name, n in alone.items() if n) or 'none'}")  # fmt: skip

# %% [markdown]
# On $\ell_1$ and $\ell_2$ no single attack is enough, and the union over *sets* is lower again. That is the quantity
# the paper is about, and an $\ell_1$ attack that is a few points too weak changes which of two training methods comes
# out ahead.
#
# ## 8. Were the attacks fooled?
#
# A gradient that leads nowhere makes a network *look* robust. Here is how to do that on purpose: round the input to
# five levels of grey. Accuracy hardly changes, and the gradient of a staircase is zero: PGD is stuck where it starts.
# That says nothing about the network. `Softened` sees through the stairs, whose slope over $\pm\tau$ is that of a ramp,
# and Square never looked at a gradient: both break what PGD could not.
#
# `masking_report` looks for the symptoms, on any model: gradients that are zero, a loss that does not rise, accuracy
# that does not fall with the radius, fewer or other steps that do better, and rivals (softened and averaged gradients,
# finite differences, Square) that break what the gradient attack leaves standing. Each is a test with a stated
# false-alarm rate. Its verdict is *sound*, *suspect* or *masked*, and it names the examples that show it.

# %%
tried = {"no attack": None, "PGD": PGD(linf), "Softened PGD": Softened(PGD(linf)), "Square": zoo["linf Square"]}
for title, subject, S in (("as trained", model, l1), ("rounded", lambda v: model((4 * v).round() / 4), linf)):
    shown = []
    for name, attack in tried.items():
        x_adv = x if attack is None else attack(subject, x, y, Draws.for_examples(digits.x, 0, name))
        shown.append(f"{name} {(subject(x_adv).argmax(dim=1) == y).double().mean():.2f}")
    print(f"{title}, accuracy under {linf}: {', '.join(shown)}")
    report = masking_report(subject, x[:60], y[:60], S, np.random.default_rng(0), steps=10)
    print("\n".join(report.lines()), end="\n\n")

# %% [markdown]
# The report is about gradients, not about robustness: a broken network with honest gradients is sound. And it is a
# test: a few digits that only softened gradients break are no proof of masking, but they are broken all the same, and a
# good suite has attacks of several kinds whatever the report says.
#
# ## 9. From the other side
#
# Attacks bound the robust accuracy from above. `certify` bounds it from below. It pushes the whole set through the
# network, with an interval for every unit, and a ReLU that may be on or off replaced by two lines that enclose it; what
# comes out contains every answer that the network can give. If the right label wins throughout, that is a proof. So
# $$
# \text{certified} \;\le\; \text{true robust accuracy} \;\le\; \text{attacked},
# $$
# example by example. For a linear model both ends meet. For this network they part where more and more ReLUs are
# undecided.

# %%
part, radii = slice(0, 25), (0.05, 0.1, 0.13, 0.16, 0.2)
proved = [certify(model, x[part], y[part], Linf(eps)) for eps in radii]
attacked = []
for eps in radii:
    x_adv = APGD(Linf(eps), steps=20, loss="dlr", targets=3)(model, x[part], y[part], np.random.default_rng(0))
    attacked.append((model(x_adv).argmax(dim=1) == y[part]).numpy())
lower, upper = np.mean(proved, axis=1), np.mean(attacked, axis=1)
with paper_style():
    figure, ax = plt.subplots(figsize=(PAGE * 0.6, 2.5))
    ax.fill_between(radii, lower, upper, color="0.88", lw=0, label="the truth is in here")
    ax.plot(radii, upper, "o-", ms=3.5, color=COLOURS["l1"], label="attacked")
    ax.plot(radii, lower, "s--", ms=3.5, color=COLOURS["linf"], label="certified")
    ax.set(xlabel=r"$\ell_\infty$ radius", ylabel="accuracy", xlim=(0, 0.21), ylim=(0, 1))
    ax.legend(loc="lower left")
    display(figure)
for eps, a, b in zip(radii, proved, attacked, strict=True):
    print(f"radius {eps:4}: certified {a.mean():.2f} ≤ true ≤ attacked {b.mean():.2f}; "
          f"proved and broken all the same: {(a & ~b).sum()}")  # fmt: skip

# %% [markdown]
# Long before the paper's radius of $0.3$ nothing is certified. That is the bounds' weakness as much as the network's:
# networks are certified at such radii when they are trained to be.
#
# ## 10. Your own model
#
# Images in $[0, 1]$ go in, logits come out, any normalisation is inside the model. Then five lines do. The suite names
# attacks for every set, cheap ones first; with `cascade=True` an attack is spared what those before it have broken. The
# random draws belong to the image, so neither the batch size nor the order of images changes the answer.

# %%
sets = parse("linf:0.3 | l1:10 | l2:2")  # or "paper_mnist", which has rotations too
outcomes = evaluate(model, suite("quick", sets), digits.x, digits.y, np.random.default_rng(0), cascade=True)
for row, names in outcomes.rows().items():
    low, high = outcomes.interval(*names)
    print(f"{row:6} {outcomes.accuracy(*names):.2f}, 95 % interval [{low:.2f}, {high:.2f}]")
print(*(f"{gain.attack} broke {gain.broken} of {gain.tried}" for gain in outcomes.gains()), sep="; ")

# %% [markdown]
# This was the quick suite: compare its $\ell_1$ line with section 7. A number for a paper wants
# `suite("strong", sets)`, or the command, which also writes the tables (text, Markdown, LaTeX), a plot, the masking
# report, the certified bounds and a verdict in sentences, and goes on where it was when interrupted:
#
# ```console
# $ python -m tradeoff.evaluate --entry my_module:load_model --data mnist --sets paper_mnist --suite strong --n 1000
# ```
#
# ## What was learned
#
# - An accuracy under attack belongs to the network *and* to the attack. On a network trained on $\ell_\infty$ noise the
#   choice of the $\ell_1$ attack moves it further than most defences do.
# - The set is ball $\cap$ box, and the projection on it is exact; project and clip wastes budget, and off by one leaves
#   the ball.
# - A loss should not saturate (margin, DLR); targets and a radius that shrinks find what a straight climb does not.
# - Gradients, softened gradients, single coordinates and random squares fail on different digits. The union, digit by
#   digit, is what counts.
# - What an attack cannot break is not safe until it is certified, and between the two bounds lies what nobody knows.
#
# *Next*, in notebook 07, the paper's networks for MNIST, under its own attacks and under these.
#
# ## Exercise
#
# Is a gradient better spent on one long climb or on another start? Give `APGD` on $\ell_1$ one hundred steps to a
# digit, in one climb and in five, straight ones and such that begin at $3\epsilon$. Which breaks most? And
# before you try: does `Softened` help the winner?
#
# <details>
# <summary><b>Solution</b></summary>
#
# ```python
# many = load("digits", "test").first(500)
# more, labels, left = torch.tensor(many.x), torch.tensor(many.y), {}
# for climbs in (1, 5):
#     for begin, radii in (("straight", (1,)), ("from 3ε", (3, 2, 1))):
#         attack = APGD(l1, steps=100 // climbs, restarts=climbs, radii=radii)
#         for slopes, tried in (("own", attack), ("softened", Softened(attack))):
#             x_adv = tried(model, more, labels, np.random.default_rng(0))
#             left[climbs, begin, slopes] = (model(x_adv).argmax(dim=1) == labels).double().mean().item()
# print(*(f"{' × '.join(map(str, how[:2]))}, {how[2]} slopes: {value:.3f}" for how, value in left.items()), sep="\n")
# assert all(left[5, *how] < left[1, *how] for _, *how in left)
# assert left[1, "from 3ε", "own"] < left[5, "straight", "own"]
# gained = {begin: left[1, begin, "own"] - left[1, begin, "softened"] for begin in ("straight", "from 3ε")}
# assert gained["straight"] > 0.05 > gained["from 3ε"]
# ```
#
# On the network as trained here: starting again helps, and beginning at $3\epsilon$ helps more. Softened slopes help
# the single straight climb by ten digits of a hundred, and that from $3\epsilon$ by hardly one. Both are ways around
# one obstacle, the flat land at the start: a large ball reaches beyond it, and softened slopes see beyond it. To add
# what takes the same way gains little; suites gain by attacks that take another.
# </details>
