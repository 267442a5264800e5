"""Binary metrics of p_fake with intervals: label 0 is fake, the positive class, 1 is real.

All of them take weights, so that a bootstrap over thousands of replicates is a few passes
over a matrix, and agree with scikit-learn, ties included. A metric that weighs one class
against the other (AUROC, AP, precision, F1, balanced accuracy) is undefined over a single
class: formulas that still give a number there, such as AP 1 without reals, would only
mislead. Undefined is NaN inside arrays and None in results.
"""

from collections.abc import Callable

import numpy as np

from detector.errors import UserError
from detector.evaluation.intervals import (
    allow_unseen,
    bootstrap_by_group,
    effective_n,
    wilson_by_group,
)
from detector.evaluation.operating import REALS_NEEDED, equal_error_rate, tpr_at_fpr
from detector.evaluation.reliability import binned_error, calibrated_errors
from detector.evaluation.scores import FAKE, checked, checked_groups

LEVEL = 0.95
# Networks answer in float32, whose steps near 1 are of this size. A fixed clip gives the same
# log loss for float32 scores and for the same scores read back from a file as float64.
LOG_CLIP = float(np.finfo(np.float32).eps)
FALSE_ALARMS = {"tpr_at_fpr_01": 0.01, "tpr_at_fpr_05": 0.05}
RESAMPLED = ("auroc", "ap", "balanced_accuracy", "f1", "log_loss", "brier", "eer", "ece")
RESAMPLED += tuple(FALSE_ALARMS)


def summarize(
    p_fake: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    threshold: float,
    replicates: int,
    seed: int,
) -> dict[str, int | float | dict[str, float | None]]:
    """Every metric of one set of images, with 95 % intervals.

    Accuracy, precision and recall have Wilson's interval at the effective number of images
    (n itself where no two share a group). The others have a bootstrap by group, widened by
    what the sample may have failed to show: see `intervals`. No interval has zero width.
    The result does not depend on the order of the images.

    ECE is above 0 even for calibrated scores. Its interval begins below what remains when the
    ECE that 95 % of made-up sets do not exceed, for which these scores are calibrated, is
    taken off: at 0 where that is all there is. TPR at an FPR of f is undefined below 2 / f
    effective reals: see `operating`.

    Args:
        p_fake: (N,) scores in [0, 1], compared in float64.
        labels: (N,) 0 for fake, 1 for real.
        groups: (N,) group of each image, of any sortable type; images that are copies or
            edits of one photograph share it.
        threshold: An image is called fake when p_fake >= threshold; in [0, 1].
        replicates: Number of bootstrap resamples.
        seed: Of the bootstrap.

    Returns:
        Counts n, n_fake, n_real, n_groups; threshold; and {"value", "low", "high"} for
        auroc, accuracy, balanced_accuracy, f1, precision, recall, ap, log_loss (nats, p_fake
        clipped to float32 resolution), brier, eer, ece, tpr_at_fpr_01 and tpr_at_fpr_05.
        Plain ints and floats, or None for all three where undefined, so that it is standard
        JSON.

    Raises:
        UserError: Nothing to summarize, lengths that differ, a score or threshold that is
            not a number in [0, 1], labels other than 0 and 1, replicates below 1.
    """
    p, y = _checked(p_fake, labels, threshold)
    group = checked_groups(groups, len(p))
    # In one canonical order, sums keep their last digit whatever the order of the input.
    order = np.lexsort((group, y, -p))
    p, y, group = p[order], y[order], group[order]
    fake, called = y == FAKE, p >= threshold

    measure = weighted_metrics(p, y, threshold)
    values = {name: _plain(v) for name, v in measure(np.ones((1, len(p)))).items()}
    for name, fpr in FALSE_ALARMS.items():
        if effective_n(group[~fake]) < REALS_NEEDED / fpr - 1e-6:
            values[name] = None

    def resampled(weights: np.ndarray) -> np.ndarray:
        measured = measure(weights)
        return np.stack([measured[name] for name in RESAMPLED], axis=1)

    low, high = bootstrap_by_group(
        resampled, group, y, replicates=replicates, seed=seed, level=LEVEL
    )
    intervals = {
        "accuracy": wilson_by_group(fake == called, group, LEVEL),
        "precision": wilson_by_group(fake[called], group[called], LEVEL),
        "recall": wilson_by_group(called[fake], group[fake], LEVEL),
    }
    smaller = min(effective_n(group[fake]), effective_n(group[~fake]))
    scale = {
        "log_loss": (effective_n(group), _worst_log_loss(p), 0.0),
        "brier": (effective_n(group), 1.0, 0.0),
        "ece": (effective_n(group), 1.0, 0.0),
    }
    for name, ends in zip(RESAMPLED, zip(low, high, strict=True), strict=True):
        n, worst, best = scale.get(name, (smaller, 0.0, 1.0))
        if values[name] is not None:
            intervals[name] = allow_unseen(values[name], ends, n, LEVEL, worst=worst, best=best)
    by_chance = calibrated_errors(p, group, replicates=replicates, seed=seed)
    surely = max(0.0, values["ece"] - float(np.quantile(by_chance, LEVEL)))
    intervals["ece"] = min(intervals["ece"][0], surely), intervals["ece"][1]

    summary = {
        "n": len(p),
        "n_fake": int(fake.sum()),
        "n_real": int((~fake).sum()),
        "n_groups": int(group.max()) + 1,
        "threshold": float(threshold),
    }
    for name, value in values.items():
        ends = (None, None) if value is None else intervals[name]
        summary[name] = {"value": value, "low": ends[0], "high": ends[1]}
    return summary


def weighted_metrics(
    p_fake: np.ndarray, labels: np.ndarray, threshold: float
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Sort the images once, then measure them under any number of weightings.

    AUROC is the share of pairs in which the fake scores higher, ties counting half (Mann and
    Whitney 1947); AP is the sum of precision times the step in recall over distinct scores,
    without interpolation. For the others see `operating` and `reliability`.

    Args:
        p_fake: (N,) scores in [0, 1].
        labels: (N,) 0 for fake, 1 for real.
        threshold: An image is called fake when p_fake >= threshold; in [0, 1].

    Returns:
        A function from weights (R, N) >= 0, in the order of the images, to (R,) values each
        of the metrics that `summarize` names; NaN where a metric is undefined. TPR at an FPR
        has a value here for any number of reals above 0.

    Raises:
        UserError: As for `summarize`.
    """
    p, y = _checked(p_fake, labels, threshold)
    order = np.argsort(-p, kind="stable")
    in_order = bool((order == np.arange(len(p))).all())
    p, fake = p[order], y[order] == FAKE
    called = p >= threshold
    calibration = binned_error(p)
    starts = np.flatnonzero(np.diff(p, prepend=np.inf) != 0)  # the first image of each score
    tied = len(starts) < len(p)
    right = np.where(fake, p, 1 - p)
    clipped = np.clip(p, LOG_CLIP, 1 - LOG_CLIP)
    log_loss = -np.log(np.where(fake, clipped, 1 - clipped))
    sums = np.array(
        [fake, ~fake, fake & called, ~fake & called, log_loss, (1 - right) ** 2], dtype=np.float64
    )

    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        w = weights if in_order else weights[:, order]
        # Not a matrix product: its last digits depend on the number of threads.
        n_fake, n_real, tp, fp, loss, square = np.einsum("rn,kn->kr", w, sums)
        # Fakes and reals at each score, then fakes and images down to it.
        fake_at, real_at = w * fake, w * ~fake
        if tied:
            fake_at = np.add.reduceat(fake_at, starts, axis=1)
            real_at = np.add.reduceat(real_at, starts, axis=1)
        fakes = np.cumsum(fake_at, axis=1)
        reals = np.cumsum(real_at, axis=1)
        images = fakes + reals
        both = np.where((n_fake > 0) & (n_real > 0), 1.0, np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            # A real is outscored by the fakes above it, and by half of those beside it.
            pairs = np.einsum("rs,rs->r", real_at, fakes - fake_at / 2)
            precision = fakes / np.maximum(images, np.finfo(np.float64).tiny)
            recall, specificity = tp / n_fake, 1 - fp / n_real
            return {
                "auroc": pairs / (n_fake * n_real),
                "accuracy": (tp + n_real - fp) / (n_fake + n_real),
                "balanced_accuracy": (recall + specificity) / 2,
                "f1": both * 2 * tp / (n_fake + tp + fp),
                "precision": both * tp / (tp + fp),
                "recall": recall,
                "ap": both * np.einsum("rs,rs->r", fake_at, precision) / n_fake,
                "log_loss": loss / (n_fake + n_real),
                "brier": square / (n_fake + n_real),
                "eer": equal_error_rate(fakes, reals),
                "ece": calibration(w, fake),
                **{name: tpr_at_fpr(fakes, reals, f) for name, f in FALSE_ALARMS.items()},
            }

    return measure


def auroc(
    p_fake: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
) -> float | None:
    """Area under the ROC curve of p_fake (N,), optionally weighted (N,); None for one class."""
    return _single("auroc", p_fake, labels, 0.5, weights)


def average_precision(
    p_fake: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
) -> float | None:
    """Average precision of p_fake (N,), optionally weighted (N,); None for one class."""
    return _single("ap", p_fake, labels, 0.5, weights)


def f1(
    p_fake: np.ndarray, labels: np.ndarray, threshold: float, weights: np.ndarray | None = None
) -> float | None:
    """F1 of p_fake >= threshold, (N,), optionally weighted (N,); None for one class."""
    return _single("f1", p_fake, labels, threshold, weights)


def _single(
    name: str, p_fake: np.ndarray, labels: np.ndarray, threshold: float, weights: np.ndarray | None
) -> float | None:
    measure = weighted_metrics(p_fake, labels, threshold)
    w = np.ones(len(p_fake)) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != (len(p_fake),) or not (np.isfinite(w) & (w >= 0)).all():
        raise UserError(f"weights must be {len(p_fake)} finite numbers >= 0, one per image")
    return _plain(measure(w[None])[name])


def _plain(value: np.ndarray) -> float | None:
    return None if np.isnan(value[0]) else float(value[0])


def _worst_log_loss(p: np.ndarray) -> float:
    """Log loss of images as confident as these are, but wrong, at twice the odds.

    The clip itself would bound any scores, at 16 nats, and swamp the interval of a network
    that never says more than 99 %; without the doubling, scores of .5 would have no range.
    """
    return float(-np.log(np.maximum(np.minimum(p, 1 - p) / 2, LOG_CLIP)).mean())


def _checked(
    p_fake: np.ndarray, labels: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    p, y = checked(p_fake, labels)
    if not 0 <= threshold <= 1:
        raise UserError(f"threshold must lie in [0, 1], got {threshold}")
    return p, y
