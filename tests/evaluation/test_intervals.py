import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from detector.errors import UserError
from detector.evaluation import intervals
from detector.evaluation.intervals import (
    allow_unseen,
    bootstrap_by_group,
    effective_n,
    wilson,
    wilson_by_group,
)

counts = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
levels = st.sampled_from([0.5, 0.8, 0.9, 0.95, 0.99])


@given(counts, levels)
def test_wilson_is_scipys(count, level):
    k, n = count
    expected = stats.binomtest(k, n).proportion_ci(level, method="wilson")
    assert wilson(k, n, level) == pytest.approx((expected.low, expected.high), abs=1e-12)


@given(st.floats(0.5, 1000), st.floats(0.01, 0.99), levels)
def test_wilson_of_fractions_inverts_the_score_test(n, share, level):
    z = stats.norm.ppf((1 + level) / 2)
    for end in wilson(share * n, n, level):
        assert abs(share - end) == pytest.approx(z * math.sqrt(end * (1 - end) / n), rel=1e-6)


@given(st.integers(1, 10**6), levels)
def test_wilson_at_the_ends_has_width_and_is_exact(n, level):
    low, high = wilson(n, n, level)
    assert 0 < low < high == 1.0
    assert wilson(0, n, level) == (0.0, pytest.approx(1 - low))


def test_wilson_of_nothing_and_of_nonsense():
    assert wilson(0, 0) == (0.0, 1.0)
    for k, n, level in [(3, 2, 0.95), (-1, 2, 0.95), (math.nan, 2, 0.95), (1, 2, 1.0), (0, 0, 0)]:
        with pytest.raises(UserError):
            wilson(k, n, level)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30))
def test_effective_n_reproduces_the_variance_of_groups_of_one_mind(sizes):
    # All images of a group share one vote X_g: Var(sum m_g X_g / n) = p (1 - p) sum m_g^2 / n^2.
    groups = np.repeat(np.arange(len(sizes)), sizes)
    variance = sum((m / len(groups)) ** 2 for m in sizes)
    assert effective_n(groups) == pytest.approx(1 / variance)
    assert 1 - 1e-9 <= effective_n(groups) <= len(groups) + 1e-9
    assert effective_n(np.repeat(np.arange(7), len(sizes))) == pytest.approx(7)


def test_wilson_by_group_is_wilson_where_no_two_share_a_group():
    hits = np.arange(50) < 41
    assert wilson_by_group(hits, np.arange(50), 0.95) == pytest.approx(wilson(41, 50))
    copies = wilson_by_group(np.repeat(hits, 4), np.repeat(np.arange(50), 4), 0.95)
    assert copies == pytest.approx(wilson(41, 50))
    assert wilson_by_group(np.array([], bool), np.array([]), 0.95) == (0.0, 1.0)


def weighted_mean(x):
    return lambda w: w @ x / w.sum(axis=1)


def auroc_statistic(scores, classes):
    """AUROC of scores without ties: each fake beats the reals that come before it."""
    order = np.argsort(scores)
    fake = classes[order] == 0

    def statistic(w):
        w = w[:, order]
        beaten = np.cumsum(w * ~fake, axis=1)
        return (w * fake * beaten).sum(axis=1) / (w[:, fake].sum(axis=1) * beaten[:, -1])

    return statistic


def test_bca_is_scipys():
    rng = np.random.default_rng(3)
    x = rng.lognormal(0, 1, 40)
    low, high = bootstrap_by_group(
        weighted_mean(x), np.arange(40), np.zeros(40, int), replicates=20_000, seed=0, level=0.9
    )
    reference = stats.bootstrap(
        (x,), np.mean, n_resamples=20_000, confidence_level=0.9, method="BCa", rng=1
    ).confidence_interval
    assert (low, high) == pytest.approx(tuple(reference), abs=0.03 * (high - low))
    # The skew must matter, or the agreement says nothing about the correction.
    percentile = stats.bootstrap(
        (x,), np.mean, n_resamples=20_000, confidence_level=0.9, method="percentile", rng=1
    ).confidence_interval
    assert percentile.high < high - 0.05 * (high - low)


def test_bca_over_two_strata_is_scipys_over_two_samples():
    rng = np.random.default_rng(4)
    a, b = rng.lognormal(0, 1, 30), rng.exponential(1, 60)
    x, classes = np.r_[a, b], np.repeat([0, 1], [30, 60])

    def difference(w):
        return w[:, :30] @ a / w[:, :30].sum(1) - w[:, 30:] @ b / w[:, 30:].sum(1)

    low, high = bootstrap_by_group(
        difference, np.arange(len(x)), classes, replicates=20_000, seed=0, level=0.95
    )
    reference = stats.bootstrap(
        (a, b), lambda a, b: a.mean() - b.mean(), vectorized=False, n_resamples=8000, rng=1
    ).confidence_interval
    assert (low, high) == pytest.approx(tuple(reference), abs=0.05 * (high - low))


def test_replicates_equal_to_the_value_are_no_bias():
    votes = np.tile([-1.0, 1.0], 10)  # a sixth of the replicates have the sample's mean, 0
    low, high = bootstrap_by_group(
        weighted_mean(votes), np.arange(20), np.zeros(20, int), replicates=4000, seed=0, level=0.95
    )
    assert low == pytest.approx(-high, abs=0.05) and 0.3 < high < 0.5


def test_groups_cover_what_single_images_do_not():
    """Clusters of four with a common part: AUROC of the normal scores is known exactly."""
    rng = np.random.default_rng(0)
    per_class, size, shift, share = 25, 4, 1.2, 0.7
    truth = stats.norm.cdf(shift / math.sqrt(2))
    groups = np.repeat(np.arange(2 * per_class), size)
    classes = (groups >= per_class).astype(int)
    covered = {"groups": 0, "images": 0}
    for trial in range(200):
        common = rng.normal(0, math.sqrt(share), 2 * per_class)[groups]
        scores = common + rng.normal(0, math.sqrt(1 - share), len(groups)) + shift * (classes == 0)
        statistic = auroc_statistic(scores, classes)
        for name, by in (("groups", groups), ("images", np.arange(len(groups)))):
            low, high = bootstrap_by_group(
                statistic, by, classes, replicates=200, seed=trial, level=0.95
            )
            covered[name] += low <= truth <= high
    assert 0.90 <= covered["groups"] / 200 <= 0.99
    assert covered["images"] / 200 <= 0.80


def test_bca_covers_a_high_auroc_better_than_percentiles():
    rng = np.random.default_rng(1)
    shift, classes = 2.8, np.repeat([0, 1], 40)
    truth = stats.norm.cdf(shift / math.sqrt(2))
    missed = {"bca": 0, "percentile": 0}
    for trial in range(200):
        scores = rng.normal(0, 1, 80) + shift * (classes == 0)
        statistic, seen = auroc_statistic(scores, classes), []

        def recording(w, statistic=statistic, seen=seen):
            seen.append(statistic(w))
            return seen[-1]

        low, high = bootstrap_by_group(
            recording, np.arange(80), classes, replicates=300, seed=trial, level=0.95
        )
        replicates = np.concatenate(seen)[1:301]
        missed["bca"] += not low <= truth <= high
        ends = np.quantile(replicates, [0.025, 0.975])
        missed["percentile"] += not ends[0] <= truth <= ends[1]
    assert missed["bca"] < missed["percentile"] * 0.8
    assert missed["percentile"] >= 20


groupings = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 1)), min_size=1, max_size=40).map(
    lambda rows: np.array(rows).T
)


@given(groupings, st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_replicates_keep_groups_whole_and_the_number_of_each_kind(rows, seed):
    groups, classes = rows
    kinds = {g: frozenset(classes[groups == g]) for g in set(groups)}
    seen = []

    def statistic(w):
        seen.append(w)
        return w.sum(axis=1)

    bootstrap_by_group(statistic, groups, classes, replicates=20, seed=seed, level=0.95)
    sample, resamples = np.split(np.concatenate(seen)[:21], [1])  # the jackknife comes after
    assert (sample == 1).all()
    for g in kinds:
        assert (np.ptp(resamples[:, groups == g], axis=1) == 0).all()
    for kind in set(kinds.values()):
        firsts = [np.flatnonzero(groups == g)[0] for g in kinds if kinds[g] == kind]
        assert (resamples[:, firsts].sum(axis=1) == len(firsts)).all()
    for c in set(classes):
        assert (resamples[:, classes == c].sum(axis=1) > 0).all()


def example(seed=0, n=120):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 70, n)
    return rng.exponential(1, n), groups, rng.integers(0, 2, n)


def interval(x, groups, classes, seed=5):
    return bootstrap_by_group(
        weighted_mean(x), groups, classes, replicates=300, seed=seed, level=0.95
    )


def test_the_seed_decides_and_order_and_chunks_do_not(monkeypatch):
    x, groups, classes = example()
    expected = interval(x, groups, classes)
    assert interval(x, groups, classes) == expected
    assert interval(x, groups, classes, seed=6) != expected
    order = np.random.default_rng(1).permutation(len(x))
    assert interval(x[order], groups[order], classes[order]) == pytest.approx(expected, rel=1e-12)
    assert interval(x, np.array([f"face {g:03}" for g in groups]), classes) == expected
    monkeypatch.setattr(intervals, "CHUNK_CELLS", 7 * len(x))
    assert interval(x, groups, classes) == pytest.approx(expected, rel=1e-12)


def test_leaving_out_blocks_changes_little(monkeypatch):
    x, _, classes = example(2, 400)
    full = interval(x, np.arange(400), classes)
    monkeypatch.setattr(intervals, "BLOCKS", 50)
    assert interval(x, np.arange(400), classes) == pytest.approx(full, abs=0.1 * np.ptp(full))


def test_many_statistics_are_each_as_alone_and_undefined_replicates_are_left_out():
    x, groups, classes = example()
    mean = weighted_mean(x)

    def both(w):
        m = mean(w)
        return np.stack([m, np.where(w[:, 0] == 2, np.nan, m), np.full(len(w), np.nan)], axis=1)

    low, high = bootstrap_by_group(both, groups, classes, replicates=300, seed=5, level=0.95)
    alone = interval(x, groups, classes)
    assert low.shape == high.shape == (3,)
    assert (low[0], high[0]) == pytest.approx(alone, rel=1e-12)
    assert low[0] * 0.9 < low[1] < high[1] < high[0] * 1.1
    assert np.isnan(low[2]) and np.isnan(high[2])


@pytest.mark.parametrize(
    "change", [{"replicates": 0}, {"level": 1.0}, {"groups": np.arange(3)}, {"groups": []}]
)
def test_bad_arguments(change):
    arguments = {"groups": np.arange(4), "classes": np.zeros(4, int)}
    arguments |= {"replicates": 10, "seed": 0, "level": 0.95} | change
    with pytest.raises(UserError):
        bootstrap_by_group(weighted_mean(np.ones(4)), **arguments)


scales = st.sampled_from([(0.0, 1.0), (1.0, 0.0), (15.9, 0.0)])


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.integers(1, 10**5), scales)
def test_allow_unseen_only_widens_and_leaves_no_end_on_the_estimate(at, a, b, n, scale):
    worst, best = scale
    value = worst + at * (best - worst)
    given_low, given_high = sorted(min(worst, best) + c * abs(best - worst) for c in (a, b))
    low, high = allow_unseen(value, (given_low, given_high), n, 0.95, worst=worst, best=best)
    assert low <= min(given_low, value) and max(given_high, value) <= high
    assert min(scale) - 1e-9 <= low < high <= max(scale) + 1e-9
    if 1e-6 < at < 1 - 1e-6:
        assert low < value < high


def test_allow_unseen_is_wilson_at_the_ends_and_does_not_jump():
    assert allow_unseen(1.0, (1.0, 1.0), 40, 0.95) == pytest.approx(wilson(40, 40))
    assert allow_unseen(0.0, (0.0, 0.0), 40, 0.95) == pytest.approx(wilson(0, 40))
    nearly = allow_unseen(1 - 1e-4, (1 - 2e-4, 1.0), 40, 0.95)
    assert nearly == pytest.approx(wilson(40, 40), abs=2e-4)
    assert nearly[0] <= wilson(40, 40)[0]
    # From enough errors on, the bootstrap's own interval stands.
    assert allow_unseen(0.9, (0.85, 0.94), 150, 0.95) == (0.85, 0.94)


@pytest.mark.parametrize("n", [30, 100, 1000])
def test_what_is_excluded_at_a_perfect_score_would_have_shown(n):
    # AUROC 1 - q means at most a share q of the fakes below every real; none among n.
    low, _ = allow_unseen(1.0, (1.0, 1.0), n, 0.95)
    assert 0.02 < low**n < 0.03
