"""Points of the ROC curve at which a detector could work: equal errors, few false alarms.

Both read running sums of weights over thresholds, from the highest score down, so that
thousands of bootstrap replicates share one sort.
"""

from collections.abc import Callable

import numpy as np

# Reals that a rate of false alarms f needs, in units of 1 / f. With one, the threshold hangs
# on a single picture: 95 % intervals of TPR at 1 % FPR held the truth in 86 of 100 made-up sets
# of 100 reals, in 92 at 200 and in 93 at 300.
REALS_NEEDED = 2


def equal_error_rate(fakes: np.ndarray, reals: np.ndarray) -> np.ndarray:
    """The rate at which as many reals are called fake as fakes are called real.

    Read where the ROC curve, its points joined by straight lines, crosses the diagonal
    TPR = 1 - FPR. A line across tied scores is what calling a part of them fake, at random,
    would give.

    Args:
        fakes: (R, S) weight of the fakes that score at least as much, over S distinct scores
            from the highest to the lowest.
        reals: (R, S) the same of reals.

    Returns:
        (R,) in [0, 1]; NaN without fakes or without reals.
    """
    rows, n_fake, n_real = np.arange(len(fakes)), fakes[:, -1], reals[:, -1]

    def ahead(at: np.ndarray) -> np.ndarray:
        return fakes[rows, at] / n_fake + reals[rows, at] / n_real - 1

    with np.errstate(divide="ignore", invalid="ignore"):
        after = np.minimum(_first(lambda at: ahead(at) >= 0, fakes.shape), fakes.shape[1] - 1)
        before = np.maximum(after - 1, 0)
        start = np.where(after > 0, ahead(before), -1.0)
        fpr = np.where(after > 0, reals[rows, before] / n_real, 0.0)
        step = start / (start - ahead(after))
        return fpr + step * (reals[rows, after] / n_real - fpr)


def tpr_at_fpr(fakes: np.ndarray, reals: np.ndarray, fpr: float) -> np.ndarray:
    """The largest share of fakes found by a threshold that calls at most `fpr` of reals fake.

    Thresholds of these images only, without interpolation: 0 where the highest score alone
    has more reals than that.

    Args:
        fakes: As for `equal_error_rate`.
        reals: As for `equal_error_rate`.
        fpr: Allowed rate of false alarms, in [0, 1].

    Returns:
        (R,) in [0, 1]; NaN without fakes or without reals.
    """
    rows, n_fake = np.arange(len(fakes)), fakes[:, -1]
    allowed = reals[:, -1] * fpr * (1 + 1e-9)  # .07 * 100 would be below 7
    beyond = _first(lambda at: reals[rows, at] > allowed, fakes.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(beyond > 0, fakes[rows, np.maximum(beyond - 1, 0)], 0.0) / n_fake
    return np.where(reals[:, -1] > 0, found, np.nan)


def _first(holds: Callable[[np.ndarray], np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Per row, the first column at which a condition holds that then holds for good.

    By bisection: the sums are not gone through once more for each replicate.
    """
    low, high = np.zeros(shape[0], np.int64), np.full(shape[0], shape[1], np.int64)
    while (low < high).any():
        middle = (low + high) // 2
        there = holds(np.minimum(middle, shape[1] - 1)) | (low == high)
        low, high = np.where(there, low, middle + 1), np.where(there, middle, high)
    return low
