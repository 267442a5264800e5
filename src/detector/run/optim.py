"""Optimizers and learning-rate schedules by name."""

import math
from collections.abc import Mapping

import torch
from torch import nn

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
SCHEDULES = ("none", "cosine")


def rate_factor(step: int, *, total: int, warmup: int, cosine: bool) -> float:
    """Factor on the learning rate: linear warm-up, then constant or half a cosine to 0.

    Args:
        step: Optimizer steps done.
        total: Steps of the whole training.
        warmup: Steps of the warm-up.
        cosine: Half a cosine (Loshchilov and Hutter 2017, without restarts).
    """
    if step < warmup:
        return (step + 1) / warmup
    if not cosine:
        return 1.0
    done = min(1.0, (step - warmup) / max(1, total - warmup))
    return 0.5 * (1 + math.cos(math.pi * done))


def make_optimizer(
    network: nn.Module,
    optimizer: Mapping,
    schedule: Mapping,
    steps: float,
    epochs: int,
    *,
    fused: bool,
) -> dict:
    """Optimizer and schedule as Lightning wants them.

    Args:
        network: Its trainable parameters are optimized.
        optimizer: `name`, `lr`, `weight_decay`.
        schedule: `name`, `warmup_epochs`.
        steps: Optimizer steps of the whole training.
        epochs: Epochs of the whole training.
        fused: Update in one pass over the weights where the device can; Lightning cannot
            clip gradients in mixed precision then.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    made = OPTIMIZERS[optimizer["name"]](
        parameters,
        lr=float(optimizer["lr"]),
        weight_decay=float(optimizer["weight_decay"]),
        fused=fused and parameters[0].device.type in ("cpu", "cuda"),
        **({"momentum": 0.9} if optimizer["name"] == "sgd" else {}),
    )
    if schedule["name"] == "none" and not schedule["warmup_epochs"]:
        return {"optimizer": made}
    warmup = round(steps / epochs * schedule["warmup_epochs"])
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        made,
        lambda step: rate_factor(
            step, total=int(steps), warmup=warmup, cosine=schedule["name"] == "cosine"
        ),
    )
    return {"optimizer": made, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
