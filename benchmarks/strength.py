"""How near the strong suite comes to everything together, and at what cost.

    python benchmarks/strength.py --runs tradeoff/results/networks [--models natural linf max msd] [--n 500]
        [--out FILE]

For every model (RUNS/mnist-NAME/weights.safetensors, a small CNN), the first N test images of MNIST, linf 0.3, l2 2 and
l1 10: the strong suite as a cascade, and then, on the examples that stand under all three, everything else at hand:
every climber of ours with every loss, own gradients and softened ones, from the ball and from larger ones, at each
wrong class, from several starts; wide beams, thousands of queries; with foolbox installed the peers' attacks of the
paper (EAD, Pointwise, C&W, DDN, Boundary, Brendel-Bethge). Printed are the accuracies left by either, the passes (a
forward and a backward pass of an example count as one, per example of the whole batch) and what each attack added.
Finished cells are kept in WORK, from which an interrupted command goes on.
"""

import argparse
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
import torch

from tradeoff.attacks import APGD, MSD, PGD, SLIDE, CoordinateBeam, Softened, Square
from tradeoff.attacks.external import paper_peers
from tradeoff.attacks.suites import suite
from tradeoff.data import load
from tradeoff.evaluation import evaluate
from tradeoff.files import make_folder, write_json
from tradeoff.models import build
from tradeoff.perturbations import L1, L2, Linf, Union
from tradeoff.provenance import provenance
from tradeoff.training import load_weights

SETS = Union((Linf(0.3), L2(2), L1(10)))


def all_else() -> dict:
    """What the strong suite leaves out."""
    attacks = {}
    for S in SETS.sets:
        plain = SLIDE(S, 100, restarts=10) if S.p == 1 else PGD(S, 100, restarts=10)
        attacks |= {f"plain {S}": plain, f"soft plain {S}": Softened(plain)}
        for loss, radii, targets in product(("ce", "margin", "dlr"), ((1,), (3, 2, 1)), (0, 9)):
            climber = APGD(S, 100, loss=loss, radii=radii, targets=targets, restarts=1 if targets else 5)
            name = f"APGD-{loss} {len(radii)} radii {targets or 'no'} targets {S}"
            attacks |= {name: climber, f"soft {name}": Softened(climber)}
        attacks[f"many queries {S}"] = Square(S, 5000)
        if S.p < np.inf:
            attacks[f"wide beams {S}"] = CoordinateBeam(S, width=32, candidates=32, restarts=2)
        if find_spec("foolbox"):
            attacks |= {f"{name} {S}": peer for name, peer in paper_peers(S).items()}
    steepest = MSD(SETS.sets, 100, restarts=5)
    return attacks | {"MSD": steepest, "soft MSD": Softened(steepest)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", required=True, metavar="DIR", help="folder of trained models, as experiments make it")
    parser.add_argument("--models", nargs="+", default=["natural", "linf", "max", "msd"], metavar="NAME")
    parser.add_argument("--n", type=int, default=500, help="test examples (default: 500)")
    parser.add_argument("--work", default="out/strength", metavar="DIR", help="folder of finished cells")
    parser.add_argument("--out", metavar="FILE", help="also write the results to FILE, as JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data, rows = load("mnist", "test").first(options.n), {}
    for name in options.models:
        model = build("small_cnn", 0)
        load_weights(Path(options.runs) / f"mnist-{name}" / "weights.safetensors", model)

        def run(label, attacks, x, y, name=name, model=model):
            folder = make_folder(Path(options.work) / f"{name}-{options.n}-{label}")
            rng = np.random.default_rng(0)
            return evaluate(model, attacks, x, y, rng, cascade=True, chunk=100, run=folder, progress=f"{name} {label}")

        strong = run("strong", suite("strong", SETS), data.x, data.y)
        gains, row = strong.gains(), {name: strong.accuracy(name) for name in (*strong.set_names,)}
        row |= {"clean": strong.accuracy(), "union": strong.union(), "passes": sum(gain.passes for gain in gains)}
        standing = strong.standing(*strong.set_names)
        rest = run("rest", all_else(), data.x[standing], data.y[standing]) if standing.any() else None
        row["union of everything"] = (rest.union() if rest else 0.0) * strong.union()
        added = [gain for gain in rest.gains() if gain.union] if rest else []
        row |= {"gains": [gain._asdict() for gain in gains], "added": [gain._asdict() for gain in added]}
        rows[name] = row
        numbers = "  ".join(f"{key} {row[key]:.1%}" for key in ("clean", *strong.set_names, "union"))
        print(f"{name}: {numbers}; {row['passes']:.0f} passes; everything {row['union of everything']:.1%}", flush=True)
        for gain in gains:
            print(f"    {gain.attack:36} tried {gain.tried:4}  broken {gain.broken:4}  of the union {gain.union:4}  "
                  f"{gain.passes:6.1f} passes")  # fmt: skip
        for gain in added:
            print(f"  + {gain.attack:48} of the union {gain.union:4}")
    if options.out:
        about = provenance(data=f"first {options.n} test examples of {data.source}", seed=0)
        write_json(options.out, {"sets": str(SETS), "models": rows, "provenance": about})


if __name__ == "__main__":
    main()
