"""The epoch of a training with blends: what is in it, from where, and always the same."""

import multiprocessing
import pickle

import cv2
import numpy as np
import pytest
import torch

from detector.data.blended.training import BLEND, TARGET, Blending, blending_of
from detector.data.datamodule import FaceData
from detector.data.index import Index
from detector.data.load import FaceSet
from detector.data.transforms import Augment
from detector.errors import UserError
from tests.data.blended.faces import SIDE, landmarks, pixels

N, TRAIN, FAKES = 40, 28, 16  # rows; those of train; its fakes, which come first
WITHOUT = 2  # reals of train without a face: the last of it


class Made:
    """Rendered faces for reals; a fake of the train part must not be read unless allowed."""

    file = "a map"

    def __init__(self, allowed=False):
        self.allowed = allowed

    def __getitem__(self, row):
        if row < FAKES:
            assert self.allowed, f"the set's fake {row} was read"
            return np.full((SIDE, SIDE, 3), row, np.uint8)
        return pixels(row % 4)


LABELS = np.array([0] * FAKES + [1] * (TRAIN - FAKES) + [0, 1] * ((N - TRAIN) // 2))
PARTS = np.array(["train"] * TRAIN + ["val"] * 8 + ["test"] * 4)


def found():
    points = np.full((N, 5, 2), np.nan, np.float32)
    for row in np.flatnonzero(LABELS == 1):
        points[row] = landmarks(row % 4)
    points[TRAIN - WITHOUT : TRAIN] = np.nan
    return points


def blending(fakes="self_blended", seed=1, masks="mixed"):
    train = np.flatnonzero(PARTS == "train")
    return Blending(LABELS, train, found(), fakes=fakes, masks=masks, seed=seed)


def data(fakes="self_blended", *, seed=1, steps=(), workers=0, allowed=False, **more):
    groups = [f"g{row}" for row in range(N)]
    return FaceData(
        Made(allowed), LABELS, groups, PARTS, Augment(list(steps), SIDE, seed), batch_size=8,
        num_workers=workers, seed=seed, blending=blending(fakes, seed), **more,
    )  # fmt: skip


def epoch(loader, number):
    loader.sampler.set_epoch(number)
    return [tuple(torch.as_tensor(part) for part in batch) for batch in loader]


def together(batches):
    return tuple(torch.cat(parts) for parts in zip(*batches, strict=True))


def pictures(batches):
    """By label and row."""
    images, labels, rows = together(batches)
    return {
        (int(label), int(row)): image.permute(1, 2, 0).numpy()
        for image, label, row in zip(images, labels, rows, strict=True)
    }


REALS = range(FAKES, TRAIN)
BLENDED = range(FAKES, TRAIN - WITHOUT)


def test_an_epoch_has_each_real_and_a_blend_of_each_and_no_fake_of_the_set():
    made = data()  # whose pixels refuse the set's fakes
    images, labels, rows = together(epoch(made.train_dataloader(), 0))
    assert sorted(rows[labels == 1].tolist()) == list(REALS)
    assert sorted(rows[labels == 0].tolist()) == list(BLENDED)
    assert images.dtype == torch.uint8 and images.shape[1:] == (3, SIDE, SIDE)
    for key in ("val", "measured"):
        assert len(made.rows[key]) == 8
    measured = together(epoch(made.val_dataloader()[1], 0))
    assert (measured[2] >= FAKES).all() and set(measured[1].tolist()) == {0, 1}
    with pytest.raises(AssertionError, match="was read"):
        made.pixels[3]


def test_mixed_has_the_set_as_it_is_beside_the_blends():
    made = data("mixed", allowed=True)
    images, labels, rows = together(epoch(made.train_dataloader(), 0))
    assert len(rows) == TRAIN + 2 * len(BLENDED)
    fakes = sorted(rows[labels == 0].tolist())
    assert fakes == sorted([*range(FAKES), *BLENDED])
    reals = rows[labels == 1].tolist()
    assert all(reals.count(row) == 1 + (row in BLENDED) for row in REALS)
    for image, row in zip(images[rows < FAKES], rows[rows < FAKES], strict=True):
        assert (image == row).all()


def test_the_two_of_a_pair_are_alike_outside_a_mask():
    batches = pictures(epoch(data().train_dataloader(), 3))
    shares = []
    for row in BLENDED:
        fake, real = batches[0, row], batches[1, row]
        shares.append((fake == real).all(-1).mean())
        assert not np.array_equal(fake, real)
    assert min(shares) > 0.2 and np.mean(shares) > 0.5
    for row in range(TRAIN - WITHOUT, TRAIN):
        assert np.array_equal(batches[1, row], pixels(row % 4))


def test_the_two_of_a_pair_are_augmented_alike():
    flips = [{"step": "flip", "p": 0.5}]
    plain, flipped = (
        pictures(epoch(data(steps=steps).train_dataloader(), 0)) for steps in ((), flips)
    )
    turned = {key: not np.array_equal(flipped[key], plain[key]) for key in plain}
    for key, turn in turned.items():
        assert np.array_equal(flipped[key], plain[key][:, ::-1] if turn else plain[key])
    assert len({turned[1, row] for row in BLENDED}) == 2
    assert all(turned[0, row] == turned[1, row] for row in BLENDED)


def test_epochs_and_seeds_differ_and_repeat():
    def fakes(number, **settings):
        batches = pictures(epoch(data(**settings).train_dataloader(), number))
        return [batches[0, row] for row in BLENDED]

    first = fakes(0)
    for again, same in ((fakes(0), True), (fakes(1), False), (fakes(0, seed=2), False)):
        equal = [np.array_equal(a, b) for a, b in zip(first, again, strict=True)]
        assert all(equal) if same else not any(equal)


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="no fork on this system"
)
def test_forked_loader_processes_make_the_same_bytes_after_opencv_has_used_threads():
    # Threads of OpenCV's pool are not copied by a fork: a process that waits for them hangs.
    cv2.setNumThreads(4)
    cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.uint8), (31, 31), 0)
    flips = [{"step": "flip", "p": 0.5}]
    alone = together(epoch(data(steps=flips).train_dataloader(), 1))
    loader = data(steps=flips, workers=2, start_method="fork").train_dataloader()
    loader.timeout = 60
    for one, other in zip(alone, together(epoch(loader, 1)), strict=True):
        assert torch.equal(one, other)


def test_what_travels_to_other_processes_makes_the_same_bytes():
    made = data().train_dataloader().dataset
    again = pickle.loads(pickle.dumps(made))
    for row in (BLEND * N + FAKES, TARGET * N + FAKES):
        assert torch.equal(made[2, row][0], again[2, row][0])


def test_what_is_measured_is_the_same_in_each_epoch_and_trained_on_in_none():
    loader = data().val_dataloader()[1]
    first, second = (together(epoch(loader, number)) for number in (0, 5))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    measured = pictures(epoch(loader, 0))
    trained = pictures(epoch(data().train_dataloader(), 0))
    blends = [key for key in measured if key[0] == 0]
    assert blends and not any(np.array_equal(measured[key], trained[key]) for key in blends)


def test_validation_stays_the_sets_own():
    val = pictures(epoch(data().val_dataloader()[0], 0))
    assert sorted(row for _, row in val) == list(range(TRAIN, TRAIN + 8))
    for (label, row), image in val.items():
        assert label == LABELS[row] and np.array_equal(image, pixels(row % 4))


def test_a_blend_is_of_the_real_picture_that_its_row_stands_for():
    made = blending()
    for row in BLENDED:
        target = made.picture(Made(), 0, TARGET * N + row).astype(int)
        fake = made.picture(Made(), 0, BLEND * N + row).astype(int)
        own = np.abs(fake - target).mean()
        strangers = [np.abs(fake - pixels(seed)).mean() for seed in range(4) if seed != row % 4]
        assert own < min(strangers)


def test_counts_and_words():
    made = blending()
    assert made.counts == {
        "kind": "self_blended", "masks": "mixed", "blended": 10, "of_the_set": 0, "reals": 12,
        "reals_without_a_face": 2,
    }  # fmt: skip
    assert "2 of 12 real images" in made.in_words() and "not used" in made.in_words()
    assert blending("mixed").counts["of_the_set"] == FAKES
    assert f"the set's {FAKES}" in blending("mixed").in_words()


def test_no_face_at_all_and_classes_that_nobody_faked(tmp_path):
    train = np.arange(TRAIN)
    with pytest.raises(UserError, match=r"no face was found in any of the 12 real images"):
        Blending(LABELS, train, np.full((N, 5, 2), np.nan), fakes="mixed", masks="face", seed=0)
    faces = FaceSet(Index("gender", "", ("female", "male"), {}), PARTS)
    options = {"masks": "face", "seed": 0, "cache_dir": tmp_path}
    with pytest.raises(UserError, match=r"female and male: data\.fakes=set"):
        blending_of(faces, None, fakes="self_blended", **options)
    assert blending_of(faces, None, fakes="set", **options) is None
