"""Parts exchanged: where, how well placed, and in whose colours."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import maximum_filter, minimum_filter

from detector.data.sources import FACE_PARTS
from detector.data.synthetic.canvas import make_canvas
from detector.data.synthetic.render import bare
from detector.data.synthetic.swap import PARTS, Craft, anchors, paste, region
from tests.data.synthetic.sitter import canvas, drawn

RAW = Craft(feather=0.05, match=0.0, contrast=0.0, seam=0.0, slip=0.0)
AVERAGE = np.ones(4)


class Still:
    """Chance without a slip."""

    def normal(self, mean, spread):
        return np.zeros(len(spread))


def placed(there, here, alpha, craft=RAW, rng=None, to=(10 + 20j, 30 + 20j), of=None, pixel=0.02):
    """`paste` at the anchors of the picture itself, unless told otherwise."""
    return paste(here, there, list(to), list(of or to), alpha, craft, pixel, rng or Still())


def disc(size: int, edge: float = 6.0) -> np.ndarray:
    """A round region with a soft edge of so many pixels."""
    y, x = np.indices((size, size)) - (size - 1) / 2
    return np.clip((0.4 * size - np.hypot(x, y)) / edge, 0, 1).astype(np.float32)


def noise(seed: int, size: int = 64, mean: float = 0.5, spread: float = 0.1) -> np.ndarray:
    grain = np.random.default_rng(seed).normal(mean, spread, (size, size, 3))
    return grain.astype(np.float32)


def test_parts_are_those_of_file_names():
    assert PARTS == FACE_PARTS


@pytest.mark.parametrize("part", PARTS)
def test_regions_lie_over_their_part_with_an_edge_as_soft_as_asked(part):
    for seed in range(3):
        c = make_canvas(*drawn(seed), 224)
        f = c.face
        u, v = {
            "eye_left": (-f.eye_x, 0.0),
            "eye_right": (f.eye_x, 0.0),
            "nose": (0.0, f.nose_length - 0.12),
            "mouth": (0.0, f.mouth_y),
        }[part]
        sizes = []
        for feather in (0.02, 0.05, 0.1):
            alpha = region(c, part, AVERAGE, feather)
            assert alpha.dtype == np.float32 and alpha.shape == (224, 224)
            assert alpha.min() == 0 and alpha.max() == 1
            assert alpha[np.hypot(c.u - u, c.v - v) < 0.08].min() > 0.99
            assert not alpha[np.hypot(c.u - u, c.v - v) > 0.7].any()
            assert not alpha[c.edge < 0.01].any()
            soft = (alpha > 0.05) & (alpha < 0.95)
            sizes.append(soft.sum())
        # The area of the edge over its length is its breadth.
        assert 1.5 < sizes[1] / sizes[0] < 3.5 and 1.5 < sizes[2] / sizes[1] < 2.5
        larger = region(c, part, np.array((1.1, 1.1, 1, 1)), 0.05)
        assert (larger >= region(c, part, AVERAGE, 0.05) - 1e-6).all()


def test_regions_of_a_turned_head_stop_at_its_outline():
    c = canvas(1, 224, yaw=1.3)
    alpha = region(c, "eye_right", AVERAGE, 0.05)
    assert not alpha[c.edge < 0.01].any() and alpha[c.edge < 0.05].max() <= 0.5
    assert alpha[c.edge > 0.09].max() == 1


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 999),
    match=st.floats(0, 1),
    contrast=st.floats(0, 1),
    seam=st.floats(0, 1),
)
def test_its_own_part_in_its_own_place_changes_nothing(seed, match, contrast, seam):
    image, alpha = noise(seed), disc(64)
    craft = replace(RAW, match=match, contrast=contrast, seam=seam)
    np.testing.assert_allclose(placed(image, image, alpha, craft), image, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), seam=st.sampled_from((0.0, 0.5)), part=st.sampled_from(PARTS))
def test_nothing_changes_where_alpha_is_zero(seed, seam, part):
    craft = Craft(feather=0.05, match=0.5, contrast=0.5, seam=seam, slip=0.02)
    c = make_canvas(*drawn(seed), 96)
    alpha, to = region(c, part, AVERAGE, 0.05), anchors(c)[part]
    of = anchors(make_canvas(*drawn(seed + 1), 96))[part]
    image, other = noise(seed, 96), noise(seed + 1, 96)
    before = image.copy()
    result = paste(image, other, to, of, alpha, craft, c.pixel, np.random.default_rng(seed))
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(result[alpha == 0], image[alpha == 0])
    assert (result[alpha > 0.5] != image[alpha > 0.5]).mean() > 0.9
    assert result.dtype == np.float32 and np.isfinite(result).all()


def test_an_empty_region_uses_as_much_chance_and_gives_the_picture_back():
    image = noise(0)
    full, empty = np.random.default_rng(1), np.random.default_rng(1)
    placed(noise(1), image, disc(64), rng=full)
    result = placed(noise(1), image, np.zeros((64, 64), np.float32), rng=empty)
    np.testing.assert_array_equal(result, image)
    assert full.random() == empty.random()


@settings(max_examples=40, deadline=None)
@given(
    turn=st.floats(-0.4, 0.4),
    grow=st.floats(0.7, 1.4),
    x=st.floats(50, 80),
    y=st.floats(50, 80),
    shift=st.tuples(st.floats(-15, 15), st.floats(-15, 15)),
)
def test_dots_at_the_anchors_of_one_land_on_those_of_the_other(turn, grow, x, y, shift):
    size, middle = 128, complex(x, y)
    to = [middle - 18, middle + 18]
    half = 18 * grow * complex(math.cos(turn), math.sin(turn))
    of = [middle + complex(*shift) - half, middle + complex(*shift) + half]
    rows, columns = np.indices((size, size))
    for k, dot in enumerate(of):
        there = np.exp(-0.5 * ((columns - dot.real) ** 2 + (rows - dot.imag) ** 2) / 4)
        there = np.repeat(there[..., None], 3, axis=2).astype(np.float32)
        black, all_of_it = np.zeros((size, size, 3), np.float32), np.ones((size, size), np.float32)
        result = placed(there, black, all_of_it, to=to, of=of)[..., 0]
        near = np.hypot(columns - to[k].real, rows - to[k].imag) < 12
        weight = result * near
        found = complex((weight * columns).sum(), (weight * rows).sum()) / weight.sum()
        assert abs(found - to[k]) < 0.1
        width = np.sqrt((weight * abs(columns - to[k].real) ** 2).sum() / weight.sum())
        assert width == pytest.approx(2 / grow, rel=0.12)  # as large as the receiver's


def test_misplacement_is_as_large_as_asked():
    size, slip, pixel = 64, 0.05, 0.02
    rows, columns = np.indices((size, size))
    dot = np.exp(-0.5 * ((columns - 32) ** 2 + (rows - 32) ** 2) / 9)
    dot = np.repeat(dot[..., None], 3, axis=2).astype(np.float32)
    black, alpha = np.zeros_like(dot), np.ones((size, size), np.float32)
    rng, found = np.random.default_rng(0), []
    for _ in range(300):
        out = placed(
            dot, black, alpha, replace(RAW, slip=slip), rng, to=(22 + 32j, 42 + 32j), pixel=pixel
        )[..., 0]
        found.append(((out * columns).sum() / out.sum() - 32, (out * rows).sum() / out.sum() - 32))
    np.testing.assert_allclose(np.mean(found, axis=0), 0, atol=0.5)
    np.testing.assert_allclose(np.std(found, axis=0), slip / pixel, rtol=0.12)


@pytest.mark.parametrize("match", [0.0, 0.4, 1.0])
def test_plain_colours_meet_as_far_as_asked(match):
    here, there = np.full((64, 64, 3), 0.6, np.float32), np.full((64, 64, 3), 0.0, np.float32)
    there[:] = (0.2, 0.5, 0.9)
    alpha = disc(64)
    result = placed(there, here, alpha, replace(RAW, match=match))
    wanted = there[0, 0] + match * (here[0, 0] - there[0, 0])
    np.testing.assert_allclose(
        result[alpha == 1], np.broadcast_to(wanted, (int((alpha == 1).sum()), 3)), atol=1e-4
    )
    halved = here + alpha[..., None] * (wanted - here)
    np.testing.assert_allclose(result, halved, atol=1e-4)


def piece(result: np.ndarray, here: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """What was laid over the picture, where any of it was."""
    return here + (result - here) / np.maximum(alpha, 1e-9)[..., None]


def along_edge(alpha: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each colour, by a plain loop; the middle of the edge counts most."""
    weights, seen = [], []
    for row, column in np.argwhere(alpha > 0.02):
        weights.append(4 * alpha[row, column] * (1 - alpha[row, column]))
        seen.append(values[row, column])
    mean = np.average(seen, axis=0, weights=weights)
    return mean, np.sqrt(np.average((seen - mean) ** 2, axis=0, weights=weights))


def test_full_matching_gives_the_mean_and_contrast_of_the_skin_along_the_edge():
    alpha = disc(96, edge=12)
    here, there = noise(0, 96, 0.6, 0.09), noise(1, 96, 0.3, 0.12) * np.float32((1, 0.9, 1.2))
    result = placed(there, here, alpha, replace(RAW, match=1.0, contrast=1.0))
    wanted, spread = along_edge(alpha, here)
    found, found_spread = along_edge(alpha, piece(result, here, alpha))
    np.testing.assert_allclose(found, wanted, atol=0.004)
    np.testing.assert_allclose(found_spread, spread, rtol=0.1)
    plain = placed(there, here, alpha, replace(RAW, match=1.0))
    assert (along_edge(alpha, piece(plain, here, alpha))[1] > 1.2 * spread).all()


def test_contrast_is_stretched_no_further_than_is_believed():
    """A piece without contrast is not blown up: at most by 1.6."""
    alpha = disc(96, edge=12)
    here, there = noise(0, 96, 0.5, 0.3), noise(1, 96, 0.5, 0.01)
    result = placed(there, here, alpha, replace(RAW, match=1.0, contrast=1.0))
    spread = along_edge(alpha, piece(result, here, alpha))[1]
    np.testing.assert_allclose(spread, 1.6 * along_edge(alpha, there)[1], rtol=0.05)


def test_a_seam_of_one_colour_is_evened_out_and_the_inside_kept():
    alpha, here = disc(96, edge=12), noise(0, 96)
    for seam in (0.0, 0.5, 1.0):
        result = placed(here + np.float32(0.2), here, alpha, replace(RAW, seam=seam))
        added = (result - here)[alpha == 1]
        np.testing.assert_allclose(added, 0.2 * (1 - seam), atol=1e-4)
    # A difference that runs across the part is evened out at either side of it.
    ramp = (np.arange(96, dtype=np.float32)[None, :, None] - 47.5) * np.float32(0.004)
    flat, even = (
        np.abs(placed(here + ramp, here, alpha, replace(RAW, seam=seam)) - here)
        for seam in (0, 1.0)
    )
    edge = (alpha > 0.3) & (alpha < 0.7)
    assert even[edge].mean() < 0.6 * flat[edge].mean()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), part=st.sampled_from(PARTS))
def test_a_face_gets_nothing_but_its_own_back(seed, part):
    """Of a real each pixel lies between the darkest and the brightest that are near it."""
    c = make_canvas(*drawn(seed), 160)
    image = bare(c)
    alpha, at = region(c, part, AVERAGE, 0.05), anchors(c)[part]
    craft = replace(RAW, slip=0.015)
    result = paste(image, image, at, at, alpha, craft, c.pixel, np.random.default_rng(seed))
    moved = 4.5 * (math.sqrt(2) * 0.015 + math.hypot(0.012, 0.012) * 0.5) / c.pixel
    near = (2 * math.ceil(moved) + 1,) * 2 + (1,)
    assert (result >= minimum_filter(image, near) - 1e-5).all()
    assert (result <= maximum_filter(image, near) + 1e-5).all()


def test_anchors_are_seen_where_the_parts_are():
    """A white patch, painted at the place on the face, has its middle there in the picture."""
    for seed in range(4):
        c = make_canvas(*drawn(seed), 224)
        f = c.face
        points = anchors(c)
        places = {
            ("eye_left", 0): (-f.eye_x - f.eye_width, 0.0),
            ("eye_left", 1): (-f.eye_x + f.eye_width, 0.0),
            ("eye_right", 1): (f.eye_x + f.eye_width, 0.0),
            ("nose", 0): (0.0, -0.02),
            ("nose", 1): (0.0, f.nose_length),
            ("mouth", 0): (-f.mouth_width, f.mouth_y),
            ("mouth", 1): (f.mouth_width, f.mouth_y),
        }
        for (part, end), (u, v) in places.items():
            patch = ((np.hypot(c.u - u, c.v - v) < 0.08) & (c.edge > 0)).astype(np.uint8)
            moments = cv2.moments(patch, binaryImage=True)
            seen = complex(moments["m10"], moments["m01"]) / moments["m00"]
            assert abs(points[part][end] - seen) < 1.2
