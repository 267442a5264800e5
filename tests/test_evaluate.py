"""An evaluation from its command to its report, on a training of a second."""

import json
from pathlib import Path

import numpy as np
import pytest

from detector import cli
from detector.errors import UserError
from detector.evaluate import evaluate
from detector.evaluation.report import NAMES
from detector.train import train
from tests.conftest import make_set, picture


@pytest.fixture(scope="module")
def trained(tiny_set, tmp_path_factory):
    place = tmp_path_factory.mktemp("evaluate")
    overrides = [
        "data=folder", f"data.root={tiny_set}", "model=cnn6", "model.preprocess.size=32",
        "data.batch_size=16", "data.num_workers=0", "trainer=cpu", "trainer.max_epochs=2",
        "progress=none", "metrics.replicates=100", f"paths.runs={place}/runs",
        f"paths.cache={place}/cache",
    ]  # fmt: skip
    return train(cli.compose("train", overrides))


def compose(run, *overrides):
    runs = Path(run["folder"]).parents[2]
    return cli.compose(
        "evaluate",
        [
            "progress=none",
            "evaluate.replicates=100",
            "evaluate.device=cpu",
            f"paths.runs={runs}",
            f"paths.cache={runs.parent}/cache",
            *overrides,
        ],
    )


def test_the_test_part_is_measured_as_training_measured_it(trained):
    found = evaluate(compose(trained))
    folder = Path(found["folder"])
    names = {"report.md", "metrics.json", "predictions.csv", "evaluation.png", "config.yaml"}
    assert names <= {path.name for path in folder.iterdir()}
    for key in ("auroc", "accuracy", "log_loss"):
        assert found["metrics"][key]["value"] == pytest.approx(trained["test"][key]["value"])
    kept = json.loads((folder / "metrics.json").read_text())
    assert kept["metrics"] == found["metrics"] and kept["seen_in_training"] == 0
    assert set(kept["against_controls"]["controls"]) == {"majority", "header", "pixels", "dct"}
    text = (folder / "report.md").read_text()
    assert found["against_controls"]["says"] in text and "| AUROC |" in text
    assert all(f"| {name} |" in text for name in NAMES.values())
    assert found["calibration"]["says"] in text and found["usual_table"] is None
    assert list((folder / "tensorboard").glob("events.*")) and "robustness" not in found
    same = trained["test"]["calibration"]
    assert (
        found["calibration"]["uncalibrated"]["ece"]["value"] == same["uncalibrated"]["ece"]["value"]
    )


def test_images_of_its_training_are_counted_and_said(trained):
    found = evaluate(compose(trained, "evaluate.part=all", "evaluate.controls=false"))
    assert found["metrics"]["n"] == 80 and 0 < found["seen_in_training"] < 80
    text = (Path(found["folder"]) / "report.md").read_text()
    assert f"{found['seen_in_training']} of these images were in its training" in text


def test_pictures_that_were_passed_on_are_scored_again(trained):
    found = evaluate(
        compose(
            trained, "evaluate.controls=false", "evaluate.robustness=true",
            "robustness.families=[blur,crop]", "robustness.strengths={blur:[0,9],crop:[0.3]}",
        )
    )  # fmt: skip
    clean, none, blurred, cut = found["robustness"]
    assert clean["auroc"]["value"] == pytest.approx(found["metrics"]["auroc"]["value"])
    assert none["flipped"]["value"] == 0 and none["difference"]["value"] == 0
    assert (blurred["strength"], cut["family"]) == (9, "crop")
    folder = Path(found["folder"])
    assert (folder / "robustness.png").is_file()
    assert "| Crop | 0.3 |" in (folder / "report.md").read_text()


def test_another_set_of_the_same_name_is_another_set(trained, tmp_path):
    root = make_set(tmp_path / "others", n=30, seed=5)  # the same file names, other pictures
    found = evaluate(compose(trained, "data=folder", f"data.root={root}", "evaluate.part=all"))
    assert (found["metrics"]["n"], found["seen_in_training"], found["chosen_on"]) == (60, 0, 0)
    # The controls were fitted on the network's own set, whose sizes in bytes are others.
    own = evaluate(compose(trained, "evaluate.part=all"))
    assert own["seen_in_training"] > 0
    header = [
        f["against_controls"]["controls"]["pixels"]["accuracy"]["value"] for f in (found, own)
    ]
    assert header[0] < header[1]


def test_its_own_split_holds_whatever_is_asked_for_today(trained):
    found = evaluate(compose(trained, "data.split.seed=7", "evaluate.controls=false"))
    assert found["metrics"] == evaluate(compose(trained, "evaluate.controls=false"))["metrics"]
    assert found["seen_in_training"] == 0
    config = (Path(found["folder"]) / "config.yaml").read_text()
    assert "name: folder" in config and "seed: 7" in config


@pytest.mark.parametrize(
    "override, says",
    [
        ("data.batch_size=-1", "data.batch_size=-1"),
        ("data.cache_gb=abc", "data.cache_gb=abc"),
        ("data.normalize={size:32,quality:50}", "the network was trained without one"),
        ("evaluate.slices=[nosuch]", "folder has no column nosuch; there is name, label"),
        ("paths.runs=null", "paths.runs"),
        ("evaluate=5", "evaluate=5"),
    ],
)
def test_overrides_of_its_own_set_are_heard(trained, override, says):
    with pytest.raises(UserError, match=says) as error:
        evaluate(compose(trained, override))
    assert "\n" not in str(error.value)


def test_validation_images_chose_the_network_and_the_report_says_so(trained):
    found = evaluate(compose(trained, "evaluate.part=val", "evaluate.controls=false"))
    assert found["chosen_on"] == found["metrics"]["n"] and found["seen_in_training"] == 0
    text = (Path(found["folder"]) / "report.md").read_text()
    assert f"{found['chosen_on']} of these images chose its weights" in text


@pytest.mark.parametrize(
    "name, text", [("config.yaml", "a: ["), ("config.yaml", "data: {name: folder}"),
                   ("split.csv", "path,split\n" + "x" * 200_000 + ",train\n")],
)  # fmt: skip
def test_a_damaged_run_folder_is_named(trained, name, text):
    file = Path(trained["folder"], name)
    whole = file.read_text()
    file.write_text(text)
    try:
        with pytest.raises(UserError, match=r"is not the run folder of best\.ckpt") as error:
            evaluate(compose(trained))
    finally:
        file.write_text(whole)
    assert "\n" not in str(error.value)


def people(root, n=24):
    """Files named as UTKFace's."""
    root.mkdir()
    rng = np.random.default_rng(0)
    for at in range(n):
        name = f"{20 + at}_{at % 2}_{at % 3}_2017010921{at:04d}.jpg.chip.jpg"
        picture(rng, fake=at % 4 == 0).save(root / name)
    return root


def test_real_people_called_fake_are_counted_by_group(trained, tmp_path):
    root = people(tmp_path / "people")
    found = evaluate(compose(trained, "data=utkface", f"data.root={root}", "evaluate.part=all"))
    assert found["metrics"]["n_real"] == 24 and found["metrics"]["auroc"]["value"] is None
    alarms, folder = found["false_alarms"], Path(found["folder"])
    assert alarms["rate"]["value"] == pytest.approx(1 - found["metrics"]["accuracy"]["value"])
    by_gender = alarms["columns"]["gender"]["values"]
    assert sum(of["n"] for of in by_gender.values()) == 24
    # The bright square that means fake is on every fourth picture, all of them of men.
    assert by_gender["male"]["rate"]["value"] > by_gender["female"]["rate"]["value"]
    text = (folder / "report.md").read_text()
    assert "## False alarms" in text and alarms["says"] in text and found["calibration"] is None
    assert (folder / "false_alarms.png").is_file()
    # Nothing that one class alone makes look good or bad.
    assert found["against_controls"] is None and found["metrics"]["ece"]["value"] is None
    assert "One class only" in text


def test_false_alarms_by_any_column(trained, tmp_path):
    root = people(tmp_path / "people")
    overrides = ["data=utkface", f"data.root={root}", "evaluate.part=all", "evaluate.slices=[age]"]
    ages = evaluate(compose(trained, *overrides))["false_alarms"]["columns"]["age"]["values"]
    assert len(ages) == 5 and sum(of["n"] for of in ages.values()) == 24 and "20 to 23" in ages


def test_classes_that_mean_something_else_are_refused(trained, tmp_path):
    root = people(tmp_path / "people")
    with pytest.raises(UserError, match="tells fake and real apart, gender has female and male"):
        evaluate(compose(trained, "data=gender", f"data.root={root}"))


def test_another_normalizer_than_the_networks_is_refused(trained):
    with pytest.raises(UserError, match=r"data\.normalize: the network was trained without one"):
        evaluate(
            compose(trained, "data=folder", "data.root=.", "data.normalize={size:32,quality:75}")
        )


@pytest.mark.parametrize(
    "overrides, says",
    [
        (["evaluate.part=tests"], "evaluate.part=tests: choose one of"),
        (["evaluate.threshold=2"], "evaluate.threshold=2"),
        (["evaluate.slices=nose"], "give a list of names"),
        (["robustness.families=[rain]"], "no family rain; there are jpeg, webp"),
        (["robustness.strengths.jpeg=[300]"], "robustness.strengths.jpeg: 300 will not do"),
        (["ckpt=none.ckpt"], "no checkpoint none.ckpt"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, overrides, says):
    run = {"folder": str(tmp_path / "runs" / "train" / "a" / "b")}
    with pytest.raises(UserError, match=says) as error:
        evaluate(compose(run, *overrides))
    assert "\n" not in str(error.value)


def test_without_a_network_the_command_that_makes_one_is_named(tmp_path):
    run = {"folder": str(tmp_path / "runs" / "train" / "a" / "b")}
    with pytest.raises(UserError, match=r"no trained network .* python -m detector\.train"):
        evaluate(compose(run))
