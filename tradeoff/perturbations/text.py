"""Perturbation sets as short text, for command lines, result files and tables."""

import re
from math import inf

from tradeoff.names import lookup
from tradeoff.perturbations.blur import GaussianBlur
from tradeoff.perturbations.brightness import BrightnessContrast
from tradeoff.perturbations.combine import Affine, Union
from tradeoff.perturbations.elastic import Elastic
from tradeoff.perturbations.lp import L1, L2, Linf, Lp
from tradeoff.perturbations.permutation import Swap
from tradeoff.perturbations.spatial import RotationTranslation

PRESETS = {
    # Tramèr & Boneh 2019, and Croce & Hein 2022 for the last
    "paper_mnist": Union((Linf(0.3), L2(2), L1(10), RotationTranslation(3, 30))),
    "paper_cifar10": Union((Linf(4 / 255), L1(2000 / 255), RotationTranslation(3, 30))),
    "union_cifar10": Union((Linf(8 / 255), L2(0.5), L1(12))),
    # The paper's, and three whose strongest members leave digits legible but cost a network much: brightness by as
    # much as the linf noise, a blur as wide as a stroke, and two thirds of the most that surely folds no digit.
    "transfer_mnist": Union(
        (
            Linf(0.3),
            L2(2),
            L1(10),
            RotationTranslation(3, 30),
            BrightnessContrast(0.3, 0.5),
            GaussianBlur(2),
            Elastic(3, 3),
        )
    ),
    # The same for photographs, of which each of the last three costs a natural network a third to two thirds.
    "transfer_cifar10": Union(
        (
            Linf(4 / 255),
            L2(0.5),
            L1(2000 / 255),
            RotationTranslation(3, 30),
            BrightnessContrast(0.2, 0.3),
            GaussianBlur(1.5),
            Elastic(2, 3),
        )
    ),
}

_EXAMPLES = (
    "'linf:0.3', 'linf:8/255', 'l1:10', 'l1.5:2', 'rt:3px,30deg', 'bc:0.3,0.5', 'blur:2px', 'elastic:3px,3cells', "
    "'swap:49', 'linf:0.3 | l1:10', 'l1:10 + l2:2'"
)


def parse(text: str):
    """The set that `text` names; `parse(str(S)) == S` for every set S. Spaces and upper case do not matter.

    A ball is NORM:RADIUS (radius a number or a fraction), moves are "rt:3px,30deg", "bc:0.3,0.5" (brightness and
    contrast), "blur:2px", "elastic:3px,3cells" and "swap:49", " | " joins the members of a union, " + " mixes two sets,
    and a preset is its name: paper_mnist, paper_cifar10, union_cifar10, transfer_mnist,
    transfer_cifar10.

    Raises ValueError naming the part that is not understood.

    >>> parse("linf:8/255"), parse("rt:3px,30deg")
    (Linf(0.03137254901960784), RotationTranslation(shift=3.0, angle=30.0))
    >>> print(parse("linf:0.3|l1:10"), "and", parse("rt:3px,30deg + linf:0.3"))
    linf:0.3 | l1:10 and rt:3px,30deg + linf:0.3
    >>> parse("lnf:0.3")
    Traceback (most recent call last):
    ValueError: unknown set 'lnf', did you mean 'linf'? Known: linf, l2, l1, rt, bc, blur, elastic, swap
    """
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{text!r} does not name a perturbation set: write for example {_EXAMPLES}")
    text = re.sub(r"\s", "", text).lower()
    if text in PRESETS:
        return PRESETS[text]
    if "|" in text:
        return Union(tuple(parse(part) for part in text.split("|")))
    # The sign of an exponent (1e+20) does not mix sets: a set's name starts with a letter.
    parts = re.split(r"\+(?=[a-z])", text)
    if len(parts) == 2:
        return Affine(parse(parts[0]), parse(parts[1]))
    if len(parts) > 2:
        raise ValueError(f"{text!r} mixes {len(parts)} sets: an affine adversary mixes two")
    return _single(text)


def _single(text: str):
    family, colon, size = text.partition(":")
    if not colon:
        lookup({**PRESETS, **dict.fromkeys(_FAMILIES)}, family, "set")
        raise ValueError(f"{text!r} has no size: write for example {_EXAMPLES}")
    general = re.fullmatch(r"l(\d+(?:\.\d+)?)", family)
    if general and family not in _FAMILIES:
        return Lp(float(general[1]), _number(size, text))
    return lookup(_FAMILIES, family, "set")(size, text)


def _number(size: str, text: str) -> float:
    """A decimal number or a fraction a/b."""
    top, slash, bottom = size.partition("/")
    try:
        return float(top) / float(bottom) if slash else float(top)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{size!r} in {text!r} is not a number: write for example {_EXAMPLES}") from None


def _sizes(form: str, what: str, example: str, size: str, text: str) -> tuple[float, ...]:
    """The numbers in a size of the form, a regular expression."""
    match = re.fullmatch(form, size)
    if not match:
        raise ValueError(f"{size!r} in {text!r} does not give {what}: write '{example}'")
    return tuple(_number(part, text) for part in match.groups())


def _moves(size: str, text: str) -> RotationTranslation:
    return RotationTranslation(*_sizes("(.+)px,(.+)deg", "pixels and degrees", "rt:3px,30deg", size, text))


def _brightness(size: str, text: str) -> BrightnessContrast:
    return BrightnessContrast(*_sizes("([^,]+),([^,]+)", "brightness and contrast", "bc:0.3,0.5", size, text))


def _blur(size: str, text: str) -> GaussianBlur:
    return GaussianBlur(*_sizes("(.+)px", "pixels", "blur:2px", size, text))


def _elastic(size: str, text: str) -> Elastic:
    shift, cells = _sizes(r"(.+)px,(\d+)cells", "pixels and cells", "elastic:3px,3cells", size, text)
    return Elastic(shift, int(cells))


def _positions(size: str, text: str) -> Swap:
    if not size.isdecimal():
        raise ValueError(f"{size!r} in {text!r} is not a number of positions: write 'swap:49'")
    return Swap(int(size))


_FAMILIES = {
    "linf": lambda size, text: Lp(inf, _number(size, text)),
    "l2": lambda size, text: L2(_number(size, text)),
    "l1": lambda size, text: L1(_number(size, text)),
    "rt": _moves,
    "bc": _brightness,
    "blur": _blur,
    "elastic": _elastic,
    "swap": _positions,
}
