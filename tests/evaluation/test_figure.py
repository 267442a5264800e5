"""The picture: what it shows is read back from the figure, odd input draws all the same."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from detector.evaluation import figure
from detector.evaluation.abstention import answered
from detector.evaluation.metrics import summarize


def plot(tmp_path, p, labels, **more):
    labels, groups = np.asarray(labels), np.arange(len(labels))
    options = {"threshold": 0.5, "class_names": ("fake", "real"), "title": "a title"} | more
    metrics = summarize(p, labels, groups, threshold=0.5, replicates=20, seed=0)
    path = tmp_path / "evaluation.png"
    figure.plot_evaluation(p, labels, groups, path, metrics=metrics, **options)
    return Image.open(path)


@pytest.fixture
def axes(monkeypatch):
    """The axes of the last figure that was saved."""
    seen = []
    original = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **k: (seen.extend(self.axes), original(self, *a, **k))
    )
    return seen


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 300)
    return np.clip(0.3 + 0.4 * (labels == 0) + rng.normal(0, 0.2, 300), 0, 1), labels


def test_six_panels_of_the_stated_size(tmp_path, scores, axes):
    assert plot(tmp_path, *scores).size == (1400, 860)
    assert len(axes) == 6


def test_the_curve_has_the_stated_area_and_the_mark_lies_on_it(tmp_path, scores, axes):
    p, labels = scores
    plot(tmp_path, p, labels, threshold=0.4)
    _, curve, mark = axes[0].get_lines()
    area = np.trapezoid(curve.get_ydata(), curve.get_xdata())
    wanted = summarize(p, labels, np.arange(300), threshold=0.5, replicates=5, seed=0)
    assert area == pytest.approx(wanted["auroc"]["value"])
    x, y = mark.get_data()
    assert x[0] == pytest.approx(np.mean(p[labels == 1] >= 0.4))
    assert y[0] == pytest.approx(np.mean(p[labels == 0] >= 0.4))
    assert f"{area:.3f}" in axes[0].get_title(loc="left")


def test_reliability_bins_hold_equal_numbers(tmp_path, scores, axes):
    p, labels = scores
    plot(tmp_path, p, labels)
    (dots,) = (line for line in axes[3].get_lines() if line.get_marker() == "o")
    assert len(dots.get_ydata()) == 10
    assert np.mean(dots.get_ydata()) == pytest.approx(np.mean(labels == 0))


def test_reliability_before_calibration_stands_beside(tmp_path, scores, axes):
    p, labels = scores
    plot(tmp_path, p, labels, before=np.sqrt(p))
    (crosses,) = (line for line in axes[3].get_lines() if line.get_marker() == "x")
    assert np.mean(crosses.get_xdata()) == pytest.approx(np.mean(np.sqrt(p)))


def test_the_abstention_curve_ends_at_the_error_rate(tmp_path, scores, axes):
    p, labels = scores
    given = answered(p, labels, np.arange(300), threshold=0.5, unsure=(0.4, 0.6), level=0.95)
    plot(tmp_path, p, labels, given=given)
    curve, _, mark = axes[4].get_lines()
    assert curve.get_xdata()[-1] == 1
    assert curve.get_ydata()[-1] == pytest.approx(np.mean((p >= 0.5) != (labels == 0)))
    sure = (p <= 0.4) | (p >= 0.6)
    assert mark.get_xdata()[0] == pytest.approx(sure.mean())
    assert mark.get_ydata()[0] == pytest.approx(((p >= 0.5) != (labels == 0))[sure].mean())


def test_controls_stand_below_the_network(tmp_path, scores, axes):
    accuracy = {"value": 0.61, "low": 0.55, "high": 0.66}
    plot(tmp_path, *scores, controls={"header": {"accuracy": accuracy}})
    assert [t.get_text() for t in axes[5].get_yticklabels()] == ["network", "file header"]
    assert "0.610" in [text.get_text() for text in axes[5].texts]


def test_the_histogram_counts_every_image(tmp_path, scores, axes):
    p, labels = scores
    plot(tmp_path, p, labels)
    assert sum(bar.get_height() for bar in axes[2].patches) == 300


@pytest.mark.parametrize(
    "p, labels",
    [
        ([0.2], [0]),
        ([0.2, 0.9], [1, 1]),
        ([0.5, 0.5, 0.5, 0.5], [0, 1, 0, 1]),
        ([0.0, 1.0], [0, 1]),
    ],
)
def test_odd_sets_draw_all_the_same(tmp_path, p, labels):
    title = "a long title " * 14
    assert plot(tmp_path, np.array(p), labels, title=title).size == (1400, 860)
