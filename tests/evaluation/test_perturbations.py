"""Each perturbation against Pillow, a brute-force sum or geometry; settings refused in words."""

import io
import math
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from PIL import Image

from detector.errors import UserError
from detector.evaluation.perturbations import PERTURBATIONS, choose

STRENGTHS = {
    "jpeg": [95, 30],
    "webp": [90, 40],
    "blur": [0.5, 2],
    "noise": [3, 20.0],
    "downscale": [0.75, 0.2],
    "upscale": [1.5, 2],
    "crop": [0.9, 0.5],
    "brightness": [0.5, 1.5],
    "shared": [1, 3],
}
EACH = [(name, strength) for name, values in STRENGTHS.items() for strength in values]


def apply(name: str, image: np.ndarray, strength: float) -> np.ndarray:
    return PERTURBATIONS[name].apply(image, strength)


def picture(height: int = 60, width: int = 48, seed: int = 0) -> np.ndarray:
    """A smooth picture with some texture, as faces are."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(30, 226, (5, 4, 3), np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(int)
    return np.clip(image + rng.integers(-8, 9, image.shape), 0, 255).astype(np.uint8)


def by_pillow(image: np.ndarray, kind: str, **how) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, kind, **how)
    return np.asarray(Image.open(stream).convert("RGB"))


def test_all_families_are_tried_here():
    assert list(STRENGTHS) == list(PERTURBATIONS)


@pytest.mark.parametrize("name, strength", EACH)
@pytest.mark.parametrize("size", [(60, 48), (17, 90), (1, 1)])
def test_each_gives_rgb_again_leaves_its_argument_and_repeats(name, strength, size):
    image = picture(*size)
    image.flags.writeable = False
    before = image.copy()
    first = apply(name, image, strength)
    assert first.dtype == np.uint8 and first.ndim == 3 and first.shape[2] == 3 and first.size
    assert np.array_equal(image, before)
    assert np.array_equal(apply(name, image, strength), first)


@pytest.mark.parametrize("name, strength", EACH)
def test_each_changes_a_picture(name, strength):
    image = picture(200, 160)
    made = apply(name, image, strength)
    assert made.shape != image.shape or not np.array_equal(made, image)


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_the_neutral_strength_changes_nothing(name):
    neutral = PERTURBATIONS[name].neutral
    if math.isfinite(neutral):
        assert np.array_equal(apply(name, picture(), neutral), picture())


@pytest.mark.parametrize("quality", [1, 30, 75, 95])
def test_jpeg_and_webp_are_pillows(quality):
    expected = by_pillow(picture(), "JPEG", quality=quality)  # whose default is 4:2:0
    assert np.array_equal(apply("jpeg", picture(), quality), expected)
    expected = by_pillow(picture(), "WEBP", quality=quality)
    assert np.array_equal(apply("webp", picture(), quality), expected)


@pytest.mark.parametrize("name", ["jpeg", "webp"])
def test_lower_quality_is_further_from_the_picture(name):
    image = picture(96, 96).astype(int)
    away = [np.abs(apply(name, picture(96, 96), q) - image).mean() for q in (95, 60, 30, 5)]
    assert away == sorted(away) and away[0] < away[-1]


def test_jpeg_halves_the_resolution_of_colour_only():
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2, 0] = 200  # red columns, one pixel wide
    made = apply("jpeg", stripes, 100).astype(int)
    contrast = np.abs(made[:, ::2] - made[:, 1::2]).mean((0, 1))
    assert contrast[0] < 100  # all of its contrast would be 200
    grey = np.repeat(stripes[..., :1], 3, axis=2)
    assert np.abs(apply("jpeg", grey, 100).astype(int) - grey).max() <= 4


@pytest.mark.parametrize("percent", [2.0, 5.0])
def test_blur_is_a_sum_with_gaussian_weights(percent):
    image = picture(40, 52)
    sigma = percent / 100 * 40
    reach = math.ceil(5 * sigma)
    padded = np.pad(image.astype(float), ((reach,) * 2, (reach,) * 2, (0, 0)), "reflect")
    total = np.zeros(image.shape)
    weight = 0.0
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            w = math.exp(-(dy * dy + dx * dx) / (2 * sigma * sigma))
            weight += w
            total += w * padded[reach + dy :, reach + dx :][:40, :52]
    assert np.abs(apply("blur", image, percent) - total / weight).max() < 1.5
    assert np.abs(image - total / weight).max() > 8  # it would notice if nothing was blurred


@pytest.mark.parametrize("height, width", [(224, 224), (600, 600), (224, 600)])
def test_blur_grows_with_the_shorter_side(height, width):
    edge = np.zeros((height, width, 3), np.uint8)
    edge[:, width // 2 :] = 255
    slope = np.diff(apply("blur", edge, 2)[height // 2, :, 0].astype(float))
    x = np.arange(len(slope))
    mean = (slope * x).sum() / slope.sum()
    sd = math.sqrt((slope * (x - mean) ** 2).sum() / slope.sum())
    assert sd == pytest.approx(0.02 * min(height, width), rel=0.04)


@pytest.mark.parametrize("sd", [2.0, 10.0, 25.0])
def test_noise_has_its_standard_deviation_and_no_pattern(sd):
    grey = np.full((300, 300, 3), 128, np.uint8)
    noise = apply("noise", grey, sd).astype(float) - 128
    assert noise.mean() == pytest.approx(0, abs=0.02 * sd)
    assert noise.std() == pytest.approx(math.sqrt(sd * sd + 1 / 12), rel=0.01)
    unit = noise / noise.std()
    for other in (unit[:, :, [1, 2, 0]], np.roll(unit, 1, 0), np.roll(unit, 1, 1)):
        assert abs((unit * other).mean()) < 0.01
    shares = [(np.abs(noise) <= k * sd + 0.5).mean() for k in (1, 2)]  # of a normal, at least
    assert shares[0] >= 0.68 and 0.95 <= shares[1] < 0.99
    assert noise.min() > -129 and noise.max() < 128


def test_noise_differs_between_pictures_and_strengths():
    grey = np.full((200, 200, 3), 128, np.uint8)
    dot = grey.copy()
    dot[0, 0, 0] = 129
    fields = [
        apply("noise", image, sd).astype(float) - 128
        for image, sd in ((grey, 10), (dot, 10), (grey, 12), (grey.reshape(100, 400, 3), 10))
    ]
    flat = np.stack([field.ravel() for field in fields])
    assert np.abs(np.corrcoef(flat) - np.eye(4)).max() < 0.02


def test_noise_does_not_depend_on_order_or_threads_or_other_random_numbers():
    images = [picture(seed=seed) for seed in range(20)]
    expected = [apply("noise", image, 7) for image in images]
    cv2.setRNGSeed(5)
    with ThreadPoolExecutor(4) as pool:
        turned = list(pool.map(lambda image: apply("noise", image, 7.0), images[::-1]))
    assert all(map(np.array_equal, expected, turned[::-1]))


def test_noise_of_black_and_white_is_clipped_and_not_wrapped():
    for value in (0, 255):
        noisy = apply("noise", np.full((50, 50, 3), value, np.uint8), 20)
        assert (noisy == value).mean() > 0.4 and np.abs(noisy.astype(int) - value).max() < 128


def test_halving_averages_blocks_of_four():
    image = picture(40, 30)
    blocks = image.reshape(20, 2, 15, 2, 3).mean((1, 3))
    assert np.abs(apply("downscale", image, 0.5) - blocks).max() <= 0.5


def test_enlarging_keeps_a_ramp_straight():
    ramp = np.repeat(np.arange(0, 240, 6, np.uint8)[None, :, None], 3, axis=2).repeat(30, axis=0)
    large = apply("upscale", ramp, 2).astype(float)
    assert large.shape == (60, 80, 3)
    # Pixel centres: x of the large picture lies at (x + .5) / 2 - .5 of the small one.
    expected = 6 * ((np.arange(80) + 0.5) / 2 - 0.5)
    assert np.abs(large[:, 6:-6] - expected[None, 6:-6, None]).max() <= 1


@given(st.integers(1, 70), st.integers(1, 70), st.floats(0.01, 1))
@settings(max_examples=60, deadline=None)
def test_scaling_and_crop_keep_their_share_of_each_side(height, width, share):
    # Each pixel knows where it was: red its row, green its column.
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0], image[..., 1] = np.arange(height)[:, None], np.arange(width)
    expected = tuple(max(1, round(side * share)) for side in (height, width))
    assert apply("downscale", image, share).shape[:2] == expected
    cropped = apply("crop", image, share)
    assert cropped.shape[:2] == expected
    top, left = cropped[0, 0, :2].tolist()
    bottom, right = cropped[-1, -1, :2].tolist()
    assert (bottom - top + 1, right - left + 1) == expected  # one piece
    assert 0 <= (height - 1 - bottom) - top <= 1 and 0 <= (width - 1 - right) - left <= 1


@pytest.mark.parametrize("factor", [0.0, 0.3, 0.75, 1.3, 4.0])
def test_brightness_is_a_product(factor):
    image = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    expected = [min(255, round(v * factor)) for v in range(256)]
    assert apply("brightness", image, factor)[..., 1].ravel().tolist() == expected


def test_shared_is_its_chain():
    image = picture(600, 500)
    trimmed = by_pillow(image[12:588, 10:490], "JPEG", quality=85)
    small = cv2.resize(trimmed, (225, 270), interpolation=cv2.INTER_AREA)
    expected = by_pillow(small, "JPEG", quality=75)
    once = apply("shared", image, 1)
    assert np.array_equal(once, expected)
    assert np.array_equal(apply("shared", image, 3), apply("shared", once, 2))


def test_shared_does_not_enlarge():
    assert apply("shared", picture(200, 100), 1).shape == (192, 96, 3)


@pytest.mark.parametrize("name, side", [("jpeg", 65_501), ("webp", 16_384), ("shared", 70_000)])
def test_a_side_too_long_for_the_format_is_one_line(name, side):
    with pytest.raises(UserError, match="too large for") as error:
        apply(name, np.zeros((1, side, 3), np.uint8), 2)
    assert "\n" not in str(error.value)
    if name != "shared":
        assert apply(name, np.zeros((1, side - 1, 3), np.uint8), 2).shape == (1, side - 1, 3)


def test_choosing_keeps_the_order_and_takes_a_config():
    config = OmegaConf.create({"families": ["noise", "jpeg"], "strengths": STRENGTHS})
    OmegaConf.set_struct(config, True)
    for given_ in (config, OmegaConf.to_container(config)):
        chosen = choose(given_["families"], given_["strengths"])
        assert list(chosen.items()) == [("noise", (3, 20.0)), ("jpeg", (95, 30))]
    assert choose([], {}) == {}


@pytest.mark.parametrize("strengths", [STRENGTHS, OmegaConf.create(STRENGTHS)])
def test_the_strengths_of_this_file_are_fine(strengths):
    assert choose(list(PERTURBATIONS), strengths).keys() == PERTURBATIONS.keys()


@pytest.mark.parametrize(
    "families, strengths, says",
    [
        (["melt"], {"melt": [1]}, "robustness.families: no family melt; there are jpeg, webp"),
        (["jpeg", "jpeg"], {}, "robustness.strengths.jpeg=None"),
        (["jpeg", "jpeg"], {"jpeg": [5]}, "twice"),
        (["jpeg"], {"jpeg": []}, "give a list"),
        (["jpeg"], {"jpeg": 95}, "give a list"),
        (["jpeg"], {"jpeg": "95"}, "give a list"),
        (["jpeg"], {"jpeg": ["95"]}, "whole numbers from 1 to 100"),
        (["jpeg"], {"jpeg": [True]}, "whole numbers"),
        (["jpeg"], {"jpeg": [90.5]}, "whole numbers"),
        (["jpeg"], {"jpeg": [0]}, "from 1 to 100"),
        (["webp"], {"webp": [101]}, "from 1 to 100"),
        (["blur"], {"blur": [math.nan]}, "from 0 to 10"),
        (["blur"], {"blur": [None]}, "from 0 to 10"),
        (["noise"], {"noise": [-1]}, "from 0 to 128"),
        (["downscale"], {"downscale": [2]}, "from 0.01 to 1"),
        (["upscale"], {"upscale": [math.inf]}, "from 1 to 4"),
        (["crop"], {"crop": [0.5, 0.5]}, "once"),
        (["shared"], {"shared": [1.5]}, "whole numbers from 0 to 10"),
    ],
)
def test_bad_settings_are_one_line_that_says_what_to_do(families, strengths, says):
    for given_ in (strengths, OmegaConf.create(strengths)):
        with pytest.raises(UserError, match=says) as error:
            choose(families, given_)
        assert "\n" not in str(error.value) and "robustness." in str(error.value)
