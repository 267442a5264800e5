"""Pictures without a face: counted, once."""

from dataclasses import replace

import numpy as np
import pytest

from detector.data import faceless
from detector.data.crop import FaceCrop
from detector.data.faceless import count_faceless
from detector.data.index import load_index
from detector.data.preprocess import Preprocess
from detector.data.sources import list_items
from detector.errors import UserError
from tests.data.blended.faces import make_set

BASE = Preprocess(48, "crop", "bilinear", (0.5,) * 3, (0.5,) * 3, 10**6)
STEP = replace(BASE, crop=FaceCrop(0.2, False))


@pytest.fixture
def index(tmp_path):
    root = make_set(tmp_path / "set", reals=4, fakes=3)
    return load_index(
        "folder", root, list_items("folder", root),
        max_pixels=10**6, skip_corrupt=False, near_copies=False, cache_dir=tmp_path,
    )  # fmt: skip


def test_they_are_counted_once_for_each_choice_of_rows(index, tmp_path, monkeypatch):
    rows, bare = range(len(index)), sum(label == 0 for label in index["label"])  # fakes are noise
    steps = []
    found = count_faceless(index, rows, STEP, tmp_path, lambda *at: steps.append(at))
    assert found == {"images": 7, "without_a_face": bare} and steps[-1] == (7, 7)
    reals = np.flatnonzero(index.labels == 1)
    assert count_faceless(index, reals, STEP, tmp_path) == {"images": 4, "without_a_face": 0}
    monkeypatch.setattr(faceless, "find_faces", lambda _: pytest.fail("looked again"))
    # Whatever is cut out around the face, it is the same face.
    assert count_faceless(index, rows, replace(BASE, crop=FaceCrop(1.0, True)), tmp_path) == found


def test_nothing_is_looked_for_without_a_crop(index, tmp_path, monkeypatch):
    monkeypatch.setattr(faceless, "find_faces", lambda _: pytest.fail("looked"))
    assert count_faceless(index, range(7), BASE, tmp_path) is None


def test_a_damaged_file_is_made_again_and_a_lost_picture_named(index, tmp_path):
    found = count_faceless(index, range(7), STEP, tmp_path)
    (file,) = (tmp_path / "faceless").glob("*.npy")
    file.write_bytes(b"no array")
    assert count_faceless(index, range(7), STEP, tmp_path) == found
    (tmp_path / "taken").write_text("")
    assert count_faceless(index, range(7), STEP, tmp_path / "taken") == found
    index.path(2).unlink()
    with pytest.raises(UserError, match="cannot be read any more"):
        count_faceless(index, [1, 2], STEP, tmp_path)
