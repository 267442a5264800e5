"""Eyes, brows, nostrils and mouth, painted onto the lit skin in face coordinates.

Each takes a box of the canvas and what is there, linear light, float32 (H, W, 3), and returns
the same with the feature in it.
"""

import numpy as np

from detector.data.synthetic.canvas import Canvas, bump, grain, linear, over, step


def eye(c: Canvas, image: np.ndarray, side: int) -> np.ndarray:
    """One eye, as bright as the picture given is on average.

    Args:
        c: The canvas, or a box of it.
        image: The skin there.
        side: -1 for the viewer's left eye, 1 for the right one.
    """
    f, aa = c.face, 1.2 * c.pixel / c.face.eye_width
    a, b = (c.u * side - f.eye_x) / f.eye_width, c.v / f.eye_width  # a grows outwards
    b = b + f.eye_tilt * a
    arch = np.maximum(1 - a * a, 0)
    upper = -f.eye_open * arch ** np.float32(0.75) * (1 - 0.12 * a)
    lower = 0.27 * arch ** np.float32(0.9) * (1 + 0.15 * a)
    inside = step(b - upper, -aa, aa) * step(lower - b, -aa, aa) * step(1.02 - np.abs(a), -aa, aa)
    brightness = image.mean() / max(float(linear(f.skin).mean()), 1e-3)
    light = float(np.clip(0.45 + 0.45 * brightness, 0.2, 1.1))
    part = image

    ball = np.sqrt(np.maximum(1 - (a / 1.25) ** 2 - (b / 1.5) ** 2, 0))
    white = np.array((0.6, 0.56, 0.53), np.float32) * (0.3 + 0.7 * ball[..., None])
    pink = bump(a, b, -0.98, 0.06, 0.13, 0.12)
    white = over(white, (0.5, 0.24, 0.2), 0.8 * pink)
    # The iris: rays, a dark rim, lighter near the pupil.
    gx, gy = f.gaze[0] * side, f.gaze[1] - 0.05
    ra, rb = a - np.float32(gx), b - np.float32(gy)
    radius = np.sqrt(ra * ra + rb * rb) / 0.4
    rng = np.random.default_rng(f.seed + 1)
    rays = rng.standard_normal(48).astype(np.float32)
    angle = (np.arctan2(rb, ra) / (2 * np.pi) * 48) % 48
    ray = grain(angle, np.append(rays, rays[0]))
    iris = (
        linear(f.iris)
        * (0.95 + 0.16 * ray + 0.7 * bump(radius, radius * 0, 0.5, 0, 0.2, 1))[..., None]
    )
    iris = iris * (1 - 0.65 * step(radius, 0.72, 1.0))[..., None]
    eyeball = over(white, iris, step(radius, 1 + aa, 1 - aa) * 0.97)
    eyeball = over(eyeball, (0.006, 0.006, 0.007), step(radius, 0.42 + 2 * aa, 0.42 - aa))
    shadow = 1 - 0.6 * np.exp(-np.maximum(b - upper, 0) / 0.13)
    eyeball = eyeball * (shadow * light)[..., None].astype(np.float32)
    lx, ly, _ = c.shot.light
    glint = bump(a, b, gx + 0.28 * lx * side, gy - 0.08 + 0.18 * ly, 0.055, 0.055)
    eyeball += (0.9 * glint * (radius < 1.3))[..., None]
    part = over(part, eyeball, inside)

    # Lids: a crease above, a wet rim below, lashes that thicken outwards.
    dark = linear(f.brow) * np.float32(0.25) + np.float32(0.004)
    crease = b - (1.02 * upper - 0.2 - 0.1 * f.eye_crease * arch)
    wide = step(1.25 - np.abs(a - 0.05), 0, 0.35)
    part = part * (1 - 0.5 * f.eye_crease * np.exp(-0.5 * (crease / 0.065) ** 2) * wide)[..., None]
    rim = np.exp(-0.5 * ((b - lower - 0.03) / 0.045) ** 2) * step(1 - np.abs(a), -0.02, 0.15)
    part = over(part, linear(f.skin) * np.array((0.9, 0.62, 0.58)) * light, 0.4 * rim)
    past = np.maximum(a - 0.9, 0)
    lash = b - upper + 0.02 + 0.5 * past
    thick = (0.04 + 0.055 * f.lash) * (0.65 + 0.35 * a)
    alpha = np.exp(-0.5 * (lash / np.maximum(thick, 0.02)) ** 2) * step(
        1.05 + 0.22 * f.lash - a, 0, 0.2
    )
    part = over(part, dark, (0.55 + 0.4 * f.lash) * alpha * step(a, -1.08, -0.85))
    below = (
        np.exp(-0.5 * ((b - lower - 0.06) / 0.05) ** 2)
        * step(a, -0.4, 0.5)
        * step(1.08 - a, 0, 0.2)
    )
    part = over(part, dark, 0.35 * f.lash * below)
    return part.astype(np.float32)


def brow(c: Canvas, image: np.ndarray, side: int) -> np.ndarray:
    """One eyebrow: a band of short hairs that thins outwards; side as for `eye`."""
    f = c.face
    a = (c.u * side - f.eye_x) / 0.3
    rise = f.brow_arch * (1 - ((a - 0.3) / 1.1) ** 2) + f.brow_tilt * 0.3 * a
    b = c.v + f.brow_y + rise
    thick = f.brow_thick * np.clip(1.05 - 0.42 * np.maximum(a, -0.4), 0.25, 1.2)
    band = np.exp(-(np.abs(b / thick) ** 2.6)) * step(a, -1.15, -0.85) * step(a, 1.2, 0.85)
    rng = np.random.default_rng(f.seed + 2 + side)
    strands = rng.standard_normal(220).astype(np.float32)
    hairs = grain((a * 26 + b * (60 + 90 * a)) % 219, strands)
    tone = linear(f.brow) * 0.8 + 0.006
    lit = np.clip(0.3 + 0.65 * c.depth, 0.3, 1.0)[..., None]
    return over(image, tone * lit, np.clip(band * (0.72 + 0.1 * hairs), 0, 0.95).astype(np.float32))


def nostrils(c: Canvas, image: np.ndarray) -> np.ndarray:
    """The openings of the nose and the creases of its wings."""
    f = c.face
    side = np.abs(c.u)
    tip = f.nose_length - 0.12
    lean = c.v - 0.25 * (side - 0.5 * f.nose_width)
    hole = bump(side, lean, 0.5 * f.nose_width, tip + 0.115, 0.3 * f.nose_width, 0.026)
    wing = np.sqrt(((side - 0.72 * f.nose_width) / 0.105) ** 2 + ((c.v - tip - 0.02) / 0.115) ** 2)
    crease = np.exp(-0.5 * ((wing - 1) / 0.14) ** 2) * step(side, 0.75 * f.nose_width, f.nose_width)
    under = bump(c.u, c.v, 0, tip + 0.15, 0.8 * f.nose_width, 0.04)
    red = np.array((0.45, 0.7, 0.75), np.float32)
    image = image * (1 - (0.42 * crease + 0.25 * under)[..., None] * red)
    return over(image, linear(f.skin) * np.array((0.1, 0.04, 0.035)), np.clip(1.1 * hole, 0, 0.92))


def mouth(c: Canvas, image: np.ndarray) -> np.ndarray:
    """Lips, and between them teeth where the mouth is open."""
    f = c.face
    a = c.u / f.mouth_width
    lift = -0.075 * f.smile * (a * a - 0.35)
    m = np.float32(f.mouth_y) + lift
    arch = np.maximum(1 - a * a, 0)
    gap = f.mouth_open * arch
    bow = (
        1
        - 0.22 * np.exp(-0.5 * (a / 0.16) ** 2)
        + 0.12 * np.exp(-0.5 * ((np.abs(a) - 0.3) / 0.16) ** 2)
    )
    top = m - gap * 0.5 - f.lip_upper * arch ** np.float32(0.8) * bow
    bottom = m + gap + f.lip_lower * arch ** np.float32(0.55) * (1 - 0.15 * np.abs(a))
    aa = 1.3 * c.pixel
    lips = (
        step(c.v - top, -aa, aa * 1.2)
        * step(bottom - c.v, -aa * 1.4, aa * 1.4)
        * step(1 - np.abs(a), -0.02, 0.12)
    )
    rng = np.random.default_rng(f.seed + 3)
    ridges = grain(np.clip(a * 40 + 60, 0, 119), rng.standard_normal(120))
    tint = linear(f.lip) / np.maximum(linear(f.skin), 1e-3)
    painted = image * tint * (1 + 0.06 * ridges[..., None])
    painted = painted * (1 - 0.22 * step(m - c.v, -0.01, f.lip_upper))[..., None]  # faces down
    shine = bump(
        c.u, c.v, 0.1 * c.shot.light[0], f.mouth_y + gap.max() + 0.5 * f.lip_lower, 0.13, 0.022
    )
    painted = painted + (0.07 * shine)[..., None]
    image = over(image, painted.astype(np.float32), 0.93 * lips)
    if f.mouth_open > 0.012:
        hole = (
            step(c.v - (m - 0.5 * gap), -aa, aa)
            * step(m + gap - c.v, -aa, aa)
            * step(0.93 - np.abs(a), 0, 0.1)
        )
        image = over(image, (0.035, 0.012, 0.01), hole)
        tooth = np.abs(((a * f.mouth_width + 0.045) % 0.09) / 0.045 - 1)
        teeth = hole * step(m + 0.72 * gap - c.v, -aa, aa) * step(0.8 - np.abs(a), 0, 0.25)
        light = np.clip(1.1 - 0.55 * np.abs(a), 0, 1) * (1 - 0.25 * step(tooth, 0.75, 1.0))
        image = over(image, light[..., None] * np.array((0.62, 0.58, 0.5)), 0.92 * teeth)
    line = (c.v - m + 0.4 * gap) / (0.014 + 0.006 * f.age)
    line = (
        np.exp(-0.5 * line * line)
        * step(1.06 - np.abs(a), 0, 0.1)
        * (1 if f.mouth_open < 0.02 else 0.4)
    )
    image = over(image, linear(f.skin) * np.array((0.16, 0.06, 0.05)), 0.75 * line)
    corner = bump(np.abs(a), c.v, 1.0, f.mouth_y - 0.049 * f.smile, 0.07, 0.025)
    image = image * (1 - 0.4 * corner)[..., None]
    under = bump(c.u, c.v, 0, f.mouth_y + gap.max() + f.lip_lower + 0.05, 0.7 * f.mouth_width, 0.03)
    return image * (1 - 0.18 * under)[..., None]
