"""After the last epoch: predictions, metrics with intervals, curves."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from detector.data.cache import Pixels
from detector.data.load import FaceSet
from detector.evaluation.abstention import answered
from detector.evaluation.calibration import Calibration
from detector.evaluation.holds import calibration_holds
from detector.evaluation.metrics import LEVEL, summarize
from detector.evaluation.reliability import reliability
from detector.evaluation.slices import COLUMNS, slices
from detector.predictor import Predictor
from detector.run.folder import write_csv, write_json

HEADLINE = ("auroc", "accuracy", "f1", "ap")
CALIBRATED = ("log_loss", "brier", "ece")  # what a temperature changes


def predict_parts(
    predictor: Predictor, pixels: Pixels, faces: FaceSet, parts: tuple[str, ...]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What the selected weights say of parts of a set, before any calibration.

    Args:
        predictor: The best checkpoint.
        pixels: uint8 pictures by row, made by the predictor's own preprocessing.
        faces: The set and its split.
        parts: Which parts to read; the others are not touched.

    Returns:
        By part: rows, int (n), and margins, float64 (n).
    """
    scored = {}
    for part in parts:
        rows = np.flatnonzero(faces.parts == part)
        scored[part] = rows, predictor.margins(pixels[int(row)] for row in rows)
    return scored


def write_results(
    folder: Path,
    faces: FaceSet,
    scored: Mapping[str, tuple[np.ndarray, np.ndarray]],
    score_name: str,
    *,
    calibration: Calibration,
    replicates: int,
    seed: int,
    training: Mapping,
) -> dict:
    """Write predictions.csv and metrics.json, both of calibrated scores.

    Each part has `calibration`: what `calibration_holds` gives, `uncalibrated` (log loss,
    Brier score and ECE at temperature 1, and the `bins` of `reliability`) and what `answered`
    gives. `holds` says little of validation, on which the calibration was fitted.

    Where the set's index has one of the columns of `slices.COLUMNS`, each part has
    `by_<column>` too: what `slices` gives.

    Args:
        folder: The run folder.
        faces: The set and its split.
        scored: As `predict_parts` gives it.
        score_name: Column of the score, `p_fake` for faces.
        calibration: From margins to scores and answers.
        replicates: Of the bootstrap.
        seed: Of the bootstrap.
        training: What metrics.json says of the training itself; no times, so that the
            same command gives the same file.

    Returns:
        What metrics.json holds.
    """
    index = faces.index
    probabilities = {part: calibration.scores(margins) for part, (_, margins) in scored.items()}
    rows = [
        (index["name"][row], index["label"][row], part, f"{score:.9g}")
        for part, (members, _) in scored.items()
        for row, score in zip(members, probabilities[part], strict=True)
    ]
    write_csv(folder / "predictions.csv", ("path", "label", "split", score_name), rows)
    groups = np.asarray(index["group"])
    drawn = {"replicates": replicates, "seed": seed}
    settings = drawn | {"threshold": calibration.threshold}
    metrics = {}
    for part, (members, margins) in scored.items():
        truth = index.labels[members], groups[members]
        images = probabilities[part], *truth
        metrics[part] = summarize(*images, **settings)
        before = Calibration().scores(margins)
        uncalibrated = summarize(before, *truth, **drawn, threshold=0.5)
        metrics[part]["calibration"] = {
            **calibration_holds(*images, **drawn),
            "uncalibrated": {key: uncalibrated[key] for key in CALIBRATED}
            | {"bins": reliability(before, *truth, level=LEVEL)},
            "answered": answered(
                *images, threshold=calibration.threshold, unsure=calibration.unsure, level=LEVEL
            ),
        }
        for column, order in COLUMNS.items():
            if column in index.columns:
                values = [index[column][row] for row in members]
                metrics[part][f"by_{column}"] = slices(*images, values, order=order, **settings)
    metrics |= {
        "class_names": list(index.class_names),
        "calibration": calibration.to_dict(),
        "training": dict(training),
    }
    write_json(folder / "metrics.json", metrics)
    return metrics


def hyperparameters(cfg: DictConfig, metrics: Mapping) -> tuple[dict, dict]:
    """What TensorBoard's HPARAMS page compares runs by: settings, and final measures."""
    chosen = {
        "data": cfg.data.name,
        "model": cfg.model.name,
        "augment": cfg.augment.name,
        "seed": cfg.seed,
        "size": cfg.model.preprocess.size,
        "batch_size": cfg.data.batch_size,
        "epochs": cfg.trainer.max_epochs,
        **{f"optimizer/{key}": value for key, value in cfg.optimizer.items()},
        "schedule": cfg.schedule.name,
    }
    final = {
        f"final/{part}_{key}": metrics[part][key]["value"]
        for part in ("val", "test")
        if part in metrics
        for key in HEADLINE
        if metrics[part][key]["value"] is not None
    }
    return chosen, final
