"""Train a network on a set of faces: `python -m detector.train model=cnn6 data=hardfake`."""

import gc
import os
import shlex
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from detector import cli
from detector.errors import Interrupted
from detector.run.heap import before_torch
from detector.run.ranks import Ranks, joined

if TYPE_CHECKING:
    from detector.run.sweep import Job


def train(cfg: DictConfig, started: Callable[[Path], None] | None = None) -> dict:
    """Train, select on validation, measure, and leave a run folder.

    Args:
        cfg: As `conf/train.yaml` composes it; see `detector.cli.compose`.
        started: Called with the run folder before the first epoch. Where processes are started
            (`trainer=ddp`), it is called in one of them, and travels there as a pickle does.

    Returns:
        What metrics.json holds, and `folder`, the run folder.

    Raises:
        UserError: The config, the data or a checkpoint is unusable; says what to do.
        Interrupted: Ctrl-C; last.ckpt is whole.
    """
    before_torch(cfg.trainer.keep_memory)
    from detector.run.launch import train_with  # heavy: --help should be quick

    with joined(cfg) as ranks:
        return train_with(cfg, ranks, started)


def _main(cfg: DictConfig) -> float | None:
    from hydra.core.hydra_config import HydraConfig

    before_torch(cfg.trainer.keep_memory)
    from detector.run.launch import train_with
    from detector.run.sweep import Job

    job = Job.of_this_process()
    if job:
        gc.collect()  # what the job before has left; else `garbage` would keep it during this one
    try:
        with joined(cfg) as ranks:
            metrics = _once(cfg, job, ranks) if job else train_with(cfg, ranks)
    except Interrupted as stop:
        if job:
            print("interrupted; the same command goes on where it stopped")
            raise SystemExit(130) from None
        overrides = [o for o in HydraConfig.get().overrides.task if not o.startswith("ckpt_path=")]
        words = ["python", "-m", "detector.train", *overrides, f"ckpt_path={stop.checkpoint}"]
        places = [f"{k}={v}" for k, v in os.environ.items() if k.startswith("DETECTOR_")]
        command = shlex.join([*places, *words])
        print(f"interrupted; everything up to the last whole epoch is kept. Go on with:\n{command}")
        raise SystemExit(130) from None
    return metrics["val"]["auroc"]["value"]  # what a sweep maximizes: never the test part


def _once(cfg: DictConfig, job: "Job", ranks: Ranks) -> dict:
    """A job of a sweep: what was finished is not trained again, what was begun goes on."""
    from detector.run.launch import train_with

    with ExitStack() as held:

        def look() -> tuple[dict | None, str | None]:
            held.enter_context(job.alone())
            if (metrics := job.finished()) is not None:
                job.check_same(cfg)
                print(f"done before: {job.run}")
            last = job.checkpoint()
            return metrics, None if last is None else str(last)

        metrics, last = ranks.first(look)
        if metrics is not None:
            return metrics
        if cfg.ckpt_path is None and last:
            cfg.ckpt_path = last
        return train_with(cfg, ranks, job.note)


def main() -> None:
    """Entry point of the console script and of `python -m`."""
    cli.run("train", _main)


if __name__ == "__main__":
    main()
