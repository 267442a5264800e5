"""Batches of threads are those that are made picture by picture."""

import threading

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.utils.data import default_collate

from detector.data.batches import Batches, as_it_is
from detector.data.datamodule import FaceData, Faces, choose_workers
from detector.data.transforms import Augment, InALoop

SIZE, N = 24, 20
STEPS = {
    "flip": {"p": 0.5},
    "crop": {"scale": 0.6},
    "jitter": {"brightness": 0.3, "contrast": 0.2, "saturation": 0.4},
    "affine": {"rotate": 30, "shift": 0.2, "shear": 5, "zoom": 0.2},
}


class Noise:
    """Random pictures by row."""

    file = "a map"

    def __init__(self) -> None:
        self.made = np.random.default_rng(3).integers(0, 256, (N, SIZE, SIZE, 3), dtype=np.uint8)

    def __getitem__(self, row):
        return np.array(self.made[row])


class Mapped(Noise):
    """The same, all of them in one array."""

    @property
    def whole(self):
        return self.made


LABELS = np.arange(N) % 2
BITS = np.random.default_rng(4).integers(0, 2, (N, 4)).astype(np.int8)
ROWS = [(1, row) for row in range(9)]
KEYS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, N - 1)), min_size=1, max_size=9)


@settings(max_examples=40, deadline=None)
@given(
    names=st.lists(st.sampled_from(sorted(STEPS)), max_size=4),
    keys=KEYS,
    bits=st.sampled_from([None, BITS]),
    threads=st.integers(1, 3),
    pictures=st.sampled_from([Noise(), Mapped()]),
)
@example(names=["flip", "crop", "jitter"], keys=ROWS, bits=BITS, threads=2, pictures=Mapped())
def test_a_batch_is_what_its_pictures_are_one_by_one(names, keys, bits, threads, pictures):
    augment = Augment([{"step": name, **STEPS[name]} for name in names], SIZE, seed=7)
    made = Batches(pictures, LABELS, augment if names else None, bits=bits, threads=threads)
    one_by_one = Faces(Noise(), LABELS, augment if names else None, bits=bits)
    batch, expected = made.__getitems__(keys), default_collate([one_by_one[key] for key in keys])
    assert len(batch) == len(expected)
    for got, want in zip(batch, expected, strict=True):
        assert got.dtype == want.dtype and torch.equal(got, want)
    assert batch[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("row", "size"), [(N, SIZE), (-1, SIZE), (0, SIZE + 1)])
def test_what_lies_outside_of_the_pictures_is_not_read(row, size):
    loop = InALoop([[]], SIZE)
    with pytest.raises(IndexError, match="rows"):
        loop.change(
            Mapped().whole, np.array([row]), 0, 1, np.zeros((1, size, size, 3), np.uint8)
        )  # fmt: skip


def test_random_numbers_of_the_process_go_on_as_if_nothing_had_been_drawn():
    augment = Augment([{"step": "crop", "scale": 0.5}], SIZE, seed=7)
    made = Batches(Noise(), LABELS, augment, threads=2)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    made.__getitems__([(0, row) for row in range(N)])
    assert torch.equal(torch.rand(3), expected)


def test_threads_of_the_pool_work_alone_and_leave_the_others_their_number():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        augment = Augment([{"step": "flip", "p": 0.5}], SIZE, seed=7)
        made = Batches(Noise(), LABELS, augment, threads=2)
        made.__getitems__([(0, 1)])
        assert set(made._threads().map(lambda _: torch.get_num_threads(), range(8))) == {1}
        assert torch.get_num_threads() == 2
        of_new = []
        new = threading.Thread(target=lambda: of_new.append(torch.get_num_threads()))
        new.start()
        new.join()
        assert of_new == [2]  # a backward pass on a GPU begins such a thread
    finally:
        torch.set_num_threads(before)


def test_an_error_of_one_picture_is_raised():
    class Broken(Noise):
        def __getitem__(self, row):
            if row == 3:
                raise OSError("gone")
            return super().__getitem__(row)

    augment = Augment([{"step": "flip", "p": 0.5}], SIZE, seed=7)
    with pytest.raises(OSError, match="gone"):
        Batches(Broken(), LABELS, augment, threads=2).__getitems__([(0, 2), (0, 3), (0, 4)])


def loader(*, on_cpu: bool, step: str, num_workers: int | str = "auto"):
    settings = STEPS.get(step, {"p": 0.5, "low": 0.5})
    parts = np.array(["train"] * 12 + ["val"] * 4 + ["test"] * 4)
    groups = [str(row) for row in range(N)]
    augment = Augment([{"step": step, **settings}], SIZE, 1)
    return FaceData(
        Noise(), LABELS, groups, parts, augment, batch_size=4, num_workers=num_workers, seed=1,
        on_cpu=on_cpu,
    ).train_dataloader()  # fmt: skip


def test_a_training_on_the_cpu_augments_by_threads_where_all_can_be_drawn_ahead():
    made = loader(on_cpu=True, step="crop")
    assert made.num_workers == 0 and made.collate_fn is as_it_is
    by_processes = loader(on_cpu=False, step="crop")
    assert by_processes.num_workers >= 1
    for one, other in zip(made, by_processes, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert loader(on_cpu=True, step="resize").num_workers >= 1
    assert loader(on_cpu=True, step="crop", num_workers=2).num_workers == 2


def test_why_threads_are_chosen():
    count, why = choose_workers("auto", cached=True, augmented=True, threads=True)
    assert count == 0 and "threads" in why
    assert choose_workers("auto", cached=False, augmented=True, threads=True)[0] >= 1
    assert choose_workers(3, cached=True, augmented=True, threads=True)[0] == 3
