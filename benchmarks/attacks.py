"""What an attack costs beside the network: its time as a multiple of the bare forward and backward passes it needs.

    python benchmarks/attacks.py [--steps 100] [--batch 100] [--repetitions 7] [--clock wall|process] [--json FILE]

*Passes.* An attack of k gradient steps, from which no example leaves early, is measured against k passes of the same
network, forward and back to the input, over the points where the attack ends, and nothing else: 1.00 would be an attack
that costs nothing of its own. (Noise makes a pass slower, on a CPU by about 5 % where the network pools.) A mixture of
two moves each k times, so it is measured against 2k. MSD tries a step for each of its sets, a candidate: its limit is
per candidate. As a candidate needs no backward pass, MSD is also measured against k passes and k forward ones for each
set, a harder yardstick.

*Dropping.* The same attack with and without early stopping, on a network that it mostly breaks (digits-natural, trained
in RUNS where it is missing). Both must break the same examples.

*Growth.* Time against steps, restarts and examples, and the memory that an attack takes against the batch: a straight
line by least squares, its R², and the exponent of a power law through the same points.

Every repetition runs all that is compared in turn, so that what else the machine does falls on all alike; ratios are
medians over the repetitions of those within one, in brackets their least and largest. Times alone say nothing about the
code: compare ratios, and those of one machine, network, batch and number of steps. On a busy machine take --threads 1
and --clock process, the time of the processor, which leaves out that of others but not what they do to its cache.
"""

import argparse
import multiprocessing
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from script import end, parse, said, whole
from torch.nn.functional import cross_entropy

from tradeoff.attacks import APGD, MSD, PGD, SLIDE, AffineAttack
from tradeoff.attacks.ascent import look
from tradeoff.data import load
from tradeoff.experiments import EXPERIMENTS, train
from tradeoff.files import write_json
from tradeoff.memory import keep_memory
from tradeoff.models import MODELS, build
from tradeoff.perturbations import L1, L2, Linf
from tradeoff.provenance import provenance

CLOCKS = {"wall": time.perf_counter, "process": time.process_time}
DROPPING = 0.75  # of the time without
BATCHES = (200, 400, 800, 1600)


def gradients(model, x: torch.Tensor, y: torch.Tensor, count: int) -> None:
    """`count` times the gradient of the loss in the input."""
    for _ in range(count):
        point = x.clone().requires_grad_()
        torch.autograd.grad(cross_entropy(model(point), y, reduction="sum"), point)


def forwards(model, x: torch.Tensor, count: int) -> None:
    """`count` times the logits."""
    with torch.no_grad():
        for _ in range(count):
            model(x)


def take_turns(jobs: Mapping[str, Callable[[int], object]], repetitions: int, clock) -> dict[str, np.ndarray]:
    """The seconds that each job(repetition) takes, (repetitions,), all in turn; one more round before warms up."""
    times = {name: [] for name in jobs}
    for repetition in range(repetitions + 1):
        for name, job in jobs.items():
            began = clock()
            job(repetition)
            times[name].append(clock() - began)
    return {name: np.array(took[1:]) for name, took in times.items()}


def run(attack, model, x: torch.Tensor, y: torch.Tensor) -> Callable[[int], torch.Tensor]:
    """The attack as a job: another start in each repetition."""
    return lambda repetition: attack(model, x, y, np.random.default_rng(repetition))


def spread(ratios: np.ndarray, **more) -> dict:
    return {"ratio": float(median(ratios)), "least": float(ratios.min()), "largest": float(ratios.max()), **more}


def measure_passes(model, x: torch.Tensor, y: torch.Tensor, steps: int, repetitions: int, clock) -> dict[str, dict]:
    """Per attack, its ratio to the passes it needs, and the limit."""
    how = {"steps": steps, "loss": "ce", "early_stop": False}
    linf, l2, slide = PGD(Linf(0.3), **how), PGD(L2(2), **how), SLIDE(L1(10), **how)
    attacks = {
        "PGD linf": linf,
        "PGD l2": l2,
        "SLIDE": slide,
        "APGD linf": APGD(Linf(0.3), **how),
        "APGD l2": APGD(L2(2), **how),
        "APGD l1": APGD(L1(10), **how),
        "MSD": MSD((Linf(0.3), L2(2), L1(10)), **how),
        "Affine linf+l1": AffineAttack(linf, slide),
    }
    jobs = {}
    for name, attack in attacks.items():
        jobs[name] = run(attack, model, x, y)
        end = jobs[name](0)
        jobs[f"back {name}"] = lambda _, end=end: gradients(model, end, y, steps)
    jobs["forth"] = lambda _: forwards(model, end, steps)
    times = take_turns(jobs, repetitions, clock)
    yardsticks = {  # what is measured: the attack, passes for each step back and forth, and forth only, and the limit
        "PGD linf": ("PGD linf", 1, 0, 1.08),
        "PGD l2": ("PGD l2", 1, 0, 1.08),
        "SLIDE": ("SLIDE", 1, 0, 1.15),
        "APGD linf": ("APGD linf", 1, 0, 1.12),
        "APGD l2": ("APGD l2", 1, 0, 1.12),
        "APGD l1": ("APGD l1", 1, 0, 1.25),
        "MSD, a candidate": ("MSD", 3, 0, 1.15),
        "MSD, its passes": ("MSD", 1, 3, None),
        "Affine linf+l1": ("Affine linf+l1", 2, 0, None),
    }
    return {
        name: spread(times[attack] / (back * times[f"back {attack}"] + forth * times["forth"]),
                     seconds=float(median(times[attack])), limit=limit)
        for name, (attack, back, forth, limit) in yardsticks.items()
    }  # fmt: skip


def measure_dropping(model, x: torch.Tensor, y: torch.Tensor, steps: int, repetitions: int, clock) -> dict[str, dict]:
    """Per attack: its time with early stopping over that without, and the share of examples that stand."""
    rows = {}
    for name, attack in {"PGD linf": PGD(Linf(0.1), steps), "PGD l2": PGD(L2(1.5), steps),
                         "SLIDE": SLIDE(L1(8), steps)}.items():  # fmt: skip
        every = replace(attack, early_stop=False)
        times = take_turns({"with": run(attack, model, x, y), "without": run(every, model, x, y)}, repetitions, clock)
        stopped, went_on = (look(model, run(how, model, x, y)(0), y, "margin").broken for how in (attack, every))
        rows[name] = spread(times["with"] / times["without"], standing=1 - float(stopped.float().mean()),
                            same=bool((stopped == went_on).all()), limit=DROPPING)  # fmt: skip
    return rows


def measure_growth(model, digits, batch: int, steps: int, repetitions: int, clock) -> dict[str, dict]:
    """Seconds against steps, restarts and examples, of a PGD from which no example leaves, in batches."""
    parts = list(zip(torch.tensor(digits.x).split(batch), torch.tensor(digits.y).split(batch), strict=True))
    least = max(steps // 4, 1)

    def job(steps=least, restarts=1, batches=1):
        attack = PGD(Linf(0.3), steps, restarts, early_stop=False)
        jobs = [run(attack, model, *part) for part in parts[:batches]]
        return lambda repetition: [job(repetition) for job in jobs]

    rows = {}
    for what, unit in {"steps": least, "restarts": 1, "batches": 1}.items():
        sizes = [unit * k for k in (1, 2, 3, 4)]
        times = take_turns({str(size): job(**{what: size}) for size in sizes}, repetitions, clock)
        rows[what] = fit(sizes, [median(times[str(size)]) for size in sizes], "s")
    return rows


def measure_memory() -> dict:
    """Megabytes that an attack adds to the peak, against the batch, each in a process of its own (Linux)."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as pool:
        return fit(BATCHES, list(pool.map(_peak, BATCHES)), "MB")


def _peak(batch: int) -> float:
    torch.set_num_threads(1)
    model, x = build("small_cnn", 0).eval(), torch.rand(batch, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    attack, y = PGD(Linf(0.3), 3, early_stop=False), torch.zeros(batch, dtype=torch.int64)

    def most() -> float:
        return int(re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1000

    run(attack, model, x[:2], y[:2])(0)
    before = most()
    run(attack, model, x, y)(0)
    return most() - before


def fit(sizes, values, unit: str) -> dict:
    """The straight line through the points by least squares, its R², and the exponent of the power law through them."""
    slope, constant = np.polyfit(sizes, values, 1)
    rest = np.array(values) - (constant + slope * np.array(sizes))
    return {"sizes": list(sizes), "values": [float(value) for value in values], "unit": unit, "slope": float(slope),
            "constant": float(constant), "r2": float(1 - (rest**2).sum() / (np.var(values) * len(values))),
            "exponent": float(np.polyfit(np.log(sizes), np.log(values), 1)[0])}  # fmt: skip


def ratio_line(name: str, row: dict) -> str:
    limit = f"limit {row['limit']:.2f}" if row["limit"] else "no limit"
    return f"{name:<17} {row['ratio']:5.2f} ({row['least']:.2f} to {row['largest']:.2f})  {limit}"


def growth_line(name: str, row: dict) -> str:
    return (f"{name:<17} {row['constant']:.3g} + {row['slope']:.3g}·n {row['unit']}, R² {row['r2']:.4f}, "
            f"n^{row['exponent']:.2f}, n = {row['sizes']}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="small_cnn", choices=MODELS)
    parser.add_argument("--runs", type=Path, default=Path("out/runs"), help="holds digits-natural, or will")
    parser.add_argument("--steps", type=whole, default=100)
    parser.add_argument("--batch", type=whole, default=100)
    parser.add_argument("--repetitions", type=whole, default=7)
    parser.add_argument("--threads", type=whole, default=2)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    options = parse(parser)
    torch.set_num_threads(options.threads)
    keep_memory()
    digits = load("digits", "test").first(options.batch)
    x, y = torch.tensor(digits.x), torch.tensor(digits.y)
    how = (x, y, options.steps, options.repetitions, CLOCKS[options.clock])

    print(f"Time over that of bare passes: {options.model}, {options.batch} digits, {options.steps} steps, "
          f"{options.threads} threads, {options.clock} time")  # fmt: skip
    passes = measure_passes(build(options.model, 0).eval(), *how)
    for name, row in passes.items():
        print(ratio_line(name, row))

    print("Time with early stopping over that without, digits-natural")
    natural = train(EXPERIMENTS["digits-natural"], options.runs / "digits-natural", label="digits-natural").eval()
    dropping = measure_dropping(natural, *how)
    for name, row in dropping.items():
        same = "the same examples fall" if row["same"] else "OTHER EXAMPLES FALL"
        print(f"{ratio_line(name, row)}, {row['standing']:.0%} stand, {same}")

    print("Growth")
    more = load("digits", "test").first(4 * options.batch)
    growth = measure_growth(build(options.model, 0).eval(), more, options.batch, *how[2:])
    growth["memory, examples"] = measure_memory()
    for name, row in growth.items():
        print(growth_line(name, row))

    if options.json:
        about = provenance(data=digits.source, seed=0)
        found = {"passes": passes, "dropping": dropping, "growth": growth}
        write_json(options.json, {"how": said(options), **found, "provenance": about})


if __name__ == "__main__":
    end(main)
