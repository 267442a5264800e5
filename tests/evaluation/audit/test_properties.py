"""Properties by themselves: AUROC against scikit-learn, and what chance looks like."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from detector.data.split import deal
from detector.evaluation.audit.observe import Observed, _of_pixels
from detector.evaluation.audit.properties import (
    PROPERTIES,
    describe,
    exclusive,
    measure_properties,
    score,
    within_folds,
)
from detector.evaluation.audit.words import certain, sentence


def folds_of(labels: np.ndarray, k: int = 5) -> np.ndarray:
    return deal([f"g{i}" for i in range(len(labels))], labels, [1] * k, 0)


def test_auroc_within_folds_is_scikit_learns_over_each():
    rng = np.random.default_rng(0)
    labels, folds = rng.integers(0, 2, 90), rng.integers(0, 3, 90)
    scores = [rng.integers(0, 4, 90) / 4, rng.random(90), np.full(90, 0.5)]
    weights = rng.integers(0, 4, (7, 90)).astype(float)
    expected = np.zeros((7, 3))
    for row, w in enumerate(weights):
        total = 0
        for fold in range(3):
            of = folds == fold
            pairs = w[of & (labels == 0)].sum() * w[of & (labels == 1)].sum()
            total += pairs
            for column, s in enumerate(scores):
                auroc = roc_auc_score(labels[of] == 0, s[of], sample_weight=w[of])
                expected[row, column] += pairs * auroc
        expected[row] /= total
    assert np.allclose(within_folds(scores, labels, folds)(weights), expected)
    one_class = within_folds(scores, labels, folds)((labels == 0)[None].astype(float))
    assert np.isnan(one_class).all()


def measured(values: np.ndarray, labels: np.ndarray) -> float:
    folds = folds_of(labels)
    scores = score(values, labels == 0, folds)
    return float(within_folds([scores], labels, folds)(np.ones((1, len(labels))))[0, 0])


def test_scores_come_from_the_other_folds_alone():
    rng = np.random.default_rng(1)
    labels, values = rng.integers(0, 2, 100), rng.integers(0, 3, 100).astype(str)
    folds = folds_of(labels)
    scores = score(values, labels == 0, folds)
    here = folds == 0
    turned = np.where(here, 1 - labels, labels)  # nothing that a fold's own labels could change
    assert (score(values, turned == 0, folds)[here] == scores[here]).all()
    assert not (score(values, turned == 0, folds)[~here] == scores[~here]).all()


def test_a_share_is_smoothed_and_the_unseen_is_undecided():
    values = np.array(["a", "a", "a", "b", "b", "c"])
    fake = np.array([True, True, False, False, False, True])
    folds = np.array([0, 0, 0, 0, 0, 1])
    scores = score(values, fake, np.where(folds, 0, 1))
    assert scores[5] == 0.5  # c is in no other fold
    # b, known from a fold without it
    scores = score(
        np.array(["a", "b", "a", "b"]), np.array([True, False] * 2), np.array([0, 0, 1, 1])
    )
    # One fake a, one real b: (1 + 2/2) / (1 + 2) of fakes have a, (0 + 2/2) / (1 + 2) of reals.
    assert scores == pytest.approx([2 / 3, 1 / 3, 2 / 3, 1 / 3])


@pytest.mark.parametrize("shape", ["higher", "lower", "narrower", "category"])
def test_any_direction_and_shape_is_found(shape):
    rng = np.random.default_rng(2)
    labels = np.repeat([0, 1], 300)
    fakes, reals = {
        "higher": (rng.normal(2, 1, 300), rng.normal(0, 1, 300)),
        "lower": (rng.normal(-2, 1, 300), rng.normal(0, 1, 300)),
        "narrower": (rng.normal(0, 0.2, 300), rng.normal(0, 2, 300)),
        "category": (rng.choice(["a", "b"], 300, p=[0.9, 0.1]),
                     rng.choice(["a", "b"], 300, p=[0.1, 0.9])),
    }[shape]  # fmt: skip
    values = np.concatenate([fakes, reals])
    found = measured(values, labels)
    plain = 0.9 if shape == "category" else roc_auc_score(labels == 0, values)
    assert found > max(plain, 1 - plain) - 0.03
    assert found > 0.85


def test_chance_is_not_turned_into_a_finding():
    rng = np.random.default_rng(3)
    found = []
    for _ in range(40):
        labels = rng.integers(0, 2, 120)
        found.append(measured(rng.normal(size=120), labels))
    assert 0.46 < np.mean(found) < 0.51


def test_a_category_loses_nothing_by_the_folds():
    labels = np.repeat([0, 1], 30)
    values = np.array(["a", "b"] * 15 + ["b"] * 30)
    exact = roc_auc_score(labels == 0, values == "a")
    assert exact == 0.75 and measured(values, labels) == pytest.approx(exact, abs=0.005)


def fill(n: int, **values: np.ndarray) -> Observed:
    columns = {
        key: values.get(key, np.full(n, "same") if not p.more else np.zeros(n))
        for key, p in PROPERTIES.items()
    }
    return Observed(
        {key: c for key, c in columns.items() if c.dtype.kind == "U"},
        {key: c for key, c in columns.items() if c.dtype.kind != "U"},
        np.zeros(0, int),
        None,
    )


def test_measured_properties_are_sorted_sure_and_said():
    rng = np.random.default_rng(4)
    labels = np.tile([0, 1], 100)
    bright = rng.normal(0.5, 0.1, 200) + 0.15 * (labels == 0)
    across = rng.normal(0.5, np.where(labels == 0, 0.01, 0.1))
    across[:10] = np.nan
    observed = fill(200, brightness=bright, face_x=across)
    groups = np.arange(200).astype(str)
    rows = measure_properties(observed, labels, groups, folds_of(labels), replicates=200, seed=0)
    assert set(rows) == set(PROPERTIES)
    values = [row["auroc"]["value"] for row in rows.values()]
    assert values == sorted(values, reverse=True) and set(list(rows)[:2]) == {
        "brightness",
        "face_x",
    }
    for row in rows.values():
        assert row["auroc"]["low"] <= row["auroc"]["value"] <= row["auroc"]["high"]
        assert row["auroc"]["low"] < row["auroc"]["high"]
    assert rows["face_x"]["n"] == 190 and rows["size"]["auroc"]["value"] == 0.5
    assert rows["brightness"]["fake_higher"] == pytest.approx(roc_auc_score(labels == 0, bright))
    names = ("fake", "real")
    assert sentence("brightness", rows["brightness"], names).startswith("fake images are brighter")
    assert "varies less in fake images" in sentence("face_x", rows["face_x"], names)
    assert sentence("size", rows["size"], names) == "size in pixels: same, all images"
    assert sentence("contrast", rows["contrast"], names) == "contrast: no clear difference"


def test_a_property_that_one_class_lacks_is_not_measured():
    labels = np.tile([0, 1], 30)
    observed = fill(60, face_x=np.where(labels == 0, np.nan, 0.5))
    rows = measure_properties(
        observed, labels, np.arange(60), folds_of(labels), replicates=100, seed=0
    )
    assert rows["face_x"]["auroc"] == {"value": None, "low": None, "high": None}
    assert sentence("face_x", rows["face_x"], ("fake", "real")).endswith(
        "not known of both classes"
    )


def test_copies_count_once():
    labels = np.repeat([0, 1], 100)
    bright = np.random.default_rng(5).normal(0.5, 0.1, 200) + 0.05 * (labels == 0)
    widths = []
    for groups in (np.arange(200), np.arange(200) // 10):
        rows = measure_properties(
            fill(200, brightness=bright), labels, groups, folds_of(labels), replicates=400, seed=0
        )
        widths.append(rows["size"]["auroc"]["high"] - rows["size"]["auroc"]["low"])
    assert widths[1] > 2 * widths[0]


def test_values_of_one_class_alone():
    values = np.array(["x"] * 100 + ["x"] * 90 + ["y"] * 8 + ["z"] * 2)
    labels = np.repeat([0, 1], 100)
    only = exclusive(values, labels)
    assert only == {1: {"share": 0.08, "values": 1, "example": "y"}}  # z is too rare to tell
    says = certain("quantization", {"only": only}, ("fake", "real"))
    assert says == ["JPEG quantization table y: 8 % of real images, (nearly) no fake image"]


def test_quartiles_and_shares():
    assert describe(np.arange(5.0)) == {"low_quartile": 1, "median": 2, "high_quartile": 3}
    assert describe(np.array(["a", "b", "a", "a"])) == {"a": 0.75, "b": 0.25}


def test_what_is_seen_in_pixels():
    grey = np.full((60, 80, 3), 100, np.uint8)
    seen = _of_pixels(grey)
    assert seen["grey"] == "yes" and seen["brightness"] == pytest.approx(100 / 255, abs=1e-3)
    assert seen["contrast"] == 0 and seen["red"] == seen["blue"] == 0
    red = grey.copy()
    red[..., 0] = 200
    assert _of_pixels(red)["grey"] == "no"
    assert _of_pixels(red)["red"] == pytest.approx(100 / 255, abs=1e-3)
    rng = np.random.default_rng(0)
    noise = np.repeat(rng.integers(0, 256, (256, 256, 1), dtype=np.uint8), 3, axis=2)
    flat = np.repeat(np.repeat(noise[::8, ::8], 8, axis=0), 8, axis=1)
    assert _of_pixels(noise)["sharpness"] > _of_pixels(flat)["sharpness"] > seen["sharpness"]
