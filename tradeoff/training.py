"""Adversarial training on one set of perturbations or several (Madry et al. 2018; Tramèr & Boneh 2019, section 4)."""

import json
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from math import ceil, cos, inf, isfinite, pi
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div

from tradeoff.attacks.accumulated import Accumulated
from tradeoff.attacks.ascent import evaluating, look
from tradeoff.attacks.draws import Draws
from tradeoff.attacks.scaled import scaled
from tradeoff.augmentation import AUGMENTATIONS, Augmentation
from tradeoff.checks import check_count
from tradeoff.data import Images
from tradeoff.evaluation import check_task, describe, evaluate
from tradeoff.files import write_atomically
from tradeoff.names import lookup
from tradeoff.passes import count_passes
from tradeoff.progress import progress_bar
from tradeoff.together import add_gradients, place, take_first, total


class Turn(NamedTuple):
    """What a strategy knows of the step that it is asked for."""

    step: int  # the number of steps before it, over all epochs
    draws: Draws  # a stream for each example of the batch
    rng: np.random.Generator  # for what is drawn once for the batch
    tried: np.ndarray  # (attacks,): the examples trained on so far that each attack has made
    right: np.ndarray  # (attacks,): those of them that were classified correctly
    rows: Tensor  # (batch,): which images of the data set these are
    left: "Left | None" = None  # what attacks that accumulate have left of them


class Points(NamedTuple):
    """A batch to train on, and the number of the attack that made each example, -1 for none."""

    x: Tensor  # (batch, ...)
    attack: Tensor  # (batch,) int64


class Left:
    """Every image as each attack that accumulates (`Accumulated`) last met it, moved, and the point that it left it at.

    In half precision: of a pixel to 0.0005, and a projection follows. On the CPU, as the images are.
    """

    def __init__(self, x: Tensor, attacks: Sequence):
        shape = (len(attacks), *x.shape)
        self.images, self.points = (torch.zeros(shape, dtype=torch.float16, device="cpu") for _ in range(2))
        self.met = torch.zeros(len(attacks), len(x), dtype=torch.bool, device="cpu")

    def tensors(self) -> dict[str, Tensor]:
        """By name, for a checkpoint."""
        return {name: getattr(self, name) for name in ("images", "points", "met")}

    def __call__(self, k: int, attack: Accumulated, model: nn.Module, x: Tensor, y: Tensor, turn: Turn) -> Tensor:
        """The points that the k-th attack comes to. Anew, with the images x as they are moved now, in a share of the
        batches and where it has met less than half of one; otherwise from where it left those that it has met, or from
        there as far from the images x as it was from those."""
        met = self.met[k, turn.rows]
        if turn.rng.random() < attack.renew or met.float().mean() < 0.5:
            images, found = x, attack(model, x, y, turn.draws)
        else:
            images, begin = x.clone(), x.clone()
            known = met.nonzero()[:, 0]
            at, rows = known.to(x.device), turn.rows[known]
            kept, points = (part[k, rows].to(x) for part in (self.images, self.points))
            if attack.carry:
                begin[at] += points - kept
                begin = begin if attack.box is None else begin.clamp(*attack.box)
            else:
                images[at], begin[at] = kept, points
            found = attack.further(model, images, y, turn.draws, begin)
        for kept, now in ((self.images, images), (self.points, found)):
            kept[k, turn.rows] = now.to(kept)
        self.met[k, turn.rows] = True
        return found


def average_loss(model: nn.Module, x: Tensor, y: Tensor, attacks: Sequence, turn: Turn) -> list[Points]:
    """Every attack's examples: the loss is averaged over all of them. With one attack, Madry et al. (2018)."""
    return [_one(model, x, y, attacks, k, turn) for k in range(len(attacks))]


def maximum(model: nn.Module, x: Tensor, y: Tensor, attacks: Sequence, turn: Turn) -> list[Points]:
    """For each example the worst of the attacks, by cross-entropy; the example itself where none raises it."""
    found = [x, *(attack(model, x, y, turn.draws) for attack in attacks)]
    worst = torch.stack([look(model, points, y, "ce").loss for points in found]).argmax(dim=0)  # the first of equals
    return [Points(torch.stack(found)[worst, torch.arange(len(x), device=x.device)], worst - 1)]


def e_at(model: nn.Module, x: Tensor, y: Tensor, attacks: Sequence, turn: Turn) -> list[Points]:
    """One attack for the batch, drawn with probabilities that are as the attacks' robust errors so far.

    E-AT (Croce & Hein 2022, "Adversarial robustness against multiple and single lp-threat models via quick fine-tuning
    of robust classifiers"), whose authors train on linf and l1 alone, the extreme norms. An attack's robust error is
    that on all its examples since training began, as in their code (github.com/fra31/robust-finetuning), by what the
    network answers when it is trained on them, which costs no pass. Draws are even until every attack has had one.
    """
    error = 1 - turn.right / turn.tried if turn.tried.all() else np.ones(len(attacks))
    if not error.any():
        error = np.ones(len(attacks))
    return [_one(model, x, y, attacks, int(turn.rng.choice(len(attacks), p=error / error.sum())), turn)]


def alternating(model: nn.Module, x: Tensor, y: Tensor, attacks: Sequence, turn: Turn) -> list[Points]:
    """One attack for the batch, each in turn: the control of strategies that choose."""
    return [_one(model, x, y, attacks, turn.step % len(attacks), turn)]


def _one(model: nn.Module, x: Tensor, y: Tensor, attacks: Sequence, k: int, turn: Turn) -> Points:
    attack = attacks[k]
    if turn.left and isinstance(attack, Accumulated):
        found = turn.left(k, attack, model, x, y, turn)
    else:
        found = attack(model, x, y, turn.draws)
    return Points(found, torch.full_like(y, k))


STRATEGIES: Mapping[str, Callable] = {"avg": average_loss, "max": maximum, "e-at": e_at, "alternating": alternating}


class Descent(NamedTuple):
    """How the weights follow their gradients."""

    make: Callable[..., torch.optim.Optimizer]  # of the weights and a learning rate
    drops: tuple[float, ...] | None  # the shares of all epochs after which it falls to a tenth; or as a cosine

    def fall(self, share: float) -> float:
        """What the learning rate is divided by once this share of all epochs is over."""
        return 2 / (1 + cos(pi * share)) if self.drops is None else 10 ** sum(share >= drop for drop in self.drops)


OPTIMIZERS: Mapping[str, Descent] = {  # first the paper's, on MNIST and on CIFAR-10
    "adam": Descent(torch.optim.Adam, (1 / 2,)),
    "sgd": Descent(partial(torch.optim.SGD, momentum=0.9, weight_decay=2e-4), (1 / 2, 3 / 4)),
    "adam-cosine": Descent(torch.optim.Adam, None),  # Loshchilov & Hutter (2017)
}


def fit(
    model: nn.Module,
    images: Images,
    attacks: Sequence,
    strategy: str,
    *,
    epochs: int,
    lr: float,
    seed: int,
    batch: int = 100,
    warmup: int = 1,
    device: str | torch.device = "cpu",
    watch: tuple[Mapping, Images] | None = None,
    checkpoint: Path | None = None,
    every: float = 120.0,
    log: Path | None = None,
    label: str | None = None,
    precision: str = "float32",
    compile: bool = False,
    memory_format: str = "contiguous",
    optimizer: str = "adam",
    augment: str = "none",
    average: float = 0.0,
    teacher: nn.Module | None = None,
) -> list[dict]:
    """Train `model` in place, on `device`, and return the log: a record per epoch.

    Without attacks training is natural. On batches of at most `batch` images, by the `optimizer` "adam" at `lr`, a
    tenth of it from half way on, or "adam-cosine", at a rate that falls from `lr` as half a cosine, or "sgd", with
    momentum 0.9 and weight decay 2e-4, at `lr` and a tenth of that from half way and again from three quarters on. With
    an `average` the network is, in the end and where it is watched, the mean of the weights after all steps, each
    counting `average` times as much as the next (Izmailov et al. 2018; Gowal et al. 2020).

    With a `teacher`, a network for the same images and classes, half of the loss is 4 KL(p_teacher ‖ p_model) on the
    examples trained on, both at temperature 2 (Hinton et al. 2015; with an adversarially trained teacher it holds off
    robust overfitting: Chen et al. 2021). It is moved to `device`, otherwise stays as it is, and its passes are not
    counted.

    With `augment` "crops" the images are shifted by up to 4 pixels and flipped at random, with "shifts" shifted by up
    to 1 pixel, with "warps" deformed smoothly by about as much, with "deformations" also turned, stretched and slanted
    a little, with "strokes" also thicker or thinner, with "sketches" all that further; anew in every epoch, before they
    are attacked, but attacks that accumulate (`Accumulated`) go on with the image that they have, unless they carry
    their noise over. The sets grow evenly over `warmup` epochs, from a third of their size in the first to all of it
    after the last (the paper's one epoch at a third is warmup=1; with warmup=0 they are whole from the start).
    `watch` is a small evaluation, attacks by name and images, made after every epoch with the same draws each time.
    `label` names the progress bar (none without).

    Batch norm: attacks and strategies see the network as it is used, with its running statistics. In the step on what
    they found it takes those of the batch, of all sets' examples together, and updates the running ones by them. That
    is what the paper's code does (github.com/ftramer/MultiRobustness), and E-AT's for one set.

    How the network computes, in attacks and steps alike: in `precision` "bf16" under autocast, with weights and logits
    of its own kind; with `compile` by torch.compile; with `memory_format` "channels_last" on images that are laid out
    so. What is watched is the plain network. In processes that are `joined` (tradeoff.together) each takes its share of
    every batch, and all make the same steps, those of one process with whole batches, up to rounding; but batch norm
    sees its share alone. The first process watches and writes.

    The order of the examples and how they are moved derive from (seed, epoch), a move for each example whatever batch
    it comes in, and all other draws of a step from (seed, epoch, step). So training that goes on from `checkpoint`,
    written after every epoch and at the first step after `every` seconds, whole or not at all, gives the same weights,
    bit for bit on one machine and number of threads, as training that never stopped. The records are kept in the file
    `log` too, a line of JSON each, from the end of their epoch on.

    A record has the epoch; loss (mean over the examples trained on) and accuracy (on them); forward and
    backward (passes, in examples); chosen (the share of these examples that is each attack's: "max" leaves some
    unperturbed); so_far (since training began: steps, forward, backward, and chosen as a number of examples); seconds,
    and how many of them went into loading_seconds; with `watch`, clean, each set's and union accuracy, and
    watch_seconds. Watching counts neither as passes nor as seconds of training.

    Raises ValueError for bad input and for the checkpoint of other training before any step, and, naming epoch and
    step, when training diverges; OSError when the disk is full. Both leave the last checkpoint as it is.
    """
    examples = lookup(STRATEGIES, strategy, "strategy")
    descent = lookup(OPTIMIZERS, optimizer, "optimizer")
    moves = lookup(AUGMENTATIONS, augment, "augmentation")
    _check_numbers(epochs, batch, warmup, lr, average)
    x, y = _tensors(images)
    _check_computing(x, precision, memory_format)
    model.to(device)
    check_task(model, attacks, x, y)
    if watch:
        check_task(model, watch[0].values(), *_tensors(watch[1]))
    me, processes = place()
    steps = ceil(len(x) / batch)
    _check_examples(x, y, steps, processes, moves)
    descending = descent.make(model.parameters(), lr)
    watched = watch and (describe(watch[0]), len(watch[1]), watch[1].source)
    computing = (precision, compile, memory_format)
    how = repr((strategy, tuple(attacks), epochs, lr, seed, batch, warmup, len(x), images.source, watched)
               + (computing if computing != PLAIN else ())
               + ((optimizer, augment) if (optimizer, augment) != ("adam", "none") else ())
               + ((average,) if average else ()))  # fmt: skip
    if teacher is not None:
        _check_teacher(teacher.to(device), model, x, y)
        how += _checksum(teacher.state_dict(), "")
    left = Left(x, attacks) if any(isinstance(attack, Accumulated) for attack in attacks) else None
    if left:
        _check_accumulating(strategy, processes)
    mean = deepcopy(model) if average else model
    stand = _Stand([], Counter(), np.zeros((2, 1 + len(attacks)), dtype=np.int64))
    if checkpoint and checkpoint.exists():
        stand = _restore(checkpoint, model, descending, how, mean, left)
    for one in (model, mean):
        take_first(one.state_dict().values())
    records, sums, tally = stand
    saved, start = time.monotonic(), len(records) * steps + sums["steps"]
    bar = progress_bar(epochs * len(x), label if me == 0 else None, done=start * len(x) // steps)
    with bar, _computing(model, *computing) as network, _teaching(teacher, *computing) as wiser:
        network.train()
        for i in range(start, epochs * steps):
            epoch, step = divmod(i, steps)
            loading = time.perf_counter()
            if i == start or step == 0:
                began = time.perf_counter() - sums["seconds"]
                share = min(1.0, (1 + 2 * epoch / warmup) / 3) if warmup else 1.0
                now = [scaled(attack, share) for attack in attacks]
                for group in descending.param_groups:
                    group["lr"] = lr / descent.fall(epoch / epochs)
                draws = _rng(seed, epoch)
                order = np.array_split(draws.permutation(len(x)), steps)
                moved = moves.draw(len(x), draws) if moves else np.empty(0)
            count = len(order[step])  # of all processes
            mine = np.array_split(order[step], processes)[me]
            rows = torch.from_numpy(mine)
            inputs, labels = (part.index_select(0, rows).to(device) for part in (x, y))  # thrice as fast as [rows]
            if moves:
                inputs = moves.apply(inputs, moved[mine])
            loading = time.perf_counter() - loading
            last = step + 1 == steps
            pause = last or time.monotonic() > saved + every
            turn = None
            if now:
                rng = _rng(seed, epoch, step)
                keys = rng.integers(0, 2**64, count, dtype=np.uint64)
                own = Draws(np.array_split(keys, processes)[me])
                turn = Turn(i, own, rng, tally[0, 1:], tally[1, 1:], rows, left)
            try:
                with count_passes(network) as passes:
                    loss, added = _step(network, descending, inputs, labels, now, examples, turn, count, wiser)
                if pause:
                    _check_finite(model)
            except ValueError as error:
                moment = f"epoch {epoch + 1}, step {step + 1} of {steps}, learning rate {lr}"
                raise ValueError(f"{moment}: {error}") from error
            if average:
                _lean(mean, model, min(average, (i + 1) / (i + 10)))
            tally += added
            tried, right = added.sum(axis=1).tolist()
            forward, backward = map(int, total([passes["forward"], passes["backward"]], inputs.device))
            sums.update(steps=1, tried=tried, right=right, loss=loss * tried, forward=forward, backward=backward)
            sums["loading_seconds"] += loading
            sums["seconds"] = time.perf_counter() - began
            bar.set_postfix(epoch=f"{epoch + 1}/{epochs}", loss=f"{loss:.3f}", refresh=False)
            bar.update(count)
            if last:
                records.append(_record(mean, stand, watch if me == 0 else None))
                sums.clear()
                if log and me == 0:
                    _keep(log, b"".join(json.dumps(record).encode() + b"\n" for record in records))
            if checkpoint and pause and me == 0:
                _store(checkpoint, model, descending, how, stand, mean, left)
                saved = time.monotonic()
    if average:
        model.load_state_dict(mean.state_dict())
    model.eval()
    return records


def _lean(mean: nn.Module, model: nn.Module, keep: float) -> None:
    """Move the mean, of what it was a share `keep`, towards the model; counts are copied."""
    with torch.no_grad():
        for old, new in zip(mean.state_dict().values(), model.state_dict().values(), strict=True):
            if old.is_floating_point():
                old.lerp_(new, 1 - keep)
            else:
                old.copy_(new)


def _check_accumulating(strategy: str, processes: int) -> None:
    if strategy == "max":
        raise ValueError("attacks that accumulate have each its own images, of which max cannot say which is worst: "
                         "bring them together by avg, e-at or alternating")  # fmt: skip
    if processes > 1:
        raise ValueError(f"{processes} processes cannot share what attacks that accumulate have left: use one")


def _check_teacher(teacher: nn.Module, model: nn.Module, x: Tensor, y: Tensor) -> None:
    try:
        check_task(teacher, (), x, y)
    except ValueError as error:
        raise ValueError(f"the teacher is no model for these images: {error}") from error
    few = x[:1].to(next(model.parameters()).device)
    with evaluating(teacher), evaluating(model), torch.no_grad():
        theirs, ours = teacher(few).shape[1], model(few).shape[1]
    if theirs != ours:
        raise ValueError(f"the teacher knows {theirs} classes, but the model {ours}: they must be the same")


def _check_numbers(epochs: int, batch: int, warmup: int, lr: float, average: float) -> None:
    for name, value, least in (("epochs", epochs, 1), ("batch", batch, 1), ("warmup", warmup, 0)):
        check_count(value, name, least)
    if not 0 < lr < inf:
        raise ValueError(f"the learning rate is {lr}, but must be positive and finite")
    if not 0 <= average < 1:
        raise ValueError(f"average is {average}, but must be a share of [0, 1): 0.999 averages a thousand steps")


def _check_computing(x: Tensor, precision: str, memory_format: str) -> None:
    lookup(PRECISIONS, precision, "precision")
    lookup(MEMORY_FORMATS, memory_format, "memory format")
    if memory_format == "channels_last" and x.ndim != 4:
        raise ValueError(f"inputs of shape {tuple(x.shape[1:])} have no channels to put last: they must be images")


def _check_examples(x: Tensor, y: Tensor, steps: int, processes: int, moves: Augmentation | None) -> None:
    if len(y.unique()) < 2:
        raise ValueError(f"the {len(y)} training examples are all of class {int(y[0])}: a classifier needs two")
    if moves:
        try:
            moves.apply(x[:1], moves.draw(1, _rng(0)))
        except ValueError as error:
            raise ValueError(f"{error}; or train with augment='none'") from error
    if len(x) // steps < processes:
        raise ValueError(f"batches of {len(x) // steps} cannot be shared by {processes} processes: use larger ones")


def _tensors(images: Images) -> tuple[Tensor, Tensor]:
    """Not on torch's default device: a data set need not fit where its batches do."""
    return torch.tensor(images.x, device="cpu"), torch.tensor(images.y, device="cpu")


class _Stand(NamedTuple):
    """Where training stands: all of a checkpoint but its tensors."""

    records: list[dict]  # of whole epochs
    sums: Any  # a Counter over the steps of the epoch under way, of seconds too
    tally: np.ndarray  # (2, 1 + attacks): examples tried and right since training began, unperturbed and by attack


def _rng(seed: int, *moment: int) -> np.random.Generator:
    """The draws of an epoch, or of a step in an epoch."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=moment))


def _step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
    attacks: Sequence,
    examples: Callable,
    turn: Turn | None,
    batch: int,
    teacher: nn.Module | None,
) -> tuple[float, np.ndarray]:
    """Train on this process's share of a batch: the loss on all of it, and what it adds to the tally."""
    parts = [Points(x, torch.full_like(y, -1))]
    if attacks:
        with evaluating(network):
            parts = examples(network, x, y, attacks, turn)
    if len(parts) > 1 and any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in network.modules()):
        logits = network(torch.cat([part.x for part in parts])).split(len(x))
    else:
        logits = [network(part.x) for part in parts]  # the same up to rounding, in less memory
    losses = [cross_entropy(z, y) for z in logits]
    if teacher is not None:
        losses = [(a + _divergence(z, teacher, part.x)) / 2 for a, z, part in zip(losses, logits, parts, strict=True)]
    loss = sum(losses) / len(parts) * (len(y) / batch)
    right = (torch.stack(logits).argmax(dim=2) == y).cpu().numpy()
    whose = torch.stack([part.attack for part in parts]).cpu().numpy()
    count = [np.bincount(some + 1, minlength=1 + len(attacks)) for some in (whose.flatten(), whose[right])]
    value, *count = total([loss.item(), *np.concatenate(count)], x.device)
    if not isfinite(value):
        raise ValueError(f"the loss is {value}: lower the learning rate")
    optimizer.zero_grad()
    loss.backward()
    add_gradients(network.parameters())
    optimizer.step()
    take_first(network.buffers())  # batch norm's, whose shares differed
    return float(value), np.array(count, dtype=np.int64).reshape(2, -1)


TEMPERATURE = 2.0


def _divergence(logits: Tensor, teacher: nn.Module, x: Tensor) -> Tensor:
    """TEMPERATURE² KL(p_teacher ‖ p), both at TEMPERATURE, so that its gradient is as large as cross-entropy's."""
    with torch.no_grad():
        taught = (teacher(x) / TEMPERATURE).softmax(dim=1)
    return TEMPERATURE**2 * kl_div((logits / TEMPERATURE).log_softmax(dim=1), taught, reduction="batchmean")


def _check_finite(model: nn.Module) -> None:
    if not all(bool(weight.isfinite().all()) for weight in model.parameters()):
        raise ValueError("the weights are no longer finite: lower the learning rate")


# ---- how the network computes


PRECISIONS: Mapping[str, torch.dtype] = {"float32": torch.float32, "bf16": torch.bfloat16}
MEMORY_FORMATS: Mapping[str, torch.memory_format] = {
    "contiguous": torch.contiguous_format,
    "channels_last": torch.channels_last,
}
PLAIN = ("float32", False, "contiguous")


def lay_out(model: nn.Module, memory_format: str) -> nn.Module:
    """The model itself, its weights laid out so."""
    return model.to(memory_format=MEMORY_FORMATS[memory_format])  # type: ignore[call-overload]  # its stub has it not


class _Network(nn.Module):
    """The model as attacks and steps see it: the same weights and logits, computed in another way."""

    def __init__(self, model: nn.Module, precision: str, compile: bool, memory_format: str):
        super().__init__()
        self.model = model
        self.call = torch.compile(model.forward) if compile else model.forward  # no module: parameters are counted once
        self.lower = PRECISIONS[precision] != torch.float32
        self.precision, self.layout = PRECISIONS[precision], MEMORY_FORMATS[memory_format]

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, self.precision, enabled=self.lower):
            return self.call(x.contiguous(memory_format=self.layout)).to(x.dtype)


@contextmanager
def _computing(model: nn.Module, precision: str, compile: bool, memory_format: str) -> Iterator[nn.Module]:
    """The model laid out and wrapped for the block."""
    if (precision, compile, memory_format) == PLAIN:
        yield model
        return
    lay_out(model, memory_format)
    try:
        yield _Network(model, precision, compile, memory_format)
    finally:
        lay_out(model, "contiguous")


@contextmanager
def _teaching(teacher: nn.Module | None, *computing) -> Iterator[nn.Module | None]:
    """The teacher, if there is one, computing as the model does, in eval mode, for the block."""
    if teacher is None:
        yield None
        return
    with evaluating(teacher), _computing(teacher, *computing) as network:
        yield network


# ---- records


def _record(model: nn.Module, stand: _Stand, watch: tuple[Mapping, Images] | None) -> dict:
    """The record of the epoch that has just ended."""
    records, sums, tally = stand
    before = records[-1]["so_far"] if records else {"chosen": 0} | dict.fromkeys(("steps", "forward", "backward"), 0)
    so_far = {what: before[what] + sums[what] for what in ("steps", "forward", "backward")}
    so_far["chosen"] = tally[0, 1:].tolist()
    record = {
        "epoch": len(records) + 1,
        "loss": sums["loss"] / sums["tried"],
        "accuracy": sums["right"] / sums["tried"],
        "forward": sums["forward"],
        "backward": sums["backward"],
        "chosen": ((tally[0, 1:] - before["chosen"]) / sums["tried"]).round(6).tolist(),
        "so_far": so_far,
        "seconds": round(sums["seconds"], 3),
        "loading_seconds": round(sums["loading_seconds"], 3),
    }
    if watch:
        began, (suite, images) = time.perf_counter(), watch
        # One seed and one chunk size: what is watched differs from epoch to epoch by the weights alone.
        outcomes = evaluate(model, suite, images.x, images.y, np.random.default_rng(0), chunk=100)
        record["watch"] = {row: outcomes.accuracy(*names) for row, names in outcomes.rows().items()}
        record["watch_seconds"] = round(time.perf_counter() - began, 3)
    return record


# ---- checkpoints: safetensors with JSON in the header, no pickle


def save_weights(path: Path, model: nn.Module, about: dict) -> None:
    """The model's weights and a JSON record in one safetensors file, whole or not at all."""
    _write(path, model.state_dict(), about)


def load_weights(path: Path, model: nn.Module) -> dict:
    """Put the weights of `save_weights` into the model and return the record.

    Raises ValueError for a damaged file and for the weights of another network.
    """
    tensors, about = _read(path)
    _put(tensors, model, path)
    return about


def _write(path: Path, tensors: Mapping[str, Tensor], about: dict) -> None:
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    record = json.dumps(about)
    _keep(path, save(tensors, {"about": record, "crc32": _checksum(tensors, record)}))


def _keep(path: Path, content: bytes) -> None:
    """Put the content in the place of what the file held. OSError as `write_atomically`."""
    try:
        with write_atomically(path) as file:
            file.write(content)
    except OSError as error:
        raise OSError(f"{error}; the same call goes on from the last checkpoint") from error


def _read(path: Path) -> tuple[dict[str, Tensor], dict]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors, header = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()
        about = json.loads(header["about"])
        # Weights written by others, and before there was a checksum, have none.
        if header.get("crc32") not in (None, _checksum(tensors, header["about"])):
            raise ValueError("its checksum is another")
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}): delete it to train again") from error
    return tensors, about


def _checksum(tensors: Mapping[str, Tensor], record: str) -> str:
    crc = zlib.crc32(record.encode())
    for name in sorted(tensors):
        content = tensors[name].reshape(-1).view(torch.uint8).numpy().data
        crc = zlib.crc32(content, zlib.crc32(f"{name} {tensors[name].shape}".encode(), crc))
    return f"{crc:08x}"


def _put(tensors: dict[str, Tensor], model: nn.Module, path: Path) -> None:
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"{path} holds the weights of another network: delete it to train again") from error


def _store(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    how: str,
    stand: _Stand,
    mean: nn.Module,
    left: Left | None,
) -> None:
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    if mean is not model:
        tensors |= {f"mean.{name}": tensor for name, tensor in mean.state_dict().items()}
    if left:
        tensors |= {f"left.{name}": tensor for name, tensor in left.tensors().items()}
    state = optimizer.state_dict()["state"]
    tensors |= {f"optimizer.{i}.{name}": part for i, parts in state.items() for name, part in parts.items()}
    _write(path, tensors, {"how": how, **stand._asdict(), "tally": stand.tally.tolist()})


def _restore(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, how: str, mean: nn.Module, left: Left | None
) -> _Stand:
    """Put a checkpoint's tensors where they belong; where it stands."""
    tensors, about = _read(path)
    if about.get("how") != how:
        raise ValueError(f"{path} is the checkpoint of other training: delete it to train again")
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        owner, _, part = name.partition(".")
        parts.setdefault(owner, {})[part] = tensor
    _put(parts["model"], model, path)
    if mean is not model:
        _put(parts["mean"], mean, path)
    if left:
        for name, tensor in left.tensors().items():
            tensor.copy_(parts["left"][name])
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in parts.get("optimizer", {}).items():
        i, _, part = name.partition(".")
        state.setdefault(int(i), {})[part] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    return _Stand(about["records"], Counter(about["sums"]), np.array(about["tally"]))
