"""Finds photographs that occur more than once: copied, recompressed, moved, scaled, edited.

One `describe` per image, then one `find_pairs` over all descriptions, in time linear in their
number. Candidates come from local features (locality-sensitive hashing) and from perceptual
hashes (multi-index hashing); none is believed before the two images have been laid over one
another. experiments/2026-11-20-ciplab-pairs measures what is found and what is missed.
"""

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from detector.data.alignment import Overlay, agreement_in_place, overlay
from detector.data.phash import near, phash

WORK_PX, THUMB_PX = 384, 96  # longer side: where features are found, what is compared
_POINTS, _CELLS = 300, 8
_TABLES, _SPARE_BITS, _WINDOW = 12, 11, 8
_VOTE_BITS, _MIN_VOTES, _MIN_WEIGHT, _PARTNERS = 34, 3, 0.7, 16
_RADIUS = 10
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Description:
    """What the search keeps of an image, about 21 kB.

    `points` is (n, 2) float32, x and y in pixels of the image scaled to a longer side of 384,
    and `descriptors` (n, 32) uint8, n <= 300; `thumb` is (height, width) uint8 grey, longer
    side 96.
    """

    phash: int
    points: np.ndarray
    descriptors: np.ndarray
    thumb: np.ndarray


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images, by position, a < b, and why they are held to belong together.

    kind "copy": the same photograph, perhaps with parts of the face replaced; the score is the
    share of the textured area that agrees. kind "part": a part of the one, such as the inner
    face, occurs in the other, the rest differs; the score is the correlation of fine structure
    in that part. method: "identical", "features" or "hash".
    """

    a: int
    b: int
    score: float
    method: str
    kind: str


def describe(image: np.ndarray) -> Description:
    """Describe one image; any number of threads may do so at once.

    ORB features (Rublee et al., ICCV 2011), the strongest of each cell of an 8x8 grid first:
    where a face was edited the background must tell, and it has the weaker corners.

    Args:
        image: (height, width, 3) uint8 RGB.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    work = _resize(grey, WORK_PX)
    # A new detector for each call: OpenCV does not promise that one can be shared by threads.
    orb = cv2.ORB_create(
        nfeatures=4 * _POINTS, scaleFactor=1.2, nlevels=6, edgeThreshold=16, fastThreshold=7
    )
    found, descriptors = orb.compute(work, _spread(orb.detect(work, None)))
    points = np.array([key.pt for key in found], np.float32).reshape(-1, 2)
    if descriptors is None:
        descriptors = np.empty((0, 32), np.uint8)
    return Description(phash(grey), points, descriptors, _resize(grey, THUMB_PX))


def find_pairs(descriptions: Sequence[Description]) -> list[Pair]:
    """Find the pairs of images that show the same photograph or a part of it.

    Time and memory grow with the number of images, not of pairs: each local feature meets at
    most 8 others in each of 12 hash tables, each image at most 16 candidates of its own
    choice, and identical descriptions are chained (first to second to third). The pairs do
    not depend on the order of the images, but for which of several identical ones stands for
    them.

    Returns:
        Pairs sorted by (a, b), each once.
    """
    same = defaultdict(list)
    for index, d in enumerate(descriptions):
        same[d.phash, d.thumb.shape, d.thumb.tobytes(), d.descriptors.tobytes()].append(index)
    pairs = [
        Pair(a, b, 1.0, "identical", "copy") for group in same.values() for a, b in pairwise(group)
    ]
    first = [same[key][0] for key in sorted(same)]  # by content: independent of the order given
    distinct = [descriptions[i] for i in first]
    looked_at = set()
    for method, found in (("features", _by_features(distinct)), ("hash", _by_hash(distinct))):
        for i, j in found:
            if (i, j) not in looked_at:
                looked_at.add((i, j))
                verdict = _verdict(distinct[i], distinct[j], method)
                if verdict:
                    a, b = sorted((first[i], first[j]))
                    pairs.append(Pair(a, b, round(verdict[1], 4), method, verdict[0]))
    return sorted(pairs, key=lambda p: (p.a, p.b))


def listed_pairs(name_to_index: Mapping[str, int], csv_path: Path) -> list[tuple[int, int, str]]:
    """Read pairs of file names as positions, leaving out those with a name that is not there.

    Args:
        name_to_index: position of each file by its name without folders.
        csv_path: columns a, b, kind and any others; lines starting with # are comments.

    Returns:
        Sorted (i, j, kind), i < j, each pair once.
    """
    with open(csv_path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    found: dict[tuple[int, int], str] = {}
    for row in rows:
        if row["a"] in name_to_index and row["b"] in name_to_index:
            low, high = sorted((name_to_index[row["a"]], name_to_index[row["b"]]))
            found.setdefault((low, high), row["kind"])
    return sorted((a, b, kind) for (a, b), kind in found.items())


def _resize(grey: np.ndarray, longer: int) -> np.ndarray:
    scale = longer / max(grey.shape)
    size = [max(1, round(side * scale)) for side in grey.shape[::-1]]
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def _spread(found: Sequence) -> Sequence:
    """The strongest key points of each grid cell, then the second strongest, and so on."""
    at = np.array([key.pt for key in found]).reshape(-1, 2)
    response = np.array([key.response for key in found])
    cell = (at * (_CELLS / WORK_PX)).astype(int) @ (1, _CELLS)
    order = np.lexsort((at[:, 0], at[:, 1], -response, cell))
    ordered = cell[order]
    rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    return [found[i] for i in order[np.argsort(rank, kind="stable")[:_POINTS]]]


def _by_features(descriptions: Sequence[Description]) -> Iterable[tuple[int, int]]:
    """Pairs of images with several nearly equal and rare descriptors.

    Locality-sensitive hashing by sampled bits (Indyk and Motwani, STOC 1998). A hit counts
    1 / sqrt(hits of the one descriptor x hits of the other): the corner of an eye is in every
    face and says little.
    """
    owner = np.repeat(np.arange(len(descriptions)), [len(d.descriptors) for d in descriptions])
    n = len(owner)
    if n < 2:
        return []
    every = np.concatenate([d.descriptors for d in descriptions])
    words = every.view(np.uint64)
    bits = min(round(np.log2(n)) + _SPARE_BITS, 60)  # buckets stay small whatever n
    rng = np.random.default_rng(0)
    hits = np.zeros(0, np.int64)
    for _ in range(_TABLES):
        found = [hits]
        keys = np.zeros(n, np.uint64)
        for bit in rng.choice(256, bits, replace=False).tolist():
            keys = (keys << np.uint64(1)) | ((every[:, bit >> 3] >> (bit & 7)) & 1)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        for step in range(1, _WINDOW + 1):
            equal = np.flatnonzero(keys[step:] == keys[:-step])
            for start in range(0, len(equal), _CHUNK):
                here = equal[start : start + _CHUNK]
                i, j = order[here], order[here + step]  # i < j: the sort is stable
                distance = np.bitwise_count(words[i] ^ words[j]).sum(1)
                keep = (distance <= _VOTE_BITS) & (owner[i] != owner[j])
                found.append(i[keep] * n + j[keep])
        # After each table, not of all at once: many tables find the same hits again. (np.unique
        # hashes, which is slower here.)
        hits = np.sort(np.concatenate(found))
        hits = hits[np.diff(hits, prepend=-1) > 0]
    often = np.zeros(n, np.int64)
    for start in range(0, len(hits), _CHUNK):
        for side in np.divmod(hits[start : start + _CHUNK], n):
            often += np.bincount(side, minlength=n)
    # The hits are sorted by descriptor, so those of an image lie together: whole images at a time,
    # since what follows takes several times the memory of the hits.
    ends = np.searchsorted(hits, np.searchsorted(owner, np.arange(len(descriptions) + 1)) * n)
    kept, begin = [(np.zeros(0, np.int64), np.zeros(0))], 0
    for k, end in enumerate(ends.tolist()):
        if end > begin and (end - begin >= _CHUNK or k == len(descriptions)):
            kept.append(_votes(hits[begin:end], owner, often, len(descriptions)))
            begin = end
    images, weight = (np.concatenate(parts) for parts in zip(*kept, strict=True))
    return _strongest(images, weight, len(descriptions))


def _votes(
    hits: np.ndarray, owner: np.ndarray, often: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of images, as a * count + b, with enough hits between them, and their weight."""
    i, j = np.divmod(hits, len(owner))
    # The hits are sorted by i, then j, and owner rises with both: one stable sort groups them.
    images = owner[i] * count + owner[j]
    order = np.argsort(images, kind="stable")
    start = np.flatnonzero(np.diff(images[order], prepend=-1))
    votes = np.diff(start, append=len(order))
    weight = np.add.reduceat((1 / np.sqrt(often[i] * often[j]))[order], start)
    enough = (votes >= _MIN_VOTES) & (weight >= _MIN_WEIGHT)
    return images[order[start]][enough], weight[enough]


def _by_hash(descriptions: Sequence[Description]) -> Iterable[tuple[int, int]]:
    hashes = [d.phash for d in descriptions]
    pairs = np.array(near(hashes, _RADIUS), np.int64).reshape(-1, 2)
    apart = np.array([(hashes[i] ^ hashes[j]).bit_count() for i, j in pairs])
    return _strongest(pairs @ (len(hashes), 1), -apart, len(hashes))


def _strongest(images: np.ndarray, weight: np.ndarray, n: int) -> list[tuple[int, int]]:
    """Pairs, as i * n + j, that are among the strongest 16 of one of their two images."""
    keep = np.zeros(len(images), bool)
    for image in (images // n, images % n):
        order = np.lexsort((images, -weight, image))
        rank = np.arange(len(order)) - np.searchsorted(image[order], image[order])
        keep[order[rank < _PARTNERS]] = True
    return [divmod(int(pair), n) for pair in images[keep]]


def _verdict(a: Description, b: Description, method: str) -> tuple[str, float] | None:
    found = overlay(a, b, WORK_PX)
    if found and (decided := decide(found)):
        return decided
    if method == "hash" and (agreement := agreement_in_place(a.thumb, b.thumb)) >= 0.6:
        return "copy", agreement
    return None


def decide(found: Overlay) -> tuple[str, float] | None:
    """Kind and score of a pair, or None; the study shows why the thresholds lie where they do."""
    # With 15 close matches, aligned faces of different people agree in at most .25 of the area
    # and pictures that share only a part in .32; the edited photographs of ciplab start at .5.
    if found.agreement >= (0.36 if found.close >= 15 else 0.5):
        return "copy", found.agreement
    if found.close >= 10 and found.detail >= 0.95:
        return "part", found.detail
    return None
