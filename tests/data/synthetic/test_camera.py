"""What every picture goes through: how far the blur carries, how strong the grain is, the file."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from PIL.JpegImagePlugin import get_sampling

from detector.data.synthetic.camera import REACH, encode, expose
from tests.data.synthetic.sitter import drawn

SHOT = drawn(0)[1]
# Annex K of ITU-T T.81, in rows.
LUMINANCE = np.array([
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
])  # fmt: skip


def taken(image: np.ndarray, seed: int = 0, **shot) -> np.ndarray:
    return expose(image, replace(SHOT, **shot), np.random.default_rng(seed))


@pytest.mark.parametrize("size", [64, 65, 160, 224])
@pytest.mark.parametrize("blur, noise", [(0.0, 0.02), (0.5, 0.0), (3.0, 0.01), (50.0, 0.0)])
def test_a_change_is_carried_no_further_than_reach(size, blur, noise):
    rng = np.random.default_rng(size)
    before = rng.random((size, size, 3), dtype=np.float32)
    shot = {"blur": blur, "noise": noise}
    photograph = taken(before, **shot)
    rows, columns = np.indices((size, size))
    for row, column in ((0, 0), (size // 2, size // 3), (size - 1, 5), (20, size - 2)):
        after = before.copy()
        after[row, column] = 1 - np.round(before[row, column])
        carried = (taken(after, **shot) != photograph).any(-1)
        away = np.maximum(np.abs(rows - row), np.abs(columns - column))
        assert carried[away == 0].all() and not carried[away > REACH].any()
        if blur * size / 224 > 1.5:
            assert carried[away == REACH].any()  # no bound could be closer


@pytest.mark.parametrize("level", [0.15, 0.5, 0.85])
@pytest.mark.parametrize("noise", [0.004, 0.012])
def test_grain_is_as_strong_as_asked_and_grows_as_photons_do(level, noise):
    photograph = taken(np.full((256, 256, 3), level, np.float32), noise=noise) / 255
    one = np.exp(-2.0)  # a Gaussian of deviation .5, a pixel away
    kept = (1 + 2 * one**2) / (1 + 2 * one) ** 2  # of the variance, along each axis
    grain = 1.6 * noise * np.sqrt((0.8 * level + 0.2) * (1 + 0.6**2)) * kept
    rounding = 1 / 255 / np.sqrt(12)
    assert photograph.std() == pytest.approx(np.hypot(grain, rounding), rel=0.04)
    assert photograph.mean() == pytest.approx(level, abs=0.001)
    colors = photograph.reshape(-1, 3).T
    together = np.corrcoef(colors)[np.triu_indices(3, 1)] * (1 + (rounding / grain) ** 2)
    np.testing.assert_allclose(together, 1 / (1 + 0.6**2), atol=0.04)


def test_the_same_film_has_the_same_grain():
    image = np.full((64, 64, 3), 0.5, np.float32)
    assert taken(image).dtype == np.uint8
    np.testing.assert_array_equal(taken(image, 3), taken(image, 3))
    assert (taken(image, 3) != taken(image, 4)).mean() > 0.3
    beyond = np.stack([np.full((64, 64), value, np.float32) for value in (-0.5, 0, 1.5)], -1)
    developed = taken(beyond, noise=0.0)
    np.testing.assert_array_equal(developed, np.broadcast_to((0, 0, 255), (64, 64, 3)))


def test_blur_grows_with_the_size():
    point = np.zeros((224, 224, 3), np.float32)
    point[112, 112] = 1
    wide, narrow = (taken(point, noise=0.0, blur=blur)[112, :, 0] / 255 for blur in (1.0, 0.5))
    across = np.arange(224) - 112
    for line, sigma in ((wide, 1.0), (narrow, 0.5)):
        gauss = np.exp(-0.5 * (across / sigma) ** 2) * (np.abs(across) <= REACH)
        np.testing.assert_allclose(line, gauss / gauss.sum() ** 2, atol=0.004)
    double = np.zeros((448, 448, 3), np.float32)
    double[224, 224] = 1
    np.testing.assert_array_equal(
        taken(double, noise=0.0, blur=0.5)[224, 204:245],
        taken(point, noise=0.0, blur=1.0)[112, 92:133],
    )


def test_files_are_jpegs_as_cameras_write_them():
    image = np.random.default_rng(0).integers(0, 256, (70, 70, 3), dtype=np.uint8)
    for quality in range(60, 101):
        with Image.open(BytesIO(encode(image, quality))) as file:
            assert (file.format, file.mode, file.size) == ("JPEG", "RGB", (70, 70))
            assert get_sampling(file) == 2  # 4:2:0
            wanted = np.clip((LUMINANCE * (200 - 2 * quality) + 50) // 100, 1, 255)
            assert sorted(file.quantization[0]) == sorted(wanted.tolist())
            assert not file.info.keys() & {"exif", "icc_profile", "comment"}
    assert encode(image, 90) == encode(image.copy(), 90)
    smooth = np.broadcast_to(np.arange(64, dtype=np.uint8)[:, None, None] + 80, (64, 64, 3))
    with Image.open(BytesIO(encode(np.ascontiguousarray(smooth), 95))) as file:
        assert np.abs(np.asarray(file).astype(int) - smooth).max() <= 3
