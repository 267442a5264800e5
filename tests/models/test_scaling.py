"""Images as a network is fed them, beside the formula in PyTorch."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from detector.models import scaling
from detector.models.build import build_network
from detector.models.scaling import scaled

FORMATS = (torch.channels_last, torch.contiguous_format)
MEAN, STD = torch.tensor([0.485, 0.5, 0.406]), torch.tensor([0.229, 0.5, 0.225])
MEAN, STD = MEAN.view(1, 3, 1, 1), STD.view(1, 3, 1, 1)


def by_formula(images: Tensor) -> Tensor:
    return (images.float() / 255 - MEAN) / STD


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(0, 5), height=st.integers(1, 40), width=st.integers(1, 40),
    before=st.sampled_from(FORMATS), after=st.sampled_from(FORMATS),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    kind=st.sampled_from([torch.uint8, torch.float32]), seed=st.integers(0, 2**32),
)  # fmt: skip
def test_it_is_the_formula_to_the_bit(n, height, width, before, after, dtype, kind, seed):
    torch.manual_seed(seed)
    images = torch.randint(0, 256, (n, 3, height, width)).to(kind)
    images = images.contiguous(memory_format=before)
    kept = images.clone()
    found = scaled(images, MEAN, STD, after, dtype)
    assert found.dtype in (torch.float32, dtype)
    assert torch.equal(found, by_formula(images).to(found.dtype))
    assert found.is_contiguous(memory_format=after)
    assert torch.equal(images, kept)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_byte_with_and_without_the_loop(monkeypatch, dtype):
    images = torch.arange(256, dtype=torch.uint8).repeat(6, 1).view(2, 3, 16, 16)
    images = images.contiguous(memory_format=torch.channels_last)
    found = scaled(images, MEAN, STD, torch.channels_last, dtype)
    assert found.dtype == dtype
    monkeypatch.setattr(scaling, "available", lambda: False)
    slow = scaled(images, MEAN, STD, torch.channels_last, dtype)
    assert slow.dtype == torch.float32
    assert torch.equal(found, slow.to(dtype))


@pytest.mark.parametrize("name", ["cnn2", "cnn6"])
def test_small_networks_round_at_their_first_layer_under_autocast(name):
    own = {"conv_dropout": 0.1, "dropout": 0.5}
    network = build_network(name=name, size=32, classes=2, **own).eval()
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    images = by_formula(images).contiguous(memory_format=torch.channels_last)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(network(images), network(images.to(torch.bfloat16)))
