"""One evaluation is one boolean matrix, examples × attacks, on the same points; every number derives from it."""

from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tradeoff.files import read_json, write_atomically, write_json
from tradeoff.names import lookup
from tradeoff.paired import exact_interval
from tradeoff.perturbations import parse


class Gain(NamedTuple):
    """What one attack added to those before it. Numbers of examples, but for `passes` and `seconds`."""

    attack: str
    set: str
    tried: int
    broken: int  # of its set, by no attack before
    union: int  # of any set (mixtures aside), by no attack before
    passes: float | None  # forward and backward passes per example of the whole matrix: (forward + backward) / 2n
    seconds: float | None


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Which examples are still classified correctly under which attack.

    `correct` is bool (n, attacks); `attacks` names the columns, the first of which is "clean"; `sets` gives each
    column's perturbation set as text (`tradeoff.perturbations.parse` reads it back), "" for the clean one; `about`
    holds what else belongs to the result (seed, data, versions, seconds, passes).

    `tried` is of the same shape, all True unless given: a cascade spares an attack the examples that an attack before
    it has broken on the same set, or on a part of it. Such a cell is not `correct`, as the example does not stand.

    A set whose text joins several ("linf:0.3 | l1:10") is that of an attack which picks one of them for each example.
    What it breaks counts for the union, and for no set of its own.

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
    tried: np.ndarray | None = None

    def __post_init__(self):
        if self.correct.ndim != 2 or self.correct.dtype != bool or not len(self.correct):
            raise ValueError(f"outcomes are a bool matrix examples × attacks, not {self.correct.dtype} of shape "
                             f"{self.correct.shape}")  # fmt: skip
        if not self.correct.shape[1] == len(self.attacks) == len(self.sets) or self.attacks[:1] != ("clean",):
            raise ValueError(
                f"{self.correct.shape[1]} columns, attacks {self.attacks} and sets {self.sets} do not match"
            )
        names = self.set_names
        for attack, S in zip(self.attacks, self.sets, strict=True):
            if attack in names and attack != _family(S):
                raise ValueError(f"the attack {attack!r} searches {S}: name it otherwise, as another set is called so")
        if self.tried is None:
            object.__setattr__(self, "tried", np.ones_like(self.correct))
        if self.tried.dtype != bool or self.tried.shape != self.correct.shape:
            raise ValueError(f"what was tried is {self.tried.dtype} of shape {self.tried.shape}, but must be bool of "
                             f"shape {self.correct.shape}, as the outcomes")  # fmt: skip
        for k, attack in enumerate(self.attacks):
            spared = ~self.tried[:, k]
            if spared.any() and (spared & (self.correct[:, k] | standing_before(self.correct, self.sets, k))).any():
                raise ValueError(f"{attack!r} was not tried on examples that no attack before it on the same set has "
                                 "broken: their outcome is unknown")  # fmt: skip

    @property
    def families(self) -> tuple[str, ...]:
        """The set that each column attacks, without its size: ("", "linf", "l1", "linf+l1"); "" without an attack."""
        return tuple(map(_family, self.sets))

    @property
    def set_names(self) -> tuple[str, ...]:
        """The perturbation sets attacked, without their sizes and in order: ("linf", "l1", "linf+l1", "linf|l1")."""
        return tuple(dict.fromkeys(self.families[1:]))

    @property
    def _unmixed(self) -> tuple[str, ...]:
        return tuple(name for name in self.set_names if "+" not in name) or self.set_names

    @property
    def _plain(self) -> tuple[str, ...]:
        return tuple(name for name in self._unmixed if "|" not in name) or self._unmixed or ("clean",)

    def standing(self, *names: str) -> np.ndarray:
        """The examples that no attack on the named sets (and no named attack) breaks, bool (n,).

        Several names are the union adversary; an example misclassified from the start never stands. Raises ValueError
        for a name that is neither a set nor an attack here, and for an attack that a cascade spared some of the
        examples on which the answer depends.
        """
        known = dict.fromkeys((*self.attacks, *self.set_names))
        for name in names:
            lookup(known, name, "set or attack")
        families = [name for name in names if name in self.set_names]
        columns = [k for k, (attack, S) in enumerate(zip(self.attacks, self.sets, strict=True))
                   if k == 0 or attack in names or any(_within(_family(S), name) for name in families)]  # fmt: skip
        broken = (self.tried & ~self.correct)[:, columns].any(axis=1)
        unknown = ~broken & ~self.tried[:, columns].all(axis=1)
        if unknown.any():
            raise ValueError(f"{', '.join(names)}: not tried on {unknown.sum()} examples that attacks before had "
                             "broken: ask for the set, or evaluate without a cascade")  # fmt: skip
        return ~broken

    def accuracy(self, *names: str) -> float:
        """The share of examples standing under the union of the named sets or attacks; without names, unperturbed."""
        return float(self.standing(*names).mean())

    def union(self) -> float:
        """1 - R_max: accuracy when the adversary picks the set for each example, among all but the mixtures of two."""
        return self.accuracy(*self._unmixed)

    def average(self, *names: str) -> float:
        """1 - R_avg: the mean over the sets (all but mixtures and unions, unless named) of the accuracy under each."""
        return float(np.mean([self.accuracy(name) for name in names or self._plain]))

    def interval(self, *names: str, confidence: float = 0.95) -> tuple[float, float]:
        """The exact (Clopper–Pearson) binomial interval of `accuracy(*names)`."""
        standing = self.standing(*names)
        return exact_interval(standing.sum(), len(standing), confidence)

    def rows(self) -> dict[str, tuple[str, ...]]:
        """What a table shows, by name, and the sets that each row is the accuracy under: nothing, each set, all."""
        sets = {name: (name,) for name in self.set_names if "|" not in name}
        return {"clean": (), **sets, "union": self._unmixed}

    def table(self) -> dict[str, dict]:
        """Clean, each set and union: accuracy and its 95 % interval; and the average accuracy."""
        numbers = {
            row: {"accuracy": self.accuracy(*names), "interval": self.interval(*names)}
            for row, names in self.rows().items()
        }
        return numbers | {"average": {"accuracy": self.average()}}

    def gains(self) -> tuple[Gain, ...]:
        """What each attack added, in order, and what it cost.

        >>> correct = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 1], [0, 0, 0]], dtype=bool)
        >>> gains = Outcomes(correct, ("clean", "pgd", "apgd"), ("", "linf:0.3", "linf:0.3")).gains()
        >>> [(gain.attack, gain.tried, gain.broken) for gain in gains]
        [('pgd', 4, 1), ('apgd', 4, 1)]
        """
        gains, union = [], self.correct[:, 0]
        passes, seconds = self.about.get("passes", {}), self.about.get("seconds", {})
        for k, (attack, S) in enumerate(zip(self.attacks, self.sets, strict=True)):
            if k == 0:
                continue
            broken = self.tried[:, k] & ~self.correct[:, k]
            new = broken & standing_before(self.correct, self.sets, k)
            counts = _family(S) in self._unmixed
            cost = sum(passes[attack].values()) / 2 / len(self.correct) if attack in passes else None
            gains.append(Gain(attack, S, int(self.tried[:, k].sum()), int(new.sum()),
                              int((union & broken).sum()) if counts else 0, cost, seconds.get(attack)))  # fmt: skip
            if counts:
                union = union & ~broken
        return tuple(gains)

    def differs(self, other: "Outcomes") -> np.ndarray:
        """The cells in which another evaluation of the same examples by the same attacks ends otherwise, bool
        (n, attacks): another chunk size should leave none but a few borderline ones. Raises ValueError where examples
        or attacks do not match."""
        if (self.attacks, self.sets, len(self.correct)) != (other.attacks, other.sets, len(other.correct)):
            raise ValueError("the two evaluations are of other attacks or of another number of examples")
        return (self.correct != other.correct) | (self.tried != other.tried)

    def save(self, path: str | Path) -> None:
        """Write the matrix and, last, the rest: `path` with the suffix .npz and .json, each whole or not at all."""
        path = Path(path)
        cells = np.packbits([self.correct, self.tried], axis=1)
        with write_atomically(path.with_suffix(".npz")) as file:
            np.savez_compressed(file, cells=cells, n=len(self.correct))
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
                cells = arrays["cells"] if "cells" in arrays else arrays["correct"][None]  # once, all was tried
                n = int(arrays["n"])
                if -(-n // 8) != cells.shape[1]:  # before anything is made that is n long
                    raise ValueError(f"{n} examples do not take {cells.shape[1]} bytes")
                correct, *tried = np.unpackbits(cells, axis=1, count=n).astype(bool)
        except Exception as error:  # a damaged zip file has a dozen ways to fail
            raise ValueError(f"{matrix} is damaged ({error}): delete it to evaluate again") from error
        try:
            return cls(correct, tuple(record["attacks"]), tuple(record["sets"]), record["about"], *tried)
        except (KeyError, ValueError, TypeError) as error:
            raise ValueError(f"{rest} does not go with {matrix.name} ({error}): delete it to evaluate again") from error


def standing_before(correct: np.ndarray, sets: tuple[str, ...], k: int) -> np.ndarray:
    """The examples, bool (n,), that neither misclassification nor any column before k has settled for the set of k: the
    columns of that set, and of sets that are members of it."""
    return np.all(correct[:, [j for j in range(k) if j == 0 or _within(sets[j], sets[k])]], axis=1)


def _within(a: str, b: str) -> bool:
    """Whether the members of the union a, by name or by text, are members of b: "linf" of "linf|l1"."""
    parts = [{part.strip() for part in S.split("|")} for S in (a, b)]
    return parts[0] <= parts[1]


def _family(S: str) -> str:
    """ "linf" of "linf:0.3", "rt+linf" of "rt:3px,30deg + linf:0.3"."""
    return parse(S).name if S else ""
