"""Which trained networks the page can use, and what was measured of each.

A run is offered when it is finished and its best weights are there. Its figures come from files
that belong to the same weights: predictions.csv of its run folder, and a scorecard that names its
checkpoint.
"""

import csv
import json
import logging
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from detector.errors import UserError
from detector.predictor import Predictor

log = logging.getLogger(__name__)

CLASSES = ["fake", "real"]
RENDERED = "synthetic"  # data.source of faces that this project draws
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


@dataclass(frozen=True, eq=False)
class Network:
    """A trained network on this machine.

    Args:
        key: Unique, without a path of this machine: `<data>-<model>/<time>`, or a file's name.
        label: For people.
        file: What `Predictor.load` opens.
        trained_on: Name of the set.
        on_photographs: False where it has seen rendered faces alone.
        size: Side of those rendered faces, pixels; 0 of photographs.
        tested: None where its test part was not measured.
        heatmaps: By method; empty without a scorecard.
    """

    key: str
    label: str
    file: Path
    trained_on: str
    on_photographs: bool
    size: int = 0
    tested: Measured | None = None
    heatmaps: Mapping[str, HeatmapFigure] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Opened:
    """A network that is ready.

    Args:
        network: What is known of it.
        predictor: Computes.
        lock: To be held while it does: explaining hooks into its layers.
    """

    network: Network
    predictor: Predictor
    lock: threading.Lock


class Networks:
    """The networks of one page, newest first, those trained on photographs before the others.

    Args:
        found: As `find_networks` gives them.
        device: Where to compute.
        most: How many stay open at once.
    """

    def __init__(self, found: list[Network], device: str, most: int) -> None:
        self.all = {network.key: network for network in found}
        self.device, self.most = device, most
        self._open: OrderedDict[str, Opened] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def first(self) -> Network | None:
        """What is used where nothing was chosen."""
        return next(iter(self.all.values()), None)

    @property
    def demonstration(self) -> bool:
        """Whether no network here has been trained on photographs."""
        return not any(network.on_photographs for network in self.all.values())

    def open(self, key: str | None) -> Opened:
        """Load a network, or take the one that is open already.

        Args:
            key: Of `all`; None takes the first.

        Raises:
            UserError: There is none of this key, or it cannot be read.
        """
        key = self.first.key if key is None and self.first else key
        if key is None or key not in self.all:
            there = ", ".join(self.all) or "none: train one with python -m detector.train"
            raise UserError(f"there is no such network; there is {there}")
        with self._lock:
            if key not in self._open:
                network = self.all[key]
                try:
                    predictor = Predictor.load(network.file, self.device)
                except UserError as error:
                    log.error("%s", error)  # its message has paths, which are not the page's
                    raise UserError(
                        f"the network {key} cannot be read: see the terminal of the server"
                    ) from None
                self._open[key] = Opened(network, predictor, threading.Lock())
            self._open.move_to_end(key)
            while len(self._open) > self.most:
                self._open.popitem(last=False)
            return self._open[key]


def find_networks(runs: Path) -> list[Network]:
    """Finished runs that tell fake from real, those on photographs first, each newest first.

    Args:
        runs: Folder of all runs.
    """
    cards = _scorecards(runs)
    found, unusable = [], 0
    for file in runs.glob("train/*/*/checkpoints/best.ckpt"):
        folder = file.parent.parent
        try:
            network = read_run(folder, cards)
        except DAMAGED as error:
            unusable += 1
            log.info("%s is left out (%s: %s)", folder, type(error).__name__, error)
            continue
        if network is not None:
            found.append((network.on_photographs, file.stat().st_mtime, network))
    if unusable:
        log.info("%d runs are left out: not finished, or damaged", unusable)
    return [network for *_, network in sorted(found, key=lambda one: one[:2], reverse=True)]


def named_network(what: Path | str) -> Network:
    """One that was named: a run, a checkpoint, released weights or an exported file.

    Raises:
        UserError: It does not tell fake from real, or cannot be read.
    """
    path = Path(what).expanduser().resolve()
    folder = path if (path / "metrics.json").is_file() else path.parent.parent
    if path in (folder, folder / "checkpoints" / "best.ckpt"):
        try:
            network = read_run(folder, _scorecards(folder.parents[2]))
        except (*DAMAGED, IndexError):
            network = None  # a checkpoint by itself
        if network is not None:
            return network
    predictor = Predictor.load(path)
    if list(predictor.class_names) != CLASSES:
        raise UserError(
            f"{what} tells {' from '.join(predictor.class_names)}: the page needs a network that"
            " tells fake from real"
        )
    label = f"{path.stem}, trained on {predictor.trained_on}, its test not known here"
    rendered = predictor.trained_on == RENDERED
    size = predictor.preprocess.size if rendered else 0
    return Network(path.stem, label, path, predictor.trained_on, not rendered, size)


def read_run(folder: Path, cards: Mapping[Path, Mapping[str, HeatmapFigure]]) -> Network | None:
    """What a finished run's files say of it.

    Args:
        folder: Of the run.
        cards: Scorecards by checkpoint, as resolved paths.

    Returns:
        None where its classes are others than fake and real.

    Raises:
        One of DAMAGED: A file is missing, or is not what a training writes.
    """
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    if metrics["class_names"] != CLASSES:
        return None
    data, model = config["data"], config["model"]
    rendered = is_rendered(data)
    file = (folder / "checkpoints" / "best.ckpt").resolve()
    auroc = metrics.get("test", {}).get("auroc", {}).get("value")
    measured = "its test part not measured" if auroc is None else f"test AUROC {auroc:.3f}"
    when = re.sub(r"_(\d\d)-(\d\d)-.*", r" \1:\2", folder.name)
    drawn = ", rendered faces only" if rendered else ""
    return Network(
        key=f"{folder.parent.name}/{folder.name}",
        label=f"{model['name']} on {data['name']}{drawn} · {measured} · {when}",
        file=file,
        trained_on=str(data["name"]),
        on_photographs=not rendered,
        size=int(data["synthetic"]["size"]) if data["source"] == RENDERED else 224 * rendered,
        tested=read_tested(folder),
        heatmaps=cards.get(file, {}),
    )


def is_rendered(data: Mapping) -> bool:
    """Whether a `data` config holds no photograph: rendered faces, or several sets of them."""
    if data["source"] != "joint":
        return data["source"] == RENDERED
    return all(str(entry).split()[0] == RENDERED for entry in data["sets"])


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


def _scorecards(runs: Path) -> dict[Path, dict[str, HeatmapFigure]]:
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
