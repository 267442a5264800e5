"""Heads of any network; what is frozen keeps still, what is not goes on."""

import copy

import pytest
import timm
import torch
from torch import nn

from detector.errors import UserError
from detector.models.build import build_network
from detector.models.head import Backbone, head_names, in_head

DROPS = {"drop_rate": 0.5, "drop_path_rate": 0.5}
NETWORKS = {
    "cnn2": ("classifier", {"conv_dropout": 0.3, "dropout": 0.5}),
    "cnn6": ("classifier", {"conv_dropout": 0.3, "dropout": 0.5}),
    "test_efficientnet": ("classifier", DROPS),  # dropout is called by the network itself
    "test_convnext": ("head.fc", DROPS),  # head.norm before, head.drop beside it
    "test_vit": ("head", DROPS),
    "test_resnet": ("fc", DROPS),
    "efficientvit_m0": ("head.linear", {"drop_rate": 0.5}),
}


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    size = 224 if name == "efficientvit_m0" else 64
    return build_network(name, size=size, classes=2, **NETWORKS[name][1])


def images(name: str, count: int = 4) -> torch.Tensor:
    size = 224 if name == "efficientvit_m0" else 64
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_head_gives_the_logits(name):
    network = build(name)
    heads = head_names(network)
    assert heads == (NETWORKS[name][0],)
    last = [m for n, m in network.named_modules() if in_head(n, heads) and not [*m.children()]][-1]
    given = []
    last.register_forward_hook(lambda _, __, output: given.append(output))
    assert torch.equal(network.eval()(images(name)), given[0])


def test_several_heads_and_none():
    distilled = timm.create_model("levit_128s", num_classes=2)
    assert head_names(distilled) == ("head", "head_dist")
    assert in_head("head_dist.linear.weight", ("head", "head_dist"))
    assert not in_head("header.weight", ("head",)) and not in_head("head", ("head.fc",))
    for network in (nn.Linear(3, 2), timm.create_model("test_resnet", num_classes=0)):
        with pytest.raises(UserError, match="names no head") as error:
            head_names(network)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_frozen_backbone_keeps_still_and_is_deterministic(name):
    network = build(name)
    heads = head_names(network)
    before = copy.deepcopy(network.state_dict())
    features = []
    head = network.get_submodule(heads[0])
    head.register_forward_pre_hook(lambda _, given: features.append(given[0]))
    backbone = Backbone(network.train())
    backbone.freeze()
    # Weight decay and momentum would move what gets a gradient of zero.
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, weight_decay=0.1, momentum=0.9)
    for _ in range(3):
        loss = network(images(name)).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for key, value in network.state_dict().items():
        assert in_head(key, heads) or torch.equal(value, before[key]), key
    moved = [k for k, v in network.state_dict().items() if not torch.equal(v, before[k])]
    assert moved and all(in_head(key, heads) for key in moved)
    assert head.training
    # What reaches the head is what an eval pass gives, but for the head's own dropout of a half.
    network.eval()(images(name))
    *trained, still = features
    for seen in trained:
        kept = torch.isclose(seen, still, atol=1e-6) | torch.isclose(seen, 2 * still, atol=1e-6)
        assert (kept | (seen == 0)).all()


@pytest.mark.parametrize("name", ["test_efficientnet", "test_convnext", "test_vit"])
def test_the_dropout_of_the_head_stays_on(name):
    network = build(name)
    Backbone(network.train()).freeze()
    batch = images(name)
    assert not torch.equal(network(batch), network(batch))


@pytest.mark.parametrize("name", NETWORKS)
def test_thawed_it_is_as_before(name):
    network = build(name).train()
    fixed = next(network.parameters()).requires_grad_(False)  # by the network's own choice
    modes = {name: module.training for name, module in network.named_modules()}
    wanted = {name: weight.requires_grad for name, weight in network.named_parameters()}
    backbone = Backbone(network)
    backbone.freeze()
    assert any(not m.training for m in network.modules())
    backbone.thaw()
    assert {name: module.training for name, module in network.named_modules()} == modes
    assert {name: weight.requires_grad for name, weight in network.named_parameters()} == wanted
    assert not fixed.requires_grad
