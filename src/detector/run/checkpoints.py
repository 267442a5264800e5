"""best.ckpt and last.ckpt.

Lightning's ModelCheckpoint writes in place and forgets the best score when the run
folder was moved. Here a file is replaced in one step, so that a kill at any moment
leaves a whole one, and the best score travels inside last.ckpt.
"""

import logging
import math
import os
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Checkpoint

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
        temporary = self.folder / f".{name}.tmp"
        trainer.save_checkpoint(temporary, weights_only=weights_only)
        if trainer.is_global_zero:
            os.replace(temporary, self.folder / name)


def write_calibration(path: Path, calibration: Calibration, gate: Gate | None = None) -> None:
    """Put a calibration and a gate into the card of a checkpoint, in one step.

    Args:
        path: A best.ckpt; a calibration and a gate that it has are replaced.
        calibration: Fitted with the weights in this file.
        gate: Likewise; None for none.

    Raises:
        UserError: It is no checkpoint of this project.
    """
    checkpoint = read_checkpoint(path)
    checkpoint["detector"]["calibration"] = calibration.to_dict()
    checkpoint["detector"].pop("gate", None)
    if gate is not None:
        checkpoint["detector"]["gate"] = gate.to_dict()
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        torch.save(checkpoint, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
