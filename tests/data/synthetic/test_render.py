"""A face put together: what is left out for speed is not missed, and hair comes last."""

from dataclasses import replace

import numpy as np
import pytest

from detector.data.synthetic import render
from detector.data.synthetic.canvas import make_canvas
from detector.data.synthetic.render import bare, develop, dressed
from tests.data.synthetic.sitter import FRONT, canvas, drawn, flat


def test_features_are_drawn_as_far_as_they_reach(monkeypatch):
    """In its box a feature is the same as over the whole face, to 3 of 255 levels."""
    draw, seen = render._draw, []

    def compare(c, image, feature, reach, *side):
        boxed = flat(c)
        draw(c, boxed, feature, reach, *side)
        whole = feature(c, flat(c), *side)
        difference = np.abs(develop(c, boxed) - develop(c, whole))[c.edge > 0]
        assert difference.max() < 3 / 255
        assert np.abs(boxed - flat(c)).max() > 0.1  # and it is there
        seen.append(feature.__name__)

    monkeypatch.setattr(render, "_draw", compare)
    for seed in range(6):
        render._skin_and_features(make_canvas(*drawn(seed), 128))
    assert sorted(seen) == sorted(["nostrils", "mouth", "eye", "eye", "brow", "brow"] * 6)


@pytest.mark.parametrize("size", [64, 97, 224])
def test_faces_that_only_give_parts_lack_nothing_but_their_surroundings(size):
    for seed in range(3):
        c = make_canvas(*drawn(seed), size)
        full, alone = bare(c), bare(c, surroundings=False)
        for image in (full, alone):
            assert image.dtype == np.float32 and image.shape == (size, size, 3)
            assert np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1
        inner = c.edge > 1.2 * c.pixel
        np.testing.assert_allclose(full[inner], alone[inner], atol=1e-5)
        assert np.abs(full - alone)[c.edge < -0.1].max() > 0.1


def test_what_hangs_before_a_face_depends_on_no_other_pixel():
    rng = np.random.default_rng(0)
    for seed, glasses in enumerate(("none", "round", "square")):
        c = canvas(seed, 96, glasses=glasses, hair_style="fringe")
        image = bare(c)
        other = image.copy()
        changed = rng.random(image.shape[:2]) < 0.3
        other[changed] = rng.random((int(changed.sum()), 3), dtype=np.float32)
        first, second = dressed(c, image), dressed(c, other)
        np.testing.assert_array_equal(first[~changed], second[~changed])
        assert (first[changed] != second[changed]).any(-1).mean() > 0.7
        assert first.min() >= 0 and first.max() <= 1


def test_exposure_and_warmth_are_the_cameras():
    c = canvas(0, 64)
    grey = flat(c, 0.2)
    np.testing.assert_allclose(develop(c, grey), (1 - np.exp(-0.27)) ** (1 / 2.2), rtol=1e-5)
    bright = develop(replace(c, shot=replace(c.shot, exposure=2.0)), grey)
    np.testing.assert_allclose(bright, develop(c, 2 * grey), rtol=1e-5)
    warm = develop(replace(c, shot=replace(c.shot, warmth=0.1)), grey)[0, 0]
    assert warm[0] > warm[1] > warm[2] and warm[1] == develop(c, grey)[0, 0, 1]
    green = develop(replace(c, shot=replace(c.shot, tint=0.1)), grey)
    np.testing.assert_array_equal(green[..., ::2], develop(c, grey)[..., ::2])
    assert (green[..., 1] > develop(c, grey)[..., 1]).all()
    beyond = np.array([[[-1.0, 0.0, 1e6]]], np.float32)
    np.testing.assert_allclose(develop(c, beyond), [[[0, 0, 1]]])


@pytest.mark.parametrize(
    "changes",
    [
        {"yaw": 1.2}, {"yaw": -1.5, "pitch": 1.5}, {"roll": 3.1}, {"x": 0.93}, {"x": 1.5},
        {"y": -1.0}, {"x": 5.0, "y": 5.0}, {"scale": 3.0}, {"scale": 0.05},
        {"light": (-1.0, 0.0, 0.0)}, {"exposure": 0.0}, {"exposure": 50.0},
    ],
)  # fmt: skip
def test_shots_that_nobody_would_take(changes):
    for seed in range(3):
        c = make_canvas(*drawn(seed, **FRONT | changes), 64)
        image = dressed(c, bare(c))
        assert np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1
