"""What is kept of trained runs and their evaluations, read without making anything: what is missing stays missing.

A run is a folder RUNS/NAME, as `tradeoff.experiments` makes it: `experiment.json`, `log.jsonl` and
`weights.safetensors` of its training, and a folder SUITE-N with the outcomes of every evaluation by a suite on the
first N test examples.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tradeoff.files import read_json
from tradeoff.outcomes import Outcomes

RUNS = Path(__file__).parent / "results" / "runs"  # those that are committed


@dataclass(frozen=True, eq=False)
class Record:
    """A run as far as it is there: `experiment` is what was declared ("" if nothing is there), `log` a record per epoch
    (see `tradeoff.training.fit`), `outcomes` the evaluations by suite, of each suite that of most examples."""

    name: str
    folder: Path
    experiment: str = ""
    log: tuple[dict, ...] = ()
    outcomes: Mapping[str, Outcomes] = field(default_factory=dict)

    @property
    def network(self) -> str | None:
        """The name of the network in `tradeoff.models`."""
        declared = re.search(r"\bmodel='(\w+)'", self.experiment)
        return declared[1] if declared else None

    @property
    def epochs(self) -> int | None:
        """The number of epochs declared."""
        declared = re.search(r"\bepochs=(\d+)", self.experiment)
        return int(declared[1]) if declared else None

    @property
    def finished(self) -> bool:
        """Whether training has ended: the weights are there, or, as large ones are not committed, all epochs."""
        return (self.folder / "weights.safetensors").exists() or len(self.log) == self.epochs

    @property
    def lineage(self) -> tuple["Record", ...]:
        """The runs whose weights training began with, and those that these began with, each once and after its own
        beginnings; itself last."""
        start = re.search(r"\bstart=('[^']+'|\([^)]+\))", self.experiment)
        names = re.findall("'([^']+)'", start[1]) if start else ()
        before = {run.name: run for name in names for run in read(name, self.folder.parent).lineage}
        return (*before.values(), self)

    @property
    def history(self) -> tuple[dict, ...]:
        """The logs of its lineage, one after the other."""
        return tuple(record for run in self.lineage for record in run.log)

    def passes(self) -> np.ndarray:
        """The passes of training since it began, after each epoch of `history`, float (epochs,): a forward and a
        backward pass of an example count as one.

        >>> Record("a", Path(), log=({"forward": 6, "backward": 4}, {"forward": 3, "backward": 1})).passes()
        array([5., 7.])
        """
        return np.cumsum([(record["forward"] + record["backward"]) / 2 for record in self.history])

    def watched(self, row: str) -> np.ndarray:
        """The watched accuracy ("clean", a set or "union") after each epoch of `history`, float (epochs,); NaN where
        unknown."""
        return np.array([record.get("watch", {}).get(row, np.nan) for record in self.history])


def read(name: str, runs: Path | None = None) -> Record:
    """The run in the folder `runs`, by default the committed one. ValueError for a damaged file."""
    folder = (RUNS if runs is None else Path(runs)) / name
    declared, log = folder / "experiment.json", folder / "log.jsonl"
    record = read_json(declared) if declared.exists() else {"experiment": ""}
    experiment = record.get("experiment") if isinstance(record, dict) else None
    if not isinstance(experiment, str):
        raise ValueError(f"{declared} is damaged (it names no experiment): delete it to make it again")
    records = read_log(log) if log.exists() else ()
    found: dict[str, Outcomes] = {}
    for path in folder.glob("*-*/outcomes.json"):
        suite, _, number = path.parent.name.rpartition("-")
        if number.isdecimal() and path.with_suffix(".npz").exists():
            outcomes = Outcomes.load(path)
            if suite not in found or len(outcomes.correct) > len(found[suite].correct):
                found[suite] = outcomes
    return Record(name, folder, experiment, records, found)


def read_log(path: Path) -> tuple[dict, ...]:
    """The records of a training's epochs. ValueError for a damaged file."""
    try:
        records = tuple(json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
        if not all(isinstance(record, dict) for record in records):
            raise ValueError("a line is no record of an epoch")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}): delete it to make it again") from error
    return records


def standing(record: Record, S) -> np.ndarray | None:
    """The examples that stand under every attack on the set S, of those evaluations that attack it on the most
    examples, bool; None without any.

    >>> one = Outcomes(np.array([[1, 1], [1, 0], [1, 1]], dtype=bool), ("clean", "a"), ("", "linf:0.3"))
    >>> two = Outcomes(np.array([[1, 0], [1, 1], [1, 1]], dtype=bool), ("clean", "b"), ("", "linf:0.3"))
    >>> few = Outcomes(np.array([[1, 0]], dtype=bool), ("clean", "c"), ("", "linf:0.3"))
    >>> record = Record("x", Path(), outcomes={"one": one, "two": two, "few": few})
    >>> standing(record, Linf(0.3)), standing(record, L1(10))
    (array([False, False,  True]), None)
    """
    found = []
    for outcomes in attacking(record, S):
        columns = [k for k, text in enumerate(outcomes.sets) if k == 0 or text == str(S)]
        found.append(~(outcomes.tried & ~outcomes.correct)[:, columns].any(axis=1))
    return np.all(found, axis=0) if found else None


def attacking(record: Record, S) -> list[Outcomes]:
    """The evaluations that attack the set S, on the most examples on which any does."""
    found = [outcomes for outcomes in record.outcomes.values() if str(S) in outcomes.sets]
    most = max((len(outcomes.correct) for outcomes in found), default=0)
    return [outcomes for outcomes in found if len(outcomes.correct) == most]


def sources(evaluations: Iterable[Outcomes]) -> str:
    """What was attacked in the evaluations, each data set and number of examples once."""
    found = {outcomes.about.get("data", "unknown") for outcomes in evaluations}
    return "; ".join(sorted(found)) or "nothing measured yet"


def folder_of_runs(text: str | Path) -> Path:
    """The folder that a command's --runs names. ValueError unless it is one."""
    if not Path(text).is_dir():
        raise ValueError(f"{text} is not a folder: give that of the runs")
    return Path(text)


def read_all(names: Iterable[str], runs: Path | None = None) -> dict[str, Record]:
    """The runs by name, each read once."""
    return {name: read(name, runs) for name in dict.fromkeys(names)}
