"""robustness.png: AUROC and flipped verdicts over the strength of each perturbation."""

import math
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from detector.evaluation.perturbations import PERTURBATIONS
from detector.evaluation.robustness import CLEAN
from detector.run.figures import INK, MUTED, fit_text

RANKED, FLIPPED = "#0072B2", "#D55E00"  # Okabe and Ito, 2008
DPI = 100
CELL_WIDTH, CELL_HEIGHT, HEAD, FOOT = 390, 310, 48, 42  # pixels
LEFT, RIGHT = 70, 12
RANKED_TOP, RANKED_LOW, FLIPPED_TOP, FLIPPED_LOW = 34, 170, 184, 254
_ENDS = ("value", "low", "high")


def robustness_figure(measured: list[dict], title: str) -> Figure:
    """Draws a panel a family: AUROC over strength, and below it the share of flipped verdicts.

    Strengths stand side by side in their order, with the clean images where they belong;
    scales are the same in all panels. Without AUROC (a single class) only flips are drawn.

    Args:
        measured: Rows as `robustness` gives them.
        title: One line on top, such as the name of the run and of the set.

    Returns:
        A figure on an Agg canvas, 390 x 310 pixels a panel, up to three beside each other.
    """
    clean, rest = measured[0], measured[1:]
    names = list(dict.fromkeys(row["family"] for row in rest))
    columns = min(3, max(2, len(names)))
    lines = max(1, math.ceil(len(names) / columns))
    width, height = columns * CELL_WIDTH, HEAD + lines * CELL_HEIGHT + FOOT
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    heading = figure.text(
        16 / width, 1 - 14 / height, title, size=13, weight="bold", color=INK, va="top"
    )
    fit_text(heading, width - 32)
    if not names:
        figure.text(0.5, 0.5, "no perturbation was asked for", ha="center", size=14, color=MUTED)
        return figure
    limits = _limits(measured)
    for at, name in enumerate(names):
        line, column = divmod(at, columns)
        left, top = column * CELL_WIDTH + LEFT, HEAD + line * CELL_HEIGHT
        axes = [
            figure.add_axes(
                (left / width, 1 - (top + low) / height,
                 (CELL_WIDTH - LEFT - RIGHT) / width, (low - high) / height)
            )
            for high, low in ((RANKED_TOP, RANKED_LOW), (FLIPPED_TOP, FLIPPED_LOW))
        ]  # fmt: skip
        _panel(*axes, name, clean, [row for row in rest if row["family"] == name], limits)
        if column == 0:
            for panel, text in zip(axes, ("AUROC", "flipped"), strict=True):
                panel.set_ylabel(text, color=INK, size=9.5)
                panel.yaxis.set_label_coords(-0.16, 0.5)
    note = figure.text(
        16 / width, 16 / height, color=MUTED, size=9, va="center",
        s="bands: 95 % intervals    dotted: AUROC of the images as they are    "
        "flipped: verdicts that differ from those on the images as they are",
    )  # fmt: skip
    fit_text(note, width - 32)
    return figure


def _panel(
    ranked: Axes,
    flipped: Axes,
    name: str,
    clean: dict,
    rows: list[dict],
    limits: tuple[tuple[float, float], float],
) -> None:
    kind = PERTURBATIONS[name]
    # Mild to severe: from the neutral strength downwards, upwards, or, in between, both ways.
    at_clean = clean | {"strength": kind.neutral, "flipped": dict.fromkeys(_ENDS, 0.0)}
    falls = all(row["strength"] <= kind.neutral for row in rows)
    rows = [row for row in rows if row["strength"] != kind.neutral] + [at_clean]
    rows.sort(key=lambda row: row["strength"], reverse=falls)
    labels = [CLEAN if row is at_clean else f"{row['strength']:g}" for row in rows]
    x = np.arange(len(rows))
    for axes, key, color in ((ranked, "auroc", RANKED), (flipped, "flipped", FLIPPED)):
        value, low, high = ([_number(row[key][end]) for row in rows] for end in _ENDS)
        axes.fill_between(x, low, high, color=color, alpha=0.15, linewidth=0)
        axes.plot(x, value, color=color, linewidth=1.8, marker="o", markersize=4, zorder=3,
                  clip_on=False)  # fmt: skip
        axes.set_xlim(-0.35, len(x) - 0.65)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#E6E6E6", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=8.5, color=MUTED)
    ranked.set_ylim(*limits[0])
    ranked.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    flipped.set_ylim(0, limits[1])
    flipped.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    flipped.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    every = _every(labels, ranked.bbox.width)
    ranked.set_xticks(x, [])
    flipped.set_xticks(x[::every], labels[::every])
    flipped.set_xlabel(kind.unit, size=9, color=MUTED, labelpad=3)
    ranked.set_title(kind.label, loc="left", size=11, weight="bold", color=INK, pad=8)
    if clean["auroc"]["value"] is None:
        ranked.text(0.5, 0.5, "one class: no AUROC", transform=ranked.transAxes, ha="center",
                    color=MUTED, size=10)  # fmt: skip
        return
    ranked.axhline(clean["auroc"]["value"], color=MUTED, linewidth=1, linestyle=(0, (1, 1.5)))
    known = [row["auroc"]["value"] for row in rows]
    value, where = min(zip(known, labels, strict=True))
    ranked.set_title(f"lowest {value:.3f} at {where}", loc="right", size=9, color=MUTED, pad=8)


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _limits(measured: list[dict]) -> tuple[tuple[float, float], float]:
    """The range of AUROC and the top of flips that hold every band of every panel."""
    lows = [row["auroc"]["low"] for row in measured if row["auroc"]["low"] is not None]
    highs = [row["flipped"]["high"] for row in measured[1:]]
    low = min(lows, default=0.5)
    return (low - 0.03 * (1 - low) - 0.005, 1.005), min(1.0, 1.05 * max(highs))


def _every(labels: list[str], width: float) -> int:
    """Of how many tick labels to write one, so that none touches the next."""
    # About 7.5 pixels a character at 8.5 points, and 6 between neighbours.
    for every in range(1, len(labels)):
        shown = [7.5 * len(text) for text in labels[::every]]
        room = every * width / len(labels)
        if all((a + b) / 2 + 6 <= room for a, b in pairwise(shown)):
            return every
    return len(labels)
