"""A set whose fakes have a difficulty, from its files to metrics.json and the terminal."""

import csv
import json
import logging
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from detector.data.index import Index
from detector.data.load import FaceSet
from detector.evaluation.calibration import Calibration, log_odds
from detector.evaluation.metrics import summarize
from detector.run.finish import write_results
from detector.train import train
from tests.conftest import make_set

KINDS = ("easy", "mid", "hard")


@pytest.fixture(scope="module")
def swapped(tmp_path_factory) -> Path:
    """As ciplab names its files: 40 fakes, half of them mid, one without a difficulty."""
    root = make_set(tmp_path_factory.mktemp("swapped") / "set")
    (root / "real").rename(root / "training_real")
    (root / "fake").rename(root / "training_fake")
    for at, file in enumerate(sorted((root / "training_fake").iterdir())):
        kind = ("easy", "mid", "hard", "mid")[at % 4]
        file.rename(file.with_name(f"{kind}_{at}_1000.png" if at else "nameless.png"))
    return root


def test_a_training_gives_results_by_difficulty(tiny, swapped, caplog):
    with caplog.at_level(logging.INFO):
        metrics = train(tiny("data.source=ciplab", root=swapped))
    folder = Path(metrics["folder"])
    on_disk = json.loads((folder / "metrics.json").read_text())
    with open(folder / "predictions.csv") as file:
        predictions = list(csv.DictReader(file))
    with open(folder / "split.csv") as file:
        groups = {row["path"]: row["group"] for row in csv.DictReader(file)}
    for part in ("val", "test"):
        assert list(on_disk[part]["by_difficulty"]) == list(KINDS)
        assert on_disk[part] == metrics[part]
        for kind, measured in on_disk[part]["by_difficulty"].items():
            rows = [
                row
                for row in predictions
                if row["split"] == part
                and (row["label"] == "1" or row["path"].startswith(f"training_fake/{kind}_"))
            ]
            p, labels = (np.array([float(row[k]) for row in rows]) for k in ("p_fake", "label"))
            assert measured["n_fake"] == (labels == 0).sum() > 0
            assert measured["n_real"] == on_disk[part]["n_real"] == (labels == 1).sum()
            expected = roc_auc_score(labels == 0, p)
            assert measured["auroc"]["value"] == pytest.approx(expected, abs=1e-9)
            threshold = on_disk["calibration"]["threshold"]
            assert measured["recall"]["value"] == pytest.approx(
                (p[labels == 0] >= threshold).mean()
            )
            alone = summarize(
                p,
                labels.astype(int),
                np.array([groups[row["path"]] for row in rows]),
                threshold=threshold,
                replicates=100,
                seed=0,
            )
            assert measured["recall"] == alone["recall"]
            assert measured["auroc"] == pytest.approx(alone["auroc"])
    said = caplog.messages[-1]
    assert said.count("difficulty easy") == 3
    for name in ("curves.png", "predictions.csv"):
        assert str(folder / name) in said and (folder / name).is_file()
    assert "tensorboard --logdir" in said


def test_a_set_without_the_column_has_no_such_results(tmp_path):
    def results(**extra):
        columns = {"name": list("abcd"), "label": [0, 0, 1, 1], "group": list("abcd"), **extra}
        faces = FaceSet(Index("set", "", ("cat", "dog"), columns), np.array(["test"] * 4))
        scored = {"test": (np.arange(4), log_odds(np.array([0.9, 0.2, 0.4, 0.1])))}
        return write_results(
            tmp_path, faces, scored, "p_cat", calibration=Calibration(), replicates=20, seed=0,
            training={},
        )["test"]  # fmt: skip

    plain, blank = results(), results(difficulty=[""] * 4)
    assert blank == plain | {"by_difficulty": {}}
    by_kind = results(difficulty=["hard", "easy", "", ""])["by_difficulty"]
    assert [(kind, m["auroc"]["value"]) for kind, m in by_kind.items()] == [
        ("easy", 0.5), ("hard", 1.0),
    ]  # fmt: skip
