"""python -m tradeoff.costs: what trainings and evaluations have cost, and how long many of them would take."""

import argparse
import sys
from collections.abc import Sequence
from heapq import heapify, heapreplace
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

from tradeoff import tables
from tradeoff.cells import read_cells
from tradeoff.checks import check_count
from tradeoff.command import add_json, check_json, epilog, put_json, run
from tradeoff.records import read_log


class Cost(NamedTuple):
    """What a job took: seconds, and passes (a forward and a backward pass of an example count as one)."""

    job: str
    seconds: float
    passes: float


def measured(folder: str | Path) -> list[Cost]:
    """The cost of every training (`log.jsonl`) and every evaluation (`cells.jsonl`) below the folder.

    Raises ValueError when there is none, and for a damaged file.
    """
    folder, found = Path(folder), []
    for path in sorted(folder.rglob("log.jsonl")):
        found.append(_cost(path, f"train {path.parent.relative_to(folder)}", read_log(path)))
    for path in sorted(folder.rglob("cells.jsonl")):
        cells = [cell._asdict() for cell in read_cells(path).values()]
        found.append(_cost(path, f"evaluate {path.parent.relative_to(folder)}", cells))
    if not found:
        raise ValueError(f"no log.jsonl and no cells.jsonl below {folder}: name a folder of runs")
    return found


def _cost(path: Path, job: str, parts: Sequence[dict]) -> Cost:
    try:
        seconds = sum(part["seconds"] for part in parts)
        return Cost(job, seconds, sum(part["forward"] + part["backward"] for part in parts) / 2)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{path} has a record without its cost ({error!r}): move it away to count the others"
        ) from error


def makespan(seconds: Sequence[float], workers: int) -> float:
    """When the last of the jobs ends, if each idle worker takes the longest that is left.

    At most 4/3 of what the best plan takes (Graham 1969), and no less than the longest job and than all over `workers`.

    >>> makespan([3, 3, 2, 2, 2], 2), makespan([5, 1, 1], 3)
    (7.0, 5.0)
    """
    check_count(workers, "workers")
    free = [0.0] * workers
    heapify(free)
    for job in sorted(seconds, reverse=True):
        heapreplace(free, free[0] + job)
    return max(free)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when done, 2 for a wrong request."""
    parser = argparse.ArgumentParser(
        "python -m tradeoff.costs",
        description="Seconds and passes of the trainings and evaluations in a folder, and how long many jobs like "
        "them, of each as many, would take on workers as fast as those that made them.",
        epilog=epilog("python -m tradeoff.costs --runs tradeoff/results/networks --jobs 1000 --workers 64"),
    )
    parser.add_argument("--runs", default="out/runs", metavar="DIR", help="folder of runs (default: out/runs)")
    parser.add_argument("--jobs", type=int, default=1000, metavar="N", help="default: 1000")
    parser.add_argument("--workers", type=int, default=64, metavar="N", help="default: 64")
    add_json(parser)
    parser.add_argument("--force", action="store_true", help="replace FILE if it exists")
    options = parser.parse_args(arguments)
    try:
        check_json(options.json, options.force)
        check_count(options.jobs, "--jobs")
        check_count(options.workers, "--workers")
        costs = measured(options.runs)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    rows = [[cost.job, f"{cost.seconds:.0f}", f"{cost.passes / 1e6:.2f}",
             f"{cost.passes / cost.seconds:,.0f}" if cost.seconds else "–"] for cost in costs]  # fmt: skip
    seconds = list(islice(cycle(cost.seconds for cost in costs), options.jobs))
    span = makespan(seconds, options.workers)
    put_json(options.json, {"costs": [cost._asdict() for cost in costs], "jobs": options.jobs,
                            "workers": options.workers, "seconds": sum(seconds), "makespan": span})  # fmt: skip
    if options.json == "-":
        return 0
    print(tables.text(["job", "seconds", "million passes", "passes a second"], rows))
    print(f"\n{options.jobs:,} jobs like these, of each as many: {sum(seconds) / 3600:.1f} hours one after the other; "
          f"{span / 60:.0f} minutes on {options.workers} such workers "
          f"(the longest job: {max(seconds) / 60:.0f} minutes)")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
