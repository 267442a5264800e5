"""Who is in the picture and how it was taken: every number of a rendered face, drawn once.

Lengths are in units of 70 mm, half the breadth of a face: pupils lie .9 apart, the mouth
at 1, the chin at 1.65 below the eye line (proportions after Farkas, Anthropometry of the Head
and Face, 1994, rounded). Left and right are the viewer's.
"""

from dataclasses import dataclass

import numpy as np

# sRGB anchors from pale to dark; what lies between is interpolated.
SKIN = (
    (247, 216, 198),
    (235, 190, 160),
    (212, 158, 122),
    (172, 118, 84),
    (122, 79, 56),
    (84, 55, 42),
)
HAIR = ((28, 22, 20), (52, 34, 24), (88, 58, 36), (132, 92, 54), (196, 156, 98), (120, 54, 26))
GREY = (176, 174, 170)
IRIS = ((70, 44, 28), (96, 62, 34), (122, 96, 56), (88, 108, 78), (96, 128, 150), (120, 140, 156))


@dataclass(frozen=True)
class Face:
    """What belongs to the person and to the moment.

    Args:
        skin, hair, brow, iris, lip: sRGB, 0 to 1.
        jaw, chin, cheek, skull: Additions to the outline's radius, units.
        eye_open, gaze: In half-widths of the eye; gaze is (right, down).
        eye_tilt, brow_tilt: Rise per length, positive where the outer end is the higher.
        smile: -0.5 where the corners of the mouth hang, 1 where they are highest.
        hair_line, hair_part: Height of the line at the middle, and where the parting is, units.
        others: Lengths and places in units, amounts from 0 to about 1.
    """

    tone: float  # 0 pale to 1 dark
    skin: tuple
    hair: tuple
    brow: tuple
    iris: tuple
    lip: tuple
    age: float
    masculine: float
    jaw: float
    chin: float
    cheek: float
    skull: float
    eye_x: float
    eye_width: float  # half
    eye_open: float
    eye_tilt: float
    eye_crease: float
    lash: float
    gaze: tuple
    brow_y: float
    brow_arch: float
    brow_thick: float
    brow_tilt: float
    nose_length: float
    nose_width: float
    nose_height: float
    nose_bump: float
    mouth_y: float
    mouth_width: float  # half
    lip_upper: float
    lip_lower: float
    smile: float
    mouth_open: float
    fold: float
    blush: float
    beard: float
    freckles: float
    hair_style: str  # bald, short, parted, fringe or long
    hair_volume: float
    hair_line: float
    hair_part: float
    glasses: str  # none, round or square
    seed: int  # of textures


@dataclass(frozen=True)
class Shot:
    """Pose, light and camera.

    Args:
        x, y: The middle of the eye line, seen from the front; shares of the picture's side.
        scale: One unit, as a share of the picture's side.
        roll, yaw, pitch: Radians. Positive is clockwise, to the right and downwards.
        light: Direction towards the key light (x, y, z), of length 1, in axes that
            roll with the head; y points down, z to the viewer and is above 0.
        key: Share of the light that is the key light's; the rest comes from everywhere.
        exposure: Factor on the light.
        noise: Standard deviation of the grain, about, on the scale from 0 to 1.
    """

    x: float
    y: float
    scale: float
    roll: float
    yaw: float
    pitch: float
    light: tuple
    key: float
    warmth: float  # share that red gains and blue loses
    tint: float  # share that green gains
    exposure: float
    blur: float  # standard deviation, pixels of a picture of 224
    noise: float
    quality: int  # of JPEG
    seed: int  # of the background


def draw_face(rng: np.random.Generator, tone: float | None = None) -> Face:
    """Draws a person; traits that go together in people are drawn together.

    Args:
        rng: The source of chance.
        tone: Of the skin, 0 pale to 1 dark; None draws it too.
    """

    def around(mean: float, spread: float) -> float:
        return float(np.clip(rng.normal(mean, spread), mean - 2.5 * spread, mean + 2.5 * spread))

    drawn, age, masculine = (float(v) for v in rng.uniform(0, 1, 3))
    tone = drawn if tone is None else tone
    skin = np.clip(_ramp(SKIN, tone) * rng.normal(1, 0.025, 3), 0, 1)
    dark = 1.2 * tone + rng.uniform(-0.55, 0.35)  # dark skin rarely has fair hair or eyes
    hair = _ramp(HAIR, float(np.clip(0.62 - 0.8 * dark, 0, 1)) * rng.uniform(0.6, 1))
    if age > 0.65:
        hair += (np.array(GREY) / 255 - hair) * rng.uniform(0, 1) * min(1, (age - 0.65) * 4)
    brow = 0.85 * hair
    if age < 0.65 and rng.random() < 0.08 * (1 - masculine):  # dyed
        hair = np.array((0.45, 0.14, 0.12)) * rng.uniform(0.6, 1.3, 3)
    iris = _ramp(IRIS, float(np.clip(0.75 - 1.1 * dark + rng.normal(0, 0.15), 0, 1)))
    makeup = (1 - masculine) ** 2 * rng.uniform(0, 1)
    natural = skin * np.array((0.86, 0.62, 0.60))
    lip = natural + makeup * (np.array((0.66, 0.16, 0.2)) * rng.uniform(0.7, 1.1) - natural) * 0.8
    styles = ("bald", "short", "parted", "fringe", "long")
    odds = np.array((0.13, 0.5, 0.25, 0.09, 0.03)) * masculine
    odds += np.array((0.01, 0.1, 0.21, 0.24, 0.44)) * (1 - masculine)
    smile = float(np.clip(rng.normal(0.3, 0.45), -0.5, 1))
    return Face(
        tone=tone,
        skin=tuple(map(float, skin)),
        hair=tuple(map(float, np.clip(hair, 0.02, 0.95))),
        brow=tuple(map(float, np.clip(brow, 0.02, 0.8))),
        iris=tuple(map(float, iris)),
        lip=tuple(map(float, np.clip(lip, 0, 1))),
        age=age,
        masculine=masculine,
        jaw=around(0.06 * masculine - 0.02, 0.035),
        chin=around(0.05 * masculine, 0.035),
        cheek=around(0, 0.03),
        skull=around(0, 0.05),
        eye_x=around(0.45, 0.02),
        eye_width=around(0.238, 0.012),
        eye_open=around(0.47 - 0.08 * max(smile, 0) - 0.07 * masculine, 0.06),
        eye_tilt=around(0.05, 0.06),
        eye_crease=float(rng.uniform(0.1, 1)),
        lash=float(np.clip(0.25 + 0.75 * makeup + rng.normal(0, 0.08), 0.1, 1)),
        gaze=(around(0, 0.1), around(0, 0.05)),
        brow_y=around(0.31 - 0.04 * masculine, 0.03),
        brow_arch=around(0.075 - 0.05 * masculine, 0.022),
        brow_thick=around(0.052 + 0.03 * masculine, 0.012),
        brow_tilt=around(0.02, 0.07),
        nose_length=around(0.66, 0.04),
        nose_width=around(0.2 + 0.035 * tone, 0.022),
        nose_height=around(0.36 - 0.05 * tone, 0.035),
        nose_bump=around(0.02 * masculine, 0.02),
        mouth_y=around(1.0, 0.03),
        mouth_width=around(0.355 + 0.05 * max(smile, 0), 0.022),
        lip_upper=around(0.085 + 0.03 * tone - 0.02 * masculine - 0.02 * age, 0.016),
        lip_lower=around(0.115 + 0.03 * tone - 0.02 * masculine - 0.02 * age, 0.018),
        smile=smile,
        mouth_open=float(max(0.0, rng.normal(-0.02, 0.05) + 0.07 * max(smile - 0.4, 0))),
        fold=float(np.clip(0.15 + 0.5 * age + 0.4 * max(smile, 0) + rng.normal(0, 0.1), 0, 1.2)),
        blush=float(rng.uniform(0.1, 0.7) + 0.3 * makeup),
        beard=float(max(0, masculine - 0.55) / 0.45 * rng.uniform(0, 1) ** 1.5),
        freckles=float((1 - tone) * max(0, rng.uniform(-1.5, 1))),
        hair_style=str(rng.choice(styles, p=odds / odds.sum())),
        hair_volume=around(0.17, 0.05),
        hair_line=around(-0.98 - 0.12 * age * masculine, 0.06),
        hair_part=float(rng.choice((-1, 1)) * rng.uniform(0, 0.5)),
        glasses=str(rng.choice(("none", "round", "square"), p=(0.76, 0.1, 0.14))),
        seed=int(rng.integers(2**31)),
    )


def draw_shot(rng: np.random.Generator) -> Shot:
    """Draws a pose, a light and a camera.

    Args:
        rng: The source of chance.
    """
    light = np.array((rng.normal(0, 0.75), rng.normal(-0.55, 0.3), 1.0))
    light /= np.linalg.norm(light)
    return Shot(
        x=0.5 + float(np.clip(rng.normal(0, 0.02), -0.05, 0.05)),
        y=0.5 + float(np.clip(rng.normal(0, 0.015), -0.04, 0.04)),
        scale=float(rng.uniform(0.245, 0.275)),
        roll=float(np.clip(rng.normal(0, 0.05), -0.12, 0.12)),
        yaw=float(np.clip(rng.normal(0, 0.17), -0.36, 0.36)),
        pitch=float(np.clip(rng.normal(0.02, 0.08), -0.16, 0.2)),
        light=tuple(map(float, light)),
        key=float(rng.uniform(0.55, 0.85)),
        warmth=float(rng.normal(0, 0.06)),
        tint=float(rng.normal(0, 0.02)),
        exposure=float(2 ** rng.normal(0.05, 0.2)),
        blur=float(rng.uniform(0.35, 0.75)),
        noise=float(rng.uniform(0.003, 0.012)),
        quality=int(rng.integers(80, 97)),
        seed=int(rng.integers(2**31)),
    )


def _ramp(anchors: tuple, at: float) -> np.ndarray:
    """The colour at a place from 0 (first anchor) to 1 (last): sRGB from 0 to 1, float64 (3,)."""
    colors = np.array(anchors, float) / 255
    places = np.linspace(0, 1, len(anchors))
    return np.stack([np.interp(at, places, colors[:, k]) for k in range(3)])
