"""A detector that may say "unsure": how often is it wrong where it does answer?"""

import numpy as np

from detector.evaluation.calibration import distances
from detector.evaluation.intervals import wilson_by_group
from detector.evaluation.scores import FAKE, checked, checked_groups


def coverage_risk(
    p_fake: np.ndarray, labels: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Share of wrong answers among the k surest, for every k (Geifman and El-Yaniv 2017).

    Surest are the scores farthest from the threshold in log odds. Images that are equally
    sure come in random order: the curve is what such orders give on average.

    Args:
        p_fake: (N,) scores in [0, 1].
        labels: (N,) 0 for fake, 1 for real.
        threshold: In (0, 1); fake is p_fake >= threshold.

    Returns:
        Coverage 1/N..1 and risk, float64 (N) each, and AURC, the mean risk over the curve
        (Geifman, Uziel and El-Yaniv, ICLR 2019).

    Raises:
        UserError: As for `checked`.
    """
    p, y = checked(p_fake, labels)
    wrong = (p >= threshold) != (y == FAKE)
    # Rounded, or 1 - .9 and .1 would not be equally sure.
    _, at = np.unique(-np.round(distances(p, threshold), 9), return_inverse=True)
    # Of m equally sure images with f errors, the first j hold f j / m on average.
    share = np.bincount(at, wrong) / np.bincount(at)
    errors = np.cumsum(share[np.sort(at)])
    answered = np.arange(1, len(p) + 1)
    risk = errors / answered
    return answered / len(p), risk, float(risk.mean())


def answered(
    p_fake: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    threshold: float,
    unsure: tuple[float, float],
    level: float,
) -> dict[str, int | float | dict[str, float | None]]:
    """What a band of unsure scores does on a set.

    Args:
        p_fake: (N,) scores in [0, 1].
        labels: (N,) 0 for fake, 1 for real.
        groups: (N,) group of each image.
        threshold: Fake is p_fake >= threshold.
        unsure: Scores strictly between these two get no verdict.
        level: Confidence of the intervals, in (0, 1).

    Returns:
        `n`, images that get a verdict; `coverage`, their share, and `risk`, the share of
        wrong ones among them, each `value`, `low`, `high` with Wilson's interval by group;
        None for all three where nothing is answered; `aurc`.

    Raises:
        UserError: As for `checked` and `checked_groups`.
    """
    p, y = checked(p_fake, labels)
    group = checked_groups(groups, len(p))
    given = ~((p > unsure[0]) & (p < unsure[1]))
    wrong = ((p >= threshold) != (y == FAKE))[given]

    def share(hits: np.ndarray, of: np.ndarray) -> dict[str, float | None]:
        if len(hits) == 0:
            return {"value": None, "low": None, "high": None}
        low, high = wilson_by_group(hits, of, level)
        return {"value": float(hits.mean()), "low": low, "high": high}

    return {
        "n": int(given.sum()),
        "coverage": share(given, group),
        "risk": share(wrong, group[given]),
        "aurc": coverage_risk(p, y, threshold)[2],
    }
