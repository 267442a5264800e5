"""Whether a picture is unlike those that a network was trained on: a gate on its features.

- Features are the network's penultimate activations, each picture's scaled to length 1, which keeps
  their size, that varies with sharpness and contrast, from deciding (as Sun et al., Out-of-
  Distribution Detection with Deep Nearest Neighbors, ICML 2022, do).
- The Mahalanobis distance from the mean of validation (Lee et al., A Simple Unified Framework for
  Detecting Out-of-Distribution Samples and Adversarial Attacks, NeurIPS 2018), with one mean for
  both classes, since a picture should be told to be strange before it is told to be fake, and with
  a covariance shrunk by Oracle Approximating Shrinkage (Chen et al., IEEE Trans. Signal Processing
  58, 2010).
- Of that covariance a card keeps the few directions in which validation varies most; outside of
  them one variance stands for all others, so that what no picture of validation has counts most
  (Moghaddam and Pentland, Probabilistic Visual Learning, PAMI 1997; the residual of Wang et al.,
  ViM, CVPR 2022).
- The limit comes from cross-fitting: validation in folds, by group; the distances of each fold from
  a gate fitted on the others are distances of fresh pictures. A share alpha of them is above it.

experiments/2026-11-21-gate has what else was tried. NumPy alone, so that an exported network has
its gate too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from detector.errors import UserError

FOLDS = 5
FEWEST = 40  # pictures below which a share of a twentieth is one or two of them
MOST = 2000  # pictures that are looked at, of a larger validation part a random choice
NUMBERS = 50_000  # that the directions may take: some hundred kB in a card
DIRECTIONS = 16
PER_DIRECTION = 8  # pictures for each direction, at least
WIDEST = 1 << 20  # numbers of a card from elsewhere
LARGEST = 1e30  # of its numbers
LEAST = 1e-9  # distance of features of length 1 that is more than rounding
FIELDS = {"alpha", "n", "mean", "directions", "spreads", "rest", "limit"}


@dataclass(frozen=True, eq=False)
class Gate:
    """A fitted gate.

    Args:
        mean: float32 (D), of features of length 1.
        directions: float32 (K, D), orthonormal, of largest variance first.
        spreads: float32 (K), standard deviations along them, shrunk; above 0.
        rest: That of all other directions.
        limit: Distance beyond which pictures are refused.
        alpha: Share of pictures like those of validation that should be refused.
        n: Pictures that it was fitted on.
    """

    mean: np.ndarray
    directions: np.ndarray
    spreads: np.ndarray
    rest: float
    limit: float
    alpha: float
    n: int

    @classmethod
    def fit(
        cls, features: np.ndarray, groups: Sequence | None = None, *, seed: int, alpha: float
    ) -> "Gate":
        """Fits a gate on pictures that the network was not trained on.

        Args:
            features: (N, D), penultimate activations.
            groups: Group of each picture, which folds keep together; None for each its own.
            seed: Of the folds, and of the choice among more than `MOST` pictures.
            alpha: Share of fresh pictures of the same kind that should be refused, in (0, 1).

        Raises:
            UserError: There are too few pictures or groups, a feature is not finite, or all
                pictures have the same.
        """
        raw = np.asarray(features, np.float64)
        if raw.ndim != 2 or not np.isfinite(raw).all():
            raise UserError("features of validation are not finite")
        groups = np.arange(len(raw)) if groups is None else np.asarray(groups)
        labels = np.unique(groups, return_inverse=True)[1]
        rng = np.random.default_rng(seed)
        if len(raw) > MOST:
            kept = np.sort(rng.permutation(len(raw))[:MOST])
            raw, labels = raw[kept], labels[kept]
        fewest = max(FEWEST, int(np.ceil(1 / alpha)))
        if len(np.unique(labels)) < fewest:
            raise UserError(
                f"{len(np.unique(labels))} groups of validation images are too few for a gate that"
                f" refuses {alpha:g} of them: it takes {fewest}"
            )
        unit = _unit(raw)
        fold = (rng.permutation(labels.max() + 1) % FOLDS)[labels]
        # As many in all folds as in the gate itself, since distances grow with their number.
        k = _how_many(len(unit) - np.bincount(fold).max(), unit.shape[1])
        held = np.zeros(len(unit))
        for at in range(FOLDS):
            held[fold == at] = _distances(unit[fold == at], *_model(unit[fold != at], k))
        # The rank that makes 1 - alpha of fresh pictures stay below, were they exchangeable.
        rank = min(len(held), int(np.ceil((len(held) + 1) * (1 - alpha))))
        limit = np.sort(held)[rank - 1]
        fitted = cls(*_model(unit, k), float(limit), float(alpha), len(unit))
        return cls.from_dict(fitted.to_dict())  # rounded as the card will have it

    def unlikeness(self, features: np.ndarray) -> np.ndarray:
        """How far pictures are from those of validation.

        Args:
            features: (N, D), as in `fit`.

        Returns:
            float64 (N), 1 at the limit; infinite where a feature is not finite.

        Raises:
            UserError: The features have another width than those that it was fitted on.
        """
        raw = np.asarray(features, np.float64)
        if raw.ndim != 2 or raw.shape[1] != len(self.mean):
            raise UserError(
                f"the gate was fitted on {len(self.mean)} features, the network gives"
                f" {raw.shape[-1] if raw.ndim else 0}: it belongs to another network"
            )
        fine = np.isfinite(raw).all(axis=1)
        far = np.full(len(raw), np.inf)
        model = (part.astype(np.float64) for part in (self.mean, self.directions, self.spreads))
        far[fine] = _distances(_unit(raw[fine]), *model, self.rest) / self.limit
        return far

    def to_dict(self) -> dict:
        """Plain data, as `from_dict` takes it."""
        return {
            "alpha": self.alpha,
            "n": self.n,
            "mean": _plain(self.mean),
            "directions": [_plain(row) for row in self.directions],
            "spreads": _plain(self.spreads),
            "rest": self.rest,
            "limit": self.limit,
        }

    @classmethod
    def from_dict(cls, settings: object) -> "Gate":
        """A gate from plain data, such as a checkpoint, which may come from a stranger.

        Raises:
            UserError: It is no gate, or damaged.
        """
        if not isinstance(settings, Mapping) or set(settings) != FIELDS:
            raise UserError(f"a gate has {', '.join(sorted(FIELDS))}")
        mean, spreads = (_numbers(settings[key], 1) for key in ("mean", "spreads"))
        directions = _numbers(settings["directions"], 2)
        rest, limit, alpha = _numbers([settings[key] for key in ("rest", "limit", "alpha")], 1)
        n = settings["n"]
        fits = (
            directions.shape == (len(spreads), len(mean))
            and len(spreads) > 0 < len(mean)
            and min(*spreads, rest, limit, alpha) > 0
            and alpha < 1
            and isinstance(n, int)
            and not isinstance(n, bool)
            and n > 0
        )
        if not fits:
            raise UserError("the gate's numbers do not fit together")
        single = (part.astype(np.float32) for part in (mean, directions, spreads))
        return cls(*single, float(rest), float(limit), float(alpha), n)


def _unit(features: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(lengths > 0, lengths, 1)


def _how_many(count: int, width: int) -> int:
    """Directions that so many pictures can tell; one is left outside of them, if there are two."""
    return max(1, min(DIRECTIONS, width - 1, count // PER_DIRECTION, NUMBERS // width))


def _model(unit: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Mean (D), directions (K, D) of largest variance, spreads (K) along them, and the rest's.

    Raises:
        UserError: There is no variance.
    """
    mean = unit.mean(axis=0)
    centred = unit - mean
    count, width = centred.shape
    if width <= count:
        values, vectors = np.linalg.eigh(centred.T @ centred)
        directions = vectors[:, ::-1][:, :k].T
    else:  # the smaller of the two products
        values, vectors = np.linalg.eigh(centred @ centred.T)
        directions = vectors[:, ::-1][:, :k].T @ centred
        directions /= np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-300)
    variances = np.maximum(values[::-1], 0) / count
    total, squares = variances.sum(), (variances**2).sum()
    if total < LEAST**2:
        raise UserError("features of validation images are all the same")
    # Oracle Approximating Shrinkage, in the form that scikit-learn has it in.
    below = (count + 1) * (squares - total**2 / width)
    share = 1.0 if below <= 0 else min(1.0, (squares + total**2) / below)
    shrunk = (1 - share) * variances[:k] + share * total / width
    others = (1 - share) * variances[k:].sum() / max(1, width - k) + share * total / width
    return mean, directions, np.sqrt(shrunk), float(np.sqrt(others))


def _distances(
    unit: np.ndarray, mean: np.ndarray, directions: np.ndarray, spreads: np.ndarray, rest: float
) -> np.ndarray:
    """(N): Mahalanobis distances."""
    centred = unit - mean
    along = centred @ directions.T
    outside = np.linalg.norm(centred - along @ directions, axis=1)
    return np.hypot(np.linalg.norm(along / spreads, axis=1), outside / rest)


def _plain(values: np.ndarray) -> list[float]:
    """Numbers of six digits, which are shorter as text; float32 has seven."""
    return [float(f"{value:.6g}") for value in values]


def _numbers(values: object, dimensions: int) -> np.ndarray:
    """float64 array of a list of numbers, or of such lists, all of them within float32.

    Raises:
        UserError: It is something else, or not finite, or too much.
    """
    rows = [values] if dimensions == 1 else values
    lists = isinstance(rows, list) and all(isinstance(row, list) for row in rows)
    if not lists or sum(map(len, rows)) > WIDEST or len({len(row) for row in rows}) > 1:
        raise UserError("the gate has no lists of numbers")
    if not all(type(value) in (int, float) for row in rows for value in row):
        raise UserError("the gate has something else than numbers")
    try:
        array = np.array(values, np.float64)
    except (OverflowError, ValueError) as error:
        raise UserError("the gate has numbers that are too large") from error
    if array.ndim != dimensions or not (np.abs(array) < LARGEST).all():  # nor NaN
        raise UserError("the gate has numbers that are not finite")
    return array
