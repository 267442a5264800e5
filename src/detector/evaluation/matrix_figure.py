"""matrix.png: AUROC and accuracy of each network on each set, as two heatmaps."""

from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from detector.evaluation.matrix_report import grid, marks
from detector.run.figures import INK, MUTED, fit_text

OWN = "#D55E00"  # Okabe and Ito, 2008
NEVER, LACKING = "#F3E3D3", "#EEEEEE"  # below chance; nothing to show
# One hue from light to dark: its order is seen without colours, too.
BLUES = LinearSegmentedColormap.from_list(
    "blues", ["#EDF4FB", "#9CC4E4", "#2E75B6", "#08306B"]
).with_extremes(under=NEVER)
SCALE = Normalize(0.5, 1)
DPI = 100
WIDTH, HEIGHT = 150, 112  # pixels a cell
SIDE, GAP, RIGHT, HEAD, FOOT = 220, 30, 20, 92, 104
NOTES = 950  # pixels that the notes need


def matrix_figure(found: Mapping) -> Figure:
    """Draws two panels, networks in rows and sets in columns; a cell is 150 x 112 pixels.

    Colours run from .5, chance for AUROC, to 1; what is below .5 has a colour of its own.

    Args:
        found: As matrix.json holds it.

    Returns:
        A figure on an Agg canvas.
    """
    rows, columns = len(found["networks"]), len(found["sets"])
    panel = columns * WIDTH
    width = max(SIDE + 2 * panel + GAP + RIGHT, NOTES)
    height = HEAD + rows * HEIGHT + FOOT
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    part = "all images" if found["part"] == "all" else f"{found['part']} parts"
    heading = figure.text(16 / width, 1 - 20 / height, f"Trained on one set, tested on another: "
                          f"{part}", size=14, weight="bold", color=INK, va="center")  # fmt: skip
    fit_text(heading, width - 32)
    titles = ("AUROC", "Accuracy at the network's own threshold")
    for at, (title, texts) in enumerate(zip(titles, (_ranked, _right), strict=True)):
        left = SIDE + at * (panel + GAP)
        axes = figure.add_axes((left / width, FOOT / height, panel / width, rows * HEIGHT / height))
        _heatmap(axes, found, texts, first=at == 0)
        above = figure.text(left / width, 1 - 50 / height, title, size=11.5, weight="bold",
                            color=INK, va="center")  # fmt: skip
        fit_text(above, panel if at == 0 else width - left - RIGHT)
    _key(figure, width, height)
    return figure


def _ranked(cell: Mapping) -> tuple[Mapping, str, list[str]]:
    """Measure, its name where undefined, and small lines below it."""
    return cell["auroc"], "one class", [f"{cell['n']:,} images"]


def _right(cell: Mapping) -> tuple[Mapping, str, list[str]]:
    best = cell["best_accuracy"]["value"]
    bound = "best –" if best is None else f"best {_decimals(best)}"
    return cell["accuracy"], "", [bound, f"majority {_decimals(cell['majority'])}"]


def _heatmap(axes: Axes, found: Mapping, texts, *, first: bool) -> None:
    lines = grid(found)
    columns = [one["name"] for one in found["sets"]]
    axes.set_xlim(0, len(columns))
    axes.set_ylim(len(lines), 0)
    for row, (_, cells) in enumerate(lines):
        for column, cell in enumerate(cells):
            _cell(axes, column, row, cell, texts)
    # Outlines last: a neighbour's face would cover half of them.
    for row, (_, cells) in enumerate(lines):
        for column, cell in enumerate(cells):
            if cell["own"]:
                axes.add_patch(Rectangle((column + 0.02, row + 0.028), 0.96, 0.944, fill=False,
                                         edgecolor=OWN, linewidth=3, zorder=5))  # fmt: skip
    axes.spines[:].set_visible(False)
    axes.set_xticks([])
    axes.set_yticks([])
    for column, name in enumerate(columns):
        # No tick labels: those take back, when they are drawn, what they were cut to.
        label = axes.text(column + 0.5, -0.12, name, size=11, color=INK, ha="center", va="center")
        fit_text(label, WIDTH - 8)
    if not first:
        return
    for row, (network, _) in enumerate(lines):
        for text, size, color, up in (
            (network["trained_on"], 11, INK, -0.09), (network["name"], 8.5, MUTED, 0.11)
        ):  # fmt: skip
            label = axes.text(-0.06, row + 0.5 + up, text, size=size, color=color, ha="right",
                              va="center")  # fmt: skip
            fit_text(label, SIDE - 26)


def _cell(axes: Axes, column: int, row: int, cell: Mapping, texts) -> None:
    measure, lacking, below = ({"value": None}, "not read", []) if cell["error"] else texts(cell)
    value = measure["value"]
    face = LACKING if value is None else BLUES(SCALE(value))
    axes.add_patch(Rectangle((column, row), 1, 1, facecolor=face, edgecolor="white", linewidth=2))
    ink = _ink(face)
    if value is None:
        lines = [(0.42, "–", 17, "bold"), (0.68, lacking, 8.5, "normal")]
    else:
        ends = f"[{_decimals(measure['low'])}, {_decimals(measure['high'])}]"
        lines = [
            (0.25, f"{_decimals(value)}{marks(cell)}", 16, "bold"),
            (0.49, ends, 9.5, "normal"),
        ]
        lines += [(0.69 + 0.17 * i, text, 9, "normal") for i, text in enumerate(below)]
    for at, text, size, weight in lines:
        drawn = axes.text(column + 0.5, row + at, text, size=size, weight=weight, color=ink,
                          ha="center", va="center", zorder=4)  # fmt: skip
        fit_text(drawn, WIDTH - 14, smallest=6)


def _decimals(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")


def _ink(face: object) -> str:
    """Black or white, whichever has more contrast (WCAG 2, relative luminance)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(face)]
    light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if (light + 0.05) ** 2 > 0.05 * 1.05 else "#FFFFFF"


def _key(figure: Figure, width: int, height: int) -> None:
    """The colours, and what is written in a cell."""
    axes = figure.add_axes((SIDE / width, 72 / height, 200 / width, 12 / height))
    axes.imshow([[at / 200 for at in range(100, 201)]], cmap=BLUES, norm=SCALE, aspect="auto",
                extent=(0.5, 1, 0, 1))  # fmt: skip
    axes.set_yticks([])
    axes.set_xticks([0.5, 0.75, 1], [".5", ".75", "1"])
    axes.tick_params(length=2, labelsize=8.5, labelcolor=MUTED, color=MUTED, pad=2)
    axes.spines[:].set_color("#BBBBBB")
    figure.patches.append(
        Rectangle((SIDE + 224, 72), 24, 12, facecolor=NEVER, edgecolor="#BBBBBB", linewidth=0.8)
    )
    figure.patches.append(
        Rectangle((SIDE + 324, 72), 24, 12, fill=False, edgecolor=OWN, linewidth=2.5)
    )
    for left, text in ((254, "below .5"), (354, "the set it was trained on")):
        figure.text((SIDE + left) / width, 78 / height, text, size=9, color=MUTED, va="center")
    notes = (
        "brackets: 95 % intervals    best: over all thresholds on these very images, an optimistic"
        " bound    majority: always the more frequent class",
        "†: includes images that the network was trained on    ‡: may include them    –: undefined"
        " or not read",
    )
    for at, note in enumerate(notes):
        text = figure.text(16 / width, (34 - 20 * at) / height, note, size=9, color=MUTED,
                           va="center")  # fmt: skip
        fit_text(text, width - 32, smallest=6)
