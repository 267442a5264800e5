"""Which parts were edited: from names and tables to the bits that come with an image."""

import numpy as np
import pytest
import torch

from detector.data.blended.blend import self_blend
from detector.data.blended.training import Blending
from detector.data.datamodule import MEASURED, Faces
from detector.data.embeddings import Embeddings, Wanted, load_embeddings
from detector.data.face_parts import mirrored, part_bits, training_bits
from detector.data.index import Index
from detector.data.load import FaceSet
from detector.data.sources import list_items
from detector.data.transforms import Augment
from detector.errors import UserError
from tests.data.blended.faces import landmarks, pixels

UNKNOWN = [-1] * 4


def index_of(labels, name="made-up", class_names=("fake", "real"), **columns) -> Index:
    columns = {"label": list(labels), "name": [str(at) for at in range(len(labels))]} | columns
    return Index(name, "", class_names, columns)


def test_bits_of_ciplab_are_those_of_the_names_and_a_malformed_name_says_nothing(tmp_path):
    names = ("easy_1_1000", "hard_2_0111", "easy_116_111", "mid_3_0100")
    for folder, files in (("training_fake", names), ("training_real", ("real_0", "real_1"))):
        (tmp_path / folder).mkdir()
        for name in files:
            (tmp_path / folder / f"{name}.jpg").touch()
    items = list_items("ciplab", tmp_path).items
    columns = {key: [item.extra[key] for item in items] for key in items[0].extra}
    bits = part_bits(index_of([item.label for item in items], **columns))
    found = {item.path.stem: row.tolist() for item, row in zip(items, bits, strict=True)}
    assert found == {
        "easy_1_1000": [1, 0, 0, 0],  # the eye on the viewer's left
        "hard_2_0111": [0, 1, 1, 1],
        "easy_116_111": UNKNOWN,
        "mid_3_0100": [0, 1, 0, 0],
        "real_0": [0] * 4,
        "real_1": [0] * 4,
    }


def test_sets_that_name_no_parts_say_only_that_reals_are_whole():
    assert part_bits(index_of([0, 1, 0])).tolist() == [UNKNOWN, [0] * 4, UNKNOWN]
    joint = index_of([0, 1, 0, 1], eye_left=[1, 0, -1, -1], eye_right=[0, 0, -1, -1],
                     nose=[0, 0, -1, -1], mouth=[1, 0, -1, -1])  # fmt: skip
    assert part_bits(joint).tolist() == [[1, 0, 0, 1], [0] * 4, UNKNOWN, [0] * 4]


def test_written_blends_of_a_face_or_of_no_part_are_unknown():
    index = index_of([0, 0, 0, 1], region=["face", "parts", "parts", "face"],
                     eye_left=[1, 1, 0, 0], eye_right=[1, 0, 0, 0], nose=[1, 0, 0, 0],
                     mouth=[1, 1, 0, 0])  # fmt: skip
    assert part_bits(index).tolist() == [UNKNOWN, [1, 0, 0, 1], UNKNOWN, [0] * 4]


BITS = {part: [1, -1, 0, 0] for part in ("eye_left", "eye_right", "nose", "mouth")}


@pytest.mark.parametrize(
    "index, options, says",
    [
        (index_of([0, 0, 1, 1]), {}, r"train part of made-up says .*data=ciplab"),
        (index_of([0, 0, 1, 1]), {"fakes": "mixed"}, "of made-up .*blended.masks=face"),
        (index_of([0, 0, 1, 1], **BITS), {"fakes": "self_blended"}, "no fake of data.fakes=self_b"),
        (index_of([0] * 4, set=["a", "b", "a", "b"]), {}, "train part of a, b says"),
        (index_of([0, 0, 1, 1], class_names=("female", "male"), **BITS), {}, "female and male"),
    ],
)
def test_nothing_to_learn_from_is_refused_in_one_line(index, options, says):
    faces = FaceSet(index, np.array(["train"] * 4))
    with pytest.raises(UserError, match=says) as caught:
        training_bits(faces, **{"fakes": "set", "masks": "face"} | options)
    assert "\n" not in str(caught.value) and "model.parts" in str(caught.value)


def test_a_known_fake_of_the_train_part_or_a_blend_of_parts_is_enough():
    index = index_of([0, 0, 1, 1], **BITS)
    how = {"fakes": "set", "masks": "face"}
    assert training_bits(FaceSet(index, np.array(["train"] * 4)), **how).shape == (4, 4)
    with pytest.raises(UserError, match=r"model\.parts"):
        training_bits(FaceSet(index, np.array(["val", "train", "train", "val"])), **how)
    bare = FaceSet(index_of([0, 0, 1, 1]), np.array(["train"] * 4))
    for fakes in ("self_blended", "mixed"):
        training_bits(bare, fakes=fakes, masks="parts")


class Plain:
    """Pictures by row."""

    file = None

    def __getitem__(self, row):
        return pixels(row)


def test_a_mirror_image_has_its_eyes_on_the_other_sides():
    bits = np.array([[1, 0, 0, 0], [0, 1, 1, 0], UNKNOWN], np.int8)
    assert mirrored(bits).tolist() == [[0, 1, 0, 0], [1, 0, 1, 0], UNKNOWN]
    augment = Augment([{"step": "flip", "p": 0.5}], 96, 0)
    faces = Faces(Plain(), np.array([0]), augment, bits=bits[:1])
    seen = set()
    for epoch in range(12):
        image, label, row, found = faces[epoch, 0]
        assert (label, row) == (0, 0)
        turned = image.permute(1, 2, 0).numpy()
        flipped = np.array_equal(turned, pixels(0)[:, ::-1])
        assert flipped or np.array_equal(turned, pixels(0))
        assert found.tolist() == ([0, 1, 0, 0] if flipped else [1, 0, 0, 0])
        seen.add(flipped)
        assert torch.equal(image, Faces(Plain(), np.array([0]), augment)[epoch, 0][0])
    assert seen == {True, False}
    twice = Augment([{"step": "flip", "p": 1.0}, {"step": "flip", "p": 1.0}], 96, 0)
    assert Faces(Plain(), np.array([0]), twice, bits=bits[:1])[0, 0][3].tolist() == [1, 0, 0, 0]


def blending(masks: str) -> Blending:
    points = np.stack([landmarks(row) for row in range(3)]).astype(np.float32)
    labels = np.array([1, 1, 0])
    return Blending(labels, np.arange(3), points, fakes="mixed", masks=masks, seed=5)


@pytest.mark.parametrize("masks", ["parts", "mixed", "face"])
def test_a_blend_brings_the_parts_that_it_exchanged_in_this_epoch(masks, monkeypatch):
    blends, seen = [], []

    def watched(*args):
        blends.append(self_blend(*args))
        return blends[-1]

    monkeypatch.setattr("detector.data.blended.training.self_blend", watched)
    own = np.array([[0] * 4, [0] * 4, [0, 1, 0, 1]], np.int8)
    made = blending(masks)
    faces = Faces(Plain(), made.labels, None, made, bits=own)
    for epoch in range(8):
        image, label, row, bits = faces[epoch, 3 + 1]
        blend = blends[-1]
        assert (label, row) == (0, 1) and np.array_equal(image.permute(1, 2, 0), blend.image)
        known = blend.kind == "parts" and any(blend.parts)
        assert bits.tolist() == ([int(part) for part in blend.parts] if known else UNKNOWN)
        seen.append(tuple(bits.tolist()))
        assert faces[epoch, 6 + 1][3].tolist() == [0] * 4  # what it was blended onto
        assert faces[epoch, 2][3].tolist() == [0, 1, 0, 1]  # a fake of the set, as it is
    assert (set(seen) == {tuple(UNKNOWN)}) is (masks == "face")
    if masks == "parts":
        assert len(set(seen)) > 2 and sum(min(one) >= 0 for one in seen) >= 6
    measured = Faces(Plain(), made.labels, None, made, measured=True, bits=own)
    first = faces[MEASURED, 4][3].tolist()
    assert {tuple(measured[epoch, 4][3].tolist()) for epoch in range(3)} == {tuple(first)}


def test_embeddings_keep_the_bits_of_each_view(tmp_path):
    labels, bits = np.array([0, 0, 1]), np.array([[1, 0, 0, 0], [0, 1, -1, 1], [0] * 4], np.int8)
    augment = Augment([{"step": "flip", "p": 0.5}], 96, 0)

    def faces(augmented):
        return Faces(Plain(), labels, augment if augmented else None, bits=bits)

    wanted = Wanted(np.array([1, 2]), np.array([0, 1]), views=4)
    file = load_embeddings(
        lambda images: images.float().mean((2, 3)), faces, wanted, key="k", cache_dir=tmp_path,
        batch_size=3, workers=0, progress=None,
    )  # fmt: skip
    for training, rows in ((True, (0, 1)), (False, (1, 2))):
        kept = Embeddings(file, wanted, labels, training, 4)
        for epoch in range(6):
            for row in rows:
                value, label, at, found = kept[epoch, row]
                image, _, _, expected = faces(training)[epoch % 4, row]
                assert (label, at) == (labels[row], row) and value.shape == (3,)
                assert found.tolist() == expected.tolist() and found.dtype == torch.int8
                torch.testing.assert_close(value, image.float().mean((1, 2)))
