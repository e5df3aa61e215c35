"""One style for all figures: the paper's column width, embedded fonts, colours that colour-blind readers tell apart."""

import re
from contextlib import contextmanager

import matplotlib
from matplotlib import pyplot as plt

COLUMN, PAGE = 3.35, 6.9  # inches

# Okabe & Ito (2008); an adversary keeps its colour, and its marker, in every figure. What is none borrows them.
COLOURS = {
    "clean": "#000000",
    "linf": "#0072B2",
    "l1": "#D55E00",
    "l2": "#009E73",
    "rt": "#CC79A7",
    "average": "#E69F00",
    "union": "#7F7F7F",
    "affine": "#56B4E9",
    "forbidden": "#F0E442",
}
MARKERS = {"clean": "D", "linf": "o", "l1": "s", "l2": "^", "rt": "v", "average": "X", "union": "*",
           "affine": "P"}  # fmt: skip
LABELS = {"clean": "clean", "linf": r"$\ell_\infty$", "l1": r"$\ell_1$", "l2": r"$\ell_2$", "rt": "rotation",
          "average": "average", "union": "union", "affine": "affine"}  # fmt: skip
_NAMES = {**LABELS, "msd": "MSD", "e-at": "E-AT", "apgd": "APGD", "mnist": "MNIST", "cifar10": "CIFAR-10",
          "max-rt": rf"max ({LABELS['linf']}, rotation)", "max-l1": rf"max ({LABELS['linf']}, {LABELS['l1']})",
          "avg-l1": rf"avg ({LABELS['linf']}, {LABELS['l1']})"}  # fmt: skip

_RC: dict = {
    "font.family": "serif",
    "font.serif": ["DejaVu Serif"],
    "mathtext.fontset": "dejavuserif",
    "font.size": 8,
    "axes.titlesize": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "figure.dpi": 200,
    "pdf.fonttype": 42,  # text stays text
    "savefig.bbox": None,
}


def named(text: str) -> str:
    r"""The names of sets and networks as figures write them.

    >>> named("msd, paper's CNN"), named("max-rt")
    ("MSD, paper's CNN", 'max ($\\ell_\\infty$, rotation)')
    """
    known = "|".join(sorted(map(re.escape, _NAMES), key=len, reverse=True))
    return re.sub(rf"(?<![-\w])(?:{known})(?![-\w])", lambda found: _NAMES[found[0]], text)


def run_named(run: str) -> str:
    """A run by its data and its network.

    >>> run_named("mnist-max")
    'MNIST, max'
    """
    data, _, network = run.partition("-")
    return f"{named(data)}, {named(network)}"


@contextmanager
def paper_style():
    """The style within the block; the user's own settings come back after it.

    Fonts are looked up when a figure is rendered: save it, or in a notebook display it, inside the block.
    """
    with matplotlib.rc_context(_RC), plt.ioff():
        yield
