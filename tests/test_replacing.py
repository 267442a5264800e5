"""A file is the old one or the new one, whoever looks and whatever happens."""

import os
import threading

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from detector.replacing import replacing


def write(path, text, **options):
    with replacing(path, **options) as temporary:
        assert temporary.parent == path.parent and not temporary.exists()
        temporary.write_text(text)


def test_it_takes_the_place_of_what_was_there(tmp_path):
    path = tmp_path / "a.json"
    write(path, "one")
    plain = tmp_path / "plain"
    plain.write_text("")
    assert path.stat().st_mode == plain.stat().st_mode  # others may read it as any other file
    write(path, "two")
    assert path.read_text() == "two" and len(os.listdir(tmp_path)) == 2


@pytest.mark.parametrize("error", [OSError("disk"), KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize("begun", [False, True])
def test_an_error_leaves_what_was_there(tmp_path, error, begun):
    path = tmp_path / "a.json"
    path.write_text("one")
    with pytest.raises(type(error)) as caught, replacing(path) as temporary:
        if begun:
            temporary.write_text("tw")
        raise error
    assert caught.value is error
    assert path.read_text() == "one" and os.listdir(tmp_path) == ["a.json"]


def test_a_place_that_cannot_be_taken(tmp_path):
    (tmp_path / "a" / "full").mkdir(parents=True)
    with pytest.raises(OSError):
        write(tmp_path / "a", "x")
    assert os.listdir(tmp_path) == ["a"]
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError), replacing(tmp_path / "file" / "a") as temporary:
        temporary.write_text("x")
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a"):
        pass  # nothing was written, which is no file either


NAMES = st.text("ab[]*?!.-é ", min_size=1, max_size=12).filter(lambda name: name.strip("."))


@example(name="a", other="a.b")
@given(name=NAMES, other=NAMES)
def test_what_a_killed_process_began_is_removed_where_nobody_else_writes(
    tmp_path_factory, name, other
):
    folder = tmp_path_factory.mktemp("a")
    for at, one in enumerate({name, other}):
        with replacing(folder / one) as temporary:
            left = temporary.with_name(temporary.name[:-12] + f"0123abc{at}.tmp")
            left.write_text(one)
            temporary.touch()
    write(folder / name, "")
    assert len(list(folder.glob(".*.tmp"))) == len({name, other})  # it may be one at work
    write(folder / name, "", alone=True)
    kept = {path.read_text() for path in folder.glob(".*.tmp")}
    assert kept == {other} - {name}


def test_a_reader_never_finds_a_part(tmp_path):
    path, stop, wrong = tmp_path / "a", threading.Event(), []
    write(path, "0" * 50_000)

    def read():
        while not stop.is_set():
            text = path.read_text()
            wrong.extend([len(text)] * (len(text) != 50_000 or len(set(text)) != 1))

    reader = threading.Thread(target=read)
    reader.start()
    writers = [
        threading.Thread(target=lambda at=at: [write(path, f"{at}" * 50_000) for _ in range(50)])
        for at in range(3)  # threads of one process, which share its number
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    stop.set()
    reader.join()
    assert not wrong and os.listdir(tmp_path) == ["a"]
