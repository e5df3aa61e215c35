"""What a verified theorem is: a statement and the independent routes by which it is checked."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import log, sqrt
from typing import Any

ROUTES = ("symbolic", "numeric", "simulated", "certified")


@dataclass(frozen=True)
class Evidence:
    """What one check found: whether the claim holds, and the numbers (`detail`, one line)."""

    holds: bool
    detail: str

    def __post_init__(self):
        object.__setattr__(self, "holds", bool(self.holds))  # NumPy's bools do not go into JSON


@dataclass(frozen=True)
class Theorem:
    """A statement with its checks.

    `checks` are functions named after their route, whose keyword defaults are the theorem's assumptions; `breaks` are
    keyword arguments that drop an assumption, under which every check must fail; `absent` maps each route without a
    check to the reason.

    Raises ValueError unless every route of `ROUTES` is either checked or absent for a reason.

    >>> def numeric(n=2):
    ...     return Evidence(n % 2 == 0, f"{n} mod 2 = {n % 2}")
    >>> absent = dict.fromkeys(("symbolic", "simulated", "certified"), "a toy")
    >>> toy = Theorem("even", "folklore", "$2 | n$", (numeric,), {"n": 3}, absent)
    >>> list(toy.run())
    [('numeric', Evidence(holds=True, detail='2 mod 2 = 0'))]
    >>> list(toy.run(**toy.breaks))
    [('numeric', Evidence(holds=False, detail='3 mod 2 = 1'))]
    """

    name: str
    source: str
    statement: str
    checks: tuple[Callable[..., Evidence], ...]
    breaks: Mapping[str, Any]
    absent: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self):
        named = [check.__name__ for check in self.checks] + list(self.absent)
        if sorted(named) != sorted(ROUTES):
            raise ValueError(f"theorem {self.name!r} names the routes {named}: check each of {list(ROUTES)} once, "
                             "or say in `absent` why it does not apply")  # fmt: skip

    def run(self, **assumptions) -> Iterator[tuple[str, Evidence]]:
        """(route, Evidence) of each check in turn, under the theorem's assumptions or the ones given."""
        for check in self.checks:
            yield check.__name__, check(**assumptions)


def proof(steps: Mapping[str, Any]) -> Evidence:
    """The evidence of a proof from its steps, each a sentence and whether it was verified.

    >>> proof({"1 + 1 = 2": True, "2 + 2 = 5": False})
    Evidence(holds=False, detail='1 of 2 steps proved; FAILS: 2 + 2 = 5')
    """
    failed = [sentence for sentence, holds in steps.items() if not holds]
    proved = f"{len(steps) - len(failed)} of {len(steps)} steps proved"
    return Evidence(not failed, "; FAILS: ".join([proved, *failed]) if failed else f"{proved}: {'; '.join(steps)}")


def hoeffding(n: int, intervals: int, failure: float) -> float:
    """The half-width of confidence intervals around `intervals` means, each of n independent draws from [0, 1].

    √(log(2·intervals/failure) / 2n): with probability at least 1 - failure all of them hold together.

    >>> round(hoeffding(100_000, 10, 1e-9), 4)
    0.0109
    """
    return sqrt(log(2 * intervals / failure) / (2 * n))
