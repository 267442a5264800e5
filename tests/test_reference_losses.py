"""Ten float32 steps of each small network give the losses that they gave before."""

import json

import pytest

from tests.make_reference_losses import FILE, LR, MODELS, losses

REFERENCE = json.loads(FILE.read_text())


@pytest.mark.parametrize("model", MODELS)
def test_losses_are_those_of_before(model):
    says = f"if {model} is meant to learn otherwise: {REFERENCE['command']}"
    expected = pytest.approx(REFERENCE["losses"][model], abs=REFERENCE["tolerance"])
    assert losses(model) == expected, says


@pytest.mark.parametrize("model", MODELS)
def test_a_tenth_less_learnt_would_be_seen(model):
    other = zip(losses(model, 0.9 * LR), REFERENCE["losses"][model], strict=True)
    assert max(abs(a - b) for a, b in other) > 2 * REFERENCE["tolerance"]
