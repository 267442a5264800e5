"""Addresses for programs: a prediction, the networks, the health of the server, uploads.

Every answer is JSON, errors too: `{"error": "one line"}` with the status that fits.
"""

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from detector import __version__
from detector.errors import UserError
from detector.page.forms import Sent, files_of
from detector.page.judge import Judgement, Options, judge, plain
from detector.page.networks import Networks
from detector.page.receive import (
    Body,
    Receive,
    Refused,
    Send,
    answer,
    client_of,
    header,
    megabytes,
    query,
)
from detector.page.sessions import Sessions
from detector.page.uploads import Full, Uploads

log = logging.getLogger(__name__)

OVERHEAD = 10_000  # bytes of a multipart body beside its files
BUSY = "the server has as much to do as it takes on: try again in a moment"
FAILED = "this went wrong in the server: see its terminal"


class Desk:
    """Where judging is done: a few at once, a bounded number waiting.

    Args:
        workers: Pictures that are judged at once.
        waiting: Requests that are taken on beside these.
        per_client: Of one address, at once.
    """

    def __init__(self, workers: int, waiting: int, per_client: int) -> None:
        self.most, self.per_client = workers + waiting, per_client
        self.clients: Counter[str] = Counter()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="judge")

    @property
    def busy(self) -> int:
        """Requests that are being answered or wait for it."""
        return self.clients.total()

    def enter(self, client: str) -> None:
        """Takes a request on; `leave` has to follow.

        Raises:
            Refused: There are too many of this client (429) or of all (503).
        """
        if self.clients[client] >= self.per_client:
            raise Refused(429, f"{self.per_client} requests of yours are being answered: wait")
        if self.busy >= self.most:
            raise Refused(503, BUSY)
        self.clients[client] += 1

    def leave(self, client: str) -> None:
        """The request is answered."""
        self.clients[client] -= 1
        if not self.clients[client]:
            del self.clients[client]

    @contextmanager
    def place(self, client: str) -> Iterator[None]:
        """From `enter` to `leave`."""
        self.enter(client)
        try:
            yield
        finally:
            self.leave(client)

    async def work(self, job: Callable[[], object]) -> object:
        """Does it as soon as somebody is free."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, job)


class Api:
    """The addresses, as ASGI.

    Args:
        networks: To be asked.
        options: How pictures are judged.
        desk: Where it is done.
        uploads: Of the page, on their way to it.
        max_bytes: Of a file.
        max_files: Of an upload.
        seconds: In which a request has to arrive.
        names: Under which the server may be asked, beside addresses and this machine's own name.
    """

    def __init__(
        self,
        networks: Networks,
        options: Options,
        desk: Desk,
        uploads: Uploads,
        *,
        max_bytes: int,
        max_files: int,
        seconds: float,
        names: Sequence[str] = (),
    ) -> None:
        self.networks, self.options, self.desk, self.uploads = networks, options, desk, uploads
        self.max_bytes, self.max_files, self.seconds = max_bytes, max_files, seconds
        self.names = {"localhost", socket.gethostname().lower(), *(name.lower() for name in names)}
        self.sessions = Sessions()
        self._cutting = asyncio.Lock()
        self.routes = {
            ("POST", "/api/predict"): self.predict,
            ("GET", "/api/networks"): self.list_networks,
            ("GET", "/health"): self.health,
            ("POST", "/gradio_api/upload"): self.upload,
            ("GET", "/gradio_api/upload_progress"): self.progress,
        }

    async def __call__(self, scope: Mapping, receive: Receive, send: Send) -> None:
        """Answers a request to one of `routes`."""
        try:
            await self.routes[scope["method"], scope["path"]](scope, receive, send)
        except Refused as refused:
            retry = {"retry-after": "1"} if refused.status in (429, 503) else {}
            await answer(send, refused.status, {"error": refused.message}, retry)

    async def predict(self, scope: Mapping, receive: Receive, send: Send) -> None:
        """One picture, as the body itself or as the one file of a form."""
        asked = query(scope)
        if unknown := set(asked) - {"network", "explain"}:
            raise Refused(400, f"no such setting: {', '.join(sorted(unknown))[:80]}")
        if asked.get("explain", "true") not in ("true", "false"):
            raise Refused(400, "explain is true or false")
        explain = asked.get("explain", "true") == "true"
        async with Body(scope, receive, **self._limits(1)) as body:
            files = await self._files(body, scope, 2)
            if len(files) != 1:
                raise Refused(400, f"send one file a request, not {len(files)}")
            with self.desk.place(client_of(scope)):  # not before: who is slow keeps nobody from it
                status, content = await self.judged(
                    files[0].data, files[0].name, asked.get("network"), _sendable, explain=explain
                )
        await answer(send, status, content)

    async def _files(self, body: Body, scope: Mapping, most: int) -> list[Sent]:
        """Cut out of a body, which is let go; one at a time, as both are in memory meanwhile."""
        kind, named = header(scope, b"content-type"), header(scope, b"content-disposition")
        async with self._cutting:
            files = await asyncio.to_thread(files_of, body.data, kind, named, most=most)
            body.keep(sum(len(file.data) for file in files))
        return files

    async def judged(
        self,
        data: bytes,
        name: str,
        key: str | None,
        shape: Callable[[Judgement], object],
        *,
        explain: bool = True,
        rendered: str = "",
    ) -> object:
        """A judgement at the desk; whatever goes wrong is a message without paths.

        Args:
            data: The file.
            name: Of it.
            key: Of a network; None for the first.
            shape: What is made of the judgement, at the desk too, as drawing takes its time.
            explain: As for `judge`.
            rendered: As for `judge`.

        Raises:
            Refused: There is no such network (404), the file is too large (413), or a defect of
                this program (500).
        """
        if len(data) > self.max_bytes:
            raise Refused(413, self._limit)
        if key is not None and key not in self.networks.all:
            raise Refused(404, "there is no such network: see /api/networks")

        def job() -> object:
            opened = self.networks.open(key) if self.networks.all else None
            found = judge(data, name, opened, self.options, explain=explain, rendered=rendered)
            return shape(found)

        try:
            return await self.desk.work(job)
        except UserError as error:
            raise Refused(500, str(error)) from error
        except Exception as error:
            log.exception("a picture of %d bytes could not be judged", len(data))
            raise Refused(500, FAILED) from error

    async def list_networks(self, scope: Mapping, receive: Receive, send: Send) -> None:
        """Key and label of each, the one used where none is named first."""
        every = [
            {"network": n.key, "label": n.label, "on_photographs": n.on_photographs}
            for n in self.networks.all.values()
        ]
        await answer(send, 200, {"networks": every})

    async def health(self, scope: Mapping, receive: Receive, send: Send) -> None:
        """That the server answers, and how much it has to do."""
        state = {
            "status": "ok",
            "version": __version__,
            "networks": len(self.networks.all),
            "demonstration": self.networks.demonstration,
            "busy": self.desk.busy,
        }
        await answer(send, 200, state)

    async def upload(self, scope: Mapping, receive: Receive, send: Send) -> None:
        """In place of Gradio's own: files go to memory, and tokens come back instead of paths.

        A file that is refused gets a token too: the page then says why, in its place.
        """
        client = client_of(scope)
        try:
            async with Body(scope, receive, **self._limits(self.max_files)) as body:
                files = await self._files(body, scope, self.max_files)
                if not files:
                    raise Refused(400, "there is no file in the upload")
            # What the body has just given back is taken by the files: nothing comes between.
            tokens = self._keep(files, client)
        except Refused as refused:
            try:
                tokens = [self.uploads.put("", b"", refused.message, client)]
            except Full:
                raise refused from None
        await answer(send, 200, tokens)

    async def progress(self, scope: Mapping, receive: Receive, send: Send) -> None:
        """Gradio's script listens here during an upload, and is told that it is done."""
        await answer(send, 200, b'data: {"msg": "done"}\n\n', {"content-type": "text/event-stream"})

    def _keep(self, files: list[Sent], client: str) -> list[str]:
        tokens = []
        try:
            for sent in files:
                large = len(sent.data) > self.max_bytes
                data, error = (b"", self._limit) if large else (sent.data, "")
                tokens.append(self.uploads.put(sent.name, data, error, client))
        except Full:
            for token in tokens:
                self.uploads.drop(token)
            raise Refused(503, BUSY) from None
        return tokens

    @property
    def _limit(self) -> str:
        return f"more than the limit of {megabytes(self.max_bytes)} a file"

    def _limits(self, files: int) -> dict:
        most = files * self.max_bytes + OVERHEAD
        known = {"seconds": self.seconds, "budget": self.uploads.budget}
        return {"most": most, "limit": self._limit} | known


def _sendable(judgement: Judgement) -> tuple[int, dict]:
    return 422 if judgement.error else 200, plain(judgement)
