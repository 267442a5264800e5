"""What the terminal says at the end of a training: the scores, and where to look next."""

import re
import shlex
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from rich.cells import cell_len, set_cell_size

from detector.data.tree import SHEET
from detector.evaluation.holds import in_words
from detector.evaluation.slices import COLUMNS, in_order
from detector.run.part_report import table_rows

PARTS = {"val": "validation", "test": "test"}
MEASURES = {"auroc": "AUROC", "accuracy": "accuracy", "f1": "F1", "ap": "average precision"}
PER_SET = ("auroc", "accuracy")  # of each of several sets, its fakes against its own reals
MADE_FOR = Path("runs", "train")  # the runs that `make tensorboard` shows
LABEL, CELL, NAME = 26, 20, 14  # columns of the terminal
WIDTH = 79  # of sentences


def table(metrics: Mapping) -> str:
    """Scores in rows, validation and test side by side, in 70 columns.

    Kinds of fakes stand below what they are a part of: AUROC, and the share that is found.

    Args:
        metrics: As metrics.json holds it.
    """
    parts = [part for part in PARTS if part in metrics]
    fake, real = (_shown(name, NAME) for name in metrics["class_names"])
    kinds = list(_kinds(metrics, parts))

    def of_kind(column: str, value: str) -> list[Mapping]:
        return [metrics[part].get(f"by_{column}", {}).get(value, {}) for part in parts]

    names = dict.fromkeys(name for part in parts for name in metrics[part].get("sets", {}))
    sets = {name: [metrics[part].get("sets", {}).get(name, {}) for part in parts] for name in names}
    lines = [
        _line("", [PARTS[part] for part in parts]),
        _line("images", [metrics[part]["n"] for part in parts]),
        _line(f"  {real}", [metrics[part]["n_real"] for part in parts]),
        _line(f"  {fake}", [metrics[part]["n_fake"] for part in parts]),
    ]
    for name, of in sets.items():
        lines.append(_line(f"    {name}", [measured.get("n", 0) for measured in of]))
    for kind in kinds:
        numbers = [measured.get("n_fake", 0) for measured in of_kind(*kind)]
        lines.append(_line("    {} {}".format(*kind), numbers))
    for key, name in (MEASURES | {"recall": f"{fake} found"}).items():
        lines.append(_line(name, [_measure(metrics[part][key]) for part in parts]))
        for kind in kinds if key in ("auroc", "recall") else ():
            measures = [_measure(measured.get(key)) for measured in of_kind(*kind)]
            lines.append(_line("  {} {}".format(*kind), measures))
        for name, of in sets.items() if key in PER_SET else ():
            lines.append(_line(f"  {name}", [_measure(measured.get(key)) for measured in of]))
    edited = table_rows([metrics[part] for part in parts], fake)
    lines += [_line(label, map(_measure, measures)) for label, measures in edited]
    out = [name for name, of in sets.items() if any(one.get("left_out") for one in of)]
    if out:
        lines += ["", f"{out[0]} is left out of training and validation, and tested whole"]
    threshold = metrics[parts[0]]["threshold"]
    lines += [
        "",
        "[low, high]: 95 % interval",
        f"{fake} found: share of {fake} images with p_{fake} of {threshold:.3g} or more (recall)",
    ]
    if (fitted := metrics.get("calibration")) and fitted["n"]:
        lines.append(
            f"temperature {fitted['temperature']:.3g} and threshold {threshold:.3g}, of"
            f" {fitted['n']} validation images"
        )
        if "test" in parts and not (found := metrics["test"]["calibration"])["holds"]:
            lines += textwrap.wrap(in_words(found, "the test part", fake), WIDTH)
    if found := metrics.get("test", {}).get("refused"):
        lines.append(f"refused as unlike the training's: {_measure(found['share'])} of test")
    if edited:
        lines.append(f"edited: AUROC of the part head, {fake} images with that part edited against")
        lines.append(f"other {fake} images, or against {real} ones too; left is the viewer's")
    if kinds:
        columns = " and ".join(dict.fromkeys(column for column, _ in kinds))
        theirs = f"the {real} images of their sets" if sets else f"all {real} images"
        lines.append(f"AUROC by {columns}: {fake} images of that kind against {theirs}")
    return "\n".join(lines)


def where_next(folder: Path, runs: Path, images: Path) -> str:
    """How to see the curves of all runs, and two files of this one.

    Args:
        folder: The run folder, absolute.
        runs: Folder of all runs, absolute.
        images: Folder of the set, absolute; a sheet of it is preferred where there is one.
    """
    sheet = images / SHEET
    try:
        here = Path.cwd()
    except OSError:  # the working directory was deleted meanwhile
        here = None
    # A run that was moved elsewhere and went on there has no others around it.
    curves = runs / "train" if folder.is_relative_to(runs / "train") else folder

    def near(path: Path) -> str:
        return str(path.relative_to(here) if here and path.is_relative_to(here) else path)

    command = f"tensorboard --logdir {shlex.quote(near(curves))}"
    if here and _has_target(here / "Makefile") and curves == (here / MADE_FOR).resolve():
        command = "make tensorboard"
    return "\n".join(
        [
            f"curves in a browser  {command}",
            f"curves as a picture  {near(folder / 'curves.png')}",
            f"score of each image  {near(folder / 'predictions.csv')}",
            f"the images           {near(sheet if sheet.is_file() else images)}",
        ]
    )


def _kinds(metrics: Mapping, parts: list[str]) -> Iterator[tuple[str, str]]:
    for column, order in COLUMNS.items():
        values = [value for part in parts for value in metrics[part].get(f"by_{column}", {})]
        yield from ((column, value) for value in in_order(values, order))


def _line(label: str, cells: Iterable[object]) -> str:
    padded = (set_cell_size(str(cell), CELL) for cell in cells)
    return "  ".join([set_cell_size(_shown(label, LABEL), LABEL), *padded]).rstrip()


def _measure(measure: Mapping | None) -> str:
    if measure is None or measure["value"] is None:
        return "-"
    return f"{measure['value']:.3f} [{measure['low']:.3f}, {measure['high']:.3f}]"


def _shown(text: str, width: int) -> str:
    """In one line of a terminal, cut where it is wider than `width` columns."""
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if cell_len(text) <= width else set_cell_size(text, width - 1).rstrip() + "…"


def _has_target(makefile: Path) -> bool:
    try:
        text = makefile.read_text(errors="replace")
    except OSError:
        return False
    return re.search(r"^tensorboard\s*:", text, re.MULTILINE) is not None
