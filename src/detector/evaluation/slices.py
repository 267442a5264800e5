"""The fakes in kinds, such as easy, mid and hard: each kind measured against all reals.

A set says of its fakes what kind they are (a column of its index), of its reals nothing. So
a kind has no reals of its own, and all of the part stand in. What depends on how many fakes
there are beside the reals is left out: accuracy, F1, precision and AP of a rare kind would
be measures of its rarity, and could not be compared from kind to kind.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from detector.errors import UserError
from detector.evaluation.metrics import FAKE, summarize

# Columns of an index that results are given by, and the order of their values.
COLUMNS = {"difficulty": ("easy", "mid", "hard")}
KEPT = ("n_fake", "n_real", "auroc", "recall")


def slices(
    p_fake: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    column: Sequence[object],
    *,
    order: Sequence[str] = (),
    threshold: float,
    replicates: int,
    seed: int,
) -> dict[str, dict[str, int | dict[str, float | None]]]:
    """Measures of each kind of fakes against all reals, with 95 % intervals.

    Args:
        p_fake: (N,) scores in [0, 1].
        labels: (N,) 0 for fake, 1 for real.
        groups: (N,) group of each image; see `summarize`.
        column: (N,) kind of each image, text or numbers, told apart by their text. None, an
            empty text, -1 and NaN mean unknown: such fakes are in no slice. What reals have
            there is not looked at.
        order: Values that come first, in this order; see `in_order`.
        threshold: An image is called fake when p_fake >= threshold; in [0, 1].
        replicates: Number of bootstrap resamples.
        seed: Of the bootstrap.

    Returns:
        By value that a fake has: n_fake, n_real, and {"value", "low", "high"} for auroc
        (None for all three without reals) and recall, the share of these fakes that are
        called fake; all of them as `summarize` gives them for these images alone.

    Raises:
        UserError: Shapes that differ, or as for `summarize`.
    """
    p, y, group = np.asarray(p_fake), np.asarray(labels), np.asarray(groups)
    shapes = p.shape, y.shape, group.shape, (len(column),)
    if len(p.shape) != 1 or len(set(shapes)) > 1:
        raise UserError(
            "give one of each per image: p_fake has shape {}, labels {}, groups {}, the column"
            " {}".format(*shapes)
        )
    fake = y == FAKE
    rows: dict[str, list[int]] = {}
    for row in np.flatnonzero(fake).tolist():
        if not _unknown(column[row]):
            rows.setdefault(str(column[row]), []).append(row)
    found = {}
    for value in in_order(rows, order):
        these = ~fake
        these[rows[value]] = True
        summary = summarize(
            p[these],
            y[these],
            group[these],
            threshold=threshold,
            replicates=replicates,
            seed=seed,
            names=KEPT[2:],
        )
        found[value] = {key: summary[key] for key in KEPT}
    return found


def in_order(values: Iterable[str], first: Sequence[str] = ()) -> list[str]:
    """Distinct values: those of `first` in its order, then numbers by size, then text."""

    def place(value: str) -> tuple[int, float, str]:
        try:
            number = float(value)
        except ValueError:
            number = math.inf
        at = list(first).index(value) if value in first else len(first)
        return at, math.inf if math.isnan(number) else number, value

    return sorted(set(values), key=place)


def _unknown(value: object) -> bool:
    return value is None or value == "" or value == -1 or value != value  # NaN differs from itself
