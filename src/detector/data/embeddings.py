"""What a frozen backbone says of each picture, computed once an augmentation view and kept.

While the backbone does not change, the same picture gives the same embedding in every epoch: a
training of the head alone need not pass through it again. An epoch of training sees one view of
each picture, in turn, so that with as many views as epochs nothing is different but the time.
"""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import cv2
import numpy as np
import PIL
import timm
import torch
import torchvision
from filelock import FileLock
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from detector.data import cache
from detector.replacing import replacing

log = logging.getLogger(__name__)

VERSION = 1  # raise it when embeddings of the same name would be others
# Other pixels, views or layers may come of another version of any of these.
LIBRARIES = [one.__version__ for one in (torch, torchvision, timm, cv2, np, PIL)]
PLAIN = -1  # the view that is not augmented


@dataclass(frozen=True)
class Wanted:
    """Which views of which pictures.

    Args:
        plain: int (n), rows whose own picture is looked at, as validation does.
        train: int (m), rows whose augmented views are.
        views: How many, from 1; 0 only of a training without augmentation, which sees `plain`.
    """

    plain: np.ndarray
    train: np.ndarray
    views: int

    def __len__(self) -> int:
        return len(self.plain) + self.views * len(self.train)

    def keys(self, *, augmented: bool) -> Iterator[tuple[int, int]]:
        """(view, row) of each, in the order in which they are kept: the plain ones come first.

        One by one: of a million pictures a list of them would take a gigabyte.
        """
        if augmented:
            return ((view, int(row)) for view in range(self.views) for row in self.train)
        return ((PLAIN, int(row)) for row in self.plain)


class Embeddings(Dataset):
    """Embeddings by (epoch, row), as `Faces` gives pictures.

    Args:
        file: float32 (len(wanted), D + bits).
        wanted: What it holds.
        labels: int (N), of all rows.
        training: Views in turn by epoch; else the plain one.
        bits: How many bits of edited parts follow each embedding, see `load_embeddings`.
    """

    def __init__(
        self, file: Path, wanted: Wanted, labels: np.ndarray, training: bool, bits: int = 0
    ) -> None:
        self.values, self.labels, self.bits = np.load(file, mmap_mode="r"), labels, bits
        self.views = wanted.views if training else 0
        rows = wanted.train if self.views else wanted.plain
        self.place = np.full(len(labels), -1)
        self.place[rows] = np.arange(len(rows)) + (len(wanted.plain) if self.views else 0)
        self.step = len(rows)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, keys: list[tuple[int, int]]) -> list[tuple]:
        rows = np.array([row for _, row in keys])
        places = self.place[rows]
        if self.views:
            places = places + self.step * (np.array([epoch for epoch, _ in keys]) % self.views)
        values = torch.from_numpy(np.array(self.values[places]))
        known = [self.labels[rows].tolist(), rows.tolist()]
        if self.bits:
            values, bits = values.split([values.shape[1] - self.bits, self.bits], 1)
            known.append(bits.to(torch.int8))
        return list(zip(values, *known, strict=True))

    def __getitem__(self, key: tuple[int, int]) -> tuple:
        return self.__getitems__([key])[0]


def embedding_key(network: nn.Module, head: tuple[str, ...], *settings: object) -> str:
    """Name of what embeddings depend on.

    Args:
        network: All its weights and buffers count, but those of the head.
        head: Names of the modules of these.
        settings: As `repr` has them.
    """
    digest = blake2b(repr((VERSION, cache.VERSION, LIBRARIES, *settings)).encode(), digest_size=10)
    for name, value in network.state_dict().items():
        if any(name.startswith(f"{one}.") for one in head):
            continue
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load_embeddings(
    embed: Callable[[Tensor], Tensor],
    faces: Callable[[bool], Dataset],
    wanted: Wanted,
    *,
    key: str,
    cache_dir: Path,
    batch_size: int,
    workers: int,
    progress: Callable[[int, int], None] | None,
    worker_init: Callable[[int], None] | None = None,
) -> Path:
    """The file of the embeddings, made where it is not there.

    Args:
        embed: From uint8 images (B, 3, S, S) to embeddings (B, D).
        faces: The pictures, augmented or not, by (view, row). Bits of edited parts that come with
            them are those of the view, and are kept behind its embedding.
        wanted: Which.
        key: Of everything that they depend on.
        cache_dir: Where caches are kept.
        batch_size: Images at once.
        workers: Loader processes.
        progress: Called with the number done and the number of all.
        worker_init: Called in each loader process.

    Raises:
        OSError: The cache cannot be written, or is full.
    """
    folder = cache_dir / "embeddings"
    file = folder / f"{key}.npy"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_suffix(".lock")):
        if _whole(file, len(wanted)):
            with contextlib.suppress(OSError):  # a cache that only others may write
                os.utime(file)
            log.info("embeddings: %d from %s", len(wanted), file)
            return file
        begun = time.monotonic()
        with replacing(file, alone=True) as temporary:
            values, done = None, 0
            for batch in _batches(faces, wanted, batch_size, workers, worker_init):
                images, _, _, *bits = batch
                found = [embed(images).float().cpu(), *(each.float() for each in bits)]
                found = torch.cat(found, 1).numpy()
                if values is None:
                    shape = (len(wanted), found.shape[1])
                    values = np.lib.format.open_memmap(temporary, "w+", np.float32, shape)
                values[done : done + len(found)] = found
                done += len(found)
                if progress:
                    progress(done, len(wanted))
            values.flush()
            del values
    log.info("embeddings: %d views in %.1f s: %s", len(wanted), time.monotonic() - begun, file)
    return file


def _batches(faces: Callable, wanted: Wanted, size: int, workers: int, init: object) -> Iterator:
    for augment in (False, True):
        if not augment or wanted.views:
            loader = DataLoader(
                faces(augment), sampler=wanted.keys(augmented=augment), batch_size=size,
                num_workers=workers if augment else 0, worker_init_fn=init,
            )  # fmt: skip
            yield from loader


def _whole(file: Path, n: int) -> bool:
    try:
        stored = np.load(file, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return False
    return len(stored) == n and stored.dtype == np.float32
