"""Calibration that holds is let be, one that does not is found and said in words."""

import json

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from detector.evaluation.holds import _solved, calibration_holds, in_words, recalibration


def drawn(n, seed, slope=1.0, shift=0.0):
    """Scores whose log odds of fake are truly `slope` times theirs plus `shift`."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(0, 2, n)
    labels = (rng.random(n) >= expit(slope * odds + shift)).astype(int)
    return expit(odds), labels


def holds(p, labels, groups=None, replicates=200):
    groups = np.arange(len(p)) if groups is None else groups
    return calibration_holds(p, labels, groups, replicates=replicates, seed=0)


def test_calibrated_sets_pass_as_often_as_promised_and_others_do_not():
    passed = [holds(*drawn(300, seed))["holds"] for seed in range(60)]
    assert 52 <= sum(passed) < 60 or all(passed)
    assert not any(holds(*drawn(300, seed, slope=0.3))["holds"] for seed in range(20))
    assert not any(holds(*drawn(300, seed, shift=1.5))["holds"] for seed in range(20))


def test_copies_are_no_new_evidence():
    p, labels = drawn(40, 5, slope=0.5)
    once = holds(p, labels, replicates=1000)
    copied = (np.repeat(x, 20) for x in (p, labels))
    grouped = holds(*copied, np.repeat(np.arange(40), 20), replicates=1000)
    assert grouped["p"] == pytest.approx(once["p"], abs=0.03)
    assert grouped["slope"] == pytest.approx(once["slope"], abs=1e-6)


@pytest.mark.parametrize("slope, shift", [(1.0, 0.0), (0.4, 0.0), (2.0, 0.0), (1.0, 1.2)])
def test_planted_slopes_and_intercepts_are_found(slope, shift):
    p, labels = drawn(8000, 3, slope, shift)
    found = recalibration(p, labels, np.arange(len(p)), replicates=200, seed=0)
    assert found["slope"]["value"] == pytest.approx(slope, rel=0.1)
    reference = LogisticRegression(C=np.inf, tol=1e-10).fit(logit(p)[:, None], labels == 0)
    assert found["slope"]["value"] == pytest.approx(reference.coef_[0, 0], rel=1e-4)
    # At the intercept, with the slope held at 1, as many fakes are expected as there are.
    expected = expit(logit(p) + found["intercept"]["value"]).sum()
    assert expected == pytest.approx((labels == 0).sum(), abs=1e-6)
    if slope == 1:
        assert found["intercept"]["value"] == pytest.approx(shift, abs=0.1)


def test_intervals_cover_the_truth():
    missed = {"slope": 0, "intercept": 0}
    for seed in range(100):
        found = recalibration(*drawn(200, seed, shift=0.5), np.arange(200), replicates=200, seed=0)
        missed["slope"] += not found["slope"]["low"] <= 1 <= found["slope"]["high"]
        missed["intercept"] += not found["intercept"]["low"] <= 0.5 <= found["intercept"]["high"]
    assert max(missed.values()) <= 12, missed


NOTHING = {"value": None, "low": None, "high": None}


@pytest.mark.parametrize(
    "p, labels, undefined",
    [
        ([0.1, 0.9], [0, 0], {"slope", "intercept"}),
        ([0.1, 0.2, 0.8, 0.9], [1, 1, 0, 0], {"slope"}),
        ([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], {"slope"}),
        ([0.5, 0.5, 0.5, 0.5], [0, 1, 0, 1], {"slope"}),
        ([0.1, 0.3, 0.3, 0.9], [1, 1, 0, 0], {"slope"}),
        ([0.0, 1.0, 0.0, 1.0, 0.5], [0, 1, 1, 0, 0], set()),
    ],
)
def test_edges(p, labels, undefined):
    found = holds(np.array(p), np.array(labels))
    json.dumps(found, allow_nan=False)
    for key in ("slope", "intercept"):
        assert (found[key] == NOTHING) == (key in undefined)
    assert "\n" not in in_words(found, "a set")


def test_one_group_tells_nothing_of_slopes():
    found = recalibration(*drawn(30, 0), np.zeros(30), replicates=50, seed=0)
    assert found == {"slope": NOTHING, "intercept": NOTHING}


def test_the_order_of_images_changes_nothing():
    p, labels = drawn(100, 0)
    groups, order = np.arange(100) // 2, np.random.default_rng(1).permutation(100)
    assert holds(p, labels, groups) == holds(p[order], labels[order], groups[order])


def test_the_words_name_the_worst_bin():
    p = np.repeat([0.1, 0.5, 0.9], 100)
    labels = np.r_[np.arange(100) >= 10, np.arange(100) >= 50, np.arange(100) >= 61].astype(int)
    said = in_words(holds(p, labels), "hardfake")
    assert said.startswith("Calibration does not hold on hardfake: ECE 0.097")
    assert "Of 100 pictures scored about 0.90, 0.61 [0.51, 0.70] are fake." in said
    labels[200:290], labels[290:] = 0, 1
    assert in_words(holds(p, labels), "hardfake").startswith("No sign that calibration fails on")


def test_resamples_that_have_one_score_alone_are_left_out():
    # In three of a hundred resamples all six images have the same score: no slope fits those.
    p, labels = np.array([0.25, 0.25, 0.25, 0.75, 0.75, 0.75]), np.array([1, 1, 0, 1, 0, 0])
    found = recalibration(p, labels, np.arange(6), replicates=500, seed=0)
    for of in found.values():
        assert of["low"] is None or of["low"] <= of["value"] <= of["high"]
    assert found["intercept"]["value"] is not None


def test_solving_leaves_out_what_has_no_bend():
    bend = np.array([[[2.0, 0.0], [0.0, 4.0]], [[1.0, 1.0], [1.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]])
    steps = _solved(bend, np.ones((3, 2)))
    assert steps[0].tolist() == [0.5, 0.25] and np.isnan(steps[1:]).all()
    np.testing.assert_array_equal(_solved(bend[:1], np.ones((1, 2))), steps[:1])
