"""What training costs beside the network, and what helps it: strategies, loading, memory, precision and layout.

    python benchmarks/training.py [--model NAME] [--steps 10] [--batch 100] [--repetitions 7] [--images 10000]
        [--clock wall|process] [--compile] [--accuracy SEEDS] [--return-memory] [--json FILE]

*Strategies.* An epoch of each after the first, by `tradeoff.training.fit` (as many more as take a second, less the
first), over the passes that it makes, and nothing else: its gradients in the input, its forward passes without, and
plain torch's step (forward, backward, Adam) on each batch it trains on. 1.00 would be a strategy without costs of its
own.

*Loading.* The share of linf training that goes into gathering batches from many images, and that of natural training,
which has tenfold fewer passes to hide it: by what `fit` logs, which is wall time.

*Memory.* The peak of a process that trains (e-at, checkpoint after every step), against its epochs: a straight
line, whose slope is megabytes an epoch (Linux).

*Computing.* Natural and linf training of the network with another `precision` or `memory_format`, or compiled (with
--compile, as that takes minutes and a C++ compiler), over training without; and what that changes: the largest
difference of a weight after the same steps. With --accuracy SEEDS also what it changes in the end: digits-linf trained
whole, from each seed, and the accuracy (clean, and under PGD) on 1,000 test digits less that of the network trained
without from that seed, in the mean, with Student's 95 % interval over seeds. Training amplifies rounding, so that any
other way of computing ends elsewhere: "channels last", which rounds otherwise and nothing else, is the control.

As in benchmarks/attacks.py, whose helpers these are: all that is compared runs in turn, and ratios are medians of those
within a repetition, in brackets their least and largest. On a busy machine take --threads 1 and --clock process.
Memory that is freed is kept, as commands do (`tradeoff.memory`), without with --return-memory.
"""

import argparse
import multiprocessing
import os
import re
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from math import ceil
from pathlib import Path
from shutil import which
from statistics import median

import numpy as np
import torch
from attacks import CLOCKS, forwards, gradients, growth_line, ratio_line, spread, take_turns
from attacks import fit as line
from scipy.stats import t
from script import end, parse, said, whole
from torch.nn.functional import cross_entropy

from tradeoff.attacks.suites import suite
from tradeoff.data import Images, load
from tradeoff.evaluation import evaluate
from tradeoff.experiments import EXPERIMENTS, train
from tradeoff.files import write_json
from tradeoff.memory import keep_memory
from tradeoff.models import MODELS, build
from tradeoff.provenance import provenance
from tradeoff.training import fit

NAMES = ("natural", "linf", "l1", "l2", "avg", "max", "msd", "e-at", "alternating", "rt", "avg-rt", "max-rt")
LIMIT = 1.15  # of the bare passes
LOADING = 0.01  # of training
MEMORY = 0.5  # MB an epoch
EPOCHS = (2, 4, 8, 12)
COMPUTING = {
    "bf16": {"precision": "bf16"},
    "channels last": {"memory_format": "channels_last"},
    "compile": {"compile": True},
}
SECONDS = 1.0  # of the epochs that are timed


def training(name: str, model: str, images: Images, batch: int, epochs: int = 1, **how):
    """One epoch of mnist-NAME as a job: another seed in each repetition, the same start."""
    experiment = EXPERIMENTS[f"mnist-{name}"]
    return lambda seed: fit(build(model, 0), images, experiment.attacks, experiment.combine, epochs=epochs, lr=1e-3,
                            seed=seed, batch=batch, **how)  # fmt: skip


def steps(model, x: torch.Tensor, y: torch.Tensor, count: int) -> None:
    """`count` steps of plain torch."""
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(count):
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        optimizer.step()


def measure_strategies(names, model: str, images: Images, batch: int, repetitions: int, clock) -> dict[str, dict]:
    """Per strategy, its time over that of its bare passes, and the limit."""
    network, n = build(model, 0), len(images) // batch
    x, y = torch.tensor(images.x[:batch]), torch.tensor(images.y[:batch])
    rows = {}
    for name in names:
        last = training(name, model, images, batch, 2)(0)[-1]
        more = ceil(SECONDS / last["seconds"])
        # In batches; the looks at a few inputs alone are rounded off.
        forward, backward = (last[way] // batch for way in ("forward", "backward"))
        trained = n * max(1, round(sum(last["so_far"]["chosen"]) / (2 * len(images))))
        climbed, looked = backward - trained, forward - backward

        def bare(repetition, more=more, trained=trained, climbed=climbed, looked=looked):
            for _ in range(more):
                steps(network, x, y, trained)
                network.eval()
                gradients(network, x, y, climbed)
                forwards(network, x, looked)

        jobs = {epochs: training(name, model, images, batch, epochs) for epochs in (1, 1 + more)}
        times = take_turns({"bare": bare, **jobs}, repetitions, clock)
        epoch = (times[1 + more] - times[1]) / more
        rows[name] = spread(epoch * more / times["bare"], limit=LIMIT, seconds=float(median(epoch)),
                            passes={"steps": trained, "gradients": climbed, "looks": looked})  # fmt: skip
    return rows


def measure_loading(model: str, images: Images, batch: int, repetitions: int, n: int) -> dict[str, dict]:
    """The share of training that is loading, on n images made of those given."""
    rows = np.random.default_rng(0).integers(len(images), size=n)
    many = Images(images.x[rows], images.y[rows], images.name, images.source, images.classes)
    found = {}
    for name in ("linf", "natural"):
        job = training(name, model, many, batch)
        records = [job(repetition)[0] for repetition in range(repetitions)]
        shares = np.array([record["loading_seconds"] / record["seconds"] for record in records])
        found[name] = spread(shares, limit=LOADING)
    return found


def measure_memory() -> dict:
    """Megabytes at the peak against epochs, each in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as pool:
        return line(EPOCHS, list(pool.map(_peak, EPOCHS)), "MB") | {"limit": MEMORY}


def _peak(epochs: int) -> float:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        files = {"checkpoint": Path(folder) / "checkpoint", "log": Path(folder) / "log", "every": 0}
        training("e-at", "small_cnn", load("digits").first(200), 100, epochs=epochs, **files)(0)
    return int(re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1000


def measure_computing(model: str, images: Images, batch: int, repetitions: int, clock, compiled: bool) -> dict:
    """Per training and way of computing: its time over that of the default, seconds a step, and by how much
    the weights differ after the same steps. Compiling is not counted: it is done in the round that warms up."""
    ways = {way: how for way, how in COMPUTING.items() if compiled or way != "compile"}
    rows, count = {}, ceil(len(images) / batch)
    for name in ("natural", "linf"):
        experiment, trained = EXPERIMENTS[f"mnist-{name}"], {}

        def job(repetition, way, experiment=experiment, trained=trained):
            trained[way] = network = build(model, 0)
            fit(network, images, experiment.attacks, experiment.combine, epochs=1, lr=1e-3, seed=repetition,
                batch=batch, **ways.get(way, {}))  # fmt: skip

        times = take_turns({way: partial(job, way=way) for way in ("plain", *ways)}, repetitions, clock)
        plain = trained["plain"].state_dict()
        for way in ways:
            apart = max(float((weight - plain[part]).abs().max()) for part, weight in trained[way].state_dict().items())
            rows[f"{name} {way}"] = spread(times[way] / times["plain"], limit=None, difference=apart,
                                                   seconds=float(median(times[way])) / count)  # fmt: skip
    return rows


def measure_accuracy(ways, seeds: int) -> dict[str, dict]:
    """Per way of computing, how much more accurate digits-linf becomes, with a 95 % interval over seeds."""
    experiment, digits = EXPERIMENTS["digits-linf"], load("digits", "test").first(1000)
    attack = {"linf": suite("lp-20")["linf"]}

    def outcomes(how, seed):
        network = train(replace(experiment, seed=seed, watch=None, **how)).eval()
        return evaluate(network, attack, digits.x, digits.y, np.random.default_rng(0), chunk=100)

    plain, rows = [outcomes({}, seed) for seed in range(seeds)], {}
    for way in ways:
        found = [outcomes(COMPUTING[way], seed) for seed in range(seeds)]
        for column, names in (("clean", ()), ("linf", ("linf",))):
            before, after = (np.array([o.accuracy(*names) for o in some]) for some in (plain, found))
            difference, error = (after - before).mean(), (after - before).std(ddof=1) / seeds**0.5
            ends = difference + error * t.ppf([0.025, 0.975], seeds - 1)
            rows[f"{way}, {column}"] = {"plain": before.tolist(), "accuracy": after.tolist(),
                                        "difference": float(difference), "interval": ends.tolist()}  # fmt: skip
    return rows


def compiler() -> bool:
    """Whether there is a C++ compiler, which torch.compile needs."""
    return any(map(which, (os.environ.get("CXX", "g++"), "g++", "clang++")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="small_cnn", choices=MODELS)
    parser.add_argument("--strategies", nargs="*", default=NAMES, choices=NAMES)
    parser.add_argument("--steps", type=whole, default=10)
    parser.add_argument("--batch", type=whole, default=100)
    parser.add_argument("--repetitions", type=whole, default=7)
    parser.add_argument("--images", type=whole, default=10_000, help="to load batches from")
    parser.add_argument("--threads", type=whole, default=2)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--compile", action="store_true", help="also measure torch.compile")
    parser.add_argument("--accuracy", type=int, default=0, metavar="SEEDS", help="also train digits-linf whole")
    parser.add_argument("--return-memory", action="store_true", help="leave the C library as it is")
    options = parse(parser)
    if options.accuracy not in (0, *range(2, 1000)):
        parser.error(f"--accuracy is {options.accuracy}, but chance shows in two seeds at least (0: not measured)")
    torch.set_num_threads(options.threads)
    if not options.return_memory:
        keep_memory()
    digits = load("digits").first(options.steps * options.batch)
    how, clock = (options.model, digits, options.batch, options.repetitions), CLOCKS[options.clock]

    print(f"Time over that of bare passes: {options.model}, {options.steps} steps of {options.batch} digits, "
          f"{options.threads} threads, {options.clock} time")  # fmt: skip
    strategies = measure_strategies(options.strategies, *how, clock)
    for name, row in strategies.items():
        print(ratio_line(name, row))
    loading = measure_loading(*how, options.images)
    for name, row in loading.items():
        print(f"loading, {name:<8} {row['ratio']:.2%} ({row['least']:.2%} to {row['largest']:.2%})  "
              f"limit {LOADING:.0%}")  # fmt: skip
    memory = measure_memory()
    print(f"{growth_line('Memory, epochs', memory)}, limit {MEMORY} MB an epoch")
    print("Time over that of float32, contiguous, not compiled")
    compiled = options.compile and compiler()
    if options.compile and not compiled:
        print("not compiled: torch.compile needs a C++ compiler, and there is none (apt-get install g++, or set CXX)")
    computing = measure_computing(*how, clock, compiled)
    for name, row in computing.items():
        helps = "helps" if row["largest"] < 1 else "does not help" if row["least"] >= 1 else "undecided"
        print(f"{name:<22} {row['ratio']:.2f} ({row['least']:.2f} to {row['largest']:.2f})  "
              f"{row['seconds']:.4f} s a step, weights differ by {row['difference']:.1e}: {helps}")  # fmt: skip
    accuracy = measure_accuracy(("bf16", "channels last"), options.accuracy) if options.accuracy else {}
    for name, row in accuracy.items():
        low, high = row["interval"]
        print(f"{name:<22} accuracy {row['difference']:+.1%} (95 % interval {low:+.1%} to {high:+.1%})")

    if options.json:
        about = provenance(data=digits.source, seed=0)
        found = {"strategies": strategies, "loading": loading, "memory": memory, "computing": computing,
                 "accuracy": accuracy}  # fmt: skip
        write_json(options.json, {"how": said(options), **found, "provenance": about})


if __name__ == "__main__":
    end(main)
