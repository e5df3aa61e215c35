"""The worked diffs of docs/contributing.md apply to the package as it is, and what they add passes its tests."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
KINDS = ("A perturbation set", "A theorem", "An attack", "A figure")


def worked(kind: str) -> tuple[str, list[str]]:
    """The diff of a section, and the pytest command that it names."""
    (section,) = re.findall(rf"^## {kind}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    (diff,) = re.findall(r"^```diff\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    (command,) = re.findall(r"`pytest\s+([^`]+)`", section)
    return diff, command.split()


def apply(diff: str, folder: Path, *options: str) -> None:
    # Without a repository around the folder, which git would take paths to be relative to.
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(folder.parent)}
    run = subprocess.run(["git", "apply", *options, "-"], input=diff.encode(), cwd=folder, env=environment,
                         capture_output=True)  # fmt: skip
    assert run.returncode == 0, run.stderr.decode()


@pytest.fixture
def package(tmp_path):
    """A copy of what the diffs change and their tests need."""
    if shutil.which("git") is None:
        pytest.skip("there is no git to apply diffs with")
    folder = tmp_path / "copy"
    shutil.copytree(ROOT / "tradeoff", folder / "tradeoff", ignore=shutil.ignore_patterns("__pycache__", "runs"))
    shutil.copytree(ROOT / "tests", folder / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "conftest.py"):
        shutil.copy(ROOT / name, folder)
    return folder


def test_each_diff_applies(package):
    for kind in KINDS:
        apply(worked(kind)[0], package)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_diff_adds_passes_its_tests(kind, package):
    diff, command = worked(kind)
    apply(diff, package)
    python = [sys.executable, "-m"]
    run = subprocess.run([*python, "pytest", "-q", "-p", "no:cacheprovider", *command], cwd=package,
                         env=os.environ | {"PYTHONPATH": str(package)}, capture_output=True, text=True)  # fmt: skip
    assert run.returncode == 0, run.stdout
    assert int(re.search(r"(\d+) passed", run.stdout)[1]) >= 2
