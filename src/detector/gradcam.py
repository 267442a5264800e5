"""Where does a network look? `python -m detector.gradcam image=easy_107_1011.jpg`."""

from omegaconf import DictConfig

from detector import cli


def gradcam(cfg: DictConfig) -> dict:
    """Explain one picture or a folder of them, and leave a panel and a JSON for each.

    Args:
        cfg: As `conf/gradcam.yaml` composes it; see `detector.cli.compose`.

    Returns:
        `folder`; `pictures`, what the JSON of each holds; `failed`, path and error of each
        that could not be read.

    Raises:
        UserError: The config, the checkpoint or the picture is unusable.
    """
    from detector.explain.session import Explanation  # heavy: --help should be quick

    return Explanation(cfg).run()


def _main(cfg: DictConfig) -> None:
    if gradcam(cfg)["failed"]:
        raise SystemExit(1)


def main() -> None:
    """Entry point of the console script and of `python -m`."""
    cli.run("gradcam", _main)


if __name__ == "__main__":
    main()
