"""A sheet of a set's faces, to look at before anything is trained."""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from detector.data.synthetic.table import mask_name
from detector.data.tree import image_names

COLUMNS = 6
TILE = 160  # pixels
MARGIN = 56
ROWS = {
    "real": ("training_real", "real_"),
    "easy": ("training_fake", "easy_"),
    "mid": ("training_fake", "mid_"),
    "hard": ("training_fake", "hard_"),
}


def sheet(folder: Path, output: Path) -> None:
    """Writes a picture of the first faces: a row of reals, and one for each difficulty.

    In the corner of each fake stands its mask; black is untouched.

    Args:
        folder: A synthetic set.
        output: The file to write; its suffix tells the format.
    """
    found = {}
    for row, (below, start) in ROWS.items():
        names = [n for n in image_names(folder, below) if Path(n).name.startswith(start)]
        if names:
            found[row] = sorted(names, key=lambda name: int(Path(name).stem.split("_")[1]))
    page = Image.new("RGB", (MARGIN + COLUMNS * TILE, len(found) * TILE), "white")
    draw = ImageDraw.Draw(page)
    for y, (row, names) in enumerate(found.items()):
        middle = y * TILE + TILE // 2
        draw.text((MARGIN // 2, middle), row, "black", ImageFont.load_default(18), anchor="mm")
        for x, name in enumerate(names[:COLUMNS]):
            page.paste(_tile(folder, name, masked=row != "real"), (MARGIN + x * TILE, y * TILE))
    page.save(output, quality=90)


def _tile(folder: Path, name: str, masked: bool) -> Image.Image:
    with Image.open(folder / name) as picture:
        tile = picture.convert("RGB").resize((TILE, TILE), Image.Resampling.LANCZOS)
    if masked:
        with Image.open(folder / mask_name(name)) as mask:
            corner = mask.convert("RGB").resize((TILE // 4, TILE // 4), Image.Resampling.NEAREST)
        tile.paste(corner, (TILE - TILE // 4, TILE - TILE // 4))
    return tile
