"""What CIFAR-10 costs: rotations and their mixtures beside the network, and an epoch of every lightweight experiment.

    python benchmarks/cifar.py [--steps 10] [--batch 100] [--repetitions 5] [--clock wall|process] [--json FILE]

*Passes.* Searches over ±3 px ±30° and their mixtures with linf noise, from which no example leaves, against the bare
passes of the same network over the same images: a forward pass for each move that is tried, and for none, and with
noise one forward and back for each move and step (RT ∘ PGD-10 of 10 moves: 100). The network is the lightweight one,
untrained: where nothing stops early, weights change no cost.

*Epochs.* Seconds of an epoch of 50,000 images, of every experiment: what `fit` logs for --steps steps, times as many as
there are (the first step, which warms up, is left out), and its passes, forward and backward. "crops" is the share of
natural training that goes into gathering, cropping and flipping.

*Growth.* A step of training against the number of sets (of linf noise, averaged), the steps of its attack and the width
of the network: a straight line by least squares, its R², and the exponent of a power law through the same points.

How it is measured, and what to do on a busy machine, is told in benchmarks/attacks.py, whose helpers these are. Images
are CIFAR-10's test images where TRADEOFF_DATA has them, else noise, which costs the same.
"""

import argparse
from dataclasses import replace
from functools import cache, partial
from math import ceil
from statistics import median

import numpy as np
import torch
from attacks import CLOCKS, fit, forwards, gradients, growth_line, ratio_line, run, spread, take_turns
from script import end, parse, said, whole
from torch import nn

from tradeoff import training
from tradeoff.attacks import PGD, AffineAttack, GridSearch, RandomSearch
from tradeoff.data import Images, load
from tradeoff.experiments import EXPERIMENTS, Experiment
from tradeoff.files import write_json
from tradeoff.memory import keep_memory
from tradeoff.models import build, preact_resnet
from tradeoff.perturbations import PRESETS, Linf
from tradeoff.provenance import provenance

LIMIT = 1.2  # of the bare passes
CROPS = 0.02  # of natural training
IMAGES = 50_000
LINF, _, RT = PRESETS["paper_cifar10"].sets


@cache
def _all_images() -> Images:
    try:
        return load("cifar10", "test")
    except FileNotFoundError:
        x = np.random.default_rng(0).uniform(size=(10_000, 3, 32, 32)).astype(np.float32)
        return Images(x, np.arange(len(x)) % 10, "cifar10", "noise")


def images(n: int) -> Images:
    """n colour images: of CIFAR-10, or noise where that is missing."""
    return _all_images().first(n)


def measure_passes(x: torch.Tensor, y: torch.Tensor, tries: int, steps: int, repetitions: int, clock) -> dict:
    """Per attack, its time over that of its bare passes, and the limit."""
    model, how = build("small_resnet", 0).eval(), {"loss": "ce", "early_stop": False}
    moves, noise = RandomSearch(RT, tries, **how), PGD(LINF, steps, **how)
    attacks = {
        f"RT, {tries} moves": (moves, 0, tries + 1),  # and none: images as they are
        "RT, the grid": (GridSearch(RT, **how), 0, len(RT.grid()) + 1),
        f"RT ∘ PGD-{steps}, drawn": (AffineAttack(moves, noise), tries * steps, 0),
        f"RT ∘ PGD-{steps}, halves": (AffineAttack(moves, noise, beta=0.5), tries * steps, 0),
    }
    rows = {}
    for name, (attack, back, forth) in attacks.items():

        def bare(_, back=back, forth=forth):
            gradients(model, x, y, back)
            forwards(model, x, forth)

        times = take_turns({"bare": bare, "attack": run(attack, model, x, y)}, repetitions, clock)
        rows[name] = spread(times["attack"] / times["bare"], seconds=float(median(times["attack"])), limit=LIMIT)
    return rows


def train(experiment: Experiment, few: Images, model=None) -> dict:
    """The record of one epoch, with all of the experiment's radii."""
    model = model or build(experiment.model, 0)
    (record,) = training.fit(model, few, experiment.attacks, experiment.combine, epochs=1, lr=0.01, seed=0,
                             batch=experiment.batch, memory_format=experiment.memory_format,
                             optimizer=experiment.optimizer, augment=experiment.augment)  # fmt: skip
    return record


def seconds_of_steps(experiment: Experiment, count: int, clock, make=lambda: None) -> float:
    """What `count` steps take, without the first and without the start."""
    times = []
    for steps in (1, 1 + count):
        few, model = images(steps * experiment.batch), make()
        began = clock()
        train(experiment, few, model)
        times.append(clock() - began)
    return times[1] - times[0]


def measure_epochs(steps: int, repetitions: int, clock) -> dict[str, dict]:
    """Per lightweight experiment, seconds of an epoch of 50,000 images, and its passes."""
    names = [name for name in EXPERIMENTS if name.startswith("cifar10-") and not name.endswith("-paper")]
    jobs = {name: lambda _, e=EXPERIMENTS[name]: seconds_of_steps(e, steps, clock) for name in names}
    records = {name: train(EXPERIMENTS[name], images(EXPERIMENTS[name].batch)) for name in names}  # warms up, too
    took = {name: [] for name in names}
    for repetition in range(repetitions):
        for name, job in jobs.items():
            took[name].append(job(repetition))
    rows = {}
    for name in names:
        experiment = EXPERIMENTS[name]
        record, share = records[name], ceil(IMAGES / experiment.batch)
        seconds = np.array(took[name]) / steps * share
        rows[name] = {"seconds": float(median(seconds)), "least": float(seconds.min()),
                      "largest": float(seconds.max()), "forward": record["forward"] * share,
                      "backward": record["backward"] * share}  # fmt: skip
    return rows


def measure_crops(steps: int, repetitions: int) -> dict:
    """The share of natural training on 10,000 images that gathers and crops them, by what `fit` logs."""
    experiment = EXPERIMENTS["cifar10-natural"]
    few = images(steps * experiment.batch)
    records = [train(experiment, few) for _ in range(repetitions + 1)][1:]
    shares = np.array([record["loading_seconds"] / record["seconds"] for record in records])
    return spread(shares, limit=CROPS)


def measure_growth(steps: int, repetitions: int, clock) -> dict[str, dict]:
    """Seconds of a step against sets, the attack's steps and the network's width."""
    base = EXPERIMENTS["cifar10-linf-one-step"]

    def climb(steps=1, share=1.0):
        return PGD(Linf(share * LINF.eps), steps, loss="ce", early_stop=False)

    def wide(width):
        stem = partial(nn.Conv2d, 3, width, 4, 2, 1, bias=False)
        return lambda: preact_resnet(stem(), (width, 2 * width, 3 * width), (1, 2, 2), blocks=1)

    sizes = {"sets": (1, 2, 3, 4), "steps": (1, 2, 4, 8), "width": (8, 16, 32, 64)}
    jobs = {
        "sets": lambda n: (replace(base, attacks=tuple(climb(1, 1 / k) for k in range(1, n + 1))), wide(8)),
        "steps": lambda n: (replace(base, attacks=(climb(n),)), wide(8)),
        "width": lambda n: (base, wide(n)),
    }
    rows = {}
    for what, job in jobs.items():
        times = {n: [] for n in sizes[what]}
        for _ in range(repetitions):
            for n in sizes[what]:
                experiment, make = job(n)
                times[n].append(seconds_of_steps(experiment, steps, clock, make) / steps)
        rows[what] = fit(sizes[what], [median(times[n]) for n in sizes[what]], "s")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tries", type=whole, default=10, help="moves of a search (10)")
    parser.add_argument("--steps", type=whole, default=10, help="of the mixtures' PGD, and of training (10)")
    parser.add_argument("--batch", type=whole, default=100, help="images that are attacked (100)")
    parser.add_argument("--repetitions", type=whole, default=5)
    parser.add_argument("--threads", type=whole, default=2)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    options = parse(parser)
    torch.set_num_threads(options.threads)
    keep_memory()
    clock, few = CLOCKS[options.clock], images(options.batch)
    x, y = torch.tensor(few.x), torch.tensor(few.y)

    print(f"Time over that of bare passes: small_resnet, {len(few)} images of {few.source}, {options.threads} threads, "
          f"{options.clock} time")  # fmt: skip
    passes = measure_passes(x, y, options.tries, options.steps, options.repetitions, clock)
    for name, row in passes.items():
        print(ratio_line(name, row))
    crops = measure_crops(options.steps, options.repetitions)
    print(f"gathering and crops, share of natural training {crops['ratio']:.2%} ({crops['least']:.2%} to "
          f"{crops['largest']:.2%})  limit {CROPS:.0%}")  # fmt: skip
    print(f"An epoch of {IMAGES:,} images")
    epochs = measure_epochs(options.steps, options.repetitions, clock)
    for name, row in epochs.items():
        print(f"{name:<26} {row['seconds']:5.0f} s ({row['least']:.0f} to {row['largest']:.0f}), "
              f"{row['forward'] / 1e6:.2f} million passes forward, {row['backward'] / 1e6:.2f} back")  # fmt: skip
    print("A step of training")
    growth = measure_growth(options.steps, options.repetitions, clock)
    for name, row in growth.items():
        print(growth_line(name, row))

    if options.json:
        how = said(options)
        found = {"passes": passes, "crops": crops, "epochs": epochs, "growth": growth}
        write_json(options.json, {"how": how, **found, "provenance": provenance(data=few.source, seed=0)})


if __name__ == "__main__":
    end(main)
