"""faces.csv: what is known of each picture of a synthetic set, one line each."""

import csv
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from detector.errors import UserError

NAME = "faces.csv"
POINTS = ("eye_left", "eye_right", "nose", "mouth_left", "mouth_right")  # the viewer's sides

_COORDINATES = tuple(f"{point}_{axis}" for point in POINTS for axis in "xy")
_COLUMNS = ("name", "treatment", "parts", "seed", *_COORDINATES)
# A trait of one of these names would take the place of what the index itself knows.
_TAKEN = {
    "label", "split", "group", "sha256", "phash", "bytes", "format", "mode", "width", "height",
    "quantization", "difficulty", "eye_left", "eye_right", "nose", "mouth", "treated",
    "landmarks", "mask",
}  # fmt: skip
_WHOLE = re.compile(r"-?\d+")


def mask_name(name: str) -> str:
    """Where the mask of a picture lies, below the set's folder."""
    return f"masks/{name.rpartition('.')[0]}.png"


def row(
    name: str,
    treatment: str,
    parts: str,
    seed: Sequence[int],
    landmarks: Iterable[tuple[float, float]],
    traits: Mapping[str, str | int | float],
) -> dict[str, object]:
    """One line of the table.

    Args:
        name: Path of the picture below the set's folder.
        treatment: easy, mid or hard.
        parts: A bit for each part of the face: whether it was cut out and blended in.
        seed: What the picture was made from.
        landmarks: x and y of each of `POINTS`, in pixels; kept to a thousandth.
        traits: What the face looks like.

    Raises:
        ValueError: A trait has the name of something else.
    """
    if taken := _TAKEN.union(_COLUMNS).intersection(traits):
        raise ValueError(f"traits cannot be called {', '.join(sorted(taken))}")
    known = (name, treatment, parts, " ".join(map(str, seed)))
    coordinates = [round(float(value), 3) for point in landmarks for value in point]
    return dict(zip(_COLUMNS, (*known, *coordinates), strict=True)) | dict(traits)


def write_table(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write the lines, all with the columns of the first."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_table(folder: Path) -> dict[str, dict]:
    """What faces.csv knows of each picture, by name.

    Each entry has `treatment` (easy, mid, hard), `treated` (a bit for each part that was cut
    out and blended in, of reals too), `landmarks` (five [x, y] in pixels, in the order of
    `POINTS`), `mask` (path below the folder), and the traits: whole numbers where all of a
    column are, numbers where all are, else text.

    Raises:
        UserError: The table is missing, damaged or somebody else's.
    """
    path = folder / NAME
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            columns = list(reader.fieldnames or ())
            rows = list(reader)
    except FileNotFoundError:
        raise UserError(f"{folder} lacks {NAME}: data=synthetic wants a set that it made") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read ({error}): {_remedy(folder)}") from error
    if missing := [name for name in _COLUMNS if name not in columns]:
        raise UserError(f"{path} lacks the columns {', '.join(missing)}: {_remedy(folder)}")
    if taken := [n for n in columns if n in _TAKEN or not n or columns.count(n) > 1]:
        raise UserError(f"{path} has a column {taken[0]!r} of its own: {_remedy(folder)}")
    known: dict[str, dict] = {}
    for line, entry in enumerate(rows, 2):
        try:
            if None in entry or None in entry.values():
                raise ValueError("another number of columns")
            name = entry["name"]
            if name in known:
                raise ValueError(f"{name} once more")
            known[name] = _read_row(entry)
        except ValueError as error:
            raise UserError(f"{path}, line {line}: {error}: {_remedy(folder)}") from error
    for column in columns:
        if column not in _COLUMNS:
            values = _numbers([entry[column] for entry in rows])
            for found, value in zip(known.values(), values, strict=True):
                found[column] = value
    return known


def _remedy(folder: Path) -> str:
    return f"move {folder} away, and data=synthetic makes it anew"


def _read_row(entry: Mapping[str, str]) -> dict[str, object]:
    if entry["treatment"] not in ("easy", "mid", "hard"):
        raise ValueError(f"the treatment is {entry['treatment']!r}")
    if not re.fullmatch("[01]{4}", entry["parts"]):
        raise ValueError(f"the parts are {entry['parts']!r}")
    values = [float(entry[column]) for column in _COORDINATES]
    if not all(map(math.isfinite, values)):
        raise ValueError("a landmark is not finite")
    return {
        "treatment": entry["treatment"],
        "treated": entry["parts"],
        "landmarks": [[x, y] for x, y in zip(values[::2], values[1::2], strict=True)],
        "mask": mask_name(entry["name"]),
    }


def _numbers(values: list[str]) -> list:
    if all(map(_WHOLE.fullmatch, values)):
        return list(map(int, values))
    try:
        numbers = list(map(float, values))
    except ValueError:
        return values
    return numbers if all(map(math.isfinite, numbers)) else values
