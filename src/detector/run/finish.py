"""After the last epoch: predictions, metrics with intervals, curves."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from detector.data.cache import Pixels
from detector.data.load import FaceSet
from detector.evaluation.metrics import summarize
from detector.evaluation.slices import COLUMNS, slices
from detector.predictor import Predictor
from detector.run.folder import write_csv, write_json

HEADLINE = ("auroc", "accuracy", "f1", "ap")


def predict_parts(
    predictor: Predictor, pixels: Pixels, faces: FaceSet, parts: tuple[str, ...]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Score parts of a set with the weights that were selected.

    Args:
        predictor: The best checkpoint.
        pixels: uint8 pictures by row, made by the predictor's own preprocessing.
        faces: The set and its split.
        parts: Which parts to read; the others are not touched.

    Returns:
        By part: rows, int (n), and scores, float64 (n).
    """
    scored = {}
    for part in parts:
        rows = np.flatnonzero(faces.parts == part)
        scored[part] = rows, predictor.scores(pixels[int(row)] for row in rows)
    return scored


def write_results(
    folder: Path,
    faces: FaceSet,
    scored: Mapping[str, tuple[np.ndarray, np.ndarray]],
    score_name: str,
    *,
    threshold: float,
    replicates: int,
    seed: int,
    training: Mapping,
) -> dict:
    """Write predictions.csv and metrics.json.

    Where the set's index has one of the columns of `slices.COLUMNS`, each part has
    `by_<column>` too: what `slices` gives.

    Args:
        folder: The run folder.
        faces: The set and its split.
        scored: As `predict_parts` gives it.
        score_name: Column of the score, `p_fake` for faces.
        threshold: Score from which a picture counts as class 0.
        replicates: Of the bootstrap.
        seed: Of the bootstrap.
        training: What metrics.json says of the training itself; no times, so that the
            same command gives the same file.

    Returns:
        What metrics.json holds.
    """
    index = faces.index
    rows = [
        (index["name"][row], index["label"][row], part, f"{score:.9g}")
        for part, (members, scores) in scored.items()
        for row, score in zip(members, scores, strict=True)
    ]
    write_csv(folder / "predictions.csv", ("path", "label", "split", score_name), rows)
    groups = np.asarray(index["group"])
    settings = {"threshold": threshold, "replicates": replicates, "seed": seed}
    metrics = {}
    for part, (members, scores) in scored.items():
        images = scores, index.labels[members], groups[members]
        metrics[part] = summarize(*images, **settings)
        for column, order in COLUMNS.items():
            if column in index.columns:
                values = [index[column][row] for row in members]
                metrics[part][f"by_{column}"] = slices(*images, values, order=order, **settings)
    metrics |= {"class_names": list(index.class_names), "training": dict(training)}
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
