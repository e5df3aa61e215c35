"""What the commands have in common: flags that mean the same everywhere, and how each of them ends.

--out DIR is where files go, --runs DIR where trained models and their outcomes are, --run DIR where an interrupted
command finds what it had finished, --n N the first N examples, --device a torch device, --list names what there is
and does nothing, --force replaces what is there, --json [FILE] gives the results as JSON: without a FILE, or with -,
that alone goes to standard output. Exit codes: 0 done, 1 for what was found or could not be finished (each command says
what), 2 for a wrong request, before any work, 130 for an interruption.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from tradeoff.files import check_target, write_json
from tradeoff.memory import keep_memory


def add_json(parser: argparse.ArgumentParser) -> None:
    """The flag --json [FILE], as `options.json`: None, a file's name, or "-" for standard output."""
    meaning = "the results as JSON too: in FILE, or alone on standard output (- or no FILE)"
    parser.add_argument("--json", nargs="?", const="-", metavar="FILE", help=meaning)


def check_json(target: str | None, force: bool) -> None:
    """ValueError or OSError unless `put_json` will be able to write there."""
    if target not in (None, "-"):
        check_target(target, force)


def put_json(target: str | None, value: Any) -> None:
    """The value to where --json says, if anywhere."""
    if target == "-":
        print(json.dumps(value, indent=1, ensure_ascii=False))
    elif target:
        write_json(target, value)


def epilog(example: str, failure: str | None = None) -> str:
    """The end of a --help: an example, and the exit codes.

    >>> epilog("python -m tradeoff.game --sets linf:0.2")
    'example: python -m tradeoff.game --sets linf:0.2. Exit codes: 0 done, 2 wrong request, 130 interrupted.'
    """
    codes = ["0 done", *([f"1 {failure}"] if failure else []), "2 wrong request", "130 interrupted"]
    return f"example: {example}. Exit codes: {', '.join(codes)}."


def run(main: Callable[[Sequence[str] | None], int], arguments: Sequence[str] | None = None) -> int:
    """The exit code of a command, 130 where it was interrupted or terminated, so that no worker outlives it, and 1
    where nobody reads on (as with `| head`) and where a result cannot be written."""
    keep_memory()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        status = main(arguments)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains when it flushes at exit
        return 1
    except OSError as error:  # a full disk, when all is computed
        print(f"error: {error}", file=sys.stderr)
        return 1
