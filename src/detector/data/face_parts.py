"""What is known of which parts of a face were edited: the labels of the part head.

A bit of a part is 1 where it was edited, 0 where not, -1 where nobody knows. Known are real images
(nothing was edited), fakes whose set names their parts, and blends of parts. Unknown are whole
generated faces and blends of a whole face: their parts were not edited one by one, and bits that
are all 1 would only say once more that the picture is fake.
"""

import logging

import numpy as np

from detector.data.index import Index
from detector.data.listing import PAIR
from detector.data.load import FaceSet
from detector.data.sources import FACE_PARTS
from detector.errors import UserError

log = logging.getLogger(__name__)

KNOWN_OF = (
    "data=ciplab, data=synthetic and data=blended with masks of parts have such fakes, and"
    " data.fakes=self_blended with blended.masks=parts makes them"
)


def part_bits(index: Index) -> np.ndarray:
    """Bits of each image of a set, or of several put together.

    Args:
        index: Of classes fake and real.

    Returns:
        int8 (N, P), in the order of `FACE_PARTS`: 1 edited, 0 not, -1 unknown.
    """
    unknown = [-1] * len(index)
    columns = [index.columns.get(part, unknown) for part in FACE_PARTS]
    bits = np.array(columns, np.int8).T.reshape(len(index), len(FACE_PARTS))
    # As in `Blending.drawn`, of blends that were written into a folder.
    blends = np.array(index.columns.get("region", [""] * len(index)), dtype=object)
    bits[(blends == "face") | ((blends == "parts") & ~bits.any(1))] = -1
    bits[index.labels == 1] = 0
    return bits


def training_bits(faces: FaceSet, *, fakes: str, masks: str) -> np.ndarray:
    """`part_bits` of a set that a part head can be trained on.

    Args:
        faces: The set and its split.
        fakes: Of the train part, one of `blended.training.FAKES`.
        masks: Of blends, one of `blended.masks.KINDS`.

    Raises:
        UserError: The classes are not fake and real, or no fake of the train part says which of
            its parts were edited.
    """
    index = faces.index
    if tuple(index.class_names) != PAIR:
        raise UserError(
            "model.parts=true asks which parts of fakes were edited, but the classes of"
            f" {index.name} are {' and '.join(index.class_names)}: model.parts=false"
        )
    bits = part_bits(index)
    own = fakes != "self_blended"
    read = np.flatnonzero((faces.parts == "train") & (index.labels == 0) & own)
    known = read[(bits[read] >= 0).any(1)]
    if not len(known) and (fakes == "set" or masks == "face"):
        whose = f"of the train part of {_named(index)}" if own else f"of data.fakes={fakes}"
        blends = " and blended.masks=face exchanges whole faces" if fakes != "set" else ""
        raise UserError(
            f"model.parts=true: no fake {whose} says which of its parts were edited{blends};"
            f" {KNOWN_OF}"
        )
    if len(known) < len(read):
        log.info(
            "parts: edits are known of %d of %d fakes of the set's train part; of the others the"
            " part head learns nothing", len(known), len(read),
        )  # fmt: skip
    return bits


def _named(index: Index) -> str:
    names = index.columns.get("set")
    return ", ".join(dict.fromkeys(names)) if names else index.name


def mirrored(bits: np.ndarray) -> np.ndarray:
    """Bits (..., P) of the mirror images: left and right are the viewer's."""
    swapped = {"eye_left": "eye_right", "eye_right": "eye_left"}
    return bits[..., [FACE_PARTS.index(swapped.get(part, part)) for part in FACE_PARTS]]
