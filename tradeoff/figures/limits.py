r"""The error that no classifier avoids, because examples of different labels lie so close that their noise can meet.

Least robust error on the test examples under each noise type alone and under their union, against a common scale of all
radii; 1 is the paper's (on CIFAR-10 with ℓ2 noise of 0.5 beside it). Exact: a minimum vertex cover of the graph of
conflicts (a band where it is only enclosed). Below, pairs that conflict first, and between them an image that noise
makes of either, with the two noise types and the scale at which they do.
"""

import base64
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from tradeoff.figures.style import COLOURS, LABELS, MARKERS, PAGE
from tradeoff.files import read_json

# python -m tradeoff.limits makes these; each file names its command.
RESULTS = Path(__file__).parents[1] / "results"
QUICK = {"results_of": ["mnist", "cifar10"], "shown": 2}
PARAMETERS = {"quick": QUICK, "full": QUICK}

_CLASSES = {
    "mnist": tuple("0123456789"),
    "cifar10": ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
}


def compute(results=None, *, results_of: list[str], shown: int) -> dict:
    """The committed results of `python -m tradeoff.limits`, with the first `shown` conflicts."""
    panels = {}
    for name in results_of:
        found = read_json(RESULTS / f"limits-{name}.json")
        at_one = found["scales"].index(1.0)
        panels[name] = {
            "title": f"{found['data']}, {found['n']:,} examples",
            "scales": found["scales"],
            "errors": {
                key: {end: [e or None for e in errors[end]] for end in ("lower", "upper")}  # a logarithm has no 0
                for key, errors in found["errors"].items()
            },
            "at_one": found["errors"]["union"]["lower"][at_one],
            "closest": found["closest"][:shown],
        }
    return {"panels": panels, "data": "; ".join(panel["title"] for panel in panels.values())}


def draw(numbers: dict) -> Figure:
    """A column per data set: the curves, and under them the first conflicts, each as x, the meeting point, x'."""
    panels = numbers["panels"]
    figure = plt.figure(figsize=(PAGE, 3.2))
    columns, axes = figure.subfigures(1, len(panels), squeeze=False)[0], []
    for column, (name, panel) in zip(columns, panels.items(), strict=True):
        top, bottom = column.subfigures(2, 1, height_ratios=(2.7, 1))
        axes.append(top.subplots())
        _curves(axes[-1], panel)
        for strip, pair in zip(bottom.subfigures(1, len(panel["closest"])), panel["closest"], strict=True):
            _images(strip, pair, _CLASSES[name])
    axes[0].legend(loc="upper left")
    return figure


def _curves(ax, panel: dict) -> None:
    for key, errors in panel["errors"].items():
        low, high = (np.array(errors[end], dtype=float) for end in ("lower", "upper"))
        front = {"zorder": 3, "lw": 1.8, "alpha": 0.9} if key == "union" else {}
        ax.plot(panel["scales"], low, MARKERS[key] + "-", ms=3, color=COLOURS[key], label=LABELS[key], **front)
        ax.fill_between(panel["scales"], low, high, color=COLOURS[key], alpha=0.3, lw=0)
    ax.axvline(1, color="black", lw=0.6, ls=":")
    ax.set_yscale("log")
    ax.set_ylim(top=1)
    ax.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    ax.set_title(panel["title"])
    ax.set_xlabel("common scale of the radii")
    ax.set_ylabel("least error")
    ax.annotate(
        f"at 1: {100 * panel['at_one']:g} %",
        (1, 0.5),
        xytext=(3, 0),
        textcoords="offset points",
        fontsize=7,
        va="center",
    )


def _images(figure, pair: dict, classes: tuple[str, ...]) -> None:
    images = np.frombuffer(base64.b64decode(pair["images"]), np.uint8).reshape(pair["shape"]).transpose(0, 2, 3, 1)
    first, second = (LABELS[name] for name in pair["sets"])
    titles = (classes[pair["labels"][0]], f"{first}, {second}: {pair['scale']:.2f}", classes[pair["labels"][1]])
    for ax, image, title in zip(figure.subplots(1, 3), images, titles, strict=True):
        ax.imshow(image, cmap="gray", vmin=0, vmax=255)
        ax.set_axis_off()
        ax.set_title(title, fontsize=7)
