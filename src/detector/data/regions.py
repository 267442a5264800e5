"""The regions of a face, from YuNet's five landmarks.

All shapes are laid out in a frame of the face: the origin between the eyes, u along the line of
the eyes in units of their distance, v from there to the middle of the mouth's corners in units of
that distance. So they follow shift, scale, rotation and any stretching of the picture. The nose
follows its tip, the mouth its corners. The frame knows nothing of the outline of a head: forehead,
cheeks and chin are what proportions of an average face make of them, and hair or a beard in front
of them counts as theirs.

experiments/2026-11-21-region-placement measures how well the four parts fit what was edited.
"""

from dataclasses import dataclass

import numpy as np

from detector.data.crop import Cut
from detector.data.decode import decode
from detector.data.faces import find_faces
from detector.data.geometry import to_input
from detector.data.preprocess import Preprocess
from detector.errors import UserError

# The place of a name is its value in a label map. 1 to 4 are `data.sources.FACE_PARTS`; left and
# right are the viewer's.
REGIONS = (
    "rest", "eye_left", "eye_right", "nose", "mouth", "brow_left", "brow_right",
    "cheek_left", "cheek_right", "forehead", "chin",
)  # fmt: skip

EYE = (0.41, 0.28)  # half axes
BROW = (0.42, 0.18)
BROW_AT = (0.06, -0.35)  # from the eye, outwards and down
NOSE_ROOT, NOSE_BASE = -0.12, 0.20  # v; the base is counted from the tip
NOSE = (0.15, 0.39)  # half widths at the root and at the tip
MOUTH = (0.20, 0.31)  # half axes; the first is added to half the distance of the corners
MOUTH_DOWN = 0.03
FACE = (1.12, 1.45)  # half axes of the outline, centred at v = FACE_AT
FACE_AT = 0.36
FACE_BACK = 0.5  # of the nose's way to a side, by which a turned head lies on the other
BROW_LINE, CHIN_LINE = -0.2, 1.25
FLATTEST = 0.05  # of the frame's area to the square of its longer side


@dataclass(frozen=True, slots=True)
class Placed:
    """The regions of one face.

    Args:
        labels: int8 (S, S), the place in `REGIONS` of each pixel of the network's input.
        landmarks: float64 (5, 2), x and y in pixels of the input: the viewer's left eye, right
            eye, nose tip, left and right corner of the mouth.
        score: How sure YuNet is of the face, in [0, 1].
    """

    labels: np.ndarray
    landmarks: np.ndarray
    score: float


def regions(landmarks: np.ndarray, size: int) -> np.ndarray:
    """Which region of the face each pixel belongs to.

    Args:
        landmarks: (5, 2) x and y in pixels of the input, where the first pixel reaches from 0 to
            1, in the order of `Placed`.
        size: Side S of the input, pixels.

    Returns:
        int8 (S, S), places in `REGIONS`; one region a pixel, 0 for the rest.

    Raises:
        UserError: There are not five finite landmarks, or they lie so nearly on a line that they
            span no face.
    """
    points = np.asarray(landmarks, np.float64)
    frame, origin = axes(points), points[:2].mean(0)
    inverse = np.linalg.inv(frame)
    centres = np.arange(size) + 0.5
    x, y = centres[None, :] - origin[0], centres[:, None] - origin[1]
    u, v = (row[0] * x + row[1] * y for row in inverse)
    return _painted(u, v, (points - origin) @ inverse.T)


def axes(landmarks: np.ndarray) -> np.ndarray:
    """The frame of a face: along the line of the eyes, and from its middle to the mouth's.

    Args:
        landmarks: As `regions` takes them.

    Returns:
        float64 (2, 2), the two axes in pixels, as columns.

    Raises:
        UserError: As `regions`.
    """
    points = np.asarray(landmarks, np.float64)
    if points.shape != (5, 2) or not np.isfinite(points).all():
        raise UserError("give five finite landmarks, x and y each: eyes, nose tip, mouth corners")
    frame = np.stack([points[1] - points[0], points[3:].mean(0) - points[:2].mean(0)], axis=1)
    longest = (frame**2).sum(0).max()
    if longest == 0 or abs(np.linalg.det(frame)) < FLATTEST * longest:
        raise UserError("the landmarks lie on a line: they span no face")
    return frame


def landmarks_in_input(
    image: np.ndarray, preprocess: Preprocess
) -> tuple[np.ndarray, float] | None:
    """Finds the face of a decoded picture: the largest whose nose is inside the input.

    Args:
        image: uint8 RGB (H, W, 3), as decoded, before the crop, the normalizer and resizing.
        preprocess: The network's.

    Returns:
        float64 (5, 2) landmarks in pixels of the input, and YuNet's score; None without a face.
    """
    if preprocess.crop is not None:
        return landmarks_of_cut(preprocess.cut(image), preprocess)
    height, width = image.shape[:2]
    for face in find_faces(image):
        points = to_input(np.array(face.landmarks), width, height, preprocess)
        if ((points[2] >= 0) & (points[2] <= preprocess.size)).all():
            return points, face.score
    return None


def landmarks_of_cut(cut: Cut, preprocess: Preprocess) -> tuple[np.ndarray, float] | None:
    """`landmarks_in_input` of the face that a piece was cut out for; None where it has none."""
    if cut.landmarks is None:
        return None
    height, width = cut.image.shape[:2]
    points = to_input(cut.points(cut.landmarks), width, height, preprocess.uncropped)
    return points, cut.score


def regions_of_image(image: np.ndarray, preprocess: Preprocess) -> Placed | None:
    """Regions of the face of a decoded picture, in pixels of the network's input.

    Args:
        image: uint8 RGB (H, W, 3), as decoded.
        preprocess: The network's.

    Returns:
        None where no face is found, or one that is seen from the side so far that its landmarks
        lie on a line.
    """
    return _placed(landmarks_in_input(image, preprocess), preprocess)


def regions_of_cut(cut: Cut, preprocess: Preprocess) -> Placed | None:
    """`regions_of_image` of the face that a piece was cut out for."""
    return _placed(landmarks_of_cut(cut, preprocess), preprocess)


def _placed(found: tuple[np.ndarray, float] | None, preprocess: Preprocess) -> Placed | None:
    if found is None:
        return None
    try:
        return Placed(regions(found[0], preprocess.size), *found)
    except UserError:
        return None


def regions_of_file(data: bytes, preprocess: Preprocess) -> Placed | None:
    """`regions_of_image` from the bytes of a file.

    Raises:
        DecodeError: The bytes are no readable picture.
    """
    return regions_of_image(decode(data, max_pixels=preprocess.max_pixels), preprocess)


def _painted(u: np.ndarray, v: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Labels from the coordinates (S, S) of the frame and the landmarks in it; later ones win."""
    labels = np.zeros(u.shape, np.int8)

    def paint(name: str, where: np.ndarray) -> None:
        labels[where] = REGIONS.index(name)

    left, right, tip, corner_left, corner_right = points
    outline = _ellipse(u, v, -FACE_BACK * tip[0], FACE_AT, *FACE)
    # Left and right of the ridge: from between the eyes to the tip, then to the mouth.
    down = max(tip[1], 0.05)
    ridge = tip[0] * np.where(v < down, v / down, (1 - v) / max(1 - down, 0.05)).clip(0, 1)
    upper = v < BROW_LINE
    paint("cheek_left", outline & ~upper & (u < ridge))
    paint("cheek_right", outline & ~upper & (u >= ridge))
    paint("forehead", outline & upper)
    paint("chin", outline & (v > CHIN_LINE))
    for name, eye, side in (("brow_left", left, -1), ("brow_right", right, 1)):
        paint(name, _ellipse(u, v, eye[0] + side * BROW_AT[0], eye[1] + BROW_AT[1], *BROW))
    along = (v - NOSE_ROOT) / max(tip[1] - NOSE_ROOT, 0.05)
    half = NOSE[0] + (NOSE[1] - NOSE[0]) * along.clip(0, 1)
    half = half * np.sqrt(1 - ((v - tip[1]) / NOSE_BASE).clip(0, 1) ** 2)  # rounded below the tip
    middle = tip[0] * along.clip(0, 1)
    paint("nose", (along >= 0) & (v < tip[1] + NOSE_BASE) & (np.abs(u - middle) < half))
    breadth = (corner_right[0] - corner_left[0]) / 2
    slope = (corner_right[1] - corner_left[1]) / (2 * breadth) if breadth > 0.05 else 0.0
    wide = max(breadth, 0.05) + MOUTH[0]
    paint("mouth", _ellipse(u, v - slope * u, 0.0, 1 + MOUTH_DOWN, wide, MOUTH[1]))
    for name, eye in (("eye_left", left), ("eye_right", right)):
        paint(name, _ellipse(u, v, *eye, *EYE))
    return labels


def _ellipse(
    u: np.ndarray, v: np.ndarray, at_u: float, at_v: float, half_u: float, half_v: float
) -> np.ndarray:
    return ((u - at_u) / half_u) ** 2 + ((v - at_v) / half_v) ** 2 < 1
