"""A page that looks at pictures: `python -m detector.serve`."""

from omegaconf import DictConfig

from detector import cli
from detector.garbage import only_new


def serve(cfg: DictConfig) -> None:
    """Serve the page and its addresses for programs until somebody presses Ctrl-C.

    Args:
        cfg: As `conf/serve.yaml` composes it; see `detector.cli.compose`.

    Raises:
        UserError: The config or the checkpoint is unusable, Gradio is not installed, or the port
            is taken.
    """
    from detector.page.server import Serving  # --help should be quick

    serving = Serving(cfg)
    with only_new():  # it may serve for weeks, and a picture is megabytes
        serving.run()


def main() -> None:
    """Entry point of the console script and of `python -m`."""
    cli.run("serve", serve)


if __name__ == "__main__":
    main()
