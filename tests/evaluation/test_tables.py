"""The reals' usual table by counting, and results on the files that have it."""

import numpy as np
import pytest

from detector.data.index import Index
from detector.errors import UserError
from detector.evaluation.metrics import summarize
from detector.evaluation.tables import beside, has_table, usual_table

SETTINGS = {"threshold": 0.5, "replicates": 50, "seed": 0}


def index_of(tables, labels):
    columns = {"name": [str(i) for i in range(len(tables))], "label": list(labels)}
    return Index("set", "/", ("fake", "real"), columns | {"quantization": list(tables)})


def test_only_reals_of_the_train_part_are_counted():
    tables = ["b"] * 5 + ["a"] * 2 + ["c"] + ["d"] * 9
    labels = [0] * 5 + [1] * 12
    parts = np.array(["train"] * 8 + ["test"] * 9)
    index = index_of(tables, labels)
    assert usual_table(index, parts) == "a"
    assert has_table(index, "a").tolist() == [table == "a" for table in tables]


def test_ties_and_files_without_a_table():
    parts = np.array(["train"] * 4)
    assert usual_table(index_of("baba", [1] * 4), parts) == "a"
    assert usual_table(index_of(["", "", "a", ""], [1] * 4), parts) == ""
    with pytest.raises(UserError, match="no real image in its train part"):
        usual_table(index_of("aaaa", [0] * 4), parts)


def test_results_stand_side_by_side():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 80)
    usual = (labels == 1) | (rng.random(80) < 0.5)
    p = np.where(usual, rng.random(80), 1.0)  # the other table gives the fakes away
    groups = np.arange(80)
    found = beside(p, labels, groups, usual, **SETTINGS)
    assert found["all"] == summarize(p, labels, groups, **SETTINGS)
    kept = [i for i in range(80) if usual[i]]
    assert found["usual_table"] == summarize(p[kept], labels[kept], groups[kept], **SETTINGS)
    assert found["all"]["auroc"]["value"] > found["usual_table"]["auroc"]["value"] + 0.1
    assert beside(p, labels, groups, np.zeros(80, bool), **SETTINGS)["usual_table"] is None
    for wrong in (usual[:-1], usual.astype(int)):
        with pytest.raises(UserError, match="80 booleans"):
            beside(p, labels, groups, wrong, **SETTINGS)
