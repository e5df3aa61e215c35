"""Suites: every set, images and vectors, two classes; what a cascade of the strong one must and must not do."""

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import nn

from tradeoff.attacks.suites import FIXED, SUITES, suite
from tradeoff.evaluation import evaluate
from tradeoff.perturbations import L1, L2, PRESETS, Affine, Linf, Lp, RotationTranslation, Union, parse

EVERY = Union((Linf(0.1), L2(0.6), L1(2), Lp(1.5, 1), RotationTranslation(1, 10)))


def network(features, classes, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(features, 8), nn.ReLU(), nn.Linear(8, classes)).eval()


@pytest.mark.parametrize("name", SUITES)
def test_every_set_has_attacks_of_its_own(name):
    attacks = suite(name, EVERY)
    assert {str(attack.S) for attack in attacks.values()} == {str(S) for S in EVERY.sets}
    for S in EVERY.sets:
        alone = suite(name, S)
        assert alone == {key: attack for key, attack in attacks.items() if attack.S == S}
        assert all(key.endswith(f" {S}") for key in alone)
    for preset in PRESETS.values():
        assert {str(attack.S) for attack in suite(name, preset).values()} == {str(S) for S in preset.sets}


@pytest.mark.parametrize("name", FIXED)
def test_fixed_suites_name_their_columns_by_set(name):
    for column, attack in suite(name).items():
        assert parse(str(attack.S)) == attack.S and attack.S.name == column


def test_wrong_suites():
    with pytest.raises(ValueError, match="unknown suite 'stong', did you mean 'strong'"):
        suite("stong", EVERY)
    with pytest.raises(ValueError, match="'lp' has sets of its own .linf:0.3, l1:10, l2:2.: choose quick"):
        suite("lp", EVERY)
    with pytest.raises(ValueError, match="'strong' is made for sets, and none are given: name them, or choose lp"):
        suite("strong")


@pytest.mark.skipif(find_spec("foolbox") is None, reason="the paper's suite has the peers where foolbox is installed")
def test_the_papers_suite_has_its_peers():
    assert {"EAD l1:2", "C&W l2:0.6"} <= set(suite("paper", EVERY))


@pytest.mark.parametrize(
    "name", ["quick", "strong", "dead-zone-quick", pytest.param("dead-zone", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(("shape", "box", "classes"), [((1, 6, 6), (0.0, 1.0), 10), ((5,), None, 2), ((7,), None, 3)])
def test_runs_on_images_and_on_vectors_of_few_classes(name, shape, box, classes):
    model = network(int(np.prod(shape)), classes)
    x = np.random.default_rng(0).uniform(0, 1, (6, *shape)).astype(np.float32)
    y = model(torch.tensor(x)).argmax(dim=1).numpy()
    sets = Union(tuple(S for S in EVERY.sets if box is not None or isinstance(S, Lp)))
    found = evaluate(model, suite(name, sets, box), x, y, np.random.default_rng(1), cascade=True, chunk=6)
    for S in found.set_names:  # an attack tries what those before it on its set have left, and only that
        columns = [k for k, text in enumerate(found.sets) if text.startswith(f"{S}:")]
        left = found.correct[:, 0].copy()
        for k in columns:
            assert np.array_equal(found.tried[:, k], left)
            left &= found.correct[:, k]
        assert found.accuracy(S) == left.mean()


def test_the_strong_suite_breaks_what_the_quick_one_does_and_more():
    """On a network that thresholds its input, whose own gradients vanish."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Threshold(0.5, 0.0), *network(36, 4, seed=1))
    g = np.random.default_rng(0)
    x = g.choice([0.1, 0.9], (40, 1, 6, 6)).astype(np.float32)
    y = model(torch.tensor(x)).argmax(dim=1).numpy()
    sets = Union((L2(0.6), L1(0.9)))
    quick, strong = (
        evaluate(model, suite(name, sets), x, y, np.random.default_rng(2), cascade=True, chunk=40)
        for name in ("quick", "strong")
    )
    for S in ("l2", "l1"):
        assert strong.accuracy(S) < quick.accuracy(S)
    assert strong.union() <= strong.accuracy("l1")


def test_all_that_knows_the_dead_zone_has_what_is_quick():
    quick, everything = (suite(name, Union((L2(2), L1(10), Linf(0.3)))) for name in ("dead-zone-quick", "dead-zone"))
    shorter = {name for name, attack in quick.items() if everything[name] != attack}
    assert shorter == {"APGD-ce l1:10"}  # of which the strong suite has three restarts
    assert everything["APGD-ce l1:10"] == replace(quick["APGD-ce l1:10"], restarts=3)


def test_mixtures_take_both_kinds_of_attack():
    attacks = suite("strong", Affine(RotationTranslation(1, 10), Linf(0.1)))
    assert all(str(attack.S) == "rt:1px,10deg + linf:0.1" for attack in attacks.values())
