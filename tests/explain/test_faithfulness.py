"""Against networks whose answer is known: a mean over a patch, a constant, a single pixel."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from detector.explain import faithfulness as f

SIDE = 24


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)


def patch(pictures):
    """A score that depends on one corner alone: how bright its red is."""
    return pictures[:, :6, :6, 0].mean((1, 2)) / 255


def corner_map(n=3):
    maps = np.zeros((n, SIDE, SIDE))
    maps[:, :6, :6] = 1
    return maps


def test_deleting_what_decides_takes_effect_at_once(images):
    images[:, :6, :6, 0] = 255
    good = f.area_under(f.curves(patch, images, corner_map(), steps=16, insert=False))
    bad = f.area_under(f.curves(patch, images, 1 - corner_map(), steps=16, insert=False))
    assert (good < bad - 0.2).all()
    good = f.area_under(f.curves(patch, images, corner_map(), steps=16, insert=True))
    bad = f.area_under(f.curves(patch, images, 1 - corner_map(), steps=16, insert=True))
    assert (good > bad).all()


@pytest.mark.parametrize("insert", [True, False])
def test_curves_begin_and_end_where_they_should(images, insert):
    found = f.curves(patch, images, corner_map(), steps=5, insert=insert)
    assert found.shape == (3, 6)
    mean = np.round(images.mean((1, 2)))[:, 0] / 255
    whole, gone = patch(images), mean
    if insert:
        gone = np.array([patch(f.blurred(image)[None])[0] for image in images])
    ends = (gone, whole) if insert else (whole, gone)
    np.testing.assert_allclose(found[:, 0], ends[0])
    np.testing.assert_allclose(found[:, -1], ends[1])


def test_each_step_changes_the_densest_of_what_is_left(images):
    seen = []
    maps = np.random.default_rng(1).random((1, SIDE, SIDE))
    f.curves(
        lambda p: (seen.append(p), np.zeros(len(p)))[1], images[:1], maps, steps=4, insert=False
    )
    (variants,) = seen
    order = np.argsort(-maps[0].ravel())
    for k, variant in enumerate(variants):
        changed = np.zeros(SIDE * SIDE, bool)
        changed[order[: k * SIDE * SIDE // 4]] = True
        same = (variant == images[0]).all(-1).ravel()
        assert same[~changed].all() and same[changed].sum() < 0.05 * SIDE * SIDE


def test_area_of_a_straight_line():
    line = np.linspace(1, 0, 11)[None]
    assert f.area_under(line)[0] == pytest.approx(0.5)
    assert f.area_under(np.ones((2, 5))) == pytest.approx([1, 1])


@given(st.integers(1, 6), st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_ranks_are_orders_and_ties_have_no_direction(side, seed):
    maps = np.random.default_rng(seed).integers(0, 3, (2, side, side)).astype(float)
    found = f.ranks(maps, seed)
    for values, order in zip(maps.reshape(2, -1), found, strict=True):
        assert sorted(order) == list(range(side * side))
        assert (np.diff(values[np.argsort(order)]) <= 0).all()
    flat = f.ranks(np.zeros((1, 40, 40)), seed)[0].reshape(40, 40)
    assert abs(flat[:20].mean() - flat[20:].mean()) < 120  # of 1600; 800 from top to bottom


def test_road_prefers_the_map_that_is_right(images):
    images[:] = 90
    images[:, :6, :6, 0] = 255
    state = torch.random.get_rng_state()
    right, wrong = (f.road(patch, images, m) for m in (corner_map(), 1 - corner_map()))
    assert (right > 0.1).all() and (wrong < 0).all()
    np.testing.assert_array_equal(right, f.road(patch, images, corner_map()))
    assert torch.equal(state, torch.random.get_rng_state())
    assert f.road(lambda p: np.ones(len(p)), images, corner_map()) == pytest.approx([0, 0, 0])


def test_occlusion_finds_the_cell(images):
    images[:] = 40
    images[:, 6:12, 12:18, 0] = 240
    score = lambda p: p[:, 6:12, 12:18, 0].mean((1, 2)) / 255  # noqa: E731
    found = f.occlusion(score, images, grid=4)
    assert found.shape == (3, 4, 4)
    assert (found.reshape(3, -1).argmax(1) == 1 * 4 + 2).all()
    assert np.count_nonzero(found[0]) == 1


@given(st.integers(1, 9), st.integers(0, 3))
@settings(max_examples=20, deadline=None)
def test_pooling_against_a_loop(grid, seed):
    maps = np.random.default_rng(seed).random((2, 17, 17))
    edges = np.round(np.linspace(0, 17, grid + 1)).astype(int)
    found = f.pooled(maps, grid)
    for i in range(grid):
        for j in range(grid):
            cell = maps[:, edges[i] : edges[i + 1], edges[j] : edges[j + 1]]
            np.testing.assert_allclose(found[:, i, j], cell.mean((1, 2)))


def test_rank_correlation_is_scipys():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, (2, 4, 6, 6)).astype(float)
    b[3] = 2
    found = f.rank_correlation(a, b)
    for k in range(3):
        wanted = spearmanr(a[k].ravel(), b[k].ravel()).statistic
        assert found[k] == pytest.approx(wanted)
    assert np.isnan(found[3])


def test_what_is_filled_in_knows_nothing_of_what_was_taken_out(monkeypatch):
    """Neither in full nor, as large pictures are, from cells of several pixels."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (64, 64, 3)).astype(np.uint8)
    gone = np.zeros((64, 64), bool)
    gone[11:40, 17:45] = True
    other = np.where(gone[..., None], 255 - image, image)
    for side in (16, 20, 64):
        monkeypatch.setattr(f, "ROAD_SIDE", side)
        filled = f._filled(image, gone, 0)
        np.testing.assert_array_equal(filled, f._filled(other, gone, 0))
        np.testing.assert_array_equal(filled[~gone], image[~gone])
        assert filled[gone].std() < image[gone].std() / 2
