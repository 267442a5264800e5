"""Is one network better than another? `python -m detector.compare 'runs=[A,B]'`."""

from omegaconf import DictConfig

from detector import cli


def compare(cfg: DictConfig) -> dict:
    """Compare runs, evaluations or sweeps on the same images, and leave a folder.

    Args:
        cfg: As `conf/compare.yaml` composes it; see `detector.cli.compose`.

    Returns:
        What compare.json holds, and `folder`.

    Raises:
        UserError: The config or a folder is unusable, or they speak of different images.
    """
    from detector.evaluation.comparison import Comparison  # heavy: --help should be quick

    return Comparison(cfg).run()


def main() -> None:
    """Entry point of the console script and of `python -m`."""
    cli.run("compare", compare)


if __name__ == "__main__":
    main()
