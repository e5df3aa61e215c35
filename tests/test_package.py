"""The package as a whole: what importing it costs, and that its public names are there and documented."""

import ast
import doctest
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import tradeoff
from tradeoff import transfer
from tradeoff.names import lookup

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
VERSIONS = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))


def modules_after(code):
    """The modules loaded after running `code` in a fresh interpreter."""
    script = f"{code}\nimport sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_sets_and_theory_need_no_torch():
    loaded = modules_after("import tradeoff; tradeoff.Linf(0.3); tradeoff.BernoulliFeature(2.0, 100, 0.9)")
    assert "tradeoff.theory" in loaded and not loaded & {"torch", "matplotlib", "tqdm", "mlxtend"}


def test_importing_the_package_imports_nothing_else():
    assert {name for name in modules_after("import tradeoff") if name.startswith("tradeoff")} == {"tradeoff"}


@pytest.mark.parametrize("name", tradeoff.__all__)
def test_public_names_are_there_and_documented(name):
    assert name in dir(tradeoff)
    value = getattr(tradeoff, name)
    if callable(value):
        assert value.__doc__ and not value.__doc__.startswith(f"{name}("), "a dataclass's own signature is no docstring"


def test_unknown_name():
    with pytest.raises(AttributeError, match="has no attribute 'Linff'"):
        tradeoff.Linff  # noqa: B018


@pytest.mark.parametrize("name", [name for name in tradeoff.__all__ if callable(getattr(tradeoff, name))])
def test_public_names_have_an_example(name):
    """Their own, or a method's; it runs with the doctests of its module."""
    found = doctest.DocTestFinder().find(getattr(tradeoff, name), name)
    assert any(test.examples for test in found)


def test_type_checkers_see_the_public_names():
    """The stub imports each name from where it is imported from when first used, and is shipped with py.typed."""
    package = Path(tradeoff.__file__).parent
    stub = ast.parse((package / "__init__.pyi").read_text())
    seen = {alias.name: node.module for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == tradeoff._MODULES and (package / "py.typed").exists()
    (listed,) = (node.value for node in stub.body if isinstance(node, ast.Assign))
    assert sorted(ast.literal_eval(listed)) == sorted(tradeoff.__all__)


def test_the_changelog_has_this_version():
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert f"## [{tradeoff.__version__}]" in changelog and re.fullmatch(r"\d+\.\d+\.\d+", tradeoff.__version__)


@pytest.mark.slow
def test_a_type_checker_accepts_a_users_program():
    pytest.importorskip("mypy", reason="there is no mypy: pip install '.[dev]'")
    run = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert run.returncode == 0, run.stdout


THEORY = """
from pathlib import Path
import tradeoff
package = Path(tradeoff.__file__).parent
assert package.is_relative_to(Path(__import__("sys").prefix)), package
assert (package / "py.typed").exists() and (package / "__init__.pyi").exists()
assert len(list(package.glob("results/limits-*.json"))) == 3
D = tradeoff.BernoulliFeature(2, 100, 0.9)
assert abs(tradeoff.game_value(D, (tradeoff.Linf(0.2), tradeoff.L1(2)), "union").value - 0.22887) < 1e-6
lower, upper = tradeoff.flow_bounds(D, (tradeoff.Linf(0.2), tradeoff.L1(2)), "union", step=1 / 8)
assert lower <= tradeoff.enclosure(D, (tradeoff.Linf(0.2), tradeoff.L1(2)), "union") <= upper
assert all(evidence.holds for _, evidence in tradeoff.THEOREMS["exact-game"].run())
"""
SMOKE = f"""{THEORY}
from tradeoff import claims
from tradeoff.records import RUNS
assert sorted(p.relative_to(RUNS) for p in RUNS.rglob("outcomes.npz"))
"""


def built(kind, folder):
    """The wheel or the sdist, made of the files that are or would be committed; skips where that cannot be."""
    pytest.importorskip("build", reason="there is no build: pip install '.[dev]'")
    pytest.importorskip("setuptools", reason="there is no setuptools to build with: pip install '.[dev]'")
    source = folder / "source"
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if files.returncode:
        pytest.skip("not a checkout of the repository: there is nothing to build from")
    for name in files.stdout.splitlines():
        if name.startswith(("tradeoff/", "pyproject.toml", "README.md", "LICENSE")) and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    build = [sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "--outdir", str(folder / "dist")]
    subprocess.run([*build, str(source)], check=True, capture_output=True, timeout=300)
    (made,) = (folder / "dist").iterdir()
    return made


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_what_is_built_installs_and_works(kind, tmp_path):
    """In an environment of its own, which borrows this one's dependencies: what is tested is the package, offline."""
    made = built(kind, tmp_path)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "env")], check=True)
    python = tmp_path / "env" / "bin" / "python"
    here = subprocess.run(
        [python, "-c", "import site; print(site.getsitepackages()[0])"], capture_output=True, text=True
    )
    target = Path(here.stdout.strip())
    install = ["--quiet", "--no-deps", "--no-build-isolation", "--target", str(target), str(made)]
    subprocess.run([sys.executable, "-m", "pip", "install", *install], check=True, capture_output=True, timeout=300)
    (target / "borrowed.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    subprocess.run([python, "-c", SMOKE], cwd=tmp_path, check=True, timeout=120)
    listed = subprocess.run([python, "-m", "tradeoff"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "limits" in listed.stdout and (target / "bin" / "tradeoff").exists()


def interpreter(version):
    """A Python of this version that can make environments, on the path or among pyenv's; skips where there is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for python in (f"python{version}", *sorted(pyenv.glob(f"versions/{version}.*/bin/python"))):
        try:
            subprocess.run([python, "-c", "import ensurepip, venv"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    pytest.skip(f"there is no Python {version}")


@pytest.mark.slow
@pytest.mark.parametrize("version, lowest", [*((version, False) for version in VERSIONS), (VERSIONS[0], True)])
def test_the_wheel_installs_on_every_python(version, lowest, tmp_path):
    """With the dependencies of the theory from the registry: the newest, or the lowest that are declared."""
    python, made = interpreter(version), built("wheel", tmp_path)
    subprocess.run([python, "-m", "venv", str(tmp_path / "env")], check=True)
    python = tmp_path / "env" / "bin" / "python"
    needs = [need.replace(">=", "==") if lowest else need for need in PROJECT["dependencies"]]
    probe = [
        python,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--retries",
        "0",
        "--dest",
        str(tmp_path / "probe"),
        needs[0],
    ]
    if subprocess.run(probe, capture_output=True, timeout=120).returncode:
        pytest.skip("there is no registry to install from")
    install = [python, "-m", "pip", "install", "--only-binary", ":all:", str(made), *needs]
    done = subprocess.run(install, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    subprocess.run([python, "-c", THEORY], cwd=tmp_path, check=True, timeout=300)


def test_an_error_names_all_that_is_known_or_the_nearest():
    few, many = {f"a{k}": k for k in range(30)}, {f"a{k}": k for k in range(31)} | {"other": 0}
    for table, known in ((few, 30), (many, 31)):
        with pytest.raises(ValueError, match="unknown thing 'a1x', did you mean 'a1'") as error:
            lookup(table, "a1x", "thing")
        assert len(str(error.value).split("Known: ")[1].split(", ")) == known
    assert str(error.value).endswith(", …") and "other" not in str(error.value)


def test_transfer_refuses_a_folder_that_is_not_there(tmp_path, capsys):
    assert transfer.main(["--runs", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path}/none is not a folder: give that of the runs\n"
