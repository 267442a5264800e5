"""The command: a file that was checked on real images, or none."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from sklearn.metrics import roc_auc_score

from detector import cli
from detector.deploy import session
from detector.errors import UserError
from detector.export import export
from detector.predictor import Predictor
from detector.train import train
from tests.conftest import make_set


@pytest.fixture(scope="module")
def trained(tiny_set, tmp_path_factory):
    place = tmp_path_factory.mktemp("export")
    return train(
        cli.compose(
            "train",
            [
                "data=folder", f"data.root={tiny_set}", "model=cnn3", "model.preprocess.size=32",
                "data.batch_size=16", "data.num_workers=0", "trainer=cpu", "trainer.max_epochs=2",
                "progress=none", "metrics.replicates=100", "heatmaps.every=0",
                f"paths.runs={place}/runs", f"paths.cache={place}/cache",
            ],
        )
    )  # fmt: skip


@pytest.fixture
def made(trained, tmp_path):
    """Compose an export of the trained run to a file below tmp_path."""
    run = Path(trained["folder"])

    def config(*overrides, **replaced):
        usual = {
            "ckpt": run / "checkpoints" / "best.ckpt", "output": tmp_path / "out.onnx",
            "progress": "none", "parity.replicates": 100, "parity.repeats": 2,
            "paths.runs": run.parents[2], "paths.cache": run.parents[3] / "cache",
        }  # fmt: skip
        every = [f"{key}={value}" for key, value in (usual | replaced).items()]
        return cli.compose("export", [*every, *overrides])

    return config


def parts_of(run, part):
    lines = (Path(run["folder"]) / "split.csv").read_text().splitlines()[1:]
    return [line.split(",")[0] for line in lines if line.endswith(f",{part}")]


def test_float_onnx(trained, made, tiny_set, tmp_path, caplog):
    caplog.set_level("INFO")
    found = export(made())
    assert found["file"] == str(tmp_path / "out.onnx") and found["off"] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.onnx", "out.onnx.json"]
    told = json.loads((tmp_path / "out.onnx.json").read_text())
    assert told["check"] == found["check"] and told["detector"]["class_names"] == ["fake", "real"]
    assert "| cnn3 | torch | ONNX |" in caplog.text
    # Both parts of the split, by the file alone, are answered as the table says.
    one, other = Predictor.load(tmp_path / "out.onnx"), Predictor.load(trained["folder"])
    assert found["check"]["n"] == len(parts_of(trained, "val"))
    assert found["check"]["p_fake"] < 1e-4 and found["check"]["flips"] == 0
    names = parts_of(trained, "test")
    pairs = [[each.predict(tiny_set / name).p_fake for each in (one, other)] for name in names]
    after, before = np.array(pairs).T
    assert np.abs(after - before).max() < 1e-4
    labels = [name.startswith("fake") for name in names]
    for key, scores in (("before", before), ("after", after)):
        assert found["auroc"][key]["value"] == pytest.approx(roc_auc_score(labels, scores))
    assert found["auroc"]["n"] == len(names)
    assert found["bytes"]["after"] == (tmp_path / "out.onnx").stat().st_size
    assert min(found["latency_ms"]["before"], found["latency_ms"]["after"]) > 0


class Spy:
    """Notes the rows of the images that it hands out."""

    def __init__(self, pixels, seen):
        self.pixels, self.seen = pixels, seen

    def __getitem__(self, row):
        self.seen.append(row)
        return self.pixels[row]


def test_int8_is_calibrated_on_training_images_alone(
    trained, made, tiny_set, tmp_path, monkeypatch
):
    seen, known = [], []
    load, quantize = session.find_pictures, session.FORMATS["onnx"].write_int8

    def find(*given):
        found = load(*given)
        object.__setattr__(found.training, "pixels", Spy(found.training.pixels, seen))
        known.extend(found.check.pixels.names)
        return found

    def write(self, network, card, file, batches, **options):
        copies = [batch.copy() for batch in batches]
        assert sum(map(len, copies)) == 20
        quantize(self, network, card, file, iter(copies), **options)

    monkeypatch.setattr(session, "find_pictures", find)
    monkeypatch.setattr(session.FORMATS["onnx"], "write_int8", write)
    found = export(made("quantize.images=20", int8="true", **{"parity.int8.flips": 0.5}))
    assert {known[row] for row in seen} <= set(parts_of(trained, "train"))
    assert len(set(seen)) == 20 == found["calibrated_on"]["n"]
    assert found["bytes"]["after"] < 0.4 * found["bytes"]["before"]
    assert found["check"]["p_fake"] > 0, "int8 is not exact"
    small, whole = Predictor.load(tmp_path / "out.onnx"), Predictor.load(trained["folder"])
    names = parts_of(trained, "val")
    images = [whole.preprocess((tiny_set / name).read_bytes()) for name in names]
    alone = np.array([small.margins([image])[0] for image in images])
    for count in range(1, 8):  # any number of images, in int8 too
        np.testing.assert_allclose(small.margins(images[:count]), alone[:count], atol=1e-4)
    assert np.abs(alone - whole.margins(images)).max() <= 2 * found["check"]["logits"] + 1e-6


@pytest.mark.parametrize("ranges", ["entropy", "percentile"])
def test_ranges_by_histograms_take_one_batch_at_a_time(made, tmp_path, monkeypatch, ranges):
    from onnxruntime.quantization import calibrate

    seen, collect = [], calibrate.HistogramCollector.collect

    def noted(self, values):
        seen.append([len(arrays) for arrays in values.values()])
        return collect(self, values)

    monkeypatch.setattr(calibrate.HistogramCollector, "collect", noted)
    overrides = ["quantize.images=20", "data.batch_size=8", f"quantize.ranges={ranges}"]
    found = export(made(*overrides, int8="true", **{"parity.int8.flips": 0.5}))
    assert len(seen) == 3 and {count for each in seen for count in each} == {1}  # 8, 8 and 4 images
    assert found["calibrated_on"]["n"] == 20 and found["check"]["p_fake"] > 0
    assert found["auroc"]["drop"]["value"] <= 0.02 and (tmp_path / "out.onnx").is_file()


@pytest.mark.parametrize("layers", [[], ["first"], ["first", "last"]])
def test_layers_stay_float(made, tmp_path, layers):
    import onnx

    export(made(f"quantize.float=[{','.join(layers)}]", int8="true", **{"parity.int8.flips": 0.5}))
    model = onnx.load(tmp_path / "out.onnx")
    made_by = {name: node for node in model.graph.node for name in node.output}
    heavy = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    held = [made_by.get(node.input[1]) for node in heavy]
    plain = [node for node, weight in zip(heavy, held, strict=True) if weight is None]
    assert len(heavy) == 5 and len(plain) == len(layers)


def test_a_file_that_answers_otherwise_is_put_aside(made, tmp_path, monkeypatch):
    (tmp_path / "out.onnx").write_bytes(b"of before")
    write = session.FORMATS["onnx"].write

    def wrong(self, network, card, file):
        head = [m for m in network.network.modules() if hasattr(m, "in_features")][-1]
        head.weight.data.neg_()
        write(self, network, card, file)

    monkeypatch.setattr(session.FORMATS["onnx"], "write", wrong)
    with pytest.raises(UserError, match="the exported file is off: p_fake differs") as told:
        export(made())
    assert "\n" not in str(told.value)
    assert (tmp_path / "out.onnx").read_bytes() == b"of before"
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["out.onnx", "out.onnx.rejected", "out.onnx.rejected.json"]
    assert json.loads((tmp_path / "out.onnx.rejected.json").read_text())["off"]


def test_the_command_ends_with_2_if_a_file_is_off(made, monkeypatch, capsys, tmp_path):
    from detector.export import main

    cfg = made()
    words = [
        f"{key}={OmegaConf.select(cfg, key)}"
        for key in ("ckpt", "output", "paths.runs", "paths.cache", "parity.repeats")
    ]
    monkeypatch.setattr(sys, "argv", ["export", *words, "parity.float.p_fake=0", "progress=none"])
    with pytest.raises(SystemExit) as left:
        main()
    said = capsys.readouterr().err
    assert left.value.code == 2
    assert said.startswith("error: the exported file is off") and "Traceback" not in said
    assert not (tmp_path / "out.onnx").exists()


def lone(trained, folder):
    """The checkpoint outside its run folder, as somebody else gets it."""
    copy = folder / "alone" / "sent.ckpt"
    copy.parent.mkdir()
    shutil.copy(Path(trained["folder"]) / "checkpoints" / "best.ckpt", copy)
    return copy


def test_without_images_nothing_is_exported(trained, made, tmp_path):
    ckpt = lone(trained, tmp_path)
    with pytest.raises(UserError, match=r"only kept if it was checked on real images.*images="):
        export(made(ckpt=ckpt))
    with pytest.raises(UserError, match="no picture is there"):
        export(made(ckpt=ckpt, images=tmp_path / "alone"))
    with pytest.raises(UserError, match=r"checked on real images.*/gone"):
        export(made("data=folder", **{"data.root": tmp_path / "gone"}))
    assert not (tmp_path / "out.onnx").exists()


def test_a_folder_of_pictures_will_do_for_float(trained, made, tmp_path):
    root = make_set(tmp_path / "pictures", n=4, seed=5)
    ckpt = lone(trained, tmp_path)
    found = export(made(ckpt=ckpt, images=root))
    assert found["check"]["n"] == 8 and found["auroc"] is None
    (root / "real" / "broken.png").write_bytes(b"none")
    (root / "real" / "._real_000.png").write_bytes(b"what macOS leaves beside a file")
    (root / ".trash").mkdir()
    shutil.copy(root / "real" / "real_000.png", root / ".trash" / "gone.png")
    again = export(made(ckpt=ckpt, images=root, output=tmp_path / "again.onnx"))
    assert again["check"]["on"] == "folder pictures without 1 that cannot be read"
    measured = {key: value for key, value in found["check"].items() if key != "on"}
    assert {key: again["check"][key] for key in measured} == measured  # of the same eight
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "broken.png").write_bytes(b"none")
    with pytest.raises(UserError, match="no picture is there"):
        export(made(ckpt=ckpt, images=tmp_path / "bad", output=tmp_path / "bad.onnx"))
    assert not (tmp_path / "bad.onnx").exists()


def test_another_set_will_do_for_float_and_not_for_int8(trained, made, tmp_path):
    root = make_set(tmp_path / "pictures", n=12, seed=5)
    ckpt = lone(trained, tmp_path)
    found = export(made("data=folder", ckpt=ckpt, **{"data.root": root}))
    assert found["check"]["n"] == 24 and found["auroc"]["n"] == 24
    for more in (["data=folder", f"data.root={root}"], [f"images={root}"]):
        with pytest.raises(UserError, match="takes its ranges from the images"):
            export(made(*more, ckpt=ckpt, int8="true"))


def test_safetensors_are_released_weights(trained, made, tmp_path):
    with pytest.raises(UserError, match="licence"):
        export(made(format="safetensors", output=tmp_path / "release"))
    export(made(format="safetensors", output=tmp_path / "release", licence="Apache-2.0"))
    one, other = Predictor.load(tmp_path / "release"), Predictor.load(trained["folder"])
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    assert one.margins(images) == pytest.approx(other.margins(images), abs=1e-6)
    again = export(made(ckpt=tmp_path / "release", images=make_set(tmp_path / "p", n=2)))
    assert again["check"]["p_fake"] < 1e-4


def test_the_file_lies_beside_the_checkpoints_unless_told_otherwise(trained, made):
    found = export(made(output="null"))
    assert Path(found["file"]) == Path(trained["folder"]) / "exports" / "best.onnx"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"format": "keras"}, "choose one of onnx, litert, safetensors"),
        ({"output": "a.tflite"}, "ends in .onnx"),
        ({"int8": "maybe"}, "true or false"),
        ({"quantize.float": "[middle]"}, "first and last"),
        ({"quantize.ranges": "guess"}, "minmax"),
        ({"parity.int8.flips": 2}, "at most 1"),
        ({"format": "safetensors", "int8": "true"}, "float weights"),
        ({"ckpt": "no.ckpt"}, "no checkpoint no.ckpt"),
        ({"ckpt": "some.onnx"}, "exported file"),
    ],
)
def test_settings_that_cannot_be(made, given, words):
    with pytest.raises(UserError) as told:
        export(made(**given))
    assert words in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize("missing", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named_before_any_work(made, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UserError, match=f"format=onnx needs {missing}: pip install"):
        export(made())


def test_without_litert_torch_it_says_where_the_line_is(made, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    with pytest.raises(UserError, match=r"needs litert-torch.*make litert"):
        export(made(format="litert", output=tmp_path / "out.tflite"))


@pytest.mark.skipif(
    not importlib.util.find_spec("litert_torch"), reason="litert_torch is not installed"
)
@pytest.mark.parametrize("int8", ["false", "true"])
def test_litert(trained, made, tmp_path, int8, capfd):
    out = tmp_path / "out.tflite"
    found = export(made(format="litert", output=out, int8=int8, **{"parity.int8.flips": 0.5}))
    assert out.is_file() and json.loads((tmp_path / "out.tflite.json").read_text())["detector"]
    assert found["check"]["n"] == len(parts_of(trained, "val"))
    if int8 == "true":
        assert found["check"]["p_fake"] > 0 and found["calibrated_on"]["n"] > 20
        assert out.stat().st_size < 0.4 * found["bytes"]["before"]
    else:
        assert found["check"]["p_fake"] < 1e-4 and found["check"]["features"] < 1e-4
    assert "WARNING" not in capfd.readouterr().err
