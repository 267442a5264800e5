"""A scorecard from the config to its report."""

import logging
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
from omegaconf import DictConfig, OmegaConf

from detector.data.index import Index
from detector.data.split import PARTS
from detector.errors import UserError
from detector.evaluation.chosen import choose_set
from detector.explain.cam import METHODS
from detector.explain.scorecard import Options, Scorecard
from detector.explain.scorecard_figure import scorecard_figure
from detector.explain.scorecard_report import markdown
from detector.explain.session import PREDICTED, Opened
from detector.explain.truth import Truth, known_to_the_pixel, look_at
from detector.rules import flag, mapping, number, one_of, texts, whole
from detector.run import folder as run_folder
from detector.run.hardware import choose_hardware
from detector.run.progress import bar

log = logging.getLogger(__name__)

UNSEEN = "unseen"
RULES = {
    "image": (lambda v: v is None, "mode=scorecard takes no picture, but data="),
    "seed": whole(0),
    "scorecard": mapping,
    "scorecard.methods": texts,
    "scorecard.part": one_of(*PARTS, UNSEEN),
    "scorecard.precision": one_of("auto", "32-true", "bf16-mixed"),
    **{
        f"scorecard.{key}": whole(0)
        for key in (
            "slow_images", "faithfulness_images", "compared_images", "road_images",
            "sanity_images", "stages", "random_networks",
        )
    },
    "scorecard.images": whole(1, 2000),
    "scorecard.steps": whole(1),
    "scorecard.grid": whole(1),
    "scorecard.untrained": flag,
    "scorecard.center_sigma": number(0, above=True),
    "scorecard.tolerance": number(0),
    "scorecard.replicates": whole(1),
}  # fmt: skip


class ScoredSet(Opened):
    """One call of the command; the constructor checks it all.

    Args:
        cfg: As `conf/gradcam.yaml` composes it, `mode=scorecard`.

    Raises:
        UserError: The config, the checkpoint or the set is unusable.
    """

    def __init__(self, cfg: DictConfig) -> None:
        super().__init__(cfg, RULES)
        asked = cfg.scorecard
        if self.explained is None:
            raise UserError(
                f"gradcam.explain={PREDICTED}: a scorecard is of the evidence for one class; choose"
                f" {' or '.join(self.trained.predictor.class_names)}"
            )
        plain = {f.name: asked[f.name] for f in fields(Options) if f.name in asked}
        methods = tuple(dict.fromkeys(asked.methods))
        if unknown := [method for method in methods if method not in METHODS]:
            raise UserError(
                f"scorecard.methods: there is no {unknown[0]}; choose among {', '.join(METHODS)}"
            )
        if not methods:
            raise UserError("scorecard.methods=[]: name at least one, such as gradcam")
        accelerator = {"cuda": "gpu"}.get(self.device, self.device)
        self.precision = choose_hardware(accelerator, asked.precision).precision
        bf16 = self.precision == "bf16-mixed"
        self.settings = Options(**plain | {"methods": methods, "bf16": bf16})
        side = self.trained.predictor.preprocess.size
        if self.settings.grid > side:
            raise UserError(f"scorecard.grid={asked.grid}: the network sees {side} pixels a side")
        self.set = choose_set(
            "gradcam", cfg.data, self.trained, Path(cfg.paths.cache).expanduser(),
            bar(self.progress, "preparing the set"),
        )  # fmt: skip
        data = OmegaConf.to_container(self.set.data, resolve=True)
        self.cfg = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True) | {"data": data})
        self.rows, self.left_out = self._chosen(asked.part, asked.images)

    def _chosen(self, part: str, most: int) -> tuple[np.ndarray, int]:
        """Rows in the order in which they are measured, and how many its training had seen."""
        index, known = self.set.faces.index, self.set.known
        use = np.full(len(index), True) if part == UNSEEN else self.set.parts == part
        trained = np.zeros(len(index), bool) if known.trained is None else known.trained
        left_out = int((use & trained).sum())
        rows = np.flatnonzero(use & ~trained)
        if not len(rows):
            why = "it was trained on all of them" if left_out else "there is none"
            raise UserError(
                f"{index.name} has no picture of part {part} to measure maps on: {why};"
                f" scorecard.part={UNSEEN} takes all that it was not trained on"
            )
        rows = np.random.default_rng(self.cfg.seed).permutation(rows)
        first = known_to_the_pixel(index)
        rows = rows[np.argsort([row not in first for row in rows.tolist()], kind="stable")]
        of_class = [rows[index.labels[rows] == label] for label in (0, 1)]
        half = most // 2
        fakes = max(most - half, most - len(of_class[1]))
        fakes = of_class[0][:fakes]
        reals = of_class[1][: most - len(fakes)]
        # In turn, so that what takes the first pictures only has some of both.
        order = np.argsort([*range(len(fakes)), *range(len(reals))], kind="stable")
        return np.concatenate([fakes, reals])[order], left_out

    def run(self) -> dict:
        """Measures and writes the report; returns what scorecard.json holds, and `folder`."""
        started = time.monotonic()
        index, predictor = self.set.faces.index, self.trained.predictor
        folder = self.new_folder(f"{index.name}-{self.trained.name}-scorecard")
        if self.cfg.scorecard.untrained:
            predictor.network = predictor.untrained(self.cfg.seed)
        truth = look_at(
            index, self.rows, predictor.preprocess, bar(self.progress, "finding faces and edits")
        )
        for name, why in truth.lost.items():
            log.warning("%s: %s", name, why)
        groups = np.array([index["group"][row] for row in truth.rows])
        card = Scorecard(
            predictor, truth, groups, self.explained, self.settings,
            target_layer=self.options.target_layer, seed=self.cfg.seed,
            progress=lambda phrase: bar(self.progress, phrase),
        )  # fmt: skip
        measured = card.measure()
        labels = index.labels[truth.rows]
        trained = "random weights" if self.cfg.scorecard.untrained else predictor.trained_on
        result = {
            "network": self.trained.name + (", untrained" if self.cfg.scorecard.untrained else ""),
            "checkpoint": str(self.trained.checkpoint),
            "trained_on": trained,
            "set": index.name,
            "part": self.cfg.scorecard.part,
            "explained": index.class_names[self.explained],
            "class_names": list(index.class_names),
            "n_of_class": [int((labels == label).sum()) for label in (0, 1)],
            "left_out_as_trained_on": self.left_out,
            "training_known": self.set.known.trained is not None,
            "masks_from": truth.origin,
            "unreadable": truth.lost,
            "precision_of_changed": self.precision,
            "options": OmegaConf.to_container(self.cfg.scorecard, resolve=True),
            **measured,
        }
        result["seconds"] = round(time.monotonic() - started, 1)
        run_folder.write_json(folder / "scorecard.json", result)
        text = markdown(result)
        (folder / "scorecard.md").write_text(text, encoding="utf-8")
        write_table(folder / "scorecard.csv", index, truth, card)
        scorecard_figure(result).savefig(folder / "scorecard.png")
        log.info("%s\n%s", text, folder)
        return result | {"folder": str(folder)}


def write_table(path: Path, index: Index, truth: Truth, card: Scorecard) -> None:
    """One line a picture and method: what each statistic of the scorecard is a mean of."""
    names = sorted({name for columns in card.values.values() for name in columns})
    blank = np.full(len(truth.rows), np.nan)
    lines = []
    for method, columns in card.values.items():
        values = np.stack([columns.get(name, blank) for name in names], axis=1)
        for row, group, own in zip(truth.rows, card.groups, values, strict=True):
            cells = ["" if np.isnan(value) else f"{value:.6g}" for value in own]
            lines.append((index["name"][row], index["label"][row], group, method, *cells))
    run_folder.write_csv(path, ("path", "label", "group", "method", *names), lines)
