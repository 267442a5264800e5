"""Whether the network's answer depends on what its maps mark."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from detector.explain import faithfulness
from detector.explain.cam import SLOW, Explainer
from detector.explain.evidence import mean_value
from detector.explain.untrained import randomized

if TYPE_CHECKING:
    from detector.explain.scorecard import Scorecard

OCCLUSION, CENTER = "occlusion", "centre"
RANDOMIZED = 2000  # added to the seed: other weights than those of any network that is compared
CORRELATED = 28  # cells a side at which two maps are compared; neighbouring pixels say the same


def changed(card: "Scorecard") -> dict:
    """Insertion, deletion and ROAD, by method, and the lead over a map that looks at the middle.

    Returns:
        By method, and for `centre`: `insertion`, `deletion` and `road` as `mean_value` gives them,
        each with its `lead`, paired; the mean `curves`, each over its own pictures, and their
        `lead`, over pictures that both have.
    """
    most = min(card.options.faithfulness_images, len(card.groups))
    compared = min(most, card.options.compared_images)
    center = np.broadcast_to(card.center, (compared, card.size, card.size))
    limits = dict.fromkeys(card.maps, most) | {OCCLUSION: compared, CENTER: compared}
    values = {}
    for method, maps in ({CENTER: center} | card.maps).items():
        values[method] = _areas(card, method, maps[: limits[method]])
    return {method: _led(card, method, areas, values[CENTER]) for method, areas in values.items()}


def _areas(card: "Scorecard", method: str, maps: np.ndarray) -> dict[str, np.ndarray]:
    """By measure float64 (M,), and both curves (2, M, steps + 1); NaN for empty maps."""
    curves = np.full((2, len(maps), card.options.steps + 1), np.nan)
    road = np.full(len(maps), np.nan)
    move = card.progress(f"changing pixels, {method}")
    for at in range(len(maps)):
        one = slice(at, at + 1)
        images, cam = card.truth.images[one], maps[one]
        if cam.any():  # one that is empty ranks nothing
            for k, insert in enumerate((True, False)):
                curves[k, one] = faithfulness.curves(
                    card.score, images, cam, steps=card.options.steps, insert=insert, seed=card.seed
                )
            if at < card.options.road_images and method != OCCLUSION:
                road[one] = faithfulness.road(card.score, images, cam, seed=card.seed)
        if move:
            move(at + 1, len(maps))
    areas = [faithfulness.area_under(curve) for curve in curves]
    return {"insertion": areas[0], "deletion": areas[1], "road": road, "curves": curves}


def _led(card: "Scorecard", method: str, values: Mapping, center: Mapping) -> dict:
    curves = values["curves"]
    both = min(curves.shape[1], center["curves"].shape[1])
    lead = curves[:, :both] - center["curves"][:, :both]
    found = {"curves": _means(curves), "lead": _means(lead)}
    for name in ("insertion", "deletion", "road"):
        mine, other = values[name], center[name]
        card.record(method, name, np.arange(len(mine)), mine)
        groups, scale = card.groups[: len(mine)], (-0.5, 0.5) if name == "road" else (0.0, 1.0)
        found[name] = mean_value(mine, groups, scale=scale, **card.drawn)
        if values is not center:
            ahead = mine[:both] - other[:both]
            found[name]["lead"] = mean_value(ahead, groups[:both], scale=(-1.0, 1.0), **card.drawn)
    return found


def _means(curves: np.ndarray) -> dict[str, list[float] | None]:
    """Over the pictures where both are defined."""
    defined = ~np.isnan(curves[0, :, 0])
    return {
        name: curve[defined].mean(0).tolist() if defined.any() else None
        for name, curve in zip(("insertion", "deletion"), curves, strict=True)
    }


def sanity(card: "Scorecard") -> dict:
    """Rank correlation with the maps of networks that are random from the answer down."""
    count = min(card.options.sanity_images, len(card.groups))
    found: dict[str, list] = {}
    if not count or not card.options.stages:
        return found
    images = card.predictor.preprocess.normalize(card.truth.images[:count])
    cells = min(CORRELATED, card.size)
    for method in (m for m in card.options.methods if m not in SLOW):
        before = faithfulness.pooled(card.maps[method][:count], cells)
        fresh, found[method] = card.predictor.untrained(card.seed + RANDOMIZED), []
        move = card.progress(f"randomizing, {method}")
        stages = randomized(card.predictor.network, fresh, card.options.stages)
        for done, (name, network) in enumerate(stages, 1):
            # By name: with random weights too, it is the same layer's maps that are compared.
            maps = Explainer(network, method, card.layer, card.batch).maps(images, card.explained)
            same = faithfulness.rank_correlation(before, faithfulness.pooled(maps, cells))
            value = mean_value(same, card.groups[:count], scale=(-1.0, 1.0), **card.drawn)
            found[method].append({"from": name} | value)
            if move:
                move(done, card.options.stages)
    return found


def agreement(card: "Scorecard") -> dict:
    """Rank correlation of each method's cells with what occlusion says of them."""
    found = {}
    center = np.broadcast_to(card.center, (len(card.groups), card.size, card.size))
    for method, maps in (card.maps | {CENTER: center}).items():
        if method == OCCLUSION:
            continue
        cells = faithfulness.pooled(maps, card.options.grid)
        same = faithfulness.rank_correlation(cells, card.drops[: len(maps)])
        card.record(method, "occlusion", np.arange(len(maps)), same)
        groups = card.groups[: len(maps)]
        found[method] = mean_value(same, groups, scale=(-1.0, 1.0), **card.drawn)
    return found
