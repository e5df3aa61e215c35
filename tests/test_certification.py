"""Certificates: never above what an attack finds, exact where the truth is known, sound by brute force elsewhere."""

from copy import deepcopy
from dataclasses import replace
from itertools import product
from math import inf

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize
from torch import nn

from tradeoff import certification
from tradeoff.attacks import PGD, SLIDE, Flips
from tradeoff.attacks.flips import flipped
from tradeoff.certification import certify, reach
from tradeoff.data import load
from tradeoff.models import DeadZone, Ensemble, Refine, small_cnn
from tradeoff.perturbations import L1, L2, Affine, Linf, Lp, RotationTranslation, Union

NETWORKS = {  # on images of one channel and 10 × 10 pixels, 3 classes
    "mlp": lambda: [nn.Flatten(), nn.Linear(100, 20), nn.ReLU(), nn.Linear(20, 10), nn.ReLU(), nn.Linear(10, 3)],
    "strides": lambda: [nn.Conv2d(1, 4, 4, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 4, 2, 1), nn.ReLU(),
                        nn.Flatten(), nn.Linear(24, 8), nn.ReLU(), nn.Linear(8, 3)],
    "norms": lambda: [nn.BatchNorm2d(1), nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout2d(),
                      nn.Conv2d(4, 4, (3, 2), padding=(2, 1), groups=2), nn.Conv2d(4, 2, 3, padding=2), nn.ReLU(),
                      nn.Sequential(nn.Flatten(), nn.Identity(), nn.Linear(2 * 14 * 13, 3))],
    "pools": lambda: [nn.Conv2d(1, 4, 3, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 2, padding=1),
                      nn.ReLU(), nn.AvgPool2d((2, 1), padding=(1, 0)), nn.Conv2d(4, 3, 3, padding=1), nn.ReLU(),
                      nn.MaxPool2d(3, stride=2), nn.Flatten(), nn.Linear(3 * 1 * 3, 3)],
    "no windows": lambda: [nn.Conv2d(1, 3, 3, padding=2, dilation=2), nn.ReLU(), nn.Conv2d(3, 3, 3, padding="same"),
                           nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Unflatten(1, (3, 25)), nn.Conv1d(3, 2, 4),
                           nn.BatchNorm1d(2), nn.ReLU(), nn.Flatten(), nn.Linear(44, 3)],
    "dead zone": lambda: [nn.Sequential(DeadZone(0.3)), *NETWORKS["strides"]()],
}  # fmt: skip
AFFINE = {
    "linear": lambda: [nn.Flatten(), nn.Linear(100, 3)],
    "pool": lambda: [nn.Conv2d(1, 3, 3, padding=1), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(75, 3)],
    "norm": lambda: [nn.BatchNorm2d(1), nn.Conv2d(1, 2, 4, 2), nn.Flatten(), nn.Linear(32, 6), nn.Linear(6, 2)],
}
BALLS = [Linf(0.02), L2(0.15), L1(0.6), Lp(1.5, 0.3), Lp(3, 0.1)]


def network(make, seed=0):
    """A random network with statistics of its own in every batch norm, in eval mode, that finds no class most likely
    among `images`."""
    torch.manual_seed(seed)
    model = nn.Sequential(*make())
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for value in (module.weight, module.bias, module.running_mean):
                value.data.normal_()
            module.running_var.uniform_(0.5, 2)
    model.eval()
    last = list(model.modules())[-1]
    last.bias.data.sub_(model(images(50, seed=1)).mean(dim=0).detach())
    return model


def images(n=12, seed=0):
    """Random images, a third of whose pixels touch the box."""
    x = np.random.default_rng(seed).uniform(-0.25, 1.25, (n, 1, 10, 10)).clip(0, 1)
    return torch.from_numpy(x.astype(np.float32))


def own_labels(model, x):
    with torch.no_grad():
        return model(x).argmax(dim=1)


def around(x, S, tries, seed, box=(0.0, 1.0)):
    """Points of the ball and the box, many of them extreme: (tries, ...) for one input x."""
    rng = np.random.default_rng(seed)
    like = np.zeros((tries, *x.shape))
    inner = S.sample(like, rng)
    outer = S.argmax(rng.normal(size=like.shape))
    points = x.double() + torch.from_numpy(np.concatenate([inner, outer]))
    return points if box is None else points.clamp(*box)


# The support of a ball in a box


@pytest.mark.parametrize("p", [1, 1.001, 1.5, 2, 3, inf])
@pytest.mark.parametrize("eps", [1e-3, 0.5, 1.7, 100])
def test_reach_is_the_maximum_of_a_linear_form_over_ball_and_box(p, eps):
    rng = np.random.default_rng(0)
    w = rng.normal(size=(8, 6))
    low, high = -rng.uniform(0, 1, w.shape), rng.uniform(0, 1, w.shape)
    w[0], w[1, :3], high[2], low[3], w[4, 1:] = 0, 0, 0, 0, 1  # ties, nothing to gain, nowhere to go
    found = reach(torch.from_numpy(w), Lp(p, eps), torch.from_numpy(low), torch.from_numpy(high)).numpy()
    for k in range(len(w)):
        size, room = np.abs(w[k]), np.where(w[k] > 0, high[k], -low[k])
        if p == inf:
            best = size @ np.minimum(room, eps)
        elif p == 1:
            best = -linprog(-size, A_ub=np.ones((1, 6)), b_ub=[eps], bounds=[(0, rho) for rho in room]).fun
        else:
            best = _by_slsqp(size, room, p, eps)
        above = 0.15 if p == 1.001 else 1e-6  # below 1.05, the ball of 1.05: 6^(1/1.001 - 1/1.05) = 1.09 times as wide
        assert best * (1 - 1e-6) - 1e-9 <= found[k] <= best * (1 + above) + 1e-9


def _by_slsqp(size, room, p, eps):
    """max <size, r> over 0 ≤ r ≤ room, ‖r‖_p ≤ eps, by a general solver (in units of eps)."""
    limit = np.minimum(room / eps, 1)
    start = limit / max(1, (limit**p).sum() ** (1 / p)) * 0.9
    inside = {"type": "ineq", "fun": lambda r: 1 - (r**p).sum(), "jac": lambda r: -p * np.maximum(r, 0) ** (p - 1)}
    run = minimize(lambda r: -size @ r, start, jac=lambda r: -size, bounds=[(0, v) for v in limit],
                   constraints=[inside], method="SLSQP", options={"maxiter": 1000, "ftol": 1e-14})  # fmt: skip
    return -eps * run.fun


@pytest.mark.parametrize("S", BALLS, ids=str)
def test_reach_without_rooms_to_meet_is_the_support(S):
    w = torch.from_numpy(np.random.default_rng(0).normal(size=(50, 30)))
    wide = torch.ones_like(w)
    torch.testing.assert_close(reach(w, S, -wide, wide), S.support(w), rtol=1e-12, atol=0)
    assert torch.equal(reach(w, S), S.support(w))


# Linear models: the truth


def slopes(model, x):
    """W and b of an affine model."""
    with torch.no_grad():
        basis = torch.eye(x[0].numel(), dtype=x.dtype).reshape(-1, *x.shape[1:])
        b = model(torch.zeros_like(x[:1]))[0]
        return (model(basis) - b).T.numpy(), b.numpy()


@pytest.mark.parametrize("S", BALLS, ids=str)
@pytest.mark.parametrize("name", AFFINE)
def test_affine_models_without_box_are_certified_up_to_the_critical_radius(name, S):
    model, x = network(AFFINE[name]).double(), images().double()
    y = own_labels(model, x)
    W, b = slopes(model, x)
    z = x.flatten(1).numpy() @ W.T + b
    for i, label in enumerate(y.tolist()):
        others = [j for j in range(len(b)) if j != label]
        gaps = np.array([z[i, label] - z[i, j] for j in others])
        costs = Lp(S.p, 1).support(np.array([W[j] - W[label] for j in others]))
        critical = (gaps / costs).min()
        one = x[i : i + 1], y[i : i + 1]
        assert certify(model, *one, Lp(S.p, critical * (1 - 1e-5)), box=None)
        assert not certify(model, *one, Lp(S.p, critical * (1 + 1e-5)), box=None)
        j = others[(gaps / costs).argmin()]  # and it is the truth: the worst point beyond it is misclassified
        r = Lp(S.p, critical * (1 + 1e-5)).argmax((W[j] - W[label])[None])
        assert own_labels(model, x[i : i + 1] + torch.from_numpy(r).reshape(1, 1, 10, 10)) != label


@pytest.mark.parametrize("S", [Linf(0.02), L2(0.3), L1(1.5)], ids=str)
@pytest.mark.parametrize("name", AFFINE)
def test_affine_models_in_a_box_are_certified_where_the_worst_point_is_right(name, S):
    model, x = network(AFFINE[name]).double(), images(6).double()
    y = own_labels(model, x)
    W, b = slopes(model, x)
    outcomes = set()
    for scale in (0.25, 1, 4, 16):
        T = S.scaled(scale)
        found = certify(model, x, y, T)
        for i, label in enumerate(y.tolist()):
            worst = _worst_margin(W, b, x[i].flatten().numpy(), label, T)
            assert abs(worst) < 1e-5 or found[i] == (worst > 0)
            outcomes.add(bool(found[i]))
    assert outcomes == {True, False}


def _worst_margin(W, b, point, label, S):
    """min over ball and box of z_label - z_j, the least over j, by general solvers."""
    margins = []
    for j in set(range(len(b))) - {label}:
        w = W[j] - W[label]
        room = np.where(w > 0, 1 - point, point)
        if S.p == 2:
            most = _by_slsqp(np.abs(w), room, 2, S.eps)
        else:
            sums = {"A_ub": np.ones((1, 100)), "b_ub": [S.eps]} if S.p == 1 else {}
            most = -linprog(-np.abs(w), bounds=[(0, min(v, S.eps)) for v in room], **sums).fun
        margins.append(-w @ point + b[label] - b[j] - most)
    return min(margins)


# Networks: bounds hold, by brute force


def taken_apart(model, x, S, box):
    """Layers, and what the first of them is given."""
    front, layers = certification._layers(model, x)
    inputs = certification._Inputs.around(x.double(), S, box)
    return layers, certification._Seen.through(front, inputs, 2**-24) if front else inputs


@pytest.mark.parametrize("box", [(0.0, 1.0), None], ids=["box", "no box"])
@pytest.mark.parametrize("S", BALLS, ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_bounds_of_every_layer_hold_what_the_network_computes(name, S, box):
    model, x = network(NETWORKS[name]), images(3)
    layers, given = taken_apart(model, x, S, box)
    known = certification._bounds(layers, given)
    modules = [m for m in model.modules() if not isinstance(m, nn.Sequential | nn.Dropout2d | nn.Identity)]
    front = modules.pop(0) if isinstance(modules[0], DeadZone) else nn.Identity()
    assert len(known) == len(modules) + 1 == len(layers) + 1
    for i in range(len(x)):
        h = front(around(x[i], S, 200, i, box))
        for at, module in zip(known, [*modules, None], strict=True):
            assert (h >= at.low[i] - 1e-12).all() and (h <= at.high[i] + 1e-12).all()
            if module is not None:
                with torch.no_grad():
                    h = deepcopy(module).double()(h)


@pytest.mark.parametrize("S", BALLS[:3], ids=str)
@pytest.mark.parametrize("name", ["strides", "norms", "pools", "dead zone"])
def test_windows_give_the_bounds_of_the_whole_map(name, S, monkeypatch):
    model, x = network(NETWORKS[name]), images(3)
    layers, inputs = taken_apart(model, x, S, (0.0, 1.0))
    found = certification._bounds(layers, inputs)
    for kind in (certification._Affine, certification._ReLU, certification._MaxPool):
        monkeypatch.setattr(kind, "window", None)
    for a, b in zip(found, certification._bounds(layers, inputs), strict=True):
        torch.testing.assert_close(a.low, b.low, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(a.high, b.high, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("S", BALLS[:3], ids=str)
def test_a_block_that_adds_to_its_input_is_bounded_as_a_chain(S):
    """Which computes the same, with no bend where the input has one sign: behind a ReLU an idle block costs nothing."""
    model = network(lambda: [*NETWORKS["strides"]()[:4], Refine(6), nn.Conv2d(6, 6, 1), Refine(6),
                             nn.Flatten(), nn.Linear(24, 3)])  # fmt: skip
    x = images(12)
    y = own_labels(model, x)
    found = [certify(some, x, y, S.scaled(0.5)) for some in (model[:4] + model[7:], model[:5] + model[7:])]
    np.testing.assert_array_equal(*found)
    assert found[0].any() and not found[0].all()
    for block in (model[4], model[6]):
        nn.init.normal_(block.conv2.weight, std=0.1)
        h = torch.randn(2, 6, 5, 5)
        torch.testing.assert_close(nn.Sequential(*certification._chain(block))(h), block(h), rtol=1e-5, atol=1e-5)
    layers, given = taken_apart(model, x, S, (0.0, 1.0))
    out = certification._bounds(layers, given)[-1]
    for i in range(len(x)):
        with torch.no_grad():
            logits = deepcopy(model).double()(around(x[i], S, 200, i))
        assert (logits >= out.low[i] - 1e-12).all() and (logits <= out.high[i] + 1e-12).all()


ALIKE = {name: NETWORKS[name] for name in ("mlp", "strides", "dead zone")} | {
    "groups": lambda: [nn.Conv2d(1, 4, 3, bias=False), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=2), nn.ReLU(),
                       nn.MaxPool2d(2), Refine(4), nn.Flatten(), nn.Linear(36, 3)]}  # fmt: skip


@pytest.mark.parametrize("make", ALIKE.values(), ids=ALIKE)
def test_the_mean_of_networks_is_bounded_as_one_network(make):
    """Which computes the same; no class is bounded worse than by the mean of what bounds each, but for rounding."""
    members = [network(make, seed) for seed in range(3)]
    ensemble, x = Ensemble(members), images(8)
    one = nn.Sequential(*certification._abreast(ensemble))
    torch.testing.assert_close(one(x), ensemble(x), rtol=1e-5, atol=1e-5)
    S = L2(0.1)
    bounds = []
    for model in (ensemble, *members):
        layers, given = taken_apart(model, x, S, (0.0, 1.0))
        bounds.append(certification._bounds(layers, given)[-1])
    low, high = (torch.stack([getattr(of, end) for of in bounds[1:]]).mean(dim=0) for end in ("low", "high"))
    error = 2 * bounds[0].error  # counted in the logits and in their mean
    assert (bounds[0].low >= low - error).all() and (bounds[0].high <= high + error).all() and error.max() < 2e-4
    for i in range(len(x)):
        with torch.no_grad():
            logits = deepcopy(ensemble).double()(around(x[i], S, 200, i))
        assert (logits >= bounds[0].low[i] - 1e-12).all() and (logits <= bounds[0].high[i] + 1e-12).all()
    y = own_labels(ensemble, x)
    assert certify(ensemble, x, y, L2(0.01)).any()
    assert (certify(Ensemble(members[:1]), x, y, S) == certify(members[0], x, y, S)).all()


def _two(make):
    return [network(make, seed) for seed in range(2)]


@pytest.mark.parametrize("networks, shifts, channels, message", [
    (lambda: [network(NETWORKS["mlp"]), network(NETWORKS["strides"])], [(0, 0)], 1, "networks that are not alike"),
    (lambda: _two(NETWORKS["mlp"]), [(0, 0), (1, 1)], 1, "shifts"),
    (lambda: _two(NETWORKS["norms"]), [(0, 0)], 1, r"BatchNorm2d\(1"),
    (lambda: [nn.Sequential(*one, nn.ReLU()) for one in _two(NETWORKS["mlp"])], [(0, 0)], 1, "whose last layer is"),
    (lambda: [nn.Sequential(nn.Conv2d(2, 2, 3, groups=2), nn.Flatten(), nn.Linear(128, 3)) for _ in range(2)],
     [(0, 0)], 2, "whose first layer has groups"),
    (lambda: [nn.Sequential(nn.Linear(10, 2), nn.ReLU(), nn.Flatten(), nn.Linear(20, 3)) for _ in range(2)],
     [(0, 0)], 1, "Flatten"),  # of its rows: units would not lie side by side
])  # fmt: skip
def test_what_an_ensemble_may_not_be_made_of(networks, shifts, channels, message):
    ensemble, x = Ensemble(networks(), shifts), images(2).expand(-1, channels, -1, -1)
    with pytest.raises(ValueError, match=f"^cannot certify .*{message}.*supported is .*Ensemble"):
        certify(ensemble, x, torch.zeros(2, dtype=torch.long), L2(0.1))


def test_lines_are_tighter_than_intervals(monkeypatch):
    model, x = network(NETWORKS["strides"]), images()
    y = own_labels(model, x)
    lines = certify(model, x, y, L2(0.2))
    monkeypatch.setattr(certification, "_tighten", lambda at, *_: at)
    intervals = certify(model, x, y, L2(0.2))
    assert (lines >= intervals).all() and lines.sum() > intervals.sum()


@pytest.mark.parametrize("p", [1, 1.5, 2, inf])
def test_no_point_of_a_grid_breaks_what_is_certified_in_the_plane(p):
    """And what is certified is a good part of what the grid leaves standing."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    for layer in model[::2]:
        layer.weight.data.mul_(3)
    x = torch.rand(60, 2)
    model[-1].bias.data.sub_(model(x).mean(dim=0).detach())  # so that classes meet among the points
    y = own_labels(model, x)
    S = Lp(p, 0.05)
    steps = torch.linspace(-0.05, 0.05, 101)
    grid = torch.tensor(list(product(steps.tolist(), repeat=2)))
    edge = S.argmax(torch.tensor([[np.cos(t), np.sin(t)] for t in np.linspace(0, 2 * np.pi, 400)]))
    grid = torch.cat([grid[S.contains(grid)], edge.to(grid)])
    stands = torch.stack(
        [(own_labels(model, (point + grid).clamp(0, 1)) == label).all() for point, label in zip(x, y, strict=True)]
    )
    found = torch.from_numpy(certify(model, x, y, S))
    assert not (found & ~stands).any() and not stands.all()
    assert found.sum() >= 0.7 * stands.sum()


@pytest.mark.parametrize("a", [0.0, 0.2, 0.3])
@pytest.mark.parametrize("p", [1, 2, inf])
def test_a_linear_model_behind_a_dead_zone(p, a):
    """Certified in linf exactly where the worst noise leaves it right, else where it does with a pixel's gain to spare,
    and nowhere that it does not; without a dead zone nearly as by the linear model alone."""
    model, x = network(lambda: [DeadZone(a), *AFFINE["linear"]()]).double(), images(30).double()
    y, outcomes = own_labels(model, x), set()
    for eps in np.geomspace(0.03, 1, 12) * {1: 10, 2: 1.5, inf: 0.6}[p]:
        S = Lp(p, eps)
        found = certify(model, x, y, S)
        worst, spare = np.full(len(x), inf), np.full(len(x), inf)
        for label in range(3):
            slopes = model[2].weight[label] - model[2].weight[y]
            r = flipped(S, x, slopes.detach().reshape(x.shape), (a, 1 - a))
            with torch.no_grad():
                u = model[0](x + r)
                scores = model[1:](u)
                margin = (scores.gather(1, y[:, None])[:, 0] - scores[:, label]).numpy()
                gain = slopes.abs().amax(dim=1).numpy()
            margin[(y == label).numpy()] = inf
            spare = np.minimum(spare, margin - (0 if p == inf else 1) * gain)
            worst = np.minimum(worst, margin)
        assert not (found & (worst < -1e-6)).any() and found[spare > 1e-5].all()
        outcomes |= set(found.tolist())
        if a == 0:
            alone = certify(model[1:], x, y, S)
            assert not (found & ~alone).any() and (found == alone).mean() > 0.9
    assert outcomes == {True, False}


@pytest.mark.parametrize("S", [L1(10), L2(2), Linf(0.2)], ids=str)
def test_no_attack_that_knows_the_dead_zone_breaks_what_is_certified_behind_it(S):
    model, x = network(NETWORKS["dead zone"]), images(40)
    y = own_labels(model, x)
    proved = 0
    for scale in (0.5, 0.1, 0.03, 0.01):
        T = S.scaled(scale)
        found = certify(model, x, y, T)
        stands = (own_labels(model, Flips(T, restarts=3)(model, x, y, np.random.default_rng(0))) == y).numpy()
        assert not (found & ~stands).any()
        proved += found.sum()
    assert proved > 10


# Networks: never above an attack


def pooled():
    return nn.Sequential(nn.Conv2d(1, 4, 5, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2),
                         nn.Conv2d(4, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32, 10))  # fmt: skip


@pytest.fixture(scope="module", params=[pytest.param(small_cnn, marks=pytest.mark.slow), pooled])
def trained(request):
    """A network after a few steps on digits, and digits it has not seen."""
    digits, unseen = load("digits", "train"), load("digits", "test")
    x, y = torch.tensor(digits.x[:1000]), torch.tensor(digits.y[:1000])
    torch.manual_seed(0)
    model = request.param()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for i in range(150):
        rows = torch.arange(50) + 50 * (i % 20)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
    return model.eval(), torch.tensor(unseen.x[:12]), torch.tensor(unseen.y[:12])


@pytest.mark.parametrize("attack", [PGD(Linf(0.3), 15), PGD(L2(4), 15), SLIDE(L1(20), 15)], ids=lambda a: str(a.S))
def test_no_attack_breaks_what_is_certified_for_its_ball_or_a_larger_one(attack, trained):
    model, x, y = trained
    clean = own_labels(model, x) == y
    proved, broken = torch.zeros(len(x), dtype=torch.bool), []
    for k, scale in enumerate((1, 1 / 8, 1 / 32, 1 / 128, 1 / 512)):
        S = attack.S.scaled(scale)
        found = torch.from_numpy(certify(model, x, y, S))
        assert (proved & ~found).sum() <= 1  # lines are chosen by a rule: a larger ball may, rarely, have the better
        proved |= found
        broken.append(own_labels(model, replace(attack, S=S)(model, x, y, np.random.default_rng(k))) != y)
        assert not (proved & broken[-1]).any()
        assert k or broken[0].float().mean() > 0.7 and not proved.any()
    assert proved.sum() >= 0.5 * clean.sum() > 3


@pytest.mark.parametrize("p", [1, 1.5, 2, inf])
@pytest.mark.parametrize("name", AFFINE)
def test_affine_models_certify_less_for_larger_balls(name, p):
    model, x = network(AFFINE[name]), images(40)
    y = own_labels(model, x)
    found = [certify(model, x, y, Lp(p, eps)) for eps in np.geomspace(1e-4, 1, 15)]
    assert all((larger <= smaller).all() for smaller, larger in zip(found, found[1:], strict=False))
    assert found[0].mean() > 0.8 and found[-1].mean() < found[0].mean()


def test_radius_zero_certifies_what_is_classified_correctly():
    model, x = network(NETWORKS["strides"]), images()
    y = own_labels(model, x)
    y[::3] = (y[::3] + 1) % 3
    for S in (Linf(0), L1(0), Union((L2(0), Linf(0)))):
        assert (certify(model, x, y, S) == (own_labels(model, x) == y).numpy()).all()
    assert not certify(model, x, (own_labels(model, x) + 1) % 3, Linf(0.1)).any()


def test_a_union_is_certified_where_all_its_members_are():
    model, x = network(NETWORKS["mlp"]), images(400)
    y = own_labels(model, x)
    sets = Linf(0.01), L2(0.08), L1(0.3)
    each = [certify(model, x, y, S) for S in sets]
    assert (certify(model, x, y, Union(sets)) == np.logical_and.reduce(each)).all()
    assert 0 < np.logical_and.reduce(each).sum() < min(one.sum() for one in each)


# What else must not matter


@pytest.mark.parametrize("classes", [2, 3])
def test_vectors_without_a_box(classes):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, classes))
    x = 3 * torch.randn(50, 20)
    y = own_labels(model, x)
    for S, attack in ((Linf(0.1), PGD), (L2(0.4), PGD), (L1(1.0), SLIDE)):
        found = certify(model, x, y, S, box=None)
        stands = (own_labels(model, attack(S, box=None)(model, x, y, np.random.default_rng(0))) == y).numpy()
        assert not (found & ~stands).any() and stands.sum() * 0.5 <= found.sum() < len(x)


@pytest.mark.parametrize("name", NETWORKS)
def test_batches_do_not_matter(name):
    model, x = network(NETWORKS[name]), images(7)
    y = own_labels(model, x)
    S = Union((Linf(0.0001), L1(0.002)))
    whole = certify(model, x, y, S)
    assert (certify(model, x, y, S, chunk=3) == whole).all()
    assert (certify(model, x.flip(0), y.flip(0), S, chunk=1)[::-1] == whole).all()
    assert whole.any()


@pytest.mark.parametrize("name", ["norms", "pools", "no windows", "dead zone"])
def test_runs_on_whatever_device_the_input_is_on(name):
    """Any tensor made without its input's device lands on "meta" here, and fails."""
    model, x = network(NETWORKS[name]), images(4)
    y = own_labels(model, x)
    S = Union((Linf(0.0001), L1(0.002), L2(0.001)))
    expected = certify(model, x, y, S)
    torch.set_default_device("meta")
    try:
        found = certify(model, x, y, S)
    finally:
        torch.set_default_device(None)
    assert (found == expected).all() and expected.any()


def test_the_model_is_as_it_was_and_its_mode_does_not_matter():
    model, x = network(NETWORKS["norms"]), images(4)
    y = own_labels(model, x)
    expected = certify(model, x, y, Linf(0.003))
    weights = {name: t.clone() for name, t in model.state_dict().items()}
    model.train()[0].eval()
    modes = [m.training for m in model.modules()]
    assert (certify(model, x, y, Linf(0.003)) == expected).all()
    assert [m.training for m in model.modules()] == modes and all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(t, weights[name]) for name, t in model.state_dict().items())


def test_the_rounding_of_the_model_itself_is_allowed_for():
    """Logits near 2^20 come in steps of 1/8 in float32: what their exact values prove, the floats do not keep."""
    model = nn.Linear(2, 2)
    model.weight.data = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    model.bias.data = torch.tensor([2.0**20, 2.0**20 - 1])
    x, y = torch.tensor([[0.54, 0.54]]), torch.tensor([1])  # z_1 - z_0 = 0.08, computed as 0.125
    S = Linf(0.03)  # exactly, the margin stays above 0.02
    assert own_labels(model, x) == y and own_labels(model, x - 0.03) != y
    assert not certify(model, x, y, S)
    assert certify(deepcopy(model).double(), x.double(), y, S)


class Odd(nn.Sequential):
    def forward(self, x):
        return -super().forward(x)


def hooked():
    layer = nn.Linear(100, 3)
    layer.register_forward_hook(lambda module, inputs, output: -output)
    return layer


@pytest.mark.parametrize(
    "layers, message",
    [
        (
            lambda: [nn.Flatten(), nn.Linear(100, 3), nn.Tanh()],
            r"cannot certify Tanh\(\): supported is nn.Sequential of",
        ),
        (lambda: [Odd(nn.Flatten(), nn.Linear(100, 3))], "cannot certify Odd"),
        (lambda: [nn.BatchNorm2d(1, track_running_stats=False), nn.Flatten(), nn.Linear(100, 3)], "BatchNorm2d"),
        (lambda: [nn.MaxPool2d(2, padding=1), nn.Flatten(), nn.Linear(36, 3)], r"MaxPool2d.*\(no padding\)"),
        (lambda: [nn.Flatten(), hooked()], "Linear has forward hooks"),
        (lambda: [nn.Flatten(), DeadZone(0.1), nn.Linear(100, 3)], "cannot certify DeadZone"),
    ],
)
def test_layers_without_bounds_are_named(layers, message):
    with pytest.raises(ValueError, match=message):
        certify(nn.Sequential(*layers()), images(), torch.zeros(12, dtype=torch.int64), Linf(0.1))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"model": lambda x: x.flatten(1)}, "the model is a function"),
        ({"model": nn.Sequential(nn.Flatten(), nn.Linear(100, 1))}, "must return logits"),
        ({"x": images() + 1}, "outside the box"),
        ({"x": images().numpy()}, "must be a floating-point torch tensor"),
        ({"y": torch.full((12,), 3)}, "labels range over 3..3"),
        ({"S": Affine(Linf(0.1), L1(1))}, "certify bounds lp balls and unions of them, not linf:0.1"),
        ({"S": Union((Linf(0.1), RotationTranslation(1, 10)))}, "certify bounds lp balls and unions of them, not rt"),
        ({"S": Linf(8)}, "larger than the whole box"),
        ({"chunk": 0}, "chunk is 0"),
        ({"box": (1.0, 0.0)}, "box is"),
    ],
)
def test_bad_input_is_refused(change, message):
    given = {"model": network(AFFINE["linear"]), "x": images(), "y": torch.zeros(12, dtype=torch.int64)}
    given = given | {"S": Linf(0.1)} | change
    with pytest.raises(ValueError, match=message):
        certify(**given)
