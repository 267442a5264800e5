"""Networks of this project, run by PyTorch."""

import threading
from collections.abc import Mapping

import numpy as np
import torch

from detector.errors import UserError
from detector.models.build import build_network
from detector.models.cnn import NETWORKS
from detector.models.penultimate import features_and_logits
from detector.predicting.card import ALTERED, Card

LARGE = 512  # pixels; cnn2 takes half a gigabyte there


class TorchBackend:
    """A network in float32 and eval mode.

    Args:
        card: Names the network and the side of its input.
        weights: Its `state_dict`.
        source: Named in error messages.
        device: Where to compute, such as `cpu`, `cuda` or `mps`.

    Attributes:
        network: May be replaced.
        lock: Held while the network runs. Whoever hangs hooks on the network holds it too.

    Raises:
        UserError: The weights do not fit the network that the card names.
    """

    name = "torch"

    def __init__(self, card: Card, weights: Mapping, source: str, device: str = "cpu") -> None:
        self.device, self._card, self.lock = torch.device(device), card, threading.Lock()
        misfit = f"{source}: the weights do not fit {card.network['name']} at"
        misfit = f"{misfit} {card.preprocess.size} px; {ALTERED}"
        try:
            # Of the small networks the size of the picture decides how large they are, up to tens
            # of gigabytes: looked at before they are made, in a card that a stranger may have made.
            # Only then, as looking imports what torch itself leaves out, which takes a second.
            large = card.preprocess.size > LARGE and card.network["name"] in NETWORKS
            if large and _shapes(weights) != _shapes(self._outline()):
                raise UserError(misfit)
            network = self._build()
        except UserError:
            raise
        except Exception as error:  # timm lets out many kinds on options that make no sense
            raise UserError(
                f"{source}: {card.network['name']} cannot be built as its card says"
                f" ({type(error).__name__}); {ALTERED}"
            ) from error
        try:
            network.load_state_dict(weights)
        except (RuntimeError, AttributeError, TypeError) as error:
            raise UserError(misfit) from error
        # The layout that convolutions prefer, but for MPS: half the time on a CPU.
        self._layout = torch.contiguous_format if self.device.type == "mps" else torch.channels_last
        self.network = network.float().eval().to(self.device, memory_format=self._layout)

    def _build(self) -> torch.nn.Module:
        return build_network(
            **self._card.network, size=self._card.preprocess.size, classes=self._card.logits
        )

    def _outline(self) -> Mapping:
        """Its weights without their numbers."""
        with torch.device("meta"):
            return self._build().state_dict()

    def untrained(self, seed: int) -> torch.nn.Module:
        """The same network with the random weights that a training would begin with.

        Args:
            seed: Of the weights; the caller's random numbers are not disturbed.

        Returns:
            In eval mode, on the same device.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = self._build()
        return network.float().eval().to(self.device, memory_format=self._layout)

    def run(self, images: np.ndarray, bf16: bool = False) -> tuple[np.ndarray, np.ndarray | None]:
        """As `detector.predicting.backend.Backend` says; several threads may call it."""
        batch = torch.from_numpy(images).to(self.device, memory_format=self._layout)
        faster = torch.autocast(self.device.type, torch.bfloat16, enabled=bf16)
        with self.lock, torch.inference_mode(), faster:
            features, logits = features_and_logits(self.network, batch)
            # On the CPU in double precision: MPS has none.
            logits = logits.cpu().double().numpy()
            return logits, None if features is None else features.cpu().float().numpy()


def _shapes(weights: Mapping) -> dict:
    return {key: getattr(value, "shape", None) for key, value in weights.items()}
