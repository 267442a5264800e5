"""Cached pixels: the same as decoding, keyed by what matters, whole or not there."""

import logging
import multiprocessing
import os
import pickle
import signal
import time

import numpy as np
import pytest

from detector.data import cache
from detector.data.cache import load_pixels
from detector.data.index import load_index
from detector.data.preprocess import Preprocess
from detector.data.sources import list_items
from tests.conftest import make_set

BASE = Preprocess(24, "crop", "bilinear", (0.5,) * 3, (0.5,) * 3, 10**6)


def index_of(root, folder):
    settings = {
        "max_pixels": 10**6,
        "skip_corrupt": False,
        "near_copies": False,
        "cache_dir": folder,
    }
    return load_index("folder", root, list_items("folder", root), **settings)


@pytest.fixture
def index(tmp_path):
    return index_of(make_set(tmp_path / "set", n=10), tmp_path)


def load(index, folder, preprocess=BASE, cache_gb=1.0):
    return load_pixels(index, preprocess, cache_gb=cache_gb, cache_dir=folder)


def expected(index, preprocess=BASE):
    return [preprocess(index.path(row).read_bytes()) for row in range(len(index))]


@pytest.mark.parametrize("cache_gb", [0, 1.0])
def test_rows_are_the_decoded_pictures(index, tmp_path, cache_gb):
    pixels = load(index, tmp_path, cache_gb=cache_gb)
    assert (pixels.file is None) == (cache_gb == 0)
    for travelled in (pixels, pickle.loads(pickle.dumps(pixels))):
        for row, picture in enumerate(expected(index)):
            assert np.array_equal(travelled[row], picture)


def test_the_second_time_nothing_is_decoded(index, tmp_path, monkeypatch):
    load(index, tmp_path)
    monkeypatch.setattr(cache, "_fill", lambda *_: pytest.fail("decoded again"))
    assert load(index, tmp_path).file is not None


def test_the_key_covers_what_changes_the_pixels(index, tmp_path):
    files = {load(index, tmp_path).file}
    changes = [{"fit": "pad"}, {"interpolation": "nearest"}, {"size": 25}]
    changes += [{"normalizer": {"size": side, "quality": q}} for side, q in ((30, 75), (30, 50))]
    changes += [{"crop": {"margin": margin, "align": True}} for margin in (0.1, 0.2)]
    for change in changes:
        other = Preprocess(**BASE.to_dict() | change)
        pixels = load(index, tmp_path, other)
        assert np.array_equal(pixels[3], expected(index, other)[3])
        files.add(pixels.file)
    assert len(files) == 8
    same = Preprocess(**BASE.to_dict() | {"mean": (0.1,) * 3})  # comes after the uint8 pixels
    assert load(index, tmp_path, same).file in files
    path = index.path(0)
    path.write_bytes(index.path(1).read_bytes())
    root = path.parents[1]
    assert load(index_of(root, tmp_path), tmp_path).file not in files


def test_why_it_is_not_cached_is_logged(index, tmp_path, caplog, monkeypatch):
    with caplog.at_level(logging.INFO):
        assert load(index, tmp_path, cache_gb=1e-6).file is None
        assert "data.cache_gb" in caplog.text
        monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: type("", (), {"free": 100})())
        assert load(index, tmp_path).file is None
        assert "tenth" in caplog.text


def test_a_folder_that_cannot_be_written_is_no_obstacle(index, tmp_path, caplog):
    (tmp_path / "pixels").write_text("a file where the folder should be")
    pixels = load(index, tmp_path)
    assert pixels.file is None and "cannot be written" in caplog.text
    assert np.array_equal(pixels[0], expected(index)[0])


def test_longest_unused_caches_make_room(index, tmp_path):
    sizes = [24, 25, 26]
    made = []
    for at, size in enumerate(sizes):
        made.append(load(index, tmp_path, Preprocess(**BASE.to_dict() | {"size": size})).file)
        os.utime(made[-1], (at, at))  # long ago
    room = (made[2].stat().st_size + 27 * 27 * 3 * len(index) + 100) / 1e9
    load(index, tmp_path, Preprocess(**BASE.to_dict() | {"size": 27}), cache_gb=room)
    assert [file.exists() for file in made] == [False, False, True]


def test_half_written_files_do_not_count(index, tmp_path):
    file = load(index, tmp_path).file
    whole = file.read_bytes()
    for damaged in (b"", whole[:50], whole[: len(whole) // 2]):
        file.write_bytes(damaged)
        pixels = load(index, tmp_path)
        assert pixels.file.read_bytes() == whole


def _slow(index, folder, started, seconds):
    resize = Preprocess.resize

    def slowly(self, image):
        started.set()
        time.sleep(seconds)
        return resize(self, image)

    Preprocess.resize = slowly
    load(index, folder)


def test_two_at_once_and_one_that_dies(index, tmp_path):
    context = multiprocessing.get_context("spawn")
    started, unused = context.Event(), context.Event()
    dying = context.Process(target=_slow, args=(index, tmp_path, started, 1.0))
    dying.start()
    assert started.wait(60)
    other = context.Process(target=_slow, args=(index, tmp_path, unused, 0.01))
    other.start()
    os.kill(dying.pid, signal.SIGKILL)
    dying.join()
    pixels = load(index, tmp_path)
    other.join(60)
    assert other.exitcode == 0
    assert all(np.array_equal(pixels[row], one) for row, one in enumerate(expected(index)))
    assert not list((tmp_path / "pixels").glob("*.tmp"))
