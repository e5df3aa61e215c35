"""Adversarial training on one set of perturbations or several (Madry et al. 2018; Tramèr & Boneh 2019, section 4)."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import ceil, isfinite
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tradeoff.attacks import MSD, AffineAttack, worst
from tradeoff.attacks.ascent import check_count, look
from tradeoff.data import Images
from tradeoff.evaluation import check_task
from tradeoff.files import write_atomically
from tradeoff.names import lookup
from tradeoff.passes import count_passes
from tradeoff.progress import progress_bar


def average(model: nn.Module, x: Tensor, y: Tensor, attacks: Sequence, rng) -> list[Tensor]:
    """Every attack's examples: the loss is averaged over all of them. One attack is Madry et al.; none, natural."""
    return [attack(model, x, y, rng) for attack in attacks] or [x]


def maximum(model: nn.Module, x: Tensor, y: Tensor, attacks: Sequence, rng) -> list[Tensor]:
    """For each example the worst of the attacks, by cross-entropy."""

    def search(attack):
        return lambda x, y, draws: look(model, attack(model, x, y, draws), y, "ce")

    return [worst(model, x, y, map(search, attacks), rng, loss="ce", early_stop=False)]


STRATEGIES: Mapping[str, Callable] = {"avg": average, "max": maximum}


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
    checkpoint: Path | None = None,
    label: str | None = None,
) -> list[dict]:
    """Train `model` in place, on `device`, and return the log: a record per epoch.

    Adam at `lr`, a tenth of it from half way on, on batches of at most `batch` images. The sets grow evenly over
    `warmup` epochs, from a third of their size in the first to all of it after the last (the paper's one epoch at a
    third is warmup=1). All draws of an epoch derive from (seed, epoch), so training that is resumed from `checkpoint`
    (written after every epoch, whole or not at all) gives the same weights as training that never stopped. `label`
    names the progress bar (none without).

    Records: epoch, loss (mean cross-entropy of the examples trained on), accuracy (on them), forward and backward
    (passes, in examples), seconds. Raises ValueError for bad input and for the checkpoint of other training before any
    step, and when the loss diverges.
    """
    examples = lookup(STRATEGIES, strategy, "strategy")
    for name, value in (("epochs", epochs), ("batch", batch), ("warmup", warmup)):
        check_count(value, name)
    if not lr > 0:
        raise ValueError(f"the learning rate is {lr}, but must be positive")
    # Not on torch's default device: a data set need not fit where its batches do.
    x, y = torch.tensor(images.x, device="cpu"), torch.tensor(images.y, device="cpu")
    model.to(device)
    check_task(model, attacks, x, y)
    if len(y.unique()) < 2:
        raise ValueError(f"the {len(y)} training examples are all of class {int(y[0])}: a classifier needs two")
    optimizer = torch.optim.Adam(model.parameters(), lr)
    how = repr((strategy, tuple(attacks), epochs, lr, seed, batch, warmup, len(x), images.source))
    log = _restore(checkpoint, model, optimizer, how) if checkpoint and checkpoint.exists() else []
    with progress_bar(epochs * len(x), label, done=len(log) * len(x)) as bar, count_passes(model) as passes:
        for epoch in range(len(log), epochs):
            began = time.perf_counter()
            for group in optimizer.param_groups:
                group["lr"] = lr if epoch < epochs / 2 else lr / 10
            share = min(1.0, (1 + 2 * epoch / warmup) / 3)
            now = [_scaled(attack, share) for attack in attacks]
            rng = np.random.default_rng([seed, epoch])
            passes.clear()
            total, hits = 0.0, 0.0
            for rows in np.array_split(rng.permutation(len(x)), ceil(len(x) / batch)):
                labels = y[rows].to(device)
                points = examples(model, x[rows].to(device), labels, now, rng)
                model.train()
                logits = [model(p) for p in points]
                loss = sum(cross_entropy(z, labels) for z in logits) / len(logits)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                value = loss.item()
                if not isfinite(value):
                    raise ValueError(f"the loss is {value} in epoch {epoch + 1}: lower the learning rate {lr}")
                total += value * len(rows)
                hits += sum(int((z.argmax(dim=1) == labels).sum()) for z in logits) / len(logits)
                bar.set_postfix(epoch=f"{epoch + 1}/{epochs}", loss=f"{value:.3f}", refresh=False)
                bar.update(len(rows))
            log.append({"epoch": epoch + 1, "loss": total / len(x), "accuracy": hits / len(x), **passes,
                        "seconds": round(time.perf_counter() - began, 3)})  # fmt: skip
            if checkpoint:
                _store(checkpoint, model, optimizer, {"how": how, "log": log})
    model.eval()
    return log


def _scaled(attack, share: float):
    """The same attack on the scaled set."""
    if isinstance(attack, AffineAttack):
        return replace(attack, a=_scaled(attack.a, share), b=_scaled(attack.b, share))
    if isinstance(attack, MSD):
        return replace(attack, sets=attack.S.scaled(share).sets)
    return replace(attack, S=attack.S.scaled(share))


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
    with write_atomically(path) as file:
        file.write(save(tensors, {"about": json.dumps(about)}))


def _read(path: Path) -> tuple[dict[str, Tensor], dict]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["about"])
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}): delete it to train again") from error


def _put(tensors: dict[str, Tensor], model: nn.Module, path: Path) -> None:
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"{path} holds the weights of another network: delete it to train again") from error


def _store(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, about: dict) -> None:
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    state = optimizer.state_dict()["state"]
    tensors |= {f"optimizer.{i}.{name}": part for i, parts in state.items() for name, part in parts.items()}
    _write(path, tensors, about)


def _restore(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, how: str) -> list[dict]:
    """Put a checkpoint's state into model and optimizer; the log so far."""
    tensors, about = _read(path)
    if about.get("how") != how:
        raise ValueError(f"{path} is the checkpoint of other training: delete it to train again")
    own, state = {}, {}
    for name, tensor in tensors.items():
        owner, _, part = name.partition(".")
        if owner == "model":
            own[part] = tensor
        else:
            i, _, part = part.partition(".")
            state.setdefault(int(i), {})[part] = tensor
    _put(own, model, path)
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    return about["log"]
