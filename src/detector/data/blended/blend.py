"""Self-blended images: a real face, and a changed copy of it blended in.

Shiohara and Yamasaki, Detecting Deepfakes with Self-Blended Images, CVPR 2022. What results has
the traces that an exchange of faces leaves, edges between two pictures of slightly different
colour, sharpness and place, but no second face: a network that learns them learns no one forger's
habits.

Which of the two is changed in colour and sharpness is a matter of chance. Where it is the one that
is blended onto, the real picture of the pair is that one, changed as it is: otherwise whatever
the change leaves all over a picture would tell the classes apart.
"""

from dataclasses import dataclass

import numpy as np

from detector.data.blended.masks import draw_mask
from detector.data.blended.retouch import moved, retouched

EVEN = 0.5


@dataclass(frozen=True, slots=True)
class Blend:
    """A fake with the real picture that it was made of.

    Args:
        image: uint8 (S, S, 3), the fake.
        target: uint8 (S, S, 3), what was blended onto; the same as `image` where `mask` is 0.
        mask: float32 (S, S), share of the copy in each pixel, in [0, 1].
        parts: For each of `data.sources.FACE_PARTS`, whether most of it lies in the mask.
        ratio: Largest value of the mask.
        kind: Of the mask, face or parts.
    """

    image: np.ndarray
    target: np.ndarray
    mask: np.ndarray
    parts: tuple[bool, ...]
    ratio: float
    kind: str


def self_blend(
    image: np.ndarray, landmarks: np.ndarray, rng: np.random.Generator, masks: str = "face"
) -> Blend:
    """Blends a real face with a changed copy of itself.

    Args:
        image: uint8 (S, S, 3), RGB.
        landmarks: (5, 2) x and y in pixels: the viewer's left eye, right eye, nose tip, left and
            right corner of the mouth.
        rng: What is drawn from: the same state gives the same bytes.
        masks: One of `masks.KINDS`.

    Raises:
        UserError: The landmarks span no face.
    """
    source, target = _sides(image, rng)
    source = moved(source, np.asarray(landmarks).mean(0), rng)
    mask = draw_mask(landmarks, len(image), masks, rng)
    rows, columns = (np.flatnonzero(mask.alpha.any(axis)) for axis in (1, 0))
    blended = target.copy()
    if len(rows):
        box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        below, above = target[box].astype(np.float32), source[box].astype(np.float32)
        blended[box] = np.rint(below + mask.alpha[box][..., None] * (above - below))
    return Blend(blended, target, mask.alpha, mask.parts, mask.ratio, mask.kind)


def target_of(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 (S, S, 3): the `target` that `self_blend` gives with the same state of `rng`."""
    return _sides(image, rng)[1]


def _sides(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Source and target, one of which is changed."""
    of_source, changed = rng.random() < EVEN, retouched(image, rng)
    return (changed, image) if of_source else (image, changed)
