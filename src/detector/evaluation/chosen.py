"""The set that a trained network meets: which one, its split, what the network knows of it."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from omegaconf import DictConfig, OmegaConf

from detector import cli
from detector.data.crop import FaceCrop
from detector.data.index import Index
from detector.data.load import FaceSet, load_set
from detector.errors import UserError
from detector.evaluation.memory import Seen, look_back
from detector.evaluation.trained import Trained
from detector.predictor import Predictor
from detector.rules import flat


@dataclass
class Chosen:
    """A set, as a network meets it.

    Args:
        data: Its settings.
        faces: Its index and today's split.
        known: What the network knows of it.
    """

    data: DictConfig
    faces: FaceSet
    known: Seen

    @property
    def parts(self) -> np.ndarray:
        """str (N): of its own set, the split that its run wrote down, as today's would mix in
        images of its training."""
        return self.known.parts if self.known.own else self.faces.parts


def choose_set(
    entry: str,
    asked: DictConfig,
    trained: Trained,
    cache: Path,
    progress: Callable[[int, int], None] | None = None,
) -> Chosen:
    """The set of `data=`, or the network's own where none is named.

    Args:
        entry: Name of the command, whose defaults tell what was asked for.
        asked: The `data` part of its config.
        trained: The network.
        cache: Folder of caches.
        progress: As for `load_set`.

    Raises:
        UserError: The set is unusable, means something else than the network tells apart, or
            none is named and the network's own is not known.
    """
    data = _settings(entry, asked, trained)
    _check_preprocessing(data, trained.predictor)
    faces = load_set(data, cache, progress, one_class=True)
    check_meaning(trained.predictor, faces.index)
    return Chosen(data, faces, look_back(trained, faces.index))


def check_meaning(predictor: Predictor, index: Index) -> None:
    """Refuses a set whose classes are not those that the network tells apart."""
    told, there = predictor.class_names, tuple(index.class_names)
    if told != there:
        raise UserError(
            f"the network tells {' and '.join(told)} apart, {index.name} has {' and '.join(there)}:"
            f" choose another data=, or name its classes with data.classes={{{told[0]}:[..],..}}"
        )


def _settings(entry: str, asked: DictConfig, trained: Trained) -> DictConfig:
    """Those of data=, or the network's own with what was overridden."""
    if "name" in asked:
        return asked
    if trained.data is None:
        raise UserError(
            f"{trained.checkpoint} lies in no run folder, so the set that it was trained on is not"
            " known: choose one with data="
        )
    usual = flat(cli.compose(entry, []).data)
    own = trained.data.copy()
    for key, value in flat(asked).items():
        if usual.get(key) != value:
            OmegaConf.update(own, key, value, force_add=True)
    return own


def _check_preprocessing(data: DictConfig, predictor: Predictor) -> None:
    asked, own = data.get("normalize"), predictor.preprocess.normalizer
    if asked is not None and (own is None or dict(asked) != asdict(own)):
        learnt = "without one" if own is None else f"with {asdict(own)}"
        raise UserError(
            f"data.normalize: the network was trained {learnt} and sees every file that way;"
            " leave it out"
        )
    crop, own = FaceCrop.of_config(data), predictor.preprocess.crop
    if crop is not None and crop != own:
        learnt = "on whole pictures" if own is None else f"with {own.to_dict()}"
        raise UserError(
            f"data.crop: the network was trained {learnt} and sees every file that way; leave it"
            " out"
        )
