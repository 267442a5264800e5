"""Training that begins with weights of another training, as the command line asks for it."""

from pathlib import Path

import pytest
import timm
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

from detector import cli
from detector.errors import UserError
from detector.predictor import Predictor
from detector.run.session import Session
from detector.train import train

NAME = "mobilenetv2_035"


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(9)
    network = timm.create_model(NAME)
    path = tmp_path / "weights.safetensors"
    save_file(network.state_dict(), path)
    return network, path


def asks(path):
    return (
        "model=timm",
        f"model.net.name={NAME}",
        f"model.pretrained='{path}'",
        "heatmaps.every=0",
    )


def test_a_training_begins_with_a_file_and_a_resumed_one_needs_it_no_more(tiny, weights, caplog):
    network, path = weights
    session = Session(tiny(*asks(path)))
    assert torch.equal(session.module.network.conv_stem.weight, network.conv_stem.weight)
    run = train(tiny(*asks(path)))
    config = OmegaConf.load(f"{run['folder']}/config.yaml").model
    assert config.preprocess.mean == [0.485, 0.456, 0.406] and config.pretrained == str(path)
    best = Predictor.load(f"{run['folder']}/checkpoints/best.ckpt")
    assert best.preprocess.mean == (0.485, 0.456, 0.406) and best.preprocess.size == 32
    card = Path(run["folder"], "card.md").read_text(encoding="utf-8")
    assert f"begun with: the weights in {path.name}" in card
    last = f"ckpt_path={run['folder']}/checkpoints/last.ckpt"
    save_file({"other": torch.zeros(1)}, path)  # there, but not to be read again
    again = train(tiny(*asks(path), last, "trainer.max_epochs=3"))
    assert again["folder"] == run["folder"]
    with pytest.raises(UserError, match="it lacks"):
        Session(tiny(*asks(path)))


def test_a_network_of_the_project_begins_with_another_run(tiny, caplog):
    before = train(tiny("heatmaps.every=0"))
    best = f"{before['folder']}/checkpoints/best.ckpt"
    caplog.set_level("INFO")
    session = Session(tiny(f"init_from='{best}'", "heatmaps.every=0", "seed=3"))
    assert "all but the head from a network trained on" in caplog.text
    theirs = torch.load(best, weights_only=True)["state_dict"]
    ours = session.module.network.state_dict()
    same = {key for key in ours if torch.equal(ours[key], theirs[key])}
    assert {key for key in ours if key.startswith("features.")} <= same
    assert "classifier.6.weight" not in same
    with pytest.raises(UserError, match="give one"):
        Session(tiny(f"init_from='{best}'", *asks("weights.pth")))


def test_what_goes_on_from_a_run_sees_pictures_as_that_run_did(tiny, weights, tmp_path):
    """`weights` follows them from one training to the next, and needs their origin no more."""
    _, path = weights
    run = train(tiny(*asks(path), "model.preprocess.std=[0.3,0.3,0.3]"))
    best = f"init_from='{run['folder']}/checkpoints/best.ckpt'"
    cfg = tiny("model=timm", f"model.net.name={NAME}", best, "model.preprocess.size=weights")
    seen = Session(cfg).preprocess
    assert (seen.size, seen.std, seen.interpolation) == (32, (0.3,) * 3, "bicubic")
    path.unlink()
    last = f"ckpt_path={run['folder']}/checkpoints/last.ckpt"
    Session(tiny(*asks(path), last, "model.preprocess.std=[0.3,0.3,0.3]"))


def test_beginnings_that_nobody_can_mean_are_warned_of(tiny, caplog):
    run = train(tiny("heatmaps.every=0"))
    best = f"init_from='{run['folder']}/checkpoints/best.ckpt'"
    Session(tiny(best, "model.freeze=backbone"))
    assert not [r for r in caplog.records if r.levelname == "WARNING"]
    Session(tiny(best, "data.split.seed=1"))
    assert "init_from was trained on another split of folder" in caplog.text
    caplog.clear()
    Session(tiny("model.freeze=backbone"))
    Session(tiny("model.freeze=1"))
    assert caplog.text.count("keeps random weights as they are") == 2
    caplog.clear()
    Session(tiny(f"ckpt_path='{run['folder']}/checkpoints/last.ckpt'"))
    assert "random weights" not in caplog.text


@pytest.mark.parametrize("name", ["lite0", "lite1", "lite2", "mobilenetv2", "efficientnet_b0"])
def test_networks_of_transfer_learning_follow_their_weights(name):
    cfg = cli.compose("train", [f"model={name}"])
    assert cfg.model.pretrained is True and cfg.model.name == name
    assert cfg.model.preprocess.size == "weights" and timm.is_model(cfg.model.net.name)
