"""Parts by group: nothing crosses, proportions hold, the seed alone decides."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.data.index import group_names
from detector.data.split import check_parts, split_parts
from detector.errors import UserError

FRACTIONS = {"train": 0.70, "val": 0.15, "test": 0.15}


def parts_of(labels, groups, strata=None, **changed):
    settings = {"fractions": FRACTIONS, "folds": None, "fold": 0, "seed": 0} | changed
    return split_parts(np.asarray(labels), groups, strata or [""] * len(labels), **settings)


def planted(n: int, pairs: int, seed: int):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 2)
    groups = [f"g{row}" for row in range(n)]
    for a, b in rng.permutation(n)[: 2 * pairs].reshape(-1, 2):
        groups[b] = groups[a]
    return labels, groups


@settings(max_examples=60, deadline=None)
@given(st.integers(60, 400), st.integers(0, 20), st.integers(0, 99), st.sampled_from([None, 3, 5]))
def test_no_group_crosses_and_proportions_hold(n, pairs, seed, folds):
    labels, groups = planted(n, pairs, seed)
    parts = parts_of(labels, groups, seed=seed, folds=folds)
    sides = defaultdict(set)
    for group, part in zip(groups, parts, strict=True):
        sides[group].add(part)
    assert all(len(side) == 1 for side in sides.values())
    share = {"train": 0.7, "val": 0.15, "test": 0.15}
    if folds:
        share = {"train": 1 - 2 / folds, "val": 1 / folds, "test": 1 / folds}
    for part, wanted in share.items():
        for label in (0, 1):
            got = int(((parts == part) & (labels == label)).sum())
            assert abs(got - wanted * (labels == label).sum()) <= 3


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 99))
def test_the_order_of_files_does_not_matter(shuffle, seed):
    labels, groups = planted(120, 15, 3)
    order = np.random.default_rng(shuffle).permutation(120)
    straight = parts_of(labels, groups, seed=seed)
    shuffled = parts_of(labels[order], [groups[row] for row in order], seed=seed)
    assert np.array_equal(straight[order], shuffled)


def test_seeds_differ_and_repeat():
    labels, groups = planted(200, 10, 0)
    first, again, other = (parts_of(labels, groups, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert (first != other).mean() > 0.2


def test_every_image_is_tested_once_over_the_folds():
    labels, groups = planted(101, 10, 1)
    tests = [parts_of(labels, groups, folds=5, fold=fold) == "test" for fold in range(5)]
    assert np.array_equal(np.sum(tests, axis=0), np.ones(101))


def test_strata_keep_their_mix():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 300)
    strata = ["easy"] * 60 + ["mid"] * 150 + ["hard"] * 90 + [""] * 300
    parts = parts_of(labels, [f"g{rng.integers(1 << 60)}" for _ in labels], strata)
    for stratum, count in (("easy", 60), ("mid", 150), ("hard", 90)):
        here = np.array([s == stratum for s in strata])
        assert abs((here & (parts == "test")).sum() - 0.15 * count) <= 1


def test_crossing_is_possible_only_on_purpose():
    labels = np.tile([0, 1], 100)
    groups = [f"g{row // 2}" for row in range(200)]  # each real beside its edit
    crossing = parts_of(labels, groups, by_group=False).reshape(-1, 2)
    assert (crossing[:, 0] != crossing[:, 1]).mean() > 0.3


@pytest.mark.parametrize(
    "changed, says",
    [
        ({"folds": 2}, "at least 3"),
        ({"folds": 60}, "at most"),
        ({"folds": 5, "fold": 5}, "0..4"),
        ({"fractions": {"train": 1.0, "val": 0.0, "test": 0.0}}, "above 0"),
        ({"fractions": {"train": 0.8, "test": 0.2}}, "train, val and test"),
    ],
)
def test_settings_that_make_no_sense(changed, says):
    labels, groups = planted(100, 0, 0)
    with pytest.raises(UserError, match=says):
        parts_of(labels, groups, **changed)


def test_too_few_images():
    with pytest.raises(UserError, match="both classes"):
        parts_of([0, 1, 1], ["a", "b", "c"])
    with pytest.raises(UserError, match="test part"):
        check_parts(np.array([0, 1, 0, 1, 0]), np.array(["train"] * 2 + ["val"] * 2 + ["test"]))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=25),
    st.lists(st.tuples(st.integers(0, 24), st.integers(0, 24)), max_size=15),
)
def test_groups_are_the_connected_components(contents, links):
    n = len(contents)
    links = [(a % n, b % n) for a, b in links]
    digests = [f"{content:02x}" * 32 for content in contents]
    groups = group_names(digests, links)
    # By brute force: spread along edges until nothing changes.
    reach = np.eye(n, dtype=bool)
    for a in range(n):
        for b in range(n):
            reach[a, b] |= contents[a] == contents[b]
    for a, b in links:
        reach[a, b] = reach[b, a] = True
    for _ in range(n):
        reach = (reach.astype(int) @ reach.astype(int)) > 0
    assert all((groups[a] == groups[b]) == reach[a, b] for a in range(n) for b in range(n))
