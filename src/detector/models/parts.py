"""The part head: beside fake or real, which parts of a face were edited.

It is not a module of its own but further logits of the network's head, so that whatever knows the
head of a network (freezing, rates by layer, embeddings, `init_from`) knows this one too.
"""

import torch
from torch import Tensor, nn

from detector.predicting.card import CLASSES


def with_bits(labels: Tensor, bits: Tensor) -> Tensor:
    """Labels (N) and bits (N, P) as targets, int64 (N, 1 + P), of `LossOfParts`."""
    return torch.cat([labels[:, None], bits.long()], 1)


class LossOfParts(nn.Module):
    """Loss of fake or real, plus that of the parts whose bits are known.

    The latter is binary cross entropy, the mean over all known bits of the batch; where none is
    known, 0. Class weights and smoothed labels belong to the former alone: a bit is a fact of how
    the picture was made, and to be unsure whether a picture is fake says nothing about its nose.

    Args:
        of_classes: From logits (N, 2) and labels (N) to a mean.
        weight: Of the parts' loss, above 0.
    """

    def __init__(self, of_classes: nn.Module, weight: float) -> None:
        super().__init__()
        self.of_classes, self.weight = of_classes, weight

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Loss of logits (N, 2 + P) against what `with_bits` gives."""
        of_parts, bits = logits[:, CLASSES:], targets[:, 1:]
        known = bits >= 0
        # Before the loss and not after it: a logit that is not finite would leave 0 times nan.
        of_parts = torch.where(known, of_parts, 0.0)
        each = nn.functional.binary_cross_entropy_with_logits(
            of_parts, bits.clamp(min=0).to(of_parts.dtype), reduction="none"
        )
        mean = (each * known).sum() / known.sum().clamp(min=1)
        return self.of_classes(logits[:, :CLASSES], targets[:, 0]) + self.weight * mean
