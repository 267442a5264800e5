"""Weights from packages, files and a stand-in for timm's hub: taken whole, or refused."""

import pickle
import sys
import tempfile
import uuid
from importlib.metadata import version
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from detector.data.preprocess import Preprocess
from detector.errors import UserError
from detector.models import pretrained as module
from detector.models.build import build_network
from detector.models.pretrained import find_pretrained, preprocessing_of
from detector.run.begin import begin_with

LITE, OTHER = "tf_efficientnet_lite0", "mobilenetv2_035"


def published(name, **options):
    torch.manual_seed(7)
    network = timm.create_model(name, num_classes=1000, **options).eval()
    for key, value in network.state_dict().items():  # batch norms of its own, too
        if value.is_floating_point() and "running" in key:
            value.uniform_(0.5, 2)
    return network


def begun(name, pretrained, size=64, **options):
    torch.manual_seed(1)
    network = build_network(name, size=size, classes=2, **options).eval()
    args = {"name": name} | options
    found = find_pretrained(name, pretrained)
    begin_with(network, args, size=size, classes=2, found=found, init_from=None)
    return network


def same_features(a, b, size=64):
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return torch.equal(a.forward_features(images), b.forward_features(images))


@pytest.fixture
def file(tmp_path):
    def write(name, kind="safetensors", **options):
        network = published(name, **options)
        path = tmp_path / f"{name}.{kind}"
        if kind == "safetensors":
            save_file(network.state_dict(), path)
        else:
            torch.save({"state_dict": network.state_dict()}, path)
        return network, str(path)

    return write


@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_a_file_gives_all_but_the_head(file, kind):
    theirs, path = file(OTHER, kind)
    ours = begun(OTHER, path)
    assert same_features(theirs, ours)
    torch.manual_seed(1)
    fresh = build_network(OTHER, size=64, classes=2)
    assert ours.classifier.weight.std() < 0.02 < fresh.classifier.weight.std()
    assert not ours.classifier.bias.any()
    assert not same_features(theirs, fresh.eval())


def test_a_transformer_is_fitted_to_another_size(file):
    theirs, path = file("vit_tiny_patch16_224")
    ours = begun("vit_tiny_patch16_224", path, size=64)
    assert ours.pos_embed.shape[1] == 17 and theirs.pos_embed.shape[1] == 197
    assert torch.equal(theirs.blocks[3].mlp.fc1.weight, ours.blocks[3].mlp.fc1.weight)


def test_options_of_the_network_are_kept(file):
    theirs, path = file(OTHER)
    assert same_features(theirs, begun(OTHER, path, drop_rate=0.3))


def test_the_package_is_read_under_its_own_names(tmp_path, monkeypatch):
    """By position: both count the same layers in the same order."""
    theirs = published(LITE)
    short = {"conv_stem": "_conv_stem", "conv_head": "_conv_head", "classifier": "_fc"}
    renamed, blocks = {}, [block for stage in theirs.blocks for block in stage]
    convs = {2: ["_depthwise_conv", "_project_conv"],
             3: ["_expand_conv", "_depthwise_conv", "_project_conv"]}  # fmt: skip
    for name, layer in theirs.named_children():
        if name == "blocks":
            for at, block in enumerate(blocks):
                layers = [m for m in block.modules() if isinstance(m, torch.nn.Conv2d)]
                norms = [m for m in block.modules() if isinstance(m, torch.nn.BatchNorm2d)]
                first = 3 - len(norms)
                for conv, own in zip(layers, convs[len(layers)], strict=True):
                    renamed[f"_blocks.{at}.{own}.weight"] = conv.weight
                for k, norm in enumerate(norms):
                    for key, value in norm.state_dict().items():
                        renamed[f"_blocks.{at}._bn{k + first}.{key}"] = value
        else:
            own = short.get(name) or {"bn1": "_bn0", "bn2": "_bn1"}.get(name)
            renamed |= {f"{own}.{key}": value for key, value in layer.state_dict().items()}
    package = tmp_path / "lite_stand_in"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('not to be run')")
    torch.save(renamed, package / "models" / "weights.pth")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(module, "PACKAGES", {LITE: package.name})
    monkeypatch.setattr(module, "version", lambda _: "0.1.0")
    found = find_pretrained(LITE, True)
    assert found.package and "lite_stand_in 0.1.0" in found.origin
    assert same_features(theirs, begun(LITE, True))
    assert package.name not in sys.modules


@pytest.mark.parametrize("name", sorted(module.PACKAGES))
def test_the_real_packages(name):
    package = module.PACKAGES[name]
    pytest.importorskip(package)
    assert version(package) in find_pretrained(name, True).origin
    network = begun(name, True)
    raw = torch.load(find_pretrained(name, True).file, weights_only=True)
    ours = network.state_dict()
    assert len(raw) == len(ours)
    for (key, value), theirs in zip(ours.items(), raw.values(), strict=True):  # by position
        assert key.startswith("classifier") or torch.equal(value, theirs)


def test_without_package_and_network_one_line_names_both_ways_out(monkeypatch):
    monkeypatch.setattr(module, "PACKAGES", {})

    def no_network(*_, **__):
        raise OSError("Name or service not known\nand more")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", no_network)
    with pytest.raises(UserError) as error:
        begun("mobilenetv2_100", True)
    said = str(error.value)
    assert "model.pretrained=FILE" in said and "model.pretrained=false" in said
    assert "Name or service not known" in said and "\n" not in said


def test_the_hub_gives_all_but_the_head(monkeypatch):
    theirs = published(OTHER)
    asked = []

    def hub(name, *_, **options):
        asked.append((name, options.get("weights_only")))
        return dict(theirs.state_dict())

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", hub)
    name = "mobilenetv2_100"
    theirs = published(name)
    assert same_features(theirs, begun(name, True))
    assert asked == [("timm/mobilenetv2_100.ra_in1k", True)]


RAN = Path(tempfile.gettempdir()) / f"detector-ran-{uuid.uuid4().hex}"


class Runs:
    def __reduce__(self):
        return (open, (str(RAN), "w"))


@pytest.mark.parametrize(
    "content, says",
    [
        (b"", "no file of weights"),
        (b"\x80\x04no", "no file of weights"),
        (pickle.dumps(Runs()), "no file of weights"),
        ("missing", "it lacks"),
        ("numbers", "more than tensors"),
        ("network", "it lacks"),
    ],
)
def test_what_is_no_file_of_these_weights_is_refused(tmp_path, content, says, file):
    path = tmp_path / "weights.pth"
    state = published(OTHER).state_dict()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "missing":
        state.pop("blocks.1.0.bn1.weight")
        torch.save(state, path)
    elif content == "numbers":
        torch.save(dict(state) | {"epoch": 3}, path)
    else:
        torch.save(published("resnet18").state_dict(), path)
    with pytest.raises(UserError, match=says) as error:
        begun(OTHER, str(path))
    assert "\n" not in str(error.value) and not RAN.exists()


def test_a_cut_safetensors_and_tensors_of_another_shape_are_refused(file, tmp_path):
    _, path = file(OTHER)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(Path(path).read_bytes()[:-100])
    with pytest.raises(UserError, match="no whole"):
        begun(OTHER, str(cut))
    with pytest.raises(UserError, match=r"does not fit|it lacks"):
        begun("mobilenetv2_050", path)


@pytest.mark.parametrize(
    "name, wanted, says",
    [
        (OTHER, "/no/such/file.pth", "no such file"),
        (OTHER, "", "no such file"),
        ("cnn6", True, "init_from="),
        ("efficientnet_b8", True, "has no weights"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_made(name, wanted, says):
    with pytest.raises(UserError, match=says):
        find_pretrained(name, wanted)


def test_preprocessing_follows_the_weights_where_it_says_so():
    asked = {"size": "weights", "fit": "crop", "interpolation": "weights", "mean": "weights",
             "std": [1, 1, 1], "max_pixels": 10**6}  # fmt: skip
    made = Preprocess.from_dict(preprocessing_of("resnet18", asked, None))
    assert made.size == 224 and made.interpolation == "bicubic"
    assert made.mean == (0.485, 0.456, 0.406) and made.std == (1, 1, 1)
    assert preprocessing_of("efficientnet_b5", asked, None)["size"] == 448
    assert preprocessing_of("cnn6", {"size": 64}, None) == {"size": 64}
    with pytest.raises(UserError, match="give a value"):
        preprocessing_of("cnn6", asked, None)
    with pytest.raises(UserError, match="fit=weights"):
        preprocessing_of("resnet18", asked | {"fit": "weights"}, None)
