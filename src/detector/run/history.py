"""One row of numbers per epoch: the CSV log, kept in the checkpoint as well."""

import csv
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn
from torch.utils.tensorboard import SummaryWriter

from detector.run import folder

# Order of the CSV's columns; any further metric that the module logs follows, by name.
COLUMNS = (
    "epoch", "step", "lr", "fit/loss", "train/loss", "val/loss", "gap/loss",
    "train/accuracy", "val/accuracy", "gap/accuracy", "train/auroc", "val/auroc",
)  # fmt: skip

# TensorBoard gives each run one colour, so the two curves of a chart are two runs below this
# one, `train` and `val`, with the same tags.
CURVES = ("accuracy", "loss")

# TensorBoard reads the tags as regular expressions anchored on the left only.
LAYOUT = {
    "overfitting": {
        "accuracy: train and validation": ["Multiline", ["curve/accuracy$"]],
        "loss: train and validation": ["Multiline", ["curve/loss$"]],
        "gap in accuracy (train - validation)": ["Multiline", ["gap/accuracy$"]],
        "gap in loss (validation - train)": ["Multiline", ["gap/loss$"]],
        "learning rate": ["Multiline", ["lr$"]],
    }
}


class History(Callback):
    """Collects what was logged in each epoch and keeps `metrics.csv` up to date.

    The rows travel in the checkpoint, so that a resumed run has all of them, and an
    epoch that is repeated after a kill replaces its row. On train start TensorBoard
    gets the layout that draws train and validation into one chart each.

    What the module logs as `fit/*` belongs to the training loop and is complete when the
    epoch ends; everything else is taken after validation. Checkpoints therefore are best
    saved at the end of the epoch (Lightning's default with one validation per epoch):
    one saved during validation lacks that epoch's `fit/*`.

    Args:
        run_dir: Run folder; `metrics.csv` is written there by rank zero.
    """

    def __init__(self, run_dir: str | os.PathLike):
        self.path = Path(run_dir) / "metrics.csv"
        self._rows: dict[int, dict[str, float]] = {}
        self._writers: dict[str, SummaryWriter] = {}

    @property
    def rows(self) -> list[dict[str, float]]:
        """Rows by epoch: `epoch` (from 1), `step` (optimisation steps so far), the metrics."""
        return [dict(self._rows[epoch]) for epoch in sorted(self._rows)]

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._rows = {int(row["epoch"]): dict(row) for row in state_dict["rows"]}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_custom_scalars(LAYOUT)
        if self._rows:
            # Resumed, perhaps into another folder, perhaps before the last row on disk.
            write_csv(self.path, self.rows)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn is TrainerFn.FITTING and not trainer.sanity_checking:
            # Here fit/* is still the last step's (or the previous epoch's) value.
            self._record(trainer, {}, lambda name: not name.startswith("fit/"))
            self._draw(trainer, self._rows[trainer.current_epoch + 1])

    def _draw(self, trainer: Trainer, row: dict[str, float]) -> None:
        boards = [one for one in trainer.loggers if isinstance(one, TensorBoardLogger)]
        if not boards or not trainer.is_global_zero:
            return
        for part in ("train", "val"):
            if part not in self._writers:
                # What a killed run wrote beyond the epoch that is repeated now is dropped.
                self._writers[part] = SummaryWriter(
                    os.path.join(boards[0].log_dir, part), purge_step=trainer.global_step
                )
            for name in CURVES:
                if f"{part}/{name}" in row:
                    value = row[f"{part}/{name}"]
                    self._writers[part].add_scalar(f"curve/{name}", value, trainer.global_step)
            self._writers[part].flush()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Only fit/*: after an epoch without validation the rest is an earlier epoch's, and
        # when a checkpoint saved during validation is resumed, this hook sees no metrics.
        row = self._rows.get(trainer.current_epoch + 1, {})
        self._record(trainer, row, lambda name: name.startswith("fit/"))

    def _record(self, trainer: Trainer, row: dict, wanted: Callable[[str], bool]) -> None:
        metrics = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if wanted(name) and not name.endswith(("_step", "_epoch"))
        }
        epoch = trainer.current_epoch + 1
        self._rows[epoch] = {**row, "epoch": epoch, "step": trainer.global_step, **metrics}
        if trainer.is_global_zero:
            write_csv(self.path, self.rows)


def write_csv(path: Path, rows: list[dict[str, float]]) -> None:
    """Writes the rows, all or nothing: readers see the file before or after, never between.

    Args:
        path: File to write; its folder is made when missing.
        rows: One dict per epoch; what a row lacks becomes an empty cell. Nine significant
            digits, which carry a float32 exactly.
    """
    names = {name for row in rows for name in row}
    columns = [c for c in COLUMNS if c in names] + sorted(names - set(COLUMNS))
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = ([f"{row[c]:.9g}" if c in row else "" for c in columns] for row in rows)
    folder.write_csv(path, columns, cells)


def read_csv(path: str | os.PathLike) -> list[dict[str, float]]:
    """Reads what `write_csv` wrote: `epoch` and `step` as int, empty cells left out."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)]
    for row in rows:
        row.update({k: int(row[k]) for k in ("epoch", "step") if k in row})
    return rows
