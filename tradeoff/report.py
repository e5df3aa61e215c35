"""The report on a model: accuracies between certified and attacked, what each attack added, a picture and a verdict."""

import argparse
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from tradeoff import tables
from tradeoff.attacks.ascent import Box, evaluating
from tradeoff.attacks.suites import SUITES, WHOLE, suite
from tradeoff.cells import check_same_task
from tradeoff.certification import certify
from tradeoff.checks import check_count
from tradeoff.command import add_json, check_json, epilog, put_json
from tradeoff.data import Images
from tradeoff.evaluation import check_steady, check_task, describe_task, device_of, evaluate
from tradeoff.files import make_folder, read_json, write_atomically, write_json
from tradeoff.masking import masking_report
from tradeoff.models import MODELS, seen
from tradeoff.outcomes import Outcomes
from tradeoff.perturbations import PRESETS, parse
from tradeoff.provenance import provenance
from tradeoff.subject import check_device, load_checkpoint, load_entry, load_images
from tradeoff.verdict import verdict


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when the report is written, 1 when it cannot be made, 2 for a wrong request, before any work; 130 when
    interrupted."""
    options = _parser().parse_args(arguments)
    status = 2
    try:
        check_json(options.json, options.force)
        request = _prepare(options)
        status = 1
        outcomes, report = _make(request, options)
        _write(outcomes, report, request)
    except KeyboardInterrupt:
        force = " without --force" if options.force else ""
        print(f"interrupted: the same command{force} goes on where this one was", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return status
    if options.json != "-":
        print(f"\n{_text(report, 'txt')}\n{_prose(report)}\nwritten to {request.out}")
    put_json(options.json, report)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tradeoff.evaluate",
        description="Attack a model under several sets of perturbations and write the outcome matrix, tables, a "
        "picture and a verdict. An interrupted command goes on where it was.",
        epilog=epilog(
            "python -m tradeoff.evaluate --entry my_model:load --data digits --sets paper_mnist",
            "the report cannot be made",
        ),  # fmt: skip
    )
    subject = parser.add_mutually_exclusive_group(required=True)
    subject.add_argument("--checkpoint", metavar="FILE", help="weights that our training wrote (safetensors)")
    subject.add_argument("--entry", metavar="MODULE:FUNCTION", help="function that returns a torch.nn.Module, which "
                         "maps inputs to logits (any normalisation inside)")  # fmt: skip
    parser.add_argument("--model", metavar="|".join(MODELS), help="network of the checkpoint (default: its header's)")
    parser.add_argument("--data", required=True, metavar="digits|mnist|cifar10|FILE.npz",
                        help="test examples, or a file with arrays x (n, ...) and y (n,)")  # fmt: skip
    parser.add_argument("--sets", required=True, metavar="SETS",
                        help=f'a preset ({", ".join(PRESETS)}) or "linf:0.3 | l1:10"')  # fmt: skip
    parser.add_argument("--suite", default="quick", metavar="|".join(SUITES), help="attacks (default: quick)")
    parser.add_argument("--n", type=int, metavar="N", help="first N examples (default: 1000, or all if fewer)")
    parser.add_argument("--box", default="0,1", metavar="LOW,HIGH|none", help="bounds of the inputs (default: 0,1)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all draws (default: 0)")
    parser.add_argument(
        "--chunk", type=int, metavar="N", help="examples at a time (default: as measured to be fastest)"
    )
    parser.add_argument("--check-chunks", action="store_true",
                        help="evaluate again in chunks of half the size, and count what ends otherwise")  # fmt: skip
    parser.add_argument("--unsteady", action="store_true",
                        help="evaluate a randomised model too, for one of its answers each time")  # fmt: skip
    parser.add_argument(
        "--uncertified",
        action="store_true",
        help="certify nothing, which on a deep network takes long; without it the same command goes on",
    )
    parser.add_argument("--device", default="cpu", help="torch device: cpu (default), cuda, cuda:1")
    parser.add_argument("--out", default="out/evaluation", metavar="DIR",
                        help="folder of the report (default: out/evaluation)")  # fmt: skip
    parser.add_argument("--run", metavar="DIR", help="folder of the finished cells (default: OUT/run)")
    parser.add_argument("--force", action="store_true", help="replace the report and the cells that are there")
    add_json(parser)
    return parser


@dataclass(frozen=True)
class _Request:
    """What is asked for, known to be possible."""

    model: nn.Module
    images: Images
    x: Tensor
    y: Tensor
    sets: Any
    box: Box
    attacks: dict
    declared: dict  # the task, by content
    out: Path
    run: Path
    notes: list[str]


def _prepare(options) -> _Request:
    """Load and check everything. ValueError or OSError for a request that cannot be met."""
    sets = parse(options.sets)
    box = _box(options.box)
    suite(options.suite, sets, box)  # what cannot be made is said before anything is loaded
    if options.chunk is not None:
        check_count(options.chunk, "--chunk")
    device = check_device(options.device)
    images = load_images(options.data, options.n)
    model = load_entry(options.entry) if options.entry else load_checkpoint(options.checkpoint, options.model).eval()
    model.to(device)
    attacks = suite(options.suite, sets, box, seen(model))
    x, y = torch.tensor(images.x), torch.tensor(images.y)
    check_task(model, attacks.values(), x, y)
    notes = []
    if not options.unsteady:
        check_steady(model, x)
    else:
        notes.append("the model was let through unsteady: its outcomes are those of one answer each")
    if any(part.training for part in model.modules() if isinstance(part, _DropoutNd | _BatchNorm)):
        notes.append("the model came in training mode and was evaluated in eval mode, without dropout")
    rng = np.random.default_rng(options.seed)
    declared = describe_task(model, attacks, x, y, rng, cascade=_cascade(options), unsteady=options.unsteady)
    out = make_folder(options.out)
    run = make_folder(options.run or out / "run")
    _clear(out, run) if options.force else _check_there(out, run, declared, options.chunk)
    return _Request(model, images, x, y, sets, box, attacks, declared, out, run, notes)


def _cascade(options) -> bool:
    return options.suite not in WHOLE


def _box(text: str) -> Box:
    if text.lower() == "none":
        return None
    try:
        low, high = map(float, text.split(","))
        if low < high:
            return low, high
    except ValueError:
        pass
    raise ValueError(f"the box is {text!r}, but must be LOW,HIGH with LOW < HIGH, or none: write for example 0,1")


def _clear(out: Path, run: Path) -> None:
    """Forget what --force replaces."""
    (out / "report.json").unlink(missing_ok=True)
    for pattern in ("task.json", "cells.jsonl", "certified.json", "masking.json", "chunk-*/task.json",
                    "chunk-*/cells.jsonl"):  # fmt: skip
        for file in run.glob(pattern):
            file.unlink()


def _check_there(out: Path, run: Path, declared: dict, chunk: int | None) -> None:
    """ValueError if either folder holds another evaluation."""
    report, task = out / "report.json", run / "task.json"
    declared = declared | ({"chunk": chunk} if chunk else {})
    try:
        if report.exists():
            there = read_json(report)
            check_same_task(report, there.get("declared") if isinstance(there, dict) else None, declared)
        elif (out / "outcomes.json").exists():
            raise ValueError(
                f"{out} holds outcomes that are not of this command: choose another folder, or delete them"
            )
        if task.exists():
            check_same_task(task, read_json(task), declared)
    except ValueError as error:
        raise ValueError(f"{error} (--force does)") from error


# ---- making it


def _make(request: _Request, options) -> tuple[Outcomes, dict]:
    """The outcomes, and the report as JSON data."""
    images, run = request.images, request.run
    data = f"first {len(images)} test examples of {images.source}"
    again = f" (goes on, from {run})" if (run / "cells.jsonl").exists() else ""
    _say(f"attacking with {len(request.attacks)} attacks of the suite {options.suite} on the {data}{again}")
    outcomes = _attack(request, options, run, options.chunk, data)
    certified = dict.fromkeys(S for S in outcomes.sets[1:] if "|" not in S)
    if not options.uncertified:
        certified = _once(run / "certified.json", lambda: _certify(request, certified))
    masking = _once(run / "masking.json", lambda: _masking(request, options.seed))
    report = {
        "declared": request.declared | {"chunk": outcomes.about["chunk"]},
        "model": options.entry or options.checkpoint,
        "data": data,
        "sets": str(request.sets),
        "suite": options.suite,
        "classes": _classes(request),
        "table": _table(outcomes, certified),
        "gains": [gain._asdict() for gain in outcomes.gains()],
        "chunks": _compare_chunks(request, options, outcomes, data) if options.check_chunks else None,
        "masking": masking,
        "notes": request.notes,
        "provenance": outcomes.about["provenance"],
    }
    return outcomes, report | {"verdict": verdict(report)}


def _attack(request: _Request, options, run: Path, chunk: int | None, data: str) -> Outcomes:
    return evaluate(
        request.model,
        request.attacks,
        request.x,
        request.y,
        np.random.default_rng(options.seed),
        cascade=_cascade(options),
        chunk=chunk,
        run=run,
        unsteady=options.unsteady,
        progress="attacking",
        about={"data": data, "provenance": provenance(seed=options.seed, device=options.device)},
    )


def _once(path: Path, compute):
    """The value in the file, or the computed one, which is kept there."""
    if not path.exists():
        write_json(path, compute())
    return read_json(path)


def _certify(request: _Request, sets: Iterable[str]) -> dict[str, list[bool] | None]:
    """For each set the examples known to stand, None where no certificate applies."""
    certified: dict[str, list[bool] | None] = dict.fromkeys(sets)
    x, y = (part.to(device_of(request.model)) for part in (request.x, request.y))
    for S in certified:
        _say(f"certifying under {S}")
        try:
            certified[S] = certify(request.model, x, y, parse(S), box=request.box).tolist()
        except ValueError:
            pass  # an architecture or a set that it does not support
    return certified


def _masking(request: _Request, seed: int) -> dict:
    """Whether the gradients can be trusted, on up to 200 of the examples."""
    x, y = (part[:200].to(device_of(request.model)) for part in (request.x, request.y))
    try:
        found = masking_report(request.model, x, y, request.sets, np.random.default_rng(seed), box=request.box)
    except ValueError as error:  # no ball among the sets, or no example that is classified correctly
        return {"verdict": "unknown", "lines": [str(error)]}
    return {"verdict": found.verdict, "lines": found.lines()}


def _table(outcomes: Outcomes, certified: Mapping) -> dict[str, dict]:
    """`Outcomes.table` with the sets written out, and the share of examples known to stand under each."""
    numbers, table = outcomes.table(), {}
    for row, names in outcomes.rows().items():
        members = [S for S in certified if parse(S).name in names]
        entry = {"family": row, **numbers[row], "certified": None}
        if members and all(certified[S] is not None for S in members):
            stand = outcomes.standing() & np.all([certified[S] for S in members], axis=0)
            entry |= {"certified": float(stand.mean()), "contradicted": int((stand & ~outcomes.standing(*names)).sum())}
        table[row if row in ("clean", "union") else ", ".join(members)] = entry
    return table | {"average": {"family": "average", **numbers["average"], "certified": None}}


def _compare_chunks(request: _Request, options, outcomes: Outcomes, data: str) -> dict:
    """The same evaluation in chunks of half the size: the cells that end otherwise."""
    chunk = min(outcomes.about["chunk"], len(request.x))
    half = -(-chunk // 2) if chunk > 1 else 2
    again = _attack(request, options, request.run / f"chunk-{half}", half, data)
    differs = outcomes.differs(again)
    return {"sizes": [chunk, half], "cells": differs.size, "differing": int(differs.sum()),
            "examples": np.flatnonzero(differs.any(axis=1)).tolist(),
            "union": [outcomes.union(), again.union()]}  # fmt: skip


def _classes(request: _Request) -> int:
    with evaluating(request.model), torch.no_grad():
        return request.model(request.x[:1].to(device_of(request.model))).shape[1]


# ---- writing it


def _write(outcomes: Outcomes, report: dict, request: _Request) -> None:
    """All files, the report first: it claims the folder. OSError that says what is safe when the disk is full."""
    out = request.out
    try:
        write_json(out / "report.json", report)
        outcomes.save(out / "outcomes")
        for style in tables.STYLES:
            _write_text(out / f"table.{style}", _text(report, style))
        _write_text(out / "verdict.txt", _prose(report))
        _draw(report, out)
    except OSError as error:
        raise OSError(f"cannot write the report to {out} ({error.strerror or error}): make room, and the same command "
                      f"goes on; its results are kept in {request.run}") from error  # fmt: skip


def _text(report: Mapping, style: str) -> str:
    """Both tables in a style of `tables`."""
    make = tables.STYLES[style]
    return f"{make(*tables.of_sets(report['table']))}\n\n{make(*tables.of_gains(report['gains']))}\n"


def _prose(report: Mapping) -> str:
    text = textwrap.fill(tables.written(" ".join(report["verdict"])), 100, break_long_words=False) + "\n"
    return text + "\n" + tables.written("\n".join(report["masking"]["lines"])) + "\n"


def _write_text(path: Path, text: str) -> None:
    with write_atomically(path) as file:
        file.write(text.encode())


def _draw(report: Mapping, out: Path) -> None:
    """plot.pdf and plot.png, where matplotlib is installed."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        _say("no plot, as matplotlib is missing: pip install 'tradeoff[figures]'")
        return
    matplotlib.use("agg")  # files alone, wherever there is a screen
    from matplotlib import pyplot as plt

    from tradeoff.figures.style import paper_style

    with paper_style():
        figure = draw(report)
        for kind, metadata in {"pdf": {"CreationDate": None}, "png": {}}.items():
            with write_atomically(out / f"plot.{kind}") as file:
                figure.savefig(file, format=kind, metadata=metadata)
        plt.close(figure)


def draw(report: Mapping):
    """A bar with its interval for each set and the union; hatched from below what is certified."""
    from matplotlib import pyplot as plt

    from tradeoff.figures.style import COLOURS, LABELS, PAGE

    entries = {name: entry for name, entry in report["table"].items() if "interval" in entry}
    figure, ax = plt.subplots(figsize=(PAGE, 2.6))
    for at, entry in enumerate(entries.values()):
        family = entry["family"]
        colour = COLOURS.get("affine" if "+" in family else family, COLOURS["average"])
        value, low, high = (100 * share for share in (entry["accuracy"], *entry["interval"]))
        ax.bar(at, value, 0.6, color=colour if family != "clean" else "#BBBBBB")
        ax.errorbar(at, value, yerr=[[value - low], [high - value]], fmt="none", ecolor="black", lw=0.8, capsize=3)
        ax.annotate(f"{value:.1f}", (at, high), xytext=(0, 2), textcoords="offset points", ha="center", fontsize=7)
        if entry["certified"]:
            ax.bar(at, 100 * entry["certified"], 0.6, fill=False, hatch="////", lw=0.6)
    labels = [f"{LABELS[entry['family']]}\n{name}" if entry["family"] in LABELS and name != entry["family"] else name
              for name, entry in entries.items()]  # fmt: skip
    ax.set_xticks(range(len(entries)), map(tables.written, labels))
    ax.set_ylabel("accuracy under attack (%)")
    ax.set_ylim(0, 108)
    ax.set_yticks(range(0, 101, 20))
    ax.set_title(report["data"], loc="right", color="0.35")
    if any(entry["certified"] for entry in entries.values()):
        ax.set_title("hatched: certified", loc="left", color="0.35")
    ax.set_xlabel(f"{report['model'][-60:]}, suite {report['suite']}")
    return figure


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
