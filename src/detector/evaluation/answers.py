"""What trained networks said of images, read back from the folders that they left.

A folder is believed in nothing: what is missing, cut short or contradicts itself is named in
one line.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detector.errors import UserError
from detector.evaluation.run_files import (
    CHECKPOINTS,
    differing,
    read_json,
    read_settings,
    read_table,
    unfinished,
)
from detector.evaluation.scores import FAKE, REAL

SWEEP, JOBS = "sweep.json", "jobs"
AGAIN = "repeat its command, which goes on where it stopped"
VARIED = ("seed", "data.split.fold", "data.split.seed")  # within a sweep


@dataclass(frozen=True)
class Answers:
    """One network's scores of one part of a set, images in the order of their paths.

    Args:
        folder: Where they were read, absolute.
        network: `<data>-<model>`.
        set: Name of the set.
        part: `test`, `val`, `train` or `all`.
        class_names: Names of labels 0 and 1.
        paths: (N,) str, below the root of the set, sorted, each once.
        labels: (N,) int, 0 for fake, 1 for real.
        groups: (N,) str.
        p_fake: (N,) float64 in [0, 1].
        threshold: p_fake from which the network calls an image fake.
        split: Seed of the split and fold, None without folds; which answers of a sweep speak
            of the same images.
        seed: Of the training; None where the run folder is gone.
        settings: The config of the training, flat, by dotted name.
        seen: How many of the images the network was trained on.
    """

    folder: Path
    network: str
    set: str
    part: str
    class_names: tuple[str, str]
    paths: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    p_fake: np.ndarray
    threshold: float
    split: tuple[int | None, int | None]
    seed: int | None
    settings: Mapping[str, object]
    seen: int


def read_answers(named: str, part: str) -> tuple[Path, str, list[Answers]]:
    """Reads a run, an evaluation, or all runs of a sweep.

    Args:
        named: Folder of a training, of an evaluation or of a sweep; or best.ckpt or last.ckpt
            of a training.
        part: `test` or `val`; an evaluation has one part only, whatever is asked for.

    Returns:
        The folder, absolute; `training`, `evaluation` or `sweep`; and what it holds, at least
        one. A sweep has answers for each of its seeds in each of its folds.

    Raises:
        UserError: It is none of these, unfinished or damaged, or lacks the part.
    """
    path = Path(named).expanduser()
    if path.suffix == ".ckpt":
        path = path.resolve().parent.parent
    if not path.is_dir():
        raise UserError(f"no run folder {named}: runs/train and runs/evaluate hold them")
    folder = path.resolve()
    if (folder / SWEEP).exists():
        return folder, "sweep", _sweep(folder, part)
    if (folder / JOBS).is_dir():
        raise UserError(f"the sweep {folder} is not finished, it has no {SWEEP}: {AGAIN}")
    if not (folder / "metrics.json").is_file():
        raise UserError(unfinished(folder))
    metrics = read_json(folder / "metrics.json")
    if "set" in metrics:
        return folder, "evaluation", [_evaluation(folder, metrics)]
    return folder, "training", [_training(folder, metrics, part)]


def _sweep(folder: Path, part: str) -> list[Answers]:
    sweep = read_json(folder / SWEEP)
    jobs, command = sweep.get("jobs"), sweep.get("command")
    again = f"go on with {command}" if isinstance(command, str) else AGAIN
    if not isinstance(jobs, list) or not jobs or not all(isinstance(job, dict) for job in jobs):
        raise UserError(f"{folder / SWEEP} lists no jobs: {again}")
    found: dict[tuple, Answers] = {}
    for job in jobs:
        run = folder / job["folder"] if isinstance(job.get("folder"), str) else None
        if run is None or not (run / "metrics.json").is_file():
            named = ", ".join(map(str, job.get("overrides") or ["?"]))
            raise UserError(f"the sweep {folder} is not finished, {named} is not trained: {again}")
        run = run.resolve()
        one = _training(run, read_json(run / "metrics.json"), part)
        if (other := found.setdefault((one.split, one.seed), one)) is not one:
            unlike = "".join(f", {key}" for key in differing([one.settings, other.settings]))
            raise UserError(
                f"{folder} has two runs of seed={one.seed}{_of_fold(one)}{unlike}: a sweep to"
                " compare varies seed and data.split.fold only"
            )
    for name, values in differing([one.settings for one in found.values()]).items():
        if name not in VARIED:
            raise UserError(
                f"{folder} holds runs of {name}={' and '.join(map(str, values[:2]))}: a sweep to"
                " compare varies seed and data.split.fold only"
            )
    splits, seeds = ({key[at] for key in found} for at in (0, 1))
    for split in splits:
        for seed in seeds:
            if (split, seed) not in found:
                known = next(one for one in found.values() if one.split == split)
                raise UserError(f"{folder} lacks seed={seed}{_of_fold(known)}: {again}")
    return list(found.values())


def _of_fold(answers: Answers) -> str:
    fold = answers.split[1]
    return "" if fold is None else f" of data.split.fold={fold}"


def _training(folder: Path, metrics: dict, part: str) -> Answers:
    settings = read_settings(folder / "config.yaml")
    of_part = metrics.get(part)
    if of_part is None:
        raise UserError(
            f"{folder} has no scores of the {part} part (evaluate_test=false?): give"
            f" compare.part=val, or python -m detector.evaluate"
            f" ckpt={folder / CHECKPOINTS / 'best.ckpt'}"
        )
    group_of = {
        line["path"]: (line["label"], line["group"])
        for line in read_table(folder / "split.csv", ("path", "label", "group", "split"))
        if line["split"] == part
    }
    file = folder / "predictions.csv"
    rows = []
    for line in read_table(file, ("path", "label", "split", None)):
        if line["split"] != part:
            continue
        label, group = group_of.get(line["path"], (None, ""))
        if label != line["label"]:
            raise UserError(f"{file} and split.csv beside it contradict each other: {line['path']}")
        rows.append((line["path"], line["label"], group, line["score"]))
    folds = settings.get("data.split.folds")
    try:
        calibration = metrics.get("calibration", of_part)  # runs before 0.2 were not calibrated
        return Answers(
            folder=folder,
            network=f"{settings['data.name']}-{settings['model.name']}",
            set=str(settings["data.name"]),
            part=part,
            class_names=_names(metrics),
            threshold=_unit(calibration["threshold"]),
            split=(
                int(settings["data.split.seed"]),
                None if folds is None else int(settings["data.split.fold"]),
            ),
            seed=int(settings["seed"]),
            settings=settings,
            seen=0,
            **_columns(file, rows, of_part["n"]),
        )
    except UserError:  # a ValueError too
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(folder, error) from error


def _evaluation(folder: Path, metrics: dict) -> Answers:
    file = folder / "predictions.csv"
    rows = [tuple(line.values()) for line in read_table(file, ("path", "label", "group", None))]
    try:
        measured, settings = metrics["metrics"], {}
        checkpoint = Path(str(metrics.get("checkpoint")))
        origin = checkpoint.parent.parent / "config.yaml"
        if checkpoint.is_absolute() and origin.is_file():
            settings = read_settings(origin)
        return Answers(
            folder=folder,
            network=str(metrics["network"]),
            set=str(metrics["set"]),
            part=str(metrics["part"]),
            class_names=_names(metrics),
            threshold=_unit(measured["threshold"]),
            split=(None, None),
            seed=int(settings["seed"]) if settings else None,
            settings=settings,
            seen=int(metrics.get("seen_in_training") or 0),
            **_columns(file, rows, measured["n"]),
        )
    except UserError:  # a ValueError too
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(folder, error) from error


def _columns(file: Path, rows: list[tuple[str, str, str, str]], n: int) -> dict[str, np.ndarray]:
    """Paths, labels, groups and scores, sorted by path."""
    if len(rows) != n:
        raise UserError(
            f"{file} has {len(rows)} images, but metrics.json beside it says {n}: one of them"
            " was changed; evaluate again"
        )
    if len({path for path, *_ in rows}) < len(rows):
        twice = Counter(path for path, *_ in rows).most_common(1)[0][0]
        raise UserError(f"{file} has more than one line for {twice}: evaluate again")
    for path, label, _, score in rows:
        try:
            right = label in (str(FAKE), str(REAL)) and 0 <= float(score) <= 1
        except ValueError:
            right = False
        if not right:
            raise UserError(
                f"{file}: {path} has label {label} and score {score}, but needs 0 or 1, and a"
                " number in [0, 1]: evaluate again"
            )
    paths, labels, groups, scores = zip(*sorted(rows), strict=True)
    return {
        "paths": np.array(paths),
        "labels": np.array(labels, dtype=np.int64),
        "groups": np.array(groups),
        "p_fake": np.array(scores, dtype=np.float64),
    }


def _names(metrics: Mapping) -> tuple[str, str]:
    fake, real = metrics["class_names"]
    return str(fake), str(real)


def _unit(threshold: float) -> float:
    if isinstance(threshold, bool) or not 0 <= threshold <= 1:
        raise ValueError(f"the threshold is {threshold}")
    return float(threshold)


def _damaged(folder: Path, error: Exception) -> UserError:
    what = f"{type(error).__name__}: {error}"
    return UserError(
        f"metrics.json or config.yaml of {folder} is not as it was written ({what}): evaluate or"
        " train again"
    )
