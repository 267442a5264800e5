"""Pictures without a face, made here: noise, textures, rendered objects."""

import cv2
import numpy as np

SIDE = 300
KINDS = {
    "noise": "every pixel at random",
    "textures": "coloured noise of several scales, as of cloth or clouds",
    "objects": "shaded balls and boxes before a plain ground",
}


def make(kind: str, seed: tuple[int, ...]) -> np.ndarray:
    """uint8 (300, 300, 3), RGB."""
    return {"noise": _noise, "textures": _textures, "objects": _objects}[kind](
        np.random.default_rng(seed)
    )


def _noise(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)


def _textures(rng: np.random.Generator) -> np.ndarray:
    image = np.full((SIDE, SIDE, 3), rng.uniform(60, 200, 3))
    for cells in (4, 12, 40, 120):
        coarse = rng.normal(0, rng.uniform(5, 40), (cells, cells, 3)).astype(np.float32)
        image += cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return image.clip(0, 255).astype(np.uint8)


def _objects(rng: np.random.Generator) -> np.ndarray:
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    slope = rng.normal(0, 0.15, 2)
    ground = rng.uniform(80, 220, 3)
    image = ground + (slope[0] * (rows - SIDE / 2) + slope[1] * (columns - SIDE / 2))[..., None]
    light = rng.normal(size=3)
    light[2] = abs(light[2]) + 0.5
    light /= np.linalg.norm(light)
    for _ in range(rng.integers(1, 5)):
        x, y = rng.uniform(60, SIDE - 60, 2)
        size, colour = rng.uniform(25, 80), rng.uniform(30, 255, 3)
        u, v = (columns - x) / size, (rows - y) / size
        if rng.random() < 0.5:  # a ball
            inside = u**2 + v**2 < 1
            z = np.sqrt(np.clip(1 - u**2 - v**2, 0, 1))
            shade = np.clip(u * light[0] + v * light[1] + z * light[2], 0, 1)
        else:  # a box: its front, its top and its side
            inside = (abs(u) < 1) & (abs(v) < 1)
            shade = np.where(v < -0.6, 0.95, np.where(u > 0.6, 0.45, 0.7))
        image = np.where(inside[..., None], colour * (0.25 + 0.75 * shade[..., None]), image)
    image += rng.normal(0, 2, image.shape)
    return image.clip(0, 255).astype(np.uint8)
