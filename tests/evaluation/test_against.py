"""The sentence has to follow from the interval, and the figures from scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, roc_auc_score

from detector.evaluation.against import against_controls


def beside(network, control, labels, **more):
    return against_controls(
        network,
        {"majority": np.full(len(labels), 0.4), "header": control},
        labels,
        np.arange(len(labels)),
        **{"threshold": 0.5, "replicates": 200, "seed": 0} | more,
    )


@pytest.fixture
def labels():
    return np.repeat((0, 1), 100)


def right(labels, share, seed):
    """Scores that are right on a share of the images."""
    keep = np.random.default_rng(seed).random(len(labels)) < share
    return np.where((labels == 0) == keep, 0.9, 0.1)


def test_a_clear_lead_is_said_to_be_one(labels):
    found = beside(right(labels, 0.95, 0), right(labels, 0.6, 1), labels)
    assert found["best"] == "header" and found["controls"]["header"]["lead"]["accuracy"]["low"] > 0
    assert found["says"].startswith("The network beats the best control, format")


def test_a_lead_that_may_be_none_is_said_not_to_be_shown(labels):
    found = beside(right(labels, 0.72, 0), right(labels, 0.7, 1), labels)
    assert "Nothing here shows" in found["says"] and "includes 0" in found["says"]


def test_worse_than_a_control_is_said_too(labels):
    found = beside(right(labels, 0.5, 0), right(labels, 0.9, 1), labels)
    assert "worse than a control" in found["says"]


def test_the_threshold_is_the_networks_alone(labels):
    network = np.where(labels == 0, 0.3, 0.2)
    found = beside(network, right(labels, 0.6, 1), labels, threshold=0.25)
    control = found["controls"]["header"]
    wanted = 1 - accuracy_score(labels == 0, right(labels, 0.6, 1) >= 0.5)
    assert control["lead"]["accuracy"]["value"] == pytest.approx(wanted)
    assert control["auroc"]["value"] == pytest.approx(
        roc_auc_score(labels == 0, right(labels, 0.6, 1))
    )


def test_the_majority_wins_where_nothing_else_does(labels):
    few = np.repeat((0, 1), (20, 180))
    found = beside(np.full(200, 0.9), np.full(200, 0.9), few)
    assert found["best"] == "majority" and "more frequent class" in found["says"]
