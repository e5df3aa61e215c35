"""Looking a name up in a table, with an error that helps."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TypeVar

T = TypeVar("T")
SHOWN = 30  # names in an error, of more the nearest


def lookup(table: Mapping[str, T], name: str, kind: str) -> T:
    """The entry `name` of `table`, or a ValueError that names the nearest right one.

    >>> lookup({"linf": 1, "l1": 2}, "linff", "set")
    Traceback (most recent call last):
    ValueError: unknown set 'linff', did you mean 'linf'? Known: linf, l1
    """
    if name in table:
        return table[name]
    near = get_close_matches(str(name), table, n=1, cutoff=0.5)
    hint = f", did you mean {near[0]!r}?" if near else "."
    known = list(table) if len(table) <= SHOWN else get_close_matches(str(name), table, n=SHOWN, cutoff=0.0) + ["…"]
    raise ValueError(f"unknown {kind} {name!r}{hint} Known: {', '.join(known)}")
