"""What is known of where a picture was edited: masks of pixels, and names of parts.

Masks come from the set itself (`synthetic` writes them), or from the photograph that an edit was
made of, where the index joined the two: see `edited`. Names of parts are the set's own columns,
such as ciplab's; `regions` tells where they lie.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from detector.data.decode import decode
from detector.data.index import Index
from detector.data.joint import JointIndex
from detector.data.preprocess import Preprocess
from detector.data.sources import FACE_PARTS
from detector.data.synthetic.table import mask_name
from detector.errors import UserError
from detector.explain.edited import edited_mask
from detector.explain.geometry import mask_to_input
from detector.explain.regions import regions_of_image

UNKNOWN = -1


@dataclass(frozen=True)
class Truth:
    """Pictures of a set, and what was edited in them.

    Args:
        rows: int64 (N), of the index.
        images: uint8 (N, S, S, 3), as the network sees them.
        labels: int8 (N, S, S), places in `REGIONS`; all 0 where no face was found.
        faces: bool (N), whether one was.
        masks: bool (N, S, S), what was edited; empty where that is not known to the pixel.
        bits: int8 (N, P), for each of `FACE_PARTS` whether it was edited, `UNKNOWN` likewise.
        lost: Names of files that could not be read any more, and why.
        origin: By what the masks are known, with the number of each.
    """

    rows: np.ndarray
    images: np.ndarray
    labels: np.ndarray
    faces: np.ndarray
    masks: np.ndarray
    bits: np.ndarray
    lost: dict[str, str]
    origin: dict[str, int]


def look_at(
    index: Index,
    rows: Sequence[int],
    preprocess: Preprocess,
    progress: Callable[[int, int], None] | None = None,
) -> Truth:
    """Decode pictures, find their faces, and gather what is known of their edits.

    Args:
        index: The set.
        rows: Which pictures.
        preprocess: The network's, of input side S.
        progress: Called with pictures done and pictures in all.

    Raises:
        UserError: None of the pictures can be read.
    """
    photographs = _photographs(index)
    kept, lost, origin = [], {}, defaultdict(int)
    for done, row in enumerate(map(int, rows), 1):
        try:
            whole = _decoded(index.path(row), preprocess.max_pixels)
        except (OSError, UserError) as error:
            lost[index["name"][row]] = str(error)
            continue
        cut = preprocess.cut(whole)
        placed = regions_of_image(whole, preprocess)
        empty = np.zeros((preprocess.size, preprocess.size), np.int8)
        mask, source = _mask(index, row, whole, photographs.get(row, ()), preprocess.max_pixels)
        if mask is not None:
            mask = mask_to_input(cut.mask(mask), preprocess.uncropped)
        if mask is not None and mask.any():
            origin[source] += 1
        kept.append(
            (row, preprocess.resize_cut(cut.image), empty if placed is None else placed.labels,
             placed is not None, empty > 0 if mask is None else mask)
        )  # fmt: skip
        if progress:
            progress(done, len(rows))
    if not kept:
        reason = next(iter(lost.values()), "there is none")
        raise UserError(f"no picture of {index.name} could be read: {reason}")
    columns = [np.array(column) for column in zip(*kept, strict=True)]
    return Truth(*columns, part_bits(index, columns[0]), lost, dict(origin))


def known_to_the_pixel(index: Index) -> set[int]:
    """Rows of fakes that may get a mask: the set has drawn one, or the photograph is known."""
    fakes = np.flatnonzero(index.labels == 0).tolist()
    drawn = {row for row in fakes if _drawn(index, row).is_file()}
    return drawn | set(_photographs(index))


def part_bits(index: Index, rows: np.ndarray) -> np.ndarray:
    """int8 (N, P): `Truth.bits`, for fakes; nothing is asked of real pictures."""
    if any(part not in index.columns for part in FACE_PARTS):
        return np.full((len(rows), len(FACE_PARTS)), UNKNOWN, np.int8)
    bits = np.array([[index[part][row] for part in FACE_PARTS] for row in rows], np.int8)
    # A fake with no part named is one of which nothing is known, and a real one has no edit.
    bits[(index.labels[rows] != 0) | (bits < 0).any(1) | ~(bits > 0).any(1)] = UNKNOWN
    return bits


def _drawn(index: Index, row: int) -> Path:
    """Where the set's own mask would lie; of several sets, in the folder of the image's own."""
    if isinstance(index, JointIndex):
        index, row = index.members[index.member[row]], int(index.row[row])
    return Path(index.root) / mask_name(index["name"][row])


def _photographs(index: Index) -> dict[int, list[int]]:
    """For each fake the real pictures that the index holds to be the same photograph."""
    found = defaultdict(list)
    labels = index.labels
    for a, b, kind, *_ in index.pairs:
        if kind == "copy" and labels[a] != labels[b]:
            fake, real = (a, b) if labels[a] == 0 else (b, a)
            found[fake].append(real)
    return found


def _mask(
    index: Index, row: int, whole: np.ndarray, photographs: Sequence[int], max_pixels: int
) -> tuple[np.ndarray | None, str]:
    """Mask of the decoded picture, and by what it is known; None and '' for none."""
    if index.labels[row] != 0:
        return None, ""
    drawn = _drawn(index, row)
    if drawn.is_file():
        edited = _palette(drawn, whole.shape[1::-1])
        if edited is not None:
            return edited > 0, "the set's own masks"
    for other in photographs:
        try:
            found = edited_mask(_decoded(index.path(other), max_pixels), whole)
        except (OSError, UserError):
            continue
        if found is not None and found.any():
            return found, "difference from the photograph"
    return None, ""


def _palette(path: Path, size: tuple[int, int]) -> np.ndarray | None:
    """Values of a mask of this width and height; None of anything else."""
    try:
        with Image.open(path) as file:
            return np.asarray(file) if file.size == size and file.mode in "LP" else None
    except Exception:  # Pillow's readers raise errors of many kinds on damaged files
        return None


def _decoded(path: Path, max_pixels: int) -> np.ndarray:
    return decode(path.read_bytes(), max_pixels=max_pixels)
