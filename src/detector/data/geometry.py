"""Where a point or a mask of a decoded picture lies in the network's input.

Follows `data.preprocess.Preprocess.resize` and `data.normalizer`. Coordinates are of the plane, not
indices: the first pixel reaches from 0 to 1, and its centre is at .5.

Where a network's pictures are cropped, these are the places in a piece: carry points and masks into
it first, by `Cut.points` and `Cut.mask`, and give `preprocess.uncropped`.
"""

import numpy as np
from PIL import Image

from detector.data.preprocess import Preprocess
from detector.errors import UserError


def window(width: int, height: int, preprocess: Preprocess) -> tuple[float, float, float, float]:
    """The part of a picture that becomes the network's input.

    Args:
        width, height: Of the decoded picture, pixels.
        preprocess: The network's.

    Returns:
        Left, top, right and bottom, in pixels of the picture; beyond it where it is padded.

    Raises:
        UserError: The picture has no pixels.
    """
    assert preprocess.crop is None, "carry it into the piece, and give preprocess.uncropped"
    if min(width, height) < 1:
        raise UserError(f"a picture of {width} x {height} pixels has no place in the input")
    if preprocess.normalizer is not None:  # cuts at whole pixels; what it gives is square
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        return left, top, left + side, top + side
    if preprocess.fit == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        return left, top, left + side, top + side
    if preprocess.fit == "pad":
        side = max(width, height)
        left, top = -((side - width) // 2), -((side - height) // 2)
        return left, top, left + side, top + side
    return 0, 0, width, height


def to_input(points: np.ndarray, width: int, height: int, preprocess: Preprocess) -> np.ndarray:
    """Carries points of a picture into the network's input.

    Args:
        points: (..., 2) x and y in pixels of the decoded picture.
        width, height: Of that picture.
        preprocess: The network's, of input side S.

    Returns:
        float64 (..., 2) x and y in pixels of the input; outside [0, S] where cut off.

    Raises:
        UserError: The picture has no pixels.
    """
    left, top, right, bottom = window(width, height, preprocess)
    points = np.asarray(points, np.float64)
    return (points - (left, top)) * (preprocess.size / np.array([right - left, bottom - top]))


def mask_to_input(mask: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    """Carries a mask of a picture's pixels into the network's input.

    Args:
        mask: bool (H, W).
        preprocess: The network's, of input side S.

    Returns:
        bool (S, S), True where at least half of a pixel's area is inside; padding is outside.
    """
    height, width = mask.shape
    left, top, right, bottom = window(width, height, preprocess)
    values = mask.astype(np.float32)
    if right > width or bottom > height:  # padded
        canvas = np.zeros((int(bottom - top), int(right - left)), np.float32)
        canvas[-int(top) : -int(top) + height, -int(left) : -int(left) + width] = values
        values, (right, bottom) = canvas, (right - left, bottom - top)
        left = top = 0
    shrunk = Image.fromarray(values).resize(
        (preprocess.size, preprocess.size), Image.Resampling.BOX, (left, top, right, bottom)
    )
    return np.asarray(shrunk) >= 0.5 - 1e-6
