"""What a network says of a picture before its last layer: its penultimate activations."""

import threading

import torch
from torch import Tensor, nn

from detector.errors import UserError
from detector.models.head import head_names

_LINEAR = (nn.Linear, nn.Conv1d, nn.Conv2d)


def last_layer(network: nn.Module) -> nn.Module:
    """The last linear layer of the head; of several heads, of the first.

    Raises:
        UserError: The network names no head, or one without a linear layer.
    """
    head = network.get_submodule(head_names(network)[0])
    layers = [module for module in head.modules() if isinstance(module, _LINEAR)]
    if not layers:
        raise UserError(f"the head of {type(network).__name__} has no linear layer: no features")
    return layers[-1]


def features_and_logits(network: nn.Module, images: Tensor) -> tuple[Tensor | None, Tensor]:
    """One pass, two results; the network stays as it is.

    The features are what goes into the last layer of the head: 128 numbers of cnn2 and cnn6, 256
    of cnn3, the pooled ones of timm networks.

    Args:
        network: In eval mode.
        images: float (N, 3, S, S), normalized.

    Returns:
        Features (N, D), None where the network has no `last_layer`, or does not call it as a
        module; and logits (N, classes). Both are part of the graph where one is recorded.
    """
    try:
        layer = last_layer(network)
    except UserError:  # it can answer nevertheless
        return None, network(images)
    seen: list[Tensor] = []
    own = threading.get_ident()  # another thread may be in the same network

    def keep(_: nn.Module, inputs: tuple) -> None:
        if threading.get_ident() == own:
            seen.append(inputs[0])

    hook = layer.register_forward_pre_hook(keep)
    try:
        logits = network(images)
    finally:
        hook.remove()
    return (_flat(seen[-1]) if seen else None), logits


def _flat(features: Tensor) -> Tensor:
    """(N, D) of (N, D), (N, D, 1, 1), or a map (N, D, h, w), which is averaged."""
    if features.ndim == 4:
        return features.mean((2, 3))
    return features if features.ndim == 2 else torch.flatten(features, 1)
