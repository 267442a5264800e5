"""One evaluation from its config to its report."""

import logging
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from detector.data.cache import load_pixels
from detector.data.index import Index
from detector.data.load import FaceSet, load_set
from detector.data.sources import FACE_PARTS
from detector.data.split import PARTS
from detector.errors import UserError
from detector.evaluation.against import against_controls
from detector.evaluation.controls import CONTROLS, fit, measure
from detector.evaluation.figure import plot_evaluation
from detector.evaluation.metrics import summarize
from detector.evaluation.report import markdown
from detector.evaluation.slices import COLUMNS, slices
from detector.evaluation.trained import open_trained
from detector.rules import check, either, flag, nothing, number, one_of, text, texts, whole
from detector.run import folder as run_folder
from detector.run.progress import bar, choose_progress

log = logging.getLogger(__name__)

RULES = {
    "ckpt": either(nothing, text),
    "seed": whole(0),
    "evaluate.part": one_of(*PARTS, "all"),
    "evaluate.threshold": either(nothing, number(0, 1)),
    "evaluate.slices": texts,
    "evaluate.controls": flag,
    "evaluate.replicates": whole(1),
    "evaluate.device": one_of("auto", "cpu", "cuda", "mps"),
}


class Evaluation:
    """Everything that is measured once; the constructor checks it all.

    Args:
        cfg: As `conf/evaluate.yaml` composes it.

    Raises:
        UserError: The config, the data or the checkpoint is unusable.
    """

    def __init__(self, cfg: DictConfig) -> None:
        check(cfg, RULES)
        self.cfg, self.options = cfg, cfg.evaluate
        self.progress, _ = choose_progress(cfg.progress)
        self.runs = Path(cfg.paths.runs).expanduser().resolve()
        self.cache = Path(cfg.paths.cache).expanduser()
        self.trained = open_trained(cfg.ckpt, self.runs, _device(self.options.device))
        chosen = cfg.data if "name" in cfg.data else self.trained.data
        if chosen is None:
            raise UserError(
                f"{self.trained.checkpoint} lies in no run folder, so the set that it was trained"
                " on is not known: choose one with data="
            )
        self.faces = self._load(chosen)
        parts = self.faces.parts
        every = np.arange(len(parts))
        self.rows = every if self.options.part == "all" else np.flatnonzero(
            parts == self.options.part
        )  # fmt: skip

    def _load(self, data: DictConfig) -> FaceSet:
        return load_set(data, self.cache, bar(self.progress, f"preparing {data.name}"))

    def run(self) -> dict:
        """Measures and writes the report; returns what metrics.json holds, and `folder`."""
        index, rows, predictor = self.faces.index, self.rows, self.trained.predictor
        pixels = load_pixels(
            index, predictor.preprocess, cache_gb=self.cfg.data.cache_gb, cache_dir=self.cache
        )
        scores = predictor.scores(pixels[int(row)] for row in rows)
        threshold = self.options.threshold
        threshold = predictor.threshold if threshold is None else float(threshold)
        labels, groups = index.labels[rows], np.array(index["group"])[rows]
        drawn = {"replicates": self.options.replicates, "seed": self.cfg.seed}
        metrics = {
            "network": self.trained.name,
            "checkpoint": str(self.trained.checkpoint),
            "trained_on": predictor.trained_on,
            "set": index.name,
            "part": self.options.part,
            "class_names": list(index.class_names),
            "seen_in_training": self._seen(),
            "metrics": summarize(scores, labels, groups, threshold=threshold, **drawn),
            "slices": {},
        }
        for name in self.options.slices:
            if (column := column_of(index, name)) is not None:
                metrics["slices"][name] = slices(
                    scores, labels, groups, [column[row] for row in rows],
                    order=COLUMNS.get(name, ()), threshold=threshold, **drawn,
                )  # fmt: skip
        if self.options.controls:
            found = self._controls()
            metrics["against_controls"] = found and against_controls(
                scores, found, labels, groups, threshold=threshold, **drawn
            )
        folder = run_folder.new_folder(
            self.runs, f"{index.name}-{self.trained.name}", kind="evaluate"
        )
        self._write(folder, metrics, scores, labels, groups, threshold)
        return metrics | {"folder": str(folder)}

    def _seen(self) -> int:
        """How many of these images the network was trained on."""
        index, known = self.faces.index, self.trained.parts
        if index.name != self.trained.predictor.trained_on:
            return 0
        return sum(known.get(index["name"][row]) == "train" for row in self.rows)

    def _controls(self) -> dict[str, np.ndarray] | None:
        """Scores of the controls, fitted where the network was trained; None if unknown."""
        source = self.trained
        if source.data is None:
            log.warning("no controls: the images that this network was trained on are not known")
            return None
        index = self.faces.index
        faces = self.faces if index.name == source.data.name else self._load(source.data)
        # Not by today's split: by the one that the run wrote down.
        parts = np.array([source.parts.get(name, "") for name in faces.index["name"]])
        used = {part: np.flatnonzero(parts == part) for part in ("train", "val")}
        if any(len(set(faces.index.labels[rows])) < 2 for rows in used.values()):
            log.warning("no controls: %s is no longer as it was in training", source.data.name)
            return None
        limit = self.cfg.data.max_pixels
        move = bar(self.progress, "reading files for the controls")
        features = {
            part: measure(faces.index, rows, max_pixels=limit, progress=move)
            for part, rows in used.items()
        }
        labels = {part: faces.index.labels[rows] for part, rows in used.items()}
        target = measure(index, self.rows, max_pixels=limit, progress=move)
        scores = {}
        for name in CONTROLS:
            fitted = fit(name, features["train"], labels["train"], features["val"], labels["val"])
            scores[name] = fitted(target)
        return scores

    def _write(
        self,
        folder: Path,
        metrics: dict,
        scores: np.ndarray,
        labels: np.ndarray,
        groups: np.ndarray,
        threshold: float,
    ) -> None:
        index = self.faces.index
        names = [index["name"][row] for row in self.rows]
        lines = zip(names, labels.tolist(), groups, (f"{s:.9g}" for s in scores), strict=True)
        header = ("path", "label", "group", self.trained.predictor.score_name)
        run_folder.write_csv(folder / "predictions.csv", header, lines)
        run_folder.write_json(folder / "metrics.json", metrics)
        run_folder.write_config(folder, self.cfg)
        run_folder.write_provenance(folder, run_folder.provenance({}))
        title = f"{metrics['network']} on {metrics['set']}, {metrics['part']}: {len(names)} images"
        plot_evaluation(
            scores, labels, groups, folder / "evaluation.png", threshold=threshold,
            metrics=metrics["metrics"], class_names=index.class_names, title=title,
        )  # fmt: skip
        text = markdown(metrics)
        (folder / "report.md").write_text(text, encoding="utf-8")
        log.info("%s\n%s", text, folder)


def column_of(index: Index, name: str) -> list | None:
    """A column of the index by name; `parts_edited` counts the edited parts of each fake."""
    if name != "parts_edited":
        return index.columns.get(name)
    if any(part not in index.columns for part in FACE_PARTS):
        return None
    bits = zip(*(index[part] for part in FACE_PARTS), strict=True)
    return [-1 if min(known) < 0 else sum(known) for known in bits]


def _device(wanted: str) -> str:
    import torch

    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
