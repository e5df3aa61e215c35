r"""A natural image, the image rotated, the image with ℓ∞ noise, and with half of each.

The poster's row, on the first embedded test digit of four classes each. The rotation-translation is all of its budget
(30°, and 3 pixels to the right), the noise 0.3 or -0.3 for each pixel by the toss of a coin, cut off at black and
white; the mixture has half of the one (15°, 1.5 pixels) and half of the other (0.15). No network is asked: what an
adversary would choose is in `affine_strip`.
"""

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from tradeoff.data import load
from tradeoff.figures.style import COLUMN
from tradeoff.perturbations import Affine, Linf, RotationTranslation

QUICK = {"classes": (2, 4, 7, 9), "move": (3.0, 0.0, 30.0), "eps": 0.3, "seed": 0}
PARAMETERS = {"quick": QUICK, "full": QUICK}
COLUMNS = {"natural image": (0.0, 0.0), "rotation": (1.0, 0.0), r"$\ell_\infty$ noise": (0.0, 1.0),
           r"½ rotation + ½ $\ell_\infty$": (0.5, 0.5)}  # fmt: skip


def compute(results=None, *, classes, move, eps: float, seed: int) -> dict:
    """Rows of images, a row per class and a column per pair of shares (of the rotation, of the noise), all known to lie
    in the mixtures of the two sets."""
    digits = load("digits", "test")
    chosen = [int(np.flatnonzero(digits.y == label)[0]) for label in classes]
    x = digits.x[chosen].astype(np.float64)
    S = Affine(RotationTranslation(abs(move[0]), abs(move[2])), Linf(eps))
    signs = np.random.default_rng(seed).choice([-eps, eps], x.shape)
    columns = {}
    for name, (turned, noisy) in COLUMNS.items():
        r = np.tile(turned * np.array(move), (len(x), 1)), noisy * signs
        if not S.contains(r).all():
            raise ValueError(f"the shares {turned} and {noisy} are more than the budget")
        columns[name] = S.apply(x, r).clip(0, 1)[:, 0].round(4).tolist()
    return {"columns": columns, "labels": [int(label) for label in digits.y[chosen]], "index": chosen,
            "data": f"test images {chosen} of {digits.source}"}  # fmt: skip


def draw(numbers: dict) -> Figure:
    """A column per perturbation."""
    columns = numbers["columns"]
    rows = len(numbers["labels"])
    figure, axes = plt.subplots(rows, len(columns), figsize=(COLUMN, 0.35 + 0.84 * rows), squeeze=False)
    for line, (name, images) in zip(axes.T, columns.items(), strict=True):
        line[0].set_title(name, fontsize=6)
        for ax, image in zip(line, images, strict=True):
            ax.imshow(image, cmap="gray", vmin=0, vmax=1)
            ax.set_xticks([])
            ax.set_yticks([])
            ax.spines[:].set_visible(False)
    return figure
