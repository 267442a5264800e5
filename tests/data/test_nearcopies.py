"""Planted copies are found, different pictures are not joined, whatever the order and the size."""

import os
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from detector.data import nearcopies
from detector.data.alignment import agreement_in_place, overlay
from detector.data.candidates import by_features
from detector.data.nearcopies import Description, describe, find_pairs, listed_pairs

DATA = Path(os.environ.get("DETECTOR_DATA", Path(__file__).parents[3] / "shared" / "data"))
CIPLAB = DATA / "ciplab"
KNOWN = (
    ("real_00753", "easy_123_0100"),
    ("real_00839", "easy_207_1000"),
    ("real_00858", "easy_94_0001"),
    ("real_00787", "easy_203_0111"),
    ("real_00286", "easy_144_1111"),
    ("real_00958", "easy_236_1100"),
    ("real_00979", "easy_230_1010"),
)
DIFFERENT = ("real_00298", "hard_8_1000")


def scene(seed: int, side: int = 400) -> np.ndarray:
    """A picture with corners and smooth shading: blurred random polygons on a gradient."""
    rng = np.random.default_rng(seed)
    image = cv2.resize(rng.uniform(60, 200, (3, 3, 3)), (side, side), interpolation=cv2.INTER_CUBIC)
    image = np.ascontiguousarray(image.clip(0, 255).astype(np.uint8))
    for _ in range(60):
        middle = rng.uniform(0, side, 2)
        corners = middle + rng.normal(scale=rng.uniform(8, 40), size=(rng.integers(3, 7), 2))
        cv2.fillPoly(image, [corners.round().astype(np.int32)], rng.uniform(0, 255, 3).tolist())
    return cv2.GaussianBlur(image, (0, 0), 1.2)


def moved(image: np.ndarray, scale: float = 1.0, shift=(0.0, 0.0), degrees: float = 0.0):
    side = image.shape[0]
    transform = cv2.getRotationMatrix2D((side / 2, side / 2), degrees, scale)
    transform[:, 2] += shift
    return cv2.warpAffine(image, transform, (side, side), borderMode=cv2.BORDER_REFLECT)


def edited(image: np.ndarray, seed: int) -> np.ndarray:
    """The middle replaced by that of another picture, with a soft edge."""
    side = image.shape[0]
    mask = np.zeros((side, side), np.float32)
    cv2.ellipse(mask, (side // 2, side // 2), (side // 5, side // 4), 0, 0, 360, 1.0, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), 6)[..., None]
    return (image * (1 - mask) + scene(seed, side) * mask).astype(np.uint8)


def recompressed(image: np.ndarray, quality: int) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1)


def everything(image: np.ndarray, seed: int) -> np.ndarray:
    return recompressed(moved(edited(image, seed + 500), 1.12, (13, -9), 2.0), 45)


CHANGES = {
    "same": lambda image, seed: image.copy(),
    "recompressed": lambda image, seed: recompressed(image, 40),
    "shifted": lambda image, seed: moved(image, shift=(21, -17)),
    "smaller": lambda image, seed: moved(image, scale=0.8),
    "larger": lambda image, seed: moved(image, scale=1.25),
    "resized file": lambda image, seed: cv2.resize(image, None, fx=0.6, fy=0.6),
    "edited": lambda image, seed: edited(image, seed + 900),
    "darker": lambda image, seed: (image * 0.6 + 20).astype(np.uint8),
    "everything": everything,
}
SCENES = 12


@pytest.fixture(scope="module")
def originals() -> list[Description]:
    return [describe(scene(seed)) for seed in range(SCENES)]


@pytest.mark.parametrize("change", CHANGES)
def test_planted_copies_are_found_and_nothing_else(originals, change):
    copies = [describe(CHANGES[change](scene(seed), seed)) for seed in range(SCENES)]
    found = find_pairs(originals + copies)
    assert {(p.a, p.b) for p in found} == {(i, i + SCENES) for i in range(SCENES)}
    assert {p.kind for p in found} == {"copy"}
    assert all(0 < p.score <= 1 for p in found)


@pytest.mark.parametrize("scale, degrees", [(1.0, 0), (0.7, 10), (1.4, -20), (1.1, 90)])
def test_overlay_tells_the_transform(scale, degrees):
    image = scene(3)
    turned = describe(moved(image, scale, (5, -8), degrees))
    found = overlay(describe(image), turned, nearcopies.WORK_PX)
    assert found.scale == pytest.approx(scale, rel=0.02)
    assert -found.degrees == pytest.approx(degrees, abs=1)  # OpenCV turns the other way
    assert found.agreement > 0.7
    assert found.detail > 0.8
    assert found.close <= found.inliers


def test_overlay_needs_features_in_both(originals):
    blank = describe(np.full((100, 100, 3), 90, np.uint8))
    assert overlay(originals[0], blank, nearcopies.WORK_PX) is None


def test_agreement_in_place_allows_a_small_shift_and_another_size():
    thumb = [cv2.cvtColor(scene(seed, 96), cv2.COLOR_RGB2GRAY) for seed in range(4)]
    for image in thumb:
        assert agreement_in_place(image, moved(image, 1.03, (2, -1))) > 0.8
        larger = cv2.resize(image, (130, 120), interpolation=cv2.INTER_CUBIC)
        assert agreement_in_place(image, larger) > 0.8
    assert max(agreement_in_place(thumb[0], other) for other in thumb[1:]) < 0.3
    assert agreement_in_place(thumb[0], np.full((96, 96), 9, np.uint8)) == 0


def test_a_part_of_another_picture_is_told_from_a_copy(originals):
    """The same fifth of the area in two pictures that differ otherwise."""
    pasted = []
    for seed in range(SCENES):
        image, other = scene(seed + 100), scene(seed)
        image[120:280, 130:270] = other[120:280, 130:270]
        pasted.append(describe(image))
    found = {(p.a, p.b): p.kind for p in find_pairs(originals + pasted)}
    assert set(found) <= {(i, i + SCENES) for i in range(SCENES)}
    assert len(found) >= SCENES - 2
    assert set(found.values()) == {"part"}


def test_common_border_and_logo_do_not_join_pictures():
    frame = scene(77)
    pictures = []
    for seed in range(16):
        image = scene(seed)
        image[:24] = image[-24:] = 240
        image[:, :24] = image[:, -24:] = 240
        image[330:370, 300:370] = frame[330:370, 300:370]
        pictures.append(describe(image))
    assert not [p for p in find_pairs(pictures) if p.kind == "copy"]


def test_pictures_with_few_corners_are_found_by_hash():
    def soft(seed):
        noise = np.random.default_rng(seed).normal(size=(7, 7, 3))
        image = cv2.resize(noise, (300, 300), interpolation=cv2.INTER_CUBIC)
        return ((image - image.min()) / np.ptp(image) * 255).astype(np.uint8)

    descriptions = [describe(soft(seed)) for seed in range(10)]
    descriptions += [describe(recompressed(moved(soft(s), shift=(3, 2)), 60)) for s in range(10)]
    found = find_pairs(
        [Description(d.phash, d.points[:0], d.descriptors[:0], d.thumb) for d in descriptions]
    )
    assert {(p.a, p.b, p.method) for p in found} == {(i, i + 10, "hash") for i in range(10)}


def test_equal_hashes_alone_do_not_join(originals):
    forged = [Description(5, d.points, d.descriptors, d.thumb) for d in originals]
    assert find_pairs(forged) == []


def test_constant_and_identical_images_stay_linear():
    constant = [describe(np.full((90, 90, 3), shade, np.uint8)) for shade in range(256)]
    same = [describe(scene(1, 200))] * 3000
    started = time.perf_counter()
    found = find_pairs(constant * 12 + same)
    assert time.perf_counter() - started < 20
    assert len(found) == 256 * 11 + 2999
    assert {p.method for p in found} == {"identical"}


def test_many_versions_of_one_picture_become_one_group_without_all_pairs():
    image = scene(4, 300)
    versions = [describe(recompressed(moved(image, shift=(i % 7, i // 7)), 70)) for i in range(40)]
    found = find_pairs(versions)
    group = {0}
    for _ in versions:
        group |= {i for p in found if {p.a, p.b} & group for i in (p.a, p.b)}
    assert len(group) == len(versions)
    assert len(found) <= 40 * 16


def test_candidates_grow_with_images_not_with_pairs():
    """Random descriptors are the worst case for hashing: every hit is by chance."""

    def crowd(n):
        rng = np.random.default_rng(n)
        return [
            Description(
                int(rng.integers(2**63)),
                rng.uniform(0, 384, (60, 2)).astype(np.float32),
                rng.integers(0, 256, (60, 32), dtype=np.uint8),
                np.zeros((96, 96), np.uint8),
            )
            for _ in range(n)
        ]

    counts = [len(by_features(d.descriptors for d in crowd(n))) for n in (250, 500, 1000)]
    assert counts[2] <= 8 * (counts[0] + 8)  # comparing all pairs would give 16 times as many


def test_pairs_do_not_depend_on_order_or_threads(originals):
    images = [scene(seed) for seed in range(SCENES)]
    images += [everything(image, seed) for seed, image in enumerate(images)]
    with ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(describe, images))
    alone = [describe(image) for image in images]
    for a, b in zip(threaded, alone, strict=True):
        assert a.phash == b.phash
        for field in ("points", "descriptors", "thumb"):
            assert np.array_equal(getattr(a, field), getattr(b, field))
    order = np.random.default_rng(0).permutation(len(alone)).tolist()
    shuffled = find_pairs([alone[i] for i in order])
    back = sorted((*sorted((order[p.a], order[p.b])), p.score, p.kind) for p in shuffled)
    assert back == [(p.a, p.b, p.score, p.kind) for p in find_pairs(threaded)]


def test_description_is_small_and_survives_pickling():
    made = describe(scene(0, 600))
    assert len(made.descriptors) == len(made.points) == 300
    data = pickle.dumps(made)
    assert len(data) < 25_000
    again = pickle.loads(data)
    assert again.phash == made.phash and np.array_equal(again.thumb, made.thumb)
    assert [p.method for p in find_pairs([made, again])] == ["identical"]


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (20, 20), (1200, 90)])
def test_odd_shapes_are_described(shape):
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    made = describe(noise)
    assert made.descriptors.shape == (len(made.points), 32)
    assert max(made.thumb.shape) == 96
    find_pairs([made, describe(noise[::-1].copy())])


def test_no_images_no_pairs():
    assert find_pairs([]) == []


def test_listed_pairs_leave_out_names_that_are_absent(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text(
        "# how it was made\na,b,kind\nx.jpg,y.jpg,copy\nz.jpg,x.jpg,part\n"
        "gone.jpg,x.jpg,copy\ny.jpg,x.jpg,copy\n"
    )
    assert listed_pairs({"x.jpg": 4, "y.jpg": 1, "z.jpg": 7}, path) == [
        (1, 4, "copy"),
        (4, 7, "part"),
    ]


def test_committed_list_names_ciplab_files_once():
    path = Path(nearcopies.__file__).parent / "pairs" / "ciplab.csv"
    names = {
        line.split(",")[i]
        for line in path.read_text().splitlines()
        if not line.startswith(("#", "a,"))
        for i in (0, 1)
    }
    index = {name: i for i, name in enumerate(sorted(names))}
    pairs = [pair[:2] for pair in listed_pairs(index, path)]
    assert all(name.endswith(".jpg") and "/" not in name for name in names)
    assert len(pairs) >= 100
    for a, b in KNOWN:
        assert tuple(sorted((index[f"{a}.jpg"], index[f"{b}.jpg"]))) in pairs
    assert f"{DIFFERENT[1]}.jpg" not in names or (
        tuple(sorted(index.get(f"{n}.jpg", -1) for n in DIFFERENT)) not in pairs
    )


def real_file(name: str) -> Path:
    folder = "training_real" if name.startswith("real") else "training_fake"
    return CIPLAB / folder / f"{name}.jpg"


def test_known_ciplab_pairs_are_found():
    present = [pair for pair in KNOWN if all(real_file(n).exists() for n in pair)]
    if len(present) < 3:
        pytest.skip(f"ciplab is not under {DATA}")
    names = [name for pair in (*present, DIFFERENT) for name in pair]
    names = [name for name in names if real_file(name).exists()]
    found = find_pairs(
        [describe(np.asarray(Image.open(real_file(n)).convert("RGB"))) for n in names]
    )
    assert {(names[p.a], names[p.b]) for p in found if p.kind == "copy"} == set(present)
    assert not [p for p in found if DIFFERENT[0] in (names[p.a], names[p.b])]
