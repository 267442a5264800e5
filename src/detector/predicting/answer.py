"""From what a network sees of pictures to what is said of them."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from detector.errors import UserError
from detector.predicting.card import ALTERED
from detector.predicting.look import Looked, Piece
from detector.predicting.prediction import CLOSE, UNLIKE, UNSURE, Prediction

if TYPE_CHECKING:
    from detector.explain.cam import Explainer
    from detector.predictor import Predictor

EXPLAINED = 0  # the class whose evidence a heatmap shows: fake
DIVERGED = "the network's answer is not a number: its training diverged; choose another checkpoint"


def answer_all(
    predictor: "Predictor",
    looked: Sequence[Looked],
    explainer: "Explainer | None",
    batch_size: int,
) -> list[Prediction]:
    """Answers pictures that were looked at, in their order.

    Args:
        predictor: The network.
        looked: A few batches at most: all of it is in memory.
        explainer: Makes the heatmaps; None for none.
        batch_size: Pieces that go through the network at once.

    Raises:
        UserError: The network is not what its card says.
    """
    pieces = [piece for each in looked for piece in each.pieces]
    said: list[Prediction] = []
    for at in range(0, len(pieces), batch_size):
        said += _answer(predictor, pieces[at : at + batch_size], explainer)
    given, answers = iter(said), []
    for each in looked:
        answers.append(_joined(each, [next(given) for _ in each.pieces]))
    return answers


def _answer(
    predictor: "Predictor", pieces: Sequence[Piece], explainer: "Explainer | None"
) -> list[Prediction]:
    images = np.stack([piece.image for piece in pieces])
    margins, parts, features = predictor.answer(images)
    scores = predictor.calibration.scores(margins)
    far = None
    if predictor.gate is not None:
        if features is None:
            raise UserError(
                f"{predictor.source} has a gate and gives no features for it to look at; {ALTERED}"
            )
        far = predictor.gate.unlikeness(features)
    maps = None
    if explainer is not None:
        with predictor.backend.lock:  # hooks of the one pass would see the other
            maps = explainer.maps(predictor.preprocess.normalize(images), EXPLAINED)
    said = []
    for n, piece in enumerate(pieces):
        one = _of_piece(predictor, piece, float(scores[n]), far if far is None else float(far[n]))
        if predictor.part_names and not one.error:
            one = replace(
                one, parts=dict(zip(predictor.part_names, map(float, parts[n]), strict=True))
            )
        if maps is not None and not one.error:
            one = replace(one, **_explained(piece, maps[n]))
        said.append(one)
    return said


def _of_piece(predictor: "Predictor", piece: Piece, p_fake: float, far: float | None) -> Prediction:
    if not math.isfinite(p_fake):
        return Prediction(face=piece.face, box=piece.box, error=DIVERGED)
    verdict, reason = predictor.verdict(p_fake), ""
    if far is not None and not far <= 1:  # one that is not a number is no reason to believe
        verdict, reason = UNSURE, UNLIKE
    elif verdict == UNSURE:
        reason = CLOSE
    return Prediction(
        p_fake=p_fake,
        verdict=verdict,
        reason=reason,
        threshold=predictor.threshold,
        unlikeness=far,
        face=piece.face,
        box=piece.box,
    )


def _explained(piece: Piece, heatmap: np.ndarray) -> dict:
    found = {"image": piece.image, "heatmap": heatmap, "labels": piece.labels}
    if piece.labels is None:
        return found
    from detector.explain.regions import REGIONS
    from detector.explain.scores import region_shares

    shares = region_shares(heatmap[None], piece.labels[None])[0]
    known = heatmap.max() > 0  # else no region has a share of it
    regions = dict(zip(REGIONS, map(float, shares), strict=True)) if known else {}
    return found | {"regions": regions}


def _joined(looked: Looked, said: Sequence[Prediction]) -> Prediction:
    """The answer to a picture from those to its pieces."""
    if looked.error:
        return Prediction(path=looked.path, error=looked.error)
    said = [replace(one, path=looked.path, warnings=looked.warnings) for one in said]
    if len(said) == 1:
        return said[0]
    known = [one for one in said if one.p_fake is not None]
    # A score that the gate refused says nothing, and must not stand before one that says something.
    told = [one for one in known if one.reason != UNLIKE] or known
    top = max(told, key=lambda one: one.p_fake, default=said[0])
    return replace(top, faces=tuple(said))
