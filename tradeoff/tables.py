"""Tables of an evaluation as text, Markdown and LaTeX."""

import re
from collections.abc import Callable, Mapping, Sequence

Rows = Sequence[Sequence[str]]


def written(text: str) -> str:
    """The text with radii of bytes as one writes them.

    >>> written("APGD-ce linf:0.01568627450980392, l1:10")
    'APGD-ce linf:4/255, l1:10'
    """

    def of_bytes(found: re.Match) -> str:
        value = 255 * float(found[1])
        return f":{round(value)}/255" if abs(value - round(value)) < 1e-9 else found[0]

    return re.sub(r":(\d+\.\d{9,})", of_bytes, text)


def text(header: Sequence[str], rows: Rows) -> str:
    """Columns aligned by spaces: the first to the left, the others to the right.

    >>> print(text(["set", "accuracy"], [["linf:0.3", "87.5"], ["l1:10", "4.0"]]))
    set       accuracy
    linf:0.3      87.5
    l1:10          4.0
    """
    header, *rows = ([written(cell) for cell in row] for row in (header, *rows))
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for first, *others in (header, *rows):
        cells = [first.ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(others, widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def markdown(header: Sequence[str], rows: Rows) -> str:
    r"""A pipe table.

    >>> print(markdown(["set", "accuracy"], [["linf:0.3 | l1:10", "4.0"]]))
    | set | accuracy |
    | :-- | --: |
    | linf:0.3 \| l1:10 | 4.0 |
    """
    lines = [[written(cell).replace("|", r"\|") for cell in row] for row in (header, *rows)]
    lines.insert(1, [":--", *["--:"] * (len(header) - 1)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def latex(header: Sequence[str], rows: Rows) -> str:
    r"""A tabular that needs no package.

    >>> print(latex(["set", "accuracy (%)"], [["l1:10 | l2:2", "4.0"]]))
    \begin{tabular}{lr}
    \hline
    set & accuracy (\%) \\
    \hline
    l1:10 \textbar{} l2:2 & 4.0 \\
    \hline
    \end{tabular}
    """
    lines = [" & ".join(written(cell).translate(_LATEX) for cell in row) + r" \\" for row in (header, *rows)]
    body = [r"\hline", lines[0], r"\hline", *lines[1:], r"\hline"]
    return "\n".join([rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}", *body, r"\end{tabular}"])


STYLES: Mapping[str, Callable[[Sequence[str], Rows], str]] = {"txt": text, "md": markdown, "tex": latex}

_LATEX = str.maketrans({
    "\\": r"\textbackslash{}", "|": r"\textbar{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "–": "--", **{c: "\\" + c for c in "&%$#_{}"},
})  # fmt: skip


def percent(share: float | None) -> str:
    """ "87.5", or "–" for what is not known.

    >>> percent(0.875), percent(None)
    ('87.5', '–')
    """
    return "–" if share is None else f"{100 * share:.1f}"


def of_sets(table: Mapping[str, Mapping]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the accuracies: certified ≤ true ≤ attacked, with the interval of the attacked one."""
    rows = [
        [name, percent(entry.get("certified")), percent(entry["accuracy"]),
         "–".join(map(percent, entry["interval"])) if "interval" in entry else "–"]
        for name, entry in table.items()
    ]  # fmt: skip
    return ["set", "certified %", "attacked %", "95 % interval"], rows


def of_gains(gains: Sequence[Mapping]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of what each attack added and cost."""
    rows = [
        [gain["attack"], gain["set"], str(gain["tried"]), str(gain["broken"]), str(gain["union"]),
         f"{gain['passes']:.1f}", f"{gain['seconds']:.1f}"]
        for gain in gains
    ]  # fmt: skip
    total = ["all", "", "", "", str(sum(gain["union"] for gain in gains)),
             *(f"{sum(gain[part] for gain in gains):.1f}" for part in ("passes", "seconds"))]  # fmt: skip
    return ["attack", "set", "tried", "newly broken", "of the union", "passes", "seconds"], [*rows, total]
