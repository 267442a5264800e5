"""The picture holds every rate where it belongs, and no text of it touches another."""

import warnings
from itertools import combinations

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from detector.evaluation.false_alarms import false_alarms
from detector.evaluation.false_alarms_figure import APART, DOT, WIDTH, false_alarms_figure


def measured(n=400, top=0.8, seed=0, **columns) -> dict:
    rng = np.random.default_rng(seed)
    named = {name: rng.choice(values, n).tolist() for name, values in columns.items()}
    return false_alarms(
        top * rng.random(n), np.ones(n, int), np.arange(n), named,
        threshold=0.5, replicates=99, seed=0,
    )  # fmt: skip


PEOPLE = {
    "gender": ["female", "male"],
    "age_band": ["0-11", "12-17", "18-29", "30-44", "45-59", "60 and over"],
    "ethnicity": ["White", "Black", "Asian", "Indian", "Others"],
}


def drawn(figure) -> list[Text]:
    """All texts that are seen: of tick labels those within the limits."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as a letter that the font does not have
        figure.draw_without_rendering()
    (axes,) = figure.axes
    low, high = axes.get_xlim()
    ticks = [t for t in axes.get_xticklabels() if low <= t.get_position()[0] <= high]
    texts = [*figure.texts, *axes.texts, *ticks, axes.xaxis.label]
    return [text for text in texts if text.get_text().strip()]


@pytest.mark.parametrize(
    "found",
    [
        measured(**PEOPLE),
        measured(top=0.4, **PEOPLE),
        measured(top=0.5001, **PEOPLE),
        measured(n=3, **PEOPLE),
        measured(n=1, gender=["female"]),
        measured(),
        measured(**{"a very long name of a column": ["and " * 20 + str(at) for at in range(9)]}),
    ],
)
def test_no_text_touches_another_or_the_edge(found):
    figure = false_alarms_figure(found, "a very long name of a run " * 12)
    boxes = [(text.get_text(), text.get_window_extent()) for text in drawn(figure)]
    width, height = figure.canvas.get_width_height()
    for text, box in boxes:
        assert box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height, text
    for (first, a), (second, b) in combinations(boxes, 2):
        assert not a.overlaps(b), (first, second)


def test_each_value_has_its_dot_and_its_interval_in_the_order_given():
    found = measured(**PEOPLE)
    (axes,) = false_alarms_figure(found, "run").axes
    overall, *lines = axes.lines
    assert set(overall.get_xdata()) == {found["rate"]["value"]}
    rates = [of["rate"] for column in found["columns"].values() for of in column["values"].values()]
    assert len(lines) == 2 * len(rates) == 26
    heights = []
    for rate, ends, dot in zip(rates, lines[::2], lines[1::2], strict=True):
        assert list(ends.get_xdata()) == [rate["low"], rate["high"]]
        assert list(dot.get_xdata()) == [rate["value"]]
        assert len({*ends.get_ydata(), *dot.get_ydata()}) == 1
        heights.append(dot.get_ydata()[0])
        assert rate["low"] >= 0 and rate["high"] <= axes.get_xlim()[1]
    assert heights == sorted(heights) and len(set(heights)) == len(heights)
    bottom, top = axes.get_ylim()
    assert top < heights[0] < heights[-1] < bottom  # downwards


def test_colours_follow_the_corrected_test():
    found = measured(**PEOPLE)
    for p, color in ((0.0499, APART), (0.05, DOT), (None, DOT)):
        for column in found["columns"].values():
            column["p_holm"] = p
        (axes,) = false_alarms_figure(found, "run").axes
        assert {line.get_color() for line in axes.lines[1:]} == {color}


def test_the_height_follows_the_number_of_values(tmp_path):
    sizes = []
    for columns in ({}, {"gender": PEOPLE["gender"]}, PEOPLE):
        false_alarms_figure(measured(**columns), "run").savefig(tmp_path / "false_alarms.png")
        sizes.append(Image.open(tmp_path / "false_alarms.png").size)
    assert {width for width, _ in sizes} == {WIDTH}
    assert [height for _, height in sizes] == sorted(height for _, height in sizes)
