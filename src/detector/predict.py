"""Is it fake? `python -m detector.predict inputs=photo.jpg`."""

from omegaconf import DictConfig

from detector import cli


def predict(cfg: DictConfig) -> dict:
    """Answer pictures with a trained network.

    Args:
        cfg: As `conf/predict.yaml` composes it; see `detector.cli.compose`.

    Returns:
        `pictures` and `failed`, how many there were and how many of them could not be read;
        `output`, the file with the answers, and `panels`, the folder of the heatmaps, None without.

    Raises:
        UserError: The config, the checkpoint, an input or the output is unusable.
    """
    from detector.predicting.session import Predicting  # --help should be quick

    return Predicting(cfg).run()


def _main(cfg: DictConfig) -> None:
    if predict(cfg)["failed"]:
        raise SystemExit(1)


def main() -> None:
    """Entry point of the console script and of `python -m`."""
    cli.run("predict", _main)


if __name__ == "__main__":
    main()
