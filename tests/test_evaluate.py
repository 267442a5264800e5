"""An evaluation from its command to its report, on a training of a second."""

import json
from pathlib import Path

import pytest

from detector import cli
from detector.errors import UserError
from detector.evaluate import evaluate
from detector.evaluation.report import NAMES
from detector.train import train


@pytest.fixture
def trained(tiny):
    return train(tiny())


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


def test_images_of_its_training_are_counted_and_said(trained):
    found = evaluate(compose(trained, "evaluate.part=all", "evaluate.controls=false"))
    assert found["metrics"]["n"] == 80 and 0 < found["seen_in_training"] < 80
    text = (Path(found["folder"]) / "report.md").read_text()
    assert f"{found['seen_in_training']} of these images were in its training" in text


@pytest.mark.parametrize(
    "overrides, says",
    [
        (["evaluate.part=tests"], "evaluate.part=tests: choose one of"),
        (["evaluate.threshold=2"], "evaluate.threshold=2"),
        (["evaluate.slices=nose"], "give a list of names"),
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
