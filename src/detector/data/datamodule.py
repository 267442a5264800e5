"""From an index and its split to batches.

Batches are (uint8 images (N, 3, S, S), labels (N), rows (N)), and for a part head int8 bits
(N, P) after these; scaling and normalizing happen on the device, so a quarter of the bytes travels
there. Where augmentation happens there too, the loader gives pairs instead of images: plain ones,
and the numbers that `OnDevice` wants with them.
"""

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from detector.data.batches import Batches, as_it_is
from detector.data.blended.training import Blending
from detector.data.cache import JointPixels, Pixels
from detector.data.embeddings import Embeddings, Wanted
from detector.data.epochs import EpochSampler
from detector.data.face_parts import mirrored
from detector.data.on_device import OnDevice
from detector.data.shares import Shares
from detector.data.split import deal
from detector.data.transforms import Augment
from detector.errors import UserError

log = logging.getLogger(__name__)

MEASURED = -1  # the epoch of blends that are measured: no training sees them


class Faces(Dataset):
    """Images by (epoch, row); the epoch seeds the augmentation.

    Args:
        pixels: uint8 pictures by row.
        labels: int (N).
        augment: Applied to each picture; None for as they are.
        blending: Makes the pictures of rows beyond those of the set; None where there are none.
        measured: Blends are those of one epoch, `MEASURED`, whichever is asked for.
        bits: int8 (N, P) of the set's own rows, as `part_bits` gives them: each image then comes
            with its own, int8 (P), of the blend where it is one, swapped where it is mirrored.
        on_device: Instead of `augment`: each picture comes with what this draws for it.
    """

    def __init__(
        self,
        pixels: Pixels,
        labels: np.ndarray,
        augment: Augment | None = None,
        blending: Blending | None = None,
        *,
        measured: bool = False,
        bits: np.ndarray | None = None,
        on_device: OnDevice | None = None,
    ) -> None:
        self.pixels, self.labels, self.augment, self.on_device = pixels, labels, augment, on_device
        self.blending, self.measured, self.bits = blending, measured, bits

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, key: tuple[int, int]) -> tuple:
        epoch, row = key
        label, drawn, of_blend, flipped = int(self.labels[row]), row, None, False
        if self.blending is None:
            picture = self.pixels[row]
        else:
            blended = MEASURED if self.measured else epoch
            picture, of_blend = self.blending.drawn(self.pixels, blended, row)
            drawn, row = self.blending.seed_row(row), row % self.blending.n
        image = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)
        if self.augment is not None:
            image, flipped = self.augment.drawn(image, epoch, drawn)
        image = image.contiguous()
        if self.on_device is not None:
            numbers, flipped = self.on_device.draw(epoch, drawn)
            image = image, numbers
        if self.bits is None:
            return image, label, row
        bits = self.bits[row] if of_blend is None else np.array(of_blend, np.int8)
        return image, label, row, mirrored(bits) if flipped else bits


def choose_workers(
    setting: int | str, *, cached: bool, augmented: bool, threads: bool = False, trainings: int = 1
) -> tuple[int, str]:
    """Number of loader processes, and why.

    Args:
        setting: A number, or `auto`.
        cached: Pixels come from a memory map.
        augmented: Images are augmented.
        threads: Threads of this process could augment them between the steps.
        trainings: Processes on this machine that each have so many.

    Raises:
        UserError: Neither a number of at least 0 nor `auto`.
    """
    if isinstance(setting, int) and not isinstance(setting, bool) and setting >= 0:
        return setting, "as configured"
    if setting != "auto":
        raise UserError(f"data.num_workers={setting}: give a number of at least 0, or auto")
    if cached and not augmented:
        return 0, "reading a memory map costs less than passing batches between processes"
    if cached and threads:
        return 0, "threads augment between the steps, which need all cores"
    cores = max(1, (os.cpu_count() or 1) // trainings)
    # Each holds a Python with torch in memory, so not as many as there are cores.
    return max(
        1, min(4, cores - 1)
    ), f"of {cores} cores one is left to the training loop, at most 4"


def _one_thread(_: int) -> None:
    # Several loader processes with several threads each would stand in one another's way.
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


class FaceData(L.LightningDataModule):
    """Loaders of one set: train, and beside each validation a measured train subset.

    `val_dataloader` gives two loaders: validation, and a fixed stratified subset of
    the train part, as large, to be measured in the same way. Otherwise the distance
    between the two curves would be made by dropout and augmentation.

    Args:
        pixels: uint8 pictures by row.
        labels: int (N).
        groups: Group of each row.
        parts: str (N): train, val or test.
        augment: For the train part.
        batch_size: Images a batch.
        num_workers: Loader processes, or `auto`.
        seed: Of the run.
        start_method: How loader processes start: fork, spawn, forkserver; None for the
            platform's own.
        pin_memory: Page-locked batches, for a GPU.
        blending: Fakes made of real images for the train part, and for its measured subset: then
            `labels` and `rows["train"]` go beyond the rows of the set, see `Blending`.
        strata: int (N), as `strata_of` gives it, for the train part.
        bits: int8 (N, P), as `part_bits` gives them, for a part head; None where there is none.
        rank: Of this process among those that train together; each gets its part of each batch.
        world: How many they are.
        local_world: How many of them are on this machine.
        on_device: Augments on the device that trains, in place of `augment`; None for here.
        on_cpu: That device is the CPU.

    Raises:
        UserError: `batch_size` or `num_workers` is out of range, or there is less to deal than
            there are processes.
    """

    def __init__(
        self,
        pixels: Pixels | JointPixels,
        labels: np.ndarray,
        groups: list[str],
        parts: np.ndarray,
        augment: Augment,
        *,
        batch_size: int,
        num_workers: int | str,
        seed: int,
        start_method: str | None = None,
        pin_memory: bool = False,
        blending: Blending | None = None,
        strata: np.ndarray | None = None,
        bits: np.ndarray | None = None,
        rank: int = 0,
        world: int = 1,
        local_world: int = 1,
        on_device: OnDevice | None = None,
        on_cpu: bool = False,
    ) -> None:
        super().__init__()
        self.rank, self.world, self.on_device = rank, world, on_device
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
            raise UserError(f"data.batch_size={batch_size}: give a number of at least 1")
        self.pixels, self.labels, self.parts, self.seed = pixels, labels, parts, seed
        self.augment = augment if augment.names else None
        self.rows = {part: np.flatnonzero(parts == part) for part in ("train", "val", "test")}
        self.blending, self.bits = blending, bits
        if blending is not None:
            self.labels = labels = blending.labels
            self.rows["train"], groups = blending.rows, [*groups] * 3
        self.rows["measured"] = measured_subset(
            self.rows["train"], labels, groups, len(self.rows["val"])
        )
        if batch_size < world or min(len(self.rows[key]) for key in ("val", "measured")) < world:
            raise UserError(
                f"{world} processes: each needs an image of each batch (data.batch_size="
                f"{batch_size} in all) and of validation ({len(self.rows['val'])}): lower"
                " trainer.devices"
            )
        self.embedded: tuple[Path, Wanted] | None = None
        self.batch_size, self.start_method = batch_size, start_method
        self.pin_memory = pin_memory
        self.strata = None if strata is None else strata[self.rows["train"]]
        self.threads = max(1, (os.cpu_count() or 1) // local_world)
        self.workers, why = choose_workers(
            num_workers,
            cached=pixels.file is not None,
            augmented=bool(self.augment or blending),
            threads=on_cpu and blending is None and augment.ahead and on_device is None,
            trainings=local_world,
        )
        log.info("loader processes: %d (%s)", self.workers, why)

    def faces(self, *, training: bool) -> Faces:
        """Pictures of all rows by (epoch, row), augmented (here) or as they are measured."""
        augment = self.augment if training else None
        return Faces(
            self.pixels, self.labels, augment, self.blending, measured=not training, bits=self.bits
        )

    @property
    def worker_init(self) -> Callable[[int], None]:
        """What each loader process calls first."""
        return _one_thread

    def _loader(self, part: str, *, training: bool) -> DataLoader:
        # What is measured comes from the map without help. Decoded on the fly it gets two
        # processes that end with the epoch: each holds a Python with torch in memory.
        measured = 0 if self.pixels.file is not None else min(2, self.workers)
        workers = self.workers if training else measured
        sampler = EpochSampler(
            self.rows[part],
            shuffle=training,
            seed=self.seed,
            strata=self.strata if training else None,
        )
        faces = self.faces(training=training)
        if training and self.on_device is not None:
            faces.augment, faces.on_device = None, self.on_device
        if self.embedded is not None:
            bits = 0 if self.bits is None else self.bits.shape[1]
            workers, faces = 0, Embeddings(*self.embedded, self.labels, training, bits)
        # Batch norm over a small map cannot take a batch of one image.
        drop_last = training and len(sampler) % self.batch_size == 1 < self.batch_size
        if self.world == 1:
            dealt = {"batch_size": self.batch_size, "sampler": sampler, "drop_last": drop_last}
        else:
            shares = Shares(
                sampler,
                self.batch_size,
                rank=self.rank,
                world=self.world,
                training=training,
                drop_last=drop_last,
            )
            dealt = {"batch_sampler": shares}
        whole = workers == 0 and self._by_threads(faces)
        if whole:
            faces = Batches(
                self.pixels, self.labels, faces.augment, bits=self.bits, threads=self.threads
            )
        return DataLoader(
            faces,
            **dealt,
            collate_fn=as_it_is if whole else None,
            num_workers=workers,
            persistent_workers=training and workers > 0,
            multiprocessing_context=self.start_method if workers else None,
            pin_memory=self.pin_memory,
            worker_init_fn=_one_thread,
        )

    @staticmethod
    def _by_threads(faces: Dataset) -> bool:
        plain = isinstance(faces, Faces) and faces.blending is None and faces.on_device is None
        return plain and (faces.augment is None or faces.augment.ahead)

    def train_dataloader(self) -> DataLoader:
        """Augmented, shuffled batches of the train part."""
        return self._loader("train", training=True)

    def on_after_batch_transfer(self, batch: Sequence, dataloader_idx: int) -> Sequence:
        """Augments what came with numbers to augment it by; called by Lightning, on the device."""
        images, *rest = batch
        if isinstance(images, Tensor):
            return batch
        return [self.on_device(*images), *rest]

    def val_dataloader(self) -> list[DataLoader]:
        """Validation, and the measured train subset."""
        return [self._loader("val", training=False), self._loader("measured", training=False)]


def measured_subset(
    train: np.ndarray, labels: np.ndarray, groups: list[str], size: int
) -> np.ndarray:
    """A fixed, stratified subset of the train part, about `size` large.

    Args:
        train: int (n), rows of the train part.
        labels: int (N).
        groups: Group of each row (N).
        size: How many rows are wanted.

    Returns:
        int, rows in ascending order; all of `train` if it is no larger than `size`.
    """
    if size >= len(train):
        return train
    dealt = deal([groups[row] for row in train], labels[train], [size, len(train) - size], seed=0)
    return train[dealt == 0]
