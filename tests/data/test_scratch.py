"""Files that hold what memory would not: they give back what was put, and say when they cannot."""

import errno
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.data.descriptions import Descriptions
from detector.data.nearcopies import Description
from detector.data.scratch import Runs, Scratch
from detector.errors import UserError


def test_rows_come_back_while_it_grows(tmp_path):
    rng = np.random.default_rng(0)
    parts = [rng.random((k, 3)) for k in (2, 0, 5, 100_000)]
    with Scratch(np.float64, 3, tmp_path) as scratch:
        assert scratch.rows.shape == (0, 3)
        for k, part in enumerate(parts, 1):
            scratch.append(part)
            np.testing.assert_array_equal(scratch.rows, np.concatenate(parts[:k]))
        early = scratch.rows[:2]
    np.testing.assert_array_equal(early, parts[0])
    assert list(tmp_path.iterdir()) == []


@given(st.lists(st.lists(st.integers(0, 30), max_size=9), max_size=9), st.integers(1, 12))
def test_runs_are_an_external_stable_sort(batches, held):
    at = 0
    every = []
    with Runs([np.uint64, np.int64], held=held) as runs, Runs([np.int64], held=held) as single:
        for keys in batches:
            places = np.arange(at, at + len(keys))
            runs.put(np.array(keys, np.uint64), places)
            single.put(np.array(keys, np.int64))
            every += zip(keys, places.tolist(), strict=True)
            at += len(keys)
        for low, last in ((0, 2**64 - 1), (5, 5), (7, 20)):
            wanted = [row for row in every if low <= row[0] <= last]
            pieces = [
                list(zip(k.tolist(), p.tolist(), strict=True)) for k, p in runs.read(low, last)
            ]
            assert all(piece == sorted(piece) for piece in pieces)
            assert sorted(chain(*pieces), key=lambda row: row[0]) == sorted(wanted)
            assert runs.count(low, last) == len(wanted)
        values = [v for (part,) in single.read(0, 30) for v in part.tolist()]
        assert sorted(values) == sorted(key for key, _ in every)


def test_runs_drop_equals_of_one_run():
    with Runs([np.int64], held=100, unique=True) as runs:
        runs.put(np.array([3, 1, 3, 3]))
        assert [part.tolist() for (part,) in runs.read(0, 9)] == [[1, 3]]


def test_descriptions_come_back_as_they_were(tmp_path):
    rng = np.random.default_rng(0)
    made = [
        Description(
            int(rng.integers(2**64, dtype=np.uint64)),
            rng.uniform(0, 384, (n, 2)).astype(np.float32),
            rng.integers(0, 256, (n, 32), dtype=np.uint8),
            rng.integers(0, 256, shape, dtype=np.uint8),
        )
        for n, shape in ((0, (96, 1)), (3, (7, 96)), (300, (96, 96)))
    ]
    with Descriptions(tmp_path) as kept:
        for d in made:
            kept.append(d)
        again = [*kept, kept[-1]]
        with pytest.raises(IndexError):
            kept[3]
    assert len(again) == 4
    for a, b in zip([*made, made[-1]], again, strict=True):
        assert a.phash == b.phash
        for field in ("points", "descriptors", "thumb"):
            x, y = getattr(a, field), getattr(b, field)
            assert x.dtype == y.dtype and np.array_equal(x, y)


def test_a_folder_that_cannot_be_written_is_replaced_by_the_systems(tmp_path):
    (tmp_path / "file").write_text("")
    with Scratch(np.uint8, folder=tmp_path / "file" / "below") as scratch:
        scratch.append(np.arange(4, dtype=np.uint8))
        assert scratch.rows.tolist() == [0, 1, 2, 3]


def test_a_full_disk_is_one_line_that_says_what_to_do(tmp_path, monkeypatch):
    class Full:
        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self):
            raise OSError(errno.ENOSPC, "No space left on device")

    scratch = Scratch(np.uint8, folder=tmp_path)
    monkeypatch.setattr(scratch, "_file", Full())
    with pytest.raises(UserError, match=r"No space left.*paths\.cache=") as caught, scratch:
        scratch.append(np.zeros(3, np.uint8))
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)
    assert list(tmp_path.iterdir()) == []
