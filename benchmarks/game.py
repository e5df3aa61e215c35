"""What the exact game costs: milliseconds a value, and as a multiple of one union value in the same run.

    python benchmarks/game.py [--repetitions 5]

Rows: one value for the average, union and affine adversary of two balls, per value of a 200-point Pareto front and of a
200 × 200 phase diagram (union). Medians over the repetitions. The ratios can be compared between machines, the
milliseconds cannot.
"""

import argparse
import time
from statistics import median

import numpy as np

from tradeoff import L1, L2, BernoulliFeature, Linf, Lp, game_value

D = BernoulliFeature(alpha=2, d=100, p0=0.9)
CASES = {
    "average, linf and l1": lambda: [game_value(D, (Linf(0.2), L1(2)))],
    "average, l2 and l1.5": lambda: [game_value(D, (L2(1), Lp(1.5, 1)))],
    "union, linf and l1": lambda: [game_value(D, (Linf(0.2), L1(2)), "union")],
    "affine, linf and l1": lambda: [game_value(D, (Linf(0.2), L1(2)), "affine")],
    "Pareto front of 200": lambda: [
        game_value(D, (Linf(0.2), L1(2)), weights=(w, 1 - w)) for w in np.linspace(0, 1, 200)
    ],
    "phase diagram 200 × 200": lambda: [
        game_value(D, (Linf(a), L1(b)), "union") for a in np.linspace(0, 0.6, 200) for b in np.linspace(0, 4, 200)
    ],
}


def milliseconds(case) -> float:
    """Per value."""
    began = time.perf_counter()
    values = case()
    return 1e3 * (time.perf_counter() - began) / len(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=5, metavar="N", help="runs of every case (default: 5)")
    repetitions = parser.parse_args().repetitions
    for case in CASES.values():  # first calls fill caches
        milliseconds(case)
    rounds = [{name: milliseconds(case) for name, case in CASES.items()} for _ in range(repetitions)]
    for name in CASES:
        times = [r[name] for r in rounds]
        ratios = [r[name] / r["union, linf and l1"] for r in rounds]
        print(f"{name:24} {median(times):8.3f} ms a value   {median(ratios):8.1f} × one union value")


if __name__ == "__main__":
    main()
