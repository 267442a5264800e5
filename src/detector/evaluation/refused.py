"""What a network says of pictures, and how many of them its gate refuses."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from detector.evaluation.gate import Gate
from detector.evaluation.intervals import wilson_by_group
from detector.evaluation.metrics import LEVEL
from detector.predictor import Predictor


@dataclass(frozen=True)
class Told:
    """Answers to N pictures.

    Args:
        margins: float64 (N), as `Predictor.margins` gives them.
        parts: float64 (N, P), as `Predictor.parts` does; P is 0 without a part head.
        features: float32 (N, D) where they were asked for and the network gives them.
        unlikeness: float64 (N), where there is a gate.
    """

    margins: np.ndarray
    parts: np.ndarray
    features: np.ndarray | None
    unlikeness: np.ndarray | None


def told(
    predictor: Predictor,
    images: Iterable[np.ndarray],
    *,
    gate: Gate | None,
    features: bool = False,
    batch_size: int = 32,
) -> Told:
    """Asks a network for all that it says, in one pass, a batch in memory at a time.

    Args:
        predictor: The network.
        images: uint8 (S, S, 3) each, through its preprocessing.
        gate: Of this network; None for none.
        features: Keep them, D numbers a picture.
        batch_size: Images that are in memory at once.
    """
    margins, parts = [np.zeros(0)], [np.zeros((0, len(predictor.part_names)))]
    kept: list[np.ndarray | None] = []
    unlike = [np.zeros(0)]

    def ask(batch: list[np.ndarray]) -> None:
        of_batch, of_parts, found = predictor.answer(np.stack(batch))
        margins.append(of_batch)
        parts.append(of_parts)
        if features:
            kept.append(found)
        if gate is not None and found is not None:
            unlike.append(gate.unlikeness(found))

    batch: list[np.ndarray] = []
    for image in images:
        batch.append(image)
        if len(batch) == batch_size:
            ask(batch)
            batch = []
    if batch:
        ask(batch)
    all_margins, all_unlike = np.concatenate(margins), np.concatenate(unlike)
    whole = bool(kept) and all(one is not None for one in kept)
    return Told(
        all_margins,
        np.concatenate(parts),
        np.concatenate(kept) if whole else None,
        all_unlike if gate is not None and len(all_unlike) == len(all_margins) else None,
    )


def refused(unlikeness: np.ndarray, groups: np.ndarray) -> dict[str, int | dict[str, float]]:
    """Which share of pictures a gate refuses.

    Args:
        unlikeness: (N), as `Gate.unlikeness` gives it, at least one.
        groups: (N,) group of each image.

    Returns:
        `n`, images refused, and `share`: `value`, `low`, `high`, with Wilson's interval by group.
    """
    out = unlikeness > 1
    low, high = wilson_by_group(out, groups, LEVEL)
    return {"n": int(out.sum()), "share": {"value": float(out.mean()), "low": low, "high": high}}


def in_words(found: Mapping | None, shown: str, alpha: float | None) -> list[str]:
    """One line on the gate for reports and cards; none without a gate.

    Args:
        found: As `refused` gives it; None where there is no gate.
        shown: Its share with its interval, as a report writes it.
        alpha: Share that the gate was fitted to refuse of pictures like its own; None if unknown.
    """
    if not found:
        return []
    meant = "" if alpha is None else f" It was fitted to refuse {alpha:g} of pictures like its own."
    return [f"Unlike what it was trained on, so that a prediction is unsure: {shown}.{meant}"]
