"""Is it bf16 that keeps cnn6 from fitting ciplab at 1e-3? Loss by epoch, four ways.

    DETECTOR_DATA=../shared/data python experiments/2026-11-20-small-networks/precision.py

Half of the training images at 112 px, no dropout, 12 epochs: minutes, not an hour.
"""

from pathlib import Path

import numpy as np
import torch

from detector import cli
from detector.data.cache import load_pixels
from detector.data.load import load_set
from detector.data.preprocess import Preprocess
from detector.models.build import build_network


def losses(images: torch.Tensor, labels: torch.Tensor, bf16: bool, rate: float) -> list[float]:
    torch.manual_seed(0)
    network = build_network("cnn6", size=112, classes=2, conv_dropout=0.0, dropout=0.0)
    network = network.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(network.parameters(), rate, fused=True)
    means = []
    for _ in range(12):
        total = 0.0
        for rows in torch.randperm(len(images)).split(32):
            batch = images[rows].contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss = torch.nn.functional.cross_entropy(network(batch).float(), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) * len(rows)
        means.append(round(total / len(images), 3))
    return means


def main() -> None:
    cfg = cli.compose("train", ["data=ciplab"])
    cache = Path(cfg.paths.cache).expanduser()
    faces = load_set(cfg.data, cache)
    preprocess = Preprocess(224, "crop", "bilinear", (0.5,) * 3, (0.5,) * 3, cfg.data.max_pixels)
    pixels = load_pixels(faces.index, preprocess, cache_gb=2, cache_dir=cache)
    rows = np.flatnonzero(faces.parts == "train")[::2]
    halved = np.stack([pixels[int(row)][::2, ::2] for row in rows])
    images = torch.from_numpy(halved).permute(0, 3, 1, 2).float() / 127.5 - 1
    labels = torch.from_numpy(faces.index.labels[rows])
    for rate in (1e-3, 1e-4):
        for bf16 in (True, False):
            print(f"{rate:g} {'bf16' if bf16 else 'fp32'}", losses(images, labels, bf16, rate))


if __name__ == "__main__":
    main()
