"""Where each pixel lies on the face, and the few functions that shapes are made of.

A head is a dome over its outline. Turning it slides every point by its depth times
the sine of the angle, and leaves the outline where it is: exact for a sphere, and close
enough for the small angles of portraits, while each pixel's place on the face stays a
closed form, so that shapes are evaluated where they are seen and never resampled.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import cv2
import numpy as np

from detector.data.synthetic.traits import Face, Shot

# Angles (degrees; 0 to the side, 90 down to the chin) and radii of an average outline around
# CENTER, and how jaw, chin, cheek and skull move them.
CENTER_Y = 0.1
_OUTLINE = (
    (-90, 1.58, 0, 0, 0, 1), (-70, 1.50, 0, 0, 0, 1), (-50, 1.29, 0, 0, 0, 0.7),
    (-30, 1.06, 0, 0, 0, 0.3), (-12, 0.97, 0, 0, 0.4, 0), (5, 0.965, 0, 0, 1, 0),
    (20, 0.965, 0.3, 0, 1, 0), (35, 1.01, 0.9, 0, 0.5, 0), (50, 1.12, 1.2, 0, 0, 0),
    (62, 1.27, 1, 0.3, 0, 0), (75, 1.45, 0.4, 0.8, 0, 0), (90, 1.56, 0, 1, 0, 0),
)  # fmt: skip
_TERMS = 7


@dataclass(frozen=True)
class Canvas:
    """Coordinates of each pixel, all float32 (size, size), or those of a box of pixels.

    Args:
        size: Side of the whole picture, pixels.
        x, y: In the plane of the picture, units, upright with the head.
        u, v: On the face as seen from the front.
        rho: Distance from the head's centre, 1 on the outline.
        edge: Signed distance from the outline, units, positive inside.
        depth: Of the smooth head, units.
        pixel: Size of one pixel, units.
    """

    face: Face
    shot: Shot
    size: int
    x: np.ndarray
    y: np.ndarray
    u: np.ndarray
    v: np.ndarray
    rho: np.ndarray
    edge: np.ndarray
    depth: np.ndarray
    pixel: float

    def cut(self, inside: np.ndarray) -> tuple[tuple, "Canvas"]:
        """The smallest box that holds the pixels asked for.

        Args:
            inside: Which they are, bool, of the canvas's shape.

        Returns:
            The box as an index into pictures of the canvas's shape, and its part of the
            canvas; both are empty where nothing is asked for.
        """
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        if not len(rows):
            rows = columns = np.array([0, -1])
        box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        names = ("x", "y", "u", "v", "rho", "edge", "depth")
        return box, replace(self, **{name: getattr(self, name)[box] for name in names})


def make_canvas(face: Face, shot: Shot, size: int) -> Canvas:
    """Lays the face into a picture.

    Args:
        face: Who.
        shot: The pose and where in the picture.
        size: Side, pixels.
    """
    scale = shot.scale * size
    columns, rows = np.meshgrid(
        np.arange(size, dtype=np.float32) + 0.5 - shot.x * size,
        np.arange(size, dtype=np.float32) + 0.5 - shot.y * size,
    )
    cos, sin = np.float32(np.cos(shot.roll) / scale), np.float32(np.sin(shot.roll) / scale)
    x, y = cos * columns + sin * rows, cos * rows - sin * columns
    rho, edge, depth = _head(_waves(face), x, y)
    yaw, pitch = np.float32(np.sin(shot.yaw)), np.float32(np.sin(shot.pitch))
    u, v = x - yaw * depth, y - pitch * depth
    reach = depth + nose_reach(face, u, v)  # the nose stands out, so it slides further
    return Canvas(
        face, shot, size, x, y, x - yaw * reach, y - pitch * reach, rho, edge, depth, 1 / scale
    )


def place(face: Face, shot: Shot, size: int, points: Sequence) -> np.ndarray:
    """Pixels at which points of the face are seen: the inverse of `Canvas.u`, `Canvas.v`.

    Args:
        face, shot, size: As `make_canvas` takes them.
        points: (u, v) of each, units: (n, 2).

    Returns:
        (x, y) of each, pixels, 0 at the centre of the first: float64 (n, 2).
    """
    u, v = np.asarray(points, np.float64).T
    x, y = u, v
    waves, yaw, pitch = _waves(face), np.sin(shot.yaw), np.sin(shot.pitch)
    for _ in range(25):
        depth = _head(waves, x, y)[2]
        reach = depth + nose_reach(face, x - yaw * depth, y - pitch * depth)
        # Half steps, since near the outline the depth is steep and whole ones would overshoot.
        x = 0.5 * (x + u + yaw * reach)
        y = 0.5 * (y + v + pitch * reach)
    cos, sin, scale = np.cos(shot.roll), np.sin(shot.roll), shot.scale * size
    columns = scale * (cos * x - sin * y) + shot.x * size - 0.5
    return np.stack((columns, scale * (sin * x + cos * y) + shot.y * size - 0.5), axis=1)


def nose_reach(face: Face, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """How far the nose stands out of the smooth head, units, at places on the face, units."""
    tip = face.nose_length - 0.12
    return np.float32(0.55 * face.nose_height) * bump(u, v, 0, tip - 0.05, 0.16, 0.26)


def _waves(face: Face) -> tuple:
    """The series of this face's outline, for `_head`."""
    table, solve = _outline()
    first, *rest = solve @ (
        table[:, 1] + table[:, 2:] @ (face.jaw, face.chin, face.cheek, face.skull)
    )
    return first, *(np.float32(wave) for wave in rest)


def _head(waves: tuple, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`Canvas.rho`, `Canvas.edge` and `Canvas.depth` at any place (x, y), units."""
    radius = np.sqrt(x * x + (y - CENTER_Y) ** 2) + np.float32(1e-6)
    sine = (y - np.float32(CENTER_Y)) / radius
    outline = np.full_like(sine, waves[0])
    for wave in waves[1:]:
        outline *= sine
        outline += wave
    rho = radius / outline
    inside = np.maximum(1 - rho * rho, 0)
    return rho, outline - radius, np.float32(0.9) * inside ** np.float32(0.6)


@cache
def _outline() -> tuple[np.ndarray, np.ndarray]:
    """The table, and what turns its radii into a series in the sine of the angle.

    Such a series is smooth, closed and the same on both sides.
    """
    table = np.array(_OUTLINE)
    return table, np.linalg.pinv(np.vander(np.sin(np.radians(table[:, 0])), _TERMS))


def bump(u: np.ndarray, v: np.ndarray, cu: float, cv: float, su: float, sv: float) -> np.ndarray:
    """A Gaussian hill of height 1 with its top at (cu, cv) and standard deviations su and sv."""
    a, b = (u - np.float32(cu)) * np.float32(1 / su), (v - np.float32(cv)) * np.float32(1 / sv)
    return np.exp(np.float32(-0.5) * (a * a + b * b))


def step(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Smoothly from 0 at low to 1 at high, by 3t² - 2t³; low may be the larger."""
    t = np.asarray((x - np.float32(low)) * np.float32(1 / (high - low)))
    # In place: on boxes of a few thousand pixels new arrays cost as much as the arithmetic.
    np.clip(t, 0, 1, out=t)
    rest = t * -2
    rest += 3
    t *= t
    return np.multiply(t, rest, out=t)[()]


def over(image: np.ndarray, color: np.ndarray | tuple, alpha: np.ndarray) -> np.ndarray:
    """Lays a colour over an image.

    Args:
        image: float32 (H, W, 3).
        color: (3,) or (H, W, 3).
        alpha: How much of it, 0 to 1, (H, W).

    Returns:
        float32 (H, W, 3), a new array.
    """
    color = np.asarray(color, np.float32)
    if color.ndim == 1:
        color = every_pixel(color, image.shape)
    mixed = color - image
    mixed *= in_three(alpha.astype(np.float32, copy=False))
    mixed += image
    return mixed


def every_pixel(color: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """A colour (3,) as a picture (H, W, 3); NumPy takes a loop of three steps a pixel without."""
    return np.broadcast_to(np.tile(color, (shape[1], 1)), shape)


def in_three(plane: np.ndarray) -> np.ndarray:
    """A plane (H, W), float32, three times: (H, W, 3), for the same reason."""
    return cv2.merge((plane,) * 3) if plane.size else np.repeat(plane[..., None], 3, 2)


def cloud(
    rng: np.random.Generator, x: np.ndarray, y: np.ndarray, cells: float, octaves: int = 3
) -> np.ndarray:
    """Smooth noise of about unit spread at each place.

    Args:
        rng: Of the noise.
        x, y: Places, units, float32 (H, W).
        cells: Lumps on a length of 4.4 units.
        octaves: How many times finer lumps of half the height are added.

    Returns:
        float32 (H, W).
    """
    total = np.zeros_like(x)
    for octave in range(octaves):
        grid = rng.standard_normal((64, 64), dtype=np.float32)
        every = np.float32(cells * 2**octave / 4.4)
        total += cv2.remap(
            grid, x * every + 32, y * every + 32, cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP
        ) * np.float32(0.5**octave)
    return total


def grain(x: np.ndarray, table: np.ndarray) -> np.ndarray:
    """A table of numbers read at any place, between its entries along straight lines.

    Beyond either end the last entry holds on.
    """
    return np.interp(x, np.arange(len(table)), table).astype(np.float32)


def linear(srgb: np.ndarray | tuple) -> np.ndarray:
    """From display values to light, both 0 to 1, with the usual power of 2.2: float32."""
    return np.asarray(srgb, np.float32) ** np.float32(2.2)
