"""Accuracies that others have published at the paper's radii, each with where it was read.

Radii are, on MNIST, linf 0.3, l2 2, l1 10, on CIFAR-10 linf 4/255, l1 2000/255, on both 3 pixels and 30 degrees for
rotations and translations (rt). Models are named by what they were trained on, as ours are; "union" is the accuracy
when the adversary picks the set for each example.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A table of shares in percent, by model and set.

    `read` says where the numbers were taken from, `attacks` what they are the accuracy under. `n`, the examples behind
    a number, and `passes`, what its authors' own climbs cost an example and set at most (a forward and a backward pass
    count as one), are None where the source does not say.
    """

    title: str
    read: str
    attacks: str
    n: int | None
    passes: int | None
    table: Mapping[str, Mapping[str, float]]

    def percent(self, model: str, name: str) -> float | None:
        """The accuracy in percent, None where the table has none.

        >>> PUBLISHED["maini"].percent("msd", "union"), PUBLISHED["maini"].percent("natural", "union")
        (58.4, None)
        """
        return self.table.get(model, {}).get(name)


def _table(columns: str, rows: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Rows of numbers as text, "-" for none."""
    return {
        model: {name: float(number) for name, number in zip(columns.split(), row.split(), strict=True) if number != "-"}
        for model, row in rows.items()
    }


_PAPER = "Tramèr & Boneh 2019 (arXiv:1904.13000)"
_FROM_MEMORY = "from memory of the paper, whose tables agree with their own row means; not checked against its text"
_PAPER_ATTACKS = "100 steps from 40 starts; EAD, Pointwise, C&W, Boundary; the grid of moves"

PUBLISHED: dict[str, Published] = {
    "paper": Published(
        _PAPER, _FROM_MEMORY, _PAPER_ATTACKS, None, 4000,
        _table("clean linf l1 l2 union", {
            "natural": "99.4 0.0 12.4 8.5 0.0",
            "linf": "99.1 91.1 12.1 11.3 6.8",
            "l1": "98.9 0.0 78.5 50.6 0.0",
            "l2": "98.5 0.4 68.0 71.8 0.4",
            "avg": "97.3 76.7 53.9 58.3 49.9",
            "max": "97.2 71.7 62.6 56.0 52.4",
        }),
    ),
    "paper-rt": Published(
        _PAPER, _FROM_MEMORY, _PAPER_ATTACKS, None, 4000,
        _table("clean linf rt union", {
            "natural": "99.4 0.0 0.0 0.0",
            "linf": "99.1 91.1 0.2 0.2",
            "rt": "99.3 0.0 94.6 0.0",
            "avg": "99.2 88.2 86.4 82.9",
            "max": "98.9 89.6 85.6 83.8",
        }),
    ),
    "paper-cifar10-l1": Published(
        _PAPER, _FROM_MEMORY, _PAPER_ATTACKS.replace("40", "20"), None, 2000,
        _table("clean linf l1 union", {
            "natural": "95.7 0.0 0.0 0.0",
            "linf": "92.0 71.0 16.4 16.4",
            "l1": "90.8 53.4 66.2 53.1",
            "avg": "91.1 64.1 60.8 59.4",
            "max": "91.2 65.7 62.5 61.1",
        }),
    ),
    "paper-cifar10-rt": Published(
        _PAPER, _FROM_MEMORY, _PAPER_ATTACKS.replace("40", "20"), None, 2000,
        _table("clean linf rt union", {
            "natural": "95.7 0.0 5.9 0.0",
            "linf": "92.0 71.0 8.9 8.7",
            "rt": "94.9 0.0 82.5 0.0",
            "avg": "93.6 67.8 78.2 65.2",
            "max": "93.1 69.6 75.2 65.7",
        }),
    ),
    "maini": Published(
        "Maini et al. 2020 (arXiv:1909.04068)",
        "README of github.com/locuslab/robust_union, commit ef34194: P∞, P_2, P_1, PGD Aug (avg), Worst-PGD (max), MSD",
        "their own PGD and foolbox's attacks, 10 restarts", 1000, None,
        _table("clean linf l2 l1 union", {
            "linf": "99.1 90.3 13.6 4.2 3.7",
            "l2": "99.2 0.4 69.2 43.4 0.4",
            "l1": "99.3 0.0 38.5 70.0 0.0",
            "avg": "99.1 65.2 60.1 39.2 34.9",
            "max": "98.6 51.0 61.9 52.6 42.1",
            "msd": "98.3 62.7 67.9 65.0 58.4",
        }),
    ),
}  # fmt: skip

# Accuracies in percent of networks trained on the worst of two sets, under the union and under mixtures of the two.
MIXTURES = Published(
    _PAPER, _FROM_MEMORY, _PAPER_ATTACKS, None, None,
    _table("union affine", {
        "mnist-max-rt": "83.8 62.6",
        "cifar10-max-rt": "65.7 56.0",
        "cifar10-max-l1": "61.1 58.0",
    }),
)  # fmt: skip
