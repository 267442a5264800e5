"""Where maps lie: inside what was edited, and on which region of the face, beside controls."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from detector.data.sources import FACE_PARTS
from detector.evaluation.compare import holm
from detector.evaluation.metrics import LEVEL
from detector.explain import scores
from detector.explain.evidence import edited_auroc, mean_share
from detector.explain.looked_at import looked_at, mean_of_defined
from detector.explain.regions import REGIONS

if TYPE_CHECKING:
    from detector.explain.scorecard import Scorecard


def inside(card: "Scorecard", kind: str, masks: np.ndarray) -> dict:
    """How much of each method's maps lies inside what was edited, beside every control's.

    Controls: the map that is even, one that looks at the middle, the mean map of the other
    pictures, and the maps of networks with random weights.

    Args:
        card: With its maps.
        kind: Of masks, for the table of single pictures.
        masks: bool (N, S, S); pictures with an empty one are left out.

    Returns:
        `n`, `area` (mean share of the picture), and by method `share`, `pointing` and
        `pixel_auroc` with their `controls`, and `lift`, as `evidence.looked_at` tests it.
    """
    use = np.flatnonzero(masks.any((1, 2)))
    found = {"n": len(use), "area": float(masks[use].mean()) if len(use) else None, "methods": {}}
    for method, every in card.maps.items():
        rows = use[use < len(every)]
        if len(rows):
            found["methods"][method] = _inside(card, kind, method, rows, masks[rows])
    tests = [one["lift"] for one in found["methods"].values()]
    # Holm's correction over the methods: each is one more chance to be right.
    tested = [test for test in tests if test["p"] is not None]
    for test, p in zip(tested, holm([test["p"] for test in tested]), strict=True):
        test["p_corrected"] = p
        test["holds"] = test["low"] is not None and test["low"] > 1 and p < 1 - LEVEL
    return found


def _inside(card: "Scorecard", kind: str, method: str, rows: np.ndarray, masks: np.ndarray) -> dict:
    maps, groups = card.maps[method][rows], card.groups[rows]
    tolerance = card.options.tolerance * card.size
    measures = {
        "share": scores.shares,
        "pointing": lambda maps, masks: scores.pointing_game(maps, masks, tolerance),
        "pixel_auroc": scores.pixel_auroc,
    }
    found = {}
    for name, measure in measures.items():
        mine = measure(maps, masks)
        card.record(method, f"{kind}_{name}", rows, mine)
        controls = {"centre": measure(card.center, masks)}
        controls["others"] = np.full(len(rows), np.nan)
        for at, mean in scores.means_of_others(maps, groups):
            controls["others"][at] = measure(mean, masks[at])
        even = scores.area_shares(masks) if name == "share" else None
        if even is not None:
            controls["uniform"] = even
        networks = None
        if method in card.random:
            networks = _random(card, method, lambda every, m=measure: m(every[rows], masks), even)
        for key, value in controls.items():  # of the same pictures
            controls[key] = np.where(np.isnan(mine), np.nan, value)
        found[name] = mean_share(mine, groups, **card.drawn)
        shown = dict(controls)
        if networks is not None:
            shown["random"] = np.where(np.isnan(mine), np.nan, mean_of_defined(networks))
        found[name]["controls"] = {
            key: mean_share(value, groups, **card.drawn) for key, value in shown.items()
        }
        if name == "share":
            columns = {key: value[:, None] for key, value in controls.items()}
            tested = looked_at(
                mine[:, None], columns, groups, names=[method],
                networks=None if networks is None else networks[..., None], **card.drawn,
            )  # fmt: skip
            found["lift"] = tested[method]
    return found


def parts(card: "Scorecard") -> dict:
    """Was this part edited? By method, told from the part's share of the map.

    Among fakes only: that real pictures have other maps tells nothing of places. `random` are
    the same figures of networks with random weights.
    """
    found = {}
    known = (card.truth.bits >= 0).all(1) & card.truth.faces
    for method, every in card.maps.items():
        rows = np.flatnonzero(known[: len(every)])
        if not len(rows):
            continue
        labels, bits, groups = card.truth.labels[rows], card.truth.bits[rows], card.groups[rows]

        def measured(maps: np.ndarray, rows=rows, labels=labels) -> np.ndarray:
            return scores.region_shares(maps[rows], labels)[:, 1 : 1 + len(FACE_PARTS)]

        values = {"map": measured(every)}
        if method in card.random:
            values["random"] = mean_of_defined(_random(card, method, measured))
        found[method] = {
            key: edited_auroc(value, bits, groups, names=FACE_PARTS, **card.drawn)
            for key, value in values.items()
        }
    return found


def regions(card: "Scorecard") -> dict:
    """By method, what each region has of the maps, and whether that beats every control."""
    found = {}
    for method, every in card.maps.items():
        rows = np.flatnonzero(card.truth.faces[: len(every)])
        if not len(rows):
            continue
        labels = card.truth.labels[rows]
        even = scores.region_areas(labels)
        controls = {"uniform": even, "centre": scores.region_shares(card.center, labels)}
        networks = None
        if method in card.random:
            networks = _random(
                card,
                method,
                lambda maps, rows=rows, labels=labels: scores.region_shares(maps[rows], labels),
                even,
            )[..., 1:]
        # What lies around the face is no region of it, and would be one more test.
        found[method] = looked_at(
            scores.region_shares(every[rows], labels)[:, 1:],
            {name: values[:, 1:] for name, values in controls.items()},
            card.groups[rows],
            networks=networks,
            names=REGIONS[1:],
            **card.drawn,
        )
    return found


def _random(
    card: "Scorecard",
    method: str,
    measure: Callable[[np.ndarray], np.ndarray],
    even: np.ndarray | None = None,
) -> np.ndarray:
    """A measure of each network with random weights, (K, ...).

    One without a map of a picture counts as `even` there, or not at all.
    """
    values = np.stack([measure(maps) for maps in card.random[method]])
    return values if even is None else np.where(np.isnan(values), even, values)
