"""What stands before Gradio: a list of addresses that are open, everything else is closed.

Gradio serves many addresses of its own. It fetches addresses for whoever asks (/proxy=), gives out
files (/file=), takes files of any number and keeps them, and names paths of the server. None of
that is needed here. What it is sent is cleaned of files and addresses before it sees it.
"""

import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlsplit

from detector.page.api import Api
from detector.page.receive import Body, Receive, Refused, Send, answer, header

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

        try:
            await self._pass(scope, receive, guarded)
        except Refused as refused:
            await answer(guarded, refused.status, {"error": refused.message})
        except Exception:
            log.exception("%s %s", scope["method"], scope["path"])
            if not started:
                await answer(guarded, 500, {"error": "this went wrong in the server"})

    async def _pass(self, scope: Mapping, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"]
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
        await self.gradio(scope, receive, send)

    async def _cleaned(self, scope: Mapping, receive: Receive) -> Receive:
        """What Gradio is to receive: the JSON that was sent, without files and addresses."""
        limits = {"most": MESSAGE, "seconds": self.api.seconds, "budget": self.api.uploads.budget}
        async with Body(scope, receive, **limits) as body:
            try:
                given = json.loads(body)
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
