"""Which files a data set consists of: one index function for each set.

An index function takes a folder, finds the set's layout at whatever depth below it
and returns a `Listing`. A new set is one more function in `SOURCES` and one YAML in
`conf/data`. Hidden files and what macOS leaves in archives are no part of any set.
"""

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from detector.data.listing import PAIR, Item, Listing
from detector.data.synthetic.table import read_table
from detector.data.tree import (
    SUFFIXES,
    LayoutError,
    absolute,
    check_folder,
    find_layout,
    has_image,
    image_names,
    is_image,
    walk,
)
from detector.data.utkface import gender, utkface
from detector.errors import UserError

log = logging.getLogger(__name__)

SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
FACE_PARTS = ("eye_left", "eye_right", "nose", "mouth")

_CIPLAB_FAKE = re.compile(r"(easy|mid|hard)_")
_CIPLAB_PARTS = re.compile(r"(?:easy|mid|hard)_\d+_([01]{4})")
_FAKE = re.compile(r"(?<![a-z])(deep)?fakes?(?![a-z])", re.IGNORECASE)
_REAL = re.compile(r"(?<![a-z])reals?(?![a-z])", re.IGNORECASE)


def list_items(source: str, root: Path | str, **options: object) -> Listing:
    """Lists a set's images.

    Args:
        source: A key of `SOURCES`.
        root: A folder at or above the set's layout; `~` is expanded.
        **options: What that source's index function takes.

    Raises:
        LayoutError: The set is not below `root`.
        UserError: The source is unknown, or what is there does not make two classes.
    """
    if source not in SOURCES:
        raise UserError(f"unknown data source {source!r}: use one of {', '.join(SOURCES)}")
    return SOURCES[source](absolute(root), **options)


def ciplab(root: Path) -> Listing:
    """Real and Fake Face Detection: `training_real`, `training_fake`.

    Kaggle's archive holds the set twice; the shallowest complete copy is taken. `extra`
    has `difficulty` (easy, mid, hard; empty for reals) and, for each of `FACE_PARTS`, 1 where
    the file name says that it was swapped, 0 where not, -1 where the name is malformed.
    Left and right are the viewer's.
    """
    base, (fake, real) = find_layout(root, ("training_fake", "training_real"))

    def extra(stem: str) -> dict[str, str | int]:
        difficulty, bits = _CIPLAB_FAKE.match(stem), _CIPLAB_PARTS.fullmatch(stem)
        parts = map(int, bits[1]) if bits else (-1,) * len(FACE_PARTS)
        named = dict(zip(FACE_PARTS, parts, strict=True))
        return {"difficulty": difficulty[1] if difficulty else "", **named}

    whole = {"difficulty": "", **dict.fromkeys(FACE_PARTS, 0)}
    items = _items(base, fake, 0, extra=extra) + _items(base, real, 1, extra=lambda _: dict(whole))
    return _listing(base, items)


def hardfake(root: Path) -> Listing:
    """Fake-Vs-Real-Faces (Hard): `real`, `fake`; the `data.csv` beside them adds nothing."""
    base, (fake, real) = find_layout(root, PAIR)
    return _listing(base, _items(base, fake, 0) + _items(base, real, 1))


def faces_140k(root: Path) -> Listing:
    """140k Real and Fake Faces: `train`, `valid`, `test`, each with `real` and `fake`."""
    splits = ("train", "valid", "test")
    base, folders = find_layout(root, [f"{split}/{name}" for split in splits for name in PAIR])
    items = []
    for index, folder in enumerate(folders):
        items += _items(base, folder, index % 2, SPLITS[splits[index // 2]])
    return _listing(base, items, own_splits=("train", "val", "test"))


def synthetic(root: Path) -> Listing:
    """Faces rendered by `detector.data.synthetic`, laid out and named as ciplab's.

    `extra` has what `ciplab` gives, nothing being swapped in reals, and what
    `detector.data.synthetic.table.read_table` gives, reals having been treated too.

    Raises:
        LayoutError: The set is not below `root`.
        UserError: Its faces.csv is missing or damaged, or is not about these files.
    """
    base, folders = find_layout(root, ("training_fake", "training_real"))
    known = read_table(base)
    items = []
    for label, below in enumerate(folders):
        for name in image_names(base, below):
            if (face := known.pop(name, None)) is None:
                raise UserError(
                    f"{base}/faces.csv does not know {name}: move that file away if it is yours,"
                    f" else move all of {base} away, and data=synthetic makes it anew"
                )
            swapped = (0 if label else int(bit) for bit in face["treated"])
            extra = {"difficulty": "" if label else face["treatment"]}
            extra |= zip(FACE_PARTS, swapped, strict=True)
            items.append(Item(base / name, name, label, extra=extra | face))
    if known:
        raise UserError(f"{base} lacks {len(known)} files that faces.csv names: {min(known)} first")
    return _listing(base, items)


def folder(root: Path, classes: Mapping[str, Sequence[str] | str] | None = None) -> Listing:
    """Any tree `root/<class>/...`, or `root/<split>/<class>/...`.

    Own splits are recognised when every folder at the top is named train, val (valid,
    validation) or test. Class folders are searched to any depth; without images they do
    not count. A name with the word fake takes label 0 and one with the word real takes
    label 1; where no name tells, the labels follow the alphabet and a warning says so.

    Args:
        root: The folder above the class or split folders.
        classes: Two class names and the folders that make up each; folders that are not
            named stay out. Class names are ordered as folder names are, except that
            those that do not tell keep the order given.

    Raises:
        LayoutError: The folder is missing or has no images.
        UserError: There are not exactly two classes, or a split lacks one.
    """
    _, top, _ = next(walk(check_folder(root)))
    names = {name: SPLITS.get(name.casefold(), "") for name in top}
    own = bool(names) and all(names.values())
    if own and "train" not in names.values():
        raise UserError(f"{root} holds only {', '.join(top)}: own splits need a train folder too")
    own_splits = tuple(dict.fromkeys(s for s in SPLITS.values() if own and s in names.values()))
    if own_splits == ("train",):  # a set without splits: nothing is set aside for testing
        own_splits = ()

    spelled: dict[str, str] = {}  # casefolded: as written
    found: list[tuple[str, str, str]] = []  # casefolded class folder, path below root, split
    for above in top if own else ["."]:
        _, inside, loose = next(walk(root / above))
        if images := sum(map(is_image, loose)):
            log.warning("%d images in %s belong to no class", images, root / above)
        for name in inside:
            below = name if above == "." else f"{above}/{name}"
            if has_image(root / below):
                spelled.setdefault(name.casefold(), name)
                found.append((name.casefold(), below, names[above] if own_splits else ""))
    if not found:
        raise LayoutError(
            f"{root} has no class folders with images ({' '.join(sorted(SUFFIXES))}): "
            f"put them at {root}/<class>/"
        )
    class_names, label_of = _two_classes(root, spelled, classes)
    items = []
    for key, below, split in found:
        if key in label_of:
            items += _items(root, below, label_of[key], split)
    listing = _listing(root, items, class_names, own_splits)
    for split in own_splits:
        if len(present := {item.label for item in items if item.split == split}) < 2:
            lacking = " and ".join(n for label, n in enumerate(class_names) if label not in present)
            raise UserError(f"the {split} folder in {root} has no images of {lacking}: add some")
    return listing


SOURCES: dict[str, Callable[..., Listing]] = {
    "ciplab": ciplab,
    "hardfake": hardfake,
    "140k": faces_140k,
    "synthetic": synthetic,
    "blended": synthetic,  # of the same layout; `detector.data.blended.write` writes it
    "folder": folder,
    "gender": gender,
    "utkface": utkface,
}


def _two_classes(
    root: Path, spelled: Mapping[str, str], classes: Mapping[str, Sequence[str] | str] | None
) -> tuple[tuple[str, str], dict[str, int]]:
    """Names of the two classes, and the label of each folder (casefolded) that is used."""
    folders = sorted(spelled.values(), key=str.casefold)
    found = ", ".join(folders)
    if classes is None:
        if len(folders) == 1:
            raise UserError(f"{root} holds one class only ({found}): add the other one's folder")
        if len(folders) > 2:
            raise UserError(
                f"{root} holds {len(folders)} classes ({found}): say which make up the two with "
                f"'data.classes={{fake:[{folders[0]}],real:[{', '.join(folders[1:])}]}}'"
            )
        members = {name: [name] for name in folders}
    elif not isinstance(classes, Mapping) or len(classes) != 2:
        raise UserError(f"data.classes={classes} is not two: write {{fake:[a,b],real:[c]}}")
    else:
        members = {str(name): _several(given) for name, given in classes.items()}
    label_of: dict[str, int] = {}
    class_names = _fake_first(*members, root=root)
    for label, name in enumerate(class_names):
        for member in map(str, members[name]):
            if member.casefold() not in spelled:
                raise UserError(
                    f"data.classes: no folder {member!r} with images in {root}, there is {found}"
                )
            if label_of.setdefault(member.casefold(), label) != label:
                raise UserError(f"data.classes puts {member!r} into both classes: drop one")
        if label not in label_of.values():
            raise UserError(f"data.classes gives {name!r} no folder: there is {found}")
    kinds = tuple(map(_kind, class_names))
    return (PAIR if kinds == PAIR else class_names), label_of


def _several(given: object) -> list:
    """A list as it is, nothing as an empty one, anything else as its one member."""
    if isinstance(given, Sequence) and not isinstance(given, str):
        return list(given)
    return [] if given is None else [given]


def _fake_first(a: str, b: str, *, root: Path) -> tuple[str, str]:
    kinds = _kind(a), _kind(b)
    if kinds[0] == kinds[1]:
        log.warning(
            f"{root}: nothing tells which class is fake; {a!r} counts as fake (label 0), "
            f"{b!r} as real; data.classes={{fake:[...],real:[...]}} says otherwise"
        )
    elif kinds[0] == "real" or kinds[1] == "fake":
        return b, a
    return a, b


def _kind(name: str) -> str:
    fake, real = bool(_FAKE.search(name)), bool(_REAL.search(name))
    return "" if fake == real else "fake" if fake else "real"


def _items(
    root: Path,
    below: str,
    label: int,
    split: str = "",
    extra: Callable[[str], dict[str, str | int]] = lambda stem: {},
) -> list[Item]:
    return [
        Item(root / name, name, label, split, extra(name.rpartition("/")[2].rpartition(".")[0]))
        for name in image_names(root, below)
    ]


def _listing(
    root: Path,
    items: list[Item],
    class_names: tuple[str, str] = PAIR,
    own_splits: tuple[str, ...] = (),
) -> Listing:
    return Listing(root, tuple(sorted(items, key=lambda i: i.name)), class_names, own_splits)
