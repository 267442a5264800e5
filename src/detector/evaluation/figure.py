"""evaluation.png: ROC, precision and recall, reliability and the scores of each class."""

import os
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from detector.evaluation.intervals import wilson_by_group
from detector.evaluation.metrics import FAKE, LEVEL
from detector.run.figures import fit_text

POSITIVE, NEGATIVE, LINE = "#D55E00", "#0072B2", "#222222"  # Okabe and Ito, 2008
MUTED = "#767676"
BINS = 10  # of equal numbers of images; fewer where there are few
PER_BIN = 15  # images, at the least
DPI = 100


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
) -> None:
    """Writes the picture (PNG, 1400 x 440 pixels), four panels side by side.

    Args:
        p_fake: (N,) scores in [0, 1].
        labels: (N,) 0 for fake, 1 for real.
        groups: (N,) group of each image, for the intervals of the reliability panel.
        path: PNG file to write.
        threshold: Marked in each panel.
        metrics: As `summarize` gives it; AUROC and AP are written beside their curves.
        class_names: Names of labels 0 and 1.
        title: One line on top.
    """
    p, labels = np.asarray(p_fake, float), np.asarray(labels)
    fake = labels == FAKE
    name = class_names[0]
    figure = Figure(figsize=(14, 4.4), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 4, gridspec_kw={"wspace": 0.32})
    figure.subplots_adjust(left=0.045, right=0.99, top=0.8, bottom=0.14)
    both = fake.any() and not fake.all()
    _roc(axes[0], fake, p, threshold, metrics["auroc"], both)
    _pr(axes[1], fake, p, threshold, metrics["ap"], both)
    _reliability(axes[2], fake, p, np.asarray(groups), name)
    _histogram(axes[3], fake, p, threshold, class_names)
    heading = figure.text(0.012, 0.94, title, size=13, weight="bold", color=LINE, va="center")
    fit_text(heading, 1370)
    figure.savefig(path, dpi=DPI)


def _frame(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, size=11, loc="left", color=LINE)
    axes.set_xlabel(x, size=9.5, color=MUTED)
    axes.set_ylabel(y, size=9.5, color=MUTED)
    axes.tick_params(labelsize=9, colors=MUTED, length=3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#BBBBBB")


def _unit(axes: Axes) -> None:
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.03)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])


def _shown(measure: Mapping) -> str:
    if measure["value"] is None:
        return "–"
    return f"{measure['value']:.3f} [{measure['low']:.3f}, {measure['high']:.3f}]"


def _lacking(axes: Axes) -> None:
    axes.text(0.5, 0.5, "one class only", size=10, color=MUTED, ha="center", va="center")


def _roc(
    axes: Axes, fake: np.ndarray, p: np.ndarray, threshold: float, auroc: Mapping, both: bool
) -> None:
    _frame(axes, f"ROC   AUROC {_shown(auroc)}", "false alarms", "fakes found")
    _unit(axes)
    if not both:
        return _lacking(axes)
    false, true, _ = roc_curve(fake, p, drop_intermediate=False)
    axes.plot([0, 1], [0, 1], color="#CCCCCC", linewidth=1, zorder=1)
    axes.plot(false, true, color=LINE, linewidth=1.8)
    called = p >= threshold
    at = called[~fake].mean(), called[fake].mean()
    axes.plot(*at, "o", color=POSITIVE, markersize=7, zorder=5, clip_on=False)
    axes.annotate(f"at {threshold:.2f}", at, (7, -13), textcoords="offset points", size=9,
                  color=POSITIVE)  # fmt: skip
    return None


def _pr(
    axes: Axes, fake: np.ndarray, p: np.ndarray, threshold: float, ap: Mapping, both: bool
) -> None:
    _frame(axes, f"Precision   AP {_shown(ap)}", "fakes found", "of those called fake, right")
    _unit(axes)
    if not both:
        return _lacking(axes)
    precision, recall, _ = precision_recall_curve(fake, p)
    axes.axhline(fake.mean(), color="#CCCCCC", linewidth=1, zorder=1)
    axes.plot(recall, precision, color=LINE, linewidth=1.8, drawstyle="steps-post")
    called = p >= threshold
    if called.any():
        at = called[fake].mean(), fake[called].mean()
        axes.plot(*at, "o", color=POSITIVE, markersize=7, zorder=5, clip_on=False)
    return None


def _reliability(
    axes: Axes, fake: np.ndarray, p: np.ndarray, groups: np.ndarray, name: str
) -> None:
    _frame(axes, "Reliability", f"p_{name}, mean of the bin", f"share that is {name}")
    _unit(axes)
    axes.plot([0, 1], [0, 1], color="#CCCCCC", linewidth=1, zorder=1)
    order = np.argsort(p, kind="stable")
    bins = np.array_split(order, int(np.clip(len(p) // PER_BIN, 1, BINS)))
    for members in bins:
        low, high = wilson_by_group(fake[members], groups[members], LEVEL)
        at, share = p[members].mean(), fake[members].mean()
        axes.plot([at, at], [low, high], color=LINE, linewidth=1.2)
        axes.plot(at, share, "o", color=LINE, markersize=5)


def _histogram(
    axes: Axes, fake: np.ndarray, p: np.ndarray, threshold: float, class_names: Sequence[str]
) -> None:
    _frame(axes, "Scores", f"p_{class_names[0]}", "images")
    edges = np.linspace(0, 1, 26)
    for members, color, label in ((fake, POSITIVE, 0), (~fake, NEGATIVE, 1)):
        axes.hist(p[members], edges, color=color, alpha=0.55, label=class_names[label])
    axes.axvline(threshold, color=LINE, linewidth=1, linestyle="--")
    axes.set_xlim(0, 1)
    axes.legend(fontsize=9, frameon=False, loc="upper center", ncols=2)
    top = axes.get_ylim()[1]
    axes.set_ylim(0, top * 1.18)  # room for the legend
