"""UTKFace from its file names to a split: as real faces only, and in two classes."""

import logging
import os
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector import cli
from detector.audit import audit
from detector.data.load import load_set, part_sizes
from detector.data.sources import list_items
from detector.data.tree import LayoutError
from detector.data.utkface import BANDS, ETHNICITIES, GENDERS, read_name
from detector.errors import UserError
from detector.evaluate import evaluate
from detector.train import train
from tests.conftest import picture

SHARED = Path(os.environ.get("DETECTOR_DATA", Path(__file__).parents[3] / "shared" / "data"))
COLUMNS = ("age", "age_band", "gender", "ethnicity")


def plant(root: Path, *names: str) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for name in names:
        (root / name).write_bytes(b"")
    return root


def person(at: int) -> str:
    """A name for each number; ages 0 to 116, genders and ethnicities all occur."""
    return f"{at * 37 % 117}_{at % 2}_{at * 7 // 2 % 5}_20170116{at:09d}.jpg.chip.jpg"


@pytest.fixture
def faces(tmp_path) -> Path:
    """60 pictures in the set's layout, two of them the same to the byte."""
    root, rng = tmp_path / "utkface", np.random.default_rng(0)
    root.mkdir()
    for at in range(60):
        picture(rng, at % 2 == 1).save(root / person(at), format="PNG")
    (root / person(58)).write_bytes((root / person(7)).read_bytes())
    return root


def load(root: Path, name: str, *overrides: str, one_class: bool = True):
    cfg = cli.compose(
        "train", [f"data={name}", f"data.root={root}", "data.kaggle=null", *overrides]
    )
    return load_set(cfg.data, root.parent / "cache", one_class=one_class)


@given(
    age=st.integers(0, 116),
    gender=st.integers(0, 1),
    ethnicity=st.integers(0, 4),
    date=st.integers(0, 10**17 - 1),
    suffix=st.sampled_from([".jpg", ".jpg.chip.jpg", ".JPG", "jpg.chip.jpg", " .jpg.chip.jpg"]),
)
def test_names_give_back_what_was_put_into_them(age, gender, ethnicity, date, suffix):
    found = read_name(f"{age}_{gender}_{ethnicity}_{date:017d}{suffix}")
    assert tuple(found) == COLUMNS
    assert (found["age"], found["gender"]) == (age, ("male", "female")[gender])
    assert found["ethnicity"] == ["White", "Black", "Asian", "Indian", "Others"][ethnicity]
    # The band's own words say which ages it holds.
    low, *high = map(int, re.findall(r"\d+", found["age_band"]))
    assert low <= age and (age <= high[0] if high else found["age_band"] == f"{low} and over")


def test_bands_hold_every_age_once():
    ends = [list(map(int, re.findall(r"\d+", band))) for band in BANDS.values()]
    assert [low for low, *_ in ends] == list(BANDS)
    assert [high + 1 for _, high in ends[:-1]] == list(BANDS)[1:]


MALFORMED = [
    "39_1_20170116174525125.jpg.chip.jpg",  # these three are in the full set
    "61_1_20170109142408075.jpg.chip.jpg",
    "61_1_20170109150557335.jpg.chip.jpg",
    "53__0_20170116184028385.jpg",
    "61_3_1_20170109150557335.jpg",
    "20_1_5_20170109150557335.jpg",
    "117_0_0_20170109150557335.jpg",
    "-1_0_0_20170109150557335.jpg",
    "20_0_0.jpg",
    "20_0_0_.jpg",
    "copy of 20_0_0_20170109150557335.jpg",
    "٢٠_0_0_20170109150557335.jpg",
    "sheet.jpg",
]


@pytest.mark.parametrize("name", MALFORMED)
def test_names_that_lack_a_field(name):
    assert read_name(name) is None


def test_malformed_names_are_left_out_with_one_warning(faces, caplog):
    (faces / "notes.txt").write_text("no image")
    plant(faces, *MALFORMED)
    with caplog.at_level(logging.WARNING):
        found = load(faces, "utkface", "data.counts=null")
    assert len(found.index) == 60
    (record,) = caplog.records
    said = record.getMessage()
    assert f"utkface: {len(MALFORMED)} images are left out" in said and "\n" not in said
    assert f"and {len(MALFORMED) - 3} more" in said


def test_a_name_that_cannot_be_printed(tmp_path):
    plant(tmp_path, person(0))
    try:
        (tmp_path / os.fsdecode(b"20_0_0_\xff.jpg")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system refuses such names")
    (note,) = list_items("utkface", tmp_path).notes
    note.encode()
    assert note.startswith("1 images are left out")


@pytest.mark.parametrize("source", ["utkface", "gender"])
def test_only_malformed_names_are_no_set(tmp_path, source):
    plant(tmp_path, *MALFORMED)
    with pytest.raises(LayoutError, match=r"named like UTKFace's, age_gender_race_date\.jpg"):
        list_items(source, tmp_path)


def test_of_kaggles_copies_one_is_read(tmp_path):
    """Its archive: the set twice, and a part of it beside either."""
    names = [person(at) for at in range(8)]
    for above in ("a", "a/utkface_aligned_cropped"):
        plant(tmp_path / above / "UTKFace", *names, MALFORMED[0])
        plant(tmp_path / above / "crop_part1", *names[:3], MALFORMED[4])
    listing = list_items("utkface", tmp_path)
    assert listing.root == tmp_path / "a" / "UTKFace"
    assert [item.name for item in listing.items] == sorted(names)
    assert all(item.path.is_file() for item in listing.items)
    assert len(listing.notes) == 1 and listing.notes[0].startswith("1 images are left out")


def test_whole_photographs_in_several_folders_are_missed_aloud(tmp_path):
    plant(tmp_path / "part1", *(person(at) for at in range(8)))
    plant(tmp_path / "part2", *(person(at) for at in range(8, 13)))
    # The face cut out of a photograph is the same photograph.
    plant(tmp_path / "part3", person(3).replace(".chip.jpg", ""))
    listing = list_items("gender", tmp_path)
    assert listing.root == tmp_path / "part1" and len(listing.items) == 8
    (note,) = listing.notes
    assert note.startswith("5 images are left out") and "into one folder" in note


def test_as_a_set_of_real_faces(faces):
    found = load(faces, "utkface")
    index = found.index
    assert index.class_names == ("fake", "real") and set(index["label"]) == {1}
    assert part_sizes(found.parts) == {"train": 42, "val": 9, "test": 9}
    assert index["name"] == sorted(person(at) for at in range(60))
    for row, name in enumerate(index["name"]):
        age, gender, ethnicity, _ = name.split("_")
        assert index["age"][row] == int(age)
        assert index["gender"][row] == GENDERS[int(gender)]
        assert index["ethnicity"][row] == ETHNICITIES[int(ethnicity)]
    assert set(index["age_band"]) == set(BANDS.values())


@pytest.mark.parametrize("name", ["utkface", "gender"])
@pytest.mark.parametrize("near", ["true", "false"])
def test_identical_files_are_one_group(faces, name, near):
    """Whatever their names say, and in one part."""
    found = load(faces, name, f"data.near_copies={near}")
    first, second = (found.index["name"].index(person(at)) for at in (7, 58))
    assert found.index["group"][first] == found.index["group"][second]
    assert found.parts[first] == found.parts[second]
    assert found.index["gender"][first] != found.index["gender"][second]
    if near == "false":
        assert len(set(found.index["group"])) == 59


def test_folds_of_one_class(faces):
    tests = []
    for fold in range(4):
        found = load(faces, "utkface", "data.split.folds=4", f"data.split.fold={fold}")
        tests += np.array(found.index["name"])[found.parts == "test"].tolist()
    assert Counter(tests) == Counter(found.index["name"])
    with pytest.raises(UserError, match="at most 59"):
        load(faces, "utkface", "data.split.folds=60", "data.near_copies=false")


def test_too_few_real_faces_for_three_parts(tmp_path):
    root = tmp_path / "utkface"
    root.mkdir()
    picture(np.random.default_rng(0), False).save(root / person(1), format="PNG")
    with pytest.raises(UserError, match=r"would hold 0 of 1 images: add images") as error:
        load(root, "utkface")
    assert "both classes" not in str(error.value)


def test_a_normalizer_that_does_not_shrink_speaks_of_the_class_that_is_there(faces, caplog):
    with caplog.at_level(logging.WARNING):
        load(faces, "utkface", "data.normalize={size:64,quality:75}")
    assert "does not shrink 100% of real, so" in caplog.text


@pytest.mark.parametrize("run, config", [(train, "train"), (audit, "audit")])
@pytest.mark.parametrize("present", [True, False])
def test_what_needs_two_classes_is_refused_before_anything_is_fetched(
    tmp_path, monkeypatch, run, config, present
):
    def fetched(*args, **options):
        raise AssertionError("it went on to fetch")

    monkeypatch.setattr("detector.data.load.ensure", fetched)
    if present:
        plant(tmp_path / "utkface", person(1))
    places = [f"data_root={tmp_path}", f"paths.runs={tmp_path}/runs", f"paths.cache={tmp_path}"]
    cfg = cli.compose(config, ["data=utkface", "progress=none", *places])
    with pytest.raises(UserError, match=r"utkface holds real faces only.*data=gender") as error:
        run(cfg)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "runs").exists()


def test_a_network_is_measured_on_it_whole_and_in_part(faces, tiny, tmp_path):
    run = train(tiny("trainer.max_epochs=1"))
    for part, n in (("all", 60), ("test", 9)):
        cfg = cli.compose("evaluate", [
            f"ckpt={run['folder']}/checkpoints/best.ckpt", "data=utkface", f"data.root={faces}",
            f"evaluate.part={part}", "evaluate.replicates=100", "evaluate.device=cpu",
            "progress=none", f"paths.runs={tmp_path}/runs", f"paths.cache={tmp_path}/cache",
        ])  # fmt: skip
        found = evaluate(cfg)["metrics"]
        assert (found["n"], found["n_real"], found["auroc"]["value"]) == (n, n, None)
        assert 0 <= found["accuracy"]["value"] <= 1


def test_by_gender_two_classes_train(faces, tmp_path):
    """No name of a fake in what comes of it."""
    metrics = train(cli.compose("train", [
        "data=gender", f"data.root={faces}", "model=cnn6", "model.preprocess.size=32",
        "data.batch_size=16", "data.num_workers=0", "trainer=cpu", "trainer.max_epochs=1",
        "progress=none", "metrics.replicates=100",
        f"paths.runs={tmp_path}/runs", f"paths.cache={tmp_path}/cache",
    ]))  # fmt: skip
    folder = Path(metrics["folder"])
    header = (folder / "predictions.csv").read_text().splitlines()[0]
    assert "p_female" in header and "p_fake" not in header
    split = (folder / "split.csv").read_text().splitlines()[1:]
    for line in split:
        name, label, *_ = line.split(",")
        assert int(label) == (name.split("_")[1] == "0")  # female is label 0


@pytest.mark.parametrize("source", ["utkface", "gender"])
def test_shared_data(source):
    if not (SHARED / "utkface").is_dir():
        pytest.skip(f"utkface is not in {SHARED}")
    listing = list_items(source, SHARED / "utkface")
    files = {file.name for file in (SHARED / "utkface").rglob("*.jpg")}
    assert {item.name for item in listing.items} == files or len(files) > 2000
    for item in listing.items:
        assert item.extra["gender"] == ("female" if item.name.split("_")[1] == "1" else "male")
    if len(files) == 2000:
        assert not listing.notes
        assert listing.counts == {
            "gender": {"female": 1000, "male": 1000}, "utkface": {"fake": 0, "real": 2000},
        }[source]  # fmt: skip
        assert min(item.extra["age"] for item in listing.items) == 12
