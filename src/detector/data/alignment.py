"""Lays one photograph over another and measures how much of it is the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from detector.data.nearcopies import Description

MATCH_BITS = 64  # of 256: descriptors further apart than this are not matched
CLOSE_BITS = 40  # matches of the same pixels; look-alikes of two faces are mostly further apart
REPROJECTION_PX = 3.0  # at the working size
MIN_INLIERS = 8
SCALES = 0.33, 3.0
_BLOCKS = 8  # along the longer side of the thumbnail
_MIN_BLOCKS = 6
_TEXTURE = 4.0  # grey levels; a block with less says nothing
_SAME = 0.9  # correlation of two blocks that show the same thing
_FINE_PX = 2.0  # sigma at the thumbnail's size; what is coarser is alike in all faces


@dataclass(frozen=True, slots=True)
class Overlay:
    """What two images have in common once the one is laid over the other.

    `inliers` counts matched points that one similarity transform explains, `close` those of
    them with nearly equal descriptors, `distance` is the median of their descriptor distances
    (bits). `agreement` is the share of textured blocks of the overlap whose grey values
    correlate by .9, 0 where fewer than 6 blocks can be compared; `detail` the correlation of
    fine structure within the convex hull of the inliers. Both are measured with the first laid
    over the second and the other way round, and the better one counts, as resampling blurs.
    `scale` and `degrees` tell the transform.
    """

    inliers: int
    close: int
    distance: float
    agreement: float
    detail: float
    scale: float
    degrees: float


def overlay(a: Description, b: Description, work: int) -> Overlay | None:
    """Align two descriptions by their local features.

    Mutual nearest neighbours by Hamming distance, then a similarity transform by RANSAC
    (Fischler and Bolles 1981; OpenCV seeds it alike on each call, so results repeat).

    Args:
        a: one image.
        b: the image that the transform leads to.
        work: longer side, in pixels, of the image that the points refer to.

    Returns:
        None when no plausible transform is found.
    """
    if min(len(a.points), len(b.points)) < MIN_INLIERS:
        return None
    matcher = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True)
    matches = [m for m in matcher.match(a.descriptors, b.descriptors) if m.distance <= MATCH_BITS]
    if len(matches) < MIN_INLIERS:
        return None
    source = a.points[[m.queryIdx for m in matches]]
    target = b.points[[m.trainIdx for m in matches]]
    distance = np.array([m.distance for m in matches])
    transform, mask = cv2.estimateAffinePartial2D(
        source, target, method=cv2.RANSAC, ransacReprojThreshold=REPROJECTION_PX, maxIters=1000
    )
    if transform is None or mask.sum() < MIN_INLIERS:
        return None
    scale = float(np.hypot(*transform[:, 0]))
    if not SCALES[0] <= scale <= SCALES[1]:
        return None
    fits = mask.ravel() > 0
    ratio = max(b.thumb.shape) / work
    # From pixels of the working size to those of the thumbnail, whose centres lie elsewhere.
    centre = np.full(2, 0.5 - ratio / 2)
    transform[:, 2] = transform[:, 2] * ratio + (transform[:, :2] - np.eye(2)) @ centre
    back = cv2.invertAffineTransform(transform)
    laid = (
        (*_lay(a.thumb, b.thumb, transform), target[fits] * ratio),
        (*_lay(b.thumb, a.thumb, back), source[fits] * ratio),
    )
    return Overlay(
        inliers=int(fits.sum()),
        close=int((distance[fits] <= CLOSE_BITS).sum()),
        distance=float(np.median(distance[fits])),
        agreement=max(_agreement(*pixels) for *pixels, _ in laid),
        detail=max(_detail(*pixels, points) for *pixels, points in laid),
        scale=scale,
        degrees=float(np.degrees(np.arctan2(transform[1, 0], transform[0, 0]))),
    )


def agreement_in_place(a: np.ndarray, b: np.ndarray) -> float:
    """Measure the agreement of two thumbnails that lie almost on one another already.

    Aligned by enhanced correlation (Evangelidis and Psarakis, PAMI 2008), affine, from the
    identity. For pictures with too few local features.

    Args:
        a: (height, width) uint8 grey.
        b: (height, width) uint8 grey, of any size.

    Returns:
        Share of textured blocks that correlate by .9; 0 where no alignment is found.
    """
    if a.shape != b.shape:
        a = cv2.resize(a, b.shape[::-1], interpolation=cv2.INTER_AREA)
    if min(a.std(), b.std()) < 1:
        return 0.0
    start = np.eye(2, 3, dtype=np.float32)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-4)
    try:
        _, back = cv2.findTransformECC(b, a, start, cv2.MOTION_AFFINE, stop, None, 5)
    except cv2.error:  # does not converge: the images have nothing in common
        return 0.0
    return _agreement(*_lay(a, b, cv2.invertAffineTransform(back)))


def _lay(a: np.ndarray, b: np.ndarray, transform: np.ndarray) -> tuple[np.ndarray, ...]:
    """Warp a onto b: both as float32, and where a covers b. The sharper one is blurred."""
    scale = np.sqrt(abs(np.linalg.det(transform[:, :2])))
    if scale < 0.8:
        a = cv2.GaussianBlur(a, (0, 0), 0.4 / scale)
    elif scale > 1.25:
        b = cv2.GaussianBlur(b, (0, 0), 0.4 * scale)
    size = b.shape[::-1]
    moved = cv2.warpAffine(a, transform, size, flags=cv2.INTER_LINEAR)
    seen = cv2.warpAffine(np.full(a.shape, 255, np.uint8), transform, size, flags=cv2.INTER_NEAREST)
    return moved.astype(np.float32), b.astype(np.float32), seen > 0


def _agreement(moved: np.ndarray, fixed: np.ndarray, seen: np.ndarray) -> float:
    side = max(fixed.shape) // _BLOCKS
    moved, fixed, seen = (_blocks(x, side) for x in (moved, fixed, seen))
    moved = moved - moved.mean(1, keepdims=True)
    fixed = fixed - fixed.mean(1, keepdims=True)
    spread = moved.std(1), fixed.std(1)
    usable = seen.all(1) & (np.maximum(*spread) > _TEXTURE)
    if usable.sum() < _MIN_BLOCKS:
        return 0.0
    correlation = (moved * fixed).mean(1) / np.maximum(spread[0] * spread[1], 1e-6)
    return float((correlation[usable] > _SAME).mean())


def _blocks(x: np.ndarray, side: int) -> np.ndarray:
    height, width = x.shape[0] // side * side, x.shape[1] // side * side
    x = x[:height, :width].reshape(height // side, side, width // side, side)
    return x.swapaxes(1, 2).reshape(-1, side * side)


def _detail(moved: np.ndarray, fixed: np.ndarray, seen: np.ndarray, points: np.ndarray) -> float:
    hull = cv2.convexHull(points.astype(np.float32)).round().astype(np.int32)
    inside = cv2.fillConvexPoly(np.zeros(fixed.shape, np.uint8), hull, 1)
    inside = (cv2.dilate(inside, np.ones((3, 3), np.uint8)) > 0) & seen
    fine = [(x - cv2.GaussianBlur(x, (0, 0), _FINE_PX))[inside] for x in (moved, fixed)]
    if inside.sum() < 16 or min(f.std() for f in fine) < 0.1:
        return 0.0
    return float(np.corrcoef(*fine)[0, 1])
