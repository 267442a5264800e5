"""One picture of the synthetic set, from its seed to its bytes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from detector.data.synthetic.camera import REACH, encode, expose
from detector.data.synthetic.canvas import make_canvas, place
from detector.data.synthetic.render import bare, dressed
from detector.data.synthetic.swap import PARTS, Craft, anchors, paste, region
from detector.data.synthetic.traits import Face, Shot, draw_face, draw_shot

VERSION = 1  # raise it when the same seed gives another picture

CRAFT = {  # from clumsy to careful
    "easy": Craft(feather=0.025, match=0.0, contrast=0.0, seam=0.0, slip=0.02),
    "mid": Craft(feather=0.045, match=0.4, contrast=0.2, seam=0.0, slip=0.015),
    "hard": Craft(feather=0.08, match=0.6, contrast=0.4, seam=0.1, slip=0.01),
}


@dataclass(frozen=True)
class Portrait:
    """A picture and the truth about it.

    Args:
        jpeg: The encoded picture.
        mask: uint8 (size, size): the sum of 1 for the viewer's left eye, 2 for the right,
            4 for the nose and 8 for the mouth, wherever that part's cut and blend may have
            changed a pixel. Outside, the pixels handed to the encoder are untouched.
        landmarks: (x, y) in pixels of the viewer's left eye, right eye, nose tip, and the
            viewer's left and right corner of the mouth: YuNet's five points.
        traits: What is known of the face and its photograph.
    """

    jpeg: bytes
    mask: np.ndarray
    landmarks: tuple[tuple[float, float], ...]
    traits: dict[str, str | int | float]


def portrait(
    seed: Sequence[int],
    *,
    size: int,
    difficulty: str,
    parts: tuple[bool, bool, bool, bool],
    fake: bool,
) -> Portrait:
    """Renders a face, exchanges the parts asked for, and takes the photograph.

    Args:
        seed: Of everything in this picture.
        size: Side, pixels.
        difficulty: A key of `CRAFT`.
        parts: Which of `swap.PARTS` go through the cut.
        fake: True puts in another face's parts, False the face's own.
    """
    pixels, mask, face, shot = paint(seed, size=size, difficulty=difficulty, parts=parts, fake=fake)
    return Portrait(
        encode(pixels, shot.quality), mask, _landmarks(face, shot, size), _traits(face, shot)
    )


def paint(
    seed: Sequence[int],
    *,
    size: int,
    difficulty: str,
    parts: tuple[bool, bool, bool, bool],
    fake: bool,
) -> tuple[np.ndarray, np.ndarray, Face, Shot]:
    """As `portrait`, before encoding.

    Without any part the picture is what either class is made from. From this picture theirs
    differ by the exchange alone: outside the mask all three are the same to the bit.

    Returns:
        The picture, uint8 (size, size, 3), its mask, the face and the shot.
    """
    # Streams of their own, so that a picture and its untouched double differ in nothing else.
    who, other, work, film = (
        np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(4)
    )
    face, shot = draw_face(who), draw_shot(who)
    canvas = make_canvas(face, shot, size)
    image = bare(canvas)
    craft = CRAFT[difficulty]
    giver, given = canvas, image
    if fake and any(parts):
        giver = make_canvas(*_stranger(face, shot, other), size)
        given = bare(giver, surroundings=False)
    mask = np.zeros((size, size), np.uint8)
    shapes = work.uniform(0.9, 1.1, (len(PARTS), 4))
    to, result = anchors(canvas), image
    of = to if giver is canvas else anchors(giver)
    for bit, (part, wanted) in enumerate(zip(PARTS, parts, strict=True)):
        if wanted:
            alpha = region(canvas, part, shapes[bit], craft.feather)
            result = paste(result, given, to[part], of[part], alpha, craft, canvas.pixel, work)
            # The camera's blur carries a change a few pixels further.
            carried = cv2.dilate(
                (alpha > 0).astype(np.uint8), np.ones((2 * REACH + 1,) * 2, np.uint8)
            )
            mask |= carried << bit
    return expose(dressed(canvas, result), shot, film), mask, face, shot


def _stranger(face: Face, shot: Shot, rng: np.random.Generator) -> tuple[Face, Shot]:
    """Another person, photographed in plainly another light.

    What is bright is replaced by what is darker and the other way round, where it would
    otherwise drown in black or white. Of casts, every hue is as frequent.
    """
    bright = 0.5 - 0.5 * face.tone + 0.4 * np.log2(shot.exposure)
    darker = bool(rng.uniform(-0.05, 0.6) < bright)
    tone = face.tone + (1 if darker else -1) * rng.uniform(0.1, 0.25)
    other, taken = draw_face(rng, float(np.clip(tone, 0, 1))), draw_shot(rng)
    stops = (-1 if darker else 1) * rng.uniform(0.8, 1.2)
    hue, cast = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.2)
    return other, replace(
        taken,
        exposure=shot.exposure * 2 ** float(stops),
        warmth=shot.warmth + float(cast * np.cos(hue)),
        tint=shot.tint + float(cast * np.sin(hue)),
    )


def _landmarks(face: Face, shot: Shot, size: int) -> tuple[tuple[float, float], ...]:
    corner = face.mouth_y - 0.049 * face.smile
    points = (
        (-face.eye_x, 0.0),
        (face.eye_x, 0.0),
        (0.0, face.nose_length - 0.12),
        (-face.mouth_width, corner),
        (face.mouth_width, corner),
    )
    return tuple((float(x), float(y)) for x, y in place(face, shot, size, points))


def _traits(face: Face, shot: Shot) -> dict[str, str | int | float]:
    degrees = {
        key: round(float(np.degrees(getattr(shot, key))), 1) for key in ("yaw", "pitch", "roll")
    }
    side = shot.light[0]
    return {
        "skin_tone": round(face.tone, 3),
        "age": round(face.age, 3),
        "hair": face.hair_style,
        "glasses": face.glasses,
        "beard": int(face.beard > 0.1),
        "smile": round(face.smile, 3),
        **degrees,
        "light_from": "left" if side < -0.2 else "right" if side > 0.2 else "front",
    }
