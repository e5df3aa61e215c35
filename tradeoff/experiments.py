"""Experiments are data: what is trained, on what, and how it is evaluated. Results are made when they are missing.

A run is a folder RUNS/NAME: `experiment.json` (what was declared, and the provenance), `log.jsonl` (a line per epoch)
and `weights.safetensors`; `checkpoint.safetensors` while training is under way, from which an interrupted run goes on.
An evaluation by the attacks of a suite on the first N test examples is a folder RUNS/NAME/SUITE-N: `outcomes.npz` and
`outcomes.json` (the outcome matrix), `task.json` and `cells.jsonl` (what is known of it, see `tradeoff.cells`).

`python -m tradeoff.experiments` makes many of them; the command itself is `campaign.main`.
"""

import sys
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tradeoff.attacks import (
    APGD,
    MSD,
    PGD,
    SLIDE,
    Accumulated,
    AffineAttack,
    Flips,
    RandomSearch,
    Softened,
    StraightThrough,
    WarmStart,
)
from tradeoff.attacks.suites import FIXED, SEEING, WHOLE, suite
from tradeoff.checks import check_count
from tradeoff.data import Images, load
from tradeoff.engines import Local, missing, run
from tradeoff.evaluation import Outcomes, describe, evaluate
from tradeoff.files import alone, make_folder, read_json, write_json
from tradeoff.models import DeadZone, Ensemble, build, grow, seen
from tradeoff.names import lookup
from tradeoff.perturbations import L1, L2, PRESETS, Affine, Linf, Lp, RotationTranslation, Union
from tradeoff.provenance import provenance
from tradeoff.together import joined, place, wait_for_all
from tradeoff.training import fit, lay_out, load_weights, save_weights

LINF, ONE, TWO, RT = Linf(0.3), L1(10), L2(2), RotationTranslation(3, 30)  # the paper's MNIST sets


# Of CIFAR-10, what two cores can do.
_LIGHT: dict[str, Any] = {"model": "small_resnet", "epochs": 6, "batch": 100, "memory_format": "channels_last"}
# Fields that runs of before do not have.
_LATER = ("precision", "compile", "memory_format", "optimizer", "augment", "average", "start", "teachers", "kept")

_KEPT = {"float32": torch.float32, "float16": torch.float16}


@dataclass(frozen=True)
class Experiment:
    """One training run and its evaluation.

    `data` and `model` are names of `tradeoff.data` and `tradeoff.models`; `attacks` are those trained against (none:
    natural training), brought together by the strategy `combine` ("avg", "max", "e-at" or "alternating", see
    `tradeoff.training`); `suite` names the attacks of the evaluation, on the first `test` test examples, and `watch`
    those made after every epoch, on the first `watched` of them (None: no such evaluation). `epochs`, `lr`, `seed`,
    `batch`, `warmup` and what follows `watched` are those of `tradeoff.training.fit`; their defaults suit the embedded
    digits. Fine-tuning begins with the weights of the experiment `start`, which is trained where it is missing, or with
    the mean of those of several (of an `Ensemble`, with those of as many, one for each member; see `grow` in
    `tradeoff.models`), and without epochs ends there; others begin with weights drawn from the seed. `teachers` are
    other experiments, trained where they are missing, whose mean over three views of an image is the `teacher` of
    `fit`. Weights are `kept`, and evaluated, as "float32" or, in half the memory, rounded to "float16".

    >>> EXPERIMENTS["digits-linf"].combine, Experiment("digits", epochs=2, seed=1).model
    ('avg', 'small_cnn')
    """

    data: str
    model: str = "small_cnn"
    attacks: tuple = ()
    combine: str = "avg"
    epochs: int = 16
    lr: float = 3e-3
    seed: int = 0
    batch: int = 50
    warmup: int = 6
    suite: str = "lp"
    test: int = 1000
    watch: str | None = None
    watched: int = 500
    precision: str = "float32"
    compile: bool = False
    memory_format: str = "contiguous"
    optimizer: str = "adam"
    augment: str = "none"
    average: float = 0.0
    start: str | tuple[str, ...] | None = None
    teachers: tuple[str, ...] = ()
    kept: str = "float32"

    @property
    def starts(self) -> tuple[str, ...]:
        """Of whose weights its own begin."""
        return (self.start,) if isinstance(self.start, str) else self.start or ()

    @property
    def needs(self) -> tuple[str, ...]:
        """The experiments that are trained before it."""
        return tuple(dict.fromkeys((*self.starts, *self.teachers)))

    def __repr__(self) -> str:
        # The last of them only where they say something: so the runs of before they were there can still be read.
        shown = [f for f in fields(self) if f.name not in _LATER or getattr(self, f.name) != f.default]
        return f"Experiment({', '.join(f'{f.name}={getattr(self, f.name)!r}' for f in shown)})"


def _declare(data: str, steps: int, **how) -> dict[str, Experiment]:
    """The models of one data set: natural, one per set, the lp sets together, linf noise and rotations together.

    E-AT has the extreme norms alone, as its authors have it, and its control, alternating, has the same.
    """
    training: dict[str, Any] = {"steps": steps, "loss": "ce", "early_stop": False}
    step = 2.5 / steps  # of the radius, in l1 too: few steps must not be long ones
    linf, l1, l2 = PGD(LINF, **training), SLIDE(ONE, step=step * ONE.eps, **training), PGD(TWO, **training)
    rt = RandomSearch(RT, tries=10, loss="ce", early_stop=False)
    base = Experiment(data, **how)
    rotated: dict[str, Any] = {"suite": "rt", "watch": base.watch and "rt-20"}
    models = {
        "natural": base,
        "linf": replace(base, attacks=(linf,)),
        "l1": replace(base, attacks=(l1,)),
        "l2": replace(base, attacks=(l2,)),
        "avg": replace(base, attacks=(linf, l1, l2)),
        "max": replace(base, attacks=(linf, l1, l2), combine="max"),
        "msd": replace(base, attacks=(MSD((LINF, TWO, ONE), step=step, **training),)),
        "e-at": replace(base, attacks=(linf, l1), combine="e-at"),
        "alternating": replace(base, attacks=(linf, l1), combine="alternating"),
        "rt": replace(base, attacks=(rt,), **rotated),
        "avg-rt": replace(base, attacks=(linf, rt), **rotated),
        "max-rt": replace(base, attacks=(linf, rt), combine="max", **rotated),
    }
    return {f"{data}-{name}": experiment for name, experiment in models.items()}


def _declare_cifar10(ending: str = "", steps: int = 4, way: float = 2.5, **how) -> dict[str, Experiment]:
    """The models of CIFAR-10: natural, one per set, linf noise with l1 noise and with rotations. Steps have the length
    `way`/steps of the radius."""
    linf, l1, rt = PRESETS["paper_cifar10"].sets
    training: dict[str, Any] = {"steps": steps, "loss": "ce", "early_stop": False}
    msd = MSD((linf, l1), step=way / steps, **training)
    linf, l1 = (attack(S, step=way / steps * S.eps, **training) for attack, S in ((PGD, linf), (SLIDE, l1)))
    rt = RandomSearch(rt, tries=10, loss="ce", early_stop=False)
    base = Experiment("cifar10", suite="cifar10-lp", watch="cifar10-lp-20", optimizer="sgd", lr=0.1, warmup=1,
                      augment="crops", **how)  # fmt: skip
    rotated: dict[str, Any] = {"suite": "cifar10-rt", "watch": "cifar10-rt-20"}
    models = {
        "natural": base,
        "linf": replace(base, attacks=(linf,)),
        "l1": replace(base, attacks=(l1,)),
        "rt": replace(base, attacks=(rt,), **rotated),
        "avg-l1": replace(base, attacks=(linf, l1)),
        "max-l1": replace(base, attacks=(linf, l1), combine="max"),
        "msd-l1": replace(base, attacks=(msd,)),
        "e-at-l1": replace(base, attacks=(linf, l1), combine="e-at"),
        "avg-rt": replace(base, attacks=(linf, rt), **rotated),
        "max-rt": replace(base, attacks=(linf, rt), combine="max", **rotated),
    }
    return {f"cifar10-{name}{ending}": experiment for name, experiment in models.items()}


EXPERIMENTS: dict[str, Experiment] = {
    **_declare("digits", steps=5),
    **_declare("mnist", steps=10, epochs=10, lr=1e-3, batch=100, warmup=1, suite="lp-100", watch="lp-20"),
    **_declare_cifar10(**_LIGHT),
    # As the paper: 80,000 steps of 128 images, which a GPU makes in days.
    **_declare_cifar10(
        "-paper", model="wide_resnet_28_10", steps=10, epochs=205, batch=128, memory_format="channels_last"
    ),
}
# One long step from a random start (Wong et al. 2020, "Fast is better than free"), where there is a climb.
EXPERIMENTS |= {name: experiment
                for name, experiment in _declare_cifar10("-one-step", steps=1, way=1.25, **_LIGHT).items()
                if not all(isinstance(attack, RandomSearch) for attack in experiment.attacks)}  # fmt: skip
EXPERIMENTS |= {f"mnist-{name}-s{seed}": replace(EXPERIMENTS[f"mnist-{name}"], seed=seed)
                for name in ("avg", "max", "msd") for seed in (1, 2)}  # fmt: skip
# The paper's network, for the largest budget that fits two cores in an hour: four epochs against half the steps.
EXPERIMENTS |= {f"{name}-paper": experiment
                for name, experiment in _declare("mnist", steps=5, model="paper_cnn", epochs=4, lr=1e-3, batch=100,
                                                 warmup=1, suite="lp-100", watch="lp-20",
                                                 memory_format="channels_last").items()
                if name in ("mnist-linf", "mnist-max", "mnist-msd")}  # fmt: skip
# Against APGD that shrinks its radius instead of SLIDE, whose gradients networks learn to mask.
EXPERIMENTS["mnist-e-at-apgd"] = replace(EXPERIMENTS["mnist-e-at"], attacks=(
    *EXPERIMENTS["mnist-linf"].attacks, APGD(ONE, 10, radii=(3, 2, 1), early_stop=False)))  # fmt: skip
# And against slopes that see past what a network masks its gradients with.
EXPERIMENTS["mnist-e-at-soft"] = replace(EXPERIMENTS["mnist-e-at-apgd"], attacks=(
    *EXPERIMENTS["mnist-e-at-apgd"].attacks, *map(Softened, EXPERIMENTS["mnist-l1"].attacks)))  # fmt: skip
# One network for all three, behind a front end that swallows linf noise, trained on what gets through. Ten steps, and
# both norms with a loss each: what is trained on five steps of one learns to mislead them after ten epochs.
EXPERIMENTS["mnist-dead-zone"] = Experiment(
    "mnist", "dead_zone_wide_cnn", combine="e-at", epochs=16, lr=1e-3, batch=100, warmup=2, suite="flips",
    watch="flips-20", watched=200, precision="bf16", attacks=(
        StraightThrough(PGD(LINF, steps=5, loss="ce", early_stop=False)),
        Flips(ONE, steps=10, loss="ce", early_stop=False),
        Flips(TWO, steps=10, loss="margin", early_stop=False)))  # fmt: skip


def _seeing(experiment: Experiment, seen: tuple[float, float] | None, **how) -> Experiment:
    """The same training of another network, of which its flips know what is `seen`, or ask it (None)."""
    attacks = (replace(a, seen=seen) if isinstance(a, Flips) else a for a in experiment.attacks)
    return replace(experiment, attacks=tuple(attacks), **how)


# Nine of ten pixels are black. Where the zone is at black alone, l1 has to pay for all of a pixel that it whitens, and
# what is white can be dimmed a little, which flips do not. A network learns to mislead whatever it is trained on: on
# flips and on climbs, each in its turn ("apart"), or on one attack of both ("together"). Hence many, mostly in l1.
_BLACK = _seeing(EXPERIMENTS["mnist-dead-zone"], (0.3, 1.0), model="black_zone_deep_cnn", suite="flips-30-100",
                 watch="flips-20-30-100", memory_format="channels_last")  # fmt: skip
_CLIMB = APGD(ONE, 10, loss="ce", early_stop=False)


def _many(linf: Any, l1: Any, l2: Any) -> tuple:
    """Five attacks for one in l1: climbs from where flips have led, in two losses, and from a larger ball; along own
    slopes while the radius shrinks; and so at the class that is likeliest among the wrong ones."""
    climb = replace(_CLIMB, S=l1.S)
    shrinking = replace(climb, steps=20, radii=(3, 2, 1))
    return (
        linf,
        WarmStart(l1, climb),
        WarmStart(replace(l1, loss="margin"), replace(climb, loss="margin")),
        WarmStart(replace(l1, S=L1(3 * l1.S.eps)), replace(climb, steps=20)),
        shrinking,
        replace(shrinking, loss="margin", targets=1),
        l2,
    )


EXPERIMENTS["mnist-black-zone"] = replace(_BLACK, epochs=24, attacks=_many(*_BLACK.attacks))


def _beyond(l1: float, l2: float) -> Experiment:
    """That network, trained on against larger balls than it has to withstand: what withstands those on digits that it
    has learned has something to spare on new ones. Not in linf, where beyond 0.3 all of the paper turns grey. And
    flips were misled in l2, where it had met nothing else, so that a climb from where they have led joins them."""
    linf, one, two = _BLACK.attacks
    one, two = replace(one, S=L1(l1)), replace(two, S=L2(l2))
    more = replace(one, S=LINF), WarmStart(two, replace(_CLIMB, S=two.S))
    return replace(_BLACK, epochs=12, warmup=0, start="mnist-black-zone", attacks=(*_many(linf, one, two), *more))


EXPERIMENTS["mnist-black-zone-14"], EXPERIMENTS["mnist-black-zone-16"] = _beyond(14, 2.5), _beyond(16, 2.8)
# It withstands more on digits that it has learned than on new ones; moved digits are new each time.
EXPERIMENTS["mnist-black-zone-moved"] = replace(
    EXPERIMENTS["mnist-black-zone-14"], start="mnist-black-zone-14", augment="shifts", epochs=14)  # fmt: skip


def _longer(one: Lp, two: Lp) -> tuple:
    """Against longer climbs in all three: what moved digits taught it was, in part, to mislead five steps in linf,
    flips that nothing follows in l2 and, in l1, climbs that follow no flips."""
    flips, climb = _BLACK.attacks[1], APGD(LINF, 20, loss="ce", early_stop=False)
    targeted = replace(climb, loss="margin", targets=1)
    ways = [(S, S, loss) for S in (one, two) for loss in ("ce", "margin")] + [(L1(3 * one.eps), one, "ce")]
    return (
        StraightThrough(climb),
        StraightThrough(targeted),
        *_from_flips(flips, climb, ways),
        replace(targeted, S=one, radii=(3, 2, 1)),
    )


def _from_flips(flips: Flips, climb: APGD, ways: Iterable[tuple[Lp, Lp, str]]) -> Iterator[WarmStart]:
    """Climbs from where flips of one ball have led, by the same loss in another."""
    return (WarmStart(replace(flips, S=S, loss=loss), replace(climb, S=T, loss=loss)) for S, T, loss in ways)


EXPERIMENTS["mnist-black-zone-longer"] = replace(
    EXPERIMENTS["mnist-black-zone-moved"], start="mnist-black-zone-moved", attacks=_longer(L1(14), L2(2.5)), epochs=8
)


_UNEVEN = replace(_BLACK.attacks[1], seen=(0.3, 0.9))


def _accumulated(steps: int, carry: bool = False, l1: float = 12, l2: float = 2.25) -> tuple[Accumulated, ...]:
    """Ten steps of a climb to begin with, straight in linf and from what flips find in the others, and in each epoch
    `steps` from where it was."""
    flips = replace(_UNEVEN, loss="margin")
    how: dict[str, Any] = {"steps": 10, "loss": "ce", "early_stop": False}
    linf = PGD(LINF, step=0.045, **how)
    others = SLIDE(L1(l1), step=l1 // 2, quantile=(95, 99.5), **how), PGD(L2(l2), step=round(0.15 * l2, 4), **how)
    return (
        Accumulated(StraightThrough(linf), StraightThrough(replace(linf, steps=steps)), carry=carry),
        *(
            Accumulated(
                WarmStart(replace(flips, S=climb.S), replace(climb, loss="margin")),
                replace(climb, steps=steps),
                carry=carry,
            )
            for climb in others
        ),
    )


# What adds up over epochs costs a third of that an epoch. A little of white that is not seen either makes l2 pay for
# dimming all of a stroke. A larger network, on digits that are deformed, from the beginning.
EXPERIMENTS["mnist-accumulated"] = replace(
    _BLACK,
    model="dead_zone_30_90_deeper_cnn",
    suite="flips-30-90",
    watch="flips-20-30-90",
    attacks=_accumulated(5),
    epochs=40,
    warmup=3,
    optimizer="adam-cosine",
    augment="deformations",
    average=0.999,
)
# It withstands more on digits that it has learned than on new ones, and the longer the more so. What it learns from the
# mean of it and of another, and from digits that differ more, it has less to unlearn of.
EXPERIMENTS["mnist-distilled"] = replace(
    EXPERIMENTS["mnist-accumulated"],
    start="mnist-accumulated",
    teachers=("mnist-accumulated", "mnist-black-zone-14"),
    lr=5e-4,
    epochs=16,
    warmup=0,
    augment="strokes",
)
# Of digits that stay as they are for as long as noise adds up it meets few; here they are other ones each time, and
# climbs longer, as what was found on another image is not as good. One network goes on from another body, against the
# larger balls that this had learned to withstand; one begins anew, for other mistakes than the first one's.
EXPERIMENTS["mnist-grown"] = replace(
    EXPERIMENTS["mnist-distilled"],
    start="mnist-black-zone-14",
    teachers=("mnist-black-zone-14",),
    attacks=_accumulated(7, carry=True, l1=14, l2=2.5),
    epochs=14,
    augment="sketches",
)
EXPERIMENTS["mnist-taught"] = replace(EXPERIMENTS["mnist-grown"], start=None, lr=1e-3, epochs=22, warmup=2)
# Both as one network, trained on attacks on the mean of them.
EXPERIMENTS["mnist-pair"] = replace(
    EXPERIMENTS["mnist-grown"],
    model="dead_zone_30_90_pair",
    start=("mnist-grown", "mnist-taught"),
    teachers=("mnist-grown", "mnist-taught"),
    lr=2e-4,
    epochs=3,
    kept="float16",
)
# `mnist-grown` has gained in linf, and lost a little in l2: on with climbs that begin anew in l1 and l2.
EXPERIMENTS["mnist-grown-renewed"] = replace(
    EXPERIMENTS["mnist-grown"],
    start="mnist-grown",
    teachers=("mnist-grown", "mnist-taught"),
    attacks=(
        EXPERIMENTS["mnist-grown"].attacks[0],
        *_from_flips(_UNEVEN, _CLIMB, [(L1(14), L1(14), "margin"), (L1(42), L1(14), "ce"),
                                       (L2(2.5), L2(2.5), "ce"), (L2(2.5), L2(2.5), "margin")]),
        replace(_CLIMB, S=L1(14), steps=20, loss="margin", radii=(3, 2, 1), targets=1),
    ),
    epochs=13,
)  # fmt: skip
# What that one gained in l2, it lost in linf. The mean of the weights of both, the record, has most of either.
EXPERIMENTS["mnist-grown-mean"] = replace(
    EXPERIMENTS["mnist-grown"], start=("mnist-grown", "mnist-grown-renewed"), teachers=(), attacks=(), epochs=0
)
# A third to take into it, by other draws and with linf in two attacks of seven.
EXPERIMENTS["mnist-grown-even"] = replace(
    EXPERIMENTS["mnist-grown-renewed"],
    attacks=(
        *EXPERIMENTS["mnist-grown-renewed"].attacks,
        StraightThrough(replace(_CLIMB, S=LINF, loss="margin", targets=1)),
    ),
    seed=1,
)
EXPERIMENTS["mnist-black-zone-apart"] = replace(_BLACK, epochs=24, attacks=(
    *_BLACK.attacks, replace(_CLIMB, radii=(3, 2, 1))))  # fmt: skip
EXPERIMENTS["mnist-black-zone-together"] = replace(_BLACK, attacks=(
    _BLACK.attacks[0], WarmStart(_BLACK.attacks[1], _CLIMB), _BLACK.attacks[2]))  # fmt: skip


def _seeded(experiment: Experiment, seed: int) -> Experiment:
    """With another seed, and so for what it begins with and is taught by."""
    starts, teachers = ([f"{name}-s{seed}" for name in names] for names in (experiment.starts, experiment.teachers))
    start = starts[0] if isinstance(experiment.start, str) else tuple(starts) or None
    return replace(experiment, seed=seed, start=start, teachers=tuple(teachers))


EXPERIMENTS |= {f"mnist-{name}-s{seed}": _seeded(EXPERIMENTS[f"mnist-{name}"], seed)
                for name in ("dead-zone", "black-zone", "black-zone-14", "grown", "taught", "pair")
                for seed in (1, 2)}  # fmt: skip


def _ablate() -> dict[str, Experiment]:
    """A part of the training above, as many passes for each, with one thing changed: the dead zone, what is trained on
    and how it is brought together, the body."""
    short = replace(EXPERIMENTS["mnist-dead-zone"], epochs=4, warmup=1, test=500)
    linf, l1, l2 = short.attacks
    bare = _seeing(short, (0.0, 1.0), model="wide_cnn", suite="flips-a0", watch=None)

    def steepest(experiment: Experiment) -> Experiment:
        """One trajectory for all (MSD)."""
        flips = replace(experiment.attacks[1], S=Union((LINF, ONE, TWO)))
        return replace(experiment, attacks=(flips,), combine="avg", epochs=2)

    return {
        "short": short,
        "none": bare,
        **{f"a{100 * a:.0f}": _seeing(short, (a, 1 - a), model=f"dead_zone_{100 * a:.0f}_wide_cnn",
                                      suite=f"flips-a{100 * a:.0f}", watch=None) for a in (0.2, 0.25, 0.35)},
        **{f"{100 * low:.0f}-{100 * high:.0f}": _seeing(
               short, (low, high), model=f"dead_zone_{100 * low:.0f}_{100 * high:.0f}_wide_cnn",
               suite=f"flips-{100 * low:.0f}-{100 * high:.0f}", watch=None)
           for low, high in ((0.3, 0.9), (0.3, 1.0), (0.4, 1.0))},
        "small": replace(short, model="dead_zone_cnn"),
        "deep": replace(short, model="dead_zone_deep_cnn"),
        "median": replace(short, model="dead_zone_median_cnn"),
        "learned": _seeing(short, None, model="learned_zone_wide_cnn", suite="flips-learned", watch=None),
        "shifts": replace(short, augment="shifts"),
        "warps": replace(short, augment="warps"),
        "many": replace(short, attacks=_many(*short.attacks)),
        "none-many": replace(bare, attacks=_many(*bare.attacks)),
        "larger": replace(short, attacks=(linf, replace(l1, S=L1(14)), replace(l2, S=L2(2.5)))),
        "without-l2": replace(short, attacks=(linf, l1)),
        "five-steps": replace(short, attacks=(linf, replace(l1, steps=5), replace(l2, steps=5)), epochs=8),
        "avg": replace(short, combine="avg", epochs=2),
        "max": replace(short, combine="max", epochs=2),
        "msd": steepest(short),
        "none-max": replace(bare, combine="max", epochs=2),
        "none-msd": steepest(bare),
        "float32": replace(short, precision="float32"),
    }  # fmt: skip


EXPERIMENTS |= {f"mnist-dead-zone-{name}": experiment for name, experiment in _ablate().items()}


# Against mixtures with a share drawn for each example and try. Ten moves, each the start of ten steps, would cost 210
# passes; five, each of four steps, cost 45. Training on l1 noise masks gradients, hence the softened slopes. Both types
# are rarely whole then: under e-at a batch meets one of them, or a mixture.
_CE: dict[str, Any] = {"loss": "ce", "early_stop": False}
EXPERIMENTS["mnist-mix-rt"] = replace(EXPERIMENTS["mnist-max-rt"], combine="avg", attacks=(
    AffineAttack(RandomSearch(RT, tries=5, **_CE), PGD(LINF, steps=4, **_CE)),))  # fmt: skip
EXPERIMENTS["mnist-mix-l1"] = replace(EXPERIMENTS["mnist-max"], combine="avg", attacks=(
    Softened(AffineAttack(*EXPERIMENTS["mnist-max"].attacks[:2])),))  # fmt: skip
EXPERIMENTS["mnist-mix-rt-e-at"] = replace(EXPERIMENTS["mnist-mix-rt"], combine="e-at", attacks=(
    *EXPERIMENTS["mnist-max-rt"].attacks, *EXPERIMENTS["mnist-mix-rt"].attacks))  # fmt: skip
EXPERIMENTS["mnist-mix-l1-e-at"] = replace(EXPERIMENTS["mnist-mix-l1"], combine="e-at", attacks=(
    EXPERIMENTS["mnist-max"].attacks[0], Softened(EXPERIMENTS["mnist-max"].attacks[1]),
    *EXPERIMENTS["mnist-mix-l1"].attacks))  # fmt: skip
# The sets beside the paper's, for `tradeoff.transfer`.
EXPERIMENTS |= {f"{data}-{S.name}": replace(EXPERIMENTS[f"{data}-rt"], suite=f"{prefix}transfer", attacks=(
                    RandomSearch(S, tries=10, **_CE),), watch=f"{prefix}moves-20")
                for data, prefix in (("mnist", ""), ("cifar10", "cifar10-"))
                for S in PRESETS[f"transfer_{data}"].sets[4:]}  # fmt: skip
# One epoch of E-AT for a network that has been trained on linf noise (Croce & Hein 2022).
EXPERIMENTS |= {f"mnist-linf-then-{name}": replace(EXPERIMENTS[f"mnist-{name}"], epochs=1, warmup=0, start="mnist-linf")
                for name in ("e-at", "e-at-soft")}  # fmt: skip
EXPERIMENTS["cifar10-linf-then-e-at-l1"] = replace(
    EXPERIMENTS["cifar10-e-at-l1"], epochs=1, warmup=0, lr=0.05, start="cifar10-linf")  # fmt: skip


def train(
    experiment: Experiment, folder: Path | None = None, device: str = "cpu", label: str | None = None
) -> nn.Module:
    """The experiment's model, trained. With a `folder`, its files are kept there, an interrupted run goes on from its
    last checkpoint, and a finished one is read. `label` names the progress bar (none without). Processes that torchrun
    has started share every batch (see `tradeoff.training.fit`).

    Raises ValueError when the folder holds another experiment, and for bad input before any step, and OSError when
    another process trains there.

    >>> train(Experiment("digits", model="smal_cnn"))  # what is wrong is said before any work
    Traceback (most recent call last):
    ValueError: unknown model 'smal_cnn', did you mean 'small_cnn'? Known: ...
    """
    with joined(device):
        return _train(experiment, folder, device, label)


def _train(experiment: Experiment, folder: Path | None, device: str, label: str | None) -> nn.Module:
    model, kept = build(experiment.model, experiment.seed), lookup(_KEPT, experiment.kept, "precision of what is kept")
    weights = folder and Path(folder) / "weights.safetensors"
    if folder is None or (place()[0] > 0 and not weights.exists()):  # files are the first process's
        _fit(experiment, model, device, folder, label)
        return model
    folder = make_folder(folder)
    declared = folder / "experiment.json"
    if not declared.exists():
        if weights.exists() and load_weights(weights, model).get("experiment") != repr(experiment):
            raise ValueError(f"{weights} is of another experiment than the one declared now, or does not say of which: "
                             "choose another folder, or make it again with --force")  # fmt: skip
        write_json(declared, {"experiment": repr(experiment), "about": provenance(seed=experiment.seed)})
    elif read_json(declared)["experiment"] != repr(experiment):
        raise ValueError(f"{folder} holds another experiment than the one declared now: choose another folder, "
                         "or make it again with --force")  # fmt: skip
    if not weights.exists():
        busy = OSError(f"another process trains in {folder}: wait for it, or choose another folder")
        with alone(folder, busy):
            if not weights.exists():  # another process may have finished just now
                log, source = _fit(experiment, model, device, folder, label)
                seconds = sum(record["seconds"] for record in log)  # those before an interruption too
                about = provenance(seed=experiment.seed, data=source, device=str(device), seconds=round(seconds, 1))
                save_weights(weights, model.to(kept), about | {"experiment": repr(experiment)})
                model.float()
                (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    load_weights(weights, model)
    return model.to(device).eval()


def _begin(model: nn.Module, others: list[nn.Module]) -> None:
    """Its members with one of the others each; a network that has none with the mean of them."""
    if isinstance(model, Ensemble):
        for member, other in zip(model.members, others, strict=False):  # all, or none
            grow(member, other)
    elif others:
        grow(model, *others)


def _fit(experiment, model, device, folder, label) -> tuple[list[dict], str]:
    images, watch = load(experiment.data, "train"), None
    members = len(model.members) if isinstance(model, Ensemble) else len(experiment.starts)
    if experiment.start and members != len(experiment.starts):
        raise ValueError(f"start is {experiment.start!r}, but {experiment.model} has {members} networks that "
                         "begin with another's weights: name as many experiments")  # fmt: skip
    if not (experiment.epochs or experiment.start):
        raise ValueError(f"epochs is {experiment.epochs} and start is {experiment.start}: give either")
    # Said before hours of training.
    _begin(model, [build(lookup(EXPERIMENTS, name, "experiment").model, experiment.seed) for name in experiment.starts])
    before = {
        name: train(lookup(EXPERIMENTS, name, "experiment"), folder and Path(folder).parent / name, device, label)
        for name in experiment.needs
    }
    _begin(model, [before[name] for name in experiment.starts])
    if not experiment.epochs:
        model.to(device).eval()
        return [], images.source
    views = (0, 0), (1, 1), (-1, -1)
    teacher = Ensemble([before[name] for name in experiment.teachers], views) if experiment.teachers else None
    if experiment.watch:
        watch = suite(experiment.watch), load(experiment.data, "test").first(experiment.watched)
    log = fit(
        model,
        images,
        experiment.attacks,
        experiment.combine,
        epochs=experiment.epochs,
        lr=experiment.lr,
        seed=experiment.seed,
        batch=experiment.batch,
        warmup=experiment.warmup,
        device=device,
        watch=watch,
        checkpoint=folder and folder / "checkpoint.safetensors",
        log=folder and folder / "log.jsonl",
        label=label,
        precision=experiment.precision,
        compile=experiment.compile,
        memory_format=experiment.memory_format,
        optimizer=experiment.optimizer,
        augment=experiment.augment,
        average=experiment.average,
        teacher=teacher,
    )
    return log, images.source


@dataclass(frozen=True)
class Training:
    """The job (see `tradeoff.engines`) of training an experiment in RUNS/NAME."""

    name: str
    experiment: Experiment
    runs: Path
    device: str = "cpu"
    progress: bool = False

    @property
    def title(self) -> str:
        return f"train {self.name}"

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(f"train {name}" for name in self.experiment.needs)

    @property
    def folder(self) -> Path:
        return Path(self.runs) / self.name

    def done(self) -> bool:
        """Whether this experiment has been trained there."""
        declared = self.folder / "experiment.json"
        return (self.folder / "weights.safetensors").exists() and (
            declared.exists() and read_json(declared)["experiment"] == repr(self.experiment)
        )

    def forget(self) -> None:
        """Remove the run and its evaluations, and nothing else."""
        for file in ("weights.safetensors", "checkpoint.safetensors", "log.jsonl", "experiment.json"):
            (self.folder / file).unlink(missing_ok=True)  # what says what the others are goes last
        self._forget_evaluations()  # of other weights

    def __call__(self) -> nn.Module:
        """The trained model, on the device. Raises as `train` does."""
        weights, checkpoint = self.folder / "weights.safetensors", self.folder / "checkpoint.safetensors"
        trained, began = weights.exists(), time.perf_counter()
        if not trained:
            self._forget_evaluations()
            again = " (goes on from its last checkpoint)" if checkpoint.exists() else ""
            source = load(self.experiment.data, "test").source
            epochs, starts = self.experiment.epochs, ", ".join(self.experiment.starts)
            _say(self, f"training {epochs} epochs on {source}{again}" if epochs else f"begins and ends with {starts}")
        model = train(self.experiment, self.folder, self.device, _label(self, "training"))
        if not trained:
            _say(self, f"trained in {time.perf_counter() - began:.0f} s")
        return model

    def _forget_evaluations(self) -> None:
        for folder in self.folder.glob("*-*/"):
            _forget(folder)


@dataclass(frozen=True)
class Evaluation:
    """The job of attacking a trained experiment, on its first `n` test examples, in RUNS/NAME/SUITE-N.

    `attacks` are those of the suite: they go along, as the machine that does the job may have other packages installed.
    """

    name: str
    experiment: Experiment
    suite: str
    attacks: dict
    n: int
    runs: Path
    device: str = "cpu"
    progress: bool = False

    @property
    def title(self) -> str:
        return f"evaluate {self.name} {self.suite}-{self.n}"

    @property
    def needs(self) -> tuple[str, ...]:
        return (f"train {self.name}",)

    @property
    def folder(self) -> Path:
        return Path(self.runs) / self.name / f"{self.suite}-{self.n}"

    def forget(self) -> None:
        """Remove the evaluation, and nothing else."""
        _forget(self.folder)

    def done(self) -> bool:
        """Whether the outcomes of these attacks are there."""
        return self._written() and Outcomes.load(self.folder / "outcomes").about.get("attacks") == self._described()

    def __call__(self) -> Outcomes:
        """The outcomes, made by the first process of those that torchrun has started. Raises ValueError for a folder
        that holds those of other attacks, or the beginning of those of other weights."""
        with joined(self.device):
            if place()[0] == 0 and not self._written():
                self._make()
            wait_for_all()
        outcomes = Outcomes.load(self.folder / "outcomes")
        if outcomes.about.get("attacks") != self._described():
            raise ValueError(f"{self.folder} is of other attacks than the suite {self.suite!r} has now: delete it to "
                             "evaluate again")  # fmt: skip
        return outcomes

    def _make(self) -> None:
        images = load(self.experiment.data, "test").first(self.n)
        model = build(self.experiment.model, self.experiment.seed)
        load_weights(Path(self.runs) / self.name / "weights.safetensors", model)
        began = time.perf_counter()
        found = evaluate(
            lay_out(model.to(self.device), self.experiment.memory_format).eval(),
            self.attacks,
            images.x,
            images.y,
            np.random.default_rng(self.experiment.seed),
            cascade=self.suite not in WHOLE | FIXED.keys(),  # those of FIXED are compared column by column too
            chunk=100,  # fixed: the numbers of a figure must not depend on what was fastest that day
            run=self.folder,
            progress=_label(self, "attacking"),
            about=provenance(data=f"first {len(images)} test examples of {images.source}", device=str(self.device)),
        )
        found.save(self.folder / "outcomes")
        numbers = ", ".join(f"{row} {entry['accuracy']:.1%}" for row, entry in found.table().items())
        _say(self, f"attacked in {time.perf_counter() - began:.0f} s on {images.source}: {numbers}")

    def _written(self) -> bool:
        return all((self.folder / f"outcomes.{suffix}").exists() for suffix in ("npz", "json"))

    def _described(self) -> dict[str, str]:
        return describe(self.attacks)


def _forget(evaluation: Path) -> None:
    for file in ("outcomes.json", "outcomes.npz", "task.json", "cells.jsonl"):
        (evaluation / file).unlink(missing_ok=True)


def _label(job: Training | Evaluation, verb: str) -> str | None:
    return f"  {job.name}: {verb}" if job.progress else None


def _say(job: Training | Evaluation, text: str) -> None:
    if job.progress and place()[0] == 0:
        print(f"  {job.name}: {text}", file=sys.stderr, flush=True)


def attacks_of(experiment: Experiment, name: str | None = None) -> dict:
    """The attacks of a suite on the sets that the experiment's own suite attacks, or on the mixture of the first two;
    by default those of its own suite.

    >>> list(attacks_of(EXPERIMENTS["digits-linf"])), list(attacks_of(EXPERIMENTS["digits-max-rt"], "quick"))
    (['linf', 'l1', 'l2'], ['quick linf:0.3', 'quick rt:3px,30deg'])
    """
    own = suite(experiment.suite)
    if name is None or name in FIXED:
        return own if name is None else suite(name)
    sets = tuple(dict.fromkeys(attack.S for attack in own.values()))
    how = {"seen": _seen(experiment)} if name in SEEING else {}
    if name.endswith("mixtures") and len(sets) > 1:
        moves_first = sorted(sets[:2], key=lambda S: isinstance(S, Lp))
        return suite(name, Affine(*moves_first), **how)
    return suite(name, Union(sets), **how)


def _seen(experiment: Experiment) -> tuple[float, float] | None:
    """What its network sees; None if it has yet to learn it."""
    network = build(experiment.model, 0)
    learns = any(isinstance(part, DeadZone) and part.learned for part in network.modules())
    return None if learns else seen(network)


def jobs_of(
    name: str,
    runs: str | Path,
    suite: str | None = None,
    n: int | None = None,
    device: str = "cpu",
    progress: bool = False,
) -> tuple[Training, Evaluation]:
    """The training of EXPERIMENTS[name] and its evaluation, by default that which the experiment declares.

    Raises ValueError for an unknown name, with the nearest right one.
    """
    experiment = lookup(EXPERIMENTS, name, "experiment")
    how: dict[str, Any] = {"runs": Path(runs), "device": device, "progress": progress}
    attacks = attacks_of(experiment, suite)
    return Training(name, experiment, **how), Evaluation(
        name, experiment, suite or experiment.suite, attacks, n or experiment.test, **how
    )


@dataclass(frozen=True)
class Run:
    """A trained model, the test images it was evaluated on, and the outcome."""

    model: nn.Module
    images: Images
    outcomes: Outcomes


@dataclass
class Results:
    """The runs of declared experiments in the folder `runs`, trained and evaluated when they are missing.

    `force` makes every run again, once per `Results`. `progress` reports on standard error.
    """

    runs: Path
    device: str = "cpu"
    force: bool = False
    progress: bool = True
    _fresh: set = field(default_factory=set)

    def __call__(self, name: str) -> Run:
        """The run of EXPERIMENTS[name].

        Raises ValueError for an unknown name, with the nearest right one, and for a folder that holds anything else
        than what is declared now.
        """
        training, evaluation = self._jobs(name)
        images = load(evaluation.experiment.data, "test").first(evaluation.n)
        with joined(self.device):
            return Run(training(), images, evaluation())

    def prepare(self, names: Iterable[str], workers: int) -> None:
        """Make the runs that are missing, `workers` at a time, each in a process of one thread; the first that fails
        ends the others."""
        check_count(workers, "workers")
        jobs = [job for name in dict.fromkeys(names) for job in self._jobs(name)]
        jobs = longest_first(missing(with_starts(jobs)))
        if workers == 1 or len({job.name for job in jobs}) < 2:
            for job in jobs:
                job()
            return
        if self.progress:
            named = ", ".join(dict.fromkeys(job.name for job in jobs))
            print(f"making {named}, {workers} at a time", file=sys.stderr, flush=True)
        with Local(min(workers, len(jobs))) as engine:
            for end in run(jobs, engine):
                if end.error:
                    raise end.error

    def _jobs(self, name: str) -> tuple[Training, Evaluation]:
        """Both jobs. With `force`, what they made is removed, but not what this object has made."""
        training, evaluation = jobs_of(name, self.runs, device=self.device, progress=self.progress)
        if self.force and name not in self._fresh:
            training.forget()
        self._fresh.add(name)
        return training, evaluation


def with_starts(jobs: Iterable[Training | Evaluation], again: Collection[str] = ()) -> list[Training | Evaluation]:
    """The jobs, and the trainings that those of them need that are not done or whose titles are in `again`, each once:
    two jobs must not make the same at a time.

    >>> jobs = with_starts(jobs_of("mnist-linf-then-e-at", "runs"))
    >>> [job.title for job in jobs]
    ['train mnist-linf', 'train mnist-linf-then-e-at', 'evaluate mnist-linf-then-e-at lp-100-1000']
    """
    found: dict[str, Training | Evaluation] = {}
    for job in jobs:
        if isinstance(job, Training) and (job.title in again or not job.done()):
            first = [replace(job, name=name, experiment=lookup(EXPERIMENTS, name, "experiment"))
                     for name in job.experiment.needs]  # fmt: skip
            found |= {other.title: other for other in with_starts(first) if other.title not in found}
        found[job.title] = job
    return list(found.values())


def longest_first(jobs: Iterable[Training | Evaluation]) -> list[Training | Evaluation]:
    """Trainings before evaluations, against many attacks before against few: what begins last ends soon."""
    return sorted(jobs, key=lambda job: (isinstance(job, Evaluation), -len(job.experiment.attacks)))


if __name__ == "__main__":
    from tradeoff import campaign, command

    sys.exit(command.run(campaign.main))
