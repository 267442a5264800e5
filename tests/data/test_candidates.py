"""The search in pieces finds what the same search in memory, written plainly here, finds."""

from collections import defaultdict

import numpy as np
import pytest

from detector.data import candidates, nearcopies
from detector.data.candidates import POINTS, by_features, by_hash
from detector.data.descriptions import Descriptions
from detector.data.nearcopies import Description, find_pairs
from detector.data.phash import hamming


def strongest_16(weights: dict[tuple[int, int], float]) -> list[list[int]]:
    """Of the pairs in which an image comes first the 16 strongest; and where it comes second."""
    of = defaultdict(list)
    for pair, weight in weights.items():
        for side in enumerate(pair):
            of[side].append((-weight, pair))
    return [list(p) for p in sorted({p for own in of.values() for _, p in sorted(own)[:16]})]


def plain(images: list[np.ndarray]) -> list[list[int]]:
    """Hash tables as dictionaries, all hits in one set."""
    every = [(image, row) for image, rows in enumerate(images) for row in rows]
    n = len(every)
    if n < 2:
        return []
    bits = min(round(np.log2(n)) + 11, 60)
    rng = np.random.default_rng(0)
    hits = set()
    spread = np.unpackbits(np.array([row for _, row in every]), axis=1, bitorder="little")
    for _ in range(12):
        sampled = rng.choice(256, bits, replace=False)
        buckets = defaultdict(list)
        for at in range(n):
            buckets[spread[at, sampled].tobytes()].append(at)
        for bucket in buckets.values():
            for place, i in enumerate(bucket):
                for j in bucket[place + 1 : place + 9]:
                    if every[i][0] != every[j][0] and (spread[i] != spread[j]).sum() <= 34:
                        hits.add((i, j))
    often = defaultdict(int)
    for hit in hits:
        for side in hit:
            often[side] += 1
    votes, weights = defaultdict(int), defaultdict(float)
    for i, j in sorted(hits):
        pair = every[i][0], every[j][0]
        votes[pair] += 1
        weights[pair] += 1 / np.sqrt(often[i] * often[j])
    return strongest_16({p: w for p, w in weights.items() if votes[p] >= 3 and w >= 0.7})


def alike(count: int, seed: int) -> list[np.ndarray]:
    """Descriptors of images that share many, some in all images, some have none."""
    rng = np.random.default_rng(seed)
    pool = rng.integers(0, 256, (900, 32), dtype=np.uint8)
    images = []
    for image in range(count):
        rows = pool[rng.integers(0, len(pool), rng.integers(10, 60))]
        rows ^= np.packbits(rng.random((len(rows), 256)) < 0.004, axis=1)
        images.append(np.concatenate([rows, pool[:4]]) if image % 7 else rows[:0])
    return images


@pytest.mark.parametrize("rows", [100, 3000, 1 << 20])
@pytest.mark.parametrize("seed", [0, 1])
def test_pieces_of_any_size_give_what_the_plain_search_gives(monkeypatch, tmp_path, rows, seed):
    images = alike(160, seed)
    wanted = plain(images)
    assert len(wanted) > 300
    monkeypatch.setattr(candidates, "ROWS", rows)
    monkeypatch.setattr(candidates, "_COMPARED", min(rows, 64))
    assert by_features(images, folder=tmp_path / "new").tolist() == wanted
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_images_without_descriptors(tmp_path):
    none = np.empty((0, 32), np.uint8)
    for images in ([], [none], [none] * 3, [none, np.ones((1, 32), np.uint8), none]):
        assert by_features(images, folder=tmp_path).shape == (0, 2)


def test_a_full_image_meets_its_copy_in_every_place():
    full = np.random.default_rng(0).integers(0, 256, (POINTS, 32), dtype=np.uint8)
    assert by_features([full[:0], full, full[:0], full]).tolist() == [[1, 3]]


def test_hashes_as_by_comparing_all():
    rng = np.random.default_rng(0)
    start = rng.integers(0, 2**63, 3).tolist()
    hashes = list(
        {s ^ sum(1 << int(b) for b in rng.choice(64, 5)) for s in start for _ in range(40)}
    )
    n = len(hashes)
    weights = {
        (i, j): -hamming(hashes[i], hashes[j])
        for i in range(n) for j in range(i + 1, n) if hamming(hashes[i], hashes[j]) <= 10
    }  # fmt: skip
    assert len(weights) > len(strongest_16(weights)) > 0
    assert by_hash(hashes).tolist() == strongest_16(weights)
    assert by_hash([]).shape == (0, 2)


def described(images: list[np.ndarray], seed: int) -> list[Description]:
    rng = np.random.default_rng(seed)
    shapes = [(96, 60), (40, 96), (96, 96)]
    return [
        Description(
            int(rng.integers(4)) if image % 3 else int(rng.integers(2**63, dtype=np.uint64)),
            rng.uniform(0, 384, (len(rows), 2)).astype(np.float32),
            rows,
            rng.integers(0, 256, shapes[image % 3], dtype=np.uint8),
        )
        for image, rows in enumerate(images)
    ]


@pytest.mark.parametrize("rows", [200, 1 << 20])
def test_pairs_of_whole_descriptions_in_any_order(monkeypatch, tmp_path, rows):
    """Verdicts see the same two images, first the one whose content sorts first."""
    monkeypatch.setattr(
        nearcopies, "_verdict",
        lambda a, b, method: ("copy", float(a.thumb.mean() - b.thumb.mean())),
    )  # fmt: skip
    monkeypatch.setattr(candidates, "ROWS", rows)
    made = described(alike(120, 3), 3)
    made += made[10:20] + made[12:14]
    key = lambda d: (d.phash, d.thumb.shape, d.thumb.tobytes(), d.descriptors.tobytes())  # noqa: E731
    place = defaultdict(list)
    for at, d in enumerate(made):
        place[key(d)].append(at)
    distinct = [made[place[k][0]] for k in sorted(place)]
    wanted = {
        (*sorted((place[key(distinct[i])][0], place[key(distinct[j])][0])),
         round(float(distinct[i].thumb.mean() - distinct[j].thumb.mean()), 4), "features")
        for i, j in plain([d.descriptors for d in distinct])
    }  # fmt: skip
    chains = {(10 + i, 120 + i, 1.0, "identical") for i in range(10) if i not in (2, 3)}
    chains |= {(12, 122, 1.0, "identical"), (122, 130, 1.0, "identical")}
    chains |= {(13, 123, 1.0, "identical"), (123, 131, 1.0, "identical")}
    with Descriptions(tmp_path) as kept:
        for d in made:
            kept.append(d)
        found = find_pairs(kept, tmp_path)
    assert found == find_pairs(made) == sorted(found, key=lambda p: (p.a, p.b))
    by_method = defaultdict(set)
    for p in found:
        by_method[p.method].add((p.a, p.b, p.score, p.method))
    assert by_method["features"] == wanted
    assert by_method["identical"] == chains
    assert by_method["hash"]
    order = np.random.default_rng(1).permutation(120).tolist()
    back = {
        (*sorted((order[p.a], order[p.b])), p.score, p.method)
        for p in find_pairs([made[i] for i in order])
    }
    assert back == {tuple(p) for ps in by_method.values() for p in ps if max(p[:2]) < 120}
