"""curves.png: train and validation side by side, and the epoch where they part."""

import math
import os

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, MultipleLocator

from detector.run.figures import fit_text

TRAIN, VAL, BEST, GAP = "#0072B2", "#D55E00", "#009E73", "#7A3E75"  # Okabe and Ito, 2008
INK, MUTED = "#222222", "#767676"
Z = 1.96
DPI = 100
WIDTH, HEIGHT = 1200, 480  # pixels
MARKERS_UP_TO = 30  # epochs; beyond that the markers hide the line
SPIKE = 10  # losses above this many times their upper quartile: logarithmic axis


def gap_opened(history: list[dict], n_train: int, n_val: int) -> int | None:
    """Finds the epoch where train and validation accuracy part for good.

    The gap is open in an epoch when train accuracy exceeds validation accuracy by more
    than 1.96 standard errors of the difference of two proportions, with one success and
    one failure added to each (Agresti and Caffo, The American Statistician 54, 2000), so
    that an accuracy of 1.0 has an error too. It *opened* at the first epoch from which on
    it is open through the last one. Train and validation are different images, so the two
    counts are independent, as the formula asks. Without any true gap this answers with
    an epoch in 3 % of runs or fewer (simulated: .000 to .030 at accuracies of .6 to .995).

    Args:
        history: One dict per epoch with `epoch`, `train/accuracy`, `val/accuracy` in
            [0, 1]; rows without both (or with NaN) are passed over.
        n_train: Images behind `train/accuracy`.
        n_val: Images behind `val/accuracy`.

    Returns:
        The epoch, or None when the gap is not open in the last epoch.
    """
    opened = None
    for row in sorted(history, key=lambda row: row["epoch"]):
        train, val = row.get("train/accuracy", math.nan), row.get("val/accuracy", math.nan)
        if math.isnan(train) or math.isnan(val):
            continue
        p, q = (train * n_train + 1) / (n_train + 2), (val * n_val + 1) / (n_val + 2)
        error = math.sqrt(p * (1 - p) / (n_train + 2) + q * (1 - q) / (n_val + 2))
        if p - q <= Z * error:
            opened = None
        elif opened is None:
            opened = row["epoch"]
    return opened


def plot_curves(
    history: list[dict],
    path: str | os.PathLike,
    *,
    title: str,
    best_epoch: int | None,
    monitor: str,
    n_train: int,
    n_val: int,
) -> None:
    """Writes the picture (PNG, 1200 x 480 pixels): accuracy left, loss right.

    Bands are 95 % Wilson intervals of the accuracies. What is missing or not finite is
    left out, and a loss that is not finite is named in the panel's heading. An empty
    history gives a picture that says so.

    Args:
        history: One dict per epoch: `epoch` (from 1), `train/accuracy`, `val/accuracy`,
            `train/loss`, `val/loss`, and the monitored metric.
        path: PNG file to write.
        title: One line on top, such as the name of the run.
        best_epoch: Epoch whose weights were kept; None draws no mark.
        monitor: Metric by which it was chosen, such as `val/auroc`.
        n_train: Images behind `train/accuracy`.
        n_val: Images behind `val/accuracy`.
    """
    history = sorted(history, key=lambda row: row["epoch"])
    with mpl.rc_context({"font.family": "DejaVu Sans", "font.size": 10}):
        figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="white")
        FigureCanvasAgg(figure)
        heading = figure.text(0.012, 0.965, title, fontsize=13, weight="bold", va="top", color=INK)
        fit_text(heading, 0.976 * WIDTH)
        if not history:
            figure.text(0.5, 0.5, "no epoch was finished", ha="center", size=14, color=MUTED)
        else:
            opened = gap_opened(history, n_train, n_val)
            sizes = {"train": n_train, "val": n_val}
            for left, metric in ((0.045, "accuracy"), (0.545, "loss")):
                axes = figure.add_axes((left, 0.205, 0.34, 0.545))
                _panel(axes, history, metric, sizes, best_epoch, opened)
            _key(figure, history, best_epoch, monitor, opened, sizes)
        figure.savefig(path, format="png")


def _panel(
    axes: Axes,
    history: list[dict],
    metric: str,
    sizes: dict[str, int],
    best_epoch: int | None,
    opened: int | None,
) -> None:
    epochs = np.array([row["epoch"] for row in history])
    curves = {split: _series(history, f"{split}/{metric}") for split in ("train", "val")}
    pad = 0.015 * (epochs[-1] - epochs[0]) or 0.5
    axes.set_xlim(epochs[0] - pad, epochs[-1] + pad)
    ticks = MaxNLocator(nbins=10, integer=True, steps=[1, 2, 5, 10]).tick_values(
        epochs[0], epochs[-1]
    )
    axes.set_xticks([int(t) for t in ticks if epochs[0] <= t <= epochs[-1]])
    axes.set_xlabel("epoch", color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)

    labels, lows = [], [0.47]
    style = {"marker": "o", "markersize": 3.5} if len(epochs) <= MARKERS_UP_TO else {}
    for split, color, name in (("train", TRAIN, "train"), ("val", VAL, "validation")):
        values = curves[split]
        if np.isnan(values).all():
            continue
        axes.plot(epochs, values, color=color, linewidth=1.8, clip_on=False, zorder=3, **style)
        last = values[~np.isnan(values)][-1]
        shown = f"{last:.3f}" if metric == "accuracy" else f"{last:.3g}"
        text = f"{name} {'–' if np.isnan(values[-1]) else shown}"
        labels.append((last, epochs[-1], text, color))
        if metric == "accuracy":
            low, high = _wilson(values, sizes[split])
            axes.fill_between(epochs, low, high, color=color, alpha=0.13, linewidth=0)
            lows.append(np.nanmin(low))
    if opened is not None:
        since = epochs >= opened
        axes.fill_between(
            epochs[since], curves["train"][since], curves["val"][since],
            color=GAP, alpha=0.1, linewidth=0,
        )  # fmt: skip

    if metric == "accuracy":
        axes.set_ylim(min(lows) - 0.02, 1.005)
        axes.yaxis.set_major_locator(MultipleLocator(0.1))
        axes.axhline(0.5, color=MUTED, linewidth=1, linestyle=(0, (1, 1.5)), zorder=1)
        labels.append((0.5, epochs[-1] + pad, "chance 0.5", MUTED))
        note, color = "bands: 95 % intervals", MUTED
    else:
        _loss_scale(axes, np.concatenate(list(curves.values())))
        note, color = _not_finite(history), VAL
    scale = " (log scale)" if axes.get_yscale() == "log" else ""
    axes.set_title(f"{metric}{scale}", loc="left", pad=36, color=INK, size=11, weight="bold")
    axes.set_title(note, loc="right", pad=36, color=color, size=9)

    _label_ends(axes, labels)
    for row, (epoch, text, color, dash) in enumerate(_events(best_epoch, opened)):
        _mark(axes, epoch, text, color, dash, row)


def _events(best_epoch: int | None, opened: int | None) -> list[tuple]:
    events = [(best_epoch, f"best: {best_epoch}", BEST, "-")]
    events.append((opened, f"gap opens: {opened}", GAP, (0, (4, 2))))
    return [event for event in events if event[0] is not None]


def _mark(axes: Axes, epoch: int, text: str, color: str, dash: object, row: int) -> None:
    """Draws an upright line at an epoch, labelled above the axes where no curve runs."""
    top = 1.035 + 0.067 * row
    axes.plot(
        [epoch, epoch], [0, top], transform=axes.get_xaxis_transform(), color=color,
        linestyle=dash, linewidth=1.3, clip_on=False, zorder=2,
    )  # fmt: skip
    left, right = axes.get_xlim()
    flip = (epoch - left) > 0.7 * (right - left)
    axes.annotate(
        text, (epoch, top), xycoords=axes.get_xaxis_transform(), color=color, fontsize=9,
        xytext=(-4 if flip else 4, -1), textcoords="offset points",
        ha="right" if flip else "left", va="center", annotation_clip=False, zorder=5,
        # Its own ground, where the other mark's line passes behind it.
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )  # fmt: skip


def _label_ends(axes: Axes, labels: list[tuple[float, float, str, str]]) -> None:
    """Names each line outside the axes; the names are moved apart where the ends are close.

    Args:
        axes: Panel, with its final limits and scale.
        labels: For each line its last y and x, its name, its colour.
    """
    height, line = axes.bbox.height, 15.0  # pixels
    labels = sorted(labels)
    ends = [axes.transLimits.transform(axes.transScale.transform((0, y)))[1] for y, *_ in labels]
    at = [end * height for end in ends]
    for i in range(1, len(at)):
        at[i] = max(at[i], at[i - 1] + line)
    for i in reversed(range(len(at))):
        at[i] = min(at[i], (at[i + 1] if i + 1 < len(at) else height + line) - line)
    for (value, epoch, text, color), y in zip(labels, at, strict=True):
        axes.annotate(
            text, (epoch, value), xytext=(1.045, y / height), textcoords="axes fraction",
            color=color, fontsize=9, va="center", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.7, "alpha": 0.6,
                        "shrinkA": 1, "shrinkB": 4, "relpos": (0, 0.5)},
        )  # fmt: skip


def _loss_scale(axes: Axes, values: np.ndarray) -> None:
    values = values[np.isfinite(values)]
    if not len(values):
        axes.set_ylim(0, 1)
    elif values.min() > 0 and values.max() > SPIKE * np.quantile(values, 0.75):
        axes.set_yscale("log")
    else:
        axes.set_ylim(min(0, 1.05 * values.min()), 1.08 * values.max() or 1)


def _key(
    figure: Figure,
    history: list[dict],
    best_epoch: int | None,
    monitor: str,
    opened: int | None,
    sizes: dict[str, int],
) -> None:
    """Says below the panels what the marks mean, and how the gap is defined."""
    value = next((r[monitor] for r in history if r["epoch"] == best_epoch and monitor in r), None)
    lines = []
    if best_epoch is not None:
        score = "" if value is None else f" ({value:.3f})"
        lines.append((f"best: epoch {best_epoch}, chosen by {monitor}{score}", BEST, "-"))
    rule = (
        f"accuracy of train above validation by more than the noise of {sizes['train']} and "
        f"{sizes['val']} images (1.96 standard errors)"
    )
    if opened is not None:
        lines.append((f"gap opens: from epoch {opened} to the last, {rule}", GAP, (0, (4, 2))))
    elif any({"train/accuracy", "val/accuracy"} <= row.keys() for row in history):
        lines.append((f"gap not open at the end: open means {rule}", MUTED, ""))
    for i, (text, color, dash) in enumerate(lines):
        y = 0.082 - 0.045 * i
        if dash:
            x = [0.012, 0.036]
            figure.add_artist(Line2D(x, [y, y], color=color, linestyle=dash, linewidth=1.3))
        words = figure.text(0.042 if dash else 0.012, y, text, color=color, size=9, va="center")
        fit_text(words, 0.95 * WIDTH)


def _series(history: list[dict], key: str) -> np.ndarray:
    """The metric by epoch, NaN where it is missing or not finite."""
    values = np.array([row.get(key, math.nan) for row in history], dtype=float)
    return np.where(np.isfinite(values), values, math.nan)


def _not_finite(history: list[dict]) -> str:
    """Names the epochs in which a logged loss is NaN or infinite."""
    keys = ("train/loss", "val/loss")
    bad = [r["epoch"] for r in history if any(not math.isfinite(r.get(k, 0)) for k in keys)]
    more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
    return f"not finite in epoch {bad[0]}{more}" if bad else ""


def _wilson(p: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's 95 % interval of a proportion (JASA 22, 1927), elementwise."""
    centre = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    return centre - half, centre + half
