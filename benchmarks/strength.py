"""How near a suite comes to everything together, and at what cost.

    python benchmarks/strength.py --runs tradeoff/results/networks [--models natural linf max msd] [--suite strong]
        [--n 500] [--json FILE]
    python benchmarks/strength.py --runs tradeoff/results/runs --models dead-zone --suite dead-zone --n 100

For every model (RUNS/mnist-NAME/weights.safetensors), the first N test images of MNIST, linf 0.3, l2 2 and l1 10: the
suite as a cascade, and then, on the examples that stand under all three, everything else at hand: every climber of ours
with every loss, own gradients and softened ones, from the ball and from larger ones, at each wrong class, from several
starts; wide beams, thousands of queries; with foolbox installed the peers' attacks of the paper (EAD, Pointwise, C&W,
DDN, Boundary, Brendel-Bethge). After the suite "dead-zone" the climbers and the peers go straight through the front end
too, and the walks are made five times. Printed are the accuracies left by either, the passes (a forward and a backward
pass of an example count as one, per example of the whole batch) and what each attack added. An evaluation by the suite
that is in RUNS, of as many examples or more, is not made again; finished cells are kept in WORK, from which an
interrupted command goes on.
"""

import argparse
from dataclasses import replace
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
import torch
from script import end, parse, whole

from tradeoff.attacks import APGD, MSD, PGD, SLIDE, CoordinateBeam, Softened, Square, StraightThrough
from tradeoff.attacks.external import paper_peers
from tradeoff.attacks.suites import suite
from tradeoff.data import load
from tradeoff.evaluation import evaluate
from tradeoff.experiments import EXPERIMENTS
from tradeoff.files import make_folder, write_json
from tradeoff.models import build, seen
from tradeoff.names import lookup
from tradeoff.outcomes import Outcomes
from tradeoff.perturbations import L1, L2, Linf, Union
from tradeoff.provenance import provenance
from tradeoff.records import read
from tradeoff.training import load_weights

SETS = Union((Linf(0.3), L2(2), L1(10)))


def all_else(name: str) -> dict:
    """What the named suite leaves out."""
    attacks, clamped = {}, name.startswith("dead-zone")
    for S in SETS.sets:
        plain = SLIDE(S, 100, restarts=10) if S.p == 1 else PGD(S, 100, restarts=10)
        attacks |= {f"plain {S}": plain, f"soft plain {S}": Softened(plain)}
        for loss, radii, targets in product(("ce", "margin", "dlr"), ((1,), (3, 2, 1)), (0, 9)):
            climber = APGD(S, 100, loss=loss, radii=radii, targets=targets, restarts=1 if targets else 5)
            climb = f"APGD-{loss} {len(radii)} radii {targets or 'no'} targets {S}"
            attacks |= {climb: climber, f"soft {climb}": Softened(climber)}
            attacks |= {f"straight {climb}": StraightThrough(climber)} if clamped else {}
        attacks[f"many queries {S}"] = Square(S, 5000)
        if S.p < np.inf:
            attacks[f"wide beams {S}"] = CoordinateBeam(S, width=32, candidates=32, restarts=2)
        if find_spec("foolbox"):
            for called, peer in paper_peers(S).items():
                walks = clamped and called.startswith(("Pointwise", "Brendel"))
                for again in [called, *(f"{called} {k}" for k in range(2, 6) if walks)]:  # draws are keyed by the name
                    attacks[f"{again} {S}"] = peer
                    attacks |= {f"straight {again} {S}": StraightThrough(peer)} if clamped else {}
    steepest = MSD(SETS.sets, 100, restarts=5)
    return attacks | {"MSD": steepest, "soft MSD": Softened(steepest)}


def first(outcomes: Outcomes, n: int) -> Outcomes:
    """The first n examples; passes, which are known for all alone, in proportion."""
    share = n / len(outcomes.correct)
    passes = {attack: {way: share * count for way, count in ways.items()}
              for attack, ways in outcomes.about.get("passes", {}).items()}  # fmt: skip
    about = outcomes.about | {"passes": passes}
    return replace(outcomes, correct=outcomes.correct[:n], tried=outcomes.tried[:n], about=about)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", required=True, metavar="DIR", help="folder of trained models, as experiments make it")
    parser.add_argument("--models", nargs="+", default=["natural", "linf", "max", "msd"], metavar="NAME")
    parser.add_argument("--suite", default="strong", help="of tradeoff.attacks.suites (default: strong)")
    parser.add_argument("--n", type=whole, default=500, help="test examples (default: 500)")
    parser.add_argument("--work", default="out/strength", metavar="DIR", help="folder of finished cells")
    options = parse(parser)
    torch.set_num_threads(1)
    data, rows = load("mnist", "test").first(options.n), {}
    for name in options.models:
        record = read(f"mnist-{name}", Path(options.runs))
        model = build(lookup(EXPERIMENTS, record.name, "experiment").model, 0)
        load_weights(record.folder / "weights.safetensors", model)

        def run(label, attacks, x, y, name=name, model=model):
            folder = make_folder(Path(options.work) / f"{name}-{options.n}-{label}")
            rng = np.random.default_rng(0)
            return evaluate(model, attacks, x, y, rng, cascade=True, chunk=100, run=folder, progress=f"{name} {label}")

        there = record.outcomes.get(options.suite)
        if there is not None and len(there.correct) >= options.n:
            strong = first(there, options.n)
        else:
            strong = run(options.suite, suite(options.suite, SETS, seen=seen(model)), data.x, data.y)
        gains, row = strong.gains(), {name: strong.accuracy(name) for name in strong.set_names}
        row |= {"clean": strong.accuracy(), "union": strong.union(), "passes": sum(gain.passes for gain in gains)}
        standing = strong.standing(*strong.set_names)
        rest = run("rest", all_else(options.suite), data.x[standing], data.y[standing]) if standing.any() else None
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
    if options.json:
        about = provenance(data=f"first {options.n} test examples of {data.source}", seed=0)
        write_json(options.json, {"sets": str(SETS), "models": rows, "provenance": about})


if __name__ == "__main__":
    end(main, resumes=True)
