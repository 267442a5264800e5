"""The picture holds every number, and no text of it touches another."""

import warnings
from itertools import combinations

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.text import Text
from PIL import Image

from detector.evaluation.perturbations import PERTURBATIONS
from detector.evaluation.robustness_figure import robustness_figure

STRENGTHS = {
    "jpeg": [95, 90, 80, 70, 60, 50, 40, 30],
    "webp": [90, 50],
    "blur": [0.25, 0.5, 1, 2],
    "noise": [2, 5, 10, 20],
    "downscale": [0.75, 0.5, 0.25, 0.125],
    "upscale": [1.5],
    "crop": [0.95, 0.9, 0.8, 0.7, 0.6],
    "brightness": [0.5, 0.75, 1.25, 1.5],
    "shared": [1, 2, 3],
}


def rows(families=STRENGTHS, classes=2, best=0.9) -> list[dict]:
    """Rows as `robustness` gives them, their numbers drawn at random below `best`."""
    rng = np.random.default_rng(0)

    def number(top: float) -> dict:
        low, value, high = np.sort(top * (1 - 0.5 * rng.random(3))).tolist()
        return {"value": value, "low": low, "high": high}

    nothing = {"value": None, "low": None, "high": None}
    named = [("clean", None)] + [(name, s) for name, v in families.items() for s in v]
    return [
        {"family": name, "label": name, "strength": strength, "n": 60,
         "auroc": number(best) if classes == 2 else nothing,
         "flipped": number(0.4) if strength is not None else None}
        for name, strength in named
    ]  # fmt: skip


def drawn(figure) -> list[Text]:
    """All texts that are seen: of tick labels those within the limits."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as a letter that the font does not have
        figure.draw_without_rendering()
    texts = list(figure.texts)
    for axes in figure.axes:
        texts += [axes.title, axes._left_title, axes._right_title, *axes.texts]
        for at, axis in enumerate((axes.xaxis, axes.yaxis)):
            low, high = axis.get_view_interval()
            labels = axis.get_ticklabels()
            texts += [axis.label, *(t for t in labels if low <= t.get_position()[at] <= high)]
    return [text for text in texts if text.get_text().strip()]


MANY = {"jpeg": list(range(98, 2, -3)), "blur": [0.123 * k for k in range(1, 15)]}


@pytest.mark.parametrize(
    "case",
    [
        {},
        {"families": {"jpeg": [50]}},
        {"families": {"brightness": [0.5, 2], "shared": [1]}},
        {"families": MANY},
        {"best": 1.0},
        {"best": 0.3},
        {"classes": 1},
        {"families": {}},
    ],
)
def test_no_text_touches_another_or_the_edge(case):
    figure = robustness_figure(rows(**case), "a very long name of a run " * 12)
    texts = drawn(figure)
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    width, height = figure.canvas.get_width_height()
    for text, box in boxes:
        assert box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height, text
    for (first, a), (second, b) in combinations(boxes, 2):
        assert not a.overlaps(b), (first, second)


def test_each_family_has_its_panel_and_each_strength_its_point():
    measured = rows()
    figure = robustness_figure(measured, "run")
    assert len(figure.axes) == 2 * len(STRENGTHS)
    for at, (name, strengths) in enumerate(STRENGTHS.items()):
        ranked, flipped = figure.axes[2 * at : 2 * at + 2]
        assert ranked.get_title("left") == PERTURBATIONS[name].label
        assert flipped.get_xlabel() == PERTURBATIONS[name].unit
        labels = [text.get_text() for text in flipped.get_xticklabels()]
        # Mild to severe; brightness goes both ways from the clean images.
        listed = [f"{s:g}" for s in strengths]
        place = 2 if name == "brightness" else 0
        assert labels == [*listed[:place], "clean", *listed[place:]]
        of = {f"{r['strength']:g}": r for r in measured[1:] if r["family"] == name}
        of["clean"] = measured[0] | {"flipped": {"value": 0, "low": 0, "high": 0}}
        for axes, key in ((ranked, "auroc"), (flipped, "flipped")):
            expected = [of[label][key] for label in labels]
            values = axes.lines[0].get_ydata()
            assert list(values) == [one["value"] for one in expected]
            (band,) = [c for c in axes.collections if isinstance(c, PolyCollection)]
            corners = {(round(x), y) for x, y in band.get_paths()[0].vertices.tolist()}
            assert {(x, one[end]) for x, one in enumerate(expected) for end in ("low", "high")} <= (
                corners
            )
            low, high = axes.get_ylim()
            assert all(low <= one["low"] and one["high"] <= high + 1e-9 for one in expected)
        worst = min(of.values(), key=lambda row: row["auroc"]["value"])["auroc"]["value"]
        assert f"lowest {worst:.3f} at " in ranked.get_title("right")


def test_scales_are_the_same_in_all_panels():
    figure = robustness_figure(rows(), "run")
    for which in (0, 1):
        assert len({axes.get_ylim() for axes in figure.axes[which::2]}) == 1


def test_one_class_says_so_and_still_shows_flips():
    figure = robustness_figure(rows({"jpeg": [50]}, classes=1), "run")
    assert any("one class" in text.get_text() for text in drawn(figure))
    assert np.isfinite(figure.axes[1].lines[0].get_ydata()).all()


def test_the_size_follows_the_number_of_families(tmp_path):
    for names, size in ((["jpeg"], (780, 400)), (list(STRENGTHS), (1170, 1020))):
        figure = robustness_figure(rows({name: STRENGTHS[name] for name in names}), "run")
        figure.savefig(tmp_path / "robustness.png")
        assert Image.open(tmp_path / "robustness.png").size == size
