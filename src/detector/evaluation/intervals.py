"""Confidence intervals for scores of images that come in groups.

An image and its edited twin, or copies of one file, are one draw from the world and not
two. Proportions get Wilson's interval at an effective number of images, everything else a
bootstrap over whole groups, and none of them has zero width.
"""

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from detector.errors import UserError

CHUNK_CELLS = 2**18  # weights held at a time (2 MB): larger chunks fall out of the cache


def wilson(k: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Score interval of a proportion (Wilson 1927, J. Am. Stat. Assoc. 22:209).

    Args:
        k: Successes, in [0, n]; a fraction is allowed, for an effective number.
        n: Trials, at least 0, whole or effective.
        level: Confidence, in (0, 1).

    Returns:
        Low and high, in [0, 1]; (0, 1) where n is 0.

    Raises:
        UserError: k outside [0, n], or level outside (0, 1).
    """
    if not 0 <= k <= n:
        raise UserError(f"wilson needs 0 <= k <= n, got k={k}, n={n}")
    z = _z(level)
    if n == 0:
        return 0.0, 1.0
    p, shrink = k / n, 1 + z * z / n
    middle = (p + z * z / (2 * n)) / shrink
    half = z / shrink * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # Rounding would leave 1e-17 where the ends are 0 and 1 by algebra.
    low = 0.0 if k == 0 else max(0.0, middle - half)
    high = 1.0 if k == n else min(1.0, middle + half)
    return low, high


def effective_n(groups: np.ndarray) -> float:
    """How many independent images the images of these groups are worth, at the least.

    Kish's n^2 / sum(m^2) over group sizes m (Survey Sampling, 1965, section 8.2): what is
    left when all images of a group are right or wrong together. It is n where every image
    is its own group, and the number of groups where these are of one size. The correlation
    is not estimated because that fails where it matters: one error among ten groups of a
    hundred looks independent and would make 1 error far more certain than none.

    Args:
        groups: (N,) group of each image, of any sortable type; may be empty.

    Returns:
        Effective number, between the 1 of a single group and N; 0 for no image.
    """
    if len(groups) == 0:
        return 0.0
    sizes = np.unique(groups, return_counts=True)[1].astype(float)
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def wilson_by_group(hits: np.ndarray, groups: np.ndarray, level: float) -> tuple[float, float]:
    """Wilson's interval of the share of hits, at the effective number of images.

    Args:
        hits: (N,) bool.
        groups: (N,) group of each image.
        level: Confidence, in (0, 1).

    Returns:
        Low and high, in [0, 1]; exactly `wilson(hits.sum(), N)` where no two share a group.
    """
    n = effective_n(groups)
    return wilson(n * float(np.mean(hits)) if n else 0.0, n, level)


def bootstrap_by_group(
    statistic: Callable[[np.ndarray], np.ndarray],
    groups: np.ndarray,
    classes: np.ndarray,
    *,
    replicates: int,
    seed: int,
    level: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval from resampling whole groups, stratified by their classes.

    Groups are drawn with replacement among those that hold the same set of classes (fakes
    only, reals only, both), so that every replicate has every class, each in about its
    number here, and none has to be redrawn. Percentile intervals: Efron 1979; clusters as
    units and strata: Davison and Hinkley 1997, sections 3.8 and 3.2; a replicate is a vector
    of weights, not a list of images, which lets one sort of the scores serve them all.

    The interval is blind to errors that did not occur: see `allow_unseen`.

    Args:
        statistic: Maps weights (R, N), float64 whole numbers >= 0, to values (R,) or (R, M);
            columns are images in the order of `groups`. It is called with few rows at a
            time. NaN marks an undefined replicate, which is left out.
        groups: (N,) group of each image, of any sortable type.
        classes: (N,) class of each image, whole numbers >= 0.
        replicates: Number of resamples, at least 1.
        seed: Of the draws. The order of the images has no influence on them.
        level: Confidence, in (0, 1).

    Returns:
        Low and high, each of shape () or (M,); NaN where no replicate is defined.

    Raises:
        UserError: No image, lengths that differ, replicates below 1, level outside (0, 1).
    """
    _z(level)
    if len(groups) == 0 or len(groups) != len(classes):
        raise UserError(
            f"the bootstrap needs one class per image: {len(groups)} groups, {len(classes)} classes"
        )
    if replicates < 1:
        raise UserError(f"replicates must be at least 1, got {replicates}")
    names, code = np.unique(groups, return_inverse=True)
    holds = np.zeros((len(names), int(np.max(classes)) + 1), dtype=bool)
    holds[code, classes] = True
    kinds, stratum = np.unique(holds, axis=0, return_inverse=True)
    strata = [np.flatnonzero(stratum.ravel() == i) for i in range(len(kinds))]
    # One stream per stratum makes the draws independent of the size of a chunk.
    streams = np.random.default_rng(seed).spawn(len(strata))

    rows = max(1, CHUNK_CELLS // len(code))
    values = []
    for start in range(0, replicates, rows):
        r = min(rows, replicates - start)
        counts = np.empty((r, len(names)))
        for members, stream in zip(strata, streams, strict=True):
            m = len(members)
            cells = stream.integers(m, size=(r, m)) + m * np.arange(r)[:, None]
            counts[:, members] = np.bincount(cells.ravel(), minlength=r * m).reshape(r, m)
        values.append(statistic(counts.take(code, axis=1)))
    tail = (1 - level) / 2
    # (R + 1) p-th order statistic, as Davison and Hinkley take it (their equation 5.6).
    return tuple(_quantiles(np.concatenate(values), [tail, 1 - tail]))


def allow_unseen(
    value: float,
    interval: tuple[float, float],
    n: float,
    level: float,
    *,
    worst: float = 0.0,
    best: float = 1.0,
) -> tuple[float, float]:
    """Widen an interval by what a sample of n may have failed to show.

    Resampling a perfect (or hopeless, or constant) score gives that score every time, and a
    single error among thousands hardly more, as if n told nothing about a larger sample. But
    n draws without a certain kind of image are compatible with a share q of them, Wilson's
    upper limit at 0 of n (the reasoning of Hanley and Lippman-Hand 1983, JAMA 249:1743). If
    that share scored at either end of the scale, the value would lie between
    (1 - q) value + q worst and (1 - q) value + q best; the result is the union of these and
    the interval. It is continuous in the value: nothing jumps when the first error appears,
    a perfect score gets `wilson(n, n)`, and the bootstrap decides by itself from about four
    errors on. For AUROC with n images of the smaller class it is a bound for any shape of
    the scores, wider than those for AUROC 1 under a model (Obuchowski and Lieber 2002,
    Acad. Radiol. 9:526); for AP, F1 and balanced accuracy it is a convention of the same size.

    Args:
        value: The estimate, between worst and best.
        interval: Low and high to widen.
        n: Effective number of images, of the smaller class where the metric needs both.
        level: Confidence of the interval, in (0, 1).
        worst: One end of the scale of the metric.
        best: The other.

    Returns:
        Low and high, on the scale, around the value and at least as far apart as before;
        strictly on either side of it unless it is at an end of the scale.
    """
    q = wilson(0, n, level)[1]
    ends = [*interval, *((1 - q) * value + q * end for end in (worst, best)), value]
    return float(min(ends)), float(max(ends))


def _z(level: float) -> float:
    if not 0 < level < 1:
        raise UserError(f"level must lie strictly between 0 and 1, got {level}")
    return NormalDist().inv_cdf((1 + level) / 2)


def _quantiles(values: np.ndarray, at: list[float]) -> np.ndarray:
    """Quantiles (2, ...) down the first axis, NaN left out, NaN where nothing else is."""
    if not np.isnan(values).any():
        return np.quantile(values, at, axis=0, method="weibull")
    if values.ndim > 1:
        return np.stack([_quantiles(column, at) for column in values.T], axis=1)
    defined = values[~np.isnan(values)]
    return np.full(2, np.nan) if len(defined) == 0 else _quantiles(defined, at)
