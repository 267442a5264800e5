"""The gate against planted features, scikit-learn, the distance in closed form, and strangers."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import OAS

from detector.errors import UserError
from detector.evaluation.gate import FEWEST, FIELDS, FOLDS, Gate, _distances, _model, _unit

WIDTH = 60


def drawn(n: int, seed: int, *, width: int = WIDTH, shift: float = 0.0) -> np.ndarray:
    """Features around (5, 5, ...) that vary most in a few directions."""
    rng = np.random.default_rng(seed)
    spreads = np.full(width, 0.15)
    spreads[:5] = (2, 1.5, 1, 0.7, 0.5)
    mixing = np.linalg.qr(np.random.default_rng(1).normal(size=(width, width)))[0]
    found = 5 + (rng.normal(size=(n, width)) * spreads) @ mixing
    return (found + shift * mixing[7]).astype(np.float32)


@pytest.fixture(scope="module")
def gate():
    return Gate.fit(drawn(300, 0), seed=0, alpha=0.05)


@pytest.mark.parametrize("n", [60, 200, 800])
@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_about_alpha_of_fresh_pictures_are_refused(n, alpha):
    shares = []
    for seed in range(8):
        fitted = Gate.fit(drawn(n, seed), seed=seed, alpha=alpha)
        shares.append((fitted.unlikeness(drawn(2000, 100 + seed)) > 1).mean())
    # Each share scatters by alpha (1 - alpha) / n, as the limit is that of n pictures.
    slack = 3 * math.sqrt(alpha * (1 - alpha) / n / 8)
    assert alpha - slack - 0.2 * alpha < np.mean(shares) < alpha + slack


def test_limits_fitted_on_the_same_pictures_would_refuse_too_many():
    """What cross-fitting is for: in-sample distances are too small where features are many."""
    n, width = 100, 400
    features = drawn(n, 3, width=width)
    unit = _unit(features.astype(float))
    model = _model(unit, 12)
    limit = np.quantile(_distances(unit, *model), 0.95)
    fresh = drawn(1000, 4, width=width)
    naive = (_distances(_unit(fresh.astype(float)), *model) > limit).mean()
    fair = (Gate.fit(features, seed=0, alpha=0.05).unlikeness(fresh) > 1).mean()
    assert fair < 0.12 < 0.3 < naive


@pytest.mark.parametrize("where", [0, 30, 59])
def test_what_lies_elsewhere_is_refused(gate, where):
    strange = drawn(100, 5)
    strange[:, where] += 12
    assert (gate.unlikeness(strange) > 1).mean() > 0.95
    nearer = drawn(100, 5)
    nearer[:, where] += 6
    assert np.median(gate.unlikeness(nearer)) < np.median(gate.unlikeness(strange))


def test_length_alone_does_not_decide(gate):
    fresh = drawn(50, 6)
    assert gate.unlikeness(3 * fresh) == pytest.approx(gate.unlikeness(fresh), rel=1e-5)


def test_with_all_directions_it_is_the_mahalanobis_distance_of_scikit_learn():
    unit, fresh = (_unit(drawn(n, seed).astype(float)) for n, seed in ((240, 7), (40, 8)))
    oas = OAS().fit(unit)
    found = _distances(fresh, *_model(unit, WIDTH - 1))
    assert found**2 == pytest.approx(oas.mahalanobis(fresh), rel=1e-6)


@pytest.mark.parametrize("count, width", [(240, WIDTH), (100, 150)])
def test_what_is_outside_of_the_directions_has_one_variance(count, width):
    """The covariance with its smaller eigenvalues made even, inverted as a whole."""
    unit = _unit(drawn(count, 9, width=width).astype(float))
    values, vectors = np.linalg.eigh(OAS().fit(unit).covariance_)
    values[:-7] = values[:-7].mean()  # all but the 7 largest
    inverse = np.linalg.inv((vectors * values) @ vectors.T)
    fresh = _unit(drawn(30, 10, width=width).astype(float)) - unit.mean(0)
    expected = np.einsum("ni,ij,nj->n", fresh, inverse, fresh)
    model = _model(unit, 7)
    assert _distances(fresh + unit.mean(0), *model) ** 2 == pytest.approx(expected, rel=1e-6)
    assert model[1] @ model[1].T == pytest.approx(np.eye(7), abs=1e-9)


def test_groups_stay_together():
    """Copies in other folds would make held-out pictures look nearer than fresh ones are."""
    once = drawn(60, 10, width=200)
    copies = np.repeat(once, 8, axis=0)
    of = np.repeat(np.arange(60), 8)
    fresh = drawn(2000, 11, width=200)
    together = (Gate.fit(copies, of, seed=0, alpha=0.1).unlikeness(fresh) > 1).mean()
    apart = (Gate.fit(copies, seed=0, alpha=0.1).unlikeness(fresh) > 1).mean()
    assert together < 0.2 < 0.4 < apart


def test_the_card_holds_the_very_gate_in_some_hundred_kilobytes():
    fitted = Gate.fit(drawn(400, 12, width=1280), seed=0, alpha=0.05)
    text = json.dumps(fitted.to_dict())
    assert len(text) < 600_000
    again = Gate.from_dict(json.loads(text))
    fresh = drawn(30, 13, width=1280)
    assert np.array_equal(again.unlikeness(fresh), fitted.unlikeness(fresh))
    assert again.to_dict() == fitted.to_dict()
    assert Gate.fit(drawn(400, 12, width=1280), seed=0, alpha=0.05).to_dict() == fitted.to_dict()


def test_a_large_validation_part_is_sampled():
    fitted = Gate.fit(drawn(5000, 14), seed=0, alpha=0.05)
    assert fitted.n == 2000
    assert (fitted.unlikeness(drawn(4000, 15)) > 1).mean() == pytest.approx(0.05, abs=0.015)


def test_pictures_that_the_network_cannot_be_asked_about(gate):
    features = drawn(3, 16)
    features[1, 4], features[2, 5] = np.nan, np.inf
    far = gate.unlikeness(features)
    assert np.isfinite(far[0]) and far[1] == far[2] == np.inf
    assert gate.unlikeness(np.zeros((0, WIDTH))).shape == (0,)
    assert np.isfinite(gate.unlikeness(np.zeros((1, WIDTH)))).all()
    for other in (np.zeros((1, WIDTH - 1)), np.zeros(WIDTH)):
        with pytest.raises(UserError, match="belongs to another network"):
            gate.unlikeness(other)


@pytest.mark.parametrize(
    "features, groups, alpha, says",
    [
        (drawn(FEWEST - 1, 0), None, 0.05, "too few"),
        (drawn(200, 0), np.arange(200) // 10, 0.05, "20 groups of validation images are too few"),
        (drawn(60, 0), None, 0.01, "it takes 100"),
        (np.full((80, 10), np.nan), None, 0.05, "not finite"),
        (np.ones((80, 10)), None, 0.05, "all the same"),
        (np.zeros((80, 10)), None, 0.05, "all the same"),
        (np.ones((80, 1)), None, 0.05, "all the same"),
    ],
)
def test_without_a_fair_limit_there_is_no_gate(features, groups, alpha, says):
    with pytest.raises(UserError, match=says) as refused:
        Gate.fit(features, groups, seed=0, alpha=alpha)
    assert "\n" not in str(refused.value)


def test_every_fold_has_its_share():
    assert FOLDS <= FEWEST // 4  # so that none is fitted on much less than the gate itself


JUNK = st.one_of(
    st.none(), st.booleans(), st.text(max_size=3), st.floats(), st.integers(),
    st.lists(st.floats(allow_nan=True), max_size=4), st.lists(st.lists(st.floats(), max_size=3)),
    st.dictionaries(st.text(max_size=2), st.floats(), max_size=2), st.just(10**400),
    st.just([10**400]), st.just([[1.0], [1.0, 2.0]]), st.just([[]]), st.just([]),
)  # fmt: skip


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(sorted(FIELDS)), JUNK)
def test_a_strangers_gate_is_refused_or_works(gate, name, value):
    plain = gate.to_dict() | {name: value}
    try:
        opened = Gate.from_dict(json.loads(json.dumps(plain)) if value != 10**400 else plain)
    except UserError as error:
        assert "\n" not in str(error)
        return
    assert not np.isnan(opened.unlikeness(np.ones((2, len(opened.mean))))).any()


@pytest.mark.parametrize("settings", [None, [], {}, {"limit": 1.0}])
def test_what_is_no_gate_at_all(gate, settings):
    with pytest.raises(UserError, match="a gate has alpha, directions"):
        Gate.from_dict(settings)
    with pytest.raises(UserError, match="a gate has"):
        Gate.from_dict(gate.to_dict() | {"more": 1})


@pytest.mark.parametrize(
    "change",
    [{"limit": 0.0}, {"limit": -1.0}, {"alpha": 1.0}, {"spreads": "drop"}, {"mean": "drop"},
     {"n": 0}, {"n": True}, {"rest": 0}, {"directions": "drop"}, {"spreads": "zero"}],
)  # fmt: skip
def test_numbers_that_do_not_fit_together(gate, change):
    ((name, value),) = change.items()
    plain = gate.to_dict()
    changed = {"drop": lambda old: old[1:], "zero": lambda old: [0.0, *old[1:]]}
    value = changed[value](plain[name]) if value in ("drop", "zero") else value
    with pytest.raises(UserError, match="do not fit together"):
        Gate.from_dict(plain | {name: value})
