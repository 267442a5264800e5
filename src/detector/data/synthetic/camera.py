"""What a camera and a file do to every picture alike: blur, grain, JPEG."""

import io

import cv2
import numpy as np
from PIL import Image

from detector.data.synthetic.traits import Shot

REACH = 3  # pixels: as far as the blur carries anything


def expose(image: np.ndarray, shot: Shot, rng: np.random.Generator) -> np.ndarray:
    """Blurs and adds grain.

    Args:
        image: Display values, float32 (size, size, 3).
        shot: The camera.
        rng: Of the grain.

    Returns:
        uint8 (size, size, 3). The grain is the same whatever the picture shows, but for
        its strength, which grows with brightness as photon noise does.
    """
    size = image.shape[0]
    sigma = min(max(shot.blur * size / 224, 0.3), REACH / 2)
    window = 2 * REACH + 1
    blurred = cv2.GaussianBlur(image, (window, window), sigma)
    grain = rng.standard_normal((*image.shape[:2], 1), dtype=np.float32)
    grain = grain + np.float32(0.6) * rng.standard_normal(image.shape, dtype=np.float32)
    # A demosaiced picture's noise is smooth from pixel to pixel.
    grain = cv2.GaussianBlur(grain, (3, 3), 0.5)
    level = np.sqrt(np.maximum(blurred, 0) * np.float32(0.8) + np.float32(0.2))
    noisy = blurred + np.float32(shot.noise * 1.6) * level * grain
    return (np.clip(noisy, 0, 1) * 255 + np.float32(0.5)).astype(np.uint8)


def encode(image: np.ndarray, quality: int) -> bytes:
    """JPEG with 4:2:0 subsampling, as most pictures have.

    Args:
        image: uint8 (height, width, 3).
        quality: As Pillow counts it, 1 to 100.
    """
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=2)
    return buffer.getvalue()
