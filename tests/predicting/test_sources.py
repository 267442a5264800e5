"""Folders of every shape are walked once, in order, and to an end."""

import os
import sys
from pathlib import Path

import pytest

from detector.predicting.look import look_or_tell
from detector.predicting.pixels import read_file
from detector.predicting.sources import Sources, Unread, walk
from tests.predicting.made import PREPROCESS, encoded, noise


def test_links_are_followed_once_and_never_upwards(tmp_path):
    top = tmp_path / "top"
    (top / "a").mkdir(parents=True)
    (top / "a" / "1.png").touch()
    other = tmp_path / "other"
    other.mkdir()
    (other / "2.png").touch()
    (top / "b").symlink_to(other)
    (top / "c").symlink_to(top / "a")  # the same again
    (top / "a" / "loop").symlink_to(top)
    (top / "a" / "up").symlink_to(tmp_path)
    (top / "self").symlink_to(top / "self")
    assert list(walk(top)) == [str(top / "a" / "1.png"), str(top / "b" / "2.png")]


def test_folders_within_each_other_are_walked_once(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    for name in ("0.png", "a/1.png", "a/b/2.png"):
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(tmp_path / "a" / "b")

    def names(*given):
        return [os.path.relpath(one, tmp_path) for one in Sources([tmp_path / g for g in given])]

    assert names(".", "a", "a/b", ".") == ["0.png", "a/1.png", "a/b/2.png"]
    assert names("a/b", "a", "link", ".") == ["a/b/2.png", "a/1.png", "0.png"]
    assert names("a/1.png", "a") == ["a/1.png", "a/1.png", "a/b/2.png"]  # a file is what it is


def test_order_is_by_name_and_lazy(tmp_path, monkeypatch):
    for folder in ("", "x", "a/deep", "a"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for name in ("3.jpg", "10.JPG", "2.webp", ".0.png", "notes.txt", "5.heic"):
            (tmp_path / folder / name).touch()
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "__MACOSX" / "1.jpg").touch()
    names = ["10.JPG", "2.webp", "3.jpg", "5.heic"]
    folders = ["", "a/", "a/deep/", "x/"]
    expected = [str(tmp_path / f"{folder}{name}") for folder in folders for name in names]
    assert list(walk(tmp_path)) == expected
    opened = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: opened.append(path) or scandir(path))
    paths = walk(tmp_path)
    assert next(paths) == expected[0] and opened == [str(tmp_path)]


def test_a_folder_that_cannot_be_read_is_told_and_the_rest_goes_on(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(encoded(noise(1)))
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("a"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    unread, other = walk(tmp_path)
    assert isinstance(unread, Unread) and other == str(tmp_path / "b" / "1.png")
    told = look_or_tell(unread, PREPROCESS, False)
    assert told.path == str(tmp_path / "a") and "Permission denied" in told.error


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes with names there")
def test_pipes_and_broken_links_are_told_and_nothing_hangs(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    told = [look_or_tell(path, PREPROCESS, False).error for path in walk(tmp_path)]
    assert told == ["no such file: check the path", "not a regular file: save it as one"]
    assert "a folder" in look_or_tell(tmp_path, PREPROCESS, False).error


def test_a_home_folder_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "me.png").write_bytes(b"x")
    assert read_file(Path("~/me.png"), 100) == b"x"
    assert list(walk("~")) == [str(tmp_path / "me.png")]
