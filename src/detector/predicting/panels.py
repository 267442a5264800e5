"""Panels of `detector.predict`: each picture beside what the network looked at."""

import time
from pathlib import Path

from omegaconf import DictConfig

from detector.errors import UserError
from detector.explain.cam import METHODS
from detector.explain.panel import panel_figure
from detector.explain.regions import REGIONS
from detector.explain.scores import region_areas
from detector.predicting.prediction import Prediction
from detector.predictor import Predictor


class Panels:
    """Saves them, and never over another one.

    Args:
        options: `predict` of the config.
        runs: Folder of all runs; below it a new folder is made unless `panels` names one.
        checkpoint: Named in the new folder's name.
        predictor: The network.

    Raises:
        UserError: The method is unknown, or the folder cannot be made.
    """

    def __init__(
        self, options: DictConfig, runs: Path, checkpoint: Path, predictor: Predictor
    ) -> None:
        if options.method not in METHODS:
            raise UserError(f"predict.method={options.method}: choose among {', '.join(METHODS)}")
        self._predictor, self._last = predictor, {}
        stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
        folder = options.panels or runs / "predict" / checkpoint.stem / stamp
        self.folder = Path(folder).expanduser()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"{self.folder} cannot be made ({error.strerror or error}): set predict.panels="
            ) from error

    def add(self, answer: Prediction) -> list[str]:
        """Saves the panel of a picture, or one for each of its faces.

        Returns:
            The name of each file in the folder, of one without a heatmap an empty one.

        Raises:
            UserError: It cannot be written.
        """
        return ["" if one.heatmap is None else self._save(one) for one in answer.faces or (answer,)]

    def _save(self, one: Prediction) -> str:
        stem = Path(one.path).stem or "picture"
        stem = f"{stem}-face{one.face}" if one.face else stem
        while True:
            self._last[stem] = number = self._last.get(stem, 0) + 1
            path = self.folder / f"{stem if number == 1 else f'{stem}-{number}'}.png"
            try:
                with open(path, "xb") as file:
                    self._figure(one).savefig(file, format="png")
                return path.name
            except FileExistsError:  # of an earlier job, or of a picture that is called so
                continue
            except OSError as error:
                raise UserError(f"{path} cannot be written ({error.strerror or error})") from error

    def _figure(self, one: Prediction) -> object:
        said = f"{one.verdict}, {one.reason}" if one.reason else one.verdict
        title = f"Predicted: {said} ({self._predictor.score_name} {one.p_fake:.2f})"
        areas = None
        if one.labels is not None:
            found = region_areas(one.labels[None])[0]
            areas = dict(zip(REGIONS, map(float, found), strict=True))
        notes = list(one.warnings)
        if one.labels is None:
            notes.append("No face was found, so there are no regions.")
        return panel_figure(
            one.image, one.heatmap, title=title, notes="   ".join(notes), regions=one.labels,
            shares=one.regions, areas=areas,
        )  # fmt: skip
