"""What the report says of a made-up matrix."""

import json
from functools import cache

import numpy as np

from detector.evaluation.matrix_measure import measure_cell
from detector.evaluation.matrix_report import (
    COLUMNS,
    flat_cell,
    footnotes,
    markdown,
    sentences,
    summary,
)


@cache
def measured(*, own: bool, shifted: bool, two: bool) -> dict:
    labels = np.arange(60) % 2
    z = np.random.default_rng(0).normal(size=60) + (1 - 2 * labels) * 3 * own - shifted
    return measure_cell(
        1 / (1 + np.exp(-z)), labels if two else np.ones(60, int), np.arange(60),
        threshold=0.5, name="faces", fake="fake", replicates=100, seed=0,
    )  # fmt: skip


def made_up(networks: int, sets: int, longer: str = "") -> dict:
    """A matrix whose diagonal is good; the fourth set cannot be read, the fifth is of reals."""
    found = {
        "part": "test",
        "networks": [
            {
                "name": f"set{i}-cnn6{longer}",
                "trained_on": f"set{i}{longer}",
                "calibrated_on": 0 if i == 2 else 200,
            }
            for i in range(networks)
        ],
        "sets": [{"name": f"set{j}{longer}"} for j in range(sets)],
        "cells": [],
    }
    for i, network in enumerate(found["networks"]):
        for j, one in enumerate(found["sets"]):
            cell = {"network": network["name"], "set": one["name"], "own": i == j,
                    "trained_on": network["trained_on"], "namesake": (i, j) == (0, 2), "absent": 0,
                    "seen": None if (i, j) == (0, 2) else 7 * ((i, j) == (2, 2)),
                    "error": "gone" if j == 3 else None}  # fmt: skip
            if j != 3:
                cell |= measured(own=i == j, shifted=i == 1, two=j < 3)
            found["cells"].append(cell)
    return found | {"says": sentences(found)}


def test_a_row_of_the_table_has_every_column():
    for cell in made_up(3, 5)["cells"]:
        row = dict(zip(COLUMNS, flat_cell(cell), strict=True))
        assert (row["network"], row["set"]) == (cell["network"], cell["set"])
        assert row["error"] == cell["error"]
        if not cell["error"]:
            assert row["auroc"] == cell["auroc"]["value"]
            assert row["lost_by_threshold_high"] == cell["lost_by_threshold"]["high"]
            assert row["calibration_holds"] == cell["calibration"]["holds"]
        else:
            assert row["n"] is None and row["auroc"] is None


def test_sentences_count_what_they_say():
    found = made_up(3, 5)
    away = [c for c in found["cells"] if not c["error"] and not c["own"]]
    both = [c for c in away if c["auroc"]["value"] is not None]
    chance = sum(c["auroc"]["low"] <= 0.5 for c in both)
    better = sum(c["lost_by_threshold"]["low"] > 0 for c in both)
    held = sum(c["calibration"]["holds"] for c in away)
    says = found["says"]
    assert len(both) == 6 and len(away) == 9 and chance >= 4
    assert f"in {chance} of 6 cells" in says[0]
    assert f"in {better} of 6 cells" in says[1]
    assert f"in {held} of 9 cells" in says[2]
    known = [c for c in found["cells"] if not c["error"] and c["auroc"]["value"] is not None]
    blind = sum(c["accuracy"]["low"] <= c["majority"] for c in known)
    assert f"in {blind} of 9 cells" in says[3]


def test_images_of_training_are_never_silent():
    found = made_up(3, 5)
    notes = footnotes(found)
    assert "7 of set2-cnn6 on set2" in notes[0] and "set0-cnn6 on set2" in notes[1]
    for text in (markdown(found), summary(found)):
        assert all(note in text for note in notes)
        assert "* †" in text and " ‡" in text
    assert footnotes(made_up(2, 2)) == []
    namesake = made_up(2, 2)
    namesake["cells"][1]["namesake"] = True
    assert footnotes(namesake) == ["set0-cnn6 was trained on another set that is called set1, too."]
    validated = footnotes(made_up(2, 2) | {"part": "val"})
    assert len(validated) == 1 and "validation" in validated[0]


def test_the_report_has_each_cell_and_is_plain_json():
    found = made_up(3, 5)
    text = markdown(found)
    for cell in found["cells"]:
        if cell["error"]:
            assert f"| {cell['network']} | {cell['set']} | gone |" in text
        else:
            assert cell["calibration"]["says"] in text
    tables = [line for line in text.splitlines() if line.startswith("| set0-cnn6 |")]
    assert len(tables) == 3 + 5  # three grids, then a line a cell
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_one_network_on_its_own_set_makes_a_report_too():
    found = made_up(1, 1)
    assert len(found["says"]) == 1 and "1 network on 1 set" in markdown(found)


def test_networks_without_calibration_are_named():
    lines = [line for line in footnotes(made_up(3, 3)) if "Not calibrated" in line]
    assert lines == ["Not calibrated, threshold .5: set2-cnn6."]
