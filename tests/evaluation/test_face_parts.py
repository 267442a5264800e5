"""AUROC per part against scikit-learn, and where it is undefined."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from detector.data.sources import FACE_PARTS
from detector.evaluation.face_parts import mean_auroc, measure_parts, named

DRAWN = {"replicates": 50, "seed": 0}
NONE = {"value": None, "low": None, "high": None}


def made_up(seed: int, n: int = 80):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    bits = np.where(rng.random((n, 4)) < 0.8, rng.integers(0, 2, (n, 4)), -1)
    bits[labels == 1] = 0
    p = np.clip(rng.random((n, 4)) * 0.7 + 0.3 * (bits == 1), 0, 1).round(2)  # with ties
    return p, bits, labels, rng.integers(0, n // 2, n)


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 50))
def test_auroc_is_that_of_scikit_learn_over_known_bits(seed):
    p, bits, labels, groups = made_up(seed)
    found = measure_parts(p, bits, labels, groups, **DRAWN)
    assert list(found) == list(FACE_PARTS)
    among_fakes = []
    for at, of in enumerate(found.values()):
        for among, here in (("all", labels >= 0), ("fakes", labels == 0)):
            here = here & (bits[:, at] >= 0)
            assert of[among]["n"] == here.sum()
            assert of[among]["n_edited"] == (bits[here, at] == 1).sum()
            assert of[among]["n_groups"] == len(set(groups[here]))
            expected = roc_auc_score(bits[here, at], p[here, at])
            measured = of[among]["auroc"]
            assert measured["value"] == pytest.approx(expected)
            assert measured["low"] < measured["value"] < measured["high"]
        among_fakes.append(expected)
    fakes = labels == 0
    assert mean_auroc(p[fakes], bits[fakes]) == pytest.approx(np.mean(among_fakes))


def test_a_head_that_only_tells_fakes_from_reals_is_found_out():
    _, bits, labels, groups = made_up(0, 400)
    p = np.repeat((labels == 0)[:, None] * 0.9, 4, 1)
    for of in measure_parts(p, bits, labels, groups, **DRAWN).values():
        assert of["fakes"]["auroc"]["value"] == 0.5 < 0.75 < of["all"]["auroc"]["value"]


def test_nothing_is_said_where_no_picture_or_each_was_edited():
    p, bits, labels, groups = made_up(1)
    fakes = labels == 0
    bits[:, 0] = -1
    bits[fakes, 1] = 1
    bits[fakes, 2] = 0
    left, right, nose, mouth = measure_parts(p, bits, labels, groups, **DRAWN).values()
    assert [left[among] for among in ("fakes", "all")] == [
        {"n": 0, "n_edited": 0, "n_groups": 0, "auroc": NONE}
    ] * 2
    assert right["fakes"]["auroc"] == NONE and right["fakes"]["n_edited"] == fakes.sum()
    assert right["all"]["auroc"]["value"] is not None
    assert nose["all"]["auroc"] == nose["fakes"]["auroc"] == NONE
    only = mean_auroc(p[fakes], bits[fakes])
    assert only == pytest.approx(mouth["fakes"]["auroc"]["value"])
    assert mean_auroc(p[fakes][:, :3], bits[fakes][:, :3]) is None


def test_names_in_words():
    assert list(map(named, FACE_PARTS)) == ["left eye", "right eye", "nose", "mouth"]
