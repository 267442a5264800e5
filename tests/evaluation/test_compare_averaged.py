"""Averages over folds and seeds against scikit-learn, plain loops and SciPy."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    brier_score_loss,
    log_loss,
    roc_auc_score,
)

from detector.evaluation import averaged
from detector.evaluation.averaged import MEASURES, Network, compare_entries, votes

OPTIONS = {"replicates": 200, "seed": 0}


def by_hand(labels, p, threshold):
    fake = labels == 0
    return {
        "auroc": roc_auc_score(fake, p),
        "accuracy": accuracy_score(fake, p >= threshold),
        "balanced_accuracy": balanced_accuracy_score(fake, p >= threshold),
        "log_loss": log_loss(fake, np.clip(p, 1e-7, 1 - 1e-7)),
        "brier": brier_score_loss(fake, p),
    }


def drawn(rng, *, folds, seeds, size=24, strength=1.0, labels=None):
    """Labels, and a network for each seed and fold, whose scores have scales of their own."""
    n = folds * size
    labels = np.resize([0, 1], n) if labels is None else labels
    fold_of = np.arange(n) // 2 % folds
    networks = []
    for fold, seed in product(range(folds), range(seeds)):
        rows = np.flatnonzero(fold_of == fold)
        margin = strength * (1 - 2 * labels[rows]) + rng.normal(size=len(rows)) + rng.normal()
        p = 1 / (1 + np.exp(-margin))
        # Ties, but no certainty: how wrong a certain answer is, libraries cut off differently.
        p = np.clip(np.round(p, 2), 0.01, 0.99)
        networks.append(Network(rows, p, float(rng.uniform(0.3, 0.7)), seed))
    return labels, networks


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_metrics_are_averaged_over_networks(folds, seeds_a, seeds_b, seed):
    rng = np.random.default_rng(seed)
    labels, a = drawn(rng, folds=folds, seeds=seeds_a)
    _, b = drawn(rng, folds=folds, seeds=seeds_b, strength=0.3)
    found = compare_entries(
        {"a": a, "b": b}, labels, np.arange(len(labels)) // 3, replicates=20, seed=0
    )
    means = {}
    for name, networks in (("a", a), ("b", b)):
        each = [
            (net.seed, by_hand(labels[net.rows], net.p_fake, net.threshold)) for net in networks
        ]
        entry = found["entries"][name]
        for key in MEASURES:
            of_seed = [
                np.mean([of[key] for s, of in each if s == one]) for one in {s for s, _ in each}
            ]
            means[name, key] = np.mean(of_seed)
            measure, spread = entry["metrics"][key], entry["spread"][key]
            assert measure["value"] == pytest.approx(means[name, key], abs=1e-6)
            assert measure["low"] <= measure["value"] <= measure["high"]
            assert measure["low"] < measure["high"]
            assert spread["n"] == len(of_seed)
            if len(of_seed) == 1:
                assert spread["sd"] is None
            else:
                assert spread["sd"] == pytest.approx(np.std(of_seed, ddof=1), abs=1e-6)
    (pair,) = found["pairs"]
    for key in MEASURES:
        difference = pair["difference"][key]
        assert difference["value"] == pytest.approx(means["a", key] - means["b", key], abs=1e-6)
        assert difference["low"] < difference["high"]
        assert difference["low"] <= difference["value"] <= difference["high"]


def test_scores_of_other_scales_are_never_pooled():
    """Each fold is ranked perfectly; pooled, the reals of one outscore the fakes of the other."""
    labels = np.resize([0, 1], 40)
    low, high = np.arange(20), np.arange(20, 40)
    a = [
        Network(low, np.where(labels[low] == 0, 0.2, 0.1), 0.15, 0),
        Network(high, np.where(labels[high] == 0, 0.9, 0.8), 0.85, 0),
    ]
    pooled = np.concatenate([net.p_fake for net in a])
    assert roc_auc_score(labels == 0, pooled) == pytest.approx(0.75)
    found = compare_entries({"a": a, "b": a}, labels, np.arange(40), **OPTIONS)
    assert found["entries"]["a"]["metrics"]["auroc"]["value"] == 1
    assert found["entries"]["a"]["metrics"]["accuracy"]["value"] == 1


def test_the_bootstrap_is_that_of_a_plain_loop(monkeypatch):
    """Every replicate: the same drawn images for all, a metric for each network, then the mean."""
    rng = np.random.default_rng(1)
    labels, a = drawn(rng, folds=3, seeds=2)
    _, b = drawn(rng, folds=3, seeds=1, strength=0.2)
    groups = np.arange(len(labels)) // 2 % 30
    seen = []

    def spied(statistic, *args, **options):
        def kept(weights):
            found = statistic(weights)
            seen.extend(zip(weights.astype(int), found, strict=True))
            return found

        return real(kept, *args, **options)

    real = averaged.bootstrap_by_group
    monkeypatch.setattr(averaged, "bootstrap_by_group", spied)
    compare_entries({"a": a, "b": b}, labels, groups, replicates=40, seed=3)
    assert len(seen) >= 41
    for weights, found in seen[:41]:
        for group in set(groups):  # whole groups
            assert len(set(weights[groups == group])) == 1
        mean = {}
        for name, networks in (("a", a), ("b", b)):
            each = []
            for net in networks:
                times = weights[net.rows]
                of = by_hand(
                    np.repeat(labels[net.rows], times), np.repeat(net.p_fake, times), net.threshold
                )
                each.append([of[key] for key in MEASURES])
            mean[name] = np.mean(each, axis=0)
        expected = [mean["a"], mean["b"], mean["a"] - mean["b"]]
        assert found == pytest.approx(np.array(expected), abs=1e-6)


def test_intervals_of_averages_hold_the_truth_as_often_as_they_say():
    """Two folds, two seeds: differences of known size are in their intervals, 0 is not."""
    rng, held, zero, runs = np.random.default_rng(5), 0, 0, 80
    true = _expected_difference(1.5, 0.3)
    for _ in range(runs):
        labels, a = drawn(rng, folds=2, seeds=2, size=80, strength=1.5)
        _, b = drawn(rng, folds=2, seeds=2, size=80, strength=0.3)
        found = compare_entries({"a": a, "b": b}, labels, np.arange(160), replicates=100, seed=0)
        difference = found["pairs"][0]["difference"]["auroc"]
        held += difference["low"] <= true <= difference["high"]
        zero += difference["low"] <= 0
    assert held >= 0.88 * runs and zero <= 0.05 * runs


def _expected_difference(a, b):
    from scipy.stats import norm

    return norm.cdf(2 * a / np.sqrt(2)) - norm.cdf(2 * b / np.sqrt(2))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_one_vote_per_image_is_that_of_most_seeds(folds, seeds, seed):
    rng = np.random.default_rng(seed)
    labels, networks = drawn(rng, folds=folds, seeds=seeds)
    found = votes([networks[at] for at in rng.permutation(len(networks))], len(labels))
    for image in range(len(labels)):
        said = [
            (float(net.p_fake[list(net.rows).index(image)]), net.threshold)
            for net in networks
            if image in net.rows
        ]
        fakes = sum(p >= threshold for p, threshold in said)
        if 2 * fakes != len(said):
            assert found[image] == (2 * fakes > len(said))
            continue
        score, threshold = (np.mean(column) for column in zip(*said, strict=True))
        if abs(score - threshold) > 1e-9:
            assert found[image] == (score >= threshold)


def test_mcnemar_counts_each_image_once_however_many_seeds():
    rng = np.random.default_rng(2)
    labels, a = drawn(rng, folds=2, seeds=3, size=60, strength=1.2)
    _, b = drawn(rng, folds=2, seeds=1, size=60, strength=0.3)
    found = compare_entries({"a": a, "b": b}, labels, np.arange(120), **OPTIONS)["pairs"][0]
    fake = labels == 0
    right_a, right_b = (votes(networks, 120) == fake for networks in (a, b))
    only_a, only_b = (right_a & ~right_b).sum(), (right_b & ~right_a).sum()
    assert (found["mcnemar"]["only_a"], found["mcnemar"]["only_b"]) == (only_a, only_b)
    assert found["mcnemar"]["p"] == pytest.approx(binomtest(only_a, only_a + only_b).pvalue)
    assert found["mcnemar"]["p_holm"] == found["mcnemar"]["p"]


def test_every_pair_is_compared_and_corrected():
    rng = np.random.default_rng(3)
    labels, good = drawn(rng, folds=1, seeds=1, size=200, strength=2)
    _, coin = drawn(rng, folds=1, seeds=1, size=200, strength=0)
    constant = [Network(np.arange(200), np.full(200, 0.5), 0.5, 0)]
    entries = {"good": good, "coin": coin, "constant": constant}
    found = compare_entries(entries, labels, np.arange(200), **OPTIONS)["pairs"]
    names = [(pair["a"], pair["b"]) for pair in found]
    assert names == [("good", "coin"), ("good", "constant"), ("coin", "constant")]
    for pair in found:
        p = pair["mcnemar"]["p"]
        assert p <= pair["mcnemar"]["p_holm"] <= min(1, 3 * p)
    assert found[0]["difference"]["auroc"]["low"] > 0.2 and found[0]["mcnemar"]["p_holm"] < 1e-3
    # The interval of a pair does not depend on who else was compared.
    alone = compare_entries({"good": good, "coin": coin}, labels, np.arange(200), **OPTIONS)
    assert alone["pairs"][0]["difference"] == found[0]["difference"]


def test_a_single_entry_is_measured_and_compared_with_nothing():
    labels, a = drawn(np.random.default_rng(6), folds=2, seeds=2)
    found = compare_entries({"a": a}, labels, np.arange(len(labels)), **OPTIONS)
    both = compare_entries({"a": a, "b": a}, labels, np.arange(len(labels)), **OPTIONS)
    assert found == {"entries": {"a": both["entries"]["a"]}, "pairs": []}


def test_one_class_has_no_auroc_but_an_accuracy():
    reals, p = np.ones(30, int), np.linspace(0, 1, 30)
    entries = {"a": [Network(np.arange(30), p, 0.8, 0)], "b": [Network(np.arange(30), p, 0.2, 0)]}
    found = compare_entries(entries, reals, np.arange(30), **OPTIONS)
    nothing = {"value": None, "low": None, "high": None}
    assert found["pairs"][0]["difference"]["auroc"] == nothing
    assert found["entries"]["a"]["metrics"]["balanced_accuracy"] == nothing
    assert found["pairs"][0]["difference"]["accuracy"]["value"] == pytest.approx(0.6)


def test_a_copy_of_each_image_does_not_make_it_surer():
    rng = np.random.default_rng(4)
    labels, a = drawn(rng, folds=1, seeds=1, size=60)
    _, b = drawn(rng, folds=1, seeds=1, size=60, strength=0.5)

    def width(times):
        entries = {
            name: [Network(np.arange(60 * times), np.repeat(net.p_fake, times), net.threshold, 0)]
            for name, (net,) in (("a", a), ("b", b))
        }
        groups = np.repeat(np.arange(60), times)
        found = compare_entries(entries, np.repeat(labels, times), groups, **OPTIONS)
        ends = found["pairs"][0]["difference"]["accuracy"]
        return ends["high"] - ends["low"]

    assert width(2) >= 0.9 * width(1)
