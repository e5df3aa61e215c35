"""Two adversaries, or two models, on the same examples: the difference of their accuracies and how sure it is."""

from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

DRAWS = 10_000  # of a bootstrap


def exact_interval(hits: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact (Clopper–Pearson) binomial interval of a share of `hits` in n.

    >>> [round(end, 4) for end in exact_interval(5, 10)]
    [0.1871, 0.8129]
    """
    found = binomtest(int(hits), n).proportion_ci(confidence, method="exact")
    return float(found.low), float(found.high)


class Paired(NamedTuple):
    """What both leave standing, compared example by example."""

    first: int  # stand under the first alone
    second: int  # stand under the second alone
    n: int

    @classmethod
    def of(cls, first: np.ndarray, second: np.ndarray) -> "Paired":
        """Of two bool arrays on the same examples, the longer cut to the shorter: both begin with the first example.

        >>> Paired.of(np.array([True, True, False]), np.array([False, True, False, True]))
        Paired(first=1, second=0, n=3)
        """
        n = min(len(first), len(second))
        first, second = first[:n], second[:n]
        return cls(int((first & ~second).sum()), int((second & ~first).sum()), n)

    @property
    def difference(self) -> float:
        """The first accuracy less the second."""
        return (self.first - self.second) / self.n

    def interval(self, confidence: float = 0.95, seed: int = 0) -> tuple[float, float]:
        """The paired bootstrap interval of the difference (percentiles of examples drawn anew).

        Examples are of three kinds, so that drawing n of them is one multinomial draw.

        >>> Paired(40, 10, 100).interval()
        (0.17, 0.42)
        """
        shares = np.array([self.first, self.second, self.n - self.first - self.second]) / self.n
        drawn = np.random.default_rng(seed).multinomial(self.n, shares, DRAWS)
        ends = np.quantile((drawn[:, 0] - drawn[:, 1]) / self.n, [(1 - confidence) / 2, (1 + confidence) / 2])
        return float(ends[0]), float(ends[1])

    @property
    def p_value(self) -> float:
        """McNemar's exact test, one-sided: how likely at least so many of the examples on which they differ would be
        the first's, if each were either's by the toss of a coin. 1 if they never differ.

        >>> Paired(10, 0, 100).p_value == 0.5**10
        True
        """
        differing = self.first + self.second
        return float(binomtest(self.first, differing, 0.5, "greater").pvalue) if differing else 1.0
