"""python -m tradeoff.costs: what trainings and evaluations have cost, and how long many of them would take."""

import argparse
import json
import sys
from collections.abc import Sequence
from heapq import heapify, heapreplace
from itertools import count, cycle, islice
from pathlib import Path
from typing import NamedTuple

from tradeoff import tables
from tradeoff.cells import Cells
from tradeoff.checks import check_count
from tradeoff.command import epilog, run
from tradeoff.files import read_json


class Cost(NamedTuple):
    """What a job took: seconds, and passes, forward and backward, of one example each."""

    job: str
    seconds: float
    passes: int


def measured(folder: str | Path) -> list[Cost]:
    """The cost of every training (`log.jsonl`) and every evaluation (`cells.jsonl`) below the folder.

    Raises ValueError when there is none.
    """
    folder, found = Path(folder), []
    for path in sorted(folder.rglob("log.jsonl")):
        epochs = [json.loads(line) for line in path.read_text().splitlines()]
        found.append(_cost(f"train {path.parent.relative_to(folder)}", epochs))
    for path in sorted(folder.rglob("cells.jsonl")):
        task = read_json(path.with_name("task.json"))
        cells, parts = Cells(path.parent, task), []
        for attack in ("clean", *task["attacks"]):
            for chunk in count():
                if (attack, chunk) not in cells:
                    break
                parts.append(cells[attack, chunk]._asdict())
        found.append(_cost(f"evaluate {path.parent.relative_to(folder)}", parts))
    if not found:
        raise ValueError(f"no log.jsonl and no cells.jsonl below {folder}: name a folder of runs")
    return found


def _cost(job: str, parts: Sequence[dict]) -> Cost:
    seconds = sum(part["seconds"] for part in parts)
    return Cost(job, seconds, sum(part["forward"] + part["backward"] for part in parts))


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
        epilog=epilog("python -m tradeoff.costs tradeoff/results/runs --jobs 1000 --workers 64"),
    )
    parser.add_argument("runs", metavar="RUNS", help="folder of runs")
    parser.add_argument("--jobs", type=int, default=1000, metavar="N", help="default: 1000")
    parser.add_argument("--workers", type=int, default=64, metavar="N", help="default: 64")
    options = parser.parse_args(arguments)
    try:
        check_count(options.jobs, "jobs")
        check_count(options.workers, "workers")
        costs = measured(options.runs)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    rows = [[cost.job, f"{cost.seconds:.0f}", f"{cost.passes / 1e6:.2f}",
             f"{cost.passes / cost.seconds:,.0f}" if cost.seconds else "–"] for cost in costs]  # fmt: skip
    print(tables.text(["job", "seconds", "million passes", "passes a second"], rows))
    seconds = list(islice(cycle(cost.seconds for cost in costs), options.jobs))
    print(f"\n{options.jobs:,} jobs like these, of each as many: {sum(seconds) / 3600:.1f} hours one after the other; "
          f"{makespan(seconds, options.workers) / 60:.0f} minutes on {options.workers} such workers "
          f"(the longest job: {max(seconds) / 60:.0f} minutes)")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
