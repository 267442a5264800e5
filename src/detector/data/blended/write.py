"""A folder of self-blended images with their masks, laid out as a synthetic set.

`training_fake` has the blends and `training_real` what each was blended onto, both as PNG, so that
no encoder comes between; `masks` has palette PNGs, `faces.csv` the landmarks and what was done.
`data=blended data.root=FOLDER` reads it, and `mode=scorecard` measures maps against the masks.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from detector.data.blended.blend import Blend, self_blend
from detector.data.blended.landmarks import landmarks_of
from detector.data.decode import decode
from detector.data.index import Index
from detector.data.preprocess import Preprocess
from detector.data.synthetic.make import ABOUT, FOLDERS, mask_image
from detector.data.synthetic.sheet import sheet
from detector.data.synthetic.table import NAME, mask_name, row, write_table
from detector.data.tree import SHEET
from detector.errors import UserError

SEEN = 0.05  # of the copy: below it, at the outer rim of the soft edge, nothing can be seen
DIFFICULTY = {1.0: "easy", 0.75: "mid", 0.5: "mid", 0.25: "hard"}  # by the ratio of the blend
ALL_PARTS = 15


def write_blends(
    folder: Path,
    index: Index,
    rows: np.ndarray,
    preprocess: Preprocess,
    *,
    images: int,
    masks: str,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Writes blends of real pictures until there are enough, or none is left.

    Args:
        folder: Made here; it appears under its name when it is complete.
        index: The set.
        rows: int (n), of real pictures to choose from, in any order.
        preprocess: From a file to pictures of side S.
        images: Blends at most.
        masks: One of `masks.KINDS`.
        seed: Of the choice and of the blends; the same seed gives the same bytes.
        progress: Called with pictures done and pictures in all.

    Returns:
        How many pictures were passed over, as no face was found.

    Raises:
        UserError: The folder holds something already or cannot be written, a picture cannot be
            read, or no face is found in any.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} holds something already: name a folder that is not there yet")
    rng, staging = np.random.default_rng(seed), folder.parent / f".{folder.name}.{os.getpid()}"
    rows, lines, without = rng.permutation(np.sort(rows))[: len(rows)], [], 0
    try:
        try:
            for name in FOLDERS:
                (staging / name).mkdir(parents=True)
            for at in map(int, rows):
                image = decode(index.path(at).read_bytes(), max_pixels=preprocess.max_pixels)
                points = landmarks_of(image, preprocess)
                if points is None:
                    without += 1
                    continue
                picture, number = preprocess.resize(image), len(lines) // 2
                blend = self_blend(picture, points, np.random.default_rng([seed, at]), masks)
                lines += _write(staging, number, blend, points, index["name"][at], (seed, at))
                if progress:
                    progress(number + 1, min(images, len(rows)))
                if number + 1 == images:
                    break
            if progress:
                progress(len(rows), len(rows))  # a bar that stands short of its end stays open
            if not lines:
                raise UserError(f"no face was found in any of {without} real images")
            write_table(staging / NAME, sorted(lines, key=lambda line: line["name"]))
            about = {"of": index.name, "images": len(lines) // 2, "masks": masks, "seed": seed}
            about["preprocess"] = preprocess.to_dict()
            (staging / ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
            sheet(staging, staging / SHEET)
            if folder.exists():
                folder.rmdir()  # empty, as was seen above
            staging.rename(folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{folder} cannot be made ({reason}): {error.filename}") from error
    return without


def _write(
    folder: Path, number: int, blend: Blend, points: np.ndarray, original: str, seed: tuple
) -> list[dict]:
    """Writes a blend, what it was blended onto, and their masks; returns their lines."""
    parts = "".join("01"[part] for part in blend.parts)
    treatment = DIFFICULTY[blend.ratio]
    # Outside the four parts a mask has no part of its own: it has the sum of those that are in it.
    value = sum(1 << bit for bit, part in enumerate(blend.parts) if part) or ALL_PARTS
    edited = (blend.mask >= SEEN * blend.ratio).astype(np.uint8) * value
    names = (
        f"training_fake/{treatment}_{number:05d}_{parts}.png",
        f"training_real/real_{number:05d}.png",
    )
    traits = {"original": original, "region": blend.kind, "ratio": blend.ratio}
    lines = []
    pictures = (blend.image, blend.target)
    for name, picture, mask in zip(names, pictures, (edited, np.zeros_like(edited)), strict=True):
        Image.fromarray(picture).save(folder / name)
        mask_image(mask).save(folder / mask_name(name), bits=8)
        of_fake = name == names[0]
        bits = parts if of_fake else "0" * len(parts)
        lines.append(row(name, treatment, bits, seed, points.tolist(), traits))
    return lines
