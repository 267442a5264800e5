"""The index: what it records, its cache, corrupt files, groups."""

import errno
import hashlib
import json
import logging
import os

import numpy as np
import pytest
from PIL import Image

from detector.data import index as index_module
from detector.data.index import load_index
from detector.data.phash import phash
from detector.data.sources import list_items
from detector.errors import UserError
from tests.conftest import make_set, picture


def load(root, cache, **changed):
    settings = {"max_pixels": 10**6, "skip_corrupt": False, "near_copies": True, "cache_dir": cache}
    return load_index("folder", root, list_items("folder", root), **settings | changed)


@pytest.fixture
def faces(tmp_path):
    return make_set(tmp_path / "set", n=8)


def test_records_what_the_files_hold(faces, tmp_path):
    rng = np.random.default_rng(9)
    picture(rng, True, 80).save(faces / "fake" / "z.jpg", quality=83)
    index = load(faces, tmp_path)
    assert len(index) == 17 and index["name"] == sorted(index["name"])
    row = index["name"].index("fake/z.jpg")
    data = (faces / "fake" / "z.jpg").read_bytes()
    assert index["sha256"][row] == hashlib.sha256(data).hexdigest()
    assert index["bytes"][row] == len(data)
    assert (index["width"][row], index["height"][row]) == (80, 80)
    assert (index["format"][row], index["mode"][row], index["label"][row]) == ("JPEG", "RGB", 0)
    with Image.open(faces / "fake" / "z.jpg") as image:
        tables = [list(table) for table in image.quantization.values()]
        assert index["phash"][row] == f"{phash(np.asarray(image.convert('RGB'))):016x}"
    assert index.tables[index["quantization"][row]] == tables
    assert {index["quantization"][at] for at in range(17) if at != row} == {""}
    assert index.labels.tolist().count(1) == 8


def test_the_second_time_no_file_is_opened(faces, tmp_path, monkeypatch):
    first = load(faces, tmp_path)

    def refuse(*_):
        raise AssertionError("a file was read again")

    monkeypatch.setattr(index_module, "_look", refuse)
    assert load(faces, tmp_path) == first


def test_changed_files_and_settings_make_it_new(faces, tmp_path):
    load(faces, tmp_path)
    files = lambda: set((tmp_path / "index").glob("*.json"))  # noqa: E731
    before = files()
    Image.new("RGB", (30, 30), "red").save(faces / "real" / "new.png")
    assert len(load(faces, tmp_path)) == 17
    load(faces, tmp_path, near_copies=False)
    assert len(files() - before) == 2


def test_a_damaged_cache_is_made_again(faces, tmp_path, caplog):
    first = load(faces, tmp_path)
    (file,) = (tmp_path / "index").glob("*.json")
    whole = file.read_text()
    for damaged in (whole[: len(whole) // 2], "[]", json.dumps({"name": "folder"})):
        file.write_text(damaged)
        with caplog.at_level(logging.WARNING):
            assert load(faces, tmp_path) == first
        assert file.read_text() == whole


def test_a_full_disk_costs_no_index_and_is_not_filled_further(faces, tmp_path, monkeypatch, caplog):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with caplog.at_level(logging.WARNING):
        assert len(load(faces, tmp_path)) == 16
    assert "the index cannot be kept" in caplog.text and "No space left" in caplog.text
    assert os.listdir(tmp_path / "index") == []


def test_corrupt_files_are_named_and_left_out_only_on_demand(faces, tmp_path, caplog):
    (faces / "real" / "empty.jpg").write_bytes(b"")
    cut = (faces / "fake" / "fake_000.png").read_bytes()[:-40]
    (faces / "fake" / "cut.png").write_bytes(cut)
    for _ in range(2):  # from the files, then from the cache
        with pytest.raises(UserError) as error:
            load(faces, tmp_path)
        for says in ("2 of 18", "empty.jpg", "cut.png", "data.skip_corrupt=true"):
            assert says in str(error.value)
    with caplog.at_level(logging.WARNING):
        index = load(faces, tmp_path, skip_corrupt=True)
    assert len(index) == 16 and "cut.png" in caplog.text
    assert [name for name, _ in index.corrupt] == ["fake/cut.png", "real/empty.jpg"]


def test_nothing_readable(tmp_path):
    for name in ("fake", "real"):
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(UserError, match="no file"):
        load(tmp_path / "set", tmp_path, skip_corrupt=True)


def test_copies_share_a_group_across_classes(faces, tmp_path):
    data = (faces / "real" / "real_003.png").read_bytes()
    (faces / "fake" / "stolen.png").write_bytes(data)
    index = load(faces, tmp_path, near_copies=False)
    groups = dict(zip(index["name"], index["group"], strict=True))
    assert groups["fake/stolen.png"] == groups["real/real_003.png"]
    assert len(set(groups.values())) == 16


def test_near_copies_share_a_group_unless_switched_off(tmp_path):
    root = make_set(tmp_path / "set", n=4)
    rng = np.random.default_rng(4)
    texture = rng.integers(0, 256, (60, 60, 3), dtype=np.uint8)
    large = Image.fromarray(texture).resize((480, 480), Image.Resampling.BICUBIC)
    large.save(root / "real" / "photo.png")
    large.crop((10, 6, 470, 466)).resize((480, 480)).save(root / "fake" / "edit.jpg", quality=80)
    for near_copies in (True, False):
        index = load(root, tmp_path, near_copies=near_copies)
        groups = dict(zip(index["name"], index["group"], strict=True))
        assert (groups["real/photo.png"] == groups["fake/edit.jpg"]) == near_copies


def test_workers_change_nothing(faces, tmp_path):
    assert load(faces, tmp_path / "a", workers=1) == load(faces, tmp_path / "b", workers=4)


def test_equal_texts_are_in_memory_once(faces, tmp_path):
    rng = np.random.default_rng(9)
    for at in range(3):
        picture(rng, True, 80).save(faces / "fake" / f"z{at}.jpg", quality=83)
    for index in (load(faces, tmp_path), load(faces, tmp_path)):  # made, and read from the cache
        for key in ("format", "mode", "split", "quantization"):
            assert len(set(map(id, index[key]))) == len(set(index[key])) <= 2
