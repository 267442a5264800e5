"""Rendered faces for tests of blending: a few, drawn once."""

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from detector.data.synthetic.portrait import portrait

SIDE = 96


@cache
def face(seed: int = 0, size: int = SIDE):
    """A rendered face: its JPEG, and where its landmarks are."""
    return portrait((0, 1, seed), size=size, difficulty="easy", parts=(0,) * 4, fake=False)


def pixels(seed: int = 0, size: int = SIDE) -> np.ndarray:
    """uint8 (size, size, 3)."""
    from detector.data.decode import decode

    return decode(face(seed, size).jpeg, max_pixels=10**7)


def landmarks(seed: int = 0, size: int = SIDE) -> np.ndarray:
    """float64 (5, 2)."""
    return np.array(face(seed, size).landmarks, np.float64)


def make_set(root: Path, reals: int = 16, fakes: int = 16) -> Path:
    """`root/{fake,real}/`: rendered faces are real; fakes are noise, without a face."""
    rng = np.random.default_rng(0)
    for name in ("fake", "real"):
        (root / name).mkdir(parents=True)
    for at in range(reals):
        (root / "real" / f"{at:03d}.jpg").write_bytes(face(at).jpeg)
    for at in range(fakes):
        noise = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(noise).save(root / "fake" / f"{at:03d}.png")
    return root
