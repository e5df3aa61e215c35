"""python -m tradeoff.experiments: many runs, trained and attacked where they are missing, and a report on every job."""

import argparse
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from fnmatch import fnmatchcase
from pathlib import Path

from tradeoff import tables
from tradeoff.attacks.suites import FIXED, SUITES
from tradeoff.checks import check_count
from tradeoff.command import epilog
from tradeoff.data import load
from tradeoff.engines import ENGINES, Ended, Engine, Local, Ray, missing, run
from tradeoff.experiments import EXPERIMENTS, Evaluation, Training, jobs_of, longest_first, with_starts
from tradeoff.files import alone, make_folder, write_json
from tradeoff.names import lookup
from tradeoff.provenance import provenance
from tradeoff.subject import check_device
from tradeoff.together import check_alone
from tradeoff.transfer import TRANSFERS

# Experiments that are asked for together: names of EXPERIMENTS, or patterns of them.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "digits": ("digits-*",),
    "mnist": ("mnist-*",),
    "mnist-lp": tuple(
        f"mnist-{model}" for model in ("natural", "linf", "l1", "l2", "avg", "max", "msd", "e-at", "alternating")
    ),
    "mnist-rotations": tuple(f"mnist-{model}" for model in ("natural", "linf", "rt", "avg-rt", "max-rt")),
    "mnist-seeds": ("mnist-*-s1", "mnist-*-s2"),
    "mnist-paper-cnn": ("mnist-*-paper",),  # the paper's network
    "cifar10-lp": tuple(
        f"cifar10-{model}" for model in ("natural", "linf", "l1", "avg-l1", "max-l1", "msd-l1", "e-at-l1")
    ),
    "cifar10-rotations": tuple(f"cifar10-{model}" for model in ("natural", "linf", "rt", "avg-rt", "max-rt")),
    "cifar10-one-step": ("cifar10-*-one-step",),
    "cifar10-paper": ("cifar10-*-paper",),  # the paper's network, for a GPU
    "mnist-mixtures": ("mnist-mix-*",),
    **{f"{data}-transfer": tuple(transfer.trained.values()) for data, transfer in TRANSFERS.items()},
    "mnist-dead-zones": ("mnist-dead-zone*", "mnist-black-zone*"),
    "mnist-fine-tuned": ("mnist-*-then-*",),
    "cifar10-fine-tuned": ("cifar10-*-then-*",),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every job is done, 1 when one failed, 2 for a wrong request, before any work; 130 when interrupted."""
    options = _parser().parse_args(arguments)
    if options.list:
        print(_listing(Path(options.runs)))
        return 0
    try:
        jobs = _jobs(select(options.names), options)
        lock = make_folder(options.runs) / "experiments.lock"
        busy = ValueError(f"another command makes runs in {options.runs} now: wait for it, or choose another folder")
        with alone(lock, busy):  # two would compute the same
            return _make(jobs, options)
    except KeyboardInterrupt:
        force = " without --force" if options.force else ""
        _say(f"interrupted: the same command{force} goes on where this one was")
        return 130
    except (ValueError, OSError) as error:
        _say(f"error: {error}")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tradeoff.experiments",
        description="Train experiments and attack them, where that is not done, many at a time. An interrupted command "
        "goes on where it was; a job whose worker dies is tried again, from where it was.",
        epilog=epilog("python -m tradeoff.experiments mnist-lp --suite strong --n 500 --engine ray", "a job failed"),
    )
    parser.add_argument("names", nargs="*", metavar="NAME|GROUP|PATTERN", help="experiments: see --list; 'mnist-*'")
    parser.add_argument("--list", action="store_true", help="list experiments, what is done of them, and groups; exit")
    parser.add_argument("--suite", metavar="|".join([*SUITES, *FIXED]),
                        help="attacks, on the sets of the experiment's own suite (default: that suite)")  # fmt: skip
    parser.add_argument("--n", type=int, metavar="N", help="first N test examples (default: the experiment's)")
    parser.add_argument("--runs", default="out/runs", metavar="DIR",
                        help="folder of the runs, which all workers share (default: out/runs)")  # fmt: skip
    parser.add_argument("--device", default="cpu", help="torch device: cpu (default), cuda")
    parser.add_argument("--force", action="store_true", help="train and evaluate again what is there")
    parser.add_argument("--engine", default="local", metavar="|".join(ENGINES),
                        help="local: processes of this machine (default); ray: a cluster")  # fmt: skip
    parser.add_argument("--workers", type=int, metavar="N",
                        help="jobs at a time (default: one per core, 1 on a GPU; all that fit a cluster)")  # fmt: skip
    parser.add_argument("--address", metavar="HOST:PORT|auto",
                        help="a Ray that `ray start` has started (default: one of this machine alone)")  # fmt: skip
    parser.add_argument("--gpus", type=float, metavar="G",
                        help="GPUs of a Ray job, below 1 to share one (default: 1 with --device cuda)")  # fmt: skip
    return parser


# ---- what is asked for


def select(names: Iterable[str]) -> list[str]:
    """The experiments that names, groups and patterns stand for, each once.

    >>> select(["digits-l2", "digits-l*"])
    ['digits-l2', 'digits-linf', 'digits-l1']

    Raises ValueError for a name that is none, with the nearest right one, and for a pattern that fits nothing.
    """
    found: list[str] = []
    for name in names:
        for pattern in GROUPS.get(name, (name,)):
            matching = [known for known in EXPERIMENTS if fnmatchcase(known, pattern)]
            if not matching:
                lookup({**EXPERIMENTS, **GROUPS}, name, "experiment or group")
            found += matching
    if not found:
        raise ValueError(f"no experiment is named: give some of {', '.join(GROUPS)}, or see --list")
    return list(dict.fromkeys(found))


def _jobs(names: list[str], options) -> list[Training | Evaluation]:
    """The jobs of the experiments, known to be possible: ValueError or OSError otherwise."""
    check_alone("python -m tradeoff.experiments")
    lookup(ENGINES, options.engine, "engine")
    for value, flag in ((options.workers, "--workers"), (options.n, "--n")):
        if value is not None:
            check_count(value, flag)
    cluster = options.engine == "ray"
    for flag in ("address", "gpus"):
        if getattr(options, flag) is not None and not cluster:
            raise ValueError(f"--{flag} is of a cluster: give --engine ray with it")
    if options.gpus is not None and not 0 <= options.gpus < float("inf"):
        raise ValueError(f"--gpus is {options.gpus}, but must be 0 or more")
    if not cluster:
        check_device(options.device)
    elif options.device not in ("cpu", "cuda"):
        raise ValueError(f"device {options.device!r} is not for Ray, which hands out GPUs itself: use cpu or cuda")
    how = {"suite": options.suite, "n": options.n, "device": options.device, "progress": not cluster}
    jobs = [job for name in names for job in jobs_of(name, Path(options.runs).absolute(), **how)]
    # Now, before all workers ask for them at once: what is missing is downloaded, or named.
    images = {(data, split): load(data, split)
              for data in sorted({job.experiment.data for job in jobs}) for split in ("train", "test")}  # fmt: skip
    for job in jobs:
        if isinstance(job, Evaluation):
            images[job.experiment.data, "test"].first(job.n)
    return jobs


def _listing(runs: Path) -> str:
    rows = [[name, ", ".join(_made(runs / name)) or "–"] for name in EXPERIMENTS]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:{width}}  {made}" for name, made in rows]
    groups = [f"{name:{width}}  {' '.join(select([name]))}" for name in GROUPS]
    return "\n".join([f"experiments, and what is in {runs}:", *lines, "", "groups:", *groups])


def _made(folder: Path) -> list[str]:
    """What is there of a run: "trained", "lp-1000 evaluated"."""
    made = [what for file, what in (("weights", "trained"), ("checkpoint", "in training"))
            if (folder / f"{file}.safetensors").exists()]  # fmt: skip
    evaluated = sorted(path.parent.name for path in folder.glob("*/outcomes.json"))
    begun = sorted({path.parent.name for path in folder.glob("*/cells.jsonl")} - set(evaluated))
    return [*made, *(f"{name} evaluated" for name in evaluated), *(f"{name} begun" for name in begun)]


# ---- making it


def _make(jobs: list[Training | Evaluation], options) -> int:
    again = {job.title for job in jobs} if options.force else set()
    jobs = with_starts(jobs, again)
    todo = longest_first(missing(jobs, again))
    ended: dict[str, Ended] = {}
    with _engine(options, len(todo)) if todo else nullcontext() as engine:
        for job in todo:
            if job.title in again:
                job.forget()
        _say(f"{len(todo)} jobs to do, {len(jobs) - len(todo)} done before")
        try:
            try:
                for end in run(todo, engine):
                    ended[end.job.title] = end
                    _say(f"[{len(ended)}/{len(todo)}] {end.job.title}: {_state(end)}")
            finally:
                _report(jobs, {job.title for job in todo}, ended, options)
        except OSError as error:  # a full disk
            _say(f"error: {error}")
            return 1
    return int(any(end.error for end in ended.values()))


def _engine(options, jobs: int) -> Engine:
    if options.engine == "ray":
        gpus = options.gpus if options.gpus is not None else float(options.device == "cuda")
        return Ray(options.address, options.workers, gpus)
    workers = options.workers or ((os.cpu_count() or 1) if options.device == "cpu" else 1)
    return Local(min(workers, jobs))


def _report(jobs: list[Training | Evaluation], todo: set[str], ended: Mapping[str, Ended], options) -> None:
    """Every job, as a table and as RUNS/experiments.json."""
    entries: list[dict] = []
    for job in jobs:
        state, attempts, seconds, error = "not done" if job.title in todo else "done before", 0, None, None
        if job.title in ended:
            _, attempts, seconds, error = ended[job.title]
            state = "failed" if error else "done"
        entries.append({"job": job.title, "state": state, "attempts": attempts, "seconds": seconds,
                        "error": error and str(error)})  # fmt: skip
    rows = [[entry["job"], entry["state"], str(entry["attempts"]),
             "–" if entry["seconds"] is None else f"{entry['seconds']:.1f}"] for entry in entries]  # fmt: skip
    print(tables.text(["job", "state", "attempts", "seconds"], rows))
    for entry in entries:
        if entry["error"]:
            print(f"failed: {entry['job']}: {entry['error']}")
    path = Path(options.runs) / "experiments.json"  # last, as a full disk may refuse it
    write_json(path, {"about": provenance(engine=options.engine, device=options.device), "jobs": entries})
    print(f"written to {path}", flush=True)


def _state(end: Ended) -> str:
    tries = f", attempt {end.attempts}" if end.attempts > 1 else ""
    return f"failed{tries}: {end.error}" if end.error else f"done in {end.seconds:.0f} s{tries}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
