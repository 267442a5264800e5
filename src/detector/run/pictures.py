"""What TensorBoard shows beside the curves: a sheet of samples, confusion matrices."""

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback

from detector.data.datamodule import FaceData
from detector.run.figures import confusion_figure, grid_figure


def tensorboard(trainer: L.Trainer):
    """The SummaryWriter of a trainer, or None; of several processes the first has it."""
    if not trainer.is_global_zero:
        return None
    for logger in trainer.loggers:
        if hasattr(logger.experiment, "add_figure"):
            return logger.experiment
    return None


class Pictures(Callback):
    """Training images as the network gets them, and each epoch's confusion matrix.

    Args:
        class_names: Names of labels 0 and 1.
        threshold: p_fake from which a picture is called fake.
        samples: Images in the sheet.
    """

    def __init__(self, class_names: tuple[str, str], threshold: float, samples: int = 16) -> None:
        self.class_names, self.threshold, self.samples = class_names, threshold, samples
        self._shown = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._shown = False

    def on_train_batch_end(self, trainer: L.Trainer, *_: object) -> None:
        if not self._shown:  # not before the first step: a second that one would wait for it
            self._shown = True
            self._show(trainer)

    def _show(self, trainer: L.Trainer) -> None:
        writer, data = tensorboard(trainer), trainer.datamodule
        if writer is None or not isinstance(data, FaceData):
            return
        faces, rows = data.faces(training=True), data.rows["train"]
        rows = np.random.default_rng(0).permutation(rows)[: self.samples]
        drawn = [faces[trainer.current_epoch, int(row)] for row in rows]
        images = np.stack([image.permute(1, 2, 0).numpy() for image, *_ in drawn])
        labels = np.array([label for _, label, *_ in drawn])
        figure = grid_figure(images, labels, None, self.class_names, self.samples)
        writer.add_figure("train/samples", figure, trainer.global_step, close=False)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        writer = tensorboard(trainer)
        if writer is None or trainer.sanity_checking or not pl_module.validated:
            return
        _, labels, p_fake, *_ = (torch.cat(one) for one in zip(*pl_module.validated, strict=True))
        called = (p_fake < self.threshold).long()
        counts = np.zeros((2, 2), int)
        np.add.at(counts, (labels.numpy(), called.numpy()), 1)
        figure = confusion_figure(counts, self.class_names)
        writer.add_figure("val/confusion", figure, trainer.global_step, close=False)
