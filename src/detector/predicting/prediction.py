"""What is said of one picture."""

from dataclasses import dataclass

import numpy as np

UNSURE = "unsure"
CLOSE = "close to the threshold"
UNLIKE = "unlike what this network was trained on"


@dataclass(frozen=True, eq=False)
class Prediction:
    """The answer to one picture, or to one face of it.

    Args:
        path: As it was given; empty for bytes, images and arrays.
        p_fake: Calibrated probability of class 0, 0..1; None with an error.
        verdict: The name of a class, or `unsure`; empty with an error.
        reason: Why it is unsure: empty, `CLOSE` or `UNLIKE`.
        threshold: p_fake from which a picture is called fake; None with an error.
        unlikeness: The gate's distance over its limit, so that above 1 there is no verdict; None
            without a gate.
        face: 1 for the largest face, 2 for the next; 0 where the whole picture was looked at.
        box: Of the face: left, top, width, height in pixels of the upright picture; None without.
        faces: An answer for each face where there are several; the picture's own answer is then
            that of the face with the highest p_fake, among those that the gate did not refuse
            where there are any.
        warnings: One sentence each.
        error: One line; empty where there is an answer.
        image: uint8 (S, S, 3) that the network saw; only where a heatmap was asked for.
        heatmap: float32 (S, S), at least 0, as `detector.explain.cam` has it, for class 0.
        regions: Share of the heatmap in each region of the face; None where no face was found or
            regions were not asked for, empty where the heatmap is.
        labels: int8 (S, S), the place in `detector.data.regions.REGIONS` of each pixel; likewise.
        parts: Probability that each part was edited, of networks with a part head.
    """

    path: str = ""
    p_fake: float | None = None
    verdict: str = ""
    reason: str = ""
    threshold: float | None = None
    unlikeness: float | None = None
    face: int = 0
    box: tuple[float, float, float, float] | None = None
    faces: tuple["Prediction", ...] = ()
    warnings: tuple[str, ...] = ()
    error: str = ""
    image: np.ndarray | None = None
    heatmap: np.ndarray | None = None
    regions: dict[str, float] | None = None
    labels: np.ndarray | None = None
    parts: dict[str, float] | None = None
