"""What is around the face: it is there, it is the shot's, and it spares the face."""

import numpy as np
import pytest

from detector.data.synthetic.canvas import make_canvas
from detector.data.synthetic.scene import background, body, ears
from tests.data.synthetic.sitter import FRONT, canvas, drawn, flat


def test_backgrounds_are_the_shots_at_any_size():
    means = []
    for seed in range(8):
        face, shot = drawn(seed, **FRONT)
        image = background(make_canvas(face, shot, 128))
        assert image.dtype == np.float32 and image.shape == (128, 128, 3)
        assert image.min() > 0 and image.max() <= 1
        stranger = drawn(seed + 100)[0]
        np.testing.assert_array_equal(image, background(make_canvas(stranger, shot, 128)))
        small = background(make_canvas(face, shot, 64))
        halved = image.reshape(64, 2, 64, 2, 3).mean((1, 3))
        assert np.abs(small - halved).mean() < 0.01
        means.append(image.mean())
    assert np.std(means) > 0.05


@pytest.mark.parametrize("yaw", [-0.3, 0.0, 0.3])
def test_the_body_is_below_the_chin_and_follows_the_turn(yaw):
    c = canvas(1, 160, yaw=yaw)
    image = body(c, flat(c))
    changed = np.abs(image - flat(c)).max(-1) > 1e-6
    assert not changed[c.y < 0.6].any() and changed[-1, np.abs(c.x[-1]) < 0.4].all()
    neck = changed & (np.abs(c.y - 1.2) < 0.1)
    middle = (c.x[neck].min() + c.x[neck].max()) / 2
    assert middle == pytest.approx(0.12 * np.sin(yaw), abs=1.5 * c.pixel)


def test_the_chin_shades_the_neck():
    c = canvas(2, 160, skin=(0.8, 0.6, 0.5))
    image = body(c, flat(c))
    down = [image[(np.abs(c.x) < 0.2) & (np.abs(c.y - y) < 0.03)].mean() for y in (1.4, 1.75)]
    assert down[0] < 0.9 * down[1]


def test_ears_stand_beside_the_head():
    c = canvas(3, 160, cheek=0.0)
    image = ears(c, flat(c))
    changed = np.abs(image - flat(c)).max(-1) > 1e-3
    assert np.array_equal(flat(c), np.full_like(image, 0.4))  # the picture given is left alone
    for side in (-1, 1):
        u, v = c.x[changed & (c.x * side > 0)], c.y[changed & (c.x * side > 0)]
        assert abs(u.mean() - side * 0.985) < 0.06 and abs(v.mean() - 0.2) < 0.1
        assert np.abs(u - side * 0.985).max() < 0.3
    turned = canvas(3, 160, cheek=0.0, yaw=0.35)
    moved = np.abs(ears(turned, flat(c)) - flat(c)).max(-1) > 1e-3
    # The near ear comes before the cheek, the far one goes behind it.
    shown = [(mask & (c.edge < 0) & (c.x > 0)).sum() for mask in (changed, moved)]
    assert shown[1] < 0.8 * shown[0]


def test_ears_outside_of_the_picture():
    for x in (-3.0, 0.02, 0.98, 4.0):
        c = canvas(3, 64, x=x)
        assert np.isfinite(ears(c, flat(c))).all()
