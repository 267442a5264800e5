"""Perceptual hashes, and the exact search for hashes that lie near one another."""

from collections.abc import Sequence
from itertools import combinations, pairwise

import cv2
import numpy as np

BITS = 64
_SIDE, _LOW = 32, 8
_BLOCK = 1 << 20  # pairs compared at once; bounds the memory of `near`


def phash(image: np.ndarray) -> int:
    """Hash what an image looks like in 64 bits.

    Grey, 7x7 mean filter, 32x32, discrete cosine transform; each bit says whether one of the
    8x8 lowest frequencies (without the zeroth row and column) lies above their median
    (Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010, 3.2.1).
    Recompressing or resizing moves a few bits; different pictures differ in about half.

    Args:
        image: (height, width, 3) uint8 RGB, or (height, width) uint8 grey.

    Returns:
        The hash, 0 <= hash < 2**64. A constant image gives 0.
    """
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    if max(grey.shape) > 8 * _SIDE:  # the mean filter then costs the same for every size
        grey = cv2.resize(grey, (8 * _SIDE, 8 * _SIDE), interpolation=cv2.INTER_AREA)
    small = cv2.resize(cv2.blur(grey, (7, 7)), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    small = small.astype(np.float32)
    # Without its mean a constant image has coefficients of exactly 0, not of rounding noise.
    low = cv2.dct(small - small.mean())[1 : _LOW + 1, 1 : _LOW + 1].ravel()
    return int.from_bytes(np.packbits(low > np.median(low)).tobytes(), "big")


def hamming(a: int, b: int) -> int:
    """Count the bits in which two hashes differ."""
    return (a ^ b).bit_count()


def near(hashes: Sequence[int], radius: int) -> list[tuple[int, int]]:
    """Find all pairs of hashes within a Hamming radius, without comparing all pairs.

    Multi-index hashing (Norouzi, Punjani and Fleet, "Fast Search in Hamming Space with
    Multi-Index Hashing", CVPR 2012): of m substrings of two hashes at most `radius` apart, one
    differs in at most radius // m bits. Exact, but for one thing: equal hashes are chained,
    first to second to third, and only the first of them is paired with others, so that
    thousands of equal hashes give thousands of pairs, not millions. The connected components
    are those of the full list.

    Args:
        hashes: 64-bit hashes.
        radius: the largest distance that counts as near, 0 to 64.

    Returns:
        Sorted positions (i, j), i < j, each pair once.
    """
    if not 0 <= radius <= BITS:
        raise ValueError(f"radius must be 0 to {BITS}, not {radius}")
    values = np.asarray(hashes, dtype=np.uint64)
    if len(values) < 2:
        return []
    order = np.argsort(values, kind="stable")
    same = np.flatnonzero(values[order][1:] == values[order][:-1])
    chained = np.stack([order[same], order[same + 1]], axis=1)
    unique, first = np.unique(values, return_index=True)
    found = [chained] if radius == 0 else [chained, first[_distinct(unique, radius)]]
    pairs = np.unique(np.sort(np.concatenate(found).astype(np.int64), axis=1), axis=0)
    return [(int(i), int(j)) for i, j in pairs]


def _distinct(values: np.ndarray, radius: int) -> np.ndarray:
    """Pairs, (k, 2) int64, of positions of distinct uint64 values within the radius."""
    # Substrings of about log2(n) bits: buckets then hold about one hash each.
    parts = int(np.clip(round(BITS / max(np.log2(len(values)), 4)), 3, 16))
    edges = np.linspace(0, BITS, parts + 1).astype(int)
    found = [np.empty((0, 2), np.int64)]
    for part, (low, high) in enumerate(pairwise(edges)):
        width = int(high - low)
        # If no substring up to this one is within radius // parts, the rest must do better:
        # the first radius % parts + 1 substrings take the larger sub-radius, others one less.
        reach = radius // parts - (part > radius % parts)
        keys = (values >> np.uint64(low)) & np.uint64((1 << width) - 1)
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        for flips in range(min(reach, width) + 1):
            for bits in combinations(range(width), flips):
                wanted = keys ^ np.uint64(sum(1 << bit for bit in bits))
                start = np.searchsorted(ordered, wanted, "left")
                count = np.searchsorted(ordered, wanted, "right") - start
                found += _check(values, order, start, count, radius)
    return np.unique(np.concatenate(found), axis=0)


def _check(
    values: np.ndarray, order: np.ndarray, start: np.ndarray, count: np.ndarray, radius: int
) -> list[np.ndarray]:
    """Compare each value with the `count` bucket members from `start` on, in blocks."""
    found, total = [], np.cumsum(count)
    rows = np.flatnonzero(count)
    while len(rows):
        done = total[rows[0]] - count[rows[0]]
        take = max(1, int(np.searchsorted(total[rows], done + _BLOCK, "right")))
        block, rows = rows[:take], rows[take:]
        left = np.repeat(block, count[block])
        within = np.arange(len(left)) - np.repeat(
            np.cumsum(count[block]) - count[block], count[block]
        )
        right = order[np.repeat(start[block], count[block]) + within]
        keep = left < right
        left, right = left[keep], right[keep]
        close = np.bitwise_count(values[left] ^ values[right]) <= radius
        if close.any():
            found.append(np.stack([left[close], right[close]], axis=1).astype(np.int64))
    return found
