"""python -m tradeoff.figures: compute and draw the figures, training what they need when it is missing."""

import argparse
import json
import resource
import sys
import time
from pathlib import Path

from tradeoff.figures import FIGURES, PRESETS, figure_module
from tradeoff.files import make_folder, read_json, write_atomically, write_json
from tradeoff.names import lookup
from tradeoff.provenance import provenance


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 when every figure is there, 1 on an error, 2 for a wrong command line, 130 when interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m tradeoff.figures",
        description="Compute and draw the figures: a PDF, a PNG and a JSON with the numbers and their provenance each. "
        "Models that a figure needs are trained when they are missing, and an interrupted command goes on where it was.",
        epilog="example: python -m tradeoff.figures thm1 mnist_tradeoff --out out",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="figures to make (default: all)")
    parser.add_argument("--list", action="store_true", help="list the figures and exit")
    parser.add_argument("--out", default="out", metavar="DIR", help="folder of the figures (default: out)")
    parser.add_argument("--runs", metavar="DIR", help="folder of trained models and their outcomes (default: OUT/runs)")
    parser.add_argument("--preset", default="quick", metavar="|".join(PRESETS),
                        help="quick: embedded digits, minutes on a CPU (default); full: all of MNIST")  # fmt: skip
    parser.add_argument("--device", default="cpu", help="torch device to train on: cpu (default), cuda, cuda:1, mps")
    parser.add_argument("--force", action="store_true", help="compute again what is there, and train again")
    options = parser.parse_args(arguments)
    if options.list:
        for name in FIGURES:
            print(f"{name:15} {figure_module(name).__doc__.strip().splitlines()[0]}")
        return 0
    try:
        for name in options.names:
            lookup(dict.fromkeys(FIGURES), name, "figure")
        lookup(dict.fromkeys(PRESETS), options.preset, "preset")
        _make(options)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on where this one was", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _make(options) -> None:
    import torch  # only now: --list and errors above need not wait for it

    from tradeoff.experiments import Results

    out = make_folder(options.out)
    runs = make_folder(options.runs or out / "runs")
    try:
        torch.empty(1, device=options.device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device {options.device!r} is not to be had ({reason}): use --device cpu") from None
    results = Results(runs, options.device, options.force)
    began = time.perf_counter()
    for name in options.names or FIGURES:
        make_figure(name, options.preset, out, results, options.force)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform != "darwin" else 2**30)
    print(f"done in {time.perf_counter() - began:.0f} s, at most {peak:.1f} GB of memory")


def make_figure(name: str, preset: str, out: Path, results, force: bool) -> None:
    """Write OUT/NAME.json, .pdf and .png, or reuse numbers that are there and were made from the same parameters.

    Raises ValueError when numbers made from other parameters are there and `force` is not given.
    """
    from matplotlib import pyplot as plt

    from tradeoff.experiments import EXPERIMENTS
    from tradeoff.figures.style import paper_style

    module = figure_module(name)
    parameters = module.PARAMETERS[preset]
    experiments = parameters.get("experiments", {}).values()
    # As JSON reads it back, so that tuples and lists compare equal.
    declared = json.loads(
        json.dumps({"parameters": parameters, "experiments": {e: repr(EXPERIMENTS[e]) for e in experiments}})
    )
    path = out / f"{name}.json"
    numbers, verb = None, "reused"
    if path.exists() and not force:
        there = read_json(path)
        if there.get("declared") != declared:
            raise ValueError(f"{path} was made from other parameters (preset {there.get('preset')}): "
                             "--force replaces it, --out keeps both")  # fmt: skip
        numbers = there["numbers"]
    if numbers is None:
        print(f"{name}: computing", flush=True)
        began, verb = time.perf_counter(), "made"
        numbers = json.loads(json.dumps(module.compute(results, **parameters)))
        seconds = round(time.perf_counter() - began, 1)
        about = provenance(seconds=seconds, seed=parameters.get("seed"), data=numbers.get("data", "none: theory"))
        caption = module.__doc__.strip()
        write_json(path, {"figure": name, "caption": caption, "preset": preset, "declared": declared, "provenance": about,
                          "numbers": numbers})  # fmt: skip
    pictures = [path.with_suffix(".pdf"), path.with_suffix(".png")]
    if verb == "made" or not all(picture.exists() for picture in pictures):
        with paper_style():
            figure = module.draw(numbers)
            for picture in pictures:
                with write_atomically(picture) as file:
                    # Without a date the same numbers give the same file.
                    metadata = {"CreationDate": None} if picture.suffix == ".pdf" else {}
                    figure.savefig(file, format=picture.suffix[1:], metadata=metadata)
            plt.close(figure)
    print(f"{name}: {verb} {path.with_suffix('.png')} (.pdf, .json)", flush=True)


if __name__ == "__main__":
    sys.exit(main())
