"""What is around the face: background, neck, clothes, ears."""

import math

import cv2
import numpy as np

from detector.data.synthetic.canvas import Canvas, bump, cloud, linear, over, step
from detector.data.synthetic.skin import shade


def background(c: Canvas) -> np.ndarray:
    """A studio wall, or a place out of focus.

    Args:
        c: The canvas, whole.

    Returns:
        Linear light, float32 (size, size, 3).
    """
    rng = np.random.default_rng(c.shot.seed)
    low = 48
    grid = np.linspace(-1, 1, low, dtype=np.float32)
    x, y = np.meshgrid(grid, grid)
    tint = 1 + rng.normal(0, 0.07, 3)
    base = rng.uniform(0.12, 0.85) * tint
    slope = rng.normal(0, 0.1, (2, 1)) + rng.normal(0, 0.025, (2, 3))
    image = np.clip(base + x[..., None] * slope[0] + y[..., None] * slope[1], 0.02, 1)
    if rng.random() < 0.6:
        for _ in range(int(rng.integers(4, 14))):
            color = np.clip(base + rng.normal(0, 0.25) + rng.normal(0, 0.06, 3), 0.02, 1)
            cx, cy = rng.uniform(-1, 1, 2)
            w, h = rng.uniform(0.05, 0.6, 2)
            if rng.random() < 0.5:
                shape = ((np.abs(x - cx) < w) & (np.abs(y - cy) < h)).astype(np.float32)
            else:
                shape = ((x - cx) ** 2 + (y - cy) ** 2 < w * w * 0.4).astype(np.float32)
            image = over(image, color, shape * np.float32(rng.uniform(0.4, 1)))
        image = cv2.GaussianBlur(image.astype(np.float32), (0, 0), float(rng.uniform(0.8, 4)))
    image = cv2.resize(image.astype(np.float32), (c.size, c.size), interpolation=cv2.INTER_CUBIC)
    return linear(np.clip(image + 0.006 * cloud(rng, c.x, c.y, 16, 2)[..., None], 0.01, 1))


def body(c: Canvas, image: np.ndarray) -> np.ndarray:
    """Neck, shoulders and clothes below the head.

    Args:
        c: The canvas, or a box of it.
        image: What is behind, linear light, float32 (H, W, 3).

    Returns:
        The same with the body before it.
    """
    f, x, y = c.face, c.x, c.y
    rng = np.random.default_rng(f.seed + 8)
    aa = 1.5 * c.pixel
    half = 0.56 + 0.12 * f.masculine
    sway = x - 0.12 * math.sin(c.shot.yaw)
    width = half + 0.6 * step(y, 1.35, 2.1) ** 2
    neck = step(width - np.abs(sway), -aa, aa) * step(y, 0.6, 0.9)
    round_ = np.sqrt(np.maximum(1 - (sway / (half * 1.25)) ** 2, 0.03))
    lx, _, lz = c.shot.light
    light = 0.28 + 0.75 * c.shot.key * np.clip(round_ * lz + lx * sway / half * 0.7, 0, 1.2)
    chin = 1 - 0.62 * step(y, 2.1 + 0.25 * c.shot.light[1], 1.35) * step(1.15 - np.abs(x), 0, 0.5)
    tone = linear(f.skin) * np.array((0.95, 0.9, 0.88), np.float32)
    image = over(image, tone * (light * chin)[..., None], neck)
    shoulder = (
        1.72
        + 0.05 * f.masculine
        + 0.24 * (np.abs(x) / 1.7) ** 2.2
        - 0.14 * step(np.abs(x), 1.1, 0.4)
    )
    neckline = (
        2.0 + rng.uniform(-0.2, 0.3) - rng.uniform(0.3, 1.1) * np.abs(sway) ** rng.uniform(1, 2)
    )
    cloth_y = np.maximum(shoulder, np.where(np.abs(sway) < width + 0.02, neckline, shoulder))
    cloth = step(y - cloth_y, -aa, aa)
    color = linear(np.clip(rng.uniform(0.05, 0.9) + rng.normal(0, 0.16, 3), 0.03, 0.95))
    folds = 0.8 + 0.12 * cloud(rng, x, y, 6, 2) + 0.5 * lx * x * 0.4
    folds = folds * (0.75 + 0.25 * step(y - cloth_y, 0, 0.12))
    return over(image, color * np.clip(0.45 + 0.5 * folds, 0.1, 1.4)[..., None], cloth)


def ears(c: Canvas, image: np.ndarray) -> np.ndarray:
    """Ears beside the head, where the pose shows them; image in and out as for `body`."""
    f, image = c.face, image.copy()
    skin = linear(f.skin) * np.array((1.0, 0.82, 0.8), np.float32)
    for side in (-1, 1):
        cx = side * (0.985 + 0.35 * f.cheek) - 0.22 * math.sin(c.shot.yaw)
        cy = 0.2 - 0.25 * math.sin(c.shot.pitch)
        box, part = c.cut((np.abs(c.x - cx) < 0.35) & (np.abs(c.y - cy) < 0.5))
        if not part.x.size:
            continue
        a = (part.x - cx) / 0.15 - side * 0.22 * (part.y - cy)
        b = (part.y - cy) / (0.34 - 0.05 * side * a)
        r = np.sqrt(a * a + b * b)
        inner = bump(a, b, -0.1 * side, 0.0, 0.45, 0.5)
        height = 0.12 * np.maximum(1 - r * r, 0) ** np.float32(0.5) - 0.1 * inner
        color = np.broadcast_to(skin, (*r.shape, 3))
        lit = shade(part, color, height, gloss=0.3) * (1 - 0.3 * inner)[..., None]
        image[box] = over(image[box], lit, step(1 - r, -8 * c.pixel, 8 * c.pixel))
    return image
