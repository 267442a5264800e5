"""Batches: order by seed and epoch, no row twice, the measured subset."""

import numpy as np
import pytest
import torch

from detector.data.datamodule import FaceData, choose_workers, measured_subset
from detector.data.epochs import EpochSampler, strata_of
from detector.data.index import Index
from detector.data.joint import JointIndex
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


def strata():
    """Three strata of very unequal size among 70 training rows."""
    return np.array([0] * 50 + [1] * 17 + [2] * 3 + [0] * 30)


def test_balanced_epochs_draw_each_stratum_equally_often():
    loader = data(strata=strata()).train_dataloader()
    drawn = [torch.cat(epoch(loader, number)).numpy() for number in range(12)]
    for rows in drawn:
        assert len(rows) == len(loader.sampler) == 72  # 3 strata of 24: about the train part
        assert np.bincount(strata()[rows]).tolist() == [24, 24, 24]
        assert rows.max() < 70
    assert not np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], np.sort(drawn[0]))
    # Over epochs no row of a stratum is drawn a second time before all others were drawn.
    for upto in range(1, 13):
        times = np.bincount(np.concatenate(drawn[:upto]), minlength=70)
        for one in range(3):
            of = times[np.flatnonzero(strata()[:70] == one)]
            assert of.max() - of.min() <= 1 and of.sum() == 24 * upto


def test_a_balanced_epoch_follows_from_its_number_alone():
    first = [torch.cat(epoch(data(strata=strata()).train_dataloader(), n)) for n in (0, 5)]
    loader = data(strata=strata()).train_dataloader()
    epoch(loader, 3)
    assert torch.equal(torch.cat(epoch(loader, 5)), first[1])
    other = torch.cat(epoch(data(strata=strata(), seed=2).train_dataloader(), 5))
    assert not torch.equal(other, first[1])


def test_what_is_drawn_equally_often():
    one = index(10)
    assert strata_of("none", one) is None
    assert strata_of("set", one).tolist() == [0] * 10
    assert strata_of("set_and_class", one).tolist() == one.labels.tolist()
    both = JointIndex(
        "joint", "", ("fake", "real"), one.columns, members=(one, one),
        member=np.array([0] * 4 + [1] * 6), row=np.arange(10),
    )  # fmt: skip
    assert strata_of("set", both).tolist() == both.member.tolist()
    assert strata_of("set_and_class", both).tolist() == (2 * both.member + one.labels).tolist()


def index(n: int) -> Index:
    return Index("made", "", ("fake", "real"), {"name": [""] * n, "label": [0, 1] * (n // 2)})
