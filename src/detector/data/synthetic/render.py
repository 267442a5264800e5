"""One face, from its traits to display values: what is below hair and glasses, and all of it."""

from collections.abc import Callable

import numpy as np

from detector.data.synthetic import features, hair, scene, skin
from detector.data.synthetic.canvas import Canvas, every_pixel, linear, over, step


def bare(c: Canvas, *, surroundings: bool = True) -> np.ndarray:
    """The face without what hangs before it, so that parts can be exchanged below it.

    Args:
        c: The canvas.
        surroundings: False leaves out everything around the head, for faces that only
            give parts.

    Returns:
        Display values in [0, 1], float32 (size, size, 3).
    """
    image = np.empty((*c.u.shape, 3), np.float32)
    if not surroundings:
        image[:] = 0.5 * linear(c.face.skin)
    else:
        image[:] = scene.background(c)
        behind = hair.hair_behind(c)
        box, near = c.cut(behind > 0)
        if near.u.size:
            image[box] = over(image[box], 0.7 * hair.hair_color(near), behind[box])
        box, near = c.cut(c.y > 0.5)
        if near.y.size:
            image[box] = scene.body(near, image[box])
        if not hair.falls(c.face):
            image = scene.ears(c, image)
    box, head = c.cut(c.edge > -0.05)  # rendering only what is seen of the head halves the time
    if head.edge.size:
        alpha = step(head.edge, -1.1 * c.pixel, 1.1 * c.pixel)
        image[box] = over(image[box], _skin_and_features(head), alpha)
    return develop(c, image)


def _skin_and_features(c: Canvas) -> np.ndarray:
    f = c.face
    face = skin.shade(c, skin.albedo(c), skin.relief(c))
    _draw(c, face, features.nostrils, (-0.5, 0.5, 0.25, 0.9))
    wide = 1.25 * f.mouth_width
    _draw(c, face, features.mouth, (-wide, wide, f.mouth_y - 0.4, f.mouth_y + 0.5))
    for side in (-1, 1):
        middle, eye = side * f.eye_x, 1.8 * f.eye_width
        _draw(c, face, features.eye, (middle - eye, middle + eye, -eye, eye), side)
        _draw(c, face, features.brow, (middle - 0.42, middle + 0.42, -0.8, 0.0), side)
    return face


def _draw(
    c: Canvas, image: np.ndarray, draw: Callable, reach: tuple[float, ...], *args: object
) -> None:
    """Draws a feature into the picture where it can reach, and nowhere else: five times faster."""
    left, right, top, bottom = reach
    box, part = c.cut((c.u >= left) & (c.u <= right) & (c.v >= top) & (c.v <= bottom))
    if part.u.size:
        image[box] = draw(part, image[box], *args)


def dressed(c: Canvas, image: np.ndarray) -> np.ndarray:
    """Hair and glasses over a bare face.

    Args:
        c: The canvas, whole.
        image: What `bare` gave, or the same with other parts.

    Returns:
        Display values in [0, 1], float32 (size, size, 3); a pixel depends on no other pixel
        of image.
    """
    alpha = hair.hair_before(c)
    box, near = c.cut(alpha > 0)
    if near.u.size:
        color = np.zeros_like(image)
        color[box] = develop(c, hair.hair_color(near))
        image = hair.lay_hair(c, image, alpha, color)
    return hair.lay_glasses(c, image, alpha)


def develop(c: Canvas, light: np.ndarray) -> np.ndarray:
    """From light to display values: exposure, white balance, a soft shoulder, gamma.

    Args:
        c: The canvas, for the camera.
        light: Linear, float32 (H, W, 3).

    Returns:
        Display values in [0, 1], float32 (H, W, 3).
    """
    warm = np.float32(c.shot.warmth)
    light = np.maximum(light, 0) * np.float32(c.shot.exposure)
    tint = np.array((1 + warm, 1 + c.shot.tint, 1 - warm), np.float32)
    light = light * every_pixel(tint, light.shape)
    return (1 - np.exp(np.float32(-1.35) * light)) ** np.float32(1 / 2.2)
