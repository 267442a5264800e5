"""Arrays in temporary files: what grows with a set, and would not fit into memory.

A file has no name from the start (on POSIX), so it is gone when it is closed and when its
process dies. Written with `write`, since a full disk then is an error that can be told; read
through a memory map, whose pages the system drops when it needs them.
"""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import IO

import numpy as np

from detector.errors import UserError

_BUFFER = 1 << 20  # bytes


class Scratch:
    """An array that grows on disk, closed at the latest when nothing refers to it.

    Args:
        dtype: Of its entries.
        width: Entries of a row; None for a one-dimensional array.
        folder: Where; made if missing. None for the system's temporary folder, which also
            serves where the folder cannot be written to.

    Raises:
        UserError: There is no room, now or in `append` or `rows`.
    """

    def __init__(
        self, dtype: np.typing.DTypeLike, width: int | None = None, folder: Path | None = None
    ) -> None:
        self.dtype, self._shape = np.dtype(dtype), () if width is None else (width,)
        self._length, self._rows = 0, np.empty((0, *self._shape), dtype)
        self._file, self._folder = _open(folder)

    def __enter__(self) -> "Scratch":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self._length

    def append(self, rows: np.ndarray) -> None:
        """Add rows, (k) or (k, width) of the dtype."""
        with self._told():
            self._file.write(np.ascontiguousarray(rows, self.dtype).data)
        self._length += len(rows)

    @property
    def rows(self) -> np.ndarray:
        """All rows so far, read-only, on the disk; those of earlier calls stay valid."""
        if len(self._rows) < self._length:
            with self._told():
                self._file.flush()
                whole = np.memmap(self._file, self.dtype, "r", shape=(self._length, *self._shape))
            self._rows = np.asarray(whole)
        return self._rows

    def close(self) -> None:
        """Give the room back, once no array refers to it either."""
        self._rows = np.empty((0, *self._shape), self.dtype)
        # What is still in the buffer would be written now, and a full disk told once more.
        with contextlib.suppress(OSError):
            self._file.close()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise _no_room(self._folder, error) from error


class Runs:
    """Rows that are put in any order and read in order of their first column.

    An external sort: what is put is sorted in runs of `held` rows, each of which goes to disk;
    a range of keys is a piece of each run.

    Args:
        dtypes: Of the columns; the first is the key.
        held: Rows in memory before a run is written.
        folder: As for `Scratch`.
        unique: Drop rows of one run that are equal; for a single column.
    """

    def __init__(
        self,
        dtypes: Sequence[np.typing.DTypeLike],
        *,
        held: int,
        folder: Path | None = None,
        unique: bool = False,
    ) -> None:
        self._columns = [Scratch(dtype, folder=folder) for dtype in dtypes]
        self._limit, self._unique = held, unique
        self._waiting: list[tuple[np.ndarray, ...]] = []
        self._held, self._ends = 0, [0]

    def __enter__(self) -> "Runs":
        return self

    def __exit__(self, *_: object) -> None:
        for column in self._columns:
            column.close()

    def put(self, *columns: np.ndarray) -> None:
        """Add rows: one array a column, of equal length, at most about `held`."""
        self._waiting.append(columns)
        self._held += len(columns[0])
        if self._held >= self._limit:
            self._write()

    def count(self, low: int, last: int) -> int:
        """How many rows have a key from low to last, both included."""
        return sum(stop - start for start, stop in self._pieces(low, last))

    def read(self, low: int, last: int) -> Iterator[tuple[np.ndarray, ...]]:
        """Columns with a key from low to last, run by run, in the order they were put.

        Within a run the rows are sorted by key, equal keys in the order they were put. The
        arrays lie on disk; runs without such keys are left out.
        """
        for start, stop in self._pieces(low, last):
            yield tuple(column.rows[start:stop] for column in self._columns)

    def _pieces(self, low: int, last: int) -> Iterator[tuple[int, int]]:
        self._write()
        keys = self._columns[0].rows
        ends = [keys.dtype.type(low), keys.dtype.type(last)]
        for start, stop in pairwise(self._ends):
            run = keys[start:stop]
            first = int(np.searchsorted(run, ends[0], "left"))
            end = int(np.searchsorted(run, ends[1], "right"))
            if first < end:
                yield start + first, start + end

    def _write(self) -> None:
        if not self._held:
            return
        columns = [np.concatenate(parts) for parts in zip(*self._waiting, strict=True)]
        self._waiting, self._held = [], 0
        if len(columns) == 1:
            columns[0].sort()
        else:
            order = np.argsort(columns[0], kind="stable")
            columns = [column[order] for column in columns]
        if self._unique:
            columns = [sorted_unique(columns[0])]
        for column, file in zip(columns, self._columns, strict=True):
            file.append(column)
        self._ends.append(len(self._columns[0]))


def sorted_unique(values: np.ndarray) -> np.ndarray:
    """Sorted values, each once. (np.unique hashes in newer versions, which is slower here.)"""
    new = np.ones(len(values), bool)
    new[1:] = values[1:] != values[:-1]
    return values[new]


def _open(folder: Path | None) -> tuple[IO[bytes], str]:
    if folder is not None:
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            return tempfile.TemporaryFile(dir=folder, buffering=_BUFFER), str(folder)
    try:
        return tempfile.TemporaryFile(buffering=_BUFFER), tempfile.gettempdir()
    except OSError as error:
        raise _no_room("the system's temporary folder", error) from error


def _no_room(folder: str, error: OSError) -> UserError:
    return UserError(
        f"no temporary file can be written in {folder} ({error.strerror or error}): make room"
        " there, or choose another place with paths.cache= or the variable TMPDIR"
    )
