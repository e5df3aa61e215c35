"""Every attack on every example: how the outcome matrix is made, cell by cell."""

import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tradeoff.attacks.ascent import Model, check_batch, check_fits, check_logits, evaluating, look
from tradeoff.attacks.draws import Draws
from tradeoff.attacks.pgd import PGD
from tradeoff.cells import Cell, Cells
from tradeoff.checks import check_count
from tradeoff.files import read_json
from tradeoff.outcomes import Outcomes, standing_before
from tradeoff.passes import count_passes
from tradeoff.perturbations import Linf
from tradeoff.progress import progress_bar


def evaluate(
    model: Model,
    attacks: Mapping | Sequence,
    x: np.ndarray | Tensor,
    y: np.ndarray | Tensor,
    rng: np.random.Generator,
    *,
    cascade: bool = False,
    chunk: int | None = None,
    run: str | Path | None = None,
    unsteady: bool = False,
    progress: str | None = None,
    about: dict | None = None,
) -> Outcomes:
    """Attack the model on every example with every attack.

    Parameters: `model` maps float inputs to logits, and is held in eval mode meanwhile; `attacks` maps names to attacks
    (a plain sequence is named for you, "PGD linf:0.3" and the like); `x` (n, ...) float and `y` (n,) int64 are NumPy
    arrays or tensors, moved to the model's device `chunk` examples at a time, by default as many as `calibrate_chunk`
    finds fastest. A `cascade` spares an attack the examples that attacks before it have broken on the same set. In the
    folder `run` every finished cell is kept, and what is kept there is not computed again: the same call goes on after
    an interruption. `progress` is the label of a progress bar (none without); `about` is kept with the result, beside
    the seed, the chunk size, and the seconds and passes of each attack.

    What a result depends on: draws are keyed by the content of the example, the name of the attack and one integer of
    `rng`, so that nothing else changes a draw. Chunks are formed by the content of the examples, and a cascade leaves
    each chunk its own: the same examples in any order give the same outcomes, bit for bit, at one chunk size and one
    number of threads. In another chunk, of another size or with other examples, the same draws meet sums that round
    otherwise, and borderline examples may end otherwise: `Outcomes.differs` finds them.

    Raises ValueError for bad input, a model that does not return finite logits, or whose answer to an input varies
    (`unsteady` evaluates it all the same, for one answer of many), a folder that holds another evaluation, and a name
    that is taken (that of another attack's set, or "clean"), before any attack. Raises OSError when the folder cannot
    be written to.

    >>> x, y = np.float32([[-2], [-0.1], [0.1], [2]]), np.array([0, 0, 1, 1])
    >>> sign = torch.nn.Linear(1, 2, bias=False)
    >>> _ = torch.nn.init.constant_(sign.weight[:1], -1.0), torch.nn.init.constant_(sign.weight[1:], 1.0)
    >>> outcomes = evaluate(sign, [PGD(Linf(0.5), box=None, steps=5)], x, y, np.random.default_rng(0))
    >>> outcomes.accuracy(), outcomes.union()
    (1.0, 0.5)
    """
    attacks = _named(attacks)
    if "clean" in attacks:
        raise ValueError("no attack may be called 'clean': that is the column without an attack")
    if chunk is not None:
        check_count(chunk, "chunk")
    x, y = _on_cpu(x), _on_cpu(y)
    model = model if isinstance(model, nn.Module) else _Called(model)
    check_task(model, attacks.values(), x, y)
    if not unsteady:
        check_steady(model, x)
    columns = {"clean": None, **attacks}
    sets = ("", *(str(attack.S) for attack in attacks.values()))
    task = describe_task(model, attacks, x, y, rng, cascade=cascade, unsteady=unsteady)
    seed = task["seed"]
    correct = np.zeros((len(x), len(columns)), dtype=bool)
    about = {**(about or {}), "seed": seed, "attacks": task["attacks"]}
    Outcomes(correct, tuple(columns), sets)  # names that clash are an error now

    order = _by_content(x, y)
    chunk = chunk or _recorded_chunk(run) or calibrate_chunk(model, x)
    cells = Cells(run, task | {"chunk": chunk})
    about |= {"chunk": chunk, "cascade": cascade, "threads": torch.get_num_threads()}
    tried = np.zeros_like(correct)
    seconds: dict[str, float] = dict.fromkeys(columns, 0.0)
    passes = {name: Counter(forward=0, backward=0) for name in columns}
    with progress_bar(correct.size, progress) as bar, evaluating(model):
        for k, (name, attack) in enumerate(columns.items()):
            for i in range(0, len(x), chunk):
                rows = order[i : i + chunk]
                if (name, i // chunk) not in cells:
                    spare = cascade and attack is not None
                    trying = standing_before(correct[rows], sets, k) if spare else np.ones(len(rows), dtype=bool)
                    cells.add(name, i // chunk, _cell(model, name, attack, x[rows], y[rows], trying, seed))
                cell = cells[name, i // chunk]
                correct[rows, k], tried[rows, k] = cell.correct, cell.tried
                passes[name].update(forward=cell.forward, backward=cell.backward)
                seconds[name] += cell.seconds
                bar.update(len(rows))
    about["seconds"] = {name: round(seconds[name], 3) for name in columns}
    about["passes"] = {name: dict(passes[name]) for name in columns}
    return Outcomes(correct, tuple(columns), sets, about, tried)


def _cell(model: nn.Module, name: str, attack, x: Tensor, y: Tensor, trying: np.ndarray, seed: int) -> Cell:
    """What the attack (None: no perturbation) does to those of the examples that it is to try."""
    began, device = time.perf_counter(), device_of(model)
    correct = np.zeros(len(x), dtype=bool)
    with count_passes(model) as passes:
        if trying.any():
            points, labels = x[trying].to(device), y[trying].to(device)
            try:
                if attack is not None:
                    points = attack(model, points, labels, Draws.for_examples(x[trying].numpy(), seed, name))
                correct[trying] = ~look(model, points, labels, "margin").broken.cpu().numpy()
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
    return Cell(correct, trying, passes["forward"], passes["backward"], round(time.perf_counter() - began, 6))


def calibrate_chunk(model: Model, x: np.ndarray | Tensor, seconds: float = 2.0) -> int:
    """The number of examples at a time that a short attack on the model takes fastest.

    Doubles the number from 25 on while that does not make it slower, for about `seconds` at most, and takes the largest
    that is within 10 % of the best: examples that break leave an attack, and chunks shrink. 50 examples or fewer are
    one chunk, and not measured. On a CPU, networks as small as `small_cnn` are fastest at about 100 to 200: the large
    activations of more leave its cache.
    """
    x = _on_cpu(x)
    if len(x) <= 50:
        return len(x)
    began, cost, size = time.perf_counter(), {}, 25
    with evaluating(model):
        while size < 2 * len(x):
            points = x[:size].to(device_of(model))
            try:
                cost[size] = min(_seconds_of_steps(model, points) for _ in range(3)) / len(points)
            except torch.cuda.OutOfMemoryError:
                if not cost:
                    raise
                break
            if cost[size] > 1.2 * min(cost.values()) or time.perf_counter() - began > seconds:
                break
            size *= 2
    return max(size for size in cost if cost[size] <= 1.1 * min(cost.values()))


def _seconds_of_steps(model: Model, points: Tensor) -> float:
    """The time of a few steps that go nowhere."""
    labels = torch.zeros(len(points), dtype=torch.int64, device=points.device)
    attack, draws = PGD(Linf(0), steps=4, box=None, early_stop=False), Draws(range(len(points)))
    began = time.perf_counter()
    float(attack(model, points, labels, draws).sum())  # which waits for a device that computes while Python goes on
    return time.perf_counter() - began


def describe(attacks: Mapping) -> dict[str, str]:
    """How each attack is configured, as text."""
    return {name: repr(attack) for name, attack in attacks.items()}


# ---- the door


def check_task(model: Model, attacks: Iterable, x: Tensor, y: Tensor) -> None:
    """ValueError unless every attack can take all of x and y, and the model gives logits for their like.

    No attack is run; the model sees eight examples.
    """
    check_batch(x, y, None)
    for attack in attacks:
        check_batch(x, y, attack.box)
        check_fits(attack.S, x, attack.box)
    few = x[:8].to(device_of(model))
    try:
        with evaluating(model), torch.no_grad():
            logits = model(few)
    except Exception as error:  # anyone's model may raise anything
        reason = (str(error) or type(error).__name__).splitlines()[0]
        own = {part.dtype for part in model.parameters()} if isinstance(model, nn.Module) else ()
        hint = "" if not own or few.dtype in own else f" (its weights are {', '.join(map(str, own))})"
        raise ValueError(f"the model cannot take {few.dtype} inputs of shape {tuple(few.shape)}{hint}: {reason}; give "
                         "it such inputs as it was made for, or choose another model") from error  # fmt: skip
    if not isinstance(logits, Tensor):
        raise ValueError(f"the model returns a {type(logits).__name__}, but must return logits (batch, classes ≥ 2)")
    check_logits(logits, y)


def check_steady(model: Model, x: Tensor) -> None:
    """ValueError unless the model's answers to eight examples are finite, the same when asked again, and the same, up
    to rounding, in a batch of half as many."""
    few = x[:8].to(device_of(model))
    with evaluating(model), torch.no_grad():
        first, again, fewer = model(few), model(few), model(few[: (len(few) + 1) // 2])
    if not torch.isfinite(first).all():
        raise ValueError("the model returns NaN or infinite logits: check its weights and its input")
    slack = 1e-3 * float(first.abs().max()) + 1e-6
    for other, what in ((again, "when asked again"), (fewer, "in another batch")):
        off = float((other - first[: len(other)]).abs().max())
        if not off <= slack:
            raise ValueError(f"the model's answer to the same input differs by {off:.3g} {what}: is it randomised, or "
                             "a part of it in training mode? Fix its randomness, or evaluate one answer of many with "
                             "unsteady=True (--unsteady)")  # fmt: skip


def _named(attacks: Mapping | Sequence) -> dict:
    """The attacks by name; of a sequence by class and set, numbered where that is not enough."""
    if isinstance(attacks, Mapping):
        return dict(attacks)
    names = [f"{type(attack).__name__} {attack.S}" for attack in attacks]
    numbered = (
        f"{name} #{names[: k + 1].count(name)}" if names.count(name) > 1 else name for k, name in enumerate(names)
    )
    return dict(zip(numbered, attacks, strict=True))


class _Called(nn.Module):
    """Any callable as a module, whose passes can be counted."""

    def __init__(self, call: Model):
        super().__init__()
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(x)


def _on_cpu(v: np.ndarray | Tensor) -> Tensor:
    # A copy: torch's views want writable arrays.
    return v.detach().cpu() if isinstance(v, Tensor) else torch.from_numpy(np.array(v))


def device_of(model: Model) -> torch.device:
    """Where the model's first parameter or buffer is; the CPU for a model without."""
    if isinstance(model, nn.Module):
        for tensor in (*model.parameters(), *model.buffers()):
            return tensor.device
    return torch.device("cpu")


# ---- what a run is of


def describe_task(
    model: Model, attacks: Mapping, x: Tensor, y: Tensor, rng: np.random.Generator, *, cascade: bool, unsteady: bool
) -> dict:
    """All that an evaluation follows from, but for its chunk size, as JSON data. Weights and examples go by their
    digests, and what else a model is by its answers to a few of the examples; the seed is drawn from `rng`."""
    weights, data = hashlib.blake2b(digest_size=16), hashlib.blake2b(digest_size=16)
    for name, tensor in model.state_dict().items() if isinstance(model, nn.Module) else ():
        weights.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        weights.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    data.update(f"{x.dtype} {tuple(x.shape)}".encode())
    data.update(b"".join(sorted(_digests(x, y))))
    with evaluating(model), torch.no_grad():
        answers = model(x[_by_content(x, y)[:8]].to(device_of(model))).double().cpu()
    return {
        "weights": weights.hexdigest(),
        "answers of the model": None if unsteady else answers.tolist(),
        "data": data.hexdigest(),
        "attacks": describe(attacks),
        "seed": int(rng.integers(2**63)),
        "cascade": cascade,
        "unsteady": unsteady,
    }


def _by_content(x: Tensor, y: Tensor) -> np.ndarray:
    """An order of the examples that does not depend on theirs, int64 (n,)."""
    return np.array(sorted(range(len(x)), key=_digests(x, y).__getitem__))


def _digests(x: Tensor, y: Tensor) -> list[bytes]:
    """One for each example and its label."""
    rows = (np.ascontiguousarray(row).tobytes() for row in x.numpy())
    return [hashlib.blake2b(row, key=b"%d" % label).digest() for row, label in zip(rows, y.tolist(), strict=True)]


def _recorded_chunk(run: str | Path | None) -> int | None:
    """The chunk size of the run in the folder, if there is one."""
    task = Path(run) / "task.json" if run is not None else None
    there = read_json(task) if task and task.exists() else None
    return there.get("chunk") if isinstance(there, dict) else None
