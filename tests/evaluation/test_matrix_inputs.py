"""Names of networks, sets from the command line, and what a network knows of a set."""

import csv
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from omegaconf import OmegaConf

from detector import cli
from detector.data.index import Index
from detector.errors import UserError
from detector.evaluation.matrix_inputs import _names, compose_sets
from detector.evaluation.memory import look_back
from detector.evaluation.trained import Trained


def config(*overrides: str):
    given = ["ckpts=[a]", "sets=[ciplab]", "data_root=/a place", "paths.cache=/cache"]
    return cli.compose("matrix", [*given, *overrides])


def test_sets_take_over_what_the_command_says_unless_they_say_otherwise():
    sets = ["ciplab", "hardfake data.skip_corrupt=false", "synthetic synthetic.size=64",
            "folder 'data.root=/b c' data.name=mine"]  # fmt: skip
    found = compose_sets(sets, config("data.skip_corrupt=true", "data.split.seed=7"))
    assert list(found) == ["ciplab", "hardfake", "synthetic", "mine"]
    assert found["ciplab"].root == "/a place/ciplab" and found["mine"].root == "/b c"
    assert [one.skip_corrupt for one in found.values()] == [True, False, True, True]
    assert all(one.split.seed == 7 for one in found.values())
    # What a set's own config says is not undone by the default of the command.
    assert [one.near_copies for one in found.values()] == [True, True, False, True]
    assert found["synthetic"].synthetic.size == 64


@pytest.mark.parametrize(
    "sets, says",
    [
        ([], r"sets=\[\]: give names of sets; there is 140k, blended, "),
        (["cats"], r"there is no set 'cats'; there is 140k, blended, "),
        ([""], r"there is no set ''"),
        (["ciplab", "ciplab"], r"two are called ciplab: .*data\.name="),
        (["ciplab seed=3"], r"'seed=3' after ciplab is no setting of the set"),
        (["ciplab data.root"], r"'data\.root' after ciplab is no setting"),
        (["ciplab data.colour=red"], r"sets: ciplab data\.colour=red: data\.colour: no such"),
        (["folder 'data.root=/x"], r"cannot read .*close what is quoted"),
    ],
)
def test_mistakes_in_sets_are_one_line(sets, says):
    with pytest.raises(UserError, match=says) as error:
        compose_sets(sets, config())
    assert "\n" not in str(error.value)


def opened(path: str, name: str = "faces-cnn6"):
    return SimpleNamespace(checkpoint=Path(path), name=name)


def test_networks_of_one_name_can_be_told_apart():
    runs = "/runs/train/faces-cnn6"
    several = [
        opened(f"{runs}/one/checkpoints/best.ckpt"),
        opened(f"{runs}/two/checkpoints/best.ckpt"),
        opened(f"{runs}/two/checkpoints/last.ckpt"),
        opened("/elsewhere/a/two/checkpoints/best.ckpt"),
        opened("/runs/train/faces-cnn2/one/checkpoints/best.ckpt", "faces-cnn2"),
    ]
    assert _names(several) == [
        "faces-cnn6 one",
        f"{runs}/two/checkpoints/best.ckpt",
        "faces-cnn6 two last",
        "/elsewhere/a/two/checkpoints/best.ckpt",
        "faces-cnn2",
    ]
    assert _names(several[:1]) == ["faces-cnn6"]


def digest(at: int) -> str:
    return f"{at:064x}"[::-1]


def index_of(name: str, files: dict[str, int], groups: dict[str, int] | None = None) -> Index:
    """An index with the content of each file as a number; a group is called after one of them."""
    group = [(groups or files)[path] for path in files]
    columns = {"name": list(files), "sha256": [digest(content) for content in files.values()],
               "group": [digest(content)[:16] for content in group]}  # fmt: skip
    return Index(name, "/x", ("fake", "real"), columns)


@pytest.fixture
def network(tmp_path) -> Trained:
    """Trained on `faces`: a0..a3 in training, a4 for validation, a5 for the test."""
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    parts = {f"a{at}.png": ("train", "val", "test")[max(0, at - 3)] for at in range(6)}
    with open(folder / "split.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "label", "group", "split"))
        for at, (path, part) in enumerate(parts.items()):
            writer.writerow((path, 0, digest(100 + at)[:16], part))
    checkpoint = folder / "checkpoints" / "best.ckpt"
    predictor = SimpleNamespace(trained_on="faces")
    return Trained(predictor, checkpoint, OmegaConf.create({"name": "faces"}), parts)


def test_its_own_set_has_the_split_that_was_written_down(network):
    files = {f"a{at}.png": 100 + at for at in (5, 0, 4)} | {"new.png": 50}
    seen = look_back(network, index_of("faces", files))
    assert seen.own and seen.parts.tolist() == ["test", "train", "val", "-"]
    assert seen.trained.tolist() == [False, True, False, False]
    assert seen.absent == {"train": 3}


def test_a_set_of_the_same_name_and_file_names_is_another_one(network):
    seen = look_back(network, index_of("faces", {f"a{at}.png": 200 + at for at in range(6)}))
    assert not seen.own and seen.parts is None
    assert seen.trained.tolist() == [False] * 6


def test_pictures_of_its_training_are_found_in_another_set(network):
    # Byte for byte; a copy in a group of theirs; one of its test part; one that it never saw.
    files = {"b0.png": 102, "b1.png": 7, "b2.png": 105, "b3.png": 8}
    groups = {"b0.png": 102, "b1.png": 103, "b2.png": 105, "b3.png": 8}
    seen = look_back(network, index_of("others", files, groups))
    assert not seen.own and seen.trained.tolist() == [True, True, False, False]


def test_without_the_run_folder_nothing_is_claimed(network):
    network.data = None
    seen = look_back(network, index_of("faces", {"a0.png": 100}))
    assert not seen.own and seen.trained is None
    assert np.size(seen.parts) == 1 and seen.parts is None
