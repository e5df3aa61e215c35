"""Suites: the attacks of an evaluation, made for any sets or fixed on sets of their own. Cheap ones come first, as a
cascade wants them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from math import inf

from tradeoff.attacks.affine import AffineAttack
from tradeoff.attacks.apgd import APGD
from tradeoff.attacks.ascent import Box
from tradeoff.attacks.beam import CoordinateBeam
from tradeoff.attacks.external import paper_peers
from tradeoff.attacks.flips import Flips
from tradeoff.attacks.pgd import PGD
from tradeoff.attacks.search import GridSearch, RandomSearch
from tradeoff.attacks.slide import SLIDE
from tradeoff.attacks.softened import Softened
from tradeoff.attacks.square import Square
from tradeoff.attacks.straight_through import StraightThrough
from tradeoff.names import lookup
from tradeoff.perturbations import PRESETS, Affine, Lp, Union


def suite(name: str, sets=None, box: Box = (0.0, 1.0)) -> dict:
    """The attacks of a suite on each member of `sets` (one set, or a union), by name; of a suite of FIXED on its own
    sets, for which none are given.

    - "quick": one climb of 40 steps, or the grid of moves; seconds.
    - "paper": 100 steps from 40 starts and the grid of moves, as Tramèr & Boneh (2019), and with foolbox installed
      (`pip install 'tradeoff[peers]'`) the attacks of others that they ran beside it; hours.
    - "strong": what breaks most for its cost, to be run as a cascade (`evaluate(..., cascade=True)`); minutes.
    - "dead-zone": what knows of `tradeoff.models.DeadZone(0.3)`, and then the strong ones; to be run as a cascade.
    - "flips", "flips-20": what breaks most behind that dead zone for its cost, on the paper's MNIST sets; the second is
      short, to watch training by.
    - "lp", "lp-100", "rt": what the committed figures were measured with, on the paper's MNIST sets; a column is called
      as its set. 40 steps, or 100 from 5 starts, and the grid of moves.
    - "lp-20", "rt-20": short ones on the same sets, to watch training by.

    Raises ValueError for an unknown name, for sets missing, and for sets given to a suite that has its own.

    >>> list(suite("quick", Union((Linf(0.3), L1(10))))), list(suite("lp"))
    (['quick linf:0.3', 'quick l1:10'], ['linf', 'l1', 'l2'])
    """
    make = lookup({**SUITES, **FIXED}, name, "suite")
    if name in FIXED:
        if sets is not None:
            raise ValueError(f"the suite {name!r} has sets of its own ({', '.join(str(a.S) for a in make.values())}): "
                             f"choose {', '.join(SUITES)} for sets of yours")  # fmt: skip
        return dict(make)
    if sets is None:
        raise ValueError(f"the suite {name!r} is made for sets, and none are given: name them, or choose "
                         f"{', '.join(FIXED)}, which have their own")  # fmt: skip
    attacks = {}
    for S in sets.sets if isinstance(sets, Union) else (sets,):
        attacks |= {f"{attack} {S}": made for attack, made in make(S, box).items()}
    return attacks


def quick(S, box: Box) -> dict:
    return {"quick": _climb_or_search(S, box, 40, 1)}


def paper(S, box: Box) -> dict:
    peers = paper_peers(S, box) if isinstance(S, Lp) and find_spec("foolbox") else {}
    return {"paper": _climb_or_search(S, box, 100, 40), **peers}


def strong(S, box: Box) -> dict:
    """Climbs by the model's own gradients and by softened ones, with several losses, at each wrong class, from larger
    balls; then searches without gradients. In order of what they break for their cost on networks trained on one set,
    on the worst of several and naturally (see `benchmarks/strength.py`)."""
    if isinstance(S, Affine):
        quick = _climb_or_search(S, box, 40, 1)
        return {"quick": quick, "every share": replace(quick, beta=(0.0, 0.25, 0.5, 0.75, 1.0))}
    if not isinstance(S, Lp):
        return {"grid": GridSearch(S)}

    def apgd(loss, steps=100, **how):
        return APGD(S, steps, loss=loss, box=box, **how)

    shrinking = {"radii": (3, 2, 1)}
    if S.p == 1:
        return {
            "soft SLIDE": Softened(SLIDE(S, steps=100, box=box)),
            "soft APGD-ce": Softened(apgd("ce", restarts=3, **shrinking)),
            "soft APGD-dlr": Softened(apgd("dlr", **shrinking)),
            "APGD-ce": apgd("ce", restarts=3, **shrinking),
            "soft targeted": Softened(apgd("margin", targets=5, **shrinking)),
            "soft targeted, ce": Softened(apgd("ce", targets=9)),
            "beam": CoordinateBeam(S, width=20, candidates=32, box=box),
            "square": Square(S, queries=100, box=box),
        }
    if S.p < inf:
        return {
            "APGD-margin": apgd("margin", **shrinking),
            "APGD-ce": apgd("ce", **shrinking),
            "APGD-dlr": apgd("dlr", **shrinking),
            "soft APGD-ce": Softened(apgd("ce")),
            "APGD-margin, again": apgd("margin", restarts=2, **shrinking),
            **({"square": Square(S, queries=100, box=box)} if S.p == 2 else {}),
        }
    return {
        "APGD-ce": apgd("ce", steps=50),
        "APGD-margin": apgd("margin"),
        "APGD-margin, shrinking": apgd("margin", **shrinking),
        "targeted": apgd("margin", targets=1),
        "square": Square(S, queries=100, box=box),
    }


def dead_zone(S, box: Box) -> dict:
    """Flips at their price, climbs straight through the clamp, and a beam whose moves end where the network sees no
    more, before the strong suite."""
    if not isinstance(S, Lp):
        return strong(S, box)
    if S.p == inf:
        adaptive = {"flips": Flips(S, box=box), "straight PGD": StraightThrough(PGD(S, steps=40, restarts=2, box=box))}
    else:
        adaptive = {
            "flips": Flips(S, box=box),
            "flips, ce": Flips(S, loss="ce", box=box),
            "flips, again": Flips(S, steps=50, restarts=10, box=box),
            "seeing beam": StraightThrough(
                CoordinateBeam(S, width=20, candidates=32, restarts=2, box=box, seen=Flips.seen)
            ),
        }
    return {**adaptive, "straight APGD": StraightThrough(APGD(S, loss="margin", box=box)), **strong(S, box)}


SUITES: Mapping[str, Callable] = {"quick": quick, "paper": paper, "strong": strong, "dead-zone": dead_zone}


def _climb_or_search(S, box: Box, steps: int, restarts: int):
    if isinstance(S, Affine):
        search = GridSearch(S.a) if not isinstance(S.a, Lp) else _climb_or_search(S.a, box, steps, 1)
        again = restarts if isinstance(S.a, Lp) else 1  # a search starts again by its own tries
        return AffineAttack(search, _climb_or_search(S.b, box, steps, 1), restarts=again)
    if not isinstance(S, Lp):
        return GridSearch(S)
    return (SLIDE if S.p == 1 else PGD)(S, steps, restarts=restarts, box=box)


_LINF, _L2, _L1, _RT = PRESETS["paper_mnist"].sets
# Numbers of committed figures depend on every word of these, on the names too: draws are keyed by them.
FIXED: dict[str, Mapping] = {
    "lp": {S.name: _climb_or_search(S, (0.0, 1.0), 40, 1) for S in (_LINF, _L1, _L2)},
    "lp-100": {S.name: _climb_or_search(S, (0.0, 1.0), 100, 5) for S in (_LINF, _L1, _L2)},
    "rt": {S.name: _climb_or_search(S, (0.0, 1.0), 40, 1) for S in (_LINF, _RT)},
    "flips": {
        "linf": StraightThrough(PGD(_LINF, steps=100, restarts=5)),
        **{S.name: Flips(S, steps=50, restarts=5) for S in (_L1, _L2)},
    },
    "flips-20": {"linf": StraightThrough(PGD(_LINF, steps=20)), **{S.name: Flips(S) for S in (_L1, _L2)}},
    "lp-20": {"linf": PGD(_LINF, steps=20), "l1": APGD(_L1, steps=20, radii=(3, 2, 1)), "l2": APGD(_L2, steps=20)},
    "rt-20": {"linf": PGD(_LINF, steps=20), "rt": RandomSearch(_RT, tries=20)},
}
