"""python -m tradeoff.figures, and the numbers of the figures that are theory."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import matplotlib
import numpy as np
import pytest
from interruption import interrupt
from matplotlib import pyplot as plt
from scipy.stats import norm

from tradeoff import experiments, training
from tradeoff.attacks import PGD, SLIDE
from tradeoff.attacks.suites import FIXED
from tradeoff.data import load
from tradeoff.evaluation import evaluate
from tradeoff.experiments import EXPERIMENTS, Experiment, Run
from tradeoff.figures import FIGURES, PRESETS, figure_module
from tradeoff.figures import __main__ as cli
from tradeoff.figures.style import PAGE, paper_style
from tradeoff.models import build
from tradeoff.perturbations import L1, L2, Linf

FILES = [f"toy.{suffix}" for suffix in ("json", "pdf", "png")]


@pytest.fixture
def toys(monkeypatch):
    """A figure of one number, and a figure of a model trained on 60 digits; the list gets the name of each compute."""
    calls = []

    def figure(name, compute, **parameters):
        def draw(numbers):
            calls.append(f"draw {name}")
            picture, ax = plt.subplots(figsize=(2, 1))
            ax.plot([0, numbers["value"]])
            return picture

        module = ModuleType(f"tradeoff.figures.{name}", f"{name.title()} figure.\n\nThe caption, ε = 2η.")
        module.compute = lambda results, **how: calls.append(name) or compute(results, **how)
        module.draw, module.PARAMETERS = draw, {"quick": parameters, "full": parameters | {"seed": 9}}
        monkeypatch.setitem(sys.modules, module.__name__, module)

    figure("toy", lambda results, seed, sizes: {"value": seed * sum(sizes)}, seed=2, sizes=(1, 2))

    def accuracy(results, experiments):
        return {"value": results(experiments["a"]).outcomes.accuracy(), "data": "few"}

    figure("trained", accuracy, experiments={"a": "tiny"})
    sys.modules["tradeoff.figures.trained"].PARAMETERS["full"].pop("seed")
    monkeypatch.setattr(cli, "FIGURES", ("toy", "trained"))
    monkeypatch.setattr(experiments, "load", lambda name, split: load(name, split).first(60))
    monkeypatch.setitem(EXPERIMENTS, "tiny", Experiment("digits", epochs=2, batch=20, suite="tiny", test=20))
    monkeypatch.setitem(FIXED, "tiny", {"linf": PGD(Linf(0.1), 2)})
    return calls


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def fails(arguments, capsys, status=2):
    """The one line of the error that the command ends with."""
    assert cli.main([str(a) for a in arguments]) == status
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1
    return err


# The command


def test_a_figure_is_a_pdf_a_png_and_a_json(toys, tmp_path, capsys):
    out = tmp_path / "new" / "folder"
    assert cli.main(["toy", "--out", str(out)]) == 0
    assert sorted(os.listdir(out)) == ["runs", *FILES] and os.listdir(out / "runs") == []
    made = files(out)
    assert made["toy.pdf"].startswith(b"%PDF") and made["toy.png"].startswith(b"\x89PNG")
    record = json.loads(made["toy.json"])
    assert record["numbers"] == {"value": 6} and record["preset"] == "quick" and record["figure"] == "toy"
    assert record["caption"].endswith("The caption, ε = 2η.")
    about = record["provenance"]
    assert about["seed"] == 2 and about["data"] == "none: theory" and about["seconds"] >= 0
    assert {"python", "tradeoff", "numpy", "torch", "matplotlib"} <= about["versions"].keys()
    out, err = capsys.readouterr()
    assert err == "" and "toy: made" in out and "toy.png" in out
    assert plt.get_fignums() == [] and matplotlib.get_backend().lower() == "agg"


def test_the_second_time_everything_is_reused(toys, tmp_path, capsys):
    assert cli.main(["--out", str(tmp_path)]) == 0
    assert toys == ["toy", "draw toy", "trained", "draw trained"]
    made, runs = files(tmp_path), files(tmp_path / "runs" / "tiny")
    assert json.loads(made["trained.json"])["provenance"]["data"] == "few"
    capsys.readouterr()
    assert cli.main(["--out", str(tmp_path)]) == 0
    assert len(toys) == 4 and files(tmp_path) == made and files(tmp_path / "runs" / "tiny") == runs
    assert "toy: reused" in capsys.readouterr().out
    # A picture that is gone is drawn from the numbers that are there, and comes out the same.
    for name in ("toy.pdf", "trained.png"):
        (tmp_path / name).unlink()
    assert cli.main(["--out", str(tmp_path)]) == 0
    assert toys[4:] == ["draw toy", "draw trained"] and files(tmp_path) == made


def test_force_makes_everything_again(toys, tmp_path, monkeypatch):
    assert cli.main(["--out", str(tmp_path)]) == 0
    fits, fit = [], training.fit
    monkeypatch.setattr(experiments, "fit", lambda *args, **how: fits.append(args) or fit(*args, **how))
    assert cli.main(["--out", str(tmp_path), "--force"]) == 0
    assert toys == ["toy", "draw toy", "trained", "draw trained"] * 2 and len(fits) == 1


def test_each_figure_once_in_the_order_asked(toys, tmp_path):
    assert cli.main(["trained", "toy", "trained", "--out", str(tmp_path), "--force"]) == 0
    assert [call for call in toys if "draw" not in call] == ["trained", "toy"]


def test_runs_can_be_elsewhere_and_shared(toys, tmp_path):
    runs = tmp_path / "runs"
    assert cli.main(["trained", "--out", str(tmp_path / "a"), "--runs", str(runs)]) == 0
    before = files(runs / "tiny")
    assert cli.main(["trained", "--out", str(tmp_path / "b"), "--runs", str(runs)]) == 0
    assert files(runs / "tiny") == before and os.listdir(runs) == ["tiny"]
    assert sorted(os.listdir(tmp_path / "b")) == ["trained.json", "trained.pdf", "trained.png"]


# The index


def test_the_index_shows_every_figure_with_caption_and_command(toys, tmp_path, capsys):
    assert cli.main(["trained", "toy", "--preset", "full", "--out", str(tmp_path)]) == 0
    assert cli.main(["--index", "--out", str(tmp_path)]) == 0 and toys.count("toy") == 1
    page = (tmp_path / "README.md").read_text(encoding="utf-8")
    first, second = page.index("## toy"), page.index("## trained")
    for part in ("![Toy figure.](toy.png)", "The caption, ε = 2η.", "`python -m tradeoff.figures toy --preset full`",
                 "none: theory", "(toy.pdf)", "(toy.json)"):  # fmt: skip
        assert part in page[first:second]
    made = json.loads((tmp_path / "toy.json").read_text(encoding="utf-8"))
    (tmp_path / "more.json").write_text(json.dumps(made | {"caption": "One line."}), encoding="utf-8")
    assert "**One line.**" in cli.index(tmp_path)[second:]  # what no figure of ours is called comes last


@pytest.mark.parametrize("content, message", [(None, "has no figures: make some with"), ("[]", "is not a figure's")])
def test_an_index_of_no_figures_replaces_nothing(content, message, tmp_path, capsys):
    (tmp_path / "README.md").write_text("mine")
    if content:
        (tmp_path / "x.json").write_text(content)
    assert message in fails(["--index", "--out", tmp_path], capsys)
    assert (tmp_path / "README.md").read_text() == "mine"


def test_the_committed_index_is_current_and_complete():
    folder = Path(__file__).parent.parent / "paper_figures"
    page = (folder / "README.md").read_text(encoding="utf-8")
    assert page == cli.index(folder), "python -m tradeoff.figures --index --out paper_figures writes it"
    assert all(f"\n## {name}\n" in page and (folder / f"{name}.png").exists() for name in FIGURES)


# Errors


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["toyy"], "unknown figure 'toyy', did you mean 'toy'?"),
        (["toy", "trined"], "unknown figure 'trined', did you mean 'trained'?"),
        (["--preset", "fulll"], "unknown preset 'fulll', did you mean 'full'?"),
        (["--device", "cdua"], "device 'cdua' is not to be had"),
        (["--device", "cuda:99"], "use --device cpu"),
        (["--device", "meta"], "device 'meta' is not to be had"),  # has no numbers, as others have no doubles
    ],
)
def test_wrong_requests(arguments, message, toys, tmp_path, capsys):
    assert message in fails([*arguments, "--out", tmp_path], capsys)
    assert toys == [] and files(tmp_path) == {}


def test_unwritable_folders_end_before_any_work(toys, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for below in (tmp_path / "file", tmp_path / "file" / "out", "/proc/nowhere"):
        assert f"cannot write to the folder {below}" in fails(["--out", below], capsys)
        assert f"cannot write to the folder {below}" in fails(["--out", tmp_path / "out", "--runs", below], capsys)
    assert toys == [] and files(tmp_path / "out") == {}


@pytest.mark.parametrize(
    "table, key, value",
    [
        (EXPERIMENTS, "tiny", Experiment("digits", epochs=3, batch=20, suite="tiny", test=20)),
        (FIXED, "tiny", {"linf": PGD(Linf(0.2), 2)}),
        (None, "quick", {"experiments": {"b": "tiny"}}),
    ],
    ids=["experiment", "attacks", "parameters"],
)
def test_numbers_of_other_parameters_are_kept(table, key, value, toys, tmp_path, monkeypatch, capsys):
    """And found before any work on the figures that come first."""
    assert cli.main(["trained", "--out", str(tmp_path)]) == 0
    made = files(tmp_path)
    toys.clear(), capsys.readouterr()
    table = sys.modules["tradeoff.figures.trained"].PARAMETERS if table is None else table
    with monkeypatch.context() as patch:
        patch.setitem(table, key, value)
        err = fails(["toy", "trained", "--out", tmp_path], capsys)
    assert f"{tmp_path / 'trained.json'} was made from other parameters (preset quick): --force" in err
    assert files(tmp_path) == made and toys == []
    assert cli.main(["trained", "--out", str(tmp_path)]) == 0 and toys == []


def test_presets_do_not_overwrite_each_other(toys, tmp_path, capsys):
    assert cli.main(["toy", "--out", str(tmp_path)]) == 0
    assert "(preset quick)" in fails(["toy", "--out", tmp_path, "--preset", "full"], capsys)
    assert cli.main(["toy", "--out", str(tmp_path), "--preset", "full", "--force"]) == 0
    assert json.loads((tmp_path / "toy.json").read_text())["numbers"] == {"value": 27}
    assert "(preset full)" in fails(["toy", "--out", tmp_path], capsys)


@pytest.mark.parametrize("content", ["[]", "{}", '"mine"', '{"numbers": {"value": 1}}'])
def test_a_file_of_somebody_else_is_kept(content, toys, tmp_path, capsys):
    (tmp_path / "toy.json").write_text(content)
    assert "toy.json was made from other parameters: --force" in fails(["toy", "--out", tmp_path], capsys)
    assert files(tmp_path) == {"toy.json": content.encode()} and toys == []


def test_a_damaged_json(toys, tmp_path, capsys):
    (tmp_path / "toy.json").write_text('{"numbers"')
    assert "toy.json is damaged" in fails(["toy", "--out", tmp_path], capsys)
    (tmp_path / "toy.json").unlink()
    assert cli.main(["toy", "--out", str(tmp_path)]) == 0


def test_an_error_at_work_is_a_line_too(toys, tmp_path, capsys):
    """Status 1, and what was made before it stays."""
    assert cli.main(["trained", "--out", str(tmp_path)]) == 0
    (tmp_path / "trained.json").unlink()
    weights = tmp_path / "runs" / "tiny" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    capsys.readouterr()
    err = fails(["--out", tmp_path], capsys, status=1)
    assert f"{weights} is damaged" in err and "delete it to train again" in err
    assert (tmp_path / "toy.png").exists()


def test_list(toys, capsys):
    assert cli.main(["--list"]) == 0
    assert capsys.readouterr().out.splitlines() == ["toy             Toy figure.", "trained         Trained figure."]


# Interruptions


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    "step, left", [(2, ["experiment.json"]), (5, ["checkpoint.safetensors", "experiment.json", "log.jsonl"])]
)
def test_interrupted_training(step, left, force, toys, tmp_path, monkeypatch, capsys):
    calls = interrupt(monkeypatch, step)
    assert cli.main(["trained", "--out", str(tmp_path), *["--force"] * force]) == 130
    last = capsys.readouterr().err.splitlines()[-1]
    same = "the same command without --force" if force else "the same command"
    assert last == f"interrupted: {same} goes on where this one was"
    assert files(tmp_path) == {} and sorted(files(tmp_path / "runs" / "tiny")) == left
    assert cli.main(["trained", "--out", str(tmp_path)]) == 0
    assert len(calls) == step + (6 if step == 2 else 3)
    assert sorted(files(tmp_path)) == ["trained.json", "trained.pdf", "trained.png"]


@pytest.mark.parametrize("force", [False, True])
def test_interrupted_drawing(force, toys, tmp_path, monkeypatch):
    """Numbers may be there without their picture, never beside the picture of others."""
    assert cli.main(["toy", "--out", str(tmp_path)]) == 0
    whole = files(tmp_path)
    if not force:
        for name in FILES:
            (tmp_path / name).unlink()

    def stop(self, file, **how):
        file.write(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", stop)
        assert cli.main(["toy", "--out", str(tmp_path), *["--force"] * force]) == 130
    assert list(files(tmp_path)) == ["toy.json"]
    assert cli.main(["toy", "--out", str(tmp_path)]) == 0
    for name in ("toy.pdf", "toy.png"):
        assert files(tmp_path)[name] == whole[name]
    plt.close("all")


SCRIPT = """
import sys
from types import ModuleType
from tradeoff import experiments
from tradeoff.figures import __main__ as cli
figure = ModuleType("tradeoff.figures.trained", "Trained.")
figure.PARAMETERS = {"quick": {"experiments": {"a": "tiny"}}}
figure.compute = lambda results, experiments: {"value": results("tiny").outcomes.accuracy()}
figure.draw = lambda numbers: __import__("matplotlib.pyplot").pyplot.figure()
sys.modules[figure.__name__] = figure
cli.FIGURES = ("trained",)
experiments.EXPERIMENTS = {"tiny": experiments.Experiment("digits", epochs=40, suite="rt", test=2)}
experiments.FIXED["rt"].pop("rt")
load = experiments.load
experiments.load = lambda name, split: load(name, split).first(200)
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_ctrl_c(tmp_path):
    """A real process, a real signal, while it trains: 130, nothing broken, and the same command completes."""
    command = [sys.executable, "-W", "error", "-c", SCRIPT, "--out", str(tmp_path)]
    run = tmp_path / "runs" / "tiny"
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (run / "checkpoint.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.splitlines()[-1].startswith("interrupted: the same command goes on") and "Traceback" not in err
    assert sorted(files(run)) == ["checkpoint.safetensors", "experiment.json", "log.jsonl"] and files(tmp_path) == {}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "goes on from its last checkpoint" in done.stderr
    assert sorted(files(tmp_path)) == ["trained.json", "trained.pdf", "trained.png"]
    assert "checkpoint.safetensors" not in files(run) and "weights.safetensors" in files(run)


@pytest.mark.slow
def test_ctrl_c_stops_the_workers_too(tmp_path):
    """The signal goes to the parent alone, as from a job scheduler."""
    command = [sys.executable, "-m", "tradeoff.figures", "mnist_tradeoff", "--out", str(tmp_path), "--workers", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    checkpoints = []
    while len(checkpoints) < 2 and process.poll() is None:  # for as long as a busy machine takes
        checkpoints = list(tmp_path.glob("runs/*/checkpoint.safetensors"))
        time.sleep(0.05)
    trained = list(tmp_path.glob("runs/*/weights.safetensors"))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()  # which also waits for whoever else holds the pipe: the workers
    assert list(tmp_path.glob("runs/*/weights.safetensors")) == trained  # which they did not finish
    assert process.returncode == 130 and "interrupted: the same command goes on" in err
    assert "Traceback" not in err and "Warning" not in err
    assert len(checkpoints) == 2 and not [f for f in tmp_path.glob("runs/*/.*")]


@pytest.mark.slow
def test_theory_figure_from_the_command_line(tmp_path):
    command = [sys.executable, "-W", "error", "-m", "tradeoff.figures", "thm1_radii", "--out", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stderr == "" and "done in" in done.stdout
    record = json.loads((tmp_path / "out" / "thm1_radii.json").read_text())
    assert record["provenance"]["command"] == "python -m tradeoff.figures thm1_radii --out out"


# The figures themselves

SMALL = {"samples": 500, "points": 7, "examples": 6, "search": 6, "steps": 3, "tries": 2, "epochs": 2, "scales": 5}


def untrained(name):
    """The run of an untrained network on six digits, whatever the experiment."""
    images, model = load("digits", "test").first(6), build("small_cnn", 0).eval()
    suite = {"linf": PGD(Linf(0.3), 2), "l1": SLIDE(L1(10), 2), "l2": PGD(L2(2), 2)}
    rng = np.random.default_rng(0)
    return Run(model, images, evaluate(model, suite, images.x, images.y, rng, about={"data": "six digits"}))


@pytest.fixture(scope="module", params=FIGURES)
def small_figure(request):
    """A figure's module and small numbers of the right form, as JSON gives them back."""
    module = figure_module(request.param)
    parameters = module.PARAMETERS["quick"]
    small = parameters | {name: value for name, value in SMALL.items() if name in parameters}
    return module, json.loads(json.dumps(module.compute(untrained, **small), allow_nan=False))


def test_figures_have_one_shape(small_figure):
    module, _ = small_figure
    assert set(module.PARAMETERS) == set(PRESETS)
    caption = module.__doc__.strip()
    assert caption.splitlines()[0].endswith(".") and len(caption.splitlines()) > 2
    for parameters in module.PARAMETERS.values():
        for name in parameters.get("experiments", {}).values():
            assert name in EXPERIMENTS


def test_figures_draw_without_a_complaint(small_figure):
    """Warnings are errors here: no glyph is missing. Type 42 fonts: text in the PDF stays text."""
    module, numbers = small_figure
    before, rc = json.dumps(numbers), dict(plt.rcParams)
    with paper_style():
        figure = module.draw(numbers)
        pdf, png = io.BytesIO(), io.BytesIO()
        figure.savefig(pdf, format="pdf")
        figure.savefig(png, format="png")
    plt.close(figure)
    assert b"/Subtype /Type3" not in pdf.getvalue() and b"/FontFile2" in pdf.getvalue()
    assert png.getvalue().startswith(b"\x89PNG")
    assert figure.get_figwidth() <= PAGE
    assert json.dumps(numbers) == before and dict(plt.rcParams) == rc  # the caller's numbers and style


@pytest.fixture(scope="module")
def thm1():
    module = figure_module("thm1")
    parameters = module.PARAMETERS["quick"]
    return parameters, module.compute(None, **parameters)


def test_thm1_textbook_classifiers(thm1):
    """Their closed forms, as (R_linf, R_l1): (1 - p0, 1), (Φ(α), Φ(-α + 2/√d)) and (1/2, 1/2)."""
    how, numbers = thm1
    alpha, d, p0 = how["alpha"], how["d"], how["p0"]
    eta = alpha / np.sqrt(d)
    assert numbers["radii"] == {"linf": pytest.approx(2 * eta), "l1": 2.0} and 2 * eta < 1
    textbook = numbers["textbook"]
    assert textbook["sign(x_0)"] == pytest.approx([1 - p0, 1], abs=1e-12)
    assert textbook["sign(sum x_i)"] == pytest.approx([norm.cdf(alpha), norm.cdf(-alpha + 2 / np.sqrt(d))], abs=1e-12)
    assert textbook["constant"] == pytest.approx([0.5, 0.5], abs=1e-12)


def test_thm1_no_linear_classifier_is_below_the_line(thm1):
    _, numbers = thm1
    linear = np.array([*numbers["linear"], *numbers["textbook"].values()])
    assert (linear.sum(axis=1) >= 1 - 1e-12).all() and ((linear >= 0) & (linear <= 1)).all()
    assert linear.sum(axis=1).min() < 1.01  # and the line is nearly reached
    assert len(np.unique(linear.round(6), axis=0)) > 100


def test_thm1_simulated_classifiers_are_on_the_line(thm1):
    """Within their error bars, of 99.9 % each, at a fixed seed; where the risk has a closed form, the bar holds it."""
    how, numbers = thm1
    alpha, p0, n = how["alpha"], how["p0"], how["samples"]
    known = 0
    for point in numbers["simulated"]:
        risks, intervals = np.array(point["risks"]), np.array(point["intervals"])
        assert (intervals[:, 0] <= risks).all() and (risks <= intervals[:, 1]).all()
        assert (np.diff(intervals) < 8 / np.sqrt(n)).all()
        assert intervals[:, 0].sum() <= 1 <= intervals[:, 1].sum()
        threshold = re.match(r"sign\(T\) where \|T\| > ([\d.]+), else x_0", point["classifier"])
        if threshold:
            c = float(threshold[1])
            # Under l1 noise x_0 is turned round and yT is N(α, 1): wrong if yT < -c, and if |T| ≤ c and x_0 was right.
            exact = norm.cdf(-c - alpha) + p0 * (norm.cdf(c - alpha) - norm.cdf(-c - alpha))
            assert intervals[0, 0] <= 1 - exact <= intervals[0, 1] and intervals[1, 0] <= exact <= intervals[1, 1]
            known += 1
    assert known >= 2


def test_thm1_radii_are_closed_forms():
    module = figure_module("thm1_radii")
    how = module.PARAMETERS["quick"]
    numbers = module.compute(None, **how)
    scale, root_d = np.array(numbers["scale"]), np.sqrt(how["d"])
    assert len(scale) == how["points"] and scale[0] == 0 and scale[-1] > 1
    alpha, p0 = how["alpha"], how["p0"]
    exact = {
        # x_0 gives way where the radius reaches 1: never here under linf (2η · 1.5 < 1), at scale 1/2 under l1.
        "sign(x_0)": {"linf": np.full(len(scale), 1 - p0), "l1": np.where(2 * scale >= 1, 1.0, 1 - p0)},
        "sign(sum x_i)": {"linf": norm.cdf(-alpha + 2 * alpha * scale), "l1": norm.cdf(-alpha + 2 * scale / root_d)},
    }
    assert numbers["risks"].keys() == exact.keys()
    for name, risks in numbers["risks"].items():
        for key in ("linf", "l1"):
            np.testing.assert_allclose(risks[key], exact[name][key], atol=1e-12)
        average = np.array(risks["average"])
        np.testing.assert_allclose(average, (exact[name]["linf"] + exact[name]["l1"]) / 2, atol=1e-12)
        assert (average[scale >= 1] >= 0.5).all() and average[0] < 0.5  # Theorem 1
