"""matrix.md, cells.csv and the terminal: the matrix as a person reads it."""

from collections.abc import Callable, Mapping, Sequence

from detector.evaluation.report import shown, table

MEASURES = ("auroc", "accuracy", "best_accuracy", "lost_by_threshold", "ece")
ENDS = ("value", "low", "high")
FACTS = ("network", "trained_on", "set", "own", "seen", "absent")
COUNTS = ("n", "n_fake", "n_real", "n_groups", "majority", "threshold")
COLUMNS = (
    *FACTS,
    *COUNTS,
    *(key if end == "value" else f"{key}_{end}" for key in MEASURES for end in ENDS),
    "best_threshold",
    "calibration_holds",
    "error",
)  # fmt: skip
NOTES = (
    "Brackets are 95 % intervals. * marks a network's own set, with the split that its run wrote"
    " down.",
    "The threshold of a network was chosen on the validation part of its own set. The best"
    " possible accuracy is over all thresholds on these very images: an optimistic bound, no"
    " result. What the threshold loses is the difference of the two; a low end above 0 says that"
    " some other threshold is truly better.",
    "majority is the accuracy of always saying the class that is more frequent among the images of"
    " the cell, which sees no face.",
)


def flat_cell(cell: Mapping) -> list:
    """A row of cells.csv, in the order of `COLUMNS`; empty where undefined or not measured."""
    if cell["error"]:
        known = [cell[key] for key in FACTS]
        return [*known, *[None] * (len(COLUMNS) - len(known) - 1), cell["error"]]
    return [
        *(cell[key] for key in (*FACTS, *COUNTS)),
        *(cell[key][end] for key in MEASURES for end in ENDS),
        cell["best_accuracy"]["threshold"],
        cell["calibration"]["holds"],
        None,
    ]


def marks(cell: Mapping) -> str:
    """What stands behind a number: † images of its training, ‡ perhaps some, as in `footnotes`."""
    if cell["seen"]:
        return " †"
    return " ‡" if cell["seen"] is None and cell["namesake"] else ""


def footnotes(found: Mapping) -> list[str]:
    """What the marks mean, of those that occur."""
    lines = []
    seen = [cell for cell in found["cells"] if cell["seen"]]
    if seen:
        each = ", ".join(f"{c['seen']} of {_named(c)}" for c in seen)
        lines.append(f"† includes images that the network was trained on: {each}.")
    unsure = [cell for cell in found["cells"] if marks(cell) == " ‡"]
    if unsure:
        each = ", ".join(map(_named, unsure))
        lines.append(f"‡ may include them, as the run folder is gone: {each}.")
    for cell in found["cells"]:
        if cell["namesake"] and cell["seen"] is not None:
            name = cell["set"]
            lines.append(
                f"{cell['network']} was trained on another set that is called {name}, too."
            )
    if raw := [one["name"] for one in found["networks"] if not one["calibrated_on"]]:
        lines.append(f"Not calibrated, threshold .5: {', '.join(raw)}.")
    if found["part"] in ("val", "all") and any(cell["own"] for cell in found["cells"]):
        lines.append("Networks' own validation images, on which they were chosen, are among these.")
    return lines


def sentences(found: Mapping) -> list[str]:
    """What the matrix says, in words; most of it of sets that are not a network's own.

    Args:
        found: As matrix.json holds it.
    """
    measured = [cell for cell in found["cells"] if not cell["error"]]
    away = [cell for cell in measured if not cell["own"]]
    says = []
    if of := [cell for cell in away if cell["auroc"]["value"] is not None]:
        lost = [cell for cell in of if cell["auroc"]["low"] <= 0.5]
        says.append(
            "On sets that are not their own, networks do not surely rank better than chance"
            f" (AUROC's low end is at most .5) in {_of(lost, of)}."
        )
        better = [cell for cell in of if cell["lost_by_threshold"]["low"] > 0]
        most = max((cell["lost_by_threshold"]["value"] for cell in better), default=0)
        upto = f", by up to {most:.3f}" if better else ""
        says.append(
            f"Another threshold would truly be better there in {_of(better, of)}{upto}."
        )  # fmt: skip
    if away:
        held = [cell for cell in away if cell["calibration"]["holds"]]
        says.append(f"Nothing speaks against their calibration there in {_of(held, away)}.")
    if of := [cell for cell in measured if cell["auroc"]["value"] is not None]:
        blind = [cell for cell in of if cell["accuracy"]["low"] <= cell["majority"]]
        says.append(
            "At their own threshold, networks are not surely better than the majority class in"
            f" {_of(blind, of)}."
        )
    return says


def markdown(found: Mapping) -> str:
    """The report.

    Args:
        found: As matrix.json holds it.
    """
    part = "all images" if found["part"] == "all" else f"{found['part']} parts"
    title = f"# {_count(found['networks'], 'network')} on {_count(found['sets'], 'set')}, {part}"
    lines = [title, "", *found["says"], "", *_joined(NOTES)]
    for note in footnotes(found):
        lines += [f"**{note}**", ""]
    lines += ["## AUROC", "", *_grid(found, lambda cell: shown(cell["auroc"]))]
    lines += ["", "## Accuracy at the network's threshold", ""]
    lines += _grid(
        found, lambda cell: f"{shown(cell['accuracy'])}, majority {cell['majority']:.3f}"
    )
    lines += ["", "## Best possible accuracy, an optimistic bound", ""]
    lines += _grid(found, lambda cell: shown(cell["best_accuracy"]))
    lines += ["", "## Every cell", ""]
    header = ["network", "set", "images", "threshold", "best threshold", "lost by the threshold",
              "ECE", "by chance up to", "calibration"]  # fmt: skip
    lines += table(header, [_row(cell) for cell in found["cells"]])
    said = [cell["calibration"]["says"] for cell in found["cells"] if not cell["error"]]
    names = [_named(cell) for cell in found["cells"] if not cell["error"]]
    lines += ["", *(f"- {name}: {says}" for name, says in zip(names, said, strict=True))]
    return "\n".join([*lines, ""])


def summary(found: Mapping) -> str:
    """The matrix for the terminal: AUROC, then accuracy beside the best possible."""

    def accuracy(cell: Mapping) -> str:
        best = cell["best_accuracy"]["value"]
        bound = "–" if best is None else f"{best:.3f}"
        return f"{cell['accuracy']['value']:.3f}, best {bound}, majority {cell['majority']:.3f}"

    lines = ["AUROC", *_aligned(found, lambda cell: shown(cell["auroc"]))]
    lines += ["", "accuracy at the network's threshold, at the best one here, of the majority"]
    lines += _aligned(found, accuracy)
    return "\n".join([*lines, "", "*: own set", *footnotes(found), "", *found["says"]])


def grid(found: Mapping) -> list[tuple[Mapping, list[Mapping]]]:
    """Networks with their cells, in the order of the sets."""
    cells = {(cell["network"], cell["set"]): cell for cell in found["cells"]}
    return [
        (network, [cells[network["name"], one["name"]] for one in found["sets"]])
        for network in found["networks"]
    ]


def _cells(found: Mapping, text: Callable[[Mapping], str]) -> list[list[str]]:
    """Header and rows."""
    rows = [["network", *(one["name"] for one in found["sets"])]]
    for network, cells in grid(found):
        texts = [
            "–" if c["error"] else f"{text(c)}{' *' * c['own']}{marks(c)}" for c in cells
        ]  # fmt: skip
        name, source = network["name"], network["trained_on"]
        rows.append([name if source in name else f"{name}, trained on {source}", *texts])
    return rows


def _grid(found: Mapping, text: Callable[[Mapping], str]) -> list[str]:
    header, *rows = _cells(found, text)
    return table(header, rows)


def _aligned(found: Mapping, text: Callable[[Mapping], str]) -> list[str]:
    rows = _cells(found, text)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _row(cell: Mapping) -> list[str]:
    if cell["error"]:
        return [cell["network"], cell["set"], cell["error"], *["–"] * 6]
    best, held = cell["best_accuracy"]["threshold"], cell["calibration"]["holds"]
    none = cell["best_accuracy"]["value"] is None
    return [
        cell["network"],
        f"{cell['set']}{' *' * cell['own']}{marks(cell)}",
        f"{cell['n']} ({cell['n_fake']} + {cell['n_real']})",
        f"{cell['threshold']:.3g}",
        "–" if none else "calls none" if best is None else f"{best:.3g}",
        shown(cell["lost_by_threshold"]),
        shown(cell["ece"]),
        f"{cell['calibration']['ece_by_chance']:.3f}",
        "holds" if held else "does not hold",
    ]


def _named(cell: Mapping) -> str:
    return f"{cell['network']} on {cell['set']}"


def _of(some: Sequence[Mapping], every: Sequence[Mapping]) -> str:
    named = f" ({', '.join(map(_named, some))})" if 0 < len(some) <= 4 else ""
    return f"{len(some)} of {_count(every, 'cell')}{named}"


def _count(things: Sequence, name: str) -> str:
    return f"{len(things)} {name}{'s' * (len(things) != 1)}"


def _joined(paragraphs: Sequence[str]) -> list[str]:
    return [line for paragraph in paragraphs for line in (paragraph, "")]
