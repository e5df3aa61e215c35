"""python -m tradeoff.figures: compute and draw the figures, training what they need when it is missing."""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tradeoff.command import epilog, run
from tradeoff.figures import FIGURES, PRESETS, figure_module
from tradeoff.files import make_folder, read_json, write_atomically, write_json
from tradeoff.names import lookup
from tradeoff.provenance import provenance


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every figure is there, 1 when one cannot be made, 2 for a wrong request, before any work; 130 when
    interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m tradeoff.figures",
        description="Compute and draw the figures: a PDF, a PNG and a JSON with the numbers and their provenance each. "
        "Models that a figure needs are trained when missing, and an interrupted command goes on where it was.",
        epilog=epilog("python -m tradeoff.figures thm1 mnist_tradeoff --out out", "a figure cannot be made"),
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="figures to make (default: all)")
    parser.add_argument("--list", action="store_true", help="list the figures and exit")
    parser.add_argument("--index", action="store_true", help="write OUT/README.md, a page of OUT's figures, and exit")
    parser.add_argument("--out", default="out", metavar="DIR", help="folder of the figures (default: out)")
    parser.add_argument("--runs", metavar="DIR", help="folder of trained models and their outcomes (default: OUT/runs)")
    parser.add_argument("--preset", default="quick", metavar="|".join(PRESETS),
                        help="quick: embedded digits, minutes on a CPU (default); full: all of MNIST")  # fmt: skip
    parser.add_argument("--device", default="cpu", help="torch device to train on: cpu (default), cuda, cuda:1")
    parser.add_argument("--workers", type=int, metavar="N",
                        help="models trained side by side (default: one per core; 1 on a GPU)")  # fmt: skip
    parser.add_argument("--force", action="store_true", help="compute again what is there, and train again")
    options = parser.parse_args(arguments)
    if options.list:
        for name in FIGURES:
            print(f"{name:15} {figure_module(name).__doc__.strip().splitlines()[0]}")
        return 0
    status = 2
    try:
        if options.index:
            page = Path(options.out) / "README.md"
            text = index(page.parent)
            with write_atomically(page) as file:
                file.write(text.encode())
            print(page)
            return 0
        names, out, results = _prepare(options)
        status = 1
        began = time.perf_counter()
        results.prepare(_missing_runs(names, options), options.workers)
        for name in names:
            make_figure(name, options.preset, out, results, options.force)
    except KeyboardInterrupt:
        force = " without --force" if options.force else ""
        print(f"interrupted: the same command{force} goes on where this one was", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return status
    print(f"done in {time.perf_counter() - began:.0f} s")
    return 0


def _prepare(options) -> tuple[list[str], Path, Any]:
    """The figures asked for, the folder they go to, and the results they draw on. ValueError or OSError for a request
    that cannot be met."""
    names = list(dict.fromkeys(options.names or FIGURES))
    for name in names:
        lookup(dict.fromkeys(FIGURES), name, "figure")
    lookup(dict.fromkeys(PRESETS), options.preset, "preset")
    out = make_folder(options.out)
    runs = make_folder(options.runs or out / "runs")

    import matplotlib  # only now: --list and the errors above need not wait for it and for torch
    import torch

    from tradeoff.checks import check_count
    from tradeoff.experiments import Results
    from tradeoff.subject import check_device

    matplotlib.use("agg")  # files alone, wherever there is a screen
    torch.set_num_threads(1)  # see tradeoff.engines
    if options.workers is None:
        options.workers = (os.cpu_count() or 1) if options.device == "cpu" else 1
    check_count(options.workers, "--workers")
    check_device(options.device)
    if not options.force:
        for name in names:
            _numbers_there(name, options.preset, out)
    return names, out, Results(runs, options.device, options.force)


def _missing_runs(names: list[str], options) -> list[str]:
    """The experiments behind those of the figures that have to be computed."""
    runs = []
    for name in names:
        if options.force or _numbers_there(name, options.preset, Path(options.out)) is None:
            runs += figure_module(name).PARAMETERS[options.preset].get("experiments", {}).values()
    return runs


def make_figure(name: str, preset: str, out: Path, results, force: bool) -> None:
    """Write OUT/NAME.json, .pdf and .png, or reuse numbers that are there and were made from the same parameters.

    Raises ValueError when numbers made from other parameters are there and `force` is not given.
    """
    from matplotlib import pyplot as plt

    from tradeoff.figures.style import paper_style

    module = figure_module(name)
    path = out / f"{name}.json"
    pictures = [path.with_suffix(".pdf"), path.with_suffix(".png")]
    numbers, verb = None if force else _numbers_there(name, preset, out), "reused"
    if numbers is None:
        print(f"{name}: computing", flush=True)
        began, verb = time.perf_counter(), "made"
        parameters = module.PARAMETERS[preset]
        numbers = json.loads(json.dumps(module.compute(results, **parameters)))
        seconds = round(time.perf_counter() - began, 1)
        about = provenance(seconds=seconds, seed=parameters.get("seed"), data=numbers.get("data", "none: theory"))
        for picture in pictures:
            picture.unlink(missing_ok=True)  # of other numbers
        write_json(path, {"figure": name, "caption": module.__doc__.strip(), "preset": preset,
                          "declared": _declared(name, preset), "provenance": about, "numbers": numbers})  # fmt: skip
    if not all(picture.exists() for picture in pictures):
        with paper_style():
            figure = module.draw(numbers)
            for picture in pictures:
                with write_atomically(picture) as file:
                    # Without a date the same numbers give the same file.
                    metadata = {"CreationDate": None} if picture.suffix == ".pdf" else {}
                    figure.savefig(file, format=picture.suffix[1:], metadata=metadata)
            plt.close(figure)
    print(f"{name}: {verb} {path.with_suffix('.png')} (.pdf, .json)", flush=True)


def index(folder: Path) -> str:
    """The page of all figures in a folder, as Markdown: picture, caption and command of each, from its JSON.

    ValueError when there are none, or the file of one is not a figure's.
    """
    there = {path.stem: read_json(path) for path in folder.glob("*.json")}
    for name, about in there.items():
        if not (isinstance(about, dict) and {"caption", "preset", "provenance"} <= about.keys()):
            raise ValueError(f"{folder / name}.json is not a figure's: --out names a folder of figures")
    if not there:
        raise ValueError(f"{folder} has no figures: make some with python -m tradeoff.figures --out {folder}")
    names = [name for name in FIGURES if name in there]
    names += sorted(there.keys() - set(names))
    parts = ["# Figures", "Made by `python -m tradeoff.figures`, each with a PDF and its numbers beside it; this page, "
             "from these numbers, by `python -m tradeoff.figures --index`."]  # fmt: skip
    for name in names:
        about, (title, *rest) = there[name], there[name]["caption"].split("\n", 1)
        made = about["provenance"]
        command = f"python -m tradeoff.figures {name}" + f" --preset {about['preset']}" * (about["preset"] != "quick")
        parts += [f"## {name}", f"![{title}]({name}.png)", f"**{title}**", *(text.strip() for text in rest)]
        parts += [f"`{command}`, of {made['date']}. Data: {made['data']}. [PDF]({name}.pdf), [numbers]({name}.json)."]
    return "\n\n".join(parts) + "\n"


def _numbers_there(name: str, preset: str, out: Path) -> dict | None:
    """The numbers in OUT/NAME.json, None without the file. ValueError when they were made from other parameters."""
    path = out / f"{name}.json"
    if not path.exists():
        return None
    there = read_json(path)
    if not isinstance(there, dict) or there.get("declared") != _declared(name, preset):
        made = f" (preset {there['preset']})" if isinstance(there, dict) and "preset" in there else ""
        raise ValueError(f"{path} was made from other parameters{made}: --force replaces it, --out keeps both")
    return there["numbers"]


def _declared(name: str, preset: str) -> dict:
    """All that the figure's numbers are made from, as JSON reads it back, so that tuples and lists compare equal."""
    from tradeoff.evaluation import describe
    from tradeoff.experiments import EXPERIMENTS, attacks_of

    parameters = figure_module(name).PARAMETERS[preset]
    used = {e: EXPERIMENTS[e] for e in parameters.get("experiments", {}).values()}
    experiments = {e: [repr(used[e]), describe(attacks_of(used[e]))] for e in used}
    return json.loads(json.dumps({"parameters": parameters, "experiments": experiments}))


if __name__ == "__main__":
    sys.exit(run(main))
