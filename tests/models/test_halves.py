"""A network's body and its head, one after the other, are the network."""

import pytest
import torch

from detector.errors import UserError
from detector.models.build import build_network
from detector.models.halves import check_in_two, in_two

CONV = {"conv_dropout": 0.25, "dropout": 0.5}


def built(name, size=64, **options):
    torch.manual_seed(0)
    options |= CONV if name in ("cnn2", "cnn6") else {}
    return build_network(name, size=size, classes=2, **options)


@pytest.mark.parametrize(
    "name", ["cnn2", "cnn6", "resnet18", "vit_tiny_patch16_224", "tf_efficientnet_lite0"]
)
def test_body_then_head_is_the_network(name):
    network = built(name).eval()
    images = torch.rand(3, 3, 64, 64)
    body, head = in_two(network)
    with torch.inference_mode():
        found = body(images)
        assert found.ndim == 2 and torch.allclose(head(found), network(images), atol=1e-5)
    check_in_two(network, images)


def test_what_is_dropped_before_the_head_is_dropped_in_training_only():
    network = built("tf_efficientnet_lite0", drop_rate=0.5).eval()
    body, head = in_two(network)
    found = body(torch.rand(2, 3, 64, 64)).detach()
    assert torch.equal(head(found), head(found))
    network.train()
    assert not torch.equal(head(found), head(found))


def test_gradients_reach_the_head_alone():
    network = built("resnet18").eval()
    body, head = in_two(network)
    head(body(torch.rand(2, 3, 64, 64)).detach()).sum().backward()
    touched = {name for name, p in network.named_parameters() if p.grad is not None}
    assert touched == {"fc.weight", "fc.bias"}


def test_a_network_with_two_heads_is_refused():
    with pytest.raises(UserError, match=r"embeddings\.views must be 0"):
        in_two(built("deit_tiny_distilled_patch16_224"))


def test_a_network_that_does_more_is_refused():
    network = built("resnet18").eval()
    plain = network.forward
    network.forward = lambda images: 2 * plain(images)
    with pytest.raises(UserError, match="does more than"):
        check_in_two(network, torch.rand(2, 3, 64, 64))
