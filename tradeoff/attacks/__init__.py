"""How the adversary searches: one attack, one file, one cited paper."""

from tradeoff.attacks.affine import AffineAttack
from tradeoff.attacks.apgd import APGD
from tradeoff.attacks.ascent import ascend, worst
from tradeoff.attacks.draws import Draws
from tradeoff.attacks.msd import MSD
from tradeoff.attacks.pgd import PGD
from tradeoff.attacks.search import GridSearch, RandomSearch
from tradeoff.attacks.slide import SLIDE

__all__ = ["APGD", "MSD", "PGD", "SLIDE", "AffineAttack", "Draws", "GridSearch", "RandomSearch", "ascend", "worst"]
