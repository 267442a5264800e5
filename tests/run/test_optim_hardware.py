"""Schedules in closed form; choices of device and precision with their reasons."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from detector.errors import UserError
from detector.run import hardware
from detector.run.hardware import choose_hardware
from detector.run.optim import make_optimizer, rate_factor

ADAM = {"name": "adam", "lr": 0.1, "weight_decay": 0, "head_lr": None, "layer_decay": 1.0}
FLAT = {"name": "none", "warmup_epochs": 0}


@given(st.integers(1, 500), st.integers(0, 50), st.booleans())
def test_rate_rises_then_falls_and_stays_in_range(total, warmup, cosine):
    factors = [rate_factor(s, total=total, warmup=warmup, cosine=cosine) for s in range(total)]
    assert all(0 <= factor <= 1 for factor in factors)
    rising, falling = factors[:warmup], factors[warmup:]
    assert rising == sorted(rising) and falling == sorted(falling, reverse=True)


def test_cosine_is_half_a_cosine():
    for step in range(10, 110):
        expected = (1 + math.cos(math.pi * (step - 10) / 100)) / 2
        assert rate_factor(step, total=110, warmup=10, cosine=True) == pytest.approx(expected)
    assert rate_factor(500, total=110, warmup=10, cosine=True) == 0


def test_schedule_is_followed_step_by_step():
    network = nn.Linear(2, 2)
    made = make_optimizer(network, ADAM, {"name": "cosine", "warmup_epochs": 1}, 20, 5, fused=True)
    optimizer, scheduler = made["optimizer"], made["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(20):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[:4] == pytest.approx([0.025, 0.05, 0.075, 0.1])
    assert rates[-1] < 0.005 and made["lr_scheduler"]["interval"] == "step"


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_optimizers_descend_and_leave_frozen_weights(name):
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    network[0].requires_grad_(False)
    frozen = network[0].weight.clone()
    optimizer = make_optimizer(network, ADAM | {"name": name}, FLAT, 10, 1, fused=True)["optimizer"]
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = network(torch.ones(4, 3)).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] and torch.equal(network[0].weight, frozen)


@pytest.mark.parametrize(
    "cuda, mps, bf16, expected",
    [
        (True, False, False, ("gpu", "bf16-mixed", True)),
        (False, True, True, ("mps", "32-true", False)),
        (False, False, True, ("cpu", "bf16-mixed", True)),
        (False, False, False, ("cpu", "32-true", True)),
    ],
)
def test_automatic_choices(monkeypatch, cuda, mps, bf16, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "amx_bf16": bf16})
    chosen = choose_hardware("auto", "auto")
    assert (chosen.accelerator, chosen.precision, chosen.channels_last) == expected
    assert len(chosen.why) == 3 and all(": " in why for why in chosen.why)


def test_what_is_asked_for_is_taken_or_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_hardware("cpu", "32-true").precision == "32-true"
    with pytest.raises(UserError, match="trainer=default"):
        choose_hardware("gpu", "auto")
    with pytest.raises(UserError, match="auto, cpu, mps, gpu"):
        choose_hardware("tpu", "auto")
    with pytest.raises(UserError, match="bf16-mixed"):
        choose_hardware("cpu", "8")


@pytest.mark.parametrize("flag, has", [("avx512_bf16", True), ("amx_bf16", True), ("bf16", False)])
def test_bf16_only_where_it_was_shown_to_pay(monkeypatch, flag, has):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {flag: True})
    assert hardware._processor_has_bf16() is has
