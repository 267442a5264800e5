"""What do embeddings save when only the head is trained?

    DETECTOR_DATA=... python benchmarks/frozen_backbone.py data=ciplab

`model=lite0 model.freeze=backbone` twice, in one run: once with every picture passed through the
backbone in every epoch (`embeddings.views=0`), once on embeddings that the backbone made first.
The same epochs, seed and split; further arguments are settings of `detector.train`. The set is
indexed and decoded before, for both; embeddings are made anew.
"""

import sys
import tempfile
import time

import lightning as L
import torch

from detector import cli
from detector.run.session import Session

EPOCHS = 12
ALIKE = [
    "model=lite0", "model.freeze=backbone", "augment=light", f"trainer.max_epochs={EPOCHS}",
    "heatmaps.every=0", "progress=none",
]  # fmt: skip


class Clock(L.Callback):
    """Seconds of each epoch's training, and of the whole epoch with its validation."""

    def __init__(self) -> None:
        self.training, self.whole, self.begun = [], [], 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.begun = time.perf_counter()

    def on_validation_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.training.append(time.perf_counter() - self.begun)

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.whole.append(time.perf_counter() - self.begun)


def one(arguments: list[str]) -> tuple[Clock, float, dict]:
    """A training's clock, its seconds from the set to the measured network, what it measured."""
    clock, begun = Clock(), time.perf_counter()
    session = Session(cli.compose("train", arguments))
    session.trainer.callbacks.append(clock)
    session.fit()
    found = session.finish()
    return clock, time.perf_counter() - begun, found


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        ways = {"through the backbone": 0, "embeddings, 4 views": 4}
        common = [*ALIKE, *sys.argv[1:], f"paths.runs={folder}/runs", f"paths.cache={folder}/cache"]
        one([*common, "embeddings.views=0", "trainer.limit_train_batches=2"])  # index, pixels
        found = {way: one([*common, f"embeddings.views={views}"]) for way, views in ways.items()}
    print("\n| way | training, s an epoch | with validation | in all, s | AUROC | accuracy |")
    print("| --- | --- | --- | --- | --- | --- |")
    middle = {}
    for way, (clock, wall, measured) in found.items():
        # The first epoch warms up; it is the slowest of both ways.
        times = [
            sorted(column[1:])[len(column[1:]) // 2] for column in (clock.training, clock.whole)
        ]
        middle[way] = times
        cells = [
            "{value:.3f} [{low:.3f}, {high:.3f}]".format(**measured["test"][key])
            for key in ("auroc", "accuracy")
        ]
        print(f"| {way} | {times[0]:.2f} | {times[1]:.2f} | {wall:.0f} | {' | '.join(cells)} |")
    slow, fast = middle.values()
    print(f"\ntimes as fast an epoch: training {slow[0] / fast[0]:.0f}, with validation", end=" ")
    print(f"{slow[1] / fast[1]:.0f} (torch {torch.__version__}, {torch.get_num_threads()} threads)")


if __name__ == "__main__":
    main()
