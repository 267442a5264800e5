"""Batches: order by seed and epoch, no row twice, the measured subset."""

import numpy as np
import pytest
import torch

from detector.data.datamodule import EpochSampler, FaceData, choose_workers, measured_subset
from detector.data.transforms import Augment
from detector.errors import UserError


class Made:
    """Pixels whose value is their row."""

    file = "a map"

    def __getitem__(self, row):
        return np.full((8, 8, 3), row, np.uint8)


def data(**changed) -> FaceData:
    labels = np.arange(100) % 2
    parts = np.array(["train"] * 70 + ["val"] * 16 + ["test"] * 14)
    settings = {"batch_size": 16, "num_workers": 0, "seed": 1} | changed
    steps = settings.pop("steps", [])
    groups = [f"g{row}" for row in range(100)]
    return FaceData(Made(), labels, groups, parts, Augment(steps, 8, 1), **settings)


def epoch(loader, number):
    loader.sampler.set_epoch(number)
    return [rows for *_, rows in loader]


def test_an_epoch_has_each_train_row_once_in_its_own_order():
    loader = data().train_dataloader()
    first, second = (torch.cat(epoch(loader, number)).tolist() for number in (0, 1))
    assert sorted(first) == sorted(second) == list(range(70))
    assert first != second
    assert torch.cat(epoch(data().train_dataloader(), 1)).tolist() == second
    assert torch.cat(epoch(data(seed=2).train_dataloader(), 1)).tolist() != second


def test_batches_hold_what_they_say():
    for images, labels, rows in data().train_dataloader():
        assert images.dtype == torch.uint8 and images.shape[1:] == (3, 8, 8)
        assert torch.equal(images[:, 0, 0, 0].long(), rows)
        assert torch.equal(labels, rows % 2)


def test_validation_is_unaugmented_and_in_order():
    made = data(steps=[{"step": "jitter", "brightness": 0.9, "contrast": 0.9, "saturation": 0.9}])
    val, measured = made.val_dataloader()
    assert torch.cat([rows for *_, rows in val]).tolist() == list(range(70, 86))
    assert all(torch.equal(i[:, 0, 0, 0].long(), r) for i, _, r in [*val, *measured])
    assert not all(
        torch.equal(images[:, 0, 0, 0].long(), rows) for images, _, rows in made.train_dataloader()
    )


def test_the_measured_subset_is_fixed_stratified_and_as_large_as_validation():
    rows = data().rows["measured"]
    assert len(rows) == 16 and (rows % 2).mean() == 0.5 and rows.max() < 70
    assert np.array_equal(rows, data(seed=9).rows["measured"])
    labels, groups = np.arange(10) % 2, [str(row) for row in range(10)]
    assert np.array_equal(measured_subset(np.arange(10), labels, groups, 99), np.arange(10))


def test_sampler_without_shuffling_keeps_the_order():
    sampler = EpochSampler(np.array([5, 3, 9]), shuffle=False, seed=0)
    assert [row for _, row in sampler] == [5, 3, 9] and len(sampler) == 3


@pytest.mark.parametrize(
    "setting, cached, augmented, expected",
    [(3, True, True, 3), (0, False, True, 0), ("auto", True, False, 0)],
)
def test_choice_of_workers(setting, cached, augmented, expected):
    count, why = choose_workers(setting, cached=cached, augmented=augmented)
    assert count == expected and why


def test_workers_are_started_where_there_is_work():
    assert choose_workers("auto", cached=False, augmented=False)[0] >= 1
    for bad in (-1, "many", True, 1.5):
        with pytest.raises(UserError, match=r"data\.num_workers"):
            choose_workers(bad, cached=True, augmented=True)
    with pytest.raises(UserError, match=r"data\.batch_size"):
        data(batch_size=0)
