"""The union error that no classifier avoids on given points, because examples of different labels conflict.

The points that a classifier gets right under all noise are pairwise free of conflict (see `tradeoff.conflicts`). If,
conversely, points are free of conflict, then their balls of different labels are disjoint, and to answer with the label
of the ball gets all of them right. So the least union error of any classifier on n points is attained and equals τ/n,
where τ is the least number of points that meets every conflict (minimum vertex cover). Between two classes the graph is
bipartite and τ is the size of a maximum matching (König 1931). Between more it is not: with ν the maximum matching and
ν* the half-integral linear relaxation, ν ≤ ν* ≤ τ ≤ 2ν, where ν* is half the maximum matching of the bipartite double
cover. The relaxation also settles some points of an optimal cover (Nemhauser and Trotter 1975); the rest is left to a
mixed-integer solver (see `tradeoff.cover`).

All this is about the n points as the distribution. Of n independent draws from a distribution, the expected value is
at most the least error on the distribution, and grows with n.
"""

import argparse
import base64
import resource
import sys
import time
from collections.abc import Sequence
from itertools import combinations
from math import inf, isfinite

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from tradeoff.command import add_json, check_json, epilog, put_json, run
from tradeoff.conflicts import Conflicts, balls_of, find_conflicts, meeting_point, pairs_of
from tradeoff.cover import vertex_cover
from tradeoff.data import LOADERS, Images, load
from tradeoff.perturbations import Union, parse
from tradeoff.perturbations.lp import TOLERANCE
from tradeoff.progress import progress_bar
from tradeoff.provenance import provenance

# What the command measures unless told otherwise: the paper's radii (on CIFAR-10 with the usual l2 ball), and scales
# from where nothing conflicts to where many examples do.
DEFAULTS = {
    "digits": ("linf:0.3 | l2:2 | l1:10", "0.6:1.5:0.05"),
    "mnist": ("linf:0.3 | l2:2 | l1:10", "0.6:1.5:0.05"),
    "cifar10": ("linf:4/255 | l2:0.5 | l1:2000/255", "1:8:0.5"),
}


def class_pairs(found: Conflicts, y: np.ndarray, scale: float) -> np.ndarray:
    """(classes, classes): the least union error on the examples of each two classes alone, by König; 0 on the
    diagonal."""
    labels, y = np.unique(y, return_inverse=True)
    counts, near = np.bincount(y), found.scale() <= scale * (1 + TOLERANCE)
    i, j = found.i[near], found.j[near]
    error = np.zeros((len(labels), len(labels)))
    for a, b in combinations(range(len(labels)), 2):
        ahead, behind = (y[i] == a) & (y[j] == b), (y[i] == b) & (y[j] == a)
        left, right = (np.concatenate([u[ahead], v[behind]]) for u, v in ((i, j), (j, i)))
        graph = csr_array((np.ones(len(left), np.int8), (left, right)), shape=(found.n, found.n))
        error[a, b] = error[b, a] = (maximum_bipartite_matching(graph) >= 0).sum() / (counts[a] + counts[b])
    return error


def measure(images: Images, sets, scales: Sequence[float], run=None, label: str | None = None) -> dict:
    """The limits of a data set as plain data: for each set alone and for their union, at each common scale of the
    radii, the number of conflicts and the least error of any classifier (`lower` = `upper` where it is exact).

    And `first`, the critical scale of each series' closest pair (None beyond the scales); `closest`, the closest
    disjoint pairs under the union, with the images and the point where they meet; `pairs`, the least error between each
    two classes at scale 1 and at the first of the scales where the union has a conflict; `pairs_first`, the scale
    at which each two classes first conflict. Raises ValueError for bad scales, and as `find_conflicts` does.
    """
    scales = sorted(set(map(float, scales)))
    if not scales or not all(isfinite(c) and c > 0 for c in scales):
        raise ValueError(f"scales {scales} must be finite and positive, at least one")
    found = find_conflicts(images.x, images.y, sets, scales[-1], run, label)
    series = {S.name: [S.name] for S in found.balls} | {"union": []}
    result = {name: {"conflicts": [], "lower": [], "upper": []} for name in series}
    with progress_bar(len(series) * len(scales), label and f"{label}: covers") as bar:
        for name, chosen in series.items():
            critical = found.scale(chosen)
            for scale in scales:
                near = critical <= scale * (1 + TOLERANCE)
                cover = vertex_cover(found.n, found.i[near], found.j[near])
                result[name]["conflicts"].append(int(near.sum()))
                result[name]["lower"].append(cover.lower / found.n)
                result[name]["upper"].append(cover.upper / found.n)
                bar.update()
    bites = [c for c, count in zip(scales, result["union"]["conflicts"], strict=True) if count]
    return {
        "data": images.source,
        "n": found.n,
        "sets": {S.name: S.eps for S in found.balls},
        "scales": scales,
        "errors": result,
        "first": {name: _least(found.scale(chosen), scales[-1]) for name, chosen in series.items()},
        "closest": _closest(found, images),
        "pairs": {str(c): class_pairs(found, images.y, c).tolist() for c in (1.0, *bites[:1]) if c <= scales[-1]},
        "pairs_first": _firsts(found, images.y, scales[-1]),
    }


def _least(critical: np.ndarray, limit: float) -> float | None:
    least = float(critical.min(initial=inf))
    return least if least <= limit * (1 + TOLERANCE) else None


def _firsts(found: Conflicts, y: np.ndarray, limit: float) -> list[list[float | None]]:
    labels, y = np.unique(y, return_inverse=True)
    first = np.full((len(labels), len(labels)), inf)
    np.minimum.at(first, (y[found.i], y[found.j]), found.scale())
    return [[_least(least, limit) for least in row[:, None]] for row in np.minimum(first, first.T)]


def _closest(found: Conflicts, images: Images, count: int = 3) -> list[dict]:
    """The pairs of least critical scale, no example twice, each with its images: x, the meeting point, x'; bytes of
    shape (3, channels, height, width) in base64."""
    used, result = set(), []
    for k in np.argsort(found.scale(), kind="stable"):
        i, j = int(found.i[k]), int(found.j[k])
        if used & {i, j}:
            continue
        used |= {i, j}
        best = int(found.scales[k].argmin())
        A, B = pairs_of(found.balls)[best]
        shown = np.stack([images.x[i], meeting_point(images.x[i], images.x[j], A, B), images.x[j]])
        data = base64.b64encode(np.round(255 * shown).astype(np.uint8).tobytes()).decode()
        result.append({"examples": [i, j], "labels": [int(images.y[i]), int(images.y[j])], "sets": [A.name, B.name],
                       "scale": float(found.scales[k, best]), "shape": list(shown.shape), "images": data})  # fmt: skip
        if len(result) == count:
            break
    return result


def parse_scales(text: str) -> list[float]:
    """Scales written "0.5,1,1.5" or "START:STOP:STEP", both ends included.

    >>> parse_scales("0.5:1:0.25"), parse_scales("1, 2")
    ([0.5, 0.75, 1.0], [1.0, 2.0])
    """
    try:
        if ":" in text:
            start, stop, step = map(float, text.split(":"))
            count = int((stop - start) / step + 1e-9) + 1
            if count > 1000:
                raise ValueError
            return [round(start + k * step, 9) for k in range(count)]
        return [float(part) for part in text.split(",")]
    except (ValueError, ZeroDivisionError, OverflowError):
        raise ValueError(f"scales {text!r} are not understood: write '0.5,1,1.5' or '0.5:1.5:0.05'") from None


def _table(result: dict) -> str:
    """A line per scale: least error in percent, a range where it is not exact, and the conflicts of the union."""
    names = list(result["errors"])
    lines = ["scale " + "".join(f"{name:>14}" for name in names) + f"{'conflicts':>12}"]
    for k, scale in enumerate(result["scales"]):
        cells = []
        for errors in result["errors"].values():
            low, high = 100 * errors["lower"][k], 100 * errors["upper"][k]
            cells.append(f"{low:.2f}" if low == high else f"{low:.2f}–{high:.2f}")
        count = result["errors"]["union"]["conflicts"][k]
        lines.append(f"{scale:<6.4g}" + "".join(f"{cell:>14}" for cell in cells) + f"{count:>12,}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when done; a wrong request ends with a line on standard error and status 2, an interruption with 130."""
    parser = argparse.ArgumentParser(
        "python -m tradeoff.limits",
        description="The error that no classifier avoids on real data, at a common scale of all radii, in percent.",
        epilog=epilog("python -m tradeoff.limits --data digits --scales 0.8,1,1.2"),
    )
    parser.add_argument("--data", default="digits", metavar="|".join(LOADERS), help="data set (default: digits)")
    parser.add_argument("--split", metavar="train|test|all", help="default: test; all of the digits")
    parser.add_argument("--n", type=int, metavar="N", help="the first N examples (default: all)")
    parser.add_argument(
        "--sets", metavar="TEXT", help="linf, l2 and l1 balls, as 'linf:0.3 | l2:2' (default: the paper's)"
    )
    parser.add_argument("--scales", metavar="C,C,...|START:STOP:STEP", help="common scales of the radii")
    add_json(parser)
    parser.add_argument("--force", action="store_true", help="replace FILE if it exists")
    parser.add_argument(
        "--run", metavar="DIR", help="folder of finished tiles, from which an interrupted command goes on"
    )
    options = parser.parse_args(arguments)
    try:
        check_json(options.json, options.force)
        sets, scales = DEFAULTS.get(options.data, DEFAULTS["digits"])
        sets, scales = parse(options.sets or sets), parse_scales(options.scales or scales)
        split = options.split or ("all" if options.data == "digits" else "test")
        images = _load(options.data, split)
        images = images if options.n is None else images.first(options.n)
        began = time.perf_counter()
        result = measure(images, sets, scales, options.run, f"{options.data}, {len(images):,} examples")
    except KeyboardInterrupt:
        kept = "the same command goes on where this one was" if options.run else "with --run DIR it could go on"
        print(f"interrupted: {kept}", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    about = provenance(split=split, seconds=round(time.perf_counter() - began, 1), peak_memory_mib=_peak_memory())
    lines = sys.stderr if options.json == "-" else sys.stdout  # standard output is then the JSON alone
    print(f"{images.source}, {split} split, {len(images):,} examples, {Union(balls_of(sets))} times the scale:\n"
          f"least error of any classifier, in percent\n{_table(result)}", file=lines)  # fmt: skip
    put_json(options.json, {"provenance": about, **result})
    return 0


def _peak_memory() -> int:
    """The most memory that this process has held at a time, in MiB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10  # of ru_maxrss, in a MiB
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)


def _load(name: str, split: str) -> Images:
    """A split, or "all": train and test together."""
    if split != "all":
        return load(name, split)
    train, test = load(name, "train"), load(name, "test")
    return Images(np.concatenate([train.x, test.x]), np.concatenate([train.y, test.y]), name, train.source)


if __name__ == "__main__":
    sys.exit(run(main))
