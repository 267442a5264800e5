"""Pictures for the benchmarks, made here: nobody's photographs."""

from pathlib import Path

import cv2
import numpy as np
from omegaconf import OmegaConf

from detector import cli
from detector.data.synthetic.make import make_set


def faces(folder: Path, n: int, size: int) -> Path:
    """A folder with `fake` and `real`, n rendered faces in all, JPEG of `size` px."""
    overrides = ["data=synthetic", f"synthetic.n={n}", f"synthetic.size={size}"]
    settings = OmegaConf.to_container(cli.compose("train", overrides).synthetic, resolve=True)
    made = make_set(folder / "made", synthetic=settings)
    place = folder / f"faces{n}"
    for name in ("fake", "real"):
        (place / name).mkdir(parents=True)
        for file in (made / f"training_{name}").iterdir():
            (place / name / file.name).hardlink_to(file)
    return place


def colours(folder: Path, n: int, size: int = 96) -> Path:
    """A folder with `fake` and `real`, n pictures in all of smooth random colours.

    Of 16 by 16 cells, which makes their perceptual hashes as different as those of photographs: of
    coarser ones the more are within reach of each other, the more there are.
    """
    place, rng = folder / f"colours{n}", np.random.default_rng(0)
    for name in ("fake", "real"):
        (place / name).mkdir(parents=True)
        for k in range(n // 2):
            small = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            picture = cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(place / name / f"{k:06d}.jpg"), picture)
    return place
