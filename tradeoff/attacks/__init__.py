"""How the adversary searches: one attack, one file, one cited paper."""

from tradeoff.attacks.accumulated import Accumulated
from tradeoff.attacks.affine import AffineAttack
from tradeoff.attacks.apgd import APGD
from tradeoff.attacks.ascent import ascend, worst
from tradeoff.attacks.beam import CoordinateBeam
from tradeoff.attacks.draws import Draws
from tradeoff.attacks.flips import Flips
from tradeoff.attacks.msd import MSD
from tradeoff.attacks.pgd import PGD
from tradeoff.attacks.search import GridSearch, RandomSearch
from tradeoff.attacks.slide import SLIDE
from tradeoff.attacks.softened import Softened
from tradeoff.attacks.sparse import SparseSearch
from tradeoff.attacks.square import Square
from tradeoff.attacks.straight_through import StraightThrough
from tradeoff.attacks.successive import Successive
from tradeoff.attacks.warm_start import WarmStart

__all__ = [
    "APGD",
    "MSD",
    "PGD",
    "SLIDE",
    "Accumulated",
    "AffineAttack",
    "CoordinateBeam",
    "Draws",
    "Flips",
    "GridSearch",
    "RandomSearch",
    "Softened",
    "SparseSearch",
    "Square",
    "StraightThrough",
    "Successive",
    "WarmStart",
    "ascend",
    "worst",
]
