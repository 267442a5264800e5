"""Whether freed memory stays in the process, counted by page faults in a process of its own."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from detector.run import heap
from detector.run.heap import OWN, ask_for_huge_pages, before_torch, keep_freed_memory

SCRIPT = """
import json, resource, sys
from detector.run.heap import give_back_freed_memory, keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        b"x" * 100_000_000
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

done = give_back_freed_memory("cpu") if sys.argv[1:] == ["back"] else keep_freed_memory(sys.argv[1])
faults()
print(json.dumps([done, faults()]))
"""


def told(device, **more):
    env = {name: value for name, value in os.environ.items() if name not in OWN} | more
    ran = subprocess.run(
        [sys.executable, "-c", SCRIPT, device], env=env, capture_output=True, text=True, check=True
    )
    return json.loads(ran.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told anything")
def test_freed_memory_is_used_again_and_the_environment_goes_first():
    plain, kept = told("cuda"), told("cpu")
    assert not plain[0] and kept[0]
    assert kept[1] < plain[1] / 10
    given_back = told("back")
    assert given_back[0] and given_back[1] > 10 * kept[1]
    assert not told("cpu", MALLOC_TRIM_THRESHOLD_="1000000")[0]


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_freed_memory("cpu")


PAGES = """
from detector.run.heap import ask_for_huge_pages, keep_freed_memory

keep_freed_memory("cpu")
block = bytearray(200_000_000)
block[::4096] = b"x" * len(block[::4096])
asked = ask_for_huge_pages()
with open("/proc/self/smaps_rollup") as file:
    large = next(int(line.split()[1]) * 1024 for line in file if line.startswith("AnonHuge"))
print(asked, large)
"""


def pages_of_this_system():
    """What it is set to; "[never]" where it has none."""
    file = Path(heap.PAGES)
    return file.read_text() if platform.system() == "Linux" and file.exists() else "[never]"


@pytest.mark.skipif("[never]" in pages_of_this_system(), reason="large pages are off here")
def test_linux_is_asked_for_the_whole_heap():
    env = {name: value for name, value in os.environ.items() if name not in OWN}
    ran = subprocess.run(
        [sys.executable, "-c", PAGES], env=env, capture_output=True, text=True, check=True
    )
    asked, large = (int(number) for number in ran.stdout.split())
    assert 190_000_000 < asked < 400_000_000
    if tuple(int(part) for part in platform.release().split(".")[:2]) >= (6, 1):
        assert large > 100_000_000


def test_nothing_is_asked_of_a_system_that_is_set_to_have_none(monkeypatch, tmp_path):
    monkeypatch.setattr(heap, "PAGES", str(tmp_path / "enabled"))
    Path(heap.PAGES).write_text("always madvise [never]\n")
    assert ask_for_huge_pages() == 0


def test_nothing_is_asked_elsewhere_or_where_the_environment_says_how(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000000")
    assert ask_for_huge_pages() == 0
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_")
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    assert ask_for_huge_pages() == 0


def test_before_torch_leaves_what_the_environment_says(monkeypatch):
    names = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "THP_MEM_ALLOC_ENABLE")
    for name in names:
        monkeypatch.setenv(name, "x")
        monkeypatch.delenv(name)  # set and gone again, so that it is put back afterwards
    before_torch(True)
    assert os.environ["GOMP_SPINCOUNT"] == "10000" and names[2] not in os.environ
    before_torch(False)
    assert os.environ[names[2]] == "1"
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    before_torch(True)
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    monkeypatch.delenv("GOMP_SPINCOUNT")
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    before_torch(True)
    assert "GOMP_SPINCOUNT" not in os.environ


def test_what_a_convolution_makes_at_a_time_is_kept():
    """The blocks of `trainer.keep_memory=false` that would else be cleared for each few images."""
    from detector.models.convolved import PART
    from detector.run.heap import LARGE

    assert PART < LARGE
