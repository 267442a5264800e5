"""How well scores rank fakes above reals, under thousands of weightings of the same images."""

from collections.abc import Callable

import numpy as np

from detector.evaluation.scores import FAKE


def weighted_auroc(scores: np.ndarray, labels: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Sort the images once, then measure AUROC under any number of weightings.

    Args:
        scores: (N, K) scores of K classifiers, in [0, 1].
        labels: (N,) 0 for fake, 1 for real.

    Returns:
        A function from weights (R, N) >= 0 to (R, K) values; NaN where a class has no weight.
    """
    is_fake = np.asarray(labels) == FAKE
    fake, real = np.flatnonzero(is_fake), np.flatnonzero(~is_fake)
    columns = []
    for p in np.asarray(scores, np.float64).T:
        ranked = fake[np.argsort(-p[fake], kind="stable")]
        columns.append((ranked, outscored(p[ranked], p[real])))

    def measure(weights: np.ndarray) -> np.ndarray:
        reals = weights.take(real, axis=1)
        n_real = reals.sum(axis=1)
        found = [area(running(weights.take(r, axis=1)), reals, n_real, o) for r, o in columns]
        return np.stack(found, axis=1)

    return measure


def running(weights: np.ndarray) -> np.ndarray:
    """Sums (R, M + 1) of the first 0, 1, ..., M columns of weights (R, M)."""
    sums = np.zeros((len(weights), weights.shape[1] + 1))
    np.cumsum(weights, axis=1, out=sums[:, 1:])
    return sums


def outscored(fakes: np.ndarray, reals: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """For each real, how many fakes score higher, and how many at least as high.

    Args:
        fakes: (F,) scores, from the highest to the lowest.
        reals: (R,) scores, in any order.

    Returns:
        Two times (R,) counts; None for the second where it is the same.
    """
    above = np.searchsorted(-fakes, -reals, side="left")
    down_to = np.searchsorted(-fakes, -reals, side="right")
    return above, None if (above == down_to).all() else down_to


def area(
    sums: np.ndarray,
    reals: np.ndarray,
    n_real: np.ndarray,
    places: tuple[np.ndarray, np.ndarray | None],
) -> np.ndarray:
    """AUROC: the share of pairs in which the fake scores higher, ties counting half.

    Mann and Whitney 1947. Exact for whole weights.

    Args:
        sums: (R, F + 1) `running` weights of fakes, from the highest score to the lowest.
        reals: (R, M) weights of reals.
        n_real: (R,) their sums.
        places: `outscored` of these.

    Returns:
        (R,) values; NaN where a class has no weight.
    """
    above, down_to = places
    pairs = np.einsum("rm,rm->r", reals, sums.take(above, axis=1))
    if down_to is not None:
        pairs = (pairs + np.einsum("rm,rm->r", reals, sums.take(down_to, axis=1))) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return pairs / (sums[:, -1] * n_real)
