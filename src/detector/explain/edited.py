"""What was edited in a picture, from the photograph that it was made of.

- Local features and a similarity by RANSAC lay the photograph over the edit; correlation (ECC)
  refines that to an affine transform, twice, the second time without what differs.
- A pixel differs as far as its colour lies outside the range that the photograph has within two
  pixels of it, after a robust fit of gain and offset for each channel. So what recompressing,
  resampling and half a pixel of misplacement leave at edges does not count.
- Threshold, closing, opening, holes filled; small components are dropped.

experiments/2026-11-21-region-placement measures it on the pairs of ciplab.
"""

import cv2
import numpy as np

from detector.data.alignment import MATCH_BITS, MIN_INLIERS, REPROJECTION_PX, SCALES
from detector.data.nearcopies import WORK_PX, describe

SIDE = 600  # longer side of the edit at which pixels are compared
TOLERANCE = 2  # pixels of SIDE by which a pixel may have moved
LEVELS = 6.0  # grey levels beyond the tolerance: more than JPEG of quality 60 leaves, see tests
NOISES = 6.0  # robust standard deviations of what is left where nothing was edited
SOFT = 1.5  # sigma of the blur before comparing, in pixels of SIDE
SMALLEST = 0.001  # of the picture; smaller components are noise
OF_LARGEST = 0.05  # components below this share of the largest are left out
MOST = 0.7  # of the overlap; where more differs it is another photograph
OVERLAP = 0.5  # of the edit that the photograph must cover


def edited_mask(photograph: np.ndarray, edit: np.ndarray) -> np.ndarray | None:
    """Which pixels of an edit differ from the photograph that it was made of.

    Where the photograph does not cover the edit nothing is known, and the mask is False there.

    Args:
        photograph: uint8 RGB (h, w, 3).
        edit: uint8 RGB (H, W, 3); shifted, scaled by .33 to 3, turned or recompressed at will.

    Returns:
        bool (H, W), True where the edit differs, all False where it is a mere copy; None where
        the two cannot be aligned: another photograph, or too little texture.
    """
    height, width = edit.shape[:2]
    transform = _similarity(photograph, edit)
    if transform is None:
        return None
    scale = min(1.0, SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    fixed = cv2.resize(edit, size, interpolation=cv2.INTER_AREA) if scale < 1 else edit
    transform = _between(transform, 1.0, scale)
    mask = np.zeros(size[::-1], bool)
    for _ in range(2):
        refined = _refined(photograph, fixed, transform, ~mask)
        transform = transform if refined is None else refined
        moved, seen = _laid(photograph, transform, size)
        if seen.mean() < OVERLAP:
            return None
        mask = _differs(moved, fixed.astype(np.float32), seen)
        if mask is None or mask[seen].mean() > MOST:
            return None
    mask = _cleaned(mask)
    if scale < 1:
        grown = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        mask = grown > 0
    return mask


def _similarity(photograph: np.ndarray, edit: np.ndarray) -> np.ndarray | None:
    """Float64 (2, 3), from the photograph's pixels to the edit's; None where none is found."""
    a, b = describe(photograph), describe(edit)
    if min(len(a.points), len(b.points)) < MIN_INLIERS:
        return None
    found = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(a.descriptors, b.descriptors)
    found = [match for match in found if match.distance <= MATCH_BITS]
    if len(found) < MIN_INLIERS:
        return None
    source = a.points[[match.queryIdx for match in found]]
    target = b.points[[match.trainIdx for match in found]]
    transform, inliers = cv2.estimateAffinePartial2D(
        source, target, method=cv2.RANSAC, ransacReprojThreshold=REPROJECTION_PX, maxIters=2000
    )
    if transform is None or inliers.sum() < MIN_INLIERS:
        return None
    if not SCALES[0] <= np.hypot(*transform[:, 0]) <= SCALES[1]:
        return None
    ratios = (WORK_PX / max(image.shape[:2]) for image in (photograph, edit))
    of_a, of_b = ratios
    return _between(transform, 1 / of_a, 1 / of_b)


def _between(transform: np.ndarray, source: float, target: float) -> np.ndarray:
    """The same transform once source and target are enlarged by these factors.

    Indices of pixels: the centre of the first is at 0, so that enlarging moves it.
    """
    up = np.array([[target, 0, (target - 1) / 2], [0, target, (target - 1) / 2], [0, 0, 1]])
    down = np.array([[source, 0, (source - 1) / 2], [0, source, (source - 1) / 2], [0, 0, 1]])
    return (up @ np.vstack([transform, [0, 0, 1]]) @ np.linalg.inv(down))[:2]


def _refined(
    photograph: np.ndarray, fixed: np.ndarray, transform: np.ndarray, use: np.ndarray
) -> np.ndarray | None:
    """Affine transform by enhanced correlation (Evangelidis and Psarakis, PAMI 2008)."""
    moved, seen = _laid(photograph, transform, fixed.shape[1::-1])
    grey = [
        cv2.cvtColor(x.astype(np.uint8), cv2.COLOR_RGB2GRAY).astype(np.float32)
        for x in (moved, fixed)
    ]
    if min(x.std() for x in grey) < 1:
        return None
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 30, 1e-4)
    where = ((use & seen) * 255).astype(np.uint8)
    start = np.eye(2, 3, dtype=np.float32)
    try:
        # From the fixed picture's pixels to those of the one already laid over it.
        _, back = cv2.findTransformECC(grey[1], grey[0], start, cv2.MOTION_AFFINE, stop, where, 5)
    except cv2.error:  # does not converge: what the features say has to do
        return None
    if np.abs(back - start)[:, :2].max() > 0.05 or np.abs(back[:, 2]).max() > 10:
        return None
    forth = np.vstack([cv2.invertAffineTransform(back.astype(np.float64)), [0, 0, 1]])
    return (forth @ np.vstack([transform, [0, 0, 1]]))[:2]


def _laid(
    photograph: np.ndarray, transform: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """The photograph in the edit's place, float32 (h, w, 3), and where it is, bool (h, w)."""
    scale = np.sqrt(abs(np.linalg.det(transform[:, :2])))
    if scale < 0.8:  # shrinking without averaging would leave noise of its own
        photograph = cv2.GaussianBlur(photograph, (0, 0), 0.4 / scale)
    moved = cv2.warpAffine(
        photograph, transform, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    whole = np.full(photograph.shape[:2], 255, np.uint8)
    seen = cv2.warpAffine(whole, transform, size, flags=cv2.INTER_LINEAR) == 255
    return moved.astype(np.float32), seen


def _differs(moved: np.ndarray, fixed: np.ndarray, seen: np.ndarray) -> np.ndarray | None:
    """Where colours lie outside the photograph's range near by; None where nothing fits."""
    soft = SOFT * max(fixed.shape) / SIDE
    moved, fixed = (cv2.GaussianBlur(x, (0, 0), max(soft, 0.5)) for x in (moved, fixed))
    around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * TOLERANCE + 1,) * 2)
    most = np.zeros(seen.shape, np.float32)
    for k in range(3):
        gain, offset = _fit(moved[..., k][seen], fixed[..., k][seen])
        level = np.ascontiguousarray(gain * moved[..., k] + offset)
        low, high = cv2.erode(level, around), cv2.dilate(level, around)
        most = np.maximum(most, np.maximum(fixed[..., k] - high, low - fixed[..., k]))
    most = np.maximum(most, 0) * seen
    # The median absolute deviation, over what is not 0: most of an unedited picture is.
    left = most[(most > 0) & (most < LEVELS)]
    noise = 1.4826 * np.median(left) if len(left) > 0.2 * seen.sum() else 0.0
    return most > max(LEVELS, NOISES * noise)


def _fit(source: np.ndarray, target: np.ndarray) -> tuple[float, float]:
    """Gain in [.7, 1.4] and offset, by least squares on the half of the pixels that fits best."""
    gain, offset = 1.0, float(np.median(target - source))
    for _ in range(3):
        error = np.abs(gain * source + offset - target)
        use = error <= np.median(error)
        x, y = source[use], target[use]
        spread = float(x.var())
        gain = float(np.mean((x - x.mean()) * (y - y.mean())) / spread) if spread > 25 else 1.0
        gain = float(np.clip(gain, 0.7, 1.4))
        offset = float(y.mean() - gain * x.mean())
    return gain, offset


def _cleaned(mask: np.ndarray) -> np.ndarray:
    """Closed, opened, without holes and small components."""
    unit = max(mask.shape) / SIDE

    def disc(radius: float) -> np.ndarray:
        side = 2 * max(1, round(radius * unit)) + 1
        return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))

    pixels = mask.astype(np.uint8)
    pixels = cv2.morphologyEx(pixels, cv2.MORPH_OPEN, disc(1))
    pixels = cv2.morphologyEx(pixels, cv2.MORPH_CLOSE, disc(8))
    pixels = cv2.morphologyEx(pixels, cv2.MORPH_OPEN, disc(3))
    outlines, _ = cv2.findContours(pixels, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros_like(pixels), outlines, -1, 1, cv2.FILLED)
    _, parts, stats, _ = cv2.connectedComponentsWithStats(filled)
    areas = stats[1:, cv2.CC_STAT_AREA]
    if not len(areas):
        return np.zeros(mask.shape, bool)
    kept = (areas >= SMALLEST * mask.size) & (areas >= OF_LARGEST * areas.max())
    return np.concatenate([[False], kept])[parts]
