"""What `paper_figures/` holds is what the code makes: the same numbers where they come from committed results, the same
picture of these numbers, and PDFs as a printer wants them."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image
from matplotlib import pyplot as plt
from scipy.ndimage import uniform_filter

from tradeoff.figures import figure_module
from tradeoff.figures.style import PAGE, paper_style
from tradeoff.files import read_json

FOLDER = Path(__file__).parent.parent / "paper_figures"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
# Made of committed outcomes and logs alone, within seconds.
READ = ("mnist_table", "mnist_epochs", "cost", "peers", "mixture_bars", "affine_beta", "transfer", "record",
        "dead_zone")  # fmt: skip
APART = 0.05  # of a picture's range: above what other rendering of fonts does, below a tenth off all numbers

figures = pytest.mark.parametrize("name", NAMES)


def apart(one: np.ndarray, other: np.ndarray, blur: int = 25, tile: int = 48) -> float:
    """The largest difference of two pictures, of means over tiles after a blur: edges of letters even out, a curve that
    lies elsewhere does not."""
    gap = abs(uniform_filter(one, (blur, blur, 0)) - uniform_filter(other, (blur, blur, 0))).mean(axis=2)
    height, width = (n // tile for n in gap.shape)
    tiles = gap[: height * tile, : width * tile].reshape(height, tile, width, tile)
    return float(tiles.mean(axis=(1, 3)).max())


def redrawn(name: str, numbers) -> np.ndarray:
    """The pixels of a figure, float in [0, 1], of shape (height, width, 3)."""
    with paper_style():
        figure = figure_module(name).draw(numbers)
        for form in ("pdf", "png"):  # as the command: the layout of the first is where that of the second begins
            file = io.BytesIO()
            figure.savefig(file, format=form)
        plt.close(figure)
    return image.imread(io.BytesIO(file.getvalue()), format="png")[..., :3]


@pytest.mark.parametrize("name", READ)
def test_the_numbers_are_those_of_the_committed_results(name):
    """To 1e-9, whatever made them; a new result wants `python -m tradeoff.figures NAME --out paper_figures --force`."""
    module, committed = figure_module(name), read_json(FOLDER / f"{name}.json")
    assert committed["preset"] == "quick"
    found = json.loads(json.dumps(module.compute(None, **module.PARAMETERS["quick"])))
    found, known = flat(found), flat(committed["numbers"])
    numbers = [path for path, leaf in known.items() if isinstance(leaf, float)]
    assert numbers and all(isinstance(found.get(path), float) for path in numbers)
    assert [found.pop(path) for path in numbers] == pytest.approx([known.pop(path) for path in numbers], rel=1e-9)
    assert found == known


def flat(value, name: str = "") -> dict:
    """Nested lists and dictionaries as one, from paths to what is no list and no dictionary."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {path: leaf for key, part in items for path, leaf in flat(part, f"{name}/{key}").items()}
    return {name: value}


@figures
def test_the_picture_is_that_of_the_numbers(name):
    committed = image.imread(FOLDER / f"{name}.png")[..., :3]
    drawn = redrawn(name, read_json(FOLDER / f"{name}.json")["numbers"])
    assert drawn.shape == committed.shape
    assert apart(drawn, committed) < APART


@pytest.mark.parametrize("name", ["affine_strip", "mixture_bars", "record", "thm1_radii"])
def test_another_picture_is_told_apart(name):
    """A tenth off all numbers is more than fonts can do."""
    numbers = read_json(FOLDER / f"{name}.json")["numbers"]
    less = json.loads(json.dumps(numbers), parse_float=lambda text: 0.9 * float(text))
    assert apart(redrawn(name, less), redrawn(name, numbers)) > APART


@figures
def test_the_pdf_is_for_print(name):
    """Text as text in embedded TrueType fonts, no wider than a page of two columns."""
    pdf = (FOLDER / f"{name}.pdf").read_bytes()
    assert b"/FontFile2" in pdf and b"/Subtype /Type3" not in pdf
    (box,) = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", pdf)
    assert float(box[0]) <= 72 * PAGE + 1
