"""Somebody to photograph, of whom one thing is changed at a time."""

from dataclasses import fields, replace

import numpy as np

from detector.data.synthetic.canvas import Canvas, make_canvas
from detector.data.synthetic.traits import Face, Shot, draw_face, draw_shot

FRONT = {
    "x": 0.5, "y": 0.5, "scale": 0.26, "roll": 0.0, "yaw": 0.0, "pitch": 0.0,
    "light": (0.0, 0.0, 1.0), "warmth": 0.0, "tint": 0.0, "exposure": 1.0,
}  # fmt: skip
_OF_SHOT = {field.name for field in fields(Shot)} - {"seed"}  # that of `changes` is the face's


def drawn(seed: int, **changes: object) -> tuple[Face, Shot]:
    """A face and a shot as the seed has them, but for the changes."""
    rng = np.random.default_rng(seed)
    face, shot = draw_face(rng), draw_shot(rng)
    of_shot = {key: changes.pop(key) for key in list(changes) if key in _OF_SHOT}
    return replace(face, **changes), replace(shot, **of_shot)


def canvas(seed: int, size: int, **changes: object) -> Canvas:
    """One that looks straight ahead into an even light, but for the changes."""
    return make_canvas(*drawn(seed, **FRONT | changes), size)


def flat(c: Canvas, value: float = 0.4) -> np.ndarray:
    """A picture of the canvas's shape without anything in it."""
    return np.full((*c.u.shape, 3), value, np.float32)
