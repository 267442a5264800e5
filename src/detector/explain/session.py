"""Explanations of single pictures, from the config to the files."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from detector.data.decode import decode
from detector.errors import UserError
from detector.evaluation.trained import open_trained
from detector.explain.cam import METHODS, Explainer
from detector.explain.lookup import Picture, known_sets, look_up
from detector.explain.panel import density, panel_figure
from detector.explain.regions import REGIONS, Placed, regions_of_image
from detector.explain.scores import region_areas, region_shares
from detector.predictor import Predictor
from detector.rules import Rule, check, either, flag, mapping, nothing, one_of, text
from detector.run import folder as run_folder
from detector.run.hardware import choose_device
from detector.run.heap import keep_freed_memory
from detector.run.progress import bar, choose_progress

log = logging.getLogger(__name__)

RULES = {
    "data": mapping,
    "paths": mapping,
    "paths.runs": text,
    "paths.cache": text,
    "ckpt": either(nothing, text),
    "gradcam": mapping,
    "gradcam.method": one_of(*METHODS),
    "gradcam.explain": text,
    "gradcam.target_layer": either(nothing, text),
    "gradcam.regions": flag,
    "gradcam.device": one_of("auto", "cpu", "cuda", "mps"),
}
OF_PICTURES = {
    "image": either(
        text, (lambda v: isinstance(v, (int, float)) and not isinstance(v, bool), "a number")
    )
}
PREDICTED = "predicted"


class Opened:
    """What both modes of the command begin with.

    Args:
        cfg: As `conf/gradcam.yaml` composes it.
        rules: What the mode asks of its own settings.

    Raises:
        UserError: The config or the checkpoint is unusable.
    """

    def __init__(self, cfg: DictConfig, rules: Mapping[str, Rule]) -> None:
        check(cfg, RULES | rules)
        self.cfg, self.options = cfg, cfg.gradcam
        self.progress, _ = choose_progress(cfg.progress)
        self.runs = Path(cfg.paths.runs).expanduser().resolve()
        self.device = choose_device(self.options.device, "gradcam.device")
        keep_freed_memory(self.device)
        self.trained = open_trained(cfg.ckpt, self.runs, self.device)
        self.explained = self._class(self.options.explain, self.trained.predictor)

    def new_folder(self, name: str) -> Path:
        """A folder for the results, with the config and where they come from."""
        folder = run_folder.new_folder(self.runs, name, kind="gradcam")
        run_folder.write_config(folder, self.cfg)
        run_folder.write_provenance(folder, run_folder.provenance({}))
        return folder

    def _class(self, asked: str, predictor: Predictor) -> int | None:
        names = dict(zip(predictor.class_names, (0, 1), strict=False))
        names = {"fake": 0, "real": 1} | names
        if asked == PREDICTED:
            return None
        if asked not in names:
            known = ", ".join([*predictor.class_names, PREDICTED])
            raise UserError(f"gradcam.explain={asked}: choose one of {known}")
        return names[asked]


class Explanation(Opened):
    """One call of the command for pictures; the constructor checks it all.

    Args:
        cfg: As `conf/gradcam.yaml` composes it.

    Raises:
        UserError: The config, the checkpoint or the picture is unusable.
    """

    def __init__(self, cfg: DictConfig) -> None:
        if cfg.image is None:
            raise UserError(
                "which picture? image=easy_107_1011.jpg, a path or a folder; mode=scorecard"
                " measures the heatmaps of a whole set"
            )
        super().__init__(cfg, OF_PICTURES)
        self.explainer = Explainer(
            self.trained.predictor.network, self.options.method, self.options.target_layer
        )
        # Of a set that was named nothing but that set is meant.
        named = "name" in cfg.data
        sets = [cfg.data] if named else known_sets(self.trained.data, str(cfg.data_root))
        self.pictures = look_up(str(cfg.image), sets)
        if len(self.pictures) > 1 and not Path(str(cfg.image)).expanduser().is_dir():
            names = ", ".join(picture.name for picture in self.pictures)
            raise UserError(
                f"{self.pictures[0].set} has {len(self.pictures)} pictures {cfg.image}: give the"
                f" path of one ({names} below {_root(self.pictures[0])})"
            )

    def run(self) -> dict:
        """Writes a panel and a JSON a picture; returns what `detector.gradcam.gradcam` does."""
        folder = self.new_folder(self.trained.name)
        done, failed, used = [], [], set()
        move = bar(self.progress, "explaining")
        for at, picture in enumerate(self.pictures, 1):
            try:
                found, figure = self.explain(picture)
            except (UserError, OSError) as error:
                failed.append({"path": str(picture.path), "error": str(error)})
                log.error("%s: %s", picture.path, error)
                continue
            stem = _unused(picture.path.stem, used)
            figure.savefig(folder / f"{stem}.png")
            run_folder.write_json(folder / f"{stem}.json", found)
            done.append(found | {"panel": str(folder / f"{stem}.png")})
            log.info("%s\n%s", found["says"], folder / f"{stem}.png")
            if move:
                move(at, len(self.pictures))
        if failed and not done:
            raise UserError(f"{failed[0]['path']}: {failed[0]['error']}")
        return {"folder": str(folder), "pictures": done, "failed": failed}

    def explain(self, picture: Picture) -> tuple[dict, object]:
        """What is known of one picture, and its panel.

        Raises:
            UserError: It cannot be decoded.
            OSError: It cannot be read.
        """
        predictor, preprocess = self.trained.predictor, self.trained.predictor.preprocess
        whole = decode(picture.path.read_bytes(), max_pixels=preprocess.max_pixels)
        image = preprocess.resize(whole)
        score = float(predictor.scores([image])[0])
        explained = self.explained
        if explained is None:
            explained = 0 if score >= predictor.threshold else 1
        cam = self.explainer.maps(preprocess.normalize(image[None]), explained)[0]
        placed = regions_of_image(whole, preprocess) if self.options.regions else None
        shares, areas = _shares(cam, placed)
        verdict = predictor.verdict(score)
        notes = self._notes(picture, placed)
        found = {
            "path": str(picture.path),
            "set": picture.set or None,
            predictor.score_name: score,
            "verdict": verdict,
            "threshold": predictor.threshold,
            "actual": picture.actual or None,
            "edited": picture.edited,
            "explained": predictor.class_names[explained],
            "method": self.options.method,
            "shares": shares,
            "areas": areas,
            "densest": float(density(cam).max()),
            "checkpoint": str(self.trained.checkpoint),
            "trained_on": predictor.trained_on,
            "seen_in_training": self._seen(picture),
            "notes": notes,
        }
        found["says"] = self._title(picture, score, verdict)
        figure = panel_figure(
            image, cam, title=found["says"], notes="   ".join(notes),
            regions=placed and placed.labels, shares=shares, areas=areas,
        )  # fmt: skip
        return found, figure

    def _seen(self, picture: Picture) -> bool | None:
        """Whether it was in the training; None where that is not known."""
        if not picture.set or self.trained.data is None:
            return None
        return self._own(picture) and self.trained.parts.get(self._name(picture)) == "train"

    def _own(self, picture: Picture) -> bool:
        """Whether it is of the set, or of one of the sets, that the network was trained on."""
        joint = self.trained.data.get("source") == "joint"
        known = self._name(picture) in self.trained.parts
        return known if joint else picture.set == self.trained.predictor.trained_on

    def _name(self, picture: Picture) -> str:
        """As the run that trained the network wrote it down."""
        joint = self.trained.data.get("source") == "joint"
        return f"{picture.set}/{picture.name}" if joint else picture.name

    def _title(self, picture: Picture, score: float, verdict: str) -> str:
        said = f"Predicted: {verdict} ({self.trained.predictor.score_name} {score:.2f})"
        words = [said, f"Actual: {picture.actual or 'not known'}"]
        if picture.edited:
            words.append(f"Edited: {', '.join(picture.edited)}")
        return "   ".join(words)

    def _notes(self, picture: Picture, placed: Placed | None) -> list[str]:
        known, notes = self.trained.predictor.trained_on, []
        if self._seen(picture):
            notes.append("The network was trained on this very picture.")
        elif not picture.set:
            notes.append("It lies in no known set: the network may have been trained on it.")
        elif self.trained.data is None:
            notes.append("Its run folder is gone: the network may have been trained on it.")
        elif not self._own(picture):
            notes.append(f"The network was trained on {known}, another set.")
        if self.options.regions and placed is None:
            notes.append("No face was found, so there are no regions.")
        return notes


def _shares(cam: np.ndarray, placed: Placed | None) -> tuple[dict, dict]:
    """Share of the map and of the picture in each region; the map's are empty for an empty map."""
    if placed is None:
        return {}, {}
    areas = region_areas(placed.labels[None])[0]
    of_map = region_shares(cam[None], placed.labels[None])[0]
    shares = {} if cam.max() <= 0 else dict(zip(REGIONS, map(float, of_map), strict=True))
    return shares, dict(zip(REGIONS, map(float, areas), strict=True))


def _unused(stem: str, used: set[str]) -> str:
    name, n = stem, 1
    while name in used:
        n += 1
        name = f"{stem}-{n}"
    used.add(name)
    return name


def _root(picture: Picture) -> Mapping | Path:
    return Path(str(picture.path)[: -len(picture.name)])
