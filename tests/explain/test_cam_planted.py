"""A planted patch that decides the class is found by every network, in every corner."""

import numpy as np
import pytest
import torch
from torch import nn

from detector.explain.cam import Explainer, normalized, target_layer_of
from detector.models.build import build_network
from tests.explain.planted import watch_brightness
from tests.explain.test_cam import CHEAP, SMALL, planted, small

TIMM = {  # the last layer of 224 px, which 128 px leave 4x4 cells (the ViT 8x8)
    "mobilenetv2_100": "blocks.6",
    "tf_efficientnet_lite0": "blocks.6",
    "efficientnet_b0": "blocks.6",
    "resnet18": "layer4",
    "convnext_atto": "stages.3",
    "vit_tiny_patch16_224": "blocks.11.norm1",
    "swin_tiny_patch4_window7_224": "norm",  # gives NHWC
}
SIDE = 128


def shares_of_quadrants(maps: np.ndarray) -> np.ndarray:
    """(N, 4)."""
    half = maps.shape[-1] // 2
    return normalized(maps).reshape(-1, 2, half, 2, half).sum((2, 4)).reshape(-1, 4)


def patches(places: list[tuple[int, int]], size: int, noise: float, seed: int = 0):
    """Images with a patch, alternately bright (class 0) and dark (class 1), and the classes.

    Args:
        places: Its top left corner in each image.
        size: Side of the image; that of the patch is a quarter of it.
    """
    images = noise * torch.randn(
        len(places), 3, size, size, generator=torch.Generator().manual_seed(seed)
    )
    for at, (top, left) in enumerate(places):
        images[at, :, top : top + size // 4, left : left + size // 4] += 2 - 4 * (at % 2)
    return images, torch.arange(len(places)) % 2


def assert_found(network: nn.Module, method: str, size: int, noise: float, share: float) -> None:
    """The patch is found in every corner, for both classes: most of the map, and its peak."""
    far = size - size // 4
    corners = [(0, 0), (0, far), (far, 0), (far, far)]
    places = [corner for corner in corners for _ in range(4)]
    images, classes = patches(places, size, noise, seed=9)
    with torch.no_grad():
        assert torch.equal(network(images).argmax(1), classes)  # the patch decides
    maps = Explainer(network, method).maps(images, classes.numpy())
    found = shares_of_quadrants(maps).reshape(4, 4, 4)  # planted in, image, found in
    assert (found.argmax(2) == np.arange(4)[:, None]).all(), found.round(2)
    own = found[np.arange(4), :, np.arange(4)]
    assert (own.mean(1) > share).all(), own.round(2)
    for one, (top, left) in zip(maps, places, strict=True):
        row, column = np.unravel_index(one.argmax(), one.shape)
        reach = size // 4 + size // 8  # a cell looks around, and may peak just beside it
        assert top - size // 8 <= row < top + reach and left - size // 8 <= column < left + reach


@pytest.mark.parametrize("name", SMALL)
def test_small_networks_find_a_patch_in_every_corner(name):
    network = watch_brightness(small(name))
    images = planted(5, [0, 1, 2, 3, None])
    with torch.no_grad():
        logits = network(images)[:, 0]
    assert (logits[:4] > 0.01).all() and logits[4] == 0  # the patch decides
    for method in CHEAP:
        maps = Explainer(network, method).maps(images, 0)
        if method != "eigencam":  # which sees channels that no logit reads
            assert (np.diag(shares_of_quadrants(maps[:4])) > 0.5).all(), method
            assert not maps[4].any() and not normalized(maps)[4].any()


@torch.no_grad()
def look_straight_down(network: nn.Module) -> nn.Module:
    """Random weights with which a cell sees its own place only, and a head fitted to patches.

    Otherwise each cell of random, or hastily trained, weights sees the whole image, and no map
    could be called right or wrong. Each kernel keeps its middle, blocks with a shortcut do
    nothing else, and tokens look at each other in the last block only, where a class token asks
    them. The head (least squares) gives 1 for a bright patch, -1 for a dark one, 0 for none; it
    has no bias, which no map could show.
    """
    token = getattr(network, "global_pool", "") == "token"
    last = f"blocks.{len(network.blocks) - 1}." if token else None
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size[0] > module.stride[0]:
            middle = module.kernel_size[0] // 2
            kept = module.weight[:, :, middle, middle].clone() * module.kernel_size[0]
            module.weight.zero_()[:, :, middle, middle] = kept
        if name.endswith("attn.proj") and not (token and name.startswith(last)):
            module.weight.zero_()
        if getattr(module, "has_skip", False):
            norm = module.bn3 if hasattr(module, "bn3") else module.bn2
            norm.weight.zero_()
    grid = [(row, column) for row in range(0, SIDE, 32) for column in range(0, SIDE, 32)]
    images, classes = patches([place for place in grid for _ in (0, 1)], SIDE, 0.01)
    images = torch.cat([images, patches([(SIDE, SIDE)] * 8, SIDE, 0.01, seed=1)[0]])
    target = torch.cat([1.0 - 2 * classes, torch.zeros(8)]).double()
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:  # random weights need the statistics, or features vanish with depth
        norm.momentum = 1.0
    if norms:
        network.train()(images)
    network.eval()
    features = network.forward_head(network.forward_features(images), pre_logits=True).double()
    gram = features @ features.T
    gram += 1e-3 * gram.diagonal().mean() * torch.eye(len(gram))
    weight = (features.T @ torch.linalg.solve(gram, target)).float()
    head = network.get_classifier()
    head.weight.copy_(torch.stack([weight, -weight]))
    head.bias.zero_()
    return network


@pytest.mark.parametrize("name", TIMM)
def test_timm_networks_find_a_patch_in_every_corner(name):
    torch.manual_seed(0)
    network = look_straight_down(build_network(name, size=SIDE, classes=2))
    assert target_layer_of(network) == Explainer(network).layer(SIDE) == TIMM[name]
    for method in ("gradcam", "hirescam"):
        assert_found(network, method, SIDE, 0.01, 0.4)  # of .25 by chance


@pytest.mark.parametrize("name", SMALL)
def test_trained_small_networks_find_a_patch_in_every_corner(name):
    network = small(name).train()
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    random = np.random.default_rng(0)
    for step in range(20):
        places = random.integers(0, 49, (16, 2)).tolist()
        images, classes = patches(places, 64, 0.3, seed=step)
        loss = nn.functional.cross_entropy(network(images), classes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    for method in ("gradcam", "hirescam"):
        assert_found(network, method, 64, 0.3, 0.6)
