"""Other libraries' attacks: a toy library shows what holds for all, and those that are installed are run."""

import random
import sys
import warnings
from importlib import util

import numpy as np
import pytest
import torch
import toys
from torch import nn

from tradeoff.attacks import StraightThrough, external
from tradeoff.attacks.external import ROUNDING, Library, Peer, held, paper_peers
from tradeoff.figures.peers import pair_up
from tradeoff.perturbations import L1, L2, Affine, Linf, Lp, Union

BALLS = [Linf(0.1), L2(0.8), L1(2.0), Lp(1.5, 0.8)]
BOXES = [(0.0, 1.0), (-1.0, 3.0), None]


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def task():
    return toys.toy()


@pytest.fixture
def toy(monkeypatch):
    """A library whose only attack is the given function of a task, and takes a radius."""

    def install(run, signature=lambda eps, strength=1: None):
        monkeypatch.setitem(external.LIBRARIES, "toy", Library(lambda name: signature, lambda found, o, t: run(t)))

    return install


# What holds for all: the budget


@pytest.mark.parametrize("S", BALLS, ids=str)
@pytest.mark.parametrize("box", BOXES, ids=str)
@pytest.mark.parametrize("share", [0.5, 1.0, 1 + 0.5 * ROUNDING])
def test_what_keeps_its_budget_counts(S, box, share, toy, task):
    """Even one that a rounding too far is kept, scaled back: the model is one that everything but x breaks."""
    _, x, y = task
    x = 0.5 + 0.1 * x  # no box interferes
    model = First(x)
    direction = edge(x, S)
    toy(lambda t: t.x + (share * direction / (box[1] - box[0] if box else width(x, S))).reshape(t.x.shape).float())
    x_adv = Peer("toy", "push", S, box=box)(model, x, torch.zeros_like(y), rng())
    assert x_adv.dtype == x.dtype and (model(x_adv).argmax(dim=1) == 1).all()
    gauge = S.gauge(x_adv.double() - x.double())
    assert (gauge <= 1 + 1e-6).all() and (gauge >= min(share, 1) - 1e-4).all()


@pytest.mark.parametrize("S", BALLS, ids=str)
@pytest.mark.parametrize("box", BOXES, ids=str)
@pytest.mark.parametrize("share", [1.01, 30.0])  # the second leaves the cube too: the box alone brings it not back
def test_what_leaves_its_ball_is_caught(S, box, share, toy, task):
    _, x, y = task
    x = 0.5 + 0.1 * x
    r = edge(x, S) / (box[1] - box[0] if box else width(x, S))
    r[:5] *= share
    r[5:] *= 0.9
    toy(lambda t: t.x + r.reshape(t.x.shape).float())
    with pytest.warns(UserWarning, match=f"push left {S} on 5 of 12 examples, to .* times the radius"):
        x_adv = Peer("toy", "push", S, box=box)(First(x), x, torch.zeros_like(y), rng())
    assert torch.equal(x_adv[:5], x[:5]) and (x_adv[5:] != x[5:]).flatten(1).any(dim=1).all()
    assert S.contains(x_adv.double() - x.double()).all()


def test_a_peer_is_led_straight_through_a_clamp(toy):
    """One step against the gradient, which a clamp takes from it."""

    def step(t):
        t.x.requires_grad_(True)
        scores = t.model(t.x)[torch.arange(len(t.y)), t.y]
        (gradient,) = torch.autograd.grad(scores.sum(), t.x)
        return (t.x - t.S.eps * gradient.sign()).clamp(0, 1)

    toy(step)
    model = nn.Sequential(nn.Hardtanh(0.4, 0.6), nn.Flatten(), nn.Linear(2, 2, bias=False))
    model[2].weight.data.copy_(torch.tensor([[0.0, 0.0], [1.0, -1.0]]))  # class 1 iff the first pixel is the larger
    x, y = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([1])
    peer = Peer("toy", "step", Linf(0.7))
    answers = [model(attack(model, x, y, rng())).argmax(dim=1).item() for attack in (peer, StraightThrough(peer))]
    assert answers == [1, 0]


@pytest.mark.parametrize("led", [lambda peer: peer, StraightThrough], ids=["peer", "straight through"])
def test_a_peer_that_calls_backward_leaves_nothing_on_the_weights(led, toy):
    def step(t):
        t.x.requires_grad_(True)
        t.model(t.x).sum().backward()
        return t.x.detach()

    toy(step)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    led(Peer("toy", "step", Linf(0.1)))(model, torch.full((2, 1, 2, 2), 0.5), torch.tensor([0, 1]), rng())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_an_attack_without_a_radius_may_fail_in_silence(toy, task):
    """The least perturbation that it found is too large: the example stands."""
    _, x, y = task
    toy(lambda t: 1 - t.x, signature=lambda steps: None)
    assert torch.equal(Peer("toy", "least", L2(0.1))(First(x), x, torch.zeros_like(y), rng()), x)


def test_what_is_not_finite_counts_as_not_attacked(toy, task):
    _, x, y = task
    toy(lambda t: torch.where(torch.arange(12)[:, None, None, None] < 3, torch.nan, 0.99 * t.x))
    with pytest.warns(UserWarning, match="finds no point on 3 of 12 examples"):
        x_adv = Peer("toy", "half", L1(30))(First(x), x, torch.zeros_like(y), rng())
    assert torch.equal(x_adv[:3], x[:3]) and (x_adv[3:] != x[3:]).flatten(1).any(dim=1).all()


@pytest.mark.parametrize("S", [*BALLS, Linf(0), L1(1e-4)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_settle_never_leaves_the_set(S, dtype):
    x = torch.from_numpy(rng().uniform(size=(200, 300))).to(dtype)
    sizes = torch.from_numpy(1 + rng(1).uniform(-1, 2, (200, 1)) * ROUNDING)
    r = sizes * S.argmax(torch.from_numpy(rng(2).normal(size=x.shape)))
    for box in (None, (0.0, 1.0)):
        points, gauge = held(S, x, r, box)
        assert points.dtype == dtype and S.contains(points.double() - x.double()).all()
        assert box is None or (points.min() >= 0 and points.max() <= 1)
        assert torch.equal(points[gauge > 1 + ROUNDING], x[gauge > 1 + ROUNDING])


# What holds for all: what a peer sees, and what it leaves behind


@pytest.mark.parametrize("box", BOXES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(7, 5), (7, 2, 3, 4)])
def test_a_peer_sees_float32_images_of_the_unit_cube(box, dtype, shape, toy):
    low, high = box or (-4.0, 4.0)
    x = torch.from_numpy(rng().uniform(low, high, shape)).to(dtype)
    model = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 2)).to(dtype)
    y, seen = model(x).argmax(dim=1), []
    S = L2(0.3)

    def look(t):
        seen.append(t)
        torch.testing.assert_close(t.model(t.x), model(x).float(), rtol=1e-4, atol=1e-4)
        return t.x

    toy(look)
    x_adv = Peer("toy", "look", S, box=box)(model, x, y, rng())
    torch.testing.assert_close(x_adv, x, rtol=0, atol=0)  # through the cube and back
    (t,) = seen
    assert t.x.dtype == torch.float32 and t.x.ndim == 4 and t.x.min() >= 0 and t.x.max() <= 1 and t.classes == 2
    assert next(t.model.parameters()).device == x.device and not t.model.training
    unit = (box[1] - box[0]) if box else width(x, S)
    assert t.S.eps == pytest.approx(S.eps / unit)
    if box is None:  # all of x + S is within the cube
        assert t.x.min() >= 0.999 * t.S.eps and t.x.max() <= 1 - 0.999 * t.S.eps


def test_a_peer_gets_the_standing_examples_alone(toy, task):
    model, x, y = task
    sizes = []
    toy(lambda t: sizes.append(len(t.x)) or t.x)
    Peer("toy", "count", L1(1))(model, x, y, rng())
    assert sizes == [11]  # the first is misclassified from the start


def test_draws_are_those_of_our_rng_and_no_one_elses(toy, task):
    model, x, y = task

    def noise(t):
        draw = torch.rand(t.x.shape) + float(np.random.uniform()) + random.random()  # noqa: NPY002
        return t.x + t.S.eps * (draw / 3 - 0.5) * (1 + t.seed % 7) / 7

    toy(noise)
    attack = Peer("toy", "noise", Linf(0.3))
    model = First(x)
    torch.manual_seed(5), np.random.seed(5), random.seed(5)  # noqa: NPY002
    expected = torch.rand(3), np.random.uniform(size=3), random.random()  # noqa: NPY002
    torch.manual_seed(5), np.random.seed(5), random.seed(5)  # noqa: NPY002
    one = attack(model, x, torch.zeros_like(y), rng(0))
    assert torch.equal(torch.rand(3), expected[0])
    assert (np.random.uniform(size=3) == expected[1]).all() and random.random() == expected[2]  # noqa: NPY002
    assert torch.equal(attack(model, x, torch.zeros_like(y), rng(0)), one)
    assert not torch.equal(attack(model, x, torch.zeros_like(y), rng(1)), one)


def test_the_model_is_as_it_was(toy, task):
    model, x, y = task
    model.train()
    model[1].eval()
    model[0].bias.requires_grad_(False)
    before = modes(model)

    def careless(t):
        t.model.train()
        t.model.eval()
        point = t.x.clone().requires_grad_()
        t.model(point).sum().backward()
        return t.x

    toy(careless)
    Peer("toy", "careless", L1(1))(model, x, y, rng())
    assert modes(model) == before and all(p.grad is None for p in model.parameters())
    model[0].bias.requires_grad_(True)
    model.eval()


# Errors


def test_a_library_that_is_missing(monkeypatch):
    for module, name, remedy in [
        ("foolbox.attacks", "foolbox", r"pip install 'tradeoff\[peers\]'"),
        ("art.attacks.evasion", "art", r"pip install 'tradeoff\[peers\]'"),
        ("torchattacks", "torchattacks", "pip install --no-deps torchattacks"),
        ("adv_lib", "adv_lib", "pip install --no-deps adv-lib"),
    ]:
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ValueError, match=f"{name} cannot be imported .*{remedy}"):
            Peer(name, "apgd", L1(10))


def test_wrong_requests(toy, task):
    model, x, y = task
    toy(lambda t: t.x)
    with pytest.raises(ValueError, match="unknown library 'foolbx', did you mean 'foolbox'"):
        Peer("foolbx", "EADAttack", L1(10))
    with pytest.raises(ValueError, match="unknown option of push 'strenth', did you mean 'strength'"):
        Peer("toy", "push", L1(10), {"strenth": 3})
    for S in (Union((L1(1), L2(1))), Affine(L1(1), L2(1))):
        with pytest.raises(ValueError, match="attacks an lp ball, not"):
            Peer("toy", "push", S)
    with pytest.raises(ValueError, match="box is .* low < high"):
        Peer("toy", "push", L1(10), box=(1, 0))
    with pytest.raises(ValueError, match="outside the box"):
        Peer("toy", "push", L1(10))(model, x - 1, y, rng())


def test_a_peer_that_fails_says_why_in_a_line(toy, task):
    model, x, y = task

    def fail(t):
        raise IndexError("index 3 is out of bounds")

    toy(fail)
    with pytest.raises(ValueError, match=r"push fails on examples of shape \(1, 10, 10\) and 4 classes: IndexError"):
        Peer("toy", "push", L1(10))(model, x, y, rng())
    assert [p.requires_grad for p in model.parameters()] == [True] * 4


# The libraries themselves, where they are installed

REAL = [
    ("foolbox", "LinfPGD", Linf(0.2), {"steps": 20, "rel_stepsize": 0.1}),
    ("foolbox", "L2PGD", L2(0.6), {"steps": 20, "rel_stepsize": 0.1}),
    ("foolbox", "SparseL1DescentAttack", L1(1.0), {"steps": 40, "quantile": 0.8}),
    ("foolbox", "DDNAttack", L2(0.6), {"steps": 100}),
    ("foolbox", "L2CarliniWagnerAttack", L2(0.6), {"steps": 20, "initial_const": 1.0, "stepsize": 0.05}),
    ("foolbox", "EADAttack", L1(1.0), {"steps": 20, "decision_rule": "L1", "initial_const": 1.0}),
    ("foolbox", "BoundaryAttack", L2(0.6), {"steps": 100}),
    ("foolbox", "HopSkipJumpAttack", L2(0.6), {"steps": 2, "max_gradient_eval_steps": 100}),
    ("foolbox", "PointwiseAttack", L1(1.0), {"l2_binary_search": False}),
    ("foolbox", "L1FMNAttack", L1(1.0), {"steps": 30}),
    ("torchattacks", "PGD", Linf(0.2), {"steps": 20, "alpha": 0.02}),
    ("torchattacks", "PGDL2", L2(0.6), {"steps": 20, "alpha": 0.1}),
    ("torchattacks", "APGD", L2(0.6), {"steps": 20}),
    ("torchattacks", "EADL1", L1(1.0), {"max_iterations": 20, "initial_const": 1.0}),
    ("art", "ProjectedGradientDescent", L1(1.0), {"max_iter": 20, "eps_step": 0.1}),
    ("art", "AutoProjectedGradientDescent", Linf(0.2), {"max_iter": 20, "eps_step": 0.4, "nb_random_init": 1}),
    ("art", "AutoProjectedGradientDescent", L2(0.6), {"max_iter": 20, "eps_step": 1.2, "nb_random_init": 1}),
    ("adv_lib", "apgd", Linf(0.2), {"n_iter": 20, "loss_function": "ce"}),
    ("adv_lib", "apgd", L1(1.0), {"n_iter": 40, "loss_function": "ce", "use_large_reps": True}),
    ("adv_lib", "apgd_targeted", L2(0.6), {"n_iter": 20, "loss_function": "ce"}),
    ("adv_lib", "fmn", L2(0.6), {"steps": 50}),
]
SURE = {"LinfPGD", "L2PGD", "DDNAttack", "PGD", "PGDL2", "APGD", "AutoProjectedGradientDescent", "apgd",
        "apgd_targeted"}  # fmt: skip


def real(library, name, S, options, **how):
    """The attack; a library that is not installed skips the test."""
    if util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Peer(library, name, S, options, **how)


def show(case):
    return f"{case[0]} {case[1]} {case[2]}"


@pytest.mark.parametrize("case", REAL, ids=show)
def test_peers_on_images(case, task):
    model, x, y = task
    attack, before = real(*case), modes(task[0])
    x_adv = attack(model, x, y, rng())
    assert (x_adv.shape, x_adv.dtype, x_adv.device) == (x.shape, x.dtype, x.device) and not x_adv.requires_grad
    assert attack.S.contains(x_adv.double() - x.double()).all() and x_adv.min() >= 0 and x_adv.max() <= 1
    assert modes(model) == before and all(p.grad is None for p in model.parameters())
    assert torch.equal(attack(model, x, y, rng()), x_adv)
    assert (model(x_adv).argmax(dim=1) != y)[0]  # misclassified from the start, and still


@pytest.mark.parametrize("case", REAL, ids=show)
def test_peers_on_vectors_without_a_box_and_two_classes(case):
    """A linear model: none passes the closed form, and those that climb nearly reach it."""
    attack, n = real(*case, box=None), 8
    w = rng().normal(size=n)
    x = rng(1).normal(size=(100, n)) * 0.6
    y = (x @ w + 0.2 > 0).astype(np.int64)
    model = nn.Linear(n, 2).double()
    model.weight.data = torch.from_numpy(np.stack([-w / 2, w / 2]))
    model.bias.data = torch.tensor([-0.1, 0.1], dtype=torch.float64)
    x_adv = attack(model, torch.from_numpy(x), torch.from_numpy(y), rng())
    broken = (model(x_adv).argmax(dim=1).numpy() != y).mean()
    margins, reach = np.abs(x @ w + 0.2), attack.S.support(w[None])[0]
    assert x_adv.dtype == torch.float64 and 0.3 < (margins < reach).mean() < 0.9
    assert broken <= (margins < reach * (1 + 1e-6)).mean()
    if attack.name in SURE:
        assert broken >= 0.9 * (margins < reach).mean()


def test_dlr_needs_three_classes():
    attack = real("adv_lib", "apgd", Linf(0.1), {"n_iter": 3, "loss_function": "dlr"})
    x = torch.rand(4, 3)
    with pytest.raises(ValueError, match="apgd fails on examples of shape .* and 2 classes: "):
        attack(First(x), x, torch.zeros(4, dtype=torch.int64), rng())


def test_where_nothing_is_misclassified_there_is_no_start():
    attack = real("foolbox", "BoundaryAttack", L2(0.1), {"steps": 3})
    x, y = torch.rand(4, 1, 3, 3), torch.zeros(4, dtype=torch.int64)
    with pytest.warns(UserWarning, match="finds no point on 4 of 4 examples"):
        assert torch.equal(attack(lambda x: x.new_tensor([3.0, 0.0]).expand(len(x), 2), x, y, rng()), x)


def test_the_attacks_of_the_paper():
    if util.find_spec("foolbox") is None:
        pytest.skip("foolbox is not installed")
    names = {S: list(paper_peers(S)) for S in (Linf(0.3), L2(2), L1(10), Lp(3, 1))}
    assert names[L1(10)] == ["EAD", "Pointwise", "Brendel-Bethge l1"] and names[Lp(3, 1)] == []
    assert names[L2(2)] == ["C&W", "DDN", "Boundary", "Brendel-Bethge l2"]
    assert names[Linf(0.3)] == ["Brendel-Bethge linf"]
    assert all(attack.S == L2(2) and attack.box is None for attack in paper_peers(L2(2), None).values())


def test_pairs_of_the_comparison():
    """Each kind against the best peer; the union is of the three single climbs that leave least *together*."""

    def cell(S, kind, who, attack, *left):
        runs = [{"standing": np.packbits(np.isin(np.arange(10), stand)).tobytes().hex()} for stand in left]
        return {"set": S, "kind": kind, "who": who, "attack": attack, "runs": runs}

    cells = [
        cell("linf:1", "PGD", "ours", "a", [0, 1, 2]),
        cell("linf:1", "PGD", "foolbox", "b", [0, 1, 2, 3]),
        cell("linf:1", "PGD", "art", "c", [4, 5]),
        cell("l1:1", "SLIDE", "ours", "d", [0, 1]),
        cell("l1:1", "growing radius", "ours", "e", [5, 6, 7]),
        cell("l1:1", "SLIDE", "foolbox", "f", [4, 5, 6]),
        cell("l1:1", "least norm", "foolbox", "g", []),
        cell("l1:1", "targeted", "ours", "h", []),
    ]
    pairs = pair_up({"m": dict(enumerate(cells))}, 10)
    found = {(p["set"], p["kind"]): (p["ours"], p["ours by"], p["peer"], p["peer by"]) for p in pairs}
    assert found == {
        ("linf:1", "PGD"): (0.3, "ours a", 0.2, "art c"),
        ("l1:1", "SLIDE"): (0.2, "ours d", 0.3, "foolbox f"),
        ("l1:1", "growing radius"): (0.3, "ours e", None, ""),
        ("l1:1", "least norm"): (0.2, "ours d", 0.0, "foolbox g"),
        ("l1:1", "targeted"): (0.0, "ours h", None, ""),
        ("union", "union"): (0.0, "ours a + ours e", 0.0, "foolbox b + foolbox f"),
    }


def test_pairs_are_of_the_means_of_the_seeds():
    """The best of one seed is not the best on average, and a union is formed seed by seed."""

    def cell(S, who, attack, *left):
        runs = [{"standing": np.packbits(np.isin(np.arange(10), stand)).tobytes().hex()} for stand in left]
        return {"set": S, "kind": "APGD-CE", "who": who, "attack": attack, "runs": runs}

    cells = [
        cell("l2:1", "ours", "a", [0], [0, 1, 2]),
        cell("l1:1", "ours", "b", [0, 1], [1]),
        cell("l2:1", "art", "c", [], [0, 1, 2, 3, 4, 5]),
        cell("l2:1", "foolbox", "d", [0, 1], [0, 1]),
    ]
    pairs = {pair["set"]: pair for pair in pair_up({"m": dict(enumerate(cells))}, 10)}
    assert pairs["l2:1"] == {"model": "m", "set": "l2:1", "kind": "APGD-CE", "ours": 0.2, "ours by": "ours a",
                             "peer": 0.2, "peer by": "foolbox d"}  # fmt: skip
    assert pairs["union"]["ours"] == 0.1 and pairs["l1:1"]["peer"] is None


@pytest.mark.slow
@pytest.mark.parametrize("S", [Linf(0.2), L2(1.5), L1(6.0)], ids=str)
def test_brendel_bethge(S, task):
    """Compiles for a minute (numba)."""
    model, x, y = task
    name = {"linf": "LinfinityBrendelBethgeAttack", "l2": "L2BrendelBethgeAttack", "l1": "L1BrendelBethgeAttack"}[
        S.name
    ]
    x_adv = real("foolbox", name, S, {"steps": 15})(model, x, y, rng())
    assert S.contains(x_adv.double() - x.double()).all()
    assert (model(x_adv).argmax(dim=1) != y).sum() >= 3  # one was misclassified from the start


class First(nn.Module):
    """Class 0 at the points x themselves, and class 1 anywhere else."""

    def __init__(self, x):
        super().__init__()
        self.x = x.flatten(1)

    def forward(self, points):
        far = torch.cdist(points.flatten(1).double(), self.x.double(), compute_mode="donot_use_mm_for_euclid_dist")
        far = (far.min(dim=1).values > 1e-9).to(points.dtype)
        return torch.stack([1 - 2 * far, 2 * far - 1], dim=1) + 0 * points.flatten(1).sum(dim=1, keepdim=True)


def edge(x, S):
    """Perturbations of the whole radius, of all features."""
    v = torch.from_numpy(rng(1).normal(size=x.shape))
    return v / S.gauge(v).reshape(-1, *[1] * (x.ndim - 1))


def width(x, S):
    """Of the cube that holds x + S."""
    return float(x.max()) - float(x.min()) + 2 * S.eps


def modes(model):
    return [m.training for m in model.modules()], [p.requires_grad for p in model.parameters()]
