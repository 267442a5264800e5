"""Which picture is meant: a path, a folder, or a bare name that lies in some set."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from detector import cli
from detector.data.compose import members
from detector.data.load import MAKERS, own_settings
from detector.data.sources import FACE_PARTS, SOURCES, list_items
from detector.data.synthetic.make import folder_name
from detector.data.synthetic.plan import read_settings
from detector.data.synthetic.portrait import VERSION
from detector.data.tree import image_names
from detector.errors import UserError

PART_NAMES = {
    "eye_left": "viewer's left eye",
    "eye_right": "viewer's right eye",
    "nose": "nose",
    "mouth": "mouth",
}


@dataclass(frozen=True)
class Picture:
    """A file, and what a set says of it.

    Args:
        path: The file.
        name: Its path below the set's root; empty where it lies in no known set.
        set: Name of the set; empty likewise.
        actual: Name of its class; empty likewise.
        extra: What the set tells beyond that, as `Item.extra`.
    """

    path: Path
    name: str = ""
    set: str = ""
    actual: str = ""
    extra: dict = field(default_factory=dict)

    @property
    def edited(self) -> list[str]:
        """The parts that were edited, in words; empty where none was or nothing is known."""
        if any(self.extra.get(part, -1) < 0 for part in FACE_PARTS):
            return []
        return [PART_NAMES[part] for part in FACE_PARTS if self.extra[part]]


def known_sets(own: DictConfig | None, data_root: str) -> list[DictConfig]:
    """Settings of the sets that are on this machine: the run's own first.

    Args:
        own: The `data` settings of the run; None where they are not known.
        data_root: Folder of the other sets.
    """
    found = []
    if own is not None:
        found = list(members(own).values()) if own.source == "joint" else [own]
    for file in sorted((cli.conf_dir() / "data").glob("*.yaml")):
        settings = OmegaConf.load(file)
        top = settings if "data" in settings else {"data": settings}  # some bring more than data
        at = OmegaConf.merge({"data_root": data_root}, top)
        if at.data.source == "joint":
            continue  # its sets are here themselves
        if not OmegaConf.is_missing(at.data, "root"):
            found.append(at.data)
    return [one for one in found if Path(str(one.root)).expanduser().is_dir()]


def look_up(image: str, sets: Sequence[DictConfig]) -> list[Picture]:
    """The pictures that somebody means.

    A path or folder that exists is taken as it is. Else the name is looked for in the sets, in
    their order, and the first that has it decides.

    Args:
        image: A path, a folder (of which every picture is taken), or a bare file name.
        sets: As `known_sets` gives them.

    Returns:
        At least one picture; more than one for a folder, or where a set has the name more
        than once.

    Raises:
        UserError: There is no such picture; names the nearest.
    """
    path = Path(image)
    try:
        path = path.expanduser()
        folder, file = path.is_dir(), path.is_file()
    except (OSError, RuntimeError):  # a name that is too long, or the home of nobody
        folder = file = False
    if folder:
        paths = [path / name for name in sorted(image_names(path, "."))]
        if not paths:
            raise UserError(f"{image} holds no picture: give a picture, or a folder with some")
        return _with_sets(paths, sets)
    if file:
        return _with_sets([path], sets)
    every: list[str] = []
    for pictures in map(_pictures, sets):
        if hits := [picture for picture in pictures if _means(image, picture.name)]:
            return hits
        every += [picture.path.name for picture in pictures]
    near = difflib.get_close_matches(image, dict.fromkeys(every), n=3)
    names = ", ".join(dict.fromkeys(str(one.name) for one in sets)) or "no set that is here"
    hint = f"; the nearest there are {', '.join(near)}" if near else ""
    raise UserError(f"no picture {image}, neither as a path nor in {names}{hint}")


def _means(asked: str, name: str) -> bool:
    return name == asked or name.endswith(f"/{asked}") or Path(name).stem == asked


def _with_sets(paths: Iterable[Path], sets: Sequence[DictConfig]) -> list[Picture]:
    """Files with what a set says of them, where they lie in one."""
    paths = list(paths)
    wanted = {path.resolve() for path in paths}
    known: dict[Path, Picture] = {}
    for settings in sets:
        root = Path(str(settings.root)).expanduser().resolve()
        if any(path.is_relative_to(root) for path in wanted):
            for picture in _pictures(settings):
                known.setdefault(picture.path.resolve(), picture)
    return [known.get(path.resolve(), Picture(path)) for path in paths]


def _pictures(settings: DictConfig) -> list[Picture]:
    """All pictures of a set; none of one that cannot be listed, which is not asked for here."""
    plain = OmegaConf.to_container(settings, resolve=True)
    root = Path(plain["root"]).expanduser()
    source = plain["source"]
    try:
        if source in MAKERS and "synthetic" in plain:
            root = root / folder_name(read_settings(plain["synthetic"]), VERSION)
        listing = list_items(source, root, **own_settings(SOURCES[source], plain))
    except UserError:
        return []
    return [
        Picture(item.path, item.name, plain["name"], listing.class_names[item.label], item.extra)
        for item in listing.items
    ]
