r"""What if the adversary combines perturbations? Accuracy without noise, under one type, one of two, a mixture of two.

The poster's bars, for networks trained on the worst of the two types, or of these and more. One type of noise: bars of
rotation and ℓ∞ noise, or of ℓ∞ and ℓ1 noise. One of two: the adversary picks the type for each example (the union). A
mixture of two: it splits its budget between the types, with shares that it searches or draws. All attacks of the
committed evaluations by the suites "strong" and "mixtures" count, on the test images that both have; on ℓ1 noise alone
those of the strong suite are longer than any on mixtures. Lines are exact 95 % intervals, and diamonds the paper's
numbers for its own networks, where it has them (quoted from memory, not checked against its text).
"""

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from tradeoff.figures.style import COLOURS, LABELS, PAGE, run_named
from tradeoff.mixtures import MIXED, RANDOM, SHARES, accuracy, standing, types
from tradeoff.published import MIXTURES
from tradeoff.records import Record, read_all

QUICK = {"runs": MIXED}
PARAMETERS = {"quick": QUICK, "full": QUICK}


def compute(results=None, *, runs) -> dict:
    """Bars per run that has been evaluated: their names, accuracies with intervals, and the paper's."""
    panels, data = [], set()
    for run, record in read_all(runs).items():
        if "mixtures" in record.outcomes:
            panels.append({"run": run, **_bars(record)})
            data.add(f"{record.outcomes['mixtures'].about.get('data', 'unknown')} ({run})")
    return {"panels": panels, "data": "; ".join(sorted(data)) or "nothing measured yet"}


def _bars(record: Record) -> dict:
    mixtures, strong = record.outcomes["mixtures"], record.outcomes.get("strong")
    names, n = types(mixtures), len(mixtures.correct)
    alone = {name: mixtures.standing(name) for name in names}
    if strong and set(names) <= set(strong.set_names):
        n = min(n, len(strong.correct))
        alone = {name: stands[:n] & strong.standing(name)[:n] for name, stands in alone.items()}
    union = alone[names[0]] & alone[names[1]]
    bars = {"clean": mixtures.standing()[:n], **alone, "union": union,
            "affine": union & standing(mixtures, *SHARES, RANDOM)[:n]}  # fmt: skip
    paper = {name: MIXTURES.percent(record.name, name) for name in ("union", "affine")}
    return {"n": n, "bars": {name: accuracy(stands) for name, stands in bars.items()},
            "paper": {name: value / 100 for name, value in paper.items() if value is not None}}  # fmt: skip


def draw(numbers: dict) -> Figure:
    """A panel of bars per network."""
    panels = numbers["panels"]
    columns = min(3, max(2, len(panels))) if len(panels) != 4 else 2
    rows = -(-max(1, len(panels)) // columns)
    size = (min(PAGE, 1 + 2.4 * columns), 2.3 * rows + 0.2)
    figure, axes = plt.subplots(rows, columns, figsize=size, sharey=True, squeeze=False)
    for ax, panel in zip(axes.flat, panels, strict=False):
        bars = panel["bars"]
        first, second = [name for name in bars if name not in ("clean", "union", "affine")]
        places = dict(zip(bars, (0, 0.8, 1.2, 2, 3), strict=True))
        for name, (value, low, high) in bars.items():
            width = 0.4 if name in (first, second) else 0.8
            ax.bar(
                places[name],
                100 * value,
                width,
                color=COLOURS[name] if name != "clean" else "white",
                ec="black",
                lw=0.6,
            )
            ax.plot([places[name]] * 2, [100 * low, 100 * high], color="black", lw=1)
            ax.text(places[name], 100 * high + 1, f"{100 * value:.0f}", ha="center", fontsize=6.5)
        for name, value in panel["paper"].items():
            ax.plot(places[name] + 0.25, 100 * value, "d", color="white", mec="black", ms=5)
        mixed = f"one type:\n{LABELS[first]}, {LABELS[second]}"
        ax.set_xticks([0, 1, 2, 3], ["no noise", mixed, "one of\ntwo", "mixture\nof two"], fontsize=6.5)
        ax.tick_params(axis="x", length=0)
        ax.set(title=f"{run_named(panel['run'])}\nn = {panel['n']}", ylim=(0, 108))
    for ax in axes[:, 0]:
        ax.set_ylabel("accuracy (%)")
    for ax in axes.flat[len(panels) :]:
        ax.text(0.5, 0.5, "no committed evaluation yet", ha="center", transform=ax.transAxes, color="0.4")
        ax.set_axis_off()
    return figure
