"""Descriptions of the images of a set, on disk: the search for near copies needs all of them."""

from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from detector.data.nearcopies import Description
from detector.data.scratch import Scratch

_ALIGNED = 8  # bytes, so that points can be read where they lie


class Descriptions(Sequence[Description]):
    """A list of descriptions that takes 24 bytes of memory for each, and 21 kB of disk.

    What is asked for lies on the disk and is read-only; it stays valid after `close`.

    Args:
        folder: As for `Scratch`.

    Raises:
        UserError: There is no room, now or in `append`.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._bytes = Scratch(np.uint8, folder=folder)
        self._phash, self._start = array("Q"), array("q")
        self._shape = array("H")  # points, height and width of each

    def __enter__(self) -> "Descriptions":
        return self

    def __exit__(self, *_: object) -> None:
        self._bytes.close()

    def __len__(self) -> int:
        return len(self._phash)

    def append(self, description: Description) -> None:
        """Add one at the end."""
        d = description
        parts = (d.points.astype(np.float32), d.descriptors, d.thumb)
        content = b"".join(part.tobytes() for part in parts)
        content += bytes(-len(content) % _ALIGNED)
        self._start.append(len(self._bytes))
        self._phash.append(d.phash)
        self._shape.extend((len(d.points), *d.thumb.shape))
        self._bytes.append(np.frombuffer(content, np.uint8))

    def __getitem__(self, row: int) -> Description:
        """One description, by its place."""
        row = range(len(self))[row]  # counts from the end if negative; IndexError beyond
        points, height, width = self._shape[3 * row : 3 * row + 3]
        sizes = (points * 8, points * 32, height * width)
        rest = self._bytes.rows[self._start[row] :]
        at, descriptors, thumb = np.split(rest[: sum(sizes)], np.cumsum(sizes)[:-1])
        return Description(
            self._phash[row],
            at.view(np.float32).reshape(-1, 2),
            descriptors.reshape(-1, 32),
            thumb.reshape(height, width),
        )
