"""EER and TPR at few false alarms against scikit-learn's ROC curve."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from detector.evaluation.intervals import wilson
from detector.evaluation.metrics import summarize, weighted_metrics
from detector.evaluation.operating import equal_error_rate, tpr_at_fpr

scores = st.one_of(st.sampled_from([0.0, 0.2, 0.5, 0.7, 1.0]), st.floats(0, 1))
images = st.lists(
    st.tuples(scores, st.integers(0, 1), st.integers(1, 4)), min_size=2, max_size=60
).map(lambda rows: tuple(np.array(column) for column in zip(*rows, strict=True)))


def measured(p, labels, weights=None):
    weights = np.ones(len(p)) if weights is None else weights
    return {k: v[0] for k, v in weighted_metrics(p, labels, 0.5)(weights[None]).items()}


@given(images)
@settings(max_examples=80, deadline=None)
def test_both_are_read_off_scikit_learns_roc_curve(rows):
    p, labels, weights = rows
    assume(set(labels) == {0, 1})
    fpr, tpr, _ = roc_curve(labels == 0, p, sample_weight=weights, drop_intermediate=False)
    found = measured(p, labels, weights.astype(float))
    # The curve is a path: along it, FPR + TPR - 1 grows from -1 to 1.
    where = np.interp(0, fpr + tpr - 1, np.arange(len(fpr)))
    assert found["eer"] == pytest.approx(np.interp(where, np.arange(len(fpr)), fpr), abs=1e-9)
    assert found["eer"] == pytest.approx(1 - np.interp(where, np.arange(len(fpr)), tpr), abs=1e-9)
    for name, allowed in (("tpr_at_fpr_01", 0.01), ("tpr_at_fpr_05", 0.05)):
        assert found[name] == pytest.approx(tpr[fpr <= allowed + 1e-12].max(), abs=1e-9)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("fpr", [0.0, 0.1, 0.25, 1.0])
def test_each_row_is_its_own_set(seed, fpr):
    rng = np.random.default_rng(seed)
    fakes, reals = np.cumsum(rng.integers(0, 3, (2, 7, 12)), axis=2) + 0.0
    fakes[:, -1] += 1
    reals[:, -1] += 1
    for row in range(7):
        alone = fakes[row : row + 1], reals[row : row + 1]
        assert equal_error_rate(fakes, reals)[row] == equal_error_rate(*alone)[0]
        best = max(
            (f for f, r in zip(fakes[row], reals[row], strict=True) if r <= fpr * reals[row, -1]),
            default=0.0,
        )
        assert tpr_at_fpr(fakes, reals, fpr)[row] == best / fakes[row, -1]


def test_closed_forms():
    labels = np.repeat([0, 1], 100)
    assert measured(1.0 - labels, labels)["eer"] == 0
    assert measured(labels * 1.0, labels)["eer"] == 1
    assert measured(np.full(200, 0.3), labels)["eer"] == 0.5
    assert measured(np.full(200, 0.3), labels)["tpr_at_fpr_05"] == 0
    # One real above 60 of the fakes, five above 80, six above the rest.
    p = np.r_[np.full(60, 0.9), np.full(20, 0.7), np.full(20, 0.5), 0.8, np.full(4, 0.6), 0.55]
    p = np.r_[p, np.full(94, 0.1)]
    assert measured(p, labels)["tpr_at_fpr_01"] == 0.8
    assert measured(p, labels)["tpr_at_fpr_05"] == 0.8
    p[100] = 0.95  # the one real above all
    assert measured(p, labels)["tpr_at_fpr_01"] == 0.8


def test_whole_percents_do_not_fall_to_rounding():
    # 0.07 * 100 is above 7 and 0.29 * 100 below 29.
    reals = np.arange(1.0, 101)[None]
    for percent in range(1, 101):
        assert tpr_at_fpr(reals, reals, percent / 100)[0] == percent / 100


@pytest.mark.parametrize("label", [0, 1])
def test_a_single_class_has_neither(label):
    found = measured(np.array([0.1, 0.6, 0.6]), np.full(3, label))
    assert all(np.isnan(found[name]) for name in ("eer", "tpr_at_fpr_01", "tpr_at_fpr_05"))


@pytest.mark.parametrize(
    "n_real, copies, known", [(39, 1, ""), (40, 1, "5"), (199, 1, "5"), (200, 1, "15"),
                              (200, 5, "5"), (200, 6, "")],
)  # fmt: skip
def test_a_dash_where_reals_are_too_few(n_real, copies, known):
    labels = np.repeat([0, 1], [30, n_real])
    groups = np.r_[np.arange(30), 30 + np.arange(n_real) // copies]
    found = summarize(1.0 - labels, labels, groups, threshold=0.5, replicates=20, seed=0)
    for name, short in (("tpr_at_fpr_01", "1"), ("tpr_at_fpr_05", "5")):
        nothing = {"value": None, "low": None, "high": None}
        if short in known:
            low, high = wilson(30, 30)
            if copies == 1:
                assert found[name] == pytest.approx({"value": 1.0, "low": low, "high": high})
            assert found[name]["low"] < found[name]["value"] == 1
        else:
            assert found[name] == nothing
