"""Every number is in the picture, readable, and touches no other."""

import warnings
from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from detector.evaluation.matrix_figure import BLUES, SCALE, _ink, matrix_figure
from tests.evaluation.test_matrix_report import made_up


def drawn(figure) -> list:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as a letter that the font does not have
        figure.draw_without_rendering()
    texts = list(figure.texts)
    for axes in figure.axes:
        texts += [*axes.texts, *(t for t in axes.get_xticklabels() if t.get_text())]
    return [text for text in texts if text.get_text().strip()]


@pytest.mark.parametrize("networks, sets", [(1, 1), (3, 5), (6, 3), (2, 2)])
@pytest.mark.parametrize("longer", ["", " 2026-11-21_01-53-36 and-a-name-that-does-not-end"])
def test_no_text_leaves_the_picture_or_touches_another(networks, sets, longer):
    figure = matrix_figure(made_up(networks, sets, longer))
    texts = drawn(figure)
    boxes = [text.get_window_extent() for text in texts]
    width, height = figure.canvas.get_width_height()
    for text, box in zip(texts, boxes, strict=True):
        assert box.x0 >= 0 and box.y0 >= 0, text.get_text()
        assert box.x1 <= width and box.y1 <= height, text.get_text()
    for (a, first), (b, second) in combinations(zip(texts, boxes, strict=True), 2):
        assert not first.overlaps(second), (a.get_text(), b.get_text())


def test_each_cell_says_what_was_measured():
    found = made_up(3, 5)
    texts = {text.get_text() for text in drawn(matrix_figure(found))}
    for cell in found["cells"]:
        if cell["error"]:
            assert "not read" in texts
            continue
        for key in ("auroc", "accuracy"):
            if (measure := cell[key])["value"] is not None:
                value, low, high = (f"{measure[k]:.3f}".removeprefix("0")
                                    for k in ("value", "low", "high"))  # fmt: skip
                assert any(text.startswith(value) for text in texts)
                assert f"[{low}, {high}]" in texts
        if cell["best_accuracy"]["value"] is not None:
            assert f"best {cell['best_accuracy']['value']:.3f}".replace(" 0.", " .") in texts
    assert {"one class", "–", "best –"} <= texts
    assert any(text.endswith("†") for text in texts) and any(text.endswith("‡") for text in texts)


def test_own_sets_are_outlined():
    found = made_up(3, 5)
    outlined = [
        [patch for patch in axes.patches if not patch.get_fill()]
        for axes in matrix_figure(found).axes[:2]
    ]
    own = sum(cell["own"] for cell in found["cells"])
    assert own == 3 and [len(patches) for patches in outlined] == [own, own]


def test_text_is_readable_on_every_colour_and_chance_has_an_end_of_its_own():
    def luminance(colour) -> float:
        c = np.array(to_rgb(colour))
        linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    shades = [luminance(BLUES(SCALE(value))) for value in np.linspace(0.5, 1, 101)]
    assert (np.diff(shades) <= 1e-9).all()  # in order without any colour vision
    for value in [0.0, 0.499, *np.linspace(0.5, 1, 101)]:
        face = BLUES(SCALE(value))
        light, dark = sorted((luminance(face), luminance(_ink(face))), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5  # WCAG AA
    assert BLUES(SCALE(0.499)) == BLUES(SCALE(0.1)) != BLUES(SCALE(0.5))
