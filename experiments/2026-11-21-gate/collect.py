"""Table of what gates refuse: python collect.py RUNS [DATA_ROOT], with RUNS as study.sh has it.

Each network is asked about the test part of its own set, of which its gate should refuse a share
alpha, about the test parts of sets that it has never seen, and about pictures without a face.
Copies and edits of one photograph count as one in the intervals.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from pictures import KINDS, make

from detector import cli
from detector.data.decode import decode
from detector.data.load import FaceSet, load_set
from detector.evaluation.refused import refused, told
from detector.evaluation.report import shown
from detector.evaluation.trained import open_trained
from detector.predictor import Predictor

SETS = ("hardfake", "140k", "ciplab", "utkface", "synthetic")
MOST = 250  # images of a set, chosen at random
MADE = 150  # of each kind without a face
SEED = 0


def pictures(faces: FaceSet, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Decoded pictures of a set."""
    for row in rows.tolist():
        yield decode(faces.index.path(row).read_bytes(), max_pixels=50_000_000)


def listed(name: str, data_root: str, runs: Path) -> FaceSet:
    """A set by its name, split as in a training."""
    root = [f"data_root={runs}", "synthetic.n=300"] if name == "synthetic" else []
    cfg = cli.compose("evaluate", [f"data={name}", f"data_root={data_root}", *root])
    return load_set(cfg.data, Path(cfg.paths.cache).expanduser(), None, one_class=True)


def validation(predictor: Predictor, faces: FaceSet) -> dict[str, np.ndarray]:
    """Features of the part that the gate was fitted on, for methods.py."""
    rows = np.flatnonzero(faces.parts == "val")
    found = told(
        predictor, map(predictor.preprocess.resize, pictures(faces, rows)), gate=None, features=True
    )
    return {"val": found.features, "val groups": np.array(faces.index["group"])[rows]}


def opened(runs: Path) -> dict[str, tuple[Predictor, dict]]:
    """By name: the network and what its metrics.json holds."""
    found = {}
    for path in sorted(runs.glob("*/train/*/*/checkpoints/best.ckpt")):
        trained = open_trained(str(path), runs, "cpu")
        metrics = json.loads((path.parents[1] / "metrics.json").read_text())
        found[path.relative_to(runs).parts[0]] = trained.predictor, metrics
    return found


def main(runs: Path, data_root: str) -> None:
    """Prints the table, and writes it as JSON beside the runs."""
    networks, rng = opened(runs), np.random.default_rng(SEED)
    asked: dict[str, tuple[Callable[[], Iterator[np.ndarray]], np.ndarray]] = {}
    sets = {name: listed(name, data_root, runs) for name in SETS}
    for name, faces in sets.items():
        rows = rng.permutation(np.flatnonzero(faces.parts == "test"))[:MOST]
        groups = np.array(faces.index["group"])[rows]
        asked[name] = lambda faces=faces, rows=rows: pictures(faces, rows), groups
        if name == "140k":
            upside = lambda faces=faces, rows=rows: (p[::-1].copy() for p in pictures(faces, rows))  # noqa: E731
            asked["140k, upside down"] = upside, groups
    for kind in KINDS:
        asked[kind] = (
            lambda kind=kind: (make(kind, (SEED, at)) for at in range(MADE)),
            np.arange(MADE),
        )
    table = {}
    for name, (predictor, metrics) in networks.items():
        table[name] = {"n": metrics["gate"]["n"], "alpha": metrics["gate"]["alpha"]}
        features = validation(predictor, sets[predictor.trained_on])
        for what, (images, groups) in asked.items():
            inputs = map(predictor.preprocess.resize, images())
            found = told(predictor, inputs, gate=predictor.gate, features=True)
            features[what] = found.features
            sure = np.mean(np.abs(predictor.calibration.scores(found.margins) - 0.5) > 0.4)
            table[name][what] = refused(found.unlikeness, groups) | {
                "images": len(groups), "sure": float(sure), "own": what == predictor.trained_on,
            }  # fmt: skip
        (runs / "features").mkdir(exist_ok=True)
        np.savez(runs / "features" / f"{name}.npz", **features)
    (runs / "gate.json").write_text(json.dumps(table, indent=2))
    for line in markdown(table, list(asked)):
        print(line)


def markdown(table: dict, asked: list[str]) -> list[str]:
    """A row for each kind of picture, a column for each network."""
    sizes = next(iter(table.values()))
    lines = [
        "| pictures | images | " + " | ".join(table) + " |",
        "| --- |" + " --- |" * (len(table) + 1),
    ]
    for what in asked:
        cells = []
        for found in table.values():
            text = shown(found[what]["share"])
            cells.append(f"*{text}*" if found[what]["own"] else text)
        lines.append(f"| {what} | {sizes[what]['images']} | " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "data")
