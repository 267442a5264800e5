"""UTKFace (Zhang, Song and Qi, CVPR 2017): real faces, described by the names of their files.

`age_gender_ethnicity_date.jpg`, followed by `.chip.jpg` where the face was cut out. It serves
twice: `utkface` has real faces only, to count false alarms on, and `gender` makes two classes.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from detector.data.listing import PAIR, Item, Listing
from detector.data.tree import LayoutError, check_folder, is_image, walk

# Both in the order of the codes in the names, and in the words of the set's own page.
GENDERS = ("male", "female")
ETHNICITIES = ("White", "Black", "Asian", "Indian", "Others")
OLDEST = 116  # of the set
# First age of each band. Under 12 and under 18 stand apart because faces still grow and because
# minors are who a false alarm harms most. From there the bands are wide, since ages were guessed
# by a network and checked by eye: of three photographs that occur twice among 2000 images, the
# copies' ages are 1, 7 and 11 years apart.
BANDS = {0: "0-11", 12: "12-17", 18: "18-29", 30: "30-44", 45: "45-59", 60: "60 and over"}
LABELS = {"female": 0, "male": 1}

_NAME = re.compile(r"(\d{1,3})_([01])_([0-4])_\d+(?=[ -~]*\Z)", re.ASCII)


def utkface(root: Path) -> Listing:
    """All of the set as real faces, label 1; `extra` is what `read_name` gives.

    The folder with the most images so named is taken: Kaggle's archive holds the set twice and
    a part of it twice more. Images whose names lack a field are left out, with a note.

    Raises:
        LayoutError: No image below `root` is named like this set's.
    """
    return _listing(root, PAIR, lambda extra: 1)


def gender(root: Path) -> Listing:
    """The same files in two classes, by gender; else as `utkface`."""
    return _listing(root, tuple(LABELS), lambda extra: LABELS[extra["gender"]])


def read_name(name: str) -> dict[str, str | int] | None:
    """What a file's name tells of the face.

    Args:
        name: Without folders.

    Returns:
        `age` (years), `age_band` (a value of `BANDS`), `gender` and `ethnicity` (one of
        `GENDERS` and `ETHNICITIES`); None where a field is missing or impossible.
    """
    fields = _NAME.match(name)
    if fields is None or (age := int(fields[1])) > OLDEST:
        return None
    return {
        "age": age,
        "age_band": BANDS[max(first for first in BANDS if first <= age)],
        "gender": GENDERS[int(fields[2])],
        "ethnicity": ETHNICITIES[int(fields[3])],
    }


def _listing(root: Path, class_names: tuple[str, str], label: Callable[[dict], int]) -> Listing:
    folders = {
        base: {name: read_name(name) for name in filter(is_image, files)}
        for base, _, files in walk(check_folder(root))
    }
    # Of several with as many, the first that was walked: the shallowest.
    best = max(folders, key=lambda base: sum(map(bool, folders[base].values())))
    known = {name: extra for name, extra in folders[best].items() if extra}
    if not known:
        raise LayoutError(
            f"no folder in {root} holds images named like UTKFace's, age_gender_race_date.jpg"
        )
    items = (Item(best / n, n, label(extra), extra=extra) for n, extra in sorted(known.items()))
    notes = []
    if odd := sorted(folders[best].keys() - known.keys()):
        notes.append(
            f"{len(odd)} images are left out, since their names do not give age, gender and"
            f" ethnicity: {_some(odd)}"
        )
    used = set(map(_face, known))
    others = (name for base in folders for name, extra in folders[base].items() if extra)
    if lost := sorted({_face(name) for name in others} - used):
        notes.append(
            f"{len(lost)} images are left out, since they are not in {best}, which holds the most:"
            f" {_some(lost)}; put all of them into one folder to use them"
        )
    return Listing(best, tuple(items), class_names, notes=tuple(notes))


def _face(name: str) -> str:
    """The name up to its date: the same for the whole photograph and for the face in it."""
    return _NAME.match(name)[0]


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(ascii(name)[1:-1] for name in names[:3])  # not all can be printed
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
