"""Dropout whose masks are drawn by NumPy, beside what dropout is by its definition."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from detector.models.build import build_network
from detector.models.dropout import Dropout


def masked(p: float, *shape: int, dtype=torch.float32) -> torch.Tensor:
    """What becomes of ones: 0, or 1 / (1 - p)."""
    return Dropout(p)(torch.ones(shape, dtype=dtype))


@pytest.mark.parametrize("p", [0.25, 0.1, 0.5, 1 / 3, 0.9])
def test_the_share_of_zeros_is_p(p):
    n = 1_000_000
    zeros = int((masked(p, n) == 0).sum())
    assert stats.binomtest(zeros, n, p).pvalue > 1e-6
    # A share that is off by a 256th would be seen.
    assert stats.binomtest(zeros, n, p - 1 / 256).pvalue < 1e-6


@pytest.mark.parametrize("p", [0.25, 0.1])
def test_elements_are_dropped_independently(p):
    kept = (masked(p, 4, 250, 250) != 0).numpy().astype(float)
    flat = kept.ravel() - kept.mean()
    for lag in (1, 2, 7, 8, 250, 62500):  # within a word, over words, rows, images
        r = np.corrcoef(flat[:-lag], flat[lag:])[0, 1]
        assert abs(r) * np.sqrt(len(flat)) < 5, lag
    again = (masked(p, 4, 250, 250) != 0).numpy().astype(float).ravel()
    assert abs(np.corrcoef(flat, again)[0, 1]) * np.sqrt(len(flat)) < 5


@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(0, 9), min_size=1, max_size=4),
    p=st.floats(0.001, 0.999),
    dtype=st.sampled_from([torch.float64, torch.float32, torch.float16, torch.bfloat16]),
    order=st.randoms(use_true_random=False),
    seed=st.integers(0, 2**32),
)
def test_what_stays_is_divided_by_1_minus_p_and_so_is_its_gradient(shape, p, dtype, order, seed):
    torch.manual_seed(seed)
    axes = list(range(len(shape)))
    order.shuffle(axes)
    values = torch.randn(shape, dtype=torch.float64).to(dtype).permute(axes)[..., ::2]
    values = (values + (values == 0)).detach().requires_grad_()
    found = Dropout(p)(values)
    upstream = torch.randn_like(values)
    found.backward(upstream)
    kept = found != 0
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    scale = 1 / (1 - p)
    torch.testing.assert_close(found[kept], (values.detach()[kept].to(wide) * scale).to(dtype))
    torch.testing.assert_close(values.grad, (upstream.to(wide) * scale).to(dtype) * kept)
    assert found.shape == values.shape and found.dtype == dtype


def test_a_run_is_repeated_by_its_seed_and_resumed_by_its_state():
    torch.manual_seed(3)
    first, state = masked(0.25, 1000), torch.get_rng_state()
    second = masked(0.25, 1000)
    assert not torch.equal(first, second)
    torch.set_rng_state(state)
    assert torch.equal(masked(0.25, 1000), second)
    torch.manual_seed(3)
    assert torch.equal(masked(0.25, 1000), first)


def test_the_order_in_memory_is_kept_and_does_not_matter():
    images = torch.randn(2, 8, 6, 6).to(memory_format=torch.channels_last)
    assert Dropout(0.5)(images).is_contiguous(memory_format=torch.channels_last)
    expanded = torch.ones(1, 3).expand(4, 3)
    assert set(Dropout(0.5)(expanded).flatten().tolist()) <= {0.0, 2.0}


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_nothing_and_all(p):
    assert torch.equal(masked(p, 50), torch.full((50,), 1 - p))


def test_it_does_nothing_in_eval_and_comes_where_pytorch_has_its_own():
    images = torch.randn(3, 4)
    assert Dropout(0.5).eval()(images) is not None
    assert torch.equal(Dropout(0.5).eval()(images), images)
    network = build_network("cnn2", size=32, classes=2, conv_dropout=0.25, dropout=0.5)
    kinds = [type(layer) for layer in network.modules() if isinstance(layer, nn.Dropout)]
    assert kinds == [Dropout, Dropout, nn.Dropout]


def test_within_autocast():
    layers = nn.Sequential(nn.Linear(64, 64), Dropout(0.25))
    with torch.autocast("cpu", torch.bfloat16):
        found = layers(torch.randn(32, 64))
    assert found.dtype == torch.bfloat16
    found.float().sum().backward()
    assert layers[0].weight.grad is not None
