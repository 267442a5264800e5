"""What does a batch cost to load: memory map, or decoding as everybody does?

    python benchmarks/loading.py

Makes 300 px JPEGs of noise and shapes, then reads them in turn through a torchvision
ImageFolder and through this project's two ways. One process, one thread.
"""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from detector.data.cache import load_pixels
from detector.data.index import load_index
from detector.data.preprocess import Preprocess
from detector.data.sources import list_items

N, SIZE, ROUNDS = 128, 224, 5


def make(root: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("fake", "real"):
        (root / name).mkdir(parents=True)
        for at in range(N // 2):
            small = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(small).resize((300, 300)).save(root / name / f"{at}.jpg", quality=90)


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "set"
        make(root)
        resize = v2.Compose(
            [v2.Resize(SIZE, antialias=True), v2.CenterCrop(SIZE), v2.PILToTensor()]
        )
        usual = ImageFolder(str(root), resize)
        index = load_index(
            "folder", root, list_items("folder", root), max_pixels=10**7, skip_corrupt=False,
            near_copies=False, cache_dir=Path(folder),
        )  # fmt: skip
        preprocess = Preprocess(SIZE, "crop", "bilinear", (0.5,) * 3, (0.5,) * 3, 10**7)
        ways = {
            "torchvision ImageFolder": lambda row: usual[row][0],
            "decoded on the fly": load_pixels(
                index, preprocess, cache_gb=0, cache_dir=Path(folder)
            ).__getitem__,
            "memory map": load_pixels(
                index, preprocess, cache_gb=1, cache_dir=Path(folder)
            ).__getitem__,
        }
        times = {name: [] for name in ways}
        for turn in range(ROUNDS + 1):
            for name, read in ways.items():
                start = time.perf_counter()
                for row in range(N):
                    read(row)
                if turn:
                    times[name].append(time.perf_counter() - start)
    base = times["torchvision ImageFolder"]
    print("| way | images/s, median | times as fast |\n| --- | --- | --- |")
    for name, taken in times.items():
        ratio = statistics.median(b / t for b, t in zip(base, taken, strict=True))
        print(f"| {name} | {N / statistics.median(taken):.0f} | {ratio:.1f} |")


if __name__ == "__main__":
    main()
