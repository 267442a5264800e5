"""Does a calibration from one set hold on another? It often does not, and then it is said."""

from collections.abc import Mapping, Sequence

import numpy as np

from detector.evaluation.calibration import log_odds, probabilities
from detector.evaluation.intervals import bootstrap_by_group
from detector.evaluation.metrics import LEVEL, LOG_CLIP
from detector.evaluation.reliability import binned_error, calibrated_errors, reliability
from detector.evaluation.scores import FAKE, checked, checked_groups

NOTHING = {"value": None, "low": None, "high": None}
NEWTON = 100  # steps, of which about ten are needed


def calibration_holds(
    p_fake: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, replicates: int, seed: int
) -> dict:
    """Compares the scores of a set with what would be seen if they were calibrated.

    The ECE is compared with that of labels drawn from the scores themselves (a parametric
    bootstrap by group, Broecker and Smith 2007, Weather and Forecasting 22:651). The set's
    share of fakes counts: scores calibrated on half fakes are not for a set with a tenth.

    Args:
        p_fake: (N,) scores in [0, 1].
        labels: (N,) 0 for fake, 1 for real.
        groups: (N,) group of each image.
        replicates: Of both bootstraps.
        seed: Of both.

    Returns:
        `holds`: False where fewer than 5 % of drawn sets have so large an ECE; True says no
        more than that nothing was found. `ece`; `ece_by_chance`, exceeded by 5 % of drawn
        sets; `p`; `slope` and `intercept`, as `recalibration` gives them; `bins`, as
        `reliability` gives them.

    Raises:
        UserError: As for `checked` and `checked_groups`.
    """
    p, y = checked(p_fake, labels)
    group = checked_groups(groups, len(p))
    order = np.lexsort((group, y, p))
    p, y, group = p[order], y[order], group[order]
    ece = float(binned_error(p)(np.ones((1, len(p))), y == FAKE)[0])
    drawn = calibrated_errors(p, group, replicates=replicates, seed=seed)
    larger = float((1 + (drawn >= ece - 1e-12).sum()) / (1 + replicates))
    return {
        "holds": larger >= 1 - LEVEL,
        "ece": ece,
        "ece_by_chance": float(np.quantile(drawn, LEVEL)),
        "p": larger,
        **recalibration(p, y, group, replicates=replicates, seed=seed),
        "bins": reliability(p, y, group, level=LEVEL),
    }


def recalibration(
    p_fake: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, replicates: int, seed: int
) -> dict[str, dict[str, float | None]]:
    """Cox's recalibration (1958, Biometrika 45:562): log odds of fake on log odds of the score.

    Slope 1 and intercept 0 where scores are calibrated. A slope below 1 says that they are
    too sure. The intercept is fitted with the slope held at 1: above 0, more are fake than
    the scores say. Intervals are a bootstrap by group, not stratified by class, of one Newton
    step from the fit (Moulton and Zeger 1991, Comput. Stat. Data Anal. 11:53).

    Args:
        p_fake: (N,) scores in [0, 1], clipped to float32 resolution.
        labels: (N,) 0 for fake, 1 for real.
        groups: (N,) group of each image.
        replicates: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        `slope` and `intercept`, each `value`, `low`, `high`; None for all three where
        undefined: one class, one group; for the slope also scores that separate the classes
        or are all the same.
    """
    p, y = checked(p_fake, labels)
    group = checked_groups(groups, len(p))
    x = log_odds(np.clip(p, LOG_CLIP, 1 - LOG_CLIP))
    fake = (y == FAKE).astype(np.float64)
    if not 0 < fake.sum() < len(p):
        return {"slope": NOTHING, "intercept": NOTHING}
    settings = {"replicates": replicates, "seed": seed}
    intercept = _logistic(np.ones((len(x), 1)), x, fake, group, **settings)[0]
    low, high = x[fake == 1].min(), x[fake == 0].max()
    back, forth = x[fake == 0].min(), x[fake == 1].max()
    if low >= high or back >= forth:
        return {"slope": NOTHING, "intercept": intercept}
    both = np.stack([x - x.mean(), np.ones(len(x))], axis=1)
    return {
        "slope": _logistic(both, np.zeros(len(x)), fake, group, **settings)[0],
        "intercept": intercept,
    }


def _logistic(
    columns: np.ndarray,
    offset: np.ndarray,
    fake: np.ndarray,
    groups: np.ndarray,
    *,
    replicates: int,
    seed: int,
) -> list[dict[str, float | None]]:
    """Coefficients (K) of a logistic regression on columns (N, K), with intervals."""
    ones = np.ones((1, len(fake)))
    products = columns[:, :, None] * columns[:, None, :]

    def step(at: np.ndarray, weights: np.ndarray) -> np.ndarray:
        mean = probabilities(columns @ at + offset)
        slope = np.einsum("rn,nk->rk", weights, columns * (fake - mean)[:, None])
        bend = np.einsum("rn,njk->rjk", weights, products * (mean * (1 - mean))[:, None, None])
        return _solved(bend, slope)

    def loss(at: np.ndarray) -> float:
        z = columns @ at + offset
        return float((np.logaddexp(0, z) - fake * z).sum())

    at = np.zeros(columns.shape[1])
    for _ in range(NEWTON):
        move = step(at, ones)[0]
        while loss(at + move) > loss(at) and np.abs(move).max() > 1e-12:
            move = move / 2  # a full step can overshoot, from far away
        at = at + move
        if np.abs(move).max() < 1e-12:
            break
    if not np.isfinite(at).all():
        return [NOTHING] * len(at)
    low, high = bootstrap_by_group(
        lambda weights: at + step(at, weights),
        groups,
        np.zeros(len(fake), np.int64),
        replicates=replicates,
        seed=seed,
        level=LEVEL,
    )
    ends = zip(at.tolist(), np.ravel(low).tolist(), np.ravel(high).tolist(), strict=True)
    return [
        {"value": v, "low": min(a, v), "high": max(b, v)} if a < b else NOTHING for v, a, b in ends
    ]


def _solved(bend: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Newton steps (R, K) of R curves; NaN of one without a bend, as where all scores are alike.

    A resample of few images may consist of such scores alone.
    """
    try:
        return np.linalg.solve(bend, slope[:, :, None])[:, :, 0]
    except np.linalg.LinAlgError:
        fine = np.linalg.matrix_rank(bend, hermitian=True) == bend.shape[-1]
        steps = np.full(slope.shape, np.nan)
        steps[fine] = np.linalg.solve(bend[fine], slope[fine][:, :, None])[:, :, 0]
        return steps


def in_words(found: Mapping, name: str, fake: str = "fake") -> str:
    """One sentence for a report.

    Args:
        found: As `calibration_holds` gives it.
        name: Of the set.
        fake: Name of class 0.
    """
    chance = f"{found['ece_by_chance']:.3f}"
    if found["holds"]:
        return (
            f"No sign that calibration fails on {name}: ECE {found['ece']:.3f}, where calibrated"
            f" scores of as many images give up to {chance}."
        )
    row = _worst(found["bins"])
    share = "{value:.2f} [{low:.2f}, {high:.2f}]".format(**row["fake"])
    return (
        f"Calibration does not hold on {name}: ECE {found['ece']:.3f}, where calibrated scores of"
        f" as many images give up to {chance}. Of {row['n']} pictures scored about"
        f" {row['score']:.2f}, {share} are {fake}."
    )


def _worst(bins: Sequence[Mapping]) -> Mapping:
    """The bin that adds most to ECE, of those whose interval excludes what is said there."""

    def weight(row: Mapping) -> tuple[bool, float]:
        fake = row["fake"]
        outside = not fake["low"] <= row["score"] <= fake["high"]
        return outside, row["n"] * abs(row["score"] - fake["value"])

    return max(bins, key=weight)
