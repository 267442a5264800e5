"""How long does it take to augment a picture (`augment=light`), here and with torchvision?

    python benchmarks/augment.py

One thread; 224 px, pictures interleaved in memory as they are decoded; in turn, medians. `in one
loop` is what a training does; `step by step` what it does without Numba; the colour jitter of both
is one matrix, rounded once.
"""

import statistics
import time

import torch
from omegaconf import OmegaConf
from torchvision.transforms import v2

from detector import cli
from detector.data.transforms import Augment

SIZE, ROUNDS, TIMES = 224, 9, 40


def main() -> None:
    torch.set_num_threads(1)
    coarse = torch.randint(0, 256, (1, 3, 14, 14)).float()
    smooth = torch.nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bicubic")[0]
    image = smooth.clamp(0, 255).byte().permute(1, 2, 0).contiguous().permute(2, 0, 1)
    cfg = cli.compose("train", ["augment=light"])
    flip, crop, jitter = steps = OmegaConf.to_container(cfg.augment.steps, resolve=True)
    theirs = v2.Compose(
        [
            v2.RandomHorizontalFlip(flip["p"]),
            v2.RandomResizedCrop(SIZE, (crop["scale"], 1.0), (0.9, 1.1), antialias=True),
            v2.ColorJitter(*(jitter[name] for name in ("brightness", "contrast", "saturation"))),
        ]
    )
    ours, apart = Augment(steps, SIZE, 0), Augment(steps, SIZE, 0)
    apart.in_a_loop = False
    ways = {
        "torchvision": lambda row: theirs(image).contiguous(),  # as a batch wants it
        "here, step by step": lambda row: apart(image, 0, row),
        "here, in one loop": lambda row: ours(image, 0, row),
    }
    taken = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            torch.manual_seed(0)
            way(0)
            begun = time.perf_counter()
            for row in range(TIMES):
                way(row)
            taken[name].append(1e3 * (time.perf_counter() - begun) / TIMES)
    print("| way | ms, median | times as fast, and over the rounds |")
    print("| --- | --- | --- |")
    for name, each in taken.items():
        ratios = sorted(a / b for a, b in zip(taken["torchvision"], each, strict=True))
        spread = f"{statistics.median(ratios):.2f} [{ratios[0]:.2f} to {ratios[-1]:.2f}]"
        print(f"| {name} | {statistics.median(each):.2f} | {spread} |")


if __name__ == "__main__":
    main()
