"""false_alarms.png: the rate at which real people are called fake, a dot a group."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from detector.data.listing import PAIR
from detector.evaluation.false_alarms import ALPHA
from detector.run.figures import INK, MUTED, fit_text

DOT, APART = "#0072B2", "#D55E00"  # Okabe and Ito, 2008
DPI = 100
WIDTH, HEAD, FOOT = 760, 52, 78  # pixels
LEFT, RIGHT, ROW = 170, 140, 25


def false_alarms_figure(found: Mapping, title: str, class_names: Sequence[str] = PAIR) -> Figure:
    """Draws each value's rate with its interval, column below column, on one scale.

    Columns whose values differ by the corrected test are vermilion, the others blue.

    Args:
        found: What `false_alarms` returns.
        title: One line on top, such as the name of the run and of the set.
        class_names: Names of labels 0 and 1.

    Returns:
        A figure on an Agg canvas, 760 pixels wide, 25 high for each value and column.
    """
    columns = found["columns"]
    lines = sum(len(column["values"]) + 1.4 for column in columns.values()) or 1
    height = HEAD + FOOT + round(ROW * lines)
    figure = Figure(figsize=(WIDTH / DPI, height / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    heading = figure.text(16 / WIDTH, 1 - 14 / height, title, size=13, weight="bold", color=INK,
                          va="top")  # fmt: skip
    fit_text(heading, WIDTH - 32)
    axes = figure.add_axes(
        (LEFT / WIDTH, FOOT / height, (WIDTH - LEFT - RIGHT) / WIDTH, ROW * lines / height)
    )
    _frame(axes, found, lines, class_names)
    at = 0.0
    for name, column in columns.items():
        _heading(axes, at + 0.85, name, column["p_holm"])
        at += 1.4
        for value, of in column["values"].items():
            _line(axes, at + 0.5, value, of, _color(column["p_holm"]))
            at += 1
    if not columns:
        axes.text(0.5, 0.5, "no groups to compare", transform=axes.transAxes, ha="center",
                  va="center", color=MUTED, size=10)  # fmt: skip
    note = figure.text(
        16 / WIDTH, 14 / height, color=MUTED, size=9, va="center",
        s=f"lines: 95 % intervals    dashed: all {found['n']:,} {class_names[1]} images    "
        "vermilion: the groups differ (permutation test, corrected)",
    )  # fmt: skip
    fit_text(note, WIDTH - 32)
    return figure


def _frame(axes: Axes, found: Mapping, lines: float, class_names: Sequence[str]) -> None:
    rates = [of["rate"] for c in found["columns"].values() for of in c["values"].values()]
    axes.set_ylim(lines, 0)
    axes.set_xlim(0, min(1.0, 1.03 * max(rate["high"] for rate in [found["rate"], *rates])))
    axes.set_yticks([])
    axes.spines[["top", "left", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    axes.tick_params(labelsize=9, color=MUTED)
    axes.grid(axis="x", color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)
    called = "{1} images called {0}".format(*class_names)
    axes.set_xlabel(f"{called}, from a score of {found['threshold']:.3g}",
                    size=9.5, color=INK, labelpad=4)  # fmt: skip
    axes.axvline(found["rate"]["value"], color=MUTED, linewidth=1, linestyle="--", clip_on=False)


def _heading(axes: Axes, y: float, name: str, p: float | None) -> None:
    text = axes.annotate(name.replace("_", " "), (0, y), (16 - LEFT, 0), ("axes fraction", "data"),
                         "offset pixels", size=10, weight="bold", color=INK,
                         va="center")  # fmt: skip
    fit_text(text, LEFT - 24)
    if p is not None:
        axes.annotate(f"p = {p:.2g}", (1, y), (12, 0), ("axes fraction", "data"), "offset pixels",
                      size=9, color=_color(p) if p < ALPHA else MUTED, va="center")  # fmt: skip


def _line(axes: Axes, y: float, value: str, of: Mapping, color: str) -> None:
    rate = of["rate"]
    axes.plot([rate["low"], rate["high"]], [y, y], color=color, linewidth=1.8, zorder=3)
    axes.plot(rate["value"], y, "o", color=color, markersize=6, zorder=4, clip_on=False)
    label = axes.annotate(value, (0, y), (-10, 0), ("axes fraction", "data"), "offset pixels",
                          size=9.5, color=INK, ha="right", va="center")  # fmt: skip
    fit_text(label, LEFT - 34)
    axes.annotate(f"{100 * rate['value']:.1f} % of {of['n']:,}", (1, y), (12, 0),
                  ("axes fraction", "data"), "offset pixels", size=9, color=MUTED,
                  va="center")  # fmt: skip


def _color(p: float | None) -> str:
    return APART if p is not None and p < ALPHA else DOT
