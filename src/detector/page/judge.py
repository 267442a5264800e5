"""From the bytes of a picture to everything that the page shows of it; no Gradio in here."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from detector.data.decode import decode
from detector.data.faces import Found, find_faces
from detector.errors import UserError
from detector.page import words
from detector.page.filed import Fact, facts
from detector.page.networks import Opened
from detector.page.seen import withheld
from detector.page.survival import Survived, survival
from detector.page.traces import check_scans
from detector.page.words import Nearby, Said
from detector.predicting.prediction import UNLIKE
from detector.predictor import Prediction, Predictor

TRAIN = (
    'Train a network on photographs, such as make train ARGS="model=lite0 data=hardfake", and start'
    " the page again."
)
MANY = "Each face has its own chance of a false alarm: the more faces, the likelier is one."


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
        # What the network would refuse is refused at once, with the limit that holds.
        own = opened.predictor.preprocess.max_pixels if opened else options.max_pixels
        check_scans(data)
        image = decode(data, max_pixels=min(options.max_pixels, own))
        shown = tuple(facts(data, image, options.max_pixels))
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
    predictor = opened.predictor
    try:
        prediction, warnings = _predicted(image, predictor, options.heatmap if explain else None)
    except UserError as error:  # such as a network that diverged
        return (Answer(0, words.no_verdict(str(error))),), ()
    each = prediction.faces or (prediction,)
    if len(each) > 1:
        count = max(len(each), len(faces))  # the Predictor itself stops before a crowd's end
        if count > options.max_faces:
            largest = min(len(each), options.max_faces)
            warnings.append(f"Of {count} faces the {largest} largest get an answer.")
        warnings.append(MANY)
        each = each[: options.max_faces]
    made = [_answer(one, faces, image.shape, opened) for one in each]
    if explain:
        judged = [at for at, answer in enumerate(made) if answer.said.kind != "none"]
        after = survival(predictor, image, [each[at] for at in judged]) if judged else []
        for at, changes in zip(judged, after, strict=True):
            made[at] = replace(made[at], survived=tuple(changes))
    return tuple(made), tuple(warnings)


def _predicted(
    image: np.ndarray, predictor: Predictor, method: str | None
) -> tuple[Prediction, list[str]]:
    """The answer, with a heatmap where there can be one, and a warning where not."""
    if method is not None and predictor.backend.name == "torch":
        try:
            return predictor.predict(image, heatmap=method, regions=True), []
        except UserError as error:  # a network without the layers, or one that diverged
            return predictor.predict(image), [f"There is no heatmap: {error}."]
    return predictor.predict(image), []


def _answer(
    one: Prediction, faces: tuple[Found, ...], shape: tuple[int, ...], opened: Opened
) -> Answer:
    if one.error:
        return Answer(one.face, words.no_verdict(one.error))
    if said := withheld(one, faces, shape, opened.predictor.preprocess):
        return Answer(one.face, said, one)
    near = words.nearby(one.p_fake, opened.network.tested)
    gated = opened.predictor.gate is not None
    return Answer(one.face, words.say(one.verdict, one.reason, near, gated=gated), one, near)


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
    if one is None:
        return given
    if answer.said.kind == "none":  # a score without a verdict would be read as one
        unlike = {"reason": one.reason, "unlikeness": one.unlikeness}
        return given | (unlike if one.reason == UNLIKE else {})
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
