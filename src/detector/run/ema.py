"""Averages of the weights over the steps of a training."""

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from timm.utils import ModelEmaV3
from torch import Tensor, nn


class AveragedWeights(Callback):
    """Measures and keeps an exponential moving average of the weights, not the weights.

    After each step of the optimizer, average = decay * average + (1 - decay) * weights, from the
    first weights on; about the last 1 / (1 - decay) steps count. Running statistics are averaged
    too; whole numbers, such as a count of batches, are copied.

    The network holds its own weights while it trains, and the average from validation to the end
    of the epoch: curves, heatmaps, selection, best.ckpt and the state_dict of last.ckpt are the
    average's. The weights to train on travel in last.ckpt as this callback's state. Other
    callbacks have to come after it.

    Lightning's own WeightAveraging does not serve: the checkpoints here hold the network's
    weights under the network's names, which it cannot read back.

    Args:
        decay: Between 0 and 1.
    """

    def __init__(self, decay: float) -> None:
        self.decay, self._step = decay, 0
        self._network: nn.Module | None = None
        self._other: ModelEmaV3 | None = None  # what the network does not hold just now
        self._holds_average = True
        self._resumed: dict[str, Tensor] | None = None

    def state_dict(self) -> dict[str, Any]:
        if self._other is None:
            return {}
        return {"weights": self._held(average=False).state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._resumed = state_dict.get("weights")

    def on_save_checkpoint(
        self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self._other is not None:  # within an epoch, as SLURM's signals have it
            checkpoint["state_dict"] = self._held(average=True).state_dict()

    # Not earlier: here the network is on its device, and holds what a checkpoint held.
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._network = pl_module.network
        self._other, self._holds_average = ModelEmaV3(self._network, self.decay), True
        if self._resumed is not None:
            self._other.module.load_state_dict(self._resumed)
            self._resumed = None
        self._step = trainer.global_step

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._hold(average=False)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, *rest: Any
    ) -> None:
        if trainer.global_step > self._step:  # gradients are summed over several batches else
            self._other.update(self._network)
            self._step = trainer.global_step

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._other is not None:
            self._hold(average=True)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._hold(average=True)

    def _held(self, *, average: bool) -> nn.Module:
        return self._network if average == self._holds_average else self._other.module

    @torch.no_grad()
    def _hold(self, *, average: bool) -> None:
        if average == self._holds_average:
            return
        ours, theirs = self._network.state_dict(), self._other.module.state_dict()
        kept = {name: value.clone() for name, value in ours.items()}  # two names may share one
        for name in kept:
            ours[name].copy_(theirs[name])
        for name, value in kept.items():
            theirs[name].copy_(value)
        self._holds_average = average
