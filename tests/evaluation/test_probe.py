"""The probe: found where a table was planted, lost after strong normalization, and its parts."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.fft import dctn
from sklearn.metrics import roc_auc_score

from detector.data.decode import decode, quantization_id, read_header
from detector.data.index import Index
from detector.data.normalizer import Normalizer
from detector.errors import UserError
from detector.evaluation.probe import LOW, PERIODS, measure_traces, out_of_fold, probe, traces
from detector.evaluation.tables import has_table

SETTINGS = {"folds": 3, "replicates": 200, "seed": 0}
N = 90


def scene(seed: int, side: int = 128) -> np.ndarray:
    """Soft shapes with a little noise, as photographs have."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(30, 220, (9, 9, 3), dtype=np.uint8))
    soft = np.array(coarse.resize((side, side), Image.Resampling.BICUBIC), np.float64)
    return np.clip(soft + rng.normal(0, 3, soft.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """Every third file has another table, the rest the usual one; nothing else differs."""
    root = tmp_path_factory.mktemp("probe")
    names, tables = [], []
    for at in range(N):
        stream = io.BytesIO()
        Image.fromarray(scene(at)).save(stream, "JPEG", quality=80 if at % 3 == 0 else 90)
        (root / f"{at}.jpg").write_bytes(stream.getvalue())
        names.append(f"{at}.jpg")
        tables.append(quantization_id(read_header(stream.getvalue()).quantization))
    return Index(
        "set", str(root), ("fake", "real"),
        {"name": names, "label": [0] * N, "quantization": tables, "group": names},
    )  # fmt: skip


def decoded(data: bytes) -> np.ndarray:
    return decode(data, max_pixels=10**6)


def test_a_planted_table_is_found_before_and_lost_after(index):
    other = ~has_table(index, index["quantization"][1])
    assert other.tolist() == [at % 3 == 0 for at in range(N)]
    before = probe(measure_traces(index, range(N), decoded), other, index["group"], **SETTINGS)
    assert before["auroc"]["value"] > 0.98 and before["auroc"]["low"] > 0.85
    assert before["accuracy"]["low"] > before["majority"]
    strong = Normalizer(48, 30)
    after = probe(
        measure_traces(index, range(N), lambda data: strong(decoded(data))),
        other, index["group"], **SETTINGS,
    )  # fmt: skip
    assert after["auroc"]["low"] < 0.5 < after["auroc"]["high"]
    assert after["auroc"]["value"] < 0.65
    assert before["n"] == N and before["n_other"] == N // 3
    assert before["majority"] == pytest.approx(2 / 3)


def test_combs_and_magnitudes_are_the_formulas():
    image = scene(5, 40)
    grey = image.astype(float) @ [0.299, 0.587, 0.114] - 128
    blocks = [
        dctn(grey[y : y + 8, x : x + 8], norm="ortho").ravel()
        for y in range(0, 40, 8)
        for x in range(0, 40, 8)
    ]
    found, at = traces(image), 0
    for frequency in LOW:
        for period in PERIODS:
            waves = [
                np.cos(2 * np.pi * min(np.round(abs(b[frequency]) * 4) / 4, 128) / period)
                for b in blocks
            ]
            # A coefficient at the edge of a bin may round either way.
            assert found[at] == pytest.approx(np.mean(waves), abs=0.05)
            at += 1
    magnitudes = np.log(np.abs(blocks).mean(0) + 1e-3)
    assert found[at : at + 64] == pytest.approx(magnitudes, abs=1e-3)
    assert len(found) == at + 64 + 128


@pytest.mark.parametrize("period", [4, 8])
def test_periods_peak_where_a_grid_is(period):
    image = np.full((128, 128, 3), 100, np.uint8)
    noise = np.random.default_rng(0).integers(0, 4, (128, 128, 1), dtype=np.uint8)
    image += noise
    image[:, ::period] += 12
    found = traces(image)[-128:]
    assert np.argmax(found) + 1 in {256 * k // period for k in range(1, period // 2 + 1)}


def test_of_a_large_picture_the_middle_is_seen_on_its_grid():
    large = np.random.default_rng(0).integers(0, 256, (1040, 1100, 3), dtype=np.uint8)
    assert np.array_equal(traces(large), traces(large[8:1032, 32:1056]))


@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (15, 16), (33, 17)])
def test_small_pictures_give_finite_numbers(shape):
    found = traces(np.full((*shape, 3), 7, np.uint8))
    assert found.dtype == np.float32 and np.isfinite(found).all()


def test_neither_threads_nor_order_matter(index):
    rows = [7, 3, 11, 3]
    one = measure_traces(index, rows, decoded, workers=1)
    calls = []
    three = measure_traces(
        index, rows, decoded, workers=3, progress=lambda done, total: calls.append((done, total))
    )
    assert np.array_equal(one, three) and np.array_equal(one[1], one[3])
    assert calls == [(k, 4) for k in range(1, 5)]


def test_groups_are_not_divided_and_folds_are_averaged():
    rng = np.random.default_rng(1)
    other = rng.random(120) < 0.3
    groups = np.array([f"g{at // 2}" for at in range(120)])
    features = rng.normal(size=(120, 30)) + 0.4 * other[:, None]
    scores, fold = out_of_fold(features, other, groups, folds=4, seed=0)
    for group in set(groups):
        assert len(set(fold[groups == group])) == 1
    each = [roc_auc_score(other[fold == k], scores[fold == k]) for k in range(4)]
    found = probe(features, other, groups, folds=4, replicates=200, seed=0)
    assert found["auroc"]["value"] == pytest.approx(np.mean(each))
    assert found["accuracy"]["value"] == pytest.approx(np.mean((scores >= 0.5) == other))
    assert found["auroc"]["low"] < found["auroc"]["value"] < found["auroc"]["high"]


def test_nothing_is_found_where_a_group_decides():
    # Each group has its own look and its own kind: only a divided group would be recognized.
    rng = np.random.default_rng(2)
    kinds, looks = rng.random(20) < 0.5, rng.normal(size=(20, 300))
    member = np.repeat(np.arange(20), 8)
    features = looks[member] + 0.01 * rng.normal(size=(160, 300))
    found = probe(features, kinds[member], member.astype(str), **SETTINGS)
    assert found["auroc"]["low"] < 0.5 < found["auroc"]["high"]


def test_too_few_of_a_kind_are_refused():
    other = np.array([True] * 2 + [False] * 30)
    features, groups = np.zeros((32, 4)), [str(at) for at in range(32)]
    with pytest.raises(UserError, match="2 have another table than the usual one, 30 have it"):
        probe(features, other, groups, **SETTINGS)
    with pytest.raises(UserError, match="in each of 1 folds"):
        probe(features, other, groups, folds=1, replicates=10, seed=0)
