"""Are MobileNets and EfficientNets trained faster with depthwise gradients in float32?

    python benchmarks/depthwise.py

Training steps on a CPU, 224 px, batch 32, channels_last: in bfloat16 as PyTorch has it, in float32,
and in bfloat16 through `detector.models.depthwise`. In turn, so that a machine whose speed drifts
slows all alike.
"""

import statistics
import time
from contextlib import nullcontext

import torch
from torch.nn import functional as F

from detector.models.build import build_network
from detector.models.depthwise import QuickDepthwise
from detector.run.heap import keep_freed_memory

BATCH, SIZE, ROUNDS = 32, 224, 6
NETWORKS = ("tf_efficientnet_lite0", "mobilenetv2_100", "efficientnet_b0")
WAYS = {
    "bfloat16": (True, nullcontext),
    "float32": (False, nullcontext),
    "bfloat16, depthwise gradients in float32": (True, QuickDepthwise),
}


def main() -> None:
    keep_freed_memory("cpu")
    print("| network | way | images/s, median | times as fast |\n| --- | --- | --- | --- |")
    for name in NETWORKS:
        network = build_network(name, size=SIZE, classes=2).to(memory_format=torch.channels_last)
        images = torch.randn(BATCH, 3, SIZE, SIZE).contiguous(memory_format=torch.channels_last)
        labels = torch.randint(0, 2, (BATCH,))
        optimizer = torch.optim.AdamW(network.parameters(), 1e-3, fused=True)
        times = {way: [] for way in WAYS}
        for turn in range(ROUNDS + 1):
            for way, (bf16, mode) in WAYS.items():
                begun = time.perf_counter()
                with torch.autocast("cpu", torch.bfloat16, enabled=bf16), mode():
                    loss = F.cross_entropy(network(images).float(), labels)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                if turn:  # the first round warms up
                    times[way].append(time.perf_counter() - begun)
        base = times["bfloat16"]
        for way, taken in times.items():
            ratio = statistics.median(b / t for b, t in zip(base, taken, strict=True))
            print(f"| {name} | {way} | {BATCH / statistics.median(taken):.1f} | {ratio:.2f} |")
    print(f"\ntorch {torch.__version__}, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
