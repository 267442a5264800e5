"""A synthetic set on disk: made when it is first asked for, and once for each settings.

Every set has a folder of its own, named after its settings. It is made beside its place
and moved there when it is complete, so that what has the name is whole.
"""

import errno
import json
import logging
import os
import secrets
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from hashlib import blake2b
from io import BytesIO
from multiprocessing import get_context, parent_process, spawn
from pathlib import Path
from threading import Thread

import numpy as np
from filelock import FileLock, Timeout
from PIL import Image
from PIL import __version__ as pillow_version

from detector.data.synthetic.plan import Picture, Settings, bits, plan, read_settings
from detector.data.synthetic.table import NAME as TABLE
from detector.data.synthetic.table import mask_name, row, write_table
from detector.data.tree import SHEET, absolute, check_folder, image_names
from detector.errors import UserError

log = logging.getLogger(__name__)

LAYOUT = 1  # raised when the files change that lie around the pictures
# Many small array operations hold the interpreter's lock, so threads gain nothing (12.3 s with
# one, 13.6 s with two for 300 faces); processes do, but starting them takes seconds.
PROCESSES_FROM = 100  # pictures
AT_ONCE = 4  # pictures that a process is told of at once

ABOUT = "about.json"
FOLDERS = ("training_fake", "training_real", "masks/training_fake", "masks/training_real")
# Colours of the 16 sums of 1 left eye, 2 right eye, 4 nose, 8 mouth; 0 is black.
PALETTE = (
    (0, 0, 0), (230, 60, 60), (60, 130, 255), (200, 90, 230),
    (70, 200, 70), (255, 225, 25), (60, 220, 220), (250, 250, 250),
    (255, 120, 0), (150, 60, 20), (30, 70, 150), (250, 170, 220),
    (20, 110, 60), (120, 120, 0), (100, 170, 210), (160, 160, 160),
)  # fmt: skip


def make_set(
    root: Path | str,
    *,
    synthetic: Mapping | None = None,
    progress: Callable[[int, int], None] | None = None,
    workers: int | None = None,
) -> Path:
    """Returns the folder of the set with these settings; makes it when there is none.

    It holds `training_fake`, `training_real`, `masks` (palette PNGs whose values are the
    parts that were treated), `faces.csv`, `about.json` and `sheet.jpg`. The same settings
    give the same bytes on any number of cores. Of several processes one makes the set and
    the others wait; one that dies leaves nothing that counts as a set. A set from which
    files are missing is refused and left as it is: the files may be wanted elsewhere.

    Args:
        root: Folder of all synthetic sets; `~` is expanded.
        synthetic: The `synthetic` group of the config.
        progress: Called with pictures done and pictures in all.
        workers: Pictures made at a time; None for one a core.

    Raises:
        UserError: The settings make no sense, the set that is there is damaged, or the
            disk is full or cannot be written.
    """
    settings = read_settings(synthetic)
    from detector.data.synthetic.portrait import VERSION  # loads OpenCV

    root = absolute(root)
    folder = root / folder_name(settings, VERSION)
    try:
        if root.exists():
            check_folder(root)
        if not _whole(folder, settings):
            # Else a script without the usual guard, imported by a process that it started to
            # draw, would wait here for itself.
            spawn._check_not_importing_main()
            with _alone(root):
                if not _whole(folder, settings):  # another process may have made it
                    _make(folder, settings, VERSION, progress, workers)
    except BrokenExecutor as error:
        raise UserError(
            f"{folder} cannot be made: the processes that draw died; either the memory is full, or"
            " a script calls this without if __name__ == '__main__':"
        ) from error
    except OSError as error:
        reason = error.strerror or error
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            reason = "the disk is full"
        raise UserError(
            f"{folder} cannot be made ({reason}): set data.root= to a folder that can be written"
            " and has room"
        ) from error
    return folder


def folder_name(settings: Settings, version: int) -> str:
    """Name of a set's folder: what is read most, and a digest of everything."""
    everything = json.dumps([LAYOUT, version, asdict(settings)], sort_keys=True)
    digest = blake2b(everything.encode(), digest_size=4).hexdigest()
    return f"n{settings.n}-size{settings.size}-seed{settings.seed}-{digest}"


def mask_image(mask: np.ndarray) -> Image.Image:
    """A mask in colours; its pixels are still the sums of parts.

    Args:
        mask: uint8 (height, width), below 16.
    """
    image = Image.fromarray(mask)
    image.putpalette([value for color in PALETTE for value in color])
    return image


def _whole(folder: Path, settings: Settings) -> bool:
    """Whether the set is there; one that is not whole any more is an error."""
    if not folder.exists():
        return False
    wanted = (settings.n // 2, settings.n - settings.n // 2)
    lacks = [name for name in (ABOUT, TABLE) if not (folder / name).is_file()]
    for name, count in zip(FOLDERS, wanted * 2, strict=True):
        found = sum(1 for _ in image_names(folder, name)) if (folder / name).is_dir() else 0
        if found != count:
            lacks.append(f"{found} of {count} pictures in {name}")
    if lacks:
        raise UserError(
            f"{folder} is not as it was made (see {', '.join(lacks)}):"
            " move it away, and the same command makes it anew"
        )
    return True


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Holds the lock on all sets; the system lifts it from a process that dies."""
    root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(root / ".make.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("another process is making faces in %s: waiting for it", root)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _make(
    folder: Path,
    settings: Settings,
    version: int,
    progress: Callable[[int, int], None] | None,
    workers: int | None,
) -> None:
    from detector.data.synthetic.portrait import portrait
    from detector.data.synthetic.sheet import sheet

    started, pictures = time.monotonic(), plan(settings)
    log.info("making %d faces in %s", len(pictures), folder)
    # A name of its own: of a maker that was killed, the processes that draw go on for a moment,
    # without the lock where they were spawned or filelock closes it in what is forked.
    staging = folder.parent / f".making-{secrets.token_hex(4)}"
    _sweep(folder.parent)
    try:
        for name in FOLDERS:
            (staging / name).mkdir(parents=True)
        rows = []
        pool = _pool(len(pictures), workers or os.cpu_count() or 1)
        try:
            draw = partial(_draw, portrait, settings.size, staging)
            # By number, so that the times of the files tell nothing of the class.
            order = sorted(pictures, key=lambda picture: picture.seed[2])
            for done, made in enumerate(pool.map(draw, order, chunksize=AT_ONCE), 1):
                rows.append(made)
                if progress:
                    progress(done, len(pictures))
        finally:
            pool.shutdown(cancel_futures=True)
        write_table(staging / TABLE, sorted(rows, key=lambda made: made["name"]))
        (staging / ABOUT).write_text(json.dumps(_about(settings, version), indent=2) + "\n")
        sheet(staging, staging / SHEET)
        staging.rename(folder)
    finally:
        _sweep(folder.parent)
    log.info("made %d faces in %.0f s", len(pictures), time.monotonic() - started)


def _sweep(root: Path) -> None:
    """Removes what was begun in `root`, by whomever: call with the lock, so that none lives."""
    for begun in root.glob(".making-????????"):
        shutil.rmtree(begun, ignore_errors=True)


def _pool(pictures: int, workers: int) -> Executor:
    if pictures < PROCESSES_FROM or workers == 1:
        return ThreadPoolExecutor(workers)
    return ProcessPoolExecutor(workers, mp_context=get_context(), initializer=_start_worker)


def _start_worker() -> None:
    # Of a parent that is killed, a worker would wait for work for ever.
    Thread(target=_leave_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent answers Ctrl-C
    import cv2

    # A core each is all there is. Not 1: that would ask OpenCV's pool of threads to stop, which
    # a fork does not copy, and wait for them for ever.
    cv2.setNumThreads(0)


def _leave_with_parent() -> None:
    parent_process().join()
    os._exit(1)


def _draw(portrait: Callable, size: int, folder: Path, picture: Picture) -> dict[str, object]:
    """Writes a picture and its mask; returns its line of the table."""
    made = portrait(
        picture.seed,
        size=size,
        difficulty=picture.difficulty,
        parts=picture.parts,
        fake=picture.fake,
    )
    packed = BytesIO()  # Pillow's own errors of writing do not tell that the disk is full
    mask_image(made.mask).save(packed, "PNG", bits=8)
    (folder / picture.name).write_bytes(made.jpeg)
    (folder / mask_name(picture.name)).write_bytes(packed.getvalue())
    parts = bits(picture.parts)
    return row(picture.name, picture.difficulty, parts, picture.seed, made.landmarks, made.traits)


def _about(settings: Settings, version: int) -> dict:
    """What about.json holds; no times, so that the same settings give the same file."""
    import cv2

    return {
        "settings": asdict(settings),
        "version": version,
        "layout": LAYOUT,
        "packages": {"numpy": np.__version__, "opencv": cv2.__version__, "pillow": pillow_version},
    }
