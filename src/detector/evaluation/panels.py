"""Panels of evaluation.png that say how far the scores can be trusted."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from detector.evaluation.abstention import coverage_risk
from detector.evaluation.intervals import wilson_by_group
from detector.evaluation.metrics import LEVEL

POSITIVE, NEGATIVE, LINE = "#D55E00", "#0072B2", "#222222"  # Okabe and Ito, 2008
MUTED, GRID = "#767676", "#CCCCCC"
BINS = 10  # of equal numbers of images; fewer where there are few
PER_BIN = 15  # images, at the least


def frame(axes: Axes, title: str, x: str, y: str) -> None:
    """A panel's heading, axis labels and spines."""
    axes.set_title(title, size=11, loc="left", color=LINE)
    axes.set_xlabel(x, size=9.5, color=MUTED)
    axes.set_ylabel(y, size=9.5, color=MUTED)
    axes.tick_params(labelsize=9, colors=MUTED, length=3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#BBBBBB")


def unit(axes: Axes) -> None:
    """Both axes from 0 to 1, with room for marks at the ends."""
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.03)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])


def reliability_panel(
    axes: Axes,
    fake: np.ndarray,
    p: np.ndarray,
    groups: np.ndarray,
    name: str,
    before: np.ndarray | None = None,
) -> None:
    """Share of fakes over score, in bins of equally many images.

    Args:
        axes: Where to draw.
        fake: bool (N).
        p: (N,) scores.
        groups: (N,) group of each image, for the intervals.
        name: Of class 0.
        before: (N,) scores before calibration, drawn muted.
    """
    frame(axes, "Reliability", f"p_{name}, mean of the bin", f"share that is {name}")
    unit(axes)
    axes.plot([0, 1], [0, 1], color=GRID, linewidth=1, zorder=1)
    if before is not None:
        at, share, _ = _binned(fake, before, groups)
        axes.plot(at, share, "x", color=MUTED, markersize=5, label="before calibration")
    at, share, ends = _binned(fake, p, groups)
    axes.vlines(at, *np.array(ends).T, color=LINE, linewidth=1.2)
    axes.plot(at, share, "o", color=LINE, markersize=5, label="after" if before is not None else "")
    if before is not None:
        axes.legend(fontsize=9, frameon=False, loc="upper left", handletextpad=0.2)


def _binned(
    fake: np.ndarray, p: np.ndarray, groups: np.ndarray
) -> tuple[list[float], list[float], list[tuple[float, float]]]:
    order = np.argsort(p, kind="stable")
    bins = np.array_split(order, int(np.clip(len(p) // PER_BIN, 1, BINS)))
    at = [float(p[members].mean()) for members in bins]
    share = [float(fake[members].mean()) for members in bins]
    return at, share, [wilson_by_group(fake[m], groups[m], LEVEL) for m in bins]


def abstention_panel(
    axes: Axes,
    p: np.ndarray,
    labels: np.ndarray,
    threshold: float,
    given: Mapping | None,
) -> None:
    """Share of wrong answers among the surest, over how many are answered.

    Args:
        axes: Where to draw.
        p: (N,) scores.
        labels: (N,) 0 for fake, 1 for real.
        threshold: Of the verdicts.
        given: As `abstention.answered` gives it; marks the network's own unsure band.
    """
    frame(axes, "Abstention", "pictures that get an answer, surest first", "wrong answers")
    coverage, risk, _ = coverage_risk(p, labels, threshold)
    steps = np.unique(np.linspace(0, len(p) - 1, 2000).astype(int))  # no more than can be seen
    axes.plot(coverage[steps], risk[steps], color=LINE, linewidth=1.8)
    top = float(risk[len(risk) // 20 :].max())  # the first few jump from 0 to 1
    if given and given["risk"]["value"] is not None and given["n"] < len(p):
        at, value = given["coverage"]["value"], given["risk"]
        axes.plot([at, at], [value["low"], value["high"]], color=POSITIVE, linewidth=1.4)
        axes.plot(at, value["value"], "o", color=POSITIVE, markersize=7, clip_on=False,
                  label="its own unsure band")  # fmt: skip
        axes.legend(fontsize=9, frameon=False, loc="upper left")
        top = max(top, value["high"])
    axes.set_xlim(0, 1.01)
    axes.set_ylim(0, min(1.0, max(0.02, 1.35 * top)))
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])


def controls_panel(axes: Axes, rows: Sequence[tuple[str, Mapping]]) -> None:
    """Accuracy of the network and of what never sees a face, one below the other.

    Args:
        axes: Where to draw.
        rows: Name and accuracy (`value`, `low`, `high`) of each, the network first.
    """
    frame(axes, "Beside what sees no face", "accuracy", "")
    if len(rows) == 1:
        axes.text(0.5, 0.62, "controls were not fitted", size=10, color=MUTED, ha="center",
                  transform=axes.transAxes)  # fmt: skip
    for at, (_, accuracy) in enumerate(rows):
        color = POSITIVE if at == 0 else LINE
        axes.plot([accuracy["low"], accuracy["high"]], [at, at], color=color, linewidth=1.4)
        axes.plot(accuracy["value"], at, "o", color=color, markersize=6)
        axes.annotate(f"{accuracy['value']:.3f}", (accuracy["value"], at), (0, 6), size=9,
                      textcoords="offset points", ha="center", color=color)  # fmt: skip
    axes.axvline(
        rows[0][1]["value"], color=POSITIVE, linewidth=0.8, linestyle=(0, (1, 2)), zorder=0
    )
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.6)
    lows = [accuracy["low"] for _, accuracy in rows]
    axes.set_xlim(max(0.0, min(lows) - 0.04), 1.01)
