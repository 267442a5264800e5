"""What is known of a browser's page while it is answered, and forgotten after that.

Gradio would keep the last answer of each of ten thousand pages, pictures and all, and what was
answered to a page that nobody listens to any more.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

HEARD = 3.0  # seconds in which a page that asked has to listen


class Run:
    """The answers to one drop. A later one of the same page takes over from it.

    Without that both would write into the same place, each over the other's.
    """

    def __init__(self) -> None:
        self.html = ""
        self.later: Run | None = None
        self.done = asyncio.Event()

    async def last(self) -> str:
        """What the page shows at the end: the answers of the latest run."""
        run = self
        while run.later is not None:
            run = run.later
            await run.done.wait()
        return run.html


class Sessions:
    """The pages that are open, by the name that Gradio's script gives each."""

    def __init__(self) -> None:
        self._listening: Counter[str] = Counter()
        self._latest: dict[str, Run] = {}

    @contextmanager
    def listening(self, session: str) -> Iterator[None]:
        """While a page listens to its answers."""
        self._listening[session] += 1
        try:
            yield
        finally:
            self._listening[session] -= 1
            if not self._listening[session]:
                del self._listening[session]

    async def heard(self, session: str) -> bool:
        """Whether a page listens; it begins to a moment after it has asked."""
        end = time.monotonic() + HEARD
        while session not in self._listening:
            if time.monotonic() > end:
                return False
            await asyncio.sleep(0.02)
        return True

    @contextmanager
    def run(self, session: str) -> Iterator[Run]:
        """The page's answers to what was dropped now."""
        run, before = Run(), self._latest.get(session)
        if before is not None:
            before.later = run
        self._latest[session] = run
        try:
            yield run
        finally:
            run.done.set()
            if self._latest.get(session) is run:
                del self._latest[session]


def forget(mounted: object, blocks: object) -> None:
    """Has Gradio's application keep nothing of a session between two requests.

    Args:
        mounted: Gradio's application.
        blocks: Its page, which has no state.
    """
    from gradio.state_holder import SessionState, StateHolder

    class Forgetful(StateHolder):
        def __getitem__(self, session_id: str) -> SessionState:
            return SessionState(self.blocks)

    mounted.state_holder = Forgetful()
    mounted.state_holder.set_blocks(blocks)
