"""What the page draws of a judgement: HTML and SVG with everything inside, for eyes and readers.

Colours are variables of style.css, which has those of a light and of a dark page.
"""

from collections.abc import Sequence
from html import escape

from detector.data.faces import Found
from detector.page import words
from detector.page.heat import data_uri, heatmap
from detector.page.judge import Answer, Judgement
from detector.page.words import CANNOT, LOOK, Said

KINDS = {"fake": "fake", "leaning fake": "fake", "real": "real", "leaning real": "real"}


def page_of(judgement: Judgement) -> str:
    """The whole answer to one file, as HTML."""
    head = f"<h2>{escape(judgement.name)}</h2>"
    if judgement.error:
        return _article(head + _verdict(Said("none", "This file cannot be judged.",
                        (judgement.error,))))  # fmt: skip
    parts = [head]
    parts += [f'<p class="note">{escape(text)}</p>' for text in judgement.warnings]
    if judgement.truth:
        parts.append(f'<p class="note">{escape(judgement.truth)}</p>')
    several = len(judgement.answers) > 1
    drawn_whole = several or all(answer.said.kind == "none" for answer in judgement.answers)
    if drawn_whole or len(judgement.faces) > 1:
        parts.append(_numbered(judgement))
    for answer in judgement.answers:
        parts.append(answer_html(answer, judgement))
    parts.append(_facts(judgement))
    if judgement.opened is not None:
        parts.append(f'<p class="note">Network: {escape(judgement.opened.network.label)}</p>')
    return _article("".join(parts))


def answer_html(answer: Answer, judgement: Judgement) -> str:
    """Verdict, bar, heatmap and what survives, of one face or the whole picture."""
    title = f"<h3>Face {answer.number}</h3>" if len(judgement.answers) > 1 else ""
    parts = [title, _verdict(answer.said)]
    one = answer.prediction
    if one is None or answer.said.kind == "none":
        return f"<section>{''.join(parts)}</section>"
    predictor = judgement.opened.predictor
    parts.append(bar(one.p_fake, one.threshold, predictor.unsure))
    if one.unlikeness is None:
        parts.append(f'<p class="note">{words.NO_GATE}</p>')
    if one.heatmap is not None:
        parts.append(heatmap(answer, judgement))
    if answer.survived:
        parts.append(_survived(answer))
    return f"<section>{''.join(parts)}</section>"


def bar(p_fake: float, threshold: float, unsure: tuple[float, float]) -> str:
    """The score between real and fake, with the band in which there is no verdict.

    Args:
        p_fake: In [0, 1].
        threshold: From which a picture is called fake.
        unsure: Ends of the band; the threshold twice for none.
    """
    low, high = unsure
    band = f"no verdict strictly between {low:.2f} and {high:.2f}" if high > low else "no band"
    label = (
        f"Score p_fake {score_words(p_fake)} on a scale from 0, real, to 1, fake; called fake from"
        f" {threshold:.2f}; {band}"
    )
    parts = {"real": low, "unsure": high - low, "fake": 1 - high}
    drawn = "".join(
        f'<span class="{name}" style="width:{100 * share:.2f}%"></span>'
        for name, share in parts.items()
    )
    marks = {"threshold": threshold, "score": p_fake}
    drawn += "".join(
        f'<span class="{name}" style="left:{100 * at:.2f}%"></span>' for name, at in marks.items()
    )
    scale = f'<div class="bar" role="img" aria-label="{escape(label)}">{drawn}</div>'
    unsure_words = f"; no verdict between {low:.2f} and {high:.2f}" if high > low else ""
    legend = (
        '<p class="ends" aria-hidden="true"><span>0 real</span><span>fake 1</span></p>'
        f'<p class="legend" aria-hidden="true">This picture: p_fake {score_words(p_fake)}. Called'
        f" fake from {threshold:.2f}{unsure_words}.</p>"
    )
    return f'<figure class="scale">{scale}{legend}</figure>'


def score_words(p_fake: float) -> str:
    """Two digits; never 0 or 1 for what is not quite that."""
    if 0 < p_fake < 0.005:
        return "under 0.01"
    return "over 0.99" if 0.995 <= p_fake < 1 else f"{p_fake:.2f}"


def _article(inside: str) -> str:
    return f'<article class="judgement">{inside}</article>'


def _verdict(said: Said) -> str:
    kind = KINDS.get(said.kind, "none")
    leaning = " leaning" if said.kind.startswith("leaning") else ""
    support = "".join(f"<p>{escape(text)}</p>" for text in said.support)
    return (
        f'<div class="verdict {kind}{leaning}"><p class="headline">{escape(said.headline)}</p>'
        f"{support}</div>"
    )


def _numbered(judgement: Judgement) -> str:
    """The picture with a numbered box around each face."""
    height, width = judgement.image.shape[:2]
    boxes = _boxes(judgement.answers, judgement.faces)
    unit = max(width, height) / 100
    drawn = []
    for number, (left, top, wide, high) in boxes:
        size = 6 * unit
        x, y = min(max(left, 0), width - size), min(max(top, 0), height - size)
        drawn.append(
            f'<rect class="box" x="{left:.1f}" y="{top:.1f}" width="{wide:.1f}"'
            f' height="{high:.1f}" stroke-width="{unit * 0.7:.2f}"/>'
        )
        if len(boxes) > 1:
            drawn.append(
                f'<rect class="tag" x="{x:.1f}" y="{y:.1f}" width="{size:.1f}"'
                f' height="{size:.1f}"/><text x="{x + size / 2:.1f}" y="{y + size * 0.76:.1f}"'
                f' font-size="{size * 0.78:.1f}" text-anchor="middle">{number}</text>'
            )
    count = len(judgement.faces)
    label = f"The picture, with {count} face{'' if count == 1 else 's'} found"
    return (
        f'<figure class="picture"><svg viewBox="0 0 {width} {height}" role="img"'
        f' aria-label="{label}"><image href="{data_uri(judgement.image)}" width="{width}"'
        f' height="{height}"/>{"".join(drawn)}</svg></figure>'
    )


def _boxes(
    answers: Sequence[Answer], faces: Sequence[Found]
) -> list[tuple[int, tuple[float, float, float, float]]]:
    own = [
        (answer.number, answer.prediction.box)
        for answer in answers
        if answer.prediction is not None and answer.prediction.box is not None
    ]
    return own or [(at, face.box) for at, face in enumerate(faces, 1)]


def _survived(answer: Answer) -> str:
    kept = sum(one.same for one in answer.survived)
    rows = ""
    for one in answer.survived:
        if one.p_fake is None:
            said = "the face is no longer found"
        elif one.same:
            said = f"still {one.verdict}"
        else:
            said = f"becomes {one.verdict}"
        score = "" if one.p_fake is None else score_words(one.p_fake)
        rows += (
            f'<tr><th scope="row">{escape(one.name)}</th><td>{score}</td>'
            f'<td class="{"same" if one.same else "changed"}">{escape(said)}</td></tr>'
        )
    total = len(answer.survived)
    head = (
        f"Still unsure after {kept} of {total} changes"
        if answer.said.kind == "unsure"
        else f"The verdict survives the {total} changes that were tried"
        if kept == total
        else f"The verdict survives {kept} of {total} changes: do not rely on it"
    )
    return (
        f'<h4>{head}</h4><table class="survival"><thead><tr><th scope="col">Change</th>'
        f'<th scope="col">p_fake</th><th scope="col">Verdict</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def _facts(judgement: Judgement) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(fact.name)}</th><td>{escape(fact.value)}'
        + (f'<span class="note">{escape(fact.note)}</span>' if fact.note else "")
        + "</td></tr>"
        for fact in judgement.facts
    )
    return f'<section><h4>What the file shows</h4><table class="facts">{rows}</table></section>'


def standing() -> str:
    """What stands below every answer: what it cannot know, and how a person can look."""
    cannot = "".join(f"<li>{escape(text)}</li>" for text in CANNOT)
    look = "".join(f"<li><b>{escape(name)}</b>: {escape(text)}</li>" for name, text in LOOK)
    return (
        '<div class="standing"><section><h3>What this tool cannot know</h3>'
        f"<ul>{cannot}</ul></section><section><h3>Look for yourself</h3><ul>{look}</ul>"
        "<p>Good fakes have none of these, and real photographs some: compression, make-up and"
        " retouching leave such marks too.</p></section></div>"
    )
