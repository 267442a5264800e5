"""Many pictures, one after another: folders are walked while their pictures are answered."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from detector.data.tree import SUFFIXES
from detector.predicting.pixels import is_path

# Beyond what sets are made of: what `decode` reads too, and HEIC, of which it says what to do.
PICTURES = SUFFIXES | {".avif", ".ppm", ".pgm", ".apng", ".mpo", ".heic", ".heif"}


class Unread:
    """Stands in a stream for a folder, or a picture, that could not be looked into.

    Args:
        path: The folder; empty for a picture without one.
        error: One line.
    """

    def __init__(self, path: str, error: str) -> None:
        self.path, self.error = path, error


class Sources:
    """Pictures from a list or any iterable; folders in it stand for all pictures below them.

    A folder that lies in another one of the list, or comes twice, is walked once.

    Args:
        given: Read as it is needed.
    """

    def __init__(self, given: Iterable[object]) -> None:
        self._given = given
        self.total: int | None = len(given) if hasattr(given, "__len__") else None

    def __iter__(self) -> Iterator[object]:
        seen: set[tuple[int, int]] = set()
        for one in self._given:
            if is_path(one) and is_folder(one):
                self.total = None  # how many lie below it is known when it has been walked
                yield from walk(one, seen)
            else:
                yield one


def is_folder(path: str | os.PathLike) -> bool:
    """Whether a path names a folder; no for what cannot be a path."""
    try:
        return Path(os.fsdecode(path)).expanduser().is_dir()
    except (OSError, RuntimeError, ValueError):  # whoever reads it says what is wrong
        return False


def walk(
    top: str | os.PathLike, seen: set[tuple[int, int]] | None = None
) -> Iterator[str | Unread]:
    """Paths of all pictures below a folder, by their suffix: its own by name, then by subfolder.

    One folder's names are in memory at a time. Hidden entries and macOS' `__MACOSX` are left out.
    Links are followed, but a folder that is reached twice is walked once, and one above `top` not
    at all. What has a picture's suffix and is no readable file is named too, so that it is not
    passed over in silence.

    Args:
        top: The folder; `~` is expanded.
        seen: Folders that were walked, by device and inode, which are left out; more are added.

    Yields:
        Paths that begin as `top` does; for a folder that cannot be read an `Unread`.
    """
    top = Path(os.fsdecode(top)).expanduser()
    seen = set() if seen is None else seen
    above = {_identity(parent) for parent in Path(os.path.realpath(top)).parents}
    waiting = [os.fspath(top)]
    while waiting:
        folder = waiting.pop()
        try:
            if (own := _identity(folder)) in seen or own in above:
                continue
            seen.add(own)
            files, below = _listed(folder)
        except OSError as error:
            yield Unread(folder, f"the folder cannot be read ({error.strerror or error})")
            continue
        yield from files
        waiting += reversed(below)


def _listed(folder: str) -> tuple[list[str], list[str]]:
    """Sorted paths of pictures and of folders in a folder."""
    files, below = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            # os.path answers False for a link to itself, where DirEntry raises.
            if os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir():
                below.append(entry.path)
            elif os.path.splitext(entry.name)[1].lower() in PICTURES:
                files.append(entry.path)
    return sorted(files), sorted(below)


def _identity(folder: str | os.PathLike) -> tuple[int, int]:
    found = os.stat(folder)
    return found.st_dev, found.st_ino
