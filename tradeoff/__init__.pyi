"""What a type checker sees of the names that `__init__.py` imports when they are first used."""

from tradeoff.attacks import (
    APGD,
    MSD,
    PGD,
    SLIDE,
    AffineAttack,
    CoordinateBeam,
    GridSearch,
    RandomSearch,
    Softened,
    Square,
)
from tradeoff.certification import certify
from tradeoff.evaluation import evaluate
from tradeoff.experiments import EXPERIMENTS, Experiment, train
from tradeoff.masking import masking_report
from tradeoff.outcomes import Outcomes
from tradeoff.perturbations import L1, L2, PRESETS, Affine, Linf, Lp, RotationTranslation, Swap, Union, parse
from tradeoff.theory import (
    THEOREMS,
    BernoulliFeature,
    Evidence,
    GameValue,
    GaussianFeature,
    Theorem,
    enclosure,
    exclusive,
    flow_bounds,
    game_value,
    game_values,
)

__version__: str
__all__ = [
    "L1",
    "L2",
    "PRESETS",
    "Affine",
    "Linf",
    "Lp",
    "RotationTranslation",
    "Swap",
    "Union",
    "parse",
    "THEOREMS",
    "BernoulliFeature",
    "Evidence",
    "GameValue",
    "GaussianFeature",
    "Theorem",
    "enclosure",
    "exclusive",
    "flow_bounds",
    "game_value",
    "game_values",
    "APGD",
    "MSD",
    "PGD",
    "SLIDE",
    "AffineAttack",
    "CoordinateBeam",
    "GridSearch",
    "RandomSearch",
    "Softened",
    "Square",
    "Outcomes",
    "evaluate",
    "masking_report",
    "certify",
    "EXPERIMENTS",
    "Experiment",
    "train",
]
