"""Suites: the attacks of an evaluation, made for any sets. Cheap ones come first, as a cascade wants them."""

from collections.abc import Callable, Mapping

from tradeoff.attacks.affine import AffineAttack
from tradeoff.attacks.ascent import Box
from tradeoff.attacks.pgd import PGD
from tradeoff.attacks.search import GridSearch
from tradeoff.attacks.slide import SLIDE
from tradeoff.names import lookup
from tradeoff.perturbations import Affine, Lp, Union


def suite(name: str, sets, box: Box = (0.0, 1.0)) -> dict:
    """The attacks of a suite on each member of `sets` (one set, or a union), by name.

    >>> list(suite("quick", Union((Linf(0.3), L1(10)))))
    ['quick linf:0.3', 'quick l1:10']
    """
    make = lookup(SUITES, name, "suite")
    return make(sets.sets if isinstance(sets, Union) else (sets,), box)


def quick(sets, box: Box) -> dict:
    """One climb of 40 steps, or the grid of moves."""
    return {f"quick {S}": _attack(S, box, 40, 1) for S in sets}


def paper(sets, box: Box) -> dict:
    """100 steps from 40 starts, as in the paper, or the grid of moves."""
    return {f"paper {S}": _attack(S, box, 100, 40) for S in sets}


def strong(sets, box: Box) -> dict:
    """The quick attacks, then the paper's."""
    return quick(sets, box) | paper(sets, box)


SUITES: Mapping[str, Callable] = {"quick": quick, "paper": paper, "strong": strong}


def _attack(S, box: Box, steps: int, restarts: int):
    if isinstance(S, Affine):
        search = GridSearch(S.a) if not isinstance(S.a, Lp) else _attack(S.a, box, steps, 1)
        return AffineAttack(search, _attack(S.b, box, steps, 1), restarts=restarts if isinstance(S.a, Lp) else 1)
    if not isinstance(S, Lp):
        return GridSearch(S)
    return (SLIDE if S.p == 1 else PGD)(S, steps, restarts=restarts, box=box)
