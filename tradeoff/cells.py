"""The finished cells of an evaluation: one attack on one chunk of examples, each kept as soon as it is known.

An evaluation is kept in a folder, in two files. `task.json` says what is evaluated, and `cells.jsonl` has a line per
cell, which is only ever appended to: a checksum, then the cell as JSON. A line that an interruption or a full disk has
cut short does not match its checksum, and its cell is computed again. Lines reach the operating system one by one, so
that they survive the process; to survive a power cut they are not forced to the disk.
"""

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tradeoff.files import make_folder, read_json, write_json


class Cell(NamedTuple):
    """What one attack did to one chunk of m examples, and what it cost."""

    correct: np.ndarray  # (m,) bool
    tried: np.ndarray  # (m,) bool
    forward: int
    backward: int
    seconds: float


class Cells:
    """The cells by (attack, number of the chunk); with a folder they are kept there, and those there are read.

    Raises ValueError when the folder holds the cells of another task, and OSError when it cannot be written to.
    """

    def __init__(self, folder: str | Path | None, task: Mapping):
        self._cells: dict[tuple[str, int], Cell] = {}
        self._path = None
        if folder is not None:
            folder = make_folder(folder)
            self._path = folder / "cells.jsonl"
            declared = folder / "task.json"
            if declared.exists():
                check_same_task(declared, read_json(declared), task)
            else:
                write_json(declared, task)
            if self._path.exists():
                self._cells = read_cells(self._path)
                self._end_line()

    def __contains__(self, key: tuple[str, int]) -> bool:
        return key in self._cells

    def __getitem__(self, key: tuple[str, int]) -> Cell:
        return self._cells[key]

    def __len__(self) -> int:
        return len(self._cells)

    def add(self, attack: str, chunk: int, cell: Cell) -> None:
        """Keep a finished cell. OSError, naming the remedy, if the disk does not take it."""
        self._cells[attack, chunk] = cell
        if self._path:
            bits = {name: np.packbits(getattr(cell, name)).tobytes().hex() for name in ("correct", "tried")}
            record = {"attack": attack, "chunk": chunk, "size": len(cell.tried), **cell._asdict(), **bits}
            self._append(json.dumps(record, ensure_ascii=False).encode())

    def _append(self, record: bytes) -> None:
        line = b"%08x %b\n" % (zlib.crc32(record), record)
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                written = os.write(file, line)
            finally:
                os.close(file)
            if written < len(line):
                raise OSError("no space left for the whole line")
        except OSError as error:
            raise OSError(f"cannot write to {self._path} ({error.strerror or error}): make room, and the same call "
                          f"goes on after the {len(self) - 1} cells that are kept") from error  # fmt: skip

    def _end_line(self) -> None:
        """Whatever comes next is a line of its own."""
        content = self._path.read_bytes()
        if content and not content.endswith(b"\n"):
            with open(self._path, "ab") as file:
                file.write(b"\n")


def read_cells(path: Path) -> dict[tuple[str, int], Cell]:
    """The whole cells of the file, by (attack, number of the chunk). ValueError for a line that is none."""
    cells = {}
    for line in path.read_bytes().splitlines():
        checksum, _, record = line.partition(b" ")
        if checksum != b"%08x" % zlib.crc32(record):
            continue
        try:
            parts = json.loads(record)
            correct, tried = (_bits(parts[name], parts["size"]) for name in ("correct", "tried"))
            cell = Cell(correct, tried, parts["forward"], parts["backward"], parts["seconds"])
            cells[parts["attack"], parts["chunk"]] = cell
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{path} has a line that is no cell ({error}): delete it to start again") from error
    return cells


def _bits(text: str, size: int) -> np.ndarray:
    packed = np.frombuffer(bytes.fromhex(text), np.uint8)
    if -(-size // 8) != len(packed):  # before anything is made that is `size` long
        raise ValueError(f"{size} examples do not take {len(packed)} bytes")
    return np.unpackbits(packed, count=size).astype(bool)


def check_same_task(path: Path, there: Mapping, task: Mapping) -> None:
    """ValueError naming what differs if the task that `path` was made for is not this one. Numbers of the model may
    differ by rounding."""
    task = json.loads(json.dumps(task))
    other = [part for part in task if not _same(there.get(part), task[part])] if isinstance(there, Mapping) else ["all"]
    if other:
        raise ValueError(f"{path} is of another evaluation (other {', '.join(other)}): choose another folder, or "
                         "delete its files to start again")  # fmt: skip


def _same(a, b) -> bool:
    if isinstance(a, list) and isinstance(b, list):
        a, b = np.array(a), np.array(b)
        return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-3, atol=1e-3 * np.abs(b).max(initial=0.0)))
    if isinstance(a, dict) and isinstance(b, dict):  # the order of attacks matters to a cascade
        return list(a.items()) == list(b.items())
    return a == b
