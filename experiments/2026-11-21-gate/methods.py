"""Table of ways to build a gate: python methods.py RUNS, after collect.py, which leaves features.

Each way gets the limit of `Gate`: that of cross-fitted distances at alpha = .05.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from detector.evaluation.gate import FOLDS, Gate, _distances, _how_many, _model, _unit

ALPHA = 0.05
Fit = Callable[[np.ndarray], Callable[[np.ndarray], np.ndarray]]


def kept(unit: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """As `Gate`: few directions, and one variance for the rest."""
    k = _how_many(len(unit) * (FOLDS - 1) // FOLDS, unit.shape[1])
    model = _model(unit, k)
    return lambda fresh: _distances(fresh, *model)


def within(unit: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Mahalanobis within the directions alone (Lee et al. 2018, in a subspace)."""
    mean, directions, spreads, _ = _model(unit, 16)
    return lambda fresh: np.linalg.norm((fresh - mean) @ directions.T / spreads, axis=1)


def outside(unit: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """What is left over outside of them alone (Wang et al. 2022)."""
    mean, directions, *_ = _model(unit, 16)

    def length(fresh: np.ndarray) -> np.ndarray:
        centred = fresh - mean
        return np.linalg.norm(centred - centred @ directions.T @ directions, axis=1)

    return length


def whole(unit: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Mahalanobis with the shrunk covariance of all features: too large for a card."""
    model = _model(unit, min(unit.shape) - 1)
    return lambda fresh: _distances(fresh, *model)


def neighbours(k: int) -> Fit:
    """Distance to the k-th nearest neighbour (Sun et al. 2022): too large for a card."""

    def fit(unit: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        def distance(fresh: np.ndarray) -> np.ndarray:
            squares = (fresh**2).sum(1)[:, None] + (unit**2).sum(1) - 2 * fresh @ unit.T
            return np.sqrt(np.maximum(np.sort(squares, axis=1)[:, k - 1], 0))

        return distance

    return fit


def neighbours_within(unit: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The same from the coordinates in 32 directions, and what is left over: small enough."""
    mean, directions, *_ = _model(unit, 32)
    known = (unit - mean) @ directions.T
    near = neighbours(10)(known)

    def distance(fresh: np.ndarray) -> np.ndarray:
        along = (fresh - mean) @ directions.T
        left = np.linalg.norm(fresh - mean - along @ directions, axis=1)
        return np.hypot(near(along), left)

    return distance


WAYS: dict[str, Fit] = {
    "the gate: 16 directions, one variance for the rest": kept,
    "Mahalanobis in 16 directions alone": within,
    "the rest alone": outside,
    "Mahalanobis in all directions": whole,
    "1st neighbour": neighbours(1),
    "10th neighbour": neighbours(10),
    "10th neighbour in 32 directions, and the rest": neighbours_within,
}


def limited(fit: Fit, unit: np.ndarray, groups: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Refusals by a way of measuring distance, its limit cross-fitted."""
    of = np.unique(groups, return_inverse=True)[1]
    fold = (np.random.default_rng(0).permutation(of.max() + 1) % FOLDS)[of]
    held = np.zeros(len(unit))
    for at in range(FOLDS):
        held[fold == at] = fit(unit[fold != at])(unit[fold == at])
    limit = np.sort(held)[min(len(held), int(np.ceil((len(held) + 1) * (1 - ALPHA)))) - 1]
    measure = fit(unit)
    return lambda fresh: measure(fresh) > limit


def main(runs: Path) -> None:
    """Prints a table for each network."""
    for file in sorted((runs / "features").glob("*.npz")):
        arrays = dict(np.load(file))
        groups, own = arrays.pop("val groups"), _unit(arrays.pop("val").astype(np.float64))
        Gate.fit(own, groups, seed=0, alpha=ALPHA)  # says so where there are too few
        print(f"\n| {file.stem} | {' | '.join(arrays)} |\n|{' --- |' * (len(arrays) + 1)}")
        for name, fit in WAYS.items():
            refuses = limited(fit, own, groups)
            cells = [
                f"{refuses(_unit(of.astype(np.float64))).mean():.3f}" for of in arrays.values()
            ]
            print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
