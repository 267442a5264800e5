"""What every measure takes: scores p_fake in [0, 1] and labels, 0 for fake and 1 for real."""

import numpy as np

from detector.errors import UserError

FAKE, REAL = 0, 1


def checked(p_fake: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores float64 (N,) in [0, 1] and labels int64 (N,), N at least 1.

    Raises:
        UserError: No images, lengths that differ, a score that is not a number in [0, 1],
            labels other than 0 and 1.
    """
    try:
        p = np.asarray(p_fake, dtype=np.float64)
    except (TypeError, ValueError):
        raise UserError("p_fake must be numbers in [0, 1]") from None
    y = np.asarray(labels)
    if p.ndim != 1 or p.shape != y.shape:
        raise UserError(f"p_fake has shape {p.shape}, labels {y.shape}: give one of each per image")
    if len(p) == 0:
        raise UserError("there are no images to measure")
    if not ((p >= 0) & (p <= 1)).all():  # False for NaN too
        i = int(np.flatnonzero(~((p >= 0) & (p <= 1)))[0])
        raise UserError(f"p_fake must lie in [0, 1], but image {i} has {p[i]}")
    if not (known := np.isin(y, (FAKE, REAL))).all():
        first = y[~known].tolist()[0]
        raise UserError(f"labels must be {FAKE} (fake) or {REAL} (real), got {first!r}")
    return p, y.astype(np.int64)


def checked_groups(groups: np.ndarray, n: int) -> np.ndarray:
    """Number of the group of each of n images, int64 (n,), from 0 on.

    Raises:
        UserError: There is not one group per image.
    """
    names = np.asarray(groups)
    if names.shape != (n,):
        raise UserError(f"groups has shape {names.shape}, p_fake {(n,)}: give one per image")
    return np.unique(names, return_inverse=True)[1]
