"""How well a part head tells which parts of a face were edited."""

from collections.abc import Mapping, Sequence

import numpy as np

from detector.data.index import Index
from detector.data.sources import FACE_PARTS
from detector.evaluation.metrics import summarize
from detector.evaluation.ranking import weighted_auroc

AMONG = ("fakes", "all")
COUNTS = {"n": "n", "n_fake": "n_edited", "n_groups": "n_groups"}


def measure_parts(
    p_parts: np.ndarray,
    bits: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    replicates: int,
    seed: int,
    names: Sequence[str] = FACE_PARTS,
) -> dict[str, dict[str, dict]]:
    """AUROC of each part: pictures in which it was edited against those in which it was not.

    - `fakes`: among fakes alone. It says whether the part is told from the others.
    - `all`: among reals too. A logit that merely repeats fake or real scores well here.

    Args:
        p_parts: (N, P) probabilities.
        bits: (N, P), 1 edited, 0 not, -1 unknown; unknown ones are left out.
        labels: (N,) 0 fake, 1 real.
        groups: (N,) group of each image, of any sortable type.
        replicates: Of the bootstrap by group, see `metrics.summarize`.
        seed: Of the bootstrap.
        names: Of the P parts.

    Returns:
        By part, then by `AMONG`: n, n_edited, n_groups and `auroc` with `value`, `low` and
        `high`, all three None where no picture, or each, was edited.
    """
    found: dict[str, dict[str, dict]] = {}
    for at, name in enumerate(names):
        known = bits[:, at] >= 0
        found[name] = {}
        for among, here in zip(AMONG, (known & (labels == 0), known), strict=True):
            one = {"n": 0, "n_edited": 0, "n_groups": 0}
            one["auroc"] = {"value": None, "low": None, "high": None}
            if here.any():
                measured = summarize(
                    p_parts[here, at], 1 - bits[here, at], groups[here],
                    threshold=0.5, replicates=replicates, seed=seed, names=("auroc",),
                )  # fmt: skip
                one = {ours: measured[theirs] for theirs, ours in COUNTS.items()}
                one["auroc"] = measured["auroc"]
            found[name][among] = one
    return found


def of_sets_that_know(bits: np.ndarray, index: Index) -> np.ndarray:
    """Bits (N, P) of a set, without those of sets put together that name no parts at all.

    Their reals are known to be unedited, but to tell them from another set's fakes it is enough to
    tell the sets apart.
    """
    return np.where(index.knows(FACE_PARTS[0])[:, None], bits, -1)


def mean_auroc(p_parts: np.ndarray, bits: np.ndarray) -> float | None:
    """Mean over parts of AUROC, without parts for which it is undefined; None for no part.

    Args:
        p_parts: (N, P) probabilities.
        bits: (N, P), 1 edited, 0 not, -1 unknown.
    """
    values = []
    for p, edited in zip(p_parts.T, bits.T, strict=True):
        known = edited >= 0
        if len(set(edited[known].tolist())) == 2 and np.isfinite(p).all():
            weights = np.ones((1, int(known.sum())))
            values.append(weighted_auroc(p[known, None], 1 - edited[known])(weights)[0, 0])
    return float(np.mean(values)) if values else None


def named(part: str) -> str:
    """Name of a part in words; left and right are the viewer's."""
    return {"eye_left": "left eye", "eye_right": "right eye"}.get(part, part)


def part_rows(metrics: Mapping) -> list[tuple[str, Mapping]]:
    """Parts in words with what `measure_parts` says of each, of metrics of val or test."""
    return [(named(part), of) for part, of in metrics.get("parts", {}).items()]
