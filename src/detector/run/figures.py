"""Pictures for TensorBoard: a confusion matrix and a grid of captioned samples."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

INK, MUTED, WRONG = "#222222", "#767676", "#D55E00"
CAPTION_WIDTH = 20  # characters of 8.5 points that fit one cell of the grid


def confusion_figure(counts: np.ndarray, class_names: Sequence[str]) -> Figure:
    """Draws a confusion matrix: counts, and the share of each true class below them.

    Args:
        counts: (2, 2) integers; rows are the true class, columns the predicted one.
        class_names: The two names, by label.

    Returns:
        A figure on an Agg canvas (460 x 395 pixels), colour by share of the row.
    """
    counts = np.asarray(counts)
    assert counts.shape == (2, 2) and len(class_names) == 2, (counts.shape, class_names)
    totals = counts.sum(1, keepdims=True)
    share = counts / np.maximum(totals, 1)
    figure = _figure(4.6, 3.95)
    axes = figure.add_axes((0.275, 0.025, 0.705, 0.82))
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1.15)  # short of the darkest, for the text
    names = [_cut(name, 11) for name in class_names]
    for row in range(2):
        for column in range(2):
            color = "white" if share[row, column] > 0.6 else INK
            axes.text(column, row - 0.07, f"{counts[row, column]:,}", color=color,
                      size=20, weight="bold", ha="center", va="center")  # fmt: skip
            percent = f"{100 * share[row, column]:.1f} %" if totals[row, 0] else "–"
            axes.text(column, row + 0.18, percent, color=color, size=11, ha="center", va="center")
    axes.set_xticks([0, 1], names)
    axes.set_yticks([0, 1], [f"{n}\nn = {t:,}" for n, t in zip(names, totals[:, 0], strict=True)])
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("predicted", size=11, color=MUTED, labelpad=8)
    figure.text(0.022, 0.435, "true", size=11, color=MUTED, rotation=90, ha="center", va="center")
    axes.tick_params(length=0, labelsize=11)
    axes.set_xticks([0.5], minor=True)
    axes.set_yticks([0.5], minor=True)
    axes.grid(which="minor", color="white", linewidth=3)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)
    return figure


def grid_figure(
    images: np.ndarray,
    labels: Sequence[int],
    p_fake: Sequence[float] | None,
    class_names: Sequence[str],
    max_n: int,
) -> Figure:
    """Draws a grid of images, each captioned with its true class and its score.

    Images whose more probable class (.5 belongs to class 0) is not the true one are
    framed and captioned in vermilion with a cross; a score that is not finite counts
    as wrong.

    Args:
        images: (N, H, W, 3) uint8.
        labels: (N,) true labels, 0 or 1.
        p_fake: (N,) probability of class 0, or None to show the classes alone.
        class_names: The two names, by label; the score is called `p_<class_names[0]>`.
        max_n: Images to show at most, the first ones.

    Returns:
        A figure on an Agg canvas, 150 pixels a cell.
    """
    images = np.asarray(images)
    assert images.ndim == 4 and images.shape[-1] == 3 and images.dtype == np.uint8, images.shape
    assert len(labels) == len(images) and (p_fake is None or len(p_fake) == len(images))
    n = min(len(images), max_n)
    columns = max(1, min(8, math.ceil(math.sqrt(1.6 * n))))
    rows = max(1, math.ceil(n / columns))
    score = f"p_{class_names[0]}"
    captions = [_caption(i, labels, p_fake, class_names) for i in range(n)]
    lines = 1 + any("\n" in text for text, _ in captions)

    cell, below, head = 1.5, 0.2 * lines + 0.05, 0.35  # inches
    width, height = max(columns, 4) * cell, rows * (cell + below) + head
    figure = _figure(width, height)
    if not n:
        explained = "no images"
    elif p_fake is None:
        explained = "true class"
    else:
        wrong = sum(not right for _, right in captions)
        explained = f"✗ wrong: {wrong} of {n}    caption: true class · {score}"
    heading = figure.text(
        0.06 / width, 1 - 0.18 / height, explained, size=9.5, color=MUTED, va="center"
    )
    fit_text(heading, 100 * (width - 0.1))
    for i, (text, right) in enumerate(captions):
        row, column = divmod(i, columns)
        bottom = height - head - row * (cell + below) - cell
        axes = figure.add_axes(
            ((column * cell + 0.05) / width, (bottom + 0.03) / height,
             (cell - 0.1) / width, (cell - 0.06) / height)
        )  # fmt: skip
        axes.imshow(images[i], interpolation="antialiased")
        axes.set_xticks([])
        axes.set_yticks([])
        color = INK if right else WRONG
        axes.spines[:].set(visible=not right, color=WRONG, linewidth=3)
        axes.set_xlabel(text, size=8.5, color=color, labelpad=3, linespacing=1.1,
                        weight="normal" if right else "bold")  # fmt: skip
        fit_text(axes.xaxis.label, 100 * (cell - 0.04), smallest=4)
    return figure


def fit_text(text: Text, width: float, smallest: float = 7.5) -> None:
    """Makes a text smaller, then cuts it, until it is at most `width` pixels wide.

    Args:
        text: Text that belongs to a figure on an Agg canvas; changed in place.
        width: Pixels.
        smallest: Points below which the text is cut instead.
    """
    renderer = text.get_figure(root=True).canvas.get_renderer()
    while text.get_window_extent(renderer).width > width and len(text.get_text()) > 1:
        if text.get_fontsize() > smallest:
            text.set_fontsize(max(smallest, text.get_fontsize() - 0.5))
        else:
            text.set_text(_cut(text.get_text(), len(text.get_text()) - 1))


def _caption(
    i: int, labels: Sequence[int], p_fake: Sequence[float] | None, class_names: Sequence[str]
) -> tuple[str, bool]:
    label = int(labels[i])
    if p_fake is None:
        return _cut(class_names[label], CAPTION_WIDTH), True
    p = float(p_fake[i])
    right = math.isfinite(p) and (label == 0) == (p >= 0.5)
    mark = "" if right else "✗ "
    score = f"p_{_cut(class_names[0], CAPTION_WIDTH - 9)} {p:.2f}"
    one = f"{mark}{class_names[label]} · {score}"
    if len(one) <= CAPTION_WIDTH:
        return one, right
    return f"{mark}{_cut(class_names[label], CAPTION_WIDTH - 2)}\n{score}", right


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _figure(width: float, height: float) -> Figure:
    # Without pyplot: no display, no global list of figures to leak into.
    figure = Figure(figsize=(width, height), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    return figure
