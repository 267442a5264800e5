"""Rates against counts by hand, the test against enumeration, the words against a planted group."""

import json
import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, false_discovery_control, hypergeom, kstest

from detector.errors import UserError
from detector.evaluation.false_alarms import COLUMNS, NAMED, false_alarms, in_words, rates_differ
from detector.evaluation.intervals import wilson

HOW = {"threshold": 0.5, "replicates": 99, "seed": 3}
VALUES = st.sampled_from(["female", "male", "", None, -1, math.nan, 7, "7"])
IMAGES = st.lists(
    st.tuples(st.sampled_from([0.0, 0.4, 0.5, 1.0]), st.integers(0, 1), st.integers(0, 5), VALUES),
    min_size=1,
    max_size=30,
)


def known(value) -> bool:
    return value not in ("", None, -1) and value == value


@given(IMAGES)
@settings(max_examples=80, deadline=None)
def test_rates_are_those_counted_by_hand(images):
    p, labels, groups, column = map(list, zip(*images, strict=True))
    reals = [image for image in images if image[1] == 1]
    if not reals:
        with pytest.raises(UserError, match="no real image"):
            false_alarms(p, labels, groups, {"gender": column}, **HOW)
        return
    found = false_alarms(p, labels, groups, {"gender": column}, **HOW)
    json.dumps(found, allow_nan=False)
    assert found["n"] == len(reals) and found["n_groups"] == len({image[2] for image in reals})
    rate = found["rate"]
    assert rate["value"] == pytest.approx(sum(image[0] >= 0.5 for image in reals) / len(reals))
    assert 0 <= rate["low"] <= rate["value"] <= rate["high"] <= 1 and rate["low"] < rate["high"]
    column = found["columns"]["gender"]
    assert set(column["values"]) == {str(image[3]) for image in reals if known(image[3])}
    assert column["unknown"] == sum(not known(image[3]) for image in reals)
    for value, measured in column["values"].items():
        these = [image for image in reals if known(image[3]) and str(image[3]) == value]
        assert measured["n"] == len(these)
        assert measured["rate"]["value"] == pytest.approx(
            sum(image[0] >= 0.5 for image in these) / len(these)
        )
    assert (column["p"] is None) == (len(column["values"]) < 2)
    assert column["p"] == column["p_holm"]  # of a single column


def people(n=3000, seed=0):
    """Scores of reals that do not depend on anything, and three columns; a few fakes beside."""
    rng = np.random.default_rng(seed)
    columns = {
        "gender": rng.choice(["female", "male"], n).tolist(),
        "age_band": rng.choice(["18-29", "30-44", "60 and over"], n, p=[0.5, 0.45, 0.05]).tolist(),
        "ethnicity": rng.choice(["White", "Black", "Others"], n).tolist(),
    }
    labels = (rng.random(n) > 0.1).astype(int)
    return rng.random(n) * 0.6, labels, np.arange(n), columns


def test_intervals_are_wilsons_where_no_two_share_a_group():
    p, labels, groups, columns = people()
    found = false_alarms(p, labels, groups, columns, **HOW)
    for name in COLUMNS:
        for value, measured in found["columns"][name]["values"].items():
            these = (labels == 1) & (np.array(columns[name]) == value)
            rate = measured["rate"]
            expected = wilson((p[these] >= 0.5).sum(), these.sum())
            assert (rate["low"], rate["high"]) == pytest.approx(expected)


def test_a_planted_group_is_named_and_the_others_are_not():
    p, labels, groups, columns = people(seed=1)
    old = np.array(columns["age_band"]) == "60 and over"
    young = np.array(columns["age_band"]) == "18-29"
    p = np.where(old, 0.5 * p + 0.3, np.where(young, 0.9 * p, p))
    found = false_alarms(p, labels, groups, columns, **HOW | {"replicates": 999})
    assert found["columns"]["age_band"]["p_holm"] == pytest.approx(3 / 1000)
    first, second, _ = found["says"].split("). ")
    rate = 100 * found["columns"]["age_band"]["values"]["60 and over"]["rate"]["value"]
    assert f"by age band: most often 60 and over, {rate:.1f} % [" in first
    assert "least often 18-29, " in first and "gender" not in first and "Others" not in first
    assert second.startswith("No difference by gender (p = ") and " or ethnicity (p = " in second


def test_where_nothing_differs_the_widest_interval_is_named():
    p, labels, groups, columns = people()
    found = false_alarms(p, labels, groups, columns, **HOW)
    assert found["says"].count("was found") == 1 and "equally often" not in found["says"]
    assert "missed (60 and over, " in found["says"]
    assert "gender (p = 1), age band (p = 1) or ethnicity (p = " in found["says"]


def test_fakes_and_the_order_of_images_change_nothing():
    p, labels, groups, columns = people(600)
    groups = groups // 2
    expected = false_alarms(p, labels, groups, columns, **HOW)
    blank = {
        name: np.where(labels == 0, "of a fake", column).tolist()
        for name, column in columns.items()
    }
    assert false_alarms(np.where(labels == 0, 1, p), labels, groups, blank, **HOW) == expected
    turned = np.random.default_rng(1).permutation(len(p))
    mixed = {name: [column[row] for row in turned] for name, column in columns.items()}
    assert false_alarms(p[turned], labels[turned], groups[turned], mixed, **HOW) == expected


def test_a_single_image_is_not_named():
    p, labels, groups = np.full(201, 0.1), np.ones(201, int), np.arange(201)
    p[:60], p[200] = 0.9, 0.9  # all of Others, 60 of 100 White, none of the rest
    ethnicity = ["White"] * 100 + ["Black"] * 100 + ["Others"]
    says = false_alarms(p, labels, groups, {"ethnicity": ethnicity}, **HOW)["says"]
    assert "most often White" in says and "least often Black" in says and NAMED > 1


def test_a_column_of_one_value_is_not_tested():
    p, labels, groups, columns = people(300)
    alone = {"gender": ["female"] * 300, "ethnicity": columns["ethnicity"]}
    found = false_alarms(p, labels, groups, alone, **HOW)
    assert found["columns"]["gender"]["p_holm"] is None
    assert found["columns"]["ethnicity"]["p_holm"] == found["columns"]["ethnicity"]["p"]
    only = false_alarms(p, labels, groups, {"gender": ["female"] * 300}, **HOW)
    assert only["says"] == "There are no two groups to compare."
    assert false_alarms(p, labels, groups, {}, **HOW)["says"] == only["says"]


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_where_all_are_alike_nothing_is_found(score):
    _, labels, groups, columns = people(300)
    found = false_alarms(np.full(300, score), labels, groups, columns, **HOW)
    assert {column["p"] for column in found["columns"].values()} == {1.0}


# The test itself.


@pytest.mark.parametrize("hits, misses", [((1, 6), (9, 8)), ((0, 5), (12, 9)), ((3, 3), (5, 9))])
def test_two_rates_against_the_hypergeometric_distribution(hits, misses):
    """All tables of these margins, by how far they are from even."""
    n = np.add(hits, misses)
    outcomes = np.concatenate([np.ones(hits[0]), np.zeros(misses[0]), np.ones(hits[1]),
                               np.zeros(misses[1])]).astype(bool)  # fmt: skip
    codes = np.repeat([0, 1], n)
    tables = hypergeom(n.sum(), n[0], sum(hits))
    possible = np.arange(sum(hits) + 1)
    off = np.abs(possible - tables.mean())
    exact = tables.pmf(possible)[off >= abs(hits[0] - tables.mean()) - 1e-9].sum()
    found = rates_differ(outcomes, codes, np.arange(n.sum()), replicates=20_000, seed=0)
    assert found == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 20_000))


def test_many_images_against_the_chi_squared_distribution():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, 4000)
    hits = rng.random(4000) < 0.2 + 0.02 * (codes == 2)
    table = [np.bincount(codes, hits), np.bincount(codes, ~hits)]
    expected = chi2_contingency(table, correction=False).pvalue
    found = rates_differ(hits, codes, np.arange(4000), replicates=20_000, seed=0)
    assert 0.02 < expected < 0.9 and found == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("seed", range(4))
def test_groups_against_all_exchanges_of_groups_of_a_size(seed):
    """Five pairs of images, and a single image that has nobody to change places with."""
    rng = np.random.default_rng(seed)
    codes = np.repeat(rng.integers(0, 2, 6), 2)[:11]  # a pair is of one value
    hits = np.repeat(rng.random(6) < 0.5, 2)[:11]
    hits[:2], hits[2:4] = True, False

    def statistic(outcomes):
        shares = [outcomes[codes == value].mean() for value in set(codes.tolist())]
        return max(shares) - min(shares)  # of two values, as good as chi-squared

    every = [
        statistic(np.concatenate([*(hits[2 * pair : 2 * pair + 2] for pair in order), hits[10:]]))
        for order in permutations(range(5))
    ]
    exact = np.mean(np.array(every) >= statistic(hits) - 1e-9)
    found = rates_differ(hits, codes, np.arange(11) // 2, replicates=5000, seed=0)
    assert found == pytest.approx(exact, abs=4 * math.sqrt(0.25 / 5000))


def test_copies_are_not_taken_for_witnesses():
    """Each image eight times: p stays what it is for the images alone."""
    rng = np.random.default_rng(2)
    codes, hits = rng.integers(0, 2, 60), rng.random(60) < 0.4
    many = (np.repeat(hits, 8), np.repeat(codes, 8))
    alone = rates_differ(hits, codes, np.arange(60), replicates=4000, seed=0)
    grouped = rates_differ(*many, np.repeat(np.arange(60), 8), replicates=4000, seed=0)
    witnesses = rates_differ(*many, np.arange(480), replicates=4000, seed=0)
    assert grouped == pytest.approx(alone, abs=0.04) and witnesses < alone / 2


@pytest.mark.parametrize("size, alike", [(1, True), (3, True), (3, False)])
def test_p_is_even_where_nothing_differs(size, alike):
    """300 made-up sets of groups with images of several values, with and without a bond."""
    found = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        odds = np.repeat(rng.random(60 // size), size) if alike else rng.random(60)
        codes, hits = rng.integers(0, 3, 60), odds < 0.5
        groups = np.arange(60) // size
        found.append(rates_differ(hits, codes, groups, replicates=99, seed=seed))
    # Few tables are possible, so p is a little too large at times, but must not be too small.
    assert kstest(found, "uniform", alternative="greater").pvalue > 0.01
    assert np.mean(found) < 0.56


def test_holm_over_columns():
    p, labels, groups, columns = people()
    p = np.where(np.array(columns["gender"]) == "male", p * 1.05, p)
    found = false_alarms(p, labels, groups, columns, **HOW)["columns"]
    raw = np.array([column["p"] for column in found.values()])
    corrected = np.array([column["p_holm"] for column in found.values()])
    # By the definition: the largest of those before it in order, each times those not before it.
    for at, one in enumerate(raw):
        steps = [min(1, (raw >= q).sum() * q) for q in raw if q <= one]
        assert corrected[at] == pytest.approx(max(steps))
    assert (corrected >= false_discovery_control(raw) - 1e-12).all()


def test_words_follow_the_corrected_p():
    p, labels, groups, columns = people(400)
    found = false_alarms(p, labels, groups, {"gender": columns["gender"]}, **HOW)
    found["columns"]["gender"] |= {"p": 0.03, "p_holm": 0.0501}
    assert "No difference by gender" in in_words(found)
    found["columns"]["gender"] |= {"p_holm": 0.0499}
    assert "not called fake equally often by gender" in in_words(found)


@pytest.mark.parametrize(
    "change, says",
    [
        ({"labels": [0, 0]}, "no real image"),
        ({"columns": {"gender": ["female"]}}, "column gender has 1 values for 2 images"),
        ({"groups": [0]}, r"groups has shape \(1,\)"),
        ({"p_fake": [0.1, 1.2]}, "image 1 has 1.2"),
        ({"labels": [1, 2]}, "labels must be 0"),
        ({"p_fake": [], "labels": [], "groups": [], "columns": {}}, "no images"),
        ({"threshold": 2}, "threshold"),
        ({"threshold": math.nan}, "threshold"),
        ({"replicates": 0}, "replicates"),
    ],
)
def test_bad_input_is_one_line_that_says_what(change, says):
    good = HOW | {"p_fake": [0.9, 0.2], "labels": [1, 1], "groups": [0, 1],
                  "columns": {"gender": ["female", "male"]}}  # fmt: skip
    assert set(false_alarms(**good)["columns"]) == {"gender"}
    with pytest.raises(UserError, match=says) as error:
        false_alarms(**good | change)
    assert "\n" not in str(error.value)
