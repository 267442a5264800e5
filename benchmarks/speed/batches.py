"""What a batch of 32 pictures of 224 px costs before the network sees it.

    python benchmarks/speed/batches.py

`augment=light`, pixels in memory, in turn; milliseconds a batch, medians: what threads of the
training's own process take, drawing the random numbers (part of that), and scaling, of pictures
whose planes are interleaved in memory and of others.
"""

import statistics
import time

import numpy as np
import torch
from omegaconf import OmegaConf

from detector import cli
from detector.data.batches import Batches
from detector.data.preprocess import Preprocess
from detector.data.transforms import Augment
from detector.models.build import build_network
from detector.module import DetectorModule

SIZE, BATCH, ROUNDS, TIMES = 224, 32, 9, 5


class Pictures:
    """Smooth random pictures by row."""

    def __init__(self, n: int) -> None:
        coarse = torch.randint(0, 256, (n, 3, 14, 14)).float()
        large = torch.nn.functional.interpolate(coarse, (SIZE, SIZE), mode="bicubic")
        self.whole = large.clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()

    def __getitem__(self, row: int) -> np.ndarray:
        return np.array(self.whole[row])


def main() -> None:
    torch.manual_seed(0)
    cfg = cli.compose("train", ["model=cnn6", "augment=light", "trainer.accelerator=cpu"])
    plain = OmegaConf.to_container(cfg, resolve=True)
    augment = Augment(plain["augment"]["steps"], SIZE, 0)
    pictures, labels = Pictures(200), np.arange(200) % 2
    threads = torch.get_num_threads()
    by = {count: Batches(pictures, labels, augment, threads=count) for count in {1, threads}}
    module = DetectorModule(
        build_network(**plain["model"]["net"], size=SIZE, classes=2), {},
        Preprocess.from_dict(plain["model"]["preprocess"] | {"max_pixels": 10**7}),
        seed=0, optimizer=plain["optimizer"], schedule=plain["schedule"], loss=plain["loss"],
        freeze="none", class_weights=None, channels_last=True,
    )  # fmt: skip
    interleaved = by[threads].__getitems__([(0, row) for row in range(BATCH)])[0]
    planes = interleaved.contiguous()
    rows = range(BATCH)
    ways = {
        f"augmented by {count} thread{'s' if count > 1 else ''}": (
            lambda epoch, one=one: one.__getitems__([(epoch, row) for row in rows])
        )
        for count, one in by.items()
    } | {
        "of that, random numbers": lambda epoch: [augment.draw(epoch, row) for row in rows],
        "scaled, interleaved": lambda epoch: module.scaled(interleaved),
        "scaled, planes": lambda epoch: module.scaled(planes),
    }
    taken = {name: [] for name in ways}
    for number in range(ROUNDS):
        for name, way in ways.items():
            way(0)
            begun = time.perf_counter()
            for epoch in range(TIMES):
                way(number * TIMES + epoch)
            taken[name].append(1e3 * (time.perf_counter() - begun) / TIMES)
    print("| what | ms, median | least |")
    print("| --- | --- | --- |")
    for name, each in taken.items():
        print(f"| {name} | {statistics.median(each):.1f} | {min(each):.1f} |")


if __name__ == "__main__":
    main()
