"""One evaluation is one boolean matrix, examples × attacks, on the same points; every number derives from it."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from scipy.stats import binomtest
from torch import nn

from tradeoff.attacks.ascent import Model, check_batch, check_count, check_fits, check_logits, evaluating, look
from tradeoff.attacks.draws import Draws
from tradeoff.files import read_json, write_atomically, write_json
from tradeoff.names import lookup
from tradeoff.perturbations import parse
from tradeoff.progress import progress_bar


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Which examples are still classified correctly under which attack.

    `correct` is bool (n, attacks); `attacks` names the columns, the first of which is "clean"; `sets` gives each
    column's perturbation set as text (`tradeoff.perturbations.parse` reads it back), "" for the clean one; `about`
    holds what else belongs to the result (seed, data, versions, seconds).

    >>> correct = np.array([[1, 1, 0], [1, 0, 1], [1, 1, 1], [0, 0, 0]], dtype=bool)
    >>> outcomes = Outcomes(correct, ("clean", "pgd", "slide"), ("", "linf:0.3", "l1:10"))
    >>> outcomes.accuracy(), outcomes.accuracy("linf"), outcomes.accuracy("linf", "l1")
    (0.75, 0.5, 0.25)
    >>> outcomes.average("linf", "l1"), outcomes.union()
    (0.5, 0.25)
    """

    correct: np.ndarray
    attacks: tuple[str, ...]
    sets: tuple[str, ...]
    about: dict = field(default_factory=dict)

    def __post_init__(self):
        if self.correct.ndim != 2 or self.correct.dtype != bool or not len(self.correct):
            raise ValueError(f"outcomes are a bool matrix examples × attacks, not {self.correct.dtype} of shape "
                             f"{self.correct.shape}")  # fmt: skip
        if not self.correct.shape[1] == len(self.attacks) == len(self.sets) or self.attacks[:1] != ("clean",):
            raise ValueError(
                f"{self.correct.shape[1]} columns, attacks {self.attacks} and sets {self.sets} do not match"
            )
        for attack, S in zip(self.attacks, self.sets, strict=True):
            if attack in self.set_names and attack != _family(S):
                raise ValueError(f"the attack {attack!r} searches {S}: name it otherwise, as another set is called so")

    @property
    def set_names(self) -> tuple[str, ...]:
        """The perturbation sets attacked, without their sizes and in order: ("linf", "l1", "linf+l1")."""
        return tuple(dict.fromkeys(map(_family, self.sets[1:])))

    @property
    def _unmixed(self) -> tuple[str, ...]:
        return tuple(name for name in self.set_names if "+" not in name) or self.set_names

    def standing(self, *names: str) -> np.ndarray:
        """The examples that no attack on the named sets (and no named attack) breaks, bool (n,).

        Several names are the union adversary; an example misclassified from the start never stands. Raises ValueError
        for a name that is neither a set nor an attack here.
        """
        known = dict.fromkeys((*self.attacks, *self.set_names))
        for name in names:
            lookup(known, name, "set or attack")
        columns = [k == 0 or attack in names or _family(S) in names
                   for k, (attack, S) in enumerate(zip(self.attacks, self.sets, strict=True))]  # fmt: skip
        return self.correct[:, columns].all(axis=1)

    def accuracy(self, *names: str) -> float:
        """The share of examples standing under the union of the named sets or attacks; without names, unperturbed."""
        return float(self.standing(*names).mean())

    def union(self) -> float:
        """1 - R_max: accuracy when the adversary picks the set for each example, among all but the mixtures of two."""
        return self.accuracy(*self._unmixed)

    def average(self, *names: str) -> float:
        """1 - R_avg: the mean over the sets (all but mixtures, unless named) of the accuracy under each."""
        return float(np.mean([self.accuracy(name) for name in names or self._unmixed or ("clean",)]))

    def interval(self, *names: str, confidence: float = 0.95) -> tuple[float, float]:
        """The exact (Clopper–Pearson) binomial interval of `accuracy(*names)`."""
        standing = self.standing(*names)
        found = binomtest(int(standing.sum()), len(standing)).proportion_ci(confidence, method="exact")
        return float(found.low), float(found.high)

    def table(self) -> dict[str, dict]:
        """Clean, each set and union: accuracy and its 95 % interval; and the average accuracy."""
        rows = {"clean": (), **{name: (name,) for name in self.set_names}, "union": self._unmixed}
        numbers = {
            row: {"accuracy": self.accuracy(*names), "interval": self.interval(*names)} for row, names in rows.items()
        }
        return numbers | {"average": {"accuracy": self.average()}}

    def save(self, path: str | Path) -> None:
        """Write the matrix and, last, the rest: `path` with the suffix .npz and .json, each whole or not at all."""
        path = Path(path)
        with write_atomically(path.with_suffix(".npz")) as file:
            np.savez_compressed(file, correct=np.packbits(self.correct, axis=0), n=len(self.correct))
        write_json(path.with_suffix(".json"), {"attacks": self.attacks, "sets": self.sets, "about": self.about,
                                               "table": self.table()})  # fmt: skip

    @classmethod
    def load(cls, path: str | Path) -> "Outcomes":
        """Read what `save` wrote. ValueError for a damaged file, FileNotFoundError for a missing one."""
        matrix, rest = (Path(path).with_suffix(suffix) for suffix in (".npz", ".json"))
        record = read_json(rest)
        content = BytesIO(matrix.read_bytes())
        try:
            with np.load(content, allow_pickle=False) as arrays:
                correct = np.unpackbits(arrays["correct"], axis=0, count=int(arrays["n"])).astype(bool)
        except Exception as error:  # a damaged zip file has a dozen ways to fail
            raise ValueError(f"{matrix} is damaged ({error}): delete it to evaluate again") from error
        try:
            return cls(correct, tuple(record["attacks"]), tuple(record["sets"]), record["about"])
        except (KeyError, ValueError, TypeError) as error:
            raise ValueError(f"{rest} does not go with {matrix.name} ({error}): delete it to evaluate again") from error


def _family(S: str) -> str:
    """ "linf" of "linf:0.3", "rt+linf" of "rt:3px,30deg + linf:0.3"."""
    return parse(S).name if S else ""


def evaluate(
    model: Model,
    attacks: Mapping | Sequence,
    x: np.ndarray | torch.Tensor,
    y: np.ndarray | torch.Tensor,
    rng: np.random.Generator,
    *,
    chunk: int = 100,
    progress: str | None = None,
    about: dict | None = None,
) -> Outcomes:
    """Attack the model on every example with every attack.

    Parameters: `model` maps float inputs to logits; `attacks` maps names to attacks (a plain sequence is named for you,
    "PGD linf:0.3" and the like); `x` (n, ...) float and `y` (n,) int64 are NumPy arrays or tensors, moved to the
    model's device `chunk` examples at a time. Draws are keyed by the content of the example, the name of the attack and
    one integer of `rng`, so neither `chunk` nor the order of examples or attacks changes a draw. `progress` is the
    label of a progress bar (none without); `about` is kept with the result.

    Raises ValueError for bad input, a model that does not return finite logits, and a name that is taken (that of
    another attack's set, or "clean"), before any attack.
    """
    attacks = _named(attacks)
    if "clean" in attacks:
        raise ValueError("no attack may be called 'clean': that is the column without an attack")
    check_count(chunk, "chunk")
    x, y = _on_cpu(x), _on_cpu(y)
    check_task(model, attacks.values(), x, y)
    columns = {"clean": None, **attacks}
    about = {**(about or {}), "seed": int(rng.integers(2**63)), "seconds": {}, "attacks": describe(attacks)}
    outcomes = Outcomes(np.zeros((len(x), len(columns)), dtype=bool), tuple(columns),
                        ("", *(str(attack.S) for attack in attacks.values())), about)  # fmt: skip
    device = _device(model)
    with progress_bar(outcomes.correct.size, progress) as bar, evaluating(model):
        for k, (name, attack) in enumerate(columns.items()):
            began = time.perf_counter()
            for i in range(0, len(x), chunk):
                points, labels = x[i : i + chunk].to(device), y[i : i + chunk].to(device)
                if attack:
                    draws = Draws.for_examples(x[i : i + chunk].numpy(), about["seed"], name)
                    points = attack(model, points, labels, draws)
                outcomes.correct[i : i + chunk, k] = ~look(model, points, labels, "margin").broken.cpu().numpy()
                bar.update(len(labels))
            about["seconds"][name] = round(time.perf_counter() - began, 3)
    return outcomes


def _named(attacks: Mapping | Sequence) -> dict:
    """The attacks by name; of a sequence by class and set, numbered where that is not enough."""
    if isinstance(attacks, Mapping):
        return dict(attacks)
    names = [f"{type(attack).__name__} {attack.S}" for attack in attacks]
    numbered = (
        f"{name} #{names[: k + 1].count(name)}" if names.count(name) > 1 else name for k, name in enumerate(names)
    )
    return dict(zip(numbered, attacks, strict=True))


def describe(attacks: Mapping) -> dict[str, str]:
    """How each attack is configured, as text."""
    return {name: repr(attack) for name, attack in attacks.items()}


def check_task(model: Model, attacks: Iterable, x: torch.Tensor, y: torch.Tensor) -> None:
    """ValueError unless every attack can take all of x and y, and the model gives logits for their like.

    No attack is run; the model sees eight examples.
    """
    check_batch(x, y, None)
    for attack in attacks:
        check_batch(x, y, attack.box)
        check_fits(attack.S, x, attack.box)
    few = x[:8].to(_device(model))
    try:
        with evaluating(model), torch.no_grad():
            logits = model(few)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"the model cannot take {few.dtype} inputs of shape {tuple(few.shape)}: {reason}") from error
    check_logits(logits, y)


def _on_cpu(v: np.ndarray | torch.Tensor) -> torch.Tensor:
    # A copy: torch's views want writable arrays.
    return v.detach().cpu() if isinstance(v, torch.Tensor) else torch.from_numpy(np.array(v))


def _device(model: Model) -> torch.device:
    parameter = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return torch.device("cpu") if parameter is None else parameter.device
