"""What was measured of a network: files that belong to the same weights."""

import csv
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

log = logging.getLogger(__name__)

DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError, csv.Error)


@dataclass(frozen=True, eq=False)
class Measured:
    """What a network said of the test part of its own set.

    Args:
        p_fake: float64 (N), calibrated, in [0, 1].
        fake: bool (N).
        groups: (N,) group of each image; copies and edits of one photograph share it.
    """

    p_fake: np.ndarray
    fake: np.ndarray
    groups: np.ndarray


@dataclass(frozen=True)
class HeatmapFigure:
    """What a scorecard says of one method's maps: how much lies where pictures were edited.

    Args:
        method: Of the maps.
        set: On whose pictures.
        n: How many of them have a known edit.
        value, low, high: Times as much as of the strongest control, with its 95 % interval;
            None where no picture has a known edit.
        holds: Whether it is above 1 after correction.
    """

    method: str
    set: str
    n: int
    value: float | None
    low: float | None
    high: float | None
    holds: bool


def read_tested(folder: Path) -> Measured | None:
    """The test part of a run's predictions.csv; None where there is none.

    Raises:
        One of DAMAGED: A file is missing or damaged.
    """
    with open(folder / "predictions.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    if not rows:
        return None
    with open(folder / "split.csv", newline="", encoding="utf-8") as file:
        group = {row["path"]: row["group"] for row in csv.DictReader(file)}
    p_fake = np.array([float(row["p_fake"]) for row in rows])
    if not ((p_fake >= 0) & (p_fake <= 1)).all():
        raise ValueError("scores outside 0 to 1")
    return Measured(
        p_fake,
        np.array([int(row["label"]) == 0 for row in rows]),
        np.array([group[row["path"]] for row in rows]),
    )


def read_scorecards(runs: Path) -> dict[Path, dict[str, HeatmapFigure]]:
    """By resolved checkpoint and method, the newest figure of each."""
    found: dict[Path, dict[str, HeatmapFigure]] = {}
    files = runs.glob("gradcam/*/*/scorecard.json")
    for file in sorted(files, key=lambda path: path.stat().st_mtime):
        try:
            card = json.loads(file.read_text(encoding="utf-8"))
            if card["options"]["untrained"] or card["explained"] != "fake":
                continue
            figures = {method: _figure(card, method) for method in card["options"]["methods"]}
            found.setdefault(Path(card["checkpoint"]).resolve(), {}).update(figures)
        except DAMAGED as error:
            log.info("%s is left out (%s: %s)", file, type(error).__name__, error)
    return found


def _figure(card: Mapping, method: str) -> HeatmapFigure:
    for kind in ("pixels", "parts"):
        section = card["masks"][kind]
        if section["n"] and (measured := section["methods"].get(method)):
            lift = measured["lift"]
            ends = lift["value"], lift["low"], lift["high"]
            return HeatmapFigure(method, card["set"], section["n"], *ends, bool(lift["holds"]))
    return HeatmapFigure(method, card["set"], 0, None, None, None, False)
