"""What a verified theorem is: a statement and the independent routes by which it is checked."""

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import log, sqrt
from typing import Any

ROUTES = ("symbolic", "numeric", "simulated", "certified")
FAILURE = 1e-9
"""How probable it is, at most, that one of the confidence intervals of a simulated check misses its number."""

Value = float | tuple[float, float]


@dataclass(frozen=True)
class Evidence:
    """What one check found: whether the claim holds, a line for the reader (`detail`), and the numbers as data.

    `values` holds plain numbers, and intervals as (low, high); balls of Arb become intervals. `failure` says what the
    intervals are: at 0 they are certified enclosures, at p > 0 confidence intervals that all hold together with
    probability at least 1 - p, and None stands for bounds in double precision.

    >>> Evidence(np.True_, "n / 3 is 0.3 or 0.4", {"n": np.int64(1), "n/3": np.array([0.3, 0.4])}).values
    {'n': 1, 'n/3': (0.3, 0.4)}
    """

    holds: bool
    detail: str
    values: Mapping[str, Any] = field(default_factory=dict)
    failure: float | None = None

    def __post_init__(self):
        object.__setattr__(self, "holds", bool(self.holds))  # NumPy's types do not go into JSON
        object.__setattr__(self, "values", {name: _plain(value) for name, value in self.values.items()})


def _plain(value) -> Value:
    """Python's own numbers for those of NumPy and for balls, whose ends are exact floats."""
    if hasattr(value, "lower"):
        return float(value.lower()), float(value.upper())
    if hasattr(value, "__len__"):
        low, high = value
        return float(low), float(high)
    return operator.index(value) if hasattr(value, "__index__") else float(value)


@dataclass(frozen=True)
class Theorem:
    """A statement with its checks.

    `checks` are functions named after their route, whose keyword defaults are the theorem's assumptions; `breaks` are
    keyword arguments that drop an assumption, under which every check must fail; `absent` maps each route without a
    check to the reason. `thorough` names further checks, of the same kind, that take a minute and not a second.

    Raises ValueError unless every route of `ROUTES` is either checked or absent for a reason, and for a name in
    `thorough` that is a route.

    >>> def numeric(n=2):
    ...     return Evidence(n % 2 == 0, f"{n} mod 2 = {n % 2}", {"remainder": n % 2})
    >>> absent = dict.fromkeys(("symbolic", "simulated", "certified"), "a toy")
    >>> toy = Theorem("even", "folklore", "$2 | n$", (numeric,), {"n": 3}, absent)
    >>> for assumptions in ({}, toy.breaks):
    ...     for route, evidence in toy.run(**assumptions):
    ...         print(route, evidence.holds, evidence.detail, evidence.values)
    numeric True 2 mod 2 = 0 {'remainder': 0}
    numeric False 3 mod 2 = 1 {'remainder': 1}
    """

    name: str
    source: str
    statement: str
    checks: tuple[Callable[..., Evidence], ...]
    breaks: Mapping[str, Any]
    absent: Mapping[str, str] = field(default_factory=dict)
    thorough: Mapping[str, Callable[..., Evidence]] = field(default_factory=dict)

    def __post_init__(self):
        named = [check.__name__ for check in self.checks] + list(self.absent)
        if sorted(named) != sorted(ROUTES):
            raise ValueError(f"theorem {self.name!r} names the routes {named}: check each of {list(ROUTES)} once, "
                             "or say in `absent` why it does not apply")  # fmt: skip
        if taken := sorted(set(self.thorough) & set(ROUTES)):
            raise ValueError(f"theorem {self.name!r} names the thorough checks {taken} like a route: name them apart")

    def named_checks(self, thorough: bool = False) -> dict[str, Callable[..., Evidence]]:
        """The checks by name: one for each route, and the thorough ones too if asked for."""
        return {check.__name__: check for check in self.checks} | (dict(self.thorough) if thorough else {})

    def run(self, **assumptions) -> Iterator[tuple[str, Evidence]]:
        """(route, Evidence) of each of `checks` in turn, under the theorem's assumptions or the ones given."""
        for route, check in self.named_checks().items():
            yield route, check(**assumptions)


def proof(steps: Mapping[str, Any]) -> Evidence:
    """The evidence of a proof from its steps, each a sentence and whether it was verified.

    >>> proof({"1 + 1 = 2": True, "2 + 2 = 5": False}).detail
    '1 of 2 steps proved; FAILS: 2 + 2 = 5'
    """
    failed = [sentence for sentence, holds in steps.items() if not holds]
    values = {"steps": len(steps), "steps proved": len(steps) - len(failed)}
    proved = f"{values['steps proved']} of {values['steps']} steps proved"
    detail = "; FAILS: ".join([proved, *failed]) if failed else f"{proved}: {'; '.join(steps)}"
    return Evidence(not failed, detail, values)


def around(estimate: float, width: float) -> tuple[float, float]:
    """The interval of half-width `width` around an estimate.

    >>> around(0.5, 0.25)
    (0.25, 0.75)
    """
    return estimate - width, estimate + width


def hoeffding(n: int, intervals: int, failure: float) -> float:
    """The half-width of confidence intervals around `intervals` means, each of n independent draws from [0, 1].

    √(log(2·intervals/failure) / 2n): with probability at least 1 - failure all of them hold together.

    >>> round(hoeffding(100_000, 10, 1e-9), 4)
    0.0109
    """
    return sqrt(log(2 * intervals / failure) / (2 * n))
