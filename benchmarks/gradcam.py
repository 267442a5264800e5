"""What does Grad-CAM cost beside one forward and backward pass of the same batch?

    python benchmarks/gradcam.py

cnn6, float32, timed in turn, round after round; the figure to read is the ratio.
"""

import statistics
import time

import torch

from detector.explain.cam import Explainer
from detector.models.build import build_network

BATCH, SIZE, ROUNDS = 16, 224, 5
METHODS = ("gradcam", "gradcam++", "hirescam", "layercam", "eigencam")


def main() -> None:
    torch.manual_seed(0)
    network = build_network("cnn6", size=SIZE, classes=2, conv_dropout=0.1, dropout=0.5).eval()
    images = torch.randn(BATCH, 3, SIZE, SIZE)

    def both_ways() -> None:
        network(images)[:, 0].sum().backward()
        network.zero_grad()

    variants = {"forward and backward": both_ways}
    for method in METHODS:
        explainer = Explainer(network, method)
        variants[method] = lambda explainer=explainer: explainer.maps(images, 0)
    times = {name: [] for name in variants}
    for turn in range(ROUNDS + 1):
        for name, once in variants.items():
            start = time.perf_counter()
            once()
            if turn:  # the first round warms up
                times[name].append(time.perf_counter() - start)
    base = times["forward and backward"]
    print(f"cnn6, {SIZE} px, batch {BATCH}, cpu, {torch.get_num_threads()} threads")
    print("| pass | seconds, median | ratio |\n| --- | --- | --- |")
    for name, taken in times.items():
        ratio = statistics.median(t / b for b, t in zip(base, taken, strict=True))
        print(f"| {name} | {statistics.median(taken):.3f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
