"""Rules without a face: the header rule by hand, planted wrong labels, pairs by hand."""

import numpy as np
import pytest

from detector.data.index import Index
from detector.evaluation.audit.blind import header_rule, suspect_labels
from detector.evaluation.audit.pairs import report_pairs
from detector.evaluation.controls import Features
from detector.evaluation.intervals import wilson


def make_index(labels: list[int], **columns: list) -> Index:
    n = len(labels)
    own = {
        "name": [f"{i}.png" for i in range(n)],
        "label": labels,
        "sha256": [f"{i:04d}" for i in range(n)],
        "group": [str(i) for i in range(n)],
        "quantization": [""] * n,
    }
    return Index("set", "", ("fake", "real"), own | columns)


def test_header_rule_by_hand():
    labels = [1, 1, 1, 1, 0, 0, 0, 0]
    tables = ["a", "a", "b", "a", "b", "c", "a", ""]
    rule = header_rule(make_index(labels, quantization=tables), np.array(["train"] * 8))
    assert rule["usual"] == "a" and rule["called_fake"] == 4 and rule["n"] == 8
    assert rule["accuracy"] == 6 / 8 and rule["interval"] == pytest.approx(wilson(6, 8))
    assert rule["precision"] == 3 / 4 and rule["precision_interval"] == pytest.approx(wilson(3, 4))
    assert rule["usual_of_fake"] == 1 / 4 and rule["usual_of_real"] == 3 / 4


def test_the_usual_table_is_that_of_the_train_part():
    parts = np.array(["test", "test", "train", "train"])
    rule = header_rule(make_index([1, 1, 1, 0], quantization=["a", "a", "b", "b"]), parts)
    assert rule["usual"] == "b" and rule["called_fake"] == 2 and rule["precision"] == 0


def test_header_rule_where_all_files_are_alike():
    rule = header_rule(make_index([1, 1, 0]), np.array(["train"] * 3))
    assert rule["called_fake"] == 0 and rule["precision"] is rule["precision_interval"] is None
    assert rule["accuracy"] == 2 / 3


def features_of(labels: np.ndarray, strength: float) -> Features:
    rng = np.random.default_rng(0)
    n = len(labels)
    pixels, dct = rng.normal(size=(n, 1728)), rng.normal(size=(n, 64))
    pixels[:, :400] += strength * (labels == 0)[:, None]
    dct[:, :20] += 2 * strength * (labels == 0)[:, None]
    kinds = np.full((n, 3), "")
    return Features(kinds, np.zeros((n, 3)), pixels.astype(np.float32), dct.astype(np.float32))


def test_planted_wrong_labels_are_suspects():
    truth = np.tile([0, 1], 100)
    given = truth.copy()
    wrong = [10, 55, 120]
    given[wrong] = 1 - given[wrong]
    folds = np.arange(200) // 2 % 5
    index = make_index(given.tolist())
    features = features_of(truth, 0.5)
    for row in wrong:  # clear members of their true class: of the average ones half are named
        sign = 1 if truth[row] == 0 else -1
        features.pixels[row, :400] += sign * 0.5
        features.dct[row, :20] += sign * 1.0
    found = suspect_labels(index, features, [], folds, most=20)
    assert {f"{row}.png" for row in wrong} <= {entry["name"] for entry in found[:5]}
    entry = next(entry for entry in found if entry["name"] == "10.png")
    assert entry["label"] == "real" and "typical of fake images" in entry["why"]
    assert len(suspect_labels(index, features, [], folds, most=2)) == 2


def test_controls_that_know_nothing_suspect_nobody():
    labels = np.tile([0, 1], 60)
    folds = np.arange(120) // 2 % 5
    assert (
        suspect_labels(make_index(labels.tolist()), features_of(labels, 0), [], folds, most=9) == []
    )


def test_pairs_by_hand():
    index = make_index(
        [0, 1, 1, 0, 1],
        sha256=["x", "y", "x", "z", "x"],
        group=["g", "h", "g", "h", "g"],
    )
    index.pairs = [(1, 3, "copy", "features"), (0, 2, "copy", "identical")]
    parts = np.array(["train", "train", "val", "test", "val"])
    found = report_pairs(index, parts)
    assert found["count"] == 3 and found["by_kind"] == {"copy": 3} and found["same_bytes"] == 2
    assert found["across_classes"] == 2 and found["across_parts"] == 2
    assert found["groups"] == 2 and found["largest_group"] == 3
    methods = {(pair["a"], pair["b"]): pair["method"] for pair in found["list"]}
    assert methods == {
        ("0.png", "2.png"): "identical",
        ("1.png", "3.png"): "features",
        ("2.png", "4.png"): "bytes",
    }
    assert found["list"][1]["classes"] == ["real", "fake"]
    assert found["list"][1]["parts"] == ["train", "test"]
