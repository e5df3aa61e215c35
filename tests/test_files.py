"""Files are whole or not there, and nothing that is read can run."""

import ast
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import tradeoff
from tradeoff.files import make_folder, read_json, write_atomically, write_json
from tradeoff.provenance import provenance

SOURCES = sorted(Path(tradeoff.__file__).parent.rglob("*.py"))


def names(folder):
    return sorted(os.listdir(folder))


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, SystemExit])
@pytest.mark.parametrize("there", [b"before", None])
def test_a_broken_write_changes_nothing(error, there, tmp_path):
    path = tmp_path / "file"
    if there:
        path.write_bytes(there)
    with pytest.raises(error), write_atomically(path) as file:
        file.write(b"half")
        file.flush()
        assert not there or path.read_bytes() == there  # not even meanwhile
        raise error
    assert names(tmp_path) == ["file"] * bool(there)
    assert not there or path.read_bytes() == there


@pytest.mark.parametrize("there", [b"before", None])
def test_a_whole_write_replaces_the_file(there, tmp_path):
    path = tmp_path / "file"
    if there:
        path.write_bytes(there)
    with write_atomically(str(path)) as file:
        file.write(b"after")
    assert path.read_bytes() == b"after" and names(tmp_path) == ["file"]
    assert path.stat().st_mode & 0o777 == 0o644  # others may read it


def test_json_there_and_back(tmp_path):
    path, value = tmp_path / "value.json", {"name": "ℓ∞", "numbers": [1, 0.1 + 0.2, None, True], "empty": {}}
    write_json(path, value)
    assert read_json(path) == value
    assert "ℓ∞" in path.read_text(encoding="utf-8")  # to be read by people, and by git diff
    with pytest.raises(TypeError):
        write_json(path, {"not": object()})
    assert read_json(path) == value and names(tmp_path) == ["value.json"]


@pytest.mark.parametrize("content", [b"", b'{"a": [1, 2', b"\xff\xfe", b"<html>404</html>"])
def test_damaged_json(content, tmp_path):
    path = tmp_path / "value.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{path} is damaged .*: delete it to make it again$"):
        read_json(path)


def test_a_folder_is_made_and_left_empty(tmp_path):
    assert make_folder(str(tmp_path / "a" / "b")) == tmp_path / "a" / "b"
    assert make_folder(tmp_path / "a" / "b").is_dir() and names(tmp_path / "a" / "b") == []


@pytest.mark.parametrize("path", ["file", "file/below", "/proc/nowhere"])
def test_a_folder_that_cannot_be_written(path, tmp_path):
    """Files and /proc, because permissions do not bind root."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=f"^cannot write to the folder {tmp_path / path} .*: choose another one$"):
        make_folder(tmp_path / path)
    assert names(tmp_path) == ["file"]


def test_a_folder_that_takes_no_files(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(OSError, match=rf"^cannot write to the folder {tmp_path} \(Permission denied\)"):
        make_folder(tmp_path)


def risky(source: str) -> list[str]:
    """Imports of modules that unpickle, and calls named load that may."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "load":
            safe = any(k.arg == "allow_pickle" and getattr(k.value, "value", 1) is False for k in node.keywords)
            found += [] if safe else [ast.unparse(node.func)]
    modules = ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "torch.load", "numpy.load")
    loads = ("torch.load", "np.load", "numpy.load", "pickle.load")
    return [name for name in found if name in loads or any(f"{name}.".startswith(f"{m}.") for m in modules)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(SOURCES[0].parent)))
def test_nothing_is_unpickled(path):
    assert risky(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line", ["import pickle", "import joblib as j", "from pickle import loads", "from torch import load",
             "torch.load(f)", "np.load(f)", "np.load(f, allow_pickle=True)", "numpy.load(f, allow_pickle=flag)"],
)  # fmt: skip
def test_unpickling_is_found(line):
    assert risky(f"import json\njson.load(f)\nnp.load(f, allow_pickle=False)\n{line}") != []


def test_provenance_names_command_versions_and_date(tmp_path):
    (tmp_path / "program.py").write_text(
        "import json, numpy\nfrom tradeoff.provenance import provenance\nprint(json.dumps(provenance(seed=3)))"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    for command, expected in (
        (["program.py", "a b", "--n", "3"], "python program.py 'a b' --n 3"),
        (["-m", "program", "c"], "python -m program c"),
    ):
        done = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        found = json.loads(done.stdout)
        assert found["command"] == expected and found["seed"] == 3
        assert shlex.split(found["command"])[1:] == command
        assert found["versions"].keys() == {"python", "tradeoff", "numpy"}  # those in use
        assert found["versions"]["tradeoff"] == tradeoff.__version__
        assert found["versions"]["python"] == sys.version.split()[0]
        assert len(found["date"].split("-")) == 3
    assert provenance(seconds=1.0)["seconds"] == 1.0


def test_provenance_of_what_is_typed_in_names_the_call():
    program = "from tradeoff import engines\nprint(engines._Task.here().command)\n"
    for how, given in ((["-"], program), (["-c", program], None), ([], program)):
        done = subprocess.run([sys.executable, *how], input=given, capture_output=True, text=True, check=True)
        assert done.stdout == "python: tradeoff.engines._Task.here()\n"
