"""From the `data` part of a config to an index and its split."""

import inspect
import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from omegaconf import DictConfig, OmegaConf

from detector.data.crop import MARGINS
from detector.data.fetch import ensure
from detector.data.index import Index, load_index
from detector.data.normalizer import SAYS, fits
from detector.data.sources import SOURCES, list_items
from detector.data.split import PARTS, check_parts, deal, split_parts
from detector.data.synthetic.make import make_set
from detector.errors import UserError
from detector.rules import check, either, flag, mapping, nothing, number, one_of, text, whole

log = logging.getLogger(__name__)

DATA_RULES = {
    "name": text,
    "source": text,
    "root": text,
    "kaggle": either(nothing, text),
    "page": either(nothing, text),
    "counts": either(nothing, mapping),
    "max_pixels": whole(1),
    "skip_corrupt": flag,
    "near_copies": flag,
    "normalize": either(nothing, (fits, SAYS)),
    "crop": one_of(None, "face"),
    "crop_margin": either(nothing, number(*MARGINS)),  # null where an older run has no such setting
    "crop_align": either(nothing, flag),
    "cache_gb": number(0),
    "batch_size": whole(1),
    "num_workers": either(whole(0), one_of("auto")),
    "start_method": one_of(None, "fork", "spawn", "forkserver"),
    "split": mapping,
    "split.fractions": mapping,
    **{f"split.fractions.{part}": number(0, above=True) for part in PARTS},
    "split.folds": either(nothing, whole(3)),
    "split.fold": whole(0),
    "split.seed": whole(0),
    "split.by_group": flag,
}

# Sets that are made, not found or fetched, by their source. A maker takes the set's root and
# `progress`, and the set's own settings as keyword arguments; it returns the folder.
MAKERS: dict[str, Callable[..., Path]] = {"synthetic": make_set}

# Sources with images of one class only, and what to say to who needs two.
ONE_CLASS = {
    "utkface": "real faces only, to count false alarms on with python -m detector.evaluate;"
    " data=gender has its images in two classes"
}


@dataclass
class FaceSet:
    """An index with the part of each image.

    Args:
        index: What is known of each file.
        parts: str (N): train, val or test.
    """

    index: Index
    parts: np.ndarray

    def digest(self) -> str:
        """Of each file's content and part."""
        digest, before = blake2b(digest_size=8), "["
        # As repr() of a list of pairs, which for a million images would be 200 MB.
        for entry in zip(self.index["sha256"], self.parts, strict=True):
            digest.update(f"{before}{entry!r}".encode())
            before = ", "
        digest.update(b"]")
        return digest.hexdigest()


def load_set(
    cfg: DictConfig,
    cache: Path,
    progress: Callable[[int, int], None] | None = None,
    *,
    one_class: bool = False,
) -> FaceSet:
    """Find, fetch or make a set, index it, split it.

    Args:
        cfg: The `data` group of the config.
        cache: Folder of caches.
        progress: Called with files done and files in all, while making and then while indexing.
        one_class: Take sets of one class too. Without it they are refused, before anything is
            fetched.

    Raises:
        UserError: The set is missing, unreadable or cannot be split as asked, or has one class
            where two are needed.
    """
    if cfg.source == "joint":
        from detector.data.joint import load_joint  # here, since it loads its sets by this module

        check(cfg, DATA_RULES, "data.")
        return load_joint(cfg, cache, progress, one_class=one_class)
    index = find_index(cfg, cache, progress, one_class=one_class)
    parts = split_index(index, cfg)
    log.info("split: %s", ", ".join(f"{n} {p}" for p, n in part_sizes(parts).items()))
    return FaceSet(index, parts)


def find_index(
    cfg: DictConfig,
    cache: Path,
    progress: Callable[[int, int], None] | None = None,
    *,
    one_class: bool = False,
) -> Index:
    """`load_set` up to the split; arguments and errors are its own."""
    check(cfg, DATA_RULES, "data.")
    if cfg.source not in SOURCES:  # read now: a set may have been added since the import
        raise UserError(f"data.source={cfg.source}: choose one of {', '.join([*SOURCES, 'joint'])}")
    if cfg.source in ONE_CLASS and not one_class:
        raise UserError(f"{cfg.name} holds {ONE_CLASS[cfg.source]}")
    plain = OmegaConf.to_container(cfg, resolve=True)
    options = own_settings(SOURCES[cfg.source], plain)
    root = Path(cfg.root).expanduser()
    if maker := MAKERS.get(cfg.source):
        root = maker(root, **own_settings(maker, plain) | {"progress": progress})
    else:
        root = ensure(
            cfg.name,
            root,
            source=cfg.source,
            kaggle=cfg.kaggle,
            page=cfg.page,
            counts=cfg.counts,
            **options,
        )
    listing = list_items(cfg.source, root, **options)
    for note in listing.notes:
        log.warning("%s: %s", cfg.name, note)
    index = load_index(
        cfg.name,
        listing.root,
        listing,
        max_pixels=cfg.max_pixels,
        skip_corrupt=cfg.skip_corrupt,
        near_copies=cfg.near_copies,
        cache_dir=cache,
        progress=progress,
    )
    if cfg.get("normalize") and not cfg.get("crop"):  # of a face the size is not known here
        warn_unshrunk(index, cfg.normalize.size)
    return index


def split_index(index: Index, cfg: DictConfig) -> np.ndarray:
    """str (N): train, val or test, as the set itself or `data.split` has it.

    Raises:
        UserError: It cannot be split as asked.
    """
    if any(index["split"]):
        return own_parts(index, cfg.split)
    classes = set(index["label"]) if cfg.source in ONE_CLASS else (0, 1)
    return _dealt(index, cfg.split, classes)


def own_settings(function: Callable, settings: Mapping) -> dict:
    """A set's own settings are the keyword arguments of its index function or maker."""
    own = list(inspect.signature(function).parameters)[1:]
    return {key: settings[key] for key in own if key in settings}


def warn_unshrunk(index: Index, side: int) -> None:
    """Log how many pictures a normalizer with this side does not shrink, so that much stays."""
    sides = np.minimum(index["width"], index["height"])
    kept = sides <= side
    if kept.any():
        shares = [
            f"{kept[index.labels == label].mean():.0%} of {name}"
            for label, name in enumerate(index.class_names)
            if label in index["label"]
        ]
        log.warning(
            "data.normalize.size=%d does not shrink %s, so that traces of their files stay:"
            " choose less than %d",
            side,
            " and ".join(shares),
            sides.min(),
        )


def part_sizes(parts: np.ndarray) -> dict[str, int]:
    """Images in train, val and test."""
    return {part: int((parts == part).sum()) for part in PARTS}


def _dealt(index: Index, split: DictConfig, classes: Collection[int]) -> np.ndarray:
    strata = index.columns.get("difficulty", [""] * len(index))
    return split_parts(
        index.labels,
        index["group"],
        strata,
        fractions=split.fractions,
        folds=split.folds,
        fold=split.fold,
        seed=split.seed,
        by_group=split.by_group,
        classes=classes,
    )


def own_parts(index: Index, split: DictConfig) -> np.ndarray:
    """The split that a set brings; what it lacks is taken out of its train part.

    Byte-identical files on two sides are counted in the log, not moved: results on a
    published split have to stay comparable.

    Raises:
        UserError: Folds were asked for, or a part would miss a class.
    """
    if split.folds is not None:
        raise UserError(f"{index.name} brings its own splits: leave data.split.folds=null")
    parts = np.asarray(index["split"], dtype="<U5")
    missing = [part for part in ("val", "test") if part not in parts]
    if missing:
        train = np.flatnonzero(parts == "train")
        shares = [1 - sum(split.fractions[p] for p in missing)]
        shares += [split.fractions[p] for p in missing]
        groups = [index["group"][row] for row in train]
        dealt = deal(groups, index.labels[train], shares, split.seed)
        parts[train] = np.array(["train", *missing])[dealt]
        log.info("%s brings no %s part: taken out of train", index.name, " and no ".join(missing))
    check_parts(index.labels, parts)
    sides = Counter(digest for digest, _ in set(zip(index["sha256"], parts, strict=True)))
    crossing = sum(count > 1 for count in sides.values())
    if crossing:
        log.warning("%s: %d pictures lie in several of its own splits", index.name, crossing)
    return parts
