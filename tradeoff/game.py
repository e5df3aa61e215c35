"""python -m tradeoff.game: the least risk of any classifier on D_B, exactly, for numbers of yours."""

import argparse
import sys
from collections.abc import Sequence
from time import perf_counter

from tradeoff import tables
from tradeoff.command import add_json, check_json, epilog, put_json, run
from tradeoff.names import lookup
from tradeoff.perturbations import Union, parse
from tradeoff.provenance import provenance
from tradeoff.theory import BernoulliFeature, enclosure, exclusive, game_value
from tradeoff.theory.plane import SUMS


def main(arguments: Sequence[str] | None = None) -> int:
    """0 with the values, 2 for a wrong request."""
    parser = argparse.ArgumentParser(
        "python -m tradeoff.game",
        description="The least risk of any classifier on the paper's distribution D_B under l_p noise, exactly: "
        "x_0 is the label with probability P0, and D weak features are normal with mean label·ALPHA/√D and variance 1.",
        epilog=epilog('python -m tradeoff.game --alpha 2 --d 100 --p0 0.9 --sets "linf:0.2 | l1:2" --adversary union'),
    )
    parser.add_argument("--alpha", type=float, default=2.0, metavar="ALPHA",
                        help="signal of the weak features, in standard deviations, > 0 (default: 2)")  # fmt: skip
    parser.add_argument("--d", type=int, default=100, metavar="D", help="number of weak features, ≥ 1 (default: 100)")
    parser.add_argument("--p0", type=float, default=0.9, metavar="P0",
                        help="probability that x_0 is the label, 1/2 ≤ P0 < 1 (default: 0.9)")  # fmt: skip
    parser.add_argument("--sets", required=True, metavar="SETS",
                        help='l_p balls, radii in the units of the features, such as "linf:0.2 | l1:2"')  # fmt: skip
    parser.add_argument("--adversary", metavar="|".join(SUMS), help="how the sets are combined (default: each way)")
    parser.add_argument("--weights", metavar="W,W,...", help="of the sets, for the average (default: equal)")
    parser.add_argument("--certified", action="store_true", help="prove each value, in ball arithmetic")
    add_json(parser)
    parser.add_argument("--force", action="store_true", help="replace FILE if it exists")
    options = parser.parse_args(arguments)
    try:
        check_json(options.json, options.force)
        began = perf_counter()
        report = solve(options)
        report["provenance"] = provenance(seconds=perf_counter() - began)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.json != "-":
        print(_text(report))
    put_json(options.json, report)
    return 0


def solve(options: argparse.Namespace) -> dict:
    """The values of the games that are asked for, as plain data. ValueError for a wrong request."""
    D = BernoulliFeature(options.alpha, options.d, options.p0)
    sets = parse(options.sets)
    balls = sets.sets if isinstance(sets, Union) else (sets,)
    weights = None if options.weights is None else _weights(options.weights)
    if options.adversary:
        lookup(SUMS, options.adversary, "adversary")
    games = {}
    for adversary in [options.adversary] if options.adversary else ["average"] if weights else SUMS:
        solved = game_value(D, balls, adversary, weights)
        games[adversary] = {"value": solved.value, "thresholds": _finite(solved.thresholds)}
        if weights is None:
            games[adversary]["excluded by geometry"] = exclusive(D, balls, adversary)
        if options.certified:
            proved = enclosure(D, balls, adversary, weights)
            games[adversary]["certified"] = [float(proved.lower()), float(proved.upper())]
    about = {"alpha": D.alpha, "d": D.d, "p0": D.p0, "eta": D.eta, "bayes_risk": D.bayes_risk()}
    return {"distribution": about, "sets": str(sets), "weights": weights, "games": games}


def _weights(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"weights {text!r} are not numbers: write '0.75,0.25'") from None


def _finite(levels):
    """Thresholds with text for those that are infinite, which JSON has no number for."""
    if isinstance(levels, tuple):
        return [_finite(level) for level in levels]
    return levels if abs(levels) < float("inf") else str(levels)


def _text(report: dict) -> str:
    about, games = report["distribution"], report["games"]
    rows = [[name, f"{game['value']:.6f}"] for name, game in games.items()]
    for row, game in zip(rows, games.values(), strict=True):
        if "certified" in game:
            row.append("[{:.12g}, {:.12g}]".format(*game["certified"]))
    header = ["adversary", "least risk", "proved to lie in"][: len(rows[0])]
    setting = f"D_B: alpha {about['alpha']:g}, d {about['d']}, p0 {about['p0']:g}, eta {about['eta']:.4g}"
    bayes = f"least risk without noise: {about['bayes_risk']:.6f}"
    return f"{setting}\nsets: {report['sets']}\n{bayes}\n\n{tables.text(header, rows)}"


if __name__ == "__main__":
    sys.exit(run(main))
