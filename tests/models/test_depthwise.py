"""Gradients of depthwise convolutions against float32's own, and who is left alone."""

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from detector.models.depthwise import QuickDepthwise


def run(images, weight, bias, how, *, mode, bf16=True):
    """Output, and gradients of images, weight and bias (None where there is none)."""
    leaves = [
        None if x is None else x.detach().clone().requires_grad_() for x in (images, weight, bias)
    ]
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        if mode:
            with QuickDepthwise():
                out = F.conv2d(*leaves, **how)
        else:
            out = F.conv2d(*leaves, **how)
    pull = torch.linspace(-1, 1, out.numel()).reshape(out.shape)
    (out.float() * pull).sum().backward()
    return out.detach(), *(None if x is None else x.grad for x in leaves)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(2, 9), st.sampled_from([1, 3, 5]), st.integers(1, 2), st.integers(1, 2),
    st.integers(0, 2), st.sampled_from([1, 2]), st.booleans(), st.booleans(), st.integers(0, 99),
)  # fmt: skip
def test_the_output_is_bfloat16_s_and_the_gradients_are_float32_s(
    channels, kernel, stride, dilation, padding, multiplier, biased, last, seed
):
    draw = torch.Generator().manual_seed(seed)
    images = torch.randn(2, channels, 13, 12, generator=draw)
    if last:
        images = images.contiguous(memory_format=torch.channels_last)
    weight = torch.randn(channels * multiplier, 1, kernel, kernel, generator=draw)
    bias = torch.randn(channels * multiplier, generator=draw) if biased else None
    how = {"stride": stride, "padding": padding, "dilation": dilation, "groups": channels}
    ours = run(images, weight, bias, how, mode=True)
    theirs = run(images, weight, bias, how, mode=False)
    assert torch.equal(ours[0], theirs[0])
    assert ours[0].is_contiguous(memory_format=torch.channels_last) == theirs[0].is_contiguous(
        memory_format=torch.channels_last
    )
    # What float32 gives for what bfloat16 saw of images, weights being used as they are.
    _, of_images, _, of_bias = run(images, weight, bias, how, mode=False, bf16=False)
    _, _, of_weight, _ = run(images.bfloat16().float(), weight, bias, how, mode=False, bf16=False)
    for mine, exact in zip(ours[1:], (of_images, of_weight, of_bias), strict=True):
        assert (mine is None) == (exact is None)
        if mine is not None:
            # The gradient that comes in was rounded to bfloat16 (2^-8), and sums may cancel.
            assert mine.dtype == torch.float32
            assert (mine - exact).abs().max() <= 2**-6 * exact.abs().max() + 1e-6


def test_other_convolutions_and_other_types_are_left_alone(monkeypatch):
    from detector.models import depthwise

    def fail(*args):
        raise AssertionError("went through Depthwise")

    monkeypatch.setattr(depthwise.Depthwise, "apply", fail)
    images = torch.randn(1, 4, 8, 8)
    with QuickDepthwise():
        F.conv2d(images, torch.randn(4, 1, 3, 3), groups=4)  # no autocast
        with torch.autocast("cpu", torch.bfloat16):
            F.conv2d(images, torch.randn(6, 4, 3, 3))
            F.conv2d(images, torch.randn(6, 2, 3, 3), groups=2)
            F.conv2d(images[:, :1], torch.randn(6, 1, 3, 3))
            F.conv2d(images, torch.randn(4, 1, 3, 3), padding="same", groups=4)
            with pytest.raises(AssertionError, match="went through"):
                F.conv2d(images, torch.randn(4, 1, 3, 3), None, (1, 1), 1, groups=4)


@pytest.mark.parametrize("first", [True, False])
def test_what_is_frozen_gets_no_gradient(first):
    images, weight = torch.randn(1, 4, 8, 8, requires_grad=first), torch.randn(4, 1, 3, 3)
    weight.requires_grad_(not first)
    with torch.autocast("cpu", torch.bfloat16), QuickDepthwise():
        F.conv2d(images, weight, groups=4).float().sum().backward()
    assert (images.grad is None) == (not first)
    assert (weight.grad is None) == first


def test_a_network_s_step_is_that_of_bfloat16_within_its_rounding():
    torch.manual_seed(0)
    network = timm.create_model("mobilenetv2_050", num_classes=2, drop_rate=0.0).train()
    network = network.to(memory_format=torch.channels_last)
    images = torch.randn(8, 3, 64, 64)

    def gradients(bf16: bool, mode: bool) -> torch.Tensor:
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            if mode:
                with QuickDepthwise():
                    logits = network(images)
            else:
                logits = network(images)
        F.cross_entropy(logits.float(), torch.arange(8) % 2).backward()
        return torch.cat([w.grad.flatten() for w in network.parameters()])

    exact, plain, quick = gradients(False, False), gradients(True, False), gradients(True, True)
    off_plain, off_quick = ((g - exact).norm() / exact.norm() for g in (plain, quick))
    assert 0 < off_quick <= 1.1 * off_plain
