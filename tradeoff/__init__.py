"""Robustness to multiple perturbations: theorems verified, trade-offs measured.

The names below are imported when first used, so that `import tradeoff` and the theory need no torch.

>>> import tradeoff
>>> tradeoff.Linf(0.3)
Linf(0.3)
"""

from importlib import import_module

__version__ = "0.1.0"

_WHERE = {
    "perturbations": (
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
    ),
    "theory": (
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
    ),
    "attacks": (
        "APGD",
        "MSD",
        "PGD",
        "SLIDE",
        "Accumulated",
        "AffineAttack",
        "CoordinateBeam",
        "Flips",
        "GridSearch",
        "RandomSearch",
        "Softened",
        "SparseSearch",
        "Square",
        "StraightThrough",
        "Successive",
        "WarmStart",
    ),
    "outcomes": ("Outcomes",),
    "evaluation": ("evaluate",),
    "masking": ("masking_report",),
    "certification": ("certify",),
    "experiments": ("EXPERIMENTS", "Experiment", "train"),
}
_MODULES = {name: f"tradeoff.{module}" for module, names in _WHERE.items() for name in names}

__all__ = list(_MODULES)


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module 'tradeoff' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__():
    return sorted([*globals(), *__all__])
