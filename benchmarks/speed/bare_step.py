"""The limit: a network's training step on one batch that lies in memory, and nothing else.

    python benchmarks/speed/bare_step.py cnn6 224 [BATCH] [cpu|cuda|mps] [WAY]

A way that is named goes on until it is ended, watched by `turns.py`. Else: in each precision and
memory format, in turn; on a GPU also with cuDNN's choice by trial, and compiled. Prints one line of
JSON.
"""

import early  # noqa: F401

# isort: split
import itertools
import json
import statistics
import sys
import time

import steps
import torch
from omegaconf import OmegaConf
from torch import nn

from detector import cli
from detector.models.build import build_network
from detector.run.hardware import choose_hardware
from detector.run.heap import ask_for_huge_pages, keep_freed_memory
from detector.run.huge_pages import STEPS as STEPS_OF_PAGES

ROUNDS, STEPS, WARM_UP = 4, 4, 6
WAIT = {"cpu": lambda: None, "cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}


def stepping(
    name: str, size: int, batch: int, device: str, *, bf16: bool, last: bool, compiled: bool
):
    """A function that makes one training step."""
    cfg = cli.compose("train", [f"model={name}", "trainer.accelerator=cpu"])
    settings = OmegaConf.to_container(cfg.model.net, resolve=True)
    layout = torch.channels_last if last else torch.contiguous_format
    network = build_network(**settings, size=size, classes=2).train()
    network = network.to(device, memory_format=layout)
    if compiled:
        network.compile()
    optimizer = torch.optim.Adam(network.parameters(), 1e-3, fused=device != "mps")
    images = torch.randn(batch, 3, size, size, device=device).contiguous(memory_format=layout)
    if bf16:  # which the first layer would round to in every step
        images = images.bfloat16()
    labels = torch.randint(0, 2, (batch,), device=device)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            loss = nn.functional.cross_entropy(network(images).float(), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def main(name: str, size: str, batch: str = "32", device: str = "cpu", only: str = "") -> None:
    chosen = choose_hardware({"cuda": "gpu"}.get(device, device), "auto")
    size, batch = int(size), int(batch)
    keep_freed_memory(chosen.accelerator)
    torch.manual_seed(0)
    ways = {"float32": (False, False, False), "float32, channels_last": (False, True, False)}
    if chosen.precision == "bf16-mixed":
        ways |= {"bfloat16": (True, False, False), "bfloat16, channels_last": (True, True, False)}
    if device == "cuda":
        ways["bfloat16, channels_last, by trial"] = (True, True, False)
        ways["bfloat16, channels_last, compiled"] = (True, True, True)
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    if only:
        bf16, last, compiled = ways[only]
        step = stepping(name, size, batch, device, bf16=bf16, last=last, compiled=compiled)
        for count in itertools.count(1):
            step()
            steps.note(batch)
            if count in STEPS_OF_PAGES and device == "cpu":
                ask_for_huge_pages()
    found = {}
    for way, (bf16, last, compiled) in ways.items():
        torch.backends.cudnn.benchmark = "trial" in way
        step = stepping(name, size, batch, device, bf16=bf16, last=last, compiled=compiled)
        for count in range(WARM_UP):
            step()
            if count + 1 in STEPS_OF_PAGES and device == "cpu":
                ask_for_huge_pages()
        taken = []
        for _ in range(ROUNDS):
            WAIT[device]()
            begun = time.perf_counter()
            for _ in range(STEPS):  # the next is launched while one is computed, as in a training
                step()
            WAIT[device]()
            taken.append((time.perf_counter() - begun) / STEPS)
        found[way] = batch / statistics.mean(taken)
        del step
    best = max(found, key=found.get)
    print(json.dumps({"images_per_s": found[best], "way": best, "ways": found}))


if __name__ == "__main__":
    main(*sys.argv[1:])
