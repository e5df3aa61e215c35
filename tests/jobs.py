"""Jobs that go wrong, where the workers of every engine can import them; and an engine without workers."""

import os
import signal
from collections import deque
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from tradeoff import training
from tradeoff.engines import Engine
from tradeoff.experiments import Training


@dataclass(frozen=True)
class Noting:
    """Leaves a line in FOLDER/title each time that it is tried, and then raises the error, if it has one."""

    title: str
    folder: Path
    needs: tuple = ()
    error: Exception | None = None

    def done(self):
        return (self.folder / self.title).exists()

    def __call__(self):
        with open(self.folder / self.title, "a") as file:
            file.write(f"{os.getpid()}\n")
        if self.error:
            raise self.error


class Stubborn(Noting):
    """A job whose worker dies each time."""

    def __call__(self):
        super().__call__()
        os.kill(os.getpid(), signal.SIGKILL)


class Dying(Training):
    """A training whose process is killed, the first time, in the middle of its second epoch."""

    def __call__(self):
        mark = Path(self.runs) / "killed"
        if not mark.exists():
            steps, cross_entropy = count(1), training.cross_entropy

            def loss(*args):
                if next(steps) == 120:
                    mark.write_text(" ".join(sorted(os.listdir(self.folder))))
                    os.kill(os.getpid(), signal.SIGKILL)
                return cross_entropy(*args)

            training.cross_entropy = loss
        return super().__call__()


class Here(Engine):
    """Jobs in this process, the newest first; `most` keeps how many were under way at a time."""

    def __init__(self, workers=1):
        self.workers, self.jobs, self.most, self.started = workers, deque(), 0, []

    def room(self):
        return len(self.jobs) < self.workers

    def start(self, job):
        self.jobs.append(job)
        self.started.append(job.title)
        self.most = max(self.most, len(self.jobs))

    def wait(self):
        job = self.jobs.pop()
        try:
            job()
        except Exception as error:
            return job, 0.5, error
        return job, 0.5, None

    def close(self):
        self.jobs.clear()
