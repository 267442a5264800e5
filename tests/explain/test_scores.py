"""Scores of maps against loops, closed forms and distances counted out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import roc_auc_score

from detector.errors import UserError
from detector.explain.regions import REGIONS
from detector.explain.scores import (
    area_shares,
    center_gaussian,
    means_of_others,
    pixel_auroc,
    pointing_game,
    region_areas,
    region_masks,
    region_shares,
    region_shares_of_others,
    shares,
    shares_of_others,
)

LEVELS = st.sampled_from([0.0, 0.0, 0.25, 1.0, 1e-6, 3e4])
SIDE = st.integers(1, 6)


@st.composite
def measured(draw):
    """Maps, masks, label maps and groups of a few images; zero maps and empty masks among them."""
    n, side = draw(st.integers(1, 5)), draw(SIDE)
    shape = (n, side, side)
    maps = draw(hnp.arrays(np.float32, shape, elements=LEVELS.map(np.float32)))
    masks = draw(hnp.arrays(bool, shape))
    labels = draw(hnp.arrays(np.int8, shape, elements=st.integers(0, len(REGIONS) - 1)))
    groups = draw(hnp.arrays(np.int64, n, elements=st.integers(0, 2)))
    return maps, masks, labels, groups


def naive_share(one, mask):
    inside = total = 0.0
    for value, within in zip(one.ravel().tolist(), mask.ravel().tolist(), strict=True):
        total += value
        inside += value if within else 0.0
    return inside / total if total and mask.any() else np.nan


@settings(deadline=None)
@given(measured())
def test_shares_are_those_of_a_loop(given_):
    maps, masks, labels, _ = given_
    expected = [naive_share(*pair) for pair in zip(maps, masks, strict=True)]
    np.testing.assert_allclose(shares(maps, masks), expected, rtol=1e-12)
    by_region = region_shares(maps, labels)
    for at in range(len(REGIONS)):
        expected = [naive_share(*pair) for pair in zip(maps, labels == at, strict=True)]
        np.testing.assert_allclose(by_region[:, at], expected, rtol=1e-12)
    defined = maps.any((1, 2))
    np.testing.assert_allclose(np.nansum(by_region, axis=1), defined.astype(float), atol=1e-12)


@settings(deadline=None)
@given(measured())
def test_the_mean_of_the_others_is_the_naive_one(given_):
    maps, masks, labels, groups = given_
    n = len(maps)
    for named in (None, groups):
        of = np.arange(n) if named is None else named
        naive = np.zeros(maps.shape)
        for i in range(n):
            others = [
                maps[j].astype(np.float64) / maps[j].sum(dtype=np.float64)
                for j in range(n)
                if of[j] != of[i] and maps[j].any()
            ]
            if others:
                naive[i] = np.mean(others, axis=0)
        found = np.full(maps.shape, np.nan)
        for at, mean in means_of_others(maps, named):
            found[at] = mean
        np.testing.assert_allclose(found, naive, rtol=1e-9, atol=1e-11)
        expected = shares(naive, masks)
        np.testing.assert_allclose(shares_of_others(maps, masks, named), expected, atol=1e-9)
        expected = region_shares(naive, labels)
        np.testing.assert_allclose(
            region_shares_of_others(maps, labels, named), expected, atol=1e-9
        )


@settings(deadline=None)
@given(measured(), st.sampled_from([0.0, 1.0, 1.5, 2.3]))
def test_the_pointing_game_is_that_of_a_loop(given_, tolerance):
    maps, masks, *_ = given_
    found = pointing_game(maps, masks, tolerance)
    for one, mask, hit in zip(maps, masks, found, strict=True):
        if not one.any() or not mask.any():
            assert np.isnan(hit)
            continue
        targets = np.argwhere(mask)
        tied = np.argwhere(one == one.max())
        near = [np.hypot(*(targets - at).T).min() <= tolerance for at in tied]
        assert hit == pytest.approx(np.mean(near))


def test_a_map_equal_to_its_mask_is_all_inside_and_points_into_it():
    masks = np.zeros((2, 8, 8), bool)
    masks[0, 2:5, 1:3], masks[1, 7, 7] = True, True
    assert shares(masks.astype(np.float32), masks).tolist() == [1.0, 1.0]
    assert shares((~masks).astype(np.float32), masks).tolist() == [0.0, 0.0]
    assert pointing_game(masks.astype(np.float32), masks).tolist() == [1.0, 1.0]


def test_a_uniform_map_has_the_mask_s_area_inside():
    masks = np.random.default_rng(0).random((5, 9, 9)) < 0.3
    uniform = np.full((9, 9), 0.4, np.float32)
    np.testing.assert_allclose(shares(uniform, masks), masks.mean((1, 2)), rtol=1e-7)
    np.testing.assert_allclose(area_shares(masks), masks.mean((1, 2)), rtol=1e-12)
    # All pixels tie, so that the game gives the area as well.
    np.testing.assert_allclose(pointing_game(uniform, masks), masks.mean((1, 2)), rtol=1e-12)
    labels = np.random.default_rng(1).integers(0, 4, (3, 9, 9))
    areas = region_areas(labels)
    np.testing.assert_allclose(areas[:, 2], (labels == 2).mean((1, 2)))
    assert np.isnan(areas[:, 4:]).all() and np.allclose(areas[:, :4].sum(1), 1)


def test_the_centre_gaussian_is_centred_and_as_wide_as_asked():
    for size in (31, 32):
        control = center_gaussian(size, 0.1)
        assert control.sum() == pytest.approx(1)
        np.testing.assert_allclose(control, control[::-1, ::-1], rtol=1e-9)
        at = (np.arange(size) + 0.5) / size
        mean = control.sum(0) @ at
        assert mean == pytest.approx(0.5)
        assert np.sqrt(control.sum(1) @ (at - mean) ** 2) == pytest.approx(0.1, rel=0.01)
    for wrong in ((0, 0.1), (8, 0.0), (8, float("nan"))):
        with pytest.raises(UserError, match="sigma"):
            center_gaussian(*wrong)


def test_a_map_s_scale_has_no_influence():
    rng = np.random.default_rng(2)
    maps, masks = rng.random((6, 7, 7), np.float32), rng.random((6, 7, 7)) < 0.4
    scaled = maps * np.float32([2**k for k in (-30, -3, 0, 5, 11, 40)])[:, None, None]
    np.testing.assert_array_equal(shares(scaled, masks), shares(maps, masks))
    np.testing.assert_allclose(shares_of_others(scaled, masks), shares_of_others(maps, masks))


def test_a_twin_is_no_other_image():
    """Two images of one group with the same map: only without the twin is it told apart."""
    maps = np.zeros((4, 4, 4), np.float32)
    maps[:2, 0, 0], maps[2:, 3, 3] = 1, 1
    masks = maps > 0
    np.testing.assert_allclose(shares_of_others(maps, masks), [1 / 3] * 4)
    assert shares_of_others(maps, masks, np.array([5, 5, 9, 9])).tolist() == [0.0] * 4
    assert np.isnan(shares_of_others(maps, masks, np.zeros(4))).all()


def test_masks_of_parts_are_those_of_the_bits():
    labels = np.random.default_rng(3).integers(0, len(REGIONS), (4, 10, 10)).astype(np.int8)
    bits = np.array([[1, 0, 0, 1], [0, 0, 0, 0], [-1, -1, -1, -1], [0, 1, 1, -1]])
    masks = region_masks(labels, bits)
    np.testing.assert_array_equal(masks[0], (labels[0] == 1) | (labels[0] == 4))
    assert not masks[1:].any()


def test_what_does_not_fit_is_refused():
    maps, masks = np.ones((2, 4, 4), np.float32), np.ones((2, 4, 4), bool)
    labels = np.zeros((2, 4, 4), np.int8)
    for wrong in (maps[:1], maps[:, :3], -maps, maps * np.nan, maps * np.inf):
        for score, where in ((shares, masks), (pointing_game, masks), (region_shares, labels)):
            with pytest.raises(UserError, match="maps"):
                score(wrong, where)
    with pytest.raises(UserError, match="bool"):
        shares(maps, masks.astype(np.float32))
    with pytest.raises(UserError, match="labels"):
        region_shares(maps, labels + len(REGIONS))
    with pytest.raises(UserError, match="labels"):
        region_shares(maps, labels - 1)
    with pytest.raises(UserError, match="tolerance"):
        pointing_game(maps, masks, -1)
    with pytest.raises(UserError, match="one per map"):
        shares_of_others(maps, masks, np.zeros(3))
    with pytest.raises(UserError, match="bits"):
        region_masks(labels, np.zeros((3, 4)))


def test_no_image_is_no_error():
    none = np.zeros((0, 4, 4), np.float32)
    assert shares(none, none > 0).shape == pointing_game(none, none > 0).shape == (0,)
    assert region_shares(none, none.astype(np.int8)).shape == (0, len(REGIONS))
    assert shares_of_others(none, none > 0).shape == (0,)


@pytest.mark.parametrize("levels", [2, 5, 10**6])
def test_the_auroc_of_pixels_is_scikit_learns(levels):
    rng = np.random.default_rng(levels)
    maps = rng.integers(0, levels, (5, 9, 9)).astype(np.float32)
    masks = rng.random((5, 9, 9)) < 0.3
    masks[2], masks[3], maps[4] = False, True, 0
    found = pixel_auroc(maps, masks)
    wanted = [roc_auc_score(m.ravel(), x.ravel()) for m, x in zip(masks[:2], maps[:2], strict=True)]
    np.testing.assert_allclose(found[:2], wanted)
    assert np.isnan(found[2:]).all()  # nothing edited, everything, an empty map
    one = pixel_auroc(maps[0], masks[:2])
    assert one[1] == pytest.approx(roc_auc_score(masks[1].ravel(), maps[0].ravel()))
