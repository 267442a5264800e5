"""The parity check's figures against loops and scikit-learn, and what it refuses."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from detector.deploy.latency import latencies
from detector.deploy.parity import ask, broken, differences, ranking
from detector.deploy.pictures import Sample
from detector.deploy.report import markdown
from detector.evaluation.calibration import Calibration
from detector.predicting.card import Card
from tests.predicting.made import PREPROCESS, SIZE

LIMITS = {"p_fake": 0.1, "flips": 0.05, "unsure": 0.2, "auroc_drop": 0.01}


class Planted:
    """Gives the logits that it was made with, in order."""

    name = "planted"

    def __init__(self, margins, features=None):
        self.margins, self.features, self.at = margins, features, 0

    def run(self, images, bf16=False):
        assert images.dtype == np.float32 and images.shape[1:] == (3, SIZE, SIZE)
        rows = slice(self.at, self.at + len(images))
        self.at += len(images)
        logits = np.stack([self.margins[rows] + 7, np.full(len(images), 7.0)], 1)
        return logits, None if self.features is None else self.features[rows]


class Gate:
    """Calls pictures unlike the training's whose first feature is above 1."""

    def unlikeness(self, features):
        return features[:, 0]


def card(calibration=None, gate=None):
    known = calibration or Calibration(2.0, 0.4, (0.35, 0.45), 10, "made-up")
    return Card({"name": "x"}, PREPROCESS, ("fake", "real"), "made-up", (), known, gate)


def sample(count, labels=None, groups=None):
    pixels = np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)
    return Sample("made-up, val part", pixels, np.arange(count), labels, groups)


@pytest.mark.parametrize("batch", [1, 4, 100])
def test_differences_are_those_of_a_loop(batch):
    rng = np.random.default_rng(1)
    before, after = rng.normal(0, 2, (2, 41))
    features = rng.normal(1, 0.5, (2, 41, 3)).astype(np.float32)
    used = card(gate=Gate())
    said = ask([Planted(before, features[0]), Planted(after, features[1])], used, sample(41), batch)
    found = differences(*said)
    flips = unsure = 0
    largest = 0.0
    for i in range(41):
        p = [1 / (1 + np.exp(-margins[i] / 2)) for margins in (before, after)]
        largest = max(largest, abs(p[0] - p[1]))
        flips += (p[0] >= 0.4) != (p[1] >= 0.4)
        words = [0.35 < p[k] < 0.45 or features[k][i, 0] > 1 for k in (0, 1)]
        unsure += words[0] != words[1]
    assert found["n"] == 41 and found["flips"] == flips and found["unsure"] == unsure
    assert flips > 2 and unsure > 2
    assert found["p_fake"] == pytest.approx(largest)
    assert found["logits"] == pytest.approx(np.abs(before - after).max())
    spread = np.abs(features[0] - features[1]).max() / np.abs(features[0]).max()
    assert found["features"] == pytest.approx(spread)


def test_ranking_is_scikit_learns_and_its_loss_is_paired():
    rng = np.random.default_rng(2)
    labels, groups = rng.integers(0, 2, 300), rng.integers(0, 150, 300)
    margins = rng.normal(0, 1, 300) + np.where(labels == 0, 1.5, 0)
    worse = margins + rng.normal(0, 0.5, 300)
    both = sample(300, labels, groups)
    said = ask([Planted(margins), Planted(worse)], card(), both, 64)
    found = ranking(*said, both, replicates=300, seed=0)
    exact = [roc_auc_score(labels == 0, one) for one in (margins, worse)]
    assert [found[k]["value"] for k in ("before", "after")] == pytest.approx(exact)
    drop = found["drop"]
    assert drop["value"] == pytest.approx(exact[0] - exact[1])
    assert drop["low"] < drop["value"] < drop["high"]
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    drops = []
    for _ in range(300):  # whole groups, drawn again
        drawn = rng.integers(len(members), size=len(members))
        rows = np.concatenate([members[at] for at in drawn])
        one, two = (roc_auc_score(labels[rows] == 0, m[rows]) for m in (margins, worse))
        drops.append(one - two)
    low, high = np.quantile(drops, [0.025, 0.975])
    assert drop["low"] < low + 0.01 and drop["high"] > high - 0.01
    assert drop["high"] - drop["low"] < 3 * (high - low)


def report(n=100, p_fake=0.0, flips=0, unsure=0, drop=0.0):
    ends = {"low": drop - 0.1, "high": drop + 0.1}
    auroc = {"drop": {"value": drop, **ends}}
    check = {"n": n, "p_fake": p_fake, "flips": flips, "unsure": unsure}
    return {"check": check, "auroc": auroc}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, []),
        ({"p_fake": 0.1, "flips": 5, "unsure": 20, "drop": 0.01}, []),
        ({"drop": -0.2}, []),  # better than before is no reason to refuse
        ({"p_fake": 0.11}, ["p_fake differs"]),
        ({"p_fake": float("nan")}, ["p_fake differs"]),
        ({"flips": 6}, ["6 of 100 verdicts"]),
        ({"unsure": 21}, ["21 of 100 verdicts become"]),
        ({"drop": 0.011}, ["AUROC falls"]),
        ({"p_fake": 1.0, "flips": 60, "drop": 0.4}, ["p_fake", "60 of 100", "AUROC"]),
    ],
)
def test_limits(given, words):
    found = broken(report(**given), LIMITS)
    assert len(found) == len(words)
    assert all(word in line for word, line in zip(words, found, strict=True))
    assert broken(report() | {"auroc": None}, LIMITS) == []


def test_latencies_are_medians_of_turns(monkeypatch):
    clock, order = [0.0], []
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    monkeypatch.setattr("time.sleep", lambda seconds: None)

    class Takes:
        def __init__(self, name, times):
            self.name, self.times = name, iter(times)

        def run(self, image):
            order.append(self.name)
            clock[0] += next(self.times)

    slow = Takes("slow", [9, 9, 9, 0.3, 0.1, 5.0])  # the first three warm up
    fast = Takes("fast", [9, 9, 9, 0.02, 0.01, 0.03])
    found = latencies([slow, fast], np.zeros((1, 3, 8, 8), np.float32), 3)
    assert found == pytest.approx([300, 20])
    assert order == ["slow", "fast"] * 6


def test_the_table_has_a_line_for_each_figure():
    check = {
        "n": 9, "on": "made-up, val part", "p_fake": 0.25, "logits": 1.5, "features": None,
        "flips": 2, "unsure": 1,
    }  # fmt: skip
    interval = {"value": 0.9, "low": 0.8, "high": 0.95}
    auroc = dict.fromkeys(("before", "after", "drop"), interval)
    made = {
        "network": "cnn6", "format": "onnx", "int8": True, "check": check,
        "auroc": auroc | {"on": "made-up, test part", "n": 30},
        "bytes": {"before": 4e6, "after": 1.2e6}, "latency_ms": {"before": 12.0, "after": 3.0},
    }  # fmt: skip
    text = markdown(made)
    assert "| cnn6 | torch | ONNX int8 |" in text
    assert "0.900 [0.800, 0.950]" in text and "2 of 9" in text and "4.00 (weights) | 1.20" in text
    assert len({line.count("|") for line in text.splitlines()}) == 1
    assert "AUROC" not in markdown(made | {"auroc": None})
