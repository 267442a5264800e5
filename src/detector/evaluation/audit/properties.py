"""How well does one property, by itself, tell the classes apart?"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from detector.evaluation.audit.observe import Observed
from detector.evaluation.intervals import allow_unseen, bootstrap_by_group, effective_n
from detector.evaluation.metrics import LEVEL, auroc
from detector.evaluation.scores import FAKE, REAL

BINS, PER_BIN = 10, 25  # of a number, by its quantiles; images in a bin, at the least
SMOOTHING = 2.0  # images of each class, spread as all images are
OFTEN, RARER = 8, 20  # images that have a value, and times it is rarer in the other class


@dataclass(frozen=True)
class Property:
    """What is measured, in words.

    Args:
        title: Its name.
        more: What a class is called that has more of it; empty for categories.
        less: What a class is called that has less of it.
        digits: Of its numbers.
    """

    title: str
    more: str = ""
    less: str = ""
    digits: int = 2


PROPERTIES = {
    "format": Property("file format"),
    "mode": Property("colour mode"),
    "size": Property("size in pixels"),
    "aspect": Property("width by height", "wider", "taller"),
    "quantization": Property("JPEG quantization table"),
    "subsampling": Property("chroma subsampling"),
    "exif": Property("EXIF"),
    "bytes_per_pixel": Property("bytes per pixel", "heavier", "lighter"),
    "brightness": Property("brightness", "brighter", "darker"),
    "contrast": Property("contrast", "richer in contrast", "flatter"),
    "colour": Property("colourfulness", "more colourful", "paler"),
    "grey": Property("grey picture"),
    "red": Property("red minus green", "redder", "less red", 3),
    "blue": Property("blue minus green", "bluer", "less blue", 3),
    "sharpness": Property("sharpness", "sharper", "more blurred"),
    "faces": Property("faces found"),
    "face_x": Property("face: horizontal position", "framed further right", "framed further left"),
    "face_y": Property("face: vertical position", "framed lower", "framed higher"),
    "face_scale": Property("face: scale", "framed closer", "framed wider", 3),
    "face_tilt": Property("face: tilt", "tilted clockwise", "tilted anticlockwise", 1),
}  # fmt: skip


def measure_properties(
    observed: Observed,
    labels: np.ndarray,
    groups: np.ndarray,
    folds: np.ndarray,
    *,
    replicates: int,
    seed: int,
) -> dict[str, dict]:
    """AUROC of each property alone, the highest first.

    The score of an image is the share of fakes among images of the other folds that are like
    it (`score`), so that neither the direction nor the shape of a difference has to be
    chosen: no folding at .5, which would turn chance into .52, and a property that is merely
    less varied in one class is found too. It is compared within folds (`within_folds`). A
    property that tells nothing comes out at or a little below .5.

    Args:
        observed: Of N images.
        labels: int (N), 0 for fake, 1 for real.
        groups: Group of each image (N).
        folds: int (N), which fold an image is in; a group is in one.
        replicates: Resamples of the bootstrap, by group; the scores stay as they are.
        seed: Of the bootstrap.

    Returns:
        By key of `PROPERTIES`: `title`, `kind` (number or category), `n` (images that have
        it), `auroc` (value, low, high; None for all three where a class lacks it), `fake_higher`
        (numbers: share of pairs in which the fake has more of it, else None), `by_class` (see
        `describe`), `only` (see `exclusive`).
    """
    values = observed.categories | observed.numbers
    known = {key: _known(values[key]) for key in PROPERTIES}
    whole = [key for key in PROPERTIES if len(set(labels[known[key]])) == 2]
    scores = {
        key: score(values[key][known[key]], labels[known[key]] == FAKE, folds[known[key]])
        for key in whole
    }
    measured = dict.fromkeys(PROPERTIES)
    # Properties that all images have are resampled together; of faces there may be fewer.
    for having in {known[key].tobytes(): known[key] for key in whole}.values():
        keys = [key for key in whole if (known[key] == having).all()]
        y, names = labels[having], np.asarray(groups)[having]
        measure = within_folds([scores[key] for key in keys], y, folds[having])
        low, high = bootstrap_by_group(
            measure, names, y, replicates=replicates, seed=seed, level=LEVEL
        )
        whole_sample = measure(np.ones((1, len(y))))[0]
        smaller = min(effective_n(names[y == label]) for label in (FAKE, REAL))
        for key, value, *ends in zip(keys, whole_sample.tolist(), low, high, strict=True):
            low_end, high_end = allow_unseen(value, ends, smaller, LEVEL)
            measured[key] = {"value": value, "low": low_end, "high": high_end}
    nothing = {"value": None, "low": None, "high": None}
    rows = {}
    for key in sorted(PROPERTIES, key=lambda key: -(measured[key] or {"value": 0})["value"]):
        number = key in observed.numbers
        y, own = labels[known[key]], values[key][known[key]]
        rows[key] = {
            "title": PROPERTIES[key].title,
            "kind": "number" if number else "category",
            "n": len(y),
            "auroc": measured[key] or nothing,
            "fake_higher": auroc(_ranks(own), y) if number and key in whole else None,
            "by_class": {label: describe(own[y == label]) for label in (FAKE, REAL)},
            "only": {} if number else exclusive(own, y),
        }
    return rows


def score(values: np.ndarray, fake: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """How often images like this one are fake, as the other folds know it.

    Numbers are cut at the deciles of the other folds (into fewer bins in small sets). Shares
    are of each class, so that a fold with more fakes is not scored lower throughout, and
    smoothed towards no difference: a value that was never seen has .5.

    Args:
        values: str or float (M).
        fake: bool (M), both values in it.
        folds: int (M).

    Returns:
        float64 (M), in [0, 1].
    """
    scores = np.full(len(values), 0.5)
    for fold in np.unique(folds):
        here, there = folds == fold, folds != fold
        if not there.any():
            continue
        codes = _codes(values, there)
        bins = int(codes.max()) + 1
        counts = [
            np.bincount(codes[there & (fake == kind)], minlength=bins) for kind in (True, False)
        ]
        prior = sum(counts) / there.sum()
        shares = [(n + SMOOTHING * prior) / (n.sum() + SMOOTHING) for n in counts]
        total = shares[0] + shares[1]
        ratio = np.divide(shares[0], total, out=np.full(bins, 0.5), where=total > 0)
        scores[here] = ratio[codes[here]]
    return scores


def describe(values: np.ndarray) -> dict:
    """Of numbers the quartiles, of categories the shares of the eight most frequent."""
    if not len(values):
        return {}
    if values.dtype.kind != "U":
        low, median, high = (float(q) for q in np.quantile(values, (0.25, 0.5, 0.75)))
        return {"low_quartile": low, "median": median, "high_quartile": high}
    return {key: n / len(values) for key, n in Counter(values.tolist()).most_common(8)}


def exclusive(values: np.ndarray, labels: np.ndarray) -> dict[int, dict]:
    """Values that occur in one class alone, or nearly: few images, perhaps, but certain ones.

    AUROC averages over all images, so what gives some of them away for sure can be small in it.

    Returns:
        By label, where there are any: `share` of the class that has such a value, `values` (how
        many there are) and `example`, the most frequent. A value counts that 8 images of the
        class have, and that is 20 times rarer in the other.
    """
    counts = {label: Counter(values[labels == label].tolist()) for label in (FAKE, REAL)}
    found = {}
    for label, other in ((FAKE, REAL), (REAL, FAKE)):
        n, m = counts[label].total(), counts[other].total()
        own = {
            value: k
            for value, k in counts[label].most_common()
            if k >= OFTEN and counts[other][value] * n * RARER <= k * m
        }
        if own and m:
            share = sum(own.values()) / n
            found[label] = {"share": share, "values": len(own), "example": next(iter(own))}
    return found


def _known(values: np.ndarray) -> np.ndarray:
    return np.ones(len(values), bool) if values.dtype.kind == "U" else ~np.isnan(values)


def _codes(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    if values.dtype.kind == "U":
        return np.unique(values, return_inverse=True)[1]
    bins = int(np.clip(there.sum() // PER_BIN, 2, BINS))
    edges = np.unique(np.quantile(values[there], np.linspace(0, 1, bins + 1)[1:-1]))
    return np.searchsorted(edges, values, side="right")


def _ranks(values: np.ndarray) -> np.ndarray:
    """Numbers in [0, 1] of the same order and ties."""
    ranks = np.unique(values, return_inverse=True)[1]
    return ranks / max(1, ranks.max())


def within_folds(
    scores: list[np.ndarray], labels: np.ndarray, folds: np.ndarray
) -> Callable[[np.ndarray], np.ndarray]:
    """AUROC of several scores over the pairs of a fake and a real in the same fold.

    Scores of different folds were learned from different images. Compared with one another
    they come out too low (Forman and Scholz, SIGKDD Explorations 12, 2010): a fold with more
    of the fakes that have a value leaves fewer to learn it from.

    Args:
        scores: P times (N).
        labels: int (N).
        folds: int (N).

    Returns:
        From weights (R, N) to AUROC (R, P), NaN where no fold has both classes.
    """
    fake = labels == FAKE
    members = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
    sorted_rows, starts = [], []
    for p in scores:
        sorted_rows.append([rows[np.argsort(-p[rows], kind="stable")] for rows in members])
        starts.append([np.flatnonzero(np.diff(p[r], prepend=np.inf)) for r in sorted_rows[-1]])

    def measure(weights: np.ndarray) -> np.ndarray:
        fakes, reals = weights * fake, weights * ~fake
        pairs = sum(fakes[:, rows].sum(1) * reals[:, rows].sum(1) for rows in members)
        won = np.zeros((len(weights), len(scores)))
        for column in range(len(scores)):
            for rows, start in zip(sorted_rows[column], starts[column], strict=True):
                fake_at, real_at = (
                    np.add.reduceat(w[:, rows], start, axis=1) for w in (fakes, reals)
                )
                above = np.cumsum(fake_at, axis=1) - fake_at / 2
                won[:, column] += (real_at * above).sum(1)
        with np.errstate(invalid="ignore"):
            return won / pairs[:, None]

    return measure
