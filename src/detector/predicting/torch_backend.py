"""Networks of this project, run by PyTorch."""

import threading
from collections.abc import Mapping

import numpy as np
import torch

from detector.errors import UserError
from detector.models.build import build_network
from detector.models.penultimate import features_and_logits
from detector.predicting.card import ALTERED, Card


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
        network = self._build()
        try:
            network.load_state_dict(weights)
        except (RuntimeError, AttributeError, TypeError) as error:
            raise UserError(
                f"{source}: the weights do not fit {card.network['name']} at"
                f" {card.preprocess.size} px; {ALTERED}"
            ) from error
        # The layout that convolutions prefer, but for MPS: half the time on a CPU.
        self._layout = torch.contiguous_format if self.device.type == "mps" else torch.channels_last
        self.network = network.float().eval().to(self.device, memory_format=self._layout)

    def _build(self) -> torch.nn.Module:
        return build_network(
            **self._card.network, size=self._card.preprocess.size, classes=self._card.logits
        )

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
