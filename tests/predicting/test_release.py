"""Released weights answer as the checkpoint does; whatever was done to the files is one line."""

import json
import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from detector.errors import UserError
from detector.evaluation.calibration import Calibration
from detector.predicting import release
from detector.predicting.release import read_about, write_release
from detector.predictor import Predictor
from tests.predicting.made import checkpoint, content, noise

FITTED = Calibration(2.5, 0.4, (0.3, 0.45), 100, "made-up").to_dict()


@pytest.fixture
def released(tmp_path):
    path = checkpoint(tmp_path, calibration=FITTED)
    weights, about = write_release(path, tmp_path / "out", "Apache-2.0")
    assert (weights.name, about.name) == ("best.safetensors", "best.json")
    assert sorted(os.listdir(tmp_path / "out")) == ["best.json", "best.safetensors"]
    return path, weights, about


def test_it_answers_as_the_checkpoint(released):
    path, weights, about = released
    trained = Predictor.load(path)
    for what in (weights, about, weights.parent, str(weights)):
        predictor = Predictor.load(what)
        assert predictor.calibration == trained.calibration
        assert predictor.preprocess == trained.preprocess
        one, other = predictor.predict(noise(1)), trained.predict(noise(1))
        assert (one.p_fake, one.verdict) == (other.p_fake, other.verdict)
    told = json.loads(about.read_text())
    assert told["licence"] == "Apache-2.0" and told["measured"] is None
    assert told["detector"]["calibration"] == FITTED
    tensors = content()["state_dict"].values()
    assert told["weights"]["parameters"] == sum(t.numel() for t in tensors)


def test_weights_that_share_memory_or_lie_otherwise_are_written_whole(tmp_path):
    made = content()
    for key, value in made["state_dict"].items():
        if value.ndim == 4:
            made["state_dict"][key] = value.to(memory_format=torch.channels_last)
    torch.save(made, tmp_path / "last.ckpt")
    weights, _ = write_release(tmp_path / "last.ckpt", tmp_path, "MIT")
    assert Predictor.load(weights).predict(noise(1)).p_fake == pytest.approx(
        Predictor(content(), "made").predict(noise(1)).p_fake, abs=1e-9
    )


def test_no_licence_no_release(tmp_path):
    path = checkpoint(tmp_path)
    for licence in ("", "  "):
        with pytest.raises(UserError, match="need a licence"):
            write_release(path, tmp_path / "out", licence)
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        write_release(path, tmp_path / "file", "MIT")
    with pytest.raises(UserError, match="no checkpoint"):
        write_release(tmp_path / "none.ckpt", tmp_path, "MIT")


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    def full(*given):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(UserError, match=r"out cannot be written .*No space left on device"):
        write_release(checkpoint(tmp_path), tmp_path / "out", "MIT")
    assert os.listdir(tmp_path / "out") == []


def test_weights_that_are_not_finite_are_not_released(tmp_path):
    made = content()
    next(iter(made["state_dict"].values())).view(-1)[-1] = np.nan
    torch.save(made, tmp_path / "best.ckpt")
    with pytest.raises(UserError, match="is not finite"):
        write_release(tmp_path / "best.ckpt", tmp_path / "out", "MIT")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("run", "name"),
    [("/model", "model"), ("/data/run", "data"), ("/a/b/c/run", "c"), ("/", "best")],
)
def test_a_run_may_lie_anywhere(tmp_path, monkeypatch, run, name):
    """Also where a container has it, right below the root, which a test must not write to."""
    monkeypatch.setattr(Path, "is_file", lambda self: True)
    path = Path(run) / "checkpoints" / "best.ckpt"
    assert release._name(path) == (name, Path(run))
    assert release._known(Path(run)) == {"measured": None, "audit": None}


def refused(weights, says):
    with pytest.raises(UserError, match=says) as error:
        Predictor.load(weights)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_weights_that_were_cut_short(released, keep):
    _, weights, _ = released
    weights.write_bytes(weights.read_bytes()[:keep])
    refused(weights, "cut short")


def test_one_bit_of_the_weights(released):
    _, weights, _ = released
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    refused(weights, "other weights than best.json tells of")


def rebound(weights, about):
    """As a stranger would, who wants altered weights to be taken."""
    import hashlib

    told = json.loads(about.read_text())
    told["weights"]["sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    about.write_text(json.dumps(told))


@pytest.mark.parametrize(
    "data, says",
    [
        (b"", "no safetensors file"),
        (b"PK\x03\x04 a pickle in a zip", "no safetensors file"),
        (b"\x80\x04\x95", "no safetensors file"),
        (struct.pack("<Q", 2**62) + b"{}", "no safetensors file"),
        (struct.pack("<Q", 20) + b'{"a": {"dtype":"F32"', "no safetensors file"),
    ],
)
def test_weights_that_are_something_else(released, data, says):
    _, weights, about = released
    weights.write_bytes(data)
    rebound(weights, about)
    refused(weights, says)


def test_weights_of_another_network_and_without_numbers(released):
    _, weights, about = released
    save_file({"layer.weight": torch.zeros(3)}, weights)
    rebound(weights, about)
    refused(weights, "do not fit cnn3")
    tensors = {key: value.clone() for key, value in content()["state_dict"].items()}
    next(iter(tensors.values())).fill_(np.inf)
    save_file(tensors, weights)
    rebound(weights, about)
    refused(weights, "is not finite")


CHANGES = {
    "kind": (lambda told: told.update(kind="model"), "not of the kind"),
    "format": (lambda told: told.update(format=2), "has format 2, this version"),
    "no licence": (lambda told: told.pop("licence"), "licence is missing"),
    "no card": (lambda told: told.pop("detector"), "detector is missing"),
    "card of a list": (lambda told: told.update(detector=[1]), "detector is missing"),
    "weights": (lambda told: told.update(weights="x"), "weights is missing"),
    "no sum": (lambda told: told["weights"].pop("sha256"), "other weights than"),
    "another file": (lambda told: told["weights"].update(file="/x/y"), "keep the files' names"),
    "no network": (lambda told: told["detector"].pop("network"), "does not describe"),
    "network": (lambda told: told["detector"].update(network=5), "the network has no name"),
    "no such network": (
        lambda told: told["detector"].update(network={"name": "os.system"}), "no such network"
    ),
    "a file as an option": (
        lambda told: told["detector"].update(
            network={"name": "resnet18", "checkpoint_path": "/etc/passwd"}
        ),
        "no option of a network",
    ),
    "names": (lambda told: told["detector"].update(class_names=["fake"]), "not two names"),
    "parts": (lambda told: told["detector"].update(parts=[1]), "parts are no list"),
    "preprocess": (lambda told: told["detector"].update(preprocess=[]), "holds no settings"),
    "size": (
        lambda told: told["detector"]["preprocess"].update(size=10**9), "between 16 and 4096"
    ),
    "a list for a name": (
        lambda told: told["detector"]["preprocess"].update(interpolation=[]),
        r"best\.(json|safetensors): .*interpolation=\[\]: choose one of",
    ),
    "a setting that none has": (
        lambda told: told["detector"]["preprocess"].update(colour=1),
        r"best\.(json|safetensors): preprocessing takes .*colour; the file was altered",
    ),
    "a normalizer of another kind": (
        lambda told: told["detector"]["preprocess"].update(normalizer=[[]]),
        r"best\.(json|safetensors)",
    ),
    "a size that would take 100 GB": (
        lambda told: told["detector"]["preprocess"].update(size=4096), "do not fit cnn3 at 4096"
    ),
    "options": (
        lambda told: told["detector"].update(network={"name": "resnet18", "act_layer": 5}),
        "resnet18",
    ),
    "an option twice": (
        lambda told: told["detector"]["network"].update(size=5), "cannot be built"
    ),
    "calibration": (
        lambda told: told["detector"]["calibration"].update(temperature=0), "out of range"
    ),
    "version": (lambda told: told["detector"].update(format=9), "format 9"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_json_that_was_altered(released, change):
    _, weights, about = released
    told = json.loads(about.read_text())
    alter, says = CHANGES[change]
    alter(told)
    about.write_text(json.dumps(told))
    refused(weights, says)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "5", '{"kind": NaN}', "[" * 100_000, "\x00", '{"kind": "\ud800"'],
)  # fmt: skip
def test_a_json_that_is_none(released, text):
    _, weights, about = released
    about.write_text(text, errors="surrogatepass")
    refused(weights, "does not describe weights of detector")


def test_a_file_is_missing(released):
    _, weights, about = released
    os.rename(about, about.with_name("other.json"))
    refused(weights, "needs best.json beside it")
    with pytest.raises(UserError, match="no released weights"):
        read_about(weights.with_name("none.safetensors"))


def test_a_folder_with_two_asks_which(released):
    _, weights, _ = released
    shutil.copy(weights, weights.with_name("second.safetensors"))
    refused(weights.parent, "name one of best.safetensors, second.safetensors")
