"""What is exported of a network: normalized images in, logits and features out.

Preprocessing is no part of it. Decoding and Pillow's resizing have no exact counterpart in ONNX or
LiteRT; as they stay `detector.data.preprocess`, in NumPy and Pillow, a picture becomes the same
pixels whatever runs the network.
"""

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from detector.models.penultimate import features_and_logits
from detector.predictor import Predictor


class Portable(nn.Module):
    """Logits and penultimate features in one pass; a copy, on the CPU.

    Args:
        predictor: Of a torch network.
    """

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.size = predictor.preprocess.size
        network = copy.deepcopy(predictor.network).cpu().float().eval()
        self.network = network.to(memory_format=torch.contiguous_format)
        for weight in self.network.parameters():
            weight.requires_grad_(False)
        with torch.inference_mode():
            features, _ = features_and_logits(self.network, self.example(2))
        self.has_features = features is not None
        self.eval()

    def example(self, count: int) -> Tensor:
        """float32 (count, 3, S, S), the same noise each time."""
        generator = torch.Generator().manual_seed(0)
        return torch.randn(count, 3, self.size, self.size, generator=generator)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Logits (N, 2 + P), and features (N, D) where the network has them."""
        features, logits = features_and_logits(self.network, images)
        return (logits, features) if self.has_features else (logits,)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without what exporters say of themselves; errors are raised as ever."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def first_line(error: BaseException) -> str:
    """What to quote of another library's error."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:160]}" if lines else type(error).__name__
