"""Exchange parts of a face: cut, align, match colours, blend.

The regions and their soft edges are laid out on the receiving face alone, and a face that
keeps its parts goes through the same steps with its own picture as the source. So the
outside of the region tells nothing about the class, and neither does its shape.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from detector.data.synthetic.canvas import Canvas, place, step
from detector.data.synthetic.traits import Face

PARTS = ("eye_left", "eye_right", "nose", "mouth")


@dataclass(frozen=True)
class Craft:
    """How well the work is done.

    Args:
        feather: Breadth of the soft edge, units.
        match: Share of the difference in mean colour that is taken away.
        contrast: Share of the difference in contrast that is taken away.
        seam: Share of the difference along the edge that is evened out.
        slip: Standard deviation of the misplacement, units.
    """

    feather: float
    match: float
    contrast: float
    seam: float
    slip: float


def region(c: Canvas, part: str, shape: np.ndarray, feather: float) -> np.ndarray:
    """Where a part is exchanged: float32 (size, size), 1 inside, 0 beyond the soft edge.

    Args:
        c: The receiving face.
        part: One of `PARTS`.
        shape: Four numbers around 1 that vary breadth, height and place.
        feather: Breadth of the soft edge, units.
    """
    cu, cv, ru, rv = _outline(c.face, part)
    cu, cv = cu + 0.03 * (shape[2] - 1), cv + 0.03 * (shape[3] - 1)
    a, b = (c.u - np.float32(cu)) / (ru * shape[0]), (c.v - np.float32(cv)) / (rv * shape[1])
    squared = a * a + b * b
    inside = (1 - np.sqrt(np.sqrt(squared * squared - a * a * b * b))) * min(ru, rv)
    # Nothing is cut beyond the outline of a turned head.
    return (step(inside, 0, feather) * step(c.edge, 0.01, 0.09)).astype(np.float32)


def _outline(face: Face, part: str) -> tuple[float, float, float, float]:
    """Centre and half-axes on the face, units."""
    if part == "nose":
        return 0.0, 0.5 * face.nose_length + 0.06, 0.31, 0.42
    if part == "mouth":
        return 0.0, face.mouth_y + 0.01, face.mouth_width + 0.14, 0.27
    side = -1 if part == "eye_left" else 1
    return side * face.eye_x, -0.02, 0.36, 0.235


def anchors(c: Canvas) -> dict[str, list[complex]]:
    """Two points of the face for each of `PARTS`, by which it is aligned: x + iy, pixels.

    Corners of the eye, root and base of the nose, corners of the mouth.
    """
    f, m = c.face, c.face.mouth_width
    points = [(s * f.eye_x + t * f.eye_width, 0.0) for s in (-1, 1) for t in (-1, 1)]
    points += [(0.0, -0.02), (0.0, f.nose_length), (-m, f.mouth_y), (m, f.mouth_y)]
    seen = [complex(*at) for at in place(f, c.shot, c.size, points)]
    return {part: seen[2 * k : 2 * k + 2] for k, part in enumerate(PARTS)}


def paste(
    image: np.ndarray,
    given: np.ndarray,
    to: list[complex],
    of: list[complex],
    alpha: np.ndarray,
    craft: Craft,
    pixel: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Puts one part of the source into the picture.

    Args:
        image, given: The receiving picture and the giving one, display values, float32
            (size, size, 3); the same one twice gives a face its own part back.
        to, of: The part's anchors in either, as `anchors` gives them.
        alpha: Where, as `region` gives it.
        craft: How well.
        pixel: Size of one pixel, units.
        rng: Of the misplacement.

    Returns:
        The picture, unchanged where alpha is 0.
    """
    rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    turn, grow, right, down = rng.normal(0, (0.012, 0.012, craft.slip, craft.slip))
    if not len(rows):
        return image
    pad = 2
    top, left = max(rows[0] - pad, 0), max(columns[0] - pad, 0)
    box = np.s_[top : rows[-1] + 1 + pad, left : columns[-1] + 1 + pad]
    alpha, here = alpha[box], image[box]
    # The similarity that takes the source's anchors to the target's, read backwards.
    ratio = (of[1] - of[0]) / (to[1] - to[0]) * (1 + grow) * np.exp(1j * turn)
    middle = sum(to) / 2 + complex(right, down) / pixel
    start = sum(of) / 2 + ratio * (complex(left, top) - middle)
    back = np.float32([[ratio.real, -ratio.imag, start.real], [ratio.imag, ratio.real, start.imag]])
    there = cv2.warpAffine(
        given,
        back,
        alpha.shape[::-1],
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    image = image.copy()
    image[box] = here + alpha[..., None] * (_matched(there, here, alpha, craft) - here)
    return image


def _matched(there: np.ndarray, here: np.ndarray, alpha: np.ndarray, craft: Craft) -> np.ndarray:
    """The piece with its colours brought to those of the skin that it comes to lie on."""
    rim = alpha * (1 - alpha) * 4 + np.float32(1e-4) * (alpha > 0)
    weight = rim / rim.sum()
    mean_here = np.einsum("hw,hwc->c", weight, here)
    mean_there = np.einsum("hw,hwc->c", weight, there)
    spread_here = np.sqrt(np.einsum("hw,hwc->c", weight, (here - mean_here) ** 2)) + np.float32(
        0.02
    )
    spread_there = np.sqrt(np.einsum("hw,hwc->c", weight, (there - mean_there) ** 2)) + np.float32(
        0.02
    )
    gain = 1 + craft.contrast * (np.clip(spread_here / spread_there, 0.6, 1.6) - 1)
    piece = (there - mean_there) * gain + mean_there + craft.match * (mean_here - mean_there)
    if craft.seam:
        # What still differs along the edge, spread inwards: a smooth membrane, as in mean-value
        # cloning (Farbman et al., SIGGRAPH 2009), by a normalized convolution.
        window = max(here.shape[:2]) / 4
        differs = cv2.GaussianBlur(rim[..., None] * (here - piece), (0, 0), window)
        total = cv2.GaussianBlur(rim, (0, 0), window)
        piece = piece + craft.seam * differs / np.maximum(total, 1e-6)[..., None]
    return piece.astype(np.float32)
