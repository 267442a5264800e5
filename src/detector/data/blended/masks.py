"""Where a copy is blended in: the face or parts of it, deformed, with a soft edge.

Lengths are in units of the face: the square root of the area that the line of the eyes and the
line from there to the mouth span, near the distance of the eyes. So masks look alike at each size
of picture and of face.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from detector.data.regions import REGIONS, axes, regions
from detector.data.sources import FACE_PARTS

KINDS = ("face", "parts", "mixed")
NO_FOREHEAD = 0.25  # of the masks of a whole face
RATIOS = (0.25, 0.5, 0.75, 1, 1, 1)  # of the copy in the middle of the mask
DEFORM = 0.12  # units: how far a point of the outline moves at most, in x and in y
CELL = 0.5  # units between two points that move independently
# Units: radii of the blur whose inside is kept, which takes away from the outline, and of the blur
# that makes the edge soft, which adds to it. A part is small: much taken away leaves nothing of it.
RADII = {"face": ((0.05, 0.25), (0.05, 0.25)), "parts": ((0.0, 0.06), (0.05, 0.18))}
# Units and pixels by which a mask can reach beyond the hulls that it is made of.
MARGIN, MARGIN_PX = DEFORM + max(soft[1] for _, soft in RADII.values()), 2
SMALLEST = 4.0  # pixels of a unit: a smaller face has no parts to speak of
HALF = 0.5


@dataclass(frozen=True, slots=True)
class Mask:
    """Where and how much.

    Args:
        alpha: float32 (S, S), share of the copy in each pixel, in [0, 1].
        ratio: Its largest value, one of `RATIOS`.
        parts: For each of `FACE_PARTS`, whether at least half of it lies where alpha is at least
            half of `ratio`.
        kind: face or parts.
    """

    alpha: np.ndarray
    ratio: float
    parts: tuple[bool, ...]
    kind: str


def unit(landmarks: np.ndarray) -> float:
    """Size of a face in pixels.

    Args:
        landmarks: (5, 2), as `regions` takes them.

    Raises:
        UserError: They span no face.
    """
    return float(np.sqrt(abs(np.linalg.det(axes(landmarks)))))


def hulls(labels: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    """Convex hulls of what is exchanged.

    Args:
        labels: int8 (S, S), as `regions` gives them.
        kind: `face`: the hull of the whole face, at times without the forehead. `parts`: one to
            four of `FACE_PARTS`, each in a hull of its own.
        rng: What is drawn from.

    Returns:
        uint8 (S, S), 1 inside; all 0 where nothing of it is in the picture.
    """
    if kind == "face":
        inside = labels > 0
        if rng.random() < NO_FOREHEAD:
            inside &= labels != REGIONS.index("forehead")
        return _hull(inside)
    order, count = 1 + rng.permutation(len(FACE_PARTS)), rng.integers(1, len(FACE_PARTS) + 1)
    # Those first that are in the picture.
    order = sorted(order, key=lambda part: not (labels == part).any())
    return np.maximum.reduce([_hull(labels == part) for part in order[:count]])


def draw_mask(landmarks: np.ndarray, size: int, kind: str, rng: np.random.Generator) -> Mask:
    """Hull, elastic deformation, two Gaussian blurs, ratio.

    Args:
        landmarks: (5, 2) x and y in pixels, as `regions` takes them.
        size: Side S of the picture.
        kind: One of `KINDS`; `mixed` is one of the two others, as often the one as the other.
        rng: What is drawn from.

    Raises:
        UserError: The landmarks span no face.
    """
    if kind == "mixed":
        kind = "face" if rng.random() < HALF else "parts"
    labels, pixels = regions(landmarks, size), unit(landmarks)
    hull = hulls(labels, kind, rng)
    ratio = float(rng.choice(RATIOS))
    alpha = np.zeros((size, size), np.float32)
    box = _box(hull, round(MARGIN * pixels) + MARGIN_PX)
    if box is not None:
        alpha[box] = ratio * _soft(_deformed(hull[box], pixels, rng), pixels, RADII[kind], rng)
    strong = alpha >= HALF * ratio
    parts = (labels == place for place in range(1, len(FACE_PARTS) + 1))
    return Mask(
        alpha, ratio, tuple(bool(p.any() and strong[p].mean() >= HALF) for p in parts), kind
    )


def _hull(inside: np.ndarray) -> np.ndarray:
    filled = np.zeros(inside.shape, np.uint8)
    # Of all pixels instead of the outline's, the hull would take most of a blend's time.
    outlines, _ = cv2.findContours(
        inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    if outlines:
        cv2.fillConvexPoly(filled, cv2.convexHull(np.concatenate(outlines)), 1)
    return filled


def _box(mask: np.ndarray, pad: int) -> tuple[slice, slice] | None:
    """What holds all of a mask, with a border of `pad` pixels where the picture has them."""
    spans = [np.flatnonzero(mask.any(axis)) for axis in (1, 0)]
    if not len(spans[0]):
        return None
    return tuple(slice(max(s[0] - pad, 0), s[-1] + 1 + pad) for s in spans)


def _deformed(mask: np.ndarray, pixels: float, rng: np.random.Generator) -> np.ndarray:
    """Simard, Steinkraus and Platt (ICDAR 2003): moved by a smooth random field."""
    height, width = mask.shape
    limit = DEFORM * pixels * rng.random()
    # As many draws whatever the size, so that what is drawn later is the same at each.
    field = rng.uniform(-1, 1, (2, 16, 16)).astype(np.float32)
    cells = [int(np.clip(round(side / (CELL * pixels)) + 1, 2, 16)) for side in (height, width)]
    across, down = (
        limit * cv2.resize(one[: cells[0], : cells[1]], (width, height)) for one in field
    )
    rows, columns = np.indices(mask.shape, np.float32)
    taken = columns + across, rows + down
    moved = cv2.remap(
        mask.astype(np.float32), *taken, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    return (moved >= HALF).astype(np.float32)


def _soft(mask: np.ndarray, pixels: float, radii: tuple, rng: np.random.Generator) -> np.ndarray:
    """Blurred, what stays 1 kept, blurred again; float32 in [0, 1] with a peak of 1."""
    inner, outer = (low + (high - low) * rng.random() for low, high in radii)
    inner, outer = round(inner * pixels), max(1, round(outer * pixels))
    kept = _blurred(mask, inner) >= 1 - 1e-4 if inner else mask > 0
    core = kept.astype(np.float32) if kept.any() else mask
    soft = _blurred(core, outer)
    return (soft / max(float(soft.max()), 1e-6)).clip(0, 1)


def _blurred(mask: np.ndarray, radius: int) -> np.ndarray:
    # Beyond the box there is nothing, but beyond the edge of the picture a face goes on.
    side = 2 * radius + 1
    return cv2.GaussianBlur(mask, (side, side), 0, borderType=cv2.BORDER_REFLECT)
