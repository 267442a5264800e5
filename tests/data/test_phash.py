"""Perceptual hash against what it promises; near-hash search against all pairs."""

import time
from itertools import combinations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.data.phash import hamming, near, phash

hashes_64 = st.integers(0, 2**64 - 1)


def picture(seed: int, side: int = 160) -> np.ndarray:
    """Smooth coloured noise: structure at all scales, as photographs have it."""
    rng = np.random.default_rng(seed)
    layers = [
        cv2.resize(rng.normal(size=(n, n, 3)), (side, side), interpolation=cv2.INTER_CUBIC) / n
        for n in (3, 6, 12, 40)
    ]
    image = sum(layers)
    return ((image - image.min()) / np.ptp(image) * 255).astype(np.uint8)


def recompressed(image: np.ndarray, quality: int) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1)


def components(pairs: list[tuple[int, int]], n: int) -> set[frozenset[int]]:
    group = {i: {i} for i in range(n)}
    for i, j in pairs:
        merged = group[i] | group[j]
        for k in merged:
            group[k] = merged
    return {frozenset(g) for g in group.values()}


def brute(hashes: list[int], radius: int) -> list[tuple[int, int]]:
    pairs = combinations(range(len(hashes)), 2)
    return [(i, j) for i, j in pairs if (hashes[i] ^ hashes[j]).bit_count() <= radius]


def test_hash_survives_quality_and_size_but_tells_pictures_apart():
    for seed in range(8):
        image = picture(seed)
        value = phash(image)
        assert 0 <= value < 2**64
        assert hamming(value, phash(recompressed(image, 40))) <= 6
        assert hamming(value, phash(cv2.resize(image, (240, 120)))) <= 6
        assert hamming(value, phash(np.ascontiguousarray(image[::-1]))) >= 16
    apart = [hamming(phash(picture(a)), phash(picture(b))) for a, b in combinations(range(8), 2)]
    assert min(apart) >= 14
    assert 26 <= np.mean(apart) <= 38  # half of 64 bits for unrelated pictures


def test_hash_reads_grey_and_brightness_alike():
    image = picture(1)
    value = phash(image)
    assert phash(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)) == value
    assert hamming(value, phash((image * 0.6 + 40).astype(np.uint8))) <= 3


@pytest.mark.parametrize("shade", [0, 7, 255])
def test_constant_images_all_hash_to_zero(shade):
    assert phash(np.full((50, 70, 3), shade, np.uint8)) == 0


@given(hashes_64, hashes_64)
def test_hamming_counts_differing_bits(a, b):
    assert hamming(a, b) == sum(x != y for x, y in zip(f"{a:064b}", f"{b:064b}", strict=True))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(hashes_64, min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 99), st.sets(st.integers(0, 63), max_size=14)), max_size=40),
    st.integers(0, 24),
)
def test_near_equals_comparing_all_pairs(seeds, moves, radius):
    hashes = list(seeds)
    for base, bits in moves:  # neighbours at known distances, equal hashes among them
        hashes.append(hashes[base % len(hashes)] ^ sum(1 << bit for bit in bits))
    expected, found = brute(hashes, radius), near(hashes, radius)
    assert found == sorted(set(found))
    assert set(found) <= set(expected)
    assert components(found, len(hashes)) == components(expected, len(hashes))
    first = [i for i, value in enumerate(hashes) if value not in hashes[:i]]
    distinct = {(i, j) for i, j in expected if i in first and j in first}
    assert distinct <= set(found)


def test_near_on_many_hashes_finds_every_planted_neighbour():
    rng = np.random.default_rng(3)
    base = rng.integers(0, 2**64, 3000, dtype=np.uint64).tolist()
    moved = [h ^ sum(1 << int(b) for b in rng.choice(64, 10, replace=False)) for h in base]
    found = set(near(base + moved, 10))
    assert {(i, i + 3000) for i in range(3000)} <= found
    assert not {(i, i + 3000) for i in range(3000)} & set(near(base + moved, 9))


def test_equal_hashes_are_chained_not_paired():
    started = time.perf_counter()
    found = near([0] * 30_000 + [1] * 30_000, 8)
    assert len(found) == 29_999 + 29_999 + 1
    assert (0, 30_000) in found
    assert time.perf_counter() - started < 10


@pytest.mark.parametrize("radius", [-1, 65])
def test_radius_out_of_range_is_refused(radius):
    with pytest.raises(ValueError, match="radius"):
        near([1, 2], radius)


def test_nothing_and_one():
    assert near([], 5) == near([7], 5) == []
