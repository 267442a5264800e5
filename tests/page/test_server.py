"""The server over HTTP: answers, limits, bad files, and what it must not give away."""

import contextlib
import gc
import http.client
import json
import shutil
import socket
import subprocess
import threading
import time
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from detector import cli
from detector.errors import UserError
from detector.page import connections, guard, server, sessions
from detector.page.server import Serving
from detector.page.uploads import Full
from detector.predictor import Predictor
from tests.page.conftest import face, packed, write_run

BOUNDARY = "----made-up"
UNFINISHED = b"POST /api/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\nabc"


def ask(server, method, path, body=None, headers=None):
    """Status, headers and body of one request."""
    connection = http.client.HTTPConnection(urlsplit(server.address).netloc, timeout=60)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def form(*files, field="file"):
    """A multipart body of (name, bytes), and its header."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n'
        f"Content-Type: image/jpeg\r\n\r\n".encode()
        + data
        + b"\r\n"
        for name, data in files
    ]
    body = b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def predict(server, data, name="a.jpg", query=""):
    body, headers = form((name, data))
    status, _, answer = ask(server, "POST", f"/api/predict{query}", body, headers)
    return status, json.loads(answer)


def test_a_form_and_a_bare_body_get_the_predictors_answer(served):
    data = packed(face(1))
    status, answer = predict(served, data, "photo.jpg")
    assert status == 200 and answer["file"] == "photo.jpg" and answer["error"] == ""
    network = served.serving.networks.all[answer["network"]]
    expected = Predictor.load(network.file)(data)
    assert answer["answers"][0]["p_fake"] == pytest.approx(expected, abs=1e-6)
    status, _, bare = ask(
        served, "POST", "/api/predict?explain=false", data,
        {"Content-Type": "image/jpeg", "Content-Disposition": 'attachment; filename="b.jpg"'},
    )  # fmt: skip
    bare = json.loads(bare)
    assert status == 200 and bare["file"] == "b.jpg"
    assert bare["answers"][0]["p_fake"] == pytest.approx(expected, abs=1e-6)
    assert bare["answers"][0]["after_changes"] == [] != answer["answers"][0]["after_changes"]


def test_networks_are_listed_and_chosen(served):
    status, _, body = ask(served, "GET", "/api/networks")
    listed = json.loads(body)["networks"]
    assert status == 200 and len(listed) == 3
    data = packed(face(1))
    scores = set()
    for one in listed:
        status, answer = predict(served, data, query=f"?explain=false&network={one['network']}")
        assert status == 200 and answer["network"] == one["network"]
        (said,) = answer["answers"]
        assert ("p_fake" in said) is one["on_photographs"]
        scores.add(said.get("p_fake"))
    assert len(scores) == 3
    assert predict(served, data, query="?network=none-such")[0] == 404
    assert predict(served, data, query="?colour=red")[0] == 400


def test_health(served):
    status, headers, body = ask(served, "GET", "/health")
    state = json.loads(body)
    assert status == 200 and state["status"] == "ok" and state["networks"] == 3
    assert headers["content-type"] == "application/json"


def bomb():
    """A 12000 x 12000 PNG of less than a megabyte."""
    return packed(Image.new("1", (12000, 12000)), "PNG")


BAD = {
    "text": (lambda: b"dear sir or madam, this is a letter" * 9, 422, "not a picture"),
    "empty": (lambda: b"", 422, "empty"),
    "cut short": (lambda: packed(face(1))[:-900], 422, "cut short"),
    "huge": (bomb, 422, "12000 x 12000 pixels are more than the limit"),
    "svg": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'></svg>", 422, "SVG"),
    "50 MB": (lambda: bytes(50_000_000), 413, "limit of 2 MB"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_get_a_friendly_message_and_the_server_stays_up(served, kind):
    make, status, says = BAD[kind]
    found, answer = predict(served, make())
    assert found == status and says in answer["error"] and "\n" not in answer["error"]
    assert_names_no_path(served, json.dumps(answer))
    assert predict(served, packed(face(1)), query="?explain=false")[0] == 200


def assert_names_no_path(server, text):
    for path in (str(server.runs), str(cli.conf_dir()), "site-packages", "Traceback", ".py"):
        assert path not in text


@pytest.mark.parametrize(
    "name, shown",
    [
        ("../../etc/passwd.jpg", "passwd.jpg"),
        ("C:\\\\Users\\\\ann\\\\face.jpg", "face.jpg"),
        ("/srv/photos/x.jpg", "x.jpg"),
        ("..", "picture"),
    ],
)
def test_a_path_in_a_name_is_stripped(served, name, shown):
    status, answer = predict(served, packed(face(1)), name, "?explain=false")
    assert status == 200 and answer["file"] == shown


@pytest.mark.parametrize(
    "body, headers, says",
    [
        (
            b"nothing like it",
            {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"},
            "begin",
        ),
        (form(("a.jpg", b"x"))[0][:-8], form()[1], "cut short"),
        (*form(), "one file"),
        (*form(("a.jpg", b"x"), ("b.jpg", b"y")), "one file"),
    ],
)
def test_damaged_forms_are_refused(served, body, headers, says):
    status, _, answer = ask(served, "POST", "/api/predict", body, headers)
    assert status == 400 and says in json.loads(answer)["error"]


@pytest.mark.parametrize(
    "method, path",
    [
        ("GET", "/gradio_api/file=pyproject.toml"),
        ("GET", "/file=/etc/hostname"),
        ("GET", "/gradio_api/proxy=http://example.org/"),
        ("GET", "/proxy=http://example.org/"),
        ("GET", "/gradio_api/deep_link"),
        ("GET", "/monitoring"),
        ("GET", "/gradio_api/runs"),
        ("POST", "/gradio_api/run/predict"),
        ("POST", "/gradio_api/call/predict"),
        ("POST", "/gradio_api/component_server"),
        ("POST", "/login"),
        ("PUT", "/"),
        ("GET", "/assets/../../config"),
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
    ],
)
def test_what_is_not_needed_is_closed(served, method, path):
    status, _, body = ask(served, method, path, b"{}" if method == "POST" else None)
    assert status == 404 and set(json.loads(body)) == {"error"}
    assert_names_no_path(served, body.decode())


def test_the_wrong_method_names_the_right_one(served):
    status, _, body = ask(served, "GET", "/api/predict")
    assert status == 405 and "POST" in json.loads(body)["error"]


def test_another_site_may_not_post(served):
    status, *_ = ask(served, "POST", "/api/predict", b"", {"Origin": "http://elsewhere.example"})
    assert status == 403


def join(server, data, fn_index):
    body = {"data": data, "fn_index": fn_index, "session_hash": "s"}
    headers = {"Content-Type": "application/json"}
    return ask(server, "POST", "/gradio_api/queue/join", json.dumps(body), headers)


def test_gradio_opens_no_file_and_no_address_for_whoever_asks(served, tmp_path):
    """A listener on this machine is asked for nothing, and a file that is there is not read."""
    asked = []
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(4)

    def listen():
        with contextlib.suppress(TimeoutError):
            asked.append(listener.accept())

    thread = threading.Thread(target=listen)
    thread.start()
    address = f"http://127.0.0.1:{listener.getsockname()[1]}/a.jpg"
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(packed(face(1)))
    for path in (str(secret), address):
        given = {"path": path, "url": address, "meta": {"_type": "gradio.FileData"}}
        for fn_index in range(3):
            status, _, body = join(served, [[given], None], fn_index)
            assert status in (200, 400, 422, 404)
            assert str(tmp_path) not in body.decode()
    thread.join()
    listener.close()
    assert asked == []


def test_uploads_are_tokens_and_are_gone_after_the_answer(served):
    body, headers = form(("../a.jpg", packed(face(1))), field="files")
    status, _, answer = ask(served, "POST", "/gradio_api/upload?upload_id=x", body, headers)
    (token,) = json.loads(answer)
    assert status == 200 and "/" not in token and "jpg" not in token
    uploads = served.serving.api.uploads
    taken = uploads.take(token)
    assert taken.name == "a.jpg" and uploads.take(token) is None
    assert uploads.budget.held == len(taken.data)  # until it is answered
    uploads.release(taken)
    assert uploads.budget.held == 0
    status, _, answer = ask(
        served, "POST", "/gradio_api/upload", *form(*[("a.jpg", b"x")] * 9, field="files")
    )
    (token,) = json.loads(answer)
    assert status == 200 and "8 at most" in uploads.take(token).error
    files = ("large.jpg", bytes(2_500_000)), ("a.jpg", b"x")
    answer = ask(served, "POST", "/gradio_api/upload", *form(*files, field="files"))[2]
    large, small = map(uploads.take, json.loads(answer))
    assert "limit of 2 MB" in large.error and large.data == b"" and small.data == b"x"
    uploads.release(small)
    assert uploads.budget.held == 0


def test_a_client_that_sends_slowly_is_let_go(served):
    host, port = urlsplit(served.address).netloc.split(":")
    with socket.create_connection((host, int(port)), timeout=30) as slow:
        slow.sendall(
            b"POST /api/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\nabc"
        )
        started = time.monotonic()
        answer = slow.recv(4096)
    assert b" 408 " in answer.split(b"\r\n")[0] and time.monotonic() - started < 20
    assert served.serving.api.uploads.budget.held == 0


def test_a_client_that_sends_slowly_keeps_nobody_from_the_desk(served):
    idle(served)
    with connected(served) as slow:
        slow.sendall(UNFINISHED)
        until(lambda: served.serving.api.uploads.budget.held == 3)
        assert served.serving.api.desk.busy == 0
    idle(served)


def connected(server):
    host, port = urlsplit(server.address).netloc.split(":")
    return socket.create_connection((host, int(port)), timeout=30)


def until(holds, seconds=30):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it does not come to that"
        time.sleep(0.02)


def idle(server):
    """Waits until nothing is being answered."""
    api = server.serving.api
    until(lambda: not (api.desk.busy or api.uploads.budget.held))


def closed(connection):
    """Whether the server has closed it, at once or after a while."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def test_who_says_nothing_is_let_go(served, monkeypatch):
    monkeypatch.setattr(connections, "SILENT", 0.3)
    started = time.monotonic()
    with connected(served) as silent, connected(served) as slow, connected(served) as kept:
        slow.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
        kept.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /he")
        assert closed(silent) and closed(slow)
        while kept.recv(4096):
            pass
    assert time.monotonic() - started < 15


def test_silent_connections_shut_nobody_out(served, monkeypatch):
    monkeypatch.setattr(connections, "MOST", 4)
    monkeypatch.setattr(connections, "SILENT", 60)  # too late to be of help
    silent = [connected(served) for _ in range(12)]
    try:
        assert ask(served, "GET", "/health")[0] == 200
        assert predict(served, packed(face(1)), query="?explain=false")[0] == 200
        assert all(closed(one) for one in silent[:8])
    finally:
        for one in silent:
            one.close()


def test_one_address_cannot_take_all_requests_and_health_is_always_told(served, monkeypatch):
    monkeypatch.setattr(guard, "EACH", 0)
    assert ask(served, "GET", "/api/networks")[0] == 503
    assert ask(served, "GET", "/health")[0] == 200


@pytest.mark.parametrize(
    "host, status",
    [("localhost:1", 200), ("192.168.7.7", 200), ("[::1]:80", 200), ("evil.example:7860", 403),
     ("[::1", 403)],
)  # fmt: skip
def test_a_name_that_somebody_has_pointed_here_is_refused(served, host, status):
    """Else a page under that name could ask, and the browser would take it for ours."""
    headers = {"Host": host, "Origin": f"http://{host}"}
    assert ask(served, "GET", "/api/networks", headers=headers)[0] == status


def test_too_much_at_once_is_refused_in_json(served):
    idle(served)
    desk = served.serving.api.desk
    for _ in range(desk.per_client):
        desk.enter("127.0.0.1")
    try:
        status, answer = predict(served, packed(face(1)))
        assert status == 429 and "wait" in answer["error"]
        others = desk.most - desk.per_client
        for at in range(others):
            desk.enter(f"other {at}")
        desk.leave("127.0.0.1")
        desk.enter("one more")
        status, answer = predict(served, packed(face(1)))
        assert status == 503 and "try again" in answer["error"]
    finally:
        desk.clients.clear()
    idle(served)
    budget = served.serving.api.uploads.budget
    for client in ("a", "b"):
        budget.take(budget.most // 2, client)
    try:
        assert predict(served, packed(face(1)))[0] == 503
    finally:
        for client in ("a", "b"):
            budget.give(budget.most // 2, client)
    with pytest.raises(Full):
        budget.take(budget.most // 2 + 20_000, "a")


def test_sixteen_clients_at_once_are_all_answered(served):
    data, found = packed(face(1)), []

    def client():
        for _ in range(3):
            found.append(predict(served, data, query="?explain=false"))

    threads = [threading.Thread(target=client) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [status for status, _ in found] == [200] * 48
    scores = {answer["answers"][0]["p_fake"] for _, answer in found}
    assert np.ptp(list(scores)) < 1e-6


def test_gradios_client_gets_the_same_answer(served, tmp_path):
    from gradio_client import Client, handle_file

    path = tmp_path / "photo.jpg"
    path.write_bytes(packed(face(1)))
    client = Client(served.address, verbose=False)
    answer = client.predict(handle_file(str(path)), api_name="/predict")
    assert answer == predict(served, path.read_bytes(), "photo.jpg")[1]


def test_gradios_queue_counts_by_address_too(served, tmp_path):
    from gradio_client import Client, handle_file

    path = tmp_path / "photo.jpg"
    path.write_bytes(packed(face(1)))
    client = Client(served.address, verbose=False)
    idle(served)
    desk = served.serving.api.desk
    with contextlib.ExitStack() as places:
        for _ in range(desk.per_client):
            places.enter_context(desk.place("127.0.0.1"))
        answer = client.predict(handle_file(str(path)), api_name="/predict")
    assert "requests of yours" in answer["error"]
    idle(served)


def page_asks(server, name, listens, session):
    """A drop as Gradio's script sends it, and what came back to a page that listens."""
    body, headers = form((name, packed(face(1))), field="files")
    (token,) = json.loads(ask(server, "POST", "/gradio_api/upload", body, headers)[2])
    given = [{"path": token, "orig_name": name}]
    message = json.dumps({"data": [given, None], "fn_index": 0, "session_hash": session})
    headers = {"Content-Type": "application/json"}
    assert ask(server, "POST", "/gradio_api/queue/join", message, headers)[0] == 200
    if listens:
        return ask(server, "GET", f"/gradio_api/queue/data?session_hash={session}")[2].decode()
    return None


def holders(text):
    """Containers in this process that hold a long text with these words."""
    found = 0
    for one in gc.get_objects():
        if type(one) in (dict, list, tuple):
            for value in list(one.values()) if type(one) is dict else list(one):
                found += isinstance(value, str) and len(value) > 5000 and text in value
    return found


def test_nothing_in_the_server_keeps_an_answer(served):
    name = "never-to-be-kept.jpg"
    assert f"<h2>{name}" in page_asks(served, name, listens=True, session="kept1")
    idle(served)
    until(lambda: gc.collect() >= 0 and holders(name) == 0)  # the last words may be on their way


def test_who_does_not_listen_is_not_answered(served, monkeypatch):
    monkeypatch.setattr(sessions, "HEARD", 0.2)
    asked, own = [], served.serving.api.judged

    async def judged(data, name, *rest, **more):
        asked.append(name)
        return await own(data, name, *rest, **more)

    monkeypatch.setattr(served.serving.api, "judged", judged)
    page_asks(served, "unheard.jpg", listens=False, session="deaf1")
    until(lambda: len(served.serving.api.uploads) == 0)
    idle(served)
    page_asks(served, "heard.jpg", listens=True, session="hears1")
    assert asked == ["heard.jpg"]


def test_the_page_asks_for_nothing_outside_and_says_so_to_the_browser(served):
    status, headers, body = ask(served, "GET", "/")
    assert status == 200 and b"Real or fake face?" in body
    assert "connect-src 'self'" in headers["content-security-policy"]
    assert b"fonts.googleapis.com/css" not in body
    assert_names_no_path(served, body.decode().replace(".pyi", ""))


def test_demonstration_gives_no_verdict_on_what_is_sent(demonstration):
    status, answer = predict(demonstration, packed(face(1)))
    assert status == 200 and answer["answers"][0]["verdict"] == "none"
    assert "p_fake" not in json.dumps(answer) and "make train" in json.dumps(answer)
    assert json.loads(ask(demonstration, "GET", "/health")[2])["demonstration"] is True


@pytest.mark.parametrize(
    "override, says",
    [
        ("serve.port=70000", "serve.port"),
        ("serve.max_faces=17", "at most 16"),
        ("serve.heatmap=ablationcam", "serve.heatmap"),
        ("serve.held_mb=1", "a full upload would never fit"),
        ("ckpt=none-such.ckpt", "none-such"),
    ],
)
def test_mistakes_are_one_line(tmp_path, override, says):
    with pytest.raises(UserError, match=says):
        Serving(cli.compose("serve", [f"paths.runs={tmp_path}", override]))


def test_a_network_that_cannot_be_read_does_not_stop_the_page(tmp_path):
    write_run(tmp_path, "a-cnn3")
    broken = write_run(tmp_path, "b-cnn3") / "checkpoints" / "best.ckpt"
    broken.write_bytes(b"no checkpoint")
    cfg = cli.compose("serve", [f"paths.runs={tmp_path}", "serve.port=0", "serve.device=cpu"])
    serving = Serving(cfg)
    serving.socket.close()
    assert [key.split("/")[0] for key in serving.networks.all] == ["a-cnn3"]


def test_without_a_usable_network_the_page_opens_all_the_same(tmp_path, monkeypatch):
    """One that cannot be read, one that cannot be asked; only a named one is the end."""
    broken = write_run(tmp_path, "b-cnn3") / "checkpoints" / "best.ckpt"
    fine = write_run(tmp_path, "a-cnn3")
    broken.write_bytes(b"no checkpoint")
    monkeypatch.setattr(server, "judge", failing)
    here = [f"paths.runs={tmp_path}", "serve.port=0", "serve.device=cpu"]
    serving = Serving(cli.compose("serve", here))
    serving.socket.close()
    assert serving.networks.all == {} and serving.networks.demonstration
    with pytest.raises(UserError, match="cannot be used"):
        Serving(cli.compose("serve", [*here, f"ckpt={fine}"]))


def failing(*_, **__):
    raise RuntimeError("a layer of another shape")


def test_a_taken_port_is_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=r"set serve\.port="):
            Serving(cli.compose("serve", [f"paths.runs={tmp_path}", f"serve.port={port}"]))


def test_no_stub_files_are_written(served):
    assert not list((cli.conf_dir().parent / "src").rglob("*.pyi"))


README = (cli.conf_dir().parent / "README.md").read_text(encoding="utf-8")
SECTION = README[README.index("## The page") :]
CURLS = [line for line in SECTION.splitlines() if line.startswith("curl ")]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("line", CURLS, ids=range(len(CURLS)))
def test_curl_as_the_readme_has_it(served, tmp_path, line):
    (tmp_path / "photo.jpg").write_bytes(packed(face(1)))
    command = line.replace("http://127.0.0.1:7860", served.address).replace("curl", "curl -sS", 1)
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
    answer = json.loads(done.stdout)
    assert done.returncode == 0 and "error" not in {key for key in answer if answer[key]}


def test_python_as_the_readme_has_it(served, tmp_path, monkeypatch, capsys):
    (tmp_path / "photo.jpg").write_bytes(packed(face(1)))
    monkeypatch.chdir(tmp_path)
    code = SECTION[SECTION.index("```python") + 9 :].split("```")[0]
    exec(code.replace("http://127.0.0.1:7860", served.address), {})
    assert "pictures scored like this in the test set" in capsys.readouterr().out
