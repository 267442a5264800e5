"""The small networks against their published sizes, the order of their layers, their reach."""

import pytest
import torch
from torch import nn

from detector import cli
from detector.errors import UserError
from detector.models.build import build_network

SMALL = ["cnn2", "cnn3", "cnn6", "cnn6_plain"]


def from_config(model: str, *overrides: str) -> tuple[nn.Module, int]:
    cfg = cli.compose("train", [f"model={model}", *overrides]).model
    size = cfg.preprocess.size
    return build_network(**cfg.net, size=size, classes=2), size


def weights(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_cnn2_has_the_published_number_of_parameters():
    assert weights(from_config("cnn2")[0]) == 46_099_778


def test_cnn6_and_cnn6_plain_differ_in_dropout_only():
    full, plain = from_config("cnn6")[0], from_config("cnn6_plain")[0]
    widths = [32, 64, 128, 256, 256, 256]
    for network in (full, plain):
        convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
        assert [c.out_channels for c in convolutions] == widths
        dense = [m.out_features for m in network.modules() if isinstance(m, nn.Linear)]
        assert dense == [512, 128, 2]
    channel = [m.p for m in full.modules() if isinstance(m, nn.Dropout2d)]
    assert channel == [0.1] * 6
    assert [m.p for m in full.modules() if type(m) is nn.Dropout] == [0.5, 0.5]
    assert weights(full) == weights(plain)
    assert not any(m.p for m in plain.modules() if isinstance(m, (nn.Dropout, nn.Dropout2d)))


def test_maps_of_cnn6_are_14_and_7_cells_wide_before_the_last_pools():
    network, size = from_config("cnn6")
    seen = []
    for block in network.features:
        block[0].register_forward_hook(lambda _, __, out: seen.append(out.shape[-1]))
    network.eval()(torch.zeros(1, 3, size, size))
    assert seen == [224, 112, 56, 28, 14, 7]


@pytest.mark.parametrize("model", ["cnn6", "cnn6_plain", "cnn3"])
@pytest.mark.parametrize("size", [224, 100])
def test_every_cell_of_the_last_map_reaches_the_output(model, size):
    cfg = cli.compose("train", [f"model={model}"]).model
    network = build_network(**cfg.net, size=size, classes=2).eval()
    last = [m for m in network.features.modules() if isinstance(m, nn.Conv2d)][-1]
    kept = []

    def keep(_, __, out):
        out.retain_grad()
        kept.append(out)

    last.register_forward_hook(keep)
    torch.manual_seed(0)
    network(torch.rand(4, 3, size, size)).sum().backward()
    reached = kept[0].grad.abs().sum((0, 1))
    # Max-pooling passes one cell of four; over channels and images each cell must be hit,
    # the last row and column no less than the others.
    if model.startswith("cnn6"):
        assert (reached > 0).all()
    assert (reached[-1] > 0).any() and (reached[:, -1] > 0).any()


@pytest.mark.parametrize("ceil", [False, True])
def test_relu_and_channel_dropout_commute_with_pooling(ceil):
    torch.manual_seed(0)
    x = torch.randn(5, 8, 7, 7)
    pool, relu = nn.MaxPool2d(2, ceil_mode=ceil), nn.ReLU()
    mask = (torch.rand(5, 8, 1, 1) > 0.3) / 0.7
    assert torch.equal(pool(relu(x) * mask), relu(pool(x)) * mask)


def published(network: nn.Module, seen: dict) -> nn.Module:
    """The same weights in the published order: ReLU and channel dropout before the pool."""

    def layers(block: nn.Module) -> list[nn.Module]:
        pools = [at for at, layer in enumerate(block) if isinstance(layer, nn.MaxPool2d)]
        moved = list(block)
        for at in pools:
            pool, after = moved[at], moved[at + 1 :]
            early = 1 + (len(after) > 1 and isinstance(after[1], Masked) and after[1].by_channel)
            moved[at:] = [*after[:early], pool, *after[early:]]
        seen["pools"] = seen.get("pools", 0) + len(pools)
        return moved

    nested = isinstance(network.features[0], nn.Sequential)
    blocks = network.features if nested else [network.features]
    return nn.Sequential(*(layer for block in blocks for layer in layers(block)))


class Masked(nn.Module):
    """Dropout with a mask that does not change."""

    def __init__(self, p: float, by_channel: bool) -> None:
        super().__init__()
        self.p, self.by_channel, self.mask = p, by_channel, None

    def forward(self, x):
        if self.mask is None:
            shape = (*x.shape[:2], 1, 1) if self.by_channel else x.shape
            self.mask = (torch.rand(shape) > self.p).double() / (1 - self.p)
        return x * self.mask


@pytest.mark.parametrize("model", SMALL)
def test_output_and_gradient_are_those_of_the_published_order(model):
    torch.manual_seed(0)
    net = cli.compose("train", [f"model={model}"]).model.net
    network, seen = build_network(**net, size=52, classes=2).double(), {}
    for parent in [*network.modules()]:
        for name, child in parent.named_children():
            if isinstance(child, (nn.Dropout, nn.Dropout2d)):
                setattr(parent, name, Masked(child.p, isinstance(child, nn.Dropout2d)))
            if isinstance(child, nn.ReLU):
                child.inplace = False
    features = published(network, seen)
    images = torch.randn(6, 3, 52, 52, dtype=torch.double, requires_grad=True)
    weight = torch.randn(6, 2, dtype=torch.double)
    found = []
    for forward in (network.features, features):
        logits = network.classifier(forward(images).flatten(1))
        wanted = [images, *network.parameters()]
        found.append([logits, *torch.autograd.grad((logits * weight).sum(), wanted)])
    assert seen["pools"] == {"cnn2": 2, "cnn3": 3}.get(model, 6)
    order = [type(layer) for layer in features]
    assert all(
        order[at - 1] in (nn.ReLU, Masked) for at, kind in enumerate(order) if kind is nn.MaxPool2d
    )
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("model", SMALL)
def test_one_step_lowers_the_loss_and_every_weight_moves(model):
    torch.manual_seed(0)
    network = build_network(
        **cli.compose("train", [f"model={model}"]).model.net, size=64, classes=2
    ).eval()
    images, labels = torch.randn(8, 3, 64, 64), torch.arange(8) % 2
    optimizer = torch.optim.Adam(network.parameters(), 1e-4)
    before = {name: p.clone() for name, p in network.named_parameters()}
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < losses[0]
    assert all(not torch.equal(before[name], p) for name, p in network.named_parameters())


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2_050", "vit_tiny_patch16_224"])
def test_timm_networks_by_name(name):
    network, _ = from_config("timm", f"model.net.name={name}", "model.preprocess.size=64")
    assert network(torch.zeros(2, 3, 64, 64)).shape == (2, 2)


@pytest.mark.parametrize(
    "net, size, says",
    [
        ({"name": "resnet81"}, 64, "did you mean resnet18"),
        ({"name": "resnet18", "depth": 4}, 64, "cannot be built"),
        ({"name": "cnn6", "dropout": 0.5}, 64, "conv_dropout, dropout"),
        ({"name": "cnn3", "dropout": "much"}, 64, "model.net.dropout=much"),
        ({"name": "cnn3", "dropout": 0.1}, 4, "between 16 and 4096"),
        ({"name": "local-dir:/tmp"}, 64, "no such network"),
    ],
)
def test_wrong_networks_get_one_line(net, size, says):
    with pytest.raises(UserError) as error:
        build_network(**net, size=size, classes=2)
    assert says in str(error.value) and "\n" not in str(error.value)
