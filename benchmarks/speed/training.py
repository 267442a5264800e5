"""`detector.train` itself, with a clock beside it.

    python benchmarks/speed/training.py model=cnn6 data=folder data.root=FOLDER augment=light

Arguments are settings of `detector.train`. Images over the wall time of the training loop in steady
state: augmentation and logging on, the first 10 steps not counted, validation apart. Prints one
line of JSON.
"""

import json
import sys
import time

import lightning as L
import steps
import torch

from detector import cli
from detector.run.session import Session

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


def main(arguments: list[str]) -> None:
    clock = Clock()
    session = Session(cli.compose("train", [*arguments, "heatmaps.every=0", "progress=none"]))
    session.trainer.callbacks.append(clock)
    session.fit()
    found = {
        "images_per_s": clock.images / clock.seconds if clock.seconds else None,
        "validation_images_per_s": clock.validated / clock.validating,
        "images": clock.images,
        "first_step": clock.first_step,
        "precision": session.hardware.precision,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
