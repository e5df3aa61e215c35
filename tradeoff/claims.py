"""python -m tradeoff.claims: what the paper claims of networks, held against committed outcomes.

Every claim is that some share is larger than a bound: of examples on which two models, or two adversaries, end
differently, those that are the first's (McNemar's exact test: more than half); or of examples that withstood attacks by
gradient those that a search without breaks (exact binomial test: more than `THRESHOLD`). A claim holds if its test is
significant at `ALARM`, which bounds the probability that it holds by chance; it is likely if its 95 % interval alone is
above the bound. An attack can miss what breaks an example, and hence a claim is about the suite it names.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

from tradeoff import tables
from tradeoff.command import add_json, check_json, epilog, put_json, run
from tradeoff.comparison import SUITES, signed
from tradeoff.masking import THRESHOLD
from tradeoff.mixtures import MIXED, RANDOM, SHARES, types
from tradeoff.mixtures import standing as mixed
from tradeoff.outcomes import Outcomes
from tradeoff.paired import Paired, exact_interval
from tradeoff.records import Record, folder_of_runs, read_all

ALARM = 1e-9  # false alarms per claim
VERDICTS: dict[str, str] = {  # and what to say of several
    "holds": "hold",  # p ≤ ALARM
    "likely": "likely",  # the interval is above the bound
    "open": "open",  # it reaches on both sides
    "fails": "fail",  # it is below
    "waits": "wait for results",
}
LP = ("linf", "l1", "l2")


class Missing(Exception):
    """What a claim needs and is not there."""


class Estimate(NamedTuple):
    """A share, or a difference of two, its 95 % interval, the p-value of the test that it is above `bound`, and the
    number of examples."""

    value: float
    interval: tuple[float, float]
    p_value: float
    n: int
    bound: float


@dataclass(frozen=True)
class Claim:
    """`measure(outcomes, ...)` makes an estimate from the evaluations of (run, suite) in `needs`, or raises Missing."""

    name: str
    group: str
    statement: str
    needs: tuple[tuple[str, str], ...]
    measure: Callable[..., Estimate]

    def hold_against(self, records: Mapping[str, Record]) -> "Finding":
        """What the records say."""
        try:
            return Finding(self, self.measure(*(self._needed(records, *need) for need in self.needs)), None)
        except Missing as reason:
            return Finding(self, None, str(reason))

    @staticmethod
    def _needed(records: Mapping[str, Record], run: str, suite: str) -> Outcomes:
        if suite not in records[run].outcomes:
            raise Missing(f"{run} has no evaluation by the {suite} suite")
        return records[run].outcomes[suite]


@dataclass(frozen=True)
class Finding:
    """What became of a claim: an estimate, or what is missing for one."""

    claim: Claim
    estimate: Estimate | None
    missing: str | None

    @property
    def verdict(self) -> str:
        """One of VERDICTS."""
        if self.estimate is None:
            return "waits"
        (low, high), bound = self.estimate.interval, self.estimate.bound
        if self.estimate.p_value <= ALARM:
            return "holds"
        return "likely" if low > bound else "fails" if high < bound else "open"


# ---- the measures


def difference(first: np.ndarray, second: np.ndarray) -> Estimate:
    """The first accuracy less the second, of bool arrays over the same examples."""
    paired = Paired.of(first, second)
    return Estimate(paired.difference, paired.interval(), paired.p_value, paired.n, 0.0)


def share(hits: np.ndarray) -> Estimate:
    """The share of hits, against THRESHOLD. Raises Missing where there is nothing to hit."""
    if not len(hits):
        raise Missing("no example is left to tell by")
    test = binomtest(int(hits.sum()), len(hits), THRESHOLD, "greater")
    interval = exact_interval(hits.sum(), len(hits))
    return Estimate(float(hits.mean()), interval, float(test.pvalue), len(hits), THRESHOLD)


def standing(outcomes: Outcomes, *names: str) -> np.ndarray:
    """The examples that stand under the named sets. Raises Missing where one was not attacked."""
    for name in names:
        if name not in outcomes.set_names:
            raise Missing(f"the evaluation does not attack {name}")
    return outcomes.standing(*names)


def kind(attack: str) -> str:
    """By what an attack, given as its repr, finds its way: the "gradient" of the network, a "softened" one, or a
    "search" that tries points and keeps the worst.

    >>> kind("Softened(attack=SLIDE(S=L1(10)))"), kind("Square(S=L1(10))"), kind("SLIDE(S=L1(10))")
    ('softened', 'search', 'gradient')
    """
    if attack.startswith("Softened("):
        return "softened"
    searches = ("Square(", "SparseSearch(", "CoordinateBeam(", "GridSearch(", "RandomSearch(")
    walks = ("PointwiseAttack", "BoundaryAttack", "HopSkipJumpAttack", "SaltAndPepperNoiseAttack")
    return "search" if attack.startswith(searches) or any(f"name='{walk}'" in attack for walk in walks) else "gradient"


def missed(outcomes: Outcomes, name: str) -> np.ndarray:
    """Of the examples that attacks by gradient left standing on a set, and that searches then tried, those that the
    searches broke, bool (examples,).

    Only attacks by gradient that come before all searches count: in a cascade, later ones are spared what those broke.
    Raises Missing without a search, or without an attack by gradient before it.
    """
    kinds = {k: kind(outcomes.about["attacks"][attack]) for k, (attack, S) in
             enumerate(zip(outcomes.attacks, outcomes.families, strict=True)) if S == name}  # fmt: skip
    searches = [k for k, how in kinds.items() if how == "search"]
    own = [k for k, how in kinds.items() if how == "gradient" and k < min(searches, default=0)]
    if not own:
        raise Missing(f"the evaluation has no search on {name} after attacks by gradient")
    held = outcomes.correct[:, [0, *own]].all(axis=1) & outcomes.tried[:, searches].any(axis=1)
    return (outcomes.tried & ~outcomes.correct)[:, searches].any(axis=1)[held]


def under_first(outcomes: Outcomes, name: str, how: str) -> np.ndarray:
    """The examples that stand under the first attack on a set, which even a cascade tries on all. Raises Missing unless
    there is one and it is of this kind."""
    attack = next((a for a, S in zip(outcomes.attacks, outcomes.families, strict=True) if S == name), None)
    if attack is None or kind(outcomes.about["attacks"][attack]) != how:
        raise Missing(f"the first attack on {name} is {attack}, not one of the kind {how!r}")
    return outcomes.standing(attack)


# ---- the claims


# Data, the sets that an adversary has the choice of, and the networks that were trained on all of them.
FAMILIES = (
    ("mnist", LP, ("avg", "max", "msd")),
    ("mnist", ("linf", "rt"), ("avg-rt", "max-rt")),
    ("cifar10", ("linf", "l1"), ("avg-l1", "max-l1")),
    ("cifar10", ("linf", "rt"), ("avg-rt", "max-rt")),
)


def _named(data: str, model: str) -> str:
    return model if data == "mnist" else f"{data}-{model}"


def _own_set(suite: str) -> Iterator[Claim]:
    for data, sets, multis in FAMILIES:
        # The network trained on linf noise is compared where all sets are lp balls.
        for S, multi in product(sets if "rt" not in sets else ("rt",), multis):
            yield Claim(f"{suite}: {_named(data, S)} above {_named(data, multi)} on {S}", "own set",
                        f"The network trained on {S} alone withstands {S} more often than {multi}.",
                        ((f"{data}-{S}", suite), (f"{data}-{multi}", suite)),
                        lambda a, b, S=S: difference(standing(a, S), standing(b, S)))  # fmt: skip


def _union_below(suite: str) -> Iterator[Claim]:
    for data, sets, multis in FAMILIES:
        for multi in multis:
            yield Claim(f"{suite}: union of {_named(data, multi)} below its sets", "union below sets",
                        f"{multi} withstands the union less often than the weakest of its sets.",
                        ((f"{data}-{multi}", suite),),
                        lambda a, sets=sets: difference(
                            min((standing(a, S) for S in sets), key=np.sum), standing(a, *sets)))  # fmt: skip


def _union_above(suite: str) -> Iterator[Claim]:
    for data, sets, multis in FAMILIES:
        # One by one, hence the best of them too.
        for multi, S in product(multis, sets if "rt" not in sets else ("rt",)):
            yield Claim(f"{suite}: union of {_named(data, multi)} above that of {S}", "union above specialists",
                        f"{multi} withstands the union more often than the network trained on {S} alone.",
                        ((f"{data}-{multi}", suite), (f"{data}-{S}", suite)),
                        lambda a, b, sets=sets: difference(standing(a, *sets), standing(b, *sets)))  # fmt: skip


def _foreign(suite: str) -> Iterator[Claim]:
    for data, sets, _ in FAMILIES:
        for S, other in permutations(sets if "rt" not in sets else (), 2):
            yield Claim(f"{suite}: {_named(data, S)} below {other} on {other}", "foreign sets",
                        f"On {other}, the network trained on {S} stands less often than that trained on {other}.",
                        ((f"{data}-{other}", suite), (f"{data}-{S}", suite)),
                        lambda a, b, S=other: difference(standing(a, S), standing(b, S)))  # fmt: skip


def _masking() -> Iterator[Claim]:
    for model in ("linf", "avg", "max", "msd"):
        for S in ("l1", "l2"):
            yield Claim(f"{S} gradients of {model} are masked", "masking",
                        f"Of what withstands {S} attacks by gradient on {model}, attacks without gradients break more "
                        f"than {THRESHOLD:.0%}.", ((f"mnist-{model}", "searches"),),
                        lambda a, S=S: share(missed(a, S)))  # fmt: skip
        yield Claim(f"softened slopes undo the l1 masking of {model}", "masking",
                    f"One l1 climb along softened slopes breaks more of {model} than the paper's by gradient, from "
                    "all its starts.", ((f"mnist-{model}", SUITES[0]), (f"mnist-{model}", SUITES[1])),
                    lambda a, b: difference(under_first(a, "l1", "gradient"),
                                            under_first(b, "l1", "softened")))  # fmt: skip


def _overstated() -> Iterator[Claim]:
    weak, strong = SUITES
    for model in ("linf", "l1", "l2", "avg", "max", "msd"):
        # The union of the other specialists is next to nothing, for either.
        for name, sets in (("l1", ("l1",)), ("union", LP))[: 1 if model in ("l1", "l2") else 2]:
            yield Claim(f"{name} of {model} overstated", "overstated",
                        f"The paper's suite leaves more standing under {name} on {model} than the strong one.",
                        ((f"mnist-{model}", weak), (f"mnist-{model}", strong)),
                        lambda a, b, sets=sets: difference(standing(a, *sets), standing(b, *sets)))  # fmt: skip


def _mixtures() -> Iterator[Claim]:
    def gain(mixtures: Outcomes) -> Estimate:
        union = mixtures.standing(*types(mixtures))
        return difference(union, union & mixed(mixtures, *SHARES, RANDOM))

    def gain_beyond(mixtures: Outcomes, strong: Outcomes) -> Estimate:
        n = min(len(mixtures.correct), len(strong.correct))
        union = mixtures.standing(*types(mixtures))[:n] & strong.standing(*types(mixtures))[:n]
        return difference(union, union & mixed(mixtures, *SHARES, RANDOM)[:n])

    for name in MIXED:
        yield Claim(f"mixtures stronger than the union on {name}", "mixtures",
                    f"Mixtures of two types of noise break examples of {name} that withstand each type, by attacks of "
                    "one kind on all of them.", ((name, "mixtures"),), gain)  # fmt: skip
        yield Claim(f"mixtures stronger than the strongest union on {name}", "mixtures",
                    f"And examples of {name} that withstand the strong suite's attacks on each type too.",
                    ((name, "mixtures"), (name, SUITES[1])), gain_beyond)  # fmt: skip


CLAIMS: dict[str, Claim] = {
    claim.name: claim
    for claim in (
        *(
            claim
            for suite in SUITES
            for part in (_own_set, _union_below, _union_above, _foreign)
            for claim in part(suite)
        ),
        *_masking(),
        *_overstated(),
        *_mixtures(),
    )
}

# Claims that are open or fail on the committed results, and why. Tests see to it that these are all, and no more.
UNCONFIRMED: dict[str, str] = {
    "strong: union of avg below its sets": "nearly all that avg loses to linf or l2 it loses to l1 as well",
    "strong: union of max below its sets": "nearly all that max loses to linf or l2 it loses to l1 as well",
    "strong: union of msd below its sets": "what MSD loses to linf or l2 it loses to l1 as well, once l1 is attacked "
    "along softened slopes: the union is l1",
    **dict.fromkeys(
        (f"paper: l2 above {model} on l2" for model in ("avg", "max", "msd")),
        "the paper's attacks overstate the networks trained on linf noise too, whose l2 gradients are masked: the "
        "strong suite turns the order round",
    ),
    "paper: linf below l2 on l2": "the paper's gradient attacks overstate linf, whose l2 gradients are masked: the "
    "strong suite turns the order round",
    "paper: union of msd above that of linf": "without the searches that the paper ran beside them (Pointwise, "
    "Boundary), its attacks leave the masked linf network nearly all that they leave MSD",
    **dict.fromkeys(
        (
            "strong: cifar10-linf above cifar10-avg-l1 on linf",
            "strong: cifar10-linf above cifar10-max-l1 on linf",
            "strong: cifar10-l1 above cifar10-avg-l1 on l1",
            "paper: cifar10-linf above cifar10-avg-l1 on linf",
            "paper: cifar10-linf above cifar10-max-l1 on linf",
            "paper: cifar10-l1 above cifar10-avg-l1 on l1",
            "paper: cifar10-l1 above cifar10-max-l1 on l1",
        ),
        "after six epochs training on the other noise too costs hardly anything: one point or two, which 1,000 images "
        "do not tell from none",
    ),
    **dict.fromkeys(
        (
            "strong: union of cifar10-avg-l1 below its sets",
            "paper: union of cifar10-avg-l1 below its sets",
            "paper: union of cifar10-max-l1 below its sets",
        ),
        "nearly all that it loses to l1 it loses to linf as well",
    ),
    **dict.fromkeys(
        (
            "strong: union of cifar10-avg-l1 above that of l1",
            "strong: union of cifar10-max-l1 above that of l1",
            "paper: union of cifar10-max-l1 above that of l1",
        ),
        "after six epochs training on l1 noise alone is worth nearly as much against linf noise of this size: one "
        "point or two, which 1,000 images do not tell from none",
    ),
    **dict.fromkeys(
        (f"mixtures stronger than the {union} on cifar10-max-l1" for union in ("union", "strongest union")),
        "mixtures break none of the 250 images but those that one of their two types breaks too",
    ),
    "mixtures stronger than the strongest union on mnist-max": "the strong suite's long attacks by l1 noise alone "
    "break nearly all that mixtures break, which are searched by shorter ones",
}


def findings(runs: Path | None = None) -> dict[str, Finding]:
    """Every claim held against the runs in a folder, by default the committed ones."""
    records = read_all((run for claim in CLAIMS.values() for run, _ in claim.needs), runs)
    return {name: claim.hold_against(records) for name, claim in CLAIMS.items()}


def table(found: Mapping[str, Finding]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the claims that do not wait."""
    lines = []
    for finding in found.values():
        if finding.estimate:
            value, (low, high), p_value, n, _ = finding.estimate
            lines.append([finding.claim.name, signed(value), f"{signed(low)} to {signed(high)}", f"{p_value:.1g}",
                          str(n), finding.verdict])  # fmt: skip
    return ["claim", "% or points", "95 % interval", "p", "examples", "verdict"], lines


# What the claims of a group say together.
GROUPS: dict[str, str] = {
    "own set": "a network trained on one set withstands it more often than one trained on several",
    "union below sets": "a network trained on several sets withstands the union less often than each of them",
    "union above specialists": "it withstands the union more often than networks trained on one of the sets",
    "foreign sets": "a network trained on another set withstands a set less often than one trained on that",
    "masking": "gradients of networks trained on linf noise are masked, and softened slopes undo it",
    "overstated": "the paper's attacks leave standing what modern ones break",
    "mixtures": "mixtures of two sets are strictly stronger than their union",
}


def agreement(found: Mapping[str, Finding]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of what agrees with the paper: for every group of claims, data set and suite, how many there are
    of each verdict, and which do not bear the paper out."""
    counts: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in found.values():
        (run, suite), *more = finding.claim.needs
        suites = dict.fromkeys((suite, *(suite for _, suite in more)))
        counts.setdefault((finding.claim.group, run.split("-")[0], ", ".join(suites)), []).append(finding)
    lines = []
    for (group, data, suite), findings in counts.items():
        verdicts = Counter(finding.verdict for finding in findings)
        told = ", ".join(f"{verdicts[verdict]} {say}" for verdict, say in VERDICTS.items() if verdicts[verdict])
        lines.append([GROUPS[group], data, suite, told])
    return ["the paper says", "data", "suite", "claims"], lines


def waiting(found: Mapping[str, Finding]) -> list[str]:
    """What the other claims wait for, a line each."""
    reasons = Counter(finding.missing for finding in found.values() if finding.missing)
    return [f"{count} wait: {reason}" for reason, count in reasons.items()]


def as_data(finding: Finding) -> dict:
    """A finding as JSON takes it."""
    estimate = finding.estimate and finding.estimate._asdict()
    return {"claim": finding.claim.name, "statement": finding.claim.statement, "verdict": finding.verdict,
            "missing": finding.missing, "estimate": estimate}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if every claim that can be told holds, or is likely to; 1 if one is open or fails, 2 for a wrong request."""
    parser = argparse.ArgumentParser(
        prog="python -m tradeoff.claims",
        description="The paper's claims, held against committed outcomes.",
        epilog=epilog("python -m tradeoff.claims --json claims.json", "a claim is open or fails"),
    )
    parser.add_argument("--runs", metavar="DIR", help="folder of the runs (default: the committed ones)")
    parser.add_argument("--agreement", action="store_true", help="only how many claims hold, by what they say")
    add_json(parser)
    parser.add_argument("--force", action="store_true", help="replace FILE if it exists")
    options = parser.parse_args(arguments)
    try:
        check_json(options.json, options.force)
        found = findings(options.runs and folder_of_runs(options.runs))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.json != "-":
        report = [tables.text(*table(found)), *waiting(found)]
        print("\n".join([tables.text(*agreement(found))] if options.agreement else report))
    put_json(options.json, [as_data(finding) for finding in found.values()])
    return int(any(finding.verdict in ("open", "fails") for finding in found.values()))


if __name__ == "__main__":
    sys.exit(run(main))
