"""A small share of the damaged files of benchmarks/fuzz.py; and it sees what is wrong."""

import importlib
import os
import time
from pathlib import Path

import pytest

fuzz = importlib.import_module("benchmarks.fuzz")  # by name, for the processes that it starts


def hostile(pipe):
    """Stands in for the process that answers: it does what the file says."""
    pipe.send("ready")
    while (path := pipe.recv()) is not None:
        kind = Path(path).read_bytes()
        if kind == b"hang":
            time.sleep(60)
        if kind == b"die":
            os._exit(9)
        pipe.send((fuzz.ANSWERED, "fake"))


def test_no_damaged_file_crashes_hangs_or_is_answered_undecodable(tmp_path):
    found = fuzz.fuzz(300, 0, tmp_path)
    assert found["failures"] == [] and sum(found["counts"].values()) == 300
    # Both happen, in every format: else nothing was tested.
    for fmt in fuzz.FORMATS:
        assert found["by_format"][f"{fmt} answered"] > 5
        assert found["by_format"][f"{fmt} refused"] > 20
    assert found["strict"] < 30
    assert os.listdir(tmp_path) == []


def test_files_are_the_same_each_time():
    good = fuzz.sources(2)
    for seed in range(40):
        one, again = fuzz.mutated(good, seed), fuzz.mutated(good, seed)
        assert one == again
    kinds = {fuzz.mutated(good, seed).how.split("+")[0] for seed in range(300)}
    assert kinds == set(fuzz.MUTATIONS)


def test_good_files_load_and_cut_ones_do_not():
    for files in fuzz.sources(1).values():
        for data in files:
            assert fuzz.loads(data) and not fuzz.loads(data[: len(data) // 2])


def test_the_watchdog_sees_hanging_dying_and_wrong_answers(tmp_path, monkeypatch):
    context = fuzz.multiprocessing.get_context("fork")
    monkeypatch.setattr(fuzz.multiprocessing, "get_context", lambda kind: context)
    monkeypatch.setattr(fuzz, "_serve", hostile)
    watched = fuzz.Watched()
    told = []
    for kind in (b"hang", b"fine", b"die", b"fine"):
        path = tmp_path / "file"
        path.write_bytes(kind)
        told.append(watched.predict(str(path), limit=0.5))
    watched.close()
    assert [outcome for outcome, _ in told] == ["hung", "answered", "crashed", "answered"]
    assert "died with 9" in told[2][1]
    found = fuzz.fuzz(20, 0, tmp_path)
    wrong = [one for one in found["failures"] if one["outcome"] == fuzz.WRONG]
    assert len(wrong) == found["counts"][fuzz.WRONG] > 5


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
