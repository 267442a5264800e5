"""Networks of which it is known where they look."""

import torch
from torch import nn


@torch.no_grad()
def watch_brightness(network: nn.Module) -> nn.Module:
    """Give a small network weights with which logit 0 is the mean of bright cells, 1 less it.

    Channel 0 is the brightness above 1 and goes through; the dense layers read no other.
    """
    convolutions = [m for m in network.features.modules() if isinstance(m, nn.Conv2d)]
    for convolution in convolutions:
        convolution.weight[0] = 0
        convolution.weight[0, 0, 1, 1] = 1
    norms = [m for m in network.features.modules() if isinstance(m, nn.BatchNorm2d)]
    (norms or convolutions)[0].bias[0] = -1
    if not norms:
        for convolution in convolutions[1:]:
            convolution.bias[0] = 0
    dense = [m for m in network.classifier.modules() if isinstance(m, nn.Linear)]
    for layer in dense:
        layer.weight.zero_()
        layer.bias.zero_()
        layer.weight[0, 0] = 1
    cells = dense[0].in_features // convolutions[-1].out_channels
    dense[0].weight[0, :cells] = 1 / cells
    dense[-1].weight[1, 0] = -1
    return network.eval()
