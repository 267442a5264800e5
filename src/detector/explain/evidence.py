"""What the scores of many maps show: means, lifts, AUROC.

Images come in groups (a photograph and its edits are one draw), so intervals are bootstraps by
group, widened by what the sample may have failed to show: see `evaluation.intervals`. NaN scores
are undefined; they are left out and counted in `n_undefined`.
"""

import math
from collections.abc import Sequence

import numpy as np

from detector.errors import UserError
from detector.evaluation.intervals import allow_unseen, bootstrap_by_group, effective_n
from detector.evaluation.metrics import LEVEL
from detector.evaluation.ranking import weighted_auroc

ENOUGH = 10  # groups from which on the extremes that were seen say something


def mean_share(values: np.ndarray, groups: np.ndarray, *, replicates: int, seed: int) -> dict:
    """Mean of shares or of hits, with a 95 % interval.

    Args:
        values: float (N,) in [0, 1], NaN where undefined.
        groups: (N,) group of each image.
        replicates: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        `value`, `low`, `high` (None where no image is defined), `n`, `n_undefined`.

    Raises:
        UserError: The lengths differ.
    """
    values, groups, missing = _defined(groups, values)
    found = _interval(
        lambda w: np.einsum("rn,n->r", w, values) / w.sum(1), groups, 1.0, replicates, seed
    )
    return found | {"n": len(groups), "n_undefined": missing}


def mean_value(
    values: np.ndarray,
    groups: np.ndarray,
    *,
    scale: tuple[float, float],
    replicates: int,
    seed: int,
) -> dict:
    """Mean of correlations or of differences, with a 95 % interval.

    Pictures of a kind that the sample lacks are taken to score like the extremes that were seen;
    the ends of the scale, at which no real picture lies, would drown the interval. They are taken
    where all values are the same, and for fewer than ten groups, whose extremes tell little.

    Args:
        values: float (N,) within the scale, NaN where undefined.
        groups: (N,) group of each image.
        scale: The least and the most that a value can be.
        replicates: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        As `mean_share`.

    Raises:
        UserError: The lengths differ.
    """
    values, groups = np.asarray(values, np.float64), np.asarray(groups)
    known = ~np.isnan(values)
    low, high = scale
    # Of few groups the extremes are not known.
    if len(set(groups[known].tolist())) >= ENOUGH and np.ptp(values[known]) > 1e-9:
        low, high = values[known].min(), values[known].max()
    found = mean_share((values - low) / (high - low), groups, replicates=replicates, seed=seed)
    ends = ("value", "low", "high")
    return found | {
        key: None if found[key] is None else float(low + (high - low) * found[key]) for key in ends
    }


def lift(
    values: np.ndarray, control: np.ndarray, groups: np.ndarray, *, replicates: int, seed: int
) -> dict:
    """How many times as much of the maps lies inside as of a control's, with a 95 % interval.

    The ratio of the two means, not the mean of ratios: a control that has next to nothing inside
    one mask would decide the latter alone. A uniform map's share is the mask's area.

    Args:
        values: float (N,) shares of the maps, NaN where undefined.
        control: float (N,) shares of the control inside the same masks.
        groups: (N,) group of each image.
        replicates: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        `value`, `low`, `high` (None where undefined or the control has nothing inside), `share`
        and `control`, their means over the images where both are defined, `n`, `n_undefined`.

    Raises:
        UserError: The lengths differ.
    """
    values, control, groups, missing = _defined(groups, values, control)
    if not len(groups):
        return dict.fromkeys(("value", "low", "high", "share", "control")) | {
            "n": 0,
            "n_undefined": missing,
        }
    means = {"share": float(values.mean()), "control": float(control.mean())}

    def ratio(weights: np.ndarray) -> np.ndarray:
        above, below = (np.einsum("rn,n->r", weights, x) for x in (values, control))
        return np.divide(above, below, out=np.full(len(weights), np.nan), where=below > 0)

    # No map can have more than all of itself inside.
    most = 1 / means["control"] if means["control"] > 0 else math.inf
    found = _interval(ratio, groups, most, replicates, seed)
    return found | means | {"n": len(groups), "n_undefined": missing}


def edited_auroc(
    scores: np.ndarray,
    bits: np.ndarray,
    groups: np.ndarray,
    *,
    names: Sequence[str],
    replicates: int,
    seed: int,
) -> dict[str, dict]:
    """Whether a part that was edited has a higher score than the same part where it was not.

    Args:
        scores: float (N, P) of each part, such as its share of the map; NaN where undefined.
        bits: int (N, P), 1 edited, 0 not, below 0 unknown.
        groups: (N,) group of each image.
        names: Of the P parts.
        replicates: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        By name `value`, `low`, `high` (None with images of one kind only), `n`, `n_edited`,
        `n_unknown` (bits), `n_undefined` (scores of known bits).

    Raises:
        UserError: The shapes differ.
    """
    scores, bits, groups = np.asarray(scores, np.float64), np.asarray(bits), np.asarray(groups)
    if not scores.shape == bits.shape == (len(groups), len(names)):
        raise UserError(
            f"scores {scores.shape}, bits {bits.shape}, {len(groups)} groups, {len(names)} names:"
            " give one of each per image and part"
        )
    found = {}
    for name, score, bit in zip(names, scores.T, bits.T, strict=True):
        known, defined = bit >= 0, ~np.isnan(score)
        use = known & defined
        edited, group = bit[use] > 0, groups[use]
        counts = {
            "n": int(use.sum()),
            "n_edited": int(edited.sum()),
            "n_unknown": int((~known).sum()),
            "n_undefined": int((known & ~defined).sum()),
        }
        if edited.all() or not edited.any():
            found[name] = {"value": None, "low": None, "high": None} | counts
            continue
        labels = np.where(edited, 0, 1)  # 0 is the positive class
        measure = weighted_auroc(score[use][:, None], labels)
        ends = bootstrap_by_group(
            lambda w, measure=measure: measure(w)[:, 0],
            group,
            labels,
            replicates=replicates,
            seed=seed,
            level=LEVEL,
        )
        value = float(measure(np.ones((1, len(labels))))[0, 0])
        smaller = min(effective_n(group[edited]), effective_n(group[~edited]))
        low, high = allow_unseen(value, ends, smaller, LEVEL)
        found[name] = {"value": value, "low": low, "high": high} | counts
    return found


def _defined(groups: np.ndarray, *columns: np.ndarray) -> tuple:
    """The columns and groups of the images where all columns are defined, and how many are not."""
    values = [np.asarray(column, np.float64) for column in columns]
    groups = np.asarray(groups)
    if any(column.shape != groups.shape for column in values) or groups.ndim != 1:
        shapes = ", ".join(str(column.shape) for column in values)
        raise UserError(f"scores of shape {shapes} and groups of {groups.shape}: one per image")
    use = ~np.isnan(values).any(0)
    return *(column[use] for column in values), groups[use], int((~use).sum())


def _interval(
    statistic: object, groups: np.ndarray, best: float, replicates: int, seed: int
) -> dict[str, float | None]:
    """`value`, `low`, `high` of a statistic with values between 0 and best; None if undefined."""
    value = float(statistic(np.ones((1, len(groups))))[0]) if len(groups) else math.nan
    if math.isnan(value):
        return {"value": None, "low": None, "high": None}
    ends = bootstrap_by_group(
        statistic, groups, np.zeros(len(groups), int), replicates=replicates, seed=seed, level=LEVEL
    )
    low, high = allow_unseen(value, ends, effective_n(groups), LEVEL, best=best)
    return {"value": value, "low": low, "high": high}
