"""The curve of a part head, epoch by epoch."""

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback

from detector.evaluation.face_parts import mean_auroc


class PartCurves(Callback):
    """Logs `val/parts_auroc`: among the fakes of validation, the mean of AUROC over the parts.

    Reals are left out: a head that merely repeats fake or real for each part would score well
    among them. Where no part has both edited and other fakes, there is no curve.

    Args:
        bits: int8 (N, P), as `part_bits` gives them.
    """

    def __init__(self, bits: np.ndarray) -> None:
        self.bits = bits

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.sanity_checking or not pl_module.validated:
            return
        columns = zip(*pl_module.validated, strict=True)
        rows, labels, _, p_parts = (torch.cat(column).numpy() for column in columns)
        fakes = labels == 0
        found = mean_auroc(p_parts[fakes].astype(np.float64), self.bits[rows[fakes]])
        if found is not None:
            self.log("val/parts_auroc", found)
