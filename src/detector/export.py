"""A trained network as one file: `python -m detector.export ckpt=... format=onnx|litert`."""

from omegaconf import DictConfig

from detector import cli


def export(cfg: DictConfig) -> dict:
    """Write a network in another format, and check that it answers as before.

    Args:
        cfg: As `conf/export.yaml` composes it; see `detector.cli.compose`.

    Returns:
        What the parity report holds, and `file`.

    Raises:
        UserError: The config, the images or the checkpoint is unusable, a package is missing, or
            the file's answers are off; says what to do.
    """
    from detector.deploy.session import Export  # heavy: --help should be quick

    return Export(cfg).run()


def main() -> None:
    """Entry point of the console script and of `python -m`."""
    cli.run("export", export)


if __name__ == "__main__":
    main()
