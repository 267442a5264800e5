"""Paired comparisons against SciPy, scikit-learn and simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, false_discovery_control
from sklearn.metrics import accuracy_score, roc_auc_score

from detector.errors import UserError
from detector.evaluation.compare import holm, mcnemar, over_folds, paired

OPTIONS = {"thresholds": (0.5, 0.5), "replicates": 300, "seed": 0}


def drawn(rng, n, strength):
    labels = rng.integers(0, 2, n)
    labels[:2] = 0, 1
    score = 1 / (1 + np.exp(-(strength * (0.5 - labels) * 2 + rng.normal(size=n))))
    return labels, score


@settings(max_examples=50, deadline=None)
@given(st.integers(4, 60), st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_differences_are_those_of_scikit_learn(n, seed, digits):
    rng = np.random.default_rng(seed)
    labels, a = drawn(rng, n, 1)
    b = np.round(rng.random(n), digits)
    found = paired(a, b, labels, rng.integers(0, n, n), **OPTIONS | {"replicates": 20})
    fake = labels == 0
    auroc = roc_auc_score(fake, a) - roc_auc_score(fake, b)
    accuracy = accuracy_score(fake, a >= 0.5) - accuracy_score(fake, b >= 0.5)
    assert found["auroc"]["value"] == pytest.approx(auroc, abs=1e-12)
    assert found["accuracy"]["value"] == pytest.approx(accuracy, abs=1e-12)
    for name in ("auroc", "accuracy"):
        measure = found[name]
        assert -1 <= measure["low"] <= measure["value"] <= measure["high"] <= 1
        assert measure["low"] < measure["high"]


def test_the_two_are_exchangeable():
    rng = np.random.default_rng(1)
    labels, a = drawn(rng, 80, 1)
    b, groups = rng.random(80), np.arange(80) // 2
    one, other = paired(a, b, labels, groups, **OPTIONS), paired(b, a, labels, groups, **OPTIONS)
    assert one["auroc"]["value"] == pytest.approx(-other["auroc"]["value"])
    assert one["mcnemar"]["only_a"] == other["mcnemar"]["only_b"]


def test_intervals_hold_the_true_difference_as_often_as_they_say():
    rng, held, runs = np.random.default_rng(2), 0, 150
    true = 0.5 + 0.5 * (math.erf(1.2 / 2) - math.erf(0.8 / 2)) - 0.5
    for _ in range(runs):
        labels = np.repeat((0, 1), 60)
        common = rng.normal(size=120)
        scores = []
        for strength in (1.2, 0.8):
            noise = math.sqrt(0.5) * (common + rng.normal(size=120))
            scores.append(1 / (1 + np.exp(-(strength * (labels == 0) + noise))))
        found = paired(*scores, labels, np.arange(120), **OPTIONS | {"replicates": 200})["auroc"]
        held += found["low"] <= true <= found["high"]
    assert held >= 0.89 * runs


def test_a_copy_of_each_image_does_not_make_it_surer():
    rng = np.random.default_rng(3)
    labels, a = drawn(rng, 60, 1)
    b = rng.random(60)
    once = paired(a, b, labels, np.arange(60), **OPTIONS)["accuracy"]
    twice = paired(
        *(np.repeat(x, 2) for x in (a, b, labels)), np.arange(120) // 2, **OPTIONS
    )["accuracy"]  # fmt: skip
    assert twice["high"] - twice["low"] >= 0.9 * (once["high"] - once["low"])


def test_the_same_answers_still_have_an_interval():
    rng = np.random.default_rng(4)
    labels, a = drawn(rng, 50, 1)
    for measure in (paired(a, a, labels, np.arange(50), **OPTIONS)[k] for k in ("auroc",)):
        assert measure["low"] < 0 == measure["value"] < measure["high"]


def test_one_class_has_no_auroc():
    found = paired(np.ones(5), np.zeros(5), np.zeros(5, int), np.arange(5), **OPTIONS)
    assert found["auroc"] == {"value": None, "low": None, "high": None}
    assert found["accuracy"]["value"] == 1


def test_lengths_have_to_agree():
    with pytest.raises(UserError, match="3 and 2 scores"):
        paired(np.ones(3), np.ones(2), np.zeros(3), np.zeros(3), **OPTIONS)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=80))
def test_mcnemar_is_the_sign_test(votes):
    a, b = np.array(votes, bool).reshape(-1, 2).T
    found = mcnemar(a, b)
    n = found["only_a"] + found["only_b"]
    assert found["only_a"] == sum(x and not y for x, y in votes)
    assert found["p"] == pytest.approx(binomtest(found["only_a"], n).pvalue if n else 1.0)


def test_folds_are_averaged_not_pooled():
    found = over_folds([{"auroc": 0.9, "f1": None}, {"auroc": 0.7, "f1": 0.5}])
    assert found["auroc"] == {"mean": pytest.approx(0.8), "sd": pytest.approx(0.02**0.5), "n": 2}
    assert found["f1"] == {"mean": 0.5, "sd": None, "n": 1}
    assert over_folds([{"auroc": None}])["auroc"] == {"mean": None, "sd": None, "n": 0}


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_rejects_what_its_steps_reject(raw):
    corrected = holm(raw)
    order = np.argsort(raw, kind="stable")
    for level in (0.001, 0.05, 0.5):
        rejected = set()
        for done, at in enumerate(order):
            if raw[at] * (len(raw) - done) > level:
                break
            rejected.add(int(at))
        assert {at for at, p in enumerate(corrected) if p <= level} == rejected
    if raw:
        # Holm is never less careful than Benjamini and Hochberg.
        assert (np.array(corrected) >= false_discovery_control(raw) - 1e-12).all()
