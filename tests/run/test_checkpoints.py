"""What is written of a training while it goes on, and what is not kept in memory for it."""

import resource
import tracemalloc
from contextlib import contextmanager

import pytest
import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from detector.errors import UserError
from detector.run.checkpoints import StreamedIO
from detector.run.session import Session


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
    told = r"(best|last)\.ckpt cannot be written \(File too large\); the one before it is whole"
    with files_no_larger_than(1_000_000), pytest.raises(UserError, match=told):
        again.fit()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("size", [10, 5000, 300_000, 399_000])
def test_wherever_the_disk_is_full_the_system_s_error_is_raised(tmp_path, size):
    path = tmp_path / "a.ckpt"
    with files_no_larger_than(size), pytest.raises(OSError, match="File too large"):
        StreamedIO().save_checkpoint({"weight": torch.zeros(100_000)}, path)
    assert not path.exists()


def test_saving_takes_no_memory_of_its_own(tmp_path):
    content, taken = {"weight": torch.arange(1_000_000.0)}, []
    for io in (StreamedIO(), TorchCheckpointIO()):
        tracemalloc.start()
        io.save_checkpoint(content, tmp_path / "a.ckpt")
        taken.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert torch.equal(io.load_checkpoint(tmp_path / "a.ckpt")["weight"], content["weight"])
    assert taken[0] < 1_000_000 and taken[1] > 4_000_000  # Lightning's own holds the file
