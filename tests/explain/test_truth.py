"""What was edited, for sets that know it, sets that can find out, and sets that cannot."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.data.index import Index
from detector.data.preprocess import Preprocess
from detector.data.sources import SOURCES
from detector.data.synthetic.make import make_set
from detector.data.synthetic.table import read_table
from detector.errors import UserError
from detector.explain.geometry import mask_to_input
from detector.explain.truth import known_to_the_pixel, look_at
from tests.explain.test_edited import iou, planted

PARTS = ("eye_left", "eye_right", "nose", "mouth")


def preprocess(size):
    return Preprocess(size, "crop", "bilinear", (0.5,) * 3, (0.5,) * 3, 10**7)


def index_of(root, names, labels, pairs=(), **columns):
    columns = {"name": names, "label": labels, "group": names} | columns
    return Index("set", str(root), ("fake", "real"), columns, pairs=list(pairs))


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    settings = {
        "n": 12, "size": 96, "seed": 3, "difficulty": {"easy": 1, "mid": 1, "hard": 1},
        "parts": list(PARTS), "parts_at_once": [1, 1, 1, 1],
    }  # fmt: skip
    folder = make_set(tmp_path_factory.mktemp("faces"), synthetic=settings, workers=1)
    return folder, read_table(folder)


def test_masks_that_a_set_has_drawn(synthetic):
    folder, known = synthetic
    names = sorted(known)
    labels = [int("real" in name) for name in names]
    told = {item.name: item.extra for item in SOURCES["synthetic"](folder).items}
    bits = {part: [told[name][part] for name in names] for part in PARTS}
    index = index_of(folder, names, labels, **bits)
    found = look_at(index, range(len(names)), preprocess(48))
    fakes = np.array(labels) == 0
    assert known_to_the_pixel(index) == set(np.flatnonzero(fakes))
    assert found.origin == {"the set's own masks": fakes.sum()} and not found.lost
    for row, mask in zip(found.rows, found.masks, strict=True):
        drawn = np.array(Image.open(folder / known[names[row]]["mask"])) > 0
        wanted = mask_to_input(drawn, preprocess(48)) if fakes[row] else np.zeros((48, 48), bool)
        np.testing.assert_array_equal(mask, wanted)
        # Of real pictures nothing is asked, though their own parts were cut out and put back.
        wanted = [told[names[row]][part] for part in PARTS] if fakes[row] else [-1] * 4
        assert found.bits[row].tolist() == wanted
    assert found.faces.any() and found.labels[found.faces].any((1, 2)).all()
    assert not found.labels[~found.faces].any()


def test_masks_from_the_photograph(tmp_path):
    photograph, edit, mask = planted(0)
    for name, image in (("real.png", photograph), ("fake.png", edit), ("alone.png", edit[:, ::-1])):
        Image.fromarray(np.ascontiguousarray(image)).save(tmp_path / name)
    names, labels = ["alone.png", "fake.png", "real.png"], [0, 0, 1]
    index = index_of(tmp_path, names, labels, [(1, 2, "copy", "features")])
    found = look_at(index, [0, 1, 2], preprocess(420))
    assert known_to_the_pixel(index) == {1}
    assert iou(found.masks[1], mask) > 0.8
    assert not found.masks[0].any() and not found.masks[2].any()
    assert found.origin == {"difference from the photograph": 1}
    assert (found.bits == -1).all()  # the set has no such columns


@pytest.mark.parametrize("kind, labels", [("part", [0, 1]), ("copy", [0, 0]), ("shoot", [0, 1])])
def test_other_pairs_tell_nothing(tmp_path, kind, labels):
    photograph, edit, _ = planted(1)
    Image.fromarray(edit).save(tmp_path / "a.png")
    Image.fromarray(photograph).save(tmp_path / "b.png")
    index = index_of(tmp_path, ["a.png", "b.png"], labels, [(0, 1, kind, "features")])
    assert not known_to_the_pixel(index)
    assert not look_at(index, [0, 1], preprocess(64)).masks.any()


def test_files_that_are_gone_or_damaged_are_left_out_by_name(tmp_path):
    for name in ("a.png", "b.png", "masks/a.png"):
        Path(tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / name)
    (tmp_path / "b.png").write_bytes(b"not a picture")
    index = index_of(tmp_path, ["a.png", "b.png", "c.png"], [0, 0, 0])
    found = look_at(index, [0, 1, 2], preprocess(32))
    assert found.rows.tolist() == [0] and set(found.lost) == {"b.png", "c.png"}
    assert not found.masks.any()  # a colour picture is no mask
    with pytest.raises(UserError, match="no picture of set could be read"):
        look_at(index, [1, 2], preprocess(32))


@pytest.mark.parametrize(
    "bits, wanted",
    [([0, 1, 0, 1], [0, 1, 0, 1]), ([0, 0, 0, 0], [-1] * 4), ([1, -1, 0, 0], [-1] * 4)],
)
def test_bits_of_which_one_is_not_known_tell_nothing(tmp_path, bits, wanted):
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "a.png")
    columns = {part: [bit] for part, bit in zip(PARTS, bits, strict=True)}
    found = look_at(index_of(tmp_path, ["a.png"], [0], **columns), [0], preprocess(32))
    assert found.bits.tolist() == [wanted]
