"""Files that are whole or not there, and errors that say what to do about a folder."""

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def write_atomically(path: str | Path) -> Iterator[IO[bytes]]:
    """A binary file that takes the place of `path` when the block ends well; otherwise nothing changes. OSError naming
    the remedy if the disk does not take it."""
    path = Path(path)
    try:
        with _replacing(path) as file:
            yield file
    except OSError as error:
        raise OSError(
            f"cannot write {path} ({error.strerror or error}): make room, or choose another folder"
        ) from error


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp's files are private
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_json(path: str | Path, value: Any) -> None:
    """The value as readable JSON, whole or not at all."""
    text = json.dumps(value, indent=1, ensure_ascii=False)
    with write_atomically(path) as file:
        file.write(text.encode() + b"\n")


def read_json(path: str | Path) -> Any:
    """What `write_json` wrote. ValueError for a damaged file."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}): delete it to make it again") from error


@contextmanager
def alone(path: str | Path, busy: Exception) -> Iterator[None]:
    """Keep other processes out of the block, by a lock on the folder or file, made if missing: `busy` is raised where
    another holds it. The lock ends with its process, however that ends."""
    handle = os.open(path, os.O_RDONLY if Path(path).is_dir() else os.O_RDWR | os.O_CREAT)  # NFS locks what is written
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise busy from None
        yield
    finally:
        os.close(handle)


def check_target(path: str | Path, force: bool) -> None:
    """ValueError unless the file can be written there and is new, or may be replaced by `force`; makes its folder."""
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name a file in it")
    if path.exists() and not force:
        raise ValueError(f"{path} exists: choose another place, or replace it with --force")
    make_folder(path.parent)


def make_folder(path: str | Path) -> Path:
    """The folder, made if missing and known to be writable; OSError naming the remedy otherwise."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise OSError(f"cannot write to the folder {path} ({error.strerror or error}): choose another one") from error
    return path
