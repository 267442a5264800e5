"""Hair and glasses: which styles cover what, and that they lie over the face."""

import numpy as np
import pytest

from detector.data.synthetic.hair import (
    falls,
    hair_before,
    hair_behind,
    hair_color,
    lay_glasses,
    lay_hair,
)
from tests.data.synthetic.sitter import canvas, flat

SIZE = 160


@pytest.mark.parametrize("style", ["bald", "short", "parted", "fringe", "long"])
def test_styles_cover_what_they_should(style):
    for seed in range(4):
        c = canvas(seed, SIZE, hair_style=style, hair_line=-0.95)
        before, behind = hair_before(c), hair_behind(c)
        for alpha in (before, behind):
            assert alpha.dtype == np.float32 and alpha.shape == (SIZE, SIZE)
            assert alpha.min() >= 0 and alpha.max() <= 1
        crown = before[(np.abs(c.x) < 0.4) & (c.v < -1.3) & (c.edge > 0.05)].mean()
        forehead = before[(np.abs(c.u) < 0.3) & (c.v > -0.65) & (c.v < -0.55)].mean()
        beside = behind[(np.abs(np.abs(c.x) - 1.05) < 0.04) & (np.abs(c.y - 0.4) < 0.1)].mean()
        assert not before[(np.abs(c.u) < 0.55) & (c.v > -0.15) & (c.v < 1.0)].any()  # the face
        assert crown == 0 if style == "bald" else crown > 0.95
        assert forehead > 0.9 if style == "fringe" else forehead < 0.2
        assert falls(c.face) == (style in ("fringe", "long"))
        assert beside > 0.5 if falls(c.face) else not behind.any()


def test_a_higher_hair_line_shows_more_forehead():
    shown = []
    for line in (-0.8, -0.95, -1.1, -1.25):
        c = canvas(1, SIZE, hair_style="short", hair_line=line)
        shown.append((1 - hair_before(c))[c.edge > 0].sum())
    assert shown == sorted(shown) and shown[-1] > 1.05 * shown[0]


def test_a_parting_lies_on_its_side():
    for side in (-1, 1):
        c = canvas(2, SIZE, hair_style="parted", hair_part=0.4 * side, hair_line=-0.9)
        bare = (1 - hair_before(c)) * (c.edge > 0) * (c.v < -0.75)
        assert side * (bare * c.u).sum() > 0.05 * bare.sum()


def test_hair_has_its_colour_whatever_the_light():
    for color in ((0.75, 0.6, 0.35), (0.2, 0.12, 0.08)):
        c = canvas(3, SIZE, hair_style="long", hair=color)
        found = hair_color(c)[hair_before(c) > 0.9].mean(0)
        assert found.dtype == np.float32 and found[0] > found[1] > found[2]
        assert found.mean() == pytest.approx(np.mean(np.power(color, 2.2)), rel=0.7)


def only_there(layer, c) -> None:
    """A layer over a picture: what it gives for a pixel hangs on that pixel alone."""
    rng = np.random.default_rng(0)
    image = rng.random((SIZE, SIZE, 3), dtype=np.float32)
    other = image.copy()
    changed = rng.random((SIZE, SIZE)) < 0.3
    other[changed] = rng.random((int(changed.sum()), 3), dtype=np.float32)
    first, second = layer(image), layer(other)
    np.testing.assert_array_equal(first[~changed], second[~changed])
    assert (first[changed] != second[changed]).any(-1).mean() > 0.5


def test_hair_lies_over_the_face_and_throws_a_shadow():
    c = canvas(4, SIZE, hair_style="fringe", light=(0.0, -0.5, 0.866))
    alpha, color = hair_before(c), np.full((SIZE, SIZE, 3), 0.1, np.float32)
    only_there(lambda image: lay_hair(c, image, alpha, color), c)
    laid = lay_hair(c, flat(c, 0.8), alpha, color)
    assert np.abs(laid[alpha > 0.99] - 0.1).max() < 0.02
    below = np.abs(c.u) < 0.3  # under the fringe, which ends at -.5
    shade = [laid[below & (np.abs(c.v - v) < 0.03)].mean() for v in (-0.38, -0.3, 0.0, 0.6)]
    assert shade[0] < shade[1] < shade[2] and shade[0] < 0.75
    assert shade[3] == pytest.approx(0.8, abs=1e-3)


@pytest.mark.parametrize("glasses", ["round", "square"])
def test_glasses_are_frames_around_the_eyes(glasses):
    c = canvas(5, 256, glasses=glasses, hair_style="bald")
    light, dark = (lay_glasses(c, flat(c, v), np.zeros_like(c.u)) for v in (0.9, 0.1))
    frame = np.abs(light - dark).max(-1) < 1e-3  # nothing shows through
    for side in (-1, 1):
        middle = side * (c.face.eye_x + 0.02)
        a, b = c.u - middle, c.v - 0.06
        assert not frame[np.hypot(a, b) < 0.2].any()  # the lens
        around = np.arctan2(b, a)[frame & (np.hypot(a, b) < 0.42)]
        assert (np.histogram(around, 12, (-np.pi, np.pi))[0] > 0).all()
        if glasses == "round":
            radius = np.sqrt(a * a + (1.06 * b) ** 2)[frame & (np.abs(a) < 0.3)]
            assert np.abs(radius - 0.34).max() < 0.06
    bridge = frame & (np.abs(c.u) < 0.05)
    assert bridge.any() and np.abs(c.v[bridge]).max() < 0.15
    lens = np.hypot(c.u - c.face.eye_x, c.v - 0.06) < 0.15
    assert 0.6 < (light - dark)[lens].mean() / 0.8 < 0.97  # they catch a little light
    far = (c.v > 0.7) | (c.v < -0.6)
    np.testing.assert_allclose(light[far], 0.9, atol=1e-3)


def test_glasses_hang_on_their_own_pixels_and_none_on_nothing():
    c = canvas(6, SIZE, glasses="square")
    only_there(lambda image: lay_glasses(c, image, np.zeros_like(c.u)), c)
    without = canvas(6, SIZE, glasses="none")
    np.testing.assert_array_equal(
        lay_glasses(without, flat(without), np.zeros_like(c.u)), flat(without)
    )
