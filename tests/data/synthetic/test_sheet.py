"""The sheet of a set, of the real renderer: which faces it shows, and with which masks."""

import csv
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.data.synthetic.make import PALETTE, make_set, mask_image
from detector.data.synthetic.portrait import portrait
from detector.data.synthetic.sheet import COLUMNS, MARGIN, ROWS, TILE, sheet
from tests.data.synthetic.stand_in import SETTINGS


def tile(page: np.ndarray, row: int, column: int) -> np.ndarray:
    left = MARGIN + column * TILE
    return page[row * TILE : (row + 1) * TILE, left : left + TILE].astype(int)


def opened(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize(
    "difficulty, rows", [((1, 1, 1), 4), ((1, 0, 1), 3), ((0, 0, 1), 2)]
)  # fmt: skip
def test_a_set_of_the_real_renderer_has_its_sheet(tmp_path, difficulty, rows):
    shares = dict(zip(("easy", "mid", "hard"), difficulty, strict=True))
    settings = SETTINGS | {"n": 8, "difficulty": shares}
    folder = make_set(tmp_path, synthetic=settings, workers=2)
    with Image.open(folder / "sheet.jpg") as page:
        assert page.size == (MARGIN + COLUMNS * TILE, rows * TILE) and page.format == "JPEG"
    page = opened(folder / "sheet.jpg")
    first = Image.fromarray(opened(folder / "training_real" / "real_00001.jpg"))
    shown = np.asarray(first.resize((TILE, TILE), Image.Resampling.LANCZOS))
    assert np.abs(tile(page, 0, 0) - shown).mean() < 4
    assert (page[:, :MARGIN].reshape(rows, -1).min(1) < 90).all()  # each row has its name
    with open(folder / "faces.csv", newline="") as file:
        for line in csv.DictReader(file):
            again = portrait(
                tuple(map(int, line["seed"].split())),
                size=64,
                difficulty=line["treatment"],
                parts=tuple(bit == "1" for bit in line["parts"]),
                fake=line["name"].startswith("training_fake"),
            )
            assert (folder / line["name"]).read_bytes() == again.jpeg
            with Image.open(folder / "masks" / Path(line["name"]).with_suffix(".png")) as mask:
                np.testing.assert_array_equal(np.asarray(mask), again.mask)


def test_the_first_faces_in_the_order_of_their_numbers_and_their_masks(tmp_path):
    grey = {}
    for start, count in {"easy": 12, "hard": 2}.items():
        for number in range(1, count + 1):
            name = f"training_fake/{start}_{number}_0010.jpg"
            grey[start, number] = 10 * number + (120 if start == "hard" else 0)
            write(tmp_path / name, grey[start, number])
            save_mask(tmp_path / "masks" / Path(name).with_suffix(".png"), number)
    write(tmp_path / "training_real" / "real_00001.jpg", 230)
    sheet(tmp_path, tmp_path / "sheet.png")
    page = opened(tmp_path / "sheet.png")
    assert page.shape == (3 * TILE, MARGIN + COLUMNS * TILE, 3)
    for row, (start, count) in enumerate({"real": 1, "easy": 12, "hard": 2}.items()):
        for column in range(COLUMNS):
            found = tile(page, row, column)
            if column >= count:
                assert (found == 255).all()
                continue
            wanted = 230 if start == "real" else grey[start, column + 1]
            assert np.abs(found[: TILE // 2] - wanted).max() < 4
            corner = found[-TILE // 4 :, -TILE // 4 :]
            if start == "real":
                assert np.abs(corner - wanted).max() < 4  # reals show no mask
            else:
                assert (corner[: TILE // 8] == 0).all()
                assert (corner[TILE // 8 :] == PALETTE[column + 1]).all()
    assert list(ROWS) == ["real", "easy", "mid", "hard"]


def write(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    packed = BytesIO()
    Image.new("RGB", (80, 80), (value,) * 3).save(packed, "JPEG", quality=95)
    path.write_bytes(packed.getvalue())


def save_mask(path: Path, value: int) -> None:
    """The lower half of that value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((80, 80), np.uint8)
    mask[40:] = value
    mask_image(mask).save(path)
