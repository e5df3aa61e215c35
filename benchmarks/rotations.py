"""What the grid of rotations and translations costs beside the network: its time as a multiple of the bare passes.

    python benchmarks/rotations.py [--runs FOLDER] [--n 500] [--batch 100] [--repetitions 3] [--json FILE]

The 775 transforms of ±3 px ±30° are tried on digits in batches, as an evaluation does, and measured against 775 forward
passes of the same network over the same batches, and nothing else. Where an example leaves once it is misclassified
there may be much less to do: on a network that most transforms break the search should cost a small share of the bare
passes, on one that mostly holds it should cost little more than them. So two networks are measured, trained naturally
and on such moves alone (trained in FOLDER/digits-natural and FOLDER/digits-rt where they are missing: minutes), each
also without early stopping, which shows the search's own cost.

Every repetition runs, batch by batch, the passes and both searches in turn, so that what else the machine does falls on
all alike; the ratio is the median over the repetitions of those within one, the spread their least and largest. Two
threads, unless --threads says otherwise.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from attacks import forwards, spread
from script import end, parse, said, whole

from tradeoff.attacks import GridSearch
from tradeoff.attacks.ascent import look
from tradeoff.data import load
from tradeoff.experiments import EXPERIMENTS, RT, train
from tradeoff.files import write_json
from tradeoff.memory import keep_memory
from tradeoff.provenance import provenance

MODELS = ("digits-natural", "digits-rt")


def measure_grid(model, x: torch.Tensor, y: torch.Tensor, batch: int, repetitions: int) -> dict[str, dict]:
    """Per search: ratio, its least and largest, the median seconds, and the share of examples that stand."""
    attacks = {"early stop": GridSearch(RT), "every move": GridSearch(RT, early_stop=False)}
    times, broken = {name: np.zeros(repetitions) for name in ("bare", *attacks)}, dict.fromkeys(attacks, 0)
    forwards(model, x[:batch], 2)  # warms up
    for repetition in range(repetitions):
        for points, labels in zip(x.split(batch), y.split(batch), strict=True):
            began = time.perf_counter()
            forwards(model, points, len(RT.grid()))
            times["bare"][repetition] += time.perf_counter() - began
            for name, attack in attacks.items():
                began = time.perf_counter()
                found = attack(model, points, labels, np.random.default_rng(0))
                times[name][repetition] += time.perf_counter() - began
                broken[name] += int(look(model, found, labels, "margin").broken.sum())
    rows = {}
    for name in attacks:
        rows[name] = spread(times[name] / times["bare"]) | {"seconds": float(np.median(times[name])),
                      "standing": 1 - broken[name] / (repetitions * len(x))}  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("out/runs"))
    parser.add_argument("--n", type=whole, default=500)
    parser.add_argument("--batch", type=whole, default=100)
    parser.add_argument("--repetitions", type=whole, default=3)
    parser.add_argument("--threads", type=whole, default=2)
    options = parse(parser)
    torch.set_num_threads(options.threads)
    keep_memory()
    digits, found = load("digits", "test").first(options.n), {}
    print(f"small_cnn, {len(digits)} digits in batches of {options.batch}, {options.threads} threads")
    for run in MODELS:
        model = train(EXPERIMENTS[run], options.runs / run, label=run).eval()
        found[run] = measure_grid(model, torch.tensor(digits.x), torch.tensor(digits.y), options.batch,
                                  options.repetitions)  # fmt: skip
        for name, row in found[run].items():
            print(f"{run:<15} {name:<11} {row['ratio']:5.2f} × bare passes ({row['least']:.2f} to {row['largest']:.2f}"
                  f"), {row['seconds']:.1f} s, {row['standing']:.0%} stand")  # fmt: skip
    if options.json:
        how = said(options)
        write_json(options.json, {"how": how, "runs": found, "provenance": provenance(data=digits.source, seed=0)})


if __name__ == "__main__":
    end(main)
