"""Which trained networks the page can use, and what was measured of each.

A run is offered when it is finished and its best weights are there. Its figures come from files
that belong to the same weights: predictions.csv of its run folder, and a scorecard that names its
checkpoint.
"""

import json
import logging
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from detector.data.synthetic.make import ABOUT
from detector.errors import UserError
from detector.page.measured import (
    DAMAGED,
    HeatmapFigure,
    Measured,
    read_scorecards,
    read_tested,
)
from detector.predictor import Predictor

log = logging.getLogger(__name__)

CLASSES = ["fake", "real"]
RENDERED = "synthetic"  # data.source of faces that this project draws
BLENDED = "blended"
UNTOLD = {RENDERED, BLENDED, "joint"}  # names of sets that do not say that they are photographs


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
    cards = read_scorecards(runs)
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
            network = read_run(folder, read_scorecards(folder.parents[2]))
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
    rendered = predictor.trained_on in UNTOLD
    if rendered and predictor.trained_on != RENDERED:
        log.warning(
            "%s does not say whether its set (%s) has photographs, so that none gets a verdict:"
            " name its run folder instead", path, predictor.trained_on,
        )  # fmt: skip
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
    """Whether a `data` config holds no photograph: rendered faces, or several sets of them.

    Blends are what they were made of; where that cannot be read, they are no photographs.
    """
    if data["source"] == "joint":
        return all(_is_rendered_member(str(entry).split()) for entry in data["sets"])
    return _is_rendered_set(data["source"], data.get("root"))


def _is_rendered_member(entry: list[str]) -> bool:
    settings = dict(word.partition("=")[::2] for word in entry[1:])
    return _is_rendered_set(settings.get("data.source", entry[0]), settings.get("data.root"))


def _is_rendered_set(source: str, root: object) -> bool:
    if source != BLENDED:
        return source == RENDERED
    try:
        about = json.loads((Path(str(root)).expanduser() / ABOUT).read_text(encoding="utf-8"))
        return about["of"] in UNTOLD
    except (OSError, ValueError, KeyError, TypeError):
        return True
