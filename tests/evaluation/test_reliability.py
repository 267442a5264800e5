"""ECE and reliability bins against torchmetrics and a plain loop."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.classification import binary_calibration_error

from detector.errors import UserError
from detector.evaluation.intervals import wilson
from detector.evaluation.metrics import summarize, weighted_metrics
from detector.evaluation.reliability import (
    BINS,
    bin_numbers,
    binned_error,
    calibrated_errors,
    reliability,
)

images = st.lists(
    st.tuples(st.integers(0, 1000).map(lambda k: k / 1000), st.integers(0, 1), st.floats(0.01, 5)),
    min_size=1,
    max_size=60,
).map(lambda rows: tuple(np.array(column) for column in zip(*rows, strict=True)))


def ece(p, labels, weights=None):
    weights = np.ones(len(p)) if weights is None else weights
    return weighted_metrics(p, labels, 0.5)(weights[None])["ece"][0]


@given(images)
@settings(max_examples=100, deadline=None)
def test_ece_is_a_loop_over_bins(rows):
    p, labels, w = rows
    total = 0.0
    for at in range(BINS):
        inside = (p * BINS >= at) & ((p * BINS < at + 1) | (at == BINS - 1))
        if inside.any():
            said, fake = np.average(p[inside], weights=w[inside]), (labels == 0)[inside]
            total += w[inside].sum() * abs(said - np.average(fake, weights=w[inside]))
    assert ece(p, labels, w) == pytest.approx(total / w.sum(), abs=1e-9)


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_ece_is_torchmetrics(seed):
    rng = np.random.default_rng(seed)
    p, labels = rng.random(200), rng.integers(0, 2, 200)  # no score lies on an edge
    reference = binary_calibration_error(
        torch.tensor(p), torch.tensor((labels == 0).astype(int)), n_bins=BINS, norm="l1"
    )
    assert ece(p, labels) == pytest.approx(float(reference), abs=1e-6)


def test_bins_hold_their_lower_edge_and_the_last_one_both():
    edges = np.linspace(0, 1, BINS + 1)
    assert bin_numbers(edges).tolist() == [*range(BINS), BINS - 1]
    assert bin_numbers(np.nextafter(edges[1:], 0)).tolist() == list(range(BINS))
    assert bin_numbers(np.array([0.1, 0.2, 0.30001]), bins=10).tolist() == [1, 2, 3]


def test_what_is_never_wrong_and_always_wrong():
    labels = np.repeat([0, 1], 20)
    assert ece(1.0 - labels, labels) == 0
    assert ece(labels * 1.0, labels) == 1
    assert ece(np.full(40, 0.9), labels) == pytest.approx(0.4)
    assert ece(np.full(3, 0.9), np.zeros(3, int)) == pytest.approx(0.1)  # one class has one, too


def test_made_up_labels_give_the_error_of_one_bin_in_closed_form():
    # 400 scores of .5: |Binomial(400, .5) / 400 - .5| is about half-normal, sd .025.
    errors = calibrated_errors(np.full(400, 0.5), np.arange(400), replicates=4000, seed=0)
    assert errors.mean() == pytest.approx(0.025 * np.sqrt(2 / np.pi), rel=0.04)
    # In groups of four with one label each it is that of 100 images.
    fewer = calibrated_errors(np.full(400, 0.5), np.arange(400) // 4, replicates=4000, seed=0)
    assert fewer.mean() == pytest.approx(0.05 * np.sqrt(2 / np.pi), rel=0.04)
    assert (
        calibrated_errors(np.repeat([0.0, 1], 9), np.arange(18), replicates=9, seed=0) == 0
    ).all()


def test_made_up_labels_do_not_depend_on_the_order_or_on_chunks(monkeypatch):
    rng = np.random.default_rng(0)
    p, groups = rng.random(50).round(2), rng.integers(0, 30, 50)
    expected = calibrated_errors(p, groups, replicates=40, seed=1)
    order = rng.permutation(50)
    assert (calibrated_errors(p[order], groups[order], replicates=40, seed=1) == expected).all()
    monkeypatch.setattr("detector.evaluation.reliability.CHUNK_CELLS", 200)
    assert (calibrated_errors(p, groups, replicates=40, seed=1) == expected).all()


def test_the_interval_begins_at_0_for_calibrated_scores_and_above_for_others():
    def intervals(sharpen):
        for seed in range(20):
            rng = np.random.default_rng(seed)
            p = rng.random(300)
            labels = (rng.random(300) >= p).astype(int)
            said = p**sharpen / (p**sharpen + (1 - p) ** sharpen)
            found = summarize(
                said, labels, np.arange(300), threshold=0.5, replicates=100, seed=seed
            )
            yield found["ece"]

    calibrated, sharpened = list(intervals(1)), list(intervals(3))
    assert all(one["value"] > 0 for one in calibrated)
    assert sum(one["low"] == 0 for one in calibrated) >= 16
    assert sum(one["low"] > 0 for one in sharpened) >= 19
    # E |p^3 / (p^3 + (1 - p)^3) - p| over uniform p, by a sum over a fine grid.
    grid = (np.arange(100_000) + 0.5) / 100_000
    truth = np.abs(grid**3 / (grid**3 + (1 - grid) ** 3) - grid).mean()
    assert sum(one["low"] <= truth <= one["high"] for one in sharpened) >= 17


@given(images)
@settings(max_examples=40, deadline=None)
def test_the_table_holds_every_image_and_gives_ece_back(rows):
    p, labels, _ = rows
    table = reliability(p, labels, np.arange(len(p)), level=0.95)
    assert sum(row["n"] for row in table) == len(p)
    gap = sum(row["n"] * abs(row["score"] - row["fake"]["value"]) for row in table)
    assert gap / len(p) == pytest.approx(ece(p, labels), abs=1e-9)
    for row in table:
        assert row["from"] - 1e-12 <= row["score"] <= row["to"] + 1e-12
        k = round(row["fake"]["value"] * row["n"])
        assert (row["fake"]["low"], row["fake"]["high"]) == pytest.approx(wilson(k, row["n"]))
    order = np.argsort(p)
    one = np.ones((1, len(p)))
    either = binned_error(p[order])(one, labels[order] == 0)
    assert either == pytest.approx(binned_error(p[order][::-1])(one, labels[order][::-1] == 0))


def test_bad_input():
    with pytest.raises(UserError, match="groups has shape"):
        reliability([0.1, 0.2], [0, 1], [0], level=0.95)
    with pytest.raises(UserError, match="no images"):
        reliability([], [], [], level=0.95)
