"""The best threshold against a loop over all of them, its interval against simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score

from detector.errors import UserError
from detector.evaluation.matrix_measure import best_threshold, measure_cell

OPTIONS = {"replicates": 100, "seed": 0}


def accuracy(p: np.ndarray, labels: np.ndarray, threshold: float) -> float:
    return float(accuracy_score(labels == 0, p >= threshold))


def brute_force(p: np.ndarray, labels: np.ndarray) -> float:
    """Every score as a threshold, and one above all of them."""
    return max(accuracy(p, labels, t) for t in [*p, np.inf])


def drawn(rng: np.random.Generator, n: int, apart: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose best threshold is .5, whatever `apart`, and labels, half of them fake."""
    labels = np.arange(n) % 2
    z = rng.normal(size=n) + apart * (0.5 - labels)
    return 1 / (1 + np.exp(-z)), labels


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 1)), min_size=2, max_size=25),
    st.integers(0, 12),
    st.integers(0, 99),
)
def test_no_threshold_is_better(images, given_threshold, seed):
    p, labels = (np.array(column) for column in zip(*images, strict=True))
    p, threshold = p / 6, given_threshold / 12
    labels[:2] = 0, 1
    groups = np.random.default_rng(seed).integers(0, 8, len(p))
    found = best_threshold(p, labels, groups, threshold=threshold, **OPTIONS)
    best, lost = found["best_accuracy"], found["lost_by_threshold"]
    assert best["value"] == pytest.approx(brute_force(p, labels), abs=1e-12)
    at = np.inf if best["threshold"] is None else best["threshold"]
    assert accuracy(p, labels, at) == pytest.approx(best["value"], abs=1e-12)
    apart = best["value"] - accuracy(p, labels, threshold)
    assert lost["value"] == pytest.approx(apart, abs=1e-12)
    assert (lost["value"] == 0) == (best["threshold"] == threshold) or apart == 0
    majority = max(np.mean(labels), 1 - np.mean(labels))
    assert majority - 1e-12 <= best["low"] <= best["value"] <= best["high"] <= 1
    assert 0 <= lost["low"] <= lost["value"] <= lost["high"] <= 1
    assert best["low"] < best["high"] and lost["low"] < lost["high"]


def test_of_equally_good_thresholds_the_nearest_is_named():
    p = np.array([0.9, 0.8, 0.7, 0.6, 0.2, 0.1])
    labels = np.array([0, 1, 0, 1, 1, 1])  # from .9 and from .7 five of six are right
    for threshold, nearest in ((0.05, 0.7), (0.95, 0.9), (0.65, 0.65), (0.85, 0.85)):
        found = best_threshold(p, labels, np.arange(6), threshold=threshold, **OPTIONS)
        assert found["best_accuracy"]["threshold"] == nearest
    nobody = best_threshold(p, np.array([1, 1, 1, 1, 1, 0]), np.arange(6), threshold=0.5, **OPTIONS)
    assert nobody["best_accuracy"]["threshold"] is None
    assert nobody["best_accuracy"]["value"] == pytest.approx(5 / 6)


def test_the_order_of_the_images_has_no_influence():
    rng = np.random.default_rng(3)
    p, labels = drawn(rng, 60, 1.0)
    p, groups, mixed = np.round(p, 1), np.arange(60) // 3, rng.permutation(60)
    one = best_threshold(p, labels, groups, threshold=0.3, **OPTIONS)
    other = best_threshold(p[mixed], labels[mixed], groups[mixed], threshold=0.3, **OPTIONS)
    assert one == other


def test_ends_are_those_of_a_naive_bootstrap_of_whole_groups():
    rng = np.random.default_rng(4)
    p, labels = drawn(rng, 120, 1.5)
    groups = np.arange(120) // 4 * 2 + labels  # pairs of one class
    threshold = 0.8
    found = best_threshold(p, labels, groups, threshold=threshold, replicates=3000, seed=0)
    cuts = np.array([*np.unique(p), np.inf])

    def measured(rows: np.ndarray) -> tuple[np.ndarray, float]:
        right = (p[rows, None] >= cuts) == (labels[rows, None] == 0)
        return right.mean(axis=0), np.mean((p[rows] >= threshold) == (labels[rows] == 0))

    at_cuts, at_given = measured(np.arange(120))
    members = {name: np.flatnonzero(groups == name) for name in np.unique(groups)}
    kinds = [[name for name in members if name % 2 == label] for label in (0, 1)]
    over, top = [], []
    for _ in range(1500):
        names = np.concatenate([rng.choice(kind, len(kind)) for kind in kinds])
        again, given_again = measured(np.concatenate([members[name] for name in names]))
        ahead = again - given_again
        over.append([(again - at_cuts).max(), (ahead - at_cuts + at_given).max()])
        top.append([again.max(), ahead.max()])
    off, high = np.quantile(over, 0.975, axis=0), np.quantile(top, 0.975, axis=0)
    best, lost = found["best_accuracy"], found["lost_by_threshold"]
    assert best["low"] == pytest.approx(best["value"] - off[0], abs=0.012)
    assert lost["low"] == pytest.approx(max(0, lost["value"] - off[1]), abs=0.012)
    assert best["high"] == pytest.approx(high[0], abs=0.012)
    assert lost["high"] == pytest.approx(high[1], abs=0.012)


@pytest.mark.parametrize("apart", [0.5, 2.0])
def test_a_perfect_threshold_is_not_called_improvable(apart):
    """Of images drawn again and again; a plain bootstrap of the maximum fails in a third."""
    rng, wrong, runs = np.random.default_rng(5), 0, 100
    for seed in range(runs):
        p, labels = drawn(rng, 100, apart)
        found = best_threshold(p, labels, np.arange(100), threshold=0.5, replicates=200, seed=seed)
        wrong += found["lost_by_threshold"]["low"] > 0
    assert wrong <= 7  # 2.5 expected at the most


def test_a_threshold_that_is_far_off_is_called_improvable():
    rng, said, runs = np.random.default_rng(6), 0, 40
    for seed in range(runs):
        p, labels = drawn(rng, 200, 2.0)
        found = best_threshold(p, labels, np.arange(200), threshold=0.8, replicates=200, seed=seed)
        said += found["lost_by_threshold"]["low"] > 0
    assert said >= 0.8 * runs


def test_copies_make_it_less_sure():
    rng = np.random.default_rng(7)
    p, labels = drawn(rng, 40, 1.5)
    alone = best_threshold(p, labels, np.arange(40), threshold=0.5, replicates=500, seed=0)
    many = [np.repeat(of, 10) for of in (p, labels, np.arange(40))]
    copied = best_threshold(*many, threshold=0.5, replicates=500, seed=0)
    assert copied == alone


def test_a_cell_of_one_class_has_dashes_and_no_invented_best():
    p = np.linspace(0.1, 0.9, 30)
    options = {"threshold": 0.5, "name": "faces", "fake": "fake", **OPTIONS}
    cell = measure_cell(p, np.ones(30, int), np.arange(30), **options)
    for key in ("auroc", "best_accuracy", "lost_by_threshold"):
        assert cell[key]["value"] is None and cell[key]["low"] is None
    assert cell["accuracy"]["value"] == 0.5 and cell["majority"] == 1.0
    assert cell["calibration"]["holds"] is False and "faces" in cell["calibration"]["says"]


def test_a_cell_counts_and_weighs():
    p, labels = drawn(np.random.default_rng(8), 90, 3.0)
    labels = np.append(labels, [1] * 10)
    p = np.append(p, np.full(10, 0.1))
    options = {"threshold": 0.5, "name": "faces", "fake": "fake", **OPTIONS}
    cell = measure_cell(p, labels, np.arange(100) // 2, **options)
    assert (cell["n"], cell["n_fake"], cell["n_real"], cell["n_groups"]) == (100, 45, 55, 50)
    assert cell["majority"] == pytest.approx(0.55)
    assert cell["accuracy"]["value"] == pytest.approx(accuracy(p, labels, 0.5))
    assert cell["best_accuracy"]["value"] == pytest.approx(brute_force(p, labels))
    assert set(cell["calibration"]) >= {"holds", "ece", "ece_by_chance", "p", "slope", "says"}


def test_nothing_to_measure_is_refused():
    with pytest.raises(UserError, match="no images"):
        best_threshold(np.zeros(0), np.zeros(0, int), np.zeros(0), threshold=0.5, **OPTIONS)
