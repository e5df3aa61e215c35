"""What the adversary may do: one concept for proofs and attacks, over NumPy and torch alike."""

from tradeoff.perturbations.blur import GaussianBlur
from tradeoff.perturbations.brightness import BrightnessContrast
from tradeoff.perturbations.combine import Affine, Union
from tradeoff.perturbations.elastic import Elastic
from tradeoff.perturbations.lp import L1, L2, Linf, Lp
from tradeoff.perturbations.permutation import Swap
from tradeoff.perturbations.spatial import RotationTranslation
from tradeoff.perturbations.text import PRESETS, parse

__all__ = [
    "L1",
    "L2",
    "PRESETS",
    "Affine",
    "BrightnessContrast",
    "Elastic",
    "GaussianBlur",
    "Linf",
    "Lp",
    "RotationTranslation",
    "Swap",
    "Union",
    "parse",
]
