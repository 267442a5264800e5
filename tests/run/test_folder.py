"""Run folders: never shared, files whole, the newest one found."""

import json
import os

import pytest

from detector.errors import UserError
from detector.run.folder import new_folder, point_latest, provenance, write_csv, write_json


def test_folders_of_the_same_second_differ(tmp_path):
    made = {new_folder(tmp_path, "set-net") for _ in range(5)}
    assert len(made) == 5
    assert all((folder / "checkpoints").is_dir() for folder in made)
    assert {folder.parent for folder in made} == {tmp_path / "train" / "set-net"}


def test_latest_follows(tmp_path):
    for _ in range(2):
        folder = new_folder(tmp_path, "a")
        point_latest(tmp_path, folder)
        assert (tmp_path / "latest").resolve() == folder.resolve()
    moved = tmp_path.with_name(tmp_path.name + "-moved")
    tmp_path.rename(moved)  # the link is relative, so runs/ can be moved as a whole
    assert (moved / "latest" / "checkpoints").is_dir()
    moved.rename(tmp_path)


def test_latest_where_links_are_refused(tmp_path, monkeypatch):
    folder = new_folder(tmp_path, "a")

    def refuse(*_, **__):
        raise OSError("no links here")

    monkeypatch.setattr("pathlib.Path.symlink_to", refuse)
    point_latest(tmp_path, folder)
    assert (tmp_path / (tmp_path / "latest").read_text()).samefile(folder)


def test_a_folder_called_latest_is_not_replaced(tmp_path):
    (tmp_path / "latest").mkdir()
    with pytest.raises(UserError, match="latest"):
        point_latest(tmp_path, new_folder(tmp_path, "a"))


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(UserError, match=r"paths\.runs"):
        new_folder(tmp_path / "runs", "a")


def test_files_are_whole_or_as_before(tmp_path):
    write_json(tmp_path / "m.json", {"a": 1})
    with pytest.raises(ValueError):
        write_json(tmp_path / "m.json", {"a": float("nan")})  # no standard JSON
    assert json.loads((tmp_path / "m.json").read_text()) == {"a": 1}

    def rows():
        yield (1, "one, quoted")
        raise KeyError

    write_csv(tmp_path / "t.csv", ("n", "text"), [(0, "zero")])
    with pytest.raises(KeyError):
        write_csv(tmp_path / "t.csv", ("n", "text"), rows())
    assert (tmp_path / "t.csv").read_text() == "n,text\n0,zero\n"


def test_provenance_names_versions_and_machine():
    known = provenance({"accelerator": "cpu"})
    assert known["hardware"] == {"accelerator": "cpu"}
    assert known["packages"]["torch"] and known["packages"]["detector"]
    assert known["machine"]["cores"] == os.cpu_count()
    json.dumps(known, allow_nan=False)
