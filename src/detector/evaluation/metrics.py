"""Binary metrics of p_fake with intervals: label 0 is fake, the positive class, 1 is real.

All of them take weights, so that a bootstrap over thousands of replicates is a few passes
over a matrix, and agree with scikit-learn, ties included. A metric that weighs one class
against the other (AUROC, AP, precision, F1, balanced accuracy) is undefined over a single
class: formulas that still give a number there, such as AP 1 without reals, would only
mislead. Undefined is NaN inside arrays and None in results.
"""

from collections.abc import Callable, Iterable

import numpy as np

from detector.errors import UserError
from detector.evaluation.intervals import (
    allow_unseen,
    bootstrap_by_group,
    effective_n,
    wilson_by_group,
)
from detector.evaluation.operating import REALS_NEEDED, equal_error_rate, tpr_at_fpr
from detector.evaluation.ranking import area, outscored, running
from detector.evaluation.reliability import binned_error, calibrated_errors
from detector.evaluation.scores import FAKE, checked, checked_groups

LEVEL = 0.95
# Networks answer in float32, whose steps near 1 are of this size. A fixed clip gives the same
# log loss for float32 scores and for the same scores read back from a file as float64.
LOG_CLIP = float(np.finfo(np.float32).eps)
FALSE_ALARMS = {"tpr_at_fpr_01": 0.01, "tpr_at_fpr_05": 0.05}
RESAMPLED = ("auroc", "ap", "balanced_accuracy", "f1", "log_loss", "brier", "eer", "ece")
RESAMPLED += tuple(FALSE_ALARMS)
METRICS = (
    "auroc", "accuracy", "balanced_accuracy", "f1", "precision", "recall", "ap", "log_loss",
    "brier", "eer", "ece", *FALSE_ALARMS,
)  # fmt: skip
CURVE = {"eer", *FALSE_ALARMS}  # points of the ROC curve


def summarize(
    p_fake: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    threshold: float,
    replicates: int,
    seed: int,
    names: Iterable[str] = METRICS,
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
        names: Metrics wanted; a few take much less time, and have the same figures as in all.

    Returns:
        Counts n, n_fake, n_real, n_groups; threshold; and {"value", "low", "high"} for
        auroc, accuracy, balanced_accuracy, f1, precision, recall, ap, log_loss (nats, p_fake
        clipped to float32 resolution), brier, eer, ece, tpr_at_fpr_01 and tpr_at_fpr_05.
        Plain ints and floats, or None for all three where undefined, so that it is standard
        JSON.

    Raises:
        UserError: Nothing to summarize, lengths that differ, a score or threshold that is
            not a number in [0, 1], labels other than 0 and 1, replicates below 1, a metric
            that is not one of `METRICS`.
    """
    p, y = _checked(p_fake, labels, threshold)
    group = checked_groups(groups, len(p))
    # In one canonical order, sums keep their last digit whatever the order of the input.
    order = np.lexsort((group, y, -p))
    p, y, group = p[order], y[order], group[order]
    fake, called = y == FAKE, p >= threshold

    measure = weighted_metrics(p, y, threshold, names)
    values = {name: _plain(v) for name, v in measure(np.ones((1, len(p)))).items()}
    for name, fpr in FALSE_ALARMS.items():
        if name in values and effective_n(group[~fake]) < REALS_NEEDED / fpr - 1e-6:
            values[name] = None
    resampled = [name for name in RESAMPLED if name in values]
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
    drawn = {"replicates": replicates, "seed": seed}
    if resampled:
        of_these = weighted_metrics(p, y, threshold, resampled)

        def statistic(weights: np.ndarray) -> np.ndarray:
            return np.stack(list(of_these(weights).values()), axis=1)

        ends = zip(*bootstrap_by_group(statistic, group, y, **drawn, level=LEVEL), strict=True)
        # In the order in which `weighted_metrics` answers.
        for name, end in zip((n for n in METRICS if n in resampled), ends, strict=True):
            n, worst, best = scale.get(name, (smaller, 0.0, 1.0))
            if values[name] is not None:
                intervals[name] = allow_unseen(values[name], end, n, LEVEL, worst=worst, best=best)
    if "ece" in values:
        by_chance = calibrated_errors(p, group, **drawn)
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
    p_fake: np.ndarray, labels: np.ndarray, threshold: float, names: Iterable[str] = METRICS
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Sort the images once, then measure them under any number of weightings.

    AP is the sum of precision times the step in recall over distinct scores, without
    interpolation. For the others see `ranking`, `operating` and `reliability`.

    Args:
        p_fake: (N,) scores in [0, 1].
        labels: (N,) 0 for fake, 1 for real.
        threshold: An image is called fake when p_fake >= threshold; in [0, 1].
        names: Those of `METRICS` that are wanted; a few take much less time than all.

    Returns:
        A function from weights (R, N) >= 0, in the order of the images, to (R,) values each
        of the metrics wanted, in the order of `METRICS`; NaN where one is undefined. TPR at
        an FPR has a value here for any number of reals above 0.

    Raises:
        UserError: As for `summarize`.
    """
    p, y = _checked(p_fake, labels, threshold)
    names = set(names)
    if unknown := names - set(METRICS):
        raise UserError(f"no such metric: {', '.join(sorted(unknown))}")
    order = np.argsort(-p, kind="stable")
    fake, real = order[y[order] == FAKE], order[y[order] != FAKE]
    of_fakes, of_reals = p[fake], p[real]  # from the highest to the lowest
    tp_at, fp_at = int((of_fakes >= threshold).sum()), int((of_reals >= threshold).sum())
    places = outscored(of_fakes, of_reals)
    # How many of either class score at least as much as each fake, and as each score.
    scores = -np.unique(-p)
    fake_at_fake, real_at_fake, fake_at, real_at = (
        np.searchsorted(-those, -at, side="right")
        for at in (of_fakes, scores)
        for those in (of_fakes, of_reals)
    )
    losses = {
        "log_loss": -np.log(np.clip(np.where(y == FAKE, p, 1 - p), LOG_CLIP, 1 - LOG_CLIP)),
        "brier": np.where(y == FAKE, 1 - p, p) ** 2,
    }
    calibration, calls_fake = binned_error(p[order]), y[order] == FAKE

    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        fakes, reals = weights.take(fake, axis=1), weights.take(real, axis=1)
        n_fake, n_real = fakes.sum(axis=1), reals.sum(axis=1)
        tp, fp = fakes[:, :tp_at].sum(axis=1), reals[:, :fp_at].sum(axis=1)
        both = np.where((n_fake > 0) & (n_real > 0), 1.0, np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = {
                "accuracy": (tp + n_real - fp) / (n_fake + n_real),
                "balanced_accuracy": (tp / n_fake + 1 - fp / n_real) / 2,
                "f1": both * 2 * tp / (n_fake + tp + fp),
                "precision": both * tp / (tp + fp),
                "recall": tp / n_fake,
            }
            for name, loss in losses.items():
                if name in names:
                    # Not a matrix product: its last digits depend on the number of threads.
                    found[name] = np.einsum("rn,n->r", weights, loss) / (n_fake + n_real)
            if "ece" in names:
                found["ece"] = calibration(weights.take(order, axis=1), calls_fake)
            if not names.isdisjoint({"auroc", "ap", *CURVE}):
                fake_sums = running(fakes)
            if "auroc" in names:
                found["auroc"] = area(fake_sums, reals, n_real, places)
            if not names.isdisjoint({"ap", *CURVE}):
                real_sums = running(reals)
            if "ap" in names:
                images = fake_sums.take(fake_at_fake, axis=1)
                right = images.copy()
                images += real_sums.take(real_at_fake, axis=1)
                precision = right / np.maximum(images, np.finfo(np.float64).tiny)
                found["ap"] = both * np.einsum("rn,rn->r", fakes, precision) / n_fake
            if not names.isdisjoint(CURVE):
                curve = fake_sums.take(fake_at, axis=1), real_sums.take(real_at, axis=1)
                found["eer"] = equal_error_rate(*curve)
                found |= {name: tpr_at_fpr(*curve, fpr) for name, fpr in FALSE_ALARMS.items()}
        return {name: found[name] for name in METRICS if name in names}

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
    measure = weighted_metrics(p_fake, labels, threshold, (name,))
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
