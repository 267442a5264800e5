"""Scores that mean what they say: a temperature and a threshold from validation.

A margin is what a network says before it is squashed: its logit of fake minus that of real.
p_fake = 1 / (1 + exp(-margin / temperature)). No order of two images changes.
"""

import math
from dataclasses import asdict, dataclass

import numpy as np

from detector.errors import UserError
from detector.evaluation.scores import FAKE, checked

TEMPERATURES = 1 / 20, 20.0  # bounds: networks in use lie between 0.5 and 5
STEPS = 200  # halvings of a bracket, more than float64 can tell apart


@dataclass(frozen=True)
class Calibration:
    """From margins to scores, and from scores to answers.

    Args:
        temperature: What margins are divided by, above 0; above 1 makes scores less sure.
        threshold: p_fake from which a picture is called fake, in (0, 1).
        unsure: Scores strictly between these two get no verdict; the threshold twice where
            every score gets one.
        n: Validation images that it was fitted on; 0 where it was not fitted.
        trained_on: Name of their set.

    Raises:
        UserError: A value out of its range.
    """

    temperature: float = 1.0
    threshold: float = 0.5
    unsure: tuple[float, float] = (0.5, 0.5)
    n: int = 0
    trained_on: str = ""

    def __post_init__(self) -> None:
        low, high = self.unsure
        # Of a checkpoint from a stranger, nothing is known of the types either.
        numbers = [self.temperature, self.threshold, low, high]
        if not all(isinstance(x, (int, float)) and math.isfinite(x) for x in numbers):
            raise UserError("the calibration is not made of finite numbers")
        if not (self.temperature > 0 and 0 < self.threshold < 1):
            raise UserError("the calibration has a temperature or a threshold out of range")
        if not 0 <= low <= self.threshold <= high <= 1:
            raise UserError("the threshold of the calibration lies outside its unsure scores")

    def scores(self, margins: np.ndarray) -> np.ndarray:
        """p_fake, float64 (N) in [0, 1], of margins (N)."""
        return probabilities(np.asarray(margins, np.float64) / self.temperature)

    def verdict(self, p_fake: float) -> str:
        """`fake`, `real` or `unsure`."""
        if self.unsure[0] < p_fake < self.unsure[1]:
            return "unsure"
        return "fake" if p_fake >= self.threshold else "real"

    def to_dict(self) -> dict:
        """Plain data, for a checkpoint; `Calibration.from_dict` takes it back."""
        return asdict(self) | {"unsure": list(self.unsure)}

    @classmethod
    def from_dict(cls, plain: dict) -> "Calibration":
        """Counterpart of `to_dict`.

        Raises:
            UserError: It is not what `to_dict` gives.
        """
        try:
            return cls(**plain | {"unsure": tuple(plain["unsure"])})
        except UserError:
            raise
        except (TypeError, KeyError, ValueError, OverflowError):
            raise UserError("the calibration is not what detector.train writes") from None


def calibrate(
    margins: np.ndarray,
    labels: np.ndarray,
    *,
    temperature: bool,
    threshold: float | str,
    unsure: float,
    trained_on: str,
) -> Calibration:
    """Fits all of it on validation.

    Args:
        margins: float64 (N), finite.
        labels: (N,) 0 for fake, 1 for real.
        temperature: Whether to fit one; else it is 1.
        threshold: `best`, as `best_threshold` says, or a number in (0, 1).
        unsure: Share of the images that get no verdict, in [0, 1).
        trained_on: Name of the set.

    Raises:
        UserError: No images, margins that are not finite, labels other than 0 and 1.
    """
    t = fit_temperature(margins, labels) if temperature else 1.0
    p = probabilities(np.asarray(margins, np.float64) / t)
    at = best_threshold(p, labels) if threshold == "best" else float(threshold)
    return Calibration(t, at, unsure_scores(p, at, unsure), len(p), trained_on)


def fit_temperature(margins: np.ndarray, labels: np.ndarray) -> float:
    """The temperature with the lowest log loss on these images (Guo et al., ICML 2017).

    Where no image is on the wrong side, log loss falls without end as the temperature nears
    0: as if n images could show that errors never happen. So the labels to be met are Platt's
    (Advances in Large Margin Classifiers, 1999), (k + 1) / (k + 2) for the fakes and
    1 / (m + 2) for the reals of k fakes and m reals: what Laplace's rule allows to claim of
    them. For hundreds of images the difference is small. The loss is convex in 1 / temperature, so
    that its slope has one zero, found by halving.

    Args:
        margins: float64 (N), finite.
        labels: (N,) 0 for fake, 1 for real.

    Returns:
        Between 1/20 and 20; 1 where all margins are 0.

    Raises:
        UserError: As for `calibrate`.
    """
    z = np.asarray(margins, np.float64)
    if not np.isfinite(z).all():
        raise UserError("margins are not finite: training diverged; lower optimizer.lr")
    _, y = checked(probabilities(z), labels)
    if not z.any():
        return 1.0
    fake = y == FAKE
    k, m = fake.sum(), (~fake).sum()
    target = np.where(fake, (k + 1) / (k + 2), 1 / (m + 2))
    low, high = (1 / t for t in reversed(TEMPERATURES))
    for _ in range(STEPS):
        middle = math.sqrt(low * high)
        slope = float(((probabilities(middle * z) - target) * z).sum())
        low, high = (middle, high) if slope < 0 else (low, middle)
    return 1 / math.sqrt(low * high)


def best_threshold(p_fake: np.ndarray, labels: np.ndarray) -> float:
    """The threshold with the highest balanced accuracy on these images (Youden 1950).

    Balanced accuracy and not accuracy, so that the choice does not depend on how many fakes
    validation happens to have. All thresholds between two neighbouring scores do the same;
    of the gaps that do best, the widest is taken, and its middle. 0 and 1 are neighbours of
    the lowest and highest score.

    Args:
        p_fake: (N,) scores in [0, 1].
        labels: (N,) 0 for fake, 1 for real.

    Returns:
        In (0, 1); .5 where one class is missing.

    Raises:
        UserError: As for `checked`.
    """
    p, y = checked(p_fake, labels)
    fake = y == FAKE
    if fake.all() or not fake.any():
        return 0.5
    values, at = np.unique(p, return_inverse=True)
    fakes = np.bincount(at, fake, len(values))
    reals = np.bincount(at, ~fake, len(values))
    # Gap i lies below the i-th lowest score. Whole numbers, so that ties are ties.
    n_fake, n_real = int(fake.sum()), int((~fake).sum())
    missed = np.r_[0, np.cumsum(fakes)].astype(np.int64)
    alarms = n_real - np.r_[0, np.cumsum(reals)].astype(np.int64)
    errors = missed * n_real + alarms * n_fake
    lower, upper = np.r_[0.0, values], np.r_[values, 1.0]
    width = upper - lower
    errors[width == 0] = 2 * n_fake * n_real + 1  # scores of 0 or 1 leave nothing beyond them
    best = np.flatnonzero(errors == errors.min())
    widest = best[np.argmax(width[best])]
    a, b = float(lower[widest]), float(upper[widest])
    middle = (a + b) / 2
    return middle if a < middle < 1 else min(b, 1 - 2.0**-53)  # neighbours in float64


def unsure_scores(p_fake: np.ndarray, threshold: float, share: float) -> tuple[float, float]:
    """The scores around the threshold that at most a share of these images have.

    As far below as above, counted in log odds.

    Args:
        p_fake: (N,) scores in [0, 1].
        threshold: In (0, 1).
        share: Of the images that are to get no verdict, in [0, 1).

    Returns:
        Low and high: unsure is what lies strictly between. The threshold twice for none.
    """
    distance = np.sort(distances(p_fake, threshold))
    few = math.floor(share * len(distance) + 1e-9)
    # Half-way to the next image; of images that are equally near, none is left out alone.
    few = int(np.searchsorted(distance, distance[few] - 1e-9))
    if few == 0:
        return threshold, threshold
    reach = (distance[few - 1] + distance[few]) / 2
    middle = log_odds(np.array([threshold]))[0]
    low, high = probabilities(np.array([middle - reach, middle + reach])).tolist()
    return min(low, threshold), max(high, threshold)


def distances(p_fake: np.ndarray, threshold: float) -> np.ndarray:
    """How sure scores are: distance from the threshold in log odds, float64 (N) >= 0."""
    return np.abs(log_odds(p_fake) - log_odds(np.array([threshold])))


def log_odds(p_fake: np.ndarray) -> np.ndarray:
    """Margins at temperature 1 that would give these scores; 0 and 1 count as 2^-53 from it."""
    p = np.clip(np.asarray(p_fake, np.float64), 2.0**-53, 1 - 2.0**-53)
    return np.log(p) - np.log1p(-p)


def probabilities(margins: np.ndarray) -> np.ndarray:
    """p_fake of margins float64 (N), without overflow, exact near 0."""
    small = np.exp(-np.abs(margins))
    return np.where(margins >= 0, 1.0, small) / (1 + small)
