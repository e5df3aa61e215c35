"""What the exact game costs: milliseconds a value, and as a multiple of one union value in the same run.

    python benchmarks/game.py [--repetitions 5]

Rows: one value for the average, union and affine adversary of two balls; a 200-point Pareto front and a 200 × 200 phase
diagram of each adversary, solved side by side on all cores, per value and as a whole. Medians over the repetitions. The
ratios can be compared between machines, the milliseconds cannot.
"""

import argparse
import time
from statistics import median

import numpy as np
from script import end, whole

from tradeoff import L1, L2, BernoulliFeature, Linf, Lp, game_value, game_values

D = BernoulliFeature(alpha=2, d=100, p0=0.9)
GRID = [(Linf(a), L1(b)) for a in np.linspace(0, 0.6, 200) for b in np.linspace(0, 4, 200)]
CASES = {
    "average, linf and l1": lambda: [game_value(D, (Linf(0.2), L1(2)))],
    "average, l2 and l1.5": lambda: [game_value(D, (L2(1), Lp(1.5, 1)))],
    "union, linf and l1": lambda: [game_value(D, (Linf(0.2), L1(2)), "union")],
    "affine, linf and l1": lambda: [game_value(D, (Linf(0.2), L1(2)), "affine")],
    "average of three": lambda: [game_value(D, (Linf(0.1), L2(0.5), L1(2)))],
    "Pareto front of 200": lambda: game_values(
        D, [(Linf(0.2), L1(2))] * 200, weights=[(w, 1 - w) for w in np.linspace(0, 1, 200)]
    ),
    "diagram, average": lambda: game_values(D, GRID),
    "diagram, union": lambda: game_values(D, GRID, "union"),
    "diagram, affine": lambda: game_values(D, GRID, "affine"),
}


def milliseconds(case) -> tuple[float, int]:
    """Per value, and the number of values."""
    began = time.perf_counter()
    values = case()
    return 1e3 * (time.perf_counter() - began) / len(values), len(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=whole, default=5, metavar="N", help="runs of every case (default: 5)")
    repetitions = parser.parse_args().repetitions
    milliseconds(CASES["average, linf and l1"])  # fills caches
    rounds = [{name: milliseconds(case) for name, case in CASES.items()} for _ in range(repetitions)]
    for name in CASES:
        times, count = [r[name][0] for r in rounds], rounds[0][name][1]
        ratios = [r[name][0] / r["union, linf and l1"][0] for r in rounds]
        total = median(times) * count / 1e3
        cost = f"{median(times):8.3f} ms a value {median(ratios):8.1f} × one union value {total:8.2f} s in all"
        print(f"{name:22} {cost}")


if __name__ == "__main__":
    end(main)
