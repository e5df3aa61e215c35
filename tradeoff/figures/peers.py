r"""Our attacks against those of other libraries, kind by kind: accuracy left by ours and by the best peer.

Each point is one kind of attack on one trained model: at the same radius, on the same MNIST test digits, with as many
gradient steps for both. Below the diagonal ours leave less, so are stronger; the dotted line is half a point above it.
Of the union (right), each side takes the three attacks, one for each norm, that break most together. Results are
checked by us in float64: what left its ball by more than a rounding counts as not attacked. Made by
`python benchmarks/peers.py`.
"""

from collections.abc import Iterable
from itertools import product
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from tradeoff.figures.style import LABELS, PAGE
from tradeoff.files import read_json

RESULTS = Path(__file__).parents[1] / "results" / "peers.json"
QUICK = {"results_of": "peers"}
PARAMETERS = {"quick": QUICK, "full": QUICK}

_SHAPES = {"PGD": "o", "SLIDE": "o", "APGD-CE": "s", "APGD-DLR": "D", "growing radius": "^", "targeted": "P",
           "least norm": "v", "union": "*"}  # fmt: skip
_HUES = {"natural": "#000000", "linf": "#0072B2", "l2": "#009E73", "l1": "#D55E00", "max": "#E69F00", "msd": "#CC79A7"}


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
        choices = (product(*([r for r in side if r["set"] == S] for S in sets)) for side in (mine, theirs))
        pairs.append({"model": model, "set": "union", "kind": "union", **_best(*choices, n)})
    return pairs


def _best(mine: Iterable, theirs: Iterable, n: int) -> dict:
    """Of both sides the attacks, each a sequence of cells, that leave least standing together."""
    best = {}
    for side, choices in (("ours", mine), ("peer", theirs)):
        left = [(float(np.logical_and.reduce([standing(r, n) for r in choice]).mean()), choice) for choice in choices]
        accuracy, choice = min(left, key=lambda pair: pair[0], default=(None, ()))
        best |= {side: accuracy, f"{side} by": " + ".join(f"{r['who']} {r['attack']}" for r in choice)}
    return best


def standing(record: dict, n: int) -> np.ndarray:
    """The examples that a cell left standing, bool (n,)."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(record["standing"]), np.uint8), count=n).astype(bool)


def draw(numbers: dict) -> Figure:
    """A panel per set and one for the union: ours against the best peer."""
    pairs = numbers["pairs"]
    names = list(dict.fromkeys(pair["set"] for pair in pairs))
    names = [name for name in names if name != "union"] + ["union"] * ("union" in names)
    figure, axes = plt.subplots(1, len(names), figsize=(PAGE, 2.5), squeeze=False)
    for ax, name in zip(axes[0], names, strict=True):
        ax.axline((0, 0), slope=1, color="black", lw=0.6)
        ax.axline((0, 0.5), slope=1, color="black", lw=0.6, ls=":")
        for pair in pairs:
            if pair["set"] == name:
                ax.plot(100 * pair["peer"], 100 * pair["ours"], _SHAPES[pair["kind"]], ms=4, alpha=0.8,
                        mec="none", color=_HUES[pair["model"]])  # fmt: skip
        ax.set_title(f"{LABELS[name.split(':')[0]]}{' ' + name.split(':')[1] if ':' in name else ''}")
        ax.set_xlabel("best peer (%)")
        ax.set_aspect("equal", "datalim")
    axes[0, 0].set_ylabel("accuracy left by ours (%)")
    kinds = [kind for kind in _SHAPES if kind != "PGD" and any(pair["kind"] == kind for pair in pairs)]
    handles = [plt.Line2D([], [], ls="", marker="o", color=_HUES[model], label=model) for model in numbers["models"]]
    handles += [plt.Line2D([], [], ls="", marker=_SHAPES[kind], color="#7F7F7F", mec="none",
                           label="PGD, SLIDE" if kind == "SLIDE" else kind) for kind in kinds]  # fmt: skip
    figure.legend(handles=handles, loc="outside upper center", ncols=6)
    return figure
