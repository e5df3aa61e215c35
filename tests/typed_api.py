"""A user's program, for the type checker alone: mypy has to accept it, and to know the types that are asserted."""

from collections.abc import Callable
from pathlib import Path
from typing import assert_type

import numpy as np
from torch import nn

import tradeoff
from tradeoff import (
    EXPERIMENTS,
    L1,
    MSD,
    PGD,
    SLIDE,
    THEOREMS,
    Affine,
    BernoulliFeature,
    Evidence,
    Experiment,
    GameValue,
    GaussianFeature,
    Linf,
    Lp,
    Outcomes,
    RotationTranslation,
    Theorem,
    Union,
    enclosure,
    evaluate,
    exclusive,
    flow_bounds,
    game_value,
    game_values,
    train,
)


def theory() -> None:
    D = BernoulliFeature(alpha=2, d=100, p0=0.9)
    x, y = D.sample(10, np.random.default_rng(0))
    assert_type(D.bayes_risk(), float)
    game = game_value(D, (Linf(0.2), L1(2)), "union")
    assert_type(game, GameValue)
    assert_type(game.value, float)
    assert_type(game_values(D, [[Linf(0.2)], [L1(2)]]), list[GameValue])
    assert_type(exclusive(GaussianFeature(2, 100), [Linf(0.2)]), bool)
    lower, upper = flow_bounds(D, [Linf(0.2)], "average", step=1 / 8)
    assert_type(lower, float)
    print(enclosure(D, [Linf(0.2)]), x, y, upper)
    for theorem in THEOREMS.values():
        assert_type(theorem, Theorem)
        for route, evidence in theorem.run():
            assert_type(route, str)
            assert_type(evidence, Evidence)
            assert_type(evidence.holds, bool)


def sets() -> None:
    assert_type(Lp(1.5, 2.0).eps, float)
    union = Union((Linf(0.3), L1(10), RotationTranslation(3, 30)))
    print(union, Affine(Linf(0.3), L1(10)), Linf(0.3).support(np.ones((1, 2))))


def networks(model: nn.Module, x: np.ndarray, y: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    attacks = [PGD(Linf(0.3), steps=5), SLIDE(L1(10)), MSD((Linf(0.3), L1(10)))]
    outcomes = evaluate(model, attacks, x, y, rng, cascade=True)
    assert_type(outcomes, Outcomes)
    assert_type(EXPERIMENTS["digits-linf"], Experiment)
    assert_type(train(Experiment("digits", epochs=1), Path("out")), nn.Module)
    outcomes.save(Path("outcomes"))


main: Callable[[], None] = theory
print(tradeoff.__version__)
