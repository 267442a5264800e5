"""The command from its inputs to its rows; the same answers as training and evaluation gave."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detector import Predictor, cli
from detector.data.decode import decode
from detector.errors import UserError
from detector.evaluate import evaluate
from detector.evaluation.report import NAMES
from detector.predict import predict
from detector.predicting.release import write_release
from detector.predicting.session import Predicting
from detector.train import train
from tests.predicting.made import checkpoint, content, encoded, noise


@pytest.fixture(scope="module")
def run(tiny_set, tmp_path_factory):
    """A training of a second, and what its evaluation wrote for each picture."""
    place = tmp_path_factory.mktemp("predict")
    shared = ["progress=none", f"paths.runs={place}/runs", f"paths.cache={place}/cache"]
    trained = train(cli.compose("train", [
        "data=folder", f"data.root={tiny_set}", "model=cnn6", "model.preprocess.size=32",
        "data.batch_size=16", "data.num_workers=0", "trainer=cpu", "trainer.max_epochs=2",
        "metrics.replicates=100", "heatmaps.every=0", *shared,
    ]))  # fmt: skip
    done = evaluate(cli.compose("evaluate", [
        "evaluate.replicates=100", "evaluate.device=cpu", "evaluate.part=all",
        "evaluate.controls=false", *shared,
    ]))  # fmt: skip
    with open(Path(done["folder"]) / "predictions.csv", newline="") as file:
        scores = {line["path"]: float(line["p_fake"]) for line in csv.DictReader(file)}
    return Path(trained["folder"]), scores, trained


def compose(ckpt, inputs, *overrides):
    return cli.compose(
        "predict", [f"ckpt={ckpt}", f"inputs={inputs}", "predict.device=cpu", *overrides]
    )


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_folder_has_the_scores_of_the_evaluation(run, tiny_set, tmp_path):
    folder, scores, _ = run
    found = predict(compose(folder, tiny_set, f"output={tmp_path}/out.csv", "progress=none"))
    assert found == {
        "pictures": 80, "failed": 0, "output": f"{tmp_path}/out.csv", "panels": None
    }  # fmt: skip
    lines = rows(tmp_path / "out.csv")
    columns = ["path", "p_fake", "verdict", "error", "reason", "face", "box", "warnings"]
    assert list(lines[0])[:8] == columns and os.listdir(tmp_path) == ["out.csv"]
    given = {os.path.relpath(line["path"], tiny_set): float(line["p_fake"]) for line in lines}
    assert given.keys() == scores.keys() and len(set(scores.values())) > 70
    assert max(abs(given[name] - scores[name]) for name in scores) < 1e-6


def test_every_door_has_the_score_of_the_evaluation(run, tiny_set):
    folder, scores, trained = run
    predictor = Predictor.load(folder)
    names = list(scores)[::7]
    paths = [tiny_set / name for name in names]
    for batch_size in (1, 5, 32):
        for given in (
            paths, (path.read_bytes() for path in paths), [Image.open(path) for path in paths],
            [decode(path.read_bytes(), max_pixels=10**6) for path in paths],
        ):  # fmt: skip
            answers = list(predictor.predict(given, batch_size=batch_size))
            for name, one in zip(names, answers, strict=True):
                assert one.p_fake == pytest.approx(scores[name], abs=1e-6)
                assert one.verdict == predictor.verdict(one.p_fake)
    assert predictor.threshold == pytest.approx(trained["calibration"]["threshold"])
    for name, path in zip(names, paths, strict=True):
        assert predictor.predict(path).p_fake == pytest.approx(scores[name], abs=1e-6)


def test_released_weights_give_the_scores_and_tell_what_was_measured(run, tiny_set, tmp_path):
    folder, scores, trained = run
    best = folder / "checkpoints" / "best.ckpt"
    weights, about = write_release(best, tmp_path / "released", "Apache-2.0")
    assert weights.name == f"{folder.parent.name}.safetensors"
    answers = Predictor.load(tmp_path / "released").predict(tiny_set)
    for one in answers:
        name = os.path.relpath(one.path, tiny_set)
        assert one.p_fake == pytest.approx(scores[name], abs=1e-6)
    told = json.loads(about.read_text())
    measured = told["measured"]
    assert measured["part"] == "test" and measured["n"] == trained["test"]["n"]
    assert measured["measures"].keys() == set(NAMES)
    for name, value in measured["measures"].items():
        assert value["value"] == trained["test"][name]["value"]
        assert value["low"] == trained["test"][name]["low"]
    assert str(folder) not in about.read_text() and str(tiny_set) not in about.read_text()


def test_what_an_audit_found_is_released_without_names_of_pictures(run, tiny_set, tmp_path):
    folder = shutil.copytree(run[0], tmp_path / "runs" / "train" / "x" / "1")
    found = {
        "data": "folder", "n": 80, "parts": {}, "controls": {"part": "test"},
        "pairs": {"count": 3, "across_classes": 1, "across_parts": 0, "groups": 2,
                  "list": [{"a": "fake/somebody.png"}]},
        "properties": {
            "width": {"title": "width", "says": "wide", "auroc": {"value": 0.9, "low": 0.8}},
            "height": {"title": "height", "says": "no", "auroc": {"value": 0.5, "low": 0.4}},
        },
    }  # fmt: skip
    place = tmp_path / "runs" / "audit" / "folder" / "2026"
    place.mkdir(parents=True)
    (place / "audit.json").write_text(json.dumps(found))
    _, about = write_release(folder / "checkpoints" / "best.ckpt", tmp_path / "out", "MIT")
    audit = json.loads(about.read_text())["audit"]
    assert list(audit["tells"]) == ["width"] and audit["pairs"]["count"] == 3
    assert "somebody" not in about.read_text()


def test_jsonl_has_the_same_and_more(run, tiny_set, tmp_path):
    folder, scores, _ = run
    (tmp_path / "bad.png").write_bytes(b"bad")
    inputs = f"[{tiny_set / 'fake' / 'fake_001.png'},{tmp_path / 'bad.png'}]"
    found = predict(compose(folder, inputs, f"output={tmp_path}/o.jsonl", "progress=none"))
    assert (found["pictures"], found["failed"]) == (2, 1)
    good, bad = map(json.loads, (tmp_path / "o.jsonl").read_text().splitlines())
    assert good["p_fake"] == pytest.approx(scores["fake/fake_001.png"], abs=1e-6)
    assert good["error"] == "" and good["face"] == 0 and good["box"] is None
    assert bad["p_fake"] is None and "not a picture" in bad["error"] and bad["verdict"] == ""


@pytest.fixture
def untrained(tmp_path):
    return checkpoint(tmp_path)


def pictures(folder, n=3):
    folder.mkdir()
    for at in range(n):
        (folder / f"{at}.png").write_bytes(encoded(noise(at)))
    return folder


def typed(monkeypatch, text):
    """The standard input of a UTF-8 locale, which reads text strictly."""
    stream = io.BytesIO(text if isinstance(text, bytes) else text.encode())
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(stream, "utf-8", "strict"))


def test_lines_without_an_output(untrained, tmp_path, capsys):
    top = pictures(tmp_path / "p")
    (top / "x.jpg").write_text("no")
    found = predict(compose(untrained, top))
    assert (found["pictures"], found["failed"], found["output"]) == (4, 1, None)
    out, err = capsys.readouterr()
    predictor = Predictor.load(untrained)
    for at, line in enumerate(out.splitlines()):
        one = predictor.predict(top / f"{at}.png")
        assert line == f"{top / f'{at}.png'}: {one.verdict} (p_fake {one.p_fake:.3f})"
    assert err.startswith(f"{top / 'x.jpg'}: error: not a picture")


def test_patterns_lists_and_the_standard_input(untrained, tmp_path, capsys, monkeypatch):
    top = pictures(tmp_path / "p")
    pictures(top / "below", 2)

    def answered(inputs):
        found = predict(compose(untrained, inputs))
        names = [line.split(":")[0] for line in capsys.readouterr().out.splitlines()]
        assert found["pictures"] == len(names)
        return [os.path.relpath(name, top) for name in names]

    assert answered(f"{top}/*.png") == ["0.png", "1.png", "2.png"]
    assert len(answered(f"{top}/**/*.png")) == 5
    assert answered(f"[{top}/2.png,{top}/below]") == ["2.png", "below/0.png", "below/1.png"]
    everything = ["0.png", "1.png", "2.png", "below/0.png", "below/1.png"]
    assert answered(f"{top}/**") == everything  # it matches folders and what is in them
    assert answered(f"{top}/**/") == everything  # and this the folders alone
    assert answered(f"[{top},{top}/below]") == everything
    assert answered(f"[{top}/below,{top}]") == [*everything[3:], *everything[:3]]
    (top / "odd[1].png").write_bytes(encoded(noise(5)))  # a name before it is a pattern
    assert answered(f"'{top}/odd[1].png'") == ["odd[1].png"]
    typed(monkeypatch, f"{top}/1.png\n\n{top}/0.png\r\n")
    assert answered("-") == ["1.png", "0.png"]


@pytest.mark.parametrize(
    "inputs, output, says",
    [
        ("{0}/none.png", "null", "no such file or folder"),
        ("{0}/*.bmp", "null", "no file matches"),
        ("{0}/empt*", "{0}/out.csv", "no folder that matches this pattern holds a picture"),
        ("[{0}/p/0.png,{0}/none.png]", "null", "no such file"),
        ("{0}/empty", "null", "holds no picture"),
        ("[]", "null", "give a picture, a folder"),
        ("[-,{0}/p]", "null", "stands alone"),
        ("{0}/p", "{0}/out.txt", r"ends in \.csv or \.jsonl"),
        ("{0}/p", "{0}/none/out.csv", "there is no folder"),
        ("{0}/p", "{0}/folder.csv", "is a folder"),
        ("007", "null", "leading zeros"),
    ],
)
def test_what_is_wrong_is_said_before_any_work(untrained, tmp_path, inputs, output, says):
    pictures(tmp_path / "p")
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder.csv").mkdir()
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(UserError, match=says) as error:
        predict(compose(untrained, inputs.format(tmp_path), f"output={output.format(tmp_path)}"))
    assert "\n" not in str(error.value) and sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize(
    "override, says",
    [
        ("predict.batch_size=0", "predict.batch_size=0"),
        ("predict.method=magic", "choose among gradcam"),
        ("progress=loud", "progress=loud"),
        ("ckpt=5", "ckpt=5"),
    ],
)
def test_settings_out_of_range(untrained, tmp_path, override, says):
    top = pictures(tmp_path / "p")
    with pytest.raises(UserError, match=says):
        predict(compose(untrained, top, "predict.heatmap=true", override))


@pytest.mark.parametrize(
    "inputs, says",
    [("-", "came from the standard input"), ("{0}/p", "inputs=.*no picture is there")],
)
def test_a_job_without_pictures_leaves_earlier_answers_alone(
    untrained, tmp_path, monkeypatch, inputs, says
):
    top = pictures(tmp_path / "p", 1)
    (tmp_path / "out.csv").write_text("answers of before")
    typed(monkeypatch, "")
    asked = Predicting(compose(untrained, inputs.format(tmp_path), f"output={tmp_path}/out.csv"))
    (top / "0.png").unlink()  # after it was looked for
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(UserError, match=says):
        asked.run()
    assert (tmp_path / "out.csv").read_text() == "answers of before"
    assert sorted(os.listdir(tmp_path)) == before  # and no .part


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_diverged_network_with_parts_and_maps_is_told_in_its_rows(tmp_path, suffix):
    made = content(parts=["eye_left", "mouth"])
    for tensor in made["state_dict"].values():
        if tensor.is_floating_point():
            tensor.fill_(float("nan"))
    torch.save(made, tmp_path / "best.ckpt")
    out = tmp_path / f"o.{suffix}"
    asked = ["predict.heatmap=true", f"predict.panels={tmp_path}/maps", "progress=none"]
    top = pictures(tmp_path / "p", 2)
    found = predict(compose(tmp_path / "best.ckpt", top, f"output={out}", *asked))
    assert (found["pictures"], found["failed"]) == (2, 2)
    told = rows(out) if suffix == "csv" else map(json.loads, out.read_text().splitlines())
    for line in told:
        assert "not a number" in line["error"] and not line.get("parts") and not line["p_fake"]
        assert not line.get("p_mouth")
    assert os.listdir(tmp_path / "maps") == []


def test_the_newest_run_is_the_default(run, tiny_set, tmp_path):
    one = tiny_set / "real" / "real_000.png"
    runs = run[0].parents[2]
    found = predict(compose("null", one, f"paths.runs={runs}"))
    assert found["pictures"] == 1
    with pytest.raises(UserError, match="no trained network below"):
        predict(compose("null", one, f"paths.runs={tmp_path}"))


def test_panels_show_the_heatmaps(untrained, tmp_path):
    top = pictures(tmp_path / "p", 2)
    (top / "b").mkdir()
    shutil.copy(top / "0.png", top / "b" / "0.png")
    (top / "bad.png").write_bytes(b"bad")
    found = predict(compose(untrained, top, "predict.heatmap=true", f"paths.runs={tmp_path}/runs"))
    made = sorted(Path(found["panels"]).iterdir())
    assert [path.name for path in made] == ["0-2.png", "0.png", "1.png"]
    assert Image.open(made[0]).size == (1400, 470)
    chosen = tmp_path / "here"
    asked = ["predict.heatmap=true", f"predict.panels={chosen}", "progress=none"]
    predict(compose(untrained, top / "0.png", *asked))
    assert os.listdir(chosen) == ["0.png"]
    # A second job in the same folder saves over nothing, and each row says which panel is its own.
    before = (chosen / "0.png").read_bytes()
    (top / "0-2.png").write_bytes(encoded(noise(7)))
    for suffix in ("csv", "jsonl"):
        predict(compose(untrained, top, f"output={tmp_path}/o.{suffix}", *asked))
    assert (chosen / "0.png").read_bytes() == before
    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    named = {}
    for line in [*rows(tmp_path / "o.csv"), *lines]:
        named.setdefault(os.path.relpath(line["path"], top), []).append(line["panel"])
    assert named == {
        "0-2.png": ["0-2.png", "0-2-2.png"], "0.png": ["0-3.png", "0-5.png"],
        "1.png": ["1.png", "1-2.png"], "b/0.png": ["0-4.png", "0-6.png"], "bad.png": ["", ""],
    }  # fmt: skip
    assert len(os.listdir(chosen)) == 9
    predict(compose(untrained, top, f"output={tmp_path}/plain.csv", "progress=none"))
    assert "panel" not in rows(tmp_path / "plain.csv")[0]


def test_a_full_disk_is_told(untrained, tmp_path, monkeypatch):
    top = pictures(tmp_path / "p")
    from detector.predicting.table import Table

    def full(self, *given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Table, "_line", full)
    with pytest.raises(UserError, match=r"o\.csv\.part cannot be written \(No space left"):
        predict(compose(untrained, top, f"output={tmp_path}/o.csv", "progress=none"))
    assert not (tmp_path / "o.csv").exists()


def test_the_answers_of_an_interrupted_job_are_not_overwritten(untrained, tmp_path):
    top, partial = pictures(tmp_path / "p"), tmp_path / "o.csv.part"
    cfg = compose(untrained, top, f"output={tmp_path}/o.csv", "progress=none")
    partial.write_text("of hours")
    with pytest.raises(UserError, match=r"o\.csv\.part has answers .*: move or delete it"):
        Predicting(cfg)  # before any network is opened
    assert partial.read_text() == "of hours"
    partial.unlink()
    late = Predicting(cfg)  # and then another job begins, which has written nothing yet
    partial.touch()
    with pytest.raises(UserError, match="still runs"):
        late.run()
    assert sorted(os.listdir(tmp_path)) == ["best.ckpt", "o.csv.part", "p"]


def test_names_that_are_no_utf8_can_be_written(untrained, tmp_path):
    top = pictures(tmp_path / "p", 1)
    try:
        os.rename(top / "0.png", os.fsencode(top) + b"/\xff.png")
    except OSError:
        pytest.skip("the file system takes UTF-8 alone")
    predict(compose(untrained, top, f"output={tmp_path}/o.csv", "progress=none"))
    (line,) = rows(tmp_path / "o.csv")
    assert line["path"] == f"{top}/\\udcff.png" and line["error"] == ""
    predict(compose(untrained, top))


def test_names_that_are_no_utf8_can_come_from_the_standard_input(untrained, tmp_path, monkeypatch):
    top = os.fsencode(pictures(tmp_path / "p", 1))
    typed(monkeypatch, top + b"/caf\xe9.png\n" + top + b"/0.png\n")
    found = predict(compose(untrained, "-", f"output={tmp_path}/o.jsonl", "progress=none"))
    assert (found["pictures"], found["failed"]) == (2, 1)
    absent, good = map(json.loads, (tmp_path / "o.jsonl").read_text().splitlines())
    assert os.fsencode(absent["path"]) == top + b"/caf\xe9.png" and "no such" in absent["error"]
    assert good["verdict"]


def command(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "detector.predict", "predict.device=cpu", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def test_the_exit_code_says_if_any_failed(untrained, tmp_path):
    top = pictures(tmp_path / "p")
    (top / "bad.jpg").write_text("no")
    good = command(f"ckpt={untrained}", f"inputs={top}/0.png")
    bad = command(f"ckpt={untrained}", f"inputs={top}", f"output={tmp_path}/o.csv")
    wrong = command(f"ckpt={tmp_path}/none.ckpt", f"inputs={top}")
    for process, code in ((good, 0), (bad, 1), (wrong, 2)):
        _, err = process.communicate(timeout=120)
        assert process.returncode == code and "Traceback" not in err, err
    assert len(rows(tmp_path / "o.csv")) == 4
    assert "error: no checkpoint" in err


def test_whoever_reads_the_lines_may_stop(untrained, tmp_path):
    top = pictures(tmp_path / "p", 1)
    names = f"{top}/0.png\n" * 3000  # more than a pipe holds
    (tmp_path / "names").write_text(names)
    with open(tmp_path / "names") as given:
        process = command(f"ckpt={untrained}", "inputs=-", stdin=given)
        assert process.stdout.readline().startswith(f"{top}/0.png: ")
        process.stdout.close()
        err = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 141 and err == ""


def test_an_interrupted_job_keeps_what_it_had(untrained, tmp_path):
    top = pictures(tmp_path / "p", 40)
    names = "\n".join(f"{top}/{at % 40}.png" for at in range(2000)) + "\n"
    process = command(
        f"ckpt={untrained}", "inputs=-", f"output={tmp_path}/o.csv", "predict.batch_size=8",
        stdin=subprocess.PIPE,
    )  # fmt: skip
    process.stdin.write(names)
    process.stdin.flush()  # and stays open: there may be more to come
    partial = tmp_path / "o.csv.part"
    for _ in range(1200):
        time.sleep(0.05)
        if partial.exists() and partial.stat().st_size > 2000:
            break
    process.send_signal(signal.SIGINT)
    process.stdin.close()
    code, err = process.wait(timeout=60), process.stderr.read()
    process.stdout.close()
    process.stderr.close()
    assert code == 130 and f"pictures are in {partial}" in err and "Traceback" not in err, err
    kept = rows(partial)
    assert kept and all(line["verdict"] for line in kept) and not (tmp_path / "o.csv").exists()
    assert f"the answers to {len(kept)} pictures" in err


def test_one_picture_needs_no_heavy_library(untrained, tmp_path):
    """What costs seconds at the start is not imported where it is not used."""
    top = pictures(tmp_path / "p", 1)
    heavy = ["lightning", "timm", "matplotlib", "torchvision", "sklearn", "scipy", "torchmetrics",
             "pytorch_grad_cam", "pandas", "tensorboard"]  # fmt: skip
    code = (
        "import sys; from detector import predict, cli;"
        f"predict.predict(cli.compose('predict', ['ckpt={untrained}', 'inputs={top}']));"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
    assert np.isfinite(float(done.stdout.split("p_fake ")[1].split(")")[0]))
