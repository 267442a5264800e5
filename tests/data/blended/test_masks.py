"""Masks against hulls computed in another way, at other sizes, and for faces at the edge."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_cdt
from scipy.spatial import Delaunay

from detector.data.blended.masks import MARGIN, MARGIN_PX, SMALLEST, draw_mask, unit
from detector.data.regions import REGIONS, regions
from detector.data.sources import FACE_PARTS

SHAPE = np.array([[0.36, 0.44], [0.64, 0.44], [0.5, 0.6], [0.4, 0.73], [0.6, 0.73]])


def mask(points, size, kind, seed):
    return draw_mask(points, size, kind, np.random.default_rng(seed))


def inside_hull(labels, wanted):
    """bool (S, S): pixels whose centres are in the hull of those with these labels."""
    points = np.argwhere(np.isin(labels, wanted))
    grid = np.stack(np.indices(labels.shape), -1).reshape(-1, 2)
    if len(points) < 3 or np.linalg.matrix_rank(points - points[0]) < 2:
        return np.isin(labels, wanted)
    return (Delaunay(points).find_simplex(grid) >= 0).reshape(labels.shape)


@st.composite
def faces(draw):
    """Landmarks of a face of any size, turn and place, of which at least the nose is visible."""
    size = draw(st.integers(32, 160))
    scale, angle = draw(st.floats(0.3, 1.6)), draw(st.floats(-0.6, 0.6))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    nose = np.array([draw(st.floats(0.05, 0.95)), draw(st.floats(0.05, 0.95))])
    return size * (nose + scale * (SHAPE - SHAPE[2]) @ turn.T), size


@settings(max_examples=60, deadline=None)
@given(faces(), st.sampled_from(["face", "parts"]), st.integers(0, 2**32))
def test_a_mask_is_within_its_hulls_and_the_stated_margin(face, kind, seed):
    points, size = face
    found, labels = mask(points, size, kind, seed), regions(points, size)
    pieces = [[*range(1, len(REGIONS))]] if kind == "face" else [[1], [2], [3], [4]]
    hull = np.logical_or.reduce([inside_hull(labels, wanted) for wanted in pieces])
    assert found.alpha.shape == (size, size) and found.alpha.dtype == np.float32
    assert found.alpha.min() >= 0 and found.alpha.max() == pytest.approx(found.ratio)
    away = distance_transform_cdt(~hull, metric="chessboard")
    assert away[found.alpha > 0].max() <= MARGIN * unit(points) + MARGIN_PX + 0.5


@settings(max_examples=40, deadline=None)
@given(faces(), st.integers(0, 2**32))
def test_parts_are_those_of_which_most_lies_in_the_mask(face, seed):
    points, size = face
    found, labels = mask(points, size, "mixed", seed), regions(points, size)
    for place, bit in enumerate(found.parts, 1):
        pixels = np.argwhere(labels == place)
        strong = sum(found.alpha[y, x] >= found.ratio / 2 for y, x in pixels)
        assert bit == (len(pixels) > 0 and strong >= len(pixels) / 2)


def test_one_to_four_parts_each_as_often_and_all_with_a_face():
    counts, of_part = np.zeros(5, int), np.zeros(4, int)
    for seed in range(300):
        parts = mask(SHAPE * 128, 128, "parts", seed).parts
        counts[sum(parts)] += 1
        of_part += parts
    assert len(FACE_PARTS) == 4 and counts[0] <= 3
    assert (counts[1:] > 40).all()
    assert of_part.min() > 140 and of_part.max() < 240  # 2.5 of 4 on average, or 187
    assert np.mean([mask(SHAPE * 128, 128, "face", seed).parts for seed in range(50)]) > 0.97


def test_mixed_is_either_as_often():
    kinds = [mask(SHAPE * 64, 64, "mixed", seed).kind for seed in range(200)]
    assert 70 < kinds.count("face") < 130 and kinds.count("parts") == 200 - kinds.count("face")


@pytest.mark.parametrize("kind", ["face", "parts"])
def test_masks_look_alike_at_each_size(kind):
    overlaps = []
    for seed in range(20):
        small, large = (mask(SHAPE * size, size, kind, seed) for size in (80, 240))
        assert small.ratio == large.ratio
        shrunk = large.alpha.reshape(80, 3, 80, 3).mean((1, 3))
        both = [m >= small.ratio / 2 for m in (small.alpha, shrunk)]
        overlaps.append((both[0] & both[1]).sum() / (both[0] | both[1]).sum())
    assert np.median(overlaps) > 0.85


def test_the_edge_is_soft_and_the_outline_another_each_time():
    masks = [mask(SHAPE * 160, 160, "face", seed) for seed in range(12)]
    for found in masks:
        soft = (found.alpha > 0.02) & (found.alpha < 0.98 * found.ratio)
        assert 0.01 < soft.mean() < 0.5
    outlines = [found.alpha >= found.ratio / 2 for found in masks]
    areas = [outline.sum() for outline in outlines]
    assert max(areas) > 1.2 * min(areas)
    assert not any(np.array_equal(outlines[0], other) for other in outlines[1:])


def test_the_smallest_face_has_a_mask():
    points = np.array([20.0, 20.0]) + SMALLEST / unit(SHAPE) * (SHAPE - SHAPE[2])
    assert unit(points) == pytest.approx(SMALLEST)
    for kind in ("face", "parts"):
        for seed in range(20):
            assert mask(points, 40, kind, seed).alpha.any()
