"""What does "another JPEG table than the reals' means fake" score on ciplab?

DETECTOR_DATA=../shared/data python experiments/2026-11-20-small-networks/header_rule.py
"""

from collections import Counter
from pathlib import Path

import numpy as np

from detector import cli
from detector.data.load import load_set


def main() -> None:
    cfg = cli.compose("train", ["data=ciplab"])
    faces = load_set(cfg.data, Path(cfg.paths.cache).expanduser())
    table, label = np.array(faces.index["quantization"]), faces.index.labels
    train = faces.parts == "train"
    (usual, _), *_ = Counter(table[train & (label == 1)]).most_common(1)
    right = (table == usual) == (label == 1)
    for name, rows in (("all images", np.full(len(label), True)), ("test", faces.parts == "test")):
        print(f"{name}: {right[rows].sum()} of {rows.sum()} right, {right[rows].mean():.3f}")


if __name__ == "__main__":
    main()
