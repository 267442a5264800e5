"""Finds photographs that occur more than once: copied, recompressed, moved, scaled, edited."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from detector.data.phash import near, phash

WORK = 384  # px, longer side at which features are found
POINTS = 300
THUMB = 96  # px, longer side
_CELLS = 8
_TABLES, _WINDOW = 8, 8
_CLOSE = 64  # of 256 bits
_VOTES, _PARTNERS = 3, 24
_RADIUS = 10
_REPROJECTION = 3.0
_MIN_INLIERS = 8


@dataclass(frozen=True, slots=True)
class Description:
    """What the search keeps of an image, about 21 kB.

    `points` is (n, 2) float32, x and y in pixels of the working size; `descriptors` (n, 32)
    uint8, n <= 300; `thumb` (height, width) uint8 grey, at most 96 by 96.
    """

    phash: int
    points: np.ndarray
    descriptors: np.ndarray
    thumb: np.ndarray


@dataclass(frozen=True, slots=True)
class Pair:
    a: int
    b: int
    score: float
    method: str


def describe(image: np.ndarray) -> Description:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    scale = WORK / max(grey.shape)
    work = _resize(grey, scale)
    # One per call: ORB objects are not to be shared between threads.
    orb = cv2.ORB_create(nfeatures=4 * POINTS, scaleFactor=1.2, nlevels=6, edgeThreshold=16,
                         fastThreshold=7)
    found = _spread(orb.detect(work, None))
    found, descriptors = orb.compute(work, found)
    if descriptors is None:
        descriptors = np.empty((0, 32), np.uint8)
    points = np.array([key.pt for key in found], np.float32).reshape(-1, 2)
    return Description(phash(grey), points, descriptors, _resize(grey, THUMB / max(grey.shape)))


def _resize(grey, scale):
    size = [max(1, round(side * scale)) for side in grey.shape[::-1]]
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def _spread(found):
    if len(found) <= POINTS:
        return found
    at = np.array([key.pt for key in found])
    response = np.array([key.response for key in found])
    cell = (at * (_CELLS / WORK)).astype(int) @ (1, _CELLS)
    order = np.lexsort((-response, cell))
    start = np.searchsorted(cell[order], cell[order])
    rank = np.arange(len(order)) - start
    best = order[np.lexsort((-response[order], rank))[:POINTS]]
    return [found[i] for i in best]


def candidates(descriptions):
    """image pairs by votes: {(a,b): votes}"""
    owner = np.repeat(np.arange(len(descriptions)), [len(d.descriptors) for d in descriptions])
    desc = np.concatenate([d.descriptors for d in descriptions])
    n = len(owner)
    bits = int(np.clip(np.ceil(np.log2(max(n, 2))) + 3, 20, 32))
    rng = np.random.default_rng(0)
    words = desc.view(np.uint64)
    found = []
    for _ in range(_TABLES):
        keys = np.zeros(n, np.uint32)
        for bit in rng.choice(256, bits, replace=False):
            keys = (keys << 1) | ((desc[:, bit >> 3] >> (bit & 7)) & 1)
        order = np.argsort(keys, kind="stable")
        k = keys[order]
        for step in range(1, _WINDOW + 1):
            hit = np.flatnonzero(k[step:] == k[:-step])
            i, j = order[hit], order[hit + step]
            keep = owner[i] != owner[j]
            i, j = i[keep], j[keep]
            keep = np.bitwise_count(words[i] ^ words[j]).sum(1) <= _CLOSE
            found.append(i[keep] * n + j[keep])
    hits = np.unique(np.concatenate(found))
    a, b = owner[hits // n], owner[hits % n]
    pair, votes = np.unique(a * len(descriptions) + b, return_counts=True)
    return pair // len(descriptions), pair % len(descriptions), votes
