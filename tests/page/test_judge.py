"""From bytes to what is shown, beside the Predictor itself."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from detector.data.crop import FaceCrop
from detector.errors import UserError
from detector.page.drawing import bar, page_of, score_words
from detector.page.heat import heat_over
from detector.page.judge import Options, judge, plain
from detector.page.networks import Networks, find_networks
from detector.page.seen import seen, withheld
from detector.predicting.prediction import UNLIKE
from detector.predictor import Prediction, Predictor
from tests.page.conftest import PREPROCESS, face, packed, write_run

OPTIONS = Options(max_pixels=10**6, max_faces=4, heatmap="gradcam")


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    write_run(runs)
    write_run(runs, "synthetic-cnn3", source="synthetic")
    return Networks(find_networks(runs), "cpu", 2)


@pytest.fixture(scope="module")
def photographs(networks):
    return networks.open(None)


@pytest.fixture(scope="module")
def rendered(networks):
    return networks.open(next(key for key in networks.all if key.startswith("synthetic")))


def two_faces():
    side = Image.new("RGB", (400, 200), "grey")
    side.paste(face(1, 190), (4, 4))
    side.paste(face(2, 150), (230, 20))
    return side


def test_the_score_is_the_predictors(photographs):
    data = packed(face(1))
    judgement = judge(data, "a.jpg", photographs, OPTIONS)
    (answer,) = judgement.answers
    file = photographs.network.file
    assert answer.prediction.p_fake == pytest.approx(Predictor.load(file)(data), abs=1e-6)
    assert answer.said.kind.split()[-1] == answer.prediction.verdict
    assert answer.survived[0].name == "JPEG quality 60"
    assert answer.near.tested == 120
    html = page_of(judgement)
    assert "p_fake" in html and "a.jpg" in html and "survives" in html and "make scorecard" in html
    assert str(file.parent) not in html


def test_quickly_leaves_out_what_takes_time(photographs):
    judgement = judge(packed(face(1)), "a.jpg", photographs, OPTIONS, explain=False)
    (answer,) = judgement.answers
    assert answer.prediction.heatmap is None and answer.survived == ()
    assert answer.said == judge(packed(face(1)), "a.jpg", photographs, OPTIONS).answers[0].said


def test_no_face_means_no_verdict_and_no_score(photographs):
    noise = np.random.default_rng(0).integers(0, 255, (120, 120, 3), dtype=np.uint8)
    judgement = judge(packed(Image.fromarray(noise)), "a.jpg", photographs, OPTIONS)
    (answer,) = judgement.answers
    assert answer.said.kind == "none" and "No face" in answer.said.support[0]
    assert "p_fake" not in json.dumps(plain(judgement)) and "p_fake" not in page_of(judgement)


def test_several_faces_in_front_of_a_network_for_one(photographs):
    judgement = judge(packed(two_faces()), "a.jpg", photographs, OPTIONS)
    assert len(judgement.faces) == 2
    (answer,) = judgement.answers
    assert answer.said.kind == "none" and "2 faces" in answer.said.support[0]
    html = page_of(judgement)
    assert html.count('class="tag"') == 2 and ">1</text>" in html and ">2</text>" in html


def test_several_faces_have_an_answer_each_where_the_network_looks_at_faces(tmp_path):
    cropping = replace(PREPROCESS, crop=FaceCrop(margin=0.3, align=False))
    write_run(tmp_path, preprocess=cropping)
    opened = Networks(find_networks(tmp_path), "cpu", 1).open(None)
    judgement = judge(packed(two_faces(), quality=95), "a.jpg", opened, OPTIONS)
    first, second = judgement.answers
    assert [first.number, second.number] == [1, 2]
    assert first.prediction.box[0] < 200 < second.prediction.box[0]  # the larger one is left
    for answer in judgement.answers:
        assert answer.said.kind.split()[-1] == answer.prediction.verdict
        assert len(answer.survived) == 3 and answer.survived[0].p_fake is not None
        assert answer.prediction.heatmap is not None
    html = page_of(judgement)
    assert "<h3>Face 1</h3>" in html and "<h3>Face 2</h3>" in html and ">2</text>" in html
    assert html.count('class="heat"') == 2
    few = judge(packed(two_faces()), "a.jpg", opened, replace(OPTIONS, max_faces=1))
    assert len(few.answers) == 1 and "2 faces" in few.warnings[0]
    assert "false alarm" in few.warnings[1] and "false alarm" in judgement.warnings[0]


def test_a_crowd_is_counted_to_its_end(tmp_path):
    write_run(tmp_path, preprocess=replace(PREPROCESS, crop=FaceCrop(margin=0.3, align=False)))
    opened = Networks(find_networks(tmp_path), "cpu", 1).open(None)
    crowd = Image.new("RGB", (800, 640), "grey")
    for at in range(20):
        crowd.paste(face(at % 4, 150), (at % 5 * 160 + 5, at // 5 * 160 + 5))
    judgement = judge(packed(crowd), "a.jpg", opened, OPTIONS, explain=False)
    assert len(judgement.faces) > 16 and len(judgement.answers) == 4
    assert f"Of {len(judgement.faces)} faces the 4 largest" in judgement.warnings[0]


def beside(side=420, shape=(500, 1600), at=(10, 40)):
    """A face somewhere in a picture of (height, width)."""
    picture = Image.new("RGB", shape[::-1], "grey")
    picture.paste(face(1, side), at)
    return picture


@pytest.mark.parametrize(
    "fit, picture, says",
    [
        ("crop", beside(), "lies there"),
        ("crop", beside(at=(590, 40)), None),
        ("squash", beside(), None),
        ("pad", beside(), "of what this network sees"),
        ("crop", beside(120, (900, 900), (400, 400)), "of what this network sees"),
    ],
)
def test_of_a_face_that_the_network_does_not_see_there_is_no_verdict(tmp_path, fit, picture, says):
    write_run(tmp_path, preprocess=replace(PREPROCESS, fit=fit))
    opened = Networks(find_networks(tmp_path), "cpu", 1).open(None)
    judgement = judge(packed(picture, quality=95), "a.jpg", opened, OPTIONS)
    (answer,) = judgement.answers
    assert len(judgement.faces) == 1
    if says is None:
        assert answer.said.kind != "none" and "p_fake" in json.dumps(plain(judgement))
    else:
        assert answer.said.kind == "none" and says in answer.said.support[0]
        assert "p_fake" not in json.dumps(plain(judgement))
        assert "p_fake" not in page_of(judgement)


@pytest.mark.parametrize(
    "side, size, says", [(24, 224, "pixels across"), (40, 224, None), (24, 64, None)]
)
def test_a_tiny_face_is_not_judged_even_where_it_is_cut_out(side, size, says):
    one = Prediction(p_fake=0.9, verdict="fake", box=(5.0, 5.0, side, 1.3 * side), face=1)
    said = withheld(one, (), (100, 100), replace(PREPROCESS, size=size))
    assert said is None if says is None else says in said.support[0]


@given(
    st.integers(20, 300), st.integers(20, 300), st.integers(-50, 250), st.integers(-50, 250),
    st.integers(5, 150), st.integers(5, 150),
)  # fmt: skip
def test_how_much_of_a_face_is_seen_is_counted_pixel_by_pixel(height, width, x, y, wide, high):
    face_there, kept = np.zeros((height, width), bool), np.zeros((height, width), bool)
    face_there[max(0, y) : max(0, y + high), max(0, x) : max(0, x + wide)] = True
    side = min(height, width)
    if (height - side) % 2 or (width - side) % 2 or not face_there.any():
        return
    top, left = (height - side) // 2, (width - side) // 2
    kept[top : top + side, left : left + side] = True
    inside, share = seen((x, y, wide, high), (height, width), "crop")
    both = face_there & kept
    assert inside == pytest.approx(both.sum() / face_there.sum())
    longest = max(both.any(0).sum(), both.any(1).sum()) if both.any() else 0
    assert both.sum() == 0 or share == pytest.approx(longest / side)


def test_a_picture_unlike_training_has_no_score_anywhere(photographs, monkeypatch):
    unlike = replace(
        photographs.predictor.predict(np.asarray(face(1))),
        verdict="unsure", reason=UNLIKE, unlikeness=1.7,
    )  # fmt: skip
    monkeypatch.setattr(photographs.predictor, "predict", lambda *_, **__: unlike)
    judgement = judge(packed(face(1)), "a.jpg", photographs, OPTIONS)
    (said,) = plain(judgement)["answers"]
    assert said["verdict"] == "none" and UNLIKE in said["says"] and said["unlikeness"] == 1.7
    assert set(said) == {"face", "verdict", "says", "reason", "unlikeness"}
    html = page_of(judgement)
    assert UNLIKE in html and "p_fake" not in html and 'class="bar"' not in html


def test_a_network_that_cannot_be_explained_still_answers(photographs, monkeypatch):
    own = photographs.predictor.predict

    def predict(image, heatmap=None, regions=False):
        if heatmap is not None:
            raise UserError("this network has no layer to explain")
        return own(image)

    monkeypatch.setattr(photographs.predictor, "predict", predict)
    judgement = judge(packed(face(1)), "a.jpg", photographs, OPTIONS)
    assert judgement.answers[0].said.kind != "none" and judgement.answers[0].survived
    assert "no layer to explain" in judgement.warnings[0]
    assert 'class="heat"' not in page_of(judgement)


def test_a_picture_above_the_networks_own_limit_is_refused_with_that_limit(tmp_path):
    write_run(tmp_path, preprocess=replace(PREPROCESS, max_pixels=30_000))
    opened = Networks(find_networks(tmp_path), "cpu", 1).open(None)
    assert "limit of 30000" in judge(packed(face(1)), "a.jpg", opened, OPTIONS).error


def test_an_empty_map_does_not_contradict_the_verdict(photographs):
    judgement = judge(packed(face(1)), "a.jpg", photographs, OPTIONS)
    (answer,) = judgement.answers
    empty = replace(answer.prediction, heatmap=np.zeros_like(answer.prediction.heatmap), regions={})
    html = page_of(replace(judgement, answers=(replace(answer, prediction=empty),)))
    assert "found no place" in html and "whatever the verdict" in html


def test_rendered_faces_teach_nothing_about_photographs(rendered):
    data = packed(face(1))
    sent = judge(data, "a.jpg", rendered, OPTIONS)
    assert sent.answers[0].said.kind == "none" and "make train" in sent.answers[0].said.support[1]
    assert sent.answers[0].prediction is None
    example = judge(data, "example.jpg", rendered, OPTIONS, rendered="Rendered here.")
    assert example.answers[0].prediction is not None
    assert "Rendered here." in page_of(example)


def test_without_a_network_there_are_still_the_files_facts():
    judgement = judge(packed(face(1)), "a.jpg", None, OPTIONS)
    assert "no trained network" in page_of(judgement) and judgement.facts
    assert json.loads(json.dumps(plain(judgement)))["network"] is None


@pytest.mark.parametrize(
    "data, says",
    [
        (b"", "empty"),
        (b"just text", "not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (packed(face(1))[:2000], "damaged, cut short"),
        (packed(Image.new("1", (2000, 2000)), "PNG"), "more than the limit"),
    ],
)
def test_bad_files_have_a_friendly_line(photographs, data, says):
    judgement = judge(data, "<b>.jpg", photographs, OPTIONS)
    assert says in judgement.error and "\n" not in judgement.error
    html = page_of(judgement)
    assert "&lt;b&gt;.jpg" in html and "<b>.jpg" not in html
    assert set(plain(judgement)) == {"file", "error"}


def test_the_bar_has_the_score_and_the_band_where_they_belong():
    html = bar(0.5, 0.4, (0.3, 0.6))
    for name, style in {
        "real": "width:30.00%",
        "unsure": "width:30.00%",
        "fake": "width:40.00%",
        "threshold": "left:40.00%",
        "score": "left:50.00%",
    }.items():
        assert f'<span class="{name}" style="{style}"></span>' in html
    assert "no verdict strictly between 0.30 and 0.60" in html and 'role="img"' in html


def test_a_score_is_never_rounded_to_certainty():
    assert [score_words(p) for p in (0.001, 0.496, 0.9949, 0.9951, 1.0)] == [
        "under 0.01", "0.50", "0.99", "over 0.99", "1.00",
    ]  # fmt: skip


def test_a_heatmap_shows_where_and_leaves_the_rest():
    image = np.full((64, 64, 3), 100, np.uint8)
    cam = np.zeros((64, 64), np.float32)
    cam[:8, :8] = 1
    over = heat_over(image, cam)
    assert over.shape == (448, 448, 3)
    assert (over[140:] == 100).all() and (over[:49, :49] != 100).any()
    for even in (np.zeros_like(cam), np.ones_like(cam)):
        assert (heat_over(image, even) == 100).all()
    labels = np.zeros((64, 64), np.int8)
    labels[32:] = 3
    outlined = np.flatnonzero((heat_over(image, np.zeros_like(cam), labels) == 255).all((1, 2)))
    assert len(outlined) and set(outlined) <= {223, 224}
