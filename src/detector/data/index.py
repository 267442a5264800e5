"""The index of a set: what is known about each file before any network sees it.

One streaming pass reads every file once. The result is cached as JSON, keyed by
the names, sizes and times of the files, so that a second run starts at once.
"""

import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from itertools import chain
from pathlib import Path

import numpy as np

from detector.data.ahead import in_order
from detector.data.decode import DecodeError, decode, quantization_id, read_header
from detector.data.descriptions import Descriptions
from detector.data.long_json import pieces
from detector.data.nearcopies import Description, describe, find_pairs, listed_pairs
from detector.data.phash import phash
from detector.data.sources import Item, Listing
from detector.errors import UserError
from detector.replacing import replacing

log = logging.getLogger(__name__)

UNIQUE = ("name", "sha256", "phash", "group")  # columns with hardly a text twice
VERSION = 2  # raise it when an index made by older code would differ


@dataclass
class Index:
    """Columns of equal length, one entry a readable file, sorted by name.

    Args:
        name: Name of the set.
        root: Folder that the names are relative to.
        class_names: Names of labels 0 and 1; for faces `fake` and `real`.
        columns: `name`, `label`, `split` ('' where the set brings none), `group`,
            `sha256`, `phash` (16 hex digits), `bytes`, `format`, `mode`, `width` and
            `height` (stored, in pixels), `quantization` (key into `tables`), and what
            the set itself knows, such as `difficulty`, `eye_left`.
        tables: JPEG quantization tables by their key.
        pairs: Two rows each that belong together, why (`copy`: the same photograph, edited
            or not; `shoot`: the next frame; `part`: a piece of one face pasted into the
            other) and how they were found (`features`, `hash`, `identical`, or `listed`: by
            eye).
        corrupt: Names of unreadable files, and why.
    """

    name: str
    root: str
    class_names: tuple[str, str]
    columns: dict[str, list]
    tables: dict[str, list] = field(default_factory=dict)
    pairs: list[tuple[int, int, str, str]] = field(default_factory=list)
    corrupt: list[tuple[str, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.columns["name"])

    def __getitem__(self, column: str) -> list:
        return self.columns[column]

    @property
    def labels(self) -> np.ndarray:
        """int64 (N): 0 or 1."""
        return np.asarray(self.columns["label"], np.int64)

    def path(self, row: int) -> Path:
        """File of one row."""
        return Path(self.root) / self.columns["name"][row]

    def knows(self, column: str) -> np.ndarray:
        """bool (N): whether the set that an image is of has such a column."""
        return np.full(len(self), column in self.columns)

    def aliases(self) -> list[set[str]]:
        """Names that the group of each image may have elsewhere: a group is called after one of
        its files, and a file that stands alone is a group."""
        both = zip(self["group"], self["sha256"], strict=True)
        return [{group, digest[:16]} for group, digest in both]


def group_names(digests: Sequence[str], pairs: Sequence[tuple]) -> list[str]:
    """Join copies and paired pictures into groups.

    Args:
        digests: sha256 of each file (N).
        pairs: Two rows each, in the first two places.

    Returns:
        Group of each row (N): the first 16 digits of the group's smallest digest, so
        that it depends on the pictures alone.
    """
    parent = list(range(len(digests)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = row = parent[parent[row]]
        return row

    first: dict[str, int] = {}
    same = ((first.setdefault(digest, row), row) for row, digest in enumerate(digests))
    for a, b, *_ in chain(same, pairs):
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    smallest: dict[int, str] = {}
    for row, digest in enumerate(digests):
        top = root(row)
        smallest[top] = min(smallest.get(top, digest), digest)
    return [smallest[root(row)][:16] for row in range(len(digests))]


def load_index(
    name: str,
    root: Path,
    listing: Listing,
    *,
    max_pixels: int,
    skip_corrupt: bool,
    near_copies: bool,
    cache_dir: Path,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Index:
    """Read the index from its cache, or make it.

    Args:
        name: Name of the set; `detector/data/pairs/<name>.csv` may list known pairs.
        root: Folder that the names are relative to.
        listing: The files and what the set says of them.
        max_pixels: Larger pictures count as unreadable.
        skip_corrupt: Go on without unreadable files instead of refusing.
        near_copies: Look for pictures of one photograph; not for sets with own splits.
        cache_dir: Where indexes are kept, and temporary files of the search for near copies:
            35 kB an image and, where all are alike, up to 450 more.
        workers: Threads that read; None for one a core.
        progress: Called with files done and files in all.

    Raises:
        UserError: There are unreadable files and `skip_corrupt` is false, or all are; or there
            is no room for the temporary files.
    """
    near_copies = near_copies and not listing.own_splits
    file = (
        cache_dir / "index" / f"{name}-{_fingerprint(name, listing, max_pixels, near_copies)}.json"
    )
    index = _read(file)
    if index is None:
        log.info("indexing %s: %d files below %s", name, len(listing.items), root)
        folder = file.parent if near_copies else None
        index = _build(name, root, listing, max_pixels, folder, workers, progress)
        _write(index, file)
    index.root = str(root)
    _report(index, skip_corrupt)
    return index


def _known_pairs(name: str) -> Path:
    return Path(__file__).parent / "pairs" / f"{name}.csv"


def _fingerprint(name: str, listing: Listing, max_pixels: int, near_copies: bool) -> str:
    known = _known_pairs(name)
    known = known.read_bytes() if near_copies and known.exists() else b""
    settings = (VERSION, max_pixels, near_copies, tuple(listing.class_names), known)
    digest = blake2b(repr(settings).encode(), digest_size=8)
    for item in listing.items:
        stat = item.path.stat()
        digest.update(
            repr(
                (item.name, item.label, item.split, item.extra, stat.st_size, stat.st_mtime_ns)
            ).encode()
        )
    return digest.hexdigest()


def _read(file: Path) -> Index | None:
    try:
        content = json.loads(file.read_text())
        content["columns"] = {k: _shared(k, v) for k, v in content["columns"].items()}
        return Index(
            **content
            | {
                "class_names": tuple(content["class_names"]),
                "pairs": [tuple(pair) for pair in content["pairs"]],
                "corrupt": [tuple(entry) for entry in content["corrupt"]],
            }
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        log.warning("the cached index %s is unreadable (%s); making it again", file, error)
        return None


def _write(index: Index, file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as temporary, open(temporary, "w", encoding="utf-8") as opened:
            for piece in pieces(vars(index)):
                opened.write(piece)
    except OSError as error:
        log.warning("the index cannot be kept (%s); paths.cache= names another place", error)


def _shared(key: str, column: list) -> list:
    """The same values, equal texts but once in memory; most columns have few."""
    if key in UNIQUE or not (column and isinstance(column[0], str)):
        return column
    once: dict[str, str] = {}
    return [once.setdefault(value, value) for value in column]


def _look(item: Item, max_pixels: int, near_copies: bool) -> tuple[dict, Description | None, tuple]:
    data = item.path.read_bytes()
    header, image = read_header(data), decode(data, max_pixels=max_pixels)
    description = describe(image) if near_copies else None
    row = {
        "name": item.name,
        "label": item.label,
        "split": item.split,
        "sha256": sha256(data).hexdigest(),
        "phash": f"{phash(image) if description is None else description.phash:016x}",
        "bytes": len(data),
        "format": header.format,
        "mode": header.mode,
        "width": header.width,
        "height": header.height,
        "quantization": quantization_id(header.quantization),
        **item.extra,
    }
    return row, description, header.quantization


def _build(
    name: str,
    root: Path,
    listing: Listing,
    max_pixels: int,
    scratch: Path | None,
    workers: int | None,
    progress: Callable[[int, int], None] | None,
) -> Index:
    """The one streaming pass; a file that cannot be read becomes a line in `corrupt`.

    Near copies are looked for where there is a folder for the temporary files of the search.
    """

    def look(item: Item) -> tuple | str:
        try:
            return _look(item, max_pixels, scratch is not None)
        except (DecodeError, OSError) as error:
            return str(error).splitlines()[0]

    columns: dict[str, list] = {}
    once: dict[str, str] = {}  # equal texts of all columns, such as formats
    tables, corrupt, pairs = {}, [], []
    threads = workers or os.cpu_count() or 1
    # Threads suffice: reading, decoding and hashing all release the interpreter's lock.
    with Descriptions(scratch) as descriptions, ThreadPoolExecutor(threads) as pool:
        seen_in_order = in_order(pool, look, listing.items)
        for done, (item, seen) in enumerate(zip(listing.items, seen_in_order, strict=True), 1):
            if isinstance(seen, str):
                corrupt.append((item.name, seen))
            else:
                row, description, quantization = seen
                columns = columns or {key: [] for key in row}
                for key, column in columns.items():
                    value = row[key]
                    if key not in UNIQUE and isinstance(value, str):
                        value = once.setdefault(value, value)
                    column.append(value)
                if description is not None:
                    descriptions.append(description)
                tables.setdefault(row["quantization"], quantization)
            if progress:
                progress(done, len(listing.items))
        if len(descriptions):
            pairs = _pairs(name, columns["name"], descriptions, scratch)
    tables.pop("", None)
    columns = columns or {"name": []}
    if columns["name"]:
        columns["group"] = group_names(columns["sha256"], pairs)
    tables = {key: [list(table) for table in value] for key, value in tables.items()}
    return Index(name, str(root), tuple(listing.class_names), columns, tables, pairs, corrupt)


def _pairs(
    name: str, names: list[str], descriptions: Sequence[Description], scratch: Path | None
) -> list[tuple]:
    found = {(p.a, p.b): (p.kind, p.method) for p in find_pairs(descriptions, scratch)}
    known = _known_pairs(name)
    if known.exists():  # what somebody saw goes before what was computed
        by_name = {Path(entry).name: at for at, entry in enumerate(names)}
        found |= {(a, b): (kind, "listed") for a, b, kind in listed_pairs(by_name, known)}
    return [(int(a), int(b), kind, method) for (a, b), (kind, method) in sorted(found.items())]


def _report(index: Index, skip_corrupt: bool) -> None:
    total = len(index) + len(index.corrupt)
    if index.corrupt:
        some = "; ".join(f"{Path(index.root) / name}: {why}" for name, why in index.corrupt[:5])
        more = f"; and {len(index.corrupt) - 5} more" if len(index.corrupt) > 5 else ""
        message = f"{len(index.corrupt)} of {total} files of {index.name} are unreadable: {some}"
        if not skip_corrupt:
            raise UserError(
                f"{message}{more} (repair or remove them, or go on without: data.skip_corrupt=true)"
            )
        log.warning("%s%s; going on without them", message, more)
    if not len(index):
        raise UserError(f"no file of {index.name} below {index.root} is a readable picture")
    copies = len(index) - len(set(index["sha256"]))
    kinds = Counter(kind for _, _, kind, _ in index.pairs)
    log.info(
        "%s: %d images (%s), %d byte-identical copies, %d pairs that belong together%s, %d groups",
        index.name,
        len(index),
        ", ".join(f"{int((index.labels == k).sum())} {n}" for k, n in enumerate(index.class_names)),
        copies,
        len(index.pairs),
        f" ({', '.join(f'{n} {kind}' for kind, n in kinds.most_common())})" if kinds else "",
        len(set(index["group"])),
    )
