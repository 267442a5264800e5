"""audit.png: every property and every control, by how well it tells the classes apart."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes

from detector.evaluation.controls import CONTROLS

INK, MUTED, HARMLESS, TELLING = "#222222", "#767676", "#8A8A8A", "#D55E00"
FULL = "#0072B2"
ROW = 0.3  # inches


def draw(found: Mapping, path: Path) -> None:
    """Draws what audit.json holds; left the properties, right the four controls."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    properties = [p for p in found["properties"].values() if p["auroc"]["value"] is not None]
    height = ROW * len(properties) + 1.75
    figure = Figure(figsize=(12, height), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    fake, real = found["class_names"]
    above = found["fail"]["above"]
    limit = "" if above is None else f"   ·   dashed: audit.fail_above={above:g}"
    figure.text(
        0.012, 1 - 0.3 / height, f"What a network could cheat with on {found['data']}",
        size=14, weight="bold", color=INK, va="center",
    )  # fmt: skip
    figure.text(
        0.012, 1 - 0.6 / height,
        f"{found['n_real']} {real}, {found['n_fake']} {fake} images   ·   bars: 95 % intervals"
        "   ·   .5: tells nothing, 1: gives the class away" + limit,
        size=10, color=MUTED, va="center",
    )  # fmt: skip
    bottom, top = 0.55 / height, 1 - 1.15 / height
    left = figure.add_axes((0.185, bottom, 0.425, top - bottom))
    _rows(left, [p["title"] for p in properties], [p["auroc"] for p in properties])
    left.set_title("one property alone: AUROC", size=11, color=INK, loc="left")
    tall = min(top - bottom, (4 * 2 * ROW + 0.3) / height)
    right = figure.add_axes((0.715, top - tall, 0.27, tall))
    _controls(right, found["controls"])
    where = {"val": "validation", "test": "test"}[found["controls"]["part"]]
    right.set_title(
        f"controls, {where} ({found['controls']['n']} images)", size=11, color=INK, loc="left"
    )
    for axes in (left, right):
        axes.axvline(0.5, color=MUTED, linewidth=1, zorder=0)
        if above is not None:
            axes.axvline(above, color=TELLING, linewidth=1, linestyle="--", zorder=1.5)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0, labelsize=10.5)
        axes.grid(axis="x", color="#E6E6E6", linewidth=0.8)
        axes.set_axisbelow(True)
    figure.savefig(path)


def _rows(axes: Axes, names: Sequence[str], measures: Sequence[Mapping]) -> None:
    for y, measure in enumerate(measures):
        color = TELLING if measure["low"] > 0.55 else HARMLESS
        axes.plot([measure["low"], measure["high"]], [y, y], color=color, linewidth=3, alpha=0.45)
        axes.plot(measure["value"], y, "o", color=color, markersize=6)
        axes.text(
            1.012, y, f"{measure['value']:.2f}", color=color, size=9.5, va="center",
            transform=axes.get_yaxis_transform(),
        )  # fmt: skip
    lowest = min([0.45, *(measure["low"] for measure in measures)])
    axes.set(xlim=(max(0.0, lowest - 0.02), 1.005), ylim=(len(names) - 0.4, -0.6))
    axes.set_yticks(range(len(names)), names)


def _controls(axes: Axes, controls: Mapping) -> None:
    lowest = 0.45
    for row, name in enumerate(CONTROLS):
        for key, shift, face in (("accuracy", -0.16, "white"), ("auroc", 0.16, FULL)):
            measure = controls[name][key]
            if measure["value"] is None:
                continue
            lowest = min(lowest, measure["low"])
            axes.plot(
                [measure["low"], measure["high"]], [row + shift] * 2, color=FULL, linewidth=3,
                alpha=0.4,
            )  # fmt: skip
            axes.plot(
                measure["value"], row + shift, "o", color=FULL, markerfacecolor=face, markersize=6,
                label=("accuracy" if key == "accuracy" else "AUROC") if row == 0 else None,
            )  # fmt: skip
    axes.set(xlim=(max(0.0, lowest - 0.02), 1.01), ylim=(len(CONTROLS) - 0.45, -0.55))
    axes.set_yticks(range(len(CONTROLS)), CONTROLS)
    axes.legend(
        loc="upper left", bbox_to_anchor=(-0.02, -0.12), ncols=2, frameon=False, fontsize=9.5
    )
