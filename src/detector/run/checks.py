"""What can be wrong in a config, said before anything is read or trained."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from omegaconf import DictConfig, ListConfig

from detector.errors import UserError
from detector.run.optim import check_optimizer

MONITORS = tuple(f"{p}/{m}" for p in ("val", "train") for m in ("auroc", "accuracy", "loss"))


def check_config(cfg: DictConfig) -> None:
    """Refuse values that cannot work.

    Raises:
        UserError: Names the setting and what it may be.
    """

    def whole(key: str, low: int, optional: bool = False) -> None:
        node = cfg
        for step in key.split("."):
            node = node[step]
        fine = isinstance(node, int) and not isinstance(node, bool) and node >= low
        if not fine and not (optional and node is None):
            raise UserError(f"{key}={node}: give a whole number of at least {low}")

    whole("seed", 0)
    whole("trainer.max_epochs", 1)
    whole("trainer.accumulate_grad_batches", 1)
    whole("early_stopping.patience", 1, optional=True)
    whole("metrics.replicates", 100)
    whole("data.split.seed", 0)
    check_optimizer(cfg.optimizer, cfg.schedule)
    if cfg.select.monitor not in MONITORS:
        raise UserError(f"select.monitor={cfg.select.monitor}: choose one of {', '.join(MONITORS)}")
    wanted = "min" if cfg.select.monitor.endswith("loss") else "max"
    if cfg.select.mode != wanted:
        raise UserError(f"select.mode={cfg.select.mode}: {cfg.select.monitor} wants {wanted}")
    threshold = cfg.metrics.threshold
    if not isinstance(threshold, (int, float)) or not 0 < threshold < 1:
        raise UserError(f"metrics.threshold={threshold}: give a number between 0 and 1")
    limit = cfg.trainer.limit_train_batches
    if isinstance(limit, bool) or not isinstance(limit, (int, float)) or limit <= 0:
        raise UserError(f"trainer.limit_train_batches={limit}: give a share or a number above 0")
    clip = cfg.trainer.gradient_clip_val
    if clip is not None and (
        isinstance(clip, bool) or not isinstance(clip, (int, float)) or clip <= 0
    ):
        raise UserError(f"trainer.gradient_clip_val={clip}: give null or a number above 0")
    delta = cfg.early_stopping.min_delta
    if isinstance(delta, bool) or not isinstance(delta, (int, float)) or delta < 0:
        raise UserError(f"early_stopping.min_delta={delta}: give a number of at least 0")
    if not isinstance(cfg.evaluate_test, bool):
        raise UserError(f"evaluate_test={cfg.evaluate_test}: give true or false")


def class_weights(
    setting: str | Sequence | None, labels: np.ndarray, parts: np.ndarray
) -> tuple[float, float] | None:
    """Weights of the two classes in the loss.

    Args:
        setting: None, `balanced` (inverse frequency in the train part, mean 1), or two numbers.
        labels: int (N).
        parts: str (N).

    Raises:
        UserError: It is none of these.
    """
    if setting is None:
        return None
    if setting == "balanced":
        counts = np.bincount(labels[parts == "train"], minlength=2)
        return tuple(float(counts.sum() / (2 * count)) for count in counts)
    if (
        isinstance(setting, (list, tuple, ListConfig))
        and len(setting) == 2
        and all(isinstance(w, (int, float)) and 0 < w < math.inf for w in setting)
    ):
        return float(setting[0]), float(setting[1])
    raise UserError(f"class_weights={setting}: give null, balanced, or two numbers above 0")


def check_resume(checkpoint: dict, card: dict, path: Path, max_epochs: int) -> None:
    """Refuse to go on from the checkpoint of another training.

    Args:
        checkpoint: As `read_checkpoint` gives it.
        card: Of the training that is asked for.
        path: Where the checkpoint came from.
        max_epochs: Of the training that is asked for.

    Raises:
        UserError: It holds weights only, or another network, set or split.
    """
    if "optimizer_states" not in checkpoint:
        raise UserError(f"ckpt_path={path} holds weights only: go on from the last.ckpt beside it")
    theirs = checkpoint["detector"]
    for key, what in (
        ("network", "network"),
        ("preprocess", "preprocessing"),
        ("class_names", "pair of classes"),
        ("trained_on", "data set"),
        ("split", "split of the data"),
    ):
        if theirs.get(key) != card[key]:
            raise UserError(
                f"ckpt_path={path} comes from another {what} ({theirs.get(key)}, not {card[key]}):"
                " repeat the command that made it, and add ckpt_path"
            )
    # Lightning counts an epoch as done only after the moment at which last.ckpt is written.
    trained = checkpoint["epoch"] + (checkpoint["global_step"] > 0)
    if trained > max_epochs:
        raise UserError(
            f"ckpt_path={path} has trained {trained} epochs, more than"
            f" trainer.max_epochs={max_epochs}"
        )
    if path.parent.name != "checkpoints":
        raise UserError(f"ckpt_path={path}: it must lie in the checkpoints/ of its run folder")
