"""What bounds a training step: operations, bytes, and the time that each layer takes.

    python benchmarks/speed/stages.py cnn6 224 [BATCH]

In the precision and layout that training uses here. The bound of a layer is what its arithmetic
takes at the speed of a large matrix product, or what reading and writing its tensors once takes at
the speed of a copy, whichever is longer. Prints a table; the figures are milliseconds of one batch,
each layer alone, forward and backward, and below it layers that are trained as one.
"""

import early  # noqa: F401

# isort: split
import statistics
import sys
import time
from collections.abc import Callable

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from detector import cli
from detector.models.build import build_network
from detector.models.fused import FusedSequential, find_run, run_fused
from detector.run.hardware import choose_hardware
from detector.run.heap import keep_freed_memory

ROUNDS = 7


def milliseconds(work: Callable[[], object]) -> float:
    """Median of ROUNDS, after two that do not count."""
    taken = []
    for _ in range(ROUNDS + 2):
        begun = time.perf_counter()
        work()
        taken.append(1e3 * (time.perf_counter() - begun))
    return statistics.median(taken[2:])


def limits(kind: torch.dtype) -> tuple[float, float]:
    """Operations and bytes per millisecond: a matrix product of 2048, a copy of 100 MB."""
    a, b = (torch.randn(2048, 2048, dtype=kind) for _ in range(2))
    source = torch.zeros(50_000_000, dtype=torch.bfloat16)
    target = torch.empty_like(source)
    return (
        2 * 2048**3 / milliseconds(lambda: a @ b),
        2 * source.nbytes / milliseconds(lambda: target.copy_(source)),
    )


def operations(layer: nn.Module, seen: Tensor, made: Tensor) -> float:
    """Of the forward pass; a multiplication and an addition are two."""
    if isinstance(layer, nn.Conv2d):
        return 2.0 * made.numel() * layer.weight[0].numel()
    if isinstance(layer, nn.Linear):
        return 2.0 * made.numel() * layer.in_features
    return float(max(seen.numel(), made.numel()))


def main(name: str, size: int, batch: int = 32) -> None:
    hardware = choose_hardware("cpu", "auto")
    keep_freed_memory("cpu")
    bf16 = hardware.precision == "bf16-mixed"
    cfg = cli.compose("train", [f"model={name}", "trainer.accelerator=cpu"])
    settings = OmegaConf.to_container(cfg.model.net, resolve=True)
    network = build_network(**settings, size=size, classes=2).train()
    network = network.to(memory_format=torch.channels_last)
    fast, wide = limits(torch.bfloat16 if bf16 else torch.float32)
    print(f"{name}, {size} px, batch {batch}, {hardware.precision};", end=" ")
    print(f"{fast / 1e6:.0f} GFLOP/s, {wide / 1e6:.1f} GB/s\n")
    print("| layer | GFLOP | MB | bound, ms | forward, ms | backward, ms | times the bound |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    here = torch.randn(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    sums, inputs = [0.0] * 5, {}
    leaves = [(k, one) for k, one in network.named_modules() if not list(one.children())]
    for at, (path, layer) in enumerate(leaves):
        if isinstance(layer, nn.Linear) and here.ndim == 4:
            here = here.flatten(1)
        seen = here.detach().requires_grad_(at > 0)
        inputs[layer] = seen

        def forward(layer=layer, seen=seen) -> Tensor:
            # In place, a layer would change what the next round sees.
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                return torch.relu(seen) if isinstance(layer, nn.ReLU) else layer(seen)

        made = forward()
        wanted = [one for one in (seen, *layer.parameters()) if one.requires_grad]
        gradient = torch.randn_like(made)
        ahead, back = milliseconds(forward), backward(made, wanted, gradient)
        # Backward: the gradients of inputs and of weights cost as much as the forward pass, each.
        passes = 1 + (at > 0) + any(True for _ in layer.parameters())
        flop = passes * operations(layer, seen, made)
        weights = sum(one.nbytes for one in layer.parameters())
        moved = 2 * (seen.nbytes + made.nbytes + weights) - (0 if at else seen.nbytes)
        bound = max(flop / fast, moved / wide)
        row = [flop / 1e9, moved / 1e6, bound, ahead, back]
        sums = [a + b for a, b in zip(sums, row, strict=True)]
        print(f"| {path} {type(layer).__name__} | {_cells(row)} | {(ahead + back) / bound:.1f} |")
        here = made.detach()
    print(f"| together | {_cells(sums)} | {(sums[3] + sums[4]) / sums[2]:.1f} |")
    as_one(network, inputs, fast, wide)


def backward(made: Tensor, wanted: list[Tensor], gradient: Tensor) -> float:
    """Milliseconds of a backward pass."""
    return milliseconds(lambda: torch.autograd.grad(made, wanted, gradient, retain_graph=True))


def as_one(network: nn.Module, inputs: dict[nn.Module, Tensor], fast: float, wide: float) -> None:
    """Rows for what `detector.models.fused` trains as one; its bound: input and output, once."""
    sums = [0.0] * 5
    for path, layers in network.named_modules():
        for at in range(len(layers) if isinstance(layers, FusedSequential) else 0):
            run, seen = find_run(layers[at:]), inputs.get(layers[at])
            if run is None or (at and find_run(layers[at - 1 :]) is not None):
                continue
            made = run_fused(seen, run)
            parameters = [] if run.norm is None else [*run.norm.parameters()]
            gradient = torch.randn_like(made)
            ahead = milliseconds(lambda seen=seen, run=run: run_fused(seen, run))
            back = backward(made, [seen, *parameters], gradient)
            flop, moved = 3.0 * seen.numel(), 2 * (seen.nbytes + made.nbytes)
            row = [flop / 1e9, moved / 1e6, max(flop / fast, moved / wide), ahead, back]
            sums = [a + b for a, b in zip(sums, row, strict=True)]
            ratio = (ahead + back) / row[2]
            print(f"| {path}, {run.length} layers as one | {_cells(row)} | {ratio:.1f} |")
    print(f"| all that go as one | {_cells(sums)} | {(sums[3] + sums[4]) / sums[2]:.1f} |")


def _cells(row: list[float]) -> str:
    return " | ".join(f"{value:.1f}" for value in row)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
