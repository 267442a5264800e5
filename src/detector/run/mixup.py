"""Mixup: images and labels of a batch, blended in pairs (Zhang et al., ICLR 2018)."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor


def draw(alpha: float, count: int, seed: Sequence[int]) -> tuple[float, np.ndarray]:
    """How a batch is mixed, from a seed alone.

    Args:
        alpha: Of the distribution Beta(alpha, alpha), above 0: small ones mix little.
        count: Images in the batch.
        seed: Words that name the step.

    Returns:
        The share of an image that stays itself, 0..1, the same for all as in the paper's own
        code, and int (count): which image each is blended with, a permutation.
    """
    rng = np.random.default_rng(seed)
    return float(rng.beta(alpha, alpha)), rng.permutation(count)


def mixed_loss(
    network: Callable[[Tensor], Tensor],
    loss: Callable[[Tensor, Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    share: float,
    partners: np.ndarray,
) -> Tensor:
    """Loss of blended images, against both labels by the shares of their images.

    Args:
        network: Images to logits.
        loss: Logits and labels to a mean.
        images: uint8 or float (N, 3, S, S).
        labels: int (N), or (N, K) of a loss that takes several of each image.
        share: As `draw` gives it.
        partners: As `draw` gives it.
    """
    other = torch.from_numpy(partners).to(labels.device)
    images = images.float()
    logits = network(share * images + (1 - share) * images[other]).float()
    return share * loss(logits, labels) + (1 - share) * loss(logits, labels[other])
