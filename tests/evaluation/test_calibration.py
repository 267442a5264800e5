"""Planted temperatures and thresholds are found again; nothing breaks at the edges."""

import json
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit
from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score

from detector.errors import UserError
from detector.evaluation.calibration import (
    TEMPERATURES,
    Calibration,
    best_threshold,
    calibrate,
    distances,
    fit_temperature,
    log_odds,
    probabilities,
    unsure_scores,
)

images = st.lists(
    st.tuples(st.integers(0, 20).map(lambda k: k / 20), st.integers(0, 1)), min_size=1, max_size=40
).map(lambda rows: tuple(np.array(column) for column in zip(*rows, strict=True)))
margins = st.lists(
    st.tuples(st.floats(-40, 40), st.integers(0, 1)), min_size=1, max_size=40
).map(lambda rows: tuple(np.array(column) for column in zip(*rows, strict=True)))  # fmt: skip


def drawn(n, temperature, seed=0):
    """Margins that are `temperature` times the log odds by which labels were drawn."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(0, 2, n)
    return temperature * odds, (rng.random(n) >= expit(odds)).astype(int)


@pytest.mark.parametrize("temperature", [0.2, 0.7, 1.0, 2.5, 8.0])
def test_a_planted_temperature_is_found(temperature):
    z, labels = drawn(20_000, temperature)
    assert fit_temperature(z, labels) == pytest.approx(temperature, rel=0.05)
    assert fit_temperature(10 * z, labels) == pytest.approx(
        min(10 * fit_temperature(z, labels), 20), rel=1e-6
    )


def test_it_is_scipys_minimum_of_log_loss():
    z, labels = drawn(3000, 2.0, seed=4)
    found = minimize_scalar(
        lambda t: log_loss(labels == 0, expit(z / t)), bounds=(0.1, 10), method="bounded"
    )
    assert fit_temperature(z, labels) == pytest.approx(found.x, rel=5e-3)  # Platt's targets


@given(margins)
@settings(deadline=None)
def test_no_temperature_meets_platts_targets_better(rows):
    z, labels = rows
    found = fit_temperature(z, labels)
    assert TEMPERATURES[0] * 0.999 <= found <= TEMPERATURES[1] * 1.001
    n_fake, n_real = (labels == 0).sum(), (labels == 1).sum()
    target = np.where(labels == 0, (n_fake + 1) / (n_fake + 2), 1 / (n_real + 2))

    def loss(t):
        return np.sum(np.logaddexp(0, z / t) - target * z / t)

    for other in [*np.geomspace(*TEMPERATURES, 60), found * 0.99, found * 1.01]:
        if TEMPERATURES[0] <= other <= TEMPERATURES[1]:
            assert loss(found) <= loss(other) + 1e-9 * max(1, abs(loss(other)))


@pytest.mark.parametrize("n", [5, 50, 500])
def test_validation_without_errors_claims_no_more_than_laplaces_rule(n):
    labels = np.repeat([0, 1], n)
    for size in (0.5, 1.0, 9.0):
        z = np.where(labels == 0, size, -size)
        said = probabilities(z / fit_temperature(z, labels))
        assert said[0] == pytest.approx((n + 1) / (n + 2))
    # Hopeless scores: the least sure that the bound allows.
    assert fit_temperature(np.where(labels == 0, -3.0, 3.0), labels) == pytest.approx(20)
    assert fit_temperature(np.zeros(2 * n), labels) == 1.0


@given(margins, st.floats(0.05, 20))
@settings(deadline=None)
def test_no_order_of_images_changes(rows, temperature):
    z, labels = rows
    p = Calibration(temperature=temperature).scores(z)
    order = np.argsort(z, kind="stable")
    assert (np.diff(p[order]) >= 0).all() and ((p >= 0) & (p <= 1)).all()
    assert Calibration(temperature=temperature).scores(-z) == pytest.approx(1 - p, abs=1e-12)
    if len(set(labels)) == 2 and np.abs(z).max() < 30 * temperature:
        apart = np.round(z, 6)
        p = Calibration(temperature=temperature).scores(apart)
        expected = roc_auc_score(labels == 0, apart)
        assert roc_auc_score(labels == 0, p) == pytest.approx(expected, abs=1e-12)


@given(images)
@settings(max_examples=60, deadline=None)
def test_no_threshold_does_better(rows):
    p, labels = rows
    found = best_threshold(p, labels)
    assert 0 < found < 1
    if len(set(labels)) == 1:
        assert found == 0.5
        return

    def balanced(t):
        return balanced_accuracy_score(labels == 0, p >= t)

    every = np.r_[p[(p > 0) & (p < 1)], np.linspace(0.0125, 0.9875, 40)]
    assert balanced(found) >= max(map(balanced, every)) - 1e-12


def test_the_threshold_is_the_middle_of_the_widest_best_gap():
    def find(fakes, reals):
        p = np.r_[fakes, reals].astype(float)
        return best_threshold(p, np.repeat([0, 1], [len(fakes), len(reals)]))

    assert find([0.9, 0.8], [0.2, 0.1]) == pytest.approx(0.5)
    assert find([0.9, 0.7], [0.1, 0.05]) == pytest.approx(0.4)
    # One real above one fake: below .3 and above .4 are as good, the gap above is wider.
    assert find([0.3, 0.9], [0.4, 0.1]) == pytest.approx(0.65)
    # More fakes do not move it: balanced accuracy weighs classes, not images.
    assert find([0.3, *[0.9] * 9], [0.4, 0.1]) == pytest.approx(0.65)
    assert find([0.1, 0.2], [0.8, 0.9]) in (pytest.approx(0.05), pytest.approx(0.95))
    assert find([0.0], [1.0]) == 0.5
    above = np.nextafter(0.3, 1)
    assert find([above], [0.3]) == above  # no number lies between the two


@given(images, st.floats(0.05, 0.95), st.floats(0, 0.99))
@example((np.array([0.0, 1.0]), np.array([0, 0])), 0.25, 0.5)
@settings(max_examples=80, deadline=None)
def test_at_most_the_share_is_unsure_and_those_are_the_nearest(rows, threshold, share):
    p, _ = rows
    low, high = unsure_scores(p, threshold, share)
    assert 0 <= low <= threshold <= high <= 1
    inside = (p > low) & (p < high)
    assert inside.sum() <= share * len(p) + 1e-6
    away = distances(p, threshold)
    if inside.any() and not inside.all():
        assert away[inside].max() <= away[~inside].min() + 1e-9
    few = math.floor(share * len(p) + 1e-9)
    # No score is below 0 or above 1, so these are never strictly between two others.
    ends = np.isin(p[np.argsort(away)[:few]], (0, 1)).sum()
    if len(set(np.round(away, 9))) == len(p):
        assert inside.sum() == few - ends


def test_a_band_in_closed_form():
    p = expit(np.array([-4.0, -3, -2, 1, 3, 4]))
    low, high = unsure_scores(p, 0.5, 0.34)  # two of six: those at 1 and -2
    assert (logit(low), logit(high)) == pytest.approx((-2.5, 2.5))
    assert unsure_scores(p, 0.3, 0.0) == (0.3, 0.3)
    assert unsure_scores(np.full(9, 0.6), 0.5, 0.9) == (0.5, 0.5)


def test_log_odds_and_probabilities_are_scipys():
    z = np.linspace(-700, 700, 301)
    assert probabilities(z) == pytest.approx(expit(z), rel=1e-14)
    p = np.linspace(0.001, 0.999, 99)
    assert log_odds(p) == pytest.approx(logit(p))
    assert np.isfinite(log_odds(np.array([0.0, 1.0]))).all()
    assert probabilities(log_odds(p)) == pytest.approx(p, rel=1e-12)


def test_all_of_it_on_one_set():
    z, labels = drawn(4000, 3.0)
    settings = {"temperature": True, "threshold": "best", "unsure": 0.1, "trained_on": "faces"}
    found = calibrate(z, labels, **settings)
    assert found.temperature == fit_temperature(z, labels) and found.n == 4000
    p = found.scores(z)
    assert found.threshold == best_threshold(p, labels)
    verdicts = [found.verdict(x) for x in p]
    assert verdicts.count("unsure") == 400
    decided = np.array(verdicts) != "unsure"
    assert [v == "fake" for v in np.array(verdicts)[decided]] == list(p[decided] >= found.threshold)
    again = Calibration.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again == found
    plain = calibrate(z, labels, **settings | {"temperature": False, "threshold": 0.4, "unsure": 0})
    assert (plain.temperature, plain.threshold, plain.unsure) == (1.0, 0.4, (0.4, 0.4))
    assert Calibration().verdict(0.5) == "fake" and Calibration().verdict(0.49999) == "real"


@pytest.mark.parametrize(
    "change",
    [{"temperature": 0}, {"temperature": "hot"}, {"temperature": float("nan")}, {"threshold": 1},
     {"threshold": None}, {"unsure": [0.6, 0.7]}, {"unsure": [0.1]}, {"unsure": 3}, {"more": 1},
     {"unsure": [0.5, 1.5]}],
)  # fmt: skip
def test_a_damaged_calibration_is_refused(change):
    with pytest.raises(UserError, match="calibration"):
        Calibration.from_dict(Calibration().to_dict() | change)


def test_bad_margins():
    with pytest.raises(UserError, match="not finite"):
        fit_temperature([0.1, float("nan")], [0, 1])
    with pytest.raises(UserError, match="no images"):
        fit_temperature([], [])
    with pytest.raises(UserError, match="labels must be"):
        fit_temperature([0.1], [3])
