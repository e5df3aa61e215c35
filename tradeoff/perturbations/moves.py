"""The sets that change an input as a whole instead of adding to it, which only a search can attack."""

from tradeoff.perturbations.blur import GaussianBlur
from tradeoff.perturbations.brightness import BrightnessContrast
from tradeoff.perturbations.elastic import Elastic
from tradeoff.perturbations.permutation import Swap
from tradeoff.perturbations.spatial import RotationTranslation

Filter = RotationTranslation | BrightnessContrast | GaussianBlur | Elastic  # of images in [0, 1]
Move = Filter | Swap
