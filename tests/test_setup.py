"""The pins, the make targets and the wheel: what a newcomer meets before any of the code."""

import importlib.metadata
import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIREMENTS = [
    Requirement(line)
    for line in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]
]
SUPPORTED = ("3.11", "3.12", "3.13")


def read_pins():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(pin.name): pin for pin in pins}


def version_of(pin):
    (specifier,) = pin.specifier
    assert specifier.operator == "==" and "*" not in specifier.version, f"{pin} is not a pin"
    return specifier.version


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.name)
def test_each_requirement_has_a_pin_inside_its_range(requirement):
    assert requirement.specifier, "a requirement without a range accepts any old version"
    pin = read_pins()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version_of(pin)), f"{pin} is outside {requirement}"


def test_constraints_are_pins_and_name_no_address():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if re.search(r"://|^-| @ ", line)] == []
    assert all(version_of(pin) for pin in read_pins().values())
    names = [line.split("=")[0] for line in lines if not line.startswith("#")]
    assert len(names) == len(read_pins()), "a package is pinned twice"


@pytest.mark.parametrize("python", SUPPORTED)
@pytest.mark.parametrize("system", ["Linux", "Darwin"])
def test_everything_that_gets_installed_is_pinned(python, system):
    platform = {"Linux": "linux", "Darwin": "darwin"}[system]
    machine = {"Linux": "x86_64", "Darwin": "arm64"}[system]
    there = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": platform,
        "platform_system": system,
        "platform_machine": machine,
    }
    pins = read_pins()
    seen, queue = set(), [(requirement, "") for requirement in REQUIREMENTS]
    while queue:
        requirement, extra = queue.pop()
        if requirement.marker and not requirement.marker.evaluate(there | {"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        assert name in pins, f"{requirement} has no pin"
        marker = pins[name].marker
        assert marker is None or marker.evaluate(there), f"{pins[name]} is not for {system}"
        for extra in {"", *requirement.extras}:
            if (name, extra) not in seen:
                seen.add((name, extra))
                try:
                    further = importlib.metadata.requires(name) or []
                except importlib.metadata.PackageNotFoundError:
                    further = []  # Not for the machine that runs this test.
                queue += [(Requirement(line), extra) for line in further]
    assert len(seen) > 60
    assert any(name.startswith("nvidia-") for name, _ in seen) == (system == "Linux")


def test_unwanted_releases_are_outside_the_ranges():
    ranges = {requirement.name: requirement.specifier for requirement in REQUIREMENTS}
    for name, version in [
        ("lightning", "2.6.2"),
        ("lightning", "2.6.3"),
        ("kagglehub", "1.0.3"),
        ("pillow", "13.0.0"),
        ("opencv-python-headless", "5.0.0"),
        ("torch", "2.13.0"),
    ]:
        assert version not in ranges[name]
    assert "2.15.0" in ranges["torch"]


def test_python_range_is_the_same_everywhere():
    requires = Requirement(f"python{PROJECT['requires-python']}").specifier
    versions = [f"3.{minor}" for minor in range(8, 20)]
    assert tuple(version for version in versions if version in requires) == SUPPORTED
    classified = [line.rsplit(" ", 1)[-1] for line in PROJECT["classifiers"] if ":: 3." in line]
    assert tuple(classified) == SUPPORTED


def test_version_is_the_same_everywhere():
    version = re.search(r'__version__ = "(.+)"', (ROOT / "src/detector/__init__.py").read_text())[1]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == version
    assert citation["license"] == PROJECT["license"]
    assert re.search(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.M)[1] == version


# Written in pieces so that this file does not find itself.
ADDRESSES = re.compile(
    "|".join(
        [
            r"(py" + r"pi|python" + r"hosted)\.org",
            r"download\.py" + r"torch\.org",
            r"registry\.npm" + r"js\.org",
            r"/work/" + r"(main|shared)\b",
            r"/opt/" + r"(wheels|pypi)",
            r"(?<![\w.}~])/(root|home/\w+|Users/\w+)/" + r"[\w.]",
        ]
    )
)


@pytest.mark.parametrize(
    "text",
    [
        "--index-url https://" + "pypi" + ".org/simple",
        "files.python" + "hosted.org",
        "root: /work/" + "shared/data",
        "/ro" + "ot/.cache",
        "'/Users/" + "ann/faces'",
    ],
)
def test_the_search_for_addresses_finds_planted_ones(text):
    assert ADDRESSES.search(text)
    assert not ADDRESSES.search("see ../shared/data, data/root/fake and https://example.org/root")


def test_no_registry_address_or_machine_path_in_the_repository():
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    found = []
    for name in listed.decode().split("\0"):
        path = ROOT / name
        if name and path.is_file():
            lines = path.read_text(errors="ignore").splitlines()
            found += [f"{name}: {match[0]}" for line in lines if (match := ADDRESSES.search(line))]
    assert found == []


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
        timeout=60,
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
    assert "-c constraints.txt -e .[test]" in (checkout / "log").read_text()


def test_ci_run_is_executable_and_asks_make_for_the_tests(tmp_path):
    checkout = tmp_path / "elsewhere"
    shutil.copytree(ROOT / ".ci", checkout / ".ci")
    script(tmp_path / "bin/make", 'pwd; echo "make $*"; cat; exit 7')
    answer = subprocess.run(
        [checkout / ".ci/run"],
        cwd="/",
        env={"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert answer.returncode == 7, "the result of the tests is the result of the run"
    assert answer.stdout.splitlines() == [str(checkout), "make test"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


def test_wheel_holds_the_package_and_its_configuration(wheel):
    def files(folder, pattern):
        return {path.relative_to(folder).as_posix() for path in folder.rglob(pattern)}

    assert files(wheel / "detector", "*.py") == files(ROOT / "src/detector", "*.py")
    assert files(wheel / "detector/conf", "*.yaml") == files(ROOT / "conf", "*.yaml")
    assert {"train.yaml", "data/hardfake.yaml"} <= files(wheel / "detector/conf", "*.yaml")
    (info,) = wheel.glob("*.dist-info")
    assert "detector-train = detector.train:main" in (info / "entry_points.txt").read_text()
    assert "Apache License" in (info / "licenses/LICENSE").read_text()
    assert {path.name for path in wheel.iterdir()} == {"detector", info.name}


def run_python(code, wheel):
    env = {"PYTHONPATH": str(wheel), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=wheel, env=env, capture_output=True, text=True, check=True)


def test_unpacked_wheel_is_what_gets_imported(wheel):
    code = "import detector; print(detector.__version__, detector.__file__)"
    version, path = run_python(code, wheel).stdout.split()
    (info,) = wheel.glob("*.dist-info")
    assert info.name == f"detector-{version}.dist-info"
    assert Path(path).is_relative_to(wheel)


def test_importing_the_package_loads_nothing_heavy(wheel):
    code = "import sys, detector; print(*sys.modules)"
    loaded = set(run_python(code, wheel).stdout.split())
    assert loaded.isdisjoint({"torch", "lightning", "hydra", "numpy", "PIL", "matplotlib"})
