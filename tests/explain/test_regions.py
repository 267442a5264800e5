"""Geometry against planted markers and Pillow's own pixels; regions against rendered faces."""

import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from detector.data.decode import decode
from detector.data.preprocess import Preprocess
from detector.data.sources import FACE_PARTS
from detector.data.synthetic.portrait import paint, portrait
from detector.errors import UserError
from detector.explain.geometry import mask_to_input, to_input
from detector.explain.regions import (
    REGIONS,
    landmarks_in_input,
    regions,
    regions_of_file,
    regions_of_image,
)

FACE = np.array([[36.0, 44.0], [64.0, 44.0], [50.0, 60.0], [40.0, 73.0], [60.0, 73.0]])
FITS = ("crop", "squash", "pad")
SHAPES = ((120, 120), (121, 120), (120, 163), (200, 97), (64, 64), (301, 128))


def preprocess(fit="crop", size=64, normalizer=None, interpolation="bilinear"):
    return Preprocess(size, fit, interpolation, (0.5,) * 3, (0.5,) * 3, 10**7, normalizer)


def shifted(points, right, down):
    return points + np.array([right, down])


def at(labels, x, y):
    return REGIONS[labels[int(y), int(x)]]


@pytest.mark.parametrize(
    "fit, normalizer", [*((fit, None) for fit in FITS), ("crop", {"size": 50, "quality": 95})]
)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_planted_marker_is_where_the_transform_says(fit, shape, normalizer):
    height, width = shape
    step = preprocess(fit, normalizer=normalizer)
    for x, y in ((width / 2, height / 2), (width / 2 - 17, height / 2 + 21.0)):
        rows, columns = np.mgrid[:height, :width] + 0.5
        spot = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 18)
        image = np.repeat((spot * 255).round().astype(np.uint8)[..., None], 3, axis=2)
        made = step.resize(image)[..., 0].astype(float)
        made[made < 10] = 0  # what a JPEG leaves around
        centres = np.arange(64) + 0.5
        centroid = made.sum(0) @ centres / made.sum(), made.sum(1) @ centres / made.sum()
        # A fifth of a pixel; a mistake by half a pixel of the picture would show at 64 of 64.
        assert np.abs(to_input((x, y), width, height, step) - centroid).max() < 0.2


@pytest.mark.parametrize("fit", FITS)
def test_half_a_pixel_is_not_lost(fit):
    """Enlarged 8 times, a convention of pixel centres at whole numbers would be off by 3.5."""
    for shape in ((16, 16), (17, 16), (16, 21)):
        image = np.zeros((*shape, 3), np.uint8)
        image[9, 7] = 255
        step = preprocess(fit, size=16 * 8, interpolation="nearest")
        rows, columns = np.nonzero(step.resize(image)[..., 0])
        middle = columns.mean() + 0.5, rows.mean() + 0.5
        assert np.abs(to_input((7.5, 9.5), shape[1], shape[0], step) - middle).max() < 0.51


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(FITS),
    st.integers(20, 90),
    st.integers(20, 90),
    st.integers(16, 80),
    st.integers(0, 2**32 - 1),
)
def test_a_mask_goes_where_the_picture_goes(fit, height, width, size, seed):
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), bool)
    top, left = rng.integers(0, height - 8), rng.integers(0, width - 8)
    mask[top : top + rng.integers(6, height), left : left + rng.integers(6, width)] = True
    step = preprocess(fit, size)
    seen = step.resize(np.repeat(mask[..., None] * np.uint8(255), 3, axis=2))[..., 0]
    carried = mask_to_input(mask, step)
    assert carried.shape == (size, size) and carried.dtype == bool
    # A pixel that is clearly in or out of the picture's own resizing is so in the mask's.
    sure = cv2.erode(np.where(seen == 255, 1, 0).astype(np.uint8), np.ones((3, 3))) > 0
    none = cv2.dilate((seen > 0).astype(np.uint8), np.ones((3, 3))) == 0
    assert carried[sure].all() and not carried[none].any()


def test_a_mask_goes_through_the_normalizer_too():
    mask = np.zeros((101, 64), bool)
    mask[30:60, 10:40] = True
    step = preprocess(size=32, normalizer={"size": 48, "quality": 90})
    expected = cv2.resize(mask[18:82].astype(np.float32), (32, 32), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(mask_to_input(mask, step), expected >= 0.5)


def test_a_picture_without_pixels_is_refused():
    with pytest.raises(UserError, match="0 x 5"):
        to_input((0, 0), 0, 5, preprocess())


def test_names_are_those_of_the_bits():
    assert REGIONS[0] == "rest" and REGIONS[1:5] == FACE_PARTS and len(set(REGIONS)) == 11


def test_each_region_is_where_a_face_has_it():
    labels = regions(FACE, 100)
    assert labels.shape == (100, 100) and labels.dtype == np.int8
    assert set(np.unique(labels)) == set(range(len(REGIONS)))
    (left, right, tip, corner_left, corner_right) = FACE
    assert at(labels, *left) == "eye_left" and at(labels, *right) == "eye_right"
    assert at(labels, *tip) == "nose"
    assert at(labels, *corner_left) == at(labels, *corner_right) == at(labels, 50, 73) == "mouth"
    assert at(labels, 34, 33) == "brow_left" and at(labels, 66, 33) == "brow_right"
    assert at(labels, 30, 60) == "cheek_left" and at(labels, 70, 60) == "cheek_right"
    assert at(labels, 50, 25) == "forehead" and at(labels, 50, 86) == "chin"
    assert at(labels, 2, 2) == at(labels, 97, 97) == "rest"


def test_a_mirrored_face_has_mirrored_regions():
    swap = np.array([0, 2, 1, 3, 4, 6, 5, 8, 7, 9, 10])  # left and right
    mirrored = FACE[[1, 0, 2, 4, 3]] * (-1, 1) + (100, 0)
    np.testing.assert_array_equal(regions(mirrored, 100), swap[regions(FACE, 100)][:, ::-1])


def test_a_crooked_mouth_has_a_crooked_region():
    crooked = FACE + np.array([[0, 0], [0, 0], [0, 0], [0, -5], [0, 5]])
    labels = regions(crooked, 100)
    assert at(labels, *crooked[3]) == at(labels, *crooked[4]) == "mouth"
    ys, xs = np.nonzero(labels == REGIONS.index("mouth"))
    assert ys[xs < 40].mean() + 5 < ys[xs >= 60].mean()


def test_a_turned_head_lies_behind_its_nose():
    """The nose points to the right: the face reaches further to the left, its nose to the right."""
    turned = FACE + np.array([[0, 0], [0, 0], [9, 0], [0, 0], [0, 0]])
    ahead, aside = regions(FACE, 100), regions(turned, 100)
    left = [np.nonzero(labels)[1].min() for labels in (ahead, aside)]
    assert left[1] < left[0] - 2
    nose = [np.nonzero(labels == REGIONS.index("nose"))[1].mean() for labels in (ahead, aside)]
    assert nose[1] > nose[0] + 3


@settings(deadline=None, max_examples=30)
@given(st.floats(-3.2, 3.2), st.floats(0.4, 2.5), st.floats(-20, 20), st.floats(-20, 20))
def test_regions_follow_rotation_scale_and_shift(angle, scale, right, down):
    """Against the first face's label map, looked up at each pixel of the second's."""
    fine = 4  # so that the borders, where rounding decides, are few
    first = regions(FACE * fine, 100 * fine)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([50.0, 50.0])
    second = regions((FACE - middle) @ turn.T + middle + (right, down), 100)
    y, x = np.mgrid[:100, :100] + 0.5
    back = (np.stack([x, y], -1) - middle - (right, down)) @ np.linalg.inv(turn).T + middle
    index = np.floor(back * fine).astype(int)
    inside = ((index >= 0) & (index < 100 * fine)).all(-1)
    expected = first[index[inside][:, 1], index[inside][:, 0]]
    assert (second[inside] == expected).mean() > 0.97


def test_regions_follow_a_squashed_picture():
    """The centre of row y lies at 2 y + 1 before; half a pixel on, that is a centre too."""
    flat = regions(FACE * (1, 0.5), 100)
    np.testing.assert_array_equal(flat[:50], regions(shifted(FACE, 0, 0.5), 100)[1::2])


@pytest.mark.parametrize(
    "points",
    [FACE[:4], FACE * np.nan, np.zeros((5, 2)), FACE * (1, 0), FACE * (0, 1) + (50, 0)],
)
def test_points_that_span_no_face_are_refused(points):
    with pytest.raises(UserError, match="landmarks"):
        regions(points, 100)


def test_a_face_partly_or_wholly_outside_is_no_error():
    assert (regions(shifted(FACE, 500, 0), 100) == 0).all()
    assert REGIONS.index("eye_left") not in regions(shifted(FACE, -50, 0), 100)


@pytest.fixture(scope="module")
def rendered():
    made = [
        portrait((5, seed), size=240, difficulty="mid", parts=(False,) * 4, fake=False)
        for seed in range(4)
    ]
    return [(one.jpeg, np.array(one.landmarks)) for one in made]


@pytest.mark.parametrize("fit", FITS)
def test_landmarks_of_a_file_are_those_of_the_input(rendered, fit):
    """Found on the picture and carried, they lie where the truth is carried to."""
    for jpeg, truth in rendered:
        image = cv2.copyMakeBorder(
            decode(jpeg, max_pixels=10**6), 11, 0, 60, 31, cv2.BORDER_CONSTANT, value=(90, 90, 90)
        )
        step = preprocess(fit, size=96)
        points, score = landmarks_in_input(image, step)
        height, width = image.shape[:2]
        expected = to_input(shifted(truth, 60, 11), width, height, step)
        eyes = np.linalg.norm(expected[1] - expected[0])
        assert np.abs(points - expected).max() < 0.3 * eyes and 0.7 <= score <= 1
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "PNG")
        placed = regions_of_file(stream.getvalue(), step)
        np.testing.assert_array_equal(placed.labels, regions(points, 96))
        np.testing.assert_array_equal(placed.landmarks, points)


def test_regions_are_where_parts_are_exchanged_in_rendered_faces():
    """Masks of the synthetic set, one part each: most of one lies in its region and around it."""
    around = np.ones((9, 9), np.uint8)  # of 160 pixels
    for seed in range(3):
        for bit, part in enumerate(FACE_PARTS):
            parts = tuple(k == bit for k in range(4))
            given = {"size": 160, "difficulty": "easy", "parts": parts, "fake": True}
            _, mask, *_ = paint((9, seed), **given)
            truth = np.array(portrait((9, seed), **given).landmarks)
            labels = regions(truth, 160)
            inside = np.bincount(labels[mask > 0], minlength=len(REGIONS))
            assert REGIONS[inside[:5].argmax()] == part
            region = cv2.dilate((labels == bit + 1).astype(np.uint8), around) > 0
            assert region[mask > 0].mean() > 0.6
            elsewhere = regions(shifted(truth, 0, 40), 160) == bit + 1
            assert elsewhere[mask > 0].mean() < 0.5 * (labels == bit + 1)[mask > 0].mean()


def test_the_largest_face_inside_the_input_is_taken(rendered):
    (jpeg, _), (other, _) = rendered[:2]
    large, small = (decode(x, max_pixels=10**6) for x in (jpeg, other))
    canvas = np.full((240, 700, 3), 128, np.uint8)
    canvas[:, :240] = large
    canvas[20:200, 260:440] = cv2.resize(small, (180, 180), interpolation=cv2.INTER_AREA)
    whole, _ = landmarks_in_input(canvas, preprocess("pad", size=700))
    assert whole[2][0] < 240
    cut, _ = landmarks_in_input(canvas, preprocess("crop", size=240))  # the large one is cut off
    assert 30 < cut[2][0] < 210


def test_without_a_face_there_are_no_regions():
    noise = np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    assert regions_of_image(noise, preprocess()) is None
    assert regions_of_image(noise[:1, :1], preprocess()) is None
