"""The same attack on a part of its set."""

from dataclasses import fields, replace
from typing import Any


def scaled(attack: Any, share: float) -> Any:
    """The attack on `share` times its set, with steps as much shorter where they are given in the units of the radius.

    For any attack of ours: those on one set, on a union, mixtures of two attacks, and those along other slopes. Raises
    ValueError for one whose set cannot be scaled.

    >>> scaled(PGD(Linf(0.3), step=0.1), 0.5)
    PGD(S=Linf(0.15), steps=40, restarts=1, step=0.05, loss='margin', box=(0.0, 1.0), early_stop=True)
    """
    if share == 1:
        return attack
    names = {field.name for field in fields(attack)} if hasattr(attack, "__dataclass_fields__") else set()
    if "attack" in names:
        return replace(attack, attack=scaled(attack.attack, share))
    if {"a", "b"} <= names:
        return replace(attack, a=scaled(attack.a, share), b=scaled(attack.b, share))
    if "sets" in names:  # MSD, whose step is a share of the radius
        return replace(attack, sets=attack.S.scaled(share).sets)
    if "S" not in names or not hasattr(attack.S, "scaled"):
        raise ValueError(f"{attack} has no set that can be scaled: give an attack on a ball, or on moves")
    step = {"step": share * attack.step} if "step" in names and attack.step and share else {}
    return replace(attack, S=attack.S.scaled(share), **step)
