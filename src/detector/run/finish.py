"""After the last epoch: predictions, metrics with intervals, curves."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from detector.data.cache import Pixels
from detector.data.face_parts import part_bits
from detector.data.load import FaceSet
from detector.data.sources import FACE_PARTS
from detector.errors import UserError
from detector.evaluation import measures
from detector.evaluation.calibration import Calibration
from detector.evaluation.face_parts import measure_parts, of_sets_that_know
from detector.evaluation.gate import Gate
from detector.evaluation.measures import Scored
from detector.evaluation.per_set import per_set
from detector.evaluation.refused import refused, told
from detector.evaluation.slices import COLUMNS
from detector.predictor import Predictor
from detector.run.folder import write_csv, write_json

log = logging.getLogger(__name__)

HEADLINE = ("auroc", "accuracy", "f1", "ap")


def predict_parts(
    predictor: Predictor,
    pixels: Pixels,
    faces: FaceSet,
    parts: tuple[str, ...],
    *,
    alpha: float | None = None,
    seed: int = 0,
) -> tuple[dict[str, tuple[np.ndarray, ...]], Gate | None, dict[str, np.ndarray]]:
    """What the selected weights say of parts of a set, before any calibration, and their gate.

    Args:
        predictor: The best checkpoint.
        pixels: uint8 pictures by row, made by the predictor's own preprocessing.
        faces: The set and its split.
        parts: Which parts to read, `val` first; the others are not touched.
        alpha: Of the gate, which is fitted on validation; None for no gate.
        seed: Of the gate.

    Returns:
        By part: rows, int (n), margins, float64 (n), and with a part head what it says of parts of
        the faces, float64 (n, P). The gate; None for none. By part but validation, on which it was
        fitted, the unlikeness of the images, float64 (n); empty without a gate.
    """
    scored, unlike, gate = {}, {}, None
    for part in parts:
        rows, fits = np.flatnonzero(faces.parts == part), part == "val" and alpha is not None
        images = (pixels[int(row)] for row in rows)
        found = told(predictor, images, gate=gate, features=fits)
        if fits:
            groups = np.array(faces.index["group"])[rows]
            gate = _fitted(found.features, groups, alpha, seed)
        elif found.unlikeness is not None:
            unlike[part] = found.unlikeness
        scored[part] = (rows, found.margins, found.parts)
        if not predictor.part_names:
            scored[part] = scored[part][:2]
    return scored, gate, unlike


def _fitted(
    features: np.ndarray | None, groups: np.ndarray, alpha: float, seed: int
) -> Gate | None:
    if features is None:
        log.info("no gate: this network does not call its last layer as a module")
        return None
    try:
        gate = Gate.fit(features, groups, seed=seed, alpha=alpha)
    except UserError as error:
        log.info("no gate, so that pictures unlike the training's are answered too: %s", error)
        return None
    log.info("gate: fitted on %d validation images, to refuse %g of such", gate.n, alpha)
    return gate


def write_results(
    folder: Path,
    faces: FaceSet,
    scored: Mapping[str, tuple[np.ndarray, ...]],
    score_name: str,
    *,
    calibration: Calibration,
    gate: Gate | None = None,
    unlike: Mapping[str, np.ndarray] | None = None,
    replicates: int,
    seed: int,
    training: Mapping,
) -> dict:
    """Write predictions.csv and metrics.json, both of calibrated scores.

    With a part head, parts.csv has its answers, and each part of the split `parts`: what
    `measure_parts` gives.

    Each part has `calibration`, as `measures.calibration` gives it. `holds` says little of
    validation, on which the calibration was fitted.

    Where the set's index has one of the columns of `slices.COLUMNS`, each part has
    `by_<column>` too: what `slices` gives. Of several sets put together each part has `sets`: what
    `per_set` gives.

    Args:
        folder: The run folder.
        faces: The set and its split.
        scored: As `predict_parts` gives it.
        score_name: Column of the score, `p_fake` for faces.
        calibration: From margins to scores and answers.
        gate: Fitted on validation; None for none.
        unlike: By part, the unlikeness of its images; such a part has `refused`, as
            `refused.refused` gives it.
        replicates: Of the bootstrap.
        seed: Of the bootstrap.
        training: What metrics.json says of the training itself; no times, so that the
            same command gives the same file.

    Returns:
        What metrics.json holds.
    """
    index = faces.index
    all_scored = {
        part: Scored(
            index=index,
            parts=faces.parts,
            rows=rows,
            margins=margins,
            p_fake=calibration.scores(margins),
            threshold=calibration.threshold,
            unsure=calibration.unsure,
            replicates=replicates,
            seed=seed,
        )
        for part, (rows, margins, *_) in scored.items()
    }
    lines = (
        (index["name"][row], index["label"][row], part, f"{score:.9g}")
        for part, known in all_scored.items()
        for row, score in zip(known.rows, known.p_fake, strict=True)
    )
    write_csv(folder / "predictions.csv", ("path", "label", "split", score_name), lines)
    metrics = {}
    for part, known in all_scored.items():
        metrics[part] = measures.metrics(known)
        metrics[part]["calibration"] = measures.calibration(known, index.class_names[0])
        by = measures.kinds(known, COLUMNS)
        metrics[part] |= {f"by_{column}": found for column, found in by.items()}
        if unlike and part in unlike:
            metrics[part]["refused"] = refused(unlike[part], known.groups)
        if sets := per_set(known):
            metrics[part]["sets"] = sets
    if of_parts := {part: found[2] for part, found in scored.items() if len(found) > 2}:
        bits = part_bits(index)
        _write_parts(folder, faces, all_scored, of_parts, bits)
        for part, known in all_scored.items():
            here = of_sets_that_know(bits, index)[known.rows]
            metrics[part]["parts"] = measure_parts(
                of_parts[part], here, known.labels, known.groups, **known.drawn
            )
    metrics |= {
        "class_names": list(index.class_names),
        "calibration": calibration.to_dict(),
        "gate": gate and {"alpha": gate.alpha, "n": gate.n},
        "training": dict(training),
    }
    write_json(folder / "metrics.json", metrics)
    return metrics


def _write_parts(
    folder: Path,
    faces: FaceSet,
    scored: Mapping[str, Scored],
    of_parts: Mapping[str, np.ndarray],
    bits: np.ndarray,
) -> None:
    index, known = faces.index, {-1: "", 0: "0", 1: "1"}
    lines = (
        (
            index["name"][row],
            index["label"][row],
            part,
            *(f"{value:.9g}" for value in values),
            *(known[int(bit)] for bit in bits[row]),
        )
        for part in scored
        for row, values in zip(scored[part].rows, of_parts[part], strict=True)
    )
    columns = [f"{kind}_{name}" for kind in ("p", "edited") for name in FACE_PARTS]
    write_csv(folder / "parts.csv", ("path", "label", "split", *columns), lines)


def hyperparameters(cfg: DictConfig, metrics: Mapping) -> tuple[dict, dict]:
    """What TensorBoard's HPARAMS page compares runs by: settings, and final measures."""
    chosen = {
        "data": cfg.data.name,
        "fakes": cfg.data.fakes,
        "model": cfg.model.name,
        "augment": cfg.augment.name,
        "seed": cfg.seed,
        "size": cfg.model.preprocess.size,
        "batch_size": cfg.data.batch_size,
        "epochs": cfg.trainer.max_epochs,
        **{f"optimizer/{key}": value for key, value in cfg.optimizer.items()},
        "schedule": cfg.schedule.name,
        "freeze": cfg.model.freeze,
        "parts": cfg.model.parts,
        "ema": cfg.ema.decay,
        **{f"loss/{key}": value for key, value in cfg.loss.items()},
    }
    final = {
        f"final/{part}_{key}": metrics[part][key]["value"]
        for part in ("val", "test")
        if part in metrics
        for key in HEADLINE
        if metrics[part][key]["value"] is not None
    }
    return chosen, final
