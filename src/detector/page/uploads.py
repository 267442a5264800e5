"""Files between upload and answer: in memory alone, few, small, and not for long."""

import secrets
import threading
import time
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
    """

    name: str
    data: bytes
    until: float
    error: str = ""


class Budget:
    """Bytes that requests may hold together.

    Args:
        most: Of all of them.
    """

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0
        self._lock = threading.Lock()

    def take(self, size: int) -> None:
        """Reserves bytes.

        Raises:
            Full: There are not so many left.
        """
        with self._lock:
            if self.held + size > self.most:
                raise Full
            self.held += size

    def give(self, size: int) -> None:
        """Gives bytes back."""
        with self._lock:
            self.held -= size


class Uploads:
    """Uploads that wait to be judged. Each is taken once, and dropped when its time is over.

    Args:
        budget: From which their bytes are taken.
        seconds: After which one that nobody asked for is dropped.
        most: Files at once.
    """

    def __init__(self, budget: Budget, seconds: float, most: int) -> None:
        self.budget, self.seconds, self.most = budget, seconds, most
        self._held: dict[str, Upload] = {}
        self._lock = threading.Lock()

    def put(self, name: str, data: bytes, error: str = "") -> str:
        """Keeps a file, or why it could not be kept.

        Returns:
            A token that nobody can guess.

        Raises:
            Full: Too many are waiting.
        """
        self.drop_old()
        with self._lock:
            if len(self._held) >= self.most:
                raise Full
            self.budget.take(len(data))
            token = secrets.token_urlsafe(24)
            self._held[token] = Upload(name, data, time.monotonic() + self.seconds, error)
            return token

    def take(self, token: str) -> Upload | None:
        """The file of a token, which is forgotten by that; None for one that is not known."""
        self.drop_old()
        with self._lock:
            upload = self._held.pop(token, None)
        if upload is not None:
            self.budget.give(len(upload.data))
        return upload

    def drop_old(self) -> None:
        """Forgets files whose time is over."""
        now = time.monotonic()
        with self._lock:
            old = [token for token, upload in self._held.items() if upload.until <= now]
            gone = [self._held.pop(token) for token in old]
        for upload in gone:
            self.budget.give(len(upload.data))

    def __len__(self) -> int:
        return len(self._held)
