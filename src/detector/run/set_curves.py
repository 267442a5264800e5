"""Curves of each of several sets: validation AUROC and accuracy, epoch by epoch."""

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback

from detector.data.joint import JointIndex
from detector.evaluation.ranking import weighted_auroc
from detector.evaluation.scores import FAKE


class SetCurves(Callback):
    """Logs `val/<set>/auroc` and `val/<set>/accuracy`, from scores that validation has anyway.

    They are in TensorBoard and in metrics.csv. A set without both classes in validation, such as
    one that is left out, has none.

    Args:
        index: Several sets put together.
    """

    def __init__(self, index: JointIndex) -> None:
        self.names, self.member = [one.name for one in index.members], index.member

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.sanity_checking or not pl_module.validated:
            return
        parts = zip(*pl_module.validated, strict=True)
        rows, labels, p_fake, *_ = (torch.cat(part).double().numpy() for part in parts)
        for at, name in enumerate(self.names):
            here = self.member[rows.astype(np.int64)] == at
            p, y = p_fake[here], labels[here]
            if len(set(y.tolist())) == 2 and np.isfinite(p).all():
                ranked = weighted_auroc(p[:, None], y)(np.ones((1, len(y))))
                self.log(f"val/{name}/auroc", float(ranked[0, 0]))
                self.log(f"val/{name}/accuracy", float(((p >= 0.5) == (y == FAKE)).mean()))
