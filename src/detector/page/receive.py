"""Bodies of requests, read with limits: on bytes, on time, on all of them together.

Plain ASGI. A body that is too large is read to its end and thrown away, as far as that is short,
because a browser shows no answer that comes before it has sent everything.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from email.message import Message

from detector.page.uploads import Budget, Full

DRAINED = 128_000_000  # bytes of a body that is too large, at most
NAME = 80  # letters
Receive = Callable[[], Awaitable[Mapping]]
Send = Callable[[Mapping], Awaitable[None]]


class Refused(Exception):
    """A request that gets an error.

    Args:
        status: Of HTTP.
        message: One line for people.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


@dataclass(frozen=True)
class Sent:
    """A file of a request; its name is without folders."""

    name: str
    data: bytes


class Body:
    """The body of a request, which holds its share of the budget until it is left.

    Args:
        scope: Of the request.
        receive: Of the request.
        most: Bytes.
        seconds: For all of it.
        budget: From which its bytes are taken.
        limit: What is said where it is larger.
    """

    def __init__(
        self,
        scope: Mapping,
        receive: Receive,
        *,
        most: int,
        seconds: float,
        budget: Budget,
        limit: str = "the request is too large",
    ) -> None:
        self.scope, self.receive, self.limit = scope, receive, limit
        self.most, self.seconds, self.budget = most, seconds, budget
        self.taken = 0

    async def __aenter__(self) -> bytes:
        """Reads it.

        Raises:
            Refused: It is too large (413), too slow (408), or there is no room (503).
        """
        try:
            async with asyncio.timeout(self.seconds):
                return await self._read()
        except TimeoutError:
            self._give()
            raise Refused(408, f"the request took longer than {self.seconds:g} s") from None
        except BaseException:
            self._give()
            raise

    async def __aexit__(self, *_: object) -> None:
        self._give()

    def _give(self) -> None:
        self.budget.give(self.taken)
        self.taken = 0

    async def _read(self) -> bytes:
        declared = header(self.scope, b"content-length")
        too_large = declared.isdigit() and int(declared) > self.most
        chunks, size, refused = [], 0, None
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise Refused(400, "the connection was closed")
            chunk = message.get("body", b"")
            size += len(chunk)
            if too_large or size > self.most:
                refused = Refused(413, self.limit)
            elif refused is None:
                try:
                    self.budget.take(len(chunk))
                    self.taken += len(chunk)
                    chunks.append(chunk)
                except Full:
                    refused = Refused(503, "too much is being sent at once: try again in a moment")
            if refused is not None:
                chunks = []
                if size > DRAINED:
                    raise refused
            if not message.get("more_body"):
                break
        if refused is not None:
            raise refused
        return b"".join(chunks)


def header(scope: Mapping, name: bytes) -> str:
    """A header of a request, empty where it is missing; `name` in small letters."""
    for key, value in scope["headers"]:
        if key == name:
            return value.decode("latin-1")
    return ""


def megabytes(size: int) -> str:
    """A number of bytes in words."""
    return f"{size / 1e6:g} MB"


def clean_name(name: str) -> str:
    """A file's name as it is shown: no folders, printable, short."""
    last = re.split(r"[/\\]", name)[-1]
    kept = " ".join("".join(c if c.isprintable() else " " for c in last).split())
    if not kept.strip("."):
        return "picture"
    return kept if len(kept) <= NAME else f"{kept[: NAME - 1]}…"


def files_of(body: bytes, content_type: str, disposition: str = "") -> list[Sent]:
    """The files of a request: parts of multipart/form-data with a name, or the body itself.

    Args:
        body: Of the request.
        content_type: Its header.
        disposition: Its header, which may name a bare body.

    Raises:
        Refused: The multipart is damaged (400).
    """
    kind, options = _parsed("content-type", content_type)
    if kind != "multipart/form-data":
        name = _parsed("content-disposition", disposition)[1].get("filename", "")
        return [Sent(clean_name(name), body)]
    boundary = options.get("boundary", "").encode("latin-1", "replace")
    mark = b"--" + boundary
    if not boundary or not body.startswith(mark):
        raise Refused(400, "the multipart body does not begin with its boundary")
    pieces = (b"\r\n" + body).split(b"\r\n" + mark)[1:]
    if not pieces or not pieces[-1].startswith(b"--"):
        raise Refused(400, "the multipart body has no end: it was cut short")
    found = []
    for piece in pieces[:-1]:
        head, gap, data = piece.partition(b"\r\n\r\n")
        if not gap:
            raise Refused(400, "a part of the multipart body has no header")
        for line in head.decode("utf-8", "replace").split("\r\n"):
            key, _, value = line.partition(":")
            if key.strip().lower() == "content-disposition":
                options = _parsed(key, value)[1]
                if "filename" in options:
                    found.append(Sent(clean_name(options["filename"]), data))
    return found


def _parsed(key: str, value: str) -> tuple[str, dict[str, str]]:
    """A header's first word, in small letters, and its options; RFC 2231 and quotes undone."""
    message = Message()
    try:
        message[key] = " ".join(value.split())
        first, *rest = message.get_params(failobj=[("", "")], header=key)
        options = {name.lower(): str(given) for name, given in rest}
        if (name := message.get_filename()) is not None:
            options["filename"] = name
        return first[0].strip().lower(), options
    except (ValueError, LookupError):
        return "", {}


async def answer(
    send: Send, status: int, content: object, headers: Mapping[str, str] | None = None
) -> None:
    """Sends JSON, or bytes as they are, with the headers that all answers have."""
    body = content
    if not isinstance(content, bytes):
        body = json.dumps(content, allow_nan=False).encode()
    given = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        **(headers or {}),
    }
    pairs = [(key.encode(), value.encode()) for key, value in given.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
