"""Other libraries' attacks inside our evaluation, with their budgets checked by us.

A `Peer` names an attack of foolbox, torchattacks, ART or adv-lib and is called like ours. The peer works in float32 on
images (batch, channels, height, width) in the unit cube: x is mapped there and the answer back, so that any box,
vectors and two classes will do. (Without a box the cube is one that holds x + S, which takes nothing from S; options in
the units of the radius are in those of the cube.) Its answer is judged here, in float64: a point that left S by a
rounding, 1e-4 of the radius, is scaled back; one that left by more counts as not attacked, and a warning says how many
did and by how much. For attacks that seek the least perturbation, that is simply an example they did not break.

A peer draws from the global generators, for a whole batch at a time: they are seeded from our rng and restored, so that
a batch gives the same answer every time, but another batch may give an example another answer.
"""

import inspect
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module, util
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from tradeoff.attacks.ascent import Box, Found, Model, attacking, frozen, like, look, worst
from tradeoff.attacks.draws import Draws
from tradeoff.checks import check_box
from tradeoff.names import lookup
from tradeoff.perturbations import Lp
from tradeoff.perturbations.lp import TOLERANCE

ROUNDING = 1e-4  # of the radius: sums in float32 over an image


class Task(NamedTuple):
    """What a peer is given: images of the unit cube, the ball in the units of the cube, and a seed of its own."""

    model: nn.Module
    x: Tensor  # (batch, channels, height, width), float32
    y: Tensor
    S: Lp
    classes: int
    seed: int


@dataclass(frozen=True)
class Peer:
    """The attack `name` of a library, built with `options`, on S.

    - "foolbox": `foolbox.attacks.NAME(**options)` (Rauber et al. 2020), both those of a given radius and the least-norm
      ones. Those that walk from a misclassified point (Boundary, Pointwise, Brendel–Bethge, HopSkipJump) start from
      noise as in foolbox, and where that fails from the nearest example of the batch that is classified otherwise.
    - "torchattacks": `torchattacks.NAME(model, **options)` (Kim 2020).
    - "art": `art.attacks.evasion.NAME(estimator, **options)` (Nicolae et al. 2018).
    - "adv_lib": `adv_lib.attacks.NAME(model, inputs, labels, **options)` (Rony & Ben Ayed 2020), of those in `ADV_LIB`.

    Radius, norm, seed and number of classes are filled in where a peer asks for them and the options leave them out.
    Raises ValueError when made, if the library is missing or lacks the attack, or the attack an option.

        Peer("foolbox", "EADAttack", L1(10), {"decision_rule": "L1", "steps": 1000})
        Peer("torchattacks", "APGD", Linf(0.3), {"steps": 100, "loss": "dlr"})
        Peer("art", "AutoProjectedGradientDescent", L2(2), {"eps_step": 4, "max_iter": 100, "nb_random_init": 1})
        Peer("adv_lib", "apgd", L1(10), {"n_iter": 100, "use_large_reps": True})
    """

    library: str
    name: str
    S: Lp
    options: Mapping[str, Any] = field(default_factory=dict)
    box: Box = (0.0, 1.0)

    def __post_init__(self):
        if not isinstance(self.S, Lp):
            raise ValueError(f"{self.name} attacks an lp ball, not {self.S}")
        check_box(self.box)
        if _wants_numba(self.name) and not util.find_spec("numba"):
            raise ValueError(f"{self.name} needs the package numba: {_EXTRA}")
        parameters = inspect.signature(self._find()).parameters
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            for option in self.options:
                lookup(parameters, option, f"option of {self.name}")

    def _find(self) -> Callable:
        return lookup(LIBRARIES, self.library, "library").find(self.name)

    def __call__(self, model: Model, x: Tensor, y: Tensor, rng) -> Tensor:
        """The points found that keep the budget, shape, dtype and device of x; x itself where there is none."""

        def search(x: Tensor, y: Tensor, draws: Draws) -> Found:
            return look(model, self._search(model, x, y, draws), y, "margin")

        with attacking(model, x, y, self.S, self.box), frozen(model):
            return worst(model, x, y, [search], rng)

    def _search(self, model: Model, x: Tensor, y: Tensor, draws: Draws) -> Tensor:
        found = self._find()
        low, high = self.box or _cube_around(x, self.S)
        unit = _Unit(model, x, low, high - low).eval()
        images = unit.images(x)
        with torch.no_grad():
            classes = unit(images[:1]).shape[1]
        seed = int(np.bitwise_xor.reduce(draws.integers(0, 2**31, len(x))))
        task = Task(unit, images, y, self.S.scaled(1 / unit.width), classes, seed)
        try:
            with _seeded(seed, x.device), torch.enable_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the peer's own
                points = LIBRARIES[self.library].run(found, self.options, task).detach()
        except (AssertionError, AttributeError, IndexError, KeyError, RuntimeError, TypeError) as error:
            raise ValueError(f"{self.name} fails on examples of shape {tuple(x.shape[1:])} and {classes} classes: "
                             f"{type(error).__name__} {error}") from error  # fmt: skip
        r = unit.width * (points.double() - images.double()).reshape(x.shape)
        points, gauge = held(self.S, x, r, self.box)
        lost, left = gauge.isnan(), gauge > 1 + ROUNDING
        if lost.any():
            warnings.warn(f"{self.name} finds no point on {int(lost.sum())} of {len(x)} examples (NaN, or nothing "
                          "misclassified to start from): they count as not attacked", stacklevel=3)  # fmt: skip
        if left.any() and {"eps", "ε", "epsilon"} & inspect.signature(found).parameters.keys():
            most = float(gauge[left].max())
            warnings.warn(f"{self.name} left {self.S} on {int(left.sum())} of {len(x)} examples, to {most:.4g} times "
                          "the radius: they count as not attacked", stacklevel=3)  # fmt: skip
        return points


def paper_peers(S: Lp, box: Box = (0.0, 1.0)) -> dict[str, Peer]:
    """The peers' attacks on S that the paper ran beside its own (EAD, Pointwise, C&W, Boundary) or that came later in
    their place (DDN, Brendel–Bethge, which without numba are left out), by name. Foolbox has them all. Minutes per
    hundred images."""
    rows: dict[float, dict] = {
        1.0: {
            "EAD": ("EADAttack", {"decision_rule": "L1", "steps": 1000}),
            "Pointwise": ("PointwiseAttack", {"l2_binary_search": False}),
            "Brendel-Bethge l1": ("L1BrendelBethgeAttack", {"steps": 200}),
        },
        2.0: {
            "C&W": ("L2CarliniWagnerAttack", {"steps": 1000}),
            "DDN": ("DDNAttack", {"steps": 1000}),
            "Boundary": ("BoundaryAttack", {"steps": 5000}),
            "Brendel-Bethge l2": ("L2BrendelBethgeAttack", {"steps": 200}),
        },
        inf: {"Brendel-Bethge linf": ("LinfinityBrendelBethgeAttack", {"steps": 200})},
    }
    return {name: Peer("foolbox", attack, S, options, box) for name, (attack, options) in rows.get(S.p, {}).items()
            if util.find_spec("numba") or not _wants_numba(attack)}  # fmt: skip


def _wants_numba(attack: str) -> bool:
    return "BrendelBethge" in attack


# ---- the libraries: what each names and how it is run ----------------------------------------------------------------

ADV_LIB = {  # where each is defined: those that import nothing but torch
    "apgd": "auto_pgd.py",
    "apgd_targeted": "auto_pgd.py",
    "fmn": "fast_minimum_norm.py",
}


class Library(NamedTuple):
    """How a library's attack is found by its name, and how it is run: (what was found, options, task) -> points."""

    find: Callable[[str], Callable]
    run: Callable[[Callable, Mapping, Task], Tensor]


def _class_of(module: str, install: str) -> Callable[[str], Callable]:
    def find(name: str) -> Callable:
        there = vars(_import(module, install))
        kept = {key: value for key, value in there.items() if inspect.isclass(value) and not key.startswith("_")}
        return lookup(kept, name, f"attack of {module}")

    return find


def _import(module: str, install: str):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a peer imports
            return import_module(module)
    except ImportError as error:
        raise ValueError(f"{module.split('.')[0]} cannot be imported ({error}): {install}") from error


def _run_foolbox(attack_class, options: Mapping, task: Task) -> Tensor:
    import eagerpy
    import foolbox

    attack = attack_class(**options)
    model = foolbox.PyTorchModel(task.model, bounds=(0, 1), device=task.x.device)
    if not isinstance(attack, foolbox.attacks.base.MinimizationAttack):
        points = attack.run(model, task.x, task.y, epsilon=task.S.eps)
        clip = attack.distance.clip_perturbation  # as foolbox does before it hands them out
        return clip(*eagerpy.astensors(task.x, points), task.S.eps).raw
    if "starting_points" not in inspect.signature(attack.run).parameters:
        return attack.run(model, task.x, task.y, early_stop=task.S.eps)
    points = torch.full_like(task.x, torch.nan)
    start, ready = _starting_points(attack, model, task)
    if ready.any():
        points[ready] = attack.run(
            model, task.x[ready], task.y[ready], starting_points=start[ready], early_stop=task.S.eps
        )
    return points


def _starting_points(attack, model, task: Task) -> tuple[Tensor, Tensor]:
    """Misclassified points, and for which examples there is one, bool (batch,)."""
    from foolbox.attacks import LinearSearchBlendedUniformNoiseAttack, PointwiseAttack, SaltAndPepperNoiseAttack

    noise = getattr(attack, "init_attack", None) or (
        SaltAndPepperNoiseAttack() if isinstance(attack, PointwiseAttack) else LinearSearchBlendedUniformNoiseAttack()
    )
    start = noise.run(model, task.x, task.y)
    with torch.no_grad():
        ready = task.model(start).argmax(dim=1) != task.y
        other = task.model(task.x).argmax(dim=1)[None, :] != task.y[:, None]
    distance = torch.cdist(task.x.flatten(1), task.x.flatten(1)).masked_fill(~other, inf)
    nearest = distance.argmin(dim=1)
    start = torch.where(like(ready, start), start, task.x[nearest])
    return start, ready | other.any(dim=1)


def _run_torchattacks(attack_class, options: Mapping, task: Task) -> Tensor:
    norm = {1.0: "L1", 2.0: "L2", inf: "Linf"}.get(task.S.p)
    fills = {"eps": task.S.eps, "norm": norm, "seed": task.seed, "n_classes": task.classes}
    return attack_class(task.model, **_asked(attack_class, fills, options))(task.x, task.y)


def _run_art(attack_class, options: Mapping, task: Task) -> Tensor:
    from art.estimators.classification import PyTorchClassifier

    estimator = PyTorchClassifier(
        task.model, nn.CrossEntropyLoss(), tuple(task.x.shape[1:]), task.classes, clip_values=(0.0, 1.0),
        device_type="gpu" if task.x.is_cuda else "cpu",
    )  # fmt: skip
    fills = {"eps": task.S.eps, "norm": task.S.p, "batch_size": len(task.x), "verbose": False}
    attack = attack_class(estimator, **_asked(attack_class, fills, options))
    points = attack.generate(task.x.cpu().numpy(), task.y.cpu().numpy())
    return torch.as_tensor(np.asarray(points, dtype=np.float32), device=task.x.device)


def _find_in_adv_lib(name: str) -> Callable:
    """The function, from its own file: the package `adv_lib.attacks` as a whole wants torchvision and visdom, which
    these attacks do not use."""
    file = lookup(ADV_LIB, name, "attack of adv_lib")
    package = Path(_import("adv_lib", "pip install --no-deps adv-lib").__file__).parent
    spec = util.spec_from_file_location(f"adv_lib.attacks.{file[:-3]}", package / "attacks" / file)
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


def _run_adv_lib(function, options: Mapping, task: Task) -> Tensor:
    fills = {"eps": task.S.eps, "ε": task.S.eps, "norm": task.S.p}
    return function(task.model, task.x, task.y, **_asked(function, fills, options))


def _asked(function, fills: Mapping, options: Mapping) -> dict:
    """The options, and those of the fills that the function has a parameter for."""
    parameters = inspect.signature(function).parameters
    return {key: value for key, value in fills.items() if key in parameters} | dict(options)


_EXTRA = "pip install 'tradeoff[peers]'"
LIBRARIES = {
    "foolbox": Library(_class_of("foolbox.attacks", _EXTRA), _run_foolbox),
    "torchattacks": Library(_class_of("torchattacks", "pip install --no-deps torchattacks"), _run_torchattacks),
    "art": Library(_class_of("art.attacks.evasion", _EXTRA), _run_art),
    "adv_lib": Library(_find_in_adv_lib, _run_adv_lib),
}


# ---- the cube, and the way back --------------------------------------------------------------------------------------


def held(S: Lp, x: Tensor, r: Tensor, box: Box) -> tuple[Tensor, Tensor]:
    """x + r in the box, scaled back into S where it left by a rounding, and x itself where by more or not finite; and
    how much of the radius it took before, float64 (batch,).

    >>> x, r = torch.zeros(3, 2), torch.tensor([[0.1, 0.2], [0.1, 0.20001], [0.1, 0.3]])
    >>> points, gauge = held(L1(0.3), x, r, None)
    >>> L1(0.3).contains(points.double()), points[2]
    (tensor([True, True, True]), tensor([0., 0.]))
    """
    points = x.double() + r.double()
    if box is not None:
        points = points.clamp(*box)
    gauge = S.gauge(points - x.double())
    kept = gauge <= 1 + ROUNDING
    points = torch.where(like(kept, x), points, x.double())
    scale = torch.where(kept, gauge, 1.0).clamp(min=1)
    points = (x.double() + (points - x.double()) / like(scale, x)).to(x.dtype)
    inside = S.gauge(points.double() - x.double()) <= 1 + TOLERANCE
    return torch.where(like(inside, x), points, torch.nextafter(points, x)), gauge


def _cube_around(x: Tensor, S: Lp) -> tuple[float, float]:
    """Bounds that hold x + S, whatever its norm: |r_i| ≤ eps in every lp ball."""
    margin = max(S.eps, 1e-3)
    return float(x.min()) - margin, float(x.max()) + margin


class _Unit(nn.Module):
    """The model as a function of float32 images in the unit cube. Its parameter tells a peer the device."""

    def __init__(self, model: Model, like: Tensor, low: float, width: float):
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros((), device=like.device), requires_grad=False)
        self.inner = model  # a module among its modules, any other function beside them
        self.low, self.width, self.shape, self.dtype = low, width, like.shape[1:], like.dtype

    def images(self, x: Tensor) -> Tensor:
        u = ((x.double() - self.low) / self.width).float().clamp(0.0, 1.0)
        return u if u.ndim == 4 else u.reshape(len(u), 1, 1, -1)

    def forward(self, u: Tensor) -> Tensor:
        x = u.reshape(-1, *self.shape).to(self.dtype)
        if (self.low, self.width) != (0.0, 1.0):
            x = self.low + self.width * x
        return self.inner(x).float()


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """The global generators at `seed`, and as they were on the way out."""
    there = random.getstate(), np.random.get_state()  # noqa: NPY002 (peers draw from it)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            torch.manual_seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            random.seed(seed)
            yield
        finally:
            random.setstate(there[0])
            np.random.set_state(there[1])  # noqa: NPY002
