"""The cut against an independent warp, against aliasing, and in place on rendered faces."""

import io
import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from detector.data.crop import Cut, FaceCrop
from detector.data.faces import Found
from detector.data.geometry import mask_to_input, to_input, window
from detector.data.preprocess import Preprocess
from detector.data.regions import landmarks_in_input, regions_of_cut, regions_of_image
from detector.data.synthetic.portrait import portrait
from detector.errors import UserError

BASE = Preprocess(64, "crop", "bilinear", (0.5,) * 3, (0.5,) * 3, 10**8)
ALL = [FaceCrop(margin, align) for margin in (0.0, 0.3, 1.0) for align in (False, True)]


def with_crop(crop: FaceCrop, size: int = 64) -> Preprocess:
    return Preprocess(size, "crop", "bilinear", (0.5,) * 3, (0.5,) * 3, 10**8, crop=crop)


def face(x=60.0, y=50.0, across=30.0, down=40.0, tilt=0.0) -> Found:
    """A face whose eyes are a third of its box apart, on a line that is tilted."""
    along = np.array([np.cos(tilt), np.sin(tilt)])
    below = np.array([-along[1], along[0]])
    u, v = across / 6 * along, down / 5 * below
    middle = np.array([x, y])
    points = (middle - u - v, middle + u - v, middle, middle - u + v, middle + u + v)
    box = (x - across / 2, y - down / 2, across, down)
    return Found(box, tuple(map(tuple, points)), 0.9)


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
    return np.array(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def sampled(image: np.ndarray, cut: Cut) -> np.ndarray:
    """The cut by bilinear interpolation between pixel centres, borders repeated."""
    height, width = cut.image.shape[:2]
    inverse = np.linalg.inv(np.vstack([cut.to_cut, [0, 0, 1]]))
    rows, columns = np.mgrid[:height, :width] + 0.5
    centres = np.stack([columns, rows, np.ones_like(rows)]).reshape(3, -1)
    x, y = inverse[:2] @ centres - 0.5
    made = 0
    for down in (0, 1):
        for right in (0, 1):
            at_x, at_y = np.floor(x).astype(int) + right, np.floor(y).astype(int) + down
            share = (1 - np.abs(x - at_x)) * (1 - np.abs(y - at_y))
            pixels = image[at_y.clip(0, image.shape[0] - 1), at_x.clip(0, image.shape[1] - 1)]
            made = made + share[:, None] * pixels
    return made.reshape(height, width, 3)


@settings(deadline=None, max_examples=25)
@given(
    st.floats(-5, 125), st.floats(-5, 95), st.floats(8, 60), st.floats(8, 60),
    st.floats(-3.1, 3.1), st.floats(0, 1), st.booleans(),
)  # fmt: skip
def test_the_piece_is_what_its_transform_says(x, y, across, down, tilt, margin, align):
    image = texture(90, 120)
    cut = FaceCrop(margin, align)._cut(image, face(x, y, across, down, tilt))
    side = cut.image.shape[0]
    assert cut.image.shape == (side, side, 3) and cut.image.dtype == np.uint8
    assert side == max(1, round(min((1 + 2 * margin) * max(across, down), 120)))
    difference = np.abs(cut.image - sampled(image, cut))
    # Cubic and linear interpolation of a smooth picture differ little; whole pixels not at all.
    assert difference.max() < (1e-9 if not align else 12)
    middle = cut.points((np.clip(x, 0, 120), np.clip(y, 0, 90)))
    assert np.abs(middle - side / 2).max() <= 0.5 + 1e-9
    if align:
        eyes = cut.points(cut.landmarks[:2])
        level = np.hypot(*(eyes[1] - eyes[0]))
        assert eyes[1] - eyes[0] == pytest.approx((level, 0), abs=1e-6)
        # A similarity at scale 1: distances stay.
        assert level == pytest.approx(np.hypot(*(cut.landmarks[1] - cut.landmarks[0])))


def test_eyes_without_a_sure_direction_turn_nothing():
    flat = Found((10, 10, 30, 40), ((20, 20), (20.5, 22), (20, 30), (18, 40), (22, 40)), 0.9)
    cut = FaceCrop(0.2, True)._cut(texture(90, 120), flat)
    assert np.array_equal(cut.to_cut[:, :2], np.eye(2))


@pytest.mark.parametrize("tilt", [0.0, 0.35])
def test_large_faces_do_not_alias(tilt):
    """Stripes finer than the input can hold become even grey, not other stripes."""
    at = np.arange(2400)
    stripes = np.where((at[:, None] + at[None]) % 4 < 2, 0, 255).astype(np.uint8)
    image = np.repeat(stripes[..., None], 3, axis=2)
    large = face(1200, 1200, 1400, 1400, tilt)
    piece = FaceCrop(0.1, True)._cut(image, large).image
    made = BASE.resize_cut(piece).astype(float)
    nearest = piece[:: piece.shape[0] // 64, :: piece.shape[0] // 64]
    assert made.std() < 4 < 80 < nearest.std()
    assert made.mean() == pytest.approx(127.5, abs=2)


def test_what_lies_beyond_the_picture_repeats_its_border():
    image = texture(60, 60)
    cut = FaceCrop(0.5, False)._cut(image, face(6, 30, 20, 24))
    beyond = round(cut.points((0, 0))[0])
    assert beyond > 10
    assert np.array_equal(
        cut.image[:, :beyond], np.repeat(cut.image[:, beyond : beyond + 1], beyond, 1)
    )
    mask = cut.mask(np.ones((60, 60), bool))
    assert not mask[:, :beyond].any() and mask[:, beyond:].all()


def test_memory_is_bounded_by_the_picture():
    for height, width in ((60, 60), (60, 200), (60, 100)):
        cut = FaceCrop(1.0, False)._cut(texture(height, width), face(30, 30, 500, 600))
        assert cut.image.size <= 2 * height * width * 3


@pytest.fixture(scope="module")
def scenes():
    """Rendered faces in a wider scene, turned: the picture, the planted mask, the landmarks."""
    made = []
    for seed, degrees in ((0, 0), (1, 17), (2, -24)):
        one = portrait(
            (5, seed), size=256, difficulty="easy", parts=(True, False, False, True), fake=True
        )
        image = np.array(Image.open(io.BytesIO(one.jpeg)).convert("RGB"))
        turn = cv2.getRotationMatrix2D((128, 128), degrees, 1)
        turn[:, 2] += 90, 40
        canvas = cv2.warpAffine(
            image, turn, (460, 360), flags=cv2.INTER_LINEAR, borderValue=(120, 130, 140)
        )
        mask = cv2.warpAffine(
            (np.asarray(one.mask) > 0).astype(np.uint8), turn, (460, 360), flags=cv2.INTER_NEAREST
        )
        points = (np.array(one.landmarks) - 0.5) @ turn[:, :2].T + turn[:, 2] + 0.5
        made.append((canvas, mask > 0, points))
    return made


@pytest.mark.parametrize("crop", ALL, ids=str)
def test_masks_and_landmarks_lie_right_on_rendered_faces(scenes, crop, monkeypatch):
    """Against the network's own pixels of a picture of the mask, and one warp from end to end."""
    for canvas, mask, truth in scenes:
        step = with_crop(crop, 96)
        cut = step.cut(canvas)
        assert cut.box is not None
        carried = mask_to_input(cut.mask(mask), step.uncropped)
        assert carried.any() and carried.shape == (96, 96)
        with monkeypatch.context() as patch:  # the same face, in a picture that shows the mask
            where = [Found(cut.box, tuple(map(tuple, cut.landmarks)), cut.score)]
            patch.setattr("detector.data.faces.find_faces", lambda _, where=where: where)
            shown = step.resize(np.repeat(mask[..., None] * np.uint8(255), 3, axis=2))[..., 0]
        assert overlap(carried, shown >= 128) > 0.9
        assert overlap(carried, warped(mask, cut, 96)) > 0.9
        side = cut.image.shape[0]
        placed = to_input(cut.points(truth), side, side, step.uncropped)
        eyes = np.linalg.norm(placed[0] - placed[1])
        points, _ = landmarks_in_input(canvas, step)
        assert (np.linalg.norm(points - placed, axis=1) < 0.3 * eyes).all()
        if crop.align:  # by the landmarks that were found, so nearly by the true ones
            assert abs(points[1, 1] - points[0, 1]) < 1e-6
            assert abs(placed[1, 1] - placed[0, 1]) < 0.3 * eyes
        regions = regions_of_image(canvas, step)
        assert np.array_equal(regions.labels, regions_of_cut(cut, step).labels)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


def warped(mask: np.ndarray, cut: Cut, size: int) -> np.ndarray:
    """The mask in the input by one matrix, averaged over 8 x 8 points of each pixel."""
    fine = 8
    scale = size * fine / cut.image.shape[0]
    at = (np.arange(size * fine) + 0.5) / scale
    points = np.stack(np.meshgrid(at, at), axis=-1) - cut.to_cut[:, 2]
    x, y = np.moveaxis(points @ np.linalg.inv(cut.to_cut[:, :2]).T, -1, 0)
    height, width = mask.shape
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    values = (
        inside & mask[np.clip(y, 0, height - 1).astype(int), np.clip(x, 0, width - 1).astype(int)]
    )
    return values.reshape(size, fine, size, fine).mean((1, 3)) >= 0.5


def test_several_faces_the_largest_first_and_none_is_the_whole_picture(scenes):
    (canvas, *_), (other, *_) = scenes[:2]
    both = np.concatenate([cv2.resize(other, (230, 180)), cv2.resize(canvas, (230, 180))], axis=0)
    both = np.concatenate([both, canvas], axis=1)
    crop = FaceCrop(0.2, False)
    cuts = crop.cuts(both)
    assert len(cuts) == 3 and cuts[0].box[0] > 230
    areas = [cut.box[2] * cut.box[3] for cut in cuts]
    assert areas == sorted(areas, reverse=True)
    assert np.array_equal(crop.largest(both).image, cuts[0].image)
    bare = texture(100, 140)
    assert crop.cuts(bare) == []
    whole = crop.largest(bare)
    assert whole.image is bare and whole.box is None and whole.landmarks is None
    assert np.array_equal(with_crop(crop).resize(bare), BASE.resize(bare))
    assert regions_of_image(bare, with_crop(crop)) is None
    marked = bare[..., 0] > 128
    assert np.array_equal(whole.mask(marked), marked)


def test_the_order_is_crop_normalizer_resize(scenes):
    canvas = scenes[1][0]
    stream = io.BytesIO()
    Image.fromarray(canvas).save(stream, "PNG")
    settings = {"margin": 0.3, "align": True}, {"size": 80, "quality": 60}
    step = Preprocess(
        64, "crop", "bilinear", (0.5,) * 3, (0.5,) * 3, 10**8, settings[1], settings[0]
    )
    piece = FaceCrop(0.3, True).cuts(canvas)[0].image
    by_hand = np.asarray(
        Image.fromarray(step.normalizer(piece)).resize((64, 64), Image.Resampling.BILINEAR)
    )
    assert np.array_equal(step(stream.getvalue()), by_hand)
    assert not np.array_equal(step.uncropped(stream.getvalue()), by_hand)


def test_a_crop_travels_in_the_card_and_only_where_there_is_one():
    step = with_crop(FaceCrop(0.25, True))
    card = json.loads(json.dumps(step.to_dict()))
    assert card["crop"] == {"margin": 0.25, "align": True} and "normalizer" not in card
    assert Preprocess.from_dict(card) == step
    assert "crop" not in BASE.to_dict() and Preprocess.from_dict(BASE.to_dict()).crop is None
    keys = {with_crop(crop).pixels_key() for crop in ALL} | {BASE.pixels_key()}
    assert len(keys) == len(ALL) + 1  # each has pixels of its own in the cache
    with pytest.raises(AssertionError, match="uncropped"):
        window(100, 100, step)
    assert window(100, 100, step.uncropped) == (0, 0, 100, 100)


def test_what_a_config_asks_for():
    asked = {"crop": "face", "crop_margin": 0.5, "crop_align": False}
    assert FaceCrop.of_config(asked) == FaceCrop(0.5, False)
    assert FaceCrop.of_config(asked | {"crop": None}) is None is FaceCrop.of_config({})
    with pytest.raises(UserError, match=r"^data\.crop=mouth: choose null or face"):
        FaceCrop.of_config(asked | {"crop": "mouth"})


@pytest.mark.parametrize(
    "settings",
    [None, "face", {}, {"margin": 0.2}, {"margin": 0.2, "align": 1}, {"margin": "1", "align": True},
     {"margin": -0.1, "align": True}, {"margin": 1.1, "align": True},
     {"margin": True, "align": True}, {"margin": float("nan"), "align": True},
     {"margin": 0.1, "align": True, "x": 1}],
)  # fmt: skip
def test_bad_settings_are_refused_in_one_line(settings):
    with pytest.raises(UserError) as refused:
        FaceCrop.from_dict(settings)
    assert "\n" not in str(refused.value)
    if settings is not None:
        with pytest.raises(UserError):
            Preprocess.from_dict(BASE.to_dict() | {"crop": settings})
