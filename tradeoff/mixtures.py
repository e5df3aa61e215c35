"""What mixtures of two types of noise do to a network, by the share β of the budget that goes to the first type: read
from an evaluation by the suite "mixtures", whose columns are all on the same examples."""

import numpy as np

from tradeoff.outcomes import Outcomes
from tradeoff.paired import exact_interval
from tradeoff.perturbations import parse

SHARES = ("β=0", "β=0.25", "β=0.5", "β=0.75", "β=1")  # an adversary that searches β tries all of them
RANDOM = "random β"
MIXED = (
    "mnist-max-rt",
    "mnist-max",
    "cifar10-max-rt",
    "cifar10-max-l1",
)  # networks trained on the worst of two or more


def standing(outcomes: Outcomes, *shares: str) -> np.ndarray:
    """The examples that stand under every one of the shares, by all attacks with that share; bool (n,).

    Raises ValueError when the evaluation has no such share.

    >>> S = "rt:3px,30deg + linf:0.3"
    >>> correct = np.array([[1, 1, 0], [1, 0, 1], [1, 1, 1]], dtype=bool)
    >>> outcomes = Outcomes(correct, ("clean", f"β=0.5 {S}", f"random β {S}"), ("", S, S))
    >>> [round(float(standing(outcomes, *shares).mean()), 2) for shares in (("β=0.5",), ("β=0.5", RANDOM))]
    [0.67, 0.33]
    """
    names = []
    for share in shares:
        found = [name for name in outcomes.attacks if name.startswith((f"{share} ", f"{share}, "))]
        if not found:
            raise ValueError(f"the evaluation has no attack with the share {share!r}: evaluate by the suite 'mixtures'")
        names += found
    return outcomes.standing(*names)


def types(outcomes: Outcomes) -> tuple[str, str]:
    """The names of the two sets that are mixed, that of β first: ("rt", "linf"). ValueError without a mixture."""
    mixed = [S for S in outcomes.sets if " + " in S]
    if not mixed:
        raise ValueError("the evaluation mixes no sets: evaluate by the suite 'mixtures'")
    S = parse(mixed[0])
    return S.a.name, S.b.name


def accuracy(stands: np.ndarray) -> tuple[float, float, float]:
    """The share of examples that stand and its exact 95 % interval."""
    return float(stands.mean()), *exact_interval(stands.sum(), len(stands))
