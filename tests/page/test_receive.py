"""Bodies and forms, without a server."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.page.guard import cleaned
from detector.page.receive import Body, Refused, clean_name, files_of
from detector.page.uploads import Budget

MARK = "made-up-boundary"


def form(files):
    parts = (
        f'--{MARK}\r\nContent-Disposition: form-data; name="f"; filename="{name}"\r\n'
        "Content-Type: image/jpeg\r\n\r\n".encode()
        + data
        + b"\r\n"
        for name, data in files
    )
    return b"".join(parts) + f"--{MARK}--\r\n".encode()


@given(st.lists(st.binary(max_size=200), max_size=4))
def test_what_goes_into_a_form_comes_out(datas):
    if any(MARK.encode() in data for data in datas):
        return
    files = [(f"{at}.jpg", data) for at, data in enumerate(datas)]
    found = files_of(form(files), f"multipart/form-data; boundary={MARK}")
    assert [(sent.name, sent.data) for sent in found] == files


@given(st.binary(max_size=300), st.text(max_size=60))
def test_nothing_but_a_refusal_comes_of_nonsense(body, content_type):
    for kind in (content_type, f"multipart/form-data; boundary={MARK}", "multipart/form-data"):
        try:
            files_of(body, kind)
        except Refused as refused:
            assert refused.status == 400


@given(st.text(max_size=200))
def test_names_have_no_folders_and_are_one_short_line(name):
    cleaned_name = clean_name(name)
    assert 1 <= len(cleaned_name) <= 80 and cleaned_name.isprintable()
    assert not set(cleaned_name) & {"/", "\\", "\n"} and cleaned_name not in (".", "..")


@pytest.mark.parametrize(
    "disposition, name",
    [
        ('form-data; name="f"; filename="a\\"b.jpg"', 'a"b.jpg'),
        ("form-data; name=f; filename*=utf-8''gr%C3%BCn.jpg", "grün.jpg"),
        ('form-data; name="f"; filename="grün.jpg"', "grün.jpg"),
        ('form-data; name="f"; filename=""', "picture"),
    ],
)
def test_names_as_clients_write_them(disposition, name):
    body = f"--{MARK}\r\nContent-Disposition: {disposition}\r\n\r\nx\r\n--{MARK}--".encode()
    (sent,) = files_of(body, f"multipart/form-data; boundary={MARK}")
    assert sent.name == name and sent.data == b"x"


def read(chunks, budget, most=100, length=None):
    """What `Body` makes of chunks, and how much of them was asked for."""
    headers = [] if length is None else [(b"content-length", str(length).encode())]
    waiting, given_out = list(chunks), []

    async def receive():
        if not waiting:
            await asyncio.sleep(60)
        given_out.append(waiting.pop(0))
        return {"type": "http.request", "body": given_out[-1], "more_body": bool(waiting)}

    async def run():
        scope = {"headers": headers}
        async with Body(scope, receive, most=most, seconds=0.2, budget=budget) as body:
            assert budget.held == len(body)
            return body

    return asyncio.run(run())


def test_a_body_holds_its_share_until_it_is_left():
    budget = Budget(100)
    assert read([b"ab", b"c"], budget) == b"abc" and budget.held == 0


@pytest.mark.parametrize(
    "chunks, most, length, room, status",
    [
        ([b"x" * 60, b"x" * 60], 100, None, 1000, 413),  # no length declared, and too long
        ([b"x"], 100, 200, 1000, 413),  # a longer one declared
        ([b"x" * 60, b"x" * 30], 100, None, 80, 503),
        ([], 100, None, 1000, 408),
    ],
)
def test_a_body_that_is_refused_gives_everything_back(chunks, most, length, room, status):
    budget = Budget(room)
    with pytest.raises(Refused) as refused:
        read(chunks, budget, most, length)
    assert refused.value.status == status and budget.held == 0


def test_gradio_sees_no_files_and_no_addresses():
    given_file = {"path": "/a", "url": "http://b", "meta": {"_type": "gradio.FileData"}}
    sent = {"data": [[given_file], {"deep": [given_file]}], "session_hash": "s"}
    assert cleaned(sent) == {
        "data": [[{"path": "/a"}], {"deep": [{"path": "/a"}]}],
        "session_hash": "s",
    }
