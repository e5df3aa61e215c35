"""What a report says, in sentences."""

from collections.abc import Mapping, Sequence

from tradeoff.tables import percent


def verdict(report: Mapping) -> list[str]:
    """The sentences: accuracies, the price of robustness, bounds, the attacks that mattered, and every warning.

    `report` has the parts data, classes, table, gains, masking, chunks and notes of `tradeoff.report`.
    """
    table, gains = report["table"], report["gains"]
    sets = {name: entry for name, entry in table.items() if entry["family"] not in ("clean", "union", "average")}
    clean, union = table["clean"], table["union"]
    said = [f"Of the {report['data']}, {_share(clean)} are classified correctly."]
    if clean["accuracy"] < 1 / report["classes"] + 0.1:
        said.append(f"That is close to chance among {report['classes']} classes: does the model want inputs that are "
                    "normalised? Put the normalisation inside it.")  # fmt: skip
    if sets:
        weakest = min(sets, key=lambda name: sets[name]["accuracy"])
        said.append(f"Under attack it is weakest on {weakest}, where {_share(sets[weakest])} stand.")
        lost = [100 * (entry["accuracy"] - union["accuracy"]) for entry in (clean, sets[weakest])]
        said.append(f"Under the worst set for each example {_share(union)} stand: {lost[0]:.1f} points less than "
                    f"unperturbed, and {lost[1]:.1f} less than on the weakest set alone.")  # fmt: skip
    if union["certified"] is not None:
        said.append(f"At least {percent(union['certified'])} % are certified to stand under all of them, so "
                    "the truth lies between the two.")  # fmt: skip
    else:
        said.append("Attacks can miss what breaks an example: these are upper bounds of the true accuracies.")
    said += _credit(gains)
    wrong = [f"{name} ({entry['contradicted']})" for name, entry in table.items() if entry.get("contradicted")]
    if wrong:
        said.append(f"WARNING: attacks broke examples that were certified on {', '.join(wrong)}: the certificate or "
                    "the attack has a bug, please report it.")  # fmt: skip
    said.append(_MASKING[report["masking"]["verdict"]])
    if report["chunks"]:
        chunks = report["chunks"]
        shares = " % against ".join(percent(share) for share in reversed(chunks["union"]))
        said.append(f"In chunks of {chunks['sizes'][1]} instead of {chunks['sizes'][0]}, {chunks['differing']} of "
                    f"{chunks['cells']} outcomes differ, and the union is {shares} %.")  # fmt: skip
    said += [f"Note: {note}." for note in report["notes"]]
    return said


_MASKING = {
    "sound": "The gradients that the attacks follow look sound.",
    "suspect": "The gradients that the attacks follow are suspect: the truth may lie well below (reasons below).",
    "masked": "WARNING: the gradients are masked. Attacks that follow them are misled, and the truth may lie far below "
    "(reasons below).",
    "unknown": "Whether the gradients are masked could not be told (reason below).",
}


def _credit(gains: Sequence[Mapping]) -> list[str]:
    """Which attacks mattered, by what they broke first."""
    if not gains:
        return []
    total = sum(gain["union"] for gain in gains)
    useful = sorted((gain for gain in gains if gain["union"]), key=lambda gain: -gain["union"])
    idle = sum(not gain["broken"] for gain in gains)
    first = ", ".join(f"{gain['attack']} {gain['union']}" for gain in useful[:5])
    more = f" and {len(useful) - 5} more attacks the rest" if len(useful) > 5 else ""
    said = [f"Of the {total} examples broken, the first to break them were: {first}{more}."] if total else []
    passes = sum(gain["passes"] for gain in gains)
    said.append(f"{idle} of {len(gains)} attacks broke nothing that attacks before them had not; all together cost "
                f"{passes:.0f} forward and backward passes of each example.")  # fmt: skip
    return said


def _share(entry: Mapping) -> str:
    low, high = (percent(end) for end in entry["interval"])
    return f"{percent(entry['accuracy'])} % (95 % interval {low} to {high})"
