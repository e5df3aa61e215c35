"""What a number given from outside has to be, said in one way."""

import operator
from collections.abc import Iterable
from math import inf, isfinite
from numbers import Real
from typing import Any


def check_count(value: int, name: str, least: int = 1, most: float = inf) -> int:
    """`value` as an int if it is a whole number from `least` to `most`; ValueError otherwise.

    >>> check_count(0, "steps")
    Traceback (most recent call last):
    ValueError: steps is 0, but must be an integer ≥ 1
    """
    try:
        whole = operator.index(value)
    except TypeError:
        whole = least - 1
    if isinstance(value, bool) or not least <= whole <= most:
        limit = f" and ≤ {most}" if most < inf else ""
        raise ValueError(f"{name} is {value!r}, but must be an integer ≥ {least}{limit}")
    return whole


def several(value: Any) -> tuple:
    """What is one value or some of them, as a tuple.

    >>> several(3), several([80, 99])
    ((3,), (80, 99))
    """
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value,)


def check_box(box: Any, name: str = "box", optional: bool = True) -> None:
    """ValueError unless `box` is a pair low < high of numbers, or None where that is allowed.

    >>> check_box((1, 0))
    Traceback (most recent call last):
    ValueError: box is (1, 0), but must be a pair low < high, or None
    """
    if box is None and optional:
        return
    try:
        low, high = box
        fits = isinstance(low, Real) and isinstance(high, Real) and low < high
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ValueError(f"{name} is {box!r}, but must be a pair low < high{', or None' if optional else ''}")


def check_radius(value: float, name: str, unit: str = "") -> float:
    """`value` as a float if it is finite and not negative; ValueError otherwise.

    >>> check_radius(-0.3, "radius eps")
    Traceback (most recent call last):
    ValueError: radius eps is -0.3, but must be a finite number ≥ 0
    """
    try:
        result = float(value)
    except (TypeError, ValueError):
        result = float("nan")
    if not (isfinite(result) and result >= 0):
        raise ValueError(f"{name} is {value!r}, but must be a finite number ≥ 0{unit}")
    return result
