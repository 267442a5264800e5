"""Going on from a network that learnt something else: all of it but the head."""

import pytest
import torch

from detector.data.preprocess import Preprocess
from detector.errors import UserError
from detector.models.build import build_network
from detector.predictor import make_card
from detector.run.begin import begin_with

CNN = {"name": "cnn6", "conv_dropout": 0.1, "dropout": 0.5}


def network(seed, args=CNN, size=64):
    torch.manual_seed(seed)
    return build_network(**args, size=size, classes=2)


@pytest.fixture
def pretrained(tmp_path):
    """A checkpoint of gender, seen at 64 px."""
    theirs = network(1)
    preprocess = Preprocess(64, "crop", "bilinear", (0.5,) * 3, (0.5,) * 3, 10**6)
    card = make_card(CNN, preprocess, ("female", "male"), "gender")
    torch.save({"state_dict": theirs.state_dict(), "detector": card}, tmp_path / "best.ckpt")
    return theirs, str(tmp_path / "best.ckpt")


def begun(ours, args, init_from, size=64):
    return begin_with(ours, args, size=size, classes=2, found=None, init_from=init_from)


@pytest.mark.parametrize("size", [64, 96])
def test_all_but_the_head_is_taken_at_any_size(pretrained, size):
    theirs, path = pretrained
    ours, fresh = network(2, size=size), network(2, size=size)
    assert begun(ours, CNN, path, size) == "all but the head from a network trained on gender"
    own, new, old = (n.state_dict() for n in (ours, fresh, theirs))
    for key, value in own.items():
        assert torch.equal(value, new[key] if key.startswith("classifier.") else old[key]), key
    assert any(not torch.equal(own[key], new[key]) for key in own)


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_without_either_nothing_changes():
    ours, fresh = network(2), network(2)
    assert begun(ours, CNN, None) == "random"
    assert same(ours, fresh)


def test_another_network_and_another_shape_are_refused(pretrained):
    _, path = pretrained
    other = {"name": "cnn3", "dropout": 0.5}
    with pytest.raises(UserError, match="is a cnn6, this network a cnn3"):
        begun(network(2, other), other, path)
    with pytest.raises(UserError, match="no checkpoint"):
        begun(network(2), CNN, path + "x")
    changed = torch.load(path, weights_only=True)
    changed["state_dict"]["features.0.0.weight"] = torch.zeros(3, 3, 3, 3)
    torch.save(changed, path)
    before = network(2)
    ours = network(2)
    with pytest.raises(UserError, match=r"features.0.0.weight should be \(32, 3, 3, 3\)"):
        begun(ours, CNN, path)
    assert same(ours, before)
