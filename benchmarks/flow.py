"""What the flow bounds cost: seconds, width and peak memory at the default step, and how they change with the step.

    python benchmarks/flow.py [--repetitions 3]

Rows: ordinary and degenerate games on D_B and D_G (at and near Theorem 1's radii, where Dinic's algorithm is slowest).
Then, over a range of steps, the exponents k of time ~ step^-k and width ~ step^k, fitted by least squares on
logarithms. Medians over the repetitions; the memory is the most that the process has held so far.
"""

import argparse
import time
from statistics import median

import numpy as np
from script import end, peak_memory, whole

from tradeoff import L1, L2, BernoulliFeature, GaussianFeature, Linf
from tradeoff.theory.flow import flow_bounds

B, G = BernoulliFeature(alpha=2, d=100, p0=0.9), GaussianFeature(alpha=2, d=784)
CORNER = (Linf(2 * B.eta), L1(2))
CASES = {
    "D_B average, linf and l1": (B, (Linf(0.2), L1(2)), "average"),
    "D_B union, linf and l1": (B, (Linf(0.2), L1(2)), "union"),
    "D_B affine, linf and l1": (B, (Linf(0.2), L1(2)), "affine"),
    "D_B average, three sets": (B, (L2(1.2), L1(2), Linf(0.3)), "average"),
    "D_B average, Theorem 1": (B, CORNER, "average"),
    "D_B average, near it": (B, [S.scaled(0.995) for S in CORNER], "average"),
    "D_B average, d = 1e9": (BernoulliFeature(6, 10**9, 0.999), (Linf(12e-4 / 10**0.5), L1(2)), "average"),
    "D_G affine, linf and l1": (G, (Linf(G.eta), L1(1)), "affine"),
    "D_G union, linf and l1": (G, (Linf(G.eta), L1(1)), "union"),
    "D_G average, linf and l1": (G, (Linf(G.eta), L1(1)), "average"),
    "D_G average, Theorem 1": (G, (Linf(2 * G.eta), L1(2)), "average"),
    "D_G average, 0.995 of it": (G, [S.scaled(0.995) for S in (Linf(2 * G.eta), L1(2))], "average"),
    "D_G average, 0.99 of it": (G, [S.scaled(0.99) for S in (Linf(2 * G.eta), L1(2))], "average"),
    "D_G average, 0.985 of it": (G, [S.scaled(0.985) for S in (Linf(2 * G.eta), L1(2))], "average"),
    "D_G average, 0.95 of it": (G, [S.scaled(0.95) for S in (Linf(2 * G.eta), L1(2))], "average"),
    "D_G union, 0.98 of it": (G, [S.scaled(0.98) for S in (Linf(2 * G.eta), L1(2))], "union"),
    "D_G union, 0.95 of it": (G, [S.scaled(0.95) for S in (Linf(2 * G.eta), L1(2))], "union"),
    "D_G average, three sets": (G, (Linf(1.98 * G.eta), L1(1.98), L2(1.98)), "average"),
    "D_G average, alpha = 4": (GaussianFeature(4, 784), (Linf(1.98 * 4 / 28), L1(1.98)), "average"),
    "D_G average, 0.98, alpha 4": (GaussianFeature(4, 784), (Linf(1.96 * 4 / 28), L1(1.96)), "average"),
    "D_G average, 0.9, d = 100": (GaussianFeature(4, 100), (Linf(0.72), L1(1.8)), "average"),
    "D_G average, 0.95, d = 100": (GaussianFeature(4, 100), (Linf(0.76), L1(1.9)), "average"),
    "D_G average, 0.98, d = 100": (GaussianFeature(4, 100), (Linf(0.784), L1(1.96)), "average"),
    "D_G average, 0.9, alpha = 6": (GaussianFeature(6, 100), (Linf(1.08), L1(1.8)), "average"),
    "D_G average, few features": (GaussianFeature(3.03, 33), (Linf(0.917), L1(1.647)), "average"),
    "D_G affine, near it": (GaussianFeature(1, 10**7), (Linf(2 * 10**-3.5), L1(1.999)), "affine"),
}
STEPS = {
    "D_B union, linf and l1": 1 / np.array([16, 32, 64, 128, 256, 512]),
    "D_B average, near it": 1 / np.array([16, 32, 64, 128, 256]),
    "D_G average, linf and l1": 1 / np.array([4, 6, 8, 12, 16, 24]),
}


def measured(case, step, repetitions: int) -> tuple[float, float]:
    """Median seconds, and the width."""
    times = []
    for _ in range(repetitions):
        began = time.perf_counter()
        lower, upper = flow_bounds(*case, step=step)
        times.append(time.perf_counter() - began)
    return median(times), upper - lower


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=whole, default=3, metavar="N", help="runs of every case (default: 3)")
    repetitions = parser.parse_args().repetitions
    for name, case in CASES.items():
        seconds, width = measured(case, None, repetitions)
        peak = peak_memory() / 2**10
        print(f"{name:26} {seconds:7.2f} s   width {width:.1e}   peak memory {peak:.2f} GiB", flush=True)
    for name, steps in STEPS.items():
        seconds, widths = np.transpose([measured(CASES[name], step, repetitions) for step in steps])
        (k, _), (order, _) = np.polyfit(np.log(steps), np.log(seconds), 1), np.polyfit(np.log(steps), np.log(widths), 1)
        print(f"{name:26} time ~ step^{k:.2f}, width ~ step^{order:.2f} for steps {steps[0]:.3g} to {steps[-1]:.3g}")


if __name__ == "__main__":
    end(main)
