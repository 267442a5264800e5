"""What the terminal says at the end: every number found again, nothing too wide."""

import os
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len

from detector.evaluation.holds import calibration_holds
from detector.evaluation.metrics import summarize
from detector.evaluation.slices import slices
from detector.run import report
from detector.run.report import table, where_next

HOW = {"threshold": 0.5, "replicates": 40, "seed": 0}
MEASURES = {"AUROC": "auroc", "accuracy": "accuracy", "F1": "f1", "average precision": "ap"}


def part(seed: int, kinds: tuple[str, ...] = (), n: int = 120) -> dict:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    images = rng.random(n) * 0.7 + 0.3 * (labels == 0), labels, np.arange(n)
    measured = summarize(*images, **HOW)
    if kinds:
        column = [rng.choice(kinds) if label == 0 else "" for label in labels]
        measured["by_difficulty"] = slices(*images, column, **HOW)
    return measured


def metrics(names: tuple[str, str] = ("fake", "real"), **parts: dict) -> dict:
    return parts | {"class_names": list(names), "training": {"epochs": 2}}


def cells(text: str) -> list[list[str]]:
    """Label and cells of each row of the table, which ends at the empty line."""
    lines = text.split("\n\n")[0].splitlines()
    return [re.split(r"\s{2,}", line.strip()) for line in lines]


def written(measure: dict) -> str:
    return "{value:.3f} [{low:.3f}, {high:.3f}]".format(**measure)


def test_every_number_stands_in_its_row():
    kinds = ("easy", "mid", "hard")
    val, test = part(0, kinds), part(1, kinds)
    shown = table(metrics(val=val, test=test))
    expected = [["validation", "test"]]
    for label, key in [("images", "n"), ("real", "n_real"), ("fake", "n_fake")]:
        expected.append([label, str(val[key]), str(test[key])])

    def sliced(write):
        for kind in kinds:
            both = (measured["by_difficulty"][kind] for measured in (val, test))
            expected.append([f"difficulty {kind}", *map(write, both)])

    sliced(lambda measured: str(measured["n_fake"]))
    for label, key in [*MEASURES.items(), ("fake found", "recall")]:
        expected.append([label, written(val[key]), written(test[key])])
        if key in ("auroc", "recall"):
            sliced(lambda measured, key=key: written(measured[key]))
    assert cells(shown) == expected
    assert "95 % interval" in shown and "p_fake of 0.5 or more" in shown


def test_columns_are_aligned_and_narrow():
    kinds = ("easy", "mid", "hard")
    lines = table(metrics(val=part(0, kinds), test=part(1, kinds))).split("\n\n")[0].splitlines()
    heading = lines[0]
    for line in lines[1:]:
        for name in ("validation", "test"):
            at = heading.index(name)
            assert line[at - 2 : at] == "  " and line[at].isdigit()
    assert max(map(len, lines)) <= 80


def test_a_set_without_kinds_has_no_such_rows():
    shown = table(metrics(val=part(0), test=part(1)))
    assert "difficulty" not in shown
    assert [row[0] for row in cells(shown)[1:]] == ["images", "real", "fake", *MEASURES,
                                                    "fake found"]  # fmt: skip


def test_a_search_shows_validation_alone():
    shown = table(metrics(val=part(0, ("easy",))))
    assert cells(shown)[0] == ["validation"] and "test" not in shown


def test_a_kind_that_one_part_lacks_keeps_its_place():
    val, test = part(0, ("hard", "easy")), part(1, ("mid", "other", "easy"))
    rows = [row for row in cells(table(metrics(val=val, test=test))) if "difficulty" in row[0]]
    assert [row[0] for row in rows] == [f"difficulty {k}" for k in
                                        ("easy", "mid", "hard", "other")] * 3  # fmt: skip
    assert rows[1][1:] == ["0", str(test["by_difficulty"]["mid"]["n_fake"])]
    assert rows[5][1:] == ["-", written(test["by_difficulty"]["mid"]["auroc"])]
    assert rows[10][1:] == [written(val["by_difficulty"]["hard"]["recall"]), "-"]


def test_what_is_undefined_is_a_dash():
    labels = np.zeros(9, int)
    one_class = summarize(np.linspace(0, 1, 9), labels, np.arange(9), **HOW)
    rows = {row[0]: row[1:] for row in cells(table(metrics(val=one_class, test=part(1))))}
    assert rows["AUROC"][0] == rows["F1"][0] == "-"
    assert rows["accuracy"][0].startswith("0.556 [")


def test_other_classes_are_not_called_fake():
    shown = table(metrics(("cat", "dog"), val=part(0, ("easy",)), test=part(1)))
    assert "fake" not in shown and "real" not in shown
    assert "cat found: share of cat images with p_cat of 0.5 or more" in shown
    assert ["dog", "60", "60"] in cells(shown)


@pytest.mark.parametrize("name", ["x" * 200, "写真" * 40, "two\nlines\t\x1b[31m", ""])
def test_names_of_any_kind_keep_to_one_hundred_columns(name):
    shown = table(metrics((name, name), val=part(0, ("easy", name or "?")), test=part(1)))
    usual = table(metrics(val=part(0, ("easy", "mid")), test=part(1)))
    assert len(shown.splitlines()) == len(usual.splitlines())
    assert max(map(cell_len, shown.splitlines())) <= 100
    assert "\x1b" not in shown and "\t" not in shown
    rows = [re.match(r"(.*?  )\d\.\d{3} \[", line) for line in shown.splitlines()]
    assert len({cell_len(row[1]) for row in rows if row}) == 1 and sum(map(bool, rows)) == 9


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with our Makefile and a run in it."""
    here = tmp_path / "with space"
    folder = here / "runs" / "train" / "set-net" / "2026"
    folder.mkdir(parents=True)
    (here / "Makefile").write_text((Path(__file__).parents[2] / "Makefile").read_text())
    monkeypatch.chdir(here)
    return here, folder


def test_our_makefile_is_pointed_at(place):
    here, folder = place
    lines = where_next(folder, here / "runs", here / "data").splitlines()
    assert lines[0].endswith("  make tensorboard")
    assert lines[1].endswith("  runs/train/set-net/2026/curves.png")
    assert lines[2].endswith("  runs/train/set-net/2026/predictions.csv")
    assert lines[3].endswith("  data")


def test_a_sheet_of_the_images_is_preferred(place):
    here, folder = place
    (here / "data").mkdir()
    (here / "data" / "sheet.jpg").write_bytes(b"")
    assert where_next(folder, here / "runs", here / "data").endswith("  data/sheet.jpg")


def test_make_tensorboard_shows_the_runs_that_are_meant():
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    assert f"\nLOGDIR := {report.MADE_FOR.as_posix()}\n" in makefile


@pytest.mark.parametrize("makefile", [None, "all:\n\techo\n", "# make tensorboard\n"])
def test_without_our_makefile_the_command_is_spelled_out(place, makefile):
    here, folder = place
    (here / "Makefile").unlink()
    if makefile is not None:
        (here / "Makefile").write_text(makefile)
    assert (
        where_next(folder, here / "runs", here / "data")
        .splitlines()[0]
        .endswith("  tensorboard --logdir runs/train")
    )


def test_runs_elsewhere_have_whole_paths(place, tmp_path):
    runs = tmp_path / "other runs"
    folder = runs / "train" / "set-net" / "2026"
    lines = where_next(folder, runs, tmp_path).splitlines()
    assert shlex.split(lines[0])[-3:] == ["tensorboard", "--logdir", str(runs / "train")]
    assert lines[1].endswith(f"  {folder / 'curves.png'}")


def test_a_run_that_was_moved_is_shown_alone(place, tmp_path):
    here, _ = place
    lines = where_next(tmp_path / "moved", here / "runs", tmp_path).splitlines()
    assert shlex.split(lines[0])[-3:] == ["tensorboard", "--logdir", str(tmp_path / "moved")]


def test_a_deleted_working_directory_is_no_error(place, monkeypatch):
    here, folder = place

    def gone():
        raise FileNotFoundError

    monkeypatch.setattr(os, "getcwd", gone)
    monkeypatch.setattr(Path, "cwd", gone)
    lines = where_next(folder, here / "runs", here / "data").splitlines()
    assert shlex.split(lines[0])[-1] == str(here / "runs" / "train")
    assert lines[2].endswith(f"  {folder / 'predictions.csv'}")


def test_the_calibration_is_named_and_its_failure_said():
    val, test = part(0), part(1)
    fitted = {"temperature": 1.4567, "threshold": 0.5, "unsure": [0.4, 0.6], "n": 120}
    p = np.repeat([0.1, 0.9], 200)
    labels = np.r_[np.arange(200) >= 20, np.arange(200) >= 122].astype(int)
    failed = calibration_holds(p, labels, np.arange(400), replicates=40, seed=0)
    shown = table(metrics(val=val, test=test | {"calibration": failed}) | {"calibration": fitted})
    assert "temperature 1.46 and threshold 0.5, of 120 validation images" in shown
    sentence = " ".join(shown.split())
    assert "Calibration does not hold on the test part: ECE 0.145" in sentence
    assert "Of 200 pictures scored about 0.90, 0.61 [0.54, 0.67] are fake." in sentence
    assert max(map(cell_len, shown.splitlines())) <= 80
    held = calibration_holds(p, (np.arange(400) % 200 >= 200 * p).astype(int), np.arange(400),
                             replicates=40, seed=0)  # fmt: skip
    shown = table(metrics(val=val, test=test | {"calibration": held}) | {"calibration": fitted})
    assert "does not hold" not in shown and "temperature 1.46" in shown
