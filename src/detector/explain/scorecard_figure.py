"""A scorecard in one picture."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from detector.explain.answers import CENTER, OCCLUSION
from detector.explain.scorecard_report import CONTROLS
from detector.run.figures import INK, MUTED, fit_text

WIDTH, HEIGHT, DPI = 1400, 900, 100  # pixels
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F3C8D", "#8C564B")
MARKS = {"uniform": "o", "centre": "s", "others": "^", "random": "D"}


def scorecard_figure(result: Mapping) -> Figure:
    """Shares inside the edit, changed pixels, randomized weights, and regions.

    Args:
        result: What scorecard.json holds.

    Returns:
        A figure on an Agg canvas, 1400 x 900 pixels.
    """
    figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    title = (
        f"{result['network']} on {result['set']}: {result['n']} pictures, evidence for"
        f" {result['explained']}"
    )
    heading = figure.text(0.012, 0.972, title, size=14, weight="bold", color=INK, va="center")
    fit_text(heading, WIDTH - 40)
    grid = figure.add_gridspec(
        2, 2, left=0.09, right=0.985, top=0.885, bottom=0.105, hspace=0.42, wspace=0.2
    )
    axes = [figure.add_subplot(cell) for cell in grid]
    colors = dict(zip([*result["options"]["methods"], OCCLUSION], LINES, strict=False))
    _shares(axes[0], result, colors)
    _curves(axes[1], result, colors)
    _regions(axes[2], result)
    _sanity(axes[3], result, colors)
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.spines[["left", "bottom"]].set_color(MUTED)
        one.tick_params(labelsize=9, colors=INK, length=3)
    return figure


def _head(axes: Axes, text: str, below: str = "") -> None:
    axes.set_title(text, size=11, color=INK, loc="left", pad=8)
    axes.set_xlabel(below, size=9.5, color=MUTED)


def _legend(axes: Axes) -> None:
    """Between the heading and the panel, where no line passes."""
    names = axes.get_legend_handles_labels()[1]
    axes.legend(frameon=False, fontsize=9, ncols=min(len(names), 5), loc="lower left",
                bbox_to_anchor=(-0.02, 0.985), handletextpad=0.4, columnspacing=1.2)  # fmt: skip
    lines = -(-len(names) // 5)
    axes.set_title(axes.get_title(loc="left"), size=11, color=INK, loc="left", pad=8 + 17 * lines)


def _nothing(axes: Axes, why: str) -> None:
    axes.text(0.02, 0.9, why, size=10, color=MUTED, transform=axes.transAxes, va="top")
    axes.set_xticks([])
    axes.set_yticks([])


def _shares(axes: Axes, result: Mapping, colors: Mapping) -> None:
    kind = "pixels" if result["masks"]["pixels"]["methods"] else "parts"
    found = result["masks"][kind]
    there = "what was edited" if kind == "pixels" else "the edited parts"
    _head(axes, f"Share of the map inside {there}, {found['n']} fakes", "95 % intervals")
    methods = {m: one for m, one in found["methods"].items() if one["share"]["value"] is not None}
    if not methods:
        _nothing(axes, "not known, or no map")
        return
    at = np.arange(len(methods))
    for y, (method, one) in zip(at, methods.items(), strict=True):
        share = one["share"]
        axes.barh(y, share["value"], height=0.5, color=colors[method], alpha=0.85)
        axes.hlines(y, share["low"], share["high"], color=INK, linewidth=1.6)
        for name, mark in MARKS.items():
            control = share["controls"].get(name, {}).get("value")
            if control is not None:
                axes.plot(control, y + 0.38, mark, color=INK, markersize=5.5, mfc="white")
    for name, mark in MARKS.items():
        axes.plot([], [], mark, color=INK, mfc="white", label=CONTROLS[name], linestyle="none")
    axes.set_yticks(at, list(methods))
    axes.set_ylim(len(methods) - 0.4, -0.6)
    axes.set_xlim(left=0)
    _legend(axes)


def _curves(axes: Axes, result: Mapping, colors: Mapping) -> None:
    _head(axes, f"Probability of {result['explained']} while pixels change, beside the middle's",
          "share of the pixels, the map's densest first; on pictures that both have")  # fmt: skip
    for method, one in result["faithfulness"].items():
        for name, width, style in (("insertion", 1.9, "-"), ("deletion", 1.2, ":")):
            curve = one["lead"][name]
            if method != CENTER and curve is not None:
                label = method if name == "insertion" else None
                axes.plot(np.linspace(0, 1, len(curve)), curve, style, color=colors[method],
                          linewidth=width, label=label)  # fmt: skip
    axes.set_xlim(0, 1)
    if not axes.lines:
        _nothing(axes, "no map")
        return
    axes.axhline(0, color=MUTED, linewidth=1, linestyle="--")
    _legend(axes)
    axes.text(0.985, 0.02, "full: put into a blurred picture, better above 0\n"
              "dotted: taken out, better below 0", size=9, ha="right", color=MUTED,
              transform=axes.transAxes, va="bottom")  # fmt: skip


def _regions(axes: Axes, result: Mapping) -> None:
    method = next(iter(result["options"]["methods"]))
    _head(axes, f"Regions, {method}: share of the map over the strongest control's",
          "filled: looked at, after correction")  # fmt: skip
    regions = result["regions"].get(method, {})
    known = {name: one for name, one in regions.items() if one["value"] is not None}
    if not known:
        _nothing(axes, "no face was found, or no map")
        return
    at = np.arange(len(known))
    for y, one in zip(at, known.values(), strict=True):
        axes.hlines(y, one["low"], one["high"], color="#0072B2", linewidth=2)
        axes.plot(one["value"], y, "o", color="#0072B2", markersize=7,
                  mfc="#0072B2" if one["holds"] else "white")  # fmt: skip
    axes.axvline(1, color=MUTED, linewidth=1, linestyle="--")
    axes.set_yticks(at, [name.replace("_", " ") for name in known])
    axes.invert_yaxis()
    axes.set_xlim(left=0)


def _sanity(axes: Axes, result: Mapping, colors: Mapping) -> None:
    _head(axes, "Correlation with maps after weights are randomized",
          "layers that are random, from the answer down")  # fmt: skip
    stages = []
    for method, found in result["sanity"].items():
        values = [1.0, *(np.nan if s["value"] is None else s["value"] for s in found)]
        axes.plot(values, "-o", color=colors[method], label=method, markersize=4)
        stages = ["none", *(stage["from"] for stage in found)]
    if not stages:
        _nothing(axes, "not measured")
        return
    axes.axhline(0, color=MUTED, linewidth=1, linestyle="--")
    short = [name if len(name) <= 13 else "…" + name[-12:] for name in stages]
    axes.set_xticks(range(len(stages)), short, rotation=22, ha="right")
    axes.set_ylim(min(-0.3, axes.get_ylim()[0]), 1.05)
    _legend(axes)
