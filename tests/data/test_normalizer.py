"""The normalizer against the same steps by hand with Pillow; what must not show afterwards."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from detector.data.decode import read_header
from detector.data.normalizer import Normalizer, fits
from detector.errors import UserError


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


def by_hand(image: Image.Image, size: int, quality: int) -> tuple[np.ndarray, bytes]:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    stream = io.BytesIO()
    small = square.resize((size, size), Image.Resampling.LANCZOS)
    small.save(stream, format="JPEG", quality=quality, subsampling=2)
    return np.asarray(Image.open(stream).convert("RGB")), stream.getvalue()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(16, 70), st.integers(1, 100))
def test_it_is_cut_resize_and_one_jpeg_step(height, width, size, quality):
    pixels = noise(height, width)
    got = Normalizer(size, quality)(pixels)
    expected, data = by_hand(Image.fromarray(pixels), size, quality)
    assert got.shape == (size, size, 3) and got.dtype == np.uint8
    assert np.array_equal(got, expected)
    assert read_header(data).subsampling == "4:2:0"


@given(st.integers(0, 40), st.booleans())
@settings(max_examples=30, deadline=None)
def test_what_the_cut_leaves_out_does_not_show(margin, upright):
    longer = noise(48, 48 + 2 * margin)
    longer = longer.transpose(1, 0, 2) if upright else longer
    height, width = longer.shape[:2]
    middle = np.s_[(height - 48) // 2 :, (width - 48) // 2 :]
    square = longer[middle][:48, :48].copy()
    made = Normalizer(32, 80)
    assert np.array_equal(made(longer), made(square))


def test_quality_and_size_matter_and_the_answer_is_repeatable():
    image = noise(64, 64)
    results = [Normalizer(s, q)(image) for s, q in ((32, 50), (32, 90), (32, 50))]
    assert np.array_equal(results[0], results[2]) and not np.array_equal(results[0], results[1])


@pytest.mark.parametrize(
    "settings",
    [None, 256, "256", [], {"size": 256}, {"quality": 75}, {"size": 256, "quality": 75, "x": 1},
     {"size": 15, "quality": 75}, {"size": 4097, "quality": 75}, {"size": 256.0, "quality": 75},
     {"size": 256, "quality": 0}, {"size": 256, "quality": 101}, {"size": 256, "quality": True},
     {"size": "256", "quality": 75}],
)  # fmt: skip
def test_bad_settings_are_refused_in_one_line(settings):
    assert not fits(settings)
    with pytest.raises(UserError, match=r"^data\.normalize=.*give settings such as") as refused:
        Normalizer.from_dict(settings)
    assert "\n" not in str(refused.value)


def test_good_settings():
    assert fits({"size": 16, "quality": 1}) and fits({"quality": 100, "size": 4096})
    assert Normalizer.from_dict({"quality": 75, "size": 256}) == Normalizer(256, 75)
