"""The bare head: relief, colour of the skin, and light on both."""

import math

import cv2
import numpy as np

from detector.data.synthetic.canvas import Canvas, bump, cloud, linear, step


def relief(c: Canvas) -> np.ndarray:
    """Height of the face towards the viewer, units, float32 of the canvas's shape (H, W)."""
    f, u, v = c.face, c.u, c.v
    side = np.abs(u)
    h = np.float32(1.05) * np.maximum(1 - c.rho**2.4, 0) ** np.float32(0.55)
    bony = 0.05 + 0.05 * f.masculine
    h += bony * bump(side, v, f.eye_x - 0.05, -0.27, 0.3, 0.1)
    h -= 0.13 * bump(side, v, f.eye_x - 0.06, 0.0, 0.24, 0.15)
    h += 0.07 * bump(side, v, f.eye_x, 0.0, 0.17, 0.13)
    h += (0.09 + 0.5 * f.cheek) * bump(side, v, 0.56, 0.42, 0.26, 0.2)
    h += 0.06 * max(f.smile, 0) * bump(side, v, 0.5, 0.5, 0.16, 0.14)
    # Nose: a ridge that widens and rises to the tip, wings at its sides, nothing below.
    tip = f.nose_length - 0.12
    rise = step(v, -0.25, tip) * (1 - step(v, tip + 0.02, f.nose_length + 0.06))
    ridge = np.float32(f.nose_height) * (
        0.22 * step(v, -0.35, -0.1) * (1 - step(v, 0.1, tip)) + rise
    )
    ridge += f.nose_bump * bump(u, v, 0, 0.15, 1, 0.1)
    width = 0.085 + (0.45 * f.nose_width - 0.02) * step(v, 0.0, tip)
    h += ridge * np.exp(-0.5 * (u / width) ** 2)
    h += 0.4 * f.nose_height * bump(side, v, 0.72 * f.nose_width, tip + 0.02, 0.07, 0.085)
    # Mouth: a mound, two lips and the line between them, the groove above the chin.
    m = f.mouth_y
    h += 0.07 * bump(u, v, 0, m - 0.02, 0.42, 0.24)
    h += 0.05 * bump(u, v, 0, m - 0.06, 0.24, 0.05) + 0.07 * bump(u, v, 0, m + 0.09, 0.22, 0.06)
    h -= 0.03 * bump(u, v, 0, m - 0.2, 0.04, 0.07)
    h -= 0.06 * bump(u, v, 0, m + 0.25, 0.24, 0.06)
    h += 0.1 * bump(u, v, 0, 1.45, 0.22, 0.14)
    # Folds from the wings of the nose to the corners of the mouth, and bags under the eyes.
    t = np.clip((v - tip) / (m + 0.05 - tip), 0, 1.2)
    fold = side - (0.25 + (f.mouth_width - 0.12) * t**1.3)
    h -= (
        0.045
        * f.fold
        * np.exp(-0.5 * (fold / 0.05) ** 2)
        * step(v, tip, tip + 0.15)
        * (1 - step(v, m - 0.05, m + 0.2))
    )
    bag = v - (0.17 + 0.08 * (1 - ((side - f.eye_x) / 0.3) ** 2))
    h -= (
        0.03
        * (0.2 + f.age)
        * np.exp(-0.5 * (bag / 0.03) ** 2)
        * bump(side, v, f.eye_x, 0.2, 0.16, 0.3)
    )
    if f.age > 0.55:  # lines across the forehead and beside the eyes
        lines = np.sin(v * 42 + 1.2 * np.cos(u * 3)) * bump(u, v, 0, -0.66, 0.4, 0.14)
        crow = np.sin((v + 0.4 * (side - 0.7)) * 60) * bump(
            side, v, f.eye_x + 0.31, 0.02, 0.07, 0.09
        )
        h += (f.age - 0.55) * (0.016 * lines + 0.014 * crow)
    return h.astype(np.float32)


def albedo(c: Canvas) -> np.ndarray:
    """Colour of the skin without light, linear, float32 (H, W, 3)."""
    f, u, v = c.face, c.u, c.v
    rng = np.random.default_rng(f.seed)
    side = np.abs(u)
    skin = np.broadcast_to(linear(f.skin), (*u.shape, 3)).copy()
    patches = cloud(rng, u, v, 7)
    grain = rng.standard_normal(u.shape, dtype=np.float32)
    grain = cv2.GaussianBlur(grain, (0, 0), max(0.4, 0.014 / c.pixel)) * (0.03 / c.pixel) ** 0.5
    skin *= (1 + 0.03 * patches + 0.035 * grain * (0.6 + 0.6 * f.age))[..., None]
    red = f.blush * bump(side, v, 0.55, 0.5, 0.22, 0.2)
    red += 0.5 * bump(u, v, 0, f.nose_length - 0.1, 0.16, 0.14)
    red += 0.25 * bump(side, v, f.eye_x, 0.1, 0.24, 0.06) + 0.06 * cloud(rng, u, v, 12, 2)
    skin *= 1 - np.float32(0.24) * red[..., None] * np.array((0.05, 0.85, 0.75), np.float32)
    hollow = (0.12 + 0.25 * f.age) * bump(side, v, f.eye_x - 0.05, 0.15, 0.17, 0.06)
    lid = 0.2 * (1 - f.masculine) * bump(side, v, f.eye_x, -0.1, 0.2, 0.06)
    skin *= 1 - (hollow + lid)[..., None] * np.array((0.7, 0.9, 0.85), np.float32)
    if f.freckles > 0.1:
        spots = cv2.GaussianBlur(
            (rng.random(u.shape) < 0.012).astype(np.float32), (0, 0), 0.02 / c.pixel
        )
        spots *= np.float32(8) * (bump(side, v, 0.4, 0.4, 0.3, 0.2) + 0.3) * f.freckles
        skin *= 1 - np.clip(spots, 0, 0.45)[..., None] * np.array((0.5, 0.8, 1), np.float32)
    for _ in range(int(rng.poisson(1.2))):  # moles
        mole = bump(u, v, rng.uniform(-0.8, 0.8), rng.uniform(-0.6, 1.4), 0.018, 0.018)
        skin *= 1 - 0.6 * mole[..., None] * np.array((0.8, 0.95, 1), np.float32)
    if f.beard > 0.02:
        where = step(v, 0.62, 0.9) * step(c.edge + 0.25 * step(v, 0.9, 1.3), 0.02, 0.2)
        where *= 1 - bump(u, v, 0, f.mouth_y, f.mouth_width * 0.75, 0.13)
        jaw = step(side, 0.35, 0.6) * (1 - step(v, 0.75, 1.1))
        where *= 1 - 0.9 * jaw * step(side, 0.9, 0.7)
        stubble = rng.standard_normal(u.shape, dtype=np.float32)
        stubble = cv2.GaussianBlur(stubble, (0, 0), 0.6, sigmaY=1.0)
        alpha = np.clip(where * f.beard * (0.75 + 0.5 * stubble), 0, 0.92)
        skin += alpha[..., None] * (linear(f.hair) * 0.8 + 0.01 - skin)
    return skin


def shade(c: Canvas, color: np.ndarray, height: np.ndarray, gloss: float = 1.0) -> np.ndarray:
    """Light on a surface: key light, sky, hollows, cast shadow and shine.

    Args:
        c: The canvas, for the light.
        color: Without light, linear, (H, W, 3).
        height: Units, float32 (H, W).
        gloss: Strength of the shine.

    Returns:
        Linear light, float32 (H, W, 3). Red light spreads furthest under skin, so it
        wraps further around (after Green, GPU Gems, ch. 16, 2004).
    """
    soft = cv2.GaussianBlur(height, (0, 0), 0.02 / c.pixel)
    dx = cv2.Sobel(soft, cv2.CV_32F, 1, 0, scale=0.125 / c.pixel)
    dy = cv2.Sobel(soft, cv2.CV_32F, 0, 1, scale=0.125 / c.pixel)
    length = 1 / np.sqrt(1 + dx * dx + dy * dy)
    lx, ly, lz = (np.float32(k) for k in _light(c))
    toward = (lz - lx * dx - ly * dy) * length
    shadow = cast_shadow(c, soft)
    hollow = np.maximum(cv2.GaussianBlur(soft, (0, 0), 0.09 / c.pixel) - soft, 0)
    open_sky = np.exp(np.float32(-7) * hollow)
    sky = (0.62 + 0.38 * dy * length) * open_sky
    half = np.array((lx, ly, lz + 1), np.float32)
    half /= np.linalg.norm(half)
    shine = np.maximum((half[2] - half[0] * dx - half[1] * dy) * length, 0) ** np.float32(22)
    out = np.empty_like(color)
    key, fill = np.float32(c.shot.key), np.float32(1.05 - c.shot.key)
    for k, (wrap, tint) in enumerate(zip((0.34, 0.22, 0.15), (1.04, 1.0, 0.95), strict=True)):
        wrapped = np.maximum((toward + wrap) / (1 + wrap), 0)
        lit = key * tint * wrapped * (1 - (0.9 - 0.25 * wrap) * shadow)
        out[..., k] = color[..., k] * (1.3 * lit + fill * sky * (0.94 + 0.06 * open_sky))
    out += (np.float32(0.055 * gloss * c.shot.key) * shine * (1 - shadow) * open_sky)[..., None]
    return out


def cast_shadow(c: Canvas, height: np.ndarray) -> np.ndarray:
    """Share of the key light that the relief itself keeps away.

    Args:
        c: The canvas, for the light.
        height: Units, float32 (H, W).

    Returns:
        float32 (H, W), 0 to 1: how far the ray to the light runs below the surface within
        0.42 units, looked for in six steps at half the resolution.
    """
    lx, ly, lz = _light(c)
    small = cv2.resize(height, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    step_px = 0.07 / (2 * c.pixel)
    worst = np.zeros_like(small)
    for k in range(1, 7):
        move = np.float32([[1, 0, -lx * k * step_px], [0, 1, -ly * k * step_px]])
        there = cv2.warpAffine(
            small, move, small.shape[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        np.maximum(worst, there - small - np.float32(0.07 * k * lz), out=worst)
    worst = cv2.GaussianBlur(worst, (0, 0), max(0.6, 0.02 / c.pixel))
    full = cv2.resize(worst, height.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return step(full, 0.005, 0.1)


def _light(c: Canvas) -> tuple[float, float, float]:
    """The key light in the picture's axes, in which slopes are measured."""
    x, y, z = c.shot.light
    cos, sin = math.cos(c.shot.roll), math.sin(c.shot.roll)
    return cos * x - sin * y, cos * y + sin * x, z
