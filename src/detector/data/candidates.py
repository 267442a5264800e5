"""Which images may show the same photograph: the search that `nearcopies` starts from.

By local features (locality-sensitive hashing) and by perceptual hashes (multi-index hashing),
in time linear in the number of images. The features are searched in pieces that have the same
size for every set, with what lies between in temporary files: in memory stay 300 bytes an
image, and at most 32 candidates of each.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from detector.data.phash import near
from detector.data.scratch import Runs, Scratch, sorted_unique

POINTS = 300  # local features of an image, at most
ROWS = 1 << 20  # descriptors or hits in memory at once; the pairs do not depend on it
_TABLES, _SPARE_BITS, _WINDOW = 12, 11, 8
_VOTE_BITS, _MIN_VOTES, _MIN_WEIGHT, _PARTNERS = 34, 3, 0.7, 16
_RADIUS = 10
_COMPARED = 1 << 17  # pairs of descriptors compared at once
_ODD = np.uint64(0x9E3779B97F4A7C15)  # a product with an odd number is another for another key


def by_features(
    descriptors: Iterable[np.ndarray],
    *,
    folder: Path | None = None,
    min_weight: float = _MIN_WEIGHT,
) -> np.ndarray:
    """Pairs of images with several nearly equal and rare descriptors.

    Locality-sensitive hashing by sampled bits (Indyk and Motwani, STOC 1998). A hit counts
    1 / sqrt(hits of the one descriptor x hits of the other): the corner of an eye is in every
    face and says little.

    Args:
        descriptors: Of each of N images: uint8 (n, 32), n <= 300. Read once.
        folder: Of temporary files, 15 kB an image and, where all are alike, up to 450 more; None
            for the system's temporary folder.
        min_weight: Of the hits of a pair, together.

    Returns:
        int64 (K, 2): positions, the smaller one first, sorted; at most 32 an image.

    Raises:
        UserError: There is no room for the temporary files.
    """
    counts = []
    with Scratch(np.uint64, 4, folder) as words:
        for own in descriptors:
            counts.append(len(own))
            padded = np.zeros((POINTS, 32), np.uint8)
            padded[: len(own)] = own
            words.append(padded.view(np.uint64))
        if sum(counts) < 2:
            return np.empty((0, 2), np.int64)
        with Runs([np.int64], held=ROWS, folder=folder, unique=True) as hits:
            for i, j in _hits(words.rows, np.array(counts), folder):
                hits.put(i * len(words) + j)
            return _partners(hits, len(counts), min_weight, folder)


def by_hash(hashes: Sequence[int]) -> np.ndarray:
    """Pairs of images with perceptual hashes at most 10 bits apart; returns as `by_features`."""
    values = np.array(hashes, np.uint64)
    pairs = np.array(near(values, _RADIUS), np.int64).reshape(-1, 2)
    apart = np.bitwise_count(values[pairs[:, 0]] ^ values[pairs[:, 1]]).astype(np.int64)
    images = pairs @ (len(values), 1)
    kept = [images[strongest(images, -apart, side)] for side in pairs.T]
    return _as_pairs(kept, len(values))


def _hits(
    words: np.ndarray, counts: np.ndarray, folder: Path | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Nearly equal descriptors i < j of two images, by their places; many are found repeatedly.

    Args:
        words: uint64 (N * 300, 4): 300 places an image, the last ones empty.
        counts: Descriptors of each image (N).
        folder: Of temporary files.
    """
    n = int(counts.sum())
    bits = min(round(np.log2(n)) + _SPARE_BITS, 60)  # buckets stay small whatever n
    ranges = 1 if n <= ROWS else -(-2 * n // ROWS)  # half a piece each, as some are fuller
    edges = [part * 2**64 // ranges for part in range(ranges + 1)]
    rng = np.random.default_rng(0)
    for _ in range(_TABLES):
        sampled = rng.choice(256, bits, replace=False)
        with Runs([np.uint64, np.int64], held=ROWS, folder=folder) as table:
            for places, own in _blocks(words, counts):
                table.put(_keys(own, sampled), places)
            for low, after in pairwise(edges):
                for i, j in _neighbours(_gathered(table.read(low, after - 1))):
                    distance = np.bitwise_count(words[i] ^ words[j]).sum(1)
                    keep = (distance <= _VOTE_BITS) & (i // POINTS != j // POINTS)
                    yield i[keep], j[keep]


def _blocks(words: np.ndarray, counts: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Places and descriptors, uint8 (k, 32), of some images at a time."""
    images = max(1, min(ROWS, 1 << 15) // POINTS)
    for start in range(0, len(counts), images):
        filled = np.arange(POINTS) < counts[start : start + images, None]
        places = np.flatnonzero(filled) + start * POINTS
        yield places, words[places].view(np.uint8)


def _keys(descriptors: np.ndarray, sampled: np.ndarray) -> np.ndarray:
    """The sampled bits of each descriptor, spread over all uint64: equal where they are equal."""
    keys = np.zeros(len(descriptors), np.uint64)
    for bit in sampled.tolist():
        keys = (keys << np.uint64(1)) | ((descriptors[:, bit >> 3] >> (bit & 7)) & 1)
    return keys * _ODD


def _gathered(
    runs: Iterable[tuple[np.ndarray, np.ndarray]],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pieces of several runs joined while they fit, so that most ranges are one piece."""
    waiting, held = [], 0
    for run in runs:
        if waiting and held + len(run[0]) > ROWS:
            yield tuple(np.concatenate(parts) for parts in zip(*waiting, strict=True))
            waiting, held = [], 0
        waiting.append(run)
        held += len(run[0])
    if waiting:
        yield tuple(np.concatenate(parts) for parts in zip(*waiting, strict=True))


def _neighbours(
    pieces: Iterable[tuple[np.ndarray, np.ndarray]],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Places that have the same key and at most 7 others with it between them.

    Args:
        pieces: Keys and places; of equal keys the places rise, within a piece and from one to
            the next.
    """
    old_keys, old_places = np.zeros(0, np.uint64), np.zeros(0, np.int64)
    for keys, places in pieces:
        keys, places = np.concatenate([old_keys, keys]), np.concatenate([old_places, places])
        order = np.argsort(keys, kind="stable")
        keys, places, new = keys[order], places[order], order >= len(old_keys)
        for step in range(1, _WINDOW + 1):
            # Two that were there before have met before.
            equal = np.flatnonzero((keys[step:] == keys[:-step]) & new[step:])
            for start in range(0, len(equal), _COMPARED):
                here = equal[start : start + _COMPARED]
                yield places[here], places[here + step]
        last = np.ones(len(keys), bool)  # of each key the last 8, which the next piece may meet
        last[:-_WINDOW] = keys[_WINDOW:] != keys[:-_WINDOW]
        old_keys, old_places = keys[last], places[last]


def _partners(hits: Runs, images: int, min_weight: float, folder: Path | None) -> np.ndarray:
    """From hits i < j, as i * places + j, to pairs of images: what `by_features` returns."""
    places = images * POINTS
    # Fits: 12 tables, in each 8 neighbours before and 8 behind.
    often = np.zeros(places, np.uint8)
    kept = []  # pairs that are among the strongest of their first image, or may be of the second
    with Scratch(np.int64, folder=folder) as merged:
        ends = [0]
        for block in _merged(hits, images):
            for side in np.divmod(block, places):
                np.add.at(often, side, np.uint8(1))
            merged.append(block)
            ends.append(len(merged))
        second, limit = (np.zeros(0, np.int64), np.zeros(0)), ROWS
        for start, stop in pairwise(ends):
            pairs, weight = _votes(merged.rows[start:stop], often, images, min_weight)
            kept.append(pairs[strongest(pairs, weight, pairs // images)])
            second = np.concatenate([second[0], pairs]), np.concatenate([second[1], weight])
            if len(second[0]) > limit:
                # What is not among the strongest of some is not among those of all.
                stay = strongest(*second, second[0] % images)
                second = second[0][stay], second[1][stay]
                limit = max(ROWS, 2 * len(second[0]))
    kept.append(second[0][strongest(*second, second[0] % images)])
    return _as_pairs(kept, images)


def _merged(hits: Runs, images: int) -> Iterator[np.ndarray]:
    """All hits of some images at a time, sorted, each once; as many images as fit."""
    each, start = images * POINTS**2, 0
    several = images
    while start < images:
        several = min(2 * several, images - start)
        while several > 1 and hits.count(start * each, (start + several) * each - 1) > ROWS:
            several = -(-several // 2)
        parts = [part for (part,) in hits.read(start * each, (start + several) * each - 1)]
        if parts:
            yield sorted_unique(np.sort(np.concatenate(parts), kind="stable"))
        start += several


def _votes(
    hits: np.ndarray, often: np.ndarray, images: int, min_weight: float
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of images, as a * images + b, with enough hits between them, and their weight."""
    i, j = np.divmod(hits, len(often))
    # The hits are sorted by i, then j, and images rise with both: one stable sort groups them.
    pairs = i // POINTS * images + j // POINTS
    order = np.argsort(pairs, kind="stable")
    start = np.flatnonzero(np.diff(pairs[order], prepend=-1))
    votes = np.diff(start, append=len(order))
    rarity = 1 / np.sqrt(often[i].astype(np.int64) * often[j])
    weight = np.add.reduceat(rarity[order], start)
    enough = (votes >= _MIN_VOTES) & (weight >= min_weight)
    return pairs[order[start]][enough], weight[enough]


def strongest(pairs: np.ndarray, weight: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Positions of the pairs among the strongest 16 that have the same `image`, their one side."""
    order = np.lexsort((pairs, -weight, image))
    rank = np.arange(len(order)) - np.searchsorted(image[order], image[order])
    return order[rank < _PARTNERS]


def _as_pairs(parts: Sequence[np.ndarray], images: int) -> np.ndarray:
    every = sorted_unique(np.sort(np.concatenate(parts)))
    return np.stack(np.divmod(every, images), axis=1)
