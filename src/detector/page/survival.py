"""Does the verdict survive what happens to a picture that is passed on?

Three changes, the weakest that everybody makes: JPEG at quality 60, half the size, and a tenth cut
off each side. With several faces each change is followed face by face.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

from detector.data.decode import decode
from detector.predictor import Prediction, Predictor

QUALITY = 60
CUT = 0.1  # of the width or height, from each side
LEAST = 64  # pixels: of a picture below twice that no half is made
OVERLAP = 0.3  # of two boxes of one face, intersection over union
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Change:
    """One change of a picture.

    Args:
        name: For people.
        image: uint8 (h, w, 3), the changed picture.
        scale: From the picture's pixels to the changed one's.
        shift: x and y of the changed one's corner in the picture, pixels.
    """

    name: str
    image: np.ndarray
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)

    def moved(self, box: Box) -> Box:
        """Where a box of the picture lies in the changed one."""
        left, top, width, height = box
        x, y = (left - self.shift[0]) * self.scale, (top - self.shift[1]) * self.scale
        return x, y, width * self.scale, height * self.scale


@dataclass(frozen=True)
class Survived:
    """What became of one answer.

    Args:
        name: Of the change.
        p_fake: After it; None where the face was lost.
        verdict: After it; empty likewise.
        same: Whether the verdict is the one of before.
    """

    name: str
    p_fake: float | None
    verdict: str
    same: bool


def changes(image: np.ndarray) -> list[Change]:
    """The three changed pictures; without the half of one that is small already.

    Args:
        image: uint8 (H, W, 3), RGB.
    """
    height, width = image.shape[:2]
    picture, packed = Image.fromarray(image), BytesIO()
    picture.save(packed, "JPEG", quality=QUALITY)
    pressed = decode(packed.getvalue(), max_pixels=height * width)
    made = [Change(f"JPEG quality {QUALITY}", pressed)]
    if min(height, width) >= 2 * LEAST:
        half = picture.resize((width // 2, height // 2), Image.Resampling.LANCZOS)
        made.append(Change("half the size", np.asarray(half), scale=0.5))
    x, y = round(width * CUT), round(height * CUT)
    cut = np.ascontiguousarray(image[y : height - y, x : width - x])
    made.append(Change("a tenth cut off each side", cut, shift=(float(x), float(y))))
    return made


def survival(
    predictor: Predictor, image: np.ndarray, answers: Sequence[Prediction]
) -> list[list[Survived]]:
    """Asks again after each change.

    Args:
        predictor: That gave the answers.
        image: uint8 (H, W, 3), the picture.
        answers: One a face, or the one of the whole picture.

    Returns:
        For each answer, what became of it, change by change.
    """
    found: list[list[Survived]] = [[] for _ in answers]
    # One at a time: a large picture and its changes would fill the memory.
    for change in changes(image):
        after = predictor.predict(change.image)
        theirs = after.faces or (after,)
        for at, before in enumerate(answers):
            same_face = follow(change, before, theirs)
            if same_face is None or same_face.error or before.error:
                found[at].append(Survived(change.name, None, "", False))
            else:
                same = same_face.verdict == before.verdict
                found[at].append(Survived(change.name, same_face.p_fake, same_face.verdict, same))
    return found


def follow(change: Change, before: Prediction, after: Sequence[Prediction]) -> Prediction | None:
    """The answer for the same face in a changed picture; None where it was lost."""
    if before.box is None:  # the whole picture was looked at
        return after[0] if len(after) == 1 and after[0].box is None else None
    place = change.moved(before.box)
    there = [(overlap(place, one.box), one) for one in after if one.box is not None]
    best = max(there, key=lambda pair: pair[0], default=(0.0, None))
    return best[1] if best[0] >= OVERLAP else None


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, left, top, width and height."""
    across = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    down = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    both = max(across, 0.0) * max(down, 0.0)
    union = a[2] * a[3] + b[2] * b[3] - both
    return both / union if union > 0 else 0.0
