"""Several faces, none, and pictures unlike the training's, from the picture to the row."""

import csv
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from detector import cli
from detector.data.crop import FaceCrop
from detector.data.preprocess import Preprocess
from detector.errors import UserError
from detector.evaluation.gate import Gate
from detector.explain.cam import Explainer
from detector.predict import predict
from detector.predicting import look as looking
from detector.predicting.prediction import UNLIKE
from detector.predictor import Predictor
from tests.predicting.made import PREPROCESS, checkpoint, content, encoded, face, noise

CROP = FaceCrop(0.25, False)
CROPPING = replace(PREPROCESS, size=64, crop=CROP)


def as_card(preprocess):
    return {"size": preprocess.size, "preprocess": preprocess.to_dict()}


@pytest.fixture(scope="module")
def couple():
    """A large face and, on its right, a smaller one."""
    large, small = face(4, 300), face(11, 180)
    picture = np.full((300, 480, 3), 128, np.uint8)
    picture[:, :300], picture[60:240, 300:] = large, small
    return picture


@pytest.fixture(scope="module")
def predictor():
    return Predictor(content(**as_card(CROPPING)), "made")


def test_each_face_has_its_answer_and_the_picture_that_of_the_highest(predictor, couple):
    one = predictor.predict(couple)
    first, second = one.faces
    assert [first.face, second.face] == [1, 2] and first.faces == second.faces == ()
    x = [box[0] + box[2] / 2 for box in (first.box, second.box)]
    assert 75 < x[0] < 225 and 345 < x[1] < 435  # the middles of the two
    assert first.box[2] * first.box[3] > second.box[2] * second.box[3]
    cuts = CROP.cuts(couple)
    plain = Preprocess.from_dict(CROPPING.to_dict() | {"crop": None})
    scores = predictor.scores([plain.resize(cut.image) for cut in cuts])
    assert [first.p_fake, second.p_fake] == pytest.approx(list(scores), abs=1e-6)
    assert abs(scores[0] - scores[1]) > 1e-4
    top = one.faces[int(np.argmax(scores))]
    assert (one.p_fake, one.verdict, one.face, one.box) == (
        top.p_fake, top.verdict, top.face, top.box
    )  # fmt: skip
    assert one.warnings[0].startswith("2 faces") and first.warnings == one.warnings
    # The picture as training and evaluation see it is its largest face.
    assert predictor(encoded(couple)) == pytest.approx(first.p_fake, abs=1e-6)


def test_no_face_gives_a_warning_and_one_face_gives_none(predictor):
    nobody, somebody = predictor.predict([noise(1, 90, 90), face(4, 300)])
    assert "no face was found" in nobody.warnings[0]
    assert (nobody.face, nobody.box, nobody.faces) == (0, None, ())
    assert nobody.p_fake == pytest.approx(predictor(encoded(noise(1, 90, 90))), abs=1e-6)
    assert (somebody.face, somebody.faces, somebody.warnings) == (1, (), ())


def test_a_network_of_whole_pictures_does_not_look_for_faces(couple):
    whole = replace(CROPPING, crop=None)
    one = Predictor(content(**as_card(whole)), "made").predict(couple)
    assert (one.face, one.box, one.faces, one.warnings) == (0, None, (), ())


@pytest.mark.parametrize("batch_size", [1, 2, 3, 50])
def test_batches_keep_faces_with_their_picture(predictor, couple, batch_size):
    pictures = [couple, noise(1, 90, 90), b"bad", face(4, 300), couple]
    alone = [None if isinstance(one, bytes) else predictor.predict(one) for one in pictures]
    answers = list(predictor.predict(pictures, batch_size=batch_size))
    assert [len(one.faces) for one in answers] == [2, 0, 0, 0, 2] and answers[2].error
    for one, expected in zip(answers, alone, strict=True):
        if expected is not None:
            given, wanted = (each.faces or (each,) for each in (one, expected))
            assert [e.p_fake for e in given] == pytest.approx([e.p_fake for e in wanted], abs=1e-6)


def test_heatmaps_and_regions_are_of_the_face_that_was_cut_out(predictor, couple):
    one = predictor.predict(couple, heatmap="gradcam", regions=True)
    explainer = Explainer(predictor.network, "gradcam")
    for each, cut in zip(one.faces, CROP.cuts(couple), strict=True):
        assert (each.image == CROPPING.resize_cut(cut.image)).all()
        expected = explainer.maps(CROPPING.normalize(each.image[None]), 0)[0]
        assert each.heatmap == pytest.approx(expected, abs=1e-5)
        height, width = cut.image.shape[:2]
        # The nose of the landmarks is in the region of the nose.
        x, y = cut.points(cut.landmarks[2]) * 64 / np.array([width, height])
        assert each.labels[int(y), int(x)] == list(each.regions).index("nose")


def test_a_crowd_is_bounded(predictor, couple, monkeypatch):
    monkeypatch.setattr(looking, "MOST_FACES", 1)
    made, cut = [], FaceCrop._cut
    monkeypatch.setattr(FaceCrop, "_cut", lambda *given: made.append(1) or cut(*given))
    one = predictor.predict(couple)
    assert one.faces == () and one.face == 1
    assert len(made) == 1  # the others are not even cut out
    assert one.warnings == ("2 faces: the 1 largest were looked at",)


def test_what_opencv_makes_of_one_picture_ends_no_stream(predictor, monkeypatch, tmp_path):
    cuts = FaceCrop.cuts

    def refusing(self, image, most):
        if image.shape[0] == 33:
            raise cv2.error("warpAffine:\n -215: Assertion failed")
        return cuts(self, image, most)

    monkeypatch.setattr(FaceCrop, "cuts", refusing)
    Image.fromarray(noise(1, 33, 60)).save(tmp_path / "odd.png")
    bad, good = predictor.predict([tmp_path / "odd.png", noise(1, 90, 90)])
    assert bad.path == str(tmp_path / "odd.png") and good.verdict and not good.error
    assert bad.error == "error: warpAffine: -215: Assertion failed" and bad.verdict == ""
    with pytest.raises(UserError, match=r"odd\.png: error: warpAffine"):
        predictor.predict(tmp_path / "odd.png")

    def absent(self, image, most):
        raise ImportError("no OpenCV here")

    monkeypatch.setattr(FaceCrop, "cuts", absent)
    with pytest.raises(ImportError, match="no OpenCV"):
        list(predictor.predict([noise(1, 90, 90)]))


def test_a_row_a_face(couple, tmp_path):
    path = checkpoint(tmp_path, **as_card(CROPPING))
    Image.fromarray(couple).save(tmp_path / "couple.png")
    Image.fromarray(noise(1, 90, 90)).save(tmp_path / "nobody.png")
    base = [
        f"ckpt={path}",
        "predict.device=cpu",
        "progress=none",
        "inputs=[{0}/couple.png,{0}/nobody.png]",
    ]
    for suffix in ("csv", "jsonl"):
        given = [each.format(tmp_path) for each in base]
        panels = [
            f"predict.panels={tmp_path}/maps",
            f"predict.heatmap={str(suffix == 'csv').lower()}",
        ]
        found = predict(cli.compose("predict", [*given, *panels, f"output={tmp_path}/o.{suffix}"]))
        assert (found["pictures"], found["failed"]) == (2, 0)
    with open(tmp_path / "o.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    plain = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [row["face"] for row in rows] == ["1", "2", ""] and [p["face"] for p in plain] == [
        1,
        2,
        0,
    ]
    assert "2 faces" in rows[0]["warnings"] and "no face" in rows[2]["warnings"]
    assert [float(v) for v in rows[1]["box"].split()] == pytest.approx(plain[1]["box"], abs=0.06)
    assert len({row["p_fake"] for row in rows}) == 3 and rows[2]["box"] == ""
    names = sorted(file.name for file in (tmp_path / "maps").iterdir())
    assert names == ["couple-face1.png", "couple-face2.png", "nobody.png"]


def gated(**card):
    """A network whose gate was fitted on noise, and fresh noise."""
    made = content(**card)
    plain = Predictor(made, "made")
    images = [plain.preprocess(encoded(noise(n))) for n in range(150)]
    features = plain.answer(np.stack(images[:100]))[2]
    made["detector"]["gate"] = Gate.fit(features, seed=0, alpha=0.05).to_dict()
    return made, [noise(n) for n in range(100, 150)]


def test_the_gate_leaves_its_own_and_refuses_others(tmp_path):
    made, own = gated()
    torch.save(made, tmp_path / "best.ckpt")
    predictor = Predictor.load(tmp_path / "best.ckpt")
    like = list(predictor.predict(own))
    assert sum(one.reason == UNLIKE for one in like) <= 12  # 2.5 are expected of 50
    assert all((one.unlikeness > 1) == (one.reason == UNLIKE) for one in like)
    strange = list(predictor.predict([np.full((40, 50, 3), v, np.uint8) for v in (0, 90, 255)]))
    assert all((one.verdict, one.reason) == ("unsure", UNLIKE) for one in strange)
    assert all(one.p_fake is not None and one.unlikeness > 1 for one in strange)
    # The score is what it was: the gate takes the verdict away, not the number.
    without = Predictor({**made, "detector": {**made["detector"], "gate": None}}, "made")
    for one, other in zip(
        strange, without.predict([np.zeros((40, 50, 3), np.uint8)]), strict=False
    ):
        assert one.p_fake == pytest.approx(other.p_fake, abs=1e-6) and other.unlikeness is None


@pytest.mark.parametrize(
    ("scores", "far", "top"),
    [
        ((0.6, 0.9), (0.2, 0.3), 1),
        ((0.6, 0.9), (0.2, 3.0), 0),  # the higher one is refused: the other's verdict stands
        ((0.1, 0.9), (0.2, np.inf), 0),
        ((0.6, 0.9), (2.0, 3.0), 1),  # both are
        ((0.6, np.nan), (2.0, 0.1), 0),
    ],
)
def test_a_refused_face_hides_no_other(predictor, couple, monkeypatch, scores, far, top):
    margins = np.log(scores) - np.log1p(-np.array(scores))
    none = np.zeros((2, 0))
    monkeypatch.setattr(predictor, "answer", lambda batch, **_: (margins, none, none))
    gate = type("Gate", (), {"unlikeness": lambda self, features: np.array(far)})()
    monkeypatch.setattr(predictor, "gate", gate)
    (one,) = predictor.predict([couple])
    assert one.p_fake == pytest.approx(scores[top]) and one.face == top + 1
    assert one.verdict == one.faces[top].verdict and len(one.faces) == 2
    assert one.verdict == ("unsure" if far[top] > 1 else "fake" if scores[top] > 0.5 else "real")


def test_the_gate_is_written_in_words_and_rows(tmp_path, capsys):
    made, _ = gated()
    torch.save(made, tmp_path / "best.ckpt")
    Image.new("RGB", (50, 40)).save(tmp_path / "black.png")
    base = [f"ckpt={tmp_path}/best.ckpt", f"inputs={tmp_path}/black.png", "predict.device=cpu"]
    predict(cli.compose("predict", base))
    assert f"black.png: unsure, {UNLIKE} (p_fake 0." in capsys.readouterr().out
    predict(cli.compose("predict", [*base, f"output={tmp_path}/o.jsonl", "progress=none"]))
    told = json.loads((tmp_path / "o.jsonl").read_text())
    assert told["reason"] == UNLIKE and told["unlikeness"] > 1


def test_released_weights_have_their_gate(tmp_path):
    from detector.predicting.release import write_release

    made, _ = gated()
    torch.save(made, tmp_path / "best.ckpt")
    weights, _ = write_release(tmp_path / "best.ckpt", tmp_path / "out", "MIT")
    one, other = (
        Predictor.load(path).predict(noise(7)) for path in (weights, tmp_path / "best.ckpt")
    )
    assert one.unlikeness == other.unlikeness is not None
