"""Files that take their place in one step, so that whoever reads finds the whole or the old one."""

import glob
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path: Path, *, alone: bool = False) -> Iterator[Path]:
    """The file to write, beside `path`, whose place it takes when the block ends without an error.

    After an error what was at `path` is still there, and what was begun is removed.

    Args:
        path: In a folder that exists by the time that something is written.
        alone: Nobody else writes this file now, by a lock, say: what a process that was killed
            had begun is removed first.

    Yields:
        A path at which there is no file yet. The block may open it anew, but must close it.

    Raises:
        OSError: It cannot take its place.
    """
    if alone:
        for begun in path.parent.glob(f".{glob.escape(path.name)}.????????.tmp"):
            begun.unlink(missing_ok=True)
    # Not the number of the process: threads have the same, and so have machines that share a disk.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        with suppress(OSError):  # where its folder is no folder, the error is about that
            temporary.unlink(missing_ok=True)
