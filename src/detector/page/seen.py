"""Whether a network sees the face that was found: else what it says is about something else."""

from collections.abc import Sequence

from detector.data.faces import Found
from detector.data.preprocess import Preprocess
from detector.page import words
from detector.page.words import Said
from detector.predictor import Prediction

INSIDE = 0.8  # of the face's box, as far as the picture has it
SHARE = 0.2  # of the side of the network's input; in sets of faces they take up far more
PIXELS = 32  # of the picture itself, or SHARE of a small input: of less it sees what scaling made
Box = tuple[float, float, float, float]


def withheld(
    one: Prediction, faces: Sequence[Found], shape: tuple[int, ...], preprocess: Preprocess
) -> Said | None:
    """Why there is no verdict, whatever the score is; None where there may be one.

    Args:
        one: The answer to a face that was cut out, or to the whole picture.
        faces: That were found in the picture.
        shape: Of the picture, height first.
        preprocess: Of the network.
    """
    if one.box is None and not faces:
        return words.no_verdict(
            "No face was found in this picture. The network was trained on faces, and what it says"
            " of anything else means nothing."
        )
    if one.box is None and len(faces) > 1:
        return words.no_verdict(
            f"{len(faces)} faces were found, and this network judges a picture as one face. Cut out"
            " one face at a time, or choose a network that was trained with data.crop=face."
        )
    box = faces[0].box if one.box is None else one.box
    across, least = min(box[2:]), min(PIXELS, SHARE * preprocess.size)
    if across < least:
        return words.no_verdict(
            f"The face is {across:.0f} pixels across. Below {least:.0f} there is too little to"
            " judge: take a larger copy of the picture."
        )
    if one.box is not None:  # the network has seen this face and little else
        return None
    inside, share = seen(box, shape, preprocess.fit)
    if inside < INSIDE:
        return words.no_verdict(
            f"This network sees the middle of a picture, cut square, and {inside:.0%} of this face"
            " lies there. Crop the picture to the face."
        )
    if share < SHARE:
        return words.no_verdict(
            f"The face takes up {share:.0%} of the side of what this network sees, which is mostly"
            " something else. Crop the picture to the face."
        )
    return None


def seen(box: Box, shape: tuple[int, ...], fit: str) -> tuple[float, float]:
    """How much of a face is inside the network's input, and how large it is there.

    Args:
        box: Of the face, pixels of the picture; it may reach beyond it.
        shape: Of the picture, height first.
        fit: As `Preprocess.fit`.

    Returns:
        Share of the box's area within the picture, and its longer side by the input's.
    """
    height, width = shape[:2]
    left, top = max(0.0, box[0]), max(0.0, box[1])
    right, bottom = min(float(width), box[0] + box[2]), min(float(height), box[1] + box[3])
    across, down = max(0.0, right - left), max(0.0, bottom - top)
    if fit == "squash":
        return 1.0, max(across / width, down / height)
    if fit == "pad":
        return 1.0, max(across, down) / max(height, width)
    side = min(height, width)
    x, y = (width - side) / 2, (height - side) / 2
    kept_across = max(0.0, min(right, x + side) - max(left, x))
    kept_down = max(0.0, min(bottom, y + side) - max(top, y))
    area = across * down
    return (kept_across * kept_down / area if area else 0.0), max(kept_across, kept_down) / side
