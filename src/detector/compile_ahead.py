"""Compiles the loops of a training ahead: `python -m detector.compile_ahead`.

`make setup` does so at its end. Else the first training waits for it, some seconds.
"""

import numpy as np
import torch
from torch import nn

from detector.compiled import available
from detector.data.transforms import InALoop
from detector.models.dropout import Dropout
from detector.models.fused import SEVERAL, FusedSequential
from detector.models.scaling import scaled
from detector.run.hardware import choose_hardware

SIZE = 8  # pixels; a loop is compiled for types, not for sizes


def compile_ahead() -> None:
    """Runs each loop once, with the numbers that a training on this machine has."""
    if not available():
        return
    pictures = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    InALoop([[]], SIZE).change(pictures, np.zeros(1, np.int64), 0, 1, pictures.copy())
    chosen = choose_hardware("auto", "auto")
    if chosen.accelerator != "cpu":  # all that follows is for processors
        return
    dtype = torch.bfloat16 if chosen.precision == "bf16-mixed" else torch.float32
    images = torch.zeros(SEVERAL, 3, SIZE, SIZE, dtype=torch.uint8)
    images = images.contiguous(memory_format=torch.channels_last)
    one = torch.ones(1, 3, 1, 1)
    values = scaled(images, one, one, torch.channels_last, dtype).requires_grad_()
    pool = (nn.MaxPool2d(2), nn.ReLU())
    for layers in ((nn.BatchNorm2d(3), *pool, nn.Dropout2d(0.1)), (*pool, Dropout(0.25))):
        fused = FusedSequential(*layers).train()
        fused(values).sum().backward()
        fused.eval()
        with torch.no_grad():
            for precision in {dtype, torch.float32}:  # the end of a training measures in float32
                fused(values.to(precision))


if __name__ == "__main__":
    compile_ahead()
