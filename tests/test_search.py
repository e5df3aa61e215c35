"""The searches over moves: several to a forward pass, and yet what one at a time finds."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tradeoff.attacks import Draws, GridSearch, RandomSearch, worst
from tradeoff.attacks import search as searching
from tradeoff.attacks.ascent import look
from tradeoff.perturbations import BrightnessContrast, Elastic, GaussianBlur, RotationTranslation, Swap

RT = RotationTranslation(2, 30)


def rng(seed=0):
    return np.random.default_rng(seed)


def task(S, n=23):
    """A random network, inputs that S moves, and labels of which some are wrong from the start."""
    torch.manual_seed(1)
    if isinstance(S, Swap):
        model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))
        x = torch.from_numpy(rng().normal(size=(n, 6)))
    else:
        model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 49, 4))
        x = torch.from_numpy(rng().uniform(size=(n, 2, 9, 9)))
    model = model.double()
    for p in model.parameters():
        p.data.mul_(2)
    y = model(x).argmax(dim=1)
    y[:2] = (y[:2] + 1) % 3
    return model, x, y


def one_by_one(attack, model, x, y, rng):
    """The search as it is defined: a move after the other, each on all that still stand."""

    def search(move):
        return lambda x, y, draws: look(model, attack.S.apply(x, move(x, draws)).clamp(*box), y, attack.loss)

    box = attack.box or (-np.inf, np.inf)
    return worst(model, x, y, map(search, attack.moves()), rng, loss=attack.loss, early_stop=attack.early_stop)


@pytest.mark.parametrize("early_stop", [True, False])
@pytest.mark.parametrize(
    "attack", [GridSearch(RT), GridSearch(Swap(5)), RandomSearch(RT, tries=37), RandomSearch(Swap(5), tries=9),
               GridSearch(RT, loss="ce"), GridSearch(BrightnessContrast(0.3, 0.5)), GridSearch(GaussianBlur(3)),
               RandomSearch(Elastic(1, 2), tries=9)], ids=repr)  # fmt: skip
def test_blocks_of_moves_find_what_single_moves_find(attack, early_stop):
    """The same move of each example, hence the same point, bit for bit."""
    attack = replace(attack, early_stop=early_stop)
    model, x, y = task(attack.S)
    found = attack(model, x, y, rng(5))
    assert torch.equal(found, one_by_one(attack, model, x, y, rng(5)))
    broken = (model(found).argmax(dim=1) != y).sum()
    assert 2 < broken and (found != x).flatten(1).any(dim=1).sum() > 5


@pytest.mark.parametrize("batch", [1, 7, 1000])
@pytest.mark.parametrize("moves", [1, 5, 1000])
def test_neither_block_nor_batch_size_changes_the_answer(batch, moves, monkeypatch):
    model, x, y = task(RT)
    expected = GridSearch(RT)(model, x, y, rng())
    monkeypatch.setattr(searching, "BATCH", batch)
    monkeypatch.setattr(searching, "MOVES", moves)
    assert torch.equal(GridSearch(RT)(model, x, y, rng()), expected)


def test_examples_leave_and_no_batch_is_wasted():
    """An example is shown at most twice as many moves as it needed, and forward passes are full while many stand."""
    model, x, y = task(RT, n=60)
    grid = torch.from_numpy(RT.grid())
    broken = torch.stack([model(RT.apply(x, r.expand(60, 3))).argmax(dim=1) != y for r in grid])
    clean = model(x).argmax(dim=1) != y
    needed = torch.where(broken.any(dim=0), broken.int().argmax(dim=0) + 1, len(grid)).masked_fill(clean, 0)
    sizes = []
    handle = model.register_forward_hook(lambda m, inputs, output: sizes.append(len(output)))
    GridSearch(RT)(model, x, y, rng())
    handle.remove()
    passes = sum(sizes[2:])  # without the peek at eight and the clean points
    assert needed.sum() <= passes <= 2 * needed.sum() + 2 * searching.BATCH
    assert max(sizes) <= searching.BATCH and len(sizes) < 0.8 * len(grid)


def test_no_graph_is_kept():
    model, x, y = task(RT)
    seen = []
    handle = model.register_forward_hook(lambda m, inputs, output: seen.append(output.requires_grad))
    GridSearch(RT)(model, x, y, rng())
    handle.remove()
    assert not any(seen)


def test_the_grid_holds_every_combination_largest_first():
    grid = RotationTranslation(3, 30).grid(3, 5)
    every = {(dx, dy, a) for dx in (-3, 0, 3) for dy in (-3, 0, 3) for a in (-30, -15, 0, 15, 30)}
    assert len(grid) == len(every) and set(map(tuple, grid)) == every
    size = ((grid / (3, 3, 30)) ** 2).sum(axis=1)
    assert np.all(np.diff(size) <= 1e-9) and np.all(grid[-1] == 0)
    assert RotationTranslation(0, 0).grid().shape == (775, 3)


def test_draws_belong_to_the_example_whatever_leaves():
    """Early stopping changes who shares a block, never what an example draws."""
    attack = RandomSearch(RT, tries=40)
    model, x, y = task(RT)
    whole = attack(model, x, y, Draws.for_examples(x.numpy(), 3, "a"))
    alone = [attack(model, x[i : i + 1], y[i : i + 1], Draws.for_examples(x[i : i + 1].numpy(), 3, "a"))
             for i in range(len(x))]  # fmt: skip
    torch.testing.assert_close(whole, torch.cat(alone), rtol=0, atol=1e-12)
