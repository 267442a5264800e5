"""Whole batches, made by threads of the process that trains, between two steps.

Where the network is trained on the CPU, a loader process takes the cores from the step itself: the
thread whose core it takes is late, and all others wait for it. Threads that work while no step does
share the cores evenly, and pass nothing between processes (benchmarks/NOTES.md has the figures).
"""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from detector.data.cache import JointPixels, Pixels
from detector.data.face_parts import mirrored
from detector.data.transforms import Augment, Drawn, InALoop

MOST_THREADS = 8


class Batches(Dataset):
    """Batches by lists of (epoch, row); each picture is what `datamodule.Faces` makes of it.

    For a `DataLoader` without processes, whose `collate_fn` is `as_it_is`. Images are interleaved
    in memory, as they are decoded and as convolutions prefer them.

    Args:
        pixels: uint8 pictures by row.
        labels: int (N).
        augment: Applied to each picture; each of its steps draws before it changes a picture
            (`Augment.ahead`). None for pictures as they are.
        bits: int8 (N, P), as for `Faces`.
        threads: How many augment, at most `MOST_THREADS`.
    """

    def __init__(
        self,
        pixels: Pixels | JointPixels,
        labels: np.ndarray,
        augment: Augment | None = None,
        *,
        bits: np.ndarray | None = None,
        threads: int = 1,
    ) -> None:
        self.pixels, self.labels, self.augment, self.bits = pixels, labels, augment, bits
        self.threads = min(threads, MOST_THREADS)
        self._pool: ThreadPoolExecutor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, keys: Sequence[tuple[int, int]]) -> tuple[Tensor, ...]:
        """uint8 images (n, 3, S, S), labels (n), rows (n), and int8 bits (n, P) where there are."""
        rows = [row for _, row in keys]
        size = self.pixels[rows[0]].shape[0]
        batch = np.empty((len(keys), size, size, 3), np.uint8)
        flipped = [False] * len(keys)
        if self.augment is None:
            for place, row in zip(batch, rows, strict=True):
                place[:] = self.pixels[row]
        else:
            # One after the other: the generator that they are drawn from is PyTorch's own.
            drawn = [self.augment.draw(epoch, row) for epoch, row in keys]
            flipped = [mirror for _, mirror in drawn]
            self._fill(batch, np.array(rows), [steps for steps, _ in drawn])
        images = torch.from_numpy(batch).permute(0, 3, 1, 2)
        found = images, torch.from_numpy(self.labels[rows].astype(np.int64)), torch.tensor(rows)
        if self.bits is None:
            return found
        bits = [
            mirrored(self.bits[row]) if flip else self.bits[row]
            for row, flip in zip(rows, flipped, strict=True)
        ]
        return *found, torch.from_numpy(np.stack(bits))

    def _fill(self, batch: np.ndarray, rows: np.ndarray, drawn: list[Drawn]) -> None:
        whole, n = getattr(self.pixels, "whole", None), len(rows)
        if self.augment.in_a_loop and whole is not None:
            loop = InALoop(drawn, self.augment.size)

            def fill(part: int) -> None:
                first, last = (n * at // self.threads for at in (part, part + 1))
                loop.change(whole, rows, first, last, batch)
        else:

            def fill(part: int) -> None:
                for at in range(part, n, self.threads):
                    self.augment.change(self.pixels[rows[at]], drawn[at], batch[at])

        for _ in self._threads().map(fill, range(self.threads)):
            pass  # an error of one is raised here

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None:
            count = self.threads
            own, ready = torch.get_num_threads(), threading.Barrier(count + 1)

            def begin() -> None:
                torch.get_num_threads()  # else the first operation would set it again
                torch.set_num_threads(1)  # of this thread: a team for each would be too many
                ready.wait()

            self._pool = ThreadPoolExecutor(count, "augment")
            begun = [self._pool.submit(begin) for _ in range(count)]
            ready.wait()
            for one in begun:
                one.result()
            torch.set_num_threads(own)  # threads that begin later inherit what was set last
        return self._pool

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_pool": None}


def as_it_is(batch: tuple) -> tuple:
    """What `DataLoader` calls with a batch that is one already."""
    return batch
