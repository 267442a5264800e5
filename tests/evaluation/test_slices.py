import json
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from detector.errors import UserError
from detector.evaluation.intervals import wilson
from detector.evaluation.metrics import summarize
from detector.evaluation.slices import COLUMNS, in_order, slices

HOW = {"threshold": 0.5, "replicates": 40, "seed": 3}
ORDER = ("easy", "mid", "hard")
UNKNOWN = [None, "", -1, -1.0, math.nan, np.int64(-1)]
# "a" and "a\0" are one text to an array of numpy's; 1, "1" and True are not one value to all.
KNOWN = ["easy", "mid", "hard", "a", "a\0", " ", "é", "-1", "None", 0, 1, "1", True, 2.5, 10, "9"]
values = st.one_of(st.sampled_from(UNKNOWN), st.sampled_from(KNOWN), st.text(max_size=2))
scores = st.one_of(st.sampled_from([0.0, 0.2, 0.5, 0.7, 1.0]), st.floats(0, 1))
images = st.lists(
    st.tuples(scores, st.integers(0, 1), st.integers(0, 6), values), min_size=1, max_size=40
)


def known(value) -> bool:
    return not (value is None or value in ("", -1) or (value is not True and value != value))


@given(images)
@example([(0.0, 0, 0, None)] * 2 + [(0.0, 1, 2, None), (1.0, 0, 1, "easy"), (1.2e-74, 1, 0, None)])
@settings(max_examples=80, deadline=None)
def test_a_slice_is_its_images_alone(rows):
    found = slices(*map(list, zip(*rows, strict=True)), order=ORDER, **HOW)
    json.dumps(found, allow_nan=False)
    kinds = {str(value) for _, label, _, value in rows if label == 0 and known(value)}
    assert set(found) == kinds
    for kind, measured in found.items():
        part = [row for row in rows if row[1] == 1 or (known(row[3]) and str(row[3]) == kind)]
        p, labels, groups = (np.array(column) for column in list(zip(*part, strict=True))[:3])
        fakes = [row[0] for row in part if row[1] == 0]
        assert measured["n_fake"] == len(fakes)
        assert measured["n_real"] == sum(label for _, label, *_ in rows)
        called = sum(score >= HOW["threshold"] for score in fakes)
        assert measured["recall"]["value"] == pytest.approx(called / len(fakes))
        if 1 in labels:
            expected = roc_auc_score(labels == 0, p)
            assert measured["auroc"]["value"] == pytest.approx(expected, abs=1e-9)
        else:
            assert measured["auroc"] == {"value": None, "low": None, "high": None}
        alone = summarize(p, labels, groups, **HOW)
        assert measured == {key: alone[key] for key in ("n_fake", "n_real", "auroc", "recall")}


def example(n=300, seed=0):
    """Easy fakes above every real, hard ones where the reals are; mid in between."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    kind = rng.choice(ORDER, n)
    shift = np.where(labels == 1, 0, np.select([kind == "easy", kind == "mid"], [0.6, 0.2], 0))
    return 0.4 * rng.random(n) + shift, labels, rng.integers(0, n, n), kind


def test_a_planted_difficulty_is_found():
    p, labels, groups, kind = example(2000)
    found = slices(p, labels, groups, kind, order=COLUMNS["difficulty"], **HOW)
    assert list(found) == ["easy", "mid", "hard"]
    assert found["easy"]["auroc"]["value"] == 1 == found["easy"]["recall"]["value"]
    # Uniform on [.2, .6] against uniform on [0, .4]: 1 - 1/8; above .5 lies a quarter.
    assert found["mid"]["auroc"]["value"] == pytest.approx(0.875, abs=0.03)
    assert found["mid"]["recall"]["value"] == pytest.approx(0.25, abs=0.06)
    assert found["hard"]["auroc"]["low"] < 0.5 < found["hard"]["auroc"]["high"]
    assert found["hard"]["recall"]["value"] == 0


def test_where_no_two_share_a_group_recall_has_wilsons_interval():
    p, labels, _, kind = example()
    found = slices(p, labels, np.arange(len(p)), kind, **HOW)
    for name, measured in found.items():
        these = p[(labels == 0) & (kind == name)]
        ends = measured["recall"]["low"], measured["recall"]["high"]
        assert ends == pytest.approx(wilson((these >= 0.5).sum(), len(these)))


def test_fakes_of_one_group_count_less():
    p, labels, _, kind = example()
    alone = slices(p, labels, np.arange(len(p)), kind, **HOW)["mid"]["recall"]
    shared = slices(p, labels, np.arange(len(p)) // 10, kind, **HOW)["mid"]["recall"]
    assert shared["value"] == alone["value"]
    assert shared["high"] - shared["low"] > alone["high"] - alone["low"]


def test_what_reals_have_in_the_column_and_the_order_of_images_change_nothing():
    p, labels, groups, kind = example()
    expected = slices(p, labels, groups, kind, **HOW)
    blank = np.where(labels == 1, "", kind)
    odd = np.where(labels == 1, "nonsense", kind)
    turned = np.random.default_rng(1).permutation(len(p))
    for column, order in [(blank, slice(None)), (odd, slice(None)), (kind, turned)]:
        images = p[order], labels[order], groups[order], list(column[order])
        assert slices(*images, **HOW) == expected


def test_a_kind_without_fakes_is_left_out():
    assert slices([0.1, 0.9], [1, 0], [0, 1], ["easy", "mid"], **HOW).keys() == {"mid"}
    assert slices([0.1, 0.9], [1, 1], [0, 1], ["easy", "mid"], **HOW) == {}
    assert slices([0.1, 0.9], [1, 0], [0, 1], ["", ""], **HOW) == {}
    assert slices([], [], [], [], **HOW) == {}


@pytest.mark.parametrize(
    "column", [np.array([1, -1, 0, 7]), np.array([1.0, np.nan, 0.0, -1.0]), [1, None, 0, 7]]
)
def test_columns_of_numbers(column):
    found = slices([0.9, 0.8, 0.7, 0.1], [0, 0, 0, 1], [0, 1, 2, 3], column, **HOW)
    assert [float(value) for value in found] == [0, 1]


@given(st.lists(st.sampled_from([*map(str, KNOWN), "nan", "inf", "1.0", "-2"])), st.randoms())
def test_values_in_order(names, random):
    shuffled = random.sample(names, len(names))
    found = in_order(names, ORDER)
    assert in_order(shuffled, ORDER) == found
    assert sorted(found) == sorted(set(names))
    first = [name for name in ORDER if name in names]
    assert found[: len(first)] == first
    numbers = [float(name) for name in found if name[-1:].isdigit()]
    assert numbers == sorted(numbers)


def test_numbers_stand_in_order_of_size_before_text():
    names = ["10", "9", "nan", "b", "2.5", "a", "hard", "easy"]
    assert in_order(names, ORDER) == ["easy", "hard", "2.5", "9", "10", "a", "b", "nan"]


@pytest.mark.parametrize(
    "change, says",
    [
        ({"column": ["easy"]}, r"the column \(1,\)"),
        ({"labels": [0, 1, 1]}, r"labels \(3,\)"),
        ({"groups": [0]}, r"groups \(1,\)"),
        ({"p_fake": [[0.1, 0.2]]}, r"p_fake has shape \(1, 2\)"),
        ({"labels": [0, 2]}, "labels must be 0"),
        ({"p_fake": [0.1, 1.2]}, "image"),
        ({"threshold": 2}, "threshold"),
        ({"replicates": 0}, "replicates"),
    ],
)
def test_bad_input_is_one_line_that_says_what(change, says):
    good = HOW | {"p_fake": [0.9, 0.2], "labels": [0, 1], "groups": [0, 1], "column": ["easy", ""]}
    assert slices(**good).keys() == {"easy"}
    with pytest.raises(UserError, match=says) as error:
        slices(**good | change)
    assert "\n" not in str(error.value)
