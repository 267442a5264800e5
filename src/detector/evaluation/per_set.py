"""Several sets in one training or evaluation: what is measured over all, on each alone."""

from dataclasses import replace

import numpy as np

from detector.data.joint import JointIndex
from detector.evaluation import measures
from detector.evaluation.measures import Scored


def per_set(scored: Scored) -> dict[str, dict]:
    """Measures of each of several sets, its fakes against its own reals.

    The threshold is the common one, so that accuracy also says whether it suits the set.

    Args:
        scored: Images of a joint index; of another one nothing is measured.

    Returns:
        By set that has images here, in the order of the sets, what `measures.metrics` gives, and
        `left_out`, whether the set had no part in training.
    """
    index = scored.index
    if not isinstance(index, JointIndex):
        return {}
    found = {}
    for at, one in enumerate(index.members):
        here = np.flatnonzero(index.member[scored.rows] == at)
        if len(here):
            alone = replace(
                scored,
                rows=scored.rows[here],
                margins=scored.margins[here],
                p_fake=scored.p_fake[here],
            )
            found[one.name] = measures.metrics(alone) | {"left_out": one.name == index.left_out}
    return found
