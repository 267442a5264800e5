"""Several networks on several sets, from the config to the report."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from detector import cli
from detector.data.cache import load_pixels
from detector.data.load import FaceSet, load_set
from detector.data.split import PARTS
from detector.errors import UserError
from detector.evaluation.matrix_figure import matrix_figure
from detector.evaluation.matrix_inputs import compose_sets, open_networks
from detector.evaluation.matrix_measure import measure_cell
from detector.evaluation.matrix_report import COLUMNS, flat_cell, markdown, sentences, summary
from detector.evaluation.memory import look_back
from detector.predictor import Predictor
from detector.rules import check, mapping, one_of, text, texts, whole
from detector.run import folder as run_folder
from detector.run.hardware import choose_device
from detector.run.heap import keep_freed_memory
from detector.run.progress import bar, choose_progress

log = logging.getLogger(__name__)

RULES = {
    "ckpts": (texts[0], "give a list of run folders or checkpoints, as [runs/train/a/b]"),
    "sets": (texts[0], "give a list of sets, as [ciplab,hardfake]"),
    "seed": whole(0, 2**32 - 1),
    "progress": text,
    "data": mapping,
    "data.batch_size": whole(1),
    "matrix": mapping,
    "matrix.part": one_of(*PARTS, "all"),
    "matrix.replicates": whole(100, 10**6),
    "matrix.device": one_of("auto", "cpu", "cuda", "mps"),
    "paths": mapping,
    "paths.runs": text,
    "paths.cache": text,
}


@dataclass
class Cell:
    """A network on a set, before it is measured.

    Args:
        network: Its name here.
        rows: int (n), images of the set.
        facts: What is known of them already, as in matrix.json.
    """

    network: str
    rows: np.ndarray
    facts: dict


class Matrix:
    """Everything that is measured once; the constructor checks it all.

    Args:
        cfg: As `conf/matrix.yaml` composes it.

    Raises:
        UserError: The config, a set or a checkpoint is unusable. Sets that cannot be loaded are
            named together.
    """

    def __init__(self, cfg: DictConfig) -> None:
        check(cfg, RULES)
        self.cfg, self.options = cfg, cfg.matrix
        self.progress, _ = choose_progress(cfg.progress)
        self.runs = Path(cfg.paths.runs).expanduser().resolve()
        self.cache = Path(cfg.paths.cache).expanduser()
        self.configs = compose_sets(cfg.sets, cfg)
        device = choose_device(self.options.device, "matrix.device")
        keep_freed_memory(device)
        self.networks = open_networks(cfg.ckpts, self.runs, device)
        self.sets = self._load_all()
        self._refuse_other_classes()
        self.cells = {name: self._plan(name, faces) for name, faces in self.sets.items()}

    def _load_all(self) -> dict[str, FaceSet]:
        loaded, failed = {}, []
        for name, data in self.configs.items():
            move = bar(self.progress, f"preparing {name}")
            try:
                loaded[name] = load_set(data, self.cache, move, one_class=True)
            except UserError as error:
                failed.append(f"{name}: {error}")
            except OmegaConfBaseException as error:  # such as a folder set without its root
                failed.append(f"{name}: {cli.explain('evaluate', error, [])}")
        if failed:
            raise UserError(
                f"{len(failed)} of {len(self.configs)} sets cannot be loaded, and nothing was"
                f" scored: {'; '.join(failed)}"
            )
        return loaded

    def _refuse_other_classes(self) -> None:
        def names(of: Predictor | FaceSet) -> str:
            pair = of.class_names if isinstance(of, Predictor) else of.index.class_names
            return "/".join(pair)

        wrong = [
            f"{label} tells {names(trained.predictor)}, {name} holds {names(faces)}"
            for label, trained in self.networks.items()
            for name, faces in self.sets.items()
            if names(trained.predictor).casefold() != names(faces).casefold()
        ]
        if wrong:
            raise UserError(f"classes mean something else: {'; '.join(wrong)}: leave one out")

    def _plan(self, name: str, faces: FaceSet) -> list[Cell]:
        """Which images of a set each network is read on, refused where there are none."""
        cells = []
        for label, trained in self.networks.items():
            seen, part = look_back(trained, faces.index), self.options.part
            parts = seen.parts if seen.own else faces.parts
            wanted = PARTS if part == "all" else (part,)
            rows = np.flatnonzero(np.isin(parts, wanted))
            if len(rows) == 0:
                raise UserError(
                    f"{name} has no image of the {part} part for {label}: choose another with"
                    " matrix.part="
                )
            namesake = not seen.own and name == trained.predictor.trained_on
            if namesake:
                log.warning(
                    "%s was trained on a set called %s, too, but %s", label, name,
                    "its run folder is gone: its images may be among these"
                    if seen.trained is None else "with other files",
                )  # fmt: skip
            absent = sum(seen.absent.get(one, 0) for one in wanted)
            if absent:
                log.warning("%d images of %s are gone since %s was trained", absent, name, label)
            facts = {
                "network": label,
                "set": name,
                "trained_on": trained.predictor.trained_on,
                # One that was left out of a joint training is recorded, but it is not its own.
                "own": seen.own and "train" in seen.parts,
                "namesake": namesake,
                "seen": None if seen.trained is None else int(seen.trained[rows].sum()),
                "absent": absent,
                "error": None,
            }
            cells.append(Cell(label, rows, facts))
        return cells

    def run(self) -> dict:
        """Measures and writes the report; returns what matrix.json holds, and `folder`.

        Raises:
            UserError: A set could no longer be read; all others are in the folder, which the
                message names.
        """
        folder = run_folder.new_folder(self.runs, "", kind="matrix")
        run_folder.write_config(folder, self.cfg)
        run_folder.write_provenance(folder, run_folder.provenance({}))
        measured, failed = [], []
        for name, cells in self.cells.items():
            try:
                scores = self._score(name, cells)
            except (UserError, OSError) as error:
                why = f"{name} cannot be read any more: {error}"
                failed.append(why)
                log.warning("%s; going on without it", why)
                measured += [cell.facts | {"error": why} for cell in cells]
                continue
            measured += [self._measure(name, cell, scores[cell.network]) for cell in cells]
        order = list(self.networks)
        measured.sort(key=lambda cell: order.index(cell["network"]))  # row by row
        found = self._found(measured)
        self._write(folder, found)
        if failed:
            raise UserError(f"{'; '.join(failed)}; everything else is in {folder}")
        return found | {"folder": str(folder)}

    def _score(self, name: str, cells: list[Cell]) -> dict[str, np.ndarray]:
        """p_fake of the images of each cell; a picture is decoded once per preprocessing."""
        index = self.sets[name].index
        alike: dict[tuple, list[Cell]] = {}
        for cell in cells:
            key = self.networks[cell.network].predictor.preprocess.pixels_key()
            alike.setdefault(key, []).append(cell)
        total = sum(len(_union(together)) for together in alike.values())
        move, done, scores = bar(self.progress, f"scoring {name}"), 0, {}
        for together in alike.values():
            first = self.networks[together[0].network].predictor.preprocess
            pixels = load_pixels(
                index, first, cache_gb=self.configs[name].cache_gb, cache_dir=self.cache
            )
            every = _union(together)
            of = {cell.network: np.full(len(index), np.nan) for cell in together}
            size = self.cfg.data.batch_size
            for batch in np.split(every, range(size, len(every), size)):
                images = {int(row): pixels[int(row)] for row in batch}
                for cell in together:
                    rows = batch[np.isin(batch, cell.rows)]
                    predictor = self.networks[cell.network].predictor
                    of[cell.network][rows] = predictor.scores(
                        (images[int(row)] for row in rows), size
                    )
                done += len(batch)
                if move:
                    move(done, total)
            scores |= {cell.network: of[cell.network][cell.rows] for cell in together}
        return scores

    def _measure(self, name: str, cell: Cell, scores: np.ndarray) -> dict:
        index, predictor = self.sets[name].index, self.networks[cell.network].predictor
        return cell.facts | measure_cell(
            scores,
            index.labels[cell.rows],
            np.array(index["group"])[cell.rows],
            threshold=predictor.threshold,
            name=name,
            fake=index.class_names[0],
            replicates=self.options.replicates,
            seed=self.cfg.seed,
        )

    def _found(self, cells: list[dict]) -> dict:
        networks = [
            {
                "name": label,
                "checkpoint": str(trained.checkpoint),
                "trained_on": trained.predictor.trained_on,
                "threshold": trained.predictor.threshold,
                "temperature": trained.predictor.calibration.temperature,
                "calibrated_on": trained.predictor.calibration.n,
                "class_names": list(trained.predictor.class_names),
            }
            for label, trained in self.networks.items()
        ]
        sets = [
            {
                "name": name,
                "root": str(faces.index.root),
                "n": len(faces.index),
                "class_names": list(faces.index.class_names),
            }
            for name, faces in self.sets.items()
        ]
        found = {
            "part": self.options.part,
            "replicates": self.options.replicates,
            "seed": self.cfg.seed,
            "networks": networks,
            "sets": sets,
            "cells": cells,
        }
        return found | {"says": sentences(found)}

    def _write(self, folder: Path, found: dict) -> None:
        rows = [flat_cell(cell) for cell in found["cells"]]
        run_folder.write_csv(folder / "cells.csv", COLUMNS, rows)
        (folder / "matrix.md").write_text(markdown(found), encoding="utf-8")
        matrix_figure(found).savefig(folder / "matrix.png")
        run_folder.write_json(folder / "matrix.json", found)  # last: where it is, the rest is
        log.info("\n%s\n\nall of it: %s (matrix.md, .json, .png)", summary(found), folder)


def _union(cells: list[Cell]) -> np.ndarray:
    return np.unique(np.concatenate([cell.rows for cell in cells]))
