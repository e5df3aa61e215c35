"""Suites: the attacks of an evaluation, made for any sets or fixed on sets of their own. Cheap ones come first, as a
cascade wants them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from math import inf
from typing import Any

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
from tradeoff.attacks.sparse import SparseSearch
from tradeoff.attacks.square import Square
from tradeoff.attacks.straight_through import StraightThrough
from tradeoff.attacks.successive import Successive
from tradeoff.attacks.warm_start import WarmStart
from tradeoff.names import lookup
from tradeoff.perturbations import PRESETS, Affine, Lp, Union


def suite(name: str, sets=None, box: Box = (0.0, 1.0), seen: tuple[float, float] | None = (0.0, 1.0)) -> dict:
    """The attacks of a suite on each member of `sets` (one set, or a union), by name; of a suite of FIXED on its own
    sets and in the box of images, for which none are given. `seen` is what a network sees of its inputs
    (`tradeoff.models.seen`), for the suites that ask; None: what is only known once it is trained.

    - "quick": one climb of 40 steps, or the grid of moves; seconds.
    - "paper": 100 steps from 40 starts and the grid of moves, as Tramèr & Boneh (2019; on CIFAR-10 from 20 starts), and
      with foolbox installed (`pip install 'tradeoff[peers]'`) the attacks of others that they ran beside it; hours.
    - "searches": the paper's attack by gradient, then searches that use none (with foolbox those of the paper,
      Pointwise and Boundary), run as a cascade: what they still break tells that gradients are masked; minutes.
    - "strong": what breaks most for its cost, to be run as a cascade (`evaluate(..., cascade=True)`); minutes.
    - "mixtures": how much each share of the budget breaks, of a mixture of two sets: each set alone, fixed shares and
      random ones. Figures compare its columns, hence none is spared what another breaks; minutes.
    - "dead-zone": what knows of a front end `tradeoff.models.DeadZone`, by what is `seen` behind it, and then the
      strong ones; to be run as a cascade; hours.
    - "dead-zone-quick": those of these that break most for their cost; minutes.
    - "dead-zone-mixtures": the same question as "mixtures", by what knows of the dead zone, the noise of the first set
      before that of the second.
    - "flips", "flips-20": what breaks most behind `DeadZone(0.3)` for its cost, on the paper's MNIST sets; the second
      is short, to watch training by. "flips-a0", "flips-a20", ... for dead zones of 0 (none), 0.2, ...; "flips-30-100",
      ... for uneven ones, this for `DeadZone(0.3, 1.0)`, "flips-learned" for one that is learned; each with a short
      one, as "flips-20-30-100".
    - "lp", "lp-100", "rt": what the committed figures were measured with, on the paper's MNIST sets; a column is called
      as its set. 40 steps, or 100 from 5 starts, and the grid of moves.
    - "lp-20", "rt-20": short ones on the same sets, to watch training by.
    - "cifar10-lp", "cifar10-lp-100", ...: the same on the paper's CIFAR-10 sets, which are without l2.
    - "transfer", "cifar10-transfer": an attack on each set of the preset transfer_mnist, or transfer_cifar10;
      "moves-20" and "cifar10-moves-20" watch training by those of its sets that are no balls.

    Raises ValueError for an unknown name, for sets missing, and for sets given to a suite that has its own.

    >>> list(suite("quick", Union((Linf(0.3), L1(10))))), list(suite("lp"))
    (['quick linf:0.3', 'quick l1:10'], ['linf', 'l1', 'l2'])
    """
    make: Any = lookup({**SUITES, **FIXED}, name, "suite")
    if name in FIXED:
        if sets is not None:
            raise ValueError(f"the suite {name!r} has sets of its own ({', '.join(str(a.S) for a in make.values())}): "
                             f"choose {', '.join(SUITES)} for sets of yours")  # fmt: skip
        if box != (0.0, 1.0):
            raise ValueError(f"the suite {name!r} is for images in [0, 1], not in the box {box}: choose "
                             f"{', '.join(SUITES)}")  # fmt: skip
        return dict(make)
    if sets is None:
        raise ValueError(f"the suite {name!r} is made for sets, and none are given: name them, or choose "
                         f"{', '.join(FIXED)}, which have their own")  # fmt: skip
    if name in SEEING:
        make = partial(make, seen=seen)
    attacks = {}
    for S in sets.sets if isinstance(sets, Union) else (sets,):
        attacks |= {f"{attack} {S}": made for attack, made in make(S, box).items()}
    return attacks


def quick(S, box: Box) -> dict:
    return {"quick": _climb_or_search(S, box, 40, 1)}


def paper(S, box: Box) -> dict:
    peers = paper_peers(S, box) if isinstance(S, Lp) and find_spec("foolbox") else {}
    return {"paper": _climb_or_search(S, box, 100, 40), **peers}


def searches(S, box: Box) -> dict:
    if not isinstance(S, Lp):
        return paper(S, box)
    walks = {name: peer for name, peer in paper(S, box).items() if name in ("paper", "Pointwise", "Boundary")}
    return walks | ({"square": Square(S, queries=5000, box=box)} if S.p in (1, 2, inf) else {})


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


def dead_zone(S, box: Box, seen: tuple[float, float] | None) -> dict:
    """The quick one; then climbs straight through the clamp, a beam whose moves end where the network sees no more and
    a search of few pixels; then the strong suite."""
    if not isinstance(S, Lp):
        return strong(S, box)
    searches: dict[str, Any] = {}
    if S.p < inf:
        beam = CoordinateBeam(S, width=20, candidates=32, restarts=2, box=box, seen=seen)
        searches = {
            "straight APGD": StraightThrough(APGD(S, loss="margin", box=box)),
            "seeing beam": StraightThrough(beam),
            "sparse search": SparseSearch(S, box=box, seen=seen),
        }
    return {**dead_zone_quick(S, box, seen), **searches, **strong(S, box)}


def dead_zone_quick(S, box: Box, seen: tuple[float, float] | None) -> dict:
    """Flips, climbs from where they lead, and climbs of their own: where no clamp holds, slopes lead on. In linf, where
    it holds for most pixels, straight through it."""
    if not isinstance(S, Lp):
        return quick(S, box)
    if S.p == inf:
        climbs = {"straight APGD": StraightThrough(APGD(S, loss="margin", box=box))}
    else:
        climbs = {f"APGD-{loss}": APGD(S, 100, loss=loss, radii=(3, 2, 1), box=box) for loss in ("margin", "ce")}
    return _at_their_price(S, box, seen) | climbs


def _at_their_price(S: Lp, box: Box, seen: tuple[float, float] | None) -> dict:
    flips = Flips(S, box=box, seen=seen)
    if S.p == inf:
        return {"flips": flips, "straight PGD": StraightThrough(PGD(S, steps=40, restarts=2, box=box))}
    cross_entropy = replace(flips, loss="ce")
    return {
        "flips": flips,
        "flips, ce": cross_entropy,
        "flips, again": replace(flips, steps=50, restarts=10),
        "from flips": WarmStart(flips, APGD(S, 80, loss="margin", box=box), restarts=2),
        "from flips, ce": WarmStart(cross_entropy, APGD(S, 80, loss="ce", box=box), restarts=2),
    }


def mixtures(S, box: Box) -> dict:
    """Under "β=0.5" half of the budget goes to the first set, under "β=0" all to the second. What has l1 noise in it
    is attacked along softened slopes too, as networks mask its gradients."""
    attacks = {"alone": _climb_or_search(S, box, 100, 5)}
    if isinstance(S, Affine):
        # Each of 775 moves is the start of a climb, hence short ones; ten steps break no more than five.
        mix = _climb_or_search(S, box, 50 if isinstance(S.a, Lp) else 5, 3)
        attacks = {
            "β=0": _climb_or_search(S.b, box, 100, 5),
            **{f"β={beta}": replace(mix, beta=beta) for beta in (0.25, 0.5, 0.75)},
            "β=1": _climb_or_search(S.a, box, 100, 5),
            "random β": mix,
        }
    soft = {f"{name}, softened": Softened(a) for name, a in attacks.items() if "l1" in a.S.name.split("+")}
    return attacks | soft


def dead_zone_mixtures(S, box: Box, seen: tuple[float, float] | None) -> dict:
    if not isinstance(S, Affine) or not (isinstance(S.a, Lp) and isinstance(S.b, Lp)):
        return mixtures(S, box)
    first, last = (StraightThrough(PGD(T, steps=40, box=box)) if T.p == inf else Flips(T, steps=50, box=box, seen=seen)
                   for T in (S.a, S.b))  # fmt: skip
    mixed = {f"β={beta}": Successive(first, last, (beta,)) for beta in (0.25, 0.5, 0.75)}
    return {"β=0": last, **mixed, "β=1": first}


SUITES: Mapping[str, Callable] = {
    "quick": quick,
    "paper": paper,
    "searches": searches,
    "strong": strong,
    "dead-zone": dead_zone,
    "dead-zone-quick": dead_zone_quick,
    "mixtures": mixtures,
    "dead-zone-mixtures": dead_zone_mixtures,
}


SEEING = frozenset(name for name in SUITES if name.startswith("dead-zone"))
# Figures compare the columns of these: none is spared what another breaks. The others are run as cascades.
WHOLE = frozenset({"mixtures", "dead-zone-mixtures"})


def _climb_or_search(S, box: Box, steps: int, restarts: int):
    if isinstance(S, Affine):
        search = GridSearch(S.a) if not isinstance(S.a, Lp) else _climb_or_search(S.a, box, steps, 1)
        again = restarts if isinstance(S.a, Lp) else 1  # a search starts again by its own tries
        return AffineAttack(search, _climb_or_search(S.b, box, steps, 1), restarts=again)
    if not isinstance(S, Lp):
        return GridSearch(S)
    return (SLIDE if S.p == 1 else PGD)(S, steps, restarts=restarts, box=box)


def _on(prefix: str, linf, l1, rt, *others) -> dict[str, Mapping]:
    """The fixed suites on the sets of one data set."""

    def columns(steps, restarts, *sets):
        return {S.name: _climb_or_search(S, (0.0, 1.0), steps, restarts) for S in sets}

    watched = {S.name: APGD(S, steps=20) for S in others}
    return {
        f"{prefix}lp": columns(40, 1, linf, l1, *others),
        f"{prefix}lp-100": columns(100, 5, linf, l1, *others),
        f"{prefix}rt": columns(40, 1, linf, rt),
        f"{prefix}lp-20": {"linf": PGD(linf, steps=20), "l1": APGD(l1, steps=20, radii=(3, 2, 1)), **watched},
        f"{prefix}rt-20": {"linf": PGD(linf, steps=20), "rt": RandomSearch(rt, tries=20)},
    }


def _transfer(prefix: str, linf, l2, l1, *moves) -> dict[str, Mapping]:
    return {
        f"{prefix}transfer": {
            "linf": PGD(linf, steps=100),
            "l2": APGD(l2, steps=100, radii=(3, 2, 1)),
            "l1": APGD(l1, steps=100, radii=(3, 2, 1)),
            **{S.name: GridSearch(S) for S in moves},
        },
        f"{prefix}moves-20": {S.name: RandomSearch(S, tries=20) for S in moves},
    }


def _flips(zone: str, seen: tuple[float, float] | None) -> dict[str, Mapping]:
    """What breaks most for its cost where this is `seen` (None: ask the network), and a short one to watch training
    by."""
    linf, l2, l1, _ = PRESETS["paper_mnist"].sets
    flips = {S.name: Flips(S, seen=seen) for S in (l1, l2)}
    longer = {name: replace(attack, steps=50, restarts=5) for name, attack in flips.items()}
    return {
        f"flips{zone}": {"linf": StraightThrough(PGD(linf, steps=100, restarts=5)), **longer},
        f"flips-20{zone}": {"linf": StraightThrough(PGD(linf, steps=20)), **flips},
    }


_LINF, _L2, _L1, _RT = PRESETS["paper_mnist"].sets
# Numbers of committed figures depend on every word of these, on the names too: draws are keyed by them.
FIXED: dict[str, Mapping] = {
    **_on("", _LINF, _L1, _RT, _L2),
    **_on("cifar10-", *PRESETS["paper_cifar10"].sets),
    **_flips("", (0.3, 0.7)),
    **_flips("-learned", None),
    **{
        name: attacks
        for a in (0.0, 0.2, 0.25, 0.35)
        for name, attacks in _flips(f"-a{100 * a:.0f}", (a, 1 - a)).items()
    },
    **{
        name: attacks
        for low, high in ((0.3, 0.9), (0.3, 1.0), (0.4, 1.0))
        for name, attacks in _flips(f"-{100 * low:.0f}-{100 * high:.0f}", (low, high)).items()
    },
    **_transfer("", *PRESETS["transfer_mnist"].sets),
    **_transfer("cifar10-", *PRESETS["transfer_cifar10"].sets),
}
