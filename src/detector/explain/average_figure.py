"""The mean map of each class on the mean face, with the share of each region."""

from collections.abc import Mapping

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from detector.explain.aligned import Aligned, frame_regions
from detector.explain.average_table import counts_in_words
from detector.explain.panel import DENSEST, OUTLINE
from detector.explain.regions import REGIONS
from detector.run.figures import INK, MUTED, WRONG, fit_text

WIDTH, DPI = 1320, 100  # pixels
SIDE, HEAD, CAPTION, FOOT = 300, 70, 54, 66
LEFTS = (16, 330, 644)
COLUMNS = ("mean face", "mean map", "both")
BAR_LEFT, SHARES_LEFT = 960, 1135
BAR, EVEN, NO_MEAN = "#0072B2", WRONG, "#D9D9D9"


def average_figure(
    means: Mapping[str, Aligned], tables: Mapping[str, Mapping], *, title: str, notes: str
) -> Figure:
    """Draws a row for each class: mean face, mean map, both, and the share of each region.

    Args:
        means: By class, in the order of the rows.
        tables: By class, as `average_table.region_table` gives it.
        title: One line.
        notes: A second line.

    Returns:
        A figure on an Agg canvas, 1320 pixels wide. The scale is that of `panel`.
    """
    height = HEAD + len(means) * (CAPTION + SIDE) + FOOT
    figure = Figure(figsize=(WIDTH / DPI, height / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)

    def box(left: float, top: float, wide: float, high: float) -> tuple[float, ...]:
        return left / WIDTH, 1 - (top + high) / height, wide / WIDTH, high / height

    def write(left: float, top: float, text: str, size: float, color: str = MUTED, **more) -> None:
        written = figure.text(
            left / WIDTH, 1 - top / height, text, size=size, color=color, va="center", **more
        )
        fit_text(written, WIDTH - left - 16)

    write(16, 24, title, 13, INK, weight="bold")
    write(16, 50, notes, 10)
    cmap = colormaps["magma"].with_extremes(bad=NO_MEAN)
    outlines, drawn = frame_regions(), None
    for row, (name, found) in enumerate(means.items()):
        top = HEAD + row * (CAPTION + SIDE) + CAPTION
        write(16, top - 36, f"{name}: {counts_in_words(tables[name])}", 11, INK)
        if not found.n:
            write(16, top + 20, "no mean: none of these images has a face and a map", 10)
            continue
        face, dense = found.face(), found.density()
        for left, heading in zip(LEFTS, COLUMNS, strict=True):
            axes = figure.add_axes(box(left, top, SIDE, SIDE))
            if heading != "mean map":
                axes.imshow(face)
            if heading != "mean face":
                # The face is seen where the map is thin, as in the panel.
                alpha = 1.0 if heading == "mean map" else np.clip(np.nan_to_num(dense) / 3, 0, 0.6)
                drawn = axes.imshow(dense, cmap=cmap, vmin=0, vmax=DENSEST, alpha=alpha)
                if heading == "mean map":
                    _bar(figure, drawn, box(BAR_LEFT, top, 14, SIDE))
            axes.set_axis_off()
            axes.set_title(heading, size=10, color=MUTED, loc="left", pad=4)
            _outline(axes, outlines, INK if heading == "mean face" else OUTLINE)
        _shares(figure.add_axes(box(SHARES_LEFT, top, WIDTH - SHARES_LEFT - 16, SIDE - 44)),
                tables[name]["regions"])  # fmt: skip
    write(16, height - 40, "1 is an even map; the scale is that of every heatmap here. Each map"
          " counts alike. No mean where fewer than half of the faces reach.", 9)  # fmt: skip
    write(16, height - 20, "Left and right are the viewer's. This describes the maps; that the"
          " network looks at a region takes controls.", 9)  # fmt: skip
    return figure


def _bar(figure: Figure, drawn: object, place: tuple[float, ...]) -> None:
    bar = figure.colorbar(drawn, cax=figure.add_axes(place), extend="max")
    bar.set_ticks([0, 1, 2, 4, 8], labels=["0", "1 even", "2", "4", "8"])
    bar.ax.tick_params(labelsize=9, colors=MUTED, length=3)
    bar.outline.set_visible(False)


def _outline(axes: Axes, labels: np.ndarray, color: str) -> None:
    for number in range(1, len(REGIONS)):
        axes.contour(labels == number, levels=[0.5], colors=color, linewidths=0.7, alpha=0.8)


def _shares(axes: Axes, rows: Mapping[str, Mapping]) -> None:
    """Share of each region with its interval, and a line where an even map would be."""
    names = REGIONS[1:]  # beside the rest, a few times as large, the others could not be told apart
    at = np.arange(len(names))
    for y, name in zip(at, names, strict=True):
        share, area = rows[name]["share"], rows[name]["area"]
        if share["value"] is None:
            axes.text(0, y, "–", size=9, va="center", color=MUTED)
            continue
        axes.barh(y, share["value"], height=0.62, color=BAR)
        axes.hlines(y, share["low"], share["high"], color=INK, linewidth=1)
        axes.vlines(area, y - 0.42, y + 0.42, color=EVEN, linewidth=1.6)
    known = [rows[name] for name in names if rows[name]["share"]["value"] is not None]
    most = max([0.02, *(row["share"]["high"] for row in known), *(row["area"] for row in known)])
    for y, name in zip(at, names, strict=True):
        share, area = rows[name]["share"], rows[name]["area"]
        if share["value"] is not None:
            axes.text(max(share["high"], area) + 0.03 * most, y, f"{share['value']:.0%}", size=9,
                      va="center", color=INK)  # fmt: skip
    axes.set_title("share of the map", size=10, color=MUTED, loc="left", pad=4)
    axes.set_yticks(at, [name.replace("_", " ") for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 1.3 * most)
    axes.set_xticks([])
    axes.tick_params(labelsize=9, colors=INK, length=0)
    axes.spines[:].set_visible(False)
    lines = ["black: 95 % interval", "vermilion: even map"]
    if (rest := rows[REGIONS[0]])["share"]["value"] is not None:
        lines.insert(0, f"rest: {rest['share']['value']:.0%}, even {rest['area']:.0%}")
    axes.text(0, -0.02, "\n".join(lines), size=8.5, color=MUTED, va="top",
              transform=axes.transAxes)  # fmt: skip
