"""Two classifiers on the same images: is one better, and how surely?

Comparing two intervals by eye wastes what the images have in common. Here the difference
itself has an interval, from a bootstrap that draws whole groups of images and takes both
classifiers' answers along, and McNemar's test asks the images on which only one is right.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from detector.errors import UserError
from detector.evaluation.intervals import allow_unseen, bootstrap_by_group, effective_n
from detector.evaluation.metrics import FAKE, LEVEL, weighted_metrics

COMPARED = ("auroc", "accuracy")


def paired(
    a: np.ndarray,
    b: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    thresholds: tuple[float, float],
    replicates: int,
    seed: int,
) -> dict[str, dict]:
    """Differences a minus b of two classifiers on the same images.

    Args:
        a, b: (N,) p_fake of either, in [0, 1], in the same order.
        labels: (N,) 0 for fake, 1 for real.
        groups: (N,) group of each image, of any sortable type.
        thresholds: Of either, in [0, 1].
        replicates: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        For auroc and accuracy `value`, `low`, `high` of the difference, in [-1, 1], None
        where undefined; and `mcnemar`, as the function of that name gives it.

    Raises:
        UserError: The lengths differ.
    """
    labels, groups = np.asarray(labels), np.asarray(groups)
    if not len(a) == len(b) == len(labels) == len(groups):
        raise UserError(f"{len(a)} and {len(b)} scores, {len(labels)} labels: one per image each")
    first, second = weighted_metrics(a, labels, thresholds[0], COMPARED), weighted_metrics(
        b, labels, thresholds[1], COMPARED
    )  # fmt: skip

    def difference(weights: np.ndarray) -> np.ndarray:
        of_a, of_b = first(weights), second(weights)
        return np.stack([of_a[name] - of_b[name] for name in COMPARED], axis=1)

    value = difference(np.ones((1, len(labels))))[0]
    low, high = bootstrap_by_group(
        difference, groups, labels, replicates=replicates, seed=seed, level=LEVEL
    )
    fake = labels == FAKE
    smaller = min(effective_n(groups[fake]), effective_n(groups[~fake]))
    known = {"auroc": smaller, "accuracy": effective_n(groups)}
    found = {}
    for name, at, ends in zip(COMPARED, value, zip(low, high, strict=True), strict=True):
        if math.isnan(at):
            found[name] = {"value": None, "low": None, "high": None}
            continue
        # Two that agree everywhere here may still differ on what is not here.
        wide = allow_unseen(float(at), ends, known[name], LEVEL, worst=-1.0, best=1.0)
        found[name] = {"value": float(at), "low": wide[0], "high": wide[1]}
    right_a = (np.asarray(a) >= thresholds[0]) == fake
    right_b = (np.asarray(b) >= thresholds[1]) == fake
    return found | {"mcnemar": mcnemar(right_a, right_b)}


def mcnemar(right_a: np.ndarray, right_b: np.ndarray) -> dict[str, float | int]:
    """McNemar's exact test: are the images on which one alone is right shared evenly?

    One vote per image; images of one group count each, so that with groups the test is too
    sure of itself and the bootstrap by group decides (McNemar 1947, Psychometrika 12:153).

    Args:
        right_a, right_b: (N,) bool, whether either is right on each image.

    Returns:
        `only_a`, `only_b` (images), `p`, two-sided.
    """
    right_a, right_b = np.asarray(right_a, bool), np.asarray(right_b, bool)
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    n, few = only_a + only_b, min(only_a, only_b)
    tail = sum(math.comb(n, k) for k in range(few + 1))
    return {"only_a": only_a, "only_b": only_b, "p": min(1.0, 2 * tail / 2**n)}


def over_folds(per_fold: Sequence[Mapping[str, float | None]]) -> dict[str, dict]:
    """Metrics of several folds or seeds: computed in each, then averaged, never pooled.

    Scores of different networks have different scales, so that an AUROC over all of them
    together would compare what is not comparable (Forman and Scholz 2010, SIGKDD Expl. 12).

    Args:
        per_fold: Metrics of each, by name; None where undefined.

    Returns:
        By name `mean`, `sd` (with n - 1; None for a single one) and `n`.
    """
    names = list(dict.fromkeys(name for fold in per_fold for name in fold))
    result = {}
    for name in names:
        values = [fold[name] for fold in per_fold if fold.get(name) is not None]
        mean = sum(values) / len(values) if values else None
        sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
        result[name] = {"mean": mean, "sd": sd, "n": len(values)}
    return result


def holm(p: Sequence[float]) -> list[float]:
    """P-values of several tests, corrected for their number (Holm 1979, Scand. J. Stat. 6:65).

    Args:
        p: (N,) in [0, 1].

    Returns:
        (N,) in [0, 1], in the same order, each at least as large as before.
    """
    corrected, worst = [0.0] * len(p), 0.0
    for done, at in enumerate(sorted(range(len(p)), key=lambda at: p[at])):
        worst = max(worst, min(1.0, p[at] * (len(p) - done)))
        corrected[at] = worst
    return corrected
