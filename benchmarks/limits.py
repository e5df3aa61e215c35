"""What finding the conflicts of real data costs: seconds per million pairs, against the bare products of matrices.

    python benchmarks/limits.py [--data digits] [--n 2000] [--scales 1 1.2 1.4] [--repetitions 3]

The yardstick is one float64 product x xᵀ of the same examples, all n² entries, which any method that looks at all
distances needs. Rows: the largest scale asked for, the conflicts found, seconds per million pairs (of n(n-1)/2), the
ratio to the yardstick's time in the same repetition (median, least and largest), and the peak memory of the whole
process so far. Ratios can be compared between machines of one BLAS and one number of threads, seconds cannot.
"""

import argparse
import time
from statistics import median

from script import end, peak_memory, whole

from tradeoff.conflicts import find_conflicts
from tradeoff.data import load
from tradeoff.limits import DEFAULTS
from tradeoff.names import lookup
from tradeoff.perturbations import parse


def seconds(function, *arguments) -> tuple[float, object]:
    began = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - began, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="digits", help="data set (default: digits, the training split)")
    parser.add_argument("--n", type=whole, default=2000, help="examples (default: 2000)")
    parser.add_argument("--scales", type=float, nargs="+", default=[1.0, 1.2, 1.4], metavar="C", help="largest scales")
    parser.add_argument("--repetitions", type=whole, default=3, metavar="N", help="runs of every case (default: 3)")
    options = parser.parse_args()
    images = load(options.data).first(options.n)
    x, sets = images.x.reshape(len(images), -1).astype(float), parse(lookup(DEFAULTS, options.data, "data set")[0])
    million = len(x) * (len(x) - 1) / 2e6
    x @ x.T  # the first product starts the threads of BLAS
    times, found = {scale: [] for scale in options.scales}, {}
    for _ in range(options.repetitions):
        bare, _ = seconds(lambda: x @ x.T)
        for scale in options.scales:
            spent, found[scale] = seconds(find_conflicts, x, images.y, sets, scale)
            times[scale].append((spent, spent / bare))
    print(f"{images.source}, {len(x):,} examples, {sets}: product {1e3 * bare:.0f} ms, peak memory "
          f"{peak_memory():.0f} MiB")  # fmt: skip
    for scale, pairs in times.items():
        spent, ratios = zip(*pairs, strict=True)
        print(f"scale {scale:<5g} {len(found[scale].i):9,} conflicts {median(spent) / million:7.3f} s per million pairs"
              f" {median(ratios):7.1f} × the product ({min(ratios):.1f} to {max(ratios):.1f})")  # fmt: skip


if __name__ == "__main__":
    end(main)
