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

FAKE, REAL = 0, 1
LEVEL = 0.95
# Networks answer in float32, where nothing closer to 1 exists. A fixed clip gives the same
# log loss for float32 scores and for the same scores read back from predictions.csv.
LOG_CLIP = float(np.finfo(np.float32).eps)
RESAMPLED = ("auroc", "ap", "balanced_accuracy", "f1", "log_loss", "brier")


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
        clipped to float32 resolution) and brier. Plain ints and floats, or None for all
        three where undefined, so that it is standard JSON.

    Raises:
        UserError: Nothing to summarize, lengths that differ, a score or threshold that is
            not a number in [0, 1], labels other than 0 and 1, replicates below 1.
    """
    p, y = _checked(p_fake, labels)
    groups = np.asarray(groups)
    if groups.shape != p.shape:
        raise UserError(f"groups has shape {groups.shape}, p_fake {p.shape}: give one per image")
    # One canonical order makes sums, and with them the last digit, independent of the input's.
    group = np.unique(groups, return_inverse=True)[1]
    order = np.lexsort((group, y, -p))
    p, y, group = p[order], y[order], group[order]
    fake, called = y == FAKE, p >= threshold

    measure = metrics_of_weights(p, y, threshold)
    value = {name: _plain(v[0]) for name, v in measure(np.ones((1, len(p)))).items()}
    low, high = bootstrap_by_group(
        lambda weights: np.stack([measure(weights)[name] for name in RESAMPLED], axis=1)
        if False
        else _columns(measure(weights)),
        group,
        y,
        replicates=replicates,
        seed=seed,
        level=LEVEL,
    )
    intervals = {
        "accuracy": wilson_by_group(fake == called, group, LEVEL),
        "precision": wilson_by_group(fake[called], group[called], LEVEL),
        "recall": wilson_by_group(called[fake], group[fake], LEVEL),
    }
    n_all, n_smaller = effective_n(group), min(effective_n(group[fake]), effective_n(group[~fake]))
