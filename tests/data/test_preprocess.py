"""Resizing against Pillow and by symmetry; settings checked; normalization in closed form."""

import io
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from detector.data import preprocess
from detector.data.decode import DecodeError, decode
from detector.data.normalizer import Normalizer
from detector.data.preprocess import Preprocess
from detector.errors import UserError

BASE = {
    "size": 32,
    "fit": "crop",
    "interpolation": "bilinear",
    "mean": [0.5] * 3,
    "std": [0.25] * 3,
    "max_pixels": 10**6,
}


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


def test_bytes_to_pixels_is_pillow_for_a_square():
    image = Image.fromarray(noise(60, 60))
    stream = io.BytesIO()
    image.save(stream, "PNG")
    expected = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR))
    assert np.array_equal(Preprocess(**BASE)(stream.getvalue()), expected)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.sampled_from(["crop", "squash", "pad"]),
    st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos"]),
)
def test_any_size_becomes_the_stated_one(height, width, fit, interpolation):
    made = Preprocess(**BASE | {"fit": fit, "interpolation": interpolation})
    pixels = made.resize(noise(height, width))
    assert pixels.shape == (32, 32, 3) and pixels.dtype == np.uint8


@pytest.mark.parametrize("fit", ["crop", "squash", "pad"])
def test_fits_on_a_picture_with_three_bands(fit):
    bands = np.zeros((32, 96, 3), np.uint8)
    bands[:, :32, 0], bands[:, 32:64, 1], bands[:, 64:, 2] = 255, 255, 255
    pixels = Preprocess(**BASE | {"fit": fit, "interpolation": "nearest"}).resize(bands)
    share = (pixels == 255).mean((0, 1))
    expected = {"crop": (0, 1, 0), "squash": (1 / 3,) * 3, "pad": (1 / 9,) * 3}[fit]
    assert share == pytest.approx(expected, abs=0.04)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 90), st.integers(1, 90), st.sampled_from([16, 32, 61]),
    st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos"]), st.sampled_from([1, 200, 9999]),
)  # fmt: skip
def test_padding_is_pillows_resizing_of_the_whole_square(height, width, size, method, strip):
    side = max(height, width)
    square = Image.new("RGB", (side, side))
    square.paste(Image.fromarray(noise(height, width)), ((side - width) // 2, (side - height) // 2))
    expected = square.resize((size, size), Image.Resampling[method.upper()])
    made = Preprocess(**BASE | {"fit": "pad", "size": size, "interpolation": method})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preprocess, "STRIP", strip)
        assert np.array_equal(made.resize(noise(height, width)), np.asarray(expected))


@pytest.mark.parametrize("shape", [(8_000, 2), (2, 8_000)])
def test_padding_a_strip_takes_no_square_of_it(shape, monkeypatch):
    made, new = [], Image.new

    def noted(mode, size, *more):
        made.append(size[0] * size[1])
        return new(mode, size, *more)

    monkeypatch.setattr(Image, "new", noted)
    monkeypatch.setattr(preprocess, "STRIP", 20_000)
    pixels = Preprocess(**BASE | {"fit": "pad", "size": 16}).resize(np.full((*shape, 3), 255, "u1"))
    assert pixels.shape == (16, 16, 3) and max(made) <= 8_000 * 16  # of 64 million


def test_normalize_is_the_formula():
    images = np.stack([noise(32, 32), noise(32, 32)[::-1]])
    got = Preprocess(**BASE | {"mean": [0.1, 0.2, 0.3], "std": [0.5, 1, 2]}).normalize(images)
    assert got.shape == (2, 3, 32, 32) and got.dtype == np.float32
    for channel, (mean, std) in enumerate([(0.1, 0.5), (0.2, 1), (0.3, 2)]):
        expected = (images[..., channel] / 255 - mean) / std
        assert np.allclose(got[:, channel], expected, atol=1e-6)


def test_settings_survive_the_way_into_a_checkpoint_and_back():
    made = Preprocess(**BASE)
    assert Preprocess.from_dict(made.to_dict()) == made
    for broken in ({"size": 32}, made.to_dict() | {"colour": 1}):
        with pytest.raises(UserError, match="preprocessing takes"):
            Preprocess.from_dict(broken)


def test_a_normalizer_comes_first_and_travels_in_the_card():
    made = Preprocess(**BASE | {"normalizer": {"size": 40, "quality": 60}})
    assert made.normalizer == Normalizer(40, 60)
    card = json.loads(json.dumps(made.to_dict()))  # plain data
    assert card["normalizer"] == {"size": 40, "quality": 60}
    assert Preprocess.from_dict(card) == made
    for image in (Image.fromarray(noise(50, 61)), Image.fromarray(noise(40, 70)).convert("LA")):
        stream = io.BytesIO()
        image.save(stream, "PNG")
        pixels = decode(stream.getvalue(), max_pixels=10**6)
        by_hand = Image.fromarray(Normalizer(40, 60)(pixels)).resize((32, 32), Image.BILINEAR)
        for got in (made(stream.getvalue()), made.resize(pixels)):
            assert np.array_equal(got, np.asarray(by_hand))
        assert not np.array_equal(got, Preprocess(**BASE)(stream.getvalue()))


def test_cards_from_before_the_normalizer():
    old = BASE | {"interpolation": "bicubic"}  # as files hold it
    assert Preprocess.from_dict(old).normalizer is None
    assert Preprocess.from_dict(old).to_dict() == old  # so that such a training can be resumed
    assert Preprocess.from_dict(old | {"normalizer": None}) == Preprocess.from_dict(old)


@pytest.mark.parametrize("fit", ["squash", "pad"])
def test_with_a_normalizer_there_is_no_other_fit_than_crop(fit):
    with pytest.raises(UserError, match=f"model.preprocess.fit={fit}: with data.normalize"):
        Preprocess(**BASE | {"fit": fit, "normalizer": {"size": 40, "quality": 60}})


@pytest.mark.parametrize(
    "change",
    [{"size": 8}, {"size": 1e3}, {"size": True}, {"fit": "stretch"}, {"interpolation": "box"},
     {"interpolation": []}, {"fit": {}},
     {"mean": [0.5]}, {"std": [1, 1, 0]}, {"max_pixels": 0}],
)  # fmt: skip
def test_bad_settings_name_themselves(change):
    with pytest.raises(UserError, match=f"model.preprocess.{next(iter(change))}="):
        Preprocess(**BASE | change)


def test_the_pixel_limit_holds():
    stream = io.BytesIO()
    Image.new("RGB", (40, 40)).save(stream, "PNG")
    with pytest.raises(DecodeError):
        Preprocess(**BASE | {"max_pixels": 1599})(stream.getvalue())
    assert Preprocess(**BASE | {"max_pixels": 1600})(stream.getvalue()).shape == (32, 32, 3)
