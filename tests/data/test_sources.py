import logging
import os
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from detector.data.sources import FACE_PARTS, SOURCES, list_items
from detector.data.tree import LayoutError
from detector.errors import UserError

CHECKOUT = Path(__file__).parents[2]
DATA = Path(os.path.abspath(os.environ.get("DETECTOR_DATA", CHECKOUT.parent / "shared" / "data")))


def plant(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def labels(listing) -> dict[str, int]:
    return {item.name: item.label for item in listing.items}


def refused(source, root, **options) -> str:
    with pytest.raises(UserError) as caught:
        list_items(source, root, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


# What each set looks like on disk: files below its layout, with their labels.
LAYOUTS = {
    "ciplab": {"training_fake/easy_1_1110.jpg": 0, "training_real/real_00001.jpg": 1},
    "hardfake": {"fake/fake_1.jpg": 0, "real/real_1.jpg": 1},
    "140k": {f"{s}/{c}/1.jpg": c == "real" for s in ("train", "valid", "test")
             for c in ("fake", "real")},
}  # fmt: skip


@pytest.mark.parametrize("depth", ["", "a", "a/b/c"])
@pytest.mark.parametrize("source", LAYOUTS)
def test_layout_is_found_at_any_depth(tmp_path, source, depth):
    plant(tmp_path / depth, *LAYOUTS[source], "data.csv", "readme.txt")
    listing = list_items(source, tmp_path)
    assert listing.root == tmp_path / depth
    assert labels(listing) == LAYOUTS[source]
    assert listing.class_names == ("fake", "real")
    assert all(
        item.path == listing.root / item.name and item.path.is_file() for item in listing.items
    )


@pytest.mark.parametrize("source", LAYOUTS)
def test_layout_that_lacks_a_folder_or_its_images_is_absent(tmp_path, source):
    *others, last = sorted(LAYOUTS[source])
    plant(tmp_path, *others)
    with pytest.raises(LayoutError, match=os.path.dirname(last)):
        list_items(source, tmp_path)
    plant(tmp_path, f"{os.path.dirname(last)}/._1.jpg", f"{os.path.dirname(last)}/notes.txt")
    with pytest.raises(LayoutError):
        list_items(source, tmp_path)


def test_case_of_folders_and_suffixes_does_not_matter(tmp_path):
    plant(tmp_path, "Real/a.JPG", "FAKE/b.Png", "FAKE/c.txt")
    assert labels(list_items("hardfake", tmp_path)) == {"FAKE/b.Png": 0, "Real/a.JPG": 1}


def test_140k_keeps_its_splits(tmp_path):
    listing = list_items("140k", plant(tmp_path, *LAYOUTS["140k"]))
    assert listing.own_splits == ("train", "val", "test")
    assert {i.name.split("/")[0]: i.split for i in listing.items} == {
        "train": "train", "valid": "val", "test": "test",
    }  # fmt: skip


@pytest.mark.parametrize("whole", ["real_and_fake_face", "real_and_fake_face_detection/x"])
def test_ciplab_held_twice_is_read_once(tmp_path, whole):
    """As in Kaggle's archive; the copy that is not complete is passed over."""
    names = LAYOUTS["ciplab"]
    plant(tmp_path / "real_and_fake_face_detection" / "x", *names)
    plant(
        tmp_path / "real_and_fake_face", *(names if whole == "real_and_fake_face" else [min(names)])
    )
    listing = list_items("ciplab", tmp_path)
    assert listing.root == tmp_path / whole
    assert labels(listing) == names


def test_of_copies_equally_deep_the_first_by_name_is_read(tmp_path):
    for copy in "dbacfe":
        plant(tmp_path / copy / copy, *LAYOUTS["hardfake"])
    assert list_items("hardfake", tmp_path).root == tmp_path / "a" / "a"


@pytest.mark.parametrize(
    ("name", "difficulty", "parts"),
    [
        ("training_fake/easy_107_1011.jpg", "easy", (1, 0, 1, 1)),
        ("training_fake/hard_1_1000.jpg", "hard", (1, 0, 0, 0)),
        ("training_fake/mid_1_0100.jpg", "mid", (0, 1, 0, 0)),
        ("training_fake/mid_1_0010.JPG", "mid", (0, 0, 1, 0)),
        ("training_fake/mid_2_0001.jpg", "mid", (0, 0, 0, 1)),
        ("training_fake/easy_116_111.jpg", "easy", (-1, -1, -1, -1)),
        ("training_fake/easy_1_11111.jpg", "easy", (-1, -1, -1, -1)),
        ("training_fake/easy_1_1112.jpg", "easy", (-1, -1, -1, -1)),
        ("training_fake/copy of hard_1_1111.jpg", "", (-1, -1, -1, -1)),
        ("training_real/real_00001.jpg", "", (0, 0, 0, 0)),
        ("training_real/easy_1_1111.jpg", "", (0, 0, 0, 0)),
    ],
)
def test_ciplab_names(tmp_path, name, difficulty, parts):
    listing = list_items("ciplab", plant(tmp_path, *LAYOUTS["ciplab"], name))
    (item,) = (item for item in listing.items if item.name == name)
    assert FACE_PARTS == ("eye_left", "eye_right", "nose", "mouth")
    assert item.extra == {"difficulty": difficulty, **dict(zip(FACE_PARTS, parts, strict=True))}
    assert item.label == (name.startswith("training_real"))


NAMES = st.sampled_from(["a", "b", ".hidden", "__MACOSX", "sub", "Überbild", "c d"])
FILES = st.builds(
    lambda folders, stem, suffix: "/".join([*folders, stem + suffix]),
    st.lists(NAMES, max_size=3),
    st.sampled_from(["1", "2", "._1", "x.y"]),
    st.sampled_from([".jpg", ".JPEG", ".png", ".webp", ".txt", ".db", "", ".Tif"]),
)


@settings(max_examples=40, deadline=None)
@given(fake=st.sets(FILES, max_size=8), real=st.sets(FILES, max_size=8))
def test_folder_against_brute_force(fake, real):
    expected = {
        f"{name}/{file}": label
        for label, (name, files) in enumerate([("fake", fake), ("real", real)])
        for file in {"0.jpg"} | files
        if file.lower().endswith((".jpg", ".jpeg", ".png", ".webp", ".tif"))
        and not any(part.startswith((".", "__MACOSX")) for part in file.split("/"))
    }
    with tempfile.TemporaryDirectory() as place:
        root = plant(Path(place), "fake/0.jpg", "real/0.jpg", ".DS_Store", "Thumbs.db",
                     "__MACOSX/extra/1.jpg", ".git/1.jpg")  # fmt: skip
        plant(root, *(f"fake/{f}" for f in fake), *(f"real/{f}" for f in real))
        listing = list_items("folder", root)
    assert labels(listing) == expected
    assert [i.name for i in listing.items] == sorted(expected)
    assert listing.own_splits == () and {i.split for i in listing.items} == {""}
    assert listing.counts == {
        "fake": Counter(expected.values())[0],
        "real": Counter(expected.values())[1],
    }


@pytest.mark.parametrize(
    ("fake", "real", "class_names"),
    [
        ("training_fake", "training_real", ("fake", "real")),
        ("FAKE", "REAL", ("fake", "real")),
        ("fake_images", "real_images", ("fake", "real")),
        ("deepfakes", "authentic", ("deepfakes", "authentic")),  # by alphabet it would be inverted
        ("fake", "celeba", ("fake", "celeba")),
        ("stylegan", "real", ("stylegan", "real")),
        ("ai", "unreal_real", ("ai", "unreal_real")),
        ("female", "male", ("female", "male")),
        ("realistic", "surreal", ("realistic", "surreal")),  # no word of the two
        ("real_vs_fake", "z", ("real_vs_fake", "z")),  # both words tell nothing
    ],
)
def test_folder_labels_by_name(tmp_path, fake, real, class_names):
    listing = list_items("folder", plant(tmp_path, f"{fake}/1.jpg", f"{real}/2.jpg"))
    assert labels(listing) == {f"{fake}/1.jpg": 0, f"{real}/2.jpg": 1}
    assert listing.class_names == class_names


def test_folder_says_when_the_alphabet_decides(tmp_path, caplog):
    list_items("folder", plant(tmp_path, "real/1.jpg", "fake/1.jpg"))
    assert not caplog.records
    list_items("folder", plant(tmp_path / "x", "b/1.jpg", "A/1.jpg"))
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert "'A' counts as fake" in caplog.text and "data.classes=" in caplog.text


SEVERAL = ("stylegan/1.jpg", "diffusion/deep/er/1.jpg", "ffhq/1.jpg", "junk/1.jpg")


@pytest.mark.parametrize("wrap", [dict, OmegaConf.create])
@pytest.mark.parametrize("order", [("fake", "real"), ("real", "fake")])
def test_folder_with_classes(tmp_path, wrap, order):
    members = {"fake": ["StyleGAN", "diffusion"], "real": "ffhq"}
    classes = wrap({name: members[name] for name in order})
    listing = list_items("folder", plant(tmp_path, *SEVERAL), classes=classes)
    assert labels(listing) == dict(zip(sorted(SEVERAL[:3]), (0, 1, 0), strict=True))
    assert listing.class_names == ("fake", "real")


def test_folder_with_classes_that_do_not_tell_keeps_their_order(tmp_path):
    classes = {"zoo": ["stylegan"], "aviary": ["ffhq"]}
    listing = list_items("folder", plant(tmp_path, *SEVERAL), classes=classes)
    assert listing.class_names == ("zoo", "aviary")
    assert labels(listing) == {"stylegan/1.jpg": 0, "ffhq/1.jpg": 1}


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (None, "holds 4 classes (diffusion, ffhq, junk, stylegan)"),
        ({"fake": ["stylegan"]}, "is not two"),
        ({"fake": ["stylegan"], "real": ["ffhq"], "odd": ["junk"]}, "is not two"),
        ("fake", "is not two"),
        ({"fake": ["style"], "real": ["ffhq"]}, "no folder 'style' with images"),
        ({"fake": ["ffhq"], "real": ["ffhq"]}, "puts 'ffhq' into both classes"),
        ({"fake": ["ffhq"], "real": []}, "gives 'real' no folder"),
        ({"fake": ["ffhq"], "real": None}, "gives 'real' no folder"),
    ],
)
def test_folder_classes_that_are_not_two(tmp_path, classes, said):
    message = refused("folder", plant(tmp_path, *SEVERAL), classes=classes)
    assert said in message and ("data.classes" in message)


def test_folder_of_four_classes_shows_a_line_that_works(tmp_path):
    """The suggestion in the message is an override that Hydra takes."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    message = refused("folder", plant(tmp_path, *SEVERAL))
    override = OverridesParser.create().parse_override(message.split("'")[1])
    assert override.key_or_group == "data.classes"
    listing = list_items("folder", tmp_path, classes=override.value())
    assert listing.counts == {"fake": 1, "real": 3}


@pytest.mark.parametrize("val", ["val", "valid", "Validation"])
def test_folder_with_own_splits(tmp_path, val):
    names = {f"{s}/{c}/1.jpg" for s in ("train", val, "test") for c in ("Fake_x", "real")}
    listing = list_items("folder", plant(tmp_path, *names))
    assert listing.own_splits == ("train", "val", "test")
    assert {(i.name, i.split, i.label) for i in listing.items} == {
        (n, n.split("/")[0].replace(val, "val"), int("real" in n)) for n in names
    }


def test_folder_without_val_tells_which_splits_exist(tmp_path):
    names = [f"{s}/{c}/1.jpg" for s in ("Train", "Test") for c in ("fake", "real")]
    listing = list_items("folder", plant(tmp_path, *names))
    assert listing.own_splits == ("train", "test")
    assert Counter(i.split for i in listing.items) == {"train": 2, "test": 2}


def test_folder_with_train_alone_brings_no_splits(tmp_path):
    listing = list_items("folder", plant(tmp_path, "train/fake/1.jpg", "train/real/1.jpg"))
    assert listing.own_splits == () and {i.split for i in listing.items} == {""}


def test_folder_whose_splits_are_not_usable(tmp_path):
    message = refused("folder", plant(tmp_path / "a", "val/fake/1.jpg", "test/real/1.jpg"))
    assert "train" in message
    names = ("train/fake/1.jpg", "train/real/1.jpg", "test/fake/1.jpg")
    assert "test" in (message := refused("folder", plant(tmp_path / "b", *names)))
    assert "no images of real" in message


def test_one_class_only(tmp_path):
    message = refused("folder", plant(tmp_path, "fake/deep/1.jpg", "fake/wide/1.jpg", "real/x.txt"))
    assert "one class only (fake)" in message


@pytest.mark.parametrize("source", SOURCES)
def test_missing_empty_or_a_file(tmp_path, source):
    with pytest.raises(LayoutError, match="does not exist"):
        list_items(source, tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(LayoutError, match="images"):
        list_items(source, tmp_path / "empty")
    plant(tmp_path, "file.jpg")
    message = refused(source, tmp_path / "file.jpg")
    assert "is a file" in message and "data.root=" in message


def test_images_beside_the_class_folders_are_reported(tmp_path, caplog):
    list_items("folder", plant(tmp_path, "fake/1.jpg", "real/1.jpg", "2.jpg", "3.jpg"))
    assert "2 images in" in caplog.text and "belong to no class" in caplog.text


def test_unknown_source_names_the_known_ones(tmp_path):
    message = refused("hardfakes", tmp_path)
    assert all(source in message for source in SOURCES)


def test_home_is_expanded_and_relative_paths_become_absolute(tmp_path, monkeypatch):
    plant(tmp_path / "set", "fake/1.jpg", "real/1.jpg")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for root in ("~/set", "set", "./x/../set"):
        assert list_items("hardfake", root).root == tmp_path / "set"


def test_links(tmp_path):
    """Links are followed; one that leads above or to itself adds nothing."""
    plant(tmp_path / "set", "fake/1.jpg", "real/1.jpg")
    plant(tmp_path / "elsewhere", "2.jpg")
    for link, target in {
        "real/up": "..", "real/self": "self", "real/here": ".", "real/gone.jpg": "nowhere",
        "real/more": tmp_path / "elsewhere", "fake/3.jpg": tmp_path / "elsewhere/2.jpg",
    }.items():  # fmt: skip
        (tmp_path / "set" / link).symlink_to(target)
    expected = {"fake/1.jpg": 0, "fake/3.jpg": 0, "real/1.jpg": 1, "real/more/2.jpg": 1}
    for source in ("hardfake", "folder"):
        assert labels(list_items(source, tmp_path / "set")) == expected


def test_root_below_a_hidden_folder(tmp_path):
    root = plant(tmp_path / ".cache" / "set", "fake/1.jpg", "real/1.jpg")
    assert len(list_items("hardfake", root).items) == 2


def test_folder_that_cannot_be_read(tmp_path, monkeypatch):
    plant(tmp_path, "fake/1.jpg", "real/1.jpg")
    scandir = os.scandir

    def deny(path):
        if os.path.basename(path) == "real":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deny)
    for source in ("hardfake", "folder"):
        assert f"{tmp_path / 'real'} cannot be read" in refused(source, tmp_path)


def test_name_that_no_table_can_hold(tmp_path):
    plant(tmp_path, "fake/1.jpg", "real/1.jpg")
    try:
        plant(tmp_path, os.fsdecode(b"fake/\xff.jpg"))
    except OSError:
        pytest.skip("this file system refuses such names")
    assert "not UTF-8" in refused("hardfake", tmp_path)


@pytest.mark.parametrize(
    ("source", "part", "full"),
    [
        ("ciplab", (780, 871), (960, 1081)),
        ("hardfake", (700, 589), (700, 589)),
        ("140k", (700, 700), (70_000, 70_000)),
    ],
)
def test_shared_data(source, part, full):
    if not (DATA / source).is_dir():
        pytest.skip(f"{source} is not in {DATA}")
    listing = list_items(source, DATA / source)
    assert tuple(listing.counts.values()) in (part, full)
    if len(listing.items) == sum(part):
        on_disk = {p for p in (DATA / source).rglob("*") if p.suffix == ".jpg"}
        assert {item.path for item in listing.items} == on_disk
    for item in listing.items:
        assert ("fake" in item.name) == (item.label == 0)
    if source == "140k":
        splits = Counter(i.split for i in listing.items)
        assert splits in (
            {"train": 1000, "val": 200, "test": 200},
            {"train": 100_000, "val": 20_000, "test": 20_000},
        )
    if source == "ciplab":
        unknown = [i.name for i in listing.items if i.extra["nose"] == -1]
        assert unknown == ["training_fake/easy_116_111.jpg"]
        assert {i.extra["difficulty"] for i in listing.items if i.label == 0} == {
            "easy", "mid", "hard",
        }  # fmt: skip
