"""Changes that make a planted copy of a photograph: what an editor or a web site does to it."""

import cv2
import numpy as np

EYE_L, EYE_R, NOSE, MOUTH = (0.36, 0.43), (0.64, 0.43), (0.5, 0.57), (0.5, 0.74)
PARTS = ((*EYE_L, 0.13, 0.08), (*EYE_R, 0.13, 0.08), (*NOSE, 0.09, 0.12), (*MOUTH, 0.16, 0.09))


def swapped(image: np.ndarray, donor: np.ndarray, parts, rng) -> np.ndarray:
    """Ellipses of another face, a little displaced, blended in with a soft edge."""
    side = image.shape[0]
    mask = np.zeros(image.shape[:2], np.float32)
    for x, y, wide, high in parts:
        middle = (int(x * side), int(y * side))
        cv2.ellipse(mask, middle, (int(wide * side), int(high * side)), 0, 0, 360, 1.0, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), 0.012 * side)[..., None]
    donor = cv2.resize(donor, (side, side), interpolation=cv2.INTER_AREA)
    donor = moved(donor, 1.0, rng.uniform(-0.02, 0.02, 2))
    return (image * (1 - mask) + donor * mask).round().astype(np.uint8)


def moved(image: np.ndarray, scale: float, shift) -> np.ndarray:
    side = image.shape[0]
    transform = cv2.getRotationMatrix2D((side / 2, side / 2), 0, scale)
    transform[:, 2] += np.asarray(shift) * side
    # Something new comes in at the edge, as it does when a larger photograph is cropped anew.
    return cv2.warpAffine(image, transform, (side, side), borderMode=cv2.BORDER_REFLECT_101)


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(data, 1)[..., ::-1].copy()


def one_part(image, donor, rng):
    return swapped(image, donor, [PARTS[rng.integers(4)]], rng)


def all_parts(image, donor, rng):
    return swapped(image, donor, PARTS, rng)


def together(image, donor, rng):
    parts = [PARTS[i] for i in rng.choice(4, rng.integers(1, 5), replace=False)]
    image = swapped(image, donor, parts, rng)
    image = moved(image, rng.uniform(0.8, 1.2), rng.uniform(-0.06, 0.06, 2))
    return jpeg(image, int(rng.integers(40, 91)))


def severe(image, donor, rng):
    """The whole inner face, another tone, a much closer or wider crop, strong compression."""
    image = swapped(image, donor, [(0.5, 0.56, 0.24, 0.3)], rng)
    scale = rng.uniform(1.2, 1.5) ** rng.choice([-1, 1])
    image = moved(image, scale, rng.uniform(-0.1, 0.1, 2))
    tone = 255 * (image / 255) ** rng.uniform(0.6, 1.6) * rng.uniform(0.8, 1.0, 3)
    return jpeg(tone.clip(0, 255).astype(np.uint8), int(rng.integers(30, 51)))


CHANGES = {
    "identical pixels": lambda image, donor, rng: image.copy(),
    "recompressed, JPEG 40 to 90": lambda image, donor, rng: jpeg(image, int(rng.integers(40, 91))),
    "shifted up to 8 %": lambda image, donor, rng: moved(image, 1.0, rng.uniform(-0.08, 0.08, 2)),
    "scaled .8 to 1.2": lambda image, donor, rng: moved(image, rng.uniform(0.8, 1.2), (0, 0)),
    "one face part replaced": one_part,
    "four face parts replaced": all_parts,
    "all together": together,
    "severe": severe,
}
