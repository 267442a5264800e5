"""compare.png: each entry's own values, and below them the differences of every two."""

import os
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MaxNLocator

from detector.evaluation.report import NAMES
from detector.run.figures import INK, MUTED, fit_text

SHOWN = ("auroc", "accuracy", "balanced_accuracy")  # all of them better when higher
OWN, DECIDED, OPEN = "#0072B2", "#D55E00", "#767676"  # Okabe and Ito, 2008
DPI = 100
LABEL, PANEL, GAP, RIGHT = 330, 340, 26, 18  # pixels
ROW, HEAD, TITLE, AXIS, FOOT = 27, 44, 34, 46, 34


def plot_comparison(found: Mapping, path: str | os.PathLike) -> None:
    """Writes the picture (PNG, up to 1420 pixels wide): a column a metric, a line an interval.

    Metrics that are undefined here, such as AUROC of a single class, are left out.

    Args:
        found: What compare.json holds.
        path: PNG file to write.
    """
    entries, pairs = found["entries"], found["pairs"]
    keys = [key for key in SHOWN if pairs[0]["difference"][key]["value"] is not None]
    width = LABEL + len(keys) * PANEL + (len(keys) - 1) * GAP + RIGHT
    heights = ROW * (len(entries) + 0.6), ROW * (2 * len(pairs) + 0.6)
    height = HEAD + 2 * (TITLE + AXIS) + sum(heights) + FOOT
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    part = "all images" if found["part"] == "all" else f"{found['part']} part"
    heading = figure.text(
        16 / width, 1 - 24 / height, f"{found['set']}, {part}: {found['n']} images",
        size=13, weight="bold", color=INK, va="center",
    )  # fmt: skip
    fit_text(heading, width - 32)
    tops = HEAD + TITLE, HEAD + 2 * TITLE + heights[0] + AXIS
    for column, key in enumerate(keys):
        left = LABEL + column * (PANEL + GAP)
        own, between = (
            figure.add_axes((left / width, 1 - (top + tall) / height, PANEL / width, tall / height))
            for top, tall in zip(tops, heights, strict=True)
        )
        _values(own, [entry["metrics"][key] for entry in entries.values()])
        for at, entry in enumerate(entries.values()):
            seeds = [of_seed[key] for of_seed in entry["by_seed"].values()]
            if len(seeds) > 1:
                own.plot(seeds, [at] * len(seeds), "o", color=OWN, markersize=8, fillstyle="none",
                         markeredgewidth=0.8, alpha=0.7, zorder=4)  # fmt: skip
        _differences(between, [pair["difference"][key] for pair in pairs])
        name = NAMES[key]
        own.set_title(name[0].upper() + name[1:], loc="left", size=11, weight="bold", color=INK)
        between.set_title(f"Difference in {name}", loc="left", size=11, color=INK)
        if column == 0:
            _names(own, [(at, name, INK) for at, name in enumerate(entries)])
            lines = []
            for at, pair in enumerate(pairs):
                lines += [(2 * at, pair["a"], INK), (2 * at + 0.8, f"− {pair['b']}", MUTED)]
            _names(between, lines)
    seeds = any(len(entry["by_seed"]) > 1 for entry in entries.values())
    note = "lines: 95 % intervals    vermilion: the interval leaves out 0"
    note += "    open circles: each seed" if seeds else ""
    fit_text(figure.text(16 / width, 16 / height, note, size=9, color=MUTED, va="center"),
             width - 32)  # fmt: skip
    figure.savefig(path, dpi=DPI)


def _values(axes: Axes, measures: Sequence[Mapping]) -> None:
    for at, measure in enumerate(measures):
        _line(axes, at, measure, OWN, f"{measure['value']:.3f}")
    _frame(axes, len(measures) - 0.2)
    _unit(axes, measures)


def _differences(axes: Axes, measures: Sequence[Mapping]) -> None:
    axes.axvline(0, color=INK, linewidth=1)
    for at, measure in enumerate(measures):
        includes = measure["low"] <= 0 <= measure["high"]
        color = OPEN if includes else DECIDED
        _line(axes, 2 * at + 0.4, measure, color, f"{measure['value']:+.3f}")
    _frame(axes, 2 * len(measures) - 0.2)
    _unit(axes, measures, zero=True)


def _line(axes: Axes, y: float, measure: Mapping, color: str, text: str) -> None:
    axes.plot([measure["low"], measure["high"]], [y, y], color=color, linewidth=2.2, zorder=3,
              solid_capstyle="butt")  # fmt: skip
    axes.plot(measure["value"], y, "o", color=color, markersize=5.5, zorder=5)
    number = axes.annotate(text, (measure["value"], y), (0, 5), textcoords="offset points",
                           size=8.5, color=color, ha="center", zorder=6)  # fmt: skip
    number.set_path_effects([withStroke(linewidth=3, foreground="white")])  # over the zero line


def _frame(axes: Axes, bottom: float) -> None:
    axes.set_ylim(bottom, -0.8)
    axes.set_yticks([])
    axes.grid(axis="x", color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#BBBBBB")
    axes.tick_params(labelsize=9, colors=MUTED, length=3)


def _unit(axes: Axes, measures: Sequence[Mapping], *, zero: bool = False) -> None:
    """Limits that hold every interval, with room for a number above an end."""
    low = min(measure["low"] for measure in measures)
    high = max(measure["high"] for measure in measures)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    room = 0.07 * (high - low)
    axes.set_xlim(low - room, high + room)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    sign = "+" if zero else ""
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda x, _: "0" if abs(x) < 1e-9 else f"{x:{sign}.3g}")
    )


def _names(axes: Axes, lines: Sequence[tuple[float, str, str]]) -> None:
    for y, text, color in lines:
        name = axes.annotate(
            text, (0, y), (-12, 0), xycoords=axes.get_yaxis_transform(),
            textcoords="offset points", size=10, color=color, ha="right", va="center",
        )  # fmt: skip
        fit_text(name, LABEL - 34)
