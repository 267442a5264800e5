"""Sets through their config: own splits, what they lack, the shared files where present."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector import cli
from detector.data.load import load_set, part_sizes
from detector.errors import UserError
from tests.conftest import make_set, picture

SHARED = Path(os.environ.get("DETECTOR_DATA", Path(__file__).parents[3] / "shared" / "data"))


def own(root: Path, sizes: dict[str, int]) -> Path:
    rng = np.random.default_rng(0)
    for part, n in sizes.items():
        for name in ("fake", "real"):
            (root / part / name).mkdir(parents=True)
            for at in range(n):
                picture(rng, name == "fake", 24).save(root / part / name / f"{at}.png")
    return root


def load(root: Path, cache: Path, *overrides: str):
    cfg = cli.compose("train", ["data=folder", f"data.root={root}", *overrides])
    return load_set(cfg.data, cache)


def test_own_splits_are_kept(tmp_path):
    faces = load(own(tmp_path / "s", {"train": 12, "valid": 3, "test": 4}), tmp_path)
    assert part_sizes(faces.parts) == {"train": 24, "val": 6, "test": 8}
    for name, part in zip(faces.index["name"], faces.parts, strict=True):
        assert name.startswith({"train": "train", "val": "valid", "test": "test"}[part])


@pytest.mark.parametrize("missing", ["valid", "test"])
def test_a_part_that_is_missing_comes_out_of_train_only(tmp_path, missing):
    sizes = {"train": 40, "valid": 6, "test": 6}
    faces = load(own(tmp_path / "s", {k: v for k, v in sizes.items() if k != missing}), tmp_path)
    name = {"valid": "val", "test": "test"}[missing]
    assert part_sizes(faces.parts)[name] == 12  # .15 of 80
    made = [faces.index["name"][row] for row in np.flatnonzero(faces.parts == name)]
    assert all(entry.startswith("train/") for entry in made)


def test_pictures_on_two_sides_of_own_splits_are_counted(tmp_path, caplog):
    root = own(tmp_path / "s", {"train": 12, "valid": 3, "test": 4})
    (root / "test" / "real" / "0.png").write_bytes((root / "train/real/5.png").read_bytes())
    with caplog.at_level(logging.WARNING):
        load(root, tmp_path)
    assert "1 pictures lie in several" in caplog.text


def test_folds_of_a_set_with_own_splits(tmp_path):
    root = own(tmp_path / "s", {"train": 12, "valid": 3, "test": 4})
    with pytest.raises(UserError, match=r"data\.split\.folds=null"):
        load(root, tmp_path, "data.split.folds=5")


def test_several_folders_make_a_class(tmp_path):
    root = make_set(tmp_path / "s", n=20)
    (root / "fake").rename(root / "gan")
    (root / "diffusion").mkdir()
    for file in sorted((root / "gan").iterdir())[:10]:
        file.rename(root / "diffusion" / file.name)
    faces = load(root, tmp_path, "data.classes={fake:[gan,diffusion],real:[real]}")
    assert faces.index.class_names == ("fake", "real")
    assert faces.index.labels.tolist().count(0) == 20


@pytest.mark.parametrize(
    "override, says",
    [
        ("data.source=kaggle", "choose one of"),
        ("data.max_pixels=0", "data.max_pixels=0"),
        ("data.skip_corrupt=maybe", "true or false"),
        ("data.start_method=thread", "spawn"),
        ("data.normalize=256", r"data\.normalize=256: null, or give settings such as"),
        ("data.normalize={size:256}", r"data\.normalize=\{'size': 256\}: null, or give"),
        ("data.normalize={size:8,quality:75}", "size of 16 to 4096 pixels"),
        ("data.normalize={size:256,quality:101}", "quality of 1 to 100"),
    ],
)
def test_settings_that_make_no_sense(tmp_path, override, says):
    root = make_set(tmp_path / "s", n=10)
    with pytest.raises(UserError, match=says):
        load(root, tmp_path, override)


def test_a_normalizer_that_does_not_shrink_says_so(tmp_path, caplog):
    root = make_set(tmp_path / "s", n=10)  # 48 px
    for file in sorted((root / "fake").iterdir())[:5]:
        Image.open(file).resize((60, 40)).save(file)
    with caplog.at_level(logging.WARNING):
        load(root, tmp_path, "data.normalize={size:39,quality:75}")
        assert "does not shrink" not in caplog.text
        load(root, tmp_path, "data.normalize={size:40,quality:75}")
    assert "does not shrink 50% of fake and 0% of real" in caplog.text
    assert "choose less than 40" in caplog.text


@pytest.mark.skipif(not (SHARED / "ciplab").is_dir(), reason="needs the ciplab images")
def test_ciplab_twins_stay_together(tmp_path):
    cfg = cli.compose("train", ["data=ciplab", f"data_root={SHARED}"])
    faces = load_set(cfg.data, tmp_path)
    index = faces.index
    part = dict(zip((Path(n).stem for n in index["name"]), faces.parts, strict=True))
    known = {
        "real_00753": "easy_123_0100", "real_00839": "easy_207_1000",
        "real_00858": "easy_94_0001", "real_00787": "easy_203_0111",
        "real_00286": "easy_144_1111", "real_00958": "easy_236_1100",
        "real_00979": "easy_230_1010",
    }  # fmt: skip
    there = [(a, b) for a, b in known.items() if a in part and b in part]
    assert there and all(part[a] == part[b] for a, b in there)
    assert part_sizes(faces.parts)["test"] == pytest.approx(0.15 * len(index), abs=3)
    row = index["name"].index("training_fake/easy_116_111.jpg")
    assert (index["label"][row], index["difficulty"][row], index["nose"][row]) == (0, "easy", -1)
    row = index["name"].index("training_fake/easy_107_1011.jpg")
    parts = [index[key][row] for key in ("eye_left", "eye_right", "nose", "mouth")]
    assert parts == [1, 0, 1, 1]
    tables = {index["quantization"][row] for row in np.flatnonzero(index.labels == 1)}
    assert len(tables) == 1 and len(index.tables) > 1  # all reals share one table
    with Image.open(index.path(row)) as image:
        assert (index["width"][row], index["height"][row]) == image.size
