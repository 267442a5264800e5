"""Writes `reference_losses.json`: python tests/make_reference_losses.py

To be run after a change that is meant to change what is learnt; the commit then says why.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from detector import cli
from detector.data.preprocess import Preprocess
from detector.models.build import build_network
from detector.module import DetectorModule
from detector.run.optim import make_optimizer

FILE = Path(__file__).parent / "reference_losses.json"
MODELS = ("cnn2", "cnn3", "cnn6", "cnn6_plain")
STEPS, SIZE, BATCH, SEED = 10, 64, 16, 0
# At the models' own rates Adam makes of rounding (threads, memory layout) up to .01 in ten steps
# of cnn6; at this one 1e-5.
LR = 1e-5
TOLERANCE = 2e-4


class Drawn(nn.Module):
    """Dropout whose masks come from NumPy: PyTorch's differ between kinds of processors."""

    def __init__(self, replaced: nn.Dropout | nn.Dropout2d, rng: np.random.Generator) -> None:
        super().__init__()
        self.p, self.rng, self.by_channel = replaced.p, rng, isinstance(replaced, nn.Dropout2d)

    def forward(self, x: Tensor) -> Tensor:
        shape = (*x.shape[:2], 1, 1) if self.by_channel else x.shape
        kept = torch.from_numpy(self.rng.random(shape) >= self.p)
        return x * kept / (1 - self.p)


def losses(model: str, lr: float = LR) -> list[float]:
    """Of each of 10 steps in float32 on made-up images, as training makes them but for the rate."""
    cfg = cli.compose(
        "train", [f"model={model}", f"model.preprocess.size={SIZE}", f"optimizer.lr={lr}"]
    )
    rng = np.random.default_rng(SEED)
    torch.manual_seed(SEED)
    network = build_network(**cfg.model.net, size=SIZE, classes=2)
    for module in [*network.modules()]:
        for name, child in module.named_children():
            if isinstance(child, (nn.Dropout, nn.Dropout2d)):
                setattr(module, name, Drawn(child, rng))
    preprocess = OmegaConf.to_container(cfg.model.preprocess, resolve=True)
    module = DetectorModule(
        network, {}, Preprocess.from_dict(preprocess),
        seed=SEED, optimizer=cfg.optimizer, schedule=cfg.schedule, loss=cfg.loss, freeze="none",
        class_weights=None, channels_last=True,
    ).train()  # fmt: skip
    made = make_optimizer(network, cfg.optimizer, cfg.schedule, STEPS, 1, fused=True)
    labels = torch.from_numpy(rng.integers(0, 2, BATCH))
    found = []
    for _ in range(STEPS):
        images = rng.integers(0, 256, (BATCH, 3, SIZE, SIZE), dtype=np.uint8)
        images[:, :, :16, :16] //= 1 + 3 * labels.numpy()[:, None, None, None].astype(np.uint8)
        loss = module.loss(module(torch.from_numpy(images)), labels)
        made["optimizer"].zero_grad()
        loss.backward()
        made["optimizer"].step()
        found.append(float(loss.detach()))
    return found


if __name__ == "__main__":
    written = {"command": f"python tests/{Path(sys.argv[0]).name}", "tolerance": TOLERANCE}
    written["losses"] = {model: [round(x, 6) for x in losses(model)] for model in MODELS}
    FILE.write_text(json.dumps(written, indent=2) + "\n")
