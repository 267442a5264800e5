"""Seconds and images of a training, told by a callback."""

import time

import lightning as L
import steps
import torch

WARM_UP = 10


def now() -> float:
    """Seconds, once the device has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


class Clock(L.Callback):
    """Seconds and images of training and of validation."""

    def __init__(self) -> None:
        self.steps = self.images = self.validated = 0
        self.seconds = self.validating = 0.0
        self.first_step = None

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.begun = now()
        steps.note(0, steps.BREAK)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        self.steps += 1
        steps.note(len(batch[1]))
        if self.steps == 1:
            now()
            self.first_step = time.time()
        if self.steps == WARM_UP:
            self.begun = now()
        elif self.steps > WARM_UP:
            self.images += len(batch[1])

    def on_validation_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        ended = now()
        self.seconds += ended - self.begun
        self.begun = ended
        steps.note(0, steps.BREAK)

    def on_validation_batch_end(self, trainer, module, outputs, batch, *_) -> None:
        self.validated += len(batch[1])
        steps.note(len(batch[1]), steps.VALIDATION)

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.validating += now() - self.begun
