"""The figures: one module each, of one shape.

A module's docstring is the caption. PARAMETERS gives, per preset, what its numbers depend on; `compute(results,
**parameters)` returns them as plain JSON data (`results(name)` is the run of a declared experiment, made when missing);
`draw(numbers)` makes the picture and does no arithmetic beyond units.
"""

from importlib import import_module

FIGURES = (
    "thm1",
    "thm1_radii",
    "phase_diagram",
    "thm2",
    "affine_gap",
    "optimal_classifier",
    "pareto",
    "limits",
    "mnist_tradeoff",
    "affine_strip",
    "slide_vs_pgd",
    "projection_bug",
    "peers",
    "mnist_table",
    "mnist_epochs",
    "masking",
    "cost",
    "mixture_bars",
    "mixture_images",
    "affine_beta",
    "transfer",
    "record",
    "dead_zone",
)
PRESETS = ("quick", "full")


def figure_module(name: str):
    """The module of a figure.

    >>> figure_module("thm1_radii").__doc__.splitlines()[0]
    'The two textbook classifiers on D_B against the size of the noise, exactly.'
    """
    return import_module(f"tradeoff.figures.{name}")
