"""curves.png and the epoch where train and validation part."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.text import Text
from PIL import Image
from scipy import stats

from detector.run import curves
from detector.run.curves import gap_opened, plot_curves


def rows(train, val, start=1):
    return [
        {"epoch": start + i, "train/accuracy": a, "val/accuracy": b}
        for i, (a, b) in enumerate(zip(train, val, strict=True))
    ]


def full(train, val):
    """A history with losses and AUROC as well."""
    made = rows(train, val)
    for row in made:
        row["train/loss"] = 1.2 - row["train/accuracy"]
        row["val/loss"] = 1.2 - row["val/accuracy"]
        row["val/auroc"] = row["val/accuracy"]
    return made


def draw(history, path, **changes):
    options = {"title": "cnn6 on ciplab", "best_epoch": 1, "monitor": "val/auroc"}
    plot_curves(history, path, **{**options, "n_train": 300, "n_val": 300, **changes})
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(int)


def has(pixels, color):
    """How many pixels have this colour, but for smoothed edges."""
    rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return int((abs(pixels - rgb).max(-1) < 28).sum())


def test_opening_by_hand():
    # 100 images each: with one success and one failure added, 80 against 68 is
    # (81 - 69) / 102 = .1176 against 1.96 sqrt((.7941 * .2059 + .6765 * .3235) / 102) = .1200;
    # 81 against 68 is .1275 against .1191.
    assert gap_opened(rows([0.80], [0.68]), 100, 100) is None
    assert gap_opened(rows([0.81], [0.68]), 100, 100) == 1
    assert gap_opened(rows([0.5, 0.9, 0.9], [0.5, 0.5, 0.5]), 100, 100) == 2
    # Closed again in epoch 3: what counts is where it opened for good.
    assert gap_opened(rows([0.9, 0.9, 0.6, 0.9], [0.5, 0.5, 0.5, 0.5]), 100, 100) == 4
    assert gap_opened(rows([0.9, 0.9, 0.6], [0.5, 0.5, 0.5]), 100, 100) is None
    assert gap_opened(rows([0.5], [0.9]), 100, 100) is None, "validation above train is no gap"
    assert gap_opened([], 100, 100) is None


def test_the_size_of_the_sets_decides():
    history = rows([0.70, 0.70], [0.60, 0.60])
    assert gap_opened(history, 50, 50) is None
    assert gap_opened(history, 5000, 5000) == 1
    assert gap_opened(history, 5000, 50) is None, "the smaller set's noise counts"


def test_perfect_train_accuracy_has_an_error_too():
    # Wald's error would be 0 at 1.0 and .03 for 29 of 30, and so report more than it knows.
    assert gap_opened(rows([1.0], [29 / 30]), 30, 30) is None
    assert gap_opened(rows([1.0], [1.0]), 30, 30) is None
    assert gap_opened(rows([1.0], [0.5]), 30, 30) == 1


def test_rows_may_be_unordered_or_incomplete():
    history = rows([0.5, 0.9, 0.9, 0.9], [0.5] * 4)
    assert gap_opened(history[::-1], 100, 100) == 2
    del history[2]["val/accuracy"]
    history[3]["train/accuracy"] = math.nan
    assert gap_opened(history, 100, 100) == 2
    assert gap_opened([{"epoch": 1}], 100, 100) is None


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 60)), min_size=1, max_size=12),
)
def test_opening_against_brute_force(pairs):
    def is_open(k, m):
        p, q = (k + 1) / 42, (m + 1) / 62
        z = (p - q) / math.sqrt(p * (1 - p) / 42 + q * (1 - q) / 62)
        return stats.norm.sf(z) < stats.norm.sf(1.96)

    flags = [is_open(*pair) for pair in pairs]
    expected = next((i + 1 for i in range(len(flags)) if all(flags[i:])), None)
    history = rows([k / 40 for k, _ in pairs], [m / 60 for _, m in pairs])
    assert gap_opened(history, 40, 60) == expected


@pytest.mark.parametrize("accuracy", [0.6, 0.97])
def test_no_gap_is_rarely_called_one(accuracy):
    rng = np.random.default_rng(1)
    draws = rng.binomial(300, accuracy, (2, 600, 15)) / 300
    found = [gap_opened(rows(a, b), 300, 300) is not None for a, b in zip(*draws, strict=True)]
    assert np.mean(found) < 0.05, "expected 0.025"


@pytest.mark.parametrize("k", [4, 10])
def test_planted_gap_is_found_where_it_is(k):
    rng = np.random.default_rng(2)
    true_train = np.where(np.arange(1, 21) >= k, 0.85, 0.62)
    found = [
        gap_opened(rows(rng.binomial(300, true_train) / 300, rng.binomial(300, 0.62, 20) / 300),
                   300, 300)
        for _ in range(200)
    ]  # fmt: skip
    assert None not in found
    assert np.mean(np.array(found) == k) > 0.9


def test_wilson_band_against_scipy():
    for k, n in ((0, 20), (13, 20), (20, 20), (150, 300)):
        low, high = curves._wilson(np.array([k / n]), n)
        reference = stats.binomtest(k, n).proportion_ci(0.95, method="wilson")
        assert (low[0], high[0]) == pytest.approx((reference.low, reference.high), abs=1e-4)


OVERFIT = (np.linspace(0.55, 0.957, 20), np.linspace(0.54, 0.62, 20))


def test_picture_shows_both_curves_and_both_marks(tmp_path):
    history = full(*OVERFIT)
    pixels = draw(history, tmp_path / "curves.png", best_epoch=17)
    assert pixels.shape == (480, 1200, 3)
    for left in (0, 600):  # both panels
        panel = pixels[100:400, left : left + 590]
        for color in (curves.TRAIN, curves.VAL, curves.BEST, curves.GAP):
            assert has(panel, color) > 20, (left, color)
    without = draw(full([0.6] * 5, [0.6] * 5), tmp_path / "none.png", best_epoch=None)
    assert has(without, curves.BEST) == has(without, curves.GAP) == 0
    assert has(without, curves.TRAIN) > 0


def test_marks_stand_at_their_epochs(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(curves, "_mark", lambda axes, epoch, text, *_: seen.append((epoch, text)))
    history = full([0.6, 0.6, 0.95, 0.95], [0.6] * 4)
    draw(history, tmp_path / "curves.png", best_epoch=2)
    assert seen == [(2, "best: 2"), (3, "gap opens: 3")] * 2


def test_nothing_is_cut_and_no_labels_overlap(tmp_path, monkeypatch):
    """Every text lies inside the picture and touches no other text."""
    kept = []
    save = curves.Figure.savefig
    monkeypatch.setattr(
        curves.Figure, "savefig", lambda self, *a, **k: (kept.append(self), save(self, *a, **k))
    )
    cases = {
        "overfit": (full(*OVERFIT), 9),
        "perfect": (full([0.96, 0.99, 1.0], [0.95, 0.98, 1.0]), 3),
        "chance": (full([0.5] * 8, [0.5] * 8), 1),
        "same epoch": (full([0.6, 0.9, 0.9], [0.6, 0.6, 0.6]), 2),
        "last epoch": (full([0.6, 0.6, 0.9], [0.6, 0.6, 0.6]), 3),
        "one": (full([0.7], [0.6]), 1),
        "long": (full(np.linspace(0.5, 1, 150), np.linspace(0.5, 0.7, 150)), 150),
    }
    for name, (history, best) in cases.items():
        draw(history, tmp_path / "curves.png", best_epoch=best, title=f"{name}, " * 40)
        figure = kept.pop()
        renderer = figure.canvas.get_renderer()
        texts = [t for t in figure.findobj(Text) if t.get_text() and t.get_visible()]
        # An annotation's own extent would include its line.
        boxes = [(t.get_text(), Text.get_window_extent(t, renderer)) for t in texts]
        boxes = [(t, b) for t, b in boxes if b.width > 1]
        assert len(boxes) > 10
        for i, (text, box) in enumerate(boxes):
            inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= 1200 and box.y1 <= 480
            assert inside, (name, text, box)
            for other, second in boxes[i + 1 :]:
                x = min(box.x1, second.x1) - max(box.x0, second.x0)
                y = min(box.y1, second.y1) - max(box.y0, second.y0)
                assert x < 1 or y < 4, (name, text, other)


def test_epoch_ticks_are_whole_epochs(tmp_path, monkeypatch):
    seen = []
    label = curves._label_ends
    monkeypatch.setattr(
        curves, "_label_ends", lambda axes, labels: (seen.append(axes), label(axes, labels))
    )
    for n in (1, 2, 3, 7, 20, 133):
        draw(full([0.7] * n, [0.6] * n), tmp_path / "curves.png")
        ticks = seen.pop().get_xticks()
        assert len(ticks) and set(ticks) <= set(range(1, n + 1)), (n, ticks)


def test_loss_that_is_not_finite_is_named(tmp_path):
    history = full([0.6] * 4, [0.6] * 4)
    history[1]["train/loss"] = math.nan
    history[2]["val/loss"] = math.inf
    assert curves._not_finite(history) == "not finite in epoch 2 and 1 more"
    assert curves._not_finite(full([0.6], [0.6])) == ""
    draw(history, tmp_path / "curves.png")


value = st.one_of(st.floats(0, 1), st.just(math.nan), st.none())
loss = st.one_of(st.floats(0, 1e6), st.sampled_from([math.nan, math.inf, 0.0, 1e-30]), st.none())


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(value, value, loss, loss), max_size=6),
    st.one_of(st.none(), st.integers(1, 6)),
    st.integers(1, 10**6),
)
def test_any_history_can_be_drawn(tmp_path_factory, values, best_epoch, n):
    names = ("train/accuracy", "val/accuracy", "train/loss", "val/loss")
    history = [
        {"epoch": i + 1} | {k: v for k, v in zip(names, row, strict=True) if v is not None}
        for i, row in enumerate(values)
    ]
    path = tmp_path_factory.mktemp("curves") / "curves.png"
    assert draw(history, path, best_epoch=best_epoch, n_train=n).shape == (480, 1200, 3)
