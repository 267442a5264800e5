"""Rules without a face: the header rule by hand, planted wrong labels, pairs by hand."""

import numpy as np
import pytest

from detector.data.index import Index
from detector.evaluation.audit.blind import header_rule, suspect_labels
from detector.evaluation.audit.observe import observe
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
    found = suspect_labels(index, features, [], folds, rows=np.arange(len(folds)), most=20)
    assert {f"{row}.png" for row in wrong} <= {entry["name"] for entry in found[:5]}
    entry = next(entry for entry in found if entry["name"] == "10.png")
    assert entry["label"] == "real" and "typical of fake images" in entry["why"]
    assert len(suspect_labels(index, features, [], folds, rows=np.arange(len(folds)), most=2)) == 2


def test_controls_that_know_nothing_suspect_nobody():
    labels = np.tile([0, 1], 60)
    folds = np.arange(120) // 2 % 5
    assert (
        suspect_labels(
            make_index(labels.tolist()),
            features_of(labels, 0),
            [],
            folds,
            rows=np.arange(len(folds)),
            most=9,
        )
        == []
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


def test_of_a_large_set_the_controls_know_a_random_part(tiny_set):
    """Which has the same features as in the whole, and of the properties nothing is missing."""
    names = sorted(str(p.relative_to(tiny_set)) for p in tiny_set.rglob("*.png"))
    index = make_index([int(name.startswith("real")) for name in names])
    index.columns["name"], index.root = names, str(tiny_set)
    whole = observe(index, max_pixels=10**6, most=10**6, seed=0)
    some = observe(index, max_pixels=10**6, most=11, seed=0)
    assert whole.rows.tolist() == list(range(len(names)))
    assert len(set(some.rows.tolist())) == 11 and (np.diff(some.rows) > 0).all()
    for name in ("kinds", "sizes", "pixels", "dct"):
        np.testing.assert_array_equal(
            getattr(some.features, name), getattr(whole.features, name)[some.rows]
        )
    for ours, theirs in ((some.categories, whole.categories), (some.numbers, whole.numbers)):
        assert ours.keys() == theirs.keys() and ours
        for key, column in ours.items():
            np.testing.assert_array_equal(column, theirs[key])
    again = observe(index, max_pixels=10**6, most=11, seed=1).rows
    assert again.tolist() != some.rows.tolist()


def test_suspects_of_a_part_have_their_own_names():
    truth = np.tile([0, 1], 150)
    given = truth.copy()
    given[[20, 61]] = 1 - given[[20, 61]]
    rows = np.flatnonzero(np.arange(300) % 3 != 0)
    features = features_of(truth[rows], 0.5)
    for row in (20, 61):
        at = int(np.flatnonzero(rows == row)[0])
        sign = 1 if truth[row] == 0 else -1
        features.pixels[at, :400] += sign * 0.5
        features.dct[at, :20] += sign * 1.0
    folds = np.arange(300) // 2 % 5
    found = suspect_labels(make_index(given.tolist()), features, [], folds, rows=rows, most=20)
    assert {"20.png", "61.png"} <= {entry["name"] for entry in found[:4]}
    assert all(int(entry["name"].removesuffix(".png")) in rows for entry in found)
