"""One cell of the matrix: a network on a set, at its own threshold and at the best one.

The best threshold is chosen on the images that it is then judged by, which flatters it. Its
accuracy is a bound for what recalibration could win, and no result.
"""

from collections.abc import Callable, Iterator

import numpy as np

from detector.evaluation.holds import calibration_holds, in_words
from detector.evaluation.intervals import CHUNK_CELLS, allow_unseen, effective_n
from detector.evaluation.metrics import LEVEL, summarize
from detector.evaluation.scores import FAKE, checked, checked_groups

UNDEFINED = {"value": None, "low": None, "high": None}


def measure_cell(
    p_fake: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    threshold: float,
    name: str,
    fake: str,
    replicates: int,
    seed: int,
) -> dict:
    """Everything that the matrix says of a network on a set.

    Args:
        p_fake: (N,) scores in [0, 1].
        labels: (N,) 0 for fake, 1 for real.
        groups: (N,) group of each image.
        threshold: Of the network, chosen on the validation part of its own set.
        name: Of the set, for the sentence.
        fake: Name of class 0, for the sentence.
        replicates: Of the bootstraps.
        seed: Of the bootstraps.

    Returns:
        Counts `n`, `n_fake`, `n_real`, `n_groups`; `threshold`; `auroc`, `accuracy` and `ece`,
        as `summarize` gives them; what `best_threshold` gives; `majority`, the accuracy of
        always saying the class that is more frequent here; `calibration`, as
        `calibration_holds` gives it without its bins, and `says`.

    Raises:
        UserError: As for `summarize`.
    """
    drawn = {"replicates": replicates, "seed": seed}
    summary = summarize(p_fake, labels, groups, threshold=threshold, **drawn)
    found = calibration_holds(p_fake, labels, groups, **drawn)
    says = in_words(found, name, fake)
    kept = ("n", "n_fake", "n_real", "n_groups", "threshold", "auroc", "accuracy")
    return {
        **{key: summary[key] for key in kept},
        **best_threshold(p_fake, labels, groups, threshold=threshold, **drawn),
        "majority": max(summary["n_fake"], summary["n_real"]) / summary["n"],
        "ece": summary["ece"],
        "calibration": {k: v for k, v in found.items() if k != "bins"} | {"says": says},
    }


def best_threshold(
    p_fake: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    threshold: float,
    replicates: int,
    seed: int,
) -> dict[str, dict[str, float | None]]:
    """The highest accuracy of any threshold on these images, and what the given one falls short.

    Both are maxima over thresholds, which are biased upwards, and so are their replicates: a
    bootstrap that chooses anew would call a third of perfect thresholds improvable (BCa, 200
    images, simulated). So the low end is simultaneous: at no threshold does the accuracy, or its
    lead over the given threshold, of 97.5 % of replicates exceed that of the sample by more than
    what is taken off. A low end above 0 of the loss thus says that some threshold is truly
    better. The high end is the 97.5th percentile of the replicates' own maxima, whose bias makes
    it too high if anything. Groups are drawn whole, among those of the same classes; both
    thresholds are read on the same draw.

    Args:
        p_fake: (N,) scores in [0, 1].
        labels: (N,) 0 for fake, 1 for real.
        groups: (N,) group of each image.
        threshold: The given one; an image is called fake when p_fake >= threshold.
        replicates: Of the bootstrap, at least 1.
        seed: Of the bootstrap. The order of the images has no influence.

    Returns:
        `best_accuracy`: `value`, `low`, `high` and `threshold`: the given one where none is
        better, else the lowest score that is called fake, of equally good ones the nearest to
        the given one; None where it is best to call no image fake. `lost_by_threshold`: `value`,
        at least 0, `low` and `high`. All None for a single class, where calling everything by
        its name is always right.

    Raises:
        UserError: As for `checked` and `checked_groups`.
    """
    p, y = checked(p_fake, labels)
    group = checked_groups(groups, len(p))
    if len(set(y.tolist())) < 2:
        return {"best_accuracy": UNDEFINED | {"threshold": None}, "lost_by_threshold": UNDEFINED}
    order = np.lexsort((group, y, -p))
    p, y, group = p[order], y[order], group[order]
    accuracies = _accuracies(p, y == FAKE, threshold)
    at_cuts, at_given = (of[0] for of in accuracies(np.ones((1, len(p)))))
    leads = at_cuts - at_given
    over, tops = [], []
    for weights in _draws(group, y, replicates, seed):
        cuts, given = accuracies(weights)
        ahead = cuts - given
        over.append([(cuts - at_cuts).max(axis=1), (ahead - leads).max(axis=1)])
        tops.append([cuts.max(axis=1), ahead.max(axis=1)])
    tail = (1 - LEVEL) / 2
    off = np.quantile(np.concatenate(over, axis=1), 1 - tail, axis=1)
    high = np.quantile(np.concatenate(tops, axis=1), 1 - tail, axis=1)
    known, measures = effective_n(group), []
    # To call all images by the name of the more frequent class is a threshold, too.
    for at, (of, least) in enumerate(((at_cuts, max(at_cuts[0], at_cuts[-1])), (leads, 0.0))):
        value, least = float(of.max()), float(least)
        low = max(least, value - float(off[at]))
        ends = allow_unseen(value, (low, float(high[at])), known, LEVEL, worst=least)
        measures.append({"value": value, "low": ends[0], "high": ends[1]})
    cut = _nearest(p, at_cuts, threshold) if leads.max() > 0 else threshold
    return {
        "best_accuracy": measures[0] | {"threshold": cut},
        "lost_by_threshold": measures[1],
    }


def _accuracies(
    p: np.ndarray, fake: np.ndarray, threshold: float
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """From weights (R, N) to accuracies (R, 1 + S) at all cuts and (R, 1) at the threshold.

    Args:
        p: (N,) scores, from the highest to the lowest, S different ones. The first cut calls
            no image fake, the next those with the highest score, and so on.
        fake: (N,) bool.
        threshold: The given one.
    """
    ends = np.flatnonzero(np.diff(p, append=-1) != 0)
    step = np.where(fake, 1.0, -1.0)
    right = ((p >= threshold) == fake).astype(np.float64)

    def measure(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        total = weights.sum(axis=1, keepdims=True)
        reals = (weights * ~fake).sum(axis=1, keepdims=True)
        # Sums of whole numbers, so that a cut at the threshold gives the same to the last digit.
        hits = reals + np.cumsum(weights * step, axis=1)[:, ends]
        given = (weights * right).sum(axis=1, keepdims=True)
        return np.concatenate([reals, hits], axis=1) / total, given / total

    return measure


def _nearest(p: np.ndarray, at_cuts: np.ndarray, threshold: float) -> float | None:
    lowest = p[np.flatnonzero(np.diff(p, append=-1) != 0)]
    best = np.flatnonzero(at_cuts == at_cuts.max())
    best = best[best > 0] - 1  # as a place in `lowest`; without the cut that calls none fake
    if len(best) == 0:
        return None
    return float(lowest[best[np.argmin(np.abs(lowest[best] - threshold))]])


def _draws(
    group: np.ndarray, labels: np.ndarray, replicates: int, seed: int
) -> Iterator[np.ndarray]:
    """Weights (R, N) of replicates, few at a time; strata as in `bootstrap_by_group`."""
    holds = np.zeros((int(group.max()) + 1, 2), dtype=bool)
    holds[group, labels] = True
    kind = holds @ (1, 2)
    strata = [np.flatnonzero(kind == of) for of in np.unique(kind)]
    streams = np.random.default_rng(seed).spawn(len(strata))
    rows = max(1, CHUNK_CELLS // len(group))
    for start in range(0, replicates, rows):
        r = min(rows, replicates - start)
        counts = np.empty((r, len(holds)))
        for members, stream in zip(strata, streams, strict=True):
            m = len(members)
            counts[:, members] = stream.multinomial(m, np.full(m, 1 / m), size=r)
        yield counts.take(group, axis=1)
