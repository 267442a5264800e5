"""Finds photographs that occur more than once: copied, recompressed, moved, scaled, edited.

One `describe` per image, then one `find_pairs` over all descriptions, in time linear in their
number. Candidates come from local features (locality-sensitive hashing) and from perceptual
hashes (multi-index hashing); none is believed before the two images have been laid over one
another. experiments/2026-11-20-ciplab-pairs measures what is found and what is missed.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cmp_to_key
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from detector.data.alignment import Overlay, agreement_in_place, overlay
from detector.data.candidates import POINTS, by_features, by_hash
from detector.data.phash import phash

WORK_PX, THUMB_PX = 384, 96  # longer side: where features are found, what is compared
_CELLS = 8


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
        nfeatures=4 * POINTS, scaleFactor=1.2, nlevels=6, edgeThreshold=16, fastThreshold=7
    )
    found, descriptors = orb.compute(work, _spread(orb.detect(work, None)))
    points = np.array([key.pt for key in found], np.float32).reshape(-1, 2)
    if descriptors is None:
        descriptors = np.empty((0, 32), np.uint8)
    return Description(phash(grey), points, descriptors, _resize(grey, THUMB_PX))


def find_pairs(descriptions: Sequence[Description], folder: Path | None = None) -> list[Pair]:
    """Find the pairs of images that show the same photograph or a part of it.

    Time grows with the number of images, not of pairs: each local feature meets at most 8
    others in each of 12 hash tables, each image has at most 32 candidates of its own choice, and
    identical descriptions are chained (first to second to third). The pairs do not depend on
    the order of the images, but for which of several identical ones stands for them. Memory
    grows by less than 1 kB an image, if the descriptions themselves are not in memory:
    `Descriptions` keeps them on disk.

    Args:
        descriptions: Each is asked for a few times, in no particular order.
        folder: Of temporary files, see `by_features`; None for the system's.

    Returns:
        Pairs sorted by (a, b), each once.

    Raises:
        UserError: There is no room for the temporary files.
    """
    first, chained = _distinct(descriptions)
    pairs = [Pair(a, b, 1.0, "identical", "copy") for a, b in chained]
    features = by_features((descriptions[i].descriptors for i in first), folder=folder)
    hashes = by_hash([descriptions[i].phash for i in first])
    known = features @ (len(first), 1)
    hashes = hashes[~np.isin(hashes @ (len(first), 1), known)]
    for method, found in (("features", features), ("hash", hashes)):
        for i, j in found:
            a, b = first[i], first[j]
            verdict = _verdict(descriptions[a], descriptions[b], method)
            if verdict:
                a, b = sorted((int(a), int(b)))
                pairs.append(Pair(a, b, round(verdict[1], 4), method, verdict[0]))
    return sorted(pairs, key=lambda p: (p.a, p.b))


def _distinct(descriptions: Sequence[Description]) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """The first of each kind, in an order that depends on content alone, and chains of equals."""
    digests = np.zeros((len(descriptions), 3), np.uint64)
    for row, d in enumerate(descriptions):
        digest = blake2b(repr(_content(d)[0]).encode(), digest_size=16)
        for part in _content(d)[1:]:
            digest.update(part)
        digests[row] = d.phash, *np.frombuffer(digest.digest(), np.uint64)
    order = np.lexsort(digests.T[::-1])  # stable: equal ones stay in the order given
    before = np.zeros(len(order), bool)
    before[1:] = (digests[order[1:]] == digests[order[:-1]]).all(axis=1)
    chained = [(a, b) for a, b in zip(order[:-1].tolist(), order[1:].tolist(), strict=True)]
    chained = [pair for pair, same in zip(chained, before[1:].tolist(), strict=True) if same]
    first = order[~before]

    def compare(a: int, b: int) -> int:  # two at a time: thousands may share a hash
        x, y = _content(descriptions[a]), _content(descriptions[b])
        return (x > y) - (x < y)

    starts = np.flatnonzero(np.diff(digests[first, 0], prepend=~digests[first[:1], 0]))
    for start, stop in pairwise([*starts.tolist(), len(first)]):
        if stop - start > 1:
            first[start:stop] = sorted(first[start:stop].tolist(), key=cmp_to_key(compare))
    return first, chained


def _content(d: Description) -> tuple[tuple[int, ...], bytes, bytes]:
    return d.thumb.shape, d.thumb.tobytes(), d.descriptors.tobytes()


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
    return [found[i] for i in order[np.argsort(rank, kind="stable")[:POINTS]]]


def same_photograph(a: Description, b: Description) -> bool:
    """Whether two images show one photograph, or a part of it: one is laid over the other."""
    return _verdict(a, b, "hash") is not None


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
