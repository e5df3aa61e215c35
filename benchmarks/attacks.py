"""What an attack costs beside the network: its time as a multiple of the bare forward and backward passes it needs.

    python benchmarks/attacks.py [--model small_cnn] [--steps 20] [--batch 100] [--repetitions 7] [--json FILE]

An attack of k gradient steps is measured against k passes of the same network over the same digits, forward and back to
the input, and nothing else: 1.00 would be an attack that costs nothing of its own. (A mixture of two lp attacks moves
each k times, so it is measured against 2k.) No example leaves early; two threads, unless --threads says otherwise.
Every repetition runs the passes and all attacks in turn, so that what else the machine does falls on all alike; the
ratio is the median over the repetitions of those within one, the spread their least and largest. Times alone say
nothing about the code: compare ratios, and those of one machine, network, batch and number of steps.
"""

import argparse
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from tradeoff.attacks import PGD, SLIDE, AffineAttack
from tradeoff.data import load
from tradeoff.files import make_folder, write_json
from tradeoff.models import MODELS, build
from tradeoff.perturbations import L1, L2, Linf
from tradeoff.provenance import provenance


def bare_passes(model, x: torch.Tensor, y: torch.Tensor, steps: int) -> None:
    """`steps` times the gradient of the loss in the input."""
    for _ in range(steps):
        point = x.clone().requires_grad_()
        torch.autograd.grad(cross_entropy(model(point), y, reduction="sum"), point)


def seconds(function, *arguments) -> float:
    began = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - began


def measure(model, x: torch.Tensor, y: torch.Tensor, steps: int, repetitions: int) -> dict[str, dict]:
    """Per attack: ratio, its least and largest, gradient passes, and the median seconds."""
    how = {"steps": steps, "loss": "ce", "early_stop": False}
    linf, l2, slide = PGD(Linf(0.3), **how), PGD(L2(2), **how), SLIDE(L1(10), **how)
    attacks = {"PGD linf": linf, "PGD l2": l2, "SLIDE": slide, "Affine linf+l1": AffineAttack(linf, slide)}
    passes = {name: 2 * steps if isinstance(attack, AffineAttack) else steps for name, attack in attacks.items()}
    times = {name: [] for name in ("bare", *attacks)}
    for repetition in range(repetitions + 1):
        for name in times:
            if name == "bare":
                took = seconds(bare_passes, model, x, y, steps)
            else:
                took = seconds(attacks[name], model, x, y, np.random.default_rng(repetition))
            if repetition:  # the first one warms up
                times[name].append(took)
    rows = {}
    for name in attacks:
        share = passes[name] / steps
        ratios = [took / (bare * share) for took, bare in zip(times[name], times["bare"], strict=True)]
        rows[name] = {"ratio": median(ratios), "least": min(ratios), "largest": max(ratios), "passes": passes[name],
                      "seconds": median(times[name])}  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="small_cnn", choices=MODELS)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", metavar="FILE", help="also write the numbers, with their provenance")
    options = parser.parse_args()
    if options.json:
        make_folder(Path(options.json).parent)
    torch.set_num_threads(options.threads)
    digits, model = load("digits", "test").first(options.batch), build(options.model, 0).eval()
    rows = measure(model, torch.tensor(digits.x), torch.tensor(digits.y), options.steps, options.repetitions)
    print(f"{options.model}, {options.batch} digits, {options.steps} steps, {options.threads} threads")
    for name, row in rows.items():
        print(f"{name:<15} {row['ratio']:5.2f} × bare passes ({row['least']:.2f} to {row['largest']:.2f}), "
              f"{1000 * row['seconds']:.0f} ms")  # fmt: skip
    if options.json:
        how = {name: value for name, value in vars(options).items() if name != "json"}
        write_json(options.json, {"how": how, "attacks": rows, "provenance": provenance(data=digits.source, seed=0)})


if __name__ == "__main__":
    sys.exit(main())
