import json
import time

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from detector.errors import UserError
from detector.evaluation.intervals import wilson
from detector.evaluation.metrics import (
    LOG_CLIP,
    auroc,
    average_precision,
    f1,
    summarize,
    weighted_metrics,
)

NAMES = {
    "auroc",
    "accuracy",
    "balanced_accuracy",
    "f1",
    "precision",
    "recall",
    "ap",
    "log_loss",
    "brier",
}
# `test_operating` and `test_reliability` compare these with others.
ALL = NAMES | {"eer", "ece", "tpr_at_fpr_01", "tpr_at_fpr_05"}
# A coarse grid makes ties, among them with the threshold; 0 and 1 meet the clip.
scores = st.one_of(st.sampled_from([0.0, 0.2, 0.5, 0.5000001, 0.7, 1.0]), st.floats(0, 1))
images = st.lists(
    st.tuples(scores, st.integers(0, 1), st.integers(0, 6), st.floats(0.01, 5)),
    min_size=1,
    max_size=40,
).map(lambda rows: tuple(np.array(column) for column in zip(*rows, strict=True)))
thresholds = st.sampled_from([0.0, 0.2, 0.5, 0.7, 1.0])


def by_sklearn(p, labels, threshold, w=None):
    y, called = labels == 0, p >= threshold
    clipped = np.clip(p, LOG_CLIP, 1 - LOG_CLIP)
    return {
        "auroc": sk.roc_auc_score(y, p, sample_weight=w),
        "accuracy": sk.accuracy_score(y, called, sample_weight=w),
        "balanced_accuracy": sk.balanced_accuracy_score(y, called, sample_weight=w),
        "f1": sk.f1_score(y, called, sample_weight=w),
        "precision": sk.precision_score(y, called, sample_weight=w) if called.any() else None,
        "recall": sk.recall_score(y, called, sample_weight=w),
        "ap": sk.average_precision_score(y, p, sample_weight=w),
        "log_loss": sk.log_loss(y, clipped, sample_weight=w, labels=[0, 1]),
        "brier": sk.brier_score_loss(y, p, sample_weight=w),
    }


def values(p, labels, threshold, w=None):
    weights = np.ones(len(p)) if w is None else w
    measured = weighted_metrics(p, labels, threshold)(weights[None])
    assert measured.keys() == ALL
    return {name: None if np.isnan(v[0]) else v[0] for name, v in measured.items()}


def summary(p, labels, groups=None, threshold=0.5, replicates=60, seed=0):
    groups = np.arange(len(p)) if groups is None else groups
    return summarize(p, labels, groups, threshold=threshold, replicates=replicates, seed=seed)


@given(images, thresholds)
@settings(max_examples=60, deadline=None)
def test_every_metric_is_scikit_learns(rows, threshold):
    p, labels, _, weights = rows
    assume(set(labels) == {0, 1})
    for w in (None, weights):
        expected = by_sklearn(p, labels, threshold, w)
        assert expected.keys() == NAMES
        found = values(p, labels, threshold, w)
        assert {name: found[name] for name in NAMES} == pytest.approx(expected, abs=1e-9)
        assert auroc(p, labels, w) == pytest.approx(expected["auroc"], abs=1e-9)
        assert average_precision(p, labels, w) == pytest.approx(expected["ap"], abs=1e-9)
        assert f1(p, labels, threshold, w) == pytest.approx(expected["f1"], abs=1e-9)


@given(images)
@settings(deadline=None)
def test_auroc_is_the_share_of_pairs(rows):
    p, labels, _, w = rows
    assume(set(labels) == {0, 1})
    pairs = [
        (w[i] * w[j], 1.0 if p[i] > p[j] else 0.5 if p[i] == p[j] else 0.0)
        for i in np.flatnonzero(labels == 0)
        for j in np.flatnonzero(labels == 1)
    ]
    expected = sum(a * b for a, b in pairs) / sum(a for a, _ in pairs)
    assert auroc(p, labels, w) == pytest.approx(expected, abs=1e-12)


@given(images, st.integers(0, 99))
@settings(deadline=None)
def test_whole_weights_are_repetitions_and_rows_are_independent(rows, seed):
    p, labels, _, _ = rows
    counts = np.random.default_rng(seed).integers(0, 3, (4, len(p)))
    counts[:, 0] += 1
    measured = weighted_metrics(p, labels, 0.5)(counts.astype(float))
    for i, repeat in enumerate(counts):
        expected = values(np.repeat(p, repeat), np.repeat(labels, repeat), 0.5)
        found = {k: None if np.isnan(v[i]) else v[i] for k, v in measured.items()}
        assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("label", [0, 1])
def test_a_single_class_leaves_undefined_what_compares_classes(label):
    p, labels = np.array([0.1, 0.5, 0.8, 0.9]), np.full(4, label)
    found = summary(p, labels)
    undefined = {"auroc", "ap", "balanced_accuracy", "f1", "precision", "eer"} | (
        {"recall"} if label else set()
    )
    undefined |= {"tpr_at_fpr_01", "tpr_at_fpr_05"}
    for name in ALL:
        assert (found[name] == {"value": None, "low": None, "high": None}) == (name in undefined)
    assert found["accuracy"]["value"] == (0.25 if label else 0.75)
    assert found["brier"]["value"] == pytest.approx(np.mean((p - (1 - label)) ** 2))
    assert found["log_loss"]["value"] == pytest.approx(sk.log_loss(labels == 0, p, labels=[0, 1]))
    assert auroc(p, labels) is average_precision(p, labels) is f1(p, labels, 0.5) is None


def test_nothing_called_fake_leaves_precision_undefined_alone():
    found = summary(np.array([0.1, 0.2, 0.3]), np.array([0, 1, 1]))
    assert found["precision"]["value"] is None
    assert found["recall"]["value"] == 0 == found["f1"]["value"]
    assert found["recall"]["low"] == 0 < found["recall"]["high"] < 1


@given(images, thresholds)
@settings(max_examples=60, deadline=None)
def test_every_interval_has_width_and_holds_its_value(rows, threshold):
    p, labels, groups, _ = rows
    found = summary(p, labels, groups, threshold, replicates=40)
    json.dumps(found, allow_nan=False)
    assert found["n"] == len(p) == found["n_fake"] + found["n_real"]
    assert found["n_groups"] == len(set(groups))
    for name in ALL:
        value, low, high = (found[name][k] for k in ("value", "low", "high"))
        if value is None:
            assert low is None and high is None
            continue
        assert all(type(x) is float for x in (value, low, high))
        assert 0 <= low <= value <= high <= (16 if name == "log_loss" else 1)
        assert low < high
        if 1e-4 < value < 1 - 1e-4:
            assert low < value < high


@pytest.mark.parametrize("n", [1, 2, 3, 10, 200])
@pytest.mark.parametrize("kind", ["perfect", "hopeless", "constant"])
def test_neither_perfect_nor_hopeless_nor_constant_is_certain(n, kind):
    labels = np.repeat([0, 1], n)
    p = {"perfect": 1.0 - labels, "hopeless": labels * 1.0, "constant": np.full(2 * n, 0.5)}[kind]
    found = summary(p, labels)
    for name in ALL:
        if name.startswith("tpr") and n < (200 if name.endswith("01") else 40):
            assert found[name]["value"] is None
        else:
            assert found[name]["high"] - found[name]["low"] > 0.3 / (n + 3), name
    if kind == "perfect":
        for name in ("auroc", "ap", "f1", "balanced_accuracy"):
            assert (found[name]["low"], found[name]["high"]) == pytest.approx(wilson(n, n))
        assert found["log_loss"]["high"] > 16 * 1.5 / (n + 3)
    if kind == "hopeless":
        assert (found["auroc"]["low"], found["auroc"]["high"]) == pytest.approx(wilson(0, n))


def test_a_perfect_score_is_as_sure_as_the_smaller_class_is_large():
    for n_fake, n_real in [(5, 60), (60, 5)]:
        labels = np.repeat([0, 1], [n_fake, n_real])
        found = summary(1.0 - labels, labels)["auroc"]
        assert (found["low"], found["high"]) == pytest.approx(wilson(5, 5))


def test_a_first_error_does_not_make_the_score_more_certain():
    labels = np.repeat([0, 1], 100)
    p = np.where(labels == 0, 0.9, 0.1) + np.linspace(-0.05, 0.05, 200)
    perfect = summary(p, labels, replicates=500)
    p[99], p[100] = 0.48, 0.52
    nearly = summary(p, labels, replicates=500)
    for name in NAMES - {"log_loss", "brier"}:
        assert nearly[name]["low"] <= perfect[name]["low"] < perfect[name]["high"] == 1
    for name in ("log_loss", "brier"):
        assert nearly[name]["high"] >= perfect[name]["high"]


def example(n=300, seed=0, shift=1.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    p = 1 / (1 + np.exp(-rng.normal(shift * (1 - 2 * labels), 1)))
    return np.round(p, 2), labels, np.array([f"photo {i}" for i in rng.integers(0, n, n)])


def test_the_order_of_images_changes_nothing_and_the_seed_only_the_bootstrap():
    p, labels, groups = example()
    expected = summary(p, labels, groups, replicates=200)
    assert summary(p, labels, groups, replicates=200) == expected
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(p))
        assert summary(p[order], labels[order], groups[order], replicates=200) == expected
    other = summary(p, labels, groups, replicates=200, seed=1)
    assert {k: other[k]["value"] for k in NAMES} == {k: expected[k]["value"] for k in NAMES}
    assert other["auroc"] != expected["auroc"]
    assert other["accuracy"] == expected["accuracy"]


def test_copies_add_no_certainty():
    p, labels, _ = example()
    groups = np.arange(len(p))
    once = summary(p, labels, groups, replicates=200)
    copied = [np.repeat(x, 3) for x in (p, labels, groups)]
    thrice = summary(*copied, replicates=200)
    for name in ALL:
        assert thrice[name] == pytest.approx(once[name], abs=1e-9), name
    counted_as_new = summary(*copied[:2], replicates=200)
    for name in NAMES:
        width = counted_as_new[name]["high"] - counted_as_new[name]["low"]
        assert width < 0.75 * (once[name]["high"] - once[name]["low"]), name


def test_without_shared_groups_proportions_are_plain_wilson():
    p, labels, _ = example()
    found, called, fake = summary(p, labels), p >= 0.5, labels == 0
    for name, hits, of in [
        ("accuracy", called == fake, np.ones_like(fake)),
        ("precision", called & fake, called),
        ("recall", called & fake, fake),
    ]:
        ends = (found[name]["low"], found[name]["high"])
        assert ends == pytest.approx(wilson(hits.sum(), of.sum()))


def test_intervals_cover_the_truth():
    """Scores whose AUROC, Brier score and accuracy are known from a million images."""
    names = ("auroc", "ap", "f1", "balanced_accuracy", "log_loss", "brier", "accuracy", "recall")
    p, labels, _ = example(1_000_000, 1, 1.4)
    truth = values(p, labels, 0.5)
    missed = dict.fromkeys(names, 0)
    for trial in range(200):
        p, labels, _ = example(100, 10 + trial, 1.4)
        found = summary(p, labels, replicates=200, seed=trial)
        for name in names:
            missed[name] += not found[name]["low"] <= truth[name] <= found[name]["high"]
    assert max(missed.values()) <= 20, missed


def test_exchanging_the_classes_mirrors_the_result():
    p, labels, groups = example()
    there, back = summary(p, labels, groups), summary(1 - p, 1 - labels, groups)
    for name in ("auroc", "log_loss", "brier"):
        assert back[name]["value"] == pytest.approx(there[name]["value"])
    assert (there["n_fake"], there["n_real"]) == (back["n_real"], back["n_fake"])


def test_the_threshold_itself_is_fake_and_float32_is_what_it_is():
    labels = np.array([0, 0, 1, 1])
    assert summary(np.array([0.5, 0.7, 0.4, 0.5]), labels)["recall"]["value"] == 1.0
    assert summary(np.array([0.5, 0.7, 0.4, 0.5]), labels)["accuracy"]["value"] == 0.75
    single = np.array([0.7, 0.9, 1.0, 0.0], dtype=np.float32)
    read_back = np.array([float(x) for x in single])
    assert summary(single, labels, threshold=0.7) == summary(read_back, labels, threshold=0.7)
    assert summary(single, labels, threshold=float(single[0]))["recall"]["value"] == 1.0


GOOD = {"p_fake": [0.1, 0.9, 0.5], "labels": [1, 0, 1], "groups": [0, 1, 2]}
GOOD |= {"threshold": 0.5, "replicates": 10, "seed": 0}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"p_fake": [0.1, float("nan"), 0.5]}, "image 1 has nan"),
        ({"p_fake": [0.1, 1.1, 0.5]}, "image 1 has 1.1"),
        ({"p_fake": [0.1, -1e-9, 0.5]}, "image 1"),
        ({"p_fake": ["a", "b", "c"]}, "numbers"),
        ({"p_fake": [[0.1, 0.9, 0.5]]}, "shape"),
        ({"labels": [1, 0]}, "shape"),
        ({"labels": [1, 0, 2]}, "labels must be 0"),
        ({"labels": ["real", "fake", "real"]}, "labels must be 0"),
        ({"groups": [0, 1]}, "groups has shape"),
        ({"p_fake": [], "labels": [], "groups": []}, "no images"),
        ({"threshold": 50}, "threshold"),
        ({"threshold": float("nan")}, "threshold"),
        ({"replicates": 0}, "replicates"),
    ],
)
def test_bad_input_is_one_line_that_says_what(change, says):
    summarize(**GOOD)
    with pytest.raises(UserError, match=says) as error:
        summarize(**GOOD | change)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("weights", [[1, 1], [1, -1, 1], [1, np.nan, 1]])
def test_bad_weights(weights):
    with pytest.raises(UserError, match="weights"):
        auroc(GOOD["p_fake"], GOOD["labels"], weights)


def test_twenty_thousand_images_with_a_thousand_replicates_take_well_under_ten_seconds():
    p, labels, groups = example(20_000)
    start = time.process_time()
    summary(p, labels, groups, replicates=1000)
    assert time.process_time() - start < 8
