"""Measure a trained network on any set: `python -m detector.evaluate ckpt=... data=...`."""

from omegaconf import DictConfig

from detector import cli


def evaluate(cfg: DictConfig) -> dict:
    """Score a part of a set, beside controls, and leave a folder with the report.

    Args:
        cfg: As `conf/evaluate.yaml` composes it; see `detector.cli.compose`.

    Returns:
        What metrics.json holds, and `folder`.

    Raises:
        UserError: The config, the data or the checkpoint is unusable; says what to do.
    """
    from detector.evaluation.session import Evaluation  # heavy: --help should be quick

    return Evaluation(cfg).run()


def main() -> None:
    """Entry point of the console script and of `python -m`."""
    cli.run("evaluate", evaluate)


if __name__ == "__main__":
    main()
