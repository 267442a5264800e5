"""data.crop=face from the command line to the maps, on rendered faces in wider pictures."""

import json
import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from detector import cli
from detector.data.crop import FaceCrop
from detector.data.decode import decode
from detector.data.faces import find_faces
from detector.data.regions import regions_of_image
from detector.data.synthetic.portrait import portrait
from detector.errors import UserError
from detector.evaluate import evaluate
from detector.gradcam import gradcam
from detector.predictor import Predictor
from detector.run.session import Session
from detector.train import train

CROP = "data.crop=face", "data.crop_margin=0.2", "data.crop_align=true"
FACES = 9  # of each class


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """`{fake,real}/`: rendered faces off the middle of wide pictures, and one without a face."""
    root = tmp_path_factory.mktemp("crop") / "scenes"
    for label in ("fake", "real"):
        (root / label).mkdir(parents=True)
        for at in range(FACES):
            one = portrait((3, at, label == "fake"), size=160, difficulty="easy",
                           parts=(True,) * 4, fake=label == "fake")  # fmt: skip
            face = decode(one.jpeg, max_pixels=10**6)
            turn = cv2.getRotationMatrix2D((80, 80), 12 * (at % 3 - 1), 1)
            turn[:, 2] += 10 + 20 * (at % 5), 20
            canvas = cv2.warpAffine(face, turn, (280, 200), borderValue=(90, 100 + at, 110))
            Image.fromarray(canvas).save(root / label / f"{label}_{at}.png")
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    Image.fromarray(noise).save(root / "real" / "bare.png")
    return root


@pytest.fixture(scope="module")
def config(scenes, tmp_path_factory):
    place = tmp_path_factory.mktemp("cropped")

    def made(entry, *overrides):
        shared = [f"paths.runs={place}/runs", f"paths.cache={place}/cache", "progress=none"]
        of_entry = {
            "train": [
                "data=folder", f"data.root={scenes}", "model=cnn6", "model.preprocess.size=48",
                "data.batch_size=8", "data.num_workers=0", "data.near_copies=false",
                "trainer=cpu", "trainer.max_epochs=1", "metrics.replicates=100",
                "heatmaps.images=2", "heatmaps.mean_images=4",
            ],
            "evaluate": ["evaluate.replicates=50", "evaluate.device=cpu", "evaluate.part=all",
                         "evaluate.controls=false"],
            "gradcam": ["gradcam.device=cpu", f"data_root={place}/none"],
        }[entry]  # fmt: skip
        return cli.compose(entry, [*shared, *of_entry, *overrides])

    return made


@pytest.fixture(scope="module")
def trained(config):
    return train(config("train", *CROP))


def test_training_prediction_and_resuming_have_one_crop(trained, config, scenes, caplog):
    run = Path(trained["folder"])
    predictor = Predictor.load(run / "checkpoints" / "best.ckpt")
    assert predictor.preprocess.crop == FaceCrop(0.2, True)
    file = scenes / "fake" / "fake_2.png"
    image = decode(file.read_bytes(), max_pixels=10**6)
    piece = FaceCrop(0.2, True).cuts(image)[0].image
    assert piece.shape[0] < 200
    seen = np.asarray(Image.fromarray(piece).resize((48, 48), Image.Resampling.BILINEAR))
    p_fake = predictor(file.read_bytes())
    assert p_fake == float(predictor.scores([seen])[0])
    # The number in the files is that of the crop: training and evaluation saw the same pixels.
    lines = (run / "predictions.csv").read_text().splitlines()[1:]
    for line in lines:
        path, _, _, score = line.split(",")
        assert float(score) == pytest.approx(predictor((scenes / path).read_bytes()), rel=1e-5)
    last = f"ckpt_path={run / 'checkpoints' / 'last.ckpt'}"
    for other in (CROP[:1], (*CROP[:2], "data.crop_align=false"), ()):
        with pytest.raises(UserError, match="another preprocessing"):
            Session(config("train", *other, last))
    caplog.clear()  # of the refused ones, where another test left the level at INFO
    with caplog.at_level(logging.INFO):
        Session(config("train", *CROP, last))
    told = trained["training"]["crop"]
    parts = dict(line.rsplit(",", 1) for line in (run / "split.csv").read_text().splitlines()[1:])
    learnt = [name.rsplit(",", 2)[0] for name, part in parts.items() if part == "train"]
    bare = [not find_faces(decode((scenes / name).read_bytes(), max_pixels=10**6))
            for name in learnt]  # fmt: skip
    assert told == {"images": len(learnt), "without_a_face": sum(bare)}
    said = f"in {sum(bare)} of {len(learnt)} training images no face was found"
    assert [said in line for line in caplog.messages].count(True) == 1
    card = (run / "card.md").read_text()
    assert "crop: the largest face, with 0.2 of its longer side around it" in card
    assert f"in {sum(bare)} of {len(learnt)} training images none was found" in card
    assert "No gate: a picture of anything at all gets a score" in card  # of three pictures
    assert sorted(run.glob("heatmaps/*"))


def test_its_evaluation_crops_by_itself_and_no_other_crop_is_taken(trained, config, scenes):
    checkpoint = f"ckpt={trained['folder']}/checkpoints/best.ckpt"
    predictor = Predictor.load(Path(trained["folder"]) / "checkpoints" / "best.ckpt")
    here = ["data=folder", f"data.root={scenes}", checkpoint]
    found = evaluate(
        config("evaluate", *here, "evaluate.robustness=true", "robustness.families=[jpeg]",
               "robustness.strengths.jpeg=[50]")
    )  # fmt: skip
    assert found["crop"] == {"margin": 0.2, "align": True} and found["refused"] is None
    lines = (Path(found["folder"]) / "predictions.csv").read_text().splitlines()[1:]
    for line in lines[::5]:
        path, *_, score = line.split(",")
        assert float(score) == pytest.approx(predictor((scenes / path).read_bytes()), rel=1e-5)
    clean, _ = found["robustness"]
    assert clean["auroc"]["value"] == found["metrics"]["auroc"]["value"]
    evaluate(config("evaluate", *here, *CROP))  # the same one may be named
    with pytest.raises(UserError, match=r"data\.crop: the network was trained with .* leave it"):
        evaluate(config("evaluate", *here, "data.crop=face"))


def test_maps_lie_over_the_cut_face(trained, config, scenes):
    best = Path(trained["folder"]) / "checkpoints" / "best.ckpt"
    file = scenes / "fake" / "fake_4.png"
    (one,) = gradcam(config("gradcam", f"image={file}", f"ckpt={best}"))["pictures"]
    assert one["p_fake"] == Predictor.load(best)(file.read_bytes())
    assert set(one["shares"]) >= {"nose", "mouth"}
    step, image = Predictor.load(best).preprocess, decode(file.read_bytes(), max_pixels=10**6)
    cut, whole = (regions_of_image(image, each) for each in (step, step.uncropped))
    assert one["areas"]["rest"] == pytest.approx((cut.labels == 0).mean())
    assert (cut.labels > 0).mean() > 1.5 * (whole.labels > 0).mean()
    assert json.loads(Path(one["panel"]).with_suffix(".json").read_text())["path"] == str(file)


@pytest.mark.parametrize(
    "override, says",
    [("data.crop=mouth", "data.crop=mouth: choose one of null, face"),
     ("data.crop_margin=3", "data.crop_margin=3"), ("data.crop_align=maybe", "data.crop_align"),
     ("data.crop_margin=null", "data.crop_margin=None")],
)  # fmt: skip
def test_bad_settings_are_named(config, override, says):
    with pytest.raises(UserError, match=says) as refused:
        Session(config("train", "data.crop=face", override))
    assert "\n" not in str(refused.value)
