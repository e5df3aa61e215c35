"""How near the strong suite comes to everything together, and at what cost.

    python benchmarks/strength.py --runs out-full/runs [--models natural linf max msd] [--n 500] [--work DIR] [--out FILE]

For every model (RUNS/mnist-NAME/weights.safetensors, a small CNN) on the first N test images of MNIST, at linf 0.3, l2 2
and l1 10: the strong suite as a cascade, and after it, on the examples still standing, everything else at hand: every
climber of ours with every loss, own gradients and softened ones, from the ball and from larger ones, at each wrong
class, ten starts; wide beams, thousands of queries; with foolbox installed the peers' attacks of the paper (EAD,
Pointwise, C&W, DDN, Boundary, Brendel-Bethge). The table shows the accuracy left by either, the passes (a forward and a
backward pass of an example count as one, per example of the whole batch) and what each attack added. Finished cells are
kept in WORK, from which an interrupted command goes on.
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


def everything() -> dict:
    """The strong suite, and all else."""
    attacks = dict(suite("strong", SETS))
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


def summary(outcomes, attacks: list[str]) -> dict:
    """Accuracy after the named attacks, for each set and the union, and their passes."""
    columns = [outcomes.attacks.index(name) for name in attacks]
    broken = outcomes.tried & ~outcomes.correct
    left = {}
    for S in map(str, SETS.sets):
        chosen = [k for k in columns if outcomes.sets[k] == S]
        left[S] = float((~broken[:, [0, *chosen]].any(axis=1)).mean())
    left["union"] = float((~broken[:, [0, *columns]].any(axis=1)).mean())
    return {"accuracy": left, "passes": sum(gain.passes for gain in outcomes.gains() if gain.attack in attacks)}


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
        outcomes = evaluate(model, everything(), data.x, data.y, np.random.default_rng(0), cascade=True, chunk=100,
                            run=make_folder(Path(options.work) / f"{name}-{options.n}"), progress=name)  # fmt: skip
        strong = summary(outcomes, list(suite("strong", SETS)))
        both = summary(outcomes, list(outcomes.attacks[1:]))
        gains = [gain._asdict() for gain in outcomes.gains()]
        rows[name] = {"clean": outcomes.accuracy(), "strong": strong, "everything": both, "gains": gains}
        for label, found in (("strong", strong), ("everything", both)):
            shown = "  ".join(f"{S} {accuracy:6.1%}" for S, accuracy in found["accuracy"].items())
            print(f"{name:8} {label:10} {shown}  {found['passes']:7.0f} passes", flush=True)
        for gain in gains:
            print(f"    {gain['attack']:44} tried {gain['tried']:4}  broken {gain['broken']:4}  of the union "
                  f"{gain['union']:4}  {gain['passes']:6.1f} passes")  # fmt: skip
    if options.out:
        about = provenance(data=f"first {options.n} test examples of {data.source}", seed=0)
        write_json(options.out, {"sets": str(SETS), "models": rows, "provenance": about})


if __name__ == "__main__":
    main()
