"""A network beside the controls that never see a face, in figures and in words."""

from collections.abc import Mapping

import numpy as np

from detector.evaluation.compare import COMPARED, paired
from detector.evaluation.controls import CONTROLS
from detector.evaluation.metrics import summarize

THRESHOLD = 0.5  # of the controls: their probabilities are fitted on the training images


def against_controls(
    p_fake: np.ndarray,
    controls: Mapping[str, np.ndarray],
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    threshold: float,
    replicates: int,
    seed: int,
) -> dict:
    """What each control scores on the same images, and the network's lead over it.

    The best control is the one with the highest accuracy here, on the images of the report,
    which favours the controls. The network beats the controls where the interval of its lead
    over each of them is above 0: another than the best may be closer, being less correlated.

    Args:
        p_fake: (N,) scores of the network.
        controls: (N,) scores of each control, by name.
        labels: (N,) 0 for fake, 1 for real.
        groups: (N,) group of each image.
        threshold: Of the network.
        replicates: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        `controls`: by name `accuracy`, `auroc`, and `lead`, as `paired` gives it, the network
        minus the control; `best`, a name; and `says`, a sentence.
    """
    options = {"replicates": replicates, "seed": seed}
    found = {}
    for name, scores in controls.items():
        summary = summarize(scores, labels, groups, threshold=THRESHOLD, names=COMPARED, **options)
        lead = paired(p_fake, scores, labels, groups, thresholds=(threshold, THRESHOLD), **options)
        found[name] = {"accuracy": summary["accuracy"], "auroc": summary["auroc"], "lead": lead}
    best = max(found, key=lambda name: found[name]["accuracy"]["value"])
    return {"controls": found, "best": best, "says": _sentence(best, found)}


def _sentence(best: str, found: Mapping) -> str:
    lead, accuracy = found[best]["lead"]["accuracy"], found[best]["accuracy"]["value"]
    shown = f"{lead['value']:+.3f} [{lead['low']:+.3f}, {lead['high']:+.3f}]"
    what = f"{CONTROLS.get(best, best)} (accuracy {accuracy:.3f})"
    if lead["high"] < 0:
        return f"The network is worse than a control that sees no face, {what}: {shown} accuracy."
    if lead["low"] <= 0:
        return (
            "Nothing here shows that the network looks at faces: its lead in accuracy over the best"
            f" control, {what}, is {shown}, and the interval includes 0."
        )
    if doubtful := [n for n, control in found.items() if control["lead"]["accuracy"]["low"] <= 0]:
        names = "; ".join(CONTROLS.get(name, name) for name in doubtful)
        return (
            f"The network's lead over the best control, {what}, is {shown} accuracy, but over"
            f" another one ({names}) the interval includes 0."
        )
    return f"The network beats the best control, {what}: {shown} accuracy."
