"""Experiments are data: what is trained, on what, and how it is evaluated. Results are made when they are missing.

A run is a folder RUNS/NAME: `experiment.json` (what was declared, and the provenance), `log.jsonl` (a line per epoch),
`weights.safetensors`, `outcomes.npz` and `outcomes.json` (the outcome matrix); `checkpoint.safetensors` while training
is under way, from which an interrupted run goes on.
"""

import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from multiprocessing import active_children, get_context
from pathlib import Path
from threading import RLock

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from tradeoff.attacks import APGD, MSD, PGD, SLIDE, GridSearch, RandomSearch
from tradeoff.attacks.ascent import check_count
from tradeoff.data import Images, load
from tradeoff.evaluation import Outcomes, describe, evaluate
from tradeoff.files import make_folder, read_json, write_json
from tradeoff.models import build
from tradeoff.names import lookup
from tradeoff.perturbations import L1, L2, Linf, RotationTranslation
from tradeoff.provenance import made_by, provenance
from tradeoff.together import joined, place
from tradeoff.training import fit, load_weights, save_weights

LINF, ONE, TWO, RT = Linf(0.3), L1(10), L2(2), RotationTranslation(3, 30)  # the paper's MNIST sets

# The attacks of an evaluation, by the name of their column.
SUITES = {
    "lp": {"linf": PGD(LINF, steps=40), "l1": SLIDE(ONE, steps=40), "l2": PGD(TWO, steps=40)},
    "lp-100": {
        "linf": PGD(LINF, steps=100, restarts=5),
        "l1": SLIDE(ONE, steps=100, restarts=5),
        "l2": PGD(TWO, steps=100, restarts=5),
    },
    "rt": {"linf": PGD(LINF, steps=40), "rt": GridSearch(RT)},
    # Short ones, to watch training by.
    "lp-20": {"linf": PGD(LINF, steps=20), "l1": APGD(ONE, steps=20, radii=(3, 2, 1)), "l2": APGD(TWO, steps=20)},
    "rt-20": {"linf": PGD(LINF, steps=20), "rt": RandomSearch(RT, tries=20)},
}


_COMPUTING = ("precision", "compile", "memory_format")


@dataclass(frozen=True)
class Experiment:
    """One training run and its evaluation.

    `data` and `model` are names of `tradeoff.data` and `tradeoff.models`; `attacks` are those trained against (none:
    natural training), brought together by the strategy `combine` ("avg", "max", "e-at" or "alternating", see
    `tradeoff.training`); `suite` names the attacks of the evaluation, on the first `test` test examples, and `watch`
    those made after every epoch, on the first `watched` of them (None: no such evaluation). `epochs`, `lr`, `seed`,
    `batch`, `warmup`, `precision`, `compile` and `memory_format` are those of `tradeoff.training.fit`; their defaults
    suit the embedded digits.
    """

    data: str
    model: str = "small_cnn"
    attacks: tuple = ()
    combine: str = "avg"
    epochs: int = 16
    lr: float = 3e-3
    seed: int = 0
    batch: int = 50
    warmup: int = 6
    suite: str = "lp"
    test: int = 1000
    watch: str | None = None
    watched: int = 500
    precision: str = "float32"
    compile: bool = False
    memory_format: str = "contiguous"

    def __repr__(self) -> str:
        # The last three only where they say something: so the runs of before they were there can still be read.
        shown = [f for f in fields(self) if f.name not in _COMPUTING or getattr(self, f.name) != f.default]
        return f"Experiment({', '.join(f'{f.name}={getattr(self, f.name)!r}' for f in shown)})"


def _declare(data: str, steps: int, **how) -> dict[str, Experiment]:
    """The models of one data set: natural, one per set, the lp sets together, linf noise and rotations together.

    E-AT has the extreme norms alone, as its authors have it, and its control, alternating, has the same.
    """
    training = {"steps": steps, "loss": "ce", "early_stop": False}
    linf, l1, l2 = PGD(LINF, **training), SLIDE(ONE, **training), PGD(TWO, **training)
    rt = RandomSearch(RT, tries=10, loss="ce", early_stop=False)
    base = Experiment(data, **how)
    rotated = {"suite": "rt", "watch": base.watch and "rt-20"}
    models = {
        "natural": base,
        "linf": replace(base, attacks=(linf,)),
        "l1": replace(base, attacks=(l1,)),
        "l2": replace(base, attacks=(l2,)),
        "avg": replace(base, attacks=(linf, l1, l2)),
        "max": replace(base, attacks=(linf, l1, l2), combine="max"),
        "msd": replace(base, attacks=(MSD((LINF, TWO, ONE), **training),)),
        "e-at": replace(base, attacks=(linf, l1), combine="e-at"),
        "alternating": replace(base, attacks=(linf, l1), combine="alternating"),
        "rt": replace(base, attacks=(rt,), **rotated),
        "avg-rt": replace(base, attacks=(linf, rt), **rotated),
        "max-rt": replace(base, attacks=(linf, rt), combine="max", **rotated),
    }
    return {f"{data}-{name}": experiment for name, experiment in models.items()}


EXPERIMENTS: dict[str, Experiment] = {
    **_declare("digits", steps=5),
    **_declare("mnist", steps=10, epochs=10, lr=1e-3, batch=100, warmup=1, suite="lp-100", watch="lp-20"),
}
EXPERIMENTS |= {f"mnist-{name}-s{seed}": replace(EXPERIMENTS[f"mnist-{name}"], seed=seed)
                for name in ("avg", "max", "msd") for seed in (1, 2)}  # fmt: skip
EXPERIMENTS |= {f"mnist-{name}-paper": replace(EXPERIMENTS[f"mnist-{name}"], model="paper_cnn")
                for name in ("linf", "max", "msd")}  # fmt: skip


def train(
    experiment: Experiment, folder: Path | None = None, device: str = "cpu", label: str | None = None
) -> nn.Module:
    """The experiment's model, trained. With a `folder`, its files are kept there, an interrupted run goes on from its
    last checkpoint, and a finished one is read. `label` names the progress bar (none without). Processes that torchrun
    has started share every batch (see `tradeoff.training.fit`).

    Raises ValueError when the folder holds another experiment, and for bad input before any step, and OSError when
    another process trains there.
    """
    with joined(device):
        return _train(experiment, folder, device, label)


def _train(experiment: Experiment, folder: Path | None, device: str, label: str | None) -> nn.Module:
    model = build(experiment.model, experiment.seed)
    weights = folder and Path(folder) / "weights.safetensors"
    if folder is None or (place()[0] > 0 and not weights.exists()):  # files are the first process's
        _fit(experiment, model, device, folder, label)
        return model
    folder = make_folder(folder)
    declared = folder / "experiment.json"
    if not declared.exists():
        write_json(declared, {"experiment": repr(experiment), "about": provenance(seed=experiment.seed)})
    elif read_json(declared)["experiment"] != repr(experiment):
        raise ValueError(f"{folder} holds another experiment than the one declared now: choose another folder, "
                         "or make it again with --force")  # fmt: skip
    if not weights.exists():
        with _alone_in(folder):
            if not weights.exists():  # another process may have finished just now
                log, source = _fit(experiment, model, device, folder, label)
                seconds = sum(record["seconds"] for record in log)  # those before an interruption too
                about = provenance(seed=experiment.seed, data=source, device=str(device), seconds=round(seconds, 1))
                save_weights(weights, model, about | {"experiment": repr(experiment)})
                (folder / "checkpoint.safetensors").unlink(missing_ok=True)
    load_weights(weights, model)
    return model.to(device).eval()


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other processes out of the block; the system lets them in when this one ends, however it ends."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(f"another process trains in {folder}: wait for it, or choose another folder") from None
        yield
    finally:
        os.close(handle)


def _fit(experiment, model, device, folder, label) -> tuple[list[dict], str]:
    images, watch = load(experiment.data, "train"), None
    if experiment.watch:
        suite = lookup(SUITES, experiment.watch, "suite")
        watch = suite, load(experiment.data, "test").first(experiment.watched)
    log = fit(
        model,
        images,
        experiment.attacks,
        experiment.combine,
        epochs=experiment.epochs,
        lr=experiment.lr,
        seed=experiment.seed,
        batch=experiment.batch,
        warmup=experiment.warmup,
        device=device,
        watch=watch,
        checkpoint=folder and folder / "checkpoint.safetensors",
        log=folder and folder / "log.jsonl",
        label=label,
        precision=experiment.precision,
        compile=experiment.compile,
        memory_format=experiment.memory_format,
    )
    return log, images.source


_FILES = (
    "experiment.json",
    "log.jsonl",
    "weights.safetensors",
    "checkpoint.safetensors",
    "outcomes.npz",
    "outcomes.json",
)


@dataclass(frozen=True)
class Run:
    """A trained model, the test images it was evaluated on, and the outcome."""

    model: nn.Module
    images: Images
    outcomes: Outcomes


@dataclass
class Results:
    """The runs of declared experiments in the folder `runs`, trained and evaluated when they are missing.

    `force` makes every run again, once per `Results`. `progress` reports on standard error.
    """

    runs: Path
    device: str = "cpu"
    force: bool = False
    progress: bool = True
    _fresh: set = field(default_factory=set)

    def __call__(self, name: str) -> Run:
        """The run of EXPERIMENTS[name].

        Raises ValueError for an unknown name, with the nearest right one, and for a folder that holds anything else
        than what is declared now.
        """
        experiment = lookup(EXPERIMENTS, name, "experiment")
        suite = lookup(SUITES, experiment.suite, "suite")
        images = load(experiment.data, "test").first(experiment.test)
        folder = Path(self.runs) / name
        weights, checkpoint = folder / "weights.safetensors", folder / "checkpoint.safetensors"
        matrix, rest = folder / "outcomes.npz", folder / "outcomes.json"
        self._forget_once(name)
        label = (lambda verb: f"  {name}: {verb}") if self.progress else (lambda verb: None)
        trained = weights.exists()
        if not trained:
            again = " (goes on from its last epoch)" if checkpoint.exists() else ""
            self._say(f"  {name}: training {experiment.epochs} epochs on {images.source}{again}")
        began = time.perf_counter()
        model = train(experiment, folder, self.device, label("training"))
        if not trained:
            rest.unlink(missing_ok=True)  # the outcomes of other weights
            self._say(f"  {name}: trained in {time.perf_counter() - began:.0f} s")
        if not (matrix.exists() and rest.exists()):
            about = provenance(data=f"first {len(images)} test examples of {images.source}")
            rng = np.random.default_rng(experiment.seed)
            began = time.perf_counter()
            # A fixed chunk: the numbers of a figure must not depend on what was fastest that day.
            found = evaluate(model, suite, images.x, images.y, rng, chunk=100, progress=label("attacking"), about=about)
            found.save(rest)
            numbers = ", ".join(f"{row} {entry['accuracy']:.1%}" for row, entry in found.table().items())
            self._say(f"  {name}: attacked in {time.perf_counter() - began:.0f} s: {numbers}")
        outcomes = Outcomes.load(rest)
        if outcomes.about.get("attacks") != describe(suite):
            raise ValueError(f"{rest} is of other attacks than the suite {experiment.suite!r} has now: "
                             "delete it to evaluate again")  # fmt: skip
        return Run(model, images, outcomes)

    def prepare(self, names: Iterable[str], workers: int) -> None:
        """Make the runs that are missing, `workers` at a time, each in a process of one thread.

        One thread, because the same sums in another order round otherwise: a result must not depend on the number of
        cores. Networks this small lose little by it, and runs side by side win it back.
        """
        check_count(workers, "workers")
        names = list(dict.fromkeys(names))
        for name in names:
            lookup(EXPERIMENTS, name, "experiment")
            self._forget_once(name)
        made = ("weights.safetensors", "outcomes.npz", "outcomes.json")
        names = [name for name in names if not all((Path(self.runs) / name / file).exists() for file in made)]
        if workers == 1 or len(names) < 2:
            for name in names:
                self(name)
            return
        names.sort(key=lambda name: -len(EXPERIMENTS[name].attacks))  # the long ones first
        self._say(f"making {len(names)} runs, {min(workers, len(names))} at a time: {', '.join(names)}")
        alone = replace(self, force=False, _fresh=set())
        command = provenance()["command"]
        with ProcessPoolExecutor(min(workers, len(names)), get_context("spawn"), _start_worker, (command,)) as pool:
            try:
                for run in as_completed([pool.submit(_make, alone, name, EXPERIMENTS[name]) for name in names]):
                    run.result()
            except BrokenProcessPool:
                raise OSError("a worker process died, perhaps for want of memory: try fewer --workers "
                              "(finished epochs and runs are kept)") from None  # fmt: skip
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                workers = active_children()
                for worker in workers:
                    worker.terminate()
                for worker in workers:
                    worker.join()
                raise

    def _forget_once(self, name: str) -> None:
        """With `force`, remove the run, but not one that this object has made."""
        if self.force and name not in self._fresh:
            for file in _FILES:
                (Path(self.runs) / name / file).unlink(missing_ok=True)
        self._fresh.add(name)

    def _say(self, text: str) -> None:
        if self.progress:
            print(text, file=sys.stderr, flush=True)


def _start_worker(command: str) -> None:
    """One thread, and interruptions only by the parent, as terminations that end in clean-up without a traceback."""
    torch.set_num_threads(1)
    tqdm.set_lock(RLock())  # tqdm's own is shared between processes, and would be leaked by a termination
    made_by(command)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))


def _make(results: Results, name: str, experiment: Experiment) -> None:
    """Make one run for its files: what it returns would have to be sent to the parent."""
    EXPERIMENTS[name] = experiment  # the parent may have declared more than this module does
    try:
        results(name)
    except SystemExit:  # terminated: the pool would give a worker that merely raised the next run
        os._exit(1)
