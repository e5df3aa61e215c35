"""Attacks on the best classifiers there are: on D_B they reach the value of the game, and none passes it."""

from math import inf, log, sqrt

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tradeoff.attacks import APGD, MSD, PGD, SLIDE, CoordinateBeam, Square
from tradeoff.perturbations import L1, L2, Linf
from tradeoff.theory import BernoulliFeature, game_value
from tradeoff.theory.game import classifier
from tradeoff.trained_game import Plane, lost, threshold_risk

GAMES = [
    (BernoulliFeature(2.0, 9, 0.9), (Linf(0.3), L1(2.0))),
    (BernoulliFeature(2.0, 4, 0.8), (L2(0.6), L1(1.2))),
    (BernoulliFeature(3.0, 16, 0.9), (Linf(0.4), L2(1.2))),
]
SAMPLES, ATTACKED = 200_000, 800
FAILURE = 1e-9  # of all the comparisons of a share with a value, together
FAR = 30.0  # beyond any T of the samples, moved or not


class Optimal(nn.Module):
    """The classifier of a solved game as a network of score T - t(x_0): +1 is class 1.

    t(v) = min over i, s of M^i_s - hw_i(v - s) as in `tradeoff.theory.game.classifier`, and FAR where no set binds it:
    it has jumps where an linf ball ends, kinks where an l1 ball does, and gradients everywhere else.
    """

    def __init__(self, dist, sets, game):
        super().__init__()
        groups = [[S] for S in sets] if len(game.thresholds) == len(sets) else [sets]
        self.plane, self.d = Plane(), dist.d
        self.bounds = [(S, s, level) for group, (M, _) in zip(groups, game.thresholds, strict=True) for S in group
                       for s, level in zip((1, -1), M, strict=True)]  # fmt: skip

    def threshold(self, x_0: Tensor) -> Tensor:
        t = torch.full_like(x_0, FAR)
        for S, s, level in self.bounds:
            a = (x_0 - s).abs()
            inside = a <= S.eps * (1 + 1e-9)  # the ends of a set are reached, whatever x_0 was rounded to
            width = S.eps * self.d ** (0.5 - 1 / S.p)
            if S.p < inf:
                rest = 1 - (a / S.eps) ** S.p
                width = width * torch.where(rest > 1e-12, rest, 1e-12) ** (1 / S.p)
            t = torch.minimum(t, torch.where(inside, level - width, FAR))
        return t

    def forward(self, x: Tensor) -> Tensor:
        x_0, T = self.plane(x).unbind(dim=1)
        score = T - self.threshold(x_0)
        return torch.stack([-score, score], dim=1) / 2


def attacks(S):
    """For each attack the share of what can be broken that it must break at least, where its set is on its own."""
    yield PGD(S, steps=40, restarts=2, box=None), 0.9
    yield APGD(S, steps=40, restarts=2, box=None), 0.95
    yield Square(S, queries=100, box=None), 0.0
    if S.p == 1:
        yield SLIDE(S, steps=40, quantile=75, restarts=2, box=None), 0.95
        yield APGD(S, steps=40, radii=(3, 2, 1), box=None), 0.95
        yield CoordinateBeam(S, moves=10, candidates=8, box=None), 0.95
    elif S.p < inf:
        yield CoordinateBeam(S, moves=10, candidates=8, box=None), 0.0


@pytest.mark.parametrize("adversary", ["average", "union"])
@pytest.mark.parametrize(("dist", "sets"), GAMES, ids=str)
def test_attacks_on_the_optimal_classifier_reach_the_value_and_none_passes_it(dist, sets, adversary):
    """Set i can break an example if and only if yT is below its threshold (none here is within a rounding of it).

    So for each example the truth is known, and what all attacks break together is the truth. Over the samples it is
    as frequent as the value says (Hoeffding, failure ≤ 1e-9).
    """
    game = game_value(dist, sets, adversary)
    model = Optimal(dist, sets, game)
    rule, line = classifier(dist, sets, game), np.linspace(-4.0, 4.0, 161)
    assert model.threshold(torch.from_numpy(line)).numpy() == pytest.approx([min(rule(v), FAR) for v in line], abs=1e-5)

    x, y = dist.sample(SAMPLES, np.random.default_rng(0))
    forced = np.array([lost(thresholds, x, y) for thresholds in game.thresholds])
    slack = sqrt(log(2 * 2 * len(GAMES) / FAILURE) / (2 * SAMPLES))
    assert abs(forced.mean() - game.value) <= slack
    assert np.mean([threshold_risk(dist, thresholds) for thresholds in game.thresholds]) == pytest.approx(game.value)

    x, y, forced = x[:ATTACKED], y[:ATTACKED], forced[:, :ATTACKED]
    points, labels = torch.from_numpy(x), torch.from_numpy((y > 0).astype(np.int64))

    def broken(attack):
        return (model(attack(model, points, labels, np.random.default_rng(1))).argmax(dim=1) != labels).numpy()

    together = np.zeros((len(sets), ATTACKED), dtype=bool)
    for k, S in enumerate(sets):
        truth = forced[k if adversary == "average" else 0]
        for attack, least in attacks(S):
            found = broken(attack)
            assert not np.any(found & ~truth), attack
            assert adversary == "union" or found.sum() >= least * truth.sum(), attack
            together[k] |= found
    if adversary == "average":
        assert np.array_equal(together, forced)
        return
    assert np.array_equal(together.any(axis=0), forced[0])
    found = broken(MSD(sets, steps=40, restarts=2, quantile=75, box=None))
    assert not np.any(found & ~forced[0]) and found.sum() >= 0.8 * forced[0].sum()
