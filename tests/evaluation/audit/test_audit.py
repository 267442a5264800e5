"""The whole audit on small folders with something planted in them."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from detector import cli
from detector.audit import _main, audit
from detector.errors import UserError
from tests.conftest import picture


def plant(root: Path, n: int = 30, *, copies: bool = True) -> Path:
    """JPEGs of noise; fakes are brighter, of another table; some reals are grey, some with EXIF."""
    rng = np.random.default_rng(0)
    for name in ("fake", "real"):
        (root / name).mkdir(parents=True)
        for at in range(n):
            pixels = np.array(picture(rng, False)).astype(int)
            settings = {"quality": 90}
            if name == "fake":
                pixels += 40
                settings["quality"] = 90 if at % 2 else 70
            elif at % 3 == 0:
                pixels = np.repeat(pixels.mean(axis=2, keepdims=True), 3, axis=2)
            if name == "real" and at < 12:
                exif = Image.Exif()
                exif[0x010F] = "camera"
                settings["exif"] = exif
            image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
            image.save(root / name / f"{at:03d}.jpg", **settings)
    if copies:
        (root / "fake" / "copy.jpg").write_bytes((root / "real" / "001.jpg").read_bytes())
        (root / "real" / "broken.jpg").write_bytes((root / "real" / "002.jpg").read_bytes()[:200])
    return root


def overrides(root: Path, out: Path, *more: str) -> list[str]:
    return [
        "data=folder", f"data.root={root}", f"paths.runs={out}/runs", f"paths.cache={out}/cache",
        "progress=none", "audit.replicates=100", "data.near_copies=false", *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return plant(tmp_path_factory.mktemp("planted") / "set")


@pytest.fixture(scope="module")
def found(planted, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    return audit(cli.compose("audit", overrides(planted, out, "audit.fail_above=0.6")))


def test_what_was_planted_is_found(found):
    auroc = {key: row["auroc"] for key, row in found["properties"].items()}
    for key in ("brightness", "quantization", "exif", "grey"):
        assert auroc[key]["low"] > 0.5, key
    assert auroc["format"]["value"] == 0.5 and auroc["size"]["value"] == 0.5
    # Half of the 30 fakes have the rare table, one more is a copy of a real.
    assert found["header_rule"]["accuracy"] == pytest.approx((15 + 30) / 61)
    assert found["header_rule"]["precision"] == 1.0
    assert found["header_rule"]["usual_of_fake"] == pytest.approx(16 / 31)
    low, high = found["header_rule"]["interval"]
    assert low < found["header_rule"]["accuracy"] < high
    assert found["properties"]["quantization"]["only"]["fake"]["share"] == pytest.approx(15 / 31)
    assert found["properties"]["grey"]["by_class"]["real"] == pytest.approx(
        {"no": 2 / 3, "yes": 1 / 3}
    )
    assert [entry["name"] for entry in found["corrupt"]] == ["real/broken.jpg"]


def test_the_same_picture_in_both_classes(found):
    (pair,) = found["pairs"]["list"]
    assert {pair["a"], pair["b"]} == {"fake/copy.jpg", "real/001.jpg"} and pair["same_bytes"]
    assert found["pairs"]["count"] == found["pairs"]["across_classes"] == 1
    assert found["pairs"]["across_parts"] == 0  # one group, so one part
    suspects = {entry["name"]: entry for entry in found["suspects"]}
    assert suspects["fake/copy.jpg"]["why"] == "the same picture as real/001.jpg"
    assert suspects["real/001.jpg"]["label"] == "real" and len(suspects) <= 20


def test_what_is_left_on_disk(found, planted):
    folder = Path(found["folder"])
    assert folder.parts[-3:-1] == ("audit", "folder")
    assert not (folder.parents[2] / "latest").exists()  # that is the newest training
    read = json.loads((folder / "audit.json").read_text())
    assert read == {key: value for key, value in found.items() if key != "folder"}
    assert {
        "data", "class_names", "n", "n_fake", "n_real", "n_groups", "parts", "properties",
        "controls", "header_rule", "pairs", "corrupt", "suspects", "fail", "seconds",
    } == set(read)  # fmt: skip
    text = (folder / "audit.md").read_text()
    for says in ("fake images are brighter", "real/broken.jpg", "fake/copy.jpg", "brightness"):
        assert says in text
    assert Image.open(folder / "audit.png").size[0] == 1200
    with open(folder / "properties.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 61 and {row["label"] for row in rows} == {"0", "1"}
    bright = [float(row["brightness"]) for row in rows]
    row = next(row for row in rows if row["path"] == "real/003.jpg")
    with Image.open(planted / "real" / "003.jpg") as im:
        assert float(row["brightness"]) == pytest.approx(np.mean(im.convert("L")) / 255, abs=0.01)
    expected = roc_auc_score([row["label"] == "0" for row in rows], bright)
    assert found["properties"]["brightness"]["fake_higher"] == pytest.approx(expected)


def test_controls_are_the_four_with_intervals(found):
    controls = found["controls"]
    assert controls["part"] == "val" and controls["n"] == found["parts"]["val"]
    for name in ("majority", "header", "pixels", "dct"):
        for key in ("accuracy", "auroc"):
            measure = controls[name][key]
            assert measure["low"] <= measure["value"] <= measure["high"]
            assert measure["low"] < measure["high"]


def test_the_limit_names_what_is_above_it(found):
    assert found["fail"]["above"] == 0.6
    above = {p["title"] for p in found["properties"].values() if (p["auroc"]["low"] or 0) > 0.6}
    assert "brightness" in above
    named = {text.partition(" (")[0] for text in found["fail"]["by"]}
    assert {name for name in named if not name.endswith(" control")} == above


def command(arguments: list[str]) -> subprocess.CompletedProcess:
    source = str(Path(cli.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": source, "HYDRA_FULL_ERROR": ""}
    return subprocess.run(
        [sys.executable, "-m", "detector.audit", *arguments],
        capture_output=True, text=True, timeout=300, env=environment,
    )  # fmt: skip


def test_exit_status_for_ci(planted, tmp_path):
    failed = command(overrides(planted, tmp_path, "audit.fail_above=0.6", "audit.part=test"))
    assert failed.returncode == 1, failed.stderr
    (line,) = failed.stderr.strip().splitlines()
    assert line.startswith("audit.fail_above=0.6: surely above it are ") and "brightness" in line
    assert "controls, fitted on train, on test" in failed.stdout
    assert len(list((tmp_path / "runs" / "audit" / "folder").iterdir())) == 1


def test_no_limit_and_a_high_one_pass(planted, tmp_path, caplog):
    caplog.set_level("INFO")
    assert _main(cli.compose("audit", overrides(planted, tmp_path))) is None  # exit status 0
    assert "fail_above" not in caplog.text
    assert _main(cli.compose("audit", overrides(planted, tmp_path, "audit.fail_above=1"))) is None
    assert "audit.fail_above=1: passed" in caplog.text


@pytest.mark.parametrize(
    "override, says",
    [
        ("audit.part=train", r"audit\.part=train: choose one of val, test"),
        ("audit.fail_above=60", r"audit\.fail_above=60: null, or give a number"),
        ("audit.folds=1", r"audit\.folds=1: give a whole number of at least 2"),
        ("audit.replicates=5", r"audit\.replicates=5: "),
        ("audit.suspects=-1", r"audit\.suspects=-1: "),
        ("progress=loud", r"progress=loud: choose one of"),
        ("audit.fail_over=0.6", r"did you mean audit\.fail_above\?"),
        ("data.root=/no/such/place", r"/no/such/place"),
        ("data.skip_corrupt=false", r"1 of 62 files of folder are unreadable"),
    ],
)
def test_mistakes_in_one_line(planted, tmp_path, override, says):
    with pytest.raises(UserError, match=says) as caught:
        audit(cli.compose("audit", overrides(planted, tmp_path, override)))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_a_place_that_cannot_be_written(planted, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"set paths\.runs"):
        audit(cli.compose("audit", [*overrides(planted, tmp_path), f"paths.runs={tmp_path}/file"]))


def test_a_file_that_breaks_after_it_was_indexed(tmp_path, monkeypatch):
    from detector.evaluation.audit import observe as module

    root = plant(tmp_path / "set", 20, copies=False)

    def fail(data, *, max_pixels):
        raise module.DecodeError("gone bad")

    monkeypatch.setattr(module, "decode", fail)
    with pytest.raises(UserError, match="run the audit again"):
        audit(cli.compose("audit", overrides(root, tmp_path)))
