"""How much of a network for MNIST can be proved, and how much an attack leaves, as all radii grow together.

    python benchmarks/certified.py RUN [--n 100] [--suite dead-zone-quick] [--json FILE]

RUN is the folder of a trained experiment. Radii are shares of the paper's, linf 0.3, l2 2 and l1 10. Beside each other,
for each set and the union: the share of the first N test images that `certify` proves to stand, and that the suite
leaves standing, a lower and an upper bound of what is true. Where nothing was proved, nothing larger is tried.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from script import end, parse, whole

from tradeoff.attacks.suites import suite
from tradeoff.certification import certify
from tradeoff.data import load
from tradeoff.evaluation import evaluate
from tradeoff.experiments import EXPERIMENTS
from tradeoff.figures.record import SETS, at
from tradeoff.files import write_json
from tradeoff.models import build, seen
from tradeoff.names import lookup
from tradeoff.perturbations import Union
from tradeoff.provenance import provenance
from tradeoff.training import load_weights

SCALES = (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 1 / 3, 0.5, 2 / 3, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a trained experiment")
    parser.add_argument("--n", type=whole, default=100, help="test examples (default: 100)")
    parser.add_argument("--suite", default="dead-zone-quick", help="of tradeoff.attacks.suites")
    options = parse(parser)
    torch.set_num_threads(1)
    model = build(lookup(EXPERIMENTS, options.run.name, "experiment").model, 0).eval()
    data = load("mnist", "test").first(options.n)
    load_weights(options.run / "weights.safetensors", model)
    x, y, rows = torch.tensor(data.x), torch.tensor(data.y), []
    hopeless: set[str] = set()
    for scale in SCALES:
        sets = [at(S, scale) for S in SETS]
        proved = {S.name: certify(model, x, y, S) if S.name not in hopeless else np.zeros(len(x), bool) for S in sets}
        hopeless |= {name for name, found in proved.items() if not found.any()}
        left = evaluate(model, suite(options.suite, Union(tuple(sets)), seen=seen(model)), data.x, data.y,
                        np.random.default_rng(0), cascade=True, chunk=100)  # fmt: skip
        certified = {name: float(found.mean()) for name, found in proved.items()}
        certified["union"] = float(np.all(list(proved.values()), axis=0).mean())
        attacked = {S.name: left.accuracy(S.name) for S in sets} | {"union": left.union()}
        rows.append({"scale": scale, "certified": certified, "attacked": attacked})
        numbers = ", ".join(f"{name} {certified[name]:.0%} to {attacked[name]:.0%}" for name in certified)
        print(f"{scale:.2f} of the radii: {numbers}", flush=True)
    if options.json:
        about = provenance(data=f"first {options.n} test examples of {data.source}", seed=0)
        write_json(options.json, {"run": options.run.name, "suite": options.suite, "rows": rows, "provenance": about})


if __name__ == "__main__":
    end(main)
