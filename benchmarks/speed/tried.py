"""Changes that were tried on the training step of the small networks, kept or not.

    python benchmarks/speed/tried.py [NAME ...]

Each in a process of its own, round after round: milliseconds of a step of 32 images in memory, and
the largest size of the process. NOTES.md has what was expected of each.
"""

import early  # noqa: F401

# isort: split
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from detector import cli
from detector.models import fused
from detector.models.build import build_network
from detector.run.hardware import choose_hardware
from detector.run.heap import ask_for_huge_pages, give_back_freed_memory, keep_freed_memory

ROUNDS, STEPS, WARM_UP = 3, 8, 4
SIDES = {"cnn6": 224, "cnn2": 300}
HUGE = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
# Network, change, and what the process is started with.
TRIED = {
    "cnn6, as trained": ("cnn6", "", {}),
    "cnn6, layer by layer": ("cnn6", "layers", {}),
    "cnn6, freed memory given back": ("cnn6", "given back", {}),
    "cnn6, freed memory given back, huge pages by glibc": ("cnn6", "given back", HUGE),
    "cnn6, freed memory given back, huge pages by PyTorch": (
        "cnn6", "given back", {"THP_MEM_ALLOC_ENABLE": "1"},
    ),
    "cnn6, compiled": ("cnn6", "compiled", {}),
    "cnn6, pooled before it is normalized": ("cnn6", "pooled first", {}),
    "cnn6, small pages": ("cnn6", "small pages", {}),
    "cnn2, as trained": ("cnn2", "", {}),
    "cnn2, layer by layer": ("cnn2", "layers", {}),
    "cnn2, layer by layer, PyTorch's dropout": ("cnn2", "layers, dropout", {}),
    "cnn2, trainer.keep_memory=false": ("cnn2", "not kept", {"THP_MEM_ALLOC_ENABLE": "1"}),
    "cnn2, freed memory given back": ("cnn2", "given back", {}),
    "cnn2, freed memory given back, huge pages by glibc": ("cnn2", "given back", HUGE),
    "cnn2, small pages": ("cnn2", "small pages", {}),
    "cnn2, places of maxima looked for again": ("cnn2", "places", {}),
    "cnn2, maxima by comparisons": ("cnn2", "comparisons", {}),
    "cnn2, the optimizer's memory taken first": ("cnn2", "states first", {}),
    "cnn2, the memory of weights taken first too": ("cnn2", "all first", {}),
}  # fmt: skip


class PooledFirst(nn.Module):
    """Batch norm of the whole map, applied to its maxima: the same where all weights are >= 0."""

    def __init__(self, norm: nn.BatchNorm2d, pool: nn.MaxPool2d) -> None:
        super().__init__()
        self.norm, self.pool = norm, pool

    def forward(self, images: Tensor) -> Tensor:
        variance, mean = torch.var_mean(images.float(), (0, 2, 3), correction=0)
        scale = self.norm.weight * (variance + self.norm.eps).rsqrt()
        shift = self.norm.bias - mean * scale
        pooled = self.pool(images)
        return torch.addcmul(shift.view(1, -1, 1, 1), pooled, scale.view(1, -1, 1, 1)).bfloat16()


class PlacesAgain(nn.MaxPool2d):
    """Max-pooling that keeps no places of maxima."""

    def forward(self, images: Tensor) -> Tensor:
        pool = super().forward
        return checkpoint(pool, images, use_reentrant=False, preserve_rng_state=False)


class Comparisons(torch.autograd.Function):
    """Max-pooling that keeps three bits for each maximum, instead of its place in 64."""

    @staticmethod
    def forward(ctx, images: Tensor) -> Tensor:
        n, c, height, width = images.shape
        cells = images.permute(0, 2, 3, 1).reshape(n, height // 2, 2, width // 2, 2, c)
        a, b, d, e = (cells[:, :, i, :, j] for i in (0, 1) for j in (0, 1))
        upper, lower = torch.maximum(a, b), torch.maximum(d, e)
        ctx.save_for_backward(b > a, e > d, lower > upper)
        return torch.maximum(upper, lower).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        of_upper, of_lower, down = ctx.saved_tensors
        gradient = gradient.permute(0, 2, 3, 1)
        n, height, width, c = gradient.shape
        cells = gradient.new_empty(n, height, 2, width, 2, c)
        lower = gradient * down
        for row, (own, right) in enumerate(((gradient - lower, of_upper), (lower, of_lower))):
            torch.mul(own, right, out=cells[:, :, row, :, 1])
            torch.sub(own, cells[:, :, row, :, 1], out=cells[:, :, row, :, 0])
        return cells.view(n, 2 * height, 2 * width, c).permute(0, 3, 1, 2)


class ByComparisons(nn.Module):
    """`Comparisons` as a layer."""

    def forward(self, images: Tensor) -> Tensor:
        return Comparisons.apply(images)


def changed(network: nn.Module, change: str) -> nn.Module:
    """Changes of layers are beside `layers`: what is no layer of PyTorch goes one by one."""
    if change.startswith("layers"):
        fused.available = lambda: False
    if change == "layers, dropout":
        for at, layer in enumerate(network.features):
            if isinstance(layer, nn.Dropout):
                network.features[at] = nn.Dropout(layer.p)
    if change == "compiled":
        network.compile()
    if change == "pooled first":
        for block in network.features:
            block[1], block[2] = PooledFirst(block[1], block[2]), nn.Identity()
    if change in ("places", "comparisons"):
        for at, layer in enumerate(network.features):
            if isinstance(layer, nn.MaxPool2d):
                network.features[at] = PlacesAgain(2) if change == "places" else ByComparisons()
    return network


def one(name: str, change: str) -> dict:
    """The step of one variant, in this process."""
    torch.manual_seed(0)
    cfg = cli.compose("train", [f"model={name}", "trainer.accelerator=cpu"])
    settings = OmegaConf.to_container(cfg.model.net, resolve=True)
    size = SIDES[name]
    network = changed(build_network(**settings, size=size, classes=2).train(), change)
    network = network.to(memory_format=torch.channels_last)
    if change == "not kept":
        give_back_freed_memory("cpu")
    elif change != "given back":
        keep_freed_memory("cpu")
    optimizer = torch.optim.Adam(network.parameters(), 1e-4, fused=True)
    if change in ("states first", "all first"):
        for weight in network.parameters():
            own = {key: torch.zeros_like(weight) for key in ("exp_avg", "exp_avg_sq")}
            optimizer.state[weight] = {"step": torch.tensor(0.0), **own}
            if change == "all first":
                weight.grad = torch.zeros_like(weight)
    images = torch.randn(32, 3, size, size).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 2, (32,))
    bf16 = choose_hardware("cpu", "auto").precision == "bf16-mixed"
    taken = []
    for count in range(WARM_UP + STEPS):
        if count == 2 and change not in ("given back", "small pages"):
            ask_for_huge_pages()
        begun = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = functional.cross_entropy(network(images).float(), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=change != "all first")
        taken.append(1e3 * (time.perf_counter() - begun))
    unit = 2**20 if platform.system() == "Darwin" else 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return {"ms": statistics.median(taken[WARM_UP:]), "mb": peak}


def main(names: list[str]) -> None:
    chosen = {name: TRIED[name] for name in names or TRIED}
    found: dict[str, list[dict]] = {name: [] for name in chosen}
    for _ in range(ROUNDS):
        for name, (network, change, environment) in chosen.items():
            command = [sys.executable, __file__, "--one", network, change]
            said = subprocess.run(
                command, env=os.environ | environment, capture_output=True, text=True, check=False
            )
            if said.returncode:
                print(f"{name}: {said.stderr.strip().splitlines()[-1]}", file=sys.stderr)
            else:
                found[name].append(json.loads(said.stdout.splitlines()[-1]))
    print("| step of 32 images | ms, median | over the rounds | largest size, MB |")
    print("| --- | --- | --- | --- |")
    for name, rounds in found.items():
        if rounds:
            each = [of["ms"] for of in rounds]
            spread = f"{min(each):.0f} to {max(each):.0f}"
            size = max(of["mb"] for of in rounds)
            print(f"| {name} | {statistics.median(each):.0f} | {spread} | {size:.0f} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(one(*sys.argv[2:])))
    else:
        main(sys.argv[1:])
