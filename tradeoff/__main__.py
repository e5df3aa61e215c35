"""python -m tradeoff: all commands by one name; `python -m tradeoff NAME ...` is `python -m tradeoff.NAME ...`."""

import sys
from collections.abc import Sequence
from importlib import import_module

import tradeoff
from tradeoff import command
from tradeoff.names import lookup

# The module of each command's main, and what it is for.
COMMANDS = {
    "theory": ("theory.__main__", "check the theorems, by every route"),
    "game": ("game", "what every classifier must lose, exactly, for numbers of yours"),
    "figures": ("figures.__main__", "compute and draw the figures"),
    "experiments": ("campaign", "train and attack many networks, here or on a cluster"),
    "evaluate": ("report", "attack your own model and report what it holds"),
    "limits": ("limits", "the error that no classifier avoids on real data"),
    "comparison": ("comparison", "the paper's tables beside ours"),
    "claims": ("claims", "the paper's claims, tested"),
    "transfer": ("transfer", "what robustness to one noise is worth against others"),
    "costs": ("costs", "what trainings and evaluations have cost"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code of the command that is named; 0 after the list of commands, 2 for an unknown one."""
    name, *rest = (sys.argv[1:] if arguments is None else list(arguments)) or ["--help"]
    if name in ("-h", "--help", "--list"):
        print(f"usage: python -m tradeoff COMMAND ...\n\n{tradeoff.__doc__.splitlines()[0]}\n\ncommands:")
        for known, (_, purpose) in COMMANDS.items():
            print(f"  {known:<12} {purpose}")
        print("\nCOMMAND --help says more. Exit codes: 0 done, 1 what was found or could not be finished,\n"
              "2 wrong request, 130 interrupted.")  # fmt: skip
        return 0
    if name == "--version":
        print(f"tradeoff {tradeoff.__version__}")
        return 0
    try:
        module, _ = lookup(COMMANDS, name, "command")
        found = import_module(f"tradeoff.{module}")
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("tradeoff"):
            raise
        print(f"error: {name} needs the package {error.name}: pip install 'tradeoff[figures]'", file=sys.stderr)
        return 2
    return command.run(found.main, rest)


def console() -> int:
    """What the console script `tradeoff` runs."""
    return command.run(main)


if __name__ == "__main__":
    sys.exit(console())
