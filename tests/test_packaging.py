"""What gets installed: the pins, their ranges, the wheel; and what the repository must not name."""

import ast
import importlib.metadata
import os
import re
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
EXTRAS = PROJECT["optional-dependencies"]
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


def imported_by(folder):
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                yield node.module.split(".")[0]


def distributions_of(folder):
    known = importlib.metadata.packages_distributions()
    ours = {path.stem for path in folder.rglob("*.py")} | {"detector", "tests"}
    modules = set(imported_by(folder)) - set(sys.stdlib_module_names) - ours
    needed = {canonicalize_name(name) for module in modules for name in known.get(module, [module])}
    return needed - {"pytorch-lightning"}  # Some modules of lightning are in both.


def test_what_the_package_imports_is_what_it_asks_for():
    needed = distributions_of(ROOT / "src")
    asked = {canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]}
    # Imported where they are used alone: without them, the rest works.
    extra = {
        canonicalize_name(Requirement(line).name)
        for name in ("page", "export", "litert")
        for line in EXTRAS[name]
    }
    assert needed <= asked | extra, f"not in pyproject.toml: {needed - asked - extra}"
    unused = asked - needed - {"tensorboard"}
    assert not unused, f"in pyproject.toml for nothing: {unused}"


def test_what_the_tests_import_gets_installed_with_them():
    needed = distributions_of(ROOT / "tests")
    extras = [Requirement(line) for name in ("page", "export") for line in EXTRAS[name]]
    assert needed <= {canonicalize_name(one.name) for one in [*REQUIREMENTS, *extras]}


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
            r"/wo" + r"rk/(main|shared)\b",
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
        "root: /wo" + "rk/shared/data",
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
    def files(folder):
        found = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
        return {path.as_posix() for path in found if "__pycache__" not in path.parts}

    configuration = {f"conf/{name}" for name in files(ROOT / "conf")}
    assert files(wheel / "detector") == files(ROOT / "src/detector") | configuration
    assert {"train.py", "conf/train.yaml", "conf/data/hardfake.yaml"} <= files(wheel / "detector")
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
