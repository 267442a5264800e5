"""What does Grad-CAM cost beside one forward and backward pass of the same batch?

    python benchmarks/gradcam.py

Timed in turn, round after round, in float32, which maps always are; the figure to read is the
ratio. A network in bf16 is explained in float32, so it is compared with a float32 pass too.
"""

import copy
import json
import statistics
import time

import torch
from torch import nn

from detector.explain.cam import Explainer
from detector.models.build import build_network

BATCH, SIZE, ROUNDS = 16, 224, 5
NETWORKS = {"cnn6": {"conv_dropout": 0.1, "dropout": 0.5}, "resnet18": {}}
METHODS = ("gradcam", "gradcam++", "hirescam", "layercam", "eigencam")


def variants_of(network: nn.Module) -> dict:
    """Functions without arguments, each a pass over the same images."""
    images = torch.randn(BATCH, 3, SIZE, SIZE)

    def both_ways() -> None:
        network(images)[:, 0].sum().backward()
        network.zero_grad()

    def explained(by: nn.Module, method: str):
        explainer = Explainer(by, method)
        return lambda: explainer.maps(images, 0)

    low = copy.deepcopy(network).bfloat16()
    made = {"forward and backward": both_ways}
    made |= {method: explained(network, method) for method in METHODS}
    return made | {"gradcam, weights in bf16": explained(low, "gradcam")}


def main() -> None:
    print(f"{SIZE} px, batch {BATCH}, cpu, float32")
    print("| network | pass | seconds, median | ratio |\n| --- | --- | --- | --- |")
    for name, options in NETWORKS.items():
        torch.manual_seed(0)
        network = build_network(name, size=SIZE, classes=2, **options).eval()
        variants = variants_of(network)
        times = {variant: [] for variant in variants}
        for turn in range(ROUNDS + 1):
            for variant, once in variants.items():
                start = time.perf_counter()
                once()
                if turn:  # the first round warms up
                    times[variant].append(time.perf_counter() - start)
        base = times["forward and backward"]
        for variant, taken in times.items():
            ratio = statistics.median(t / b for b, t in zip(base, taken, strict=True))
            print(f"| {name} | {variant} | {statistics.median(taken):.3f} | {ratio:.2f} |")
    print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads()}))


if __name__ == "__main__":
    main()
