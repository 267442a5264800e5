"""The server of the page, from the config to the open port."""

import logging
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from detector.errors import UserError
from detector.explain.methods import METHODS, SLOW
from detector.page.api import OVERHEAD, Api, Desk
from detector.page.examples import render_examples
from detector.page.judge import Options, judge
from detector.page.networks import Networks, find_networks, named_network
from detector.page.uploads import Budget, Uploads
from detector.predicting.look import MOST_FACES
from detector.rules import check, either, mapping, nothing, number, one_of, text, texts, whole
from detector.run.hardware import choose_device

if TYPE_CHECKING:
    import uvicorn

log = logging.getLogger(__name__)

RULES = {
    "paths": mapping,
    "paths.runs": text,
    "ckpt": either(nothing, text),
    "serve": mapping,
    "serve.host": text,
    "serve.port": whole(0, 65535),
    "serve.names": texts,
    "serve.device": one_of("auto", "cpu", "cuda", "mps"),
    "serve.heatmap": one_of(*(method for method in METHODS if method not in SLOW)),
    "serve.max_mb": number(0, 1000, above=True),
    "serve.max_files": whole(1, 100),
    "serve.max_pixels": whole(1),
    "serve.max_faces": whole(1, MOST_FACES),
    "serve.workers": whole(1, 64),
    "serve.waiting": whole(0, 10_000),
    "serve.per_client": whole(1),
    "serve.held_mb": number(0, above=True),
    "serve.request_seconds": number(0, above=True),
    "serve.forget_seconds": number(0, above=True),
    "serve.open_networks": whole(1, 100),
}
BACKLOG = 128  # connections that wait to be opened
LEAVING = 5  # seconds that answers get when the server is ended
MB = 1_000_000


class Serving:
    """One call of the command; the constructor checks it all and opens the port.

    Args:
        cfg: As `conf/serve.yaml` composes it.

    Raises:
        UserError: The config or the checkpoint is unusable, Gradio is not installed, or the port
            is taken.
    """

    def __init__(self, cfg: DictConfig) -> None:
        check(cfg, RULES)
        if find_spec("gradio") is None:
            raise UserError(
                "the page needs Gradio: make setup installs it, or the extra `page` of detector"
            )
        asked = cfg.serve
        if asked.held_mb < 2 * asked.max_files * asked.max_mb:  # one address gets half
            raise UserError(
                f"serve.held_mb={asked.held_mb}: below 2 times serve.max_files={asked.max_files}"
                f" times serve.max_mb={asked.max_mb}, so that a full upload would never fit"
            )
        device = choose_device(asked.device, "serve.device")
        runs = Path(cfg.paths.runs).expanduser().resolve()
        found = find_networks(runs) if cfg.ckpt is None else [named_network(cfg.ckpt)]
        self.named = cfg.ckpt is not None
        self.networks = Networks(found, device, asked.open_networks)
        held = int(asked.held_mb * MB)
        budget = Budget(held, held // 2 + OVERHEAD)  # nobody keeps others from it
        most = (asked.waiting + asked.workers) * asked.max_files
        self.api = Api(
            self.networks,
            Options(asked.max_pixels, asked.max_faces, asked.heatmap),
            Desk(asked.workers, asked.waiting, asked.per_client),
            Uploads(budget, asked.forget_seconds, most, max(asked.max_files, most // 2)),
            max_bytes=int(asked.max_mb * MB),
            max_files=asked.max_files,
            seconds=float(asked.request_seconds),
            names=[str(asked.host), *asked.names],
        )
        self._warm_up()
        self.socket = _listen(str(asked.host), asked.port)
        self.address = f"http://{_shown(str(asked.host))}:{self.socket.getsockname()[1]}"
        self.server = self._server()

    def _warm_up(self) -> None:
        """Or the first visitor would wait for what is imported when it is first used.

        A network that cannot be used is left out; only where it was named that is the end.
        """
        example = render_examples(224)[0]
        while (first := self.networks.first) is not None:
            try:
                opened = self.networks.open(first.key)
                judge(example.jpeg, example.name, opened, self.api.options, rendered=example.truth)
                return
            except Exception as error:
                if self.named:
                    if isinstance(error, UserError):
                        raise
                    raise UserError(f"{first.file} cannot be used: {error}") from error
                log.error("%s is left out: %s", first.file, error)
                del self.networks.all[first.key]

    def _server(self) -> "uvicorn.Server":
        import uvicorn

        from detector.page.app import build
        from detector.page.connections import Connection

        config = uvicorn.Config(
            build(self.api),
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=LEAVING,
            http=Connection,
            ws="none",
        )
        return uvicorn.Server(config)

    def run(self) -> None:
        """Serves until it is interrupted."""
        first = self.networks.first
        log.info("%d networks; %s", len(self.networks.all), first.label if first else "none")
        if self.networks.demonstration:
            log.info("demonstration: no network here has been trained on photographs")
        log.info("open %s in a browser; Ctrl-C ends it", self.address)
        self.server.run(sockets=[self.socket])


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(BACKLOG)  # who comes early waits
    except OSError as error:
        listening.close()
        raise UserError(
            f"cannot listen on {host} port {port} ({error.strerror or error}): set serve.port= to a"
            " free one, 0 takes any"
        ) from error
    return listening


def _shown(host: str) -> str:
    if host in ("0.0.0.0", "::"):
        return "localhost"
    return f"[{host}]" if ":" in host else host
