"""Whatever a text or a file holds, its reader answers rightly or says in a line what is wrong with it.

Never another exception, a hang, a payload that is run, or a file outside its folder.
"""

import gzip
import io
import json
import pickle
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from tradeoff import data, parse
from tradeoff.cells import Cells
from tradeoff.files import read_json
from tradeoff.limits import parse_scales
from tradeoff.models import build
from tradeoff.outcomes import Outcomes
from tradeoff.records import read
from tradeoff.subject import load_checkpoint, load_images
from tradeoff.training import save_weights

FEW = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
REFUSALS = (ValueError, OSError)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def damaged(draw, whole: bytes) -> bytes:
    """A file that was whole: cut, with other bytes here and there, longer; or bytes that never were one."""
    kind = draw(st.sampled_from(["cut", "flipped", "longer", "else"]))
    if kind == "cut":
        return whole[: draw(st.integers(0, max(len(whole) - 1, 0)))]
    if kind == "longer":
        return whole + draw(st.binary(min_size=1, max_size=64))
    if kind == "else":
        return draw(st.binary(max_size=256))
    other = bytearray(whole)
    # The heads and tails of files are where their structure is.
    places = st.integers(0, len(whole) - 1) | st.integers(0, min(255, len(whole) - 1))
    for at, byte in draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=4)):
        other[at] = byte
    return bytes(other)


def refused(reader, *arguments) -> str | None:
    """What the reader says against it, a line; None for what it reads. Any other exception fails the test."""
    try:
        reader(*arguments)
    except REFUSALS as error:
        assert str(error) and "\n" not in str(error).strip()
        return str(error)
    return None


class Payload:
    """What unpickling would run."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


# ---- texts

PIECES = ["linf", "l1", "l2", "l1.5", "rt", "swap", ":", "|", "+", "/", ",", "px", "deg", "0.3", "8/255", "-1", "0",
          "inf", "nan", "1e400", "9" * 5000, "1_0", "٣", " ", "\n", "\0", "paper_mnist", "("]  # fmt: skip


@given(st.text(max_size=40) | st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
@settings(max_examples=300)
def test_set_texts(text):
    try:
        S = parse(text)
    except ValueError as error:
        assert str(error)
        return
    assert parse(str(S)) == S


DIGITS = st.sampled_from([*"0123456789:,.-e ", "inf", "nan", "1e9"])


@given(st.text(max_size=20) | st.lists(DIGITS, max_size=9).map("".join))
def test_scales(text):
    try:
        scales = parse_scales(text)
    except ValueError as error:
        assert "not understood" in str(error)
    else:
        assert len(scales) <= 1000


# ---- JSON


@FEW
@given(damaged(json.dumps({"a": [1, 2, {"b": "c"}]}).encode()))
def test_json(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    refused(read_json, tmp_path / "a.json")


def test_json_nested_without_end(tmp_path):
    (tmp_path / "a.json").write_text("[" * 200_000)
    assert "damaged" in refused(read_json, tmp_path / "a.json")


# ---- outcomes and records


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> tuple[bytes, dict]:
    path = tmp_path_factory.mktemp("whole") / "outcomes"
    Outcomes(np.eye(4, 3, dtype=bool), ("clean", "a", "b"), ("", "linf:0.3", "l1:10"), {"seed": 0}).save(path)
    return path.with_suffix(".npz").read_bytes(), read_json(path.with_suffix(".json"))


def put(folder: Path, matrix: bytes, record) -> Path:
    (folder / "outcomes.npz").write_bytes(matrix)
    (folder / "outcomes.json").write_text(json.dumps(record))
    return folder / "outcomes"


@FEW
@given(draw=st.data())
def test_outcomes(outcomes, tmp_path, draw):
    matrix, record = outcomes
    refused(Outcomes.load, put(tmp_path, draw.draw(damaged(matrix)), record))
    refused(Outcomes.load, put(tmp_path, matrix, draw.draw(JSON)))
    key = draw.draw(st.sampled_from(sorted(record)))
    refused(Outcomes.load, put(tmp_path, matrix, record | {key: draw.draw(JSON)}))


def arrays(**named) -> bytes:
    file = io.BytesIO()
    np.savez(file, **named)
    return file.getvalue()


@pytest.mark.parametrize("n", [2**62, 10**11, -1])
def test_outcomes_that_claim_more_examples_than_they_hold(outcomes, tmp_path, n):
    matrix = arrays(cells=np.zeros((2, 3, 1), np.uint8), n=np.array(n))
    assert "damaged" in refused(Outcomes.load, put(tmp_path, matrix, outcomes[1]))


def test_no_pickle_in_outcomes_and_examples(outcomes, tmp_path):
    evil = np.array([Payload(tmp_path / "ran")], dtype=object)
    file = io.BytesIO()
    np.savez(file, cells=evil, n=evil, x=evil, y=evil)
    assert refused(Outcomes.load, put(tmp_path, file.getvalue(), outcomes[1]))
    (tmp_path / "evil.npz").write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    (tmp_path / "more.npz").write_bytes(file.getvalue())
    assert refused(load_images, str(tmp_path / "evil.npz")) and refused(load_images, str(tmp_path / "more.npz"))
    assert not (tmp_path / "ran").exists()


@FEW
@given(declared=JSON, line=JSON)
def test_records(tmp_path, declared, line):
    (tmp_path / "a").mkdir(exist_ok=True)
    (tmp_path / "a" / "experiment.json").write_text(json.dumps(declared))
    (tmp_path / "a" / "log.jsonl").write_text(json.dumps(line) + "\n")
    refused(read, "a", tmp_path)


@FEW
@given(st.binary(max_size=80) | JSON.map(lambda value: json.dumps(value).encode()))
def test_cells(tmp_path, record):
    """Lines whose checksum is right are held to what they say; others are not read."""
    (tmp_path / "cells.jsonl").write_bytes(b"%08x %b\n" % (zlib.crc32(record), record))
    refused(Cells, tmp_path, {"attacks": {}})


# ---- examples and weights


@FEW
@given(damaged(arrays(x=np.zeros((3, 1, 2, 2), np.float32), y=np.arange(3))))
def test_example_files(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    refused(load_images, str(tmp_path / "a.npz"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    save_weights(path, build("small_cnn", 0), {"experiment": "Experiment(data='digits', model='small_cnn')"})
    return path.read_bytes()


@FEW
@given(draw=st.data())
def test_checkpoints(weights, tmp_path, draw):
    (tmp_path / "a.safetensors").write_bytes(draw.draw(damaged(weights)))
    refused(load_checkpoint, tmp_path / "a.safetensors")


@FEW
@given(about=JSON | st.fixed_dictionaries({"experiment": JSON | st.just("model='small_cnn'")}))
def test_checkpoints_with_other_headers(tmp_path, about):
    tensors = {"weight": torch.zeros(2), "half": torch.zeros(2, dtype=torch.bfloat16)}
    (tmp_path / "a.safetensors").write_bytes(save(tensors, {"about": json.dumps(about)}))
    assert refused(load_checkpoint, tmp_path / "a.safetensors")


def test_a_header_longer_than_the_file_and_a_pickle_by_another_name(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", 2**63) + b"{}")
    (tmp_path / "b.safetensors").write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    torch.save({"a": Payload(tmp_path / "ran")}, tmp_path / "c.safetensors")
    assert all(refused(load_checkpoint, tmp_path / f"{name}.safetensors") for name in "abc")
    assert not (tmp_path / "ran").exists()


# ---- images


@FEW
@given(damaged(gzip.compress(bytes(64))))
def test_mnist_files(tmp_path, content):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for name in data.MNIST_MD5:
        (raw / f"{name}.gz").write_bytes(content)
    assert "delete it" in refused(data.load, "mnist", "test", tmp_path)


def test_an_mnist_file_that_never_ends(tmp_path, monkeypatch):
    """A small file that unpacks to gigabytes is not unpacked further than MNIST goes."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    monkeypatch.setattr(data, "MNIST_BYTES", 2**20)
    read_at_most = []
    whole = gzip.GzipFile.read
    monkeypatch.setattr(gzip.GzipFile, "read", lambda self, size=-1: read_at_most.append(size) or whole(self, size))
    for name in data.MNIST_MD5:
        (raw / f"{name}.gz").write_bytes(gzip.compress(bytes(2**22)))
    assert "delete it" in refused(data.load, "mnist", "test", tmp_path)
    assert read_at_most and all(0 < size <= 2**20 + 1 for size in read_at_most)


@FEW
@given(st.binary(max_size=64))
def test_cifar10_files(tmp_path, content):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir(exist_ok=True)
    for name in (name for files in data.CIFAR10_FILES.values() for name in files):
        (folder / name).write_bytes(content)
    assert "delete" in refused(data.load, "cifar10", "test", tmp_path)


def member(name: str, content: bytes = b"evil", link: str | None = None) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = 0 if link else len(content)
    if link:
        info.type, info.linkname = tarfile.SYMTYPE, link
    return info, b"" if link else content


NAMES = [f"cifar-10-batches-bin/{name}" for files in data.CIFAR10_FILES.values() for name in files]


@pytest.mark.parametrize(
    "members",
    [
        [member("../evil"), member("/tmp/evil-of-tradeoff"), *map(member, NAMES)],
        [member(name, link="/etc/passwd") for name in NAMES],
        [member("cifar-10-batches-bin", link="../.."), *map(member, NAMES)],
        [member(f"../{NAMES[0]}"), *map(member, NAMES[1:])],
        [member(f"{NAMES[0]}/deeper"), *map(member, NAMES[1:])],
        [],
    ],
    ids=["outside", "links", "folder is a link", "missing", "a folder", "empty"],
)
def test_archives(members, tmp_path, monkeypatch):
    """Only the files by name are taken, and only from the archive's own content."""
    folder = tmp_path / "inner" / "data"
    folder.mkdir(parents=True)
    archive = folder / "cifar-10-binary.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    monkeypatch.setattr(data, "_download", lambda *arguments: None)  # it is there, and its md5 right
    assert refused(data.load, "cifar10", "test", folder)  # a few bytes are no images
    unpacked = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert unpacked <= {archive.name, *NAMES} and not Path("/tmp/evil-of-tradeoff").exists()
    assert all(path.read_bytes() == b"evil" for path in folder.glob("cifar-10-batches-bin/*"))
    assert [path.name for path in (tmp_path / "inner").iterdir()] == ["data"] and len(list(tmp_path.iterdir())) == 1


@FEW
@given(damaged(gzip.compress(bytes(2048))))
def test_damaged_archives(tmp_path, content):
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "_download", lambda *arguments: None)
        assert refused(data.load, "cifar10", "test", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["cifar-10-binary.tar.gz"]
