"""No test reaches the network: kagglehub is a stand-in, or is led to a server here."""

import contextlib
import errno
import io
import logging
import os
import shutil
import socket
import subprocess
import sys
import time
import types
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from omegaconf import OmegaConf

from detector.data import fetch
from detector.data.fetch import ensure
from detector.data.load import MAKERS
from detector.data.sources import SOURCES, list_items
from detector.errors import UserError

CONF = Path(__file__).parents[2] / "conf" / "data"
HANDLE = "somebody/faces/versions/3"
PAGE = "https://example.org/faces"
FILES = [f"{name}/{name}_{i}.jpg" for name in ("fake", "real") for i in range(2)]
SPEC = {
    "source": "hardfake",
    "kaggle": HANDLE,
    "page": PAGE,
    "counts": {"fake": 2, "real": 2},
}


def plant(root: Path, names=FILES) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def refused(root, name="faces", **spec) -> str:
    with pytest.raises(UserError) as caught:
        ensure(name, root, **{**SPEC, **spec})
    message = str(caught.value)
    assert "\n" not in message and name in message
    return message


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """An empty cache and home, and no way out."""
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "home"))
    monkeypatch.setitem(sys.modules, "kagglehub", None)  # importing it raises ImportError

    def connect(self, address):
        raise AssertionError(f"the network was touched: {address}")

    monkeypatch.setattr(socket.socket, "connect", connect)


class Hub(types.ModuleType):
    """kagglehub's behaviour in its cache: an archive that grows, files, a marker.

    `trouble` is raised, once, when the archive has arrived by half, or before anything
    arrives; `files` is what the archive holds.
    """

    def __init__(self, files=FILES, trouble=None, half=False):
        super().__init__("kagglehub")
        self.files, self.trouble, self.half = files, trouble, half
        self.calls, self.resumed = [], []

    def dataset_download(self, handle):
        self.calls.append(handle)
        owner, slug, _, version = handle.split("/")
        place = Path(os.environ["KAGGLEHUB_CACHE"]) / "datasets" / owner / slug
        archive, marker = place / f"{version}.archive", place / f"{version}.complete"
        files = place / "versions" / version
        if marker.exists():
            return str(files)
        place.mkdir(parents=True, exist_ok=True)
        self.resumed.append(archive.exists())
        trouble, self.trouble = self.trouble, None
        if self.half:
            archive.write_bytes(b"half")
        if trouble:
            raise trouble
        plant(files / "top", self.files)
        archive.unlink(missing_ok=True)
        marker.touch()
        return str(files)


@pytest.fixture
def hub(monkeypatch):
    def install(**behaviour):
        monkeypatch.setitem(sys.modules, "kagglehub", module := Hub(**behaviour))
        return module

    return install


def raised(name: str, base=OSError, status=None, text="it broke\n\non two lines") -> Exception:
    """An exception as requests and kagglehub raise them, without importing either."""
    error = type(name, (base,), {})(text)
    if status:
        error.response = types.SimpleNamespace(status_code=status)
    return error


@pytest.mark.parametrize("depth", ["", "x/y"])
def test_what_is_there_is_used_without_kagglehub(tmp_path, depth, caplog):
    plant(tmp_path / "set" / depth)
    assert ensure("faces", tmp_path / "set", **SPEC) == tmp_path / "set" / depth
    assert not caplog.records
    assert {p.name for p in (tmp_path / "set").iterdir()} == ({"x"} if depth else {"fake", "real"})


def test_a_part_of_a_set_is_used_with_a_warning(tmp_path, caplog):
    plant(tmp_path, FILES[:3])
    assert ensure("faces", tmp_path, **SPEC) == tmp_path
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert "2 of 2 fake, 1 of 2 real" in caplog.text


def test_kagglehubs_own_cache_is_used_where_it_is(tmp_path):
    files = plant(tmp_path / "cache" / "datasets" / HANDLE)
    assert "fetching failed" in refused(tmp_path / "set")  # not marked: may be half a set
    (tmp_path / "cache/datasets/somebody/faces/3.complete").touch()
    shutil.rmtree(tmp_path / "set")
    assert ensure("faces", tmp_path / "set", **SPEC) == files
    assert not (tmp_path / "set").exists()


def test_fetched_once_then_found_without_a_network(tmp_path, hub, monkeypatch):
    root, module = tmp_path / "data" / "faces", hub()
    found = ensure("faces", root, **SPEC)
    assert sorted(i.name for i in list_items("hardfake", found).items) == sorted(FILES)
    assert found.is_relative_to(root) and module.calls == [HANDLE]
    assert {p.name for p in root.iterdir()} <= {"kaggle-3", ".fetch.lock"}  # nothing is left behind
    assert os.environ["KAGGLEHUB_CACHE"] == str(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    assert ensure("faces", root, **SPEC) == found


def test_environment_without_a_cache_stays_without(tmp_path, hub, monkeypatch):
    monkeypatch.delenv("KAGGLEHUB_CACHE")
    hub()
    ensure("faces", tmp_path / "set", **SPEC)
    assert "KAGGLEHUB_CACHE" not in os.environ


def test_broken_download_is_kept_and_resumed(tmp_path, hub):
    module = hub(trouble=raised("ChunkedEncodingError"), half=True)
    message = refused(tmp_path)
    assert "no connection" in message and "resumes" in message
    found = ensure("faces", tmp_path, **SPEC)
    assert module.resumed == [False, True]
    assert len(list_items("hardfake", found).items) == 4


def test_without_a_network_the_message_says_it_all(tmp_path, hub):
    hub(trouble=raised("ConnectionError"))
    message = refused(tmp_path / "set")
    assert "no connection" in message and f"download it from {PAGE}" in message
    assert f"unpack it into {tmp_path / 'set'}, or set data.root=" in message
    assert "resumes" not in message and "it broke" not in message
    plant(tmp_path / "set" / "as" / "told")  # the user does what it says
    assert ensure("faces", tmp_path / "set", **SPEC) == tmp_path / "set/as/told"


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (raised("HTTPError", status=403), f"Kaggle refuses {HANDLE}, correct data.kaggle="),
        (raised("HTTPError", status=404), "KAGGLE_API_TOKEN"),
        (raised("HTTPError", status=500), "kagglehub failed (HTTPError: it broke on two lines)"),
        (raised("ReadTimeout", raised("Timeout").__class__), "no connection to Kaggle"),
        (raised("UnauthenticatedError", Exception), "kagglehub failed (UnauthenticatedError"),
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (OSError(errno.EROFS, "Read-only file system"), "Read-only file system"),
    ],
)
def test_trouble_becomes_one_line(tmp_path, hub, trouble, said):
    hub(trouble=trouble)
    message = refused(tmp_path / "set")
    assert said in message and PAGE in message and str(tmp_path / "set") in message


@pytest.mark.parametrize(
    "trouble",
    [
        zipfile.BadZipFile("Bad CRC-32"),
        ValueError("Unsupported archive type."),
        raised("DataCorruptionError", Exception),
    ],
)
def test_damaged_archive_is_not_resumed(tmp_path, hub, trouble):
    """kagglehub would take it for complete and fail on it again."""
    module = hub(trouble=trouble, half=True)
    assert "damaged and is removed" in refused(tmp_path)
    ensure("faces", tmp_path, **SPEC)
    assert module.resumed == [False, False]


def test_without_kagglehub(tmp_path):
    assert "pip install kagglehub" in refused(tmp_path)


def test_a_stop_by_the_user_is_no_error_of_ours(tmp_path, hub):
    module = hub(trouble=KeyboardInterrupt(), half=True)
    with pytest.raises(KeyboardInterrupt):
        ensure("faces", tmp_path, **SPEC)
    ensure("faces", tmp_path, **SPEC)
    assert module.resumed == [False, True]


@pytest.mark.parametrize("files", [FILES[:3], [*FILES, "real/more.jpg"], FILES[:2], ["a/1.jpg"]])
def test_download_with_other_counts_is_refused(tmp_path, hub, files):
    module = hub(files=files)
    message = refused(tmp_path)
    assert "did not arrive whole" in message and HANDLE in message
    if len(files) == 3:
        assert "2 of 2 fake, 1 of 2 real" in message
        kept = Path(message.split("data.root=")[1].split(" uses")[0])
        assert ensure("faces", kept, **SPEC) == kept / "top"
    module.files = FILES
    shutil.rmtree(tmp_path / ".download/datasets/somebody/faces/versions")
    found = ensure("faces", tmp_path, **SPEC)  # asked for anew, though it was marked complete
    assert len(list_items("hardfake", found).items) == 4 and len(module.calls) == 2


def test_spoilt_earlier_download_is_not_overwritten(tmp_path, hub):
    module = hub()
    found = ensure("faces", tmp_path, **SPEC)
    shutil.rmtree(found / "real")
    assert "remove it to fetch it again" in refused(tmp_path) and module.calls == [HANDLE]
    shutil.rmtree(tmp_path / "kaggle-3")
    assert ensure("faces", tmp_path, **SPEC) == found


def test_mounted_set_is_linked_not_moved(tmp_path, hub):
    """In Kaggle's and Colab's notebooks kagglehub answers with a folder of the machine."""
    mount = plant(tmp_path / "mount")
    module = hub()
    module.dataset_download = lambda handle: str(mount)
    found = ensure("faces", tmp_path / "set", **SPEC)
    assert found.samefile(mount) and found.is_relative_to(tmp_path / "set")
    del module.dataset_download
    sys.modules["kagglehub"] = None
    assert ensure("faces", tmp_path / "set", **SPEC) == found
    assert (mount / FILES[0]).is_file()


def test_handle_without_a_version(tmp_path, hub):
    mount, module = plant(tmp_path / "mount"), hub()
    module.dataset_download = lambda handle: str(mount)
    found = ensure("faces", tmp_path / "set", **{**SPEC, "kaggle": "somebody/faces"})
    assert found == tmp_path / "set" / "kaggle-latest"


def test_set_without_a_handle_asks_for_its_root(tmp_path):
    message = refused(tmp_path / "none", name="folder", kaggle=None, page=None, counts=None)
    assert "does not exist" in message and "data.root=" in message
    assert not (tmp_path / "none").exists()


def test_options_reach_the_source(tmp_path):
    plant(tmp_path, ["a/1.jpg", "b/1.jpg", "c/1.jpg"])
    spec = {"source": "folder", "kaggle": None, "page": None, "counts": None}
    classes = {"fake": ["a", "b"], "real": ["c"]}
    assert ensure("folder", tmp_path, **spec, classes=classes) == tmp_path
    assert "3 classes" in refused(tmp_path, name=str(tmp_path), **spec)


def test_archive_that_was_not_unpacked(tmp_path, hub):
    module = hub()
    (tmp_path / "archive.zip").touch()
    message = refused(tmp_path)
    assert "archive.zip" in message and "unpack" in message and not module.calls


@pytest.mark.parametrize("handle", ["faces", "a/b/c", "https://www.kaggle.com/datasets/a/b"])
def test_handle_that_is_none(tmp_path, handle):
    with pytest.raises(UserError, match="owner/name/versions/N"):
        ensure("faces", tmp_path, **{**SPEC, "kaggle": handle})


@pytest.mark.parametrize("step", ["mkdir", "lock"])
def test_root_that_cannot_be_written(tmp_path, hub, monkeypatch, step):
    module = hub()

    def deny(*args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(*((Path, "mkdir", deny) if step == "mkdir" else (os, "open", deny)))
    message = refused(tmp_path / "set")
    monkeypatch.undo()
    assert f"{tmp_path / 'set'} cannot be written (Read-only file system)" in message
    assert PAGE in message and not module.calls


def test_result_that_cannot_be_put_in_place(tmp_path, hub, monkeypatch):
    hub()
    monkeypatch.setattr(fetch, "_install", lambda *_: (_ for _ in ()).throw(OSError("busy")))
    assert "cannot be moved" in refused(tmp_path)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "kagglehub", module := Hub())
    ensure("faces", tmp_path, **SPEC)
    assert module.resumed == []  # what had arrived was put in place, nothing was fetched


# What another process runs: the stand-in again, slow and counted, or killed half-way.
OTHER = """
import os, sys, signal, time
sys.path.insert(0, {here!r})
import test_fetch
class Slow(test_fetch.Hub):
    def dataset_download(self, handle):
        with open({log!r}, "a") as log:
            log.write("call\\n")
        if {kill}:
            place = os.path.join(os.environ["KAGGLEHUB_CACHE"], "datasets", handle, "top")
            test_fetch.plant(test_fetch.Path(place), test_fetch.FILES[:3])
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(1)
        return super().dataset_download(handle)
sys.modules["kagglehub"] = Slow()
print(test_fetch.ensure("faces", {root!r}, **test_fetch.SPEC))
"""


def other(tmp_path, kill=False) -> subprocess.Popen:
    code = OTHER.format(
        here=str(Path(__file__).parent),
        log=str(tmp_path / "log"),
        root=str(tmp_path / "set"),
        kill=kill,
    )
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_two_processes_fetch_once(tmp_path):
    outputs = [process.communicate(timeout=60)[0] for process in [other(tmp_path) for _ in "ab"]]
    assert outputs[0] == outputs[1] == f"{tmp_path / 'set/kaggle-3/top'}\n"
    assert (tmp_path / "log").read_text() == "call\n"


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_killed_half_way_leaves_no_set_and_no_lock(tmp_path, hub):
    assert other(tmp_path, kill=True).wait(timeout=60) == -9
    assert len(list((tmp_path / "set").rglob("*.jpg"))) == 3  # half a set is there, not counted
    module, start = hub(), time.monotonic()
    found = ensure("faces", tmp_path / "set", **SPEC)
    assert module.calls == [HANDLE] and time.monotonic() - start < 5
    assert len(list_items("hardfake", found).items) == 4


@pytest.fixture
def kaggle(monkeypatch, tmp_path):
    """The real kagglehub, led to a server here that breaks off the first answer half-way."""
    monkeypatch.undo()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "home"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("KAGGLE_KERNEL_RUN_TYPE", "KAGGLE_API_ENVIRONMENT", "KAGGLE_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    kaggle_env = pytest.importorskip("kagglesdk.kaggle_env")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in FILES:
            archive.writestr(f"top/{name}", os.urandom(1 << 20))
    body, asked = packed.getvalue(), []

    class Server(BaseHTTPRequestHandler):
        status = 302

        def do_POST(self):
            self.send_response(Server.status)
            if Server.status == 302:
                self.send_header("Location", "/archive.zip")
            self.end_headers()

        def do_GET(self):
            start = int((self.headers["Range"] or "bytes=0-")[6:-1])
            asked.append(start)
            self.send_response(206 if start else 200)
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            with contextlib.suppress(OSError):  # the client drops an answer it does not need
                self.wfile.write(body[start:] if len(asked) > 1 else body[: len(body) // 2])

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, endpoint)
    yield types.SimpleNamespace(server=Server, asked=asked, size=len(body))
    server.shutdown()
    server.server_close()


def test_the_real_kagglehub_resumes(tmp_path, kaggle):
    assert "the same command resumes" in refused(tmp_path / "set")
    arrived = sum(p.stat().st_size for p in (tmp_path / "set").rglob("*.archive"))
    assert 0 < arrived < kaggle.size
    found = ensure("faces", tmp_path / "set", **SPEC)
    assert arrived in kaggle.asked
    assert len(list_items("hardfake", found).items) == 4
    asked = len(kaggle.asked)
    assert ensure("faces", tmp_path / "set", **SPEC) == found and len(kaggle.asked) == asked


def test_the_real_kagglehub_on_a_wrong_version(tmp_path, kaggle):
    kaggle.server.status = 404
    message = refused(tmp_path / "set")
    assert f"Kaggle refuses {HANDLE}" in message and "404" in message
    assert not (tmp_path / "set" / ".download").exists()


@pytest.mark.parametrize("file", sorted(CONF.glob("*.yaml")), ids=lambda file: file.stem)
def test_settings_of_each_set(file):
    settings = OmegaConf.load(file)
    settings = settings.get("data", settings)  # a set may bring a group of its own settings too
    assert settings.name == file.stem and settings.source in {*SOURCES, "joint"}
    if settings.source in MAKERS:  # nothing is fetched
        assert OmegaConf.to_container(settings)["root"] == f"${{data_root}}/{file.stem}"
        assert "kaggle" not in settings
        return
    if settings.source == "joint":  # of others, which are fetched one by one
        assert OmegaConf.is_missing(settings, "sets") and settings.kaggle is None
        return
    if settings.kaggle is None:
        assert OmegaConf.is_missing(settings, "root")
        return
    folder = "utkface" if file.stem == "gender" else file.stem  # the same files
    assert OmegaConf.to_container(settings)["root"] == f"${{data_root}}/{folder}"
    handle, version = settings.kaggle.split("/versions/")  # pinned: nothing asks the server
    assert int(version) > 0 and settings.page == f"https://www.kaggle.com/datasets/{handle}"
    classes = {"gender": {"female", "male"}, "utkface": {"real"}}.get(file.stem, {"fake", "real"})
    assert set(settings.counts) == classes and min(settings.counts.values()) > 500
