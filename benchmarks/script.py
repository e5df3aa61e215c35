"""What the benchmarks have in common: numbers that are to be positive, a file of results, and how they end."""

import argparse
import resource
import sys
from collections.abc import Callable

from tradeoff.checks import check_count
from tradeoff.command import check_json


def whole(text: str) -> int:
    """The type of an argument that is a whole number of at least one."""
    try:
        return check_count(int(text), "it")
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no integer ≥ 1") from None


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The options, with --json FILE, which is known to be writable and new, or --force."""
    parser.add_argument("--json", metavar="FILE", help="also write the numbers, with their provenance")
    parser.add_argument("--force", action="store_true", help="replace FILE if it exists")
    options = parser.parse_args()
    check_json(options.json, options.force)
    return options


def peak_memory() -> float:
    """The most memory that this process has taken, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def said(options: argparse.Namespace) -> dict[str, str]:
    """The options that numbers depend on."""
    return {name: str(value) for name, value in vars(options).items() if name not in ("json", "force")}


def end(main: Callable[[], None], resumes: bool = False) -> None:
    """Run the benchmark, which may go on where it was, and leave: a wrong request is one line and exit code 2."""
    try:
        main()
    except BrokenPipeError:  # nobody reads on
        sys.exit(1)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"interrupted{': the same command goes on where this one was' if resumes else ''}", file=sys.stderr)
        sys.exit(130)
