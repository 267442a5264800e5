"""What can be wrong in a training's config or in the checkpoint that it goes on from."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from omegaconf import DictConfig, ListConfig, OmegaConf

from detector.data.blended.masks import KINDS as MASKS
from detector.data.blended.training import FAKES
from detector.data.epochs import BALANCES
from detector.data.load import DATA_RULES
from detector.errors import UserError
from detector.rules import (
    ADDED,
    check,
    either,
    flag,
    flat,
    mapping,
    mappings,
    nothing,
    number,
    one_of,
    whole,
)
from detector.rules import text as text_rule
from detector.run.bars import KINDS
from detector.run.hardware import ACCELERATORS, PRECISIONS
from detector.run.optim import OPTIMIZERS, SCHEDULES

MONITORS = tuple(f"{p}/{m}" for p in ("val", "train") for m in ("auroc", "accuracy", "loss"))

GROUPS = (
    "model data augment trainer optimizer schedule loss ema select early_stopping calibration"
    " metrics paths blended embeddings gate"
)
RULES = (
    dict.fromkeys(GROUPS.split(), mapping)
    | {
        "seed": whole(0, 2**32 - 1),
        "ckpt_path": either(nothing, text_rule),
        "evaluate_test": flag,
        "progress": one_of(*KINDS),
        "optimizer.name": one_of(*OPTIMIZERS),
        "optimizer.lr": number(0, above=True),
        "optimizer.head_lr": either(nothing, number(0, above=True)),
        "optimizer.layer_decay": number(0, 1, above=True),
        "optimizer.weight_decay": number(0),
        "schedule.name": one_of(*SCHEDULES),
        "schedule.warmup_epochs": number(0),
        "loss.label_smoothing": number(0, 0.99),
        "loss.mixup": number(0),
        "loss.parts": number(0, above=True),
        "ema.decay": either(nothing, number(0, 0.999999, above=True)),
        "select.monitor": one_of(*MONITORS),
        "select.mode": one_of("max", "min"),
        "early_stopping.patience": either(nothing, whole(1)),
        "early_stopping.min_delta": number(0),
        "calibration.temperature": flag,
        "calibration.threshold": either(one_of("best"), number(1e-9, 1 - 1e-9)),
        "calibration.unsure": number(0, 0.99),
        "gate.alpha": either(nothing, number(0, 0.5, above=True)),
        "heatmaps.every": whole(0),
        "heatmaps.images": whole(1, 16),
        "heatmaps.mean_images": whole(0),
        "heatmaps.method": one_of("gradcam", "gradcam++", "hirescam", "layercam"),
        "metrics.replicates": whole(100, 10**6),
        "trainer.max_epochs": whole(1),
        "trainer.accelerator": one_of(*ACCELERATORS),
        "trainer.precision": one_of(*PRECISIONS),
        "trainer.strategy": one_of("single", "ddp"),
        "trainer.devices": either(one_of("auto"), whole(1)),
        "trainer.accumulate_grad_batches": whole(1),
        "trainer.compile": either(flag, one_of("auto")),
        "trainer.keep_memory": flag,
        "trainer.gradient_clip_val": either(nothing, number(0, above=True)),
        "trainer.limit_train_batches": either(whole(1), number(0, 1, above=True)),
        "paths.runs": text_rule,
        "paths.cache": text_rule,
        "model.name": text_rule,
        "model.freeze": either(one_of("none", "backbone"), whole(1)),
        "model.parts": flag,
        "model.net": mapping,
        "model.net.name": text_rule,
        "model.preprocess": mapping,
        "embeddings.views": whole(0, 1000),
        "model.pretrained": either(flag, text_rule),
        "init_from": either(nothing, text_rule),
        "augment.name": text_rule,
        "augment.steps": mappings,
        "augment.device": either(flag, one_of("auto")),
    }
    | {f"data.{key}": rule for key, rule in DATA_RULES.items()}
    | {"data.fakes": one_of(*FAKES), "blended.masks": one_of(*MASKS)}
    | {"data.balance": one_of(*BALANCES)}
)

# What may differ when a training goes on: where things lie, how long it takes, and what is done
# with the weights afterwards.
FREE = ("paths", "progress", "ckpt_path", "data_root", "trainer", "data", "calibration", "heatmaps",
        "blended", "gate")  # fmt: skip
RETIRED = ("metrics.threshold",)  # settings that last.ckpt of older versions may name
FIXED_IN = {
    "data": ("batch_size", "balance"),
    "trainer": ("accumulate_grad_batches", "gradient_clip_val", "limit_train_batches"),
}


def check_config(cfg: DictConfig) -> None:
    """Refuse values that cannot work.

    Raises:
        UserError: Names the setting and what it may be.
    """
    check(cfg, RULES)
    if cfg.trainer.strategy == "single" and cfg.trainer.devices != 1:
        raise UserError(
            f"trainer.devices={cfg.trainer.devices}: one process computes on one device; for"
            " several give trainer=ddp"
        )
    if cfg.trainer.strategy == "ddp" and cfg.model.parts:
        # The mean over known bits of one process has another weight than the next one's.
        raise UserError("model.parts=true is trained by one process: trainer=default")
    wanted = "min" if cfg.select.monitor.endswith("loss") else "max"
    if cfg.select.mode != wanted:
        raise UserError(f"select.mode={cfg.select.mode}: {cfg.select.monitor} wants {wanted}")
    if cfg.init_from is not None and cfg.model.pretrained is not False:
        raise UserError("init_from and model.pretrained: weights come from one of them, give one")
    if cfg.data.fakes != "set" and cfg.data.balance != "none":
        raise UserError(
            f"data.balance={cfg.data.balance} and data.fakes={cfg.data.fakes}: blends come one a"
            " real image, so that classes are even already; choose one"
        )
    if cfg.class_weights == "balanced" and cfg.data.balance != "none":
        raise UserError(
            f"data.balance={cfg.data.balance} and class_weights=balanced would both even out the"
            " classes: choose one"
        )
    if cfg.schedule.warmup_epochs >= cfg.trainer.max_epochs:
        raise UserError(
            f"schedule.warmup_epochs={cfg.schedule.warmup_epochs}: must be below"
            f" trainer.max_epochs={cfg.trainer.max_epochs}"
        )
    freeze = cfg.model.freeze
    if isinstance(freeze, int) and freeze >= cfg.trainer.max_epochs:
        raise UserError(
            f"model.freeze={freeze}: must be below trainer.max_epochs={cfg.trainer.max_epochs};"
            " model.freeze=backbone keeps the backbone frozen to the end"
        )


def class_weights(setting: str | Sequence | None, labels: np.ndarray) -> tuple[float, float] | None:
    """Weights of the two classes in the loss.

    Args:
        setting: None, `balanced` (inverse frequency in the train part, mean 1), or two numbers.
        labels: int (n) of the images that are trained on.

    Raises:
        UserError: It is none of these.
    """
    if setting is None:
        return None
    if setting == "balanced":
        counts = np.bincount(labels, minlength=2)
        return tuple(float(counts.sum() / (2 * count)) for count in counts)
    positive, _ = number(0, above=True)
    if (
        isinstance(setting, (list, tuple, ListConfig))
        and len(setting) == 2
        and all(map(positive, setting))
    ):
        return float(setting[0]), float(setting[1])
    raise UserError(f"class_weights={setting}: give null, balanced, or two numbers above 0")


# Checkpoints hold what `auto` came to, and the loader was the only place at first.
FIRST = ADDED | {"augment.device": False}


def fixed_settings(cfg: DictConfig) -> dict[str, object]:
    """Settings that must not change within one training, flat, as plain data."""
    plain = OmegaConf.to_container(cfg, resolve=True)
    kept = {key: value for key, value in plain.items() if key not in FREE}
    for group, keys in FIXED_IN.items():
        kept[group] = {key: plain[group][key] for key in keys}
    if plain["data"]["fakes"] != "set":  # else as older checkpoints have it, which can go on
        kept["data"]["fakes"], kept["blended"] = plain["data"]["fakes"], plain["blended"]
    return flat(kept)


def check_resume(checkpoint: dict, card: dict, path: Path, max_epochs: int) -> None:
    """Refuse to go on from the checkpoint of another training.

    Args:
        checkpoint: As `read_checkpoint` gives it.
        card: Of the training that is asked for.
        path: Where the checkpoint came from.
        max_epochs: Of the training that is asked for.

    Raises:
        UserError: It holds weights only, or another network, set, split or setting.
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
    before, now = theirs.get("settings", {}), card["settings"]
    for key in sorted((set(before) | set(now)) - set(RETIRED)):
        if (then := before.get(key, FIRST.get(key))) != now.get(key):
            raise UserError(
                f"{key}={now.get(key)}, but ckpt_path={path} was trained with {then}:"
                " a training goes on as it began; leave out ckpt_path to start another"
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
    best = checkpoint.get("callbacks", {}).get("Checkpoints", {}).get("epoch")
    if best is not None and not (path.parent / "best.ckpt").is_file():
        raise UserError(
            f"{path.parent} lacks best.ckpt, of epoch {best}: put it back or start anew"
        )


def check_groups(checkpoint: dict, groups: Sequence[Mapping], path: Path) -> None:
    """Refuse the state of an optimizer to which the weights were given in another way.

    Args:
        checkpoint: As `read_checkpoint` gives it, with an optimizer's state.
        groups: As `parameter_groups` gives them.
        path: Where the checkpoint came from.

    Raises:
        UserError: Older versions decayed biases and norms too.
    """
    theirs = [len(group["params"]) for group in checkpoint["optimizer_states"][0]["param_groups"]]
    if theirs != [len(group["params"]) for group in groups]:
        raise UserError(
            f"ckpt_path={path}: another version of detector trained it, with weight decay on other"
            " weights: go on with that version, or leave out ckpt_path to start anew"
        )
