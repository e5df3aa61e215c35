"""What stands beside every number: the command that made it, its versions and its time."""

import platform
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path


def provenance(**about) -> dict:
    """The running command, the versions in use, the date, and what the caller adds (seed, data, seconds).

    >>> sorted(provenance(seed=0))
    ['command', 'date', 'seed', 'versions']
    """
    packages = ("tradeoff", "numpy", "scipy", "sympy", "flint", "torch", "matplotlib")
    versions = {name: str(sys.modules[name].__version__) for name in packages if name in sys.modules}
    versions = {"python": platform.python_version()} | versions
    return {"command": _command(), "date": datetime.now(UTC).date().isoformat(), "versions": versions, **about}


def made_by(command: str) -> None:
    """Name the command that a worker process works for, instead of its own."""
    global _parent
    _parent = command


_parent: str | None = None


def _command() -> str:
    if _parent:
        return _parent
    module = getattr(sys.modules.get("__main__"), "__spec__", None)
    if sys.argv[0] in ("", "-", "-c") or (module and module.name == "ipykernel_launcher"):
        return _call()  # typed in: no file has the program
    name = module.name.removesuffix(".__main__") if module else None
    script = Path(sys.argv[0]).name
    script = script if script == "tradeoff" else f"python {script}"  # the console script
    program = f"python -m {name}" if name else script
    return " ".join([program, *map(shlex.quote, sys.argv[1:])])


def _call() -> str:
    """The outermost function of this package under way, as the call that somebody typed in.

    >>> _call()
    'python: tradeoff.provenance._call()'
    """
    frame, name = sys._getframe(), ""
    while frame:
        if frame.f_globals.get("__name__", "").startswith("tradeoff."):
            function = frame.f_code.co_qualname
            name = f"{frame.f_globals['__name__']}.{function}" if function != "<module>" else name
        frame = frame.f_back
    return f"python: {name}()"
