"""A folder of blends: read back as a set, with masks that a scorecard measures against."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.blend import blend
from detector.cli import compose
from detector.data.index import load_index
from detector.data.load import load_set
from detector.data.preprocess import Preprocess
from detector.data.sources import FACE_PARTS, list_items
from detector.errors import UserError
from detector.explain.truth import known_to_the_pixel, look_at
from tests.data.blended.faces import make_set

SIZE = 72
PRE = Preprocess(SIZE, "crop", "bilinear", (0.5,) * 3, (0.5,) * 3, 10**6)


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    root = make_set(tmp_path_factory.mktemp("originals") / "set", reals=10, fakes=10)
    (root / "fake" / "000.png").rename(root / "real" / "noise.png")
    return root


def config(root, out, *overrides):
    return compose("blend", [
        "data=folder", f"data.root={root}", f"paths.cache={out.parent}/cache", "blend.part=all",
        f"blend.out={out}", f"blend.preprocess.size={SIZE}", "progress=none", *overrides,
    ])  # fmt: skip


@pytest.fixture(scope="module")
def written(originals, tmp_path_factory):
    out = tmp_path_factory.mktemp("written") / "blends"
    return blend(config(originals, out, "blend.masks=parts"))


def bytes_below(folder: Path) -> dict:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def read(folder: Path, name: str) -> np.ndarray:
    with Image.open(folder / name) as file:
        return np.array(file)


def test_each_real_face_is_blended_once_and_fakes_are_not_touched(written):
    listing = list_items("blended", written)
    assert listing.counts == {"fake": 10, "real": 10}
    originals = {item.extra["original"] for item in listing.items}
    assert originals == {f"real/{at:03d}.jpg" for at in range(10)}
    about = json.loads((written / "about.json").read_text())
    assert about["images"] == 10 and about["masks"] == "parts"
    assert not [path for path in written.parent.iterdir() if path.name.startswith(".")]


def test_pictures_differ_inside_the_mask_alone(written):
    for item in list_items("blended", written).items:
        mask = read(written, item.extra["mask"])
        assert mask.shape == (SIZE, SIZE)
        if item.label:
            assert not mask.any()
            continue
        number = item.name.split("_")[2]
        fake, real = (read(written, n) for n in (item.name, f"training_real/real_{number}.png"))
        differs = (fake.astype(int) - real)[mask == 0]
        assert np.abs(differs).max() <= 255 * 0.05 + 0.5  # the rim of the soft edge
        assert (fake != real)[mask > 0].any()
        parts = sum(item.extra[part] << bit for bit, part in enumerate(FACE_PARTS))
        assert set(np.unique(mask)) == {0, parts or 15}


def test_a_scorecard_finds_the_masks(written, tmp_path):
    index = load_index(
        "blended", written, list_items("blended", written),
        max_pixels=10**6, skip_corrupt=False, near_copies=False, cache_dir=tmp_path,
    )  # fmt: skip
    fakes = np.flatnonzero(index.labels == 0)
    assert known_to_the_pixel(index) == set(fakes.tolist())
    truth = look_at(index, range(len(index)), PRE)
    assert truth.origin == {"the set's own masks": 10} and not truth.lost
    for row, mask, bits in zip(truth.rows, truth.masks, truth.bits, strict=True):
        assert np.array_equal(mask, read(written, index["mask"][row]) > 0)
        if row in fakes and any(index[part][row] for part in FACE_PARTS):
            assert bits.tolist() == [index[part][row] for part in FACE_PARTS]


def test_it_is_loaded_as_any_set(written, tmp_path):
    cfg = compose("evaluate", ["data=blended", f"data.root={written}"])
    faces = load_set(cfg.data, tmp_path)
    assert len(faces.index) == 20 and set(faces.parts) == {"train", "val", "test"}


def test_the_same_seed_gives_the_same_bytes(originals, written, tmp_path):
    again = blend(config(originals, tmp_path / "again", "blend.masks=parts"))
    assert bytes_below(again) == bytes_below(written)
    some = blend(config(originals, tmp_path / "some", "blend.masks=parts", "blend.images=3"))
    whole = bytes_below(written)
    fakes = {n: b for n, b in bytes_below(some).items() if n.startswith("training_")}
    assert len(fakes) == 6 and all(whole[name] == content for name, content in fakes.items())
    other = blend(config(originals, tmp_path / "other", "blend.masks=parts", "seed=1"))
    assert bytes_below(other) != whole


def test_what_is_there_is_left_alone(originals, written, tmp_path):
    before = bytes_below(written)
    with pytest.raises(UserError, match="holds something already"):
        blend(config(originals, written))
    assert bytes_below(written) == before
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="holds something already"):
        blend(config(originals, tmp_path / "file"))
    with pytest.raises(UserError, match="cannot be made"):
        blend(config(originals, tmp_path / "file" / "below"))


def test_a_real_part_without_a_face(tmp_path):
    root = make_set(tmp_path / "set", reals=0, fakes=8)
    for at in range(4):
        (root / "fake" / f"{at:03d}.png").rename(root / "real" / f"{at:03d}.png")
    with pytest.raises(UserError, match="no face was found in any of 4 real images"):
        blend(config(root, tmp_path / "out", "data.split.fractions={train:0.5,val:0.25,test:0.25}"))
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".out*"))


@pytest.mark.parametrize(
    "override", ["blend.masks=eyes", "blend.images=0", "blend.part=both", "progress=loud"]
)
def test_values_that_make_no_sense(originals, tmp_path, override):
    with pytest.raises(UserError, match=override.partition("=")[0].replace(".", r"\.")):
        blend(config(originals, tmp_path / "out", override))
