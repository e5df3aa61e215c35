r"""The dead zone: what the exact game asks of one pixel, what it predicts, and how wide it has to be.

Left, the union game on D_B whose strong feature is a pixel, black or white, under ℓ∞ noise of 0.3 and ℓ1 noise of 0.7:
every threshold in the grey band is optimal. It is flat for as far as the ℓ∞ noise goes, and so is the front end u =
clamp((x - a) / (1 - 2a), 0, 1) with a = 0.3. Middle, a prediction: of black and white pixels ℓ1 noise of ε can flip
ε/0.7, ℓ2 noise (ε/0.7)², so that both accuracies would lie on one curve if there were no others. They do not: grey
pixels are moved a little for next to nothing in ℓ2. Accuracies at the paper's radii are marked. Dashed, a network
without the front end, trained on ℓ1 noise alone, of which ε flips ε pixels (on fewer test images but at ε = 10). Right,
networks trained alike, as many passes each, that see another part of a pixel's range, under attacks that know which: of
even zones, and of uneven ones, wider at black or at black alone. Only what is committed is read.
"""

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from tradeoff.figures.record import SETS, at
from tradeoff.figures.style import COLOURS, LABELS, MARKERS, PAGE
from tradeoff.perturbations import L1, Linf
from tradeoff.records import attacking, read, sources, standing
from tradeoff.theory import BernoulliFeature, game_value
from tradeoff.theory.game import classifier
from tradeoff.theory.plane import widths

QUICK = {"alpha": 3.0, "d": 9, "p0": 0.9, "a": 0.3, "l1": 0.7, "points": 301, "run": "mnist-dead-zone",
         "specialist": "mnist-l1",
         "radii": (0.25, 0.5, 0.75, 1.0, 1.25, 1.5),
         "zones": {"0–1": "mnist-dead-zone-none", "0.2–0.8": "mnist-dead-zone-a20", "0.25–0.75": "mnist-dead-zone-a25",
                   "0.3–0.7": "mnist-dead-zone-short", "0.35–0.65": "mnist-dead-zone-a35",
                   "0.3–0.9": "mnist-dead-zone-30-90", "0.3–1": "mnist-dead-zone-30-100",
                   "0.4–1": "mnist-dead-zone-40-100"}}  # fmt: skip
PARAMETERS = {"quick": QUICK, "full": QUICK}


def compute(results=None, *, alpha, d, p0, a, l1, points, run, specialist, radii, zones) -> dict:
    """The band of optimal thresholds by pixel value, the front end on its scale; flips and accuracy by norm and radius;
    accuracy by what is seen and set."""
    record = read(run)
    flips: dict[str, list] = {S.name: [] for S in SETS if S.name != "linf"}
    for scale in radii:
        for S in SETS:
            stands = standing(record, at(S, scale))
            if S.name in flips and stands is not None:
                flips[S.name].append([(scale * S.eps / (1 - a)) ** S.p, float(stands.mean()), scale == 1])
    (one,) = (S for S in SETS if S.p == 1)
    stands = {scale: standing(read(specialist), at(one, scale)) for scale in radii}
    alone = [(scale * one.eps, float(some.mean())) for scale, some in stands.items() if some is not None]
    ablation = []
    for zone, name in zones.items():
        stands = [standing(read(name), S) for S in SETS]
        if all(some is not None for some in stands):
            rows = {S.name: float(some.mean()) for S, some in zip(SETS, stands, strict=True)}
            ablation.append(rows | {"seen": zone, "union": float(np.all(stands, axis=0).mean())})
    asked = [(record, at(S, scale)) for S in SETS if S.name in flips for scale in radii]
    asked += [(read(specialist), at(one, scale)) for scale in radii] + [
        (read(name), S) for name in zones.values() for S in SETS
    ]
    used = [outcomes for some, S in asked for outcomes in attacking(some, S)]
    return {"band": _band(alpha, d, p0, a, l1, points), "a": a, "flips": flips, "alone": alone, "ablation": ablation,
            "data": sources(used)}  # fmt: skip


def _band(alpha: float, d: int, p0: float, a: float, l1: float, points: int) -> dict:
    """The lowest and the highest optimal threshold for each value of the pixel x, x_0 = 2x - 1, and that with which the
    front end's ramp takes the place of the pixel."""
    D, sets = BernoulliFeature(alpha, d, p0), (Linf(2 * a), L1(2 * l1))
    game = game_value(D, sets, "union")
    highest = classifier(D, sets, game)
    ((hw, (M, N)),) = zip(widths(d, sets, "union"), game.thresholds, strict=True)
    kept = [(-right, -level) for right, level in zip((1, -1), N, strict=True)]
    x = np.linspace(0, 1, points)
    low = [max(level + hw(2 * v - 1 - at) for at, level in kept) for v in x]
    high = [highest(2 * v - 1) for v in x]
    u = ((x - a) / (1 - 2 * a)).clip(0, 1)
    front = high[0] + u * (high[-1] - high[0])
    return {"x": x.tolist(), "low": low, "high": high, "front": front.tolist(), "value": game.value,
            "optimal": bool(np.all((front <= np.array(high) + 1e-9) & (front >= np.array(low) - 1e-9)))}  # fmt: skip


def draw(numbers: dict) -> Figure:
    """Three panels."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(PAGE, 2.5))
    band = numbers["band"]
    left.fill_between(band["x"], band["low"], band["high"], color="0.85", lw=0)
    left.plot(band["x"], band["front"], color="black")
    left.text(0.03, 0.93 * max(band["front"]), "the\nfront end", va="top", fontsize=7)
    left.text(0.33, 0.6 * min(band["low"]), "optimal", va="top", fontsize=7)
    for end in (numbers["a"], 1 - numbers["a"]):
        left.axvline(end, color="0.6", lw=0.6, ls=":")
    left.set(xlabel="pixel", ylabel="threshold on the other features", xlim=(0, 1))
    left.set_title(f"one pixel's game, $V_{{max}}$ = {band['value']:.3f}")
    for S, points in numbers["flips"].items():
        if points:
            count, accuracy, paper = np.array(points).T
            middle.plot(count, 100 * accuracy, MARKERS[S] + "-", ms=4, color=COLOURS[S], label=LABELS[S])
            middle.plot(count[paper == 1], 100 * accuracy[paper == 1], "o", ms=9, mfc="none", color="black")
            middle.legend()
        else:
            middle.text(0.5, 0.5, "no committed run yet", transform=middle.transAxes, ha="center", color="0.4")
    if numbers["alone"]:
        middle.plot(*(np.array(numbers["alone"]) * (1, 100)).T, "s--", ms=4, mfc="none", color=COLOURS["l1"], lw=0.8,
                    label=f"{LABELS['l1']} alone")  # fmt: skip
        middle.legend()
    middle.set(xlabel="black or white pixels it can flip", ylabel="accuracy (%)", ylim=(-2, 101), xlim=(0, None))
    middle.set_title("two norms, one price?")
    rows = numbers["ablation"]
    for S in (*numbers["flips"], "linf", "union") if rows else ():
        right.plot([row["seen"] for row in rows], [100 * row[S] for row in rows], MARKERS[S], ms=4, color=COLOURS[S],
                   label=LABELS[S])  # fmt: skip
    if rows:
        right.legend()
    else:
        right.text(0.5, 0.5, "no committed run yet", transform=right.transAxes, ha="center", color="0.4")
    right.tick_params(axis="x", rotation=60)
    right.set(xlabel="what is seen of a pixel", ylabel="accuracy (%)", ylim=(-2, 101))
    right.set_title("short training, other zones")
    for ax in (middle, right):
        ax.grid(axis="y", lw=0.3)
    return figure
