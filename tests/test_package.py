"""The package as a whole: what importing it costs, and that its public names are there and documented."""

import subprocess
import sys

import pytest

import tradeoff


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
