"""Several sets as one: `data=joint`, each indexed and split as it is alone.

What two sets have in common, the same file or another picture of the same photograph, would
let a network be tested on what it was trained on. Such pictures become one group, and of a group
that lies in several parts only the images of the last of train, val and test stay: the images
that a set is tested on are the same as when it is used alone.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import groupby
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from detector.data.compose import members
from detector.data.decode import DecodeError, decode
from detector.data.index import Index, group_names
from detector.data.load import FaceSet, find_index, part_sizes, split_index
from detector.data.nearcopies import Description, describe, same_photograph
from detector.data.phash import near
from detector.data.split import PARTS, check_parts
from detector.errors import UserError
from detector.replacing import replacing
from detector.rules import check, either, nothing, text, texts

log = logging.getLogger(__name__)

RULES = {"sets": texts, "leave_out": either(nothing, text)}
# Bits of 64. Copies that were recompressed or scaled differ in 0 to 4; at 10, where one set is
# searched, aligned faces of strangers would be laid over one another by the thousand.
RADIUS = 6
VERSION = 1  # raise it when the pairs across sets would differ


@dataclass
class JointIndex(Index):
    """Rows of several indexes as one. Names begin with the set's; `set` is a column.

    A column that a set lacks is blank for its images: '', -1, NaN or an empty list, whichever
    is of the column's kind.

    Args:
        members: The sets.
        member: int (N), which of them an image is of.
        row: int (N), its row there.
        left_out: Name of the set that is only tested on, or None.
    """

    members: tuple[Index, ...] = ()
    member: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    row: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    left_out: str | None = None

    def path(self, row: int) -> Path:
        """File of one row."""
        return self.members[self.member[row]].path(int(self.row[row]))

    def knows(self, column: str) -> np.ndarray:
        """bool (N): whether the set that an image is of has such a column."""
        known = [column in one.columns or column == "set" for one in self.members]
        return np.array(known)[self.member]

    def aliases(self) -> list[set[str]]:
        """As `Index.aliases`, with the name that the group has in its set alone."""
        own = [one["group"] for one in self.members]
        return [
            names | {own[member][row]}
            for names, member, row in zip(super().aliases(), self.member, self.row, strict=True)
        ]


def load_joint(
    cfg: DictConfig,
    cache: Path,
    progress: Callable[[int, int], None] | None = None,
    *,
    one_class: bool = False,
) -> FaceSet:
    """`load_set` of several sets, put together in the order asked for.

    Arguments are those of `load_set`. The set that is left out may have one class in any case.
    Images that are in a later part of another set are left out.

    Raises:
        UserError: A set is unusable, two of them have other classes, or there is none of the
            name `leave_out`.
    """
    check(cfg, RULES, "data.")
    configs, out = members(cfg), cfg.leave_out
    if out is not None and out not in configs:
        raise UserError(f"data.leave_out={out}: choose one of {', '.join(configs)}, or null")
    indexes, parts = [], []
    for name, one in configs.items():
        index = find_index(one, cache, progress, one_class=one_class or name == out)
        indexes.append(index)
        parts.append(np.full(len(index), "test") if name == out else split_index(index, one))
    classes = {index.class_names for index in indexes}
    if len(classes) > 1:
        told = "; ".join(f"{one.name} tells {' and '.join(one.class_names)}" for one in indexes)
        raise UserError(f"data.sets: {told}: sets of one training need the same two classes")
    pairs = _pairs_across(indexes, cfg, cache) if cfg.near_copies else []
    faces = _put_together(str(cfg.root), indexes, parts, pairs, out)
    check_parts(faces.index.labels, faces.parts)
    for at, one in enumerate(indexes):
        sizes = part_sizes(faces.parts[faces.index.member == at])
        log.info("split of %s: %s", one.name, ", ".join(f"{n} {p}" for p, n in sizes.items()))
    return faces


def _put_together(
    root: str,
    indexes: Sequence[Index],
    parts: Sequence[np.ndarray],
    across: Sequence[tuple[int, int]],
    left_out: str | None,
) -> FaceSet:
    sizes = [len(index) for index in indexes]
    starts = np.cumsum([0, *sizes[:-1]]).tolist()
    member, row = np.repeat(np.arange(len(sizes)), sizes), np.concatenate(list(map(range, sizes)))
    pairs = [
        (a + start, b + start, kind, method)
        for start, index in zip(starts, indexes, strict=True)
        for a, b, kind, method in index.pairs
    ] + [(a, b, "copy", "hash") for a, b in across]
    groups = group_names([sha for index in indexes for sha in index["sha256"]], pairs)
    part = np.concatenate([np.asarray(one, "<U5") for one in parts])
    kept = _kept(np.array(groups), member, part)
    names = [index.name for index in indexes]
    for at in np.unique(member[~kept]).tolist():
        log.warning(
            "%d images of %s are left out: other sets have them in val or test",
            (~kept & (member == at)).sum(),
            names[at],
        )
    rows = np.flatnonzero(kept)
    new = dict(zip(rows.tolist(), range(len(rows)), strict=True))
    columns = _columns(indexes)
    columns = {key: [column[at] for at in rows] for key, column in columns.items()}
    columns["set"] = [names[at] for at in member[rows]]
    columns["group"] = [groups[at] for at in rows]
    index = JointIndex(
        "joint",
        root,
        indexes[0].class_names,
        columns,
        {key: table for one in indexes for key, table in one.tables.items()},
        [(new[a], new[b], *why) for a, b, *why in pairs if a in new and b in new],
        [(f"{one.name}/{name}", why) for one in indexes for name, why in one.corrupt],
        members=tuple(indexes),
        member=member[rows],
        row=row[rows],
        left_out=left_out,
    )
    return FaceSet(index, part[rows])


def _kept(groups: np.ndarray, member: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """bool (N): false for what a group that several sets share has in an earlier part than its
    last. What a set has on two sides of its own splits stays, as it does when it is alone."""
    names, of = np.unique(groups, return_inverse=True)
    rank = sum(at * (parts == part) for at, part in enumerate(PARTS))
    last, most = np.zeros((2, len(names)), np.int64)
    least = np.full(len(names), len(member))
    np.maximum.at(last, of, rank)
    np.minimum.at(least, of, member)
    np.maximum.at(most, of, member)
    shared = least < most
    return ~(shared[of] & (rank < last[of]))


def _columns(indexes: Sequence[Index]) -> dict[str, list]:
    every = dict.fromkeys(key for index in indexes for key in index.columns)
    columns: dict[str, list] = {}
    for key in every:
        blank = _blank(next(index[key][0] for index in indexes if key in index.columns))
        columns[key] = [
            value for index in indexes for value in (index.columns.get(key) or [blank] * len(index))
        ]
    columns["name"] = [f"{index.name}/{name}" for index in indexes for name in index["name"]]
    return columns


def _blank(like: object) -> object:
    """What stands for unknown in a column of such values; see `slices`."""
    kinds: Mapping[type, object] = {str: "", int: -1, float: float("nan"), list: []}
    return kinds.get(type(like))


def _pairs_across(indexes: Sequence[Index], cfg: DictConfig, cache: Path) -> list[tuple[int, int]]:
    """Rows of two sets, counted through, that show one photograph and are not the same file.

    Candidates have nearly the same perceptual hash, which crops and parts have not; each pair
    is laid over one another. Kept in a file of the cache, named after the content of the sets.
    """
    digest = blake2b(repr((VERSION, RADIUS, int(cfg.max_pixels))).encode(), digest_size=8)
    for index in indexes:
        digest.update(repr(len(index)).encode())
        for sha in index["sha256"]:
            digest.update(sha.encode())
    file = cache / "index" / f"joint-{digest.hexdigest()}.json"
    try:
        return [(int(a), int(b)) for a, b in json.loads(file.read_text())]
    except (OSError, ValueError, TypeError):
        pass
    found = _look_across(indexes, cfg.max_pixels)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as temporary:
            temporary.write_text(json.dumps(found))
    except OSError as error:
        log.warning("copies across sets cannot be kept (%s); paths.cache=", error)
    return found


def _look_across(indexes: Sequence[Index], max_pixels: int) -> list[tuple[int, int]]:
    sizes = [len(index) for index in indexes]
    member, row = np.repeat(np.arange(len(sizes)), sizes), np.concatenate(list(map(range, sizes)))
    hashes = [int(one, 16) for index in indexes for one in index["phash"]]
    digests = [sha for index in indexes for sha in index["sha256"]]
    candidates = [
        (a, b)
        for a, b in near(hashes, RADIUS)
        if member[a] != member[b] and digests[a] != digests[b]
    ]

    def description(at: int) -> Description | None:
        try:
            data = indexes[member[at]].path(int(row[at])).read_bytes()
            return describe(decode(data, max_pixels=max_pixels))
        except (OSError, DecodeError):  # gone or changed since it was indexed
            return None

    found = []
    for a, pairs in groupby(candidates, lambda pair: pair[0]):
        first = description(a)
        for _, b in pairs:
            second = description(b)
            if first and second and same_photograph(first, second):
                found.append((a, b))
    log.info("copies across sets: %d of %d candidates", len(found), len(candidates))
    return found
