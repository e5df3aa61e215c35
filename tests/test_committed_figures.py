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

from tradeoff.figures import figure_module
from tradeoff.figures.style import PAGE, paper_style
from tradeoff.files import read_json

FOLDER = Path(__file__).parent.parent / "paper_figures"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
# Made of committed outcomes and logs alone, within seconds.
READ = ("mnist_table", "mnist_epochs", "cost", "peers", "mixture_bars", "affine_beta", "transfer", "record",
        "dead_zone")  # fmt: skip
APART = 0.02  # of a picture's range, in the mean: fonts are rendered a little otherwise by other versions

figures = pytest.mark.parametrize("name", NAMES)


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
    assert abs(drawn - committed).mean() < APART


def test_another_picture_is_told_apart():
    """A curve that lies elsewhere is more than fonts can do."""
    numbers = read_json(FOLDER / "mixture_bars.json")["numbers"]
    halved = json.loads(json.dumps(numbers), parse_float=lambda text: float(text) / 2)
    assert abs(redrawn("mixture_bars", halved) - redrawn("mixture_bars", numbers)).mean() > APART


@figures
def test_the_pdf_is_for_print(name):
    """Text as text in embedded TrueType fonts, no wider than a page of two columns."""
    pdf = (FOLDER / f"{name}.pdf").read_bytes()
    assert b"/FontFile2" in pdf and b"/Subtype /Type3" not in pdf
    (box,) = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", pdf)
    assert float(box[0]) <= 72 * PAGE + 1
