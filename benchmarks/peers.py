"""Our attacks against those of other libraries: the same models, digits, radii and numbers of gradient steps.

    python benchmarks/peers.py [--runs DIR] [--n 500] [--steps 100] [--models natural linf max msd] [--json FILE]

Models are DIR/mnist-NAME/weights.safetensors, small CNNs trained on all of MNIST (a missing one is skipped, as is an
attack of ours or of a peer that is not there). Every cell is one attack on one model, run from three seeds, from six
where the two sides are closest: a single climb of 500 digits breaks half a point to a point more or less by luck, as
much as what is compared. Least-norm attacks draw little or nothing and nine targets even it out, so these run once. A
run is accuracy, which digits stand, gradients and forward passes per digit, seconds. All run as `Peer` runs them, in
batches of 100, one restart, results held to their ball in float64. FILE (tradeoff/results/peers.json) is written after
every run; the same command goes on where an interrupted one was, and `--again WHO` measures the cells of one side anew.
The table compares kind by kind the means of the seeds.
"""

import argparse
import sys
import time
import warnings
from importlib.metadata import PackageNotFoundError, version
from math import inf
from pathlib import Path

import numpy as np
import torch
from script import end, whole
from torch import nn

import tradeoff.attacks
from tradeoff.attacks import Draws
from tradeoff.attacks.external import Peer
from tradeoff.data import load
from tradeoff.figures.peers import KINDS, RESULTS, pair_up
from tradeoff.files import make_folder, read_json, write_json
from tradeoff.models import build
from tradeoff.perturbations import L1, L2, Linf, Lp
from tradeoff.progress import progress_bar
from tradeoff.provenance import provenance
from tradeoff.training import load_weights

SETS = (Linf(0.3), L2(2), L1(10))
PEERS = {"foolbox": "foolbox", "torchattacks": "torchattacks", "art": "adversarial-robustness-toolbox",
         "adv_lib": "adv-lib"}  # fmt: skip
CHUNK = 100
SEEDS = {"PGD": 3, "SLIDE": 3, "APGD-CE": 3, "APGD-DLR": 6, "growing radius": 3, "least norm": 1, "targeted": 1}
RANDOM = {"random_start": True}


def candidates(S: Lp, steps: int) -> list[tuple[str, str, str, dict]]:
    """(kind, who, attack, its options) of what is compared on S, cheap ones first; PGD steps are 2.5 eps / steps."""
    eps, share = S.eps, 2.5 / steps
    l1 = S.p == 1
    name = {1.0: "L1", 2.0: "L2", inf: "Linf"}[S.p]
    art_pgd = {"max_iter": steps, "eps_step": share * eps, "num_random_init": 1}
    art_apgd = {"max_iter": steps, "eps_step": (1 if l1 else 2) * eps, "nb_random_init": 1}
    found = []
    if l1:
        found += [
            ("SLIDE", "ours", "SLIDE", {"steps": steps, "loss": "ce"}),
            ("SLIDE", "ours", "SLIDE", {"steps": steps, "loss": "margin"}),
            ("SLIDE", "foolbox", "SparseL1DescentAttack", {"steps": steps, "rel_stepsize": share}),
            ("SLIDE", "foolbox", "SparseL1DescentAttack", {"steps": steps, "rel_stepsize": share, **RANDOM}),
            ("SLIDE", "art", "ProjectedGradientDescent", art_pgd),
        ]
    else:
        found += [
            ("PGD", "ours", "PGD", {"steps": steps, "loss": "ce"}),
            ("PGD", "ours", "PGD", {"steps": steps, "loss": "margin"}),
            ("PGD", "foolbox", f"{name}PGD", {"steps": steps, "rel_stepsize": share}),
            ("PGD", "torchattacks", "PGDL2" if S.p == 2 else "PGD", {"steps": steps, "alpha": share * eps}),
            ("PGD", "art", "ProjectedGradientDescent", art_pgd),
        ]
    for loss in ("ce", "dlr"):
        kind = f"APGD-{loss.upper()}"
        art_loss = {"ce": "cross_entropy", "dlr": "difference_logits_ratio"}[loss]
        found += [
            (kind, "ours", "APGD", {"steps": steps, "loss": loss}),
            (kind, "adv_lib", "apgd", {"n_iter": steps, "loss_function": loss}),
            (kind, "art", "AutoProjectedGradientDescent", {**art_apgd, "loss_type": art_loss}),
        ]
        if not l1:
            found.append((kind, "torchattacks", "APGD", {"steps": steps, "loss": loss}))
    for loss in ("ce", "dlr", "margin"):
        found.append(("growing radius", "ours", "APGD", {"steps": steps, "loss": loss, "radii": (3, 2, 1)}))
        if l1 and loss != "margin":  # the only peer, and in l1 alone
            large = {"n_iter": steps, "use_large_reps": True, "loss_function": loss}
            found.append(("growing radius", "adv_lib", "apgd", large))
    gentle = {"steps": steps, "initial_const": 1.0}  # their own 1e-3 wants thousands of steps
    found += {
        1.0: [("least norm", "foolbox", "EADAttack", {**gentle, "decision_rule": "L1"}),
              ("least norm", "torchattacks", "EADL1", {"max_iterations": steps, "initial_const": 1.0})],
        2.0: [("least norm", "foolbox", "DDNAttack", {"steps": steps, "init_epsilon": eps}),
              ("least norm", "foolbox", "L2CarliniWagnerAttack", {**gentle, "stepsize": 0.05})],
        inf: [],
    }[S.p]  # fmt: skip
    found.append(("least norm", "adv_lib", "fmn", {"steps": steps}))
    aimed = {"steps": steps, "loss": "dlr", "targets": 9, **({"radii": (3, 2, 1)} if l1 else {})}
    wide = {"n_iter": steps, "loss_function": "dlr", "num_targets": 9, "use_large_reps": l1}
    found += [("targeted", "ours", "APGD", aimed), ("targeted", "adv_lib", "apgd_targeted", wide)]
    return found


def make(who: str, attack: str, options: dict, S: Lp):
    """The attack. ValueError when it is not there."""
    if who != "ours":
        return Peer(who, attack, S, options)
    there = getattr(tradeoff.attacks, attack, None)
    if there is None:
        raise ValueError(f"tradeoff.attacks has no {attack} yet")
    return there(S, **options)


class Counted(nn.Module):
    """The model, counting how many examples pass forward, and with a gradient."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner, self.forwards, self.gradients = inner, 0, 0

    def forward(self, x):
        self.forwards += len(x)
        self.gradients += len(x) * (x.requires_grad and torch.is_grad_enabled())
        return self.inner(x)


def measure(model: nn.Module, attack, x: torch.Tensor, y: torch.Tensor, seed: int, name: str) -> dict:
    """One run: what stands, and what it cost per example."""
    counted = Counted(model).eval()
    standing, began = [], time.perf_counter()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for points, labels in zip(x.split(CHUNK), y.split(CHUNK), strict=True):
            draws = Draws.for_examples(points.numpy(), seed, name)
            points = attack(counted, points, labels, draws)
            with torch.no_grad():
                standing.append((model(points).argmax(dim=1) == labels).numpy())
    seconds, standing = time.perf_counter() - began, np.concatenate(standing)
    return {"accuracy": float(standing.mean()), "standing": np.packbits(standing).tobytes().hex(),
            "gradients": round(counted.gradients / len(x), 1), "forwards": round(counted.forwards / len(x), 1),
            "seconds": round(seconds, 1), "said": sorted({str(warning.message) for warning in said})}  # fmt: skip


def plan(steps: int, sets) -> list[tuple[str, dict, object]]:
    """(name, record, attack) of every cell of a model, cheap kinds first; what is not there is said and left out."""
    cells = []
    for S in sets:
        for kind, who, attack, options in candidates(S, steps):
            try:
                made = make(who, attack, options, S)
            except ValueError as error:
                print(f"skipped: {who} {attack} on {S}: {error}", file=sys.stderr)
                continue
            shown = f"{attack}({', '.join(f'{key}={value!r}' for key, value in options.items())})"
            record = {"set": str(S), "kind": kind, "who": who, "attack": shown}
            cells.append((f"{S} {who} {shown}", record, made))
    return sorted(cells, key=lambda cell: KINDS.index(cell[1]["kind"]))


def show(cells: dict, n: int) -> None:
    """The table: per model, set and kind ours, the best peer and the difference in points."""
    print(f"{'model':8} {'set':9} {'kind':14}   ours   peer   diff  best peer")
    for pair in pair_up(cells, n):
        ours, peer = (f"{100 * pair[key]:6.1f}" if pair[key] is not None else "     –" for key in ("ours", "peer"))
        both = pair["ours"] is not None and pair["peer"] is not None
        difference = f"{100 * (pair['ours'] - pair['peer']):+6.1f}" if both else "     –"
        print(f"{pair['model']:8} {pair['set']:9} {pair['kind']:14} {ours} {peer} {difference}  "
              f"{pair['peer by']}")  # fmt: skip


def versions() -> dict[str, str]:
    found = {}
    for package in PEERS.values():
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            pass
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", default="out-full/runs", metavar="DIR", help="folder of trained models")
    parser.add_argument("--models", nargs="+", default=["natural", "linf", "max", "msd"], metavar="NAME")
    parser.add_argument("--n", type=whole, default=500, help="test digits (default: the first 500)")
    parser.add_argument("--steps", type=whole, default=100, help="gradient steps (default: 100)")
    parser.add_argument("--json", default=str(RESULTS), metavar="FILE", help="what is measured, and gone on from")
    parser.add_argument("--again", nargs="*", default=[], metavar="WHO", help="measure anew: ours, foolbox, art, …")
    options = parser.parse_args()
    torch.set_num_threads(1)
    out = Path(options.json)
    make_folder(out.parent)
    digits = load("mnist", "test").first(options.n)
    how = {"n": options.n, "steps": options.steps, "sets": [str(S) for S in SETS], "seeds": SEEDS, "chunk": CHUNK}
    result = {"how": how, "data": f"first {len(digits)} test examples of {digits.source}", "cells": {}}
    if out.exists():
        there = read_json(out)
        if there["how"] != how:
            raise ValueError(f"{out} was measured otherwise ({there['how']}): --json FILE keeps both, or delete it")
        result["cells"] = {
            model: {name: record for name, record in records.items() if record["who"] not in options.again}
            for model, records in there["cells"].items()
        }
    x, y = torch.tensor(digits.x), torch.tensor(digits.y)
    cells = plan(options.steps, SETS)
    models = {}
    for name in options.models:
        weights = Path(options.runs) / f"mnist-{name}" / "weights.safetensors"
        if weights.exists():
            models[name] = build("small_cnn", 0).eval()
            load_weights(weights, models[name])
        else:
            print(f"skipped: the model {name}, as there is no {weights}", file=sys.stderr)
    jobs = [(seed, model, *cell) for seed in range(max(SEEDS.values())) for cell in cells for model in models
            if seed < SEEDS[cell[1]["kind"]]]  # fmt: skip
    with progress_bar(len(jobs), "runs") as bar:
        for seed, model, name, record, attack in jobs:
            runs = result["cells"].setdefault(model, {}).setdefault(name, record | {"runs": []})["runs"]
            bar.update()
            if len(runs) > seed:
                continue
            bar.set_postfix_str(f"{model} {record['who']} {record['kind']}")
            runs.append(measure(models[model], attack, x, y, seed, name))
            result["provenance"] = provenance(seed=list(range(max(SEEDS.values()))), peers=versions())
            write_json(out, result)
    show(result["cells"], options.n)


if __name__ == "__main__":
    end(main, resumes=True)
