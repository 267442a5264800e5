"""Bodies of requests, read with limits: on bytes, on time, on all of them together.

Plain ASGI. A body that is too large is read to its end and thrown away, as far as that is short,
because a browser shows no answer that comes before it has sent everything.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import parse_qs

from detector.page.uploads import Budget, Full

DRAINED = 128_000_000  # bytes of a body that is too large, at most
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
        self.taken, self.data, self.client = 0, bytearray(), client_of(scope)

    async def __aenter__(self) -> "Body":
        """Reads it into `data`.

        Raises:
            Refused: It is too large (413), too slow (408), or there is no room (503).
        """
        try:
            async with asyncio.timeout(self.seconds):
                await self._read()
        except TimeoutError:
            self.keep(0)
            raise Refused(408, f"the request took longer than {self.seconds:g} s") from None
        except BaseException:
            self.keep(0)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self.keep(0)

    def keep(self, size: int) -> None:
        """Lets go of `data`, and of its share of the budget but for what was cut out of it."""
        self.data = bytearray()
        self.budget.give(self.taken - size, self.client)
        self.taken = size

    async def _read(self) -> None:
        declared = header(self.scope, b"content-length")
        too_large = declared.isdigit() and int(declared) > self.most
        size, refused = 0, None
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise Refused(400, "the connection was closed")
            chunk = message.get("body", b"")
            size += len(chunk)
            if too_large or size > self.most:
                refused = refused or Refused(413, self.limit)
            elif refused is None:
                try:
                    self.budget.take(len(chunk), self.client)
                    self.taken += len(chunk)
                    self.data += chunk
                except Full:
                    refused = Refused(503, "too much is being sent at once: try again in a moment")
            if refused is not None:
                self.keep(0)  # others need it, while the rest is thrown away
                if size > DRAINED:
                    raise refused
            if not message.get("more_body"):
                break
        if refused is not None:
            raise refused


def header(scope: Mapping, name: bytes) -> str:
    """A header of a request, empty where it is missing; `name` in small letters."""
    for key, value in scope["headers"]:
        if key == name:
            return value.decode("latin-1")
    return ""


def query(scope: Mapping) -> dict[str, str]:
    """What stands behind the question mark; of one that stands there twice, the last."""
    given = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    return {key: values[-1] for key, values in given.items()}


def client_of(scope: Mapping) -> str:
    """Address of who asks; empty where the server does not tell."""
    return scope["client"][0] if scope.get("client") else ""


def megabytes(size: int) -> str:
    """A number of bytes in words."""
    return f"{size / 1e6:g} MB"


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
