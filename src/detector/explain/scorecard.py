"""Is a heatmap right? Every measure of one network's maps on one set, beside controls.

Where the maps lie is compared with what was edited (`scores`), with what moves the network's
answer (`faithfulness`), and with what networks of the same shape give that have learnt nothing
(`untrained`). Occlusion stands among the methods: it asks the network alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from detector.explain import answers, faithfulness, scores, where
from detector.explain.answers import OCCLUSION
from detector.explain.cam import SLOW, Explainer
from detector.explain.truth import Truth
from detector.predictor import Predictor

BATCH = 16
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Options:
    """How a scorecard is made; `conf/gradcam.yaml` says what each is."""

    methods: tuple[str, ...]
    slow_images: int
    center_sigma: float
    tolerance: float
    steps: int
    grid: int
    faithfulness_images: int
    compared_images: int
    road_images: int
    sanity_images: int
    stages: int
    random_networks: int
    bf16: bool
    replicates: int


class Scorecard:
    """The measurements; `measure` makes them all.

    Pictures whose edit is known to the pixel should come first: the slow measurements take the
    first of them.

    Args:
        predictor: The network that is explained.
        truth: The pictures.
        groups: (N,) group of each.
        explained: 0 or 1, the class.
        options: See there.
        target_layer: As for `Explainer`.
        seed: Of ties, of random weights and of the bootstrap.
        progress: Gives, for a phrase, what is to be called with steps done and steps in all.
    """

    def __init__(
        self,
        predictor: Predictor,
        truth: Truth,
        groups: np.ndarray,
        explained: int,
        options: Options,
        *,
        target_layer: str | None = None,
        seed: int,
        progress: Callable[[str], Progress | None] = lambda _: None,
    ) -> None:
        self.predictor, self.truth, self.groups = predictor, truth, np.asarray(groups)
        self.explained, self.options, self.target_layer = explained, options, target_layer
        self.seed, self.progress = seed, progress
        # What each statistic is a mean of, by method and by name: float (N,).
        self.values: dict[str, dict[str, np.ndarray]] = {}
        self.drawn = {"replicates": options.replicates, "seed": seed}
        self.size, self.batch = truth.images.shape[1], BATCH
        self.center = scores.center_gaussian(self.size, options.center_sigma)

    def score(self, images: np.ndarray) -> np.ndarray:
        """Probability of the class explained, float64 (N), of changed pictures, uint8."""
        p_fake = self.predictor.scores(images, BATCH, bf16=self.options.bf16)
        return p_fake if self.explained == 0 else 1 - p_fake

    def record(self, method: str, name: str, rows: np.ndarray, values: np.ndarray) -> None:
        """Keeps values of single pictures for the table."""
        column = self.values.setdefault(method, {}).setdefault(
            name, np.full(len(self.groups), np.nan)
        )
        column[rows] = values

    def measure(self) -> dict:
        """All sections, as plain data; the maps stay in `maps`, by method.

        Raises:
            UserError: The network has no layer that can be explained.
        """
        explain = Explainer(
            self.predictor.network, self.options.methods[0], self.target_layer, BATCH
        )
        self.layer = explain.layer(self.size)
        self.drops = self._occluded()
        self.maps = {m: self._maps(self.predictor.network, m) for m in self.options.methods}
        self.maps[OCCLUSION] = self._spread(self.drops)
        self.random = self._random_maps()
        parts = scores.region_masks(
            self.truth.labels, np.where(self.truth.faces[:, None], self.truth.bits, -1)
        )
        return {
            "layer": self.layer,
            "n": len(self.groups),
            "n_faces": int(self.truth.faces.sum()),
            "masks": {
                "pixels": where.inside(self, "pixels", self.truth.masks),
                "parts": where.inside(self, "parts", parts),
            },
            "edited_auroc": where.parts(self),
            "regions": where.regions(self),
            "faithfulness": answers.changed(self),
            "sanity": answers.sanity(self),
            "occlusion": answers.agreement(self),
        }

    def _maps(self, network: object, method: str) -> np.ndarray:
        """float32 (M, S, S) of the first M pictures: all, or what a slow method has time for."""
        count = self.options.slow_images if method in SLOW else len(self.groups)
        count = min(count, len(self.groups))
        explainer = Explainer(network, method, self.target_layer, BATCH)
        found = np.empty((count, self.size, self.size), np.float32)
        move = self.progress(method)
        for start in range(0, count, BATCH):
            part = slice(start, min(start + BATCH, count))
            images = self.predictor.preprocess.normalize(self.truth.images[part])
            found[part] = explainer.maps(images, self.explained)
            if move:
                move(part.stop, count)
        return found

    def _occluded(self) -> np.ndarray:
        """float64 (N, grid, grid)."""
        move, found = self.progress(OCCLUSION), []
        for at in range(len(self.groups)):
            image = self.truth.images[at : at + 1]
            found.append(faithfulness.occlusion(self.score, image, grid=self.options.grid))
            if move:
                move(at + 1, len(self.groups))
        return np.concatenate(found)

    def _spread(self, drops: np.ndarray) -> np.ndarray:
        """Falls of the score, each over its cell; a rise is no evidence for the class."""
        edges = np.round(np.linspace(0, self.size, self.options.grid + 1)).astype(int)
        sizes = np.diff(edges)
        wide = np.maximum(drops, 0).astype(np.float32)
        return wide.repeat(sizes, axis=1).repeat(sizes, axis=2)

    def _random_maps(self) -> dict[str, list[np.ndarray]]:
        """By method, maps of networks with random weights; of slow methods of the first only."""
        found: dict[str, list[np.ndarray]] = {}
        for k in range(self.options.random_networks):
            network = self.predictor.untrained(self.seed + 1000 + k)
            for method in (m for m in self.options.methods if k == 0 or m not in SLOW):
                found.setdefault(method, []).append(self._maps(network, method))
        return found
