"""Large pages for the memory of a training on the CPU, once the first steps have taken it."""

import lightning as L
from lightning.pytorch.callbacks import Callback

from detector.run.heap import ask_for_huge_pages

STEPS = (4, 40)  # of this process; validation's memory comes after the first


class HugePages(Callback):
    """Asks for them when the heap has its size."""

    def __init__(self) -> None:
        self.steps = 0

    def on_train_batch_end(self, trainer: L.Trainer, *_: object) -> None:
        self.steps += 1
        if self.steps in STEPS:
            ask_for_huge_pages()
