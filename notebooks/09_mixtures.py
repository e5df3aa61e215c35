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
# # Half of one noise, half of the other, on real images
#
# **A network withstands rotations. It withstands $\ell_\infty$ noise, too. Does it withstand a bit of both?**
#
# An adversary of the union has the choice between two kinds of noise. One of the *affine* set splits its budget: a move
# of $\beta$ times the size allowed, then noise of $1 - \beta$ times the radius. Notebook 04 has shown what theory knows
# of it. Against a linear score mixing gains nothing (Claim 3). Against others it can (Claim 4), up to everything
# (Appendix I). The paper found it to gain much on networks, and its poster drew a bar chart of that. On this page we do
# it again, and look where the gain comes from.
#
# Nothing is trained here. Everything is read from the results in `tradeoff/results/runs`. What is not there yet is left
# out.

# %%
# %matplotlib inline
import numpy as np
from IPython.display import Markdown, display
from matplotlib import pyplot as plt

from tradeoff import claims, tables
from tradeoff.comparison import signed
from tradeoff.experiments import EXPERIMENTS
from tradeoff.figures import figure_module
from tradeoff.figures.style import LABELS, PAGE, paper_style
from tradeoff.mixtures import MIXED, RANDOM, SHARES, standing, types
from tradeoff.paired import Paired
from tradeoff.records import read_all

records = {run: record for run, record in read_all(MIXED).items() if "mixtures" in record.outcomes}
print("attacked by mixtures:", ", ".join(records))

# %% [markdown]
# ## 1. What a mixture looks like
#
# Four digits, each moved as far as the set allows, under random noise of the whole radius, and under half of either. To
# the eye the mixture is the mildest of the three.

# %%
for name in ("mixture_images", "mixture_bars"):
    module = figure_module(name)
    with paper_style():
        display(module.draw(module.compute(**module.PARAMETERS["quick"])))

# %% [markdown]
# ## 2. The poster's bars
#
# Above: accuracy without noise, under each type, under the worse of the two for each digit (the union), under mixtures.
# Diamonds are the paper's, of networks larger and longer trained. From the second to the third group the adversary may
# choose; from the third to the last it may mix.
#
# A bar that is lower might be lower by chance, or because the attack on mixtures tried more. So all bars are of the
# same digits, and the claim is about digits one by one: those that withstand either type under *every* attack that we
# have, and fall to a mixture.

# %%
found = {name: finding for name, finding in claims.findings().items() if finding.claim.group == "mixtures"}
display(Markdown(tables.markdown(*claims.table(found))))
for name, finding in found.items():
    if finding.estimate and name in claims.UNCONFIRMED:
        print(f"not borne out, {name}: {claims.UNCONFIRMED[name]}")

# %% [markdown]
# The two networks for digits answer differently. The one that knows moves and $\ell_\infty$ noise falls to their
# mixtures. A move is no addition of a fixed vector: how the noise acts depends on where the ink has gone. The one that
# knows $\ell_p$ noises loses next to nothing more. Its gain over the attacks *of one kind*, in the first of its two
# lines, vanishes when the strong suite's longer climbs are counted for the pure types too. Noise plus noise is noise of
# the same family; if the network were linear, Claim 3 would say that the worst of the mixtures is pure. On CIFAR-10,
# where noise is a few grey levels, mixing it with moves gains little.
#
# ## 3. How much of which
#
# The share $\beta$ goes to the type named at the right end. If mixing were useless, the curve would run between its two
# ends. Where the types help each other, it dips below both.

# %%
module = figure_module("affine_beta")
with paper_style():
    display(module.draw(module.compute(**module.PARAMETERS["quick"])))
for run, record in records.items():
    outcomes = record.outcomes["mixtures"]
    pure = standing(outcomes, SHARES[0], SHARES[-1])
    print(f"{run}, shares of {types(outcomes)[0]}; of what withstands both pure types, falls to")
    for share in (*SHARES[1:-1], RANDOM):
        print(f"    {share:10} {(pure & ~standing(outcomes, share)).sum() / pure.sum():6.1%}")
    mixed = standing(outcomes, *SHARES[1:-1])
    print(f"    any of the fixed three {(pure & ~mixed).sum() / pure.sum():6.1%}")

# %% [markdown]
# No single share does it. What an image falls to depends on the image: the three fixed ones together break more than
# the best of them. A random share, drawn anew for each try, leaves nothing to choose, and breaks about as much as the
# best fixed one, or as all three.
#
# ## 4. Whom the mixture breaks
#
# Is it always the same digits? Of those that withstand both pure types, we count the ways to mix that break them, out
# of the three fixed shares and the random one. Were it luck, each would fall to one at most. Were there digits that
# any mixture breaks, the last bars would stand out.

# %%
with paper_style():
    figure, axes = plt.subplots(1, max(2, len(records)), figsize=(PAGE, 2.2), sharey=True)
    for ax, (run, record) in zip(axes, records.items(), strict=False):
        outcomes = record.outcomes["mixtures"]
        pure = standing(outcomes, SHARES[0], SHARES[-1])
        falls = np.sum([~standing(outcomes, share) for share in (*SHARES[1:-1], RANDOM)], axis=0)[pure]
        counts = np.bincount(falls, minlength=5) / len(falls)
        ax.bar(range(5), 100 * counts, color="0.45")
        first, second = (LABELS[name] for name in types(outcomes))
        ax.set(title=f"{run}: {first} and {second}", xlabel="of four ways to mix, these break it")
        ax.grid(axis="y", lw=0.3)
    axes[0].set_ylabel("of what withstands\nboth types (%)")
    display(figure)

# %% [markdown]
# Where the types are moves and noise, a digit that falls to a mixture mostly falls to several. These digits have a weak
# spot of their own, which neither type reaches alone. Where both are $\ell_p$ noise, most fall to a single one of the
# four: short climbs, each lucky with another digit.
#
# ## 5. Training on mixtures
#
# Does training on mixtures close the gap, and at what cost? `mnist-mix-rt` and `mnist-mix-l1` meet, for each digit and
# try, a mixture with a share drawn anew. With `-e-at` a batch meets one of three, either pure type or such a mixture,
# drawn by how often they succeed. Below, where they have been trained: what it has cost, the clean accuracy, the union
# under all attacks that we have, and what mixtures take of it, beside networks that have never seen any.

# %%
for mixed, *pure in (("mnist-mix-rt", "mnist-max-rt"), ("mnist-mix-l1", "mnist-max", "mnist-e-at-soft")):
    print(f"{mixed}: {EXPERIMENTS[mixed].attacks[0]}"[:110])
    for run, record in read_all((mixed, f"{mixed}-e-at", *pure)).items():
        outcomes = record.outcomes.get("mixtures")
        if outcomes is None or not record.finished:
            print(f"    {run:17} –")
            continue
        union, strong = outcomes.standing(*types(outcomes)), record.outcomes.get("strong")
        union &= strong.standing(*types(outcomes))[: len(union)] if strong else True
        gain = Paired.of(union, union & standing(outcomes, *SHARES, RANDOM))
        low, high = map(signed, gain.interval())
        print(f"    {run:17} {record.passes()[-1] / 1e6:5.1f} million passes, clean {outcomes.accuracy():.1%}, union "
              f"{union.mean():.1%}, lost to mixtures {signed(gain.difference)} points ({low} to {high})")  # fmt: skip

# %% [markdown]
# A mixture with a share drawn evenly is seldom much of either type. What is trained on such mixtures alone meets few
# whole moves, and no noise at its full radius: it withstands mixtures about as well as it withstands the types, and
# these badly. Trained on all three, the network for moves and noise loses fewer points to mixtures than the one that
# has never seen any (though the intervals overlap), keeps as much of the union, and costs no more. The gap does not
# close. For $\ell_p$ noises there is no gap to close: of what withstands every attack on the types, mixtures break less
# than a point, in all of the networks that keep some of it.
#
# ## What was learned
#
# - *Mixtures of moves and noise are strictly stronger than their union*, on digits that were held one by one against
#   every attack of both suites on the pure types.
# - *For mixtures of $\ell_p$ noises that is not shown*, on any of our networks, once the pure types are attacked as
#   hard. A gain of mixtures over short attacks can be a gain over short attacks.
# - *No share is the right one.* An evaluation that fixes $\beta$ overstates robustness.
# - *Training on mixtures is no substitute for training on the types.* Beside them it may help a little.
# - The numbers come from `python -m tradeoff.experiments NAME --suite mixtures`, the tests from
#   `python -m tradeoff.claims`, the figures from `python -m tradeoff.figures mixture_bars affine_beta mixture_images`.
#
# ## Exercise
#
# Is a mixture stronger because it is *larger*, because moves and noise take a digit farther together than alone? Draw
# mixtures at random for several $\beta$, and compare how far they take a digit, in $\ell_2$, with the pure types.
#
# <details>
# <summary><b>Solution</b></summary>
#
# ```python
# import torch
# from tradeoff.data import load
# from tradeoff.perturbations import Affine, Linf, RotationTranslation
#
# x = torch.tensor(load("digits", "test").first(200).x)
# S, rng = Affine(RotationTranslation(3, 30), Linf(0.3)), np.random.default_rng(0)
# far = []
# for beta in (0, 0.25, 0.5, 0.75, 1):
#     moves, noise = S.a.scaled(beta), S.b.scaled(1 - beta)
#     there = moves.apply(x, moves.sample(x, rng)) if beta else x
#     there = there + noise.sample(x, rng) if beta < 1 else there
#     far.append((there.clamp(0, 1) - x).flatten(1).norm(dim=1).median().item())
#     print(f"beta {beta}: median distance {far[-1]:.1f}")
# assert far == sorted(far)
# ```
#
# No. The distance grows steadily from that of pure noise to that of pure moves, and no mixture is farther from its
# digit than a move is. What mixtures gain they gain by combination, and not by size.
# </details>
