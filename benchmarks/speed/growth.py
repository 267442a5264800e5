"""Do the time of the index and the memory of a training grow with the number of images?"""

import sys
from pathlib import Path

from sets import colours
from watched import watched

HERE = Path(__file__).parent
SIZES = (5000, 10000, 20000)
INDEX = """
import json, sys, time
from pathlib import Path
from detector import cli
from detector.data.load import load_set
cfg = cli.compose("train", sys.argv[1:])
begun = time.perf_counter()
faces = load_set(cfg.data, Path(cfg.paths.cache))
print(json.dumps({"seconds": time.perf_counter() - begun, "n": len(faces.index)}))
"""


def growth(folder: Path) -> dict:
    """Seconds of a first index, and the peak memory of an epoch of `cnn3`, by number of files."""
    every, rows = colours(folder, max(SIZES)), []
    for n in SIZES:
        root = folder / f"first{n}"
        for name in ("fake", "real"):
            (root / name).mkdir(parents=True)
            for file in sorted((every / name).iterdir())[: n // 2]:
                (root / name / file.name).hardlink_to(file)
        common = ["data=folder", f"data.root={root}", f"paths.runs={folder}/runs"]
        row = {"files": n}
        for kind, near in (("index", "false"), ("index, near copies", "true")):
            place = f"paths.cache={folder}/{kind.replace(', ', '-').replace(' ', '-')}-{n}"
            command = [sys.executable, "-c", INDEX, *common, place, f"data.near_copies={near}"]
            seen = watched(command)
            row[kind], row[f"{kind}, MB"] = seen.told["seconds"], seen.peak_anonymous_mb
        seen = watched(
            [
                sys.executable,
                str(HERE / "training.py"),
                *common,
                "data.near_copies=false",
                "model=cnn3",
                "model.preprocess.size=64",
                "augment=light",
                "trainer.max_epochs=1",
                f"paths.cache={folder}/cache",
            ]
        )
        row |= {"peak_anonymous_mb": seen.peak_anonymous_mb, "seconds": seen.seconds}
        rows.append(row)
        print(row, flush=True)
    return {"rows": rows}
