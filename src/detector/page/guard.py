"""What stands before Gradio: a list of addresses that are open, everything else is closed.

Gradio serves many addresses of its own. It fetches addresses for whoever asks (/proxy=), gives out
files (/file=), takes files of any number and keeps them, and names paths of the server. None of
that is needed here. What it is sent is cleaned of files and addresses before it sees it.
"""

import ipaddress
import json
import logging
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlsplit

from detector.page.api import BUSY, Api
from detector.page.connections import EACH, MOST
from detector.page.receive import (
    Body,
    Receive,
    Refused,
    Send,
    answer,
    client_of,
    header,
    query,
)

log = logging.getLogger(__name__)

OPEN = {
    "GET": re.compile(
        r"/|/config/?|/theme\.css|/robots\.txt|/favicon\.ico|/manifest\.json"
        r"|/(assets|static|svelte)/[\w@%.,/+-]+"
        r"|/gradio_api/(info/?|app_id/?|startup-events|queue/data|heartbeat/\w+)"
    ),
    "HEAD": re.compile(r"/"),
    "POST": re.compile(r"/gradio_api/queue/join/?|/gradio_api/cancel/?"),
}
HEALTH = "/health"
LISTEN = "/gradio_api/queue/data"  # where a page waits for its answers
MESSAGE = 100_000  # bytes of what Gradio's script sends
DROPPED = {"meta", "url", "stream", "is_stream"}  # by which Gradio knows a file or an address
POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:;"
    " style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:;"
    " connect-src 'self'; worker-src 'self' blob:; manifest-src 'self'; base-uri 'self';"
    " form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    b"content-security-policy": POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"x-frame-options": b"DENY",
}
Asgi = Callable[[Mapping, Receive, Send], Awaitable[None]]


class Guard:
    """The application that is served.

    Args:
        gradio: What it stands before.
        api: Own addresses, and the limits for what Gradio is sent.
    """

    def __init__(self, gradio: Asgi, api: Api) -> None:
        self.gradio, self.api = gradio, api
        self.clients: Counter[str] = Counter()  # requests that are being answered

    async def __call__(self, scope: Mapping, receive: Receive, send: Send) -> None:
        """Passes a request on, or refuses it in JSON."""
        if scope["type"] == "lifespan":
            await self.gradio(scope, receive, send)
            return
        if scope["type"] != "http":  # nothing here speaks over web sockets
            return
        started = False

        async def guarded(message: Mapping) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                own = [pair for pair in message.get("headers", ()) if pair[0] not in HEADERS]
                message = {**message, "headers": [*own, *HEADERS.items()]}
            await send(message)

        client = client_of(scope)
        full = self.clients[client] >= EACH or self.clients.total() >= MOST
        self.clients[client] += 1
        try:
            if full and scope["path"] != HEALTH:  # who watches the server is told how it is
                raise Refused(503, BUSY)
            await self._pass(scope, receive, guarded)
        except Refused as refused:
            await answer(guarded, refused.status, {"error": refused.message})
        except Exception:
            log.exception("%s %s", scope["method"], scope["path"])
            if not started:
                await answer(guarded, 500, {"error": "this went wrong in the server"})
        finally:
            self.clients[client] -= 1
            if not self.clients[client]:
                del self.clients[client]

    async def _pass(self, scope: Mapping, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"]
        if not self._ours(header(scope, b"host")):
            raise Refused(403, "this server is not known by that name: see serve.names")
        if method == "POST" and not _same_origin(scope):
            raise Refused(403, "another site may not post here")
        if (method, path) in self.api.routes:
            await self.api(scope, receive, send)
            return
        allowed = OPEN.get(method)
        if allowed is None or not allowed.fullmatch(path) or ".." in path:
            known = {m for m, p in self.api.routes if p == path}
            if known:
                raise Refused(405, f"use {', '.join(sorted(known))}")
            raise Refused(404, "there is nothing at this address")
        if method == "POST":
            receive = await self._cleaned(scope, receive)
            scope = {**scope, "headers": [p for p in scope["headers"] if p[0] != b"content-length"]}
        if path == LISTEN:
            with self.api.sessions.listening(query(scope).get("session_hash", "")):
                await self.gradio(scope, receive, send)
            return
        await self.gradio(scope, receive, send)

    def _ours(self, host: str) -> bool:
        """Whether this server is meant, and not a name that somebody has pointed to it.

        Else a page from elsewhere could ask here in its visitor's place, under a name of its own
        that it has pointed to this machine (DNS rebinding). An address is nobody's name.
        """
        try:
            name = urlsplit(f"//{host}").hostname or ""
            if name in self.api.names or not host:  # browsers always name one
                return True
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    async def _cleaned(self, scope: Mapping, receive: Receive) -> Receive:
        """What Gradio is to receive: the JSON that was sent, without files and addresses."""
        limits = {"most": MESSAGE, "seconds": self.api.seconds, "budget": self.api.uploads.budget}
        async with Body(scope, receive, **limits) as body:
            try:
                given = json.loads(body.data)
            except (ValueError, RecursionError):
                raise Refused(400, "this is no JSON") from None
        message = json.dumps(cleaned(given)).encode()
        sent = False

        async def once() -> Mapping:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": message, "more_body": False}

        return once


def cleaned(value: object) -> object:
    """JSON without the keys in which Gradio sees a file or an address that it would open."""
    if isinstance(value, dict):
        return {key: cleaned(item) for key, item in value.items() if key not in DROPPED}
    if isinstance(value, list):
        return [cleaned(item) for item in value]
    return value


def _same_origin(scope: Mapping) -> bool:
    """Whether a browser sent this from the page itself; programs name no origin."""
    origin = header(scope, b"origin")
    return not origin or urlsplit(origin).netloc == header(scope, b"host")
