"""python -m tradeoff.theory: run the checks of the theorems, a line each."""

import argparse
import sys
from collections.abc import Sequence
from inspect import signature
from time import perf_counter

from tradeoff.command import add_json, check_json, epilog, put_json, run
from tradeoff.names import lookup
from tradeoff.provenance import provenance
from tradeoff.theory import THEOREMS, Evidence, Theorem


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if every check holds, 1 if one does not; a wrong request ends with a line on standard error and status 2."""
    parser = argparse.ArgumentParser(
        "python -m tradeoff.theory",
        description="Check the theorems, by every route.",
        epilog=epilog("python -m tradeoff.theory thm1-linf-l1", "a check does not hold"),
    )
    parser.add_argument("names", metavar="NAME", nargs="*", help="theorems to check (default: all)")
    parser.add_argument("--thorough", action="store_true", help="also run the checks that take minutes")
    parser.add_argument("--list", action="store_true", help="print the theorems and check nothing")
    add_json(parser)
    parser.add_argument("--force", action="store_true", help="replace FILE if it exists")
    options = parser.parse_args(arguments)
    try:
        theorems = [lookup(THEOREMS, name, "theorem") for name in dict.fromkeys(options.names or THEOREMS)]
        if not options.list:
            check_json(options.json, options.force)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.list:
        for theorem in theorems:
            print(f"{theorem.name:<22} {theorem.source}\n{'':<22} {theorem.statement}")
        return 0
    lines = sys.stderr if options.json == "-" else sys.stdout  # standard output is then the JSON alone
    start = perf_counter()
    results = [_check(theorem, options.thorough, lines) for theorem in theorems]
    holds = all(check["holds"] for result in results for check in result["checks"])
    report = {"holds": holds, "theorems": results, "provenance": provenance(seconds=perf_counter() - start)}
    put_json(options.json, report)
    return 0 if holds else 1


def _check(theorem: Theorem, thorough: bool, lines) -> dict:
    """The theorem's results as plain data; a line for every check as soon as it is known."""
    checks = []
    for name, check in theorem.named_checks(thorough).items():
        start = perf_counter()
        evidence = check()
        seconds = perf_counter() - start
        word = "ok" if evidence.holds else "FAIL"
        print(f"{word:<4} {theorem.name:<22} {name:<13} {seconds:5.1f} s  {evidence.detail}", file=lines, flush=True)
        checks.append({
            "route": name,
            "parameters": {key: parameter.default for key, parameter in signature(check).parameters.items()},
            "holds": evidence.holds,
            "detail": evidence.detail,
            "values": evidence.values,
            "intervals": _meaning(evidence),
            "failure": evidence.failure,
            "seconds": seconds,
        })  # fmt: skip
    for route, reason in theorem.absent.items():
        print(f"{'-':<4} {theorem.name:<22} {route:<13} {'':5}    does not apply: {reason}", file=lines, flush=True)
    return {
        "name": theorem.name,
        "source": theorem.source,
        "statement": theorem.statement,
        "checks": checks,
        "absent": dict(theorem.absent),
    }


def _meaning(evidence: Evidence) -> str | None:
    """What the intervals among the values are, in words; None if there are none."""
    if not any(isinstance(value, tuple) for value in evidence.values.values()):
        return None
    if evidence.failure is None:
        return "bounds in double precision"
    if evidence.failure == 0:
        return "certified"
    return f"confidence intervals, all of which hold with probability at least 1 - {evidence.failure:g}"


if __name__ == "__main__":
    sys.exit(run(main))
