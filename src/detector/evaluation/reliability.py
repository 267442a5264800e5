"""Do scores mean what they say? Of pictures scored .9, nine in ten should be fake."""

from collections.abc import Callable

import numpy as np

from detector.evaluation.intervals import CHUNK_CELLS, wilson_by_group
from detector.evaluation.scores import FAKE, checked, checked_groups

BINS = 15  # Guo et al. 2017


def bin_numbers(p: np.ndarray, bins: int = BINS) -> np.ndarray:
    """Bin of each score, of `bins` equally wide ones in [0, 1]; an edge belongs to the upper."""
    edges = np.linspace(0, 1, bins + 1)
    return np.minimum(np.searchsorted(edges, p, side="right") - 1, bins - 1)


def binned_error(p: np.ndarray, bins: int = BINS) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """ECE, the expected calibration error: over bins of p_fake, |mean score - share of fakes|.

    Bins are weighted by their images (Guo et al., On Calibration of Modern Neural Networks,
    ICML 2017), equally wide, so that two sets are measured alike. ECE is biased upwards: even
    calibrated scores do not meet the share of fakes in a bin exactly, and fall short of it by
    about sqrt(2 p (1 - p) / (pi n)) for n images in the bin. `calibrated_errors` tells how
    much that is.

    Args:
        p: (N,) scores, sorted in either direction.
        bins: Number of bins.

    Returns:
        A function from weights (R, N) >= 0 and fakes, bool (N,) or (R, N), to (R,) values
        in [0, 1].
    """
    starts = np.flatnonzero(np.diff(bin_numbers(p, bins), prepend=-1) != 0)

    def measure(weights: np.ndarray, fake: np.ndarray) -> np.ndarray:
        # Weighted by images, the mean score minus the share of fakes is a sum of residuals.
        gaps = np.add.reduceat(weights * (p - fake), starts, axis=1)
        return np.abs(gaps).sum(axis=1) / weights.sum(axis=1)

    return measure


def calibrated_errors(
    p_fake: np.ndarray, groups: np.ndarray, *, replicates: int, seed: int, bins: int = BINS
) -> np.ndarray:
    """ECE of made-up labels for which the scores are calibrated perfectly.

    Each image is fake with its own p_fake. Images of one group share one random number, so
    that copies get the same label: groups make the result more scattered, never less.

    Args:
        p_fake: (N,) scores in [0, 1].
        groups: (N,) group of each image, of any sortable type.
        replicates: How many times labels are drawn.
        seed: Of the draws. The order of the images has no influence.
        bins: Of the ECE.

    Returns:
        (replicates,) values of ECE.
    """
    group = checked_groups(groups, len(p_fake))
    order = np.lexsort((group, p_fake))
    p, group = np.asarray(p_fake, np.float64)[order], group[order]
    measure, draws = binned_error(p, bins), np.random.default_rng(seed)
    rows = max(1, CHUNK_CELLS // len(p))
    ones, found = np.ones((1, len(p))), []
    for start in range(0, replicates, rows):
        uniform = draws.random((min(rows, replicates - start), int(group.max()) + 1))
        found.append(measure(ones, uniform.take(group, axis=1) < p))
    return np.concatenate(found)


def reliability(
    p_fake: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, level: float, bins: int = BINS
) -> list[dict[str, int | float | dict[str, float]]]:
    """The reliability diagram as numbers: what scores say, and how many are fake.

    Args:
        p_fake: (N,) scores in [0, 1].
        labels: (N,) 0 for fake, 1 for real.
        groups: (N,) group of each image.
        level: Confidence of the intervals, in (0, 1).
        bins: Number of equally wide bins.

    Returns:
        One per bin that holds images, from low to high scores: `from` and `to` (its edges),
        `n`, `score` (the mean), and `fake` with `value`, `low`, `high`: the share of fakes
        with Wilson's interval at the effective number of images.

    Raises:
        UserError: As for `checked` and `checked_groups`.
    """
    p, y = checked(p_fake, labels)
    group, number = checked_groups(groups, len(p)), bin_numbers(p, bins)
    table = []
    for at in np.unique(number).tolist():
        inside = number == at
        hits = y[inside] == FAKE
        low, high = wilson_by_group(hits, group[inside], level)
        table.append(
            {
                "from": at / bins,
                "to": (at + 1) / bins,
                "n": int(inside.sum()),
                "score": float(p[inside].mean()),
                "fake": {"value": float(hits.mean()), "low": low, "high": high},
            }
        )
    return table
