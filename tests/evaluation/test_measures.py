"""What stands beside the metrics: files written alike, columns, calibration."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from detector.data.index import Index
from detector.evaluation import measures
from detector.evaluation.measures import Scored


def scored(tables, labels, margins, parts=None, **columns):
    n = len(labels)
    columns = {
        "name": [f"{i}.jpg" for i in range(n)],
        "label": list(labels),
        "group": [str(i) for i in range(n)],
        "quantization": list(tables),
        **columns,
    }
    index = Index("planted", ".", ("fake", "real"), columns)
    margins = np.asarray(margins, float)
    return Scored(
        index=index,
        parts=np.full(n, "train") if parts is None else np.asarray(parts),
        rows=np.arange(n),
        margins=margins,
        p_fake=1 / (1 + np.exp(-margins)),
        threshold=0.5,
        unsure=(0.5, 0.5),
        replicates=50,
        seed=0,
    )


@pytest.fixture
def by_table():
    """A network that knows fakes by their table alone: blind where the table is the reals'."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 0, 1], 200)
    tables = np.repeat(["editor", "camera", "camera"], 200)
    return labels, tables, rng.normal(0, 0.1, 600) + 3 * (tables == "editor")


def test_what_the_table_gave_away_is_gone_among_files_written_alike(by_table):
    labels, tables, margins = by_table
    images = scored(tables, labels, margins)
    assert measures.metrics(images)["auroc"]["value"] > 0.7
    found = measures.with_usual_table(images)
    usual = tables == "camera"
    assert (found["table"], found["n_fake"], found["n_real"]) == ("camera", 200, 200)
    wanted = roc_auc_score(labels[usual] == 0, margins[usual])
    assert found["auroc"]["value"] == pytest.approx(wanted) and 0.4 < wanted < 0.6


def test_the_usual_table_is_that_of_the_training_images(by_table):
    labels, tables, margins = by_table
    parts = np.where(np.arange(600) % 2, "train", "test")
    tables = np.where((labels == 1) & (parts == "test"), "editor", tables)
    found = measures.with_usual_table(scored(tables, labels, margins, parts))
    assert found["table"] == "camera"  # not "editor", which is as frequent among all reals
    assert found["n_real"] == 100


@pytest.mark.parametrize(
    "tables",
    [
        ["a"] * 8,  # all alike: nothing to set apart
        [""] * 8,  # no JPEG
        ["b"] * 4 + ["a"] * 4,  # no fake has it
        [*"abcd", *"aefg"],  # no table is usual
    ],
)
def test_nothing_is_said_where_nothing_can_be(tables):
    labels = [0] * 4 + [1] * 4
    assert measures.with_usual_table(scored(tables, labels, np.linspace(1, -1, 8))) is None


def test_edited_parts_are_counted_and_unknown_ones_are_unknown():
    bits = {"eye_left": [1, 0, -1], "eye_right": [1, 0, 1], "nose": [1, 0, 0], "mouth": [0, 0, 1]}
    index = scored("aaa", [0, 0, 1], [0, 0, 0], **bits).index
    assert measures.column_of(index, "parts_edited") == [3, 0, -1]
    assert measures.column_of(index, "no_such_column") is None


def test_calibration_before_and_after():
    rng = np.random.default_rng(1)
    truth = rng.normal(0, 1.5, 2000)
    labels = (rng.random(2000) > 1 / (1 + np.exp(-truth))).astype(int)
    sure = scored("a" * 2000, labels, 4 * truth)  # a network that is four times too sure
    found = measures.calibration(sure, "fake")
    assert not found["holds"] and "does not hold" in found["says"]
    assert found["uncalibrated"]["ece"]["value"] == pytest.approx(found["ece"])
    right = scored("a" * 2000, labels, 4 * truth)
    object.__setattr__(right, "p_fake", 1 / (1 + np.exp(-truth)))
    after = measures.calibration(right, "fake")
    assert after["holds"] and after["uncalibrated"]["ece"]["value"] > 3 * after["ece"]
