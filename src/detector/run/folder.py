"""The run folder: everything that a reader of a result may ask for."""

import csv
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from detector.errors import UserError
from detector.replacing import replacing

if TYPE_CHECKING:
    from detector.data.load import FaceSet  # heavy

_PACKAGES = [
    "detector",
    "torch",
    "torchvision",
    "lightning",
    "timm",
    "hydra-core",
    "torchmetrics",
    "tensorboard",
    "numpy",
    "pillow",
    "opencv-python-headless",
    "kagglehub",
]


def new_folder(runs: Path, name: str, kind: str = "train") -> Path:
    """Make `<runs>/<kind>/<name>/<time>`, never one that exists.

    Args:
        runs: Folder of all runs.
        name: Usually `<data>-<model>`.
        kind: What is done there; a training gets its `checkpoints` too.

    Raises:
        UserError: The folder cannot be written.
    """
    parent = runs / kind / name
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    try:
        parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, 1000):
            folder = parent / (stamp if attempt == 1 else f"{stamp}-{attempt}")
            try:
                folder.mkdir()
            except FileExistsError:  # another run started in the same second
                continue
            if kind == "train":
                (folder / "checkpoints").mkdir()
            return folder
    except OSError as error:
        raise UserError(f"cannot write runs to {runs} ({error}): set paths.runs") from error
    raise UserError(f"a thousand runs below {parent} started in one second: set paths.runs")


def point_latest(runs: Path, folder: Path) -> None:
    """Let `<runs>/latest` point at a run, in one step; a text file where links are refused."""
    link, temporary = runs / "latest", runs / f".latest.{os.getpid()}"
    target = os.path.relpath(folder, runs)
    if link.is_dir() and not link.is_symlink():
        raise UserError(f"{link} is a folder, but should point at the newest run: move it away")
    temporary.unlink(missing_ok=True)
    try:
        temporary.symlink_to(target, target_is_directory=True)
    except OSError:
        temporary.write_text(target)
    os.replace(temporary, link)


@contextmanager
def _new_text(path: Path) -> Iterator[IO[str]]:
    """A text file that takes the place of `path` when it is complete, and only then."""
    with replacing(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        yield file


def write_json(path: Path, content: Mapping) -> None:
    """Write standard JSON (no NaN), all or nothing."""
    with _new_text(path) as file:
        file.write(json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    """Write a table with a header line, all or nothing."""
    with _new_text(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def write_config(folder: Path, cfg: DictConfig) -> None:
    """The resolved config, as `config.yaml`; of a resumed run with the newest settings."""
    with _new_text(folder / "config.yaml") as file:
        file.write(OmegaConf.to_yaml(cfg, resolve=True))


def write_provenance(folder: Path, known: Mapping) -> None:
    """`environment.json`; each resumption is added under `resumed`."""
    path = folder / "environment.json"
    try:
        first = json.loads(path.read_text())
        known = first | {"resumed": [*first.get("resumed", []), dict(known)]}
    except (FileNotFoundError, ValueError):
        pass
    write_json(path, known)


def _git(*arguments: str) -> str | None:
    """What git says of the repository that this file is tracked in; None without one."""
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def provenance(hardware: Mapping) -> dict:
    """Git revision, versions, machine and command of this process.

    Args:
        hardware: What was chosen to compute on; added as it is.
    """
    # An installed package may lie inside somebody else's repository.
    ours = _git("ls-files", "--error-unmatch", Path(__file__).name) is not None
    changed = _git("status", "--porcelain") if ours else None
    return {
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "git": {
            "revision": _git("rev-parse", "HEAD") if ours else None,
            "uncommitted_changes": None if changed is None else bool(changed),
        },
        "packages": {name: _version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "machine": {
            "system": platform.platform(),
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
        },
        "hardware": dict(hardware),
    }


def write_inputs(folder: Path, cfg: DictConfig, hardware: Mapping, faces: "FaceSet") -> None:
    """Write what a training starts from: config.yaml, provenance.json and split.csv.

    Args:
        folder: Of the run.
        cfg: As it is trained.
        hardware: As `provenance` takes it.
        faces: The set and its split.
    """
    index = faces.index
    write_config(folder, cfg)
    write_provenance(folder, provenance(hardware))
    write_csv(
        folder / "split.csv",
        ("path", "label", "group", "split"),
        zip(index["name"], index["label"], index["group"], faces.parts, strict=True),
    )
