"""A convolution and what follows it, a few images at a time, beside PyTorch's own."""

import copy
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.utils._python_dispatch import TorchDispatchMode

from detector.models import convolved, fused
from detector.models.build import build_network
from detector.models.dropout import Dropout
from detector.models.fused import SEVERAL, FusedSequential
from detector.models.shared import last

TWO_BYTES = torch.bfloat16


def block(inputs: int, outputs: int, kernel: int = 3, bias: bool = True, p: float | None = 0.25):
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias)
    drop = [] if p is None else [Dropout(p)]
    layers = FusedSequential(conv, nn.MaxPool2d(2), nn.ReLU(inplace=True), *drop)
    return layers.to(memory_format=torch.channels_last)


def trained(layers: nn.Module, images: Tensor, upstream: Tensor, seed: int, **casting) -> dict:
    """Output and gradients of a step."""
    own = copy.deepcopy(layers)
    images = images.detach().clone().requires_grad_()
    torch.manual_seed(seed)
    with torch.autocast("cpu", torch.bfloat16, **casting):
        out = own(images)
    out.backward(upstream.to(out.dtype))
    return {"out": out.detach(), "images": images.grad} | {
        name: p.grad for name, p in own.named_parameters()
    }


@pytest.fixture
def parts(monkeypatch):
    """How many images went through a convolution at a time."""
    seen, split = [], convolved._parts

    def noted(n, size):
        for part in split(n, size):
            seen.append(part.stop - part.start)
            yield part

    monkeypatch.setattr(convolved, "_parts", noted)
    return seen


@settings(max_examples=60, deadline=None, derandomize=True)  # a last bit may move a maximum
@given(
    n=st.integers(1, 9), inputs=st.integers(2, 17), outputs=st.integers(1, 33),
    half=st.tuples(st.integers(1, 6), st.integers(1, 6)), kernel=st.sampled_from([1, 3, 5]),
    bias=st.booleans(), p=st.sampled_from([None, 0.25, 0.1]), seed=st.integers(0, 2**32),
    part=st.sampled_from([1, 5000, 10**9]), bf16=st.booleans(),
)  # fmt: skip
def test_output_and_gradients(n, inputs, outputs, half, kernel, bias, p, seed, part, bf16):
    # Of one channel PyTorch's convolution writes planes, in whose order its mask then lies.
    torch.manual_seed(seed)
    layers = block(inputs, outputs, kernel, bias, p)
    images = last(torch.randn(n, inputs, 2 * half[0], 2 * half[1]))
    upstream = last(torch.randn(n, outputs, *half))
    assert fused.fits(images, fused.find_run(list(layers)), list(layers))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolved, "PART", part)
        found = trained(layers, images, upstream, seed, enabled=bf16)
    apart = trained(nn.Sequential(*layers), images, upstream, seed, enabled=bf16)
    assert found["out"].dtype is (TWO_BYTES if bf16 else torch.float32)
    rounding = 2**-6 if bf16 else 1e-4
    for name, expected in apart.items():
        # Of a sum of many a part is rounded elsewhere: beside its largest, not each beside itself.
        scale = float(expected.abs().max())
        torch.testing.assert_close(
            found[name], expected, rtol=rounding, atol=rounding * scale,
            msg=lambda told, name=name: f"{name}: {told}",
        )  # fmt: skip


def test_in_bfloat16_gradients_are_as_near_to_the_truth_as_those_of_the_layers():
    torch.manual_seed(0)
    layers = block(16, 32, p=None)
    images, upstream = last(torch.randn(32, 16, 20, 20)), last(torch.randn(32, 32, 10, 10))
    # Numbers that bfloat16 has, so that only what is added up is rounded.
    images, upstream = images.to(TWO_BYTES).float(), upstream.to(TWO_BYTES).float()
    layers.load_state_dict({k: v.to(TWO_BYTES).float() for k, v in layers.state_dict().items()})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolved, "PART", 1)
        found = trained(layers, images, upstream, 0, enabled=True)
    apart = trained(nn.Sequential(*layers), images, upstream, 0, enabled=True)
    doubled = nn.Sequential(*copy.deepcopy(layers)).double()
    truth = trained(doubled, images.double(), upstream.double(), 0, enabled=False)
    for name in ("0.weight", "0.bias"):
        errors = [float((one[name].double() - truth[name]).norm()) for one in (found, apart)]
        assert errors[0] <= 1.05 * errors[1] < 0.1 * float(truth[name].norm()), name


def test_without_rounding_of_sums_it_is_the_same_to_the_bit():
    """Whole numbers: sums of them are exact in float32, in whatever order."""
    torch.manual_seed(0)
    layers = block(3, 8)
    with torch.no_grad():
        for p in layers.parameters():
            p.copy_(torch.randint(-3, 4, p.shape))
    images, upstream = torch.randint(-9, 9, (7, 3, 12, 12)), torch.randint(-9, 9, (7, 8, 6, 6))
    images, upstream = last(images.float()), last(upstream.float() * 3)  # kept ones times 4/3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolved, "PART", 1)
        found = trained(layers, images, upstream, 5, enabled=False)
    apart = trained(nn.Sequential(*layers), images, upstream, 5, enabled=False)
    assert all(torch.equal(found[name], apart[name]) for name in apart)


@pytest.mark.parametrize("wanted", [*itertools.product([True, False], repeat=3)])
def test_what_needs_no_gradient_is_not_calculated(wanted):
    layers, images, masks = block(3, 4), last(torch.randn(5, 3, 8, 8)), []

    class Masks(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            if function is torch.ops.aten.convolution_backward.default:
                masks.append(tuple(args[-1]))
            return function(*args, **(kwargs or {}))

    inputs = images, layers[0].weight, layers[0].bias
    for one, need in zip(inputs, wanted, strict=True):
        one.requires_grad_(need)
    out = layers(images).sum()
    if any(wanted):
        with Masks():
            out.backward()
    assert set(masks) == ({wanted} if any(wanted) else set())
    assert [one.grad is not None for one in inputs] == list(wanted)


def test_nothing_of_the_convolution_s_size_is_kept():
    layers, images, kept = block(3, 32), last(torch.randn(4, 3, 64, 64)), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        layers(images)
    places = 4 * 32 * 32 * 32  # a byte each
    assert sum(t.numel() * t.element_size() for t in kept) == (
        4 * images.numel() + 4 * layers[0].weight.numel() + places
    )


@pytest.mark.parametrize("bf16", [True, False])
def test_evaluation_goes_in_parts_too(bf16, parts, monkeypatch):
    torch.manual_seed(0)
    network = build_network("cnn2", size=64, classes=2, conv_dropout=0.25, dropout=0.5).eval()
    network.to(memory_format=torch.channels_last)
    images, logits = last(torch.randn(SEVERAL + 1, 3, 64, 64)), []
    monkeypatch.setattr(convolved, "PART", 10 * 32 * 64 * 64 * (2 if bf16 else 4))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    for available in (True, False):
        monkeypatch.setattr(fused, "available", lambda available=available: available)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits.append(network(images))
    torch.testing.assert_close(*logits)  # as near as another way of multiplying comes
    # Of the second block, half as high and wide and of twice the channels, twice as many.
    assert parts == [10, 10, 10, 3, 20, 13]


@pytest.mark.parametrize("conv", [
    nn.Conv2d(4, 4, 3),
    nn.Conv2d(4, 4, 3, padding=1, stride=2),
    nn.Conv2d(4, 4, 3, padding=2, dilation=2),
    nn.Conv2d(4, 4, 3, padding=1, groups=2),
    nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
    nn.Conv2d(4, 4, (3, 2), padding="same"),
    nn.Conv2d(4, 4, 3, padding=1).double(),
])  # fmt: skip
def test_other_convolutions_go_by_themselves(conv, parts):
    layers = FusedSequential(conv, nn.MaxPool2d(2), nn.ReLU())
    images = last(torch.randn(2, 4, 10, 10).to(conv.weight.dtype))
    assert torch.equal(layers(images), nn.Sequential(*layers)(images)) and not parts


@pytest.mark.parametrize("bf16", [True, False])
def test_a_convolution_of_another_precision_is_refused_as_by_pytorch(bf16, parts):
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        with pytest.raises(RuntimeError, match="type"):
            block(3, 4).double()(last(torch.randn(2, 3, 8, 8)))
        own = block(3, 4).bfloat16()  # its gradients would be added up in its own precision
        own(last(torch.randn(2, 3, 8, 8).bfloat16()))
    assert not parts


def test_tangents_of_weights_are_kept():
    layers, images = block(3, 4, p=None).eval(), last(torch.randn(SEVERAL, 3, 8, 8))
    with torch.no_grad(), forward_ad.dual_level():
        own = {name: forward_ad.make_dual(p, p + 1) for name, p in layers.state_dict().items()}
        out = torch.func.functional_call(layers, own, images)
        assert forward_ad.unpack_dual(out).tangent is not None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_compiler_finds_all_layers_in_one_graph(dtype):
    graphs = []

    def kept(graph, inputs):
        graphs.append([node.name for node in graph.graph.nodes if node.op.startswith("call")])
        return graph.forward

    layers = block(3, 4, p=None).to(dtype)
    torch.compile(layers, backend=kept)(last(torch.randn(2, 3, 8, 8)).to(dtype))
    torch.compiler.reset()
    assert len(graphs) == 1 and len(graphs[0]) == 3


def test_a_convolution_whose_output_somebody_wants_goes_by_itself(parts):
    layers, heard = block(3, 4), []
    layers[0].register_forward_hook(lambda *given: heard.append(given[2].shape))
    layers(last(torch.randn(2, 3, 8, 8)))
    assert heard == [(2, 4, 8, 8)] and not parts


def test_a_batch_norm_knows_the_whole_batch(parts):
    conv = nn.Conv2d(3, 4, 3, padding=1)
    layers = FusedSequential(conv, nn.BatchNorm2d(4), nn.MaxPool2d(2), nn.ReLU())
    layers(last(torch.randn(2, 3, 8, 8)))
    assert not parts


@pytest.mark.parametrize("threads", [1, 2, 3, 64])
def test_each_thread_has_as_many_images(threads, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    for n in (1, 2, 31, 32):
        for size in (1 << 20, 5 << 20, 50 << 20):
            parts = list(convolved._parts(n, size))
            images = [at for part in parts for at in range(n)[part]]
            assert images == list(range(n))
            for part in parts[:-1]:
                length = part.stop - part.start
                assert length % threads == 0 and (length * size <= 12 << 20 or length == threads)
