"""The JPEG table that the reals usually have, and results where the fakes have it too.

Where many fakes have a table that no real has, a network may know them by their encoder. On the
files that share the reals' usual table it cannot, so those results stand beside the full ones.
"""

from collections import Counter

import numpy as np

from detector.data.index import Index
from detector.errors import UserError
from detector.evaluation.metrics import summarize
from detector.evaluation.scores import REAL


def usual_table(index: Index, parts: np.ndarray) -> str:
    """The quantization table that most reals of the train part have.

    Args:
        index: The set.
        parts: str (N): train, val or test.

    Returns:
        Key into `index.tables`; "" where most are no JPEG. Of equally frequent ones, the first
        in the order of their keys.

    Raises:
        UserError: There is no real image in the train part.
    """
    rows = np.flatnonzero((np.asarray(parts) == "train") & (index.labels == REAL))
    counts = Counter(index["quantization"][row] for row in rows)
    if not counts:
        raise UserError(f"{index.name} has no real image in its train part: no table is usual")
    return min(counts, key=lambda table: (-counts[table], table))


def has_table(index: Index, table: str) -> np.ndarray:
    """bool (N): whether a file has this quantization table; for "", whether it has none."""
    return np.array([one == table for one in index["quantization"]], dtype=bool)


def beside(
    p_fake: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    usual: np.ndarray,
    *,
    threshold: float,
    replicates: int,
    seed: int,
) -> dict[str, dict | None]:
    """Results on all images, and on those of both classes that have the usual table.

    Args:
        p_fake: (N,) scores in [0, 1].
        labels: (N,) 0 for fake, 1 for real.
        groups: (N,) group of each image.
        usual: bool (N), whether the file has the reals' usual table; see `has_table`.
        threshold: An image is called fake when p_fake >= threshold; in [0, 1].
        replicates: Number of bootstrap resamples.
        seed: Of the bootstrap.

    Returns:
        `all` and `usual_table`, each as `summarize` gives it; the latter None where no image
        has the table.

    Raises:
        UserError: As for `summarize`, or `usual` of another length.
    """
    p, y, group, usual = (np.asarray(v) for v in (p_fake, labels, groups, usual))
    if usual.shape != p.shape or usual.dtype != bool:
        raise UserError(f"usual must be {len(p)} booleans, one per image")
    settings = {"threshold": threshold, "replicates": replicates, "seed": seed}
    return {
        "all": summarize(p, y, group, **settings),
        "usual_table": summarize(p[usual], y[usual], group[usual], **settings)
        if usual.any()
        else None,
    }
