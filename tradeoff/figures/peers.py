r"""Our attacks against those of other libraries: accuracy left by ours (filled) and by the best peer (hollow).

A panel per trained model, a row per kind of attack: the same radius, the same MNIST test digits and as many gradient
steps for both, the mean of three or six seeds where luck matters; further left is stronger. Least-norm attacks (EAD,
C&W, DDN, FMN), of which we have none, meet our best single climb; kinds of which no peer has any are left out. Of the
union, each side takes the three single climbs, one for each norm, that break most together. Results are checked by us
in float64: what left its ball by more than a rounding counts as not attacked. Made by `python benchmarks/peers.py`.
"""

from collections.abc import Iterable
from itertools import product
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from tradeoff.figures.style import COLOURS, LABELS, PAGE, named
from tradeoff.files import read_json

RESULTS = Path(__file__).parents[1] / "results" / "peers.json"
KINDS = ("PGD", "SLIDE", "APGD-CE", "APGD-DLR", "growing radius", "least norm", "targeted", "union")  # cheap ones first
QUICK = {"results_of": "peers"}
PARAMETERS = {"quick": QUICK, "full": QUICK}


def compute(results=None, *, results_of: str) -> dict:
    """The committed result of `benchmarks/peers.py`, in pairs."""
    found = read_json(RESULTS.with_stem(results_of))
    pairs = pair_up(found["cells"], found["how"]["n"])
    return {"pairs": [pair for pair in pairs if pair["ours"] is not None and pair["peer"] is not None],
            "models": list(found["cells"]), "data": found["data"], "radii": found["how"]["sets"]}  # fmt: skip


def pair_up(cells: dict, n: int) -> list[dict]:
    """Per model, set and kind: the accuracy under ours and under the best peer (None without one), and by which.

    `cells[model][name]` are the records of the benchmark. Least-norm attacks, of which we have none, meet the best of
    our single climbs; the union is of one such climb per set and side, those that leave least together.
    """
    pairs = []
    for model, records in cells.items():
        sets = list(dict.fromkeys(record["set"] for record in records.values()))
        climbs = [record for record in records.values() if record["kind"] not in ("targeted", "least norm")]
        for S, kind in dict.fromkeys((record["set"], record["kind"]) for record in records.values()):
            mine = [r for r in (climbs if kind == "least norm" else records.values())
                    if (r["set"], r["who"]) == (S, "ours") and kind in (r["kind"], "least norm")]  # fmt: skip
            theirs = [r for r in records.values() if (r["set"], r["kind"]) == (S, kind) and r["who"] != "ours"]
            pairs.append(
                {"model": model, "set": S, "kind": kind, **_best([[r] for r in mine], [[r] for r in theirs], n)}
            )
        mine, theirs = ([r for r in climbs if (r["who"] == "ours") == ours] for ours in (True, False))
        mine, theirs = (product(*([r for r in side if r["set"] == S] for S in sets)) for side in (mine, theirs))
        pairs.append({"model": model, "set": "union", "kind": "union", **_best(mine, theirs, n)})
    return pairs


def _best(mine: Iterable, theirs: Iterable, n: int) -> dict:
    """Of both sides the attacks, each a sequence of cells, that leave least standing together on average."""
    best = {}
    for side, choices in (("ours", mine), ("peer", theirs)):
        left = [(_together(choice, n), choice) for choice in choices]
        accuracy, choice = min(left, key=lambda pair: pair[0], default=(None, ()))
        best |= {side: accuracy, f"{side} by": " + ".join(f"{r['who']} {r['attack']}" for r in choice)}
    return best


def _together(choice: Iterable[dict], n: int) -> float:
    """The share left standing by all of the cells, on average over the seeds that all have run from."""
    seeds = min(len(record["runs"]) for record in choice)
    return float(np.logical_and.reduce([standing(record, n)[:seeds] for record in choice]).mean())


def standing(record: dict, n: int) -> np.ndarray:
    """The examples that the runs of a cell left standing, bool (runs, n)."""
    packed = np.array([np.frombuffer(bytes.fromhex(run["standing"]), np.uint8) for run in record["runs"]])
    return np.unpackbits(packed, axis=1, count=n).astype(bool)


def draw(numbers: dict) -> Figure:
    """A panel per model, a row per set and kind."""
    pairs, models = numbers["pairs"], numbers["models"]
    rows = sorted({(pair["set"], pair["kind"]) for pair in pairs}, key=_order)
    figure, axes = plt.subplots(1, len(models), figsize=(PAGE, 0.6 + 0.16 * len(rows)), sharey=True, squeeze=False)
    for ax, model in zip(axes[0], models, strict=True):
        for pair in pairs:
            if pair["model"] == model:
                y, colour = rows.index((pair["set"], pair["kind"])), COLOURS[pair["set"].split(":")[0]]
                ax.plot([100 * pair["peer"], 100 * pair["ours"]], [y, y], color=colour, lw=0.8)
                ax.plot(100 * pair["peer"], y, "o", ms=5, mfc="white", color=colour)
                ax.plot(100 * pair["ours"], y, "o", ms=3, color=colour)
        ax.set_title(named(model))
        ax.set_xlim(-4, 100)
        ax.set_xlabel("accuracy (%)")
        ax.grid(axis="x", lw=0.3)
    names = [name if name == "union" else f"{LABELS[name.split(':')[0]]}  {kind}" for name, kind in rows]
    axes[0, 0].set_yticks(range(len(rows)), names)
    axes[0, 0].invert_yaxis()
    return figure


def _order(row: tuple[str, str]) -> tuple[int, int]:
    name, kind = row
    return list(LABELS).index(name.split(":")[0]), KINDS.index(kind)
