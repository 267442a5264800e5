"""best.ckpt and last.ckpt.

Lightning's ModelCheckpoint writes in place and forgets the best score when the run
folder was moved. Here a file is replaced in one step, so that a kill at any moment
leaves a whole one, and the best score travels inside last.ckpt. Lightning also makes
the file in memory first, which for cnn2 is half a gigabyte more than its training takes.
"""

import logging
import math
import os
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from detector.errors import UserError
from detector.evaluation.calibration import Calibration
from detector.evaluation.gate import Gate
from detector.predictor import read_checkpoint

log = logging.getLogger(__name__)


class Checkpoints(Checkpoint):
    """Keeps the best weights by one measure, and everything needed to go on.

    `last.ckpt` exists from the first step, so even a run interrupted in its first
    epoch can be resumed.

    Args:
        folder: Where both files go.
        monitor: A validation measure, such as `val/auroc`.
        mode: `max` or `min`. Of equal epochs the one with the lower validation loss wins:
            on an easy set AUROC is 1 in the first epoch, long before training is done.
    """

    def __init__(self, folder: Path, *, monitor: str, mode: str) -> None:
        self.folder, self.monitor, self.mode = folder, monitor, mode
        self.best_rank: list[float] | None = None
        self.best_epoch: int | None = None  # counted from 1
        self.stopped = False  # early stopping ended the training

    def state_dict(self) -> dict:
        return {"rank": self.best_rank, "epoch": self.best_epoch, "stopped": self.stopped}

    def load_state_dict(self, state_dict: dict) -> None:
        self.best_rank, self.best_epoch = state_dict["rank"], state_dict["epoch"]
        self.stopped = state_dict["stopped"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.stopped:  # killed after early stopping, before the results were written
            trainer.should_stop = True
        elif trainer.strategy.broadcast(not (self.folder / "last.ckpt").exists()):
            self._save(trainer, "last.ckpt", weights_only=False)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        value = float(trainer.callback_metrics[self.monitor])
        loss = float(trainer.callback_metrics["val/loss"])
        rank = [value if self.mode == "max" else -value, -loss]
        better = all(map(math.isfinite, rank)) and (self.best_rank is None or rank > self.best_rank)
        if trainer.strategy.broadcast(better):  # several processes save together, or none
            self.best_rank, self.best_epoch = rank, trainer.current_epoch + 1
            self._save(trainer, "best.ckpt", weights_only=True)
        self.stopped = trainer.should_stop
        self._save(trainer, "last.ckpt", weights_only=False)

    def _save(self, trainer: L.Trainer, name: str, weights_only: bool) -> None:
        # Every process must call: a sharded strategy gathers the weights from all of them.
        path, temporary = self.folder / name, self.folder / f".{name}.tmp"
        try:
            trainer.save_checkpoint(temporary, weights_only=weights_only)
        except OSError as error:
            kept = "the one before it is whole" if path.exists() else "none was before it"
            raise _unwritten(path, error, kept) from error
        if trainer.is_global_zero:
            os.replace(temporary, path)


class StreamedIO(TorchCheckpointIO):
    """Lightning's way to files, but that what is saved goes there at once, not by memory."""

    def save_checkpoint(self, checkpoint: dict, path: Path, storage_options=None) -> None:
        """As Lightning's own.

        Raises:
            OSError: It cannot be written; nothing is left of it.
        """
        write_checkpoint(checkpoint, path)


def write_checkpoint(checkpoint: dict, path: Path) -> None:
    """`torch.save` to a file that did not exist.

    Raises:
        OSError: It cannot be written; nothing is left of it.
    """
    try:
        with open(path, "wb") as file:
            torch.save(checkpoint, file)
    except BaseException as error:
        Path(path).unlink(missing_ok=True)
        # PyTorch, closing its archive, tells of a wrong position where the disk was full.
        cause = error
        while cause is not None and not isinstance(cause, OSError):
            cause = cause.__cause__ or cause.__context__
        if isinstance(error, Exception) and cause is not None:
            raise cause from None
        raise


def write_calibration(path: Path, calibration: Calibration, gate: Gate | None = None) -> None:
    """Put a calibration and a gate into the card of a checkpoint, in one step.

    Args:
        path: A best.ckpt; a calibration and a gate that it has are replaced.
        calibration: Fitted with the weights in this file.
        gate: Likewise; None for none.

    Raises:
        UserError: It is no checkpoint of this project, or cannot be written.
    """
    checkpoint = read_checkpoint(path)
    checkpoint["detector"]["calibration"] = calibration.to_dict()
    checkpoint["detector"].pop("gate", None)
    if gate is not None:
        checkpoint["detector"]["gate"] = gate.to_dict()
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        write_checkpoint(checkpoint, temporary)
    except OSError as error:
        raise _unwritten(path, error, "it is as before") from error
    os.replace(temporary, path)


def _unwritten(path: Path, error: OSError, kept: str) -> UserError:
    return UserError(f"{path} cannot be written ({error.strerror or error}); {kept}")
