"""Open connections: bounded, and nobody keeps one by saying nothing."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST = 500  # open at once; a page has a few, a program one
EACH = MOST // 2  # requests of one address at once
SILENT = 5.0  # seconds until a request's header is there, from the beginning or the last answer


class Connection(H11Protocol):
    """Uvicorn's, closed where no request arrives; where there are too many, the oldest such.

    Uvicorn itself waits for a first request, and for the end of a header, as long as it takes.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Takes the place of one that says nothing where all are taken."""
        there = [one for one in self.connections if not one.transport.is_closing()]
        silent = [one for one in there if one.silent]
        if len(there) >= MOST and silent:
            min(silent, key=lambda one: one.since).transport.close()
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._patience.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Waits for the next request."""
        super().on_response_complete()
        self._patience.cancel()
        self._wait()

    @property
    def silent(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _wait(self) -> None:
        self.since = self.loop.time()
        self._patience = self.loop.call_later(SILENT, self._give_up)

    def _give_up(self) -> None:
        if self.silent:
            self.transport.close()
