"""The images that an exported file is calibrated on and checked with: never the same ones."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from omegaconf import DictConfig

from detector.data.cache import load_pixels
from detector.data.preprocess import Preprocess
from detector.errors import UserError
from detector.evaluation.chosen import Chosen, choose_set
from detector.evaluation.trained import Trained
from detector.predicting.pixels import pixels_of
from detector.predicting.sources import Unread, is_folder, walk

log = logging.getLogger(__name__)

FOLDER = "or give a folder of pictures, images=FOLDER"


class Pixels(Protocol):
    """Pictures by row."""

    def __getitem__(self, row: int) -> np.ndarray:
        """uint8 (S, S, 3) of one row."""
        ...


@dataclass(frozen=True)
class Sample:
    """Some images of a set.

    Args:
        name: In words, for the report.
        pixels: Of the whole set.
        rows: int64 (N), those that are meant.
        labels: (N,) 0 for fake, 1 for real; None where nobody knows.
        groups: (N,) photograph of each image; None as for labels.
    """

    name: str
    pixels: Pixels
    rows: np.ndarray
    labels: np.ndarray | None = None
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """uint8 (up to `size`, S, S, 3), in order."""
        for at in range(0, len(self), size):
            yield np.stack([self.pixels[int(row)] for row in self.rows[at : at + size]])

    @property
    def two_classes(self) -> bool:
        """Whether an AUROC is defined."""
        return self.labels is not None and len(set(self.labels.tolist())) == 2


@dataclass(frozen=True)
class Pictures:
    """What an export looks at.

    Args:
        training: For the ranges of int8; None where the network's training images are not known.
        check: For differences: validation, or whatever there is where that is gone.
        ranked: For AUROC: the test part; None where no image has a label.
    """

    training: Sample | None
    check: Sample
    ranked: Sample | None


def find_pictures(
    cfg: DictConfig,
    trained: Trained,
    cache: Path,
    progress: Callable[[int, int], None] | None = None,
) -> Pictures:
    """The images of a run, in the parts that the run wrote down; or those that are named.

    Args:
        cfg: As `conf/export.yaml` composes it.
        trained: The network.
        cache: Folder of caches.
        progress: As for `load_set`.

    Raises:
        UserError: There are none.
    """
    if cfg.images is not None:
        preprocess = trained.predictor.preprocess
        check = _folder(cfg.images, preprocess, cfg.parity.images, cfg.seed)
        return Pictures(None, check, None)
    try:
        chosen = choose_set("export", cfg.data, trained, cache, progress)
    except UserError as error:
        raise UserError(
            f"a file is only kept if it was checked on real images, and {error}; {FOLDER}"
        ) from error
    pixels = load_pixels(
        chosen.faces.index,
        trained.predictor.preprocess,
        cache_gb=chosen.data.cache_gb,
        cache_dir=cache,
    )
    return _parts(cfg, chosen, pixels)


def _parts(cfg: DictConfig, chosen: Chosen, pixels: Pixels) -> Pictures:
    index = chosen.faces.index
    groups = np.asarray(index["group"])

    def sample(part: str, most: int) -> Sample | None:
        rows = np.flatnonzero((chosen.parts == part) | (part == "all"))
        name = f"{index.name}, {'every' if part == 'all' else part} part"
        whole = Sample(name, pixels, rows, index.labels[rows], groups[rows])
        return _some(whole, most, cfg.seed) if len(rows) else None

    if not chosen.known.own:  # somebody else's images: none of them was trained on, as far as known
        check = sample("all", cfg.parity.images)
        ranked = sample("all", cfg.parity.test_images)
        return Pictures(None, check, ranked if ranked.two_classes else None)
    check = sample("val", cfg.parity.images)
    if check is None:
        raise UserError(f"no image of {index.name}'s validation part is there any more; {FOLDER}")
    ranked = next(
        (found for found in (sample("test", cfg.parity.test_images), check)
         if found is not None and found.two_classes), None,
    )  # fmt: skip
    return Pictures(sample("train", cfg.quantize.images), check, ranked)


class _Files:
    """Pictures of a folder, decoded when they are asked for."""

    def __init__(self, files: list[str | Unread], preprocess: Preprocess) -> None:
        self.files, self.preprocess = files, preprocess

    def __getitem__(self, row: int) -> np.ndarray:
        file = self.files[row]
        if isinstance(file, Unread):
            raise UserError(f"images: {file.path}: {file.error}")
        try:
            return self.preprocess.resize(pixels_of(file, self.preprocess.max_pixels))
        except UserError as error:
            raise UserError(f"images: {file}: {error}") from error

    def readable(self, row: int) -> bool:
        """Whether there is a picture."""
        try:
            return self[row] is not None
        except UserError as error:
            log.warning("%s; it is left out", error)
            return False


def _folder(folder: str, preprocess: Preprocess, most: int, seed: int) -> Sample:
    """Pictures of a folder, of those that were drawn the ones that can be read.

    They are read twice, now and when they are asked for, so that one damaged file does not end an
    export when all the work is done.
    """
    if not is_folder(folder):
        raise UserError(f"images={folder}: no such folder")
    name = f"folder {Path(folder).expanduser().resolve().name}"
    files = _Files(list(walk(folder)), preprocess)
    drawn = _draw(len(files.files), most, seed)
    rows = np.array([row for row in drawn if files.readable(row)], np.int64)
    if not len(rows):
        raise UserError(f"images={folder}: no picture is there; give a folder of some")
    if bad := len(drawn) - len(rows):
        name += f" without {bad} that cannot be read"
    return Sample(name, files, rows)


def _draw(count: int, most: int, seed: int) -> np.ndarray:
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def _some(sample: Sample, most: int, seed: int) -> Sample:
    """At most so many, drawn at random, in their order."""
    if len(sample) <= most:
        return sample
    at = _draw(len(sample), most, seed)
    return Sample(
        sample.name,
        sample.pixels,
        sample.rows[at],
        None if sample.labels is None else sample.labels[at],
        None if sample.groups is None else sample.groups[at],
    )


def training_of(pictures: Pictures) -> Sample:
    """The training images.

    Raises:
        UserError: They are not known, and no other images may take their place.
    """
    if pictures.training is None:
        raise UserError(
            "int8=true takes its ranges from the images that the network was trained on, which"
            " these are not: export from the run folder; if its set has moved, name it with"
            " data=NAME data.root=FOLDER"
        )
    return pictures.training
