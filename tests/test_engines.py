"""Engines: jobs in order, failures told apart, and workers that die; on this machine and on a real Ray."""

import json
import os
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from jobs import Dying, Here, Noting, Stubborn

from tradeoff import engines
from tradeoff.attacks import PGD
from tradeoff.engines import ATTEMPTS, Local, Ray, missing, run
from tradeoff.experiments import Evaluation, Experiment, Training
from tradeoff.outcomes import Outcomes
from tradeoff.perturbations import Linf

TESTS = Path(__file__).parent
# Where its workers find jobs.py, and that they need not wait for all else that this machine does.
FOR_RAY = {"PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]), "RAY_worker_niceness": "0"}


def titles(jobs):
    return [job.title for job in jobs]


def tries(folder):
    return {path.name: len(path.read_text().splitlines()) for path in sorted(folder.iterdir())}


def needs_ray():
    """Not pytest.importorskip: it would import Ray before the engine has told it to keep to this machine."""
    if find_spec("ray") is None:
        pytest.skip("Ray is not installed: pip install 'tradeoff[cluster]'")


# The order of jobs


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_jobs_run_once_in_order_and_after_what_they_need(workers, tmp_path):
    rng = np.random.default_rng(workers)
    jobs = [Noting(f"{i:02}", tmp_path, tuple(f"{j:02}" for j in range(i) if rng.random() < 0.2)) for i in range(20)]
    rng.shuffle(jobs)
    engine, ended = Here(workers), []
    for end in run(jobs, engine):
        assert end.error is None and end.attempts == 1
        assert set(end.job.needs) <= set(ended)
        ended.append(end.job.title)
    assert sorted(ended) == sorted(titles(jobs)) == sorted(engine.started) and engine.most <= workers
    assert set(tries(tmp_path).values()) == {1}
    free = Noting("free", tmp_path), *(Noting(name, tmp_path) for name in "cab")
    assert [end.job.title for end in run(free, Here())] == ["free", "c", "a", "b"]


def test_what_is_missing(tmp_path):
    """A job that is done, but comes after one that is not, was made from files that are gone."""
    jobs = [Noting("c", tmp_path, ("b",)), Noting("a", tmp_path), Noting("b", tmp_path, ("a",)), Noting("d", tmp_path)]
    assert titles(missing(jobs)) == ["c", "a", "b", "d"]
    for job in jobs:
        job()
    assert missing(jobs) == []
    (tmp_path / "b").unlink()
    assert titles(missing(jobs)) == ["c", "b"]
    (tmp_path / "a").unlink()
    assert titles(missing(jobs)) == ["c", "a", "b"]


def test_jobs_in_a_circle(tmp_path):
    jobs = [Noting("a", tmp_path, ("b",)), Noting("b", tmp_path, ("a",)), Noting("c", tmp_path)]
    with pytest.raises(ValueError, match="cycle"):
        list(run(jobs, Here()))
    assert tries(tmp_path) == {}


# Failures


@pytest.fixture(params=["here", "local", "ray"])
def engine(request, monkeypatch):
    if request.param == "ray":
        needs_ray()
        for name, value in FOR_RAY.items():
            monkeypatch.setenv(name, value)
    with {"here": Here, "local": Local, "ray": lambda workers: Ray(None, workers)}[request.param](2) as engine:
        yield engine


@pytest.mark.slow
def test_what_may_pass_is_tried_again_and_the_rest_goes_on(engine, tmp_path):
    jobs = [
        Noting("wrong", tmp_path, error=ValueError("of another experiment")),
        Noting("full", tmp_path, error=OSError(28, "no space left")),
        Noting("odd", tmp_path, error=ZeroDivisionError("by 0")),
        Noting("fine", tmp_path),
        Noting("after", tmp_path, ("fine",)),
        Noting("lost", tmp_path, ("fine", "wrong")),
        Noting("lost too", tmp_path, ("lost",)),
    ]
    ended = {end.job.title: end for end in run(jobs, engine)}
    attempts = {"wrong": 1, "full": ATTEMPTS, "odd": ATTEMPTS, "fine": 1, "after": 1, "lost": 0, "lost too": 0}
    assert {title: end.attempts for title, end in ended.items()} == attempts
    assert tries(tmp_path) == {title: times for title, times in sorted(attempts.items()) if times}
    assert type(ended["wrong"].error) is ValueError and "of another experiment" in str(ended["wrong"].error)
    assert isinstance(ended["full"].error, OSError) and "no space left" in str(ended["full"].error)
    assert "by 0" in str(ended["odd"].error)
    assert ended["fine"].error is ended["after"].error is None
    assert "not tried, as it needs 'wrong', which failed" in str(ended["lost"].error)
    assert "not tried, as it needs 'lost', which failed" in str(ended["lost too"].error)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", "ray"], indirect=True)
def test_a_worker_that_always_dies_fails_its_own_job_alone(engine, tmp_path):
    jobs = [Stubborn("stubborn", tmp_path), *(Noting(f"{i}", tmp_path) for i in range(4))]
    ended = {end.job.title: end for end in run(jobs, engine)}
    assert tries(tmp_path) == {"stubborn": ATTEMPTS} | {f"{i}": 1 for i in range(4)}
    assert "the worker process died" in str(ended["stubborn"].error) and "--workers" in str(ended["stubborn"].error)
    assert [title for title, end in ended.items() if end.error] == ["stubborn"]
    assert str(os.getpid()) not in "".join((tmp_path / name).read_text() for name in tries(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", "ray"], indirect=True)
def test_a_training_goes_on_after_its_worker_was_killed(engine, tmp_path):
    """SIGKILL in the second of three epochs: weights and outcomes are those of a run that nothing has broken."""
    experiment, attacks = Experiment("digits", epochs=3), {"linf": PGD(Linf(0.1), 3)}
    broken, unbroken = tmp_path / "broken", tmp_path / "unbroken"
    for kind, runs in ((Dying, broken), (Training, unbroken)):
        runs.mkdir()
        jobs = [kind("x", experiment, runs), Evaluation("x", experiment, "few", attacks, 25, runs)]
        ended = [(end.job.title, end.attempts, end.error) for end in run(jobs, engine if kind is Dying else Here())]
        assert ended == [("train x", 1 + (kind is Dying), None), ("evaluate x few-25", 1, None)]
    assert (broken / "killed").read_text() == "checkpoint.safetensors experiment.json"
    models = [Training("x", experiment, runs)() for runs in (broken, unbroken)]
    for a, b in zip(*(model.parameters() for model in models), strict=True):
        assert a.equal(b)
    outcomes = [Outcomes.load(runs / "x" / "few-25" / "outcomes") for runs in (broken, unbroken)]
    np.testing.assert_array_equal(*(found.correct for found in outcomes))
    logs = [(runs / "x" / "log.jsonl").read_text().splitlines() for runs in (broken, unbroken)]
    losses = [[(record["epoch"], record["loss"]) for record in map(json.loads, log)] for log in logs]
    assert losses[0] == losses[1] and len(losses[0]) == 3


@pytest.mark.slow
def test_closing_ends_what_is_under_way(tmp_path):
    """And no process that the engine has not started."""
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        with Local(2) as engine:
            engine.start(Training("x", Experiment("digits", epochs=500), tmp_path))
            engine.start(Noting("fine", tmp_path))
            assert engine.wait()[0].title == "fine"
            began = time.monotonic()
        assert time.monotonic() - began < 30 and sleeper.poll() is None
        assert not (tmp_path / "x" / "weights.safetensors").exists()
    finally:
        sleeper.kill()
        sleeper.wait()


def test_a_worker_that_dies_while_it_is_idle_is_replaced(tmp_path):
    with Local(1) as engine:
        assert [end.error for end in run([Noting("first", tmp_path)], engine)] == [None]
        (pool,) = engine._idle
        (worker,) = pool._processes.values()
        worker.kill()
        worker.join()
        time.sleep(0.5)  # until the pool knows
        assert [end.error for end in run([Noting("second", tmp_path)], engine)] == [None]
    assert tries(tmp_path) == {"first": 1, "second": 1}


# Ray


def test_ray_is_optional(monkeypatch):
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="Ray is not installed: pip install 'tradeoff.cluster.', or use"):
        Ray()
    with pytest.raises(ValueError, match="workers is 0"):
        Ray(workers=0)


def test_no_cluster_answers():
    needs_ray()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for address in (f"127.0.0.1:{port}", "127.0.0.1", "here:there", "127.0.0.1:99999"):
        began = time.monotonic()
        with pytest.raises(ValueError, match=f"no Ray cluster answers at '{address}' .* `ray start --head`"):
            Ray(address)
        assert time.monotonic() - began < 20


@pytest.mark.slow
def test_a_ray_of_this_machine_alone():
    """It listens on the loopback interface, has no GPU to hand out, and ends with the engine."""
    needs_ray()
    with Ray(workers=1):
        import ray

        [node] = ray.nodes()
        assert node["NodeManagerAddress"] == "127.0.0.1" and node["Resources"]["CPU"] == 1
    assert not ray.is_initialized()
    if not node["Resources"].get("GPU"):
        with pytest.raises(ValueError, match="a job asks for 0.5 GPUs, and no machine of the cluster has more than 0"):
            Ray(gpus=0.5)
        assert not ray.is_initialized()


CLUSTER = """
import sys
from pathlib import Path
from jobs import Noting
from tradeoff.engines import Ray, run
with Ray(sys.argv[1]) as engine:
    for end in run([Noting("b", Path(sys.argv[2]), ("a",)), Noting("a", Path(sys.argv[2]))], engine):
        print(end.job.title, end.attempts, end.error)
"""


@pytest.mark.slow
def test_a_cluster_by_its_address(tmp_path):
    """One that `ray start` has started, and that outlives what was run on it."""
    needs_ray()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = os.environ | FOR_RAY | {"RAY_AUTH_MODE": "disabled", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=1"]
    more = ["--node-ip-address=127.0.0.1", f"--port={port}", "--include-dashboard=false", "--disable-usage-stats"]
    with open(tmp_path / "log", "w") as log:
        cluster = subprocess.Popen(start + more, env=env, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 120
        while "Ray runtime started" not in (tmp_path / "log").read_text() and time.monotonic() < deadline:
            time.sleep(0.2)
        command = [sys.executable, "-W", "error", "-c", CLUSTER, f"127.0.0.1:{port}", str(tmp_path)]
        for _ in range(2):
            done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)
            assert done.stdout == "a 1 None\nb 1 None\n", done.stderr
            assert cluster.poll() is None
    finally:
        cluster.terminate()
        cluster.wait(timeout=120)
    assert tries(tmp_path) | {"log": 0} == {"a": 2, "b": 2, "log": 0}
