"""Several trainings in one command (Hydra's multirun): folds, seeds, settings.

The same command line means the same sweep: asked for again, it goes on where it was stopped,
trains no run twice, and says at the end what all of them give together.
"""

import json
import logging
import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

from filelock import FileLock, Timeout
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from detector.errors import UserError
from detector.rules import FOLLOWS, flat
from detector.run.folder import write_json

log = logging.getLogger(__name__)

# How a run is shown or where its data lie does not make another sweep of it.
ELSEWHERE = ("paths.", "progress=", "data_root=", "data.cache_gb=", "hydra.")


class Sweep(Callback):
    """Hydra's callback: chooses the folder before the first job, sums up after the last."""

    def __init__(self) -> None:
        self.given: list[str] = []  # Hydra's own settings on the command line

    def on_multirun_start(self, config: DictConfig, **kwargs: object) -> None:
        """Sets `hydra.sweep.dir` for this process and, as an override, for each job."""
        modes = "hydra.mode="  # -m, which the command is given anyway
        self.given = [o for o in config.hydra.overrides.hydra if not o.startswith(modes)]
        if any(o.startswith("hydra.sweep.dir=") for o in self.given):
            return
        overrides = list(config.hydra.overrides.task)
        folder = sweep_folder(Path(config.paths.runs).expanduser().resolve(), overrides)
        config.hydra.sweep.dir = str(folder)
        config.hydra.overrides.hydra.append("hydra.sweep.dir=" + _quoted(str(folder)))

    def on_multirun_end(self, config: DictConfig, **kwargs: object) -> None:
        """Writes sweep.json, and the summary where there is one."""
        from detector.run.sweep_report import summarize_sweep  # heavy: --help should be quick

        folder = Path(config.hydra.sweep.dir)
        words = ["python", "-m", "detector.train", "-m", *config.hydra.overrides.task, *self.given]
        try:
            summarize_sweep(folder, shlex.join(words))
        except UserError as error:  # any Exception would become a mere warning of Hydra's
            print(f"error: the runs are whole, but not summed up: {error}", file=sys.stderr)
            raise SystemExit(1) from None


class Job:
    """One training of a sweep, and whether it was started or finished before.

    Args:
        folder: Of the sweep.
        overrides: Of this job, as on the command line of a single run.
    """

    def __init__(self, folder: Path, overrides: list[str]) -> None:
        self.overrides = sorted(o for o in overrides if not o.startswith(ELSEWHERE))
        self.file = folder / "jobs" / f"{_digest(self.overrides)}.json"

    @classmethod
    def of_this_process(cls) -> "Job | None":
        """The job that Hydra runs just now; None outside of a sweep."""
        hydra = HydraConfig.get()
        if OmegaConf.is_missing(hydra.job, "num"):
            return None
        return cls(Path(hydra.sweep.dir), list(hydra.overrides.task))

    @property
    def run(self) -> Path | None:
        """Its run folder; None where there is none, or no longer."""
        try:
            run = Path(json.loads(self.file.read_text(encoding="utf-8"))["folder"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{self.file} is damaged: delete it, and its run starts anew"
            ) from error
        run = (self.file.parent / run).resolve()
        return run if run.is_dir() else None

    def finished(self) -> dict | None:
        """What metrics.json of its run holds; None while it is not finished."""
        if (run := self.run) is None or not (run / "metrics.json").is_file():
            return None
        try:
            return json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{run}/metrics.json is damaged: delete {self.file}") from error

    def check_same(self, cfg: DictConfig) -> None:
        """Refuses to count a run as this job's that was trained with other settings.

        Raises:
            UserError: A default in conf/ has changed since.
        """
        from detector.evaluation.run_files import differing, read_settings

        then = read_settings(self.run / "config.yaml")
        now = flat(OmegaConf.to_container(cfg, resolve=True))
        # A run wrote down the numbers that this word stood for.
        now |= {name: then[name] for name in then if now.get(name) == FOLLOWS}
        if then.get("data.root") != now.get("data.root"):
            log.warning("%s was trained on %s", self.run, then.get("data.root"))
        if other := differing([then, now]):
            name, values = next(iter(other.items()))
            raise UserError(
                f"{self.run} was trained with {name}={values[0]}, now it is {values[-1]}: move"
                f" {self.file.parents[1]} away to train again"
            )

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps other processes from the same job.

        Raises:
            UserError: One is at it already.
        """
        self.file.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.file.with_suffix(".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"another process trains this very job just now ({lock.lock_file})"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def checkpoint(self) -> Path | None:
        """The last.ckpt to go on from, where it was started."""
        last = run / "checkpoints" / "last.ckpt" if (run := self.run) else None
        return last if last and last.is_file() else None

    def note(self, run: Path) -> None:
        """Remembers its run folder, relative to this file, so that all can move together."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        where = os.path.relpath(run.resolve(), self.file.parent.resolve())
        write_json(self.file, {"overrides": self.overrides, "folder": where})


def sweep_folder(runs: Path, overrides: list[str]) -> Path:
    """`<runs>/sweeps/<time>-<digest of the command>`: the one that is there, or a new one."""
    digest = _digest(sorted(o for o in overrides if not o.startswith(ELSEWHERE)))
    there = sorted((runs / "sweeps").glob(f"*-{digest}"))
    if there:
        log.info("going on with %s", there[-1])
        return there[-1]
    return runs / "sweeps" / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}-{digest}"


def _digest(overrides: list[str]) -> str:
    return blake2b("\n".join(overrides).encode(), digest_size=4).hexdigest()


def _quoted(text: str) -> str:
    """As a value of Hydra's grammar, whatever is in it."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
