"""Places on the face: their inverse, and what turning the head does to them."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from detector.data.synthetic.canvas import (
    bump,
    cloud,
    grain,
    linear,
    make_canvas,
    over,
    place,
    step,
)
from tests.data.synthetic.sitter import FRONT, canvas, drawn


def marks(face) -> np.ndarray:
    """Eyes, tip of the nose, corners of the mouth."""
    m = face.mouth_width
    points = [(-face.eye_x, 0), (face.eye_x, 0), (0, face.nose_length - 0.12)]
    return np.array([*points, (-m, face.mouth_y), (m, face.mouth_y)])


@settings(max_examples=40, deadline=None)
@example(seed=833, size=64, yaw=-0.25, pitch=0.0, more=[(-0.5625, 0.9375)])
@given(
    seed=st.integers(0, 999),
    size=st.integers(64, 300),
    yaw=st.floats(-0.36, 0.36),
    pitch=st.floats(-0.16, 0.2),
    more=st.lists(st.tuples(st.floats(-0.6, 0.6), st.floats(-0.7, 1.2)), max_size=5),
)
def test_place_is_the_inverse_of_the_canvas(seed, size, yaw, pitch, more):
    face, shot = drawn(seed, yaw=yaw, pitch=pitch)
    points = np.array([*marks(face), *more])
    seen = place(face, shot, size, points)
    assert seen.shape == points.shape and seen.dtype == np.float64
    for (x, y), wanted in zip(seen, points, strict=True):
        # Moved so that the point meets the centre of a pixel: between two of them, depth falls like
        # a root towards the outline.
        column, row = round(x), round(y)
        moved = replace(shot, x=shot.x + (column - x) / size, y=shot.y + (row - y) / size)
        c = make_canvas(face, moved, size)
        found = c.u[row, column], c.v[row, column]
        np.testing.assert_allclose(found, wanted, atol=0.05 * c.pixel)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), size=st.integers(64, 200))
def test_straight_ahead_the_face_lies_as_its_units_say(seed, size):
    c = canvas(seed, size)
    across = (np.arange(size) + 0.5 - size / 2) / (0.26 * size)
    np.testing.assert_allclose(c.u, np.broadcast_to(across, (size, size)), atol=1e-5)
    np.testing.assert_allclose(c.v, np.broadcast_to(across[:, None], (size, size)), atol=1e-5)
    assert c.pixel == pytest.approx(1 / (0.26 * size))
    np.testing.assert_array_equal(c.rho < 1, c.edge > 0)
    np.testing.assert_array_equal(c.rho < 1, c.depth > 0)
    np.testing.assert_allclose(c.rho, c.rho[:, ::-1], atol=1e-4)  # the same on both sides
    for name in ("x", "y", "u", "v", "rho", "edge", "depth"):
        assert getattr(c, name).dtype == np.float32
    side = np.abs(c.x[np.abs(c.y) < c.pixel / 2 + 1e-4])
    inside = side[c.edge[np.abs(c.y) < c.pixel / 2 + 1e-4] > 0]
    assert inside.max() + c.pixel > 0.85 and inside.max() < 1.15  # one unit is half a face


@pytest.mark.parametrize("sign", [-1, 1])
def test_turning_moves_the_nose_most_and_the_outline_not_at_all(sign):
    face, ahead = drawn(3, **FRONT)
    size, turned = 224, drawn(3, **FRONT | {"yaw": 0.3 * sign})[1]
    before, after = (place(face, shot, size, marks(face)) for shot in (ahead, turned))
    moved = sign * (after - before)[:, 0]
    assert moved[2] > moved[:2].max() and moved[2] > 1.2 * moved[:2].mean() > 12
    np.testing.assert_allclose(before[:, 1], after[:, 1], atol=0.01)
    edge, same = make_canvas(face, ahead, size).edge, make_canvas(face, turned, size).edge
    np.testing.assert_array_equal(edge, same)
    nodded = drawn(3, **FRONT | {"pitch": 0.2 * sign})[1]
    moved = sign * (place(face, nodded, size, marks(face)) - before)[:, 1]
    assert moved.argmax() == 2 and moved.min() > 3
    # Depth slides a point by its sine: of the smooth head, .9 (1 - rho^2)^.6, as at the eyes.
    c = make_canvas(face, ahead, size)
    column, row = np.rint(after[0]).astype(int)
    slid = c.depth[row, column] * math.sin(0.3) / c.pixel
    assert abs(after[0] - before[0])[0] == pytest.approx(slid, rel=0.05)


def test_rolling_turns_everything_around_its_centre():
    face, shot = drawn(4, yaw=0.2, pitch=-0.1, roll=0.0, x=0.46, y=0.53)
    rolled = drawn(4, yaw=0.2, pitch=-0.1, roll=0.3, x=0.46, y=0.53)[1]
    size, points = 200, marks(face)
    around = np.array((0.46, 0.53)) * size - 0.5
    before = place(face, shot, size, points) - around
    cos, sin = math.cos(0.3), math.sin(0.3)  # clockwise where y points down
    wanted = np.stack(
        (cos * before[:, 0] - sin * before[:, 1], sin * before[:, 0] + cos * before[:, 1])
    )
    np.testing.assert_allclose(place(face, rolled, size, points), wanted.T + around, atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_cut_is_the_smallest_box(data):
    c = canvas(1, 64, yaw=0.2)
    inside = np.zeros((64, 64), bool)
    at = st.tuples(st.integers(0, 63), st.integers(0, 63))
    pixels = data.draw(st.lists(at, max_size=4))
    for row, column in pixels:
        inside[row, column] = True
    box, part = c.cut(inside)
    wanted = np.zeros((64, 64), bool)
    if pixels:
        rows, columns = zip(*pixels, strict=True)
        wanted[min(rows) : max(rows) + 1, min(columns) : max(columns) + 1] = True
    found = np.zeros((64, 64), bool)
    found[box] = True
    np.testing.assert_array_equal(found, wanted)
    for name in ("x", "y", "u", "v", "rho", "edge", "depth"):
        np.testing.assert_array_equal(getattr(part, name), getattr(c, name)[box])
    assert part.size == 64 and part.pixel == c.pixel


def test_the_functions_that_shapes_are_made_of():
    at = np.array((-1, 0, 0.25, 0.5, 1, 2), np.float32)
    np.testing.assert_allclose(step(at, 0, 1), (0, 0, 5 / 32, 0.5, 1, 1))
    np.testing.assert_allclose(step(at, 1, 0), 1 - step(at, 0, 1), atol=1e-7)
    np.testing.assert_allclose(step(3 * at - 2, -2, 1), step(at, 0, 1), atol=1e-6)
    np.testing.assert_allclose(bump(at, at, 0, 0, 1, 2), np.exp(-0.625 * at**2), rtol=1e-6)
    np.testing.assert_allclose(grain(at, np.array((3.0, 5, 1))), (3, 3, 3.5, 4, 5, 1))
    np.testing.assert_allclose(linear((0.0, 0.5, 1.0)), (0, 0.5**2.2, 1), rtol=1e-6)
    image = np.random.default_rng(0).random((2, 3, 3)).astype(np.float32)
    alpha = np.array([[0, 0.25, 1], [0.5, 0, 0.75]])
    found = over(image, (0.1, 0.2, 0.9), alpha)
    for (row, column), share in np.ndenumerate(alpha):
        mixed = (1 - share) * image[row, column] + share * np.array((0.1, 0.2, 0.9))
        np.testing.assert_allclose(found[row, column], mixed, atol=1e-6)
    assert found.dtype == np.float32 and found is not image


def test_clouds_have_lumps_of_one_size_at_any_resolution():
    fine, coarse = canvas(0, 256), canvas(0, 128)
    few = cloud(np.random.default_rng(1), coarse.x, coarse.y, 8)
    many = cloud(np.random.default_rng(1), fine.x, fine.y, 8)
    halved = many.reshape(128, 2, 128, 2).mean((1, 3))
    assert np.corrcoef(halved.ravel(), few.ravel())[0, 1] > 0.99
    assert 0.6 < many.std() < 1.6 and abs(many.mean()) < 0.5
    smooth = cloud(np.random.default_rng(1), fine.x, fine.y, 2)
    assert np.abs(np.diff(smooth)).mean() < 0.5 * np.abs(np.diff(many)).mean()
