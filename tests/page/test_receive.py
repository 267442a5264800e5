"""Bodies and forms, without a server."""

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.page.forms import Sent, clean_name, files_of
from detector.page.guard import cleaned
from detector.page.receive import Body, Refused
from detector.page.uploads import Budget

MARK = "made-up-boundary"
FORM = f"multipart/form-data; boundary={MARK}"


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
    found = files_of(form(files), FORM, most=4)
    assert [(sent.name, sent.data) for sent in found] == files


@given(st.binary(max_size=300), st.text(max_size=60))
def test_nothing_but_a_refusal_comes_of_nonsense(body, content_type):
    for kind in (content_type, FORM, "multipart/form-data"):
        try:
            files_of(body, kind, most=2)
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
    (sent,) = files_of(body, FORM, most=1)
    assert sent.name == name and sent.data == b"x"


def hostile():
    """Forms that a careless reader would spend minutes on, or all the memory."""
    start = f'--{MARK}\r\nContent-Disposition: form-data; name="f"'.encode()
    end = f"\r\n\r\nx\r\n--{MARK}--".encode()
    for fill in (b";" * 6_000_000, b';a="' * 1_500_000, b';"' * 3_000_000, b"\\" * 6_000_000):
        yield FORM, start + fill + end
        yield FORM, start + fill[:7000] + end  # a header that is not too long
    yield "multipart/form-data; boundary=a", b"--a" + b"\r\n--a" * 1_200_000 + b"\r\n--a--"
    yield "multipart/form-data; boundary=a", b"--a" + b"\r\n\r\n\r\n--a" * 700_000 + b"--"
    yield FORM, b"--" + MARK.encode() + f"\r\n--{MARK[:-1]}".encode() * 300_000


def test_no_form_takes_longer_than_its_size():
    # The processor's time: a machine may be busy with something else.
    for content_type, body in hostile():
        started = time.process_time()
        try:
            assert len(files_of(body, content_type, most=8)) <= 8
        except Refused as refused:
            assert refused.status in (400, 413)
        assert time.process_time() - started < 1


def test_a_part_is_one_file_and_few_of_them_are_taken():
    line = 'Content-Disposition: form-data; name="f"; filename="{}.jpg"\r\n'
    twice = f"--{MARK}\r\n{line.format(1)}{line.format(2)}\r\nx\r\n--{MARK}--".encode()
    assert files_of(twice, FORM, most=1) == [Sent("1.jpg", b"x")]
    with pytest.raises(Refused, match="more than 2 files") as refused:
        files_of(form([("a.jpg", b"")] * 3), FORM, most=2)
    assert refused.value.status == 413


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
        scope = {"headers": headers, "client": ("one", 1)}
        async with Body(scope, receive, most=most, seconds=0.2, budget=budget) as body:
            assert budget.held == len(body.data) == budget.clients["one"]
            return bytes(body.data)

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


def test_a_refused_body_leaves_its_share_to_others_while_the_rest_arrives():
    budget, seen = Budget(100), []

    async def receive():
        seen.append(budget.held)
        return {"type": "http.request", "body": b"x" * 40, "more_body": len(seen) < 6}

    async def run():
        limits = {"most": 1000, "seconds": 5, "budget": budget}
        async with Body({"headers": []}, receive, **limits):
            pass

    with pytest.raises(Refused) as refused:
        asyncio.run(run())
    assert refused.value.status == 503 and seen == [0, 40, 80, 0, 0, 0]


def test_gradio_sees_no_files_and_no_addresses():
    given_file = {"path": "/a", "url": "http://b", "meta": {"_type": "gradio.FileData"}}
    sent = {"data": [[given_file], {"deep": [given_file]}], "session_hash": "s"}
    assert cleaned(sent) == {
        "data": [[{"path": "/a"}], {"deep": [{"path": "/a"}]}],
        "session_hash": "s",
    }
