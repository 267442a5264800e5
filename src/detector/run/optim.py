"""Optimizers and learning-rate schedules by name; which weights learn at which rate."""

import math
from collections.abc import Mapping

import torch
from timm.optim import param_groups_layer_decay, param_groups_weight_decay
from torch import nn

from detector.errors import UserError
from detector.models.head import head_names, in_head

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


def parameter_groups(network: nn.Module, optimizer: Mapping) -> list[dict]:
    """Trainable parameters by learning rate and weight decay.

    - The head learns at `head_lr`, where that is given, all else at `lr`.
    - `layer_decay` d (BEiT, Bao et al., ICLR 2022): a layer k below the head learns at
      lr * d ** k. Layers are timm's own (`group_matcher`), convolutions in the small networks.
    - Weight decay, where there is any, spares what has one axis (biases, norms) and what a timm
      network names in `no_weight_decay()`, such as the embedding of positions.

    Args:
        network: Its parameters that require a gradient are dealt into groups.
        optimizer: `lr`, `head_lr` (or None), `layer_decay`, `weight_decay`.

    Returns:
        `params`, `lr` and `weight_decay` of each; a single group where nothing of it is used.

    Raises:
        UserError: No head, or no layers, are known for this network.
    """
    lr, head_lr = float(optimizer["lr"]), optimizer["head_lr"]
    options = {
        "weight_decay": float(optimizer["weight_decay"]),
        "no_weight_decay_list": getattr(network, "no_weight_decay", set)(),
    }
    layered = optimizer["layer_decay"] != 1
    heads = head_names(network) if layered or head_lr is not None else ()
    head = {id(w) for name, w in network.named_parameters() if in_head(name, heads)}
    if not layered:
        groups = param_groups_weight_decay(network, **options)
    else:
        decay = float(optimizer["layer_decay"])
        groups = param_groups_layer_decay(network, layer_decay=decay, **options)
        below = [group for group in groups if any(id(w) not in head for w in group["params"])]
        if below and all(group["lr_scale"] == 1 for group in below):
            raise UserError(
                f"optimizer.layer_decay={decay:g}: the layers of {type(network).__name__} are not"
                " known; leave it at 1.0"
            )
    apart = set() if head_lr is None else head
    dealt = []
    for group in groups:
        parts = (
            (lr * group.get("lr_scale", 1), [w for w in group["params"] if id(w) not in apart]),
            (head_lr, [w for w in group["params"] if id(w) in apart]),
        )
        dealt += [
            {"params": weights, "lr": float(rate), "weight_decay": group["weight_decay"]}
            for rate, weights in parts
            if weights
        ]
    return dealt


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
        network: Its trainable parameters are optimized. One that gets no gradient for a while,
            being frozen, keeps still and has no state until it gets one.
        optimizer: `name`, and what `parameter_groups` takes.
        schedule: `name`, `warmup_epochs`.
        steps: Optimizer steps of the whole training.
        epochs: Epochs of the whole training.
        fused: Update in one pass over the weights where the device can; Lightning cannot
            clip gradients in mixed precision then.
    """
    made = OPTIMIZERS[optimizer["name"]](
        parameter_groups(network, optimizer),
        lr=float(optimizer["lr"]),
        fused=fused and next(network.parameters()).device.type in ("cpu", "cuda"),
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
