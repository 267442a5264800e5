"""Landmarks of real faces: where they are, found once, kept whole or not at all."""

import logging
import os
from dataclasses import replace

import numpy as np
import pytest

from detector.data.blended import landmarks as module
from detector.data.blended.landmarks import load_landmarks
from detector.data.crop import FaceCrop
from detector.data.decode import decode
from detector.data.index import load_index
from detector.data.preprocess import Preprocess
from detector.data.sources import list_items
from detector.errors import UserError
from tests.data.blended.faces import SIDE, landmarks, make_set

REALS = 5
BASE = Preprocess(48, "crop", "bilinear", (0.5,) * 3, (0.5,) * 3, 10**6)


@pytest.fixture
def index(tmp_path):
    root = make_set(tmp_path / "set", reals=REALS, fakes=3)
    # Real, but without a face.
    (root / "fake" / "000.png").rename(root / "real" / "noise.png")
    return load_index(
        "folder", root, list_items("folder", root),
        max_pixels=10**6, skip_corrupt=False, near_copies=False, cache_dir=tmp_path,
    )  # fmt: skip


def never(*_):
    pytest.fail("looked again")


def test_they_lie_where_the_faces_were_drawn(index, tmp_path):
    steps = []
    found = load_landmarks(index, BASE, tmp_path, lambda *step: steps.append(step))
    assert found.shape == (len(index), 5, 2) and found.dtype == np.float32
    assert steps[-1] == (REALS + 1, REALS + 1) and len(steps) == REALS + 1
    for row, (name, label) in enumerate(zip(index["name"], index["label"], strict=True)):
        if label == 0 or "noise" in name:
            assert np.isnan(found[row]).all()
        else:
            truth = landmarks(int(name[-7:-4])) * BASE.size / SIDE
            assert np.abs(found[row] - truth).max() < 0.08 * BASE.size


@pytest.mark.parametrize("align", [False, True])
def test_with_a_crop_they_lie_in_the_cut_face(index, tmp_path, align):
    whole = load_landmarks(index, BASE, tmp_path)
    step = replace(BASE, crop=FaceCrop(0.1, align))
    found = load_landmarks(index, step, tmp_path)
    assert np.array_equal(np.isfinite(found), np.isfinite(whole))
    for row in np.flatnonzero(np.isfinite(found).all((1, 2))):
        cut = step.cut(decode(index.path(row).read_bytes(), max_pixels=10**6))
        truth = landmarks(int(index["name"][row][-7:-4]))
        side = cut.image.shape[0]
        assert side < SIDE
        assert np.abs(found[row] - cut.points(truth) * BASE.size / side).max() < 0.12 * BASE.size
        eyes = found[row][1] - found[row][0]
        assert not align or abs(eyes[1]) < 1e-3 * eyes[0]


def test_the_second_time_no_picture_is_read(index, tmp_path, monkeypatch):
    first = load_landmarks(index, BASE, tmp_path)
    monkeypatch.setattr(module, "_find", never)
    assert np.array_equal(load_landmarks(index, BASE, tmp_path), first, equal_nan=True)
    with pytest.raises(pytest.fail.Exception):
        load_landmarks(index, Preprocess(64, *("crop", "bilinear", BASE.mean, BASE.std, 10**6)),
                       tmp_path)  # fmt: skip


@pytest.mark.parametrize("damage", ["cut", "shape", "text", "objects"])
def test_a_damaged_file_is_made_again(index, tmp_path, damage):
    first = load_landmarks(index, BASE, tmp_path)
    (file,) = (tmp_path / "landmarks").glob("*.npy")
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-7])
    elif damage == "text":
        file.write_text("landmarks")
    else:
        np.save(file, first[1:] if damage == "shape" else first.astype(object), allow_pickle=True)
    assert np.array_equal(load_landmarks(index, BASE, tmp_path), first, equal_nan=True)
    assert np.array_equal(np.load(file), first, equal_nan=True)
    assert not list((tmp_path / "landmarks").glob("*.tmp"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_without_a_place_they_are_found_all_the_same(index, tmp_path, caplog):
    (tmp_path / "closed").mkdir(mode=0o500)
    with caplog.at_level(logging.WARNING):
        found = load_landmarks(index, BASE, tmp_path / "closed")
    assert np.isfinite(found).any() and "cannot be kept" in caplog.text


def test_a_file_in_the_place_of_the_folder(index, tmp_path, caplog):
    (tmp_path / "taken").write_text("")
    with caplog.at_level(logging.WARNING):
        found = load_landmarks(index, BASE, tmp_path / "taken")
    assert np.isfinite(found).any() and "paths.cache=" in caplog.text


def test_a_lost_picture_is_named(index, tmp_path):
    lost = index.path(index["label"].index(1))
    lost.unlink()
    with pytest.raises(UserError, match=rf"{lost.name} cannot be read any more") as caught:
        load_landmarks(index, BASE, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_face_too_small_to_blend_is_none(index, tmp_path):
    tiny = Preprocess(16, "crop", "bilinear", (0.5,) * 3, (0.5,) * 3, 10**6)
    usable = np.isfinite(load_landmarks(index, tiny, tmp_path)).all((1, 2))
    for row in np.flatnonzero(index.labels == 1).tolist():
        name = index["name"][row]
        if "noise" not in name:
            truth = landmarks(int(name[-7:-4])) * tiny.size / SIDE
            frame = truth[1] - truth[0], truth[3:].mean(0) - truth[:2].mean(0)
            unit = abs(np.linalg.det(np.stack(frame))) ** 0.5
            assert usable[row] == (unit >= module.SMALLEST) or abs(unit - module.SMALLEST) < 0.3
