"""How a training shows that it moves: a rich bar for a person, lines for a log."""

import logging
import sys
import time
from collections.abc import Callable

import lightning as L
from lightning.pytorch.callbacks import Callback, RichProgressBar
from rich.console import Console
from rich.progress import Progress

from detector.errors import UserError

log = logging.getLogger(__name__)

KINDS = ("auto", "rich", "lines", "none")


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
    if kind not in KINDS:
        raise UserError(f"progress={kind}: choose one of {', '.join(KINDS)}")
    if kind == "auto":
        kind = "rich" if sys.stdout.isatty() else "lines"
    callbacks = {"rich": [Bar(leave=True)], "lines": [EpochLines()], "none": []}
    return kind, callbacks[kind]


def bar(kind: str, what: str) -> Callable[[int, int], None] | None:
    """A function of (done, total) that moves a rich bar, or None where none is wanted."""
    if kind != "rich":
        return None
    shown = Progress(console=Console())
    task = shown.add_task(what)

    def move(done: int, total: int) -> None:
        if not shown.live.is_started:
            shown.start()
        shown.update(task, completed=done, total=total)
        if done == total:
            shown.stop()

    return move
