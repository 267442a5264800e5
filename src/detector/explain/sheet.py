"""Several heatmaps on one sheet, all on the scale of `panel`."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from detector.explain.panel import DENSEST, density
from detector.run.figures import INK, MUTED, WRONG, fit_text

CELL, CAPTION, HEAD, FOOT, DPI = 150, 24, 40, 26, 100  # pixels


def overlay(axes: Axes, image: np.ndarray, cam: np.ndarray) -> None:
    """Draws a picture with its map over it: the denser, the less of the picture shows.

    Args:
        axes: Where.
        image: uint8 (S, S, 3).
        cam: float (S, S), at least 0, on any scale.
    """
    dense = density(cam)
    axes.imshow(image)
    axes.imshow(dense, cmap="magma", vmin=0, vmax=DENSEST, alpha=np.clip(dense / 3, 0, 0.6))
    axes.set_axis_off()


def sheet_figure(
    images: np.ndarray,
    maps: np.ndarray,
    labels: np.ndarray,
    p_fake: np.ndarray,
    class_names: Sequence[str],
    *,
    title: str,
) -> Figure:
    """A row of pictures with their maps for each class.

    Args:
        images: uint8 (N, S, S, 3).
        maps: float (N, S, S), at least 0.
        labels: (N,) 0 or 1.
        p_fake: (N,) scores, written below each.
        class_names: Names of labels 0 and 1.
        title: One line on top.

    Returns:
        A figure on an Agg canvas, 150 pixels a picture.
    """
    rows = [np.flatnonzero(labels == label) for label in (0, 1)]
    columns = max(4, *map(len, rows))
    width, height = columns * CELL + 80, 2 * (CELL + CAPTION) + HEAD + FOOT
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    heading = figure.text(
        10 / width, 1 - 20 / height, title, size=11, weight="bold", color=INK, va="center"
    )
    fit_text(heading, width - 20)
    for line, members in enumerate(rows):
        top = HEAD + line * (CELL + CAPTION)
        at = 1 - (top + CELL / 2) / height
        figure.text(38 / width, at, class_names[line], size=10, color=MUTED, rotation=90,
                    va="center", ha="center")  # fmt: skip
        for column, member in enumerate(members):
            left = 70 + column * CELL
            axes = figure.add_axes(
                (left / width, 1 - (top + CELL - 6) / height,
                 (CELL - 8) / width, (CELL - 8) / height)
            )  # fmt: skip
            overlay(axes, images[member], maps[member])
            empty = " · empty" if maps[member].max() <= 0 else ""
            right = (p_fake[member] >= 0.5) == (line == 0)
            axes.text(
                0.5, -0.04, f"p_{class_names[0]} {p_fake[member]:.2f}{empty}", size=8.5,
                color=INK if right else WRONG, transform=axes.transAxes, ha="center", va="top",
            )  # fmt: skip
    note = (
        "light: dense; the scale is the same in every picture and epoch    vermilion: wrong at .5"
    )
    fit_text(
        figure.text(10 / width, 12 / height, note, size=8.5, color=MUTED, va="center"), width - 20
    )
    return figure
