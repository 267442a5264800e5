"""Eyes, brows, nose and mouth: painted where the traits say, and in their colours."""

import numpy as np
import pytest

from detector.data.synthetic.canvas import linear
from detector.data.synthetic.features import brow, eye, mouth, nostrils
from tests.data.synthetic.sitter import canvas, flat

SIZE = 256
SHUT = {"mouth_open": 0.0, "mouth_y": 1.0, "mouth_width": 0.38}


def middle(weight: np.ndarray, *places: np.ndarray) -> list[float]:
    return [float((weight * place).sum() / weight.sum()) for place in places]


@pytest.mark.parametrize("smile", [-0.5, 0.0, 0.4, 1.0])
def test_a_smile_lifts_the_corners_of_the_mouth(smile):
    c = canvas(1, SIZE, smile=smile, **SHUT)
    dark = flat(c).mean(-1) - mouth(c, flat(c)).mean(-1)
    for a in (-0.9, -0.5, 0.0, 0.5, 0.9):
        column = np.abs(c.u[0] - a * 0.38).argmin()
        line = c.v[dark[:, column].argmax(), column]
        lift = -0.075 * smile * (a * a - 0.35)
        assert line == pytest.approx(1.0 + lift, abs=1.5 * c.pixel)


def test_an_open_mouth_shows_teeth():
    lip = (0.7, 0.3, 0.3)
    shut, wide = (
        canvas(1, SIZE, smile=0.0, lip=lip, **SHUT | {"mouth_open": gap}) for gap in (0.0, 0.12)
    )
    closed, opened = mouth(shut, flat(shut)), mouth(wide, flat(wide))
    between = (np.abs(wide.u) < 0.15) & (wide.v > 0.97) & (wide.v < 1.06)
    assert opened[between].mean() > 1.5 * closed[between].mean()

    def redness(image: np.ndarray) -> float:
        red, green, _ = image[between].mean(0)
        return red / green

    assert redness(opened) < 1.3 < 1.5 < redness(closed)


def test_lips_have_their_colour_and_their_place():
    c = canvas(3, SIZE, smile=0.0, lip=(0.6, 0.1, 0.15), skin=(0.8, 0.6, 0.5), **SHUT)
    skin = np.broadcast_to(linear(c.face.skin), (SIZE, SIZE, 3)).astype(np.float32)
    painted = mouth(c, skin)
    lower = (np.abs(c.u) < 0.15) & (np.abs(c.v - 1.0 - 0.75 * c.face.lip_lower) < 0.02)
    red, green, _ = painted[lower].mean(0) / skin[0, 0]
    assert green < 0.5 < 1.4 * green < red  # their shine is white
    far = (np.abs(c.u) > 0.6) | (np.abs(c.v - 1.0) > 0.45)
    np.testing.assert_allclose(painted[far], skin[far], atol=0.01)


@pytest.mark.parametrize("right, down", [(0.0, 0.0), (0.2, 0.0), (-0.2, 0.1), (0.0, -0.1)])
def test_both_eyes_look_the_same_way(right, down):
    c = canvas(2, SIZE, gaze=(right, down), eye_open=0.6, eye_tilt=0.0, iris=(0.05, 0.05, 0.05))
    f = c.face
    for side in (-1, 1):
        image = eye(c, flat(c), side)
        near = (np.abs(c.u - side * f.eye_x) < 0.6 * f.eye_width) & (np.abs(c.v) < 0.08)
        pupil = near & (image.max(-1) < 0.03)
        u, v = middle(pupil, c.u, c.v)
        assert u == pytest.approx(side * f.eye_x + right * f.eye_width, abs=0.02)
        if down == 0:  # else lids hide some of it
            assert abs(v + 0.05 * f.eye_width) < 0.04


def test_left_and_right_eye_and_brow_are_mirror_images():
    c = canvas(5, SIZE, gaze=(0.0, 0.0))
    left, right = eye(c, flat(c), -1), eye(c, flat(c), 1)
    np.testing.assert_allclose(left, right[:, ::-1], atol=2e-3)
    assert np.abs(left - right).max() > 0.2
    hairs = [np.abs(brow(c, flat(c), side) - flat(c)).mean(-1) for side in (-1, 1)]
    (u, v), (other_u, other_v) = (middle(h, c.u, c.v) for h in hairs)
    assert u == pytest.approx(-other_u, abs=0.02) and v == pytest.approx(other_v, abs=0.02)


def test_the_iris_has_its_colour():
    shades = {}
    for name, color in {"blue": (0.3, 0.45, 0.8), "brown": (0.4, 0.25, 0.1)}.items():
        c = canvas(4, SIZE, gaze=(0.0, 0.0), eye_open=0.7, iris=color, light=(0.0, -0.6, 0.8))
        ring = np.hypot(c.u - c.face.eye_x, c.v + 0.05 * c.face.eye_width) / c.face.eye_width
        iris = (ring > 0.2) & (ring < 0.3) & (np.abs(c.v) < 0.04)
        shades[name] = eye(c, flat(c), 1)[iris].mean(0)
    assert shades["blue"][2] > 1.5 * shades["blue"][0]
    assert shades["brown"][0] > 1.5 * shades["brown"][2]


def test_brows_follow_height_thickness_and_tilt():
    def hairs(**changes) -> tuple[float, list[float], float]:
        c = canvas(6, SIZE, **{"brow_y": 0.3, "brow_thick": 0.06, "brow_tilt": 0.0} | changes)
        dark = np.abs(brow(c, flat(c, 0.8), 1) - 0.8).mean(-1)
        outer, inner = (middle(dark * on, c.v)[0] for on in (c.u > c.face.eye_x + 0.1, c.u < 0.4))
        return dark.sum(), middle(dark, c.u, c.v), outer - inner

    area, (u, v), lean = hairs()
    assert 0.3 < u < 0.6 and -0.5 < v < -0.25
    assert hairs(brow_y=0.4)[1][1] == pytest.approx(v - 0.1, abs=0.02)
    assert hairs(brow_thick=0.12)[0] > 1.6 * area
    assert hairs(brow_tilt=0.3)[2] < lean - 0.02


def test_nostrils_are_two_and_below_the_tip():
    c = canvas(7, SIZE, nose_width=0.24)
    dark = flat(c).mean(-1) - nostrils(c, flat(c)).mean(-1)
    hole = dark > 0.8 * dark.max()
    for side in (-1, 1):
        u, v = middle(hole & (c.u * side > 0), c.u, c.v)
        assert u == pytest.approx(side * 0.12, abs=0.04)
        assert v == pytest.approx(c.face.nose_length - 0.005, abs=0.04)
    assert not hole[np.abs(c.u) < 0.03].any()
