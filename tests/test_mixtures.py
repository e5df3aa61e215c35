"""Mixtures of two types of noise: the suite, what is read from its outcomes, the claim, and the poster's figures."""

import io
import json

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from torch import nn

from tradeoff import records
from tradeoff.attacks import AffineAttack, GridSearch, Softened
from tradeoff.attacks.suites import suite
from tradeoff.claims import CLAIMS
from tradeoff.evaluation import evaluate
from tradeoff.experiments import EXPERIMENTS, Evaluation, attacks_of
from tradeoff.figures import figure_module
from tradeoff.figures.style import paper_style
from tradeoff.mixtures import MIXED, RANDOM, SHARES, accuracy, standing, types
from tradeoff.outcomes import Outcomes
from tradeoff.perturbations import L1, Affine, Linf, RotationTranslation, parse
from tradeoff.published import MIXTURES, PUBLISHED

RT = Affine(RotationTranslation(1, 10), Linf(0.1))
LP = Affine(Linf(0.1), L1(2))


def planted(correct, S=RT, **about):
    """Outcomes of the suite's columns without softened ones."""
    sets = [str(S.b), *[str(S)] * 3, str(S.a), str(S)]
    names = [f"{share} {S}" for share in (*SHARES, RANDOM)]
    return Outcomes(np.asarray(correct, dtype=bool), ("clean", *names), ("", *sets), about)


# ---- the suite


@pytest.mark.parametrize("S", [RT, LP], ids=str)
def test_every_share_has_a_column_of_its_own(S):
    attacks = suite("mixtures", S)
    for share in (*SHARES, RANDOM):
        found = [attack for name, attack in attacks.items() if name in (f"{share} {S}", f"{share}, softened {S}")]
        end = {"β=0": S.b, "β=1": S.a}.get(share, S)
        assert all(attack.S == end for attack in found)
        assert len(found) == 1 + (isinstance(end, Affine) and S == LP or end == L1(2))
        for attack in found:
            attack = attack.attack if isinstance(attack, Softened) else attack
            beta = None if share == RANDOM else float(share.removeprefix("β="))
            assert not isinstance(attack, AffineAttack) or attack.beta == beta
    assert isinstance(attacks[f"β=1 {S}"], GridSearch) == (S == RT)


def test_experiments_mix_the_first_two_of_their_sets_moves_first():
    mixed = {
        run: {a.S for a in attacks_of(EXPERIMENTS[run], "mixtures").values()} for run in MIXED if run in EXPERIMENTS
    }
    assert mixed["mnist-max-rt"] == {parse(S) for S in ("rt:3px,30deg + linf:0.3", "rt:3px,30deg", "linf:0.3")}
    assert mixed["mnist-max"] == {parse(S) for S in ("linf:0.3 + l1:10", "linf:0.3", "l1:10")}
    assert "mixtures-10" == Evaluation("x", EXPERIMENTS["mnist-max"], "mixtures", {}, 10, "runs").folder.name


@pytest.mark.parametrize(
    ("S", "seed"),
    [
        (Affine(RotationTranslation(1, 10), Linf(0.03)), 2),
        pytest.param(Affine(Linf(0.03), L1(0.6)), 1, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_what_mixtures_break_includes_each_type_and_every_column_is_tried_on_all(S, seed, monkeypatch):
    """On a small network: the search breaks more than the union, which breaks no less than a type."""
    monkeypatch.setattr(RotationTranslation, "grid", lambda self: np.array([[1.0, 1, 10], [-1, 0, -10], [0, 0, 0]])
                        * (self.shift, self.shift, self.angle / 10))  # fmt: skip
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 4)).eval()
    x = np.random.default_rng(0).uniform(size=(30, 1, 8, 8)).astype(np.float32)
    y = model(torch.tensor(x)).argmax(dim=1).numpy()
    found = evaluate(model, suite("mixtures", S), x, y, np.random.default_rng(0), chunk=30)
    assert found.tried.all() and types(found) == (S.a.name, S.b.name)
    first, second = (found.standing(name) for name in types(found))
    union = standing(found, "β=0", "β=1")
    assert np.array_equal(union, first & second) and found.union() == union.mean()
    assert not (standing(found, *SHARES) & ~union).any()
    assert 0 < standing(found, *SHARES).mean() < union.mean() < 1


# ---- what is read


def test_standing_by_share():
    correct = np.eye(7)[[0, 1, 2, 6]] == 0  # each example but the first falls to one column
    found = planted(np.array(correct))
    assert standing(found, "β=0").tolist() == [False, False, True, True]
    assert standing(found, *SHARES).sum() == 1 and not standing(found, *SHARES, RANDOM).any()
    assert types(found) == ("rt", "linf")
    with pytest.raises(ValueError, match="no attack with the share 'β=2': evaluate by the suite 'mixtures'"):
        standing(found, "β=2")
    with pytest.raises(ValueError, match="mixes no sets"):
        types(Outcomes(found.correct[:, :2], ("clean", "a"), ("", "linf:0.3")))


def test_published_mixtures_are_stronger_than_the_union():
    for run, row in MIXTURES.table.items():
        assert run in MIXED and 0 < row["affine"] < row["union"] < 100
    assert MIXTURES.percent("mnist-max-rt", "union") == PUBLISHED["paper-rt"].percent("max", "union")


# ---- the claim


def run_with(folder, name, **evaluations):
    for suite_name, found in evaluations.items():
        place = folder / name / f"{suite_name}-{len(found.correct)}"
        place.mkdir(parents=True)
        found.save(place / "outcomes")


@pytest.mark.parametrize(("gained", "expected"), [(60, "holds"), (10, "likely"), (0, "open")])
def test_mixtures_are_stronger_if_they_break_what_neither_type_breaks(gained, expected, tmp_path):
    """Of 200 examples mixtures alone break the last few, of which a stronger attack on a type breaks five as well."""
    correct = np.ones((200, 7), dtype=bool)
    correct[:40, 1], correct[30:60, 5] = False, False
    correct[:50, 3] = False  # these a type breaks, too
    correct[200 - gained :, 2] = False
    strong = Outcomes(correct[:, [0, 5, 1]].copy(), ("clean", "a", "b"), ("", "rt:1px,10deg", "linf:0.1"))
    strong.correct[195:, 1] = False
    run_with(tmp_path, "mnist-max-rt", mixtures=planted(correct), strong=strong)
    found = records.read_all(["mnist-max-rt"], tmp_path)
    alone = CLAIMS["mixtures stronger than the union on mnist-max-rt"].hold_against(found)
    assert alone.verdict == expected and alone.estimate.value == pytest.approx(gained / 200)
    beyond = CLAIMS["mixtures stronger than the strongest union on mnist-max-rt"].hold_against(found)
    assert beyond.estimate.value == pytest.approx(max(gained - 5, 0) / 200)


# ---- the figures


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RUNS", tmp_path)
    return tmp_path


def numbers_of(name):
    module = figure_module(name)
    return module, json.loads(json.dumps(module.compute(**module.PARAMETERS["quick"]), allow_nan=False))


@pytest.mark.parametrize("name", ["mixture_bars", "affine_beta"])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_figures_draw_what_is_there(name, count, runs):
    for run in MIXED[:count]:
        run_with(runs, run, mixtures=planted(np.random.default_rng(0).random((40, 7)) < 0.8, data="planted"))
    module, numbers = numbers_of(name)
    assert len(numbers["panels"]) == count
    with paper_style():
        figure = module.draw(numbers)
        figure.savefig(io.BytesIO(), format="png")
    plt.close(figure)


def test_numbers_of_the_figures_are_counts(runs):
    rng = np.random.default_rng(1)
    found = planted(rng.random((50, 7)) < 0.8, data="planted")
    stronger = Outcomes(rng.random((40, 3)) < 0.9, ("clean", "a", "b"), ("", "linf:0.1", "rt:1px,10deg"))
    stronger.correct[:, 0] = found.correct[:40, 0]
    run_with(runs, "mnist-max-rt", mixtures=found, strong=stronger)
    c, s = found.correct, stronger.correct
    beta = numbers_of("affine_beta")[1]["panels"][0]
    assert beta["shares"]["0.5"] == list(accuracy(c[:, 0] & c[:, 3])) and beta["n"] == 50
    assert beta["chosen"]["searched"][0] == c[:, :6].all(axis=1).mean()
    assert beta["chosen"]["union"][0] == c[:, [0, 1, 5]].all(axis=1).mean()
    assert beta["chosen"]["random"][0] == c[:, [0, 6]].all(axis=1).mean()
    bars = numbers_of("mixture_bars")[1]["panels"][0]
    assert bars["n"] == 40 and list(bars["bars"]) == ["clean", "rt", "linf", "union", "affine"]
    assert bars["bars"]["linf"][0] == (c[:40, [0, 1]].all(axis=1) & s[:, :2].all(axis=1)).mean()
    assert bars["bars"]["union"][0] == (c[:40, [0, 1, 5]].all(axis=1) & s.all(axis=1)).mean()
    assert bars["bars"]["affine"][0] == (c[:40].all(axis=1) & s.all(axis=1)).mean()
    assert bars["paper"] == {"union": 0.838, "affine": 0.626}


def test_images_of_mixtures_are_within_the_budget():
    _, numbers = numbers_of("mixture_images")
    natural, turned, noisy, mixed = (np.array(images) for images in numbers["columns"].values())
    assert natural.shape == (4, 28, 28) and min(map(np.min, (natural, turned, noisy, mixed))) >= 0
    assert 0.29 < np.abs(noisy - natural).max() <= 0.3 + 1e-4
    half = RotationTranslation(3, 30).apply(natural[:, None], np.tile([1.5, 0, 15], (4, 1)))[:, 0]
    assert 0.14 < np.abs(mixed - half).max() <= 0.15 + 1e-4 and np.abs(turned - natural).max() > 0.5
