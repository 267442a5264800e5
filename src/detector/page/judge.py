"""From the bytes of a picture to everything that the page shows of it; no Gradio in here."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from detector.data.decode import decode
from detector.data.faces import Found, find_faces
from detector.errors import UserError
from detector.page import words
from detector.page.filed import Fact, facts
from detector.page.networks import Opened
from detector.page.survival import Survived, survival
from detector.page.words import Nearby, Said
from detector.predictor import Prediction

TRAIN = (
    'Train a network on photographs, such as make train ARGS="model=lite0 data=hardfake", and start'
    " the page again."
)


@dataclass(frozen=True)
class Options:
    """How pictures are judged.

    Args:
        max_pixels: Larger pictures are refused before they are decoded.
        max_faces: Of pictures with more, the largest get an answer.
        heatmap: A method of `detector.explain.cam`.
    """

    max_pixels: int
    max_faces: int
    heatmap: str


@dataclass(frozen=True, eq=False)
class Answer:
    """What is said of one face, or of the whole picture.

    Args:
        number: Of the face, as drawn on the picture; 0 for the whole picture.
        said: The verdict in words.
        prediction: What the network says; None where it was not asked.
        near: The test pictures that were scored alike; None where nothing was measured.
        survived: After each change; empty where there is no verdict to survive.
    """

    number: int
    said: Said
    prediction: Prediction | None = None
    near: Nearby | None = None
    survived: tuple[Survived, ...] = ()


@dataclass(frozen=True, eq=False)
class Judgement:
    """Everything that is shown of one file.

    Args:
        name: Of the file, without folders.
        error: One line for people where it cannot be judged; empty otherwise.
        image: uint8 (H, W, 3), upright; None with an error.
        faces: Where faces are, largest first.
        answers: One a face, or one for the whole picture; empty with an error.
        facts: What the file shows.
        opened: The network that was asked; None without one.
        truth: What is known of an example that was rendered here; empty otherwise.
        method: Of the heatmaps.
        warnings: One sentence each.
    """

    name: str
    error: str = ""
    image: np.ndarray | None = None
    faces: tuple[Found, ...] = ()
    answers: tuple[Answer, ...] = ()
    facts: tuple[Fact, ...] = ()
    opened: Opened | None = None
    truth: str = ""
    method: str = ""
    warnings: tuple[str, ...] = ()


def judge(
    data: bytes,
    name: str,
    opened: Opened | None,
    options: Options,
    *,
    explain: bool = True,
    rendered: str = "",
) -> Judgement:
    """Looks at one file; what is wrong with it becomes its error.

    Args:
        data: The whole file.
        name: Its name, shown as it is.
        opened: The network to ask; None where there is none.
        options: See there.
        explain: Whether heatmaps are made and the changes tried, which takes most of the time.
        rendered: What is known of a picture that this program has rendered; empty for a file that
            somebody sent, of which a network that has seen rendered faces alone says nothing.
    """
    try:
        image = decode(data, max_pixels=options.max_pixels)
        shown = tuple(facts(data, options.max_pixels))
    except UserError as error:
        return Judgement(name, str(error))
    faces = tuple(find_faces(image))
    common = {"faces": faces, "facts": shown, "opened": opened, "truth": rendered}
    common["method"] = options.heatmap
    if opened is None:
        said = words.no_verdict("There is no trained network on this machine.", TRAIN)
        return Judgement(name, "", image, answers=(Answer(0, said),), **common)
    if not rendered and not opened.network.on_photographs:
        said = words.no_verdict(
            "Demonstration: this network has only seen faces that were rendered by this program,"
            " and what it says of a photograph means nothing.",
            TRAIN,
        )
        return Judgement(name, "", image, answers=(Answer(0, said),), **common)
    with opened.lock:
        answers, warnings = _answers(image, faces, opened, options, explain)
    return Judgement(name, "", image, answers=answers, warnings=warnings, **common)


def _answers(
    image: np.ndarray, faces: tuple[Found, ...], opened: Opened, options: Options, explain: bool
) -> tuple[tuple[Answer, ...], tuple[str, ...]]:
    predictor, network = opened.predictor, opened.network
    method = options.heatmap if explain and predictor.backend.name == "torch" else None
    prediction = predictor.predict(image, heatmap=method, regions=method is not None)
    if prediction.error:
        return (Answer(0, words.no_verdict(prediction.error)),), ()
    each = prediction.faces or (prediction,)
    withheld = _withheld(each, faces)
    warnings = []
    if len(each) > options.max_faces:
        warnings.append(f"Of {len(each)} faces the {options.max_faces} largest get an answer.")
        each = each[: options.max_faces]
    survived: list = [()] * len(each)
    if explain and withheld is None:
        survived = survival(predictor, image, each)
    made = []
    for one, after in zip(each, survived, strict=True):
        if one.error:
            made.append(Answer(one.face, words.no_verdict(one.error)))
            continue
        near = words.nearby(one.p_fake, network.tested)
        said = withheld or words.say(one.verdict, one.reason, near)
        made.append(Answer(one.face, said, one, near, tuple(after)))
    return tuple(made), tuple(warnings)


def _withheld(each: tuple[Prediction, ...], faces: tuple[Found, ...]) -> Said | None:
    """Why there is no verdict, whatever the score is; None where there may be one."""
    whole = len(each) == 1 and each[0].box is None
    if whole and not faces:
        return words.no_verdict(
            "No face was found in this picture. The network was trained on faces, and what it says"
            " of anything else means nothing."
        )
    if whole and len(faces) > 1:
        return words.no_verdict(
            f"{len(faces)} faces were found, and this network judges a picture as one face. Cut out"
            " one face at a time, or choose a network that was trained with data.crop=face."
        )
    return None


def plain(judgement: Judgement) -> dict:
    """A judgement as JSON: numbers, strings, lists; without pictures and without paths.

    Args:
        judgement: As `judge` gives it.
    """
    if judgement.error:
        return {"file": judgement.name, "error": judgement.error}
    network = judgement.opened and judgement.opened.network
    height, width = judgement.image.shape[:2]
    found = {
        "file": judgement.name,
        "error": "",
        "network": network.key if network else None,
        "trained_on": network.trained_on if network else None,
        "width": width,
        "height": height,
        "faces_found": len(judgement.faces),
        "answers": [_plain_answer(answer, judgement) for answer in judgement.answers],
        "file_shows": [
            {"name": fact.name, "value": fact.value, "note": fact.note} for fact in judgement.facts
        ],
        "warnings": list(judgement.warnings),
    }
    return found | ({"rendered_here": judgement.truth} if judgement.truth else {})


def _plain_answer(answer: Answer, judgement: Judgement) -> Mapping:
    given = {
        "face": answer.number,
        "verdict": answer.said.kind,
        "says": " ".join((answer.said.headline, *answer.said.support)),
    }
    one = answer.prediction
    # A score without a verdict would be read as one.
    if one is None or answer.said.kind == "none":
        return given
    near, predictor = answer.near, judgement.opened.predictor
    return given | {
        "p_fake": one.p_fake,
        "threshold": one.threshold,
        "unsure_between": list(predictor.unsure),
        "reason": one.reason,
        "unlikeness": one.unlikeness,
        "box": None if one.box is None else [round(side, 1) for side in one.box],
        "measured": near
        and {
            "scored_alike": near.n,
            "fakes_among_them": near.fakes,
            "share_of_fakes_95": [near.low, near.high],
            "test_pictures": near.tested,
            "test_fakes": near.tested_fakes,
        },
        "regions": one.regions,
        "after_changes": [
            {"change": s.name, "p_fake": s.p_fake, "verdict": s.verdict, "same": s.same}
            for s in answer.survived
        ],
    }
