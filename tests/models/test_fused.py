"""Layers that are trained as one, beside PyTorch's own, one after the other."""

import copy
import importlib.util
import math
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.nn.modules.module import register_module_forward_hook
from torch.utils.flop_counter import FlopCounterMode

from detector import compiled
from detector.models import fused
from detector.models.build import build_network
from detector.models.dropout import Dropout
from detector.models.fused import SEVERAL, FusedSequential

TWO_BYTES = torch.bfloat16


@pytest.fixture
def calls(monkeypatch):
    """How often layers went as one."""
    seen, run = [], fused.run_fused

    def counted(values, found):
        seen.append(found.length)
        return run(values, found)

    monkeypatch.setattr(fused, "run_fused", counted)
    return seen


def both(layers: FusedSequential, values: Tensor, upstream: Tensor, seed: int = 0) -> list[dict]:
    """Output, gradients and statistics: as one, and layer by layer."""
    found = []
    for own in (copy.deepcopy(layers), nn.Sequential(*copy.deepcopy(layers))):
        given_ = values.detach().clone().requires_grad_()  # as one it is an input, so kept
        torch.manual_seed(seed)
        out = own(given_)
        out.backward(upstream)
        found.append(
            {"out": out.detach(), "input": given_.grad}
            | {name: p.grad for name, p in own.named_parameters()}
            | {name: b.clone() for name, b in own.named_buffers()}
        )
    return found


def normed(channels: int, seed: int, p: float | None = 0.1) -> FusedSequential:
    norm, drawn = nn.BatchNorm2d(channels), torch.Generator().manual_seed(seed)
    with torch.no_grad():  # weights of both signs, and of none: then all of a window are equal
        norm.weight.copy_(torch.randn(channels, generator=drawn))
        norm.weight[channels // 2] = 0
        norm.bias.copy_(torch.randn(channels, generator=drawn))
    drop = [] if p is None else [nn.Dropout2d(p)]
    return FusedSequential(norm, nn.MaxPool2d(2, ceil_mode=True), nn.ReLU(inplace=True), *drop)


def last(values: Tensor) -> Tensor:
    return values.contiguous(memory_format=torch.channels_last)


shapes = st.tuples(st.integers(1, 5), st.integers(1, 40), st.integers(1, 9), st.integers(1, 9))


@settings(max_examples=40, deadline=None)
@given(shape=shapes.filter(lambda s: s[0] * s[2] * s[3] > 1), seed=st.integers(0, 2**32),
       p=st.sampled_from([None, 0.1, 0.5]), mean=st.sampled_from([0.0, 100.0]))  # fmt: skip
def test_output_gradients_and_statistics_in_float32(shape, seed, p, mean):
    torch.manual_seed(seed)
    n, channels, height, width = shape
    values = last(torch.randn(shape) + mean)
    upstream = last(torch.randn(n, channels, -(-height // 2), -(-width // 2)))
    one, layers = both(normed(channels, seed, p), values, upstream, seed)
    # A spread that is small beside the mean is lost in float32's rounding, there as here.
    rounding = 1e-4 if mean == 0 else 2e-2
    for name, expected in layers.items():
        if name == "input" and n * height * width < 4:
            continue  # of so few numbers the gradient is a difference of equal ones
        torch.testing.assert_close(
            one[name], expected, rtol=rounding, atol=rounding,
            msg=lambda told, name=name: f"{name}: {told}",
        )  # fmt: skip


def test_in_bfloat16_it_is_nearer_to_the_truth_than_the_layers():
    torch.manual_seed(0)
    values, upstream = torch.randn(8, 32, 28, 28), torch.randn(8, 32, 14, 14)
    values, upstream = last(values.to(TWO_BYTES)), last(upstream.to(TWO_BYTES))
    one, layers = both(normed(32, 1), values, upstream)
    exact = nn.Sequential(*copy.deepcopy(normed(32, 1))).double()
    given_ = values.double().requires_grad_()
    torch.manual_seed(0)
    noise = torch.empty((8, 32, 1, 1), dtype=TWO_BYTES).bernoulli_(0.9).double() / 0.9
    out = exact[:3](given_) * noise
    out.backward(upstream.double())
    truth = {"out": out.detach(), "input": given_.grad}
    truth |= {name: p.grad for name, p in exact.named_parameters()}
    for name, true in truth.items():
        error, of_layers = (float((found[name] - true).norm()) for found in (one, layers))
        assert error <= 1.01 * of_layers, name
        assert error < 0.01 * float(true.norm()), name


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 4), channels=st.integers(1, 40), height=st.integers(1, 5),
    width=st.integers(1, 5), p=st.sampled_from([0.25, 0.1]), seed=st.integers(0, 2**32),
    dtype=st.sampled_from([torch.float32, TWO_BYTES]), ties=st.booleans(),
)  # fmt: skip
def test_without_batch_norm_it_is_the_same_to_the_bit(
    n, channels, height, width, p, seed, dtype, ties
):
    torch.manual_seed(seed)
    values = torch.randn(n, channels, 2 * height, 2 * width)
    values = last((values.round() if ties else values).to(dtype))
    upstream = last(torch.randn(n, channels, height, width).to(dtype))
    for layers in (
        FusedSequential(nn.MaxPool2d(2), nn.ReLU(inplace=True), Dropout(p)),
        FusedSequential(nn.MaxPool2d(2), nn.ReLU(inplace=True)),
    ):
        one, apart = both(layers, values, upstream, seed)
        assert torch.equal(one["out"], apart["out"])
        assert torch.equal(one["input"], apart["input"])


def test_what_is_no_number_stays_none():
    values = torch.ones(2, 3, 4, 4)
    for at in ((0, 0), (0, 1), (1, 0), (1, 1)):
        bad = values.clone()
        bad[1, 1, at[0], at[1]] = math.nan
        out = FusedSequential(nn.MaxPool2d(2), nn.ReLU())(last(bad))
        expected = nn.Sequential(nn.MaxPool2d(2), nn.ReLU())(bad)
        assert torch.equal(out.isnan(), expected.isnan()) and out.isnan().sum() == 1
        out = normed(3, 0, None)(last(bad.to(TWO_BYTES)))
        assert out[:, 1].isnan().all() and not out[:, ::2].isnan().any()


def test_the_number_of_threads_changes_no_bit():
    torch.manual_seed(0)
    values, upstream = last(torch.randn(7, 16, 10, 10)), last(torch.randn(7, 16, 5, 5))
    own, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(both(normed(16, 0), values, upstream)[0])
    finally:
        torch.set_num_threads(own)
    for other in found[1:]:
        assert all(torch.equal(found[0][name], other[name]) for name in found[0])


@settings(max_examples=40, deadline=None)
@given(shape=shapes, seed=st.integers(0, 2**32), dtype=st.sampled_from([torch.float32, TWO_BYTES]),
       bad=st.booleans())  # fmt: skip
def test_evaluation_is_that_of_the_layers(shape, seed, dtype, bad):
    torch.manual_seed(seed)
    n, channels, height, width = shape
    values = last(torch.randn(n + SEVERAL, channels, height, width).to(dtype))
    if bad:
        values[0, 0, -1, -1], values[1, 0, 0, 0] = math.nan, math.inf
    layers = normed(channels, seed).eval()
    layers[0].running_mean.normal_()
    layers[0].running_var.uniform_(0, 2)
    with torch.no_grad():
        assert fused.fits(values, fused.find_run(list(layers)), list(layers))
        found, expected = layers(values), nn.Sequential(*layers)(values)
        rounding = 2**-7 if dtype is TWO_BYTES else 1e-5  # one step of its numbers
        torch.testing.assert_close(found, expected, rtol=rounding, atol=1e-5, equal_nan=True)
        # Without a norm nothing is rounded.
        assert fused.fits(values, fused.find_run(list(layers[1:])), list(layers[1:]))
        bits, apart = layers[1:](values), nn.Sequential(*layers[1:])(values)
        assert torch.equal(bits.nan_to_num(7), apart.nan_to_num(7))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("channels", [3, 6])
def test_a_norm_of_other_channels_is_refused_as_by_pytorch(training, channels, calls):
    layers = normed(channels, 0).train(training)
    with torch.no_grad(), pytest.raises(RuntimeError, match=f"{channels}"):
        layers(last(torch.randn(SEVERAL, 4, 6, 6)))
    assert calls == []


def test_whoever_watches_sees_each_layer(calls):
    layers, values = normed(4, 0).eval(), last(torch.randn(SEVERAL, 4, 6, 6))
    seen = []
    listening = register_module_forward_hook(lambda module, *_: seen.append(type(module)))
    with torch.no_grad():
        layers(values)
        listening.remove()
        assert nn.ReLU in seen
        with FlopCounterMode(display=False):
            layers(values)
        with FakeTensorMode(allow_non_fake_inputs=True) as fake:
            assert layers(fake.from_tensor(values)).shape == (SEVERAL, 4, 3, 3)
    tangent = last(torch.randn(SEVERAL, 4, 6, 6))
    with torch.no_grad(), forward_ad.dual_level():
        found = forward_ad.unpack_dual(layers(forward_ad.make_dual(values, tangent))).tangent
    assert found is not None and calls == []


def test_who_evaluates_that_way(calls):
    layers, values = normed(4, 0).eval(), last(torch.randn(SEVERAL, 4, 6, 6))
    with torch.no_grad():
        layers(values[1:])  # few
        layers[3].train()
        layers(values)  # dropout alone: its layers differ in mode
    layers[3].eval()
    layers(values).sum().backward()  # somebody wants gradients
    with torch.no_grad():
        traced = torch.jit.trace(layers, values, check_trace=False)
        assert calls == []
        other = last(torch.randn(SEVERAL, 4, 6, 6))
        torch.testing.assert_close(traced(other), nn.Sequential(*layers)(other))
        layers(values)
    with torch.inference_mode():
        layers(values)
    assert calls == [4, 4]


@pytest.mark.parametrize(("name", "runs"), [("cnn2", [4, 4]), ("cnn3", [3] * 3), ("cnn6", [4] * 6)])
def test_the_small_networks_train_that_way_and_learn_the_same(name, runs, calls, monkeypatch):
    options = {"cnn2": {"conv_dropout": 0.25, "dropout": 0.5}, "cnn3": {"dropout": 0.5},
               "cnn6": {"conv_dropout": 0.1, "dropout": 0.5}}[name]  # fmt: skip
    torch.manual_seed(0)
    network = build_network(name, size=64, classes=2, **options).train()
    network.to(memory_format=torch.channels_last)
    images = last(torch.randn(4, 3, 64, 64))
    gradients = []
    for available in (True, False):
        monkeypatch.setattr(fused, "available", lambda available=available: available)
        own = copy.deepcopy(network)
        torch.manual_seed(1)
        nn.functional.cross_entropy(own(images), torch.tensor([0, 1, 0, 1])).backward()
        gradients.append({key: p.grad for key, p in own.named_parameters()})
        own.eval()(images)
    assert calls == runs
    for key, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][key], rtol=1e-3, atol=1e-5)


def test_layers_are_called_one_by_one_where_somebody_listens(calls):
    layers, heard = normed(4, 0).train(), []
    layers[2].register_forward_hook(lambda *_: heard.append(1))
    layers(last(torch.randn(2, 4, 6, 6)))
    assert heard == [1] and calls == []


@pytest.mark.parametrize(
    "layers",
    [
        FusedSequential(nn.MaxPool2d(3), nn.ReLU()),
        FusedSequential(nn.MaxPool2d(2, stride=1), nn.ReLU()),
        FusedSequential(nn.MaxPool2d(2, padding=1), nn.ReLU()),
        FusedSequential(nn.BatchNorm2d(4, affine=False), nn.MaxPool2d(2), nn.ReLU()),
        FusedSequential(nn.BatchNorm2d(4, momentum=None), nn.MaxPool2d(2), nn.ReLU()),
        FusedSequential(nn.BatchNorm2d(4).eval(), nn.MaxPool2d(2), nn.ReLU()),
        FusedSequential(nn.MaxPool2d(2), nn.ReLU(), Dropout(1.0)),
        FusedSequential(nn.MaxPool2d(2), nn.Sigmoid()),
        FusedSequential(nn.ReLU(), nn.MaxPool2d(2)),
    ],
)
def test_other_layers_go_one_by_one(layers, calls):
    out = layers(last(torch.randn(2, 4, 6, 6)))
    normed_apart = isinstance(layers[0], nn.BatchNorm2d)  # what follows it may go as one
    assert calls == ([2] if normed_apart else []) and out.shape[:2] == (2, 4)


@pytest.mark.parametrize("values", [
    torch.randn(2, 4, 6, 6),  # planes
    last(torch.randn(2, 4, 7, 6)),  # rounded down, the last row is in no window
    last(torch.randn(2, 4, 6, 6)).double(),
])  # fmt: skip
def test_other_inputs_go_one_by_one(values, calls):
    layers = FusedSequential(nn.MaxPool2d(2), nn.ReLU())
    assert torch.equal(layers(values), nn.Sequential(*layers)(values)) and calls == []


def test_a_single_value_a_channel_is_refused_as_by_pytorch():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        normed(3, 0)(last(torch.randn(1, 3, 1, 1)))


def test_a_numba_that_cannot_be_imported_counts_as_none(monkeypatch):
    assert compiled.available.__wrapped__() is (importlib.util.find_spec("numba") is not None)
    monkeypatch.setitem(sys.modules, "numba", None)  # Python then refuses to import it
    monkeypatch.setattr(compiled.importlib.util, "find_spec", lambda name: name)
    assert compiled.available.__wrapped__() is False


def test_without_numba_the_layers_do_it(monkeypatch, calls):
    monkeypatch.setattr(fused, "available", lambda: False)
    normed(3, 0)(last(torch.randn(2, 3, 4, 4)))
    assert calls == []


def test_rounding_to_bfloat16_is_pytorchs():
    bits = np.random.default_rng(0).integers(0, 2**32, 4096, np.uint64).astype(np.uint32)
    values = torch.from_numpy(bits.view(np.float32)).reshape(1, 1, 2, 2048).abs()
    from detector.models.kernels import spread

    n = values.numel()
    # A gradient that passes through is float32 times 1, rounded to the bits of what it goes into.
    dx = np.zeros((1, 2, 2 * n, 1), np.uint16)
    dy = values.reshape(1, 1, n, 1).numpy()
    spread(None, np.ones((1, 1), np.float32), None, None, dy, np.zeros((1, 1, n, 1), np.uint8),
           0, 1, dx)  # fmt: skip
    expected = values.flatten().to(TWO_BYTES)
    found = torch.from_numpy(dx[0, 0, ::2, 0].copy()).view(TWO_BYTES)
    assert torch.equal(found.isnan(), expected.isnan())
    kept = ~expected.isnan()
    assert torch.equal(found[kept], expected[kept])
