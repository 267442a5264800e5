"""What happens to pictures that are passed on: compressed, shrunk, blurred, cut, brightened.

Each acts on a decoded picture before the network's preprocessing, as a file that was saved
anew would differ, and is a function of the pixels and the strength alone: the same on every
run, in any order and on any number of threads (noise too, see `_noise`).

Sizes (blur, scaling, crop) are relative to the picture's side, so that a strength does to a
picture of 224 pixels what it does to one of 600 once both are as large as the network wants
them. Qualities and noise are those of the file: a network that shrinks a picture averages
more of them away from a large one.
"""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import cv2
import numpy as np
from PIL import Image

from detector.errors import UserError

SIDE_LIMITS = {"JPEG": 65_500, "WEBP": 16_383}  # pixels, of the two formats
SHARED_KEPT = 0.96  # of the side, when somebody trims a picture before passing it on
SHARED_SIDE = 270  # pixels
SHARED_UPLOAD, SHARED_SERVED = 85, 75  # JPEG qualities


@dataclass(frozen=True)
class Perturbation:
    """One family of perturbations.

    Args:
        label: Heading for readers.
        unit: What the strength is.
        neutral: Strength that changes nothing; infinite where no strength does.
        low: Least strength that is accepted.
        high: Greatest.
        whole: Whether the strength is a whole number.
        apply: From uint8 RGB (H, W, 3) and a strength to uint8 RGB (H', W', 3); the argument
            is left as it is, and returned where nothing changes.
    """

    label: str
    unit: str
    neutral: float
    low: float
    high: float
    whole: bool
    apply: Callable[[np.ndarray, float], np.ndarray]


def choose(
    families: Sequence[str], strengths: Mapping[str, Sequence[float]]
) -> dict[str, tuple[float, ...]]:
    """Checks what a config asks for.

    Args:
        families: Keys of `PERTURBATIONS`, in the order wanted.
        strengths: Strengths by family; families that are not chosen are not looked at.

    Returns:
        Strengths by chosen family.

    Raises:
        UserError: A family is unknown, named twice or has no strengths, or a strength is no
            number, out of range or given twice.
    """
    chosen: dict[str, tuple[float, ...]] = {}
    for name in families:
        if name not in PERTURBATIONS:
            raise UserError(
                f"robustness.families: no family {name}; there are {', '.join(PERTURBATIONS)}"
            )
        if name in chosen:
            raise UserError(f"robustness.families: {name} is there twice, name it once")
        values = strengths.get(name)
        if not isinstance(values, Sequence) or isinstance(values, str) or not values:
            raise UserError(f"robustness.strengths.{name}={values}: give a list of strengths")
        chosen[name] = tuple(values)
        kind = PERTURBATIONS[name]
        for value in values:
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            fine = number and kind.low <= value <= kind.high  # False for NaN
            if not fine or (kind.whole and value != int(value)):
                noun = "whole numbers" if kind.whole else "numbers"
                raise UserError(
                    f"robustness.strengths.{name}: {value!r} will not do; give {noun} from"
                    f" {kind.low:g} to {kind.high:g} ({kind.unit})"
                )
        if len(set(values)) < len(values):
            raise UserError(f"robustness.strengths.{name}={list(values)}: give each once")
    return chosen


def _encode(image: np.ndarray, kind: str, **settings) -> np.ndarray:
    height, width = image.shape[:2]
    limit = SIDE_LIMITS[kind]
    if max(height, width) > limit:
        raise UserError(
            f"a picture of {width} x {height} pixels is too large for {kind}, which holds {limit}"
            f" a side: leave {kind.replace('WEBP', 'WebP')} out of robustness.families"
        )
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, kind, **settings)
    with Image.open(stream) as saved:
        return np.array(saved)


def _jpeg(image: np.ndarray, quality: float) -> np.ndarray:
    """Saved and opened as JPEG with halved colour resolution, the usual kind."""
    return _encode(image, "JPEG", quality=int(quality), subsampling="4:2:0")


def _webp(image: np.ndarray, quality: float) -> np.ndarray:
    """Saved and opened as lossy WebP."""
    return _encode(image, "WEBP", quality=int(quality))


def _blur(image: np.ndarray, percent: float) -> np.ndarray:
    """Gaussian blur, its sigma in percent of the shorter side, mirrored at the edges."""
    sigma = percent / 100 * min(image.shape[:2])
    if sigma == 0:
        return image
    return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)


def _noise(image: np.ndarray, sd: float) -> np.ndarray:
    """Normal noise, independent for each pixel and channel, rounded and clipped to 0..255.

    The random numbers come from the pixels and the strength. So neither the order of the
    images nor the number of threads matters, and a copy of a picture gets the same noise.
    """
    if sd == 0:
        return image
    digest = blake2b(f"{image.shape} {float(sd)!r} ".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image))
    rng = np.random.default_rng(int.from_bytes(digest.digest(), "little"))
    noisy = rng.standard_normal(image.shape, dtype=np.float32)
    noisy *= np.float32(sd)
    noisy += image
    return np.clip(np.rint(noisy, out=noisy), 0, 255, out=noisy).astype(np.uint8)


def _scale(image: np.ndarray, factor: float) -> np.ndarray:
    """Both sides times the factor: averaged over areas to shrink, bicubic to enlarge."""
    height, width = (max(1, round(side * factor)) for side in image.shape[:2])
    if (height, width) == image.shape[:2]:
        return image
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, (width, height), interpolation=method)


def _crop(image: np.ndarray, kept: float) -> np.ndarray:
    """The centre, with this share of each side."""
    height, width = image.shape[:2]
    high, wide = max(1, round(height * kept)), max(1, round(width * kept))
    top, left = (height - high) // 2, (width - wide) // 2
    return image[top : top + high, left : left + wide]


def _brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """Values times the factor, rounded and clipped to 0..255."""
    table = np.clip(np.rint(np.arange(256) * factor), 0, 255).astype(np.uint8)
    return table[image]


def _shared(image: np.ndarray, times: float) -> np.ndarray:
    """Passed on through a social network so many times, by users who look at a face.

    Each time: trimmed to 96 % of the side (which also shifts the grid of JPEG's blocks),
    uploaded as JPEG 85, shrunk to at most 270 pixels a side, served as JPEG 75. That services
    shrink and compress, and that detectors suffer from it: Corvi et al., On the detection of
    synthetic images generated by diffusion models, ICASSP 2023. The numbers are our choice:
    270 pixels is a face that fills a quarter of a picture served 1080 pixels wide.
    """
    for _ in range(int(times)):
        image = _jpeg(_crop(image, SHARED_KEPT), SHARED_UPLOAD)
        image = _scale(image, min(1.0, SHARED_SIDE / max(image.shape[:2])))
        image = _jpeg(image, SHARED_SERVED)
    return image


PERTURBATIONS = {
    "jpeg": Perturbation("JPEG", "quality", math.inf, 1, 100, True, _jpeg),
    "webp": Perturbation("WebP", "quality", math.inf, 1, 100, True, _webp),
    "blur": Perturbation("Blur", "sigma, % of the shorter side", 0, 0, 10, False, _blur),
    "noise": Perturbation("Noise", "standard deviation, of 255", 0, 0, 128, False, _noise),
    "downscale": Perturbation("Downscaling", "factor on the side", 1, 0.01, 1, False, _scale),
    "upscale": Perturbation("Upscaling", "factor on the side", 1, 1, 4, False, _scale),
    "crop": Perturbation("Crop", "share of the side kept", 1, 0.1, 1, False, _crop),
    "brightness": Perturbation("Brightness", "factor on the values", 1, 0, 4, False, _brightness),
    "shared": Perturbation("Social media", "times shared", 0, 0, 10, True, _shared),
}
