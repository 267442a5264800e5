"""Hair behind and before the face, and glasses: what lies over the skin.

Shapes (H, W) are those of the canvas.
"""

import cv2
import numpy as np

from detector.data.synthetic.canvas import CENTER_Y, Canvas, grain, linear, over, step
from detector.data.synthetic.traits import Face

_STRANDS = 512


def hair_behind(c: Canvas) -> np.ndarray:
    """Where hair shows beside and below the head: alpha, 0 to 1, float32 (H, W)."""
    f = c.face
    if not falls(f):
        return np.zeros_like(c.u)
    rng = np.random.default_rng(f.seed + 9)
    length = rng.uniform(1.0, 3.2)
    tips = grain(c.x * 8 + 32, rng.standard_normal(64))
    half = 1.0 + f.hair_volume + rng.uniform(-0.05, 0.3) * step(c.y, 0.0, 1.6)
    half = (
        half + 0.025 * np.sin(c.y * 5 + f.seed) - 0.35 * step(c.y, length - 0.7, length + 0.2) ** 2
    )
    alpha = step(half - np.abs(c.x), -0.03, 0.05) * step(c.y, -0.6, -0.2)
    return (alpha * step(c.y + 0.06 * tips, length + 0.2, length)).astype(np.float32)


def falls(face: Face) -> bool:
    """Whether hair falls over the ears."""
    return face.hair_style in ("long", "fringe")


def hair_before(c: Canvas) -> np.ndarray:
    """Where hair covers the head: alpha, 0 to 1, float32 (H, W)."""
    f = c.face
    if f.hair_style == "bald":
        return np.zeros_like(c.u)
    rng = np.random.default_rng(f.seed + 5)
    jag = grain(c.u * 9 + 24, rng.standard_normal(64))
    if f.hair_style == "fringe":
        line = -0.5 + 0.1 * c.u * f.hair_part + 0.035 * jag
    else:
        away = np.abs(c.u - f.hair_part) if f.hair_style in ("parted", "long") else np.abs(c.u)
        line = f.hair_line + 0.3 * away**2 + 0.03 * jag
    # Beside the face a band along the outline, wider on the side that is turned to the viewer.
    soft = 0.02 + 1.2 * c.pixel
    near = -np.clip(c.x, -1, 1) * np.float32(np.sin(c.shot.yaw))
    if falls(f):
        band = (0.13 + 0.5 * f.hair_volume + 0.35 * near) * step(c.v, 1.75, 0.5)
        band = (band + 0.03 * np.sin(c.v * 3 + f.seed)) * step(np.abs(c.x), 0.4, 0.75)
    else:
        band = (0.1 + 0.2 * near) * step(c.v, 0.42, -0.35) * (1 + 0.15 * jag)
    band = band + 0.3 * step(c.v, -0.35, -1.0) * step(c.v, -1.6, -1.0)
    beside = step(np.maximum(band, 0) - c.edge, -soft, soft) * step(band, 0.0, 0.05)
    front = np.maximum(step(line - c.v, -1.6 * soft, 1.6 * soft), beside)
    up = step(-(c.y - CENTER_Y), -0.6 if falls(f) else -0.3, 0.7)
    grown = c.edge + f.hair_volume * (0.15 + 0.85 * up) + 0.015 * np.sin(c.x * 23 + f.seed) * up
    outer = step(grown, -1.5 * soft, soft) if falls(f) else step(grown, -soft, soft)
    if not falls(f):  # nothing below the sideburns
        outer = outer * np.maximum(step(c.v, 0.5, 0.35), c.edge > 0)
    return (outer * front).astype(np.float32)


def hair_color(c: Canvas) -> np.ndarray:
    """Lit strands, linear, float32 (H, W, 3)."""
    f = c.face
    rng = np.random.default_rng(f.seed + 6)
    part = f.hair_part if f.hair_style in ("parted", "long") else 0.3 * f.hair_part
    fall = np.maximum(c.v + 1.75, 0.02)
    lane = (c.u - part) / np.sqrt(0.12 + 0.75 * fall)
    if f.hair_style == "short":  # brushed up and back
        lane = c.u + 0.35 * np.sin(2.5 * c.v + f.seed)
    lane = lane + 0.03 * np.sin(c.v * 6 + 3 * c.u + f.seed % 7)
    strands = np.zeros_like(c.u)
    for width, weight in ((7, 0.6), (17, 0.5), (38, 0.45)):
        if width * c.pixel < 1.2:  # finer than a pixel would only be noise
            table = rng.standard_normal(_STRANDS)
            strands += weight * grain(lane * width + _STRANDS / 2, table)
    lx, ly, lz = c.shot.light
    dome = np.sqrt(np.maximum(1.2 - (c.x / 1.25) ** 2 - ((c.y + 0.3) / 1.7) ** 2, 0.02))
    facing = np.clip((dome * lz + lx * c.x / 1.25 + ly * (c.y + 0.3) / 1.7), 0, 1.3)
    band = np.exp(-0.5 * ((c.v + 1.18 + 0.1 * strands - 0.2 * ly) / 0.14) ** 2)
    light = 0.35 + (0.75 * c.shot.key) * facing + 0.25 * np.clip(strands, -1.4, 2) * (0.4 + facing)
    color = linear(f.hair) * np.maximum(light, 0.06)[..., None]
    return color + (0.11 * band * facing)[..., None] * (0.4 + linear(f.hair))


def lay_hair(c: Canvas, image: np.ndarray, alpha: np.ndarray, color: np.ndarray) -> np.ndarray:
    """Hair over the picture, with the shadow that it throws on what lies below.

    Args:
        c: The canvas, whole.
        image: Display values, float32 (size, size, 3).
        alpha: Where the hair is, as `hair_before` gives it.
        color: The hair in display values; read only where it is.

    Returns:
        Display values, float32 (size, size, 3); a pixel depends on the same pixel of image.
    """
    lx, ly, _ = c.shot.light
    move = np.float32([[1, 0, -0.05 * lx / c.pixel], [0, 1, (0.05 - 0.03 * ly) / c.pixel]])
    shadow = cv2.warpAffine(alpha, move, alpha.shape, borderMode=cv2.BORDER_REPLICATE)
    shadow = cv2.GaussianBlur(shadow, (0, 0), 0.06 / c.pixel)
    return over(image * (1 - 0.42 * shadow)[..., None], color, 0.985 * alpha)


def lay_glasses(c: Canvas, image: np.ndarray, hair: np.ndarray) -> np.ndarray:
    """Frames with a bridge and arms; the lenses catch a little of the light.

    Args:
        c: The canvas, whole.
        image: Display values, float32 (size, size, 3).
        hair: Where hair hides the arms: alpha, float32 (size, size).

    Returns:
        Display values, float32 (size, size, 3); a pixel depends on the same pixel of image.
    """
    f = c.face
    if f.glasses == "none":
        return image
    rng = np.random.default_rng(f.seed + 7)
    thick = float(rng.uniform(0.022, 0.05))
    tint = linear(rng.uniform(0.03, 0.35, 3)) if rng.random() < 0.5 else linear((0.06, 0.05, 0.05))
    a, b = np.abs(c.u) - (f.eye_x + 0.02), c.v - 0.06
    if f.glasses == "round":
        ring = np.sqrt(a * a + (b * 1.06) ** 2) - 0.34
    else:
        qa, qb = np.abs(a) - 0.25, np.abs(b) - 0.15
        ring = (
            np.hypot(np.maximum(qa, 0), np.maximum(qb, 0))
            + np.minimum(np.maximum(qa, qb), 0)
            - 0.11
        )
    aa = 1.1 * c.pixel
    rim = step(thick - np.abs(ring), -aa, aa)
    bridge = step(thick * 0.9 - np.abs(b + 0.09 - 0.12 * c.u**2), -aa, aa) * step(
        0.16 - np.abs(c.u), -aa, aa
    )
    arm = step(thick - np.abs(b + 0.1), -aa, aa) * step(a, 0.33, 0.36) * step(c.edge, -0.01, 0.02)
    arm = arm * (1 - hair)
    lens = step(-ring, 0, aa)
    glare = np.exp(-0.5 * (((c.u + 0.5 * c.v) % 0.9 - 0.3) / 0.12) ** 2)
    image = over(image, (0.75, 0.8, 0.85), 0.05 * lens + 0.07 * lens * glare)
    shadow = cv2.GaussianBlur(np.maximum(rim, bridge), (0, 0), 0.035 / c.pixel)
    image = image * (1 - 0.22 * np.roll(shadow, int(0.05 / c.pixel), axis=0))[..., None]
    frame = np.clip(np.maximum(np.maximum(rim, bridge), arm), 0, 1)
    lit = 0.7 + 0.5 * np.clip(-c.v * 2, -0.4, 0.6) * (1 - step(np.abs(ring), 0, thick))
    return over(image, tint * lit[..., None], frame)
