"""best.ckpt and last.ckpt.

Lightning's ModelCheckpoint writes in place and forgets the best score when the run
folder was moved. Here a file is replaced in one step, so that a kill at any moment
leaves a whole one, and the best score travels inside last.ckpt. Lightning also makes
the file in memory first, which for cnn2 is half a gigabyte more than its training takes.
"""

import logging
import math
import sys
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from detector.errors import UserError
from detector.evaluation.calibration import Calibration
from detector.evaluation.gate import Gate
from detector.predictor import read_checkpoint
from detector.replacing import replacing

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
        path, last = self.folder / name, self.folder / "last.ckpt"
        try:
            trainer.save_checkpoint(path, weights_only=weights_only)
        except OSError as error:
            again = f"go on with ckpt_path={last}" if last.exists() else "start again"
            raise UserError(
                f"{path} cannot be written ({error.strerror or error}): make room, then {again}"
            ) from error


class StreamedIO(TorchCheckpointIO):
    """Lightning's way to files, but that what is saved goes there at once, not by memory."""

    def save_checkpoint(
        self, checkpoint: dict, path: str | Path, storage_options: object = None
    ) -> None:
        """Replaces a file of this machine, see `write_checkpoint`.

        Raises:
            OSError: It cannot be written.
            TypeError: There are storage options, which are for other places.
        """
        if storage_options is not None:
            raise TypeError("no storage_options: what is saved goes to a file")
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_checkpoint(checkpoint, Path(path))


def write_checkpoint(checkpoint: dict, path: Path) -> None:
    """`torch.save` that replaces a file in one step, once all of it is written.

    Args:
        checkpoint: What `torch.save` takes.
        path: In a folder that exists; what was there stays where something fails.

    Raises:
        OSError: It cannot be written.
    """
    handled = sys.exception()
    try:
        # One process saves, and what it leaves when it is killed is half a gigabyte of cnn2.
        with replacing(path, alone=True) as temporary, open(temporary, "wb") as file:
            torch.save(checkpoint, file)
    except BaseException as error:
        cause = _cause(error, handled)
        if cause is error:
            raise
        raise cause from None


def _cause(error: BaseException, handled: BaseException | None) -> BaseException:
    """What it was: PyTorch, closing its archive, complains of the place where writing ended.

    Of all that was raised while another was handled, since `handled` was: an interruption, or else
    what the system said, or else the last.
    """
    chain: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at is not handled and at not in chain:
        chain.append(at)
        at = at.__cause__ or at.__context__
    interruptions = (one for one in chain if not isinstance(one, Exception))
    told = (one for one in chain if isinstance(one, OSError))
    return next(interruptions, None) or next(told, error)


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
    try:
        write_checkpoint(checkpoint, path)
    except OSError as error:
        told = error.strerror or error
        raise UserError(f"{path} cannot be written ({told}); it is as it was") from error
