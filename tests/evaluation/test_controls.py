"""The controls against SciPy and NumPy, and on sets with a planted giveaway."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.fft import dctn
from sklearn.metrics import roc_auc_score

from detector.data.index import load_index
from detector.data.sources import list_items
from detector.evaluation.controls import CONTROLS, Features, fit, measure, spectrum, thumbnail

MAX_PIXELS = 10**6


@settings(max_examples=30, deadline=None)
@example(5, 10, 4983)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_the_spectrum_is_that_of_scipy(height, width, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    # ITU-R BT.601 in 15 bits, as OpenCV has it: one grey level more or less tells in the spectrum
    grey = (image.astype(int) @ (9798, 19235, 3735) + (1 << 14) >> 15).astype(float)
    grey = np.pad(grey, ((0, max(0, 8 - height)), (0, max(0, 8 - width))), "edge")
    total, count = np.zeros((8, 8)), 0
    for top in range(0, grey.shape[0] - 7, 8):
        for left in range(0, grey.shape[1] - 7, 8):
            block = grey[top : top + 8, left : left + 8] - 128
            total += np.abs(dctn(block, norm="ortho"))
            count += 1
    np.testing.assert_allclose(
        np.exp(spectrum(image)), (total / count + 1e-3).ravel(), rtol=1e-3, atol=1e-3
    )


def test_a_thumbnail_is_the_mean_of_areas():
    image = np.random.default_rng(0).integers(0, 256, (96, 120, 3), dtype=np.uint8)
    wanted = image.reshape(24, 4, 24, 5, 3).mean(axis=(1, 3)) / 255
    np.testing.assert_allclose(thumbnail(image).reshape(24, 24, 3), wanted, atol=1 / 255)


def made(tmp_path, draw, n=120, **save):
    """A set of two classes; `draw` gives the pixels and the JPEG quality of each image."""
    rng = np.random.default_rng(3)
    for label, name in enumerate(("fake", "real")):
        (tmp_path / name).mkdir()
        for number in range(n // 2):
            pixels, quality = draw(rng, label)
            file = tmp_path / name / f"{number}.jpg"
            Image.fromarray(pixels).save(file, quality=quality, **save)
    listing = list_items("folder", tmp_path)
    return load_index(
        "planted", listing.root, listing, max_pixels=MAX_PIXELS, skip_corrupt=False,
        near_copies=False, cache_dir=tmp_path / "cache",
    )  # fmt: skip


def noise(rng, scale=40):
    return np.clip(rng.normal(128, scale, (64, 64, 3)), 0, 255).astype(np.uint8)


def scores(index, name):
    """p_fake of the last third of each class, fitted on the first two."""
    order = np.random.default_rng(0).permutation(len(index))
    features = measure(index, range(len(index)), max_pixels=MAX_PIXELS)
    parts = np.split(order, [len(order) // 2, len(order) * 3 // 4])
    train, val, test = parts
    labels = index.labels
    score = fit(name, features[train], labels[train], features[val], labels[val])
    return score(features[test]), labels[test]


def planted(tmp_path, name, draw):
    score, labels = scores(made(tmp_path, draw), name)
    assert ((score >= 0) & (score <= 1)).all()
    return roc_auc_score(labels == 0, score)


def test_the_header_control_finds_a_table_and_no_pixels(tmp_path):
    assert planted(tmp_path, "header", lambda rng, label: (noise(rng), 90 - 5 * label)) > 0.99


def test_the_header_control_finds_bytes_per_pixel(tmp_path):
    assert planted(tmp_path, "header", lambda rng, label: (noise(rng, 40 - 20 * label), 90)) > 0.95


def test_the_pixel_control_finds_brightness(tmp_path):
    def draw(rng, label):
        return np.clip(noise(rng).astype(int) + 8 * label, 0, 255).astype(np.uint8), 90

    assert planted(tmp_path, "pixels", draw) > 0.9


def test_the_spectrum_control_finds_blur(tmp_path):
    def draw(rng, label):
        image = noise(rng)
        return (np.asarray(Image.fromarray(image).resize((32, 32)).resize((64, 64))), 90) if (
            label and rng.random() < 0.9
        ) else (image, 90)  # fmt: skip

    assert planted(tmp_path, "dct", draw) > 0.9


@pytest.mark.parametrize("name", CONTROLS)
def test_nothing_planted_is_nothing_found(tmp_path, name):
    assert 0.3 < planted(tmp_path, name, lambda rng, label: (noise(rng), 90)) < 0.7


def test_the_majority_is_that_of_training():
    features = Features(
        np.full((5, 3), "a"), np.zeros((5, 3)), np.zeros((5, 1728)), np.zeros((5, 64))
    )
    labels = np.array((0, 0, 0, 1, 1))
    answer = fit("majority", features, labels, features, labels)
    np.testing.assert_array_equal(answer(features[np.array((0, 4))]), [0.6, 0.6])


def test_a_kind_of_file_that_training_lacked_is_no_error(tmp_path):
    index = made(tmp_path, lambda rng, label: (noise(rng), 90 - 5 * label))
    features = measure(index, range(len(index)), max_pixels=MAX_PIXELS)
    score = fit("header", features, index.labels, features, index.labels)
    one = features[np.array([0])]
    strange = Features(np.array([["TIFF", "L", "none"]]), one.sizes, one.pixels, one.dct)
    assert 0 <= score(strange)[0] <= 1


def test_rows_come_in_the_order_asked(tmp_path):
    index = made(tmp_path, lambda rng, label: (noise(rng), 90), n=12)
    some = measure(index, [7, 2], max_pixels=MAX_PIXELS)
    every = measure(index, range(12), max_pixels=MAX_PIXELS)
    np.testing.assert_array_equal(some.dct, every.dct[[7, 2]])
    np.testing.assert_array_equal(some.sizes, every.sizes[[7, 2]])


def test_a_table_that_decides_is_not_lost_among_sizes_that_do_not():
    """As in ciplab: a quarter of the fakes have a table of their own, sizes are noise."""
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], 400)
    own = (labels == 0) & (rng.random(800) < 0.3)
    kinds = np.array([["JPEG", "RGB", "b" if odd else "a"] for odd in own])
    features = Features(
        kinds, rng.normal(0, 1, (800, 3)), np.zeros((800, 1728)), np.zeros((800, 64))
    )
    train, val, test = np.arange(300), np.arange(300, 500), np.arange(500, 800)
    control = fit("header", features[train], labels[train], features[val], labels[val])
    right = ((control(features[test]) >= 0.5) == (labels[test] == 0)).mean()
    rule = (own[test] == (labels[test] == 0)).mean()
    assert right == pytest.approx(rule)
