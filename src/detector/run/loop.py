"""Lightning's loop with what watches it: curves, pictures, heatmaps, checkpoints."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig

from detector.data.index import Index
from detector.data.joint import JointIndex
from detector.data.preprocess import Preprocess
from detector.run.checkpoints import Checkpoints, StreamedIO
from detector.run.ddp import Together, trainer_options
from detector.run.ema import AveragedWeights
from detector.run.hardware import Hardware
from detector.run.huge_pages import HugePages
from detector.run.part_curves import PartCurves
from detector.run.pictures import Pictures
from detector.run.ranks import Ranks
from detector.run.set_curves import SetCurves


def callbacks(
    cfg: DictConfig,
    index: Index,
    preprocess: Preprocess,
    folder: Path,
    ranks: Ranks,
    watching: Sequence[Callback],
    bits: np.ndarray | None,
) -> list[Callback]:
    """Everything that watches a training, in its order; checkpoints not included.

    Args:
        cfg: As `conf/train.yaml` composes it.
        index: The set.
        preprocess: The network's.
        folder: Of the run.
        ranks: The processes that train together.
        watching: Progress and history.
        bits: int8 (N, P) of the set, for a part head; None where there is none.
    """
    first: list[Callback] = []  # the others see the average, and what all processes measured
    if cfg.ema.decay is not None:
        first.append(AveragedWeights(cfg.ema.decay))
    if ranks.world > 1:
        first.append(Together(ranks))
    threshold = cfg.calibration.threshold  # the best one is known after training
    threshold = 0.5 if threshold == "best" else threshold
    made = [*first, *watching, Pictures(index.class_names, threshold)]
    if isinstance(index, JointIndex):
        made.append(SetCurves(index))
    if bits is not None:
        made.append(PartCurves(bits))
    if cfg.heatmaps.every:
        from detector.explain.callback import Heatmaps  # seconds, which not all need

        options = {key: cfg.heatmaps[key] for key in ("every", "images", "method")}
        made.append(Heatmaps(folder, preprocess, index.class_names, **options))
    if cfg.early_stopping.patience is not None:
        made.append(
            EarlyStopping(
                cfg.select.monitor,
                mode=cfg.select.mode,
                patience=cfg.early_stopping.patience,
                min_delta=cfg.early_stopping.min_delta,
            )
        )
    return made


def make_trainer(
    cfg: DictConfig,
    hardware: Hardware,
    ranks: Ranks,
    folder: Path,
    watching: Sequence[Callback],
    checkpoints: Checkpoints,
    *,
    purge_step: int | None,
    bar: bool,
) -> L.Trainer:
    """Lightning's Trainer as it is used here.

    Args:
        cfg: As `conf/train.yaml` composes it.
        hardware: What to compute on.
        ranks: The processes that train together.
        folder: Of the run.
        watching: As `callbacks` gives them.
        checkpoints: Comes after all of these.
        purge_step: From where TensorBoard drops what a killed run wrote; None for nothing.
        bar: Whether to show Lightning's progress bar.
    """
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)  # it repeats what is said here
    logger = TensorBoardLogger(
        folder, name=None, version="tensorboard", default_hp_metric=False, purge_step=purge_step
    )
    # Not where memory is short: a large page is taken whole where a part of it was.
    large = hardware.accelerator == "cpu" and cfg.trainer.keep_memory is not False
    pages = [HugePages()] if large else []
    return L.Trainer(
        accelerator=hardware.accelerator,
        precision=hardware.precision,
        **trainer_options(ranks, thaws=isinstance(cfg.model.freeze, int)),
        max_epochs=cfg.trainer.max_epochs,
        accumulate_grad_batches=cfg.trainer.accumulate_grad_batches,
        gradient_clip_val=cfg.trainer.gradient_clip_val,
        limit_train_batches=cfg.trainer.limit_train_batches,
        # cuDNN otherwise picks sums in a new order each time; CPU and MPS need no switch
        deterministic="warn" if hardware.accelerator == "gpu" else None,
        callbacks=[*watching, *pages, checkpoints],
        plugins=[StreamedIO()],
        logger=logger,
        enable_progress_bar=bar,
        enable_model_summary=False,
        enable_checkpointing=True,
        num_sanity_val_steps=0,  # would draw random numbers that a resumed run does not
        log_every_n_steps=1,  # nothing is logged by step; Lightning warns of higher numbers
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Within it, Lightning does not warn of what is meant."""
    with warnings.catch_warnings():
        # Few loader processes are a choice here, explained in the log.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*persistent_workers=True.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*is deprecated.*")
        # What is logged is the same in all processes.
        warnings.filterwarnings("ignore", message=".*sync_dist=True.*")
        yield
