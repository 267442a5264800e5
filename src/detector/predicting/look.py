"""From one picture to the pieces of it that a network sees; safe in several threads."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from detector.data.preprocess import Preprocess
from detector.errors import UserError
from detector.predicting.pixels import name_of, pixels_of
from detector.predicting.sources import Unread

if TYPE_CHECKING:
    from detector.data.crop import Cut

MOST_FACES = 16  # of one picture that get an answer, so that a crowd cannot fill the memory
NO_FACE = (
    "no face was found, so the whole picture was looked at; this network was trained on faces that"
    " were cut out"
)


@dataclass(frozen=True, slots=True)
class Piece:
    """What the network sees of a picture.

    Args:
        image: uint8 (S, S, 3).
        face: 1 for the largest face, 2 for the next; 0 for the whole picture.
        box: Of the face, in pixels of the picture.
        labels: int8 (S, S), the region at each pixel; None where none was asked for, or none found.
    """

    image: np.ndarray
    face: int = 0
    box: tuple[float, float, float, float] | None = None
    labels: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Looked:
    """A picture that was read, or why it was not.

    Args:
        path: As it was given, empty where it was not given by a path.
        pieces: At least one, unless there is an error.
        warnings: One sentence each.
        error: One line; empty where it was read.
    """

    path: str
    pieces: tuple[Piece, ...] = ()
    warnings: tuple[str, ...] = ()
    error: str = ""


def look(source: object, preprocess: Preprocess, regions: bool) -> Looked:
    """Reads a picture and makes the network's input of it.

    Args:
        source: As `pixels_of` takes it.
        preprocess: The network's.
        regions: Also find the regions of the face.

    Raises:
        UserError: It cannot be read, or whatever else went wrong with it.
        ImportError: A package is missing, which is no picture's fault.
    """
    try:
        return _look(source, preprocess, regions)
    except (UserError, ImportError):
        raise
    except Exception as error:  # OpenCV and Pillow let out many kinds; other pictures go on
        told, kind = " ".join(str(error).split())[:200], type(error).__name__
        raise UserError(f"{kind}: {told}" if told else kind) from error


def _look(source: object, preprocess: Preprocess, regions: bool) -> Looked:
    image = pixels_of(source, preprocess.max_pixels)
    path = name_of(source)
    if preprocess.crop is None:
        labels = _labels(lambda of: of.regions_of_image(image, preprocess)) if regions else None
        return Looked(path, (Piece(preprocess.resize(image), labels=labels),))
    cuts = preprocess.crop.cuts(image, MOST_FACES)
    if not cuts:
        return Looked(path, (Piece(preprocess.resize_cut(image)),), (NO_FACE,))
    pieces = tuple(_of_face(number, cut, preprocess, regions) for number, cut in enumerate(cuts, 1))
    if cuts.found == 1:
        return Looked(path, pieces)
    told = f"{cuts.found} faces: each has an answer, and the picture that of the highest score"
    told += " that was not refused"
    if cuts.found > MOST_FACES:
        told = f"{cuts.found} faces: the {MOST_FACES} largest were looked at"
    return Looked(path, pieces, (told,))


def hold(source: object, max_pixels: int) -> object:
    """What may wait to be looked at: a path, or pixels of its own.

    Whoever hands pictures out one by one may close each, or fill its memory with the next, when
    it is asked for the next, which in a stream is before this one was looked at.

    Args:
        source: As for `look_or_tell`.
        max_pixels: As for `pixels_of`.

    Returns:
        A path, bytes, a uint8 array (H, W, 3), or an `Unread`.
    """
    if isinstance(source, (bytearray, memoryview)):
        return bytes(source)
    if not isinstance(source, (Image.Image, np.ndarray)):
        return source
    try:
        pixels = pixels_of(source, max_pixels)
    except UserError as error:
        return Unread("", " ".join(str(error).split()))
    return pixels.copy() if isinstance(source, np.ndarray) else pixels


def weigh(held: object) -> int:
    """Bytes of what waits."""
    if isinstance(held, np.ndarray):
        return held.nbytes
    return len(held) if isinstance(held, bytes) else 0


def look_or_tell(source: object, preprocess: Preprocess, regions: bool) -> Looked:
    """As `look`, but with what is wrong of a picture told in `error`."""
    if isinstance(source, Unread):
        return Looked(source.path, error=source.error)
    try:
        return look(source, preprocess, regions)
    except UserError as error:
        return Looked(name_of(source), error=" ".join(str(error).split()))


def _of_face(number: int, cut: "Cut", preprocess: Preprocess, regions: bool) -> Piece:
    labels = _labels(lambda of: of.regions_of_cut(cut, preprocess)) if regions else None
    box = tuple(float(value) for value in cut.box)
    return Piece(preprocess.resize_cut(cut.image), number, box, labels)


def _labels(find: Callable[[object], object]) -> np.ndarray | None:
    from detector.data import regions  # OpenCV, which most predictions do without

    placed = find(regions)
    return placed and placed.labels
