"""In place of the renderer: quick, and light to import for the processes that tests start."""

import json
import sys
import time
import types
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from detector.data.sources import FACE_PARTS, list_items
from detector.data.synthetic.make import make_set

PACKAGE = "detector.data.synthetic"
SETTINGS = {
    "n": 12,
    "size": 64,
    "seed": 3,
    "difficulty": {"easy": 1, "mid": 1, "hard": 1},
    "parts": list(FACE_PARTS),
    "parts_at_once": [1, 1, 1, 1],
}


@dataclass(frozen=True)
class Portrait:
    jpeg: bytes
    mask: np.ndarray
    landmarks: tuple
    traits: dict


def portrait(seed, *, size, difficulty, parts, fake) -> Portrait:
    """Noise, a mask in which all sums of the parts occur, and what was asked as a trait."""
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    packed = BytesIO()
    Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(packed, "JPEG")
    codes = sum(part << bit for bit, part in enumerate(parts))
    mask = (np.arange(size * size, dtype=np.int64).reshape(size, size) % 16) & codes
    landmarks = tuple((float(x), float(y)) for x, y in rng.uniform(0, size, (5, 2)))
    traits = {
        "hair": ["none", 'a, "b"'][seed[2] % 2],
        "age": 20 + seed[2],
        "yaw": float(rng.normal()),
        "asked": f"{difficulty} {fake}",
    }
    return Portrait(packed.getvalue(), mask.astype(np.uint8), landmarks, traits)


def slowly(seed, **asked) -> Portrait:
    time.sleep(0.05)
    return portrait(seed, **asked)


def sheet(folder: Path, output: Path) -> None:
    """Comes last, so everything else is there."""
    about = json.loads((folder / "about.json").read_text())
    names = [item.name for item in list_items("synthetic", folder).items]
    assert len(names) == about["settings"]["n"]
    output.write_text(" ".join(names))


def modules(portrait=portrait) -> dict[str, types.SimpleNamespace]:
    """What `sys.modules` has to hold."""
    return {
        f"{PACKAGE}.portrait": types.SimpleNamespace(VERSION=1, portrait=portrait),
        f"{PACKAGE}.sheet": types.SimpleNamespace(sheet=sheet),
    }


def made(root: Path | str, workers: int | None = 2, **changed) -> Path:
    return make_set(root, synthetic=SETTINGS | changed, workers=workers)


def main(root: str, log: str, kill_at: int) -> None:
    """Make a set as another process, slowly and counted, or die in the middle of it."""
    import os
    import signal

    def counted(seed, **asked):
        with open(log, "a") as file:
            file.write("call\n")
        if seed[2] == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return slowly(seed, **asked)

    sys.modules.update(modules(counted))
    print(made(root))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
