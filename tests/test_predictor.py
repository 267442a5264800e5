"""Bytes to p_fake: the same through every door; foreign files never run."""

import io
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import expit, logit

from detector import __version__
from detector.data.decode import DecodeError
from detector.data.preprocess import Preprocess
from detector.errors import UserError
from detector.evaluation.calibration import Calibration
from detector.models.build import build_network
from detector.module import DetectorModule
from detector.predictor import Predictor, make_card, read_checkpoint
from detector.run.checkpoints import write_calibration

PREPROCESS = Preprocess(32, "crop", "bilinear", (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), 10**6)
PLAIN = {"label_smoothing": 0, "mixup": 0}
NET = {"name": "cnn3", "dropout": 0.5}


@pytest.fixture
def checkpoint(tmp_path):
    torch.manual_seed(0)
    network = build_network(**NET, size=32, classes=2)
    content = {
        "state_dict": network.state_dict(),
        "detector": make_card(NET, PREPROCESS, ("fake", "real"), "made-up"),
    }
    torch.save(content, tmp_path / "best.ckpt")
    return content, tmp_path / "best.ckpt"


def noise(n: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (32, 32, 3), np.uint8) for _ in range(n)]


def encoded(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def test_scores_are_the_softmax_of_the_network(checkpoint):
    content, path = checkpoint
    network = build_network(**NET, size=32, classes=2)
    network.load_state_dict(content["state_dict"])
    images = np.stack(noise(5)).transpose(0, 3, 1, 2) / 255
    mean, std = (np.reshape(v, (1, 3, 1, 1)) for v in ((0.4, 0.5, 0.6), (0.2, 0.3, 0.4)))
    with torch.no_grad():
        logits = network.eval()(torch.from_numpy((images - mean) / std).float()).double().numpy()
    expected = 1 / (1 + np.exp(logits[:, 1] - logits[:, 0]))
    assert Predictor.load(path).scores(noise(5)) == pytest.approx(expected, abs=1e-6)


def test_scores_are_calibrated_through_every_door_and_old_files_are_not(checkpoint):
    content, path = checkpoint
    plain = Predictor.load(path)
    assert (plain.threshold, plain.unsure, plain.calibration.temperature) == (0.5, (0.5, 0.5), 1)
    fitted = Calibration(2.5, 0.4, (0.3, 0.45), 100, "made-up")
    write_calibration(path, fitted)
    predictor = Predictor.load(path)
    assert torch.load(path, weights_only=True)["detector"]["calibration"] == fitted.to_dict()
    assert predictor.calibration == fitted
    assert (predictor.threshold, predictor.unsure) == (0.4, (0.3, 0.45))
    margins = logit(plain.scores(noise(5)))
    assert plain.margins(noise(5)) == pytest.approx(margins)
    assert predictor.margins(noise(5)) == pytest.approx(margins)
    assert predictor.scores(noise(5)) == pytest.approx(expit(margins / 2.5))
    assert predictor(encoded(noise(1)[0])) == pytest.approx(expit(margins[0] / 2.5))
    said = [predictor.verdict(p) for p in (0.2, 0.3, 0.31, 0.44, 0.45, 0.9)]
    assert said == ["real", "real", "unsure", "unsure", "fake", "fake"]
    for key, tensor in torch.load(path, weights_only=True)["state_dict"].items():
        assert torch.equal(tensor, content["state_dict"][key])


def test_a_calibration_that_cannot_be_written_leaves_the_checkpoint_whole(checkpoint, monkeypatch):
    _, path = checkpoint
    before = path.read_bytes()

    def full(content, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(
        UserError, match=r"cannot be written \(No space left on device\); it is as it"
    ):
        write_calibration(path, Calibration())
    assert path.read_bytes() == before and os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_batches_and_single_files_agree(checkpoint, batch_size):
    predictor = Predictor.load(checkpoint[1])
    together = predictor.scores(iter(noise(7)), batch_size=batch_size)
    alone = [predictor(encoded(image)) for image in noise(7)]
    assert together == pytest.approx(alone, abs=1e-6)
    assert predictor.scores([]).shape == (0,)


def test_bf16_is_near_and_only_where_it_is_asked_for(checkpoint):
    predictor = Predictor.load(checkpoint[1])
    exact, near = predictor.margins(noise(7)), predictor.margins(noise(7), bf16=True)
    assert near == pytest.approx(exact, abs=0.05) and (near != exact).any()
    assert (predictor.margins(noise(7)) == exact).all()
    with torch.autocast("cpu", torch.bfloat16):  # a caller's own changes no verdict
        assert (predictor.margins(noise(7)) == exact).all()


def test_training_and_prediction_feed_the_network_the_same(checkpoint):
    network = build_network(**NET, size=32, classes=2)
    module = DetectorModule(
        network, {}, PREPROCESS, seed=0, optimizer={}, schedule={}, loss=PLAIN,
        freeze="none", class_weights=None, channels_last=True,
    ).eval()  # fmt: skip
    images = np.stack(noise(4))
    with torch.no_grad():
        trained = module(torch.from_numpy(images).permute(0, 3, 1, 2))
        predicted = network.eval()(torch.from_numpy(PREPROCESS.normalize(images)))
    assert torch.allclose(trained, predicted, atol=1e-5)


def test_no_float64_in_the_module(checkpoint):
    module = DetectorModule(
        build_network(**NET, size=32, classes=2), {}, PREPROCESS, seed=0, optimizer={},
        schedule={}, loss=PLAIN, freeze="none", class_weights=(1.0, 2.0), channels_last=False,
    )  # fmt: skip
    tensors = [*module.parameters(), *module.buffers()]
    tensors += [t for m in module.modules() for t in vars(m).values() if torch.is_tensor(t)]
    assert tensors and all(t.dtype != torch.float64 for t in tensors)


def test_the_score_is_named_after_class_0(checkpoint):
    content, _ = checkpoint
    assert Predictor(content, "here").score_name == "p_fake"
    content["detector"]["class_names"] = ["female", "male"]
    assert Predictor(content, "here").score_name == "p_female"


def test_bytes_that_are_no_picture(checkpoint):
    predictor = Predictor.load(checkpoint[1])
    for data in (b"", b"GIF89a", encoded(noise(1)[0])[:-30]):
        with pytest.raises(DecodeError):
            predictor(data)


class Bomb:
    def __reduce__(self):
        return print, ("the stranger's code ran",)


def foreign(kind: str, content: dict) -> bytes:
    stream = io.BytesIO()
    if kind == "pickle":
        return pickle.dumps(Bomb())
    if kind == "torch with code":
        torch.save({"state_dict": {}, "detector": Bomb()}, stream)
    elif kind == "another library":
        torch.save({"state_dict": {"fc": torch.zeros(2)}}, stream)
    elif kind == "a tensor":
        torch.save(torch.zeros(3), stream)
    elif kind == "no weights":
        torch.save(content | {"state_dict": None}, stream)
    elif kind == "half":
        torch.save(content, stream)
        return stream.getvalue()[: stream.tell() // 2]
    return stream.getvalue()


@pytest.mark.parametrize(
    "kind",
    ["pickle", "torch with code", "another library", "a tensor", "no weights", "half", "empty"],
)
def test_foreign_and_damaged_checkpoints(checkpoint, tmp_path, capsys, kind):
    path = tmp_path / "strange.ckpt"
    path.write_bytes(foreign(kind, checkpoint[0]))
    with pytest.raises(UserError) as error:
        Predictor.load(path)
    assert "strange.ckpt" in str(error.value) and "\n" not in str(error.value)
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "change, says",
    [
        ({"format": 99}, "format 99"),
        ({"network": {"name": "cnn3", "dropout": 0.5, "depth": 3}}, "takes exactly"),
        ({"network": {"name": "os.system"}}, "no such network"),
        ({"network": {"name": "resnet18"}}, "do not fit"),
        ({"preprocess": {"size": 32}}, "preprocessing takes"),
        ({"calibration": {"temperature": -1}}, "calibration"),
        ({"calibration": Calibration().to_dict() | {"threshold": "x"}}, "finite numbers"),
        ({"calibration": 5}, "calibration"),
    ],
)
def test_altered_cards(checkpoint, tmp_path, change, says):
    content, path = checkpoint
    torch.save(content | {"detector": content["detector"] | change}, path)
    with pytest.raises(UserError, match=says):
        Predictor.load(path)


def test_a_missing_file_names_the_command_that_makes_one(tmp_path):
    with pytest.raises(UserError, match=r"python -m detector\.train"):
        read_checkpoint(tmp_path / "none.ckpt")


def test_the_package_offers_it_without_importing_torch_at_once():
    code = (
        "import sys, detector; assert 'torch' not in sys.modules;"
        "from detector import Predictor; print(Predictor.__name__, detector.__version__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["Predictor", __version__], done.stderr
    with pytest.raises(AttributeError):
        import detector

        detector.nothing  # noqa: B018
