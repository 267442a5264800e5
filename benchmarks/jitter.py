"""How long does colour jitter take, here and in torchvision, rounded once instead of three times?

    python benchmarks/jitter.py

One thread, as in a loader process; 224 px, planes interleaved as decoded pictures have them; in
turn, medians.
"""

import statistics
import time

import torch
from torchvision.transforms import v2

from detector.data.transforms import Augment

ROUNDS, TIMES = 7, 60
STRENGTHS = {"brightness": 0.1, "contrast": 0.1, "saturation": 0.1}


def main() -> None:
    torch.set_num_threads(1)
    image = torch.randint(0, 256, (224, 224, 3), dtype=torch.uint8).permute(2, 0, 1)
    ours = Augment([{"step": "jitter", **STRENGTHS}], 224, 0).transforms[0]
    ways = {"torchvision": v2.ColorJitter(*STRENGTHS.values()), "here": ours}
    taken = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            torch.manual_seed(0)
            begun = time.perf_counter()
            for _ in range(TIMES):
                way(image).contiguous()  # as a batch wants it
            taken[name].append(1e3 * (time.perf_counter() - begun) / TIMES)
    ratios = [a / b for a, b in zip(taken["torchvision"], taken["here"], strict=True)]
    for name, each in taken.items():
        print(f"{name}: {statistics.median(each):.2f} ms")
    print(
        f"times as fast: {statistics.median(ratios):.2f} [{min(ratios):.2f} to {max(ratios):.2f}]"
    )


if __name__ == "__main__":
    main()
