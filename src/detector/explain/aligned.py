"""Means of maps and of faces after each was laid onto the same landmarks.

The frame is a square with a frontal face in it. Each picture gets the affine transform that takes
its five landmarks nearest to the frame's, in least squares; so shift, size, rotation and any
stretching go, as in `regions`. A map counts as its density, its value over its own mean: 1 is an
even map wherever the face lies and however large it is, and a strong map counts as much as a weak
one.
"""

import cv2
import numpy as np

from detector.explain.panel import density
from detector.explain.regions import REGIONS, Placed, regions
from detector.explain.scores import region_areas, region_shares

SIDE = 224  # of the frame, pixels
# Shares of the side. Proportions of a frontal face: the template of ArcFace (Deng et al., CVPR
# 2019), made symmetric, and smaller, so that the hair and some background are in the frame.
LANDMARKS = np.array([[0.39, 0.42], [0.61, 0.42], [0.5, 0.547], [0.409, 0.673], [0.591, 0.673]])
COVERED = 0.5  # share of the faces that must reach a point of the frame for a mean there


def frame_regions() -> np.ndarray:
    """Regions of the frame's own face, int8 (SIDE, SIDE), places in `REGIONS`."""
    return regions(LANDMARKS * SIDE, SIDE)


def to_frame(landmarks: np.ndarray) -> np.ndarray:
    """The affine transform from a network's input to the frame.

    Args:
        landmarks: (5, 2) x and y in pixels of the input, not on a line.

    Returns:
        float64 (2, 3), to be multiplied with (x, y, 1). Pixels' centres are at .5.
    """
    points = np.c_[np.asarray(landmarks, np.float64), np.ones(5)]
    return np.linalg.lstsq(points, LANDMARKS * SIDE, rcond=None)[0].T


def lay(picture: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """A picture or a map in the frame.

    Args:
        picture: float32 (S, S) or (S, S, C).
        transform: As `to_frame` gives it.

    Returns:
        float32 (SIDE, SIDE) or (SIDE, SIDE, C), bilinear; beyond the picture its nearest pixel.
    """
    # OpenCV counts from the centre of the first pixel.
    matrix = transform @ np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]]) - [[0, 0, 0.5]]
    return cv2.warpAffine(
        picture, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def reached(transform: np.ndarray, size: int) -> np.ndarray:
    """bool (SIDE, SIDE): whether a point of the frame lies in a picture of side `size`."""
    inverse = cv2.invertAffineTransform(transform)
    centres = np.arange(SIDE) + 0.5
    x, y = np.meshgrid(centres, centres)
    back = inverse @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
    return ((back >= 0) & (back <= size)).all(0).reshape(SIDE, SIDE)


class Aligned:
    """Running means over the pictures of one class; memory does not grow with their number.

    Attributes:
        n: Pictures in the means: with a face and a map that is not empty.
        no_face: Pictures without a face.
        empty: Pictures with a face and an empty map.
        shares: Rows of `scores.region_shares`, one for each picture with a face; NaN of empty maps.
        areas: Rows of `scores.region_areas`, likewise.
        groups: Group of each of these pictures.
    """

    def __init__(self) -> None:
        self.n = self.no_face = self.empty = 0
        self.shares: list[np.ndarray] = []
        self.areas: list[np.ndarray] = []
        self.groups: list[str] = []
        self._maps = np.zeros((SIDE, SIDE))
        self._faces = np.zeros((SIDE, SIDE, 3))
        self._reached = np.zeros((SIDE, SIDE))

    def add(self, image: np.ndarray, cam: np.ndarray, placed: Placed | None, group: str) -> None:
        """Takes in one picture.

        Args:
            image: uint8 (S, S, 3), as the network sees it.
            cam: float32 (S, S), at least 0, on any scale.
            placed: Its face, in pixels of the input; None for none.
            group: Of the picture.
        """
        if placed is None:
            self.no_face += 1
            return
        labels = placed.labels[None]
        self.shares.append(region_shares(cam[None], labels)[0])
        self.areas.append(region_areas(labels)[0])
        self.groups.append(group)
        if cam.max() <= 0:
            self.empty += 1
            return
        transform = to_frame(placed.landmarks)
        inside = reached(transform, len(cam))
        self._maps += lay(density(cam), transform) * inside
        self._faces += lay(image.astype(np.float32), transform) * inside[..., None]
        self._reached += inside
        self.n += 1

    def counts(self) -> dict[str, int]:
        """`images` taken in, of these `no_face`, `empty`, and the others, `mapped`."""
        return {
            "images": self.n + self.no_face + self.empty,
            "no_face": self.no_face,
            "empty": self.empty,
            "mapped": self.n,
        }

    def density(self) -> np.ndarray:
        """Mean map, float64 (SIDE, SIDE), 1 for even maps; NaN where too few faces reach."""
        return self._mean(self._maps, self._reached)

    def face(self) -> np.ndarray:
        """Mean picture, uint8 (SIDE, SIDE, 3) of the same pictures; white where too few reach."""
        mean = self._mean(self._faces, self._reached[..., None])
        return np.nan_to_num(mean, nan=255).round().clip(0, 255).astype(np.uint8)

    def table(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Shares and areas, float64 (M, R), and groups, (M,), of the M pictures with a face."""
        shape = (len(self.groups), len(REGIONS))
        return (
            np.reshape(self.shares, shape),
            np.reshape(self.areas, shape),
            np.array(self.groups, dtype=str),
        )

    def _mean(self, total: np.ndarray, count: np.ndarray) -> np.ndarray:
        enough = (count >= max(1, COVERED * self.n)) & np.ones_like(total, bool)
        return np.divide(total, count, out=np.full(total.shape, np.nan), where=enough)
