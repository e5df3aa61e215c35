"""python -m tradeoff.comparison: the paper's tables beside ours, from committed results alone.

A row is a model under a set. Ours stands there twice, under the suite that climbs as the paper did and under the
strong one, each with what the attack cost; what is not there is a gap, "–". The last column says why numbers differ,
from the outcomes: whether ours are the published ones up to sampling, and which sets and attacks broke what the paper's
suite had left standing.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tradeoff import tables
from tradeoff.command import add_json, check_json, epilog, put_json, run
from tradeoff.files import check_target, make_folder, write_atomically, write_json
from tradeoff.names import lookup
from tradeoff.outcomes import Outcomes
from tradeoff.paired import Paired, exact_interval
from tradeoff.provenance import provenance
from tradeoff.published import PUBLISHED
from tradeoff.records import Record, folder_of_runs, read_all
from tradeoff.tables import percent


@dataclass(frozen=True)
class Model:
    """A row's model: its name in the published tables, and the runs that are ours, one per seed."""

    label: str
    published: str
    runs: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """A table: models, the sets that each is attacked on, and the published tables beside ours."""

    title: str
    sets: tuple[str, ...]
    models: tuple[Model, ...]
    published: tuple[str, ...]

    @property
    def runs(self) -> tuple[str, ...]:
        return tuple(run for model in self.models for run in model.runs)


def _model(
    name: str, seeds: int = 1, label: str | None = None, published: str | None = None, data: str = "mnist"
) -> Model:
    runs = (f"{data}-{name}", *(f"{data}-{name}-s{seed}" for seed in range(1, seeds)))
    return Model(label or name, published or name, runs)


def _of_cifar10(other: str, *later: Model) -> Comparison:
    """The tables of linf noise with one other set; `later` are models that the paper does not have."""
    alone = (_model(name, data="cifar10") for name in ("natural", "linf", other))
    both = (_model(f"{name}-{other}", label=name, published=name, data="cifar10") for name in ("avg", "max"))
    title, published = f"CIFAR-10: linf 4/255, {NOISE[other]}", f"paper-cifar10-{other}"
    return Comparison(title, ("linf", other), (*alone, *both, *later), (published,))


NOISE = {"l1": "l1 2000/255", "rt": "rotations and translations"}
SHORT = {**dict.fromkeys((key for key in PUBLISHED if key.startswith("paper")), "the paper"), "maini": "Maini et al."}
SUITES = ("paper", "strong")  # the columns that are ours, the weaker first
COMPARISONS: dict[str, Comparison] = {
    "lp": Comparison(
        "MNIST: linf 0.3, l1 10, l2 2",
        ("linf", "l1", "l2"),
        (
            *(_model(name) for name in ("natural", "linf", "l1", "l2")),
            *(_model(name, seeds=3) for name in ("avg", "max", "msd")),
            *(_model(name) for name in ("e-at", "alternating")),
            _model("e-at-apgd", label="e-at, against APGD"),
            _model("e-at-soft", label="e-at, softened too"),
            _model("linf-then-e-at", label="linf, then e-at"),
            _model("linf-then-e-at-soft", label="linf, then e-at, softened too"),
            *(_model(f"{name}-paper", label=f"{name}, paper's CNN", published=name) for name in ("linf", "max", "msd")),
        ),
        ("paper", "maini"),
    ),
    "rt": Comparison(
        "MNIST: linf 0.3, rotations and translations",
        ("linf", "rt"),
        (
            *(_model(name) for name in ("natural", "linf", "rt")),
            *(_model(f"{name}-rt", label=name, published=name) for name in ("avg", "max")),
        ),
        ("paper-rt",),
    ),
    "cifar10-lp": _of_cifar10(
        "l1",
        _model("msd-l1", label="msd", data="cifar10"),
        _model("e-at-l1", label="e-at", data="cifar10"),
        _model("linf-then-e-at-l1", label="linf, then e-at", data="cifar10"),
    ),
    "cifar10-rt": _of_cifar10("rt"),
}


# ---- what is measured


@dataclass(frozen=True)
class Measured:
    """An accuracy of ours: the `mean` over the seeds evaluated, their range `low` to `high` (of one seed the exact 95 %
    interval), what the attacks cost an example, and the number of examples."""

    mean: float
    low: float
    high: float
    seeds: int
    passes: float
    n: int

    def text(self) -> str:
        """ "52.4 (49.2–55.5)", or with the range of seeds "52.4 [51.0, 53.9]"."""
        low, high = map(percent, (self.low, self.high))
        return f"{percent(self.mean)} " + (f"({low}–{high})" if self.seeds == 1 else f"[{low}, {high}]")


def names_of(row: str, sets: Sequence[str]) -> tuple[str, ...]:
    """The sets that a row's adversary has to choose from."""
    return {"clean": (), "union": tuple(sets)}.get(row, (row,))


def evaluations(
    records: Mapping[str, Record], runs: Sequence[str], suite: str, sets: Sequence[str]
) -> dict[str, Outcomes]:
    """By run, its evaluation by the suite that attacks all of the sets; runs without are left out. A run that is
    attacked by one suite on other sets too has them as SUITE-OTHER-N ("paper-rt-1000")."""
    return {run: outcomes for run in runs for name, outcomes in reversed(sorted(records[run].outcomes.items()))
            if name.split("-")[0] == suite and set(sets) <= set(outcomes.set_names)}  # fmt: skip


def cost(outcomes: Outcomes, *names: str) -> float:
    """The passes per example of all attacks on the named sets (a forward and a backward pass count as one); without
    names, of the look at the unperturbed examples."""
    passes = outcomes.about.get("passes", {})
    columns = [k for k, S in enumerate(outcomes.families) if (S in names if names else k == 0)]
    total = sum(sum(passes.get(outcomes.attacks[k], {"unknown": np.nan}).values()) for k in columns)
    return float(total / 2 / len(outcomes.correct))


def measure(found: Iterable[Outcomes], row: str, sets: Sequence[str]) -> Measured | None:
    """A row's accuracy over evaluations of several seeds; None without any."""
    found = list(found)
    if not found:
        return None
    names = names_of(row, sets)
    values = [outcomes.accuracy(*names) for outcomes in found]
    low, high = found[0].interval(*names) if len(found) == 1 else (min(values), max(values))
    return Measured(float(np.mean(values)), low, high, len(found),
                    float(np.mean([cost(outcomes, *names) for outcomes in found])), len(found[0].correct))  # fmt: skip


# ---- why numbers differ


@dataclass(frozen=True)
class Broken:
    """What the stronger suite broke of what the weaker left standing, and by what.

    `alone` gives for each set the share of these examples that it alone breaks, `first` for each attack the share that
    it is the first of its set to break (examples that several sets break count for each).
    """

    paired: Paired
    alone: Mapping[str, float]
    first: Mapping[str, float]


def broken_by(weak: Outcomes, strong: Outcomes, names: Sequence[str]) -> Broken:
    """How the strong suite differs from the weak one on the named sets, on the examples that both have."""
    n = min(len(weak.correct), len(strong.correct))
    held = weak.standing(*names)[:n]
    lost = held & ~strong.standing(*names)[:n]
    falls = {name: ~strong.standing(name)[:n] for name in names}
    several = np.sum(list(falls.values()), axis=0) if falls else np.zeros(n, dtype=int)
    first: Counter[str] = Counter()
    for name in names:
        left = lost.copy()
        for k, (attack, S) in enumerate(zip(strong.attacks, strong.families, strict=True)):
            if S == name:
                hit = left & (strong.tried & ~strong.correct)[:n, k]
                first[attack] += int(hit.sum())
                left &= ~hit
    total = max(int(lost.sum()), 1)
    alone = {name: float((lost & fall & (several == 1)).sum() / total) for name, fall in falls.items()}
    return Broken(Paired.of(held, strong.standing(*names)), alone,
                  {attack: count / total for attack, count in first.most_common() if count})  # fmt: skip


def beyond_sampling(theirs: float, n: int | None, ours: Collection[Outcomes], names: Sequence[str]) -> float:
    """By how much our accuracy is above a published share (below: negative) after what sampling allows: the gap between
    the exact 95 % intervals, ours the hull over seeds, theirs a point where its number of examples `n` is unknown."""
    low, high = min(o.interval(*names)[0] for o in ours), max(o.interval(*names)[1] for o in ours)
    bottom, top = exact_interval(round(theirs * n), n) if n else (theirs, theirs)
    return max(low - top, 0.0) - max(bottom - high, 0.0)


def reason(
    given: Mapping[str, float], ours: Collection[Outcomes], pair: tuple[Outcomes, Outcomes] | None, names: Sequence[str]
) -> str:
    """Why a row's numbers differ, in words; "–" where there is nothing to compare.

    `given` are the published shares by table, held against `ours` under the weaker suite, of all seeds; `pair` is one
    run under the weaker and the stronger suite.
    """
    said = []
    for key, theirs in given.items() if ours else ():
        gap, who = beyond_sampling(theirs, PUBLISHED[key].n, ours, names), SHORT[key]
        said.append(f"{signed(gap)} from {who} beyond sampling" if abs(gap) >= 0.0005 else f"as {who}")
    if pair:
        found = broken_by(*pair, names)
        if found.paired.first:
            parts = [f"{share:.0%} {attack}" for attack, share in list(found.first.items())[:2]]
            if len(names) > 1:
                alone = max(found.alone, key=found.alone.__getitem__)
                parts.insert(0, f"{found.alone[alone]:.0%} under {alone} alone")
            said.append(f"the strong suite breaks {found.paired.first} more ({', '.join(parts)})")
        elif names:
            said.append("the strong suite breaks no more")
        if found.paired.second:
            said.append(f"and leaves {found.paired.second} that the paper's breaks")
    return "; ".join(said) or "–"


# ---- the tables


def rows(comparison: Comparison, records: Mapping[str, Record]) -> list[dict]:
    """Every row of a comparison as data: published shares, ours, the paired difference of the two suites, and why."""
    found = []
    for model in comparison.models:
        for row in ("clean", *comparison.sets, "union"):
            names = names_of(row, comparison.sets)
            ours = {suite: evaluations(records, model.runs, suite, names) for suite in SUITES}
            given = {key: PUBLISHED[key].percent(model.published, row) for key in comparison.published}
            shares = {key: value / 100 for key, value in given.items() if value is not None}
            weak, strong = ours.values()
            pair = next(((weak[run], strong[run]) for run in weak if run in strong), None)
            paired = pair and broken_by(*pair, names).paired
            found.append({
                "model": model.label, "set": row, "published": given,
                **{suite: measure(ours[suite].values(), row, comparison.sets) for suite in SUITES},
                "difference": paired and -paired.difference,
                "interval": paired and tuple(-end for end in reversed(paired.interval())),
                "why": reason(shares, weak.values(), pair, names),
            })  # fmt: skip
    return found


def table(comparison: Comparison, records: Mapping[str, Record]) -> tuple[list[str], list[list[str]]]:
    """Header and rows, as text."""
    header = ["model", "set", *(f"{SHORT[key]} %" for key in comparison.published)]
    for suite in SUITES:
        header += [f"ours, {suite} suite %", "passes"]
    header += ["strong − paper suite", "why they differ"]
    lines = []
    for row in rows(comparison, records):
        line = [row["model"], row["set"]]
        line += ["–" if value is None else f"{value:.1f}" for value in row["published"].values()]
        for suite in SUITES:
            line += ["–", "–"] if row[suite] is None else [row[suite].text(), f"{row[suite].passes:,.0f}"]
        low, high = map(signed, row["interval"] or (0.0, 0.0))
        line.append("–" if row["difference"] is None else f"{signed(row['difference'])} ({low}, {high})")
        lines.append([*line, row["why"]])
    return header, lines


def signed(share: float) -> str:
    """A difference in percentage points: "−3.2", "+0.4".

    >>> signed(-0.032), signed(0.0041), signed(0.0)
    ('−3.2', '+0.4', '0.0')
    """
    return f"{100 * share:+.1f}".replace("-", "−").replace("+0.0", "0.0").replace("−0.0", "0.0")


def training_table(comparison: Comparison, records: Mapping[str, Record]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of what the runs cost to train, and how many of their epochs are there."""
    lines = []
    for name in dict.fromkeys(comparison.runs):
        record = records[name]
        spent = record.passes()
        lines.append([
            name, record.network or "–", f"{len(record.log)} of {record.epochs}" if record.epochs else "–",
            f"{spent[-1] / 1e6:.1f}" if len(spent) else "–",
            f"{sum(epoch['seconds'] for epoch in record.history) / 60:.0f}" if record.log else "–",
            ", ".join(f"{suite}-{len(o.correct)}" for suite, o in sorted(record.outcomes.items())) or "–",
        ])  # fmt: skip
    return ["run", "network", "epochs", "million passes", "minutes", "evaluations"], lines


# ---- what robustness costs


NEAR = 0.02  # of accuracy under the union


@dataclass(frozen=True)
class Strategy:
    """A way to train one network, in the mean over seeds: passes, with those of the run it starts from, and accuracies
    under the union, as watched by short attacks and under the strong suite, None where not known."""

    label: str
    passes: float
    watched: float | None
    strong: float | None


def strategies(comparison: Comparison, records: Mapping[str, Record]) -> list[Strategy]:
    """The finished ones, the cheapest first, of the network that most runs train: a pass of others costs otherwise."""
    networks = Counter(records[run].network for run in comparison.runs if records[run].finished)
    network = next(iter(dict(networks.most_common(1))), None)
    found = []
    for model in comparison.models:
        runs = [records[run] for run in model.runs if records[run].finished and records[run].network == network]
        if runs and all(run.log for run in runs):
            watched = [value for run in runs if np.isfinite(value := run.watched("union")[-1])]
            strong = evaluations(records, [run.name for run in runs], SUITES[1], comparison.sets).values()
            found.append(Strategy(
                model.label, float(np.mean([run.passes()[-1] for run in runs])),
                float(np.mean(watched)) if watched else None,
                float(np.mean([o.accuracy(*comparison.sets) for o in strong])) if strong else None))  # fmt: skip
    return sorted(found, key=lambda strategy: strategy.passes)


def cheapest(found: Sequence[Strategy], by: str) -> tuple[Strategy, Strategy] | None:
    """The cheapest strategy whose accuracy "watched" or "strong" is within NEAR of the best, and the best; None without
    any that is known."""
    known = [strategy for strategy in found if getattr(strategy, by) is not None]
    if not known:
        return None
    best = max(known, key=lambda strategy: getattr(strategy, by))
    near = [strategy for strategy in known if getattr(strategy, by) >= getattr(best, by) - NEAR]
    return min(near, key=lambda strategy: strategy.passes), best


def scaling_table(comparison: Comparison, records: Mapping[str, Record]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of what the union has cost each strategy; the cheapest near the best is marked in each column."""
    found = strategies(comparison, records)
    chosen = {by: cheapest(found, by) for by in ("watched", "strong")}
    lines = []
    for strategy in found:
        cells = []
        for by, pair in chosen.items():
            mark = " ← cheapest near best" if pair and pair[0] is strategy else ""
            mark = mark or (" best" if pair and pair[1] is strategy else "")
            cells.append(percent(getattr(strategy, by)) + mark)
        lines.append([strategy.label, f"{strategy.passes / 1e6:.1f}", *cells])
    return ["trained", "million passes in all", "union as watched %", "union, strong suite %"], lines


def notes(comparison: Comparison) -> list[str]:
    """What the columns mean and where the published numbers are from."""
    return [
        "Accuracy in percent. Ours: in parentheses the exact 95 % interval, in brackets the range of several seeds, "
        "their mean before it. Passes: what the attacks cost an example and network, a forward and a backward pass "
        "counting as one. Difference of the suites: percentage points (first seed), paired bootstrap 95 % interval. "
        "The paper suite: the paper's own climbs and grid, without the attacks of others that it ran beside them. "
        f"Near the best: at most {100 * NEAR:.0f} points below it, in the mean over seeds.",
        *(f"{PUBLISHED[key].title}: {PUBLISHED[key].attacks}; "
          f"{f'{PUBLISHED[key].n:,} examples' if PUBLISHED[key].n else 'number of examples not recorded here'}, "
          f"{f'at most {PUBLISHED[key].passes:,} passes' if PUBLISHED[key].passes else 'passes not recorded here'}. "
          f"Read: {PUBLISHED[key].read}." for key in comparison.published),
    ]  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when the tables are there, 2 for a wrong request."""
    parser = argparse.ArgumentParser(
        prog="python -m tradeoff.comparison",
        description="The paper's tables beside ours, from results that are there; what is missing is a gap.",
        epilog=epilog("python -m tradeoff.comparison lp --style md"),
    )
    parser.add_argument("names", nargs="*", metavar="|".join(COMPARISONS), help="tables (default: all)")
    parser.add_argument("--runs", metavar="DIR", help="folder of the runs (default: the committed ones)")
    parser.add_argument(
        "--style", default="txt", metavar="|".join(tables.STYLES), help="what is printed (default: txt)"
    )
    parser.add_argument("--out", metavar="DIR", help="folder to write every table to, in every style and as JSON")
    add_json(parser)
    parser.add_argument("--force", action="store_true", help="replace what --json and --out name, if it exists")
    options = parser.parse_args(arguments)
    try:
        style = lookup(tables.STYLES, options.style, "style")
        chosen = {name: lookup(COMPARISONS, name, "comparison") for name in options.names or COMPARISONS}
        check_json(options.json, options.force)
        runs = options.runs and folder_of_runs(options.runs)
        for name in chosen if options.out else ():
            for suffix in (*tables.STYLES, "json"):
                check_target(Path(options.out) / f"{name}.{suffix}", options.force)
        records = read_all([run for comparison in chosen.values() for run in comparison.runs], runs)
        texts, data = [], {}
        for name, comparison in chosen.items():
            made = [part(comparison, records) for part in (table, training_table, scaling_table)]
            if options.out:
                _write(make_folder(options.out) / name, comparison, records, made)
            texts.append("\n\n".join([comparison.title, *(style(*part) for part in made), *notes(comparison)]) + "\n")
            data[name] = as_data(comparison, records)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.json != "-":
        print("\n".join(texts))
    put_json(options.json, data)
    return 0


def as_data(comparison: Comparison, records: Mapping[str, Record]) -> dict:
    """A comparison as JSON takes it."""
    data = [row | {suite: vars(row[suite]) if row[suite] else None for suite in SUITES}
            for row in rows(comparison, records)]  # fmt: skip
    return {"title": comparison.title, "notes": notes(comparison), "rows": data, "about": provenance()}


def _write(path: Path, comparison: Comparison, records: Mapping[str, Record], made: list) -> None:
    for suffix, style in tables.STYLES.items():
        with write_atomically(path.with_suffix(f".{suffix}")) as file:
            file.write(("\n\n".join(style(*part) for part in made) + "\n").encode())
    write_json(path.with_suffix(".json"), as_data(comparison, records))


if __name__ == "__main__":
    sys.exit(run(main))
