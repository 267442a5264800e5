"""Make targets and `.ci`: what a newcomer meets before any of the code."""

import os
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(*args, cwd=ROOT, path=None):
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    env = clean | ({"PATH": path} if path else {})
    return subprocess.run(
        ["make", "--no-print-directory", *args],
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )


@needs_make
def test_help_lists_every_target():
    phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.M)[1].split()
    for answer in (make("help"), make()):
        assert answer.returncode == 0
        listed = dict(re.findall(r"^  make (\S+) +(\S.*)$", answer.stdout, re.M))
        assert sorted(listed) == sorted(phony)
    assert {"setup", "train", "test", "lint", "tensorboard", "check-macos"} <= set(listed)


@needs_make
def test_train_passes_its_arguments_on():
    answer = make("-n", "-o", ".venv/.installed", "train", "ARGS=model=cnn6 data=hardfake")
    assert answer.stdout == ".venv/bin/python -m detector.train model=cnn6 data=hardfake\n"


@needs_make
@pytest.mark.parametrize("target", ["train", "tensorboard", "test", "lint", "check-macos"])
def test_every_target_asks_for_the_installation(target, tmp_path):
    checkout = copy_of_setup(tmp_path)
    answer = make(target, "PYTHON=no-such-python", cwd=checkout)
    assert answer.returncode != 0
    assert "no-such-python does not run" in answer.stderr


def copy_of_setup(folder):
    checkout = folder / "a check out"
    checkout.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, checkout)
    shutil.copytree(ROOT / ".ci", checkout / ".ci")
    return checkout


def script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@needs_make
@pytest.mark.parametrize("version", ["3.10", "3.14", "2.7"])
def test_other_versions_of_python_are_refused_in_one_line(tmp_path, version):
    checkout = copy_of_setup(tmp_path)
    fake = script(tmp_path / "fake", f"echo {version}")
    answer = make("setup", f"PYTHON={fake}", cwd=checkout)
    assert answer.returncode != 0
    line = answer.stderr.splitlines()[0]
    assert f"{fake} is {version}" in line
    assert "3.11, 3.12 or 3.13" in line and "make setup PYTHON=" in line
    assert not (checkout / ".venv").exists()


@needs_make
def test_missing_venv_module_is_named(tmp_path):
    checkout = copy_of_setup(tmp_path)
    fake = script(tmp_path / "fake", 'case "$2" in *ensurepip*) exit 1;; *) echo 3.12;; esac')
    answer = make("setup", f"PYTHON={fake}", cwd=checkout)
    assert answer.returncode != 0
    assert "apt install python3.12-venv" in answer.stderr


# Stands for an interpreter, for the venv that it makes, and for the pip in there: each notes its
# call in $LOG, and `pip install` ends as $PIP says.
FAKE_PYTHON = r"""
case "$*" in
*"sys.version_info"*) echo {version};;
*"import venv"*) ;;
*"-m venv"*) echo venv >> log; rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python;;
*"pip --version"*) ;;
*"install"*) echo "install $*" >> log; [ -e .venv/.installing ] || exit 9; sh ./pip;;
esac
"""


@needs_make
def test_setup_is_repeated_only_when_needed_and_redone_when_interrupted(tmp_path):
    checkout = copy_of_setup(tmp_path)
    bin_ = tmp_path / "bin"
    script(bin_ / "python3.13", "exit 127")  # As a pyenv shim without its Python does.
    script(bin_ / "python3.12", FAKE_PYTHON.format(version="3.14"))
    script(bin_ / "python3.11", FAKE_PYTHON.format(version="3.11"))
    path = f"{bin_}:{os.environ['PATH']}"

    def setup(pip):
        (checkout / "pip").write_text(pip)
        (checkout / "log").write_text("")
        answer = make("setup", cwd=checkout, path=path)
        calls = [line.split()[0] for line in (checkout / "log").read_text().splitlines()]
        return answer.returncode == 0, calls

    assert setup("exit 1") == (False, ["venv", "install"])
    assert setup("exit 0") == (True, ["install"]), "a failed pip leaves a sound .venv"
    assert setup("exit 1") == (True, []), "nothing to do"
    later = (checkout / ".venv/.installed").stat().st_mtime + 10
    for killed in ("kill -9 $PPID", "kill -INT $(ps -o ppid= $PPID); exit 1"):
        os.utime(checkout / "constraints.txt", (later, later))
        assert setup(killed) == (False, ["install"])
        os.utime(checkout / "constraints.txt")
        assert setup("exit 0") == (True, ["venv", "install"]), "a killed pip leaves half a package"
        assert setup("exit 1") == (True, [])
    script(checkout / ".venv/bin/python", FAKE_PYTHON.format(version="3.14"))
    os.utime(checkout / "pyproject.toml", (later + 1e6, later + 1e6))
    assert setup("exit 0") == (True, ["venv", "install"]), "the Python of .venv is no longer fit"
    assert "-c constraints.txt -e .[test,pretrained,page,export]" in (checkout / "log").read_text()


def test_pip_as_macos_judges_markers_as_macos_does(tmp_path):
    """By a package that cannot be installed on Linux, nor on any Python but 3.12."""
    info = "probe-1.dist-info"
    metadata = ["Metadata-Version: 2.1", "Name: probe", "Version: 1"] + [
        f"Requires-Dist: no-such-package; {marker}"
        for marker in (
            'platform_system == "Linux" or sys_platform == "linux"',
            'platform_machine != "arm64"',
            'python_version != "3.12"',
        )
    ]
    with zipfile.ZipFile(tmp_path / "probe-1-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{info}/METADATA", "\n".join(metadata))
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n")
        archive.writestr(f"{info}/RECORD", "")
    arguments = (
        "--isolated install --dry-run --no-index --only-binary=:all: --python-version 3.12"
        f" --platform macosx_14_0_arm64 --target {tmp_path}/none --find-links {tmp_path} probe"
    ).split()
    results = [
        subprocess.run([sys.executable, *start, *arguments], capture_output=True, text=True)
        for start in (["-m", "pip"], [ROOT / ".ci/pip_as_macos.py", "3.12"])
    ]
    if sys.platform == "linux":
        assert results[0].returncode != 0 and "no-such-package" in results[0].stderr
    assert results[1].returncode == 0 and "Would install probe-1" in results[1].stdout


def test_ci_run_is_executable_and_asks_make_for_the_tests(tmp_path):
    checkout = tmp_path / "elsewhere"
    shutil.copytree(ROOT / ".ci", checkout / ".ci")
    script(tmp_path / "bin/make", 'pwd; echo "make $*"; cat; exit 7')
    script(tmp_path / "bin/chromium", "exit 0")
    answer = subprocess.run(
        [checkout / ".ci/run"],
        cwd="/",
        env={"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert answer.returncode == 7, "the result of the tests is the result of the run"
    assert answer.stdout.splitlines() == [str(checkout), "make test"]


@pytest.mark.parametrize("works", [True, False])
def test_ci_run_installs_chromium_where_there_is_none_and_goes_on_without(tmp_path, works):
    checkout, tools = tmp_path / "elsewhere", tmp_path / "bin"
    shutil.copytree(ROOT / ".ci", checkout / ".ci")
    script(tools / "make", 'echo "make $*"')
    script(tools / "apt-get", f'echo "$*" >> {tmp_path}/asked; exit {int(not works)}')
    for tool in ("bash", "dirname", "env"):
        (tools / tool).symlink_to(shutil.which(tool))
    answer = subprocess.run(
        [checkout / ".ci/run"], env={"PATH": str(tools)}, capture_output=True, text=True
    )
    asked = (tmp_path / "asked").read_text()
    assert asked.startswith("update\n") and ("chromium" in asked) is works
    lines = answer.stdout.splitlines()
    assert answer.returncode == 0 and lines[-1] == "make test"
    assert len(lines) == (1 if works else 2) and ("skipped" in lines[0]) is not works
