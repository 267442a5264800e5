"""One evaluation from its config to its report."""

import logging
from dataclasses import asdict
from pathlib import Path

import numpy as np
from omegaconf import DictConfig, OmegaConf

from detector import cli
from detector.data.cache import load_pixels
from detector.data.load import FaceSet, load_set
from detector.data.split import PARTS
from detector.errors import UserError
from detector.evaluation import measures
from detector.evaluation.against import against_controls
from detector.evaluation.chosen import choose_set
from detector.evaluation.controls import CONTROLS, fit, measure
from detector.evaluation.measures import Scored
from detector.evaluation.memory import look_back
from detector.evaluation.per_set import per_set
from detector.evaluation.perturbations import choose
from detector.evaluation.refused import refused, told
from detector.evaluation.robustness import robustness
from detector.evaluation.trained import open_trained
from detector.evaluation.write import write_evaluation
from detector.rules import (
    check,
    either,
    flag,
    mapping,
    nothing,
    number,
    one_of,
    text,
    texts,
    whole,
)
from detector.run import folder as run_folder
from detector.run.card import write_card
from detector.run.hardware import choose_device
from detector.run.heap import keep_freed_memory
from detector.run.progress import bar, choose_progress

log = logging.getLogger(__name__)

RULES = {
    "data": mapping,
    "paths": mapping,
    "paths.runs": text,
    "paths.cache": text,
    "evaluate": mapping,
    "robustness": mapping,
    "ckpt": either(nothing, text),
    "seed": whole(0),
    "evaluate.part": one_of(*PARTS, "all"),
    "evaluate.threshold": either(nothing, number(0, 1)),
    "evaluate.slices": texts,
    "evaluate.controls": flag,
    "evaluate.robustness": flag,
    "robustness.families": texts,
    "robustness.strengths": mapping,
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
        strengths = OmegaConf.to_container(cfg.robustness.strengths, resolve=True)
        self.families = choose(list(cfg.robustness.families), strengths)
        self.progress, _ = choose_progress(cfg.progress)
        self.runs = Path(cfg.paths.runs).expanduser().resolve()
        self.cache = Path(cfg.paths.cache).expanduser()
        device = choose_device(self.options.device, "evaluate.device")
        keep_freed_memory(device)
        self.trained = open_trained(cfg.ckpt, self.runs, device)
        chosen = choose_set(
            "evaluate", cfg.data, self.trained, self.cache, bar(self.progress, "preparing the set")
        )
        self.data, self.faces, self.known = chosen.data, chosen.faces, chosen.known
        self.parts = chosen.parts
        plain = OmegaConf.to_container(cfg, resolve=True)
        data = OmegaConf.to_container(self.data, resolve=True)
        self.cfg = OmegaConf.create(plain | {"data": data})  # as it is written down
        self._columns()  # what is wrong is said before anything is scored
        wanted = self.options.part
        self.rows = np.flatnonzero((self.parts == wanted) | (wanted == "all"))
        if not len(self.rows):
            raise UserError(f"{self.data.name} has no {wanted} part here: evaluate.part=all")

    def _load(self, data: DictConfig) -> FaceSet:
        return load_set(
            data, self.cache, bar(self.progress, f"preparing {data.name}"), one_class=True
        )

    def run(self) -> dict:
        """Measures and writes the report; returns what metrics.json holds, and `folder`."""
        scored = self._score()
        index, predictor = self.faces.index, self.trained.predictor
        normalizer, crop = predictor.preprocess.normalizer, predictor.preprocess.crop
        metrics = {
            "network": self.trained.name,
            "checkpoint": str(self.trained.checkpoint),
            "trained_on": predictor.trained_on,
            "normalize": normalizer and asdict(normalizer),
            "crop": crop and crop.to_dict(),
            "set": index.name,
            "part": self.options.part,
            "class_names": list(index.class_names),
            "seen_in_training": self._count("train"),
            "chosen_on": self._count("val"),
            "metrics": measures.metrics(scored),
            "slices": measures.kinds(scored, self._columns()),
            "sets": per_set(scored),
            "calibration": measures.calibration(scored, index.class_names[0]),
            "refused": None if self.unlike is None else refused(self.unlike, scored.groups),
            "gate": predictor.gate and {"alpha": predictor.gate.alpha, "n": predictor.gate.n},
            "false_alarms": measures.false_alarms_by_group(scored, self._columns()),
            "usual_table": measures.with_usual_table(scored),
        }
        both = len(set(scored.labels.tolist())) == 2  # else accuracy is a matter of bias alone
        controls = self._controls() if self.options.controls and both else None
        metrics["against_controls"] = controls and against_controls(
            *scored.images[:1], controls, *scored.images[1:], threshold=scored.threshold,
            **scored.drawn,
        )  # fmt: skip
        if self.options.robustness:
            metrics["robustness"] = self._robustness(scored)
        folder = run_folder.new_folder(
            self.runs, f"{index.name}-{self.trained.name}", kind="evaluate"
        )
        run_folder.write_config(folder, self.cfg)
        run_folder.write_provenance(folder, run_folder.provenance({}))
        text = write_evaluation(folder, metrics, scored, predictor.score_name)
        if self.trained.data is not None:
            write_card(self.trained.checkpoint.parents[1], self.runs)  # it tells of the controls
        log.info("%s\n%s", text, folder)
        return metrics | {"folder": str(folder)}

    def _columns(self) -> list[str]:
        """The columns to slice by; of those that are the default, what the set lacks is left out.

        Raises:
            UserError: One that was asked for is not there.
        """
        usual = cli.compose("evaluate", []).evaluate.slices
        index = self.faces.index
        for name in self.options.slices:
            if name not in usual and measures.column_of(index, name) is None:
                raise UserError(
                    f"evaluate.slices: {index.name} has no column {name}; there is"
                    f" {', '.join(index.columns)}"
                )
        return list(self.options.slices)

    def _score(self) -> Scored:
        predictor, threshold = self.trained.predictor, self.options.threshold
        pixels = load_pixels(
            self.faces.index,
            predictor.preprocess,
            cache_gb=self.data.cache_gb,
            cache_dir=self.cache,
        )
        found = told(predictor, (pixels[int(row)] for row in self.rows), gate=predictor.gate)
        margins, self.unlike = found.margins, found.unlikeness
        return Scored(
            index=self.faces.index,
            parts=self.parts,
            rows=self.rows,
            margins=margins,
            p_fake=predictor.calibration.scores(margins),
            threshold=predictor.threshold if threshold is None else float(threshold),
            unsure=predictor.unsure,
            replicates=self.options.replicates,
            seed=self.cfg.seed,
        )

    def _robustness(self, scored: Scored) -> list[dict]:
        return robustness(
            self.trained.predictor,
            self.faces.index,
            self.rows,
            *scored.images[1:],
            families=self.families,
            threshold=scored.threshold,
            max_pixels=self.data.max_pixels,
            progress=bar(self.progress, "compressing, shrinking, cutting"),
            **scored.drawn,
        )

    def _count(self, part: str) -> int | None:
        """How many of these images the network was trained (or chosen) on; None if unknown."""
        if self.known.trained is None:
            return None
        if part == "train":
            return int(self.known.trained[self.rows].sum())
        return int((self.known.parts[self.rows] == part).sum()) if self.known.own else 0

    def _controls(self) -> dict[str, np.ndarray] | None:
        """Scores of the controls, fitted where the network was trained; None if unknown."""
        source = self.trained
        if source.data is None:
            log.warning("no controls: the images that this network was trained on are not known")
            return None
        index = self.faces.index
        own = self.known.own and index.name == source.predictor.trained_on  # not one set of several
        faces = self.faces if own else self._load(source.data)
        known = look_back(source, faces.index)
        if not known.own:
            log.warning("no controls: %s is no longer as it was in training", source.data.name)
            return None
        parts = known.parts  # not of today's split: of the one that the run wrote down
        used = {part: np.flatnonzero(parts == part) for part in ("train", "val")}
        if any(len(set(faces.index.labels[rows])) < 2 for rows in used.values()):
            log.warning("no controls: %s is no longer as it was in training", source.data.name)
            return None
        limit = self.data.max_pixels
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
