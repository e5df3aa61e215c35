"""python -m tradeoff.transfer: what robustness to one set is worth against another, trained-on × tested-on.

Rows are networks trained on one set, columns sets; a cell is the accuracy that all attacks of all evaluations leave.
Rows and columns are ordered by how alike they are (average linkage of Euclidean distances). Where a network was trained
on lp balls only, geometry predicts something: a classifier that is robust to the hull of its sets (a linear one that
is robust to them all) is robust to every ball within that hull.
"""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.stats import spearmanr

from tradeoff import tables
from tradeoff.attacks import Softened
from tradeoff.checks import check_count
from tradeoff.command import add_json, check_json, epilog, put_json, run
from tradeoff.engines import missing
from tradeoff.experiments import EXPERIMENTS, Experiment, jobs_of
from tradeoff.names import lookup
from tradeoff.perturbations import PRESETS, Lp, Union
from tradeoff.provenance import provenance
from tradeoff.records import RUNS, Record, folder_of_runs, read_all, standing
from tradeoff.subject import check_device
from tradeoff.theory.theorems.hull import hull_radius


@dataclass(frozen=True)
class Transfer:
    """A matrix: the runs by what they were trained on, the sets that each is attacked with, by which suite, and the
    runs of lp balls whose cells geometry predicts. Inputs have `pixels` numbers."""

    title: str
    sets: tuple
    trained: Mapping[str, str]
    predicted: tuple[str, ...]
    suite: str
    pixels: int

    @property
    def runs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.trained.values(), *self.predicted)))


def _transfer(data: str, title: str, several: Sequence[str], predicted: Sequence[str], prefix: str, pixels: int):
    sets = PRESETS[f"transfer_{data}"].sets
    names = ("natural", *(S.name for S in sets), *several)
    trained = {name: f"{data}-{name}" for name in names if f"{data}-{name}" in EXPERIMENTS}
    return Transfer(title, sets, trained, tuple(f"{data}-{name}" for name in predicted), f"{prefix}transfer", pixels)


TRANSFERS: Mapping[str, Transfer] = {
    "mnist": _transfer("mnist", "MNIST", ("max", "max-rt"), ("linf", "l2", "l1", "e-at", "alternating"), "", 784),
    "cifar10": _transfer(
        "cifar10", "CIFAR-10", ("max-l1", "max-rt"), ("linf", "l1", "avg-l1", "max-l1"), "cifar10-", 3072
    ),
}


def accuracy(record: Record, S) -> float | None:
    """The share of examples that stand under every attack on S (see `records.standing`); None without any."""
    stands = standing(record, S)
    return None if stands is None else float(stands.mean())


def matrix(records: Mapping[str, Record], transfer: Transfer) -> np.ndarray:
    """Accuracies, networks × sets, NaN where a network has not been attacked."""
    rows = [[accuracy(records[run], S) for S in transfer.sets] for run in transfer.trained.values()]
    return np.array(rows, dtype=float)


def order(profiles: np.ndarray) -> list[int]:
    """The rows, like beside like, by average linkage of Euclidean distances; those with gaps come last.

    >>> order(np.array([[0.0, 0.0], [1.0, 1.0], [0.1, 0.0], [0.9, 1.0], [np.nan, 1.0]]))
    [1, 3, 2, 0, 4]
    """
    whole = np.flatnonzero(np.isfinite(profiles).all(axis=1))
    gaps = [int(k) for k in range(len(profiles)) if k not in whole]
    if len(whole) < 3:
        return [int(k) for k in whole] + gaps
    leaves = leaves_list(linkage(profiles[whole], "average", optimal_ordering=True))
    return [int(k) for k in whole[leaves]] + gaps


# ---- what geometry predicts


def balls(experiment: Experiment) -> tuple[Lp, ...]:
    """The lp balls trained on, each once."""
    sets = []
    for attack in experiment.attacks:
        attack = attack.attack if isinstance(attack, Softened) else attack
        sets += attack.S.sets if isinstance(attack.S, Union) else [attack.S]
    return tuple(S for S in dict.fromkeys(sets) if isinstance(S, Lp))


def radius(p: float, trained: Iterable[Lp], d: int) -> float:
    """The radius of the largest lp ball in R^d that surely lies in the hull of the balls: within one of them, or within
    the hull of linf and l1.

    ‖x‖_q ≤ d^{max(0, 1/q - 1/p)} ‖x‖_p, hence an lq ball of radius ε holds the lp ball of radius ε / d^{...}.

    >>> [round(radius(p, some, 784), 4) for p, some in ((2, [Linf(0.3)]), (2, [Linf(0.3), L1(10)]), (inf, [L1(10)]))]
    [0.3, 1.7379, 0.0128]
    """
    trained = list(trained)
    alone = [S.eps / d ** max(0.0, 1 / S.p - 1 / p) for S in trained]
    ends = {end: max((S.eps for S in trained if S.p == end), default=0.0) for end in (inf, 1)}
    both = hull_radius(p, ends[inf], ends[1], d) if all(ends.values()) else 0.0
    return max([0.0, both, *alone])


@dataclass(frozen=True)
class Prediction:
    """Cells of networks on lp balls that they were not trained on: `cells` are (network, set, the radius that surely
    lies in the hull over that of the set, accuracy), `correlation` is Spearman's, with its bootstrap interval of 95 %
    over cells."""

    cells: tuple[tuple[str, str, float, float], ...]
    correlation: float
    interval: tuple[float, float]


def prediction(records: Mapping[str, Record], transfer: Transfer, seed: int = 0) -> Prediction | None:
    """How well the order of the radii is that of the accuracies; None with fewer than four cells."""
    cells = []
    for name in transfer.predicted:
        trained = balls(EXPERIMENTS[name])
        for S in transfer.sets:
            known = accuracy(records[name], S) if isinstance(S, Lp) and S not in trained else None
            if known is not None:
                cells.append((name, S.name, radius(S.p, trained, transfer.pixels) / S.eps, known))
    if len(cells) < 4:
        return None
    values = np.array([cell[2:] for cell in cells])
    rng, drawn = np.random.default_rng(seed), []
    while len(drawn) < 2000:
        some = values[rng.integers(len(values), size=len(values))]
        if np.ptp(some, axis=0).all():  # otherwise there is no order to compare
            drawn.append(spearmanr(*some.T).statistic)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Prediction(tuple(cells), float(spearmanr(*values.T).statistic), (float(low), float(high)))


# ---- the command


def table(records: Mapping[str, Record], transfer: Transfer) -> tuple[list[str], list[list[str]]]:
    """Header and rows, in percent, like beside like."""
    values = matrix(records, transfer)
    rows, columns = order(values), order(values.T)
    names = list(transfer.trained)
    lines = [
        [names[i], *(tables.percent(None if np.isnan(values[i, j]) else values[i, j]) for j in columns)] for i in rows
    ]
    return ["trained on", *(str(transfer.sets[j]) for j in columns)], lines


def as_data(records: Mapping[str, Record], transfer: Transfer, predicted: Prediction | None) -> dict:
    """The table and the prediction as JSON takes them: shares, None where not measured."""
    values = [[None if np.isnan(value) else value for value in row] for row in matrix(records, transfer).tolist()]
    return {"trained": list(transfer.trained), "tested": [str(S) for S in transfer.sets], "accuracy": values,
            "prediction": predicted and vars(predicted), "about": provenance()}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when the table is there, 1 when it could not be made, 2 for a wrong request, before any work."""
    parser = argparse.ArgumentParser(
        prog="python -m tradeoff.transfer",
        description="What robustness to one set is worth against another: a table of accuracies, trained-on × "
        "tested-on, from results that are there, and how well geometry predicts those under lp noise.",
        epilog=epilog("python -m tradeoff.transfer mnist --runs out/runs --make 500", "could not be made"),
    )
    parser.add_argument("names", nargs="*", metavar="DATA", help=f"of {', '.join(TRANSFERS)} (default: all)")
    parser.add_argument("--runs", metavar="DIR", help="folder of the runs (default: the committed ones)")
    parser.add_argument("--make", type=int, metavar="N", help="first train what is missing, and attack it on the first "
                        "N test images; goes on where it was")  # fmt: skip
    parser.add_argument("--device", default="cpu", help="torch device for that: cpu (default), cuda")
    parser.add_argument("--style", default="txt", choices=tables.STYLES, help="default: txt")
    add_json(parser)
    parser.add_argument("--force", action="store_true", help="replace FILE if it exists")
    options = parser.parse_args(arguments)
    runs, status = Path(options.runs) if options.runs else RUNS, 2
    try:
        chosen = [lookup(TRANSFERS, name, "data set") for name in options.names or TRANSFERS]
        check_json(options.json, options.force)
        if options.make is not None:
            check_count(options.make, "--make")
            if options.runs is None:
                raise ValueError("--make trains and attacks in a folder of yours: give it with --runs DIR")
            check_device(options.device)
            status = 1
            for transfer in chosen:
                for name in transfer.trained.values():
                    for job in missing(
                        jobs_of(name, runs, transfer.suite, options.make, options.device, progress=True)
                    ):
                        job()
        records = read_all([name for transfer in chosen for name in transfer.runs], folder_of_runs(runs))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return status
    found = {transfer.title: prediction(records, transfer) for transfer in chosen}
    put_json(options.json, {transfer.title: as_data(records, transfer, found[transfer.title]) for transfer in chosen})
    for transfer in chosen if options.json != "-" else ():
        print(f"{transfer.title}\n\n{tables.STYLES[options.style](*table(records, transfer))}\n")
        predicted = found[transfer.title]
        if predicted:
            low, high = predicted.interval
            print("The largest ball that surely lies in the hull of what was trained on, and accuracy under lp noise "
                  f"that was not: rank correlation {predicted.correlation:.2f} ({low:.2f} to {high:.2f}), "
                  f"{len(predicted.cells)} cells\n")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
