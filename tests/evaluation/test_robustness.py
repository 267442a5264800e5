"""Scores, flips and AUROC by brute force with a stub network; files read once, few in memory."""

import gc
import io
import json
import time
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import roc_auc_score

from detector.data.index import Index
from detector.errors import UserError
from detector.evaluation import robustness as module
from detector.evaluation.intervals import effective_n, wilson
from detector.evaluation.metrics import summarize
from detector.evaluation.robustness import AHEAD, compare_with_clean, robustness

HOW = {"threshold": 0.5, "replicates": 100, "seed": 3}
FAMILIES = {"jpeg": (60, 5), "brightness": (0.6, 1.4), "crop": (0.5,)}
STEPS = [("clean", None), ("jpeg", 60), ("jpeg", 5), ("brightness", 0.6), ("brightness", 1.4),
         ("crop", 0.5)]  # fmt: skip


class Stub:
    """Stands for a network: the brighter a picture of 16 pixels, the more it is fake."""

    def __init__(self) -> None:
        self.preprocess = self
        self.seen = 0

    def resize(self, image: np.ndarray) -> np.ndarray:
        return np.array(Image.fromarray(image).resize((16, 16)))

    def scores(self, images) -> np.ndarray:
        found = []
        for image in images:
            self.seen += 1
            found.append(image.mean() / 255)
        return np.array(found)


@pytest.fixture
def made(tmp_path):
    """40 pictures on disk, fakes a little brighter, five groups of two."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 40)
    for row, label in enumerate(labels):
        coarse = rng.integers(0, 200, (6, 7, 3)) + rng.integers(0, 40) + 15 * (label == 0)
        image = np.clip(coarse, 0, 255).astype(np.uint8)
        Image.fromarray(image).resize((35, 30)).save(tmp_path / f"{row}.png")
    index = Index(
        "made", str(tmp_path), ("fake", "real"), {"name": [f"{i}.png" for i in range(40)]}
    )
    groups = np.array([str(max(row, 5 + row % 5)) for row in range(40)])
    return index, labels, groups


def run(made, rows=range(40), families=FAMILIES, predictor=None, **how):
    index, labels, groups = made
    rows = list(rows)
    settings = {"max_pixels": 10**6, **HOW} | how
    return robustness(
        predictor or Stub(), index, rows, labels[rows], groups[rows], families=families, **settings
    )


def by_hand(index: Index, row: int) -> list[float]:
    """Score of one picture as it is and under each of STEPS, with Pillow and NumPy alone."""
    image = np.asarray(Image.open(index.path(row)))
    versions = [image]
    for quality in (60, 5):
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG", quality=quality)
        versions.append(np.asarray(Image.open(stream)))
    versions += [np.rint(np.clip(image * factor, 0, 255)).astype(np.uint8) for factor in (0.6, 1.4)]
    versions.append(image[7:22, 8:26])  # 15 and 18 of 30 and 35, about the centre
    return [np.asarray(Image.fromarray(v).resize((16, 16))).mean() / 255 for v in versions]


def test_everything_is_as_by_hand(made):
    index, labels, groups = made
    scores = np.array([by_hand(index, row) for row in range(40)])
    found = run(made)
    assert [(row["family"], row["strength"]) for row in found] == STEPS
    assert [row["label"] for row in found][:2] == ["As they are", "JPEG"]
    assert all(row["n"] == 40 for row in found)
    assert found[0]["difference"] is None and found[0]["flipped"] is None
    flipped = []
    for k, row in enumerate(found):
        expected = roc_auc_score(labels == 0, scores[:, k])
        assert row["auroc"]["value"] == pytest.approx(expected, abs=1e-12)
        if k:
            change = expected - roc_auc_score(labels == 0, scores[:, 0])
            assert row["difference"]["value"] == pytest.approx(change, abs=1e-12)
            flips = sum(
                (a >= HOW["threshold"]) != (b >= HOW["threshold"]) for a, b in scores[:, [0, k]]
            )
            flipped.append(row["flipped"]["value"])
            assert flipped[-1] == pytest.approx(flips / 40)
            n = effective_n(groups)
            assert n < 40
            ends = row["flipped"]["low"], row["flipped"]["high"]
            assert ends == pytest.approx(wilson(n * flips / 40, n))
    assert max(flipped) > 0 and len(set(flipped)) > 2  # the stub does change its mind
    json.dumps(found, allow_nan=False)


def test_the_order_of_rows_and_the_number_of_threads_change_nothing(made):
    expected = run(made, workers=1)
    turned = np.random.default_rng(1).permutation(40)
    assert run(made, turned, workers=3) == expected
    assert run(made, range(40), workers=2) == expected


def test_a_family_is_measured_the_same_alone_and_among_others(made):
    among = {(row["family"], row["strength"]): row for row in run(made)}
    noisy = {"noise": (9, 30)}
    both = run(made, families=noisy | {"jpeg": (5,)})
    assert both[-1] == among["jpeg", 5]
    assert both[:3] == run(made, families=noisy)
    assert [row["family"] for row in run(made, families={})] == ["clean"]


def test_the_threshold_decides_what_a_flip_is(made):
    never = run(made, threshold=1.0)
    assert all(row["flipped"]["value"] == 0 < row["flipped"]["high"] for row in never[1:])


def test_files_are_decoded_once_and_few_pictures_are_alive(made, monkeypatch):
    alive, most, decoded = weakref.WeakSet(), [0], []

    class Kept(np.ndarray):
        __hash__ = object.__hash__  # so that a set may hold it

    class Slow(Stub):
        def resize(self, image):
            small = super().resize(image).view(Kept)
            alive.add(small)
            return small

        def scores(self, images):
            def counted():
                for image in images:
                    time.sleep(0.002)  # the threads would run ahead if they were let
                    most[0] = max(most[0], len(list(alive)))
                    yield image

            return super().scores(counted())

    real = module.decode
    monkeypatch.setattr(
        module, "decode", lambda data, **how: (decoded.append(data), real(data, **how))[1]
    )
    predictor = Slow()
    run(made, predictor=predictor, workers=2)
    gc.collect()
    assert len(decoded) == 40 and predictor.seen == 40 * len(STEPS)
    # What waits, what is being scored, and what a thread is at.
    assert len(STEPS) < most[0] <= (AHEAD * 2 + 1) * len(STEPS) < 40 * len(STEPS) / 4


def test_progress_counts_every_image(made):
    calls = []
    run(made, progress=lambda *at: calls.append(at))
    assert calls == [(done, 40) for done in range(1, 41)]


@pytest.mark.parametrize(
    "change, says",
    [
        ({"families": {"melt": (1,)}}, "no family melt"),
        ({"families": {"jpeg": (500,)}}, "robustness.strengths.jpeg"),
        ({"threshold": 2}, "threshold"),
        ({"replicates": 0}, "replicates"),
        ({"rows": []}, "no images"),
    ],
)
def test_bad_settings_are_refused_before_a_file_is_read(made, monkeypatch, change, says):
    monkeypatch.setattr(module, "decode", lambda *a, **k: pytest.fail("a file was read"))
    with pytest.raises(UserError, match=says) as error:
        run(made, **change)
    assert "\n" not in str(error.value)


def test_lengths_that_differ_are_refused(made):
    index, labels, groups = made
    with pytest.raises(UserError, match="40 rows, 39 labels, 40 groups"):
        robustness(
            Stub(), index, range(40), labels[1:], groups, families={}, max_pixels=10**6, **HOW
        )


def test_a_file_that_is_gone_cut_or_too_large_is_named_in_one_line(made):
    index = made[0]
    with pytest.raises(UserError, match=r"0\.png: .*pixels"):
        run(made, max_pixels=100)
    index.path(7).write_bytes(index.path(7).read_bytes()[:300])
    index.path(9).unlink()
    for rows, says in (([1, 7, 2], r"7\.png: the file is damaged"), ([9], r"9\.png is gone")):
        with pytest.raises(UserError, match=says) as error:
            run(made, rows)
        assert "\n" not in str(error.value)
    index.path(9).mkdir()
    with pytest.raises(UserError, match=r"9\.png cannot be read"):
        run(made, [9])


scored = st.sampled_from([0.0, 0.2, 0.5, 0.7, 1.0])


@given(st.lists(st.tuples(scored, scored, st.integers(0, 1), st.integers(0, 5)), min_size=1,
                max_size=30))  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_intervals_hold_their_value_and_auroc_is_that_of_summarize(rows):
    a, b, labels, groups = map(np.array, zip(*rows, strict=True))
    how = HOW | {"replicates": 10}
    found = compare_with_clean(np.stack([a, b], axis=1), labels, groups, **how)
    json.dumps(found, allow_nan=False)
    for row, scores in zip(found, (a, b), strict=True):
        expected = summarize(scores, labels, groups, **how)["auroc"]
        if len(set(labels)) < 2:
            assert row["auroc"] == expected == {"value": None, "low": None, "high": None}
        else:
            assert row["auroc"] == pytest.approx(expected, abs=1e-9)
    if len(set(labels)) < 2:
        assert found[1]["difference"] == {"value": None, "low": None, "high": None}
    else:
        change = roc_auc_score(labels == 0, b) - roc_auc_score(labels == 0, a)
        assert found[1]["difference"]["value"] == pytest.approx(change, abs=1e-9)
        assert -1 <= found[1]["difference"]["low"] < found[1]["difference"]["high"] <= 1
    flipped = found[1]["flipped"]
    assert flipped["value"] == np.mean((a >= 0.5) != (b >= 0.5))
    assert 0 <= flipped["low"] <= flipped["value"] <= flipped["high"] <= 1
    assert flipped["low"] < flipped["high"]


def test_no_change_has_an_interval_around_0():
    rng = np.random.default_rng(0)
    p, labels = rng.random(60), rng.integers(0, 2, 60)
    row = compare_with_clean(np.stack([p, p], axis=1), labels, np.arange(60), **HOW)[1]
    assert row["difference"]["value"] == 0 == row["flipped"]["value"] == row["flipped"]["low"]
    assert row["difference"]["low"] < 0 < row["difference"]["high"]


def test_the_difference_is_paired_and_by_group():
    rng = np.random.default_rng(0)
    n = 900
    labels = rng.integers(0, 2, n)
    clean = np.clip(0.5 + 0.2 * rng.normal(size=n) + 0.12 * (labels == 0), 0, 1)
    worse = np.clip(clean + 0.12 * rng.normal(size=n), 0, 1)
    groups = np.repeat(np.arange(n // 3), 3)
    labels = np.repeat(labels[::3], 3)  # groups of one class, as copies are
    scores = np.stack([clean, worse], axis=1)
    found = compare_with_clean(scores, labels, groups, **HOW | {"replicates": 400})[1]

    drawn = []  # whole groups with replacement within a class, both columns along
    sides = [np.unique(groups[labels == label]) for label in (0, 1)]
    for _ in range(400):
        picked = np.concatenate([rng.choice(side, len(side)) for side in sides])
        rows = (picked[:, None] * 3 + np.arange(3)).ravel()
        a, b = (roc_auc_score(labels[rows] == 0, scores[rows, k]) for k in (0, 1))
        drawn.append(b - a)
    low, high = np.quantile(drawn, [0.025, 0.975])
    measured = found["difference"]
    # Wider than the bootstrap's where `allow_unseen` is, by 3.84 of the smaller class.
    assert measured["low"] == pytest.approx(low, abs=0.01)
    assert measured["high"] == pytest.approx(high, abs=0.01)
    apart = [summarize(s, labels, groups, **HOW)["auroc"] for s in (clean, worse)]
    assert measured["high"] - measured["low"] < apart[0]["high"] - apart[0]["low"]
