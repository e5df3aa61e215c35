"""What is evaluated: anyone's model and data, from the command line."""

import json
import re
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from tradeoff.data import LOADERS, Images, load
from tradeoff.models import build
from tradeoff.names import lookup
from tradeoff.training import load_weights

PICKLED = (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin")


def load_checkpoint(path: str | Path, model: str | None = None) -> nn.Module:
    """A model from a safetensors file that our training wrote, of the named architecture (see `tradeoff.models`), by
    default the one its header names. Nothing is ever unpickled: a .pt file is for its author's own code to load.

    Raises ValueError and FileNotFoundError that name the remedy.
    """
    path = Path(path)
    if path.suffix in PICKLED:
        raise ValueError(f"{path} may be pickled, which can run any code and is not opened: load it in a function of "
                         "your own and give --entry MODULE:FUNCTION")  # fmt: skip
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file: correct the path")
    declared = re.search(r"\bmodel='(\w+)'", _header(path).get("experiment", ""))
    if not (model or declared):
        raise ValueError(f"{path} does not say which network it is of: name it with --model")
    name = model or declared[1]
    found = build(name, 0)
    try:
        load_weights(path, found)
    except ValueError as error:
        if not isinstance(error.__cause__, RuntimeError):
            raise ValueError(
                f"{path} is damaged ({first_line(error.__cause__ or error)}): get it whole again"
            ) from error
        raise ValueError(f"{path} does not hold the weights of {name}: name another network with --model, or build it "
                         "in a function of your own and give --entry MODULE:FUNCTION") from error  # fmt: skip
    return found


def _header(path: Path) -> dict:
    """What training wrote beside the weights."""
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["about"])
        if not isinstance(about.get("experiment", ""), str):
            raise ValueError("what it says of its experiment is no text")
        return about
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{path} is not a whole safetensors file of our training ({first_line(error)}): "
            "correct the path, or build the model in a function of your own and give --entry"
        ) from error


def load_entry(entry: str) -> nn.Module:
    """The model that the function MODULE:FUNCTION returns, of a module in the current folder or installed.

    Raises ValueError that names what is missing.
    """
    name, colon, function = entry.partition(":")
    if not (name and colon and function):
        raise ValueError(f"the entry is {entry!r}, but must be MODULE:FUNCTION, for example my_model:load")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        make = getattr(import_module(name), function)
        model = make()
    except Exception as error:  # it is anyone's code
        raise ValueError(f"the entry {entry} fails ({type(error).__name__}: {first_line(error)}): "
                         "correct it, or run it on its own to see where") from error  # fmt: skip
    if not isinstance(model, nn.Module):
        raise ValueError(f"the entry {entry} returns {type(model).__name__}, but must return a torch.nn.Module")
    return model


def load_images(data: str, n: int | None = None) -> Images:
    """The first n test examples (by default 1,000, or all if there are fewer) of a data set of `tradeoff.data`, or of a
    .npz file with arrays `x` (n, ...) float and `y` (n,) of whole numbers.

    Raises ValueError and FileNotFoundError that name the remedy.
    """
    if data.endswith(".npz"):
        images = _from_file(Path(data))
    else:
        images = load(lookup({name: name for name in (*LOADERS, "FILE.npz")}, data, "data set"), "test")
    return images.first(min(1000, len(images)) if n is None else n)


def check_device(name: str) -> torch.device:
    """The torch device, known to compute in doubles, as projections do; ValueError otherwise."""
    try:
        device = torch.device(name)
        float(torch.ones(1, dtype=torch.float64, device=device))
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        raise ValueError(f"device {name!r} is not to be had ({first_line(error)}): use --device cpu") from None
    return device


def first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _from_file(path: Path) -> Images:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file: correct the path")
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            x, y = arrays["x"], arrays["y"]
    except Exception as error:  # a damaged zip file has a dozen ways to fail
        raise ValueError(f"{path} cannot be read ({first_line(error)}): it must hold an array x of floats and an array "
                         "y of labels, as numpy.savez(file, x=x, y=y) writes them") from error  # fmt: skip
    if x.ndim < 2 or y.shape != x.shape[:1] or not np.issubdtype(y.dtype, np.integer):
        raise ValueError(f"{path} holds x of shape {x.shape} and {y.dtype} labels y of shape {y.shape}, but x must be "
                         "(n, ...) and y (n,) of whole numbers")  # fmt: skip
    return Images(x, y.astype(np.int64), path.stem, path.name)
