"""The small networks: cnn2, cnn3 and cnn6, each readable in one sitting.

Every network maps float images (N, 3, S, S), normalized, to logits (N, 2) and
splits into `features` (the convolutions) and `classifier` (the dense layers).

ReLU and channel dropout multiply each channel by a number >= 0, so they commute
with max-pooling. They are written after the pool here: the same function as
before it, on a quarter of the cells (1.4 times the training speed on a CPU).
"""

import itertools

import torch
from torch import Tensor, nn

from detector.models.dropout import Dropout
from detector.models.fused import FusedSequential


class SmallCNN(nn.Module):
    """Convolutions, then dense layers: what the small networks have in common.

    Args:
        features: The convolutional part.
        size: Side S of the square input, in pixels.
        classifier: Builds the dense part from the length of the flattened map.
    """

    def __init__(self, features: nn.Sequential, size: int, classifier) -> None:
        super().__init__()
        self.features = features
        with torch.no_grad():  # the flattened length follows from the layers, not from a formula
            training = features.training
            shape = features.eval()(torch.zeros(1, 3, size, size)).shape
            features.train(training)
        self.classifier = classifier(shape[1:].numel())

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 2) of images (N, 3, S, S)."""
        return self.classifier(self.features(images).flatten(1))

    def get_classifier(self) -> nn.Module:
        """The head, by the name that timm's networks have for it."""
        return self.classifier

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Which parameters make up a stage, in timm's form: each child of `features` is one."""
        return {"features": r"^features\.(\d+)"}


class CNN2(SmallCNN):
    """Two plain convolutions and a wide dense layer; 46,099,778 parameters at 300 px.

    Nearly all parameters sit in one dense layer, the classic way to overfit a
    small set. Convolutions pad, as Keras' `padding="same"` does.

    Args:
        size: Side of the square input, in pixels.
        classes: Number of logits.
        conv_dropout: Element-wise dropout after each pool.
        dropout: Dropout before the last layer.
    """

    def __init__(self, size: int, classes: int, *, conv_dropout: float, dropout: float) -> None:
        def block(inputs: int, outputs: int) -> list[nn.Module]:
            return [
                nn.Conv2d(inputs, outputs, 3, padding=1),
                nn.MaxPool2d(2),
                nn.ReLU(inplace=True),
                Dropout(conv_dropout),
            ]

        super().__init__(
            FusedSequential(*block(3, 32), *block(32, 64)),
            size,
            lambda length: nn.Sequential(
                nn.Linear(length, 128),
                nn.ReLU(inplace=True),
                nn.Dropout(dropout),
                nn.Linear(128, classes),
            ),
        )


def _normed_block(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    """Convolution, batch norm, max-pool, ReLU, channel dropout (Tompson et al. 2015)."""
    layers = [
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),  # the batch norm brings the bias
        nn.BatchNorm2d(outputs),
        nn.MaxPool2d(2, ceil_mode=True),  # rounded down it would lose the last row and column
        nn.ReLU(inplace=True),
    ]
    return FusedSequential(*layers, *([nn.Dropout2d(dropout)] if dropout else []))


class CNN3(SmallCNN):
    """Three convolutions (32, 64, 128) with batch norm, dense 256, dropout.

    Args:
        size: Side of the square input, in pixels.
        classes: Number of logits.
        dropout: Dropout before the last layer.
    """

    def __init__(self, size: int, classes: int, *, dropout: float) -> None:
        widths = (3, 32, 64, 128)
        super().__init__(
            nn.Sequential(*(_normed_block(*pair, 0.0) for pair in itertools.pairwise(widths))),
            size,
            lambda length: nn.Sequential(
                nn.Linear(length, 256),
                nn.ReLU(inplace=True),
                nn.Dropout(dropout),
                nn.Linear(256, classes),
            ),
        )


class CNN6(SmallCNN):
    """Six convolutions with batch norm and three dense layers.

    At 224 px the last two convolutions see 14x14 and 7x7 maps, fine enough to
    tell an eye from a mouth. The sixth pool rounds up (7 to 4, not to 3): rounded
    down it would drop the last row and column of the map, chin and right edge.
    With both dropouts at 0 this is `cnn6_plain`.

    Args:
        size: Side of the square input, in pixels.
        classes: Number of logits.
        conv_dropout: Channel dropout in each convolutional block.
        dropout: Dropout between the dense layers.
    """

    def __init__(self, size: int, classes: int, *, conv_dropout: float, dropout: float) -> None:
        widths = (3, 32, 64, 128, 256, 256, 256)
        blocks = [
            _normed_block(inputs, outputs, conv_dropout)
            for inputs, outputs in itertools.pairwise(widths)
        ]
        super().__init__(
            nn.Sequential(*blocks),
            size,
            lambda length: nn.Sequential(
                nn.Linear(length, 512),
                nn.ReLU(inplace=True),
                nn.Dropout(dropout),
                nn.Linear(512, 128),
                nn.ReLU(inplace=True),
                nn.Dropout(dropout),
                nn.Linear(128, classes),
            ),
        )


NETWORKS = {"cnn2": CNN2, "cnn3": CNN3, "cnn6": CNN6}
