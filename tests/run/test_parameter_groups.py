"""Which weight learns at which rate: by formula, by timm's own grouping, by what moves."""

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.optim import param_groups_layer_decay
from torch import nn

from detector.errors import UserError
from detector.models.build import build_network
from detector.run.optim import make_optimizer, parameter_groups

PLAIN = {"name": "adam", "lr": 0.01, "head_lr": None, "layer_decay": 1.0, "weight_decay": 0}
FLAT = {"name": "none", "warmup_epochs": 0}
CNN6 = {"conv_dropout": 0.1, "dropout": 0.5}


def build(name: str, **options) -> nn.Module:
    return build_network(name, size=64, classes=2, **options)


def by_name(network: nn.Module, **options) -> dict[str, dict]:
    groups = parameter_groups(network, PLAIN | options)
    names = {id(weight): name for name, weight in network.named_parameters()}
    found = {names[id(weight)]: group for group in groups for weight in group["params"]}
    assert len(found) == sum(len(group["params"]) for group in groups)  # none of them twice
    assert found.keys() == {n for n, w in network.named_parameters() if w.requires_grad}
    return found


def test_one_group_in_the_order_of_the_network_where_nothing_is_asked_for():
    network = build("cnn6", **CNN6)
    (group,) = parameter_groups(network, PLAIN)
    assert all(a is b for a, b in zip(group["params"], network.parameters(), strict=True))
    assert (group["lr"], group["weight_decay"]) == (0.01, 0)


@given(st.floats(0.05, 0.99), st.one_of(st.none(), st.floats(1e-6, 10)))
def test_layers_of_cnn6_by_formula(decay, head_lr):
    network = build("cnn6", **CNN6)
    for name, group in by_name(network, layer_decay=decay, head_lr=head_lr).items():
        if name.startswith("classifier"):
            expected = 0.01 if head_lr is None else head_lr
        else:
            expected = 0.01 * decay ** (6 - int(name.split(".")[1]))
        assert group["lr"] == pytest.approx(expected), name


def test_layers_of_cnn2_are_its_two_convolutions():
    groups = by_name(build("cnn2", conv_dropout=0, dropout=0), layer_decay=0.5)
    rates = {name.rpartition(".")[0]: group["lr"] for name, group in groups.items()}
    assert rates == pytest.approx(
        {"features.0": 0.0025, "features.4": 0.005, "classifier.0": 0.01, "classifier.3": 0.01}
    )


def test_layers_of_resnet18_by_formula():
    blocks = [f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)]
    for name, group in by_name(build("resnet18"), layer_decay=0.8, head_lr=0.5).items():
        block = re.match(r"layer\d\.\d", name)
        at = 0 if name.startswith(("conv1", "bn1")) else 1 + blocks.index(block[0]) if block else 9
        assert group["lr"] == pytest.approx(
            0.5 if name.startswith("fc") else 0.01 * 0.8 ** (9 - at)
        )


@pytest.mark.parametrize(
    "name", ["tf_efficientnet_lite0", "test_vit", "test_convnext", "pit_ti_224"]
)
def test_timm_networks_as_timm_has_them_but_for_the_head(name):
    network = build(name)
    names = {id(weight): name for name, weight in network.named_parameters()}
    spared = getattr(network, "no_weight_decay", set)()
    theirs = param_groups_layer_decay(network, 0.05, spared, layer_decay=0.7)
    expected = {names[id(w)]: group for group in theirs for w in group["params"]}
    head = network.get_classifier()
    for name, group in by_name(network, layer_decay=0.7, weight_decay=0.05, head_lr=3).items():
        is_head = any(weight is network.get_parameter(name) for weight in head.parameters())
        assert group["lr"] == pytest.approx(3 if is_head else 0.01 * expected[name]["lr_scale"])
        assert group["weight_decay"] == expected[name]["weight_decay"]


@pytest.mark.parametrize("options", [{}, {"layer_decay": 0.9}, {"head_lr": 0.1}])
def test_biases_and_norms_do_not_decay(options):
    network = build("cnn6", **CNN6)
    matrices = {
        f"{n}.weight" for n, m in network.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))
    }
    for name, group in by_name(network, weight_decay=0.3, **options).items():
        assert group["weight_decay"] == (0.3 if name in matrices else 0), name
    vit = by_name(build("test_vit"), weight_decay=0.3)
    assert {vit[name]["weight_decay"] for name in ("pos_embed", "cls_token")} == {0}


def test_decay_shrinks_matrices_alone_and_each_at_its_rate():
    network = build("cnn3", dropout=0.5)
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    options = {"name": "sgd", "weight_decay": 0.1, "layer_decay": 0.5, "head_lr": 0.04}
    optimizer = make_optimizer(network, PLAIN | options, FLAT, 10, 1, fused=True)["optimizer"]
    for weight in network.parameters():
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    rates = {"features.0": 0.00125, "features.1": 0.0025, "features.2": 0.005}
    for name, weight in network.named_parameters():
        rate = rates.get(name[:10], 0.04)
        factor = 1 - 0.1 * rate if weight.ndim > 1 else 1
        assert torch.allclose(weight, before[name] * factor, rtol=1e-6, atol=0), name


def test_warm_up_and_cosine_act_on_every_group():
    network = build("cnn3", dropout=0.5)
    options = {"layer_decay": 0.5, "head_lr": 0.3, "weight_decay": 0.1}
    made = make_optimizer(
        network, PLAIN | options, {"name": "cosine", "warmup_epochs": 1}, 20, 5, fused=True
    )
    optimizer, scheduler = made["optimizer"], made["lr_scheduler"]["scheduler"]
    full = [group["lr"] for group in parameter_groups(network, PLAIN | options)]
    assert len(set(full)) == 4
    seen = []
    for _ in range(20):
        now = [group["lr"] / rate for group, rate in zip(optimizer.param_groups, full, strict=True)]
        assert now == pytest.approx([now[0]] * len(now))
        seen.append(now[0])
        optimizer.step()
        scheduler.step()
    assert seen[:4] == pytest.approx([0.25, 0.5, 0.75, 1]) and seen[-1] < 0.05


def test_what_is_frozen_is_in_no_group_and_does_not_count_as_a_layer():
    network = build("cnn6", **CNN6)
    network.features.requires_grad_(False)
    assert {g["lr"] for g in by_name(network, layer_decay=0.5, head_lr=2).values()} == {2}


def test_networks_of_unknown_layers_or_head_are_refused():
    flat = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    for options in ({"layer_decay": 0.5}, {"head_lr": 0.1}):
        with pytest.raises(UserError, match="names no head") as error:
            parameter_groups(flat, PLAIN | options)
        assert "\n" not in str(error.value)
    flat.get_classifier = lambda: flat[1]
    with pytest.raises(
        UserError, match=r"layer_decay=0\.5: the layers of Sequential are not known"
    ):
        parameter_groups(flat, PLAIN | {"layer_decay": 0.5})
    assert by_name(flat, head_lr=0.1)["0.weight"]["lr"] == 0.01
