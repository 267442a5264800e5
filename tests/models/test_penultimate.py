"""Features are what the last layer is fed: applying that layer to them gives the logits."""

import pytest
import timm
import torch

from detector.models.build import build_network
from detector.models.penultimate import features_and_logits, last_layer

SMALL = {
    "cnn2": ({"conv_dropout": 0.25, "dropout": 0.5}, 128),
    "cnn3": ({"dropout": 0.5}, 256),
    "cnn6": ({"conv_dropout": 0.1, "dropout": 0.5}, 128),
}
TIMM = [
    "resnet18", "mobilenetv2_100", "tf_efficientnet_lite0", "mobilenetv3_small_050",
    "convnext_atto", "test_vit",
]  # fmt: skip


def images(size):
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("classes", [2, 6])
def test_small_networks(name, classes):
    options, width = SMALL[name]
    network = build_network(name, size=32, classes=classes, **options).eval()
    with torch.no_grad():
        features, logits = features_and_logits(network, images(32))
        assert torch.equal(logits, network(images(32)))
        assert features.shape == (3, width)
        assert torch.allclose(last_layer(network)(features), logits, atol=1e-6)


@pytest.mark.parametrize("name", TIMM)
def test_timm_networks_give_what_timm_calls_pre_logits(name):
    size = 160 if "vit" in name else 64
    network = timm.create_model(name, num_classes=2).eval()
    batch = images(size)[:1]
    with torch.no_grad():
        features, logits = features_and_logits(network, batch)
        expected = network.forward_head(network.forward_features(batch), pre_logits=True)
        assert features.shape == expected.shape and torch.allclose(features, expected, atol=1e-5)
        assert torch.equal(logits, network(batch))


def test_the_network_stays_as_it_is():
    network = build_network("cnn3", size=32, classes=2, dropout=0.5)
    hooks = len(last_layer(network)._forward_pre_hooks)
    features, logits = features_and_logits(network, images(32))
    assert len(last_layer(network)._forward_pre_hooks) == hooks and network.training
    logits.sum().backward()  # both belong to the graph
    assert features.grad_fn is not None and network.features[0][0].weight.grad is not None
    with pytest.raises(RuntimeError):
        features_and_logits(network, images(32)[:, :2])
    assert len(last_layer(network)._forward_pre_hooks) == hooks


def test_networks_without_a_known_head_answer_without_features():
    plain = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 2)).eval()
    with torch.no_grad():
        features, logits = features_and_logits(plain, images(32))
        assert features is None and torch.equal(logits, plain(images(32)))
