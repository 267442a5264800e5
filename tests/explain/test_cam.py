"""Maps against the library, closed forms, and the states of a training."""

import copy
import warnings

import lightning as L
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import interpolate

from detector.errors import UserError
from detector.explain.cam import METHODS, Explainer, normalized, target_layer_of
from detector.models.build import build_network

SMALL = {
    "cnn2": {"conv_dropout": 0.25, "dropout": 0.5},
    "cnn3": {"dropout": 0.5},
    "cnn6": {"conv_dropout": 0.1, "dropout": 0.5},
    "cnn6_plain": {"conv_dropout": 0.0, "dropout": 0.0},
}
CHEAP = ["gradcam", "gradcam++", "hirescam", "layercam", "eigencam"]
SIZE = 64


def small(name: str, size: int = SIZE, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_network(name.removesuffix("_plain"), size=size, classes=2, **SMALL[name])


def planted(count: int, corners: list[int | None], size: int = SIZE) -> torch.Tensor:
    """Noise with a bright patch in one corner (0 to 3, row by row), or in none."""
    generator = torch.Generator().manual_seed(count)
    images = 0.1 * torch.randn(len(corners), 3, size, size, generator=generator)
    for image, corner in zip(images, corners, strict=True):
        if corner is not None:
            top, left = (size // 8 + size // 2 * side for side in divmod(corner, 2))
            image[:, top : top + size // 4, left : left + size // 4] += 2
    return images


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """cnn3 at 32 px; read it, or copy it."""
    network = small("cnn3", 32).eval()
    with torch.no_grad():
        network.classifier[-1].bias.copy_(torch.tensor([0.1, -0.2]))
    return network


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return planted(4, [0, 1, 2, None], 32)


def by_hand(network: nn.Module, images: torch.Tensor, index: int, elementwise: bool):
    """Grad-CAM or HiResCAM of cnn3, written out: rectified last batch norm, then the pool."""
    body, last = network.features[:2], network.features[2]
    with torch.no_grad():
        cells = last[:2](body(images)).relu()
    cells.requires_grad_()
    network.classifier(last[2:](cells).flatten(1))[:, index].sum().backward()
    weights = cells.grad if elementwise else cells.grad.mean((2, 3), keepdim=True)
    maps = (weights * cells).sum(1, keepdim=True).relu().detach()
    return interpolate(maps, images.shape[-2:], mode="bilinear")[:, 0].numpy()


@pytest.mark.parametrize("method", ["gradcam", "hirescam"])
@pytest.mark.parametrize("index", [0, 1])
def test_maps_are_raw_and_of_the_class_asked_for(network, images, method, index):
    expected = by_hand(copy.deepcopy(network), images, index, method == "hirescam")
    assert expected.any()
    np.testing.assert_allclose(
        Explainer(network, method).maps(images, index), expected, rtol=1e-3, atol=1e-9
    )


def test_twice_the_logit_is_twice_the_map(network, images):
    louder = copy.deepcopy(network)
    with torch.no_grad():
        louder.classifier[-1].weight.mul_(2)
    for method in ("gradcam", "hirescam", "layercam", "ablationcam"):
        maps = (Explainer(each, method).maps(images[:1], 0) for each in (network, louder))
        quiet, loud = maps
        np.testing.assert_allclose(loud, 2 * quiet, rtol=1e-2, atol=quiet.max() * 1e-2)


# EigenCAM's sign and AblationCAM's weights are not the library's: each has a test below.
@pytest.mark.parametrize("method", ["gradcam", "gradcam++", "hirescam", "layercam", "scorecam"])
def test_maps_are_the_library_s_but_for_its_scaling(method, images):
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.image import scale_cam_image
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    torch.manual_seed(0)
    network = build_network("resnet10t", size=32, classes=2).eval()
    with torch.no_grad():  # the library adds 1e-7 to the largest value: too little to be seen here
        network.fc.weight.mul_(1e3)
    batch = images[:2]
    ours = Explainer(network, method, "layer3").maps(batch, [1, 0])
    library = getattr(pytorch_grad_cam, METHODS[method])(network, [network.layer3])
    theirs = library(batch, [ClassifierOutputTarget(1), ClassifierOutputTarget(0)])
    assert theirs.max() > 0.9
    np.testing.assert_allclose(scale_cam_image(ours), theirs, atol=2e-6)


def test_eigencam_is_the_library_s_but_for_the_sign(network, images):
    from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection_with_sign_correction

    with torch.no_grad():
        cells = network.features[2][:2](network.features[:2](images)).relu()
    expected = np.maximum(get_2d_projection_with_sign_correction(cells.numpy()), 0)
    expected = interpolate(torch.from_numpy(expected)[:, None], (32, 32), mode="bilinear")[:, 0]
    ours = Explainer(network, "eigencam").maps(images)
    np.testing.assert_allclose(ours, expected, atol=1e-4 * float(expected.max()))


@pytest.mark.parametrize("index", [0, 1])  # of which one has a negative logit
def test_ablationcam_weighs_channels_by_the_logit_they_bring(network, images, index):
    last = network.features[2][1]
    image = images[:1]
    with torch.no_grad():
        logit = network(image)[0, index]
        cells = last(network.features[2][0](network.features[:2](image))).relu()
        drops = []
        for channel in range(cells.shape[1]):
            without = cells.clone()
            without[:, channel] = 0
            answer = network.classifier(network.features[2][2:](without).flatten(1))
            drops.append(logit - answer[0, index])
    expected = (torch.stack(drops)[:, None, None] * cells[0]).sum(0).relu()
    expected = interpolate(expected[None, None], (32, 32), mode="bilinear")[0, 0].numpy()
    ours = Explainer(network, "ablationcam").maps(image, index)[0]
    np.testing.assert_allclose(ours, expected, atol=1e-3 * max(expected.max(), 1e-6))
    assert network.features[2][1] is last


@pytest.mark.parametrize("method", METHODS)
def test_bf16_networks_are_explained_as_their_float32_copies(network, images, method):
    low = copy.deepcopy(network).bfloat16()
    expected = Explainer(copy.deepcopy(low).float(), method).maps(images[:2], 0)
    np.testing.assert_array_equal(Explainer(low, method).maps(images[:2], 0), expected)
    assert all(p.dtype is torch.bfloat16 for p in low.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_maps_are_the_same_from_inside_a_validation(network, images, method):
    expected = Explainer(network, method).maps(images[:2], 0)
    assert expected.any()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        made_here = images[:2] * 1.0  # an inference tensor
        np.testing.assert_array_equal(Explainer(network, method).maps(made_here, 0), expected)
    with torch.no_grad():
        np.testing.assert_array_equal(Explainer(network, method).maps(images[:2], 0), expected)
    with torch.inference_mode():
        born_here = copy.deepcopy(network)  # whose weights are inference tensors
    np.testing.assert_array_equal(Explainer(born_here, method).maps(images[:2], 0), expected)


@pytest.mark.parametrize("part", ["features", "classifier", ""])
def test_frozen_networks_are_explained(network, images, part):
    frozen = copy.deepcopy(network)
    frozen.get_submodule(part).requires_grad_(False)
    expected = Explainer(network).maps(images)
    assert expected.any()
    np.testing.assert_array_equal(Explainer(frozen).maps(images), expected)


@pytest.mark.parametrize("method", METHODS)
def test_memory_format_does_not_matter(network, images, method):
    other = copy.deepcopy(network).to(memory_format=torch.channels_last)
    batch = images[:2].contiguous(memory_format=torch.channels_last)
    expected = Explainer(network, method).maps(images[:2])
    np.testing.assert_allclose(
        Explainer(other, method).maps(batch), expected, rtol=1e-3, atol=expected.max() * 1e-4
    )


@pytest.mark.parametrize("method", METHODS)
def test_the_network_is_left_as_it_was(network, images, method):
    mine = copy.deepcopy(network).train()
    mine.features[1].eval()
    mine.features[0].requires_grad_(False)
    mine(images).sum().backward()
    modules = dict(mine.named_modules())

    def state():
        return {
            "modes": [m.training for m in mine.modules()],
            "modules": [mine.get_submodule(name) is m for name, m in modules.items()],
            "hooks": [len(m._forward_hooks) + len(m._backward_hooks) for m in mine.modules()],
            "needs": [p.requires_grad for p in mine.parameters()],
            "places": [t.data_ptr() for t in mine.state_dict().values()],
            "values": [t.tolist() for t in mine.state_dict().values()],
            "gradients": [None if p.grad is None else p.grad.tolist() for p in mine.parameters()],
            "random": torch.get_rng_state().tolist(),
            "numpy": str(np.random.get_state()),  # noqa: NPY002
            "grad": torch.is_grad_enabled(),
        }

    before = state()
    Explainer(mine, method).maps(images[:2])
    assert state() == before
    mine.classifier[-1].register_forward_pre_hook(
        fail := FailLater(5 if method == "ablationcam" else 2)
    )
    before = state()
    with pytest.raises(RuntimeError, match="on purpose"):
        Explainer(mine, method).maps(images[:2])
    fail.calls = -1000
    assert state() == before


class FailLater:
    """Stops the pass with this number."""

    def __init__(self, calls: int) -> None:
        self.calls = calls

    def __call__(self, *_) -> None:
        self.calls -= 1
        if self.calls <= 0:
            raise RuntimeError("on purpose")


def test_each_image_has_its_class_and_batches_change_nothing(network, images):
    explainer = Explainer(network, batch_size=3)
    both = [explainer.maps(images, index) for index in (0, 1)]
    mixed = explainer.maps(images.numpy(), [0, 1, 1, 0])
    for at, index in enumerate([0, 1, 1, 0]):
        np.testing.assert_allclose(mixed[at], both[index][at], rtol=1e-4, atol=1e-9)
    with torch.no_grad():
        preferred = network(images).argmax(1)
    assert np.array_equal(explainer.maps(images), explainer.maps(images, preferred))
    assert explainer.maps(images[:0]).shape == (0, 32, 32)


@pytest.mark.parametrize("index", [2, -1, 0.5, [0, 1, 0, 2]])
def test_classes_out_of_range_are_errors(network, images, index):
    with pytest.raises(UserError, match="classes 0 to 1"):
        Explainer(network).maps(images, index)
    with pytest.raises(ValueError, match="for 4 images"):
        Explainer(network).maps(images, [0, 1])


def test_images_without_evidence_and_networks_that_diverged_give_zeros(network, images):
    blind = copy.deepcopy(network)
    nn.init.zeros_(blind.classifier[-1].weight)
    for method in ("gradcam", "gradcam++", "hirescam", "layercam", "ablationcam"):
        maps = Explainer(blind, method).maps(images[:2], 0)
        assert maps.shape == (2, 32, 32) and not maps.any() and not normalized(maps).any()
    with torch.no_grad():
        blind.features[0][0].weight[0, 0, 0, 0] = torch.nan
    for method in CHEAP:
        assert not Explainer(blind, method).maps(images[:2], 0).any()


@given(st.lists(st.floats(0, 1e6, width=32), min_size=18, max_size=18))
def test_shares_add_up_to_one_or_nothing(values):
    maps = np.array(values, np.float32).reshape(2, 3, 3)
    for share, each in zip(normalized(maps), maps, strict=True):
        assert share.sum() == pytest.approx(1 if each.any() else 0, abs=1e-5)
        assert np.allclose(share * each.sum(dtype=float), each, rtol=1e-4, atol=1e-30)


def test_a_layer_that_is_worked_on_in_place_keeps_its_values(images):
    def made(inplace: bool) -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.SiLU(inplace), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(4, 2),
        )  # fmt: skip

    for method in METHODS:
        maps = [Explainer(made(way), method, "0").maps(images, 0) for way in (False, True)]
        assert maps[0].any()
        np.testing.assert_allclose(maps[1], maps[0], rtol=1e-5, atol=1e-9)


class Turned(nn.Module):
    """The network below with channels last inside, or as tokens behind two others."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 5, 4, 4)
        self.turn = nn.Identity()
        self.head = nn.Linear(5, 2)
        self.kind = kind
        if kind == "NLC":
            self.num_prefix_tokens = 2
            self.patch_embed = nn.Module()
            self.patch_embed.grid_size = (8, 8)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        cells = self.stem(images).relu()
        if self.kind == "NHWC":
            cells = cells.movedim(1, -1)
        elif self.kind == "NLC":
            tokens = cells.flatten(2).movedim(1, -1)
            cells = torch.cat([torch.full_like(tokens[:, :2], 9), tokens], 1)
        cells = self.turn(cells)
        if self.kind == "NLC":
            return self.head(cells[:, 2:].mean(1))
        return self.head(cells.mean((1, 2) if self.kind == "NHWC" else (2, 3)))


@pytest.mark.parametrize("method", METHODS)
def test_channels_last_and_tokens_give_the_map_of_channels_first(images, method):
    nchw, nhwc, tokens = (
        Explainer(Turned(kind), method, "turn").maps(images, 0) for kind in ("NCHW", "NHWC", "NLC")
    )
    assert nchw.any()
    np.testing.assert_allclose(nhwc, nchw, rtol=1e-3, atol=nchw.max() * 1e-4)
    if method != "gradcam++":  # whose weights take the others in
        np.testing.assert_allclose(tokens, nchw, rtol=1e-3, atol=nchw.max() * 1e-4)


def test_layers_whose_cells_cannot_be_placed_are_errors():
    with pytest.raises(UserError, match=r"MlpMixer gives output of shape .* target_layer="):
        Explainer(build_network("mixer_s32_224", size=64, classes=2)).layer(64)
    with pytest.raises(UserError, match="Sequential: name one with target_layer="):
        Explainer(nn.Sequential(nn.Conv2d(3, 4, 3)))
    with pytest.raises(UserError, match="target_layer=nowhere: CNN3 has no such layer"):
        Explainer(small("cnn3"), target_layer="nowhere")
    with pytest.raises(UserError, match="method=grad: choose among gradcam, "):
        Explainer(small("cnn3"), "grad")
    with pytest.raises(UserError, match=r"target_layer=classifier\.0"):
        Explainer(small("cnn3"), target_layer="classifier.0").layer(SIZE)
    cube = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.Identity())  # 8 channels of 8x8: which axis?
    with pytest.raises(UserError, match="cannot be placed"):
        Explainer(nn.Sequential(cube, nn.Flatten()), target_layer="0.1").layer(32)
    assert Explainer(nn.Sequential(cube, nn.Flatten()), target_layer="0.0").layer(32) == "0.0"


def test_small_images_are_explained_at_an_earlier_layer():
    network = small("cnn6", 32)
    assert target_layer_of(network) == "features.5.1"  # one cell at 32 px
    explainer = Explainer(network)
    images = planted(4, [0, 1, 2, 3], 32)
    maps = np.concatenate([explainer.maps(images, of_class) for of_class in (0, 1)])
    assert explainer.layer(32) == "features.2.1" and maps.any()  # one alone may be empty
    for size, layer in {64: "features.3.1", 128: "features.4.1", 224: "features.5.1"}.items():
        assert Explainer(small("cnn6", size)).layer(size) == layer
    resnet = Explainer(build_network("resnet18", size=64, classes=2))
    assert [resnet.layer(size) for size in (64, 128)] == ["layer3", "layer4"]
    with pytest.raises(UserError, match="a single cell there at 32 px"):
        Explainer(network, target_layer="features.5.1").maps(planted(1, [0], 32))


class Validates(L.LightningModule):
    """Explains its network in each validation."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.seen = network, []

    def training_step(self, batch, _):
        return self.network(batch).square().mean()

    def validation_step(self, batch, _):
        before = copy.deepcopy(self.network).float()
        maps = Explainer(self.network).maps(batch, 0)
        self.seen.append(np.abs(maps - Explainer(before).maps(batch, 0)).max())
        assert maps.any()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1e-3)


def test_lightning_trains_on_beside_it(network, images, tmp_path):
    module = Validates(copy.deepcopy(network))
    trainer = L.Trainer(
        accelerator="cpu", precision="bf16-mixed", max_epochs=2, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=tmp_path,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about workers
        loader = torch.utils.data.DataLoader(images, batch_size=2)
        trainer.fit(module, loader, loader)
    assert len(module.seen) >= 4 and max(module.seen) == 0
