"""Adversarial training on one set of perturbations or several (Madry et al. 2018; Tramèr & Boneh 2019, section 4)."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tradeoff.attacks import worst
from tradeoff.attacks.ascent import check_batch, check_fits, look
from tradeoff.data import Images
from tradeoff.files import write_atomically
from tradeoff.names import lookup
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

    Adam at `lr`, a tenth of it from half way on. The radii grow evenly over `warmup` epochs, from a third of their size
    in the first to all of it after the last (the paper's one epoch at a third is warmup=1). All draws of an epoch
    derive from (seed, epoch), so training that is resumed from `checkpoint` (written after every epoch, whole or not
    at all) gives the same weights as training that never stopped. `label` names the progress bar (none without).

    Records: epoch, loss (mean cross-entropy of the examples trained on), accuracy (on them), forward and backward
    (passes, in examples), seconds. Raises ValueError for bad input before any step, and when the loss diverges.
    """
    examples = lookup(STRATEGIES, strategy, "strategy")
    for name, value in (("epochs", epochs), ("batch", batch), ("warmup", warmup)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} is {value!r}, but must be an integer ≥ 1")
    if not lr > 0:
        raise ValueError(f"the learning rate is {lr}, but must be positive")
    if len(np.unique(images.y)) < 2:
        raise ValueError(f"the {len(images)} training examples are all of class {images.y[0]}: a classifier needs two")
    x, y = torch.tensor(images.x), torch.tensor(images.y)
    for attack in attacks or [None]:
        check_batch(x, y, (0.0, 1.0))
        if attack:
            check_fits(attack.S, x, (0.0, 1.0))
    model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr)
    log: list[dict] = []
    if checkpoint and checkpoint.exists():
        log = _restore(checkpoint, model, optimizer)
    passes = _PassCounter(model)
    total = epochs * len(x)
    with progress_bar(total, label, done=len(log) * len(x)) as bar:
        for epoch in range(len(log), epochs):
            began = time.perf_counter()
            for group in optimizer.param_groups:
                group["lr"] = lr if epoch < epochs / 2 else lr / 10
            share = min(1.0, (1 + 2 * epoch / warmup) / 3)
            now = [replace(attack, S=attack.S.scaled(share)) for attack in attacks]
            rng = np.random.default_rng([seed, epoch])
            losses, hits = [], []
            for rows in np.array_split(rng.permutation(len(x)), max(1, len(x) // batch)):
                labels = y[rows].to(device)
                points = examples(model, x[rows].to(device), labels, now, rng)
                model.train()
                logits = [model(p) for p in points]
                loss = sum(cross_entropy(z, labels) for z in logits) / len(logits)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                hits.append(float(torch.cat([(z.argmax(dim=1) == labels) for z in logits]).double().mean()))
                if not np.isfinite(losses[-1]):
                    raise ValueError(f"the loss is {losses[-1]} in epoch {epoch + 1}: lower the learning rate {lr}")
                bar.set_postfix(epoch=f"{epoch + 1}/{epochs}", loss=f"{losses[-1]:.3f}", refresh=False)
                bar.update(len(rows))
            log.append(
                {"epoch": epoch + 1, "loss": float(np.mean(losses)), "accuracy": float(np.mean(hits))}
                | passes.taken()
                | {"seconds": round(time.perf_counter() - began, 3)}
            )
            if checkpoint:
                _store(checkpoint, model, optimizer, log)
    passes.remove()
    model.eval()
    return log


class _PassCounter:
    """Counts the examples that pass a model forward, and those of them whose graph is kept for a backward pass."""

    def __init__(self, model: nn.Module):
        self.counts = {"forward": 0, "backward": 0}
        self._hook = model.register_forward_hook(self._count)

    def _count(self, model, inputs, output):
        self.counts["forward"] += len(output)
        self.counts["backward"] += len(output) if torch.is_grad_enabled() else 0

    def taken(self) -> dict:
        """The counts since the last call."""
        counts, self.counts = self.counts, {"forward": 0, "backward": 0}
        return counts

    def remove(self):
        self._hook.remove()


# ---- checkpoints: safetensors with JSON in the header, no pickle


def save_weights(path: Path, model: nn.Module, about: dict) -> None:
    """The model's weights and a JSON record in one safetensors file, whole or not at all."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with write_atomically(path) as file:
        file.write(save(tensors, {"about": json.dumps(about)}))


def load_weights(path: Path, model: nn.Module) -> dict:
    """Put the weights of `save_weights` into the model and return the record. ValueError for a damaged file."""
    tensors, about = _read(path)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"{path} holds the weights of another network: {' '.join(str(error).split())}") from error
    return about


def _read(path: Path) -> tuple[dict[str, Tensor], dict]:
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["about"])
        return load_file(path), about
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}): delete it to train again") from error


def _store(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, log: list[dict]) -> None:
    state = optimizer.state_dict()["state"]
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"optimizer.{i}.{name}": part for i, parts in state.items() for name, part in parts.items()}
    with write_atomically(path) as file:
        file.write(save({name: t.detach().cpu().contiguous() for name, t in tensors.items()},
                        {"about": json.dumps({"log": log})}))  # fmt: skip


def _restore(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> list[dict]:
    """Put a checkpoint's state into model and optimizer; the log so far."""
    tensors, about = _read(path)
    own = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
    try:
        model.load_state_dict(own)
    except RuntimeError as error:
        raise ValueError(f"{path} is a checkpoint of another network: delete it to train afresh") from error
    state: dict[int, dict] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, i, part = name.split(".", 2)
            state.setdefault(int(i), {})[part] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    return about["log"]
