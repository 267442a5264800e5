"""How much faster is a training step of cnn6 as it is written and run here?

    python benchmarks/training_step.py

Each variant is timed in turn, round after round, so that a machine whose speed drifts
slows all of them alike; the figures to read are the ratios.
"""

import json
import statistics
import time

import torch
from torch import nn

from detector.models.build import build_network
from detector.run.hardware import choose_hardware

BATCH, SIZE, ROUNDS = 32, 224, 5


class AsPublished(nn.Module):
    """cnn6 with ReLU and dropout before each pool, as its description has them."""

    def __init__(self) -> None:
        super().__init__()
        made = build_network("cnn6", size=SIZE, classes=2, conv_dropout=0.1, dropout=0.5)
        blocks = [
            nn.Sequential(c, norm, act, drop, pool) for c, norm, pool, act, drop in made.features
        ]
        self.features, self.classifier = nn.Sequential(*blocks), made.classifier

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(images).flatten(1))


def step(network: nn.Module, device: str, layout: torch.memory_format, bf16: bool):
    """A function that makes one training step and waits for it."""
    network = network.to(device, memory_format=layout).train()
    fused = device != "mps"
    optimizer = torch.optim.Adam(network.parameters(), 1e-3, fused=fused)
    images = torch.randn(BATCH, 3, SIZE, SIZE, device=device).contiguous(memory_format=layout)
    labels = torch.randint(0, 2, (BATCH,), device=device)

    def once() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            loss = nn.functional.cross_entropy(network(images).float(), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()
        elif device == "mps":
            torch.mps.synchronize()

    return once


def main() -> None:
    torch.manual_seed(0)
    chosen = choose_hardware("auto", "auto")
    device = {"gpu": "cuda"}.get(chosen.accelerator, chosen.accelerator)
    bf16 = chosen.precision == "bf16-mixed"
    ours = build_network("cnn6", size=SIZE, classes=2, conv_dropout=0.1, dropout=0.5)
    plain, last = torch.contiguous_format, torch.channels_last
    variants = {
        "as published, fp32": step(AsPublished(), device, plain, False),
        "as published, settings chosen here": step(
            AsPublished(), device, last if chosen.channels_last else plain, bf16
        ),
        "as written here, settings chosen here": step(
            ours, device, last if chosen.channels_last else plain, bf16
        ),
    }
    times = {name: [] for name in variants}
    for turn in range(ROUNDS + 1):
        for name, once in variants.items():
            start = time.perf_counter()
            once()
            if turn:  # the first round warms up
                times[name].append(time.perf_counter() - start)
    base = times["as published, fp32"]
    name = torch.cuda.get_device_name() if device == "cuda" else device
    print(f"cnn6, {SIZE} px, batch {BATCH}, {name}, {chosen.precision}")
    print("| variant | images/s, median | times as fast |\n| --- | --- | --- |")
    for name, taken in times.items():
        ratio = statistics.median(b / t for b, t in zip(base, taken, strict=True))
        print(f"| {name} | {BATCH / statistics.median(taken):.1f} | {ratio:.2f} |")
    print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads()}))


if __name__ == "__main__":
    main()
