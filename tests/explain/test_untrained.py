"""Random weights from the answer down: nothing else changes, and in the end all has."""

import copy

import pytest
import torch

from detector.explain.untrained import randomized
from detector.models.build import build_network

NETWORKS = {
    "cnn6": {"conv_dropout": 0.1, "dropout": 0.5},
    "resnet18": {},
    "convnext_atto": {},
    "vit_tiny_patch16_224": {},
}


def build(name, seed):
    torch.manual_seed(seed)
    network = build_network(name, size=64, classes=2, **NETWORKS[name]).eval()
    for module in network.modules():  # as if it had been trained
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean)
    return network


def different(a, b):
    """Names of what is not the same in two networks."""
    b = b.state_dict()
    return {name for name, value in a.state_dict().items() if not torch.equal(value, b[name])}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("stages", [1, 4, 1000])
def test_from_the_answer_down_to_the_last_weight(name, stages):
    network, fresh = build(name, 0), build(name, 1)
    kept = copy.deepcopy(network)
    order = list(network.state_dict())
    before, count = set(), 0
    for at, changed in randomized(network, fresh, stages):
        now = different(network, changed)
        assert before < now or not different(network, fresh)
        assert any(key.startswith(at) for key in now) or at == "the rest"
        before, count = now, count + 1
        if count == 1 and stages == 1000:
            # The answer's own layer first, and nothing below it.
            last = [key for key in order if key in now]
            assert {key.rpartition(".")[0] for key in last} == {order[-1].rpartition(".")[0]}
    assert not different(changed, fresh) and not different(network, kept)
    assert count == stages if stages < 5 else count > 4
    assert not changed.training


def test_a_batch_norm_goes_with_the_convolution_before_it():
    network, fresh = build("cnn6", 0), build("cnn6", 1)
    named = [(at, different(network, changed)) for at, changed in randomized(network, fresh, 1000)]
    at, changed = named[3]  # after three dense layers
    assert at == "features.5.0" and "features.5.1.running_mean" in changed
    assert not any(name.startswith("features.4") for name in changed)
