"""What is written of a training while it goes on, and what is not kept in memory for it."""

import io
import pickle
import resource
import tracemalloc
from contextlib import contextmanager

import pytest
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from detector.errors import UserError
from detector.run import checkpoints
from detector.run.checkpoints import StreamedIO, write_checkpoint
from detector.run.session import Session

KEY = "ckpt_path=.*last.ckpt"


@contextmanager
def files_no_larger_than(size: int):
    """As if the disk were full from there on, for whoever writes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_told_and_what_was_saved_before_is_whole(tiny):
    first = Session(tiny("trainer.max_epochs=1"))
    first.fit()
    folder = first.folder / "checkpoints"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(before) == {"best.ckpt", "last.ckpt"}
    again = Session(tiny(f"ckpt_path={folder / 'last.ckpt'}", "trainer.max_epochs=3"))
    told = (
        rf"(best|last)\.ckpt cannot be written \(File too large\): make room, then go on with {KEY}"
    )
    with files_no_larger_than(1_000_000), pytest.raises(UserError, match=told):
        again.fit()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


CONTENT = {"weight": torch.zeros(100_000)}


@pytest.mark.parametrize("size", [10, 5000, 300_000, 399_000, 400_900])
def test_wherever_the_disk_is_full_the_system_s_error_is_raised(tmp_path, size):
    path = tmp_path / "a.ckpt"
    torch.save(CONTENT, path)
    whole = path.read_bytes()
    assert size < len(whole)
    with files_no_larger_than(size), pytest.raises(OSError, match="File too large"):
        write_checkpoint(CONTENT, path)
    assert path.read_bytes() == whole and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("raised", [KeyboardInterrupt, MemoryError, OSError])
def test_what_comes_up_while_it_is_written_is_what_is_raised(tmp_path, monkeypatch, raised):
    """PyTorch closes its archive then, and complains of that instead."""

    class File(io.FileIO):
        def write(self, content):
            if len(content) > 100_000:
                raise raised("now")
            return super().write(content)

    monkeypatch.setattr(checkpoints, "open", File, raising=False)
    expected = RuntimeError if raised is MemoryError else raised
    try:
        raise FileNotFoundError("before it")
    except FileNotFoundError:
        with pytest.raises(expected) as error:
            write_checkpoint(CONTENT, tmp_path / "a.ckpt")
    assert not isinstance(error.value, FileNotFoundError) and not list(tmp_path.iterdir())


def test_what_cannot_be_put_in_its_place_leaves_nothing(tmp_path):
    path = tmp_path / "a.ckpt"
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        write_checkpoint(CONTENT, path)
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_saved_is_told_as_it_is(tmp_path):
    with pytest.raises((AttributeError, pickle.PicklingError), match="lambda"):
        write_checkpoint({"function": lambda: 0}, tmp_path / "a.ckpt")
    assert not list(tmp_path.iterdir())


def test_saving_takes_no_memory_of_its_own(tmp_path):
    content, taken = {"weight": torch.arange(1_000_000.0)}, []
    for way in (StreamedIO(), TorchCheckpointIO()):
        tracemalloc.start()
        way.save_checkpoint(content, tmp_path / "a.ckpt")
        taken.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert torch.equal(way.load_checkpoint(tmp_path / "a.ckpt")["weight"], content["weight"])
    assert taken[0] < 1_000_000 and taken[1] > 4_000_000  # Lightning's own: else ours is idle
