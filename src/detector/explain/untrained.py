"""Networks with random weights: whether a map needs what was learnt, or the architecture alone.

Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018: a map that stays as it is when the
weights are randomized, from the answer down to the pixels, does not explain the network.
"""

import copy
from collections.abc import Iterator

import torch
from torch import nn


def randomized(
    network: nn.Module, fresh: nn.Module, stages: int
) -> Iterator[tuple[str, nn.Module]]:
    """Replaces the weights of a copy by fresh ones, from the answer down.

    Args:
        network: Stays as it is.
        fresh: The same network with random weights.
        stages: How often to stop, at most; the layers are dealt into so many runs of about
            equal number. In the last copy nothing is left as it was.

    Yields:
        Name of the lowest layer that is random by now, and the copy, in eval mode; the same
        object each time.
    """
    changed = copy.deepcopy(network).eval()
    layers = _layers(changed)[::-1]
    new = dict(_layers(fresh))
    # Norms go with the layer that they follow, which in this order comes after them.
    ends = [at + 1 for at, (_, layer) in enumerate(layers) if not _is_norm(layer)]
    ends[-1:] = [len(layers)]
    count = min(stages, len(ends))
    begin = 0
    for k in range(count):
        end = ends[(k + 1) * len(ends) // count - 1]
        for name, layer in layers[begin:end]:
            _take(layer, new[name])
        yield layers[end - 1][0] or "the rest", changed
        begin = end


def _layers(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """Modules with weights of their own, in the order in which the network lists them."""
    return [
        (name, module)
        for name, module in network.named_modules()
        if next(module.parameters(recurse=False), None) is not None
    ]


def _is_norm(layer: nn.Module) -> bool:
    return all(weight.ndim < 2 for weight in layer.parameters(recurse=False))


@torch.no_grad()
def _take(layer: nn.Module, fresh: nn.Module) -> None:
    ours = [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]
    theirs = dict([*fresh.named_parameters(recurse=False), *fresh.named_buffers(recurse=False)])
    for name, weight in ours:
        weight.copy_(theirs[name])
