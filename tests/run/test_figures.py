"""Confusion matrix and sample grid."""

import io
import sys

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from detector.run import figures
from detector.run.figures import confusion_figure, grid_figure

NAMES = ("fake", "real")


def texts(figure):
    return [t.get_text() for t in figure.findobj(Text)]


def pixels(figure):
    file = io.BytesIO()
    figure.savefig(file, format="png")
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def images(n, height=32, width=32):
    return np.random.default_rng(0).integers(0, 255, (n, height, width, 3), dtype=np.uint8)


def test_confusion_counts_percent_and_place():
    figure = confusion_figure(np.array([[131, 13], [40, 122]]), NAMES)
    placed = {t.get_text(): t.get_position() for t in figure.axes[0].texts}
    # Row is the true class: 40 real ones were called fake, in the lower left cell.
    assert placed["40"][0] == 0 and 0.5 < placed["40"][1] < 1.5
    assert placed["13"][0] == 1 and -0.5 < placed["13"][1] < 0.5
    assert {"91.0 %", "9.0 %", "24.7 %", "75.3 %"} <= set(placed)
    assert {"fake\nn = 144", "real\nn = 162", "predicted", "true"} <= set(texts(figure))
    assert pixels(figure).shape == (395, 460, 3)


def test_confusion_of_an_absent_class_has_no_percentage():
    figure = confusion_figure(np.array([[12345, 0], [0, 0]]), ("generated_by_stylegan", "real"))
    shown = texts(figure)
    assert "12,345" in shown and shown.count("–") == 2 and "100.0 %" in shown
    inside(figure)


def test_confusion_text_stands_out_from_its_cell():
    figure = confusion_figure(np.array([[99, 1], [50, 50]]), NAMES)
    colors = {t.get_text(): t.get_color() for t in figure.axes[0].texts}
    assert colors["99"] == "white" and colors["1"] == figures.INK


def test_confusion_refuses_another_shape():
    with pytest.raises(AssertionError):
        confusion_figure(np.zeros((3, 3), int), NAMES)


def captions(figure):
    return [axes.get_xlabel() for axes in figure.axes]


def test_grid_captions_and_wrong_ones():
    figure = grid_figure(images(5), [0, 1, 0, 1, 0], [0.9, 0.12, 0.2, 0.8, 0.5], NAMES, 16)
    assert captions(figure) == [
        "fake · p_fake 0.90",
        "real · p_fake 0.12",
        "✗ fake · p_fake 0.20",
        "✗ real · p_fake 0.80",
        "fake · p_fake 0.50",
    ]
    wrong = [axes.xaxis.label.get_color() == figures.WRONG for axes in figure.axes]
    assert wrong == [False, False, True, True, False]
    assert [axes.spines["top"].get_visible() for axes in figure.axes] == wrong
    assert any("wrong: 2 of 5" in text for text in texts(figure))


def test_grid_shows_the_images_themselves():
    shown = images(3)
    figure = grid_figure(shown, [0, 1, 0], None, NAMES, 2)
    assert captions(figure) == ["fake", "real"], "two at most, no score without scores"
    for axes, image in zip(figure.axes, shown, strict=False):
        assert np.array_equal(axes.images[0].get_array(), image)
    assert not any("wrong" in text for text in texts(figure))


def test_score_is_named_after_class_0():
    figure = grid_figure(images(2), [0, 1], [0.7, 0.7], ("male", "female"), 9)
    assert captions(figure)[0] == "male · p_male 0.70"
    assert "p_fake" not in " ".join(texts(figure))


def test_score_that_is_not_finite_is_wrong():
    figure = grid_figure(images(2), [0, 1], [np.nan, np.nan], NAMES, 9)
    assert all(caption.startswith("✗") for caption in captions(figure))


def inside(figure):
    """Every text lies within the picture."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    width, height = figure.canvas.get_width_height()
    for text in figure.findobj(Text):
        box = text.get_window_extent(renderer)
        if text.get_text() and text.get_visible() and box.width > 1:
            fits = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
            assert fits, (text.get_text(), box)


@pytest.mark.parametrize("n", [0, 1, 2, 7, 24, 40])
@pytest.mark.parametrize("names", [NAMES, ("male_person_adult_" * 3, "ordinary_photograph")])
def test_grid_of_any_size_keeps_its_captions_in_their_cells(n, names):
    rng = np.random.default_rng(n)
    shape = (20, 30) if n % 2 else (30, 20)
    figure = grid_figure(images(n, *shape), rng.integers(0, 2, n), rng.random(n), names, 32)
    assert len(figure.axes) == min(n, 32)
    drawn = pixels(figure)
    assert drawn.shape[:2] == figure.canvas.get_width_height()[::-1]
    inside(figure)
    renderer = figure.canvas.get_renderer()
    for axes in figure.axes:
        assert axes.xaxis.label.get_window_extent(renderer).width <= 150
        assert axes.get_xlabel()[-4:].replace(".", "").isdigit(), "the score itself is never cut"


def test_no_global_figures_and_no_display():
    confusion_figure(np.eye(2, dtype=int), NAMES)
    grid_figure(images(1), [0], [0.5], NAMES, 1)
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()
