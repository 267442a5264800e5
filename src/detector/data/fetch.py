"""Where a data set's files are: on disk, or else fetched from Kaggle.

Everything that is fetched goes below the set's own folder: kagglehub works in
`.download` there, which is what lets a broken download resume and the result move into
place in one step. Files that are found are used as they are, without a network.
"""

import errno
import logging
import os
import re
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from detector.data.sources import Listing, list_items
from detector.data.tree import LayoutError, absolute
from detector.errors import UserError

log = logging.getLogger(__name__)

_CACHE = "KAGGLEHUB_CACHE"  # kagglehub reads it at each call
# Exceptions of requests, by name, since importing it would cost what kagglehub costs.
_OFFLINE = {"ConnectionError", "Timeout", "ChunkedEncodingError"}
_HANDLE = re.compile(r"[\w.-]+/[\w.-]+(/versions/(?P<version>\d+))?")


class _FetchError(Exception):
    """Why a set could not be fetched, to stand in the middle of a message."""


def ensure(
    name: str,
    root: Path | str,
    *,
    source: str,
    kaggle: str | None,
    page: str | None,
    counts: Mapping[str, int] | None,
    **options: object,
) -> Path:
    """Returns the folder with a set's files; fetches them when there are none.

    Looked for in this order: `root` at any depth, then kagglehub's own cache. What is
    found is used, and other counts than the full set's are only logged, since a part of
    a set is a fair thing to train on. What is downloaded must have the full counts. Of
    several processes one downloads and the others wait; one that dies leaves nothing
    that counts as a set, and the next one resumes.

    Args:
        name: The set's name, for messages.
        root: The set's folder; `~` is expanded.
        source: A key of `detector.data.sources.SOURCES`.
        kaggle: kagglehub's handle, `owner/name/versions/N`; None: never fetched.
        page: Where a person can download the set.
        counts: Images of each class in the full set, by class name; None: not checked.
        **options: Passed on to `list_items`.

    Raises:
        UserError: The set is not there and could not be fetched whole.
    """
    root = absolute(root)
    given = {"source": source, "counts": counts, "options": options}
    try:
        return _found(name, root, **given)
    except LayoutError as error:
        absent = f"{name}: {error}"
    if not kaggle:
        raise UserError(f"{absent}; set data.root= to the folder that holds the images")
    if not _HANDLE.fullmatch(kaggle):
        raise UserError(f"data.kaggle={kaggle} is no handle: write owner/name/versions/N")
    if (cached := _in_cache(kaggle)) is not None:
        try:
            return _found(name, cached, **given)
        except LayoutError:
            log.info("%s in kagglehub's cache is not whole", cached)
    if root.is_dir() and (archives := sorted(root.glob("*.zip"))):
        raise UserError(f"{name} is still packed: unpack {archives[0]} into {root}")
    log.info("%s; fetching %s from Kaggle", absent, kaggle)
    try:
        with _alone(root):
            try:  # another process may have fetched it while this one waited
                return _found(name, root, **given)
            except LayoutError:
                return _fetch(root, kaggle, **given)
    except _FetchError as error:
        raise UserError(
            f"{absent}; fetching failed: {error}; download it from {page} and unpack it into "
            f"{root}, or set data.root= to the folder that holds it"
        ) from error


def _found(
    name: str, root: Path, *, source: str, counts: Mapping[str, int] | None, options: Mapping
) -> Path:
    listing = list_items(source, root, **options)
    if wrong := _off(listing, counts):
        log.warning("%s in %s is not the full set: %s", name, listing.root, wrong)
    return listing.root


def _off(listing: Listing, counts: Mapping[str, int] | None) -> str:
    """Empty, or how the counts found differ from those expected."""
    found = listing.counts
    if counts is None or all(found.get(name) == count for name, count in counts.items()):
        return ""
    return ", ".join(f"{found.get(name, 0)} of {count} {name}" for name, count in counts.items())


def _in_cache(kaggle: str) -> Path | None:
    """The set in kagglehub's own cache, where kagglehub marked it complete."""
    base = Path(os.environ.get(_CACHE) or "~/.cache/kagglehub").expanduser() / "datasets"
    owner, slug, *version = kaggle.split("/")
    if version and (base / owner / slug / f"{version[1]}.complete").exists():
        return base / kaggle
    return None


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Holds the lock on a set's folder; the system lifts it from a process that dies."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / ".fetch.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("another process is fetching into %s: waiting for it", root)
            lock.acquire()
    except OSError as error:
        raise _FetchError(f"{root} cannot be written ({error.strerror or error})") from error
    try:
        yield
    finally:
        lock.release()


def _fetch(
    root: Path, kaggle: str, *, source: str, counts: Mapping[str, int] | None, options: Mapping
) -> Path:
    version = _HANDLE.fullmatch(kaggle)["version"]
    target, staging = root / f"kaggle-{version or 'latest'}", root / ".download"
    if target.is_dir() and any(target.iterdir()):
        raise _FetchError(f"{target} is in the way and not whole, remove it to fetch it again")
    try:
        arrived = _download(kaggle, staging)
    except Exception as error:
        raise _FetchError(_reason(kaggle, staging, error)) from error
    try:
        listing = list_items(source, arrived, **options)
        wrong = _off(listing, counts)
    except UserError as error:
        wrong = str(error)
    if wrong:
        for marker in staging.glob("datasets/*/*/*.complete"):  # or it would not be fetched again
            marker.unlink()
        raise _FetchError(
            f"{kaggle} did not arrive whole ({wrong}), the same command fetches it again and "
            f"data.root={arrived} uses it as it is"
        )
    try:
        _install(arrived, target, staging)
    except OSError as error:
        raise _FetchError(f"{arrived} cannot be moved to {target} ({error})") from error
    return target / listing.root.relative_to(arrived)


def _download(kaggle: str, staging: Path) -> Path:
    """Runs kagglehub with its cache in `staging`; its `output_dir` would not resume."""
    before = os.environ.get(_CACHE)
    os.environ[_CACHE] = str(staging)
    try:
        import kagglehub  # here, since it costs .4 s and is hardly ever needed

        return absolute(kagglehub.dataset_download(kaggle))
    finally:
        if before is None:
            del os.environ[_CACHE]
        else:
            os.environ[_CACHE] = before


def _install(arrived: Path, target: Path, staging: Path) -> None:
    if target.is_symlink():
        target.unlink()
    elif target.exists():
        target.rmdir()
    if arrived.is_relative_to(staging):
        arrived.rename(target)
        shutil.rmtree(staging, ignore_errors=True)
    else:  # Kaggle and Colab notebooks mount their sets, read-only
        target.symlink_to(arrived, target_is_directory=True)


def _reason(kaggle: str, staging: Path, error: Exception) -> str:
    """Why fetching failed and whether it will resume; clears what cannot."""
    cause = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    status = getattr(getattr(error, "response", None), "status_code", None)
    code = getattr(error, "errno", None)
    broken = isinstance(error, zipfile.BadZipFile | tarfile.TarError | zlib.error | EOFError)
    if broken or cause.startswith(("DataCorruptionError", "ValueError: Unsupported archive")):
        # kagglehub would take the damaged archive for complete and fail on it for ever.
        shutil.rmtree(staging, ignore_errors=True)
        return f"the download was damaged and is removed, the same command starts anew ({cause})"
    if isinstance(error, ImportError):
        reason = f"kagglehub cannot be imported, pip install kagglehub ({cause})"
    elif status in (401, 403, 404):
        reason = f"Kaggle refuses {kaggle}, correct data.kaggle= or set KAGGLE_API_TOKEN ({cause})"
    elif code in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(staging.parent).free / 1e9
        reason = f"the disk is full, {free:.1f} GB are free ({cause})"
    elif _OFFLINE & {base.__name__ for base in type(error).__mro__}:
        reason = f"no connection to Kaggle ({type(error).__name__})"
    else:
        reason = f"kagglehub failed ({cause})"
    if any(staging.glob("datasets/*/*/*.archive")):
        return f"{reason}, what has arrived is kept and the same command resumes"
    shutil.rmtree(staging, ignore_errors=True)
    return reason
