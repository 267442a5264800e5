"""Networks by sets: `python -m detector.matrix 'ckpts=[a,b]' 'sets=[ciplab,hardfake]'`."""

from omegaconf import DictConfig

from detector import cli


def matrix(cfg: DictConfig) -> dict:
    """Measure each of several networks on each of several sets, and leave a folder.

    Args:
        cfg: As `conf/matrix.yaml` composes it; see `detector.cli.compose`.

    Returns:
        What matrix.json holds, and `folder`.

    Raises:
        UserError: The config, a set or a checkpoint is unusable, or a set could no longer be
            read; says what to do.
    """
    from detector.evaluation.matrix import Matrix  # heavy: --help should be quick

    return Matrix(cfg).run()


def main() -> None:
    """Entry point of the console script and of `python -m`."""
    cli.run("matrix", matrix)


if __name__ == "__main__":
    main()
