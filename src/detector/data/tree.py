"""Image files below a folder, and the folder below which a set's layout begins."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from detector.errors import UserError

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
)
SHEET = "sheet.jpg"  # some of a set's images on one page, beside its folders


class LayoutError(UserError):
    """The set's files are not below the folder, so fetching them is the remedy."""


def absolute(path: Path | str) -> Path:
    """The path with `~` expanded, absolute, links kept as they are."""
    return Path(os.path.abspath(os.path.expanduser(path)))


def check_folder(root: Path) -> Path:
    """The folder itself, or the error that says what is wrong with it."""
    if not root.exists():
        raise LayoutError(f"{root} does not exist")
    if not root.is_dir():
        raise UserError(f"{root} is a file: data.root= takes a folder")
    return root


def find_layout(root: Path, wanted: Sequence[str]) -> tuple[Path, list[str]]:
    """Finds the shallowest folder that holds all the wanted ones, with images in each.

    Args:
        root: Where to look, at any depth; of several equally deep the first by name.
        wanted: Paths relative to the folder sought, in lower case; case is ignored.

    Returns:
        The folder, and the wanted paths as they are spelled there.

    Raises:
        LayoutError: There is none.
    """
    for base, subfolders, _ in walk(check_folder(root)):
        first = {name.casefold() for name in subfolders}
        if all(path.split("/")[0] in first for path in wanted):
            found = [_resolve(base, path) for path in wanted]
            if all(path is not None and has_image(base / path) for path in found):
                return base, found
    raise LayoutError(f"no folder in {root} holds {', '.join(wanted)} with images in each")


def _resolve(base: Path, path: str) -> str | None:
    """The path below base as it is spelled there, whatever the case."""
    parts: list[str] = []
    for part in path.split("/"):
        inside = next(walk(base.joinpath(*parts)))[1]
        same = [name for name in inside if name.casefold() == part]
        if not same:
            return None
        parts.append(part if part in same else same[0])
    return "/".join(parts)


def walk(top: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Each folder from top down, breadth first: itself, its subfolders, its files.

    Hidden entries and macOS' `__MACOSX` are left out. Links are followed, but a folder
    that is reached twice is walked once, and a link to something above top not at all.
    """
    queue = deque([top])
    seen = set(map(str, Path(os.path.realpath(top)).parents))
    while queue:
        base = queue.popleft()
        if (real := os.path.realpath(base)) in seen:
            continue
        seen.add(real)
        folders, files = [], []
        try:
            with os.scandir(base) as entries:
                for entry in entries:
                    if not entry.name.startswith(".") and entry.name != "__MACOSX":
                        # os.path answers False for a link to itself, where DirEntry raises.
                        plain = not entry.is_symlink()
                        if entry.is_dir() if plain else os.path.isdir(entry.path):
                            folders.append(entry.name)
                        elif entry.is_file() if plain else os.path.isfile(entry.path):
                            files.append(entry.name)
        except OSError as error:
            raise UserError(f"{base} cannot be read: {error.strerror or error}") from error
        folders.sort()
        yield base, folders, files
        queue.extend(base / name for name in folders)


def is_image(name: str) -> bool:
    """Whether the name ends like an image's, in whatever case."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def has_image(top: Path) -> bool:
    """Whether there is an image in the folder at any depth."""
    return any(is_image(name) for _, _, files in walk(top) for name in files)


def image_names(root: Path, below: str) -> Iterator[str]:
    """Paths of the images at any depth in `root / below`, relative to root, as POSIX.

    Raises:
        UserError: A name is not UTF-8, so that no table could hold it.
    """
    for base, _, files in walk(root / below):
        prefix = base.relative_to(root).as_posix()
        for name in filter(is_image, files):
            try:
                name.encode()
            except UnicodeEncodeError:
                raise UserError(f"a file name in {base} is not UTF-8: rename {name!a}") from None
            yield f"{prefix}/{name}"
