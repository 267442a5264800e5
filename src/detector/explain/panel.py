"""One picture, and where the network looked: a figure that can be compared with any other."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from detector.run.figures import INK, MUTED, fit_text

# A map is drawn as its density over that of an even map: 1 is what each pixel would have if the
# network looked everywhere alike. The scale ends at the same density for every picture.
DENSEST = 8.0
WIDTH, HEIGHT, DPI = 1400, 470, 100  # pixels
OUTLINE, HIGHLIGHT = "#FFFFFF", "#D55E00"


def density(cam: np.ndarray) -> np.ndarray:
    """A map over its own mean, float32 (S, S): 1 everywhere for an even one; zero stays zero."""
    mean = float(cam.mean())
    return np.zeros_like(cam, np.float32) if mean <= 0 else (cam / mean).astype(np.float32)


def panel_figure(
    image: np.ndarray,
    cam: np.ndarray,
    *,
    title: str,
    notes: str = "",
    regions: np.ndarray | None = None,
    shares: Mapping[str, float] | None = None,
    areas: Mapping[str, float] | None = None,
) -> Figure:
    """Draws the picture, its heatmap, both together, and the share of each region.

    Args:
        image: uint8 (S, S, 3), as the network sees it.
        cam: float (S, S), at least 0, on any scale.
        title: One line: what was predicted, what is true.
        notes: A second line, for what a reader must know beside.
        regions: int (S, S), a region's number at each pixel, 0 for the rest; outlined.
        shares: Share of the map in each region, by name, in [0, 1].
        areas: Share of the picture that each region takes, by the same names.

    Returns:
        A figure on an Agg canvas, 1400 x 470 pixels.
    """
    figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    side, top = 330, 82  # pixels
    lefts = [16, 362, 788]
    boxes = [_box(left, top, side, side) for left in lefts]
    plain, heat, both = (figure.add_axes(box) for box in boxes)
    dense = density(cam)
    plain.imshow(image)
    drawn = heat.imshow(dense, cmap="magma", vmin=0, vmax=DENSEST)
    both.imshow(image)
    both.imshow(dense, cmap="magma", vmin=0, vmax=DENSEST, alpha=np.clip(dense / 3, 0, 0.6))
    for axes, heading in ((plain, "what the network sees"), (heat, "heatmap"), (both, "overlay")):
        axes.set_axis_off()
        axes.set_title(heading, size=10, color=MUTED, loc="left", pad=4)
        if regions is not None:
            _outline(axes, regions, INK if axes is plain else OUTLINE)
    bar = figure.colorbar(drawn, cax=figure.add_axes(_box(700, top, 14, side)), extend="max")
    bar.set_ticks([0, 1, 2, 4, 8], labels=["0", "1 even", "2", "4", "8"])
    bar.ax.tick_params(labelsize=9, colors=MUTED, length=3)
    bar.outline.set_visible(False)
    _bars(figure, shares, areas, cam.max() > 0)
    fit_text(figure.text(0.0115, 0.95, title, size=13, weight="bold", color=INK, va="center"), 1370)
    if notes:
        fit_text(figure.text(0.0115, 0.885, notes, size=10, color=HIGHLIGHT, va="center"), 1370)
    foot = "the scale is the same for every picture: 1 is a map without preference"
    if cam.max() <= 0:
        foot = "the map is empty: nothing in the picture spoke for this class; " + foot
    figure.text(0.0115, 0.05, foot, size=9, color=MUTED, va="center")
    return figure


def _box(left: int, top: int, wide: int, high: int) -> tuple[float, float, float, float]:
    return left / WIDTH, 1 - (top + high) / HEIGHT, wide / WIDTH, high / HEIGHT


def _outline(axes: Axes, regions: np.ndarray, color: str) -> None:
    for number in np.unique(regions[regions > 0]):
        inside = np.pad(regions == number, 1).astype(float)
        axis = np.arange(-1, len(regions) + 1)
        axes.contour(axis, axis, inside, levels=[0.5], colors=color, linewidths=0.8, alpha=0.9)


def _bars(
    figure: Figure,
    shares: Mapping[str, float] | None,
    areas: Mapping[str, float] | None,
    known: bool,
) -> None:
    """Share of each region, with a tick where an even map would be."""
    axes = figure.add_axes(_box(1235, 82, 145, 330))
    axes.set_title("share of the map", size=10, color=MUTED, loc="left", pad=4)
    axes.spines[:].set_visible(False)
    if not shares or not known:
        axes.set_axis_off()
        why = "no face found:\nno regions" if known else "an empty map"
        axes.text(0, 0.9, why, size=10, color=MUTED, va="top", transform=axes.transAxes)
        return
    names = list(shares)
    at = np.arange(len(names))
    axes.barh(at, [shares[name] for name in names], height=0.62, color="#0072B2")
    if areas:
        ticks = [areas[name] for name in names]
        axes.vlines(ticks, at - 0.42, at + 0.42, color=INK, linewidth=1.4)
        axes.set_xlabel("line: even map", size=9, color=MUTED)
    axes.set_yticks(at, [name.replace("_", " ") for name in names])
    axes.invert_yaxis()
    axes.tick_params(labelsize=9, colors=INK, length=0)
    most = max([*shares.values(), *(areas or {}).values()])
    axes.set_xlim(0, max(0.05, 1.3 * most))
    axes.set_xticks([])
    for y, name in zip(at, names, strict=True):
        end = max(shares[name], (areas or {}).get(name, 0))
        axes.text(end + 0.03 * most, y, f"{shares[name]:.0%}", size=9, va="center", color=INK)
