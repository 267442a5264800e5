"""AUROC of several columns at once, and few metrics: the figures of scikit-learn and of all."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from detector.errors import UserError
from detector.evaluation.metrics import METRICS, summarize, weighted_metrics
from detector.evaluation.ranking import weighted_auroc

# A coarse grid makes ties, within a class and across.
scores = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1))
images = st.lists(
    st.tuples(scores, scores, st.integers(0, 1), st.integers(0, 5), st.integers(0, 4)),
    min_size=1,
    max_size=40,
).map(lambda rows: tuple(np.array(column) for column in zip(*rows, strict=True)))
wanted = st.sets(st.sampled_from(METRICS), min_size=1)


@given(images)
@settings(max_examples=80, deadline=None)
def test_each_column_is_scikit_learns_under_any_weights(rows):
    a, b, labels, _, weights = rows
    weights = np.stack([weights, np.ones(len(a)), weights * 0.37 + 0.1]).astype(float)
    found = weighted_auroc(np.stack([a, b], axis=1), labels)(weights)
    assert found.shape == (3, 2)
    for row, w in zip(found, weights, strict=True):
        for value, p in zip(row, (a, b), strict=True):
            if w[labels == 0].sum() == 0 or w[labels == 1].sum() == 0:
                assert np.isnan(value)
            else:
                expected = roc_auc_score(labels == 0, p, sample_weight=w)
                assert value == pytest.approx(expected, abs=1e-12)


@given(images, wanted, st.sampled_from([0.0, 0.25, 0.6]))
@settings(max_examples=80, deadline=None)
def test_few_metrics_are_those_of_all(rows, names, threshold):
    p, _, labels, groups, weights = rows
    weights = np.stack([weights, weights * 0.37 + 0.1]).astype(float)
    every = weighted_metrics(p, labels, threshold)(weights)
    few = weighted_metrics(p, labels, threshold, names)(weights)
    assert list(few) == [name for name in METRICS if name in names]
    for name, value in few.items():
        np.testing.assert_allclose(value, every[name], rtol=0, atol=1e-12)
    how = {"threshold": threshold, "replicates": 12, "seed": 1}
    whole = summarize(p, labels, groups, **how)
    part = summarize(p, labels, groups, names=names, **how)
    assert part == {k: v for k, v in whole.items() if k in part}
    assert names == part.keys() & set(METRICS)


def test_a_metric_that_does_not_exist_is_refused():
    with pytest.raises(UserError, match="no such metric: auc"):
        weighted_metrics(np.array([0.1, 0.9]), np.array([1, 0]), 0.5, ["auc", "ap"])
