"""The command from a picture's name to its panel, on a training of a second."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector import cli
from detector.errors import UserError
from detector.gradcam import gradcam
from detector.train import train


@pytest.fixture(scope="module")
def trained(tiny_set, tmp_path_factory):
    """A run, with its set in a place of its own."""
    place = tmp_path_factory.mktemp("gradcam")
    root = shutil.copytree(tiny_set, place / "my set")
    overrides = [
        "data=folder", f"data.root='{root}'", "model.preprocess.size=32", "data.batch_size=16",
        "data.num_workers=0", "data.near_copies=false", "trainer=cpu", "trainer.max_epochs=2",
        "progress=none", "metrics.replicates=100", f"paths.runs={place}/runs",
        f"paths.cache={place}/cache",
    ]  # fmt: skip
    return Path(train(cli.compose("train", overrides))["folder"]), root


def compose(trained, image, *overrides):
    runs = trained[0].parents[2]
    return cli.compose(
        "gradcam",
        [
            f"image='{image}'",
            "progress=none",
            "gradcam.device=cpu",
            f"paths.runs={runs}",
            f"data_root={runs}/none",
            *overrides,
        ],
    )


def split_of(trained):
    lines = (trained[0] / "split.csv").read_text().splitlines()[1:]
    return {line.rsplit(",", 3)[0]: line.rsplit(",", 1)[1] for line in lines}


def test_a_bare_name_is_found_in_the_runs_own_set(trained):
    found = gradcam(compose(trained, "fake_003.png"))
    (one,) = found["pictures"]
    assert (one["set"], one["actual"], one["explained"]) == ("folder", "fake", "fake")
    assert one["says"].startswith(f"Predicted: {one['verdict']} (p_fake {one['p_fake']:.2f})")
    assert "Actual: fake" in one["says"] and 0 <= one["p_fake"] <= 1
    assert one["seen_in_training"] == (split_of(trained)["fake/fake_003.png"] == "train")
    assert not one["shares"] and "No face was found, so there are no regions." in one["notes"]
    kept = json.loads(Path(one["panel"]).with_suffix(".json").read_text())
    assert kept == {key: value for key, value in one.items() if key != "panel"}
    assert Image.open(one["panel"]).size == (1400, 470)


def test_the_score_is_the_predictors(trained):
    from detector import Predictor

    path = trained[1] / "real" / "real_005.png"
    (one,) = gradcam(compose(trained, path))["pictures"]
    predictor = Predictor.load(trained[0] / "checkpoints" / "best.ckpt")
    assert one["p_fake"] == predictor(path.read_bytes())
    assert one["actual"] == "real"


def test_a_picture_of_its_training_and_one_of_elsewhere_are_said_to_be_so(trained, tmp_path):
    learnt = next(name for name, part in split_of(trained).items() if part == "train")
    (one,) = gradcam(compose(trained, trained[1] / learnt))["pictures"]
    assert one["seen_in_training"] and "trained on this very picture" in one["notes"][0]
    elsewhere = tmp_path / "me.png"
    Image.fromarray(np.zeros((50, 40, 3), np.uint8)).save(elsewhere)
    (one,) = gradcam(compose(trained, elsewhere))["pictures"]
    assert "Actual: not known" in one["says"] and "lies in no known set" in one["notes"][0]
    assert one["seen_in_training"] is None
    assert not one["seen_in_training"]


def test_a_folder_goes_on_after_a_bad_file(trained, tmp_path):
    shutil.copy(trained[1] / "fake" / "fake_001.png", tmp_path / "a.png")
    (tmp_path / "b.jpg").write_text("no picture")
    below = tmp_path / "below"
    below.mkdir()
    shutil.copy(trained[1] / "fake" / "fake_002.png", below / "a.png")
    found = gradcam(compose(trained, tmp_path))
    assert [Path(one["panel"]).name for one in found["pictures"]] == ["a.png", "a-2.png"]
    (failed,) = found["failed"]
    assert failed["path"].endswith("b.jpg") and "\n" not in failed["error"]


def test_explaining_the_other_class_gives_another_map(trained):
    every = [
        gradcam(compose(trained, "fake_003.png", f"gradcam.explain={name}"))["pictures"][0]
        for name in ("fake", "real", "predicted")
    ]
    assert [one["explained"] for one in every[:2]] == ["fake", "real"]
    assert every[2]["explained"] == (
        "fake" if every[2]["p_fake"] >= every[2]["threshold"] else "real"
    )


@pytest.mark.parametrize(
    "image, overrides, says",
    [
        ("fake_0033.png", [], r"no picture fake_0033\.png.* nearest there are .*fake_033\.png"),
        ("fake_003.png", ["gradcam.method=cam"], "choose one of gradcam, "),
        ("fake_003.png", ["gradcam.explain=dog"], "choose one of fake, real, predicted"),
        ("fake_003.png", ["gradcam.target_layer=head"], "has no such layer"),
        ("fake_003.png", ["ckpt=none.ckpt"], r"no checkpoint none\.ckpt"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(trained, image, overrides, says):
    with pytest.raises(UserError, match=says) as error:
        gradcam(compose(trained, image, *overrides))
    assert "\n" not in str(error.value)


def test_a_name_that_occurs_twice_is_listed(trained):
    twin = trained[1] / "real" / "fake_004.png"
    shutil.copy(trained[1] / "fake" / "fake_004.png", twin)
    try:
        with pytest.raises(UserError, match=r"2 pictures fake_004.*fake/fake_004\.png, real/fake"):
            gradcam(compose(trained, "fake_004.png"))
    finally:
        twin.unlink()


def test_without_a_network_the_command_that_makes_one_is_named(tmp_path):
    trained = tmp_path / "runs" / "train" / "a" / "b", tmp_path
    with pytest.raises(UserError, match=r"no trained network .* python -m detector\.train"):
        gradcam(compose(trained, "a.png"))


def test_a_file_alone_that_is_no_picture(trained, tmp_path):
    bad = tmp_path / "b.jpg"
    bad.write_bytes(b"")
    with pytest.raises(UserError, match=r"b\.jpg: "):
        gradcam(compose(trained, bad))


def scorecard(trained, *overrides):
    return gradcam(
        cli.compose(
            "gradcam",
            [
                "mode=scorecard", "progress=none", "gradcam.device=cpu", "scorecard.images=8",
                "scorecard.replicates=50", "scorecard.steps=2", "scorecard.grid=2",
                "scorecard.road_images=1", "scorecard.stages=2", "scorecard.random_networks=1",
                f"paths.runs={trained[0].parents[2]}", f"paths.cache={trained[0].parents[3]}/cache",
                *overrides,
            ],
        )
    )  # fmt: skip


def test_a_scorecard_is_of_pictures_that_were_not_trained_on(trained):
    found = scorecard(trained, "scorecard.part=unseen", "scorecard.images=100")
    folder, parts = Path(found["folder"]), split_of(trained)
    with open(folder / "scorecard.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    measured = {line["path"] for line in lines}
    assert measured == {name for name, part in parts.items() if part != "train"}
    assert found["n"] == len(measured) and found["left_out_as_trained_on"] == 56
    assert {line["method"] for line in lines} >= {"gradcam", "occlusion"}
    kept = json.loads((folder / "scorecard.json").read_text())
    assert kept == {key: value for key, value in found.items() if key != "folder"}
    text = (folder / "scorecard.md").read_text()
    assert "56 pictures of its training were left out" in text
    assert "What was edited in these pictures is not known" in text
    assert Image.open(folder / "scorecard.png").size == (1400, 900)


def test_a_scorecard_repeats_itself(trained):
    first, second = (scorecard(trained) for _ in range(2))
    for found in (first, second):
        del found["folder"], found["seconds"]
    assert first == second
    assert sum(first["n_of_class"]) == first["n"] <= 8


def test_the_scorecard_of_random_weights_is_called_so(trained):
    found = scorecard(trained, "scorecard.untrained=true")
    assert found["network"].endswith("untrained") and found["trained_on"] == "random weights"
    assert "has learnt nothing" in (Path(found["folder"]) / "scorecard.md").read_text()


@pytest.mark.parametrize(
    "overrides, says",
    [
        (["scorecard.methods=[lime]"], "there is no lime; choose among gradcam"),
        (["scorecard.methods=[]"], "name at least one"),
        (["gradcam.explain=predicted"], "a scorecard is of the evidence for one class"),
        (["scorecard.grid=64"], "the network sees 32 pixels a side"),
        (["scorecard.part=train"], "it was trained on all of them"),
        (["scorecard.images=0"], "scorecard.images=0"),
        (["image=a.jpg"], "image=a.jpg"),
        (["mode=movie"], "mode=movie: choose picture or scorecard"),
        (["mode=picture"], "which picture\\? image="),
    ],
)
def test_a_scorecard_that_cannot_be_made_says_why(trained, overrides, says):
    with pytest.raises(UserError, match=says) as caught:
        scorecard(trained, *overrides)
    assert "\n" not in str(caught.value)


def test_a_picture_is_looked_up_in_the_set_that_was_named(trained, tmp_path):
    other = tmp_path / "other" / "fake"
    other.mkdir(parents=True)
    shutil.copy(trained[1] / "real" / "real_001.png", other / "fake_003.png")
    (tmp_path / "other" / "real").mkdir()
    shutil.copy(trained[1] / "real" / "real_002.png", tmp_path / "other" / "real")
    named = ["data=folder", f"data.root={tmp_path}/other", "data.name=mine"]
    (one,) = gradcam(compose(trained, "fake_003.png", *named))["pictures"]
    assert one["set"] == "mine" and one["path"] == str(other / "fake_003.png")
