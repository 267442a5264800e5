"""Files between upload and answer: in memory alone, few, small, and not for long."""

import secrets
import threading
import time
from collections import Counter
from dataclasses import dataclass


class Full(Exception):
    """There is no room for another file at the moment."""


@dataclass(frozen=True)
class Upload:
    """A file that somebody sent.

    Args:
        name: As it is shown; without folders.
        data: Its bytes.
        until: When it is dropped, on the clock of `time.monotonic`.
        error: Why it was not kept; empty where it was.
        client: Address of the sender.
    """

    name: str
    data: bytes
    until: float
    error: str = ""
    client: str = ""


class Budget:
    """Bytes that requests may hold together.

    Args:
        most: Of all of them.
        each: Of those of one address; None for no bound of its own.
    """

    def __init__(self, most: int, each: int | None = None) -> None:
        self.most, self.each, self.held = most, most if each is None else each, 0
        self.clients: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, size: int, client: str = "") -> None:
        """Reserves bytes for an address.

        Raises:
            Full: There are not so many left, or not for this one.
        """
        with self._lock:
            if self.held + size > self.most or self.clients[client] + size > self.each:
                raise Full
            self.held += size
            self.clients[client] += size

    def give(self, size: int, client: str = "") -> None:
        """Gives bytes back that were taken for the same address."""
        with self._lock:
            self.held -= size
            self.clients[client] -= size
            if not self.clients[client]:
                del self.clients[client]


class Uploads:
    """Uploads that wait to be judged. Each is taken once, and dropped when its time is over.

    Args:
        budget: From which their bytes are taken.
        seconds: After which one that nobody asked for is dropped.
        most: Files at once.
        each: Of those of one address; None for no bound of its own.
    """

    def __init__(self, budget: Budget, seconds: float, most: int, each: int | None = None) -> None:
        self.budget, self.seconds = budget, seconds
        self.most, self.each = most, most if each is None else each
        self._held: dict[str, Upload] = {}
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def put(self, name: str, data: bytes, error: str = "", client: str = "") -> str:
        """Keeps a file, or why it could not be kept.

        Returns:
            A token that nobody can guess.

        Raises:
            Full: Too many are waiting.
        """
        self.drop_old()
        with self._lock:
            theirs = sum(upload.client == client for upload in self._held.values())
            if len(self._held) >= self.most or theirs >= self.each:
                raise Full
            self.budget.take(len(data), client)
            token = secrets.token_urlsafe(24)
            until = time.monotonic() + self.seconds
            self._held[token] = Upload(name, data, until, error, client)
            self._watch()
            return token

    def take(self, token: str) -> Upload | None:
        """The file of a token, which is forgotten by that; None for one that is not known.

        Its bytes stay counted until `release`.
        """
        self.drop_old()
        with self._lock:
            return self._held.pop(token, None)

    def release(self, upload: Upload) -> None:
        """Gives the bytes of a file back that was taken and is not needed any more."""
        self.budget.give(len(upload.data), upload.client)

    def drop(self, token: str) -> None:
        """Forgets a file that will not be judged; nothing happens where it is not known."""
        if (upload := self.take(token)) is not None:
            self.release(upload)

    def drop_old(self) -> None:
        """Forgets files whose time is over."""
        now = time.monotonic()
        with self._lock:
            old = [token for token, upload in self._held.items() if upload.until <= now]
            gone = [self._held.pop(token) for token in old]
        for upload in gone:
            self.release(upload)

    def _watch(self) -> None:
        """Drops them in time where nobody comes by, too; one timer, while there is any."""
        if self._timer is None and self._held:
            first = next(iter(self._held.values()))  # all have the same time
            self._timer = threading.Timer(max(0.0, first.until - time.monotonic()), self._sweep)
            self._timer.daemon = True
            self._timer.start()

    def _sweep(self) -> None:
        self.drop_old()
        with self._lock:
            self._timer = None
            self._watch()

    def __len__(self) -> int:
        return len(self._held)
