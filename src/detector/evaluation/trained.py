"""A checkpoint with what its run folder knows: the data it was trained on, and which images."""

import csv
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from detector.errors import UserError
from detector.predicting.find import newest
from detector.predictor import Predictor

DAMAGED = (
    OSError, ValueError, KeyError, AttributeError, OmegaConfBaseException, YAMLError, csv.Error
)  # fmt: skip


@dataclass
class Trained:
    """A network and its origin.

    Args:
        predictor: The network, ready to answer.
        checkpoint: Its file, absolute.
        data: The `data` part of the config that it was trained with; None where the run
            folder is gone, as of weights that somebody sent.
        parts: Part of each image of that set, by path below its root.
    """

    predictor: Predictor
    checkpoint: Path
    data: DictConfig | None
    parts: dict[str, str]

    @property
    def name(self) -> str:
        """As in folder names: `<data>-<model>` of its run, else the file's own name."""
        folder = self.checkpoint.parent.parent
        return folder.parent.name if self.data is not None else self.checkpoint.stem


def open_trained(ckpt: str | None, runs: Path, device: str) -> Trained:
    """Opens a checkpoint.

    Args:
        ckpt: The file; None takes the best weights of the newest run.
        runs: Folder of all runs.
        device: Where to compute.

    Raises:
        UserError: There is none, or it is not one of ours.
    """
    path = newest(runs) if ckpt is None else Path(ckpt).expanduser()
    predictor = Predictor.load(path, device)
    path = path.resolve()
    folder = path.parent.parent
    try:
        data = OmegaConf.load(folder / "config.yaml").data
        with open(folder / "split.csv", newline="", encoding="utf-8") as file:
            parts = {line["path"]: line["split"] for line in csv.DictReader(file)}
        missing = {"name", "source", "root", "cache_gb", "max_pixels"} - set(data)
        if missing or data.name != predictor.trained_on:
            raise KeyError("name")
    except FileNotFoundError:
        data, parts = None, {}
    except DAMAGED as error:
        raise UserError(
            f"{folder} is not the run folder of {path.name} ({type(error).__name__}): move the"
            " checkpoint out of it, or restore its config.yaml and split.csv"
        ) from error
    return Trained(predictor, path, data, parts)
