"""evaluation.png: how well two classes are told apart, and how far the scores can be trusted."""

import os
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from detector.evaluation.metrics import FAKE
from detector.evaluation.panels import (
    GRID,
    LINE,
    MUTED,
    NEGATIVE,
    POSITIVE,
    abstention_panel,
    controls_panel,
    frame,
    reliability_panel,
    unit,
)
from detector.run.figures import fit_text

DPI = 100
WIDTH, HEIGHT = 1400, 860  # pixels
SHORT = {"majority": "majority", "header": "file header", "pixels": "24 pixels", "dct": "DCT"}


def plot_evaluation(
    p_fake: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    path: str | os.PathLike,
    *,
    threshold: float,
    metrics: Mapping,
    class_names: Sequence[str],
    title: str,
    before: np.ndarray | None = None,
    given: Mapping | None = None,
    controls: Mapping[str, Mapping] | None = None,
) -> None:
    """Writes the picture (PNG, 1400 x 860 pixels), six panels.

    Args:
        p_fake: (N,) scores in [0, 1].
        labels: (N,) 0 for fake, 1 for real.
        groups: (N,) group of each image, for the intervals of the reliability panel.
        path: PNG file to write.
        threshold: Marked in each panel.
        metrics: As `summarize` gives it; AUROC and AP are written beside their curves.
        class_names: Names of labels 0 and 1.
        title: One line on top.
        before: (N,) scores before calibration.
        given: As `abstention.answered` gives it.
        controls: By name, with `accuracy`, as `against_controls` gives them.
    """
    p, labels = np.asarray(p_fake, float), np.asarray(labels)
    fake = labels == FAKE
    figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 3, gridspec_kw={"wspace": 0.25, "hspace": 0.36}).ravel()
    figure.subplots_adjust(left=0.05, right=0.985, top=0.885, bottom=0.07)
    both = bool(fake.any() and not fake.all())
    _roc(axes[0], fake, p, threshold, metrics["auroc"], both, class_names[0])
    _pr(axes[1], fake, p, threshold, metrics["ap"], both, class_names[0])
    _histogram(axes[2], fake, p, threshold, class_names)
    reliability_panel(axes[3], fake, p, np.asarray(groups), class_names[0], before)
    abstention_panel(axes[4], p, labels, threshold, given)
    beside = [(SHORT.get(n, n), control["accuracy"]) for n, control in (controls or {}).items()]
    controls_panel(axes[5], [("network", metrics["accuracy"]), *beside])
    heading = figure.text(0.012, 0.962, title, size=13, weight="bold", color=LINE, va="center")
    fit_text(heading, WIDTH - 30)
    figure.savefig(path, dpi=DPI)


def _shown(measure: Mapping) -> str:
    if measure["value"] is None:
        return "–"
    return f"{measure['value']:.3f} [{measure['low']:.3f}, {measure['high']:.3f}]"


def _lacking(axes: Axes) -> None:
    axes.text(0.5, 0.5, "one class only", size=10, color=MUTED, ha="center", va="center")


def _roc(
    axes: Axes,
    fake: np.ndarray,
    p: np.ndarray,
    threshold: float,
    auroc: Mapping,
    both: bool,
    name: str,
) -> None:
    frame(axes, f"ROC   AUROC {_shown(auroc)}", "false alarms", f"{name} found")
    unit(axes)
    if not both:
        return _lacking(axes)
    false, true, _ = roc_curve(fake, p)
    axes.plot([0, 1], [0, 1], color=GRID, linewidth=1, zorder=1)
    axes.plot(false, true, color=LINE, linewidth=1.8)
    called = p >= threshold
    at = called[~fake].mean(), called[fake].mean()
    axes.plot(*at, "o", color=POSITIVE, markersize=7, zorder=5, clip_on=False)
    axes.annotate(f"at {threshold:.2f}", at, (7, -13), textcoords="offset points", size=9,
                  color=POSITIVE)  # fmt: skip
    return None


def _pr(
    axes: Axes,
    fake: np.ndarray,
    p: np.ndarray,
    threshold: float,
    ap: Mapping,
    both: bool,
    name: str,
) -> None:
    frame(axes, f"Precision   AP {_shown(ap)}", f"{name} found", f"of those called {name}, right")
    unit(axes)
    if not both:
        return _lacking(axes)
    precision, recall, _ = precision_recall_curve(fake, p)
    axes.axhline(fake.mean(), color=GRID, linewidth=1, zorder=1)
    axes.plot(recall, precision, color=LINE, linewidth=1.8, drawstyle="steps-post")
    called = p >= threshold
    if called.any():
        at = called[fake].mean(), fake[called].mean()
        axes.plot(*at, "o", color=POSITIVE, markersize=7, zorder=5, clip_on=False)
    return None


def _histogram(
    axes: Axes, fake: np.ndarray, p: np.ndarray, threshold: float, class_names: Sequence[str]
) -> None:
    frame(axes, "Scores", f"p_{class_names[0]}", "images")
    edges = np.linspace(0, 1, 26)
    for members, color, label in ((fake, POSITIVE, 0), (~fake, NEGATIVE, 1)):
        axes.hist(p[members], edges, color=color, alpha=0.55, label=class_names[label])
    axes.axvline(threshold, color=LINE, linewidth=1, linestyle="--")
    axes.set_xlim(0, 1)
    axes.legend(fontsize=9, frameon=False, loc="upper center", ncols=2)
    top = axes.get_ylim()[1]
    axes.set_ylim(0, top * 1.18)  # room for the legend
