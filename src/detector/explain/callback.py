"""Watching attention settle: heatmaps of the same few validation images during a training."""

import logging
import time
from pathlib import Path

import cv2
import lightning as L
import numpy as np
from lightning.pytorch.callbacks import Callback

from detector.data.datamodule import FaceData
from detector.data.preprocess import Preprocess
from detector.errors import UserError
from detector.evaluation.calibration import probabilities
from detector.explain.cam import Explainer
from detector.explain.sheet import sheet_figure
from detector.run.pictures import tensorboard

log = logging.getLogger(__name__)

FOLDER = "heatmaps"
EXPLAINED = 0  # fake: what spoke for it, in real images too
# What may go wrong with files, networks or memory: no reason to lose a training.
FAILS = (UserError, OSError, ImportError, RuntimeError, ValueError, MemoryError, cv2.error)


class Heatmaps(Callback):
    """Draws the same images before the first epoch, after every n-th, and after the last.

    PNGs go to `heatmaps/` in the run, and to TensorBoard. Weights, gradients, modes and random
    numbers of the training stay as they are. Where a sheet cannot be drawn, that is logged, there
    are no more, and the training goes on. `average.write_average` makes the mean heatmaps.

    Args:
        folder: Of the run.
        preprocess: The network's.
        class_names: Names of labels 0 and 1.
        every: Epochs between two sheets; 0 draws none.
        images: Images of each class.
        method: As `Explainer` takes it.
    """

    def __init__(
        self,
        folder: Path,
        preprocess: Preprocess,
        class_names: tuple[str, str],
        *,
        every: int,
        images: int,
        method: str,
    ) -> None:
        self.folder, self.preprocess, self.class_names = folder / FOLDER, preprocess, class_names
        self.every, self.images, self.method = every, images, method
        self.spent, self.started, self.sheets, self.epochs = 0.0, 0.0, 0, 0
        self._explainer: Explainer | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.started = time.monotonic()
        if self.every and trainer.current_epoch == 0:
            self._try_to_draw(trainer, pl_module, 0)

    # The hook after validation, where weights are those that were measured.
    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        last = epoch == trainer.max_epochs or trainer.should_stop
        self.epochs += 1
        if self.every and (epoch % self.every == 0 or last):
            self._try_to_draw(trainer, pl_module, epoch)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        whole = time.monotonic() - self.started
        if self.sheets and self.epochs and whole > 0:
            log.info(
                "heatmaps: %d sheets of %.2f s, %.1f %% of the training; an epoch took %.1f s",
                self.sheets, self.spent / self.sheets, 100 * self.spent / whole,
                (whole - self.spent) / self.epochs,
            )  # fmt: skip

    def _try_to_draw(self, trainer: L.Trainer, pl_module: L.LightningModule, epoch: int) -> None:
        if not trainer.is_global_zero:  # of several processes, which hold the same weights
            return
        begun = time.monotonic()
        try:
            self._draw(trainer, pl_module, epoch)
        except FAILS as error:
            self.every = 0
            log.warning("no more heatmaps, the training goes on: %s", in_one_line(error))
        self.spent += time.monotonic() - begun

    def _draw(self, trainer: L.Trainer, pl_module: L.LightningModule, epoch: int) -> None:
        data = trainer.datamodule
        if not isinstance(data, FaceData):
            return
        rows = chosen_rows(data.rows["val"], data.labels, self.images)
        images = np.stack([np.asarray(data.pixels[int(row)]) for row in rows])
        if self._explainer is None:
            self._explainer = Explainer(pl_module.network, self.method)
        normalized = self.preprocess.normalize(images)
        maps = self._explainer.maps(normalized, EXPLAINED)
        logits = self._explainer.logits(normalized).astype(np.float64)
        scores = probabilities(logits[:, 0] - logits[:, 1])  # before any calibration
        figure = sheet_figure(
            images, maps, data.labels[rows], scores, self.class_names,
            title=f"epoch {epoch}, evidence for {self.class_names[EXPLAINED]}",
        )  # fmt: skip
        self.folder.mkdir(exist_ok=True)
        figure.savefig(self.folder / f"epoch-{epoch:03d}.png")
        if (writer := tensorboard(trainer)) is not None:
            writer.add_figure("val/heatmaps", figure, trainer.global_step, close=False)
        self.sheets += 1


def chosen_rows(rows: np.ndarray, labels: np.ndarray, each: int) -> np.ndarray:
    """The first images of each class in an order that depends on nothing but their number."""
    order = np.random.default_rng(0).permutation(rows)
    return np.concatenate([order[labels[order] == label][:each] for label in (0, 1)])


def in_one_line(error: Exception) -> str:
    """The first line of what an error says, or its kind."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
