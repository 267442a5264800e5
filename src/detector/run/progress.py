"""How a training shows that it moves: a rich bar for a person, lines for a log."""

import logging
import time

import lightning as L
from lightning.pytorch.callbacks import Callback, RichProgressBar

from detector.run.bars import bar, choose_kind

__all__ = ["Bar", "EpochLines", "bar", "choose_progress"]

log = logging.getLogger(__name__)


class Bar(RichProgressBar):
    """Lightning's bar without its version number, with the numbers that matter here."""

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict:
        shown = super().get_metrics(trainer, pl_module)
        names = {"train/accuracy": "train", "val/accuracy": "val", "val/loss": "val loss"}
        return {short: shown[name] for name, short in names.items() if name in shown}


class EpochLines(Callback):
    """One line an epoch."""

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.started = time.monotonic()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        seen = trainer.callback_metrics
        log.info(
            "epoch %d/%d  loss %.3f train %.3f val  accuracy %.3f train %.3f val"
            "  auroc %.3f val  %.0f s",
            trainer.current_epoch + 1,
            trainer.max_epochs,
            *(
                float(seen[key])
                for key in ("train/loss", "val/loss", "train/accuracy", "val/accuracy", "val/auroc")
            ),
            time.monotonic() - self.started,
        )


def choose_progress(kind: str) -> tuple[str, list[Callback]]:
    """Callbacks for a kind of progress; `auto` is `rich` on a terminal and `lines` elsewhere.

    Raises:
        UserError: There is no such kind.
    """
    kind = choose_kind(kind)
    callbacks = {"rich": [Bar(leave=True)], "lines": [EpochLines()], "none": []}
    return kind, callbacks[kind]
