"""What the grid of rotations and translations costs beside the network: its time as a multiple of the bare passes.

    python benchmarks/rotations.py [--runs FOLDER] [--images 500] [--batch 100] [--repetitions 3] [--json FILE]

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
import sys
import time
from pathlib import Path

import numpy as np
import torch

from tradeoff.attacks import GridSearch, RandomSearch
from tradeoff.attacks.ascent import look
from tradeoff.data import load
from tradeoff.experiments import EXPERIMENTS, RT, Experiment, train
from tradeoff.files import make_folder, write_json
from tradeoff.memory import keep_memory
from tradeoff.provenance import provenance

MODELS = {
    "digits-natural": EXPERIMENTS["digits-natural"],
    "digits-rt": Experiment("digits", attacks=(RandomSearch(RT, tries=10, loss="ce", early_stop=False),)),
}


def bare_passes(model, x: torch.Tensor, count: int) -> None:
    """`count` times the logits of x."""
    with torch.no_grad():
        for _ in range(count):
            model(x)


def measure_grid(model, x: torch.Tensor, y: torch.Tensor, batch: int, repetitions: int) -> dict[str, dict]:
    """Per search: ratio, its least and largest, the median seconds, and the share of examples that stand."""
    attacks = {"early stop": GridSearch(RT), "every move": GridSearch(RT, early_stop=False)}
    times, broken = {name: np.zeros(repetitions) for name in ("bare", *attacks)}, dict.fromkeys(attacks, 0)
    bare_passes(model, x[:batch], 2)  # warms up
    for repetition in range(repetitions):
        for points, labels in zip(x.split(batch), y.split(batch), strict=True):
            began = time.perf_counter()
            bare_passes(model, points, len(RT.grid()))
            times["bare"][repetition] += time.perf_counter() - began
            for name, attack in attacks.items():
                began = time.perf_counter()
                found = attack(model, points, labels, np.random.default_rng(0))
                times[name][repetition] += time.perf_counter() - began
                broken[name] += int(look(model, found, labels, "margin").broken.sum())
    rows = {}
    for name in attacks:
        ratios = times[name] / times["bare"]
        rows[name] = {"ratio": float(np.median(ratios)), "least": float(ratios.min()), "largest": float(ratios.max()),
                      "seconds": float(np.median(times[name])),
                      "standing": 1 - broken[name] / (repetitions * len(x))}  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", metavar="FILE", help="also write the numbers, with their provenance")
    options = parser.parse_args()
    if options.json:
        make_folder(Path(options.json).parent)
    torch.set_num_threads(options.threads)
    keep_memory()
    digits, found = load("digits", "test").first(options.images), {}
    print(f"small_cnn, {len(digits)} digits in batches of {options.batch}, {options.threads} threads")
    for run, experiment in MODELS.items():
        model = train(experiment, options.runs / run, label=run).eval()
        found[run] = measure_grid(model, torch.tensor(digits.x), torch.tensor(digits.y), options.batch,
                                  options.repetitions)  # fmt: skip
        for name, row in found[run].items():
            print(f"{run:<15} {name:<11} {row['ratio']:5.2f} × bare passes ({row['least']:.2f} to {row['largest']:.2f}"
                  f"), {row['seconds']:.1f} s, {row['standing']:.0%} stand")  # fmt: skip
    if options.json:
        how = {name: str(value) for name, value in vars(options).items() if name != "json"}
        write_json(options.json, {"how": how, "runs": found, "provenance": provenance(data=digits.source, seed=0)})


if __name__ == "__main__":
    sys.exit(main())
