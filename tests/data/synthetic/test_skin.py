"""Light on the bare head, and what the traits of the skin do to it."""

from dataclasses import replace

import numpy as np
import pytest

from detector.data.synthetic.canvas import linear, make_canvas
from detector.data.synthetic.skin import albedo, cast_shadow, relief, shade
from tests.data.synthetic.sitter import FRONT, canvas, drawn, flat

LEFT, RIGHT = (-0.6, -0.4, 0.6928), (0.6, -0.4, 0.6928)
PLAIN = {"beard": 0.0, "freckles": 0.0, "blush": 0.0, "age": 0.2}


def lit(seed: int, size: int = 128, **changes) -> np.ndarray:
    c = canvas(seed, size, **changes)
    return shade(c, flat(c), relief(c)) * (c.edge > 0.02)[..., None]


@pytest.mark.parametrize("seed", range(4))
def test_light_from_a_side_makes_that_side_the_brighter(seed):
    left, right = lit(seed, light=LEFT), lit(seed, light=RIGHT)
    assert left.dtype == np.float32 and np.isfinite(left).all() and left.min() >= 0
    assert left[:, :64].sum() > 1.15 * left[:, 64:].sum()
    # The half-size relief of the shadows and OpenCV's smoothing are not quite symmetric.
    np.testing.assert_allclose(left, right[:, ::-1], atol=0.02)
    even = lit(seed)
    np.testing.assert_allclose(even, even[:, ::-1], atol=0.02)


@pytest.mark.parametrize("light", [LEFT, RIGHT, (0.0, -0.6, 0.8)])
def test_light_rolls_with_the_head(light):
    """The key light alone: the sky stays above the picture."""
    ahead = lit(3, light=light, key=1.05)
    rolled = np.rot90(lit(3, light=light, key=1.05, roll=np.pi / 2))
    np.testing.assert_allclose(rolled, ahead, atol=0.02)
    assert np.abs(np.rot90(ahead) - ahead).mean() > 0.05


def test_more_key_light_means_deeper_shade():
    soft, hard = lit(2, light=LEFT, key=0.5), lit(2, light=LEFT, key=0.9)
    sides = [(image[:, :64].mean() / image[:, 64:].mean()) for image in (soft, hard)]
    assert sides[1] > 1.2 * sides[0]


def test_a_tower_throws_its_shadow_away_from_the_light():
    c = canvas(0, 128, light=(-0.8, 0.0, 0.6))
    tower = (0.5 * ((np.abs(c.x) < 0.2) & (np.abs(c.y) < 0.2))).astype(np.float32)
    shadow = cast_shadow(c, tower)
    assert shadow.shape == tower.shape and shadow.min() >= 0 and shadow.max() <= 1
    beside = (np.abs(c.y) < 0.15) & (np.abs(c.x) > 0.25) & (np.abs(c.x) < 0.35)
    assert shadow[beside & (c.x > 0)].min() > 0.9 and shadow[beside & (c.x < 0)].max() < 0.05
    # A height of .5 reaches .5 * .8 / .6 = .67 units, of which .42 are looked at.
    far = (np.abs(c.y) < 0.15) & (c.x > 0.2 + 0.42 + 0.15)
    assert not shadow[far].any() and not cast_shadow(c, np.zeros_like(tower)).any()
    above = canvas(0, 128, light=(0.0, 0.0, 1.0))
    assert not cast_shadow(above, tower).any()


def test_relief_has_nose_eyes_and_mouth_where_they_are():
    c = canvas(1, 256)
    f, h = c.face, relief(c)
    assert h.dtype == np.float32
    np.testing.assert_allclose(h, h[:, ::-1], atol=2e-4)

    def at(u: float, v: float) -> float:
        return float(h[np.unravel_index(np.hypot(c.u - u, c.v - v).argmin(), h.shape)])

    tip = f.nose_length - 0.12
    assert at(0, tip) > at(0, 0.2) and at(0, tip) > at(0, f.nose_length + 0.08) + 0.1
    assert at(0, tip) > at(0.35, tip) + 0.15
    assert at(0, 0) > at(f.eye_x - 0.2, 0) + 0.02  # sockets beside the root of the nose
    higher = make_canvas(replace(f, nose_height=f.nose_height + 0.1), c.shot, 256)
    grown = relief(higher) - h  # straight ahead nothing moves
    assert grown.max() == pytest.approx(0.1, abs=0.01)
    assert np.abs(grown[np.abs(c.u) > 0.5]).max() < 0.005


def test_skin_has_the_colour_that_it_is_given():
    for seed in range(5):
        c = canvas(seed, 128, **PLAIN)
        forehead = (np.abs(c.u) < 0.5) & (c.v > -0.8) & (c.v < -0.3)
        found = albedo(c)
        assert found.dtype == np.float32 and found.shape == (128, 128, 3)
        np.testing.assert_allclose(
            found[forehead].mean(0), linear(c.face.skin), rtol=0.12, atol=0.004
        )


def ratio(where: tuple[float, float], **change) -> np.ndarray:
    """What a trait makes of red, green and blue around a place, over some people."""
    found = []
    for seed in range(4):
        before = canvas(seed, 224, **PLAIN | {"skin": (0.9, 0.7, 0.6)})
        after = make_canvas(replace(before.face, **change), before.shot, 224)
        near = np.hypot(np.abs(before.u) - where[0], before.v - where[1]) < 0.25
        found.append(albedo(after)[near].mean(0) / albedo(before)[near].mean(0))
    return np.mean(found, axis=0)


def test_beard_freckles_and_blush_lie_where_they_belong():
    chin, forehead, cheek = (0.0, 1.4), (0.0, -0.5), (0.5, 0.45)
    black = {"beard": 1.0, "hair": (0.05, 0.04, 0.04)}
    assert ratio(chin, **black).max() < 0.5
    assert ratio(forehead, **black) == pytest.approx((1, 1, 1), abs=1e-5)
    red, green, blue = ratio(cheek, blush=1.0)
    assert red > 0.97 and 0.7 < green < blue + 0.05 < 0.95
    assert ratio(forehead, blush=1.0) == pytest.approx((1, 1, 1), abs=0.01)
    spots, fewer = ratio(cheek, freckles=1.0), ratio((0.0, 1.3), freckles=1.0)
    assert spots[1] < 0.97 and spots[0] > spots[1] > spots[2]
    assert 1 - spots[1] > 1.5 * (1 - fewer[1])


def test_the_skin_of_one_person_is_the_same_every_time():
    face, shot = drawn(8, **FRONT)
    first, second = (albedo(make_canvas(face, shot, 64)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    other = albedo(make_canvas(replace(face, seed=face.seed + 1000), shot, 64))
    assert (other != first).mean() > 0.9
