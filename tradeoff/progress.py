"""The progress bar of everything that takes long: examples done, examples per second, time left."""

import sys

from tqdm import tqdm


def progress_bar(total: int, label: str | None, done: int = 0) -> tqdm:
    """A tqdm bar over `total` examples, `done` of them before, none without a label; lively on a terminal, a line every
    20 s in a log."""
    seconds = 0.1 if sys.stderr.isatty() else 20.0
    options = {"unit": "ex", "leave": False, "mininterval": seconds, "maxinterval": seconds}
    return tqdm(total=total, initial=done, desc=label, disable=label is None, delay=seconds / 10, **options)
