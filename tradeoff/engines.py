"""Engines: jobs that wait for one another, run side by side on this machine or on a Ray cluster.

A job is a frozen dataclass that is called. `job()` makes files, `job.done()` says whether they are there, `job.title`
names it, and `job.needs` holds the titles of the jobs that come first. It is pickled to a worker of one thread, which
sends back no result: jobs meet in the folder that they write to, on a cluster one that all machines share. One thread,
because the same sums in another order round otherwise: a result must not depend on the number of cores, nor on the
engine. Networks this small lose little by it, and jobs side by side win it back.
"""

import os
import signal
import socket
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from dataclasses import dataclass
from graphlib import TopologicalSorter
from importlib.util import find_spec
from multiprocessing import active_children, get_context
from threading import RLock
from typing import NamedTuple, Protocol

import torch
from tqdm import tqdm

from tradeoff.checks import check_count
from tradeoff.memory import keep_memory
from tradeoff.provenance import made_by, provenance
from tradeoff.together import check_alone

ATTEMPTS = 3  # of a job whose worker dies, or whose disk or device fails it


class Job(Protocol):
    """What an engine runs; see above."""

    @property
    def title(self) -> str: ...

    @property
    def needs(self) -> tuple[str, ...]: ...

    def __call__(self) -> object: ...

    def done(self) -> bool: ...


class Ended(NamedTuple):
    """How a job ended: well, or with the error of its last attempt. Seconds are those of that attempt."""

    job: Job
    attempts: int
    seconds: float
    error: Exception | None


class Engine(AbstractContextManager):
    """Where jobs run. To be closed, which ends what is under way: `with Local(2) as engine`."""

    def room(self) -> bool:
        """Whether another job can be started now."""
        raise NotImplementedError

    def start(self, job: Job) -> None:
        raise NotImplementedError

    def wait(self) -> tuple[Job, float, Exception | None]:
        """The next job that ends, its seconds, and its error."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def __exit__(self, *error) -> None:
        self.close()


def missing(jobs: Sequence[Job], again: Collection[str] = ()) -> list:
    """The jobs that are not done or whose titles are in `again`, and those that come after one of these: what they made
    was made from other files."""
    by_title, titles = {job.title: job for job in jobs}, set()
    for title in _sorter(jobs).static_order():
        if title in again or titles & set(by_title[title].needs) or not by_title[title].done():
            titles.add(title)
    return [job for job in jobs if job.title in titles]


def run(jobs: Sequence[Job], engine: Engine) -> Iterator[Ended]:
    """Run the jobs, the first ones first, none before those it needs, and yield each as it ends.

    An error that is no ValueError, and the death of a worker, may pass: the job is tried again, ATTEMPTS times in all,
    and goes on from what it kept. A ValueError is a wrong request, which stays wrong. Jobs that need a failed one fail
    with it, unattempted. Raises ValueError when jobs need each other in a circle.
    """
    place = {job.title: i for i, job in enumerate(jobs)}
    waiting = {job.title: job for job in jobs}
    attempts: Counter[str] = Counter()
    order, ready, under_way, lost = _sorter(jobs), [], 0, set()
    order.prepare()
    while order.is_active():
        ready = sorted([*ready, *order.get_ready()], key=place.__getitem__)
        while ready and engine.room():
            job = waiting[ready.pop(0)]
            attempts[job.title] += 1
            engine.start(job)
            under_way += 1
        if not under_way:
            break  # the others need what failed
        job, seconds, error = engine.wait()
        under_way -= 1
        if error and not isinstance(error, ValueError) and attempts[job.title] < ATTEMPTS:
            ready.append(job.title)
            continue
        del waiting[job.title]
        if error:
            lost.add(job.title)
        else:
            order.done(job.title)
        yield Ended(job, attempts[job.title], seconds, error)
    for title in _sorter(jobs).static_order():
        if title in waiting:
            job = waiting[title]
            needed = next(title for title in job.needs if title in lost)
            lost.add(title)
            yield Ended(job, 0, 0.0, ValueError(f"not tried, as it needs {needed!r}, which failed"))


def _sorter(jobs: Sequence[Job]) -> TopologicalSorter:
    titles = {job.title for job in jobs}
    return TopologicalSorter({job.title: titles & set(job.needs) for job in jobs})


# ---- this machine


class Local(Engine):
    """`workers` processes on this machine, each of which does job after job."""

    def __init__(self, workers: int):
        check_count(workers, "workers")
        check_alone("a job engine")
        self._others = set(active_children())
        self._task = _Task.here()
        self._idle = [_one_process() for _ in range(workers)]
        self._busy: dict = {}

    def room(self) -> bool:
        return bool(self._idle)

    def start(self, job: Job) -> None:
        pool = self._idle.pop()
        try:
            future = pool.submit(self._task, job)
        except BrokenProcessPool:  # it died while it was idle
            pool = _one_process()
            future = pool.submit(self._task, job)
        self._busy[future] = job, pool

    def wait(self) -> tuple[Job, float, Exception | None]:
        future = wait(self._busy, return_when=FIRST_COMPLETED).done.pop()
        job, pool = self._busy.pop(future)
        try:
            seconds, error = future.result()
        except BrokenProcessPool:
            seconds, error = 0.0, _died("fewer --workers")
            pool = _one_process()
        self._idle.append(pool)
        return job, seconds, error

    def close(self) -> None:
        pools = [*self._idle, *(pool for _, pool in self._busy.values())]
        if self._busy:
            for pool in pools:
                pool.shutdown(wait=False, cancel_futures=True)
            workers = set(active_children()) - self._others
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.join()
        for pool in pools:
            pool.shutdown()
        self._idle, self._busy = [], {}


def _one_process() -> ProcessPoolExecutor:
    """A pool of one: a larger one breaks as a whole when a process dies."""
    return ProcessPoolExecutor(1, get_context("spawn"), _start_process)


def _start_process() -> None:
    """Interruptions come only from the parent, as terminations that end in clean-up without a traceback."""
    tqdm.set_lock(RLock())  # tqdm's own is shared between processes, and would be leaked by a termination
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))


@dataclass(frozen=True)
class _Task:
    """What a worker is called with besides the job: the command that it works for, and where the data are."""

    command: str
    data: str | None

    @classmethod
    def here(cls) -> "_Task":
        folder = os.environ.get("TRADEOFF_DATA")
        return cls(provenance()["command"], os.path.abspath(os.path.expanduser(folder)) if folder else None)

    def __call__(self, job: Job) -> tuple[float, Exception | None]:
        """Seconds and error, an error of ours as it is, another as its text: it may not survive being sent."""
        torch.set_num_threads(1)
        keep_memory()
        made_by(self.command)
        if self.data:
            os.environ["TRADEOFF_DATA"] = self.data
        began, error = time.perf_counter(), None
        try:
            job()
        except SystemExit:  # terminated: the pool would give a worker that merely raised the next job
            os._exit(1)
        except ValueError as raised:
            error = ValueError(str(raised))
        except OSError as raised:
            error = OSError(str(raised))
        except Exception as raised:
            traceback.print_exc()
            error = RuntimeError(f"{type(raised).__name__}: {raised}")
        return round(time.perf_counter() - began, 3), error


def _died(remedy: str) -> OSError:
    return OSError(f"the worker process died, perhaps for want of memory: try {remedy} (finished epochs and cells "
                   "are kept)")  # fmt: skip


# ---- a cluster


class Ray(Engine):
    """Tasks of a Ray cluster, one CPU and `gpus` GPUs each, at most `workers` at a time (None: as many as fit).

    `address` is that of a cluster that was started with `ray start`, HOST:PORT, or "auto" for the one that this machine
    belongs to. Without it a Ray of this machine alone is started, of `workers` CPUs, which listens on the loopback
    interface only and is stopped at the end. What is not the engine's, Ray's own retries too, is left out: attempts are
    counted in one place.

    Raises ValueError where Ray is not installed, where no cluster answers, and where no machine of it has the GPU.
    """

    def __init__(self, address: str | None = None, workers: int | None = None, gpus: float = 0.0):
        if workers is not None:
            check_count(workers, "workers")
        self._ray, self._workers, self._busy = _import_ray(alone=address is None), workers, {}
        quiet = {"log_to_driver": False, "configure_logging": False}
        if address is None:
            cpus = workers or os.cpu_count()
            self._ray.init("local", num_cpus=cpus, include_dashboard=False, object_store_memory=2**27, **quiet)
        else:
            _check_answers(address)
            try:
                self._ray.init(address, **quiet)
            except (ConnectionError, RuntimeError, ValueError) as error:  # none there; other versions; no address
                raise ValueError(f"no Ray cluster to use at {address!r} ({str(error).splitlines()[0]}): {_START} "
                                 "(one with a token wants RAY_AUTH_MODE=token)") from None  # fmt: skip
        try:
            largest = max((node["Resources"].get("GPU", 0) for node in self._ray.nodes() if node["Alive"]), default=0)
            if largest < gpus:
                raise ValueError(f"a job asks for {gpus:g} GPUs, and no machine of the cluster has more than "
                                 f"{largest:g}: use --device cpu, or start Ray with --num-gpus")  # fmt: skip
        except ValueError:
            self.close()
            raise
        task = _Task.here()
        self._task = self._ray.remote(num_cpus=1, num_gpus=gpus, max_retries=0)(lambda job: task(job))

    def room(self) -> bool:
        return self._workers is None or len(self._busy) < self._workers

    def start(self, job: Job) -> None:
        self._busy[self._task.options(name=job.title).remote(job)] = job

    def wait(self) -> tuple[Job, float, Exception | None]:
        [task], _ = self._ray.wait(list(self._busy), num_returns=1)
        job = self._busy.pop(task)
        try:
            return job, *self._ray.get(task)
        except self._ray.exceptions.RayTaskError as error:  # not the job's own, which _Task catches
            return job, 0.0, RuntimeError(f"the worker cannot do it: {error.cause}")
        except self._ray.exceptions.RayError:
            return job, 0.0, _died("fewer --workers, or --gpus 1")

    def close(self) -> None:
        for task in self._busy:
            self._ray.cancel(task, force=True)
        self._busy = {}
        self._ray.shutdown()


_START = "start one with `ray start --head` and run the command on one of its machines, or leave --address away"


def _import_ray(alone: bool):
    if find_spec("ray") is None:
        raise ValueError("Ray is not installed: pip install 'tradeoff[cluster]', or use --engine local")
    if alone:
        # Ray's own switch for machines that take no part in clusters, which it reads when it is imported. Without it
        # even a Ray of one machine listens on all interfaces.
        if "ray" in sys.modules and os.environ.get(_NO_CLUSTER) != "0":
            raise ValueError(f"Ray was imported without {_NO_CLUSTER}=0 in the environment, and would listen on all "
                             "interfaces: set it before, or give the address of a cluster")  # fmt: skip
        os.environ[_NO_CLUSTER] = "0"
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would send them home
    import ray

    return ray


_NO_CLUSTER = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


def _check_answers(address: str) -> None:
    """ValueError unless something listens at HOST:PORT: Ray would try for two minutes, and then end the process."""
    host, _, port = address.rpartition(":")
    if address == "auto":
        return
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError, OverflowError) as error:
        raise ValueError(f"no Ray cluster answers at {address!r} ({error}): {_START}") from None


ENGINES: dict[str, Callable[..., Engine]] = {"local": Local, "ray": Ray}
