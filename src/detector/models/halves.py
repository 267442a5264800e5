"""A network in two: pictures become embeddings, and the head makes logits of these."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from detector.errors import UserError

Body = Callable[[Tensor], Tensor]


def in_two(network: nn.Module) -> tuple[Body, Body]:
    """Body and head, which one after the other are the network.

    Args:
        network: One of this project's, or timm's; the parts share its weights.

    Returns:
        From images (N, 3, S, S) to embeddings (N, D), and from these to logits. The body should be
        called in eval mode: what timm drops out before the head belongs to the head.

    Raises:
        UserError: It has no head of its own, or more than one.
    """
    if hasattr(network, "features") and hasattr(network, "classifier"):
        return lambda images: network.features(images).flatten(1), network.classifier
    if hasattr(network, "forward_head") and isinstance(network.get_classifier(), nn.Module):
        rate = getattr(network, "drop_rate", 0.0)

        def body(images: Tensor) -> Tensor:
            return network.forward_head(network.forward_features(images), pre_logits=True)

        def head(embeddings: Tensor) -> Tensor:
            if rate:
                embeddings = nn.functional.dropout(embeddings, rate, network.training)
            return network.get_classifier()(embeddings)

        return body, head
    raise UserError(
        "this network's head cannot be taken off, so embeddings.views must be 0 (the backbone then"
        " sees every picture in every epoch)"
    )


def check_in_two(network: nn.Module, images: Tensor) -> None:
    """Refuse a network whose two parts are not the network.

    Args:
        network: In eval mode.
        images: A few, as it takes them.

    Raises:
        UserError: The logits differ.
    """
    body, head = in_two(network)
    with torch.inference_mode():
        whole, again = network(images), head(body(images))
    if whole.shape != again.shape or not torch.allclose(whole, again, rtol=1e-3, atol=1e-4):
        raise UserError(
            "this network does more than its backbone and its head, so embeddings.views must be 0"
            " (the backbone then sees every picture in every epoch)"
        )
