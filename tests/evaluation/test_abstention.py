"""Coverage and risk by brute force over orders of ties."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.evaluation.abstention import answered, coverage_risk
from detector.evaluation.intervals import wilson

images = st.lists(
    st.tuples(st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9, 0.95]), st.integers(0, 1)),
    min_size=1,
    max_size=6,
).map(lambda rows: tuple(np.array(column) for column in zip(*rows, strict=True)))


@given(images, st.sampled_from([0.3, 0.5, 0.6]))
@settings(max_examples=40, deadline=None)
def test_the_curve_is_the_mean_over_orders_of_equally_sure_images(rows, threshold):
    p, labels = rows
    odds = np.log(p / (1 - p)) - np.log(threshold / (1 - threshold))
    away, wrong = np.round(np.abs(odds), 9), (p >= threshold) != (labels == 0)
    curves = [
        np.cumsum(wrong[list(order)]) / np.arange(1, len(p) + 1)
        for order in permutations(range(len(p)))
        if (np.diff(away[list(order)]) <= 0).all()
    ]
    coverage, risk, aurc = coverage_risk(p, labels, threshold)
    assert coverage == pytest.approx(np.arange(1, len(p) + 1) / len(p))
    assert risk == pytest.approx(np.mean(curves, axis=0))
    assert aurc == pytest.approx(np.mean(curves))
    assert risk[-1] == pytest.approx(wrong.mean())


def test_closed_forms():
    p, labels = np.array([0.99, 0.9, 0.6, 0.45, 0.02]), np.array([0, 0, 1, 1, 1])
    _, risk, aurc = coverage_risk(p, labels, 0.5)
    # Surest first: .99, .02, .9 are right, .6 is wrong, .45 right.
    assert risk == pytest.approx([0, 0, 0, 1 / 4, 1 / 5])
    assert aurc == pytest.approx(0.09)
    assert coverage_risk(np.full(4, 0.8), np.array([0, 0, 0, 1]), 0.5)[2] == 0.25


def test_a_band_leaves_out_what_is_strictly_inside():
    p, labels = np.array([0.99, 0.9, 0.6, 0.45, 0.4]), np.array([0, 0, 1, 1, 0])
    found = answered(p, labels, np.arange(5), threshold=0.5, unsure=(0.4, 0.7), level=0.95)
    assert found["n"] == 3
    low, high = wilson(1, 3)
    assert found["risk"] == pytest.approx({"value": 1 / 3, "low": low, "high": high})
    low, high = wilson(3, 5)
    assert found["coverage"] == pytest.approx({"value": 0.6, "low": low, "high": high})
    none = answered(p, labels, np.arange(5), threshold=0.5, unsure=(0.1, 0.999), level=0.95)
    assert none["n"] == 0 and none["risk"] == {"value": None, "low": None, "high": None}
